//! llama.cpp's RPC backend: other machines' devices, each behind a server at `host:port`.
//!
//! The backend ends its whole process when a server is missing, silent or of another version. So each server is greeted here
//! first, as the backend would do it, with a time limit and a reason in one line.

pub(crate) mod backend;

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

use crate::plan::RpcServers;

/// Version of the protocol that this build's engine speaks (`ggml-rpc.h`).
const VERSION: (u8, u8) = (7, 0);

/// The first command of a connection (`RPC_CMD_HELLO`, the same in every version).
const HELLO: u8 = 14;

/// Bytes in which each end says what transports it has (`RPC_CONN_CAPS_SIZE`). Zeroes: TCP alone.
const CAPABILITIES: usize = 24;

/// How long a server may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a server may take to answer a greeting. One that has just lost its client first frees what that had.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a server whose client died may take to show that it is alive.
const LOST_TIMEOUT: Duration = Duration::from_secs(2);

/// What the engine says when a connection ends in the middle of its work (`RPC_STATUS_ASSERT`), and when it cannot connect
/// again: while a model is loaded it hangs up in between.
const LOST: [&str; 3] = [
    "Remote RPC server crashed",
    "Failed to connect to ",
    "RPC handshake failed for ",
];

/// Greets every server.
///
/// # Errors
/// In one line: the first that cannot be used, and why.
pub fn check_all(servers: &RpcServers) -> Result<(), String> {
    let mut endpoints = servers.endpoints().iter();
    endpoints.try_for_each(|endpoint| check(endpoint, HELLO_TIMEOUT))
}

/// Greets a server and hangs up.
///
/// # Errors
/// In one line: why it cannot be used, and what to do.
pub fn check(endpoint: &str, hello_timeout: Duration) -> Result<(), String> {
    let about = |what: String| format!("RPC server {endpoint}: {what}");
    let address = resolve(endpoint).map_err(about)?;
    let stream = TcpStream::connect_timeout(&address, CONNECT_TIMEOUT).map_err(|e| {
        about(format!(
            "it cannot be reached ({}); start `ggufbench rpc-worker --listen {endpoint}` there",
            in_words(&e)
        ))
    })?;
    let version = greet(stream, hello_timeout).map_err(|e| {
        about(match e.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => format!(
                "it does not answer within {} s; it serves one client at a time, and another may be connected",
                hello_timeout.as_secs().max(1)
            ),
            _ => format!(
                "it does not speak llama.cpp's RPC protocol, or another version of it ({}); \
                 build both ends from the same llama.cpp",
                in_words(&e)
            ),
        })
    })?;
    // As the engine has it: an older minor version will do.
    if version.0 != VERSION.0 || version.1 > VERSION.1 {
        return Err(about(format!(
            "it speaks version {}.{} of llama.cpp's RPC protocol, this build {}.{}; build both ends from the same llama.cpp",
            version.0, version.1, VERSION.0, VERSION.1
        )));
    }
    Ok(())
}

/// The first IPv4 address of a name: the engine knows no others.
fn resolve(endpoint: &str) -> Result<SocketAddr, String> {
    let unknown = |why: &dyn std::fmt::Display| format!("its name cannot be resolved ({why})");
    let mut addresses = endpoint.to_socket_addrs().map_err(|e| unknown(&e))?;
    addresses
        .find(SocketAddr::is_ipv4)
        .ok_or_else(|| unknown(&"it has no IPv4 address"))
}

/// `| command (1) | size (8) | capabilities |`, answered by `| size (8) | major, minor, patch, 0 | capabilities |`.
fn greet(mut stream: TcpStream, timeout: Duration) -> std::io::Result<(u8, u8)> {
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(timeout))?;
    let mut hello = vec![HELLO];
    hello.extend((CAPABILITIES as u64).to_le_bytes());
    hello.extend([0; CAPABILITIES]);
    stream.write_all(&hello)?;
    let mut answer = [0; 8 + 4 + CAPABILITIES];
    stream.read_exact(&mut answer)?;
    let (size, rest) = answer.split_at(8);
    if size != ((4 + CAPABILITIES) as u64).to_le_bytes() {
        return Err(std::io::Error::new(
            ErrorKind::InvalidData,
            "it answered something else",
        ));
    }
    Ok((rest[0], rest[1]))
}

/// An error without the system's number.
fn in_words(e: &std::io::Error) -> String {
    match e.kind() {
        ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset => {
            "it closed the connection".to_owned()
        }
        ErrorKind::TimedOut => "no answer".to_owned(),
        _ => {
            let text = e.to_string();
            text.split(" (os error")
                .next()
                .unwrap_or(&text)
                .to_lowercase()
        }
    }
}

/// Which server a process lost that ended with this line in its log; none where the line says something else.
pub fn lost(servers: &RpcServers, line: &str) -> Option<String> {
    if servers.is_none() || !LOST.iter().any(|said| line.contains(said)) {
        return None;
    }
    let endpoints = servers.endpoints();
    let gone: Vec<&str> = endpoints
        .iter()
        .filter(|endpoint| check(endpoint, LOST_TIMEOUT).is_err())
        .map(String::as_str)
        .collect();
    Some(match (gone.as_slice(), endpoints) {
        // It is there again, or only the connection was lost.
        ([], [one]) => format!("the connection to the RPC server {one} was lost"),
        ([], all) => format!(
            "the connection to one of the RPC servers {} was lost",
            all.join(", ")
        ),
        ([one], _) => format!("the RPC server {one} was lost"),
        (several, _) => format!("the RPC servers {} were lost", several.join(", ")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    /// A server that answers one greeting with these bytes and hangs up.
    fn answering(answer: &'static [u8]) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let endpoint = listener.local_addr().expect("an address").to_string();
        std::thread::spawn(move || {
            let (mut client, _) = listener.accept().expect("a client");
            let mut hello = [0; 1 + 8 + CAPABILITIES];
            client.read_exact(&mut hello).expect("a greeting");
            assert_eq!((hello[0], hello[1]), (HELLO, 24));
            client.write_all(answer).expect("answered");
        });
        endpoint
    }

    const fn version(major: u8, minor: u8) -> [u8; 36] {
        let mut answer = [0; 36];
        (answer[0], answer[8], answer[9]) = (28, major, minor);
        answer
    }

    #[test]
    fn a_server_of_this_version_is_taken_and_others_are_named() {
        const SAME: &[u8] = &version(7, 0);
        const OTHER: &[u8] = &version(6, 1);
        let check = |endpoint: &str| check(endpoint, HELLO_TIMEOUT);
        assert_eq!(check(&answering(SAME)), Ok(()));
        for (answer, needle) in [
            (
                OTHER,
                "it speaks version 6.1 of llama.cpp's RPC protocol, this build 7.0",
            ),
            (
                b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n",
                "answered something else",
            ),
            (b"", "it closed the connection"),
        ] {
            let endpoint = answering(answer);
            let e = check(&endpoint).expect_err("refused");
            assert!(e.starts_with(&format!("RPC server {endpoint}: ")), "{e}");
            assert!(e.contains(needle) && !e.contains('\n'), "{e}");
        }
    }

    #[test]
    fn a_server_that_is_not_there_is_told_with_the_command_that_starts_it() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let endpoint = listener.local_addr().expect("an address").to_string();
        // Bound but never accepting: as a server with another client.
        let e = check(&endpoint, Duration::from_millis(10)).expect_err("busy");
        assert!(e.contains("serves one client at a time"), "{e}");
        drop(listener);
        let e = check(&endpoint, HELLO_TIMEOUT).expect_err("nobody");
        let remedy = format!("start `ggufbench rpc-worker --listen {endpoint}` there");
        assert!(
            e.contains("connection refused") && e.ends_with(&remedy),
            "{e}"
        );
    }

    #[test]
    fn the_lost_server_is_named() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let gone = listener.local_addr().expect("an address").to_string();
        drop(listener);
        const SAME: &[u8] = &version(7, 0);
        let servers = |text: &str| text.parse::<RpcServers>().expect("servers");
        let line = "ggml-rpc.cpp:570: Remote RPC server crashed or returned malformed response";
        let both = servers(&format!("{gone},{}", answering(SAME)));
        assert_eq!(
            lost(&both, line),
            Some(format!("the RPC server {gone} was lost"))
        );
        let alive = answering(SAME);
        let said = lost(&servers(&alive), line).expect("lost");
        assert_eq!(
            said,
            format!("the connection to the RPC server {alive} was lost")
        );
        let again = format!("ggml-rpc.cpp:547: Failed to connect to {gone}");
        let said = lost(&servers(&gone), &again).expect("lost");
        assert_eq!(said, format!("the RPC server {gone} was lost"));
        assert_eq!(lost(&both, "GGML_ASSERT(x) failed"), None);
        assert_eq!(lost(&RpcServers::default(), line), None);
    }
}
