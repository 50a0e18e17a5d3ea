//! The section on precision: size, memory, speed and accuracy of each file in one table, and one against the other.

use super::Block;
use crate::analysis::precision::{FilePrecision, PrecisionTable};
use crate::metric::Metric;
use crate::plot::precision::tradeoff;
use crate::report::quality::{self, CellNotes};
use crate::report::suggest::Suggestion;
use crate::report::table::Table;
use crate::text::short;
use crate::units;
use crate::view::quality::QualityFigures;
use crate::view::{CellView, Estimate, RunView};

/// Most batches that have a column.
const MOST_BATCHES: usize = 6;

/// Nothing where no text was scored: the experiments say how it is done.
pub(super) fn blocks(view: &RunView) -> Vec<Block> {
    let Some(of_text) = &view.quality else {
        return Vec::new();
    };
    let mut blocks = vec![Block::Text(format!(
        "The text: {}. Chunks are its units: intervals are by a bootstrap over them.",
        quality::of_run(of_text)
    ))];
    if let Some(table) = PrecisionTable::of(view).filter(|t| !t.batches.is_empty()) {
        blocks.push(Block::Table(side_by_side(&table)));
        let mut places = table
            .files
            .iter()
            .flat_map(|f| f.cells.keys().map(move |b| (f, *b)));
        if places.any(|(file, batch)| table.dominated(file, batch).is_some()) {
            let what = "○: another file is faster at this batch and loses no more.";
            blocks.push(Block::Text(what.to_owned()));
        }
        blocks.extend(Block::figures([tradeoff(view)]));
        blocks.extend(unmeasured(&table));
    }
    blocks.push(Block::Heading("Every quality cell".to_owned()));
    let notes = CellNotes::of(of_text);
    blocks.push(Block::Table(quality::table(view, of_text, &notes)));
    let legend = of_text.any_scored().then(|| quality::LEGEND.to_owned());
    let notes = notes.footnotes().map(|note| note.in_one_line());
    blocks.push(Block::List(notes.chain(legend).collect()));
    blocks
}

/// Files that have a speed and no accuracy.
fn unmeasured(table: &PrecisionTable<'_>) -> Option<Block> {
    let unknown = table.files.iter().filter(|f| f.loss().is_none());
    let names: Vec<&str> = unknown.map(|f| f.label.as_str()).collect();
    let what = format!("The accuracy of {} was not measured.", names.join(", "));
    (!names.is_empty()).then_some(Block::Text(what))
}

/// The smallest batch's cell.
fn first<'a>(file: &FilePrecision<'a>) -> Option<&'a CellView> {
    file.cells.values().next().copied()
}

fn figures(file: &FilePrecision<'_>) -> Option<QualityFigures> {
    file.quality.map(|c| c.figures)
}

fn load_ns(file: &FilePrecision<'_>) -> Option<u64> {
    let of_cell = first(file).and_then(|c| c.load_ns);
    of_cell.or_else(|| file.quality.and_then(|c| c.load_ns))
}

fn side_by_side(table: &PrecisionTable<'_>) -> Table {
    let rows = &table.files;
    let shown = |e: Option<Estimate>| e.map(|e| units::significant(e.value));
    let mut columns = Table::of(rows)
        .words("file", |f| f.label.clone())
        .words("type", |f| f.facts.map(|m| short(&m.file_type)))
        .blank()
        .numbers("size", |f| f.facts.map(|m| units::bytes(m.file_bytes)))
        .blank()
        .numbers("memory", |f| {
            f.cells
                .values()
                .filter_map(|c| c.peak_rss_bytes)
                .max()
                .map(units::bytes)
        })
        .numbers("load", |f| load_ns(f).map(units::duration))
        .numbers("prefill t/s", |f| {
            first(f)?
                .value(Metric::PrefillTokensPerS)
                .map(units::significant)
        });
    for batch in table.batches.iter().take(MOST_BATCHES) {
        columns = columns.numbers(format!("decode t/s, batch {batch}"), move |f| {
            let rate = f.cells.get(batch)?.decode_tokens_per_s()?;
            let mark = table.dominated(f, *batch).map_or("", |_| " ○");
            Some(format!("{}{mark}", units::significant(rate)))
        });
    }
    columns
        .numbers("J/token", |f| {
            let joules = f.cells.values().filter_map(|c| c.joules_per_token());
            joules.reduce(f64::min).map(units::significant)
        })
        .numbers("perplexity", |f| shown(figures(f)?.perplexity))
        .numbers("KLD, nats", |f| match f.quality?.is_base() {
            true => Some("base".to_owned()),
            false => figures(f)?.kld_mean.map(|e| units::nats(e.value)),
        })
        .numbers("same top", |f| match f.quality?.is_base() {
            true => Some("base".to_owned()),
            false => figures(f)?.same_top.map(|e| quality::percent(e.value)),
        })
        .without_empty_columns(2)
        .table()
}

/// What a run of several files is told, whose accuracy was not measured.
pub(super) fn not_measured(view: &RunView) -> Block {
    let mut paths: Vec<(u64, std::path::PathBuf)> = Vec::new();
    for model in &view.header.plan.models {
        paths.push((model.file_bytes, model.path.clone()));
    }
    paths.sort();
    let what =
        "Speed next to size. How much accuracy a type costs was not measured; this measures it:";
    let mut command = Suggestion::new(Some("quality"));
    if let Some((_, base)) = paths.pop() {
        command = command.word("--base").path(&base);
    }
    for (_, path) in paths.iter().rev() {
        command = command.path(path);
    }
    Block::Missing(what.to_owned(), command.to_string())
}
