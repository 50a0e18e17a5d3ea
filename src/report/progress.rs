//! What is seen on standard error while a run goes on: a bar on a terminal, plain lines elsewhere.

use std::io::{IsTerminal, Write, stderr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use terminal_size::terminal_size_of;

use super::text::{brief, cut_end, cut_middle, plain};
use crate::measure::Call;
use crate::metric::Metric;
use crate::plan::{Case, Plan};
use crate::record::{CellLine, Outcome};
use crate::run::eta::Eta;
use crate::run::{Event, Observer};
use crate::stats::summary;
use crate::units;

/// How often the bar is drawn anew when nothing happens: seldom, the machine is being measured.
const TICK: Duration = Duration::from_millis(500);

/// The most columns of a line about a cell or a job: engines and servers may have much to say.
const NOTE_COLUMNS: usize = 600;

/// Columns that the bar needs beside the cell's name.
const BESIDE_NAME: usize = 28;

/// A watcher for standard error: a bar on a terminal, else a line for each cell of each replicate.
pub fn for_stderr(plan: &Plan, n_lanes: usize) -> Box<dyn Observer> {
    let replicates = plan.protocol.replicates;
    if stderr().is_terminal() {
        let bar = Bar::new(
            replicates,
            n_lanes,
            ProgressDrawTarget::stderr(),
            stderr_width,
        );
        bar.bar.enable_steady_tick(TICK);
        Box::new(bar)
    } else {
        Box::new(Plain::new(
            replicates,
            n_lanes,
            stderr(),
            crate::record::timestamp,
        ))
    }
}

/// Shows how far some work on a file is, on a terminal only: bytes done, bytes in all.
pub fn file_work(what: &str) -> Box<dyn FnMut(u64, u64)> {
    work(what, "{wide_msg} {bytes}/{total_bytes} {eta:>4} left")
}

/// The same for work that is counted.
pub fn counted_work(what: &str) -> Box<dyn FnMut(u64, u64)> {
    work(what, "{wide_msg} {pos}/{len} {eta:>4} left")
}

fn work(what: &str, template: &str) -> Box<dyn FnMut(u64, u64)> {
    if !stderr().is_terminal() {
        return Box::new(|_, _| {});
    }
    let style = ProgressStyle::with_template(template).expect("the template is well-formed");
    let bar = ProgressBar::new(0).with_style(style);
    bar.set_message(plain(what));
    Box::new(move |done, total| {
        bar.set_length(total);
        bar.set_position(done);
        if done >= total {
            bar.finish_and_clear();
        }
    })
}

fn stderr_width() -> usize {
    terminal_size_of(stderr()).map_or(80, |(w, _)| usize::from(w.0))
}

/// The figures of one cell in one replicate, while it is measured.
#[derive(Debug, Clone, Default)]
struct Current {
    median_step_ns: Vec<f64>,
    tokens_per_s: Vec<f64>,
}

impl Current {
    fn note(&mut self, case: &Case, calls: &[Call]) {
        self.median_step_ns
            .extend(Metric::StepNs.of(case, calls, None));
        self.tokens_per_s
            .extend(Metric::DecodeTokensPerS.of(case, calls, None));
    }

    /// What a finished cell's line says after its name.
    fn result(&self, line: &CellLine) -> String {
        let step = summary::median(&self.median_step_ns);
        let rate = summary::median(&self.tokens_per_s);
        match (&line.outcome, step, rate) {
            (Outcome::Measured { .. }, Some(step), Some(rate)) => format!(
                "{} a step, {} t/s",
                units::duration(step.round() as u64),
                units::significant(rate)
            ),
            (outcome, ..) => outcome.to_string(),
        }
    }
}

fn replicate(number: u32, of: u32) -> String {
    let number = number.saturating_add(1);
    // Processes beyond the planned ones are added as the precision needs.
    if number > of {
        return format!("replicate {number}");
    }
    format!("replicate {number}/{of}")
}

/// A duration that is a guess, said as one.
fn about(left: Duration) -> String {
    let s = left.as_secs();
    match s {
        0..10 => "<10 s left".to_owned(),
        10..90 => format!("~{} s left", s.div_ceil(10) * 10),
        90..5400 => format!("~{} min left", s.div_ceil(60)),
        _ => format!("~{} h {:02} min left", s / 3600, s % 3600 / 60),
    }
}

/// When the remaining time was known, and what it was: between events it runs down by the clock.
#[derive(Debug, Clone, Copy)]
struct Remaining {
    left: Duration,
    at: Instant,
}

impl Remaining {
    fn now(self) -> Duration {
        self.left.saturating_sub(self.at.elapsed())
    }
}

/// What stands before a cell's name where two lanes are measured in turns.
fn side(lane: usize, n_lanes: usize) -> &'static str {
    match (n_lanes, lane) {
        (1, _) => "",
        (_, 0) => "A ",
        _ => "B ",
    }
}

/// A bar at the bottom of a terminal, and a line above it for each finished cell.
struct Bar {
    bar: ProgressBar,
    replicates: u32,
    width: fn() -> usize,
    current: Vec<Current>,
    remaining: Arc<Mutex<Option<Remaining>>>,
}

impl Bar {
    fn new(
        replicates: u32,
        n_lanes: usize,
        target: ProgressDrawTarget,
        width: fn() -> usize,
    ) -> Self {
        let remaining: Arc<Mutex<Option<Remaining>>> = Arc::default();
        let shown = Arc::clone(&remaining);
        let left = move |_: &ProgressState, out: &mut dyn std::fmt::Write| {
            let known = *shown.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(remaining) = known {
                // Drawing must not fail a run.
                let _ = out.write_str(&about(remaining.now()));
            }
        };
        let style =
            ProgressStyle::with_template("{spinner} {wide_msg} {pos}/{len} {elapsed} {left}")
                .expect("the template is well-formed")
                .with_key("left", left);
        let bar = ProgressBar::with_draw_target(Some(0), target).with_style(style);
        Self {
            bar,
            replicates,
            width,
            current: vec![Current::default(); n_lanes],
            remaining,
        }
    }

    fn show(&self, eta: &Eta, what: &str, number: u32) {
        let tail = format!(", {}", replicate(number, self.replicates));
        let room = (self.width)().saturating_sub(BESIDE_NAME + tail.len());
        self.bar
            .set_message(cut_middle(&plain(what), room.max(8)) + &tail);
        self.update(eta);
    }

    fn update(&self, eta: &Eta) {
        *self
            .remaining
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(Remaining {
            left: eta.remaining(),
            at: Instant::now(),
        });
        let (done, total) = eta.visits();
        self.bar.set_length(u64::from(total));
        self.bar.set_position(u64::from(done));
    }
}

impl Observer for Bar {
    fn event(&mut self, event: Event<'_>, eta: &Eta) {
        match event {
            Event::Loading {
                model, replicate, ..
            } => {
                self.show(eta, &format!("loading {model}"), replicate);
            }
            Event::CellStarted {
                lane,
                case,
                replicate,
            } => {
                self.current[lane] = Current::default();
                self.show(eta, case.id().as_str(), replicate);
            }
            // The remaining time counts whole visits: only their ends correct it.
            Event::RepetitionDone { lane, case, calls } => self.current[lane].note(case, calls),
            Event::CellDone { lane, line } => {
                let side = side(lane, self.current.len());
                let result = format!(
                    "  {}",
                    brief(&self.current[lane].result(line), NOTE_COLUMNS)
                );
                let width = (self.width)();
                let taken = super::text::width(&result) + side.len();
                let room = width.saturating_sub(taken).max(8);
                let text =
                    side.to_owned() + &cut_middle(&plain(line.case_id.as_str()), room) + &result;
                self.bar.println(cut_end(&text, width));
                self.current[lane] = Current::default();
                self.update(eta);
            }
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// Lines for a file or a pipe: one for each finished cell of each replicate, no control characters.
struct Plain<W> {
    replicates: u32,
    out: W,
    now: fn() -> String,
    current: Vec<Current>,
}

impl<W: Write> Plain<W> {
    fn new(replicates: u32, n_lanes: usize, out: W, now: fn() -> String) -> Self {
        Self {
            replicates,
            out,
            now,
            current: vec![Current::default(); n_lanes],
        }
    }
}

impl<W: Write> Observer for Plain<W> {
    fn event(&mut self, event: Event<'_>, eta: &Eta) {
        match event {
            Event::Loading { .. } => {}
            Event::CellStarted { lane, .. } => self.current[lane] = Current::default(),
            Event::RepetitionDone { lane, case, calls } => self.current[lane].note(case, calls),
            Event::CellDone { lane, line } => {
                let side = side(lane, self.current.len());
                let (done, total) = eta.visits();
                let number = line.replicate.map(|n| replicate(n, self.replicates) + ": ");
                let left = if done < total {
                    about(eta.remaining())
                } else {
                    "done".to_owned()
                };
                let text = format!(
                    "{} {done}/{total} {side}{} {}{}, {left}",
                    (self.now)(),
                    line.case_id,
                    number.unwrap_or_default(),
                    self.current[lane].result(line),
                );
                // Nobody to tell when standard error is closed; the record has it.
                let _ = writeln!(self.out, "{}", brief(&text, NOTE_COLUMNS));
                self.current[lane] = Current::default();
            }
        }
    }
}

pub mod requests;
#[cfg(test)]
mod tests;
