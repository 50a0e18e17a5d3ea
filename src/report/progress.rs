//! What is seen on standard error while a run goes on: a bar on a terminal, plain lines elsewhere.

pub mod cells;
pub mod quality;
pub mod requests;
#[cfg(test)]
mod tests;

use std::io::{IsTerminal, Write, stderr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use terminal_size::terminal_size_of;

use super::text::{brief, cut_end, cut_middle, plain, width as width_of};
use crate::run::eta::TimeLeft;

/// How often the bar is drawn anew when nothing happens: seldom, the machine is being measured.
const TICK: Duration = Duration::from_millis(500);

/// The most columns of a line about a cell or a job: engines and servers may have much to say.
const NOTE_COLUMNS: usize = 600;

/// Columns that the bar needs beside what it says.
const BESIDE_NAME: usize = 28;

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
    let bar = ProgressBar::new(0).with_style(style(template));
    bar.set_message(plain(what));
    Box::new(move |done, total| {
        bar.set_length(total);
        bar.set_position(done);
        if done >= total {
            bar.finish_and_clear();
        }
    })
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the template is well-formed")
}

fn stderr_width() -> usize {
    terminal_size_of(stderr()).map_or(80, |(w, _)| usize::from(w.0))
}

/// How far a run is.
#[derive(Debug, Clone, Copy)]
struct Position {
    done: u64,
    total: u64,
    /// Whether more may be added as what is measured needs it.
    is_least: bool,
    /// The time that is left, where it is known, and how it goes on.
    left: Option<TimeLeft>,
}

impl Position {
    /// What follows the total: `24+`.
    fn more(self) -> &'static str {
        if self.is_least { "+" } else { "" }
    }
}

/// A cell or a job that ended.
struct FinishedLine<'a> {
    name: &'a str,
    /// Its replicate or round.
    number: &'a str,
    result: &'a str,
}

/// Where progress is shown.
enum Screen<'w> {
    /// A bar at the bottom of a terminal, and a line above it for each ending.
    Bar(Bar),
    /// A line for each ending, without control characters: for a file or a pipe.
    Lines {
        out: Box<dyn Write + 'w>,
        now: fn() -> String,
    },
}

impl Screen<'_> {
    fn of_stderr() -> Self {
        if !stderr().is_terminal() {
            let (out, now) = (Box::new(stderr()), crate::record::timestamp);
            return Self::Lines { out, now };
        }
        let bar = Bar::new(ProgressDrawTarget::stderr(), stderr_width);
        bar.bar.enable_steady_tick(TICK);
        Self::Bar(bar)
    }

    /// What begins; only a bar shows it.
    fn begin(&self, name: &str, number: &str, position: Option<Position>) {
        if let Self::Bar(bar) = self {
            let tail = format!(", {number}");
            let room = (bar.width)().saturating_sub(BESIDE_NAME + tail.len());
            bar.bar
                .set_message(cut_middle(&plain(name), room.max(8)) + &tail);
            position
                .into_iter()
                .for_each(|position| bar.update(position));
        }
    }

    /// What ended, and how far the run is.
    fn end(&mut self, finished: &FinishedLine<'_>, position: Position) {
        let FinishedLine {
            name,
            number,
            result,
        } = finished;
        match self {
            Self::Bar(bar) => {
                let result = format!("  {}", brief(result, NOTE_COLUMNS));
                let width = (bar.width)();
                let room = width.saturating_sub(width_of(&result)).max(8);
                let text = cut_middle(&plain(name), room) + &result;
                bar.bar.println(cut_end(&text, width));
                bar.update(position);
            }
            Self::Lines { .. } => {
                let Position {
                    done, total, left, ..
                } = position;
                let more = position.more();
                let left = match left {
                    None => String::new(),
                    // Whether it goes on, what comes next says.
                    Some(_) if done >= total && position.is_least => String::new(),
                    Some(_) if done >= total => ", done".to_owned(),
                    Some(left) => format!(", {}", about(left.all)),
                };
                let number = match number.is_empty() {
                    true => String::new(),
                    false => format!(" {number}:"),
                };
                self.say(&format!(
                    "{done}/{total}{more} {name}{number} {result}{left}"
                ));
            }
        }
    }

    fn say(&mut self, text: &str) {
        match self {
            Self::Bar(bar) => bar.bar.println(brief(text, NOTE_COLUMNS)),
            Self::Lines { out, now } => {
                // A closed standard error has no reader; the record has it.
                let _ = writeln!(out, "{} {}", now(), brief(text, NOTE_COLUMNS));
            }
        }
    }
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

/// The time that was left at an instant: between events it runs down by the clock, and grows when a phase overruns.
type Remaining = Option<(TimeLeft, Instant)>;

struct Bar {
    bar: ProgressBar,
    width: fn() -> usize,
    remaining: Arc<Mutex<Remaining>>,
    /// What follows the total.
    more: Arc<Mutex<&'static str>>,
}

impl Bar {
    fn new(target: ProgressDrawTarget, width: fn() -> usize) -> Self {
        let remaining: Arc<Mutex<Remaining>> = Arc::default();
        let shown = Arc::clone(&remaining);
        // Drawing must not fail a run.
        let left = move |_: &ProgressState, out: &mut dyn std::fmt::Write| {
            let known = *shown.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((left, at)) = known {
                let left = about(left.after(at.elapsed()));
                let _ = out.write_str(&format!(" {left}"));
            }
        };
        let more: Arc<Mutex<&str>> = Arc::default();
        let shown_more = Arc::clone(&more);
        let count = move |state: &ProgressState, out: &mut dyn std::fmt::Write| {
            if let Some(total @ 1..) = state.len() {
                let more = *shown_more.lock().unwrap_or_else(PoisonError::into_inner);
                let _ = out.write_str(&format!("{}/{total}{more} ", state.pos()));
            }
        };
        let style = style("{spinner} {wide_msg} {count}{elapsed}{left}")
            .with_key("left", left)
            .with_key("count", count);
        Self {
            bar: ProgressBar::with_draw_target(Some(0), target).with_style(style),
            width,
            remaining,
            more,
        }
    }

    fn update(&self, position: Position) {
        let remaining = position.left.map(|left| (left, Instant::now()));
        *self
            .remaining
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = remaining;
        *self.more.lock().unwrap_or_else(PoisonError::into_inner) = position.more();
        self.bar.set_length(position.total);
        self.bar.set_position(position.done);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
