//! What is expected of cells, as a table.

use std::collections::BTreeMap;

use serde::Serialize;

use super::axes;
use super::ceiling::{Source, disturbed, memory};
use super::comparison::{cell_columns, listed};
use super::sheet::{Column, Sheet};
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
pub fn sheet(
    predictions: &Predictions,
    sources: &[(u32, Ceilings, Source)],
    models: &Models,
) -> Sheet {
    let cases: Vec<&Case> = predictions.forecasts.iter().map(|f| &f.case).collect();
    let names = axes::models(&cases);
    let mut above = Vec::new();
    let mut bad = Vec::new();
    if let [model] = names[..] {
        above.push(("model".to_owned(), model.to_owned()));
    }
    above.push(("cells".to_owned(), axes::constants(&cases)));
    for (n_threads, ceilings, source) in sources {
        above.push((
            "device".to_owned(),
            format!(
                "{}, {}",
                ceilings.device,
                plural(*n_threads, "thread", "threads")
            ),
        ));
        if ceilings.read.is_some() {
            above.push(("memory".to_owned(), memory(ceilings.read.as_ref())));
        }
        let points = points_of(predictions, ceilings, models);
        above.push((
            "ceilings".to_owned(),
            ceilings_age(&points, ceilings, source),
        ));
        bad.extend(disturbed(ceilings, &points));
    }
    let mut below = vec![(String::new(), legend(predictions, models))];
    let missing: Vec<CaseId> = predictions
        .not_expected
        .iter()
        .map(|n| n.case_id.clone())
        .collect();
    below.extend(listed("not expected", &missing));
    below.extend(too_large(predictions));
    below.extend(bad.into_iter().map(|text| ("note".to_owned(), text)));
    let notes = sources.iter().flat_map(|(_, _, s)| &s.notes);
    below.extend(notes.map(|n| ("note".to_owned(), n.clone())));
    Sheet {
        title: format!("Expected: {}", names.join(", ")),
        above,
        columns: columns(predictions, &cases),
        below,
    }
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

fn ceilings_age(points: &[Point], ceilings: &Ceilings, source: &Source) -> String {
    let age = source.age(ceilings, points);
    match source.n_measured {
        0 => format!("kept, the oldest measured {age}"),
        n => format!("{n} kernels measured just now, the oldest {age}"),
    }
}

fn columns(predictions: &Predictions, cases: &[&Case]) -> Vec<Column> {
    let of = |value: &dyn Fn(&Forecast) -> String| {
        predictions.forecasts.iter().map(value).collect::<Vec<_>>()
    };
    let or_na = |value: Option<String>| value.unwrap_or_else(|| "n/a".to_owned());
    let per_s = |r: &Rate| units::significant(r.per_s);
    let band = |r: &Rate| {
        format!(
            "{}..{}",
            units::significant(r.low_per_s),
            units::significant(r.high_per_s)
        )
    };
    let ns = |ns: f64| units::duration(ns.round() as u64);
    let mut columns = cell_columns(cases);
    columns.extend([
        Column::numbers("decode t/s", 0, of(&|f| per_s(&f.decode_tokens_per_s))),
        Column::numbers("band", 0, of(&|f| band(&f.decode_tokens_per_s))),
        Column::numbers("step", 0, of(&|f| ns(f.step.total.ns))),
        Column::numbers(
            "prefill t/s",
            1,
            of(&|f| or_na(f.prefill_tokens_per_s.as_ref().map(per_s))),
        ),
        Column::numbers(
            "TTFT",
            3,
            of(&|f| or_na(f.prefill.as_ref().map(|p| ns(p.total.ns)))),
        ),
        Column::numbers("MBU", 4, of(&|f| or_na(f.mbu.map(units::percent)))),
        Column::numbers("memory", 0, of(&|f| units::bytes(f.memory.total_bytes()))),
        Column::words("limited by", 0, of(&limited_by))
            .or_short(of(&|f| f.step.limit.words().to_owned())),
    ]);
    columns
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

fn too_large(predictions: &Predictions) -> Vec<(String, String)> {
    let Some(available) = predictions.available_bytes else {
        return Vec::new();
    };
    predictions
        .forecasts
        .iter()
        .filter(|f| f.case.n_gpu_layers == 0 && f.memory.total_bytes() > available)
        .map(|f| {
            let text = format!(
                "{}: needs {}, this machine has {} free",
                f.case_id,
                units::bytes(f.memory.total_bytes()),
                units::bytes(available)
            );
            ("does not fit".to_owned(), text)
        })
        .collect()
}
