//! One setting changed at a time: prompt, generation, depth, precision, threads, cache types, batch, temperature.

use super::{Block, Grid, command, or_na};
use crate::analysis::choice::times_as_fast;
use crate::analysis::curve::{Along, Curve, is_measured, long_curves, main_curves};
use crate::analysis::findings::throughput;
use crate::compare::axis::{Axis, ComparedAxis};
use crate::plot::{Figure, length};
use crate::text::{plain, short};
use crate::units;
use crate::view::{CellView, RunView};

/// Sentences of one experiment; more of them say the same of other cells.
const MOST_SENTENCES: usize = 8;

pub(super) fn blocks(view: &RunView) -> Vec<Block> {
    let mut blocks = beside_requests(view);
    let (words, flags) = ("batch size", "--batch 1,8,32");
    blocks.push(Block::Heading("Concurrent requests".to_owned()));
    blocks.extend(settings(view, "batch", (words, flags)));
    blocks.push(Block::Heading("Impact of temperature".to_owned()));
    blocks.push(Block::Text(
        "Not measured: the next token is always the most likely one, so a temperature has no part in these figures."
            .to_owned(),
    ));
    blocks
}

/// The experiments that real requests do not make good for.
pub(super) fn beside_requests(view: &RunView) -> Vec<Block> {
    let mut blocks = Vec::new();
    let lengths = [
        Experiment {
            title: "Impact of the prompt's length",
            along: Along::Prompt,
            figure: length::prompt(view),
            flags: "--batch 1 --n-prompt 16,128,512",
        },
        Experiment {
            title: "Impact of the generation's length",
            along: Along::Gen,
            figure: length::generation(view),
            flags: "--batch 1 --n-gen 16,64,256",
        },
        Experiment {
            title: "Impact of the context's depth",
            along: Along::Depth,
            figure: length::depth(view),
            flags: "--batch 1 --n-depth 0,512,1024,1536",
        },
        Experiment {
            title: "Impact of threads",
            along: Along::Threads,
            figure: length::threads(view),
            flags: "--batch 1,8 --threads 1-8",
        },
    ];
    for experiment in lengths {
        blocks.extend(experiment.blocks(view));
    }
    blocks.push(Block::Heading("Impact of precision".to_owned()));
    blocks.extend(precision(view));
    blocks.push(Block::Heading("Impact of the KV cache's type".to_owned()));
    let flags = "--batch 1,8 --n-depth 1024 --flash-attn on --type-k f16,q8_0 --type-v f16,q8_0";
    blocks.extend(settings(view, "type_k", ("type of K cache", flags)));
    blocks
}

/// A numeric axis.
struct Experiment {
    title: &'static str,
    along: Along,
    figure: Option<Figure>,
    flags: &'static str,
}

impl Experiment {
    fn blocks(self, view: &RunView) -> Vec<Block> {
        let mut blocks = vec![Block::Heading(self.title.to_owned())];
        let curves = main_curves(long_curves(view, self.along), self.along, MOST_SENTENCES);
        if curves.is_empty() {
            blocks.push(Block::Missing(
                format!("This run has one {} only.", self.along.words()),
                command(view, self.flags),
            ));
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
            && let (Some(a), Some(b)) = (first.ttft_ns, last.ttft_ns)
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
        let (a, b) = (first.median_step_ns?, last.median_step_ns?);
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
            or_na(same.map(|i| format!("{} times", units::significant(i.estimate)))),
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
        let model = view.header.plan.models.first();
        let path = model.map(|m| short(&crate::text::quoted(&m.path)));
        return vec![Block::Missing(
            "This run has one type of file only.".to_owned(),
            format!(
                "ggufbench model quantize {} Q8_0",
                path.unwrap_or_else(|| "MODEL.gguf".to_owned())
            ),
        )];
    }
    vec![
        Block::Text(
            "Speed next to size; how much accuracy a type costs is not measured here.".to_owned(),
        ),
        settings_table(view, "model"),
    ]
}

/// A table of throughput with a column for each value of an axis, and a row for each cell that is otherwise the same.
fn settings(view: &RunView, name: &str, (words, flags): (&str, &str)) -> Vec<Block> {
    let measured = view.cells.iter().filter(|c| is_measured(c));
    let axis = axis(name);
    if axis.values(measured.map(|c| &c.case)).len() < 2 {
        return vec![Block::Missing(
            format!("This run has one {words} only."),
            command(view, flags),
        )];
    }
    vec![settings_table(view, name)]
}

fn axis(name: &str) -> Axis {
    let compared: ComparedAxis = name.parse().expect("every name in this file is an axis");
    compared.axis
}

/// Most rows and columns of a table of settings.
const MOST_ROWS: usize = 24;
const MOST_COLUMNS: usize = 8;

fn settings_table(view: &RunView, name: &str) -> Block {
    let axis = axis(name);
    let measured: Vec<&CellView> = view.cells.iter().filter(|c| is_measured(c)).collect();
    let mut values = axis.values(measured.iter().map(|c| &c.case));
    values.truncate(MOST_COLUMNS);
    let Some(template) = measured.first() else {
        return Block::Table(Grid::default());
    };
    let mut rows: Vec<(crate::plan::Case, Vec<Option<&CellView>>)> = Vec::new();
    for cell in &measured {
        let Some(column) = values.iter().position(|v| *v == axis.value(&cell.case)) else {
            continue;
        };
        let mut rest = cell.case.clone();
        axis.copy(&mut rest, &template.case);
        let known = rows.iter().position(|(case, _)| *case == rest);
        let at = known.unwrap_or_else(|| {
            rows.push((rest, vec![None; values.len()]));
            rows.len() - 1
        });
        rows[at].1[column] = Some(cell);
    }
    rows.retain(|(_, cells)| cells.iter().flatten().count() > 1);
    rows.truncate(MOST_ROWS);
    let others: Vec<Axis> = Axis::varying(rows.iter().map(|(case, _)| case));
    let heads: Vec<String> = values
        .iter()
        .map(|v| {
            format!(
                "{} {}",
                if name == "model" { "" } else { axis.name() },
                short(v)
            )
        })
        .map(|h| h.trim().to_owned())
        .collect();
    let heads: Vec<&str> = heads.iter().map(String::as_str).collect();
    let mut grid = Grid::of(&["decode tokens/s of"], &heads);
    for (case, cells) in &rows {
        let label: Vec<String> = others
            .iter()
            .map(|a| match a.name() {
                "model" => short(&case.model),
                name => format!("{name} {}", a.value(case)),
            })
            .collect();
        let label = match label.is_empty() {
            true => "all cells".to_owned(),
            false => plain(&label.join(", ")),
        };
        let mut row = vec![label];
        row.extend(
            cells
                .iter()
                .map(|c| or_na(c.map(throughput)).replace(" tokens/s", "")),
        );
        grid.rows.push(row);
    }
    Block::Table(grid)
}
