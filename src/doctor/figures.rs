//! Numbers out of what was seen. Shares are of 1, not percent; `None`: not measurable with what there was.

use serde::Serialize;

use super::observe::Observed;
use crate::host::{StepTrial, TimerFacts};
use crate::stats::LatencyHistogram;
use crate::stats::summary::{Summary, median};

/// The fastest of equal passes: what the clock allowed when nobody took a core away. On a busy machine fewer than one in
/// ten passes of several threads is undisturbed, so no higher quantile will do.
fn undisturbed(passes_ns: &[u64]) -> Option<f64> {
    passes_ns.iter().min().map(|ns| *ns as f64)
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DoctorFigures {
    /// CPU time of other programs at rest, in percent of the machine.
    pub others_cpu_percent: Option<f64>,
    /// How much of that one tick too many would make.
    pub others_resolution_percent: Option<f64>,
    /// Context switches of the whole machine at rest.
    pub switches_at_rest_per_s: Option<f64>,
    /// CPU time that the hypervisor gave to others while all threads worked, in percent of the machine.
    pub steal_percent: Option<f64>,
    /// How much of that one tick too many would make.
    pub steal_resolution_percent: Option<f64>,
    /// How often each working thread had to give up its core.
    pub interruptions_per_s: Option<f64>,
    /// Thermal throttling events while all threads worked.
    pub throttle_events: Option<u64>,
    /// Time that a quota kept a thread from working, as a share.
    pub quota_throttled: Option<f64>,
    /// Bytes to and from swap, at rest and at work.
    pub swapped_bytes: Option<u64>,
    pub clock_hz: Option<u64>,
    /// Of a computing pass of all threads: p99 over median, less 1.
    pub jitter: Option<f64>,
    /// Largest over smallest undisturbed computing pass of the trials, less 1.
    pub clock_drift: Option<f64>,
    /// Slowest over fastest core, less 1, each alone and undisturbed.
    pub core_spread: Option<CoreSpread>,
    /// How much longer a thread computes beside all others than alone.
    pub all_at_once: Option<f64>,
    pub read: Option<ReadRates>,
    /// Reading from huge pages against reading from others; none where they cannot be asked for.
    pub huge_pages: Option<HugePages>,
    /// Standard deviation of the logarithms of the trials' median computing passes.
    pub compute_sd: Option<f64>,
    /// The same of reading passes.
    pub read_sd: Option<f64>,
    pub n_trials: usize,
    pub timer: TimerFacts,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct CoreSpread {
    /// Slowest over fastest, less 1.
    pub share: f64,
    pub slowest: u32,
    pub fastest: u32,
    pub n_cores: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ReadRates {
    /// By one thread; none where there is only one anyway.
    pub one_bytes_per_s: Option<f64>,
    /// By all threads, the median trial's.
    pub all_bytes_per_s: f64,
    /// Fastest over slowest trial, less 1.
    pub spread: f64,
    pub buffer_bytes: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct HugePages {
    /// Median rate over that on other pages, less 1.
    pub gain: f64,
    /// Whether every trial on huge pages was faster than every other.
    pub is_clear: bool,
}

impl DoctorFigures {
    pub fn of(observed: &Observed, timer: TimerFacts) -> Self {
        let (rest, work) = (&observed.at_rest, &observed.at_work);
        let per_s = |count: u64, wall_ns: u64| count as f64 * 1e9 / wall_ns.max(1) as f64;
        let n_threads = observed.all.first().map_or(1, |t| t.n_threads);
        let all = Passes::of(&observed.all);
        let one = Passes::of(&observed.one);
        Self {
            others_cpu_percent: rest.others_cpu_percent,
            others_resolution_percent: rest.others_resolution_percent,
            switches_at_rest_per_s: observed.switches_at_rest.map(|n| per_s(n, rest.wall_ns)),
            steal_percent: work.steal_percent,
            steal_resolution_percent: work.others_resolution_percent,
            interruptions_per_s: work
                .involuntary_switches
                .map(|n| per_s(n, work.wall_ns) / f64::from(n_threads)),
            throttle_events: work.throttle_events,
            quota_throttled: work
                .quota_throttled_ns
                .map(|ns| ns as f64 / work.wall_ns.max(1) as f64 / f64::from(n_threads)),
            swapped_bytes: swapped(observed),
            clock_hz: observed.clock_at_work.map(|clock| clock.mean as u64),
            jitter: jitter(&observed.all),
            clock_drift: spread(&all.undisturbed),
            core_spread: core_spread(observed),
            all_at_once: median(&all.undisturbed)
                .zip(median(&one.undisturbed))
                .map(|(all, one)| all / one - 1.0),
            read: read_rates(&all, &one, observed),
            huge_pages: huge_pages(&all, &Passes::of(&observed.huge)),
            compute_sd: log_sd(&all.compute_ns),
            read_sd: log_sd(&all.read_ns),
            n_trials: observed.all.len(),
            timer,
        }
    }
}

#[derive(Debug, Default)]
struct Passes {
    compute_ns: Vec<f64>,
    read_ns: Vec<f64>,
    undisturbed: Vec<f64>,
    read_rates: Vec<f64>,
}

impl Passes {
    fn of(trials: &[StepTrial]) -> Self {
        let mut passes = Self::default();
        for trial in trials {
            let (compute, read) = (floats(&trial.compute_ns), floats(&trial.read_ns));
            passes.compute_ns.extend(median(&compute));
            passes.undisturbed.extend(undisturbed(&trial.compute_ns));
            let read_ns = median(&read).filter(|ns| *ns > 0.0);
            passes.read_ns.extend(read_ns);
            let rate = read_ns.map(|ns| trial.buffer_bytes as f64 * 1e9 / ns);
            passes.read_rates.extend(rate);
        }
        passes
    }
}

fn floats(values: &[u64]) -> Vec<f64> {
    values.iter().map(|value| *value as f64).collect()
}

/// Largest over smallest, less 1; of one value nothing.
fn spread(values: &[f64]) -> Option<f64> {
    let summary = Summary::of(values).filter(|s| s.n > 1 && s.min > 0.0)?;
    Some(summary.max / summary.min - 1.0)
}

fn log_sd(values: &[f64]) -> Option<f64> {
    let logs: Vec<f64> = values.iter().map(|value| value.ln()).collect();
    Summary::of(&logs)?.sd
}

fn jitter(trials: &[StepTrial]) -> Option<f64> {
    let mut passes = LatencyHistogram::new();
    for ns in trials.iter().flat_map(|trial| &trial.compute_ns) {
        passes.record(*ns);
    }
    let median = passes.percentile(0.5).filter(|ns| *ns > 0)?;
    Some(passes.percentile(0.99)? as f64 / median as f64 - 1.0)
}

fn core_spread(observed: &Observed) -> Option<CoreSpread> {
    let mut cores: Vec<(f64, u32)> = observed
        .cores
        .iter()
        .filter_map(|core| Some((undisturbed(&core.compute_ns)?, core.cpu)))
        .collect();
    cores.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (fastest, slowest) = (cores.first()?, cores.last()?);
    (fastest.0 > 0.0).then(|| CoreSpread {
        share: slowest.0 / fastest.0 - 1.0,
        slowest: slowest.1,
        fastest: fastest.1,
        n_cores: cores.len(),
    })
}

fn read_rates(all: &Passes, one: &Passes, observed: &Observed) -> Option<ReadRates> {
    Some(ReadRates {
        one_bytes_per_s: median(&one.read_rates),
        all_bytes_per_s: median(&all.read_rates)?,
        spread: spread(&all.read_rates)?,
        buffer_bytes: observed.all.first()?.buffer_bytes,
    })
}

fn huge_pages(all: &Passes, huge: &Passes) -> Option<HugePages> {
    let (others, huge) = (
        Summary::of(&all.read_rates)?,
        Summary::of(&huge.read_rates)?,
    );
    Some(HugePages {
        gain: huge.median / others.median - 1.0,
        is_clear: huge.min > others.max,
    })
}

fn swapped(observed: &Observed) -> Option<u64> {
    let sum = |delta: &crate::host::usage::UsageDelta| {
        delta.swap_in_bytes?.checked_add(delta.swap_out_bytes?)
    };
    sum(&observed.at_rest)?.checked_add(sum(&observed.at_work)?)
}

#[cfg(test)]
pub(super) mod tests;
