//! The layer between a socket and everything else: it stamps what arrives, gives up when nothing does, and hears an
//! interrupt while it waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ureq::Error;
use ureq::unversioned::transport::{Buffers, ConnectionDetails, Connector, NextTimeout, Transport};

use super::{HttpError, shortened, trust};
use crate::engine::clock::{Clock, MonotonicClock};

/// How often a waiting client looks whether it was interrupted.
const LOOK: Duration = Duration::from_millis(200);

/// What the layer at the socket knows and is told.
#[derive(Debug)]
pub(super) struct Watch {
    pub(super) clock: MonotonicClock,
    /// Nanoseconds without anything after which a wait is given up.
    pub(super) stall_ns: AtomicU64,
    /// When the present request is given up whatever arrives, by `clock`.
    pub(super) deadline_ns: AtomicU64,
    /// How long after the request's begin that is.
    pub(super) total_ns: AtomicU64,
    /// Whether any byte of the present request was sent.
    pub(super) sent: AtomicBool,
    /// Whether its connection was made for it.
    pub(super) fresh: AtomicBool,
    /// When bytes last arrived.
    pub(super) arrived_ns: AtomicU64,
    pub(super) stop: Arc<AtomicBool>,
}

impl Watch {
    /// A request begins.
    pub(super) fn begin(&self, stall: Duration, total: Duration) {
        let (stall_ns, total_ns) = (ns(stall), ns(total));
        let deadline_ns = self.clock.now_ns().saturating_add(total_ns);
        self.stall_ns.store(stall_ns, Ordering::Relaxed);
        self.total_ns.store(total_ns, Ordering::Relaxed);
        self.deadline_ns.store(deadline_ns, Ordering::Relaxed);
    }

    /// What is still to come of the present request has at most `total`.
    pub(super) fn hurry(&self, total: Duration) {
        let deadline_ns = self.clock.now_ns().saturating_add(ns(total));
        self.deadline_ns.fetch_min(deadline_ns, Ordering::Relaxed);
    }

    /// How much longer a client that waits since `begin` may wait.
    fn left(&self, begin: Instant) -> Result<Duration, HttpError> {
        let Some(in_all) = self.clock.until(self.deadline_ns.load(Ordering::Relaxed)) else {
            return Err(HttpError::TimedOut {
                after_ns: self.total_ns.load(Ordering::Relaxed),
            });
        };
        let stall_ns = self.stall_ns.load(Ordering::Relaxed);
        let silent = Duration::from_nanos(stall_ns).saturating_sub(begin.elapsed());
        if silent.is_zero() {
            return Err(HttpError::Stalled { after_ns: stall_ns });
        }
        Ok(silent.min(in_all))
    }
}

fn ns(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn own(error: HttpError) -> Error {
    Error::Other(Box::new(error))
}

/// Puts [`Watched`] around each connection, below TLS.
#[derive(Debug)]
pub(super) struct Watcher(pub(super) Arc<Watch>);

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
pub(super) struct Watched<T> {
    inner: T,
    watch: Arc<Watch>,
}

impl<T: Transport> Transport for Watched<T> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.inner.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        self.watch.sent.store(true, Ordering::Relaxed);
        let begin = Instant::now();
        let timeout = NextTimeout {
            after: self.watch.left(begin).map_err(own)?.into(),
            ..timeout
        };
        match self.inner.transmit_output(amount, timeout) {
            // What was written of it is not known, so it cannot be gone on with.
            Err(Error::Timeout(_)) => {
                let stall_ns = self.watch.stall_ns.load(Ordering::Relaxed);
                let stalled = HttpError::Stalled { after_ns: stall_ns };
                Err(own(self.watch.left(begin).err().unwrap_or(stalled)))
            }
            other => other,
        }
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        let begin = Instant::now();
        loop {
            if self.watch.stop.load(Ordering::Relaxed) {
                return Err(own(HttpError::Interrupted));
            }
            let left = self.watch.left(begin).map_err(own)?;
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

impl Watch {
    pub(super) fn classify(&self, error: Error, answered: bool) -> HttpError {
        use std::io::ErrorKind as Kind;
        if let Some(words) = trust::certificate_words(&error) {
            return HttpError::Tls(words);
        }
        if trust::is_without_tls(&error) {
            let reason = "the server does not speak TLS; its address may begin with http://";
            return HttpError::Tls(reason.to_owned());
        }
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
