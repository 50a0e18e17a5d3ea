//! What is expected of cells, as a table.

use std::collections::BTreeMap;

use serde::Serialize;

use super::axes;
use super::ceiling::{CeilingSource, disturbed, memory};
use super::comparison::{listed, of_cells};
use super::table::{Document, Note, Table};
use crate::model::ModelFacts;
use crate::plan::forecast::{self, Forecast, Rate, method_error};
use crate::plan::{Case, CaseId};
use crate::roofline::ceiling::Ceilings;
use crate::roofline::kernel::Point;
use crate::roofline::predict::Part;
use crate::text::plural;
use crate::units;

/// The cells' models by their names.
pub type Models = BTreeMap<String, ModelFacts>;

/// Expected cells, in the order of the table.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Predictions {
    /// The cells.
    pub forecasts: Vec<Forecast>,
    /// Cells of which a kernel has no time.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_expected: Vec<NotExpected>,
    /// Memory that the host has for them now.
    pub available_bytes: Option<u64>,
}

/// A cell of which nothing can be expected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NotExpected {
    /// The cell's name.
    pub case_id: CaseId,
    /// Why kernels that it runs have no time.
    pub reasons: Vec<String>,
}

/// The table. `sources`: threads, ceilings and where they come from; `models`: every case's.
pub fn document(
    predictions: &Predictions,
    sources: &[(u32, Ceilings, CeilingSource)],
    models: &Models,
) -> Document {
    let cases: Vec<&Case> = predictions.forecasts.iter().map(|f| &f.case).collect();
    let names = axes::models(&cases);
    let mut document = Document::new(
        format!("Expected: {}", names.join(", ")),
        table(predictions),
    );
    if let [model] = names[..] {
        document = document.above("model", model);
    }
    document = document.above("cells", axes::constants(&cases));
    let mut bad = Vec::new();
    for (n_threads, ceilings, source) in sources {
        let threads = plural(*n_threads, "thread", "threads");
        document = document.above("device", format!("{}, {threads}", ceilings.device));
        if ceilings.read.is_some() {
            document = document.above("memory", memory(ceilings.read.as_ref()));
        }
        let points = points_of(predictions, ceilings, models);
        document = document.above("ceilings", ceilings_age(&points, ceilings, source));
        bad.extend(disturbed(ceilings, &points));
    }
    let missing = predictions.not_expected.iter();
    let missing: Vec<CaseId> = missing.map(|n| n.case_id.clone()).collect();
    let notes = sources.iter().flat_map(|(_, _, s)| s.notes.iter().cloned());
    document
        .below("", legend(predictions, models))
        .all_below(listed("not expected", &missing))
        .all_below(too_large(predictions))
        .all_below(bad.into_iter().chain(notes).map(|text| ("note", text)))
}

/// The points that the cells of a number of threads stand on.
fn points_of(predictions: &Predictions, ceilings: &Ceilings, models: &Models) -> Vec<Point> {
    let own = predictions
        .forecasts
        .iter()
        .filter(|f| f.case.n_threads == ceilings.n_threads);
    own.flat_map(|f| {
        let (decode, prefill) = forecast::kernels(&f.case, &models[&f.case.model]);
        [ceilings.nodes(&decode), ceilings.nodes(&prefill)].concat()
    })
    .collect()
}

fn ceilings_age(points: &[Point], ceilings: &Ceilings, source: &CeilingSource) -> String {
    let age = source.age(ceilings, points);
    match source.n_measured {
        0 => format!("kept, the oldest measured {age}"),
        n => format!("{n} kernels measured just now, the oldest {age}"),
    }
}

fn table(predictions: &Predictions) -> Table {
    let per_s = |r: &Rate| units::significant(r.per_s);
    let band = |r: &Rate| {
        [r.low_per_s, r.high_per_s]
            .map(units::significant)
            .join("..")
    };
    let time = |ns: f64| units::duration(ns.round() as u64);
    of_cells(Table::of(&predictions.forecasts), |f| &f.case)
        .numbers("decode t/s", |f| per_s(&f.decode_tokens_per_s))
        .numbers("band", |f| band(&f.decode_tokens_per_s))
        .numbers("step", |f| time(f.step.total.ns))
        .numbers("prefill t/s", |f| {
            f.prefill_tokens_per_s.as_ref().map(per_s)
        })
        .rank(1)
        .numbers("TTFT", |f| f.prefill.as_ref().map(|p| time(p.total.ns)))
        .rank(3)
        .numbers("MBU", |f| f.mbu.map(units::percent))
        .rank(4)
        .numbers("memory", |f| units::bytes(f.memory.total_bytes()))
        .words("limited by", limited_by)
        .short(|f| f.step.limit.words())
        .table()
}

/// What limits the step, and the share of its time that this part takes.
fn limited_by(f: &Forecast) -> String {
    let (part, _, share) = f.step.parts.largest();
    let share = units::percent(share);
    match part {
        Part::MatMul => format!("{} (matrices {share})", f.step.limit.words()),
        _ => format!("{} ({share})", f.step.limit.words()),
    }
}

fn legend(predictions: &Predictions, models: &Models) -> String {
    let error = predictions
        .forecasts
        .iter()
        .map(|f| method_error(&models[&f.case.model]))
        .fold(0.0, f64::max);
    format!(
        "Expected from times of the engine's kernels on this machine and the file's header; nothing was loaded. \
         The band is the spread of these times and {} for the method. A step is the middle one of the \
         generation.",
        units::percent(error)
    )
}

fn too_large(predictions: &Predictions) -> Vec<Note> {
    let available = predictions.available_bytes.unwrap_or(u64::MAX);
    let forecasts = predictions.forecasts.iter();
    let over = forecasts.filter(|f| f.case.n_gpu_layers == 0 && f.memory.total_bytes() > available);
    let text = |f: &Forecast| {
        format!(
            "{}: needs {}, this machine has {} free",
            f.case_id,
            units::bytes(f.memory.total_bytes()),
            units::bytes(available)
        )
    };
    over.map(|f| Note::new("does not fit", text(f))).collect()
}
