//! When a cell has been measured enough.

use crate::plan::Protocol;
use crate::record::StoppedBy;
use crate::request::figures::{ComparedAnswers, RequestFigures};
use crate::request::{Experiment, Job};
use crate::stats::equivalence::{self, EqualityRule};
use crate::stats::interval;
use crate::stats::sequential::{self, PairRule};

/// Level of every interval this program prints.
pub const LEVEL: f64 = 0.95;

/// Whether, and why, a cell needs no further repetition in this process.
///
/// `here` holds the median decode step of each of this process's repetitions, nanoseconds; `n_here` is
/// how many this replicate made, in earlier processes of a resumed run too.
///
/// The precision is that of the process's own median: what differs between processes (page and thread
/// placement, clocks) is told by more processes, never by more repetitions in one.
pub fn verdict(
    here: &[f64],
    n_here: u32,
    time_is_over: bool,
    protocol: &Protocol,
) -> Option<StoppedBy> {
    if n_here < protocol.min_repetitions {
        return None;
    }
    if n_here >= protocol.max_repetitions {
        return Some(StoppedBy::MaxRepetitions);
    }
    if time_is_over {
        return Some(StoppedBy::Budget);
    }
    is_within(&[here.to_vec()], protocol.precision).then_some(StoppedBy::Precision)
}

/// Whether the interval of the median over some processes' values is within `precision` to each side.
pub fn is_within(processes: &[Vec<f64>], precision: f64) -> bool {
    interval::median_interval(processes, LEVEL)
        .and_then(|i| i.relative_half_width())
        .is_some_and(|share| share <= precision)
}

/// Whether that holds with and without the last process: an interval that is narrow by luck seldom is so twice.
pub fn stays_within(processes: &[Vec<f64>], precision: f64) -> bool {
    let before = processes.len().saturating_sub(1);
    is_within(processes, precision) && is_within(&processes[..before], precision)
}

/// Whether another pair of a cell, in a plan of `n_cells`, would be of no use: it has a verdict, or there is none to judge.
pub fn is_decided(log_ratios: &[f64], n_cells: usize, tolerance: f64) -> bool {
    let rule = PairRule {
        tolerance,
        ..PairRule::default()
    };
    sequential::decide(log_ratios, n_cells, &rule).is_none_or(|decision| decision.is_final)
}

/// Whether another question of a compared job would be of no use: every side is shown to be equal to the first or different from
/// it, the control is seen, or there are as many questions as there may be.
pub fn is_answered(job: &Job, answers: &ComparedAnswers) -> bool {
    let n_sides = job.n_sides();
    let most = job.compared.as_ref().and_then(|c| c.most);
    if most.is_none_or(|most| answers.n_asked / n_sides >= most) {
        return true;
    }
    let rule = EqualityRule::default();
    if job.experiment == Experiment::DifficultyControl {
        let ttft = |r: &RequestFigures| r.ttft_ns.map(|ns| ns as f64);
        return equivalence::is_above(&answers.log_ratios(1, false, ttft), &rule);
    }
    let compared = job.compared.as_ref();
    let is_planted = |side: usize| compared.is_some_and(|c| c.is_planted(side));
    let sides = 1..n_sides as usize;
    let n_compared = sides.clone().filter(|side| !is_planted(*side)).count();
    sides.into_iter().all(|side| {
        let log_ratios = answers.log_ratios(side, true, |r| r.tpot_ns);
        if is_planted(side) {
            return equivalence::is_above(&log_ratios, &rule);
        }
        let decision = equivalence::decide(&log_ratios, n_compared, &rule);
        decision.is_some_and(|decision| decision.verdict.is_final())
    })
}

/// Whether another round of targets in turns would be of no use: each other target is shown to be equal to the base or different
/// from it, or there is nothing to compare.
pub fn are_compared(log_ratios: &[Vec<f64>], n_comparisons: usize) -> bool {
    log_ratios.iter().all(|ratios| {
        let decision = equivalence::decide(ratios, n_comparisons, &EqualityRule::of_targets());
        decision.is_none_or(|decision| decision.verdict.is_final())
    })
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;
    use rand_distr::StandardNormal;

    use super::*;

    fn protocol() -> Protocol {
        Protocol {
            min_repetitions: 2,
            max_repetitions: 5,
            precision: 0.02,
            ..Protocol::default()
        }
    }

    #[test]
    fn fewest_most_budget_and_precision_in_this_order() {
        let p = protocol();
        let wide = [100.0, 150.0, 90.0, 170.0];
        let narrow = [100.0, 100.1, 100.0];
        assert_eq!(verdict(&narrow, 1, true, &p), None, "the fewest come first");
        assert_eq!(verdict(&wide, 4, false, &p), None);
        assert_eq!(verdict(&wide, 4, true, &p), Some(StoppedBy::Budget));
        assert_eq!(
            verdict(&wide, 5, false, &p),
            Some(StoppedBy::MaxRepetitions)
        );
        assert_eq!(verdict(&narrow, 3, false, &p), Some(StoppedBy::Precision));
    }

    /// Share of intervals that cover the truth, and mean number of processes, when processes are added one by one until
    /// the precision: `cv` between processes, from `fewest` on, at most 20.
    fn adding_processes(cv: f64, fewest: usize, trials: u32) -> (f64, f64) {
        let mut rng = ChaCha8Rng::seed_from_u64(20_260_131);
        let (mut covered, mut processes) = (0_u32, 0_usize);
        for _ in 0..trials {
            let mut process = || vec![(cv * rng.sample::<f64, _>(StandardNormal)).exp()];
            let mut steps: Vec<Vec<f64>> = (0..fewest).map(|_| process()).collect();
            while steps.len() < 20 && !stays_within(&steps, 0.02) {
                steps.push(process());
            }
            let interval = interval::median_interval(&steps, LEVEL).expect("processes differ");
            covered += u32::from(interval.contains(1.0));
            processes += steps.len();
        }
        let share = |n: f64| n / f64::from(trials);
        (share(f64::from(covered)), share(processes as f64))
    }

    #[test]
    fn adding_processes_keeps_most_of_the_coverage() {
        for cv in [0.01, 0.02, 0.03, 0.05] {
            let (covered, _) = adding_processes(cv, 6, 1500);
            assert!((0.91..0.98).contains(&covered), "{cv}: {covered}");
        }
    }

    /// `cargo test --release coverage_of_adding_processes -- --ignored --nocapture` prints METHODOLOGY's figures.
    #[test]
    #[ignore = "a table, not a check"]
    fn coverage_of_adding_processes() {
        for fewest in [4, 6] {
            for cv in [0.005, 0.01, 0.02, 0.03, 0.05] {
                let (covered, n) = adding_processes(cv, fewest, 20_000);
                println!(
                    "from {fewest}, cv {cv}: {:.1}% covered, {n:.1} processes",
                    covered * 100.0
                );
            }
        }
    }
}
