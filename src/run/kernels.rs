//! Timing kernels in worker processes: one that aborts, hangs or lacks memory is one kernel without a time.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::protocol::{Reply, Request};
use super::supervisor::{Worker, WorkerCommand, WorkerError};
use crate::engine::kernel::KernelDevice;
use crate::host::usage::UsageDelta;
use crate::measure::kernel::{Effort, timing};
use crate::roofline::ceiling::{ReadRate, Timing};
use crate::roofline::kernel::{Kernel, KernelLoad, Point};
use crate::roofline::slice::Slice;
use crate::text::{cut_end, plain};
use crate::units;

/// Opening a device: GPU drivers can be slow.
const OPEN_TIMEOUT: Duration = Duration::from_secs(120);

/// After this number of workers that died or hung, the rest is not tried.
const MOST_LOST: u32 = 3;

/// A user waits: rounds that would end later are left out. The first is always measured.
const MOST_TIME: Duration = Duration::from_secs(45);

/// Longest reason, columns.
const REASON_COLUMNS: usize = 200;

/// Times kernels on a device, in a worker process that is started again when it is lost.
#[derive(Debug)]
pub struct KernelTimer<'c> {
    command: &'c WorkerCommand,
    device: KernelDevice,
    n_threads: u32,
    effort: Effort,
    worker: Option<Worker>,
    n_lost: u32,
    /// What the machine did while each worker measured.
    usages: Vec<UsageDelta>,
}

/// A point, what is timed for it, and the passes of each round.
struct KernelJob {
    point: Point,
    slice: Slice,
    rounds: Vec<Vec<f64>>,
    refused: Option<String>,
}

impl<'c> KernelTimer<'c> {
    /// Starts nothing yet.
    pub fn new(
        command: &'c WorkerCommand,
        device: KernelDevice,
        n_threads: u32,
        effort: Effort,
    ) -> Self {
        Self {
            command,
            device,
            n_threads,
            effort,
            worker: None,
            n_lost: 0,
            usages: Vec::new(),
        }
    }

    /// What the machine did while workers measured, one entry for each.
    pub fn usages(&self) -> &[UsageDelta] {
        &self.usages
    }

    /// The memory bandwidth of the CPU's threads. `measured_at_s` is left 0.
    ///
    /// # Errors
    /// Why there is none.
    pub fn read_rate(&mut self, rounds: u32, round: Duration) -> Result<ReadRate, String> {
        let request = Request::ReadRate {
            rounds,
            round_ns: u64::try_from(round.as_nanos()).unwrap_or(u64::MAX),
        };
        // Each round lays its buffers in, which are as large as the stock of kernels, and reads them some times.
        let each = self.effort.patience(&[]).saturating_add(round);
        let timeout = each.saturating_mul(rounds.max(1));
        match self.ask(&request, timeout)? {
            Reply::ReadRate { rate, usage } => {
                self.note(usage);
                Ok(rate)
            }
            other => Err(self.out_of_turn(&other)),
        }
    }

    /// Times of one application of each point, in their order, or why there is none. A slow machine has fewer rounds.
    pub fn time(
        &mut self,
        points: &[Point],
        progress: &mut dyn FnMut(u64, u64),
    ) -> Vec<(Point, Result<Timing, String>)> {
        let mut jobs: Vec<KernelJob> = points.iter().map(|point| self.job(point)).collect();
        let mut by_kernel: BTreeMap<Kernel, Vec<usize>> = BTreeMap::new();
        for (at, job) in jobs.iter().enumerate() {
            let kernel = job.slice.point.kernel.clone();
            by_kernel.entry(kernel).or_default().push(at);
        }
        let total = points.len() as u64 * u64::from(self.effort.rounds);
        let mut done = 0;
        let begun = Instant::now();
        for round in 0..self.effort.rounds {
            if !has_time(begun.elapsed(), round) {
                break;
            }
            for (kernel, of_kernel) in &by_kernel {
                self.round(kernel, of_kernel, &mut jobs);
                done += of_kernel.len() as u64;
                progress(done, total);
            }
        }
        jobs.into_iter().map(KernelJob::result).collect()
    }

    fn job(&self, point: &Point) -> KernelJob {
        let slice = Slice::of(point, self.effort.bounds());
        let needs = slice.needs_bytes(0);
        let refused = (needs > self.effort.most_bytes).then(|| {
            format!(
                "needs {} of memory to be timed, {} may be used (half of what is free)",
                units::bytes(needs),
                units::bytes(self.effort.most_bytes)
            )
        });
        KernelJob {
            point: point.clone(),
            slice,
            rounds: Vec::new(),
            refused,
        }
    }

    /// Times what is not refused of a kernel, once.
    fn round(&mut self, kernel: &Kernel, of_kernel: &[usize], jobs: &mut [KernelJob]) {
        let asked: Vec<usize> = of_kernel
            .iter()
            .copied()
            .filter(|at| jobs[*at].refused.is_none())
            .collect();
        if asked.is_empty() {
            return;
        }
        let slices: Vec<Slice> = asked.iter().map(|at| jobs[*at].slice.clone()).collect();
        let loads: Vec<KernelLoad> = slices.iter().map(|slice| slice.point.load).collect();
        match self.passes(kernel, loads, self.effort.patience(&slices)) {
            Ok(passes) => {
                for (at, passes) in asked.into_iter().zip(passes) {
                    jobs[at].note(passes);
                }
            }
            Err(reason) => {
                for at in asked {
                    jobs[at].note(Err(reason.clone()));
                }
            }
        }
    }

    fn passes(
        &mut self,
        kernel: &Kernel,
        loads: Vec<KernelLoad>,
        timeout: Duration,
    ) -> Result<Vec<Result<Vec<f64>, String>>, String> {
        let n = loads.len();
        let request = Request::TimeKernel {
            kernel: kernel.clone(),
            loads,
            effort: self.effort,
        };
        match self.ask(&request, timeout)? {
            Reply::KernelTimed { passes, usage } if passes.len() == n => {
                self.note(usage);
                Ok(passes)
            }
            other => Err(self.out_of_turn(&other)),
        }
    }

    fn note(&mut self, usage: UsageDelta) {
        // Since the worker started: the last word counts.
        if let Some(last) = self.usages.last_mut() {
            *last = usage;
        }
    }

    /// Asks a worker, which is started where there is none.
    fn ask(&mut self, request: &Request, timeout: Duration) -> Result<Reply, String> {
        if self.n_lost >= MOST_LOST {
            return Err(format!(
                "not tried: {MOST_LOST} worker processes were lost before"
            ));
        }
        let mut worker = match self.worker.take() {
            Some(worker) => worker,
            None => self.start()?,
        };
        match worker.ask(request, timeout, None) {
            Ok(reply) => {
                self.worker = Some(worker);
                Ok(reply)
            }
            Err(e) => Err(self.lost(&worker, &e)),
        }
    }

    fn start(&mut self) -> Result<Worker, String> {
        let mut worker = match Worker::start(self.command) {
            Ok(worker) => worker,
            Err(e) => {
                self.n_lost += 1;
                return Err(e.to_string());
            }
        };
        let open = Request::OpenKernels {
            device: self.device,
            n_threads: self.n_threads,
            most_bytes: self.effort.most_bytes,
        };
        match worker.ask(&open, OPEN_TIMEOUT, None) {
            Ok(Reply::KernelsOpened) => {
                self.usages.push(UsageDelta::default());
                Ok(worker)
            }
            Ok(other) => Err(worker.out_of_turn(&other).to_string()),
            Err(e) => Err(self.lost(&worker, &e)),
        }
    }

    /// Why a worker is of no use any more; of one that died also the last thing that it said.
    fn lost(&mut self, worker: &Worker, e: &WorkerError) -> String {
        self.n_lost += 1;
        let log = worker.take_log();
        let last = log.iter().rev().find(|line| !line.trim().is_empty());
        let reason = match (e, last) {
            (WorkerError::Died(_), Some(line)) => format!("{e}: {}", line.trim()),
            _ => e.to_string(),
        };
        cut_end(&plain(&reason), REASON_COLUMNS)
    }

    fn out_of_turn(&mut self, reply: &Reply) -> String {
        self.n_lost += 1;
        match self.worker.take() {
            Some(mut worker) => worker.out_of_turn(reply).to_string(),
            None => "the worker process gave an answer out of turn".to_owned(),
        }
    }
}

/// Whether one more round, as long as those before, ends in time.
fn has_time(elapsed: Duration, n_done: u32) -> bool {
    n_done == 0 || elapsed + elapsed / n_done <= MOST_TIME
}

impl KernelJob {
    fn note(&mut self, passes: Result<Vec<f64>, String>) {
        match passes {
            Ok(passes) => {
                let times = self.slice.times;
                self.rounds
                    .push(passes.into_iter().map(|ns| ns * times).collect());
            }
            Err(reason) => self.refused = Some(reason),
        }
    }

    fn result(self) -> (Point, Result<Timing, String>) {
        let result = match self.refused {
            Some(reason) => Err(reason),
            None => Ok(timing(&self.rounds)),
        };
        (self.point, result)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_machine_leaves_out_rounds_but_never_the_first() {
        let s = Duration::from_secs;
        assert!(has_time(s(0), 0) && has_time(s(500), 0));
        assert!(has_time(s(14), 1) && has_time(s(28), 2));
        assert!(!has_time(s(42), 3) && !has_time(s(23), 1));
    }
}
