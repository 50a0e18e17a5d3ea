//! HTTP as far as it is needed: one question at a time to one server, and its answer line by line, each line with the
//! instant at which its last byte was read from the socket.
//!
//! The client is ureq, with a layer of our own between its socket and everything else ([`Watched`]): it stamps what
//! arrives, gives up when nothing does, and hears an interrupt while it waits. No redirect is followed, no proxy is
//! used (the time would be the proxy's as well), nothing compressed is asked for.

use std::fmt;
use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ureq::http::{HeaderValue, Response, StatusCode, header};
use ureq::unversioned::resolver::DefaultResolver;
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, NextTimeout, RustlsConnector, TcpConnector, Transport,
};
use ureq::{Agent, Body, BodyReader, Error};

use super::clock::JobClock;
use super::spec::ServerUrl;
use crate::text::{cut_end, plain};

/// Longest line: above the list of a whole context's tokens that Ollama sends at an answer's end.
const LINE_BYTES: usize = 4 << 20;

/// Most bytes of a streamed answer.
const STREAM_BYTES: u64 = 256 << 20;

/// Most bytes of an answer that is read whole.
const WHOLE_BYTES: u64 = 16 << 20;

/// Most bytes of an error's body that are looked at.
const ERROR_BYTES: u64 = 64 << 10;

/// Columns of a server's words that are kept.
const REASON_COLUMNS: usize = 300;

/// How often a waiting client looks whether it was interrupted.
const LOOK: Duration = Duration::from_millis(200);

/// A connection idle for longer is not used again: llama-server and uvicorn close theirs after five seconds, and a
/// request that meets the closing is lost.
const IDLE: Duration = Duration::from_secs(2);

/// After an answer's end this long is waited for the stream's, so that the connection can be used again.
const DRAIN: Duration = Duration::from_secs(2);

/// Longest wait for what a server says of itself.
const FACTS_STALL: Duration = Duration::from_secs(30);

/// How long is waited for a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// For a connection.
    pub connect: Duration,
    /// For anything at all to arrive. A server that queues requests or loads a model is silent meanwhile.
    pub stall: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            stall: Duration::from_secs(300),
        }
    }
}

/// A key that opens a server. It is shown nowhere: not by `Debug`, and [`ApiKey::hide`] takes it out of what a server
/// says.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey(String);

impl ApiKey {
    /// A key, where it can stand in a header.
    pub fn new(text: &str) -> Option<Self> {
        let text = text.trim();
        let fits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic());
        fits.then(|| Self(text.to_owned()))
    }

    /// The text without the key.
    pub fn hide(&self, text: String) -> String {
        if text.contains(&self.0) {
            text.replace(&self.0, "[key]")
        } else {
            text
        }
    }

    fn header(&self) -> Option<HeaderValue> {
        let mut value = HeaderValue::from_str(&format!("Bearer {}", self.0)).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(hidden)")
    }
}

/// Why there is no answer, or no more of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HttpError {
    /// No connection.
    #[error("no connection: {0}")]
    Refused(String),
    /// A status of 300 or above.
    #[error("HTTP {status}: {reason}")]
    Status {
        /// The status.
        status: u16,
        /// What the body says, shortened.
        reason: String,
    },
    /// The connection was closed before any answer.
    #[error("the connection was closed before any answer")]
    Closed,
    /// The connection was closed in the middle of the answer.
    #[error("the connection was closed in the middle of the answer")]
    Cut,
    /// Nothing arrived for so long.
    #[error("nothing arrived for {}", crate::units::duration(*after_ns))]
    Stalled {
        /// How long it was waited for.
        after_ns: u64,
    },
    /// The run was interrupted meanwhile.
    #[error("interrupted")]
    Interrupted,
    /// Not HTTP, not text, or too much of it.
    #[error("{0}")]
    Protocol(String),
}

/// What the layer at the socket knows and is told.
#[derive(Debug)]
struct Watch {
    clock: JobClock,
    /// Nanoseconds without anything after which a wait is given up.
    stall_ns: AtomicU64,
    /// Whether any byte of the present request was sent.
    sent: AtomicBool,
    /// Whether its connection was made for it.
    fresh: AtomicBool,
    /// When bytes last arrived.
    arrived_ns: AtomicU64,
    stop: Arc<AtomicBool>,
}

impl Watch {
    fn stalled(&self) -> HttpError {
        HttpError::Stalled {
            after_ns: self.stall_ns.load(Ordering::Relaxed),
        }
    }
}

/// Puts [`Watched`] around each connection, below TLS.
#[derive(Debug)]
struct Watcher(Arc<Watch>);

impl<In: Transport> Connector<In> for Watcher {
    type Out = Watched<In>;

    fn connect(
        &self,
        _: &ConnectionDetails,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, Error> {
        let watch = Arc::clone(&self.0);
        watch.fresh.store(true, Ordering::Relaxed);
        Ok(chained.map(|inner| Watched { inner, watch }))
    }
}

/// A connection under watch.
#[derive(Debug)]
struct Watched<T> {
    inner: T,
    watch: Arc<Watch>,
}

impl<T: Transport> Transport for Watched<T> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.inner.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        self.watch.sent.store(true, Ordering::Relaxed);
        let stall = Duration::from_nanos(self.watch.stall_ns.load(Ordering::Relaxed));
        let timeout = NextTimeout {
            after: stall.into(),
            ..timeout
        };
        match self.inner.transmit_output(amount, timeout) {
            Err(Error::Timeout(_)) => Err(Error::Other(Box::new(self.watch.stalled()))),
            other => other,
        }
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        let begin = Instant::now();
        let stall = Duration::from_nanos(self.watch.stall_ns.load(Ordering::Relaxed));
        loop {
            if self.watch.stop.load(Ordering::Relaxed) {
                return Err(Error::Other(Box::new(HttpError::Interrupted)));
            }
            let left = stall.saturating_sub(begin.elapsed());
            if left.is_zero() {
                return Err(Error::Other(Box::new(self.watch.stalled())));
            }
            let look = NextTimeout {
                after: left.min(LOOK).into(),
                ..timeout
            };
            match self.inner.await_input(look) {
                Err(Error::Timeout(_)) => {}
                other => {
                    let now = self.watch.clock.now_ns();
                    self.watch.arrived_ns.store(now, Ordering::Relaxed);
                    return other;
                }
            }
        }
    }

    fn is_open(&mut self) -> bool {
        self.inner.is_open()
    }

    fn is_tls(&self) -> bool {
        self.inner.is_tls()
    }
}

/// A client of one server, with a connection that it keeps between requests, as real clients do.
#[derive(Debug)]
pub struct Client {
    agent: Agent,
    watch: Arc<Watch>,
    stall: Duration,
    key: Option<ApiKey>,
}

impl Client {
    /// A client that has not connected yet. Once `stop` is true, waiting ends.
    pub fn new(
        patience: Patience,
        key: Option<ApiKey>,
        clock: JobClock,
        stop: Arc<AtomicBool>,
    ) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .user_agent(concat!("ggufbench/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(Some(patience.connect))
            .max_idle_age(IDLE)
            .build();
        let watch = Arc::new(Watch {
            clock,
            stall_ns: AtomicU64::new(0),
            sent: AtomicBool::new(false),
            fresh: AtomicBool::new(false),
            arrived_ns: AtomicU64::new(0),
            stop,
        });
        let connector =
            ().chain(TcpConnector::default())
                .chain(Watcher(Arc::clone(&watch)))
                .chain(RustlsConnector::default());
        Self {
            agent: Agent::with_parts(config, connector, DefaultResolver::default()),
            watch,
            stall: patience.stall,
            key,
        }
    }

    /// A client that only asks what the server is.
    pub fn of_facts(patience: Patience, key: Option<ApiKey>) -> Self {
        let patience = Patience {
            stall: patience.stall.min(FACTS_STALL),
            ..patience
        };
        Self::new(patience, key, JobClock::start(), Arc::default())
    }

    /// Nanoseconds since the job began.
    pub fn now_ns(&self) -> u64 {
        self.watch.clock.now_ns()
    }

    /// Asks for a JSON document.
    ///
    /// # Errors
    /// [`HttpError`].
    pub fn get(&mut self, url: &ServerUrl, path: &str) -> Result<serde_json::Value, HttpError> {
        let response = self.send(&url.below(path), None)?;
        self.whole(response)
    }

    /// Sends a JSON document and reads another.
    ///
    /// # Errors
    /// [`HttpError`].
    pub fn post(
        &mut self,
        url: &ServerUrl,
        path: &str,
        body: &str,
    ) -> Result<serde_json::Value, HttpError> {
        let response = self.send(&url.below(path), Some(body))?;
        self.whole(response)
    }

    /// Sends a JSON document, and gives the answer line by line.
    ///
    /// # Errors
    /// [`HttpError`]; the lines have their own.
    pub fn stream(&mut self, url: &ServerUrl, path: &str, body: &str) -> Result<Lines, HttpError> {
        let response = self.send(&url.below(path), Some(body))?;
        Ok(Lines {
            reader: response.into_body().into_reader(),
            watch: Arc::clone(&self.watch),
            key: self.key.clone(),
            buffer: Vec::new(),
            searched: 0,
            total: 0,
            ended: false,
        })
    }

    /// Asks, and asks once more by a fresh connection where the kept one turns out to be closed: a server may close one
    /// at any time after an answer, and what was sent meanwhile it never read. All clients do so.
    fn send(&mut self, url: &str, body: Option<&str>) -> Result<Response<Body>, HttpError> {
        match self.send_once(url, body) {
            Err(HttpError::Closed) if !self.watch.fresh.load(Ordering::Relaxed) => {
                self.send_once(url, body)
            }
            other => other,
        }
    }

    fn send_once(&mut self, url: &str, body: Option<&str>) -> Result<Response<Body>, HttpError> {
        let stall_ns = u64::try_from(self.stall.as_nanos()).unwrap_or(u64::MAX);
        self.watch.stall_ns.store(stall_ns, Ordering::Relaxed);
        self.watch.sent.store(false, Ordering::Relaxed);
        self.watch.fresh.store(false, Ordering::Relaxed);
        let key = self.key.as_ref().and_then(ApiKey::header);
        let answer = match body {
            None => {
                let mut request = self.agent.get(url);
                if let Some(key) = key {
                    request = request.header(header::AUTHORIZATION, key);
                }
                request.call()
            }
            Some(body) => {
                let json = HeaderValue::from_static("application/json");
                let mut request = self.agent.post(url).header(header::CONTENT_TYPE, json);
                if let Some(key) = key {
                    request = request.header(header::AUTHORIZATION, key);
                }
                request.send(body)
            }
        };
        let response = answer.map_err(|error| self.watch.classify(error, false))?;
        if response.status().as_u16() < 300 {
            return Ok(response);
        }
        Err(self.refusal(response))
    }

    /// What an answer of status 300 or above says.
    fn refusal(&self, response: Response<Body>) -> HttpError {
        let status = response.status();
        let to = response.headers().get(header::LOCATION);
        let to = to.map(|to| String::from_utf8_lossy(to.as_bytes()).into_owned());
        let mut bytes = Vec::new();
        // What of the body can be read will do.
        let _ = response
            .into_body()
            .into_reader()
            .take(ERROR_BYTES)
            .read_to_end(&mut bytes);
        let reason = match to {
            Some(to) if status.is_redirection() => {
                format!("it sends to {to}, which is not followed; name that address if it is meant")
            }
            _ => words_of(&bytes, status),
        };
        HttpError::Status {
            status: status.as_u16(),
            reason: shortened(&self.hide(reason)),
        }
    }

    /// The text without the key.
    pub fn hide(&self, text: String) -> String {
        match &self.key {
            Some(key) => key.hide(text),
            None => text,
        }
    }

    fn whole(&self, response: Response<Body>) -> Result<serde_json::Value, HttpError> {
        let mut bytes = Vec::new();
        let mut reader = response.into_body().into_reader().take(WHOLE_BYTES + 1);
        reader
            .read_to_end(&mut bytes)
            .map_err(|error| self.watch.classify(error.into(), true))?;
        if bytes.len() as u64 > WHOLE_BYTES {
            return Err(HttpError::Protocol("the answer has no end".into()));
        }
        let text = self.hide(String::from_utf8_lossy(&bytes).into_owned());
        serde_json::from_str(&text)
            .map_err(|_| HttpError::Protocol(format!("no JSON: {}", shortened(&text))))
    }
}

impl Watch {
    fn classify(&self, error: Error, answered: bool) -> HttpError {
        use std::io::ErrorKind as Kind;
        match error {
            Error::Other(inner) => match inner.downcast::<HttpError>() {
                Ok(own) => *own,
                Err(other) => HttpError::Protocol(shortened(&other.to_string())),
            },
            Error::Io(error) if self.sent.load(Ordering::Relaxed) => match error.kind() {
                Kind::UnexpectedEof
                | Kind::ConnectionReset
                | Kind::ConnectionAborted
                | Kind::BrokenPipe => {
                    if answered {
                        HttpError::Cut
                    } else {
                        HttpError::Closed
                    }
                }
                _ => HttpError::Protocol(shortened(&error.to_string())),
            },
            error if self.sent.load(Ordering::Relaxed) => {
                HttpError::Protocol(shortened(&error.to_string()))
            }
            Error::Io(error) => HttpError::Refused(shortened(&error.to_string())),
            Error::Timeout(_) => HttpError::Refused("no answer to the connection".into()),
            Error::HostNotFound => HttpError::Refused("no host of this name".into()),
            error => HttpError::Refused(shortened(&error.to_string())),
        }
    }
}

/// A line of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// When its last byte was read, nanoseconds since the job began.
    pub at_ns: u64,
    /// Its text, without the line's end.
    pub text: String,
}

/// An answer that arrives line by line.
pub struct Lines {
    reader: BodyReader<'static>,
    watch: Arc<Watch>,
    key: Option<ApiKey>,
    buffer: Vec<u8>,
    /// Bytes at the buffer's begin that hold no end of a line.
    searched: usize,
    total: u64,
    ended: bool,
}

impl Lines {
    /// Waits for the next line; none when the answer has ended.
    ///
    /// # Errors
    /// [`HttpError`], after which there is nothing more.
    pub fn next_line(&mut self) -> Result<Option<Line>, HttpError> {
        loop {
            if let Some(at) = self.buffer[self.searched..]
                .iter()
                .position(|b| *b == b'\n')
            {
                let rest = self.buffer.split_off(self.searched + at + 1);
                let mut line = std::mem::replace(&mut self.buffer, rest);
                self.searched = 0;
                line.pop();
                return self.line(line).map(Some);
            }
            self.searched = self.buffer.len();
            if self.searched > LINE_BYTES {
                let most = crate::units::bytes(LINE_BYTES as u64);
                return Err(HttpError::Protocol(format!("a line longer than {most}")));
            }
            if self.ended {
                let line = std::mem::take(&mut self.buffer);
                self.searched = 0;
                return (!line.is_empty()).then(|| self.line(line)).transpose();
            }
            self.fill()?;
        }
    }

    /// From now on only the stream's end is waited for, and not for long.
    pub fn drain(&mut self) {
        let drain_ns = u64::try_from(DRAIN.as_nanos()).unwrap_or(u64::MAX);
        self.watch.stall_ns.fetch_min(drain_ns, Ordering::Relaxed);
    }

    fn fill(&mut self) -> Result<(), HttpError> {
        let mut piece = [0; 16 << 10];
        let n = self
            .reader
            .read(&mut piece)
            .map_err(|error| self.watch.classify(error.into(), true))?;
        self.ended = n == 0;
        self.total += n as u64;
        if self.total > STREAM_BYTES {
            let most = crate::units::bytes(STREAM_BYTES);
            return Err(HttpError::Protocol(format!("an answer of over {most}")));
        }
        self.buffer.extend_from_slice(&piece[..n]);
        Ok(())
    }

    fn line(&self, mut bytes: Vec<u8>) -> Result<Line, HttpError> {
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
        let text = String::from_utf8(bytes)
            .map_err(|_| HttpError::Protocol("bytes that are no UTF-8".into()))?;
        Ok(Line {
            at_ns: self.watch.arrived_ns.load(Ordering::Relaxed),
            text: match &self.key {
                Some(key) => key.hide(text),
                None => text,
            },
        })
    }
}

/// What an error's body says: the message of the JSON that servers send, or the text.
fn words_of(body: &[u8], status: StatusCode) -> String {
    let text = String::from_utf8_lossy(body);
    let said = serde_json::from_str(&text)
        .ok()
        .and_then(|value| message_of(&value));
    let said = said.unwrap_or_else(|| text.trim().to_owned());
    if said.is_empty() {
        status.canonical_reason().unwrap_or("no reason").to_owned()
    } else {
        said
    }
}

/// The message in the forms that servers give an error: `{"error": "..."}`, `{"error": {"message": "..."}}`,
/// `{"message": "..."}`, `{"detail": "..."}`.
pub fn message_of(value: &serde_json::Value) -> Option<String> {
    if let Some(text) = value.as_str() {
        return Some(text.to_owned());
    }
    ["error", "message", "detail"]
        .iter()
        .find_map(|key| value.get(key))
        .map(|inner| message_of(inner).unwrap_or_else(|| inner.to_string()))
}

/// A server's words, fit to be shown and not too many.
pub fn shortened(text: &str) -> String {
    // Only what can be shown is made fit: texts may be huge.
    let head: String = text.trim().chars().take(4 * REASON_COLUMNS).collect();
    cut_end(&plain(&head), REASON_COLUMNS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_key_is_shown_nowhere() {
        let key = ApiKey::new(" sk-1234 \n").unwrap();
        assert_eq!(format!("{key:?}"), "ApiKey(hidden)");
        assert_eq!(key.hide("bad key sk-1234!".into()), "bad key [key]!");
        assert_eq!(format!("{:?}", key.header().unwrap()), "Sensitive");
        assert_eq!(ApiKey::new("a b"), None);
        assert_eq!(ApiKey::new("\n"), None);
    }

    #[test]
    fn errors_are_found_in_every_form() {
        let says = |value| message_of(&value);
        assert_eq!(says(json!({"error": "a"})), Some("a".into()));
        assert_eq!(says(json!({"error": {"message": "b"}})), Some("b".into()));
        assert_eq!(says(json!({"message": "c"})), Some("c".into()));
        assert_eq!(says(json!({"detail": [1]})), Some("[1]".into()));
        assert_eq!(says(json!({"ok": 1})), None);
        assert_eq!(words_of(b"", StatusCode::BAD_GATEWAY), "Bad Gateway");
        assert_eq!(words_of(b"<html>", StatusCode::BAD_GATEWAY), "<html>");
        let long = shortened(&format!("\x1b[31m{}", "x".repeat(100_000)));
        assert_eq!(crate::text::width(&long), REASON_COLUMNS);
        assert!(!long.contains('\x1b'));
    }
}
