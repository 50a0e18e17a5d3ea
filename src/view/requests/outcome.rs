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
    let interrupted = figures.failed.get(Ending::Interrupted.word());
    let is_cut = interrupted.is_some_and(|n| *n == figures.n_sent);
    match (figures.failures(), unserved.first(), figures.n_sent) {
        (Some(failures), _, _) if !is_cut => (CellOutcome::Failed, failures),
        (_, Some((_, reason)), _) => (CellOutcome::Failed, format!("failed: {reason}")),
        (_, None, 0) => (
            CellOutcome::Missing,
            "missing: nothing was sent yet".to_owned(),
        ),
        (Some(_), None, _) => (
            CellOutcome::Interrupted,
            "interrupted: no answer is whole".to_owned(),
        ),
        (None, None, n) if figures.n_empty > 0 => (
            CellOutcome::Failed,
            format!("failed: {} of {n} answers are empty", figures.n_empty),
        ),
        (None, None, _) => (
            CellOutcome::Failed,
            "failed: no request was sent in the time of the load".to_owned(),
        ),
    }
}
