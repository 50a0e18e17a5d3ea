//! A trial of the gate as a table.

use super::table::{Document, Table};
use super::text::plural;
use crate::compare::percent;
use crate::compare::samples::Disturbed;
use crate::gate::trial::{GateTrial, Gates, NAIVE, TrialRow};

/// Counts with their shares, and how the gates were made.
pub fn document(trial: &GateTrial) -> Document {
    let n_cells = u32::try_from(trial.n_cells).unwrap_or(u32::MAX);
    let rule = &trial.rule;
    let mut document = Document::new("The gate on trial", table(&trial.rows))
        .above("unchanged", runs(&trial.runs, trial.disturbed));
    if !trial.slower.is_empty() {
        document = document.above("slower", runs(&trial.slower, trial.disturbed_slower));
    }
    let rule = format!(
        "tolerance {}, alpha {}, nights assumed to differ by {}, {}",
        percent(rule.tolerance),
        rule.alpha,
        percent(rule.night_sd),
        plural(n_cells, "cell", "cells")
    );
    document.above("rule", rule).below("", legend(trial))
}

fn runs(labels: &[String], disturbed: Disturbed) -> String {
    let of = match labels {
        [first, .., last] => format!(", {first} to {last}"),
        _ => String::new(),
    };
    let n = u32::try_from(labels.len()).unwrap_or(u32::MAX);
    format!(
        "{}{of}; {:.0}% of their repetitions disturbed",
        plural(n, "run", "runs"),
        disturbed.share() * 100.0
    )
}

fn table(rows: &[TrialRow]) -> Table {
    let share =
        |n: usize, row: &TrialRow| format!("{n} ({:.2}%)", 100.0 * n as f64 / row.n_gates as f64);
    Table::of(rows)
        .words("night", night)
        .words("against", against)
        .numbers("gates", |r| r.n_gates)
        .numbers("exit 1", |r| share(r.failed, r))
        .numbers("suspected", |r| share(r.suspected, r))
        .rank(2)
        .numbers("exit 3", |r| share(r.inconclusive, r))
        .rank(2)
        .numbers("exit 0", |r| share(r.passed, r))
        .rank(2)
        .numbers("cells that pass", |r| {
            format!("{:.1}%", r.cells_passed * 100.0)
        })
        .rank(3)
        .numbers("naive rule", |r| share(r.naive, r))
        .table()
}

fn night(row: &TrialRow) -> &'static str {
    match (row.is_slower, row.gates) {
        (true, _) => "slower",
        (false, Gates::ByCell) => "labels by cell",
        (false, Gates::ByProcess) => "labels by process",
        (false, _) => "unchanged",
    }
}

fn against(row: &TrialRow) -> String {
    match row.gates {
        Gates::OneRun | Gates::ByCell | Gates::ByProcess => "one run".to_owned(),
        Gates::OneRunAmong { nights } => format!("one run, {nights} nights known"),
        Gates::Nights { nights } => format!("{nights} nights"),
    }
}

fn legend(trial: &GateTrial) -> String {
    let rows = &trial.rows;
    let flips = rows.iter().any(|r| r.gates == Gates::ByCell);
    let labels = if flips {
        " labels by cell, by process: of a pair of runs, each cell's labels were exchanged by coin, as a whole or in each \
         replicate."
    } else {
        ""
    };
    format!(
        "unchanged: every ordered pair of the {} unchanged runs, the next run as the rerun; pairs share runs, so they are not \
         independent.{labels} suspected: before the rerun. naive rule: fails when the mean of a cell is slower by \
         more than {}.",
        trial.runs.len(),
        percent(NAIVE)
    )
}
