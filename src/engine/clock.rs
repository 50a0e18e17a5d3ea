//! Where instants come from: the machine's monotonic clock, or a fake one that a test moves.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// A monotonic clock in integer nanoseconds from an arbitrary origin.
pub trait Clock {
    /// Now, nanoseconds since the clock's origin.
    fn now_ns(&self) -> u64;

    /// Returns once it is `at_ns`, or somewhat later; at once when that is past.
    fn wait_until_ns(&self, at_ns: u64);

    /// The same without giving the core away, as the engine's threads do.
    fn spin_until_ns(&self, at_ns: u64) {
        while self.now_ns() < at_ns {
            std::hint::spin_loop();
        }
    }
}

/// The machine's monotonic clock.
#[derive(Debug, Clone, Copy)]
pub struct MonotonicClock {
    origin: Instant,
}

impl MonotonicClock {
    /// A clock whose origin is now.
    pub fn start() -> Self {
        Self {
            origin: Instant::now(),
        }
    }

    /// How long it is until then; none when it is past.
    pub fn until(&self, at_ns: u64) -> Option<Duration> {
        let left = at_ns.checked_sub(self.now_ns()).filter(|left| *left > 0);
        left.map(Duration::from_nanos)
    }
}

impl Clock for MonotonicClock {
    fn now_ns(&self) -> u64 {
        crate::units::nanoseconds(self.origin.elapsed())
    }

    fn wait_until_ns(&self, at_ns: u64) {
        std::thread::sleep(Duration::from_nanos(at_ns.saturating_sub(self.now_ns())));
    }
}

/// A clock that stands still until it is moved; clones share the time.
#[derive(Debug, Clone, Default)]
pub struct FakeClock {
    now_ns: Rc<Cell<u64>>,
}

impl FakeClock {
    /// Moves the time on.
    pub fn advance_ns(&self, ns: u64) {
        self.now_ns.set(self.now_ns.get() + ns);
    }
}

impl Clock for FakeClock {
    fn now_ns(&self) -> u64 {
        self.now_ns.get()
    }

    fn wait_until_ns(&self, at_ns: u64) {
        self.now_ns.set(self.now_ns.get().max(at_ns));
    }

    fn spin_until_ns(&self, at_ns: u64) {
        self.wait_until_ns(at_ns);
    }
}
