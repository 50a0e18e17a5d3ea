//! Expected against measured: what the ceilings said of a run's cells, and what curves fitted to some of its batch
//! sizes say of the others.

use serde::Serialize;

use super::table::{Document, Table};
use crate::metric::Metric;
use crate::model::ModelFacts;
use crate::plan::forecast::{Forecast, forecast, input};
use crate::plan::{Case, CaseId};
use crate::roofline::ceiling::{Ceilings, Span};
use crate::roofline::fit::{FitObservation, FormChoice, HeldOut, hold_out};
use crate::stats::{Interval, summary};
use crate::units::{self, signed_percent};
use crate::view::{CellView, RunView};

/// A run beside what was expected of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RunCheck {
    /// The run.
    pub run: String,
    /// Measured cells of which the ceilings know every kernel.
    pub cells: Vec<CheckedCell>,
    /// Curves over the batch, fitted without the batch sizes held out.
    pub curves: Vec<HeldCurve>,
}

/// One cell.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CheckedCell {
    /// The cell's name.
    pub case_id: CaseId,
    /// The cell.
    pub case: Case,
    /// Median decode step, nanoseconds.
    pub measured_ns: f64,
    /// Its 95% interval.
    pub measured_interval: Option<Interval>,
    /// What was expected of it, with the band.
    pub expected: Span,
    /// Prompt tokens a second, measured and expected.
    pub prefill_per_s: Option<(f64, f64)>,
}

impl CheckedCell {
    /// Expected over measured step, less one.
    pub fn error(&self) -> f64 {
        self.expected.ns / self.measured_ns - 1.0
    }

    /// The same for the time of the prefill.
    pub fn prefill_error(&self) -> Option<f64> {
        self.prefill_per_s
            .map(|(measured, expected)| measured / expected - 1.0)
    }
}

/// A curve, and the batch sizes it was not shown.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HeldCurve {
    /// The first cell of the curve: its other axes are those of all.
    pub case: Case,
    /// What was chosen.
    pub choice: FormChoice,
    /// What it says of the others.
    pub held: Vec<HeldOut>,
}

/// Holds a run against ceilings (of its numbers of threads), and its curves against themselves without the batch
/// sizes of `held`.
pub fn check(view: &RunView, ceilings: &[Ceilings], held: &[u32]) -> RunCheck {
    let measured: Vec<(&CellView, &ModelFacts)> = view
        .cells
        .iter()
        .filter(|c| c.median_step_ns().is_some())
        .filter_map(|c| Some((c, view.model(&c.case.model)?)))
        .collect();
    let of = |case: &Case| ceilings.iter().find(|c| c.n_threads == case.n_threads);
    RunCheck {
        run: view.header.run.clone(),
        cells: measured
            .iter()
            .filter_map(|(cell, model)| {
                let expected = forecast(&cell.case, model, of(&cell.case)?)?;
                Some(checked(cell, &expected))
            })
            .collect(),
        curves: curves(&measured, &of, held),
    }
}

fn checked(cell: &CellView, expected: &Forecast) -> CheckedCell {
    let prefill = cell
        .value(Metric::PrefillTokensPerS)
        .zip(expected.prefill_tokens_per_s);
    CheckedCell {
        case_id: cell.case_id.clone(),
        case: cell.case.clone(),
        measured_ns: cell.median_step_ns().unwrap_or(0) as f64,
        measured_interval: cell.interval(Metric::StepNs),
        expected: expected.step.total,
        prefill_per_s: prefill.map(|(measured, expected)| (measured, expected.per_s)),
    }
}

/// A curve for each set of cells that differ in the batch alone.
fn curves<'c>(
    measured: &[(&CellView, &ModelFacts)],
    ceilings: &dyn Fn(&Case) -> Option<&'c Ceilings>,
    held: &[u32],
) -> Vec<HeldCurve> {
    let alone = |case: &Case| Case {
        n_seq: 1,
        ..case.clone()
    };
    let mut groups: Vec<(Case, Vec<FitObservation>)> = Vec::new();
    for (cell, model) in measured {
        let observation = FitObservation {
            input: input(&cell.case, model, ceilings(&cell.case)),
            step_ns: cell.median_step_ns().unwrap_or(0) as f64,
        };
        let key = alone(&cell.case);
        match groups.iter_mut().find(|(case, _)| *case == key) {
            Some((_, all)) => all.push(observation),
            None => groups.push((key, vec![observation])),
        }
    }
    groups
        .into_iter()
        .filter_map(|(case, data)| {
            let is_held = |batch: f64| held.iter().any(|&h| f64::from(h) == batch);
            let (choice, held) = hold_out(&data, &|x| is_held(x.batch))?;
            (!held.is_empty()).then_some(HeldCurve { case, choice, held })
        })
        .collect()
}

/// The tables: from ceilings alone, then from the run's other batch sizes.
pub fn documents(check: &RunCheck) -> Vec<Document> {
    let mut documents = vec![from_ceilings(check)];
    if !check.curves.is_empty() {
        documents.push(from_curves(check));
    }
    documents
}

fn time(ns: f64) -> String {
    units::duration(ns.round() as u64)
}

fn from_ceilings(check: &RunCheck) -> Document {
    let errors: Vec<f64> = check.cells.iter().map(CheckedCell::error).collect();
    let prefill = check.cells.iter().filter_map(CheckedCell::prefill_error);
    let prefill: Vec<f64> = prefill.collect();
    let bounds = |i: Interval| format!("{}..{}", time(i.lo), time(i.hi));
    let table = Table::of(&check.cells)
        .words("model", |c| c.case.model.as_str())
        .numbers("batch", |c| c.case.n_seq)
        .numbers("measured", |c| time(c.measured_ns))
        .numbers("expected", |c| time(c.expected.ns))
        .numbers("error", |c| signed_percent(c.error()))
        .numbers("measured 95%", |c| c.measured_interval.map(bounds))
        .rank(2)
        .numbers("prefill error", |c| c.prefill_error().map(signed_percent))
        .rank(1);
    Document::new(format!("Expected from ceilings: {}", check.run), table)
        .above("run", check.run.as_str())
        .above("expected", "from ceilings and the files' headers alone")
        .below("step", sizes(&errors))
        .below("prefill", sizes(&prefill))
}

fn from_curves(check: &RunCheck) -> Document {
    let curves = check.curves.iter();
    let rows: Vec<(&HeldCurve, &HeldOut)> = curves
        .flat_map(|curve| curve.held.iter().map(move |held| (curve, held)))
        .collect();
    let errors: Vec<f64> = rows.iter().map(|(_, held)| held.error()).collect();
    let table = Table::of(&rows)
        .words("model", |(curve, _)| curve.case.model.as_str())
        .numbers("batch", |(_, held)| format!("{:.0}", held.batch))
        .numbers("measured", |(_, held)| time(held.measured_ns))
        .numbers("expected", |(_, held)| time(held.expected_ns))
        .numbers("error", |(_, held)| signed_percent(held.error()))
        .words("curve", |(curve, _)| curve.choice.best.form.words())
        .rank(1)
        .numbers("fitted to", |(curve, _)| {
            format!("{} batches", curve.choice.best.n)
        })
        .rank(2);
    let held_out = "a curve fitted to the run's other batch sizes says what these should be";
    Document::new(
        format!("Expected from other batch sizes: {}", check.run),
        table,
    )
    .above("held out", held_out)
    .below("step", sizes(&errors))
}

/// `median 3.1%, largest 8.0% of 12`.
fn sizes(errors: &[f64]) -> String {
    let sizes: Vec<f64> = errors.iter().map(|e| e.abs()).collect();
    match summary::median(&sizes) {
        None => "n/a".to_owned(),
        Some(median) => format!(
            "errors of {} cells: median {}, largest {}",
            sizes.len(),
            units::percent(median),
            units::percent(sizes.iter().copied().fold(0.0, f64::max))
        ),
    }
}
