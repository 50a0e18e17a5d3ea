//! What of a night's runs could not be measured as planned.

use std::collections::BTreeMap;

use crate::record::Outcome;
use crate::request::Ending;
use crate::text::{plain, plural};
use crate::view::requests::JobView;
use crate::view::{AnyCell, RequestsView, RunView};

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
        for job in view.requests.iter().flat_map(|requests| &requests.jobs) {
            if let Some(outcome) = &job.never_served {
                let name = AnyCell::Requests(job).name();
                let text = plain(&format!("{name}: {outcome}"));
                self.lines.push(format!("{start}{text}"));
                self.is_more_than_skipped |= outcome.is_failure();
            }
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
    let jobs = requests.jobs.iter();
    let jobs = jobs.filter(|job| job.never_served.is_none());
    jobs.flat_map(|job| {
        let place = AnyCell::Requests(job).name();
        let figures = &job.figures;
        let cut = figures.failed.get(Ending::Interrupted.word()).copied();
        let n_due = figures.n_sent.saturating_sub(cut.unwrap_or(0));
        let n_lost = n_due.saturating_sub(figures.n_whole);
        let why = figures.failed_such_as.values().next();
        let why = why.map_or_else(String::new, |why| format!(", such as: {why}"));
        let lost =
            (n_lost > 0).then(|| format!("{n_lost} of {n_due} requests had no whole answer{why}"));
        let unserved = job.unserved.first().map(|(_, why)| {
            let n = u32::try_from(job.unserved.len()).unwrap_or(u32::MAX);
            format!("not served in {}: {why}", plural(n, "round", "rounds"))
        });
        // Without a round that is judged the job would be missing from the baseline, and never be judged again.
        let missing = (lost.is_none() && unserved.is_none() && !has_whole_round(job))
            .then(|| "no round of it was measured to its end, so it is not judged".to_owned());
        let said = [lost, unserved, missing].into_iter().flatten();
        said.map(move |text| plain(&format!("{place}: {text}")))
            .collect::<Vec<_>>()
    })
}

/// Whether a round was measured to its end.
fn has_whole_round(job: &JobView) -> bool {
    let cut: Vec<u32> = job.cut_rounds().collect();
    let answered = job.requests.iter().filter(|r| r.is_answered());
    answered.into_iter().any(|r| !cut.contains(&r.round))
}

/// A line for each job of which the budget cut rounds. That is no failure: what was cut is not judged.
pub fn cut_rounds(view: &RunView) -> Vec<String> {
    let requests = view.requests.iter();
    let jobs = requests.flat_map(|requests| &requests.jobs);
    // After a failure the rest is interrupted too.
    let is_left = |job: &&JobView| job.unserved.is_empty() && job.never_served.is_none();
    let jobs = jobs.filter(|job| job.n_failed() == 0 && is_left(job));
    let cut = jobs.filter_map(|job| {
        let n = u32::try_from(job.cut_rounds().count()).unwrap_or(u32::MAX);
        (n > 0).then(|| {
            plain(&format!(
                "{}: {} ended early and {} not judged; a longer --budget or fewer --n-requests let it end",
                AnyCell::Requests(job).name(),
                plural(n, "round", "rounds"),
                if n == 1 { "is" } else { "are" }
            ))
        })
    });
    cut.collect()
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
            noted.len() == 1 && noted[0].contains("1 round ended early"),
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

        // Without a whole round the job is not judged, so that the night is no baseline.
        let lost = fixture::requests::both_with(1, |job, _, t| {
            if job.name == "classes" && t.number > 0 {
                t.ending = Ending::Interrupted;
            }
        });
        let mut failures = Failures::default();
        failures.add(&lost, "");
        assert!(failures.is_more_than_skipped, "{failures:?}");
        assert!(
            failures.lines[0].contains("no round of it was measured to its end"),
            "{failures:?}"
        );
    }
}
