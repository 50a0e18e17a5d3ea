//! Looks at the machine for a few seconds: at rest, core by core, and with all threads at work.

use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::host::ThreadsError;
use crate::host::usage::{SamplerSettings, Spread, UsageDelta, UsageSampler, UsageSnapshot};
use crate::host::{
    CoreTrial, Neighbour, ProcessTimes, StepTrial, TrialSettings, context_switches, each_core,
};
use crate::units::nanoseconds;

/// Fewest trials with all threads: their spread is what the conclusion rests on.
const LEAST_TRIALS: u32 = 6;
/// More say little that longer ones do not.
const MOST_TRIALS: u32 = 30;
/// Time for which one more trial is made.
const TIME_A_TRIAL: Duration = Duration::from_millis(800);

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservationPlan {
    pub lasting: Duration,
    pub n_threads: u32,
    /// Hardware threads to try one by one.
    pub cpus: Vec<u32>,
    /// Memory that a reading pass goes over.
    pub buffer_bytes: u64,
    /// Whether huge pages are there for those who ask: then trials with them are made too.
    pub huge_pages_on_request: bool,
}

#[derive(Clone, Debug, Default)]
pub struct Observed {
    pub looked_ns: u64,
    /// The machine while this process slept.
    pub at_rest: UsageDelta,
    /// Context switches of the whole machine meanwhile.
    pub switches_at_rest: Option<u64>,
    /// The programs that used the CPU meanwhile, most first.
    pub busiest: Vec<Neighbour>,
    pub cores: Vec<CoreTrial>,
    pub one: Vec<StepTrial>,
    pub all: Vec<StepTrial>,
    /// The same on huge pages.
    pub huge: Vec<StepTrial>,
    /// The machine during the trials of all threads.
    pub at_work: UsageDelta,
    /// Clock during the trials of all threads, in hertz, where it can be read.
    pub clock_at_work: Option<Spread>,
}

pub fn observe(question: &ObservationPlan) -> Result<Observed, ThreadsError> {
    let begun = Instant::now();
    let slices = Slices::of(question.lasting, question.huge_pages_on_request);
    let mut observed = watch(slices.rest);
    observed.cores = each_core(&question.cpus, slices.cores);
    let trial = |n_threads, huge_pages, lasting| {
        StepTrial::run(TrialSettings {
            n_threads,
            buffer_bytes: question.buffer_bytes,
            huge_pages,
            lasting,
        })
    };
    if question.n_threads > 1 {
        let trials = (0..2).map(|_| trial(1, false, slices.one));
        observed.one = trials.collect::<Result<_, _>>()?;
    }
    // Without a thread for it the clock stays unread; nothing else is lost.
    let sampler = UsageSampler::start(SamplerSettings::of(std::process::id(), Vec::new())).ok();
    let watched = sampler.as_ref().map(UsageSampler::window);
    let before = UsageSnapshot::take();
    for number in 0..slices.n_trials {
        observed
            .all
            .push(trial(question.n_threads, false, slices.trial)?);
        // In between, so that drift falls on both kinds alike.
        if question.huge_pages_on_request && number % 2 == 1 {
            observed
                .huge
                .push(trial(question.n_threads, true, slices.trial)?);
        }
    }
    observed.at_work = UsageSnapshot::take().since(&before);
    drop(watched);
    observed.clock_at_work = sampler.and_then(|s| s.take()?.frequency_hz);
    observed.looked_ns = nanoseconds(begun.elapsed());
    Ok(observed)
}

/// Sleeps, and says what the others did.
fn watch(time: Duration) -> Observed {
    let (processes, switches) = (ProcessTimes::read(), context_switches());
    let before = UsageSnapshot::take();
    sleep(time);
    let at_rest = UsageSnapshot::take().since(&before);
    let wall = Duration::from_nanos(at_rest.wall_ns);
    Observed {
        switches_at_rest: context_switches()
            .zip(switches)
            .and_then(|(now, then)| now.checked_sub(then)),
        busiest: ProcessTimes::read().busiest_since(&processes, wall),
        at_rest,
        ..Observed::default()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Slices {
    rest: Duration,
    cores: Duration,
    one: Duration,
    trial: Duration,
    n_trials: u32,
}

impl Slices {
    /// A quarter at rest, since the kernel counts in ticks; half for the trials of all threads.
    fn of(lasting: Duration, huge_pages: bool) -> Self {
        let n_trials = (lasting.as_millis() / TIME_A_TRIAL.as_millis())
            .clamp(LEAST_TRIALS.into(), MOST_TRIALS.into()) as u32;
        let n_all = n_trials + if huge_pages { n_trials / 2 } else { 0 };
        Self {
            rest: lasting / 4,
            cores: lasting * 3 / 20,
            one: lasting / 20,
            trial: lasting / 2 / n_all,
            n_trials,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_is_shared_out_and_no_more() {
        for (seconds, huge, trials) in
            [(2, false, 6), (5, true, 6), (12, true, 15), (600, true, 30)]
        {
            let lasting = Duration::from_secs(seconds);
            let slices = Slices::of(lasting, huge);
            assert_eq!(slices.n_trials, trials);
            let n_huge = if huge { trials / 2 } else { 0 };
            let all = slices.rest
                + slices.cores
                + 2 * slices.one
                + (slices.n_trials + n_huge) * slices.trial;
            let unused = lasting.checked_sub(all).expect("not more than there is");
            assert!(unused < Duration::from_millis(1), "{seconds}: {unused:?}");
        }
    }

    #[test]
    fn a_look_sees_every_part() {
        let seen = observe(&ObservationPlan {
            lasting: Duration::ZERO,
            n_threads: 2,
            cpus: vec![0],
            buffer_bytes: 1 << 20,
            huge_pages_on_request: true,
        })
        .expect("two threads");
        let counts = (seen.one.len(), seen.all.len(), seen.huge.len());
        assert_eq!(counts, (2, 6, 3));
        assert!(seen.one.iter().all(|trial| trial.n_threads == 1));
        assert!(seen.all.iter().all(|trial| trial.n_threads == 2));
        assert!(seen.at_work.process_cpu_ns.is_some_and(|ns| ns > 0));
        if cfg!(target_os = "linux") {
            assert!(seen.switches_at_rest.is_some());
        }
    }
}
