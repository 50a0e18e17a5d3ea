//! What of a night's runs could not be measured as planned.

use std::collections::BTreeMap;

use crate::record::Outcome;
use crate::text::plain;
use crate::view::{RequestsView, RunView};

/// A line for each cell and reason, and for each job with answers that are not whole.
#[derive(Debug, Clone, Default)]
pub struct Failures {
    pub lines: Vec<String>,
    /// Whether there is more than cells that do not fit into memory.
    pub is_more_than_skipped: bool,
}

impl Failures {
    /// Adds those of a run; each line begins with `start`.
    pub fn add(&mut self, view: &RunView, start: &str) {
        let mut cells: BTreeMap<String, (bool, u32)> = BTreeMap::new();
        for cell in &view.cells {
            for failure in &cell.failures {
                let outcome = &failure.outcome;
                let is_skipped = matches!(outcome, Outcome::Skipped { .. });
                if outcome.is_failure() || is_skipped {
                    let text = plain(&format!("{}: {outcome}", cell.case_id));
                    cells.entry(text).or_insert((is_skipped, 0)).1 += 1;
                }
            }
        }
        for (text, (is_skipped, n)) in cells {
            self.is_more_than_skipped |= !is_skipped;
            self.lines.push(match (is_skipped, n) {
                (true, _) => format!("{start}{text}"),
                (false, 1) => format!("{start}{text} (in 1 process)"),
                (false, n) => format!("{start}{text} (in {n} processes)"),
            });
        }
        let requests = view.requests.iter().flat_map(of_requests);
        let before = self.lines.len();
        self.lines
            .extend(requests.map(|text| format!("{start}{text}")));
        self.is_more_than_skipped |= self.lines.len() > before;
    }

    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }
}

fn of_requests(requests: &RequestsView) -> impl Iterator<Item = String> {
    let failing = requests.jobs.iter().filter(|job| {
        let figures = &job.figures;
        figures.n_whole != figures.n_sent
    });
    failing.map(|job| {
        let figures = &job.figures;
        let why = figures.failed_such_as.values().next();
        let why = why.map_or_else(String::new, |why| format!(", such as: {why}"));
        plain(&format!(
            "{} at {}: {} of {} requests had no whole answer{why}",
            job.job.name,
            job.target,
            figures.n_sent.saturating_sub(figures.n_whole),
            figures.n_sent
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::fixture;

    #[test]
    fn each_reason_is_a_line_and_what_is_skipped_is_none_of_a_process() {
        let mut failures = Failures::default();
        failures.add(&fixture::mixed(), "the promoted program, ");
        let text = failures.lines.join("\n");
        let skipped = "the promoted program, smollm2-135m-q4_0/pp32/tg40/b128/d0/t2: skipped: needs 33.1 GiB, has 22.9 GiB";
        assert!(failures.lines.iter().any(|line| line == skipped), "{text}");
        assert!(failures.is_more_than_skipped, "{text}");
        assert!(text.contains(" process"), "{text}");
    }
}
