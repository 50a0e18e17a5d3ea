//! The stopwatch: the one place where a [`Call`] is timed.

use super::{Call, Phase};
use crate::engine::{EngineError, Session};

/// What a batch that is built holds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BatchShape {
    pub phase: Phase,
    pub n_tokens: u32,
    pub n_seq: u32,
    pub n_past: u32,
}

/// Work that is done in decode calls: cells fill their batches in another way than requests, and sample otherwise.
pub(crate) trait TimedWork {
    fn now_ns(&self) -> u64;

    fn session(&mut self) -> &mut dyn Session;

    /// Waits for the call that was submitted.
    fn wait(&mut self) {
        self.session().wait();
    }

    /// Chooses the next token of every sequence that asked for logits.
    fn sample(&mut self) -> Result<(), EngineError>;
}

/// Submits the batch that is built, waits for it if `waits`, samples, and times the four spans. `last_ns` is when the call
/// before ended, and then when this one did.
///
/// # Errors
/// The engine's, of submitting; those of sampling come with the call, whose time has passed.
pub(crate) fn timed_call(
    work: &mut impl TimedWork,
    shape: BatchShape,
    waits: bool,
    last_ns: &mut u64,
) -> Result<(Call, Result<(), EngineError>), EngineError> {
    let built_ns = work.now_ns();
    work.session().submit()?;
    let submitted_ns = work.now_ns();
    if waits {
        work.wait();
    }
    let waited_ns = work.now_ns();
    let sampled = work.sample();
    let sampled_ns = work.now_ns();
    let call = Call {
        phase: shape.phase,
        n_tokens: shape.n_tokens,
        n_seq: shape.n_seq,
        n_past: shape.n_past,
        build_ns: built_ns - *last_ns,
        submit_ns: submitted_ns - built_ns,
        wait_ns: waited_ns - submitted_ns,
        sample_ns: sampled_ns - waited_ns,
    };
    *last_ns = sampled_ns;
    Ok((call, sampled))
}
