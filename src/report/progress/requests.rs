//! Progress of requests: which job a target serves, and what became of each.

use super::{FinishedLine, Position, Screen};
use crate::record::requests::JobLine;
use crate::report::text::brief;
use crate::request::{Ending, Job, Served, shown_target};
use crate::run::requests::{RequestsPosition, RequestsProgress};
use crate::stats::summary;
use crate::units;

/// A watcher for standard error.
pub fn for_stderr() -> Box<dyn RequestsProgress> {
    Box::new(RequestsScreen {
        screen: Screen::of_stderr(),
    })
}

/// What became of a job, in a few words.
fn result(line: &JobLine, served: Option<&Served>) -> String {
    let Some(served) = served else {
        return line
            .reason
            .clone()
            .unwrap_or_else(|| "not served".to_owned());
    };
    let whole: Vec<f64> = served
        .timelines
        .iter()
        .filter(|t| t.ending.is_whole())
        .map(|t| t.latency_ns() as f64)
        .collect();
    let waiting = served.timelines.iter();
    let waiting = waiting.filter(|t| t.ending == Ending::NotSent).count();
    let failed = served.timelines.len() - whole.len() - waiting;
    let median = summary::median(&whole).map(|ns| {
        let rate = whole.len() as f64 / (served.elapsed_ns.max(1) as f64 / 1e9);
        format!(
            ", median {}, {} requests/s",
            units::duration(ns.round() as u64),
            units::significant(rate)
        )
    });
    let failed = match failed {
        0 => String::new(),
        n => {
            let reason = served.timelines.iter().find_map(|t| t.ending.reason());
            let reason = reason.map(|why| format!(" ({})", brief(&why, REASON_COLUMNS)));
            format!(", {n} not whole{}", reason.unwrap_or_default())
        }
    };
    let waiting = match waiting {
        0 => String::new(),
        n => format!(", {n} never sent"),
    };
    format!(
        "{} requests{}{failed}{waiting}",
        whole.len(),
        median.unwrap_or_default()
    )
}

/// Columns of a reason in a line.
const REASON_COLUMNS: usize = 160;

fn round(number: u32) -> String {
    format!("round {}", number + 1)
}

fn position(at: RequestsPosition) -> Position {
    Position {
        done: at.done as u64,
        total: at.all as u64,
        is_least: false,
        left: at.left,
    }
}

struct RequestsScreen {
    screen: Screen<'static>,
}

impl RequestsProgress for RequestsScreen {
    fn waits(&mut self, why: &str) {
        self.screen.say(why);
    }

    fn begun(&mut self, job: &Job, target: &str, number: u32, at: RequestsPosition) {
        let name = format!("{} at {}", job.name, shown_target(target));
        self.screen.begin(&name, &round(number), Some(position(at)));
    }

    fn ended(&mut self, line: &JobLine, served: Option<&Served>, at: RequestsPosition) {
        let finished = FinishedLine {
            name: &format!("{} at {}", line.job, shown_target(&line.target)),
            number: &round(line.round),
            result: &result(line, served),
        };
        self.screen.end(&finished, position(at));
    }
}
