//! The rule by which a cell passes or fails: changes in, verdicts out.

use serde::Serialize;

use crate::compare::change::Change;
use crate::stats::Alternative;
use crate::stats::test::holm;

/// When a cell passes and when it fails.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Rule {
    /// Relative slow-down that is tolerated; the null is "slower by at most this".
    pub tolerance: f64,
    /// Chance of any false alarm among all cells of a night at which the null is given up, after Holm.
    pub alpha: f64,
    /// Level of the one-sided bound that must lie below the tolerance for a cell to pass.
    pub pass_level: f64,
    /// The same as `alpha` for the rerun, which tests only what was suspected.
    pub confirm_alpha: f64,
}

impl Default for Rule {
    fn default() -> Self {
        Self {
            tolerance: 0.03,
            alpha: 0.001,
            pass_level: 0.95,
            confirm_alpha: 0.05,
        }
    }
}

/// A cell's verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CellVerdict {
    /// A slow-down beyond the tolerance is excluded.
    Pass,
    /// Slower than tolerated, tonight and in the rerun.
    Regression,
    /// Slower than tolerated tonight; no rerun has confirmed it.
    Suspected,
    /// Neither is shown.
    Inconclusive,
}

impl CellVerdict {
    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Regression => "regression",
            Self::Suspected => "suspected",
            Self::Inconclusive => "inconclusive",
        }
    }
}

/// What the rule says of one change.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Judged {
    pub p: Option<f64>,
    pub p_adjusted: Option<f64>,
    pub verdict: CellVerdict,
    pub more_processes: Option<usize>,
}

/// Applies the rule to all cells of a night together.
pub(super) fn judge(changes: &[Option<Change>], rule: &Rule) -> Vec<Judged> {
    let p_of = |c: &Change| c.p_value(rule.tolerance, Alternative::Greater);
    let p: Vec<f64> = changes.iter().flatten().map(p_of).collect();
    let mut adjusted = holm(&p).unwrap_or_default().into_iter();
    let (n, mut p) = (p.len(), p.into_iter());
    changes
        .iter()
        .map(|change| {
            let Some(change) = change else {
                return Judged {
                    p: None,
                    p_adjusted: None,
                    verdict: CellVerdict::Inconclusive,
                    more_processes: None,
                };
            };
            let (p, p_adjusted) = (p.next(), adjusted.next());
            let excluded = change.p_value(rule.tolerance, Alternative::Less);
            let verdict = if p_adjusted.is_some_and(|p| p <= rule.alpha) {
                CellVerdict::Suspected
            } else if excluded <= 1.0 - rule.pass_level {
                CellVerdict::Pass
            } else {
                CellVerdict::Inconclusive
            };
            Judged {
                p,
                p_adjusted,
                verdict,
                more_processes: (verdict == CellVerdict::Inconclusive)
                    .then(|| needed(change, rule, n))
                    .flatten(),
            }
        })
        .collect()
}

/// More processes that would let the cell pass, or fail, whichever side of the tolerance its estimate is on.
fn needed(change: &Change, rule: &Rule, n_cells: usize) -> Option<usize> {
    // One-sided levels as the two-sided ones with the same quantile.
    let level = if change.slowdown().estimate < rule.tolerance {
        2.0 * rule.pass_level - 1.0
    } else {
        1.0 - 2.0 * rule.alpha / n_cells as f64
    };
    change.more_processes(&[(rule.tolerance, level)])
}
