//! The result of a comparison.

use serde::Serialize;

use super::output::ComparedOutputs;
use super::samples::CellKey;
use super::side::Side;
use super::verdict::ChangeVerdict;
use crate::metric::Metric;
use crate::plan::{Case, CaseId};
use crate::price::Price;
use crate::record::difference::Difference;
use crate::stats::Interval;
use crate::stats::rank::CliffsDelta;
use crate::stats::sequential::PairDecision;

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ComparedCell {
    /// A's cell.
    #[serde(skip)]
    pub key: CellKey,
    /// B's; the same unless an axis is compared.
    #[serde(skip)]
    pub key_b: CellKey,
    /// Name and target of the job, where requests are compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job: Option<String>,
    pub case_id_a: CaseId,
    /// B's; the same unless an axis is compared.
    pub case_id_b: CaseId,
    /// Median over A's processes of their medians, in the metric's unit.
    pub a: f64,
    pub b: f64,
    /// Mean over all repetitions of A, as other tools report it. `None` where another program measured and only its processes'
    /// medians are kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mean_a: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mean_b: Option<f64>,
    pub n_processes_a: usize,
    pub n_processes_b: usize,
    /// Relative slow-down of B: 0.1 takes a tenth more time, of times and rates alike, or a tenth more energy. `None` with
    /// too few processes.
    pub slowdown: Option<Interval>,
    /// Two-sided p-value of no change.
    pub p: Option<f64>,
    /// The same over all rows, after Benjamini & Hochberg.
    pub p_adjusted: Option<f64>,
    /// How often a process of B is slower than one of A, minus how often faster.
    pub cliffs_delta: Option<CliffsDelta>,
    /// What the pairs show, where they were measured until decided; else `None`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pairs: Option<PairDecision>,
    pub verdict: ChangeVerdict,
    /// Cost of the energy of a million generated tokens of A; `None` without a price, or where no energy was measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost_a: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost_b: Option<f64>,
}

impl ComparedCell {
    /// The verdict with what an undecided one needs.
    pub fn verdict_in_full(&self, metric: Metric, same_within: f64) -> String {
        let unit = self.key.sample_unit(metric);
        self.verdict.in_full(metric, unit, same_within)
    }
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    pub a: String,
    pub b: String,
    pub metric: Metric,
    /// Whether replicates were pairs: both sides are of one run, or were measured in turns.
    pub paired: bool,
    /// Whether pairs were added to each cell until it was decided, so that `PairRule` judges.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub until_decided: bool,
    /// Whether both sides are one program with the same settings, measured in turns: an A/A, in which every difference is chance.
    pub is_same_twice: bool,
    /// Changes up to this do not matter.
    pub same_within: f64,
    pub differences: Vec<Difference>,
    /// The cells on both sides, in A's order.
    pub rows: Vec<ComparedCell>,
    /// The outputs of both sides, where any was checked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outputs: Option<ComparedOutputs>,
    /// The price of energy, where one was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub price: Option<Price>,
    pub only_a: Vec<CaseId>,
    pub only_b: Vec<CaseId>,
}

impl Comparison {
    /// Adds the cost of energy; both sides are of [`Metric::JoulesPerToken`], and may have other cells too.
    #[must_use]
    pub fn with_costs(mut self, a: &Side, b: &Side, price: Price) -> Self {
        let cost = |side: &Side, case: &Case| {
            let joules = side.cell(&CellKey::of_case(case))?.median()?;
            Some(price.of_million_tokens(joules))
        };
        for row in &mut self.rows {
            row.cost_a = cost(a, &row.key.case);
            row.cost_b = cost(b, &row.key_b.case);
        }
        self.price = Some(price);
        self
    }

    /// Whether any cell has a cost.
    pub fn has_costs(&self) -> bool {
        self.rows
            .iter()
            .any(|row| row.cost_a.or(row.cost_b).is_some())
    }
}
