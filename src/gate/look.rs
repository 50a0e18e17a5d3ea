//! One look at a night: every cell's evidence judged together, and judged again without what was disturbed.
//!
//! Why not simply leave disturbed repetitions out: a regression may itself disturb (memory that swaps, code that throttles, work
//! that the kernel does on our behalf and that counts as others'), and leaving out what it made slow would hide it. Why
//! not simply keep them: another process on one night only is no change of the program. So a verdict that an uneven
//! disturbance favours must hold both ways.

use super::baseline::{Baseline, Evidence, View};
use super::rule::{CellVerdict, Doubt, Judged, Rule, judge};
use crate::compare::samples::{Disturbed, Samples};
use crate::compare::side::Side;

/// Shares of disturbed repetitions that differ by more than this are uneven: a process of the usual three more.
const UNEVEN: f64 = 0.25;

/// A cell as one look sees it.
pub(super) struct Look<'a> {
    pub samples: &'a Samples,
    pub evidence: Evidence,
    pub judged: Judged,
    pub tonight: Disturbed,
    /// None for pairs, which are disturbed together.
    pub baseline: Option<Disturbed>,
}

/// Looks at these cells of a run; those that the baseline lacks are left out.
pub(super) fn look<'a>(
    run: &Side,
    cells: impl Iterator<Item = &'a Samples>,
    baseline: &Baseline,
    rule: &Rule,
) -> Vec<Look<'a>> {
    let evidence = |samples, view| baseline.evidence(samples, run, rule.assumed_nights(), view);
    let (samples, all): (Vec<&Samples>, Vec<Evidence>) = cells
        .filter_map(|samples| Some((samples, evidence(samples, View::All)?)))
        .unzip();
    let judged = judge(all.iter(), rule);
    let mut looks: Vec<Look<'a>> = samples
        .into_iter()
        .zip(all)
        .zip(judged)
        .map(|((samples, evidence), judged)| Look {
            samples,
            evidence,
            judged,
            tonight: samples.disturbed(),
            baseline: baseline.disturbed(&samples.case, run),
        })
        .collect();
    let uneven: Vec<bool> = looks.iter().map(Look::is_unevenly_favoured).collect();
    if !uneven.contains(&true) {
        return looks;
    }
    // All cells again, since Holm's correction counts them.
    let undisturbed: Vec<Evidence> = looks
        .iter()
        .zip(&uneven)
        .map(|(look, uneven)| match uneven {
            true => evidence(look.samples, View::Undisturbed).unwrap_or(Evidence {
                change: None,
                ..look.evidence.clone()
            }),
            false => look.evidence.clone(),
        })
        .collect();
    let again = judge(undisturbed.iter(), rule);
    for ((look, again), _) in looks.iter_mut().zip(again).zip(uneven).filter(|(_, u)| *u) {
        look.must_agree(again.verdict);
    }
    looks
}

impl Look<'_> {
    /// Whether the side that a disturbance makes slower is the one that the verdict calls slower, or not faster.
    fn is_unevenly_favoured(&self) -> bool {
        let Some(baseline) = self.baseline else {
            return false;
        };
        let more_tonight = self.tonight.share() - baseline.share();
        match self.judged.verdict {
            CellVerdict::Suspected => more_tonight > UNEVEN,
            CellVerdict::Pass => more_tonight < -UNEVEN,
            _ => false,
        }
    }

    fn must_agree(&mut self, undisturbed: CellVerdict) {
        if self.judged.verdict == undisturbed {
            return;
        }
        self.judged.verdict = CellVerdict::Inconclusive;
        self.judged.doubt = Some(Doubt::Disturbed {
            tonight: self.tonight,
            baseline: self.baseline.unwrap_or_default(),
        });
    }
}
