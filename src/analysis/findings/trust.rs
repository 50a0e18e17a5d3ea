//! How sure the figures of a run are.

use crate::analysis::curve::is_measured;
use crate::analysis::words::{counted, were};
use crate::analysis::{Finding, Sure, Widths};
use crate::metric::Metric;
use crate::text::plural;
use crate::units;
use crate::view::{CellOutcome, CellView, CellWarning, RunView};

fn measured(view: &RunView) -> Vec<&CellView> {
    view.cells.iter().filter(|c| is_measured(c)).collect()
}

fn widths(measured: &[&CellView]) -> Option<Widths> {
    let intervals = measured.iter();
    Widths::of(intervals.filter_map(|c| c.interval(Metric::DecodeTokensPerS)))
}

/// The throughput's interval in a few words: `±1.3% in half of the cells, ±8.1% at worst; 3 processes a cell`.
pub(super) fn known(view: &RunView) -> String {
    let measured = measured(view);
    let (processes, _) = processes(&measured);
    let disturbed = match (n_disturbed(&measured), measured.len()) {
        (0, _) => String::new(),
        (n, of) => format!("; the machine was disturbed in {n} of {of} cells"),
    };
    let known = match widths(&measured) {
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
    let processes = || measured.iter().map(|c| c.n_processes);
    let (fewest, most) = (processes().min(), processes().max());
    let (fewest, most) = (fewest.unwrap_or(0), most.unwrap_or(0));
    let said = match fewest == most {
        true => plural(most, "process", "processes"),
        false => format!("{fewest} to {most} processes"),
    };
    (said, fewest)
}

fn n_with(measured: &[&CellView], has: fn(&CellWarning) -> bool) -> usize {
    let cells = measured.iter();
    cells.filter(|c| c.warnings.iter().any(has)).count()
}

fn n_disturbed(measured: &[&CellView]) -> usize {
    n_with(measured, CellWarning::is_of_machine)
}

pub(super) fn trust(view: &RunView) -> Finding {
    let measured = measured(view);
    let (processes, fewest) = processes(&measured);
    let (claim, sure) = match widths(&measured) {
        None => {
            let claim = format!(
                "Undetermined: {processes} a cell and a single repetition in it give no interval."
            );
            (claim, Sure::Undetermined)
        }
        Some(widths) => {
            let known = widths.in_words("cells", tokens_per_s);
            let sure = match widths.sure() {
                Sure::Shown if fewest < 2 => Sure::Likely,
                sure => sure,
            };
            let claim = format!("Throughput is {known}, from {processes} a cell.");
            (claim, sure)
        }
    };
    Finding::new("How sure is it?", claim, sure).with(doubts(view, &measured))
}

fn doubts(view: &RunView, measured: &[&CellView]) -> Vec<String> {
    let n = measured.len();
    let cells = counted(view.cells.len(), "cell");
    let mut said = vec![format!("Of {cells} {} measured.", were(n))];
    let alone = measured.iter().filter(|c| c.n_processes < 2).count();
    if alone > 0 {
        said.push(format!(
            "{} measured in one process only: their intervals do not include differences between processes.",
            were(alone)
        ));
    }
    let disturbed = n_disturbed(measured);
    if disturbed > 0 {
        said.push(format!(
            "The machine was disturbed in some repetition of {disturbed} of these {n}."
        ));
    }
    let unsteady = n_with(measured, |w| matches!(w, CellWarning::NotSteady(_)));
    if unsteady > 0 {
        said.push(format!(
            "The warm-up of {unsteady} of them did not settle in some process."
        ));
    }
    let partly = n_with(measured, |w| {
        use CellWarning::{Failures, FewProcesses};
        matches!(w, Failures { .. } | FewProcesses(_))
    });
    if partly > 0 {
        let were = were(partly);
        said.push(format!("{were} measured in fewer processes than planned."));
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
