//! What became of a job at a target.

use super::JobFigures;
use crate::record::Outcome;
use crate::request::Ending;
use crate::text::plural;
use crate::view::CellOutcome;

/// What became of a job, as a cell's outcome and in words: `n_rounds` were served, in others it could not be.
pub(super) fn of(
    figures: &JobFigures,
    n_rounds: u32,
    unserved: &[(u32, String)],
    never_served: Option<&Outcome>,
) -> (CellOutcome, String) {
    if let Some(outcome) = never_served {
        return (CellOutcome::of(outcome), outcome.to_string());
    }
    if figures.n_whole > 0 {
        let requests = plural(figures.n_sent, "request", "requests");
        let rounds = plural(n_rounds, "round", "rounds");
        let whole = figures.n_whole;
        return (
            CellOutcome::Measured,
            format!("answered {whole} of {requests} in {rounds}"),
        );
    }
    let count = |ending: &Ending| figures.failed.get(ending.word()).copied().unwrap_or(0);
    let n_cut = count(&Ending::Interrupted);
    let n_failed = figures.failed.values().sum::<u32>();
    let n_failed = n_failed.saturating_sub(n_cut + count(&Ending::NotSent));
    let n_sent = figures.n_sent;
    match (figures.failures(), unserved.first()) {
        (Some(failures), _) if n_failed > 0 => (CellOutcome::Failed, failures),
        (_, Some((_, reason))) => (CellOutcome::Failed, format!("failed: {reason}")),
        _ if n_cut > 0 => (
            CellOutcome::Interrupted,
            "interrupted: no answer is whole".to_owned(),
        ),
        _ if figures.n_empty > 0 => (
            CellOutcome::Failed,
            format!("failed: {} of {n_sent} answers are empty", figures.n_empty),
        ),
        _ if n_sent > 0 || n_rounds > 0 => (
            CellOutcome::Failed,
            "failed: no request was sent in the time of the load".to_owned(),
        ),
        _ => (
            CellOutcome::Missing,
            "missing: nothing was sent yet".to_owned(),
        ),
    }
}
