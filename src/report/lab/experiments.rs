//! One setting changed at a time: prompt, generation, depth, precision, threads, cache types, batch, temperature.

use std::path::PathBuf;

use super::{Block, missing, missing_of, models, template, threads_up_to_cores};
use crate::analysis::choice::times_as_fast;
use crate::analysis::curve::{Along, Curve, is_measured, long_curves, main_curves};
use crate::analysis::findings::throughput;
use crate::metric::Metric;
use crate::model::ModelFacts;
use crate::plan::{Axis, Case};
use crate::plot::{Figure, length};
use crate::report::suggest::{Suggestion, fitting};
use crate::report::table::Table;
use crate::text::{plain, short};
use crate::units;
use crate::view::{CellView, QualityView, RunView};

/// Sentences of one experiment; more of them say the same of other cells.
const MOST_SENTENCES: usize = 8;

pub(super) fn blocks(view: &RunView) -> Vec<Block> {
    let mut blocks = beside_requests(view);
    blocks.push(Block::Heading("Concurrent requests".to_owned()));
    let one = || {
        missing(
            view,
            "This run has only one batch size.",
            &[("batch", "1,8,32")],
        )
    };
    blocks.extend(settings(view, "batch", one));
    blocks.push(Block::Heading("Impact of temperature".to_owned()));
    blocks.push(Block::Text(
        "Not measured: the next token is always the most likely one, so temperature does not affect these figures."
            .to_owned(),
    ));
    blocks
}

/// The experiments that real requests do not make good for.
pub(super) fn beside_requests(view: &RunView) -> Vec<Block> {
    let mut blocks = Vec::new();
    let room = |other: fn(&Case) -> u32| {
        template(view).map_or(0, |case| case.n_ctx.saturating_sub(other(case)))
    };
    let lengths = [
        Impact {
            title: "Impact of the prompt's length",
            along: Along::Prompt,
            figure: length::prompt(view),
            values: fitting(&[16, 128, 512], room(|c| c.n_depth.saturating_add(c.n_gen))),
        },
        Impact {
            title: "Impact of the generation's length",
            along: Along::Gen,
            figure: length::generation(view),
            values: fitting(
                &[16, 64, 256],
                room(|c| c.n_depth.saturating_add(c.n_prompt)),
            ),
        },
        Impact {
            title: "Impact of the context's depth",
            along: Along::Depth,
            figure: length::depth(view),
            values: fitting(
                &[512, 1024, 1536],
                room(|c| c.n_prompt.saturating_add(c.n_gen)),
            )
            .map(|values| format!("0,{values}")),
        },
        Impact {
            title: "Impact of threads",
            along: Along::Threads,
            figure: length::threads(view),
            values: threads_up_to_cores(view),
        },
    ];
    for experiment in lengths {
        blocks.extend(experiment.blocks(view));
    }
    blocks.push(Block::Heading("Impact of precision".to_owned()));
    blocks.extend(precision(view));
    blocks.push(Block::Heading("Impact of the KV cache's type".to_owned()));
    blocks.extend(settings(view, "type_k", || one_cache_type(view)));
    blocks
}

/// How the figures change along a numeric axis.
struct Impact {
    title: &'static str,
    along: Along,
    figure: Option<Figure>,
    /// What the axis could be varied over; none where there is no room.
    values: Option<String>,
}

impl Impact {
    fn blocks(self, view: &RunView) -> Vec<Block> {
        let mut blocks = vec![Block::Heading(self.title.to_owned())];
        let curves = main_curves(long_curves(view, self.along), self.along, MOST_SENTENCES);
        if curves.is_empty() {
            let what = format!("This run has only one {}.", self.along.words());
            let values = self.values.as_deref();
            blocks.push(match (values, self.along) {
                (Some(values), along) => missing(view, what, &[(along.name(), values)]),
                (None, Along::Threads) => Block::Text(format!("{what} The machine has one core.")),
                (None, _) => Block::Text(format!("{what} Its context has no room for others.")),
            });
            return blocks;
        }
        let sentences = curves.iter().filter_map(|c| self.sentence(c));
        blocks.push(Block::List(sentences.collect()));
        blocks.extend(Block::figures([self.figure]));
        blocks
    }

    /// From the least to the most: how TTFT, step and throughput change.
    fn sentence(&self, curve: &Curve<'_>) -> Option<String> {
        let (first, last) = (*curve.cells.first()?, *curve.cells.last()?);
        let (from, to) = (self.along.of(&first.case), self.along.of(&last.case));
        let mut parts = Vec::new();
        if self.along == Along::Prompt
            && let (Some(a), Some(b)) = (first.ns(Metric::TtftNs), last.ns(Metric::TtftNs))
        {
            let scales = exponent((from, to), (a as f64, b as f64))
                .map(|e| format!(", {}", growth(e)))
                .unwrap_or_default();
            parts.push(format!(
                "TTFT goes from {} to {}{scales}",
                units::duration(a),
                units::duration(b)
            ));
        }
        let (a, b) = (first.median_step_ns()?, last.median_step_ns()?);
        let same = times_as_fast(last, first);
        let shown = match same {
            Some(i) if i.lo > 1.0 => "faster, chance excluded",
            Some(i) if i.hi < 1.0 => "slower, chance excluded",
            Some(_) => "no difference shown",
            None => "chance not excluded",
        };
        parts.push(format!(
            "the step goes from {} to {} ({} in tokens/s: {shown})",
            units::duration(a),
            units::duration(b),
            same.map_or("n/a".to_owned(), |i| format!(
                "{} times",
                units::significant(i.estimate)
            )),
        ));
        Some(format!(
            "{}, {} from {from} to {to}: {}.",
            curve.label,
            self.along.name(),
            parts.join("; ")
        ))
    }
}

/// The power of the axis that a value follows between two places.
fn exponent((from, to): (u32, u32), (a, b): (f64, f64)) -> Option<f64> {
    (from > 0 && to > from && a > 0.0 && b > 0.0)
        .then(|| (b / a).ln() / (f64::from(to) / f64::from(from)).ln())
}

fn growth(exponent: f64) -> &'static str {
    match exponent {
        e if e < 0.9 => "less than in proportion",
        e if e <= 1.1 => "in proportion",
        _ => "more than in proportion",
    }
}

/// The files side by side, at each batch.
fn precision(view: &RunView) -> Vec<Block> {
    let types = |c: &&CellView| view.model(&c.case.model).map(|m| m.file_type.clone());
    let measured: Vec<&CellView> = view.cells.iter().filter(|c| is_measured(c)).collect();
    let mut found: Vec<String> = measured.iter().filter_map(types).collect();
    found.sort_unstable();
    found.dedup();
    if found.len() < 2 {
        const WHAT: &str = "This run has only one type of file.";
        let of_first = |case| another_type(view, case, WHAT);
        let nothing = || vec![Block::Text(WHAT.to_owned())];
        return template(view).map_or_else(nothing, of_first);
    }
    let accuracy = match view.quality.as_ref().is_some_and(QualityView::any_scored) {
        true => {
            let text = "Speed next to size; the section on precision has the accuracy.";
            Block::Text(text.to_owned())
        }
        false => super::precision::not_measured(view),
    };
    vec![accuracy, settings_table(view, "model")]
}

/// The file of another type than a cell's, and the run of both; the first makes what the second needs.
pub(super) fn another_type(view: &RunView, case: &Case, what: &str) -> Vec<Block> {
    let model = view.model(&case.model);
    let Some(model) = model.filter(|m| m.n_parts == 1) else {
        return vec![Block::Text(what.to_owned())];
    };
    let (name, slug) = match model.file_type.as_str() {
        "Q8_0" => ("Q4_0", "q4_0"),
        _ => ("Q8_0", "q8_0"),
    };
    let is_own = model.path.extension().is_some_and(|e| e == "gguf");
    let stem = model.path.file_stem().filter(|_| is_own);
    let other = match stem {
        Some(stem) => {
            let name = format!("{}-{slug}.gguf", stem.to_string_lossy());
            model.path.with_file_name(name)
        }
        // A blob of Ollama's store, which is not to be written to.
        None => PathBuf::from(format!("{}-{slug}.gguf", model.name)),
    };
    let quantize = Suggestion::new(Some("model")).word("quantize");
    let quantize = quantize.path(&model.path).word(name).path(&other);
    // What was made already is not made again.
    let mut blocks = match other.exists() {
        true => vec![Block::Text(what.to_owned())],
        false => vec![Block::Missing(
            format!("{what} This makes another:"),
            quantize.to_string(),
        )],
    };
    // What is there already is measured beside it.
    let both = Suggestion::of_case(view, case, &[]);
    blocks.push(Block::Missing(
        "And this measures both:".to_owned(),
        both.word("--model").path(&other).to_string(),
    ));
    blocks
}

/// Why the cache's type was not varied, and how it can be.
fn one_cache_type(view: &RunView) -> Block {
    const WHAT: &str = "This run has only one type of K cache.";
    let names = models(view).into_iter();
    let mut models: Vec<&ModelFacts> = names.filter_map(|name| view.model(name)).collect();
    if models.is_empty() {
        return Block::Text(WHAT.to_owned());
    }
    models.retain(|model| model.k_elements_per_token > 0);
    if models.is_empty() {
        return Block::Text(format!("{WHAT} The model has no KV cache."));
    }
    // A block of q8_0 has 32 elements, and a head is a whole number of blocks.
    let fits = |dim: Option<u32>| dim.is_none_or(|dim| dim.is_multiple_of(32));
    models.retain(|model| fits(model.head_dim_k) && fits(model.head_dim_v));
    if models.is_empty() {
        return Block::Text(format!(
            "{WHAT} Quantised caches need heads whose width is a multiple of 32; the model's is not."
        ));
    }
    let over = [
        ("flash_attn", "on"),
        ("type_k", "f16,q8_0"),
        ("type_v", "f16,q8_0"),
    ];
    let names: Vec<&str> = models.iter().map(|model| model.name.as_str()).collect();
    missing_of(view, &names, WHAT, &over)
}

/// A table of throughput with a column for each value of an axis, and a row for each cell that is otherwise the same.
fn settings(view: &RunView, name: &str, one: impl FnOnce() -> Block) -> Vec<Block> {
    let measured = view.cells.iter().filter(|c| is_measured(c));
    let axis = axis(name);
    if axis.values(measured.map(|c| &c.case)).len() < 2 {
        return vec![one()];
    }
    vec![settings_table(view, name)]
}

fn axis(name: &str) -> Axis {
    Axis::named(name).expect("every name in this file is an axis")
}

/// Most rows and columns of a table of settings.
const MOST_ROWS: usize = 24;
const MOST_COLUMNS: usize = 8;

fn settings_table(view: &RunView, name: &str) -> Block {
    let axis = axis(name);
    let measured: Vec<&CellView> = view.cells.iter().filter(|c| is_measured(c)).collect();
    let mut values = axis.values(measured.iter().map(|c| &c.case));
    values.truncate(MOST_COLUMNS);
    let rows = otherwise_alike(&measured, axis, &values);
    let others: Vec<Axis> = Axis::varying(rows.iter().map(|(case, _)| case));
    let label = |case: &Case| {
        let settings = others.iter().map(|a| match a.name() {
            "model" => short(&case.model),
            name => format!("{name} {}", a.value(case)),
        });
        match others.is_empty() {
            true => "all cells".to_owned(),
            false => plain(&settings.collect::<Vec<_>>().join(", ")),
        }
    };
    let rate = |cell: &CellView| throughput(cell).replace(" tokens/s", "");
    let mut table = Table::of(&rows).words("decode tokens/s of", |(case, _)| label(case));
    for (at, value) in values.iter().enumerate() {
        let head = match name {
            "model" => short(value),
            _ => format!("{} {}", axis.name(), short(value)),
        };
        table = table.numbers(head, |(_, cells)| cells[at].map(rate));
    }
    Block::Table(table.table())
}

/// A case, and the cells that differ from it in one axis only, by the values of that axis.
type Alike<'a> = (Case, Vec<Option<&'a CellView>>);

fn otherwise_alike<'a>(measured: &[&'a CellView], axis: Axis, values: &[String]) -> Vec<Alike<'a>> {
    let mut rows: Vec<Alike<'a>> = Vec::new();
    for cell in measured {
        let Some(column) = values.iter().position(|v| *v == axis.value(&cell.case)) else {
            continue;
        };
        let mut rest = cell.case.clone();
        axis.copy(&mut rest, &measured[0].case);
        let known = rows.iter().position(|(case, _)| *case == rest);
        let at = known.unwrap_or_else(|| {
            rows.push((rest, vec![None; values.len()]));
            rows.len() - 1
        });
        rows[at].1[column] = Some(cell);
    }
    rows.retain(|(_, cells)| cells.iter().flatten().count() > 1);
    rows.truncate(MOST_ROWS);
    rows
}
