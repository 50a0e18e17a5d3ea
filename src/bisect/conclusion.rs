//! What a search found, in figures.

use serde::Serialize;

use super::journal::{BisectStep, SlowdownEffect};
use super::repository::Revision;
use super::search::{RevisionAnswer, Search};
use super::{Bisection, METRIC};
use crate::metric::Metric;
use crate::units::nanoseconds;

/// How a search ended.
#[derive(Debug)]
pub(crate) enum BisectConclusion {
    /// The bad revision is not slower than the good one.
    NotSlower,
    /// The ends could not be told apart.
    EndsUndecided,
    /// No answer can narrow the range further.
    Found {
        search: Search,
        effect: Option<NamedEffect>,
    },
    /// The budget was over, or Ctrl-C came.
    Stopped {
        search: Option<Search>,
        interrupted: bool,
    },
}

/// The effect of a commit, or of a range, against what was before it.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct NamedEffect {
    pub against: Revision,
    pub effect: SlowdownEffect,
}

/// How a search ended, in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum BisectOutcome {
    NotSlower,
    /// One commit is named.
    Found,
    /// Several are, because some of them could not be built or run.
    FoundRange,
    NotDecided,
    Interrupted,
}

/// A search's result, as programs get it.
#[derive(Debug, Serialize)]
pub(crate) struct BisectReport {
    pub outcome: BisectOutcome,
    pub good: Revision,
    pub bad: Revision,
    /// After the good one.
    pub n_revisions: usize,
    pub metric: Metric,
    pub tolerance: f64,
    /// The commits among which the first slow one is; one where it is named, none where nothing is slower.
    pub suspects: Vec<Revision>,
    /// Of the last suspect, against the last revision that is not slower.
    pub effect: Option<NamedEffect>,
    /// Of the bad revision against the good one.
    pub whole: Option<SlowdownEffect>,
    /// Share of the whole slow-down that the effect is, as log ratios.
    pub share_of_whole: Option<f64>,
    /// The chance that any answer on which the result rests is wrong is at most this.
    pub error_probability: f64,
    pub n_builds: u32,
    pub n_reused_steps: u32,
    pub n_pairs: usize,
    pub elapsed_ns: u64,
    pub steps: Vec<BisectStep>,
}

/// Puts a result together.
pub(super) fn report(
    made: Bisection<'_>,
    conclusion: BisectConclusion,
    good: &Revision,
    bad: &Revision,
    revisions: &[Revision],
) -> BisectReport {
    let suspects = |search: &Search| -> Vec<Revision> {
        let suspects = search.suspects();
        suspects.map(|at| revisions[at - 1].clone()).collect()
    };
    let (outcome, suspects, effect) = match conclusion {
        BisectConclusion::NotSlower => (BisectOutcome::NotSlower, Vec::new(), None),
        BisectConclusion::EndsUndecided => (BisectOutcome::NotDecided, Vec::new(), None),
        BisectConclusion::Stopped {
            search,
            interrupted,
        } => {
            let outcome = match interrupted {
                true => BisectOutcome::Interrupted,
                false => BisectOutcome::NotDecided,
            };
            (
                outcome,
                search.as_ref().map(suspects).unwrap_or_default(),
                None,
            )
        }
        BisectConclusion::Found { search, effect } => {
            let suspects = suspects(&search);
            let outcome = match suspects.len() {
                1 => BisectOutcome::Found,
                _ if search.has_undecided() => BisectOutcome::NotDecided,
                _ => BisectOutcome::FoundRange,
            };
            (outcome, suspects, effect)
        }
    };
    let against_good = |step: &&BisectStep| step.against == good.commit;
    let of_bad = made.steps.iter().filter(against_good);
    let of_bad = of_bad.into_iter().find(|s| s.revision.commit == bad.commit);
    let whole = of_bad.and_then(|step| step.effect);
    let share = |effect: &NamedEffect| Some(effect.effect.change.ln_1p() / whole?.change.ln_1p());
    let errors = made
        .steps
        .iter()
        .filter(against_good)
        .map(|step| step.error);
    BisectReport {
        outcome,
        good: good.clone(),
        bad: bad.clone(),
        n_revisions: revisions.len(),
        metric: METRIC,
        tolerance: made.asked.rule.tolerance,
        suspects,
        share_of_whole: effect.as_ref().and_then(share),
        effect,
        whole,
        error_probability: errors.sum::<f64>().min(1.0),
        n_builds: made.n_builds,
        n_reused_steps: made.n_reused_steps,
        n_pairs: made.steps.iter().map(|step| step.log_ratios.len()).sum(),
        elapsed_ns: nanoseconds(made.started.elapsed()),
        steps: made.steps,
    }
}

impl BisectReport {
    /// Revisions that were skipped among the suspects, with why.
    pub fn skipped(&self) -> impl Iterator<Item = &BisectStep> {
        let is_suspect = |step: &&BisectStep| {
            let mut suspects = self.suspects.iter();
            suspects.any(|revision| revision.commit == step.revision.commit)
        };
        let skipped = |step: &&BisectStep| step.answer == RevisionAnswer::Skipped;
        self.steps.iter().filter(skipped).filter(is_suspect)
    }
}
