//! What of a night's runs could not be measured as planned.

use std::collections::BTreeMap;

use crate::record::Outcome;
use crate::request::shown_target;
use crate::text::{plain, plural};
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
    let failing = requests.jobs.iter().filter(|job| job.has_failed());
    failing.map(|job| {
        let figures = &job.figures;
        let why = figures.failed_such_as.values().next();
        let why = why.or_else(|| job.unserved.first().map(|(_, why)| why));
        let why = why.map_or_else(String::new, |why| format!(", such as: {why}"));
        let n_lost = figures.n_sent.saturating_sub(figures.n_whole);
        let n = match job.n_failed() {
            0 => n_lost,
            n => n,
        };
        plain(&format!(
            "{} at {}: {n} of {} requests had no whole answer{why}",
            job.job.name,
            shown_target(&job.target),
            figures.n_sent
        ))
    })
}

/// A line for each job of which the budget cut rounds. That is no failure: what was cut is not judged.
pub fn cut_rounds(view: &RunView) -> Vec<String> {
    let jobs = view.requests.iter().flat_map(|requests| &requests.jobs);
    let cut = jobs.filter_map(|job| {
        let n = u32::try_from(job.cut_rounds().count()).unwrap_or(u32::MAX);
        (n > 0).then(|| {
            plain(&format!(
                "{} at {}: the budget ended within {}, not judged; a longer --budget or fewer --n-requests let it end",
                job.job.name,
                shown_target(&job.target),
                plural(n, "round", "rounds")
            ))
        })
    });
    cut.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::Ending;
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

    #[test]
    fn a_round_that_the_budget_cut_is_no_failure() {
        let of_budget = fixture::requests::both_with(1, |job, round, t| {
            if job.name == "classes" && round == 2 && t.number > 0 {
                t.ending = Ending::Interrupted;
            }
        });
        let mut failures = Failures::default();
        failures.add(&of_budget, "");
        assert!(failures.is_empty(), "{failures:?}");
        let noted = cut_rounds(&of_budget);
        assert!(
            noted.len() == 1 && noted[0].contains("within 1 round"),
            "{noted:?}"
        );

        let broken = fixture::requests::both_with(1, |job, round, t| {
            if job.name == "classes" && round == 2 && t.number > 0 {
                t.ending = Ending::TimedOut { after_ns: 1 };
            }
        });
        failures.add(&broken, "");
        assert!(failures.is_more_than_skipped, "{failures:?}");
        assert_eq!(cut_rounds(&broken), [""; 0]);
    }
}
