//! What the gate says of a night.

use serde::Serialize;

use super::baseline::BaselineUnits;
use super::drift::LevelChanges;
use super::required::{LimitVerdict, RequiredResult};
use super::rule::{CellVerdict, Doubt, Rule};
use crate::compare::output::ComparedOutputs;
use crate::compare::samples::{CellKey, Disturbed};
use crate::metric::Metric;
use crate::plan::CaseId;
use crate::record::difference::Difference;
use crate::stats::Interval;
use crate::stats::sequential::PairDecision;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NightVerdict {
    Pass,
    /// Of at least one cell, tonight and in the rerun.
    Regression,
    /// No regression, but at least one cell is beyond a limit in absolute values.
    OverLimit,
    Inconclusive,
}

impl NightVerdict {
    /// 0, 1 or 3; errors have 2.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Pass => 0,
            Self::Regression | Self::OverLimit => 1,
            Self::Inconclusive => 3,
        }
    }

    pub fn word(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Regression => "regression",
            Self::OverLimit => "beyond a limit",
            Self::Inconclusive => "inconclusive",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CellResult {
    #[serde(skip)]
    pub key: CellKey,
    pub case_id: CaseId,
    pub against: BaselineUnits,
    /// The baseline's value, in the metric's unit: the median over processes, or over nights; of a score the figure over its chunks.
    pub value_before: Option<f64>,
    /// Tonight's.
    pub value: Option<f64>,
    pub n_processes: usize,
    /// Tonight's repetitions during which something else used the machine.
    pub disturbed: Disturbed,
    /// Those of the baseline; `None` where both sides were measured in turns and so were disturbed together.
    pub disturbed_baseline: Option<Disturbed>,
    /// Relative slow-down: 0.1 takes a tenth longer. `None` with fewer than two processes on a side.
    pub slowdown: Option<Interval>,
    /// What the pairs show, where they were measured until decided; else `None`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pairs: Option<PairDecision>,
    /// One-sided p-value of the null "slower by at most the tolerance".
    pub p: Option<f64>,
    /// The same over all cells, after Holm.
    pub p_adjusted: Option<f64>,
    /// Against a single run of another night: p-value of the same null when nights differ as `night_sd` says.
    pub p_night: Option<f64>,
    /// How much nights differ, where the interval does not include it.
    pub night_sd: Option<NightSd>,
    pub verdict: CellVerdict,
    /// Why the cell is inconclusive, where that is not a lack of data.
    pub doubt: Option<Doubt>,
    /// How many more processes a side would decide an inconclusive cell, about; `None` when more would not.
    pub more_processes: Option<usize>,
    pub rerun: Option<RerunResult>,
}

/// How much a cell's time differs between nights when nothing changed.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct NightSd {
    /// Relative standard deviation of one night: the rule's assumption, corrected by the history.
    pub sd: f64,
    /// Nights of the history that corrected it.
    pub nights: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct RerunResult {
    /// Relative slow-down against the same baseline.
    pub slowdown: Option<Interval>,
    /// As [`CellResult::p_adjusted`], over the suspected cells.
    pub p_adjusted: Option<f64>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GateReport {
    pub run: String,
    /// The baseline's runs, newest first.
    pub baseline: Vec<String>,
    pub metric: Metric,
    /// Whether the run has requests, which the metric does not judge.
    pub has_unjudged_requests: bool,
    /// Whether the run has quality cells, which the metric does not judge.
    pub has_unjudged_quality: bool,
    /// Of scores that are a distance from the base: the change that the engine's rounding explains, in the metric's unit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rounding: Option<f64>,
    pub rule: Rule,
    /// What else differs from the baseline: from the run that stands alone, else from the newest night.
    pub differences: Vec<Difference>,
    pub cells: Vec<CellResult>,
    /// In the baseline, but not measured tonight.
    pub missing: Vec<CaseId>,
    /// Measured tonight, but not in the baseline.
    pub new: Vec<CaseId>,
    /// Tonight's outputs against the baseline's, where any was checked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outputs: Option<ComparedOutputs>,
    /// The run that should confirm, if there was one.
    pub rerun: Option<String>,
    /// Changes of level over the history, for information: `None` while it is too short.
    pub drift: Option<LevelChanges>,
    /// Limits in absolute values, each with every cell that it is for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub required: Vec<RequiredResult>,
    pub verdict: NightVerdict,
}

impl GateReport {
    /// Cells that a rerun should confirm.
    pub fn suspects(&self) -> Vec<CellKey> {
        let suspects = self
            .cells
            .iter()
            .filter(|c| c.verdict == CellVerdict::Suspected);
        suspects.map(|c| c.key.clone()).collect()
    }

    /// Whether pairs that were measured until decided were judged.
    pub fn has_pairs(&self) -> bool {
        self.cells.iter().any(|cell| cell.pairs.is_some())
    }

    /// Where a rerun shall confirm, what pairs showed is a suspicion until then.
    pub(super) fn suspect_regressions(&mut self) {
        for cell in &mut self.cells {
            if cell.verdict == CellVerdict::Regression {
                cell.verdict = CellVerdict::Suspected;
            }
        }
        self.conclude();
    }

    /// Whether it has no baseline: only limits in absolute values are judged.
    pub fn is_alone(&self) -> bool {
        self.baseline.is_empty()
    }

    /// Whether a cell is beyond a limit.
    pub fn breaks_a_limit(&self) -> bool {
        self.required
            .iter()
            .any(|r| r.verdict == LimitVerdict::Fail)
    }

    /// Adds what was found of limits in absolute values.
    pub fn require(&mut self, required: Vec<RequiredResult>) {
        self.required = required;
        self.conclude();
    }

    pub(super) fn conclude(&mut self) {
        let has = |verdict| self.cells.iter().any(|c| c.verdict == verdict);
        // An output is computed without chance, so no rerun is needed.
        let is_wrong = self
            .outputs
            .as_ref()
            .is_some_and(ComparedOutputs::any_differs);
        self.verdict = if is_wrong || has(CellVerdict::Regression) {
            NightVerdict::Regression
        } else if self.breaks_a_limit() {
            NightVerdict::OverLimit
        } else if self.cells.iter().all(|c| c.verdict == CellVerdict::Pass)
            && self
                .required
                .iter()
                .all(|r| r.verdict == LimitVerdict::Pass)
            && self.missing.is_empty()
            && !(self.cells.is_empty() && self.required.is_empty())
        {
            NightVerdict::Pass
        } else {
            // A cell that could not be measured tonight is no pass either.
            NightVerdict::Inconclusive
        };
    }
}
