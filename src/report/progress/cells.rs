//! Progress of cells: what is loaded or measured, and each cell's figures in each replicate.

use super::{Finished, Position, Screen};
use crate::measure::Call;
use crate::metric::Metric;
use crate::plan::{Case, Plan};
use crate::record::{CellLine, Outcome};
use crate::run::eta::Eta;
use crate::run::{Event, Observer};
use crate::stats::summary;
use crate::units;

/// A watcher for standard error.
pub fn for_stderr(plan: &Plan, n_lanes: usize) -> Box<dyn Observer> {
    let screen = Screen::of_stderr();
    Box::new(CellProgress::new(screen, plan.protocol.replicates, n_lanes))
}

/// The figures of one cell in one replicate, while it is measured.
#[derive(Debug, Clone, Default)]
struct Current {
    median_step_ns: Vec<f64>,
    tokens_per_s: Vec<f64>,
}

impl Current {
    fn note(&mut self, case: &Case, calls: &[Call]) {
        let of = |metric: Metric| metric.of(case, calls, None);
        self.median_step_ns.extend(of(Metric::StepNs));
        self.tokens_per_s.extend(of(Metric::DecodeTokensPerS));
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

pub(super) struct CellProgress<'w> {
    screen: Screen<'w>,
    replicates: u32,
    /// One a lane.
    current: Vec<Current>,
}

impl<'w> CellProgress<'w> {
    pub(super) fn new(screen: Screen<'w>, replicates: u32, n_lanes: usize) -> Self {
        Self {
            screen,
            replicates,
            current: vec![Current::default(); n_lanes],
        }
    }

    fn replicate(&self, number: u32) -> String {
        let number = number.saturating_add(1);
        // Processes beyond the planned ones are added as the precision needs.
        match number > self.replicates {
            true => format!("replicate {number}"),
            false => format!("replicate {number}/{}", self.replicates),
        }
    }

    /// What stands before a cell's name where two lanes are measured in turns.
    fn side(&self, lane: usize) -> &'static str {
        match (self.current.len(), lane) {
            (1, _) => "",
            (_, 0) => "A ",
            _ => "B ",
        }
    }

    fn ended(&mut self, lane: usize, line: &CellLine, eta: &Eta) {
        let name = format!("{}{}", self.side(lane), line.case_id);
        let number = line.replicate.map(|n| self.replicate(n));
        let result = std::mem::take(&mut self.current[lane]).result(line);
        let finished = Finished {
            name: &name,
            number: &number.unwrap_or_default(),
            result: &result,
        };
        self.screen.end(&finished, position(eta));
    }
}

fn position(eta: &Eta) -> Position {
    let (done, total) = eta.visits();
    Position {
        done: done.into(),
        total: total.into(),
        left: Some(eta.remaining()),
    }
}

impl Observer for CellProgress<'_> {
    fn event(&mut self, event: Event<'_>, eta: &Eta) {
        let begin = |name: &str, number: u32| {
            let number = self.replicate(number);
            self.screen.begin(name, &number, Some(position(eta)));
        };
        match event {
            Event::Loading {
                model, replicate, ..
            } => begin(&format!("loading {model}"), replicate),
            Event::CheckingOutput { case, .. } => {
                let name = format!("checking the output of {}", case.id());
                self.screen.begin(&name, "", Some(position(eta)));
            }
            Event::CellStarted {
                lane,
                case,
                replicate,
            } => {
                begin(case.id().as_str(), replicate);
                self.current[lane] = Current::default();
            }
            // The remaining time counts whole visits: only their ends correct it.
            Event::RepetitionDone { lane, case, calls } => self.current[lane].note(case, calls),
            Event::CellDone { lane, line } => self.ended(lane, line, eta),
        }
    }
}
