//! A trial of the gate as a table.

use super::sheet::{Column, Sheet};
use super::text::plural;
use crate::compare::percent;
use crate::compare::samples::Disturbed;
use crate::gate::trial::{GateTrial, Gates, NAIVE, TrialRow};

/// Counts with their shares, and how the gates were made.
pub fn sheet(trial: &GateTrial) -> Sheet {
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let mut above = vec![("unchanged".to_owned(), runs(&trial.runs, trial.disturbed))];
    if !trial.slower.is_empty() {
        let text = runs(&trial.slower, trial.disturbed_slower);
        above.push(("slower".to_owned(), text));
    }
    above.push((
        "rule".to_owned(),
        format!(
            "tolerance {}, alpha {}, nights taken to differ by {}, {}",
            percent(trial.rule.tolerance),
            trial.rule.alpha,
            percent(trial.rule.night_sd),
            plural(count(trial.n_cells), "cell", "cells")
        ),
    ));
    Sheet {
        title: "The gate on trial".to_owned(),
        above,
        columns: columns(&trial.rows),
        below: vec![(String::new(), legend(trial))],
    }
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

fn columns(rows: &[TrialRow]) -> Vec<Column> {
    let of = |value: &dyn Fn(&TrialRow) -> String| rows.iter().map(value).collect::<Vec<String>>();
    let share =
        |n: usize, row: &TrialRow| format!("{n} ({:.2}%)", 100.0 * n as f64 / row.n_gates as f64);
    vec![
        Column::words("night", 0, of(&|r| night(r).to_owned())),
        Column::words("against", 0, of(&against)),
        Column::numbers("gates", 0, of(&|r| r.n_gates.to_string())),
        Column::numbers("exit 1", 0, of(&|r| share(r.failed, r))),
        Column::numbers("suspected", 2, of(&|r| share(r.suspected, r))),
        Column::numbers("exit 3", 2, of(&|r| share(r.inconclusive, r))),
        Column::numbers("exit 0", 2, of(&|r| share(r.passed, r))),
        Column::numbers(
            "cells that pass",
            3,
            of(&|r| format!("{:.1}%", r.cells_passed * 100.0)),
        ),
        Column::numbers("naive rule", 0, of(&|r| share(r.naive, r))),
    ]
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
        "unchanged: every ordered pair of the {} unchanged runs, the next run as the rerun; pairs share runs, so they are fewer \
         than they look.{labels} suspected: before the rerun. naive rule: fails when the mean of a cell is slower by \
         more than {}.",
        trial.runs.len(),
        percent(NAIVE)
    )
}
