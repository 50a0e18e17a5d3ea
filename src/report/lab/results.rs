//! The figures of cells: all of them, requests as a user feels them, and how single steps are spread.

use super::{Block, Grid, Head, Places, or_na};
use crate::analysis::curve::is_measured;
use crate::analysis::findings;
use crate::analysis::theory::Theory;
use crate::metric::Metric;
use crate::plan::Case;
use crate::plot::resources::memory;
use crate::plot::{batch, latency};
use crate::report::axes;
use crate::report::columns::{self, Detail};
use crate::report::notes::{self, Notes};
use crate::stats::histogram::min_samples_for;
use crate::stats::summary;
use crate::text::short;
use crate::units;
use crate::view::{CellView, RepetitionTime, RunView};

pub(super) fn blocks(view: &RunView, theory: &Theory) -> Vec<Block> {
    let mut blocks = Vec::new();
    let figures = [
        batch::throughput(view, &theory.fits),
        batch::latency(view),
        batch::tradeoff(view),
        batch::per_sequence(view),
        batch::ttft(view),
        memory(view),
    ];
    match Block::figures(figures) {
        Some(figures) => blocks.push(figures),
        None => blocks.push(super::missing(
            view,
            "Plots against the batch need two batch sizes.",
            &[("batch", "1,8,32")],
        )),
    }
    let scaling = findings::scaling(view);
    if !scaling.is_empty() {
        blocks.push(Block::Heading("How it scales".to_owned()));
        blocks.push(Block::Findings(scaling));
    }
    blocks.push(Block::Heading("Every cell".to_owned()));
    let notes = Notes::of(view);
    blocks.push(Block::Table(cells(view, &notes)));
    blocks.push(Block::List(below(view, &notes)));
    blocks
}

/// What has to be known to read the table.
fn below(view: &RunView, notes: &Notes) -> Vec<String> {
    let footnotes = notes.footnotes().into_iter();
    let mut below: Vec<String> = footnotes
        .map(|(number, text)| format!("{number}{text}"))
        .collect();
    let warnings = notes::run_warnings(view).into_iter();
    below.extend(warnings.map(|w| format!("Warning: {w}.")));
    let (columns, _) = columns::of(view, notes, Detail::Wide);
    below.extend(notes::about_missing(view, &columns).map(|text| format!("n/a: {text}.")));
    if view.any_measured() {
        below.push(notes::LEGEND.to_owned());
    }
    below
}

/// The same table as on the terminal, with every column.
fn cells(view: &RunView, notes: &Notes) -> Grid {
    let (columns, n_axes) = columns::of(view, notes, Detail::Wide);
    let cases: Vec<&Case> = view.cells.iter().map(|c| &c.case).collect();
    let models = axes::models(&cases).len() > 1;
    let mut head: Vec<Head> = columns
        .iter()
        .map(|c| Head {
            text: format!("{} {}", c.name, c.unit).trim().replace("- ", ""),
            is_number: true,
        })
        .collect();
    if models {
        head.insert(
            0,
            Head {
                text: "model".to_owned(),
                is_number: false,
            },
        );
    }
    let row = |(at, cell): (usize, &CellView)| {
        let mut values: Vec<String> = columns
            .iter()
            .map(|c| match c.values.get(at).and_then(Option::as_deref) {
                Some(value) => value.to_owned(),
                None if c.why_missing.is_some() => "n/a".to_owned(),
                None => String::new(),
            })
            .collect();
        if !notes::is_row(cell) {
            values.truncate(n_axes);
            values.push(notes::outcome(cell));
        }
        if models {
            values.insert(0, short(&cell.case.model));
        }
        values
    };
    Grid {
        head,
        rows: view.cells.iter().enumerate().map(row).collect(),
    }
}

/// Whole requests of the smallest batch, by the length of their prompt.
pub(super) fn requests(view: &RunView) -> Vec<Block> {
    let measured: Vec<&CellView> = view.cells.iter().filter(|c| is_measured(c)).collect();
    let Some(least) = measured.iter().map(|c| c.case.n_seq).min() else {
        return vec![Block::Text("No cell was measured.".to_owned())];
    };
    let places = Places::of(view);
    let mut grid = places.grid(&[
        "requests",
        "mean s",
        "median s",
        "p95 s",
        "p99 s",
        "TPS mean",
        "TTFT mean s",
        "tokens in all",
    ]);
    let mut cells: Vec<&&CellView> = measured.iter().filter(|c| c.case.n_seq == least).collect();
    cells.sort_by_key(|c| (c.case.n_prompt, c.case.n_gen));
    grid.rows = cells
        .into_iter()
        .map(|c| request_row(places.row(c), c))
        .collect();
    let batch = match least {
        1 => "One request at a time".to_owned(),
        n => format!("{n} requests at a time, the smallest batch measured"),
    };
    let mut blocks = vec![
        Block::Text(format!(
            "{batch}: from the prompt to the last of its tokens, one for each repetition. p95 needs {} requests, p99 {}. \
             TPS counts the tokens of all requests of a batch while they are generated.",
            min_samples_for(0.95).unwrap_or_default(),
            min_samples_for(0.99).unwrap_or_default(),
        )),
        Block::Table(grid),
    ];
    if least > 1 {
        blocks.push(super::missing(
            view,
            "Latencies of single requests were not measured.",
            &[("batch", "1")],
        ));
    }
    blocks
}

fn request_row(mut row: Vec<String>, cell: &CellView) -> Vec<String> {
    let values = |of: fn(&RepetitionTime) -> Option<f64>| -> Vec<f64> {
        cell.repetitions.iter().filter_map(of).collect()
    };
    let mut seconds = values(|r| Some(r.whole_ns as f64 / 1e9));
    seconds.sort_unstable_by(f64::total_cmp);
    let percentile = |q: f64| {
        let enough = min_samples_for(q).is_some_and(|n| seconds.len() as u64 >= n);
        summary::quantile_type7(&seconds, q).filter(|_| enough)
    };
    let rates = values(RepetitionTime::tokens_per_s);
    let first = values(|r| Some(r.prefill_ns? as f64 / 1e9));
    let first = summary::mean(&first).filter(|_| cell.ns(Metric::TtftNs).is_some());
    let generated = u64::from(cell.case.n_gen) * u64::from(cell.case.n_seq);
    let number = |v: Option<f64>| or_na(v.map(units::significant));
    row.extend([
        (u64::from(cell.n_repetitions) * u64::from(cell.case.n_seq)).to_string(),
        number(summary::mean(&seconds)),
        number(summary::median(&seconds)),
        number(percentile(0.95)),
        number(percentile(0.99)),
        number(summary::mean(&rates)),
        number(first),
        generated
            .saturating_mul(cell.n_repetitions.into())
            .to_string(),
    ]);
    row
}

/// How single steps are spread.
pub(super) fn distribution(view: &RunView) -> Vec<Block> {
    let figures = [
        latency::histogram(view),
        latency::cumulative(view),
        latency::along_generation(view),
    ];
    match Block::figures(figures) {
        Some(figures) => vec![figures],
        None => vec![Block::Text("No decode step was measured.".to_owned())],
    }
}
