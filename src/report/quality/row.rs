//! A quality cell as machine-readable formats give it: one flat object, units in the names, null for missing.
//! `schema/quality.schema.json` states its form.

use std::io::{self, Write};

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use crate::plan::axis::AXES;
use crate::report::csv::{field, flatten};
use crate::report::row::ends;
use crate::view::quality::QualityFigures;
use crate::view::{Estimate, QualityCellView, QualityView, RunView};

/// One quality cell of a run.
pub struct QualityRow<'a> {
    view: &'a RunView,
    quality: &'a QualityView,
    cell: &'a QualityCellView,
    run_warnings: &'a [String],
}

type QualityKey = (&'static str, fn(&QualityRow<'_>) -> Value);

/// The keys before those of the axes.
const OF_THE_RUN: &[QualityKey] = &[
    ("run", |r| json!(r.view.header.run)),
    ("machine", |r| json!(r.view.header.machine.fingerprint)),
    ("engine", |r| json!(r.view.header.engine.name)),
    ("engine_version", |r| json!(r.view.header.engine.version)),
    ("quality_cell", |r| json!(r.cell.case_id)),
    ("role", |r| json!(r.cell.role)),
    ("text", |r| json!(r.quality.text)),
    ("text_sha256", |r| json!(r.quality.text_sha256)),
    ("model", |r| json!(r.cell.case.model)),
    ("file_type", |r| json!(r.model().map(|m| &m.file_type))),
    ("model_file_bytes", |r| {
        json!(r.model().map(|m| m.file_bytes))
    }),
    ("model_sha256", |r| {
        json!(r.model().and_then(|m| m.sha256.as_ref()))
    }),
    ("requantized_from", |r| {
        json!(r.model().and_then(|m| m.requantized_from.as_ref()))
    }),
];

/// The keys behind those of the axes, before the figures.
const OF_THE_SCORING: &[QualityKey] = &[
    ("outcome", |r| json!(r.cell.outcome.word())),
    ("outcome_detail", |r| json!(r.cell.outcome_detail)),
    ("planned_chunks", |r| json!(r.cell.planned_chunks)),
    ("n_chunks", |r| json!(r.cell.n_chunks)),
    ("n_paired_chunks", |r| json!(r.cell.n_paired)),
    ("n_scored_tokens", |r| json!(r.cell.n_scored)),
    ("n_text_tokens", |r| json!(r.cell.n_text_tokens)),
];

type FigureKey = (&'static str, fn(&QualityFigures) -> Option<Estimate>);

/// Figures, each with its interval under the same key with `_ci`.
const FIGURES: &[FigureKey] = &[
    ("perplexity", |f| f.perplexity),
    ("perplexity_ratio", |f| f.perplexity_ratio),
    ("kld_mean", |f| f.kld_mean),
    ("kld_median", |f| f.kld_median),
    ("kld_p99", |f| f.kld_p99),
    ("right_token_mean", |f| f.right_token_mean),
    ("right_token_rms", |f| f.right_token_rms),
    ("same_top", |f| f.same_top),
    ("scoring_tokens_per_s", |f| f.tokens_per_s),
];

/// The keys behind the figures.
const OF_THE_CELL: &[QualityKey] = &[
    ("kld_max", |r| json!(r.cell.figures.kld_max)),
    ("load_ns", |r| json!(r.cell.load_ns)),
    ("notes", |r| {
        let notes = r.cell.notes.iter().map(ToString::to_string);
        json!(notes.collect::<Vec<_>>())
    }),
    ("run_warnings", |r| json!(r.run_warnings)),
];

impl<'a> QualityRow<'a> {
    /// Every quality cell of a view, the base first.
    pub fn all(
        view: &'a RunView,
        quality: &'a QualityView,
        run_warnings: &'a [String],
    ) -> impl Iterator<Item = Self> {
        quality.cells.iter().map(move |cell| Self {
            view,
            quality,
            cell,
            run_warnings,
        })
    }

    fn model(&self) -> Option<&crate::model::ModelFacts> {
        self.view.model(&self.cell.case.model)
    }

    /// Keys and values, in their order.
    fn entries(&self) -> Vec<(String, Value)> {
        let of = |keys: &[QualityKey]| {
            let entries = keys
                .iter()
                .map(|(key, value)| ((*key).to_owned(), value(self)));
            entries.collect::<Vec<_>>()
        };
        let mut entries = of(OF_THE_RUN);
        let axes = AXES.iter().filter(|axis| axis.words.field != "model");
        entries.extend(axes.map(|axis| {
            let value = axis.json(&self.cell.case);
            (axis.words.field.to_owned(), value)
        }));
        entries.extend(of(OF_THE_SCORING));
        for (key, figure) in FIGURES {
            let figure = figure(&self.cell.figures);
            entries.push(((*key).to_owned(), json!(figure.map(|e| e.value))));
            let interval = figure.and_then(|e| e.interval).map(ends);
            entries.push((format!("{key}_ci"), json!(interval)));
        }
        entries.extend(of(OF_THE_CELL));
        entries
    }
}

impl Serialize for QualityRow<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut row = to.serialize_map(None)?;
        for (key, value) in self.entries() {
            row.serialize_entry(&key, &value)?;
        }
        row.end()
    }
}

/// A header and a row for each quality cell.
///
/// # Errors
/// What the writer says.
pub fn csv(view: &RunView, quality: &QualityView, out: &mut dyn Write) -> io::Result<()> {
    let mut csv = csv::Writer::from_writer(out);
    for (at, row) in
        QualityRow::all(view, quality, &crate::report::notes::run_warnings(view)).enumerate()
    {
        let entries = row.entries();
        let columns = entries.iter().flat_map(|(key, _)| columns_of(key));
        if at == 0 {
            csv.write_record(columns)?;
        }
        let mut flat = std::collections::HashMap::new();
        let mut fields = Vec::new();
        for (key, value) in entries {
            let columns = columns_of(&key);
            match value {
                Value::Array(_) => flatten(key, value, &mut flat),
                value => {
                    flat.insert(key, field(value));
                }
            }
            fields.extend(
                columns
                    .into_iter()
                    .map(|c| flat.remove(&c).unwrap_or_default()),
            );
        }
        csv.write_record(fields)?;
    }
    csv.flush()
}

/// The two ends of an interval have a column each.
fn columns_of(key: &str) -> Vec<String> {
    match key.ends_with("_ci") {
        true => vec![format!("{key}_lo"), format!("{key}_hi")],
        false => vec![key.to_owned()],
    }
}
