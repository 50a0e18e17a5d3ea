//! Carries plans out: the schedule, the worker processes, the stopping rule, the record.
//!
//! An execution has one lane, or two that are measured in turns (`ab`): each lane has its plan, its kind of worker
//! and its record. All lanes have the same cells, one for one.

pub mod allocation;
pub mod eta;
mod in_turns;
pub mod kernels;
pub mod lane;
pub mod log;
pub mod protocol;
pub mod quality;
pub mod requests;
pub mod resume;
pub mod schedule;
mod scoring;
mod serving;
pub mod stop;
pub mod supervisor;
mod timing;
pub mod worker;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::measure::{Call, decode_steps_ns};
use crate::plan::{Case, CaseId, Plan, Protocol};
use crate::record::jsonl::RecordError;
use crate::record::{CellLine, Outcome};
use crate::stats::{pairing, summary};
use allocation::PairCosts;
use eta::Eta;
use lane::{Lane, TurnsTaken, Visit};
use schedule::{Cell, CellGroup};

/// Set by Ctrl-C; the run ends after the repetition in hand.
#[derive(Debug, Clone, Default)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Asks the run to end.
    pub fn set(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// Whether it was asked to.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// What happens in a run, as the progress display is told.
#[derive(Debug)]
pub enum Event<'a> {
    /// A worker starts to load a model.
    Loading {
        /// The lane, from 0.
        lane: usize,
        /// The model's name.
        model: &'a str,
        /// The replicate, from 0.
        replicate: u32,
    },
    /// The output of a cell's setting is checked.
    CheckingOutput {
        /// The lane, from 0.
        lane: usize,
        /// The cell.
        case: &'a Case,
    },
    /// A cell is opened and warmed up.
    CellStarted {
        /// The lane, from 0.
        lane: usize,
        /// The cell.
        case: &'a Case,
        /// The replicate, from 0.
        replicate: u32,
    },
    /// A repetition is in the record.
    RepetitionDone {
        /// The lane, from 0.
        lane: usize,
        /// The cell.
        case: &'a Case,
        /// The repetition.
        calls: &'a [Call],
    },
    /// A cell is done in this replicate.
    CellDone {
        /// The lane, from 0.
        lane: usize,
        /// What was recorded.
        line: &'a CellLine,
    },
}

/// Is told what happens in a run.
pub trait Observer {
    /// Something happened; `eta` knows how far the run is.
    fn event(&mut self, event: Event<'_>, eta: &Eta);
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// Whether Ctrl-C ended it.
    pub interrupted: bool,
}

/// Plans being carried out together.
pub struct Execution<'a> {
    /// One lane, or two that are compared.
    pub lanes: Vec<Lane<'a>>,
    /// What they share.
    pub course: Course<'a>,
}

/// What all lanes of an execution share.
pub struct Course<'a> {
    /// When it began.
    pub started: Instant,
    /// When its cells did, for which the budget is: requests came before them. Set when they begin.
    pub measuring: Instant,
    /// Who watches.
    pub observer: &'a mut dyn Observer,
    /// Ctrl-C.
    pub interrupt: Interrupt,
    /// How long things take.
    pub eta: Eta,
    /// What pairs of each cell took, by the first lane's id.
    pub costs: HashMap<CaseId, PairCosts>,
}

impl Execution<'_> {
    /// Visits every cell that is not done, and records what becomes of it.
    ///
    /// # Errors
    /// Only when a record cannot be written: a cell's failure is a line of it.
    pub fn run(mut self) -> Result<Ended, RecordError> {
        self.course.measuring = Instant::now();
        let protocol = self.protocol().clone();
        let planned = (0..protocol.replicates).flat_map(|r| self.groups(r, |_| true));
        let planned: Vec<CellGroup> = planned.collect();
        self.visit(&planned, &protocol)?;
        for replicate in protocol.replicates..protocol.most_replicates() {
            let more = self.groups(replicate, |cell| !self.is_known(cell, &protocol));
            if more.is_empty() || self.is_over(&protocol) || self.course.interrupt.is_set() {
                break;
            }
            self.visit(&more, &protocol)?;
        }
        let interrupted = self.course.interrupt.is_set();
        let elapsed = self.course.started.elapsed();
        for lane in &mut self.lanes {
            lane.end(interrupted, elapsed)?;
        }
        Ok(Ended { interrupted })
    }

    fn protocol(&self) -> &Protocol {
        &self.lanes[0].plan.protocol
    }

    /// The visits of a replicate that are still to be made, of the cells that are wanted.
    fn groups(&self, replicate: u32, wanted: impl Fn(&Cell) -> bool) -> Vec<CellGroup> {
        let plans: Vec<&Plan> = self.lanes.iter().map(|lane| lane.plan).collect();
        schedule::groups(&plans, replicate, |cell| {
            let mut lanes = self.lanes.iter().zip(&cell.cases);
            let skipped = lanes
                .clone()
                .any(|(lane, case)| lane.done.is_skipped(&case.id()));
            skipped
                || !wanted(cell)
                || lanes.all(|(lane, case)| lane.done.is_finished(&case.id(), replicate))
        })
    }

    /// Whether the budget is used up.
    fn is_over(&self, protocol: &Protocol) -> bool {
        let budget = protocol.budget_ns.map(Duration::from_nanos);
        budget.is_some_and(|b| self.course.measuring.elapsed() >= b)
    }

    /// Whether a cell needs no more processes: its pairs have a verdict, or those that finished agree within the precision, or there is
    /// no hope, since none did.
    fn is_known(&self, cell: &Cell, protocol: &Protocol) -> bool {
        let lanes = || self.lanes.iter().zip(&cell.cases);
        let finished = |replicate: &u32| {
            lanes().all(|(lane, case)| {
                let id = case.id();
                !lane.done.is_skipped(&id) && lane.done.is_finished(&id, *replicate)
            })
        };
        let finished = || (0..protocol.most_replicates()).filter(finished);
        if let Some(tolerance) = protocol.pair_tolerance {
            let log_ratio = |replicate| self.log_ratio(cell, replicate);
            let log_ratios: Vec<f64> = finished().filter_map(log_ratio).collect();
            return stop::is_decided(&log_ratios, self.lanes[0].plan.cases.len(), tolerance);
        }
        let median = |replicate| {
            let steps = self.median_steps(cell, replicate);
            Some(vec![summary::median(&compared(&steps))?])
        };
        let processes: Vec<Vec<f64>> = finished().filter_map(median).collect();
        processes.is_empty() || stop::stays_within(&processes, protocol.precision)
    }

    /// Each lane's median steps in a replicate, by repetition.
    fn median_steps(&self, cell: &Cell, replicate: u32) -> Vec<&[f64]> {
        let lanes = self.lanes.iter().zip(&cell.cases);
        lanes
            .map(|(lane, case)| lane.done.median_steps_ns(&case.id(), replicate))
            .collect()
    }

    /// Both lanes' steps in a replicate, of the repetitions in which they took turns.
    fn steps_in_turns(&self, cell: &Cell, replicate: u32) -> Vec<(&[f64], &[f64])> {
        let lanes = self.lanes.iter().zip(&cell.cases);
        let steps: Vec<&[Vec<f64>]> = lanes
            .map(|(lane, case)| lane.done.steps_in_turns_ns(&case.id(), replicate))
            .collect();
        let [a, b] = steps[..] else {
            return Vec::new();
        };
        a.iter().zip(b).map(|(a, b)| (&a[..], &b[..])).collect()
    }

    /// The logarithm of a pair's ratio, the second lane over the first; as a comparison of the records has it.
    fn log_ratio(&self, cell: &Cell, replicate: u32) -> Option<f64> {
        pairing::log_ratio_of_steps(self.steps_in_turns(cell, replicate)).or_else(|| {
            let medians = self.median_steps(cell, replicate);
            let [a, b] = medians[..] else { return None };
            Some((summary::median(b)? / summary::median(a)?).ln())
        })
    }

    /// The same of each repetition of a pair.
    fn log_ratios_of_repetitions(&self, cell: &Cell, replicate: u32) -> Vec<f64> {
        let in_turns = self.steps_in_turns(cell, replicate);
        if in_turns.is_empty() {
            let ratios = compared(&self.median_steps(cell, replicate)).into_iter();
            return ratios.map(f64::ln).collect();
        }
        let ratio = |both| pairing::log_ratio_of_steps([both]);
        in_turns.into_iter().filter_map(ratio).collect()
    }

    fn visit(&mut self, groups: &[CellGroup], protocol: &Protocol) -> Result<(), RecordError> {
        self.course.eta.expect(groups);
        for group in groups {
            for lane in &mut self.lanes {
                lane.dismiss();
            }
            for cell in &group.cells {
                // A cell without any pair would be missing; every further pair is of the budget.
                let is_over = protocol.pair_tolerance.is_some()
                    && group.replicate > 0
                    && self.is_over(protocol);
                if is_over || self.course.interrupt.is_set() {
                    return Ok(());
                }
                self.visit_cell(group, cell, protocol)?;
            }
        }
        for lane in &mut self.lanes {
            lane.dismiss();
        }
        Ok(())
    }

    /// The most repetitions of a cell's next pair, where pairs are added until decided.
    fn allocated(&self, group: &CellGroup, cell: &Cell, protocol: &Protocol) -> Option<u32> {
        if !protocol.chooses_repetitions {
            return None;
        }
        let pair = |replicate| self.log_ratios_of_repetitions(cell, replicate);
        let earlier: Vec<Vec<f64>> = (0..group.replicate).map(pair).collect();
        let costs = self.course.costs.get(&cell.cases[0].id());
        let n = allocation::repetitions_of_next(&earlier, &costs.copied().unwrap_or_default());
        let fewest = protocol.min_repetitions.next_multiple_of(2);
        Some(n.clamp(fewest, protocol.max_repetitions.max(fewest)))
    }

    /// One cell in one process of each lane, in turns.
    fn visit_cell(
        &mut self,
        group: &CellGroup,
        cell: &Cell,
        protocol: &Protocol,
    ) -> Result<(), RecordError> {
        let n_repetitions = self.allocated(group, cell, protocol);
        let protocol = &Protocol {
            max_repetitions: n_repetitions.unwrap_or(protocol.max_repetitions),
            // A pair has as many repetitions as were chosen, however narrow its own interval is.
            precision: match n_repetitions {
                Some(_) => 0.0,
                None => protocol.precision,
            },
            ..protocol.clone()
        };
        let started = Instant::now();
        let course = &mut self.course;
        let mut visits: Vec<Visit> = Vec::new();
        for (at, case) in cell.cases.iter().enumerate() {
            visits.push(Visit::new(at, case, group.replicate));
        }
        let mut checking = Duration::ZERO;
        for at in turns(visits.len(), cell.first_turn) {
            let lane = &mut self.lanes[at];
            lane.ensure_worker(&visits[at], &group.loads[at], course)?;
            let begun = Instant::now();
            lane.check_output(&mut visits[at], course)?;
            checking += begun.elapsed();
        }
        // Loading and checking are no part of a visit.
        let begun = Instant::now();
        let deadline = course.eta.deadline(&cell.cases, course.measuring, protocol);
        for at in turns(visits.len(), cell.first_turn) {
            self.lanes[at].open(&mut visits[at], course);
        }
        let beginning = started.elapsed().saturating_sub(checking);
        let turns_begun = Instant::now();
        let known = visits.iter().map(|v| v.n_repetitions).min().unwrap_or(0);
        self.repeat(&mut visits, cell.first_turn, deadline, protocol)?;
        let n_turns = visits.iter().map(|v| v.n_repetitions).min().unwrap_or(0);
        let costs = self.course.costs.entry(visits[0].id().clone()).or_default();
        costs.add(
            beginning,
            turns_begun.elapsed(),
            n_turns.saturating_sub(known),
        );
        let failed = |v: &&Visit| v.outcome.as_ref().is_some_and(Outcome::is_failure);
        let ran = visits.len() - visits.iter().filter(failed).count();
        let took = begun.elapsed() / u32::try_from(ran.max(1)).unwrap_or(1);
        for (lane, visit) in self.lanes.iter_mut().zip(visits) {
            lane.close(visit, took, &mut self.course)?;
        }
        Ok(())
    }

    /// Repetitions of all lanes in turns (ABBA), until the stopping rule, Ctrl-C or failures.
    fn repeat(
        &mut self,
        visits: &mut [Visit],
        first_turn: u32,
        deadline: Option<Instant>,
        protocol: &Protocol,
    ) -> Result<(), RecordError> {
        for round in 0.. {
            let running = visits.iter().filter(|v| v.outcome.is_none());
            let steps: Vec<&[f64]> = running.clone().map(|v| &v.median_steps_ns[..]).collect();
            let Some(fewest) = running.map(|v| v.n_repetitions).min() else {
                return Ok(());
            };
            let is_over = deadline.is_some_and(|d| Instant::now() >= d);
            let stopped = stop::verdict(&compared(&steps), fewest, is_over, protocol);
            let interrupted = self.course.interrupt.is_set();
            let all_run = visits.iter().all(|v| v.outcome.is_none());
            if stopped.is_none() && !interrupted && all_run && self.takes_turns(protocol) {
                self.repeat_in_turns(visits, first_turn + round)?;
                continue;
            }
            for at in turns(visits.len(), first_turn + round) {
                let visit = &mut visits[at];
                match (&visit.outcome, stopped) {
                    (Some(_), _) => {}
                    (None, Some(stopped_by)) => {
                        visit.outcome = Some(Outcome::Measured {
                            repetitions: visit.n_repetitions,
                            stopped_by,
                        });
                    }
                    (None, None) if interrupted => visit.outcome = Some(Outcome::Interrupted),
                    (None, None) => self.lanes[at].repeat(visit, &mut self.course)?,
                }
            }
        }
        Ok(())
    }
}

impl Execution<'_> {
    /// Whether two sides take turns within their repetitions.
    fn takes_turns(&self, protocol: &Protocol) -> bool {
        protocol.turns_of_steps && self.lanes.len() > 1 && self.lanes.iter().all(Lane::takes_turns)
    }

    /// One repetition of every lane, a few decode steps at a time: what slows the machine for a moment falls on both sides alike.
    fn repeat_in_turns(&mut self, visits: &mut [Visit], turn: u32) -> Result<(), RecordError> {
        // As many on all sides, so that steps of the same number are next to each other.
        let steps = visits.iter().map(Visit::steps_of_turn).min().unwrap_or(1);
        let mut so_far = vec![TurnsTaken::default(); visits.len()];
        let mut is_over = vec![false; visits.len()];
        while is_over.contains(&false) {
            for at in turns(visits.len(), turn) {
                if !is_over[at] {
                    let (lane, visit) = (&mut self.lanes[at], &mut visits[at]);
                    let turn = (steps, &mut so_far[at]);
                    is_over[at] = lane.take_turn(visit, turn, &mut self.course)?;
                }
            }
        }
        Ok(())
    }
}

/// The order of lanes: A before B, then B before A, so that a drift of the machine falls on both alike.
fn turns(n_lanes: usize, turn: u32) -> impl Iterator<Item = usize> {
    (0..n_lanes).map(move |at| {
        if turn.is_multiple_of(2) {
            at
        } else {
            n_lanes - 1 - at
        }
    })
}

/// What the precision is asked of: a lane's median steps, or the second's over the first's where there are two, turn
/// by turn.
fn compared(steps: &[&[f64]]) -> Vec<f64> {
    match steps {
        [alone] => alone.to_vec(),
        [a, b] => a.iter().zip(*b).map(|(a, b)| b / a).collect(),
        _ => Vec::new(),
    }
}

fn ns(d: Duration) -> u64 {
    u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)
}

/// The median decode step of a repetition, nanoseconds; none when it has no decode call.
pub fn median_step_ns(calls: &[Call]) -> Option<f64> {
    summary::median(&decode_steps_ns(calls))
}
