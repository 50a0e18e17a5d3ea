//! A worker's repetition in turns with the other side of its pair.

use std::time::Duration;

use anyhow::{Result, bail};

use super::protocol::{Reply, Request};
use super::worker::{Requests, reply};
use crate::engine::EngineError;
use crate::host::process;
use crate::host::usage::{UsageDelta, UsageSnapshot};
use crate::measure::{Buffers, CaseRun};
use crate::plan::Case;

/// How long the engine's threads may take to fall asleep before it is the other side's turn all the same.
const SLEEP_TIMEOUT: Duration = Duration::from_millis(50);

/// How a repetition in turns ended.
pub(super) enum RepetitionInTurns {
    /// It is whole; this is what the machine did in its turns.
    Whole(Box<UsageDelta>),
    /// The engine failed.
    Failed(EngineError),
    /// The supervisor is gone.
    Abandoned,
}

/// A repetition that stands still after the prompts and after every turn of so many decode steps. What passes meanwhile is in no
/// span and not in the usage.
pub(super) fn repeat(
    run: &mut CaseRun<'_>,
    (case, n_steps_of_turn): (&Case, u32),
    buffers: &mut Buffers,
    requests: &Requests,
) -> Result<RepetitionInTurns> {
    let mut before = UsageSnapshot::take();
    if let Err(e) = run.prompts(buffers) {
        return Ok(RepetitionInTurns::Failed(e));
    }
    let mut done = 0;
    while done < case.n_gen {
        let stood = UsageSnapshot::take();
        if case.n_threads > 1 {
            process::wait_until_idle(SLEEP_TIMEOUT);
        }
        reply(&Reply::TurnOver)?;
        match requests.next() {
            Some(Request::NextTurn) => {}
            Some(other) => {
                bail!("a repetition is not over, but the supervisor asked for {other:?}")
            }
            None => return Ok(RepetitionInTurns::Abandoned),
        }
        before = before.without(&stood, &UsageSnapshot::take());
        let until = case.n_gen.min(done.saturating_add(n_steps_of_turn.max(1)));
        if let Err(e) = run.steps(done..until, buffers) {
            return Ok(RepetitionInTurns::Failed(e));
        }
        done = until;
    }
    let usage = UsageSnapshot::take().since(&before);
    if case.n_threads > 1 {
        process::wait_until_idle(SLEEP_TIMEOUT);
    }
    Ok(RepetitionInTurns::Whole(Box::new(usage)))
}
