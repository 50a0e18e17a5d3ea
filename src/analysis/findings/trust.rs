//! How sure the figures of a run are.

use crate::analysis::curve::is_measured;
use crate::analysis::{Finding, Sure, Widths};
use crate::metric::Metric;
use crate::text::plural;
use crate::units;
use crate::view::{CellOutcome, CellView, CellWarning, RunView};

/// The throughput's interval in a few words: `±1.3% in half of the cells, ±8.1% at worst; 3 processes a cell`.
pub(super) fn known(view: &RunView) -> String {
    let measured: Vec<&CellView> = view.cells.iter().filter(|c| is_measured(c)).collect();
    let (processes, _) = processes(&measured);
    let disturbed = n_disturbed(&measured);
    let disturbed = match (disturbed, measured.len()) {
        (0, _) => String::new(),
        (n, of) => format!("; the machine was disturbed in {n} of {of} cells"),
    };
    let known = match Widths::of(
        measured
            .iter()
            .filter_map(|c| c.interval(Metric::DecodeTokensPerS)),
    ) {
        Some(widths) => widths.in_short("cells", tokens_per_s),
        None => "unknown, a single repetition has no interval".to_owned(),
    };
    format!("{known}; {processes} a cell{disturbed}")
}

fn tokens_per_s(rate: f64) -> String {
    format!("{} tokens/s", units::significant(rate))
}

/// The processes of each cell in words, and the fewest.
fn processes(measured: &[&CellView]) -> (String, u32) {
    let processes = measured.iter().map(|c| c.n_processes);
    let (fewest, most) = (
        processes.clone().min().unwrap_or(0),
        processes.max().unwrap_or(0),
    );
    let said = if fewest == most {
        plural(most, "process", "processes")
    } else {
        format!("{fewest} to {most} processes")
    };
    (said, fewest)
}

fn n_disturbed(measured: &[&CellView]) -> usize {
    let is_disturbed = |c: &&&CellView| {
        let mut warnings = c.warnings.iter();
        warnings.any(|w| matches!(w, CellWarning::Host { .. }))
    };
    measured.iter().filter(is_disturbed).count()
}

pub(super) fn trust(view: &RunView) -> Finding {
    let measured: Vec<&CellView> = view.cells.iter().filter(|c| is_measured(c)).collect();
    let widths = Widths::of(
        measured
            .iter()
            .filter_map(|c| c.interval(Metric::DecodeTokensPerS)),
    );
    let (processes, fewest) = processes(&measured);
    let (claim, sure) = match widths {
        None => (
            format!(
                "Undetermined: {processes} a cell and a single repetition in it give no interval."
            ),
            Sure::Undetermined,
        ),
        Some(widths) => {
            let known = widths.in_words("cells", tokens_per_s);
            let sure = match widths.sure() {
                Sure::Shown if fewest < 2 => Sure::Likely,
                sure => sure,
            };
            (
                format!("Throughput is {known}, from {processes} a cell."),
                sure,
            )
        }
    };
    Finding {
        question: "How sure is it?",
        claim,
        evidence: doubts(view, &measured),
        sure,
        see: Vec::new(),
    }
}

fn doubts(view: &RunView, measured: &[&CellView]) -> Vec<String> {
    let n = measured.len();
    let cells = plural(count(view.cells.len()), "cell", "cells");
    let mut said = vec![format!("Of {cells} {} measured.", were(n))];
    let alone = measured.iter().filter(|c| c.n_processes < 2).count();
    if alone > 0 {
        said.push(format!(
            "{} measured in one process only: their intervals know nothing of what differs between processes.",
            were(alone)
        ));
    }
    let with = |has: fn(&CellWarning) -> bool| {
        measured
            .iter()
            .filter(|c| c.warnings.iter().any(has))
            .count()
    };
    let disturbed = n_disturbed(measured);
    if disturbed > 0 {
        said.push(format!(
            "The machine was disturbed in some repetition of {disturbed} of these {n}."
        ));
    }
    let unsteady = with(|w| matches!(w, CellWarning::NotSteady { .. }));
    if unsteady > 0 {
        said.push(format!(
            "The warm-up of {unsteady} of them did not settle in some process."
        ));
    }
    let partly = with(|w| {
        matches!(
            w,
            CellWarning::Failures { .. } | CellWarning::FewProcesses { .. }
        )
    });
    if partly > 0 {
        said.push(format!(
            "{} measured in fewer processes than planned.",
            were(partly)
        ));
    }
    for (outcome, words) in [
        (CellOutcome::Skipped, "did not fit into memory"),
        (CellOutcome::Crashed, "crashed"),
        (CellOutcome::Failed, "failed"),
        (CellOutcome::TimedOut, "hung"),
        (CellOutcome::Interrupted, "were interrupted"),
        (CellOutcome::Missing, "were not measured yet"),
    ] {
        let n = view.cells.iter().filter(|c| c.outcome == outcome).count();
        if n > 0 {
            said.push(match words.strip_prefix("were ") {
                Some(words) => format!("{} {words}.", were(n)),
                None => format!("{n} {words}."),
            });
        }
    }
    if measured.iter().all(|c| c.step_ns.p99.is_none()) {
        said.push("No cell has the 299 steps that a p99 needs.".to_owned());
    }
    said
}

fn were(n: usize) -> String {
    format!("{n} {}", if n == 1 { "was" } else { "were" })
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
