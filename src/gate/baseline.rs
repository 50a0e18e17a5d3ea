//! What a night is held against, and the evidence that it gives on a cell.

use std::borrow::Cow;

use serde::Serialize;

use super::rule::Rule;
use super::scores;
use crate::compare::change::Change;
use crate::compare::log_times;
use crate::compare::pair;
use crate::compare::samples::{CellKey, Disturbed, Samples};
use crate::compare::side::Side;
use crate::run::stop::LEVEL;
use crate::stats::sequential::PairDecision;
use crate::stats::variance::Variance;

/// From this many earlier nights on, the night is the unit of evidence. With fewer, Student's t on nights finds almost
/// nothing: at 4 of them a slow-down must exceed 17 times the spread (METHODOLOGY.md has the simulated power).
pub const MIN_NIGHTS: usize = 7;

/// What tonight is held against.
#[derive(Debug, Clone)]
pub enum Baseline {
    /// One run: its processes are the units.
    Run {
        run: Box<Side>,
        /// Other nights of its machine, which show how much nights differ; without any that is assumed. The run may be
        /// among them.
        nights: Vec<Side>,
    },
    /// Earlier nights, newest first, at least one: from [`MIN_NIGHTS`] of them with the cell, each is one unit;
    /// below, the oldest stands alone. It is the promoted one: the newest may contain a slow-down that was taken for a
    /// slow night, and would excuse it.
    Nights(Vec<Side>),
}

/// Which repetitions count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RepetitionFilter {
    All,
    Undisturbed,
}

impl RepetitionFilter {
    pub fn of(self, samples: &Samples) -> Cow<'_, Samples> {
        match self {
            Self::All => Cow::Borrowed(samples),
            Self::Undisturbed => Cow::Owned(samples.undisturbed()),
        }
    }
}

/// The evidence on a cell tonight.
#[derive(Debug, Clone)]
pub(super) struct CellEvidence {
    /// `None` with too few processes.
    pub change: Option<Change>,
    pub against: BaselineUnits,
    /// How much nights differ, where the change does not include it.
    pub night: Option<NightSpread>,
    /// What pairs show that were measured until decided. They alone are judged.
    pub pairs: Option<PairDecision>,
    /// Of a score: the relative change that the engine's rounding explains. `None` for what is timed, which chance changes too.
    pub rounding: Option<f64>,
}

/// How much a cell's logarithms of times differ between nights when nothing changed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct NightSpread {
    pub variance: Variance,
    /// Nights of the history that correct the assumption.
    pub nights: usize,
}

impl NightSpread {
    /// An assumption, corrected by nights' median logarithms of times. These also contain what differs between processes, which
    /// so counts twice: on the safe side.
    pub fn of(assumed: Variance, nights: &[f64]) -> Self {
        Self {
            variance: assumed.corrected_by(nights).unwrap_or(assumed),
            nights: nights.len(),
        }
    }

    /// The error of a difference between two nights.
    pub fn of_a_difference(&self) -> Variance {
        self.variance.scaled(std::f64::consts::SQRT_2)
    }
}

impl Baseline {
    /// One run, without a history.
    pub fn alone(run: Side) -> Self {
        Self::Run {
            run: Box::new(run),
            nights: Vec::new(),
        }
    }

    /// The nights it is held against, newest first.
    pub(crate) fn sides(&self) -> &[Side] {
        match self {
            Self::Run { run, .. } => std::slice::from_ref(run),
            Self::Nights(sides) => sides,
        }
    }

    /// The night whose conditions are compared with tonight's: the one that stands alone, else the newest.
    pub(crate) fn foremost(&self) -> Option<&Side> {
        match self.sides() {
            few if few.len() < MIN_NIGHTS => few.last(),
            many => many.first(),
        }
    }

    /// The newest night whose outputs were checked, else [`foremost`](Self::foremost).
    pub fn with_outputs(&self) -> Option<&Side> {
        let mut sides = self.sides().iter();
        let newest = sides.find(|side| !side.outputs.is_empty());
        newest.or_else(|| self.foremost())
    }

    pub fn is_paired_with(&self, run: &Side) -> bool {
        self.sides().iter().any(|side| side.is_paired_with(run))
    }

    /// The tolerance that `run` and the baseline were measured until decided for; `None` for all other baselines.
    pub fn pair_tolerance(&self, run: &Side) -> Option<f64> {
        self.sides()
            .iter()
            .find_map(|side| pair::tolerance(side, run))
    }

    /// The evidence on a cell of `run`; `None` when the baseline lacks the cell.
    pub(super) fn evidence(
        &self,
        tonight: &Samples,
        run: &Side,
        rule: &Rule,
        which: RepetitionFilter,
    ) -> Option<CellEvidence> {
        let held = self.held_against(&tonight.key, run);
        let tonight = which.of(tonight);
        if run.metric.is_of_quality() {
            return held.first().map(|held| of_score(*held, &tonight));
        }
        if held.len() >= MIN_NIGHTS {
            let nights = log_medians(&held, which);
            let change = log_median(run, &tonight)
                .and_then(|tonight| Change::against_nights(&nights, tonight, LEVEL));
            return Some(CellEvidence {
                // Without disturbed repetitions fewer nights may be left; nights stay the units.
                change: change.filter(|_| nights.len() >= MIN_NIGHTS),
                against: BaselineUnits::Nights(nights.len()),
                night: None,
                pairs: None,
                rounding: None,
            });
        }
        let (side, samples) = held.first()?;
        let samples = which.of(samples);
        let paired = side.is_paired_with(run);
        let pairs = pair::tolerance(side, run).and_then(|_| {
            let log_ratios = pair::log_ratios(run, &samples, &tonight);
            pair::decide(&log_ratios, run, &rule.of_pairs())
        });
        Some(CellEvidence {
            rounding: None,
            pairs,
            change: crate::compare::change(run.metric, &samples, &tonight, paired),
            against: BaselineUnits::Processes(log_times(run.metric, &samples).len()),
            // Sides that were measured in turns share their night.
            night: (!paired).then(|| {
                let known = with_cell(self.known_nights(), &tonight.key, run);
                NightSpread::of(
                    rule.assumed_nights(),
                    &log_medians(&known, RepetitionFilter::All),
                )
            }),
        })
    }

    /// How many of the baseline's repetitions of a cell were disturbed; `None` where both sides were measured in turns, so that
    /// a disturbance meets both.
    pub(super) fn disturbed(&self, key: &CellKey, run: &Side) -> Option<Disturbed> {
        let held = self.held_against(key, run);
        let is_pair = held.iter().any(|(side, _)| side.is_paired_with(run));
        (!is_pair).then(|| Disturbed::sum(held.iter().map(|(_, samples)| samples.disturbed())))
    }

    /// The nights with a cell that count for it.
    pub(crate) fn held_against(&self, key: &CellKey, run: &Side) -> Vec<(&Side, &Samples)> {
        let mut held = with_cell(self.sides(), key, run);
        // Chance changes no score, so more nights show no more than the promoted one.
        if held.len() < MIN_NIGHTS || run.metric.is_of_quality() {
            held.drain(..held.len().saturating_sub(1));
        }
        held
    }

    /// The nights that show how much nights differ.
    fn known_nights(&self) -> &[Side] {
        match self {
            Self::Run { nights, .. } | Self::Nights(nights) => nights,
        }
    }
}

fn of_score((side, samples): (&Side, &Samples), tonight: &Samples) -> CellEvidence {
    CellEvidence {
        change: scores::change(side.metric, samples, tonight),
        against: BaselineUnits::Chunks(samples.replicates().count()),
        night: None,
        pairs: None,
        rounding: Some(scores::relative_rounding(side, samples)),
    }
}

fn with_cell<'a>(sides: &'a [Side], key: &CellKey, run: &Side) -> Vec<(&'a Side, &'a Samples)> {
    let cell = |side: &'a Side| Some((side, cell_beside(side, run, key)?));
    sides.iter().filter_map(cell).collect()
}

/// The cell of `side` that a cell of `run` is held against: the same, except for the axes in which a pair differs.
pub(super) fn cell_beside<'a>(side: &'a Side, run: &Side, key: &CellKey) -> Option<&'a Samples> {
    let axes = match side.is_paired_with(run) {
        true => pair::axes(run.header.pair.as_ref()),
        false => Vec::new(),
    };
    side.cell_beside(key, &axes)
}

fn log_medians(held: &[(&Side, &Samples)], which: RepetitionFilter) -> Vec<f64> {
    let of = |(side, samples): &(&Side, &Samples)| log_median(side, &which.of(samples));
    held.iter().filter_map(of).collect()
}

fn log_median(side: &Side, samples: &Samples) -> Option<f64> {
    Some(side.metric.log_time(samples.median()?))
}

/// The units of evidence that a baseline has of a cell, and their number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BaselineUnits {
    Processes(usize),
    Nights(usize),
    /// Of a scored text, each paired with the same one of tonight.
    Chunks(usize),
}
