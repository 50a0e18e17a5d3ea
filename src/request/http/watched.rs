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
    /// Whether any byte of the present request was sent.
    pub(super) sent: AtomicBool,
    /// Whether its connection was made for it.
    pub(super) fresh: AtomicBool,
    /// When bytes last arrived.
    pub(super) arrived_ns: AtomicU64,
    pub(super) stop: Arc<AtomicBool>,
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
