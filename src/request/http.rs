//! HTTP as far as it is needed: one question at a time to one server, and its answer line by line, each line with the
//! instant at which its last byte was read from the socket.
//!
//! The client is ureq, with a layer of our own (`watched`) between its socket and everything else. No redirect is followed, no proxy is
//! used (the time would be the proxy's as well), and answers are asked for uncompressed.

mod key;
pub(super) mod lines;
mod said;
mod trust;
mod watched;

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use ureq::http::{Response, header};
use ureq::unversioned::resolver::DefaultResolver;
use ureq::unversioned::transport::{Connector, RustlsConnector, TcpConnector};
use ureq::{Agent, Body, BodyReader};

use super::spec::ServerUrl;
use crate::engine::clock::{Clock, MonotonicClock};
use lines::LineCutter;
use said::words_of;
use watched::{Watch, Watcher};

pub use key::ApiKey;
pub use said::{is_said, message_of, shortened};

/// Longest line: above the list of a whole context's tokens that Ollama sends at an answer's end.
const LINE_BYTES: usize = 4 << 20;

/// Bytes that any streamed answer may have: a longest line, and what stands around it.
const ANY_BYTES: u64 = LINE_BYTES as u64 + (64 << 10);

/// Most bytes of an answer that is read whole: a parsed document takes up to sixteen times its text.
const WHOLE_BYTES: u64 = 4 << 20;

/// Most bytes of an error's body that are looked at.
const ERROR_BYTES: u64 = 64 << 10;

/// A connection idle for longer is not used again: llama-server and uvicorn close theirs after five seconds, and a
/// request that meets the closing is lost.
const IDLE: Duration = Duration::from_secs(2);

/// After an answer's end this long is waited for the stream's, so that the connection can be used again.
const DRAIN: Duration = Duration::from_secs(2);

/// Longest wait for what a server says of itself.
const FACTS_STALL: Duration = Duration::from_secs(30);

/// Deadline of a question about the server itself.
const FACTS_TOTAL: Duration = Duration::from_secs(60);

/// Time for the rest of an error's body: the status has said what matters.
const REFUSAL_TOTAL: Duration = Duration::from_secs(5);

/// A token that takes longer than this is not waited for by default.
const PER_TOKEN: Duration = Duration::from_secs(1);

/// How long is waited for a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// For a connection.
    pub connect: Duration,
    /// For anything at all to arrive. A server that queues requests or loads a model is silent meanwhile.
    pub stall: Duration,
    /// For a whole request, from asking for its connection to its last byte; none: by the tokens asked for.
    pub total: Option<Duration>,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            stall: Duration::from_secs(300),
            total: None,
        }
    }
}

impl Patience {
    /// With a deadline for each request, which a silent server may use up; none: the defaults.
    pub fn of(deadline: Option<Duration>) -> Self {
        let default = Self::default();
        match deadline {
            None => default,
            Some(total) => Self {
                connect: default.connect.min(total),
                stall: total,
                total: Some(total),
            },
        }
    }

    /// The same with a deadline in any case: without one the longest silence, and a second for each of the tokens that
    /// the server may have to make before the request's last one.
    #[must_use]
    pub fn for_tokens(self, n_tokens: u64) -> Self {
        let by_tokens = || {
            let n_tokens = u32::try_from(n_tokens).unwrap_or(u32::MAX);
            self.stall.saturating_add(PER_TOKEN * n_tokens)
        };
        Self {
            total: Some(self.total.unwrap_or_else(by_tokens)),
            ..self
        }
    }
}

/// Why there is no answer, or no more of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HttpError {
    /// No connection.
    #[error("no connection: {0}")]
    Refused(String),
    /// No connection by TLS: the server's certificate is not trusted, or it does not speak TLS.
    #[error("no connection: {0}")]
    Tls(String),
    /// A status of 300 or above.
    #[error("HTTP {status}: {reason}")]
    Status {
        /// The status.
        status: u16,
        /// What the body says, shortened.
        reason: String,
        /// For how long the server asks not to be asked again, seconds.
        retry_after_s: Option<u32>,
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
    /// Bytes arrived, and the end did not.
    #[error("not over after {}", crate::units::duration(*after_ns))]
    TimedOut {
        /// The deadline, from the request's begin.
        after_ns: u64,
    },
    /// More arrived than an answer can have.
    #[error("{0}")]
    Excess(String),
    /// The run was interrupted meanwhile.
    #[error("interrupted")]
    Interrupted,
    /// Not HTTP, not text, or too much of it.
    #[error("{0}")]
    Protocol(String),
}

/// A client of one server, with a connection that it keeps between requests, as real clients do.
#[derive(Debug)]
pub struct Client {
    agent: Agent,
    watch: Arc<Watch>,
    patience: Patience,
    key: Option<ApiKey>,
}

impl Client {
    /// A client that has not connected yet. Once `stop` is true, waiting ends.
    pub fn new(
        patience: Patience,
        key: Option<ApiKey>,
        clock: MonotonicClock,
        stop: Arc<AtomicBool>,
    ) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .user_agent(concat!("ggufbench/", env!("CARGO_PKG_VERSION")))
            .timeout_resolve(Some(patience.connect))
            .timeout_connect(Some(patience.connect))
            .max_idle_age(IDLE)
            .tls_config(trust::config())
            .build();
        let watch = Arc::new(Watch {
            clock,
            stall_ns: AtomicU64::new(0),
            deadline_ns: AtomicU64::new(u64::MAX),
            total_ns: AtomicU64::new(u64::MAX),
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
            patience,
            key,
        }
    }

    /// A client that only asks what the server is.
    pub fn of_facts(patience: Patience, key: Option<ApiKey>) -> Self {
        let patience = Patience {
            stall: patience.stall.min(FACTS_STALL),
            total: Some(patience.total.unwrap_or(FACTS_TOTAL).min(FACTS_TOTAL)),
            ..patience
        };
        Self::new(patience, key, MonotonicClock::start(), Arc::default())
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

    /// Sends a JSON document, and gives the answer line by line, of at most `most_bytes` beyond what any may have.
    ///
    /// # Errors
    /// [`HttpError`]; the lines have their own.
    pub fn stream(
        &mut self,
        url: &ServerUrl,
        path: &str,
        body: &str,
        most_bytes: u64,
    ) -> Result<ResponseLines, HttpError> {
        let response = self.send(&url.below(path), Some(body))?;
        Ok(ResponseLines {
            reader: response.into_body().into_reader(),
            watch: Arc::clone(&self.watch),
            cutter: LineCutter::default(),
            total: 0,
            most_bytes: most_bytes.saturating_add(ANY_BYTES),
            ended: false,
        })
    }

    /// Asks, and asks once more by a fresh connection where the kept one turns out to be closed: a server may close one
    /// at any time after an answer, and what was sent meanwhile it never read. All clients do so.
    fn send(&mut self, url: &str, body: Option<&str>) -> Result<Response<Body>, HttpError> {
        let total = self.patience.total.unwrap_or(Duration::MAX);
        self.watch.begin(self.patience.stall, total);
        match self.send_once(url, body) {
            Err(HttpError::Closed) if !self.watch.fresh.load(Ordering::Relaxed) => {
                self.send_once(url, body)
            }
            other => other,
        }
    }

    fn send_once(&mut self, url: &str, body: Option<&str>) -> Result<Response<Body>, HttpError> {
        self.watch.sent.store(false, Ordering::Relaxed);
        self.watch.fresh.store(false, Ordering::Relaxed);
        let request = ureq::http::Request::builder()
            .uri(url)
            .header(header::ACCEPT_ENCODING, "identity");
        let key = self.key.as_ref().and_then(ApiKey::header);
        let request = match key {
            Some(key) => request.header(header::AUTHORIZATION, key),
            None => request,
        };
        let answer = match body {
            None => request.body(()).map(|request| self.agent.run(request)),
            Some(body) => request
                .method("POST")
                .header(header::CONTENT_TYPE, "application/json")
                .body(body)
                .map(|request| self.agent.run(request)),
        };
        // A text that is not an address was refused when it was read.
        let answer = answer.map_err(|error| HttpError::Protocol(error.to_string()))?;
        let response = answer.map_err(|error| self.watch.classify(error, false))?;
        if response.status().as_u16() < 300 {
            return uncompressed(response);
        }
        Err(self.refusal(response))
    }

    /// What an answer of status 300 or above says.
    fn refusal(&self, response: Response<Body>) -> HttpError {
        let status = response.status();
        let to = response.headers().get(header::LOCATION);
        let to = to.map(|to| String::from_utf8_lossy(to.as_bytes()).into_owned());
        let retry_after = response.headers().get(header::RETRY_AFTER);
        let retry_after_s = retry_after.and_then(|s| s.to_str().ok()?.trim().parse().ok());
        let is_compressed = compression(&response).is_some();
        let mut bytes = Vec::new();
        self.watch.hurry(REFUSAL_TOTAL);
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
            _ if is_compressed => format!("{status}, in compressed words"),
            _ => words_of(&bytes, status),
        };
        HttpError::Status {
            status: status.as_u16(),
            reason: shortened(&reason),
            retry_after_s,
        }
    }

    fn whole(&self, response: Response<Body>) -> Result<serde_json::Value, HttpError> {
        let mut bytes = Vec::new();
        let mut reader = response.into_body().into_reader().take(WHOLE_BYTES + 1);
        reader
            .read_to_end(&mut bytes)
            .map_err(|error| self.watch.classify(error.into(), true))?;
        if bytes.len() as u64 > WHOLE_BYTES {
            let most = crate::units::bytes(WHOLE_BYTES);
            return Err(HttpError::Excess(format!("an answer of over {most}")));
        }
        let text = String::from_utf8_lossy(&bytes);
        serde_json::from_str(&text)
            .map_err(|_| HttpError::Protocol(format!("no JSON: {}", shortened(&text))))
    }
}

/// The answer, unless it is compressed, although that was not asked for.
fn uncompressed(response: Response<Body>) -> Result<Response<Body>, HttpError> {
    match compression(&response) {
        Some(how) => Err(HttpError::Protocol(shortened(&format!(
            "a compressed answer ({how}), which was not asked for: pieces cannot be timed in it; \
             switch compression off at the server or its proxy"
        )))),
        None => Ok(response),
    }
}

/// How an answer is compressed.
fn compression(response: &Response<Body>) -> Option<String> {
    let how = response.headers().get(header::CONTENT_ENCODING)?;
    let how = String::from_utf8_lossy(how.as_bytes()).trim().to_owned();
    (!how.is_empty() && !how.eq_ignore_ascii_case("identity")).then_some(how)
}

/// A line of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResponseLine {
    /// When its last byte was read, nanoseconds since the job began.
    pub at_ns: u64,
    /// Its text, without the line's end.
    pub text: String,
}

/// An answer that arrives line by line.
pub struct ResponseLines {
    reader: BodyReader<'static>,
    watch: Arc<Watch>,
    cutter: LineCutter,
    total: u64,
    most_bytes: u64,
    ended: bool,
}

impl ResponseLines {
    /// Waits for the next line; none when the answer has ended.
    ///
    /// # Errors
    /// [`HttpError`], after which there is nothing more.
    pub fn next_line(&mut self) -> Result<Option<ResponseLine>, HttpError> {
        loop {
            if let Some(text) = self.cutter.next() {
                return Ok(Some(self.line(text)));
            }
            if self.cutter.pending() > LINE_BYTES {
                let most = crate::units::bytes(LINE_BYTES as u64);
                return Err(HttpError::Protocol(format!("a line longer than {most}")));
            }
            if self.ended {
                let rest = self.cutter.rest();
                return Ok(rest.map(|text| self.line(text)));
            }
            self.fill()?;
        }
    }

    /// From now on only the stream's end is waited for, and not for long.
    pub fn drain(&mut self) {
        self.watch.hurry(DRAIN);
    }

    fn fill(&mut self) -> Result<(), HttpError> {
        let mut piece = [0; 16 << 10];
        let n = self
            .reader
            .read(&mut piece)
            .map_err(|error| self.watch.classify(error.into(), true))?;
        self.ended = n == 0;
        self.total += n as u64;
        if self.total > self.most_bytes {
            let most = crate::units::bytes(self.most_bytes);
            return Err(HttpError::Excess(format!("an answer of over {most}")));
        }
        self.cutter.push(&piece[..n]);
        Ok(())
    }

    fn line(&self, text: String) -> ResponseLine {
        ResponseLine {
            at_ns: self.watch.arrived_ns.load(Ordering::Relaxed),
            text,
        }
    }
}
