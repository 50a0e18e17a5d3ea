//! How sure the figures of a run are.

use crate::analysis::curve::is_measured;
use crate::analysis::{Finding, Sure};
use crate::text::plural;
use crate::units;
use crate::view::{CellOutcome, CellView, CellWarning, RunView};

/// Half-widths of intervals up to this let differences be seen that matter.
const NARROW: f64 = 0.05;

pub(super) fn trust(view: &RunView) -> Finding {
    let measured: Vec<&CellView> = view.cells.iter().filter(|c| is_measured(c)).collect();
    let mut widths: Vec<f64> = measured
        .iter()
        .filter_map(|c| c.decode_interval?.relative_half_width())
        .collect();
    widths.sort_unstable_by(f64::total_cmp);
    let processes = measured.iter().map(|c| c.n_processes);
    let (fewest, most) = (
        processes.clone().min().unwrap_or(0),
        processes.max().unwrap_or(0),
    );
    let processes = if fewest == most {
        plural(most, "process", "processes")
    } else {
        format!("{fewest} to {most} processes")
    };
    let (claim, sure) = match widths[..] {
        [] => (
            format!(
                "Undetermined: {processes} a cell and a single repetition in it give no interval."
            ),
            Sure::Undetermined,
        ),
        [least, ..] => {
            let (middle, widest) = (widths[widths.len() / 2], widths[widths.len() - 1]);
            let claim = format!(
                "Throughput is known to {} or better in half of the cells (best {}, worst {}), from {processes} a cell.",
                percent(middle),
                percent(least),
                percent(widest)
            );
            let sure = match middle {
                w if w <= NARROW && fewest > 1 => Sure::Shown,
                w if w <= 4.0 * NARROW => Sure::Likely,
                _ => Sure::Undetermined,
            };
            (claim, sure)
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

fn percent(share: f64) -> String {
    if share > 10.0 {
        return "more than 1000%".to_owned();
    }
    format!("{}%", units::significant(share * 100.0))
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
    let disturbed = with(|w| matches!(w, CellWarning::Host { .. }));
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
