//! A night's cells, judged together with all repetitions and again without the disturbed ones.
//!
//! Disturbed repetitions are not simply left out: a regression may itself disturb (memory that swaps, code that throttles, work
//! that the kernel does for the program and counts as others'), and leaving out what it made slow would hide it. They are not
//! simply kept either: another process on one night only is no change of the program. So a verdict that an uneven
//! disturbance favours must hold both ways.

use super::baseline::{Baseline, CellEvidence, RepetitionFilter};
use super::rule::{CellVerdict, Doubt, Rule, RuleOutcome, judge};
use crate::compare::samples::{Disturbed, Samples};
use crate::compare::side::Side;

/// Shares of disturbed repetitions that differ by more than this are uneven: about one process of the usual three.
const UNEVEN: f64 = 0.25;

/// A cell with its evidence and what the rule says of it.
pub(super) struct JudgedCell<'a> {
    pub samples: &'a Samples,
    pub evidence: CellEvidence,
    pub outcome: RuleOutcome,
    pub tonight: Disturbed,
    /// `None` for pairs, which are disturbed together.
    pub baseline: Option<Disturbed>,
}

/// Judges these cells of a run; those that the baseline lacks are left out.
pub(super) fn judge_cells<'a>(
    run: &Side,
    measured: impl Iterator<Item = &'a Samples>,
    baseline: &Baseline,
    rule: &Rule,
) -> Vec<JudgedCell<'a>> {
    let evidence = |samples, which| baseline.evidence(samples, run, rule, which);
    let (samples, all): (Vec<&Samples>, Vec<CellEvidence>) = measured
        .filter_map(|samples| Some((samples, evidence(samples, RepetitionFilter::All)?)))
        .unzip();
    let outcomes = judge(all.iter(), rule);
    let mut cells: Vec<JudgedCell<'a>> = samples
        .into_iter()
        .zip(all)
        .zip(outcomes)
        .map(|((samples, evidence), outcome)| JudgedCell {
            samples,
            evidence,
            outcome,
            tonight: samples.disturbed(),
            baseline: baseline.disturbed(&samples.key, run),
        })
        .collect();
    let uneven: Vec<bool> = cells.iter().map(JudgedCell::is_unevenly_favoured).collect();
    if !uneven.contains(&true) {
        return cells;
    }
    // All cells again, since Holm's correction counts them.
    let undisturbed: Vec<CellEvidence> = cells
        .iter()
        .zip(&uneven)
        .map(|(cell, uneven)| match uneven {
            true => evidence(cell.samples, RepetitionFilter::Undisturbed).unwrap_or(CellEvidence {
                change: None,
                ..cell.evidence.clone()
            }),
            false => cell.evidence.clone(),
        })
        .collect();
    let again = judge(undisturbed.iter(), rule);
    for ((cell, again), _) in cells.iter_mut().zip(again).zip(uneven).filter(|(_, u)| *u) {
        cell.must_agree(again.verdict);
    }
    cells
}

impl JudgedCell<'_> {
    /// Whether the side that a disturbance makes slower is the one that the verdict calls slower, or not faster.
    fn is_unevenly_favoured(&self) -> bool {
        let Some(baseline) = self.baseline else {
            return false;
        };
        let more_tonight = self.tonight.share() - baseline.share();
        match self.outcome.verdict {
            CellVerdict::Suspected => more_tonight > UNEVEN,
            CellVerdict::Pass => more_tonight < -UNEVEN,
            _ => false,
        }
    }

    fn must_agree(&mut self, undisturbed: CellVerdict) {
        if self.outcome.verdict == undisturbed {
            return;
        }
        self.outcome.verdict = CellVerdict::Inconclusive;
        self.outcome.doubt = Some(Doubt::Disturbed {
            tonight: self.tonight,
            baseline: self.baseline.unwrap_or_default(),
        });
    }
}
