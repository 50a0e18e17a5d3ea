//! Warm-up: untimed rounds of a case's own first steps until the step times settle.

use serde::{Deserialize, Serialize};

use super::{Buffers, Call, CaseRun, decode_steps_ns};
use crate::engine::EngineError;
use crate::plan::{Case, WARMUP_STEPS};
use crate::stats::changepoint::{Steady, SteadyRule};

/// Most warm-up rounds; a case that has not settled by then is measured all the same, and marked.
const MAX_ROUNDS: u32 = 3;

/// CUDA graphs need two identical decode calls before the third is representative.
const MIN_STEPS: usize = 3;

/// Whether the step times of a warm-up settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Steadiness {
    Settled,
    /// The level still changed at the end: the figures deserve less trust.
    NotSteady,
    /// Too few steps to tell.
    TooShort,
}

/// Runs warm-up rounds: in each, the prompt and the first [`WARMUP_STEPS`] decode steps.
///
/// # Errors
/// The engine's.
pub fn warm_up(
    run: &mut CaseRun<'_>,
    case: &Case,
    buffers: &mut Buffers,
) -> Result<(Vec<Call>, Steadiness), EngineError> {
    let mut calls = Vec::new();
    let mut steadiness = Steadiness::TooShort;
    for _ in 0..MAX_ROUNDS {
        run.repetition(WARMUP_STEPS.min(case.n_gen), buffers)?;
        calls.extend_from_slice(&buffers.calls);
        let steps = decode_steps_ns(&calls);
        steadiness = judge(&steps);
        if steps.len() >= MIN_STEPS && steadiness == Steadiness::Settled {
            break;
        }
    }
    Ok((calls, steadiness))
}

fn judge(steps: &[f64]) -> Steadiness {
    let rule = SteadyRule {
        // Neighbours on a shared machine move single steps by more than a settled clock does; a warm-up
        // (cold caches, page faults, rising clocks) moves whole levels by tens of percent.
        relative_floor: 0.10,
        min_level: (WARMUP_STEPS / 2) as usize,
        ..SteadyRule::default()
    };
    match Steady::find(steps, rule) {
        Steady::Settled { .. } => Steadiness::Settled,
        Steady::Unsettled => Steadiness::NotSteady,
        Steady::TooShort => Steadiness::TooShort,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_settles_and_a_ramp_does_not() {
        assert_eq!(judge(&[100.0; 8]), Steadiness::Settled);
        let cold_start = [400.0, 130.0, 100.0, 101.0, 99.0, 100.0, 100.0, 102.0];
        assert_eq!(judge(&cold_start), Steadiness::Settled);
        let late_step = [100.0, 101.0, 99.0, 100.0, 101.0, 99.0, 150.0, 151.0];
        assert_eq!(judge(&late_step), Steadiness::NotSteady);
        assert_eq!(judge(&[100.0; 3]), Steadiness::TooShort);
    }
}
