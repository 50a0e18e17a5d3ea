//! The one clock of a job: nanoseconds since it began.

use std::time::{Duration, Instant};

/// A monotonic clock that all threads of a job share.
#[derive(Debug, Clone, Copy)]
pub struct JobClock {
    begin: Instant,
}

impl JobClock {
    /// A job that begins now.
    pub fn start() -> Self {
        Self {
            begin: Instant::now(),
        }
    }

    /// Nanoseconds since the job began.
    pub fn now_ns(&self) -> u64 {
        u64::try_from(self.begin.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// How long it is until then; none when it is past.
    pub fn until(&self, at_ns: u64) -> Option<Duration> {
        at_ns
            .checked_sub(self.now_ns())
            .filter(|left| *left > 0)
            .map(Duration::from_nanos)
    }
}
