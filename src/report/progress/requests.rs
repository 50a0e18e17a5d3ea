//! What is seen on standard error while requests are served: a spinner on a terminal, a line for each job.

use std::io::{IsTerminal, Write, stderr};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::super::text::{brief, plain};
use super::NOTE_COLUMNS;
use crate::record::requests::JobLine;
use crate::request::{Ending, Job, Served};
use crate::run::requests::RequestsProgress;
use crate::stats::summary;
use crate::units;

/// A watcher for standard error.
pub fn for_stderr() -> Box<dyn RequestsProgress> {
    if stderr().is_terminal() {
        // How many jobs there are is known once the first has ended.
        let bar = ProgressBar::new(0).with_style(style("{spinner} {wide_msg} {elapsed}"));
        bar.enable_steady_tick(Duration::from_millis(500));
        Box::new(Bar(bar))
    } else {
        Box::new(Plain {
            out: stderr(),
            now: crate::record::timestamp,
        })
    }
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

fn name(job: &str, target: &str, round: u32) -> String {
    format!("{job} at {target}, round {}", round + 1)
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the template is well-formed")
}

struct Bar(ProgressBar);

impl RequestsProgress for Bar {
    fn waits(&mut self, why: &str) {
        self.0.println(plain(why));
    }

    fn begun(&mut self, job: &Job, target: &str, round: u32) {
        self.0.set_message(plain(&name(&job.name, target, round)));
    }

    fn ended(&mut self, line: &JobLine, served: Option<&Served>, done: usize, all: usize) {
        let name = name(&line.job, &line.target, line.round);
        self.0.println(brief(
            &format!("{name}: {}", result(line, served)),
            NOTE_COLUMNS,
        ));
        self.0
            .set_style(style("{spinner} {wide_msg} {pos}/{len} {elapsed}"));
        self.0.set_length(all as u64);
        self.0.set_position(done as u64);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

struct Plain<W> {
    out: W,
    now: fn() -> String,
}

impl<W: Write> RequestsProgress for Plain<W> {
    fn waits(&mut self, why: &str) {
        let _ = writeln!(self.out, "{} {}", (self.now)(), plain(why));
    }

    fn begun(&mut self, _: &Job, _: &str, _: u32) {}

    fn ended(&mut self, line: &JobLine, served: Option<&Served>, done: usize, all: usize) {
        let name = name(&line.job, &line.target, line.round);
        let text = format!(
            "{} {done}/{all} {name}: {}",
            (self.now)(),
            result(line, served)
        );
        // Nobody to tell when standard error is closed; the record has it.
        let _ = writeln!(self.out, "{}", brief(&text, NOTE_COLUMNS));
    }
}
