//! A repetition of an open cell, in one piece or in turns.

use super::super::protocol::{Reply, Request};
use super::super::supervisor::WorkerError;
use super::super::{Course, Event, median_step_ns, ns};
use super::{Lane, LaneWorker, Visit, timeout};
use crate::host::noise_warnings;
use crate::record::jsonl::RecordError;
use crate::record::{Line, Repetition};

/// The turns of a repetition so far.
#[derive(Debug, Clone, Copy, Default)]
pub struct TurnsTaken {
    n: u32,
    /// When the first began, nanoseconds after the run did.
    started_ns: u64,
}

impl Lane<'_> {
    /// One repetition of an open cell. Failures end the visit.
    ///
    /// # Errors
    /// Only the record's.
    pub fn repeat(
        &mut self,
        visit: &mut Visit,
        course: &mut Course<'_>,
    ) -> Result<(), RecordError> {
        let began = (ns(course.started.elapsed()), None);
        match self.ask_for_repetition(visit, &Request::Repeat, course) {
            None => Ok(()),
            Some(answer) => self.note_repetition(visit, began, answer, course),
        }
    }

    /// Whether its worker can stand still within a repetition.
    pub fn takes_turns(&self) -> bool {
        matches!(&self.worker, LaneWorker::Ready(worker, _) if worker.takes_turns())
    }

    /// The next turn, of `steps` decode steps, of a repetition of an open cell. Failures end the visit. Says whether that was the last
    /// turn.
    ///
    /// # Errors
    /// Only the record's.
    pub fn take_turn(
        &mut self,
        visit: &mut Visit,
        (steps, so_far): (u32, &mut TurnsTaken),
        course: &mut Course<'_>,
    ) -> Result<bool, RecordError> {
        let request = match so_far.n {
            0 => Request::RepeatInTurns { steps },
            _ => Request::NextTurn,
        };
        if so_far.n == 0 {
            so_far.started_ns = ns(course.started.elapsed());
        }
        so_far.n += 1;
        match self.ask_for_repetition(visit, &request, course) {
            None => Ok(true),
            Some(Ok(Reply::TurnOver)) => Ok(false),
            Some(answer) => {
                let began = (so_far.started_ns, Some(so_far.n));
                self.note_repetition(visit, began, answer, course)?;
                Ok(true)
            }
        }
    }

    /// The worker's answer; none where there is no worker.
    fn ask_for_repetition(
        &mut self,
        visit: &Visit,
        request: &Request,
        course: &Course<'_>,
    ) -> Option<Result<Reply, WorkerError>> {
        let LaneWorker::Ready(worker, _) = &mut self.worker else {
            return None;
        };
        let timeout = timeout(self.plan, &visit.case, course.eta.repetition(&visit.case));
        Some(worker.ask(request, timeout, None))
    }

    /// Records a repetition, which began then and took so many turns, or that it failed.
    fn note_repetition(
        &mut self,
        visit: &mut Visit,
        (started_ns, turns): (u64, Option<u32>),
        answer: Result<Reply, WorkerError>,
        course: &mut Course<'_>,
    ) -> Result<(), RecordError> {
        let LaneWorker::Ready(worker, number) = &mut self.worker else {
            return Ok(());
        };
        let answer = match answer {
            Ok(Reply::Repetition { usage, calls }) => Ok((usage, calls)),
            Ok(other) => Err(worker.out_of_turn(&other)),
            Err(e) => Err(e),
        };
        let number = *number;
        // The engine reads from the file, whatever is written there.
        let answer = answer.and_then(|a| self.check_files(&visit.case).map(|()| a));
        let (usage, calls) = match answer {
            Ok(repetition) => repetition,
            Err(e) => {
                self.fail(visit, &e);
                return Ok(());
            }
        };
        let repetition = Repetition {
            case_id: visit.id.clone(),
            case: visit.case.clone(),
            replicate: visit.replicate,
            worker: number,
            repetition: visit.n_repetitions,
            started_ns,
            warnings: noise_warnings(&usage),
            usage,
            calls,
            totals: Vec::new(),
            turns,
        };
        visit.n_repetitions += 1;
        visit
            .median_steps_ns
            .extend(median_step_ns(&repetition.calls));
        self.done.note_repetition(&repetition);
        let line = Line::Repetition(Box::new(repetition));
        self.writer.append(&line)?;
        if let Line::Repetition(r) = &line {
            let done = Event::RepetitionDone {
                lane: visit.lane,
                case: &r.case,
                calls: &r.calls,
            };
            course.observer.event(done, &course.eta);
        }
        Ok(())
    }
}
