//! A server on a real socket that says what the test tells it to, byte by byte: HTTP is written by hand, so that it can
//! also be wrong.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use ggufbench::request::spec::ServerUrl;
use serde_json::Value;

/// Nothing is waited for longer than this: a test then fails instead of hanging.
const PATIENCE: Duration = Duration::from_secs(20);

/// A request as it was received.
#[derive(Debug, Clone)]
pub struct Seen {
    pub method: String,
    pub path: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: String,
    /// Which connection it came by, from 0.
    pub connection: u32,
}

impl Seen {
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).expect("the body is JSON")
    }
}

/// What the fake does for a request, in order.
pub enum Step {
    /// Writes these bytes as they are.
    Raw(Vec<u8>),
    /// Writes these as one chunk of the chunked encoding.
    Chunk(Vec<u8>),
    /// Ends the chunked encoding.
    End,
    /// Waits until the gate is open.
    Wait(Gate),
    /// Opens a gate.
    Open(Gate),
    /// Says nothing until the client closes.
    Hold,
    /// Writes these bytes again and again, with a pause after each time, until the client closes.
    Drip(Vec<u8>, Duration),
    /// Closes the connection.
    Close,
    /// Stops listening: whoever connects from now on is refused.
    Deafen,
}

/// A door that is opened once.
#[derive(Clone, Default)]
pub struct Gate(Arc<(Mutex<u32>, Condvar)>);

impl Gate {
    pub fn open(&self) {
        self.arrive();
    }

    /// One more has come.
    pub fn arrive(&self) {
        *self.0.0.lock().expect("no panic") += 1;
        self.0.1.notify_all();
    }

    pub fn is_open(&self) -> bool {
        *self.0.0.lock().expect("no panic") > 0
    }

    /// Whether `n` came in time.
    pub fn wait_for(&self, n: u32) -> bool {
        let guard = self.0.0.lock().expect("no panic");
        let waited = self
            .0
            .1
            .wait_timeout_while(guard, PATIENCE, |count| *count < n);
        *waited.expect("no panic").0 >= n
    }
}

type Script = dyn Fn(usize, &Seen) -> Vec<Step> + Send + Sync;

struct Shared {
    script: Box<Script>,
    seen: Mutex<Vec<Seen>>,
    connections: AtomicU32,
    closed: AtomicBool,
}

/// The server.
pub struct Fake {
    address: SocketAddr,
    shared: Arc<Shared>,
    listening: Option<thread::JoinHandle<()>>,
}

impl Fake {
    /// Starts one; `script` gets the request's number over all connections, from 0.
    pub fn start(script: impl Fn(usize, &Seen) -> Vec<Step> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound");
        let shared = Arc::new(Shared {
            script: Box::new(script),
            seen: Mutex::default(),
            connections: AtomicU32::new(0),
            closed: AtomicBool::new(false),
        });
        let inside = Arc::clone(&shared);
        let listening = thread::spawn(move || listen(&listener, &inside, address));
        Self {
            address,
            shared,
            listening: Some(listening),
        }
    }

    pub fn url(&self, path: &str) -> ServerUrl {
        ServerUrl::parse(&format!("http://{}{path}", self.address)).expect("an address")
    }

    /// All requests so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().expect("no panic").clone()
    }

    /// Connections so far.
    pub fn connections(&self) -> u32 {
        self.shared.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.listening.take() {
            let _ = thread.join();
        }
    }
}

fn listen(listener: &TcpListener, shared: &Arc<Shared>, address: SocketAddr) {
    for stream in listener.incoming().flatten() {
        if shared.closed.load(Ordering::SeqCst) {
            return;
        }
        let connection = shared.connections.fetch_add(1, Ordering::SeqCst);
        let shared = Arc::clone(shared);
        // It ends when the client closes.
        thread::spawn(move || serve(&stream, connection, &shared, address));
    }
}

fn serve(stream: &TcpStream, connection: u32, shared: &Shared, address: SocketAddr) {
    stream.set_nodelay(true).expect("a socket");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
    let mut reader = BufReader::new(stream.try_clone().expect("a socket"));
    while let Some(seen) = receive(&mut reader, connection) {
        let number = {
            let mut all = shared.seen.lock().expect("no panic");
            all.push(seen.clone());
            all.len() - 1
        };
        for step in (shared.script)(number, &seen) {
            if !perform(step, stream, shared, address) {
                let _ = stream.shutdown(Shutdown::Both);
                return;
            }
        }
    }
}

/// Does a step; false when the connection is over.
fn perform(step: Step, mut stream: &TcpStream, shared: &Shared, address: SocketAddr) -> bool {
    match step {
        Step::Raw(bytes) => stream.write_all(&bytes).is_ok(),
        Step::Chunk(bytes) => {
            let mut chunk = format!("{:x}\r\n", bytes.len()).into_bytes();
            chunk.extend(bytes);
            chunk.extend(b"\r\n");
            stream.write_all(&chunk).is_ok()
        }
        Step::End => stream.write_all(b"0\r\n\r\n").is_ok(),
        Step::Wait(gate) => gate.wait_for(1),
        Step::Open(gate) => {
            gate.open();
            true
        }
        Step::Hold => {
            while matches!(stream.read(&mut [0; 64]), Ok(1..)) {}
            false
        }
        Step::Drip(bytes, pause) => {
            // A client that never closes fails its test by what it makes of the end.
            let began = Instant::now();
            while began.elapsed() < PATIENCE && stream.write_all(&bytes).is_ok() {
                thread::sleep(pause);
            }
            false
        }
        Step::Close => false,
        Step::Deafen => {
            shared.closed.store(true, Ordering::SeqCst);
            // The listener looks at the flag when somebody comes.
            while TcpStream::connect(address).is_ok() {
                thread::yield_now();
            }
            true
        }
    }
}

fn receive(reader: &mut BufReader<TcpStream>, connection: u32) -> Option<Seen> {
    let mut line = || {
        let mut line = String::new();
        let n = reader.read_line(&mut line).ok()?;
        (n > 0).then(|| line.trim_end().to_owned())
    };
    let first = line()?;
    let mut words = first.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = Vec::new();
    loop {
        let header = line()?;
        let Some((key, value)) = header.split_once(':') else {
            break;
        };
        headers.push((key.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let length = headers.iter().find(|(key, _)| key == "content-length");
    let length: usize = length.map_or(0, |(_, value)| value.parse().expect("a length"));
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Seen {
        method,
        path,
        headers,
        body: String::from_utf8(body).expect("UTF-8"),
        connection,
    })
}

/// The head of an answer whose body is chunked.
pub fn head(content_type: &str) -> Step {
    raw(&format!(
        "HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nTransfer-Encoding: chunked\r\n\r\n"
    ))
}

pub fn raw(text: &str) -> Step {
    Step::Raw(text.as_bytes().to_vec())
}

/// A whole answer with a length.
pub fn whole(status: &str, body: &str) -> Vec<Step> {
    vec![raw(&format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    ))]
}

/// A streamed answer, each piece a chunk of its own.
pub fn stream<T: AsRef<[u8]>>(content_type: &str, pieces: &[T]) -> Vec<Step> {
    let chunks = pieces
        .iter()
        .map(|piece| Step::Chunk(piece.as_ref().to_vec()));
    let mut steps = vec![head(content_type)];
    steps.extend(chunks);
    steps.push(Step::End);
    steps
}
