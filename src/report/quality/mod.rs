//! The quality cells of a run as a table: what each file makes of a text, and how far it is from the base. The same for programs in
//! [`row`].

mod row;
#[cfg(test)]
mod tests;

use super::caption;
use super::cells::warning;
use super::notes;
use super::table::{Document, EXTRA, Note, Table, TableOf, Tone};
use super::title;
use crate::plan::axis::AXES;
use crate::plan::{Axis, Case};
use crate::record::quality::QualityRole;
use crate::text::{brief, plural, short};
use crate::units;
use crate::view::quality::{QualityNote, chunk_tokens};
use crate::view::{Estimate, QualityCellView, QualityView, RunView};

pub(super) use row::{QualityRow, csv};

/// The most columns of an outcome, before it is wrapped.
const OUTCOME_COLUMNS: usize = 600;

/// What the words above the columns mean.
pub const LEGEND: &str = "Perplexity: exp(mean negative log likelihood) of the tokens that really follow. Ratio: over the base's. KLD: \
     Kullback-Leibler divergence from the base's distribution, nats. Change p: how much the probability of the \
     right token changes, in percent points. Same top: how often the most likely token is the base's. ±95%: the interval of the \
     figure before it, over chunks. tokens/s: of scoring.";

/// The table of a run's quality cells. It says what the run is, unless another table has said it.
pub fn document(view: &RunView, quality: &QualityView, is_alone: bool) -> Document {
    let notes = CellNotes::of(quality);
    let document = match is_alone {
        true => Document::new(title::of(view), table(view, quality, &notes))
            .all_above(caption::lines(view)),
        false => Document::new("Accuracy", table(view, quality, &notes))
            .above("accuracy", of_run(quality)),
    };
    let mut document = document.all_below(notes.footnotes());
    if is_alone {
        let warnings = notes::run_warnings(view).into_iter().map(warning);
        document = document.all_below(warnings);
    }
    if quality.any_scored() {
        document = document.all_below([Note::new("", LEGEND).tone(Tone::Quiet)]);
    }
    match is_alone {
        true => document.all_below(notes::record_and_next(view)),
        false => document,
    }
}

/// `plain-english in chunks of 512 tokens, 255 of each scored; base smollm2-135m-f16`.
pub fn of_run(quality: &QualityView) -> String {
    let lengths: Vec<u32> = cases(quality).map(chunk_tokens).collect();
    let is_one = lengths.iter().all(|n| *n == lengths[0]);
    let length = lengths.first().filter(|_| is_one);
    let length = length.map_or_else(
        || "in chunks".to_owned(),
        |n| format!("in chunks of {}", plural(*n, "token", "tokens")),
    );
    let scored = quality.base().filter(|base| base.is_scored());
    let scored = scored.map(|base| {
        let each = base.n_scored / u64::from(base.n_chunks);
        format!(", of each of which {each} are scored")
    });
    let base = quality.base().map(|base| {
        let name = short(&base.case.model);
        format!("; base: {name}")
    });
    format!(
        "{} {length}{}{}",
        short(&quality.text),
        scored.unwrap_or_default(),
        base.unwrap_or_default()
    )
}

/// Footnotes, each once, and the cells' marks that point to them.
#[derive(Debug, Default)]
pub struct CellNotes(Vec<QualityNote>);

impl CellNotes {
    pub fn of(quality: &QualityView) -> Self {
        let mut all = Vec::new();
        for note in quality.cells.iter().flat_map(|c| &c.notes) {
            if !all.contains(note) {
                all.push(note.clone());
            }
        }
        Self(all)
    }

    fn mark(&self, cell: &QualityCellView) -> String {
        let is_own = |(_, note): &(u32, &QualityNote)| cell.notes.contains(note);
        let numbers = (1..).zip(&self.0).filter(is_own);
        let numbers: Vec<String> = numbers.map(|(number, _)| number.to_string()).collect();
        numbers.join(",")
    }

    /// The footnotes with their numbers.
    pub fn footnotes(&self) -> impl Iterator<Item = Note> {
        (1_u32..).zip(&self.0).map(|(number, note)| {
            let tone = match note.is_caution() {
                true => Tone::Caution,
                false => Tone::Quiet,
            };
            Note::new(&format!("[{number}]"), note.to_string()).tone(tone)
        })
    }
}

/// The cases of all but the floor, which differs in the shape of its calls, as its note says.
fn cases(quality: &QualityView) -> impl Iterator<Item = &Case> + Clone {
    let cells = quality.cells.iter();
    cells
        .filter(|c| c.role != QualityRole::Floor)
        .map(|c| &c.case)
}

/// The axes in which files and settings differ, but for those that follow from the length of a chunk.
fn varying(quality: &QualityView) -> Vec<Axis> {
    let mut axes = Axis::varying(cases(quality));
    axes.retain(|axis| !["model", "n_prompt", "n_gen", "batch"].contains(&axis.name()));
    axes
}

/// Each cell with its figures; one without has its outcome instead.
pub fn table(view: &RunView, quality: &QualityView, notes: &CellNotes) -> Table {
    let facts = |c: &QualityCellView| view.model(&c.case.model);
    let mut table = Table::of(&quality.cells)
        .words("model", named)
        .words("type", |c| facts(c).map(|m| short(&m.file_type)))
        .rank(6)
        .blank()
        .numbers("size", |c| facts(c).map(|m| units::bytes(m.file_bytes)))
        .rank(7)
        .blank();
    for axis in varying(quality) {
        table = table.numbers(axis.heading(), |c| axis.value(&c.case));
    }
    let n_axes = table.n_columns();
    table = table.texts(|c| {
        let tone = match c.outcome.is_failure() {
            true => Tone::Failure,
            false => Tone::Caution,
        };
        let text = || (brief(&c.outcome_detail, OUTCOME_COLUMNS), tone);
        (!c.is_scored()).then(text)
    });
    table = table.numbers("chunks", |c| c.n_chunks).rank(5);
    let table = figures(table)
        .numbers("tokens/s", |c| shown(c.figures.tokens_per_s))
        .rank(9)
        .words("see", |c| notes.mark(c));
    // A column without a value says nothing, but for the one that the table is about.
    table.without_empty_columns(n_axes + 2).table()
}

type QualityTable<'a> = TableOf<'a, QualityCellView>;

fn figures(table: QualityTable<'_>) -> QualityTable<'_> {
    let table = table.numbers("perplexity", |c| shown(c.figures.perplexity));
    let table = interval(table, |c| c.figures.perplexity)
        .rank(10)
        .numbers("ratio", |c| {
            c.figures
                .perplexity_ratio
                .map(|e| format!("{:.4}", e.value))
        })
        .rank(3)
        .blank()
        .numbers("KLD", |c| nats(c.figures.kld_mean))
        .unit("mean")
        .blank();
    interval(table, |c| c.figures.kld_mean)
        .rank(4)
        .numbers("", |c| nats(c.figures.kld_median))
        .unit("median")
        .rank(12)
        .blank()
        .numbers("", |c| nats(c.figures.kld_p99))
        .unit("p99")
        .rank(8)
        .blank()
        .numbers("", |c| c.figures.kld_max.map(units::nats))
        .unit("max")
        .rank(13)
        .blank()
        .numbers("change p", |c| points(c.figures.right_token_mean))
        .unit("mean %")
        .rank(EXTRA)
        .blank()
        .numbers("", |c| points(c.figures.right_token_rms))
        .unit("RMS %")
        .rank(11)
        .blank()
        .numbers("same top", |c| c.figures.same_top.map(|e| percent(e.value)))
        .blank()
}

/// A share as percent with one decimal more than usual: that of the tokens that stay is near 100%.
pub fn percent(share: f64) -> String {
    format!("{:.2}%", share * 100.0)
}

fn shown(figure: Option<Estimate>) -> Option<String> {
    figure.map(|e| units::significant(e.value))
}

fn nats(figure: Option<Estimate>) -> Option<String> {
    figure.map(|e| units::nats(e.value))
}

fn points(figure: Option<Estimate>) -> Option<String> {
    figure.map(|e| units::nats(e.value * 100.0))
}

/// The interval of the figure in the column before.
fn interval<'a>(
    table: QualityTable<'a>,
    of: fn(&QualityCellView) -> Option<Estimate>,
) -> QualityTable<'a> {
    let plus_minus = |c: &QualityCellView| of(c)?.interval?.plus_minus(units::nats);
    table.numbers("", plus_minus).unit("±95%").blank()
}

/// The settings that all files have in common.
pub fn constants(quality: &QualityView) -> String {
    // The length of chunks is said with the text.
    let axes = AXES
        .iter()
        .filter(|axis| !["n_prompt", "n_gen"].contains(&axis.name()));
    let common = axes.filter(|axis| !axis.varies(cases(quality)));
    let phrases = common.filter_map(|axis| axis.phrase(cases(quality).next()?));
    phrases.collect::<Vec<_>>().join(", ")
}

/// The model, and what is special of the cell.
fn named(cell: &QualityCellView) -> String {
    let model = short(&cell.case.model);
    match cell.role {
        QualityRole::Base => format!("{model} (base)"),
        QualityRole::Floor => format!("{model} (floor)"),
        QualityRole::Candidate => model,
    }
}
