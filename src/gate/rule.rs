//! The rule by which a cell passes or fails: evidence in, verdicts out.

use serde::Serialize;

use super::baseline::CellEvidence;
use super::scores;
use crate::compare::change::Change;
use crate::compare::samples::Disturbed;
use crate::stats::Alternative;
use crate::stats::sequential::{PairDecision, PairRule, PairVerdict};
use crate::stats::test::holm;
use crate::stats::variance::Variance;

/// Degrees of freedom of the assumption of how much nights differ: it weighs as much as five nights. Then the first week of a
/// history counts, and false alarms stay below 1% where nights really differ by 5% (`simulation.rs`).
const NIGHT_SD_DF: f64 = 4.0;

/// When a cell passes and when it fails.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Rule {
    /// Relative slow-down that is tolerated; the null is "slower by at most this".
    pub tolerance: f64,
    /// Chance of any false alarm among all cells of a night at which the null is rejected, after Holm.
    pub alpha: f64,
    /// Level of the one-sided bound that must lie below the tolerance for a cell to pass.
    pub pass_level: f64,
    /// The same as `alpha` for the rerun, which tests only what was suspected.
    pub confirm_alpha: f64,
    /// Relative standard deviation between nights that is assumed where a single run is the baseline, until the history
    /// shows it. 12 runs of llama-bench on a shared virtual machine differed by 3.7%.
    pub night_sd: f64,
    /// Against a single run: the chance of such a slow-down between two nights with that spread, at or below which the
    /// difference between nights is no explanation. Not corrected for the number of cells: a night affects all of them.
    pub night_alpha: f64,
}

impl Default for Rule {
    fn default() -> Self {
        Self {
            tolerance: 0.03,
            alpha: 0.001,
            pass_level: 0.95,
            confirm_alpha: 0.05,
            night_sd: 0.035,
            night_alpha: 0.01,
        }
    }
}

impl Rule {
    /// The same rule for pairs that were measured until decided.
    pub(super) fn of_pairs(&self) -> PairRule {
        PairRule {
            tolerance: self.tolerance,
            alpha_slower: self.alpha,
            alpha_not_slower: 1.0 - self.pass_level,
            ..PairRule::default()
        }
    }

    /// The assumption of how much the logarithms of times differ between nights.
    pub(super) fn assumed_nights(&self) -> Variance {
        Variance {
            value: self.night_sd.powi(2),
            df: NIGHT_SD_DF,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CellVerdict {
    /// A slow-down beyond the tolerance is excluded.
    Pass,
    /// Slower than tolerated, tonight and in the rerun; or shown by pairs that were measured until decided, which have
    /// new processes each; or a worse score, which chance does not change.
    Regression,
    /// Slower than tolerated tonight; no rerun has confirmed it.
    Suspected,
    Inconclusive,
}

impl CellVerdict {
    pub fn word(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Regression => "regression",
            Self::Suspected => "suspected",
            Self::Inconclusive => "inconclusive",
        }
    }
}

/// Why a cell is inconclusive although it has been measured enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "why", rename_all = "snake_case")]
pub enum Doubt {
    /// Slower than the single run, but not by more than two nights may differ.
    Night,
    /// The machine was disturbed on one side much more than on the other, and the undisturbed repetitions do not give
    /// the same verdict.
    Disturbed {
        /// Repetitions tonight, or in the rerun.
        tonight: Disturbed,
        /// Repetitions of the baseline.
        baseline: Disturbed,
    },
    /// Suspected, but the rerun does not show it.
    NotSeenAgain,
    /// Suspected, and the rerun shows neither that nor the contrary.
    UndecidedAgain {
        /// How many more pairs, or more processes a side, would decide the rerun, about; `None` when more would not.
        more: Option<usize>,
    },
    /// The rerun has no repetition of the cell.
    NotMeasuredAgain,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct RuleOutcome {
    pub p: Option<f64>,
    pub p_adjusted: Option<f64>,
    pub p_night: Option<f64>,
    pub verdict: CellVerdict,
    pub doubt: Option<Doubt>,
    pub more_processes: Option<usize>,
}

/// Applies the rule to all cells of a night together.
pub(super) fn judge<'a>(
    cells: impl Iterator<Item = &'a CellEvidence> + Clone,
    rule: &Rule,
) -> Vec<RuleOutcome> {
    let rule_of = |e: &CellEvidence| scores::rule_with(rule, e.rounding.unwrap_or(0.0));
    let p_of = |e: &CellEvidence| {
        let change = e.change.as_ref()?;
        Some(change.p_value(rule_of(e).tolerance, Alternative::Greater))
    };
    let p: Vec<f64> = cells
        .clone()
        .filter(|e| e.pairs.is_none())
        .filter_map(p_of)
        .collect();
    let mut adjusted = holm(&p).unwrap_or_default().into_iter();
    let (n, mut p) = (p.len(), p.into_iter());
    cells
        .map(|evidence| {
            if let Some(decision) = &evidence.pairs {
                return of_pairs(decision);
            }
            let Some(change) = &evidence.change else {
                return RuleOutcome {
                    p: None,
                    p_adjusted: None,
                    p_night: None,
                    verdict: CellVerdict::Inconclusive,
                    doubt: None,
                    more_processes: None,
                };
            };
            let rule = &rule_of(evidence);
            let (p, p_adjusted) = (p.next(), adjusted.next());
            let p_night = evidence.night.and_then(|night| {
                let error = night.of_a_difference();
                change.p_value_with(error, rule.tolerance, Alternative::Greater)
            });
            let (verdict, doubt) = match verdict(change, p_adjusted, p_night, rule) {
                // Measured again, a score would be the same.
                (CellVerdict::Suspected, None) if evidence.rounding.is_some() => {
                    (CellVerdict::Regression, None)
                }
                other => other,
            };
            let lacks_data = verdict == CellVerdict::Inconclusive && doubt.is_none();
            RuleOutcome {
                p,
                p_adjusted,
                p_night,
                verdict,
                doubt,
                more_processes: lacks_data.then(|| needed(change, rule, n)).flatten(),
            }
        })
        .collect()
}

/// What pairs show needs no correction here: their rule includes the number of cells.
fn of_pairs(decision: &PairDecision) -> RuleOutcome {
    RuleOutcome {
        p: None,
        p_adjusted: None,
        p_night: None,
        verdict: match decision.verdict {
            PairVerdict::Slower => CellVerdict::Regression,
            PairVerdict::Faster | PairVerdict::NotSlower => CellVerdict::Pass,
            PairVerdict::Undecided => CellVerdict::Inconclusive,
        },
        doubt: None,
        more_processes: decision.more_pairs,
    }
}

fn verdict(
    change: &Change,
    p_adjusted: Option<f64>,
    p_night: Option<f64>,
    rule: &Rule,
) -> (CellVerdict, Option<Doubt>) {
    let excluded = change.p_value(rule.tolerance, Alternative::Less);
    if p_adjusted.is_some_and(|p| p <= rule.alpha) {
        return match p_night {
            Some(p) if p > rule.night_alpha => (CellVerdict::Inconclusive, Some(Doubt::Night)),
            _ => (CellVerdict::Suspected, None),
        };
    }
    if excluded <= 1.0 - rule.pass_level {
        return (CellVerdict::Pass, None);
    }
    (CellVerdict::Inconclusive, None)
}

/// How many more processes would let the cell pass or fail, by the side of the tolerance that its estimate is on.
fn needed(change: &Change, rule: &Rule, n_cells: usize) -> Option<usize> {
    // One-sided levels as the two-sided ones with the same quantile.
    let level = if change.slowdown().estimate < rule.tolerance {
        2.0 * rule.pass_level - 1.0
    } else {
        1.0 - 2.0 * rule.alpha / n_cells as f64
    };
    change.more_processes(&[(rule.tolerance, level)])
}
