//! The figures of cells: all of them, requests as a user feels them, and how single steps are spread.

use super::{Block, cell_table};
use crate::analysis::curve::is_measured;
use crate::analysis::findings;
use crate::analysis::theory::Theory;
use crate::metric::Metric;
use crate::plot::resources::memory;
use crate::plot::{batch, latency};
use crate::report::cells::{self, Detail};
use crate::report::notes::{self, Notes};
use crate::report::table::{Note, Table};
use crate::stats::histogram::min_samples_for;
use crate::stats::summary;
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
        None if view.header.imported.is_some() => {}
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
    let table = cells::table(view, &notes, Detail::Wide);
    let below = below(view, &notes, &table);
    blocks.extend([Block::Table(table), Block::List(below)]);
    blocks
}

/// What has to be known to read the table.
fn below(view: &RunView, notes: &Notes, table: &Table) -> Vec<String> {
    let why = table.why_missing().map(|why| Note::new("n/a", why));
    let warnings = notes::run_warnings(view).into_iter().map(cells::warning);
    let legend = view
        .any_batch_measured()
        .then(|| Note::new("", notes::LEGEND));
    let all = why
        .into_iter()
        .chain(notes.footnotes())
        .chain(warnings)
        .chain(legend);
    all.map(|note| note.in_one_line()).collect()
}

/// Whole requests of the smallest batch, by the length of their prompt.
pub(super) fn requests(view: &RunView) -> Vec<Block> {
    let measured: Vec<&CellView> = view.cells.iter().filter(|c| is_measured(c)).collect();
    let Some(least) = measured.iter().map(|c| c.case.n_seq).min() else {
        return vec![Block::Text("No cell was measured.".to_owned())];
    };
    let mut cells: Vec<&CellView> = measured
        .into_iter()
        .filter(|c| c.case.n_seq == least)
        .collect();
    cells.sort_by_key(|c| (c.case.n_prompt, c.case.n_gen));
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
        Block::Table(request_table(view, &cells)),
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

fn request_table(view: &RunView, cells: &[&CellView]) -> Table {
    let seconds = |c: &CellView| {
        let mut seconds: Vec<f64> = c
            .repetitions
            .iter()
            .map(|r| r.whole_ns as f64 / 1e9)
            .collect();
        seconds.sort_unstable_by(f64::total_cmp);
        seconds
    };
    let percentile = |c: &CellView, q: f64| {
        let seconds = seconds(c);
        let enough = min_samples_for(q).is_some_and(|n| seconds.len() as u64 >= n);
        summary::quantile_type7(&seconds, q).filter(|_| enough)
    };
    let mean = |c: &CellView, of: fn(&RepetitionTime) -> Option<f64>| {
        let values: Vec<f64> = c.repetitions.iter().filter_map(of).collect();
        summary::mean(&values)
    };
    let first = |c: &CellView| {
        let known = c.ns(Metric::TtftNs);
        mean(c, |r| Some(r.prefill_ns? as f64 / 1e9)).filter(|_| known.is_some())
    };
    let n_requests = |c: &CellView| u64::from(c.n_repetitions) * u64::from(c.case.n_seq);
    let number = |v: Option<f64>| v.map(units::significant);
    cell_table(view, cells, |c| *c)
        .numbers("requests", |c| n_requests(c))
        .numbers("mean s", |c| number(summary::mean(&seconds(c))))
        .numbers("median s", |c| number(summary::median(&seconds(c))))
        .numbers("p95 s", |c| number(percentile(c, 0.95)))
        .numbers("p99 s", |c| number(percentile(c, 0.99)))
        .numbers("TPS mean", |c| {
            number(mean(c, RepetitionTime::tokens_per_s))
        })
        .numbers("TTFT mean s", |c| number(first(c)))
        .numbers("tokens in all", |c| {
            n_requests(c).saturating_mul(c.case.n_gen.into())
        })
        .table()
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
