//! An engine made slower on purpose: a planted slow-down that comparisons and the gate must find.

use super::clock::Clock;
use super::{EngineError, Session, Token};
use crate::plan::serving::Sampling;

/// A session whose every call takes longer by a share of its own time, spent spinning as the engine's threads do.
pub(super) struct SlowedSession<'a> {
    inner: Box<dyn Session + 'a>,
    clock: &'a dyn Clock,
    share: f64,
    /// When the first call that nobody has waited for was submitted.
    submitted_ns: Option<u64>,
}

impl<'a> SlowedSession<'a> {
    /// Slower by `share`: 0.05 makes a step of 10 ms one of 10.5 ms.
    pub(super) fn new(inner: Box<dyn Session + 'a>, clock: &'a dyn Clock, share: f64) -> Self {
        Self {
            inner,
            clock,
            share,
            submitted_ns: None,
        }
    }
}

impl Session for SlowedSession<'_> {
    fn n_ctx_seq(&self) -> u32 {
        self.inner.n_ctx_seq()
    }

    fn truncate(&mut self, n_past: u32) -> bool {
        self.inner.truncate(n_past)
    }

    fn remove(&mut self, seq: u32) -> bool {
        self.inner.remove(seq)
    }

    fn begin(&mut self) {
        self.inner.begin();
    }

    fn push(&mut self, token: Token, pos: u32, seq: u32, logits: bool) -> Result<(), EngineError> {
        self.inner.push(token, pos, seq, logits)
    }

    fn submit(&mut self) -> Result<(), EngineError> {
        let now_ns = self.clock.now_ns();
        self.submitted_ns.get_or_insert(now_ns);
        self.inner.submit()
    }

    fn wait(&mut self) {
        self.inner.wait();
        let Some(submitted_ns) = self.submitted_ns.take() else {
            return;
        };
        let clock = self.clock;
        let took_ns = clock.now_ns() - submitted_ns;
        let until_ns = submitted_ns + took_ns + (took_ns as f64 * self.share) as u64;
        while clock.now_ns() < until_ns {
            std::hint::spin_loop();
        }
    }

    fn greedy(&mut self, row: i32) -> Result<Token, EngineError> {
        self.inner.greedy(row)
    }

    fn set_sampler(&mut self, seq: u32, sampling: &Sampling, mask_end: bool) {
        self.inner.set_sampler(seq, sampling, mask_end);
    }

    fn sample(&mut self, row: i32, seq: u32) -> Result<Token, EngineError> {
        self.inner.sample(row, seq)
    }

    fn each_logits(&mut self, rows: &[i32], n_threads: u32, each: &(dyn Fn(usize, &[f32]) + Sync)) {
        self.inner.each_logits(rows, n_threads, each);
    }

    fn logits(&mut self, row: i32) -> &[f32] {
        self.inner.logits(row)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::engine::Engine;
    use crate::engine::clock::FakeClock;
    use crate::engine::synthetic::{SyntheticCost, SyntheticEngine};
    use crate::plan::expand::{Axes, Host, cases};

    /// A clock that moves a little whenever it is read, so that spinning on it ends.
    struct Ticking(FakeClock, Cell<u64>);

    impl Clock for Ticking {
        fn now_ns(&self) -> u64 {
            self.0.advance_ns(1);
            self.1.set(self.1.get() + 1);
            self.0.now_ns()
        }

        fn wait_until_ns(&self, at_ns: u64) {
            self.0.wait_until_ns(at_ns);
        }
    }

    #[test]
    fn a_call_takes_longer_by_the_share() {
        let clock = FakeClock::default();
        let cost = SyntheticCost {
            call_ns: 1_000_000.0,
            token_ns: 0.0,
            past_ns: 0.0,
            ..SyntheticCost::default()
        };
        let engine = SyntheticEngine::new(cost, clock.clone(), 0);
        let ticking = Ticking(clock.clone(), Cell::new(0));
        let host = Host {
            n_threads: 1,
            n_gpu_layers: 0,
        };
        let case = cases(&Axes::default(), &["m".into()], &[], host)
            .expect("valid")
            .remove(0);
        let inner = engine.open(&case).expect("opens");
        let mut session = SlowedSession::new(inner, &ticking, 0.05);
        session.begin();
        session.push(1, 0, 0, true).expect("fits");
        let before = clock.now_ns();
        session.submit().expect("computes");
        session.wait();
        let took = clock.now_ns() - before;
        assert!((1_050_000..1_050_010).contains(&took), "{took}");
        session.wait();
        assert!(
            clock.now_ns() - before - took < 5,
            "nothing to wait for, nothing to spin for"
        );
    }
}
