//! Progress of cells: what is loaded or measured, and each cell's figures in each replicate.

use super::{FinishedLine, Position, Screen};
use crate::measure::Call;
use crate::metric::Metric;
use crate::plan::{Case, Plan, Protocol};
use crate::record::{CellLine, Outcome};
use crate::run::eta::{Eta, TimeLeft};
use crate::run::{Event, Observer};
use crate::stats::summary;
use crate::units;

/// A watcher for standard error.
pub fn for_stderr(plan: &Plan, n_lanes: usize) -> Box<dyn Observer> {
    let screen = Screen::of_stderr();
    Box::new(CellProgress::new(screen, &plan.protocol, n_lanes))
}

/// The rates of one cell's repetitions in one replicate, while it is measured.
#[derive(Debug, Clone, Default)]
struct Current {
    case: Option<Case>,
    tokens_per_s: Vec<f64>,
}

impl Current {
    fn note(&mut self, case: &Case, calls: &[Call]) {
        let rate = Metric::DecodeTokensPerS.of(case, calls, None);
        self.tokens_per_s.extend(rate);
    }

    /// What a finished cell's line says after its name. The step is the mean one of the same steps that the rate is of: every step
    /// makes a token of each sequence, so that the step times the rate is the batch.
    fn result(&self, line: &CellLine) -> String {
        let rate = summary::median(&self.tokens_per_s);
        match (&line.outcome, rate) {
            (Outcome::Measured { .. }, Some(rate)) => {
                let step_ns = f64::from(line.case.n_seq) / rate * 1e9;
                format!(
                    "{} a step, {} t/s",
                    units::duration(step_ns.round() as u64),
                    units::significant(rate)
                )
            }
            (outcome, _) => outcome.to_string(),
        }
    }
}

pub(super) struct CellProgress<'w> {
    screen: Screen<'w>,
    replicates: u32,
    /// Whether cells may get more replicates.
    may_grow: bool,
    /// One a lane.
    current: Vec<Current>,
}

impl<'w> CellProgress<'w> {
    pub(super) fn new(screen: Screen<'w>, protocol: &Protocol, n_lanes: usize) -> Self {
        Self {
            screen,
            replicates: protocol.replicates,
            may_grow: protocol.most_replicates() > protocol.replicates,
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

    /// How far the run is at the beginning of a phase.
    fn position(&self, eta: &Eta, left: TimeLeft) -> Position {
        let (done, total) = eta.visits();
        Position {
            done: done.into(),
            total: total.into(),
            is_least: self.may_grow,
            left: Some(left),
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
        let finished = FinishedLine {
            name: &name,
            number: &number.unwrap_or_default(),
            result: &result,
        };
        // What comes next says how it goes on.
        let left = TimeLeft::still(eta.remaining());
        let position = self.position(eta, left);
        self.screen.end(&finished, position);
    }
}

impl Observer for CellProgress<'_> {
    fn event(&mut self, event: Event<'_>, eta: &Eta) {
        let begin = |name: &str, number: u32, left: TimeLeft| {
            let number = self.replicate(number);
            let position = self.position(eta, left);
            self.screen.begin(name, &number, Some(position));
        };
        match event {
            Event::Loading {
                model, replicate, ..
            } => begin(&format!("loading {model}"), replicate, eta.during_load()),
            Event::CheckingOutput { case, .. } => {
                let name = format!("checking the output of {}", case.id());
                let left = TimeLeft::still(eta.remaining());
                let position = self.position(eta, left);
                self.screen.begin(&name, "", Some(position));
            }
            Event::CellStarted {
                lane,
                case,
                replicate,
            } => {
                self.current[lane] = Current {
                    case: Some(case.clone()),
                    tokens_per_s: Vec::new(),
                };
                // Lanes are visited in turns, so their cells are one phase.
                let open: Vec<&Case> = self
                    .current
                    .iter()
                    .filter_map(|c| c.case.as_ref())
                    .collect();
                let left = eta.during_visits(&open);
                let number = self.replicate(replicate);
                let position = self.position(eta, left);
                self.screen
                    .begin(case.id().as_str(), &number, Some(position));
            }
            // The remaining time counts whole visits: only their ends correct it.
            Event::RepetitionDone { lane, case, calls } => self.current[lane].note(case, calls),
            Event::CellDone { lane, line } => self.ended(lane, line, eta),
        }
    }
}
