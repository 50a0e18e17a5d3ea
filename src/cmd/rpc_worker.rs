//! `rpc-worker`: this machine's devices for another machine's `--rpc`, by llama.cpp's own protocol.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};

use super::{INTERRUPTED, unless_closed};
use crate::cli::RpcWorkerArgs;
use crate::engine::Device;
use crate::engine::llama::{EngineLog, Llama};
use crate::engine::rpc;
use crate::host::{Machine, process, signals};
use crate::plan::{Devices, MAX_THREADS};
use crate::streams::note;
use crate::units;

/// How long the engine may take to listen: it asks its devices first.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a greeting of this program may take: no other client is connected yet.
const HELLO_TIMEOUT: Duration = Duration::from_secs(1);

/// Serves until a signal ends it, with [`INTERRUPTED`].
///
/// # Errors
/// In one line: for an address that cannot be listened on, and for devices that are not there.
pub fn rpc_worker(args: &RpcWorkerArgs) -> Result<u8> {
    let address = address(&args.listen)?;
    let is_loopback = address.ip().is_loopback();
    ensure!(
        is_loopback || args.allow_remote,
        "--listen {address}: other machines reach this address, and the protocol has no authentication: every client that reaches the \
         port can use this machine; listen on 127.0.0.1, or say --allow-remote"
    );
    // The engine would only say that it failed. Between this and its own listening another program may take the port, of which it
    // then says no more than that.
    drop(TcpListener::bind(address).map_err(|e| refused(address, &e))?);
    let llama = Llama::init(EngineLog::Errors)?;
    let offered = offered(&args.device, llama.facts().devices)?;
    let n_threads = match args.threads {
        Some(n) => n,
        None => Machine::probe()
            .cpu
            .available_cores
            .unwrap_or(1)
            .min(MAX_THREADS),
    };
    signals::on_ending(|_| process::leave_at_once(INTERRUPTED.into()))
        .context("cannot listen for Ctrl-C")?;
    if !is_loopback {
        note(format_args!(
            "warning: listening on {address} without authentication or encryption: every client that reaches this port can use this machine"
        ));
    }
    let names: Vec<String> = offered.iter().map(|d| d.name.clone()).collect();
    // The engine prints of every client.
    let mut stdout = process::take_stdout().context("cannot redirect standard output")?;
    let server = std::thread::Builder::new()
        .name("rpc".to_owned())
        .spawn(move || rpc::backend::serve(&address.to_string(), n_threads as usize, &names))
        .context("cannot start a thread")?;
    await_listening(address, || server.is_finished())?;
    unless_closed(writeln!(
        stdout,
        "{}",
        greeting(address, &offered, n_threads)
    ))?;
    match server.join() {
        Ok(Ok(())) => bail!("--listen {address}: the engine stopped listening"),
        Ok(Err(reason)) => bail!(reason),
        Err(_) => bail!("the engine panicked"),
    }
}

/// An IPv4 address and a port, which is all that the engine can listen on; `localhost` is an address too.
fn address(text: &str) -> Result<SocketAddrV4> {
    let numeric = text.replacen("localhost:", "127.0.0.1:", 1);
    let address: SocketAddrV4 = numeric.parse().map_err(|_| {
        anyhow!("--listen {text}: not an IPv4 address and a port, such as 127.0.0.1:50052")
    })?;
    ensure!(
        address.port() != 0,
        "--listen {text}: port 0 is no port that a client could name; take one such as 50052"
    );
    Ok(address)
}

fn refused(address: SocketAddrV4, e: &std::io::Error) -> anyhow::Error {
    match e.kind() {
        std::io::ErrorKind::AddrInUse => {
            anyhow!("--listen {address}: the port is in use; take another")
        }
        std::io::ErrorKind::AddrNotAvailable => {
            anyhow!("--listen {address}: not an address of this machine")
        }
        std::io::ErrorKind::PermissionDenied => {
            anyhow!("--listen {address}: not permitted; take a port from 1024 on")
        }
        _ => anyhow!("--listen {address}: {e}"),
    }
}

/// The devices that are asked for.
fn offered(asked: &Devices, all: Vec<Device>) -> Result<Vec<Device>> {
    let names = match asked {
        Devices::None => bail!(
            "--device none: a worker without a device computes nothing; name one, or leave it out"
        ),
        Devices::Named(names) => names,
        Devices::Auto => {
            let (gpus, rest): (Vec<_>, Vec<_>) = all.into_iter().partition(Device::takes_layers);
            let cpu = rest.into_iter().filter(|d| d.kind == "cpu").take(1);
            return Ok(if gpus.is_empty() { cpu.collect() } else { gpus });
        }
    };
    let found = names.iter().map(|name| {
        let named = all.iter().find(|d| d.name.eq_ignore_ascii_case(name));
        named.cloned().with_context(|| {
            let known: Vec<&str> = all.iter().map(|d| d.name.as_str()).collect();
            format!(
                "--device {name}: the engine has none of this name; there are {}",
                known.join(", ")
            )
        })
    });
    found.collect()
}

/// Until the engine answers as a client would see it.
fn await_listening(address: SocketAddrV4, is_finished: impl Fn() -> bool) -> Result<()> {
    let reached = match address.ip().is_unspecified() {
        true => SocketAddrV4::new(Ipv4Addr::LOCALHOST, address.port()),
        false => address,
    };
    let started = Instant::now();
    loop {
        let answer = rpc::check(&reached.to_string(), HELLO_TIMEOUT);
        // The greeting may have reached another program that took the port in between.
        ensure!(
            !is_finished(),
            "--listen {address}: the engine cannot listen there; take another port"
        );
        match answer {
            Ok(()) => return Ok(()),
            Err(reason) if started.elapsed() > START_TIMEOUT => bail!(reason),
            Err(_) => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}

fn greeting(address: SocketAddrV4, devices: &[Device], n_threads: u32) -> String {
    let devices: Vec<String> = devices
        .iter()
        .map(|d| {
            let memory = match d.memory_total_bytes {
                0 => "memory unknown".to_owned(),
                bytes => units::bytes(bytes),
            };
            let threads = match d.kind.as_str() {
                "cpu" => format!(", {n_threads} threads"),
                _ => String::new(),
            };
            format!("{} ({}, {memory}{threads})", d.name, d.description.trim())
        })
        .collect();
    format!("listening on {address} with {}", devices.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_that_a_client_can_name_are_listened_on() {
        assert_eq!(
            address("localhost:7").expect("loopback"),
            address("127.0.0.1:7").expect("same")
        );
        for (text, needle) in [
            ("127.0.0.1", "not an IPv4 address and a port"),
            ("[::1]:50052", "not an IPv4 address"),
            ("box:50052", "not an IPv4 address"),
            ("127.0.0.1:70000", "not an IPv4 address and a port"),
            ("127.0.0.1:0", "port 0"),
        ] {
            let e = address(text).expect_err(text).to_string();
            assert!(
                e.starts_with(&format!("--listen {text}: ")) && e.contains(needle),
                "{e}"
            );
        }
    }

    #[test]
    fn a_worker_offers_its_gpus_or_its_cpu() {
        let device = |name: &str, kind: &str| Device {
            name: name.to_owned(),
            description: format!("a {kind}"),
            backend: name.to_owned(),
            kind: kind.to_owned(),
            memory_total_bytes: 1 << 30,
            memory_free_bytes: 1 << 29,
            can_split_rows: false,
            pci_bus_id: None,
        };
        let all = || {
            vec![
                device("BLAS", "accel"),
                device("CPU", "cpu"),
                device("CUDA0", "gpu"),
            ]
        };
        let names = |asked: &str, all: Vec<Device>| -> Result<Vec<String>> {
            let asked = asked.parse().map_err(|e: String| anyhow!(e))?;
            Ok(offered(&asked, all)?.into_iter().map(|d| d.name).collect())
        };
        assert_eq!(names("auto", all()).expect("a GPU"), ["CUDA0"]);
        assert_eq!(names("auto", all()[..2].to_vec()).expect("a CPU"), ["CPU"]);
        assert_eq!(names("cpu,CUDA0", all()).expect("both"), ["CPU", "CUDA0"]);
        let e = names("X", all()).expect_err("unknown").to_string();
        assert!(e.contains("there are BLAS, CPU, CUDA0"), "{e}");
        assert!(names("none", all()).is_err());
        assert_eq!(
            greeting(address("127.0.0.1:7").expect("an address"), &all()[1..], 2),
            "listening on 127.0.0.1:7 with CPU (a cpu, 1.00 GiB, 2 threads), CUDA0 (a gpu, 1.00 GiB)"
        );
    }
}
