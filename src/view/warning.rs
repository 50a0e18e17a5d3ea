//! What makes a cell's figures deserve less trust, with advice.

use std::fmt;

use crate::host::HostWarning;
use crate::plan::KV_PAD;

/// One reason to trust a cell's figures less. Its `Display` says what to do about it.
#[derive(Debug, Clone, PartialEq)]
pub enum CellWarning {
    /// The warm-up did not reach a steady level.
    NotSteady {
        /// In so many processes.
        processes: u32,
        /// Of so many.
        of: u32,
    },
    /// The engine computed with fewer threads than the cell is named after.
    FewerThreads {
        /// Threads, the fewest of any process.
        n_threads: u32,
        /// Asked for.
        asked: u32,
    },
    /// Not measured as planned in some processes.
    Failures {
        /// What happened there: `crashed: SIGABRT`.
        how: String,
        /// In so many processes.
        processes: u32,
        /// Of so many planned.
        of: u32,
    },
    /// Fewer processes than planned, without a word why: the run is not over, or was cut off.
    FewProcesses {
        /// Processes that measured the cell.
        processes: u32,
        /// Of so many planned.
        of: u32,
    },
    /// Too few repetitions for an interval.
    SingleRepetition,
    /// Processes were added until the precision, which was not reached.
    Imprecise {
        /// Half width of the median step's interval, relative.
        half_width: f64,
        /// What was asked for.
        precision: f64,
    },
    /// All repetitions come from one process.
    OneProcess,
    /// Too few decode steps for the highest percentile.
    FewSteps {
        /// Decode steps of the cell.
        n_steps: u64,
        /// What a p99 needs.
        needed: u64,
    },
    /// The longest step is one at which the engine's view of the cache grew: longer by design, no disturbance.
    LongestAtBoundary {
        /// Such steps of the cell.
        n_boundary: u64,
        /// All its steps.
        n_steps: u64,
    },
    /// The clock was lower than in the run's fastest cell with as many threads.
    FrequencyDropped {
        /// By how much at most.
        percent: f64,
        /// In so many processes.
        processes: u32,
        /// Of so many whose clock is known.
        of: u32,
    },
    /// The GPU's clocks were held down.
    GpuThrottled {
        /// Why.
        reasons: Vec<String>,
        /// In so many processes.
        processes: u32,
        /// Of so many with a GPU.
        of: u32,
    },
    /// The machine was disturbed.
    Host {
        /// The worst of what happened.
        worst: HostWarning,
        /// In so many repetitions.
        repetitions: u32,
        /// Of so many.
        of: u32,
    },
}

impl CellWarning {
    /// Takes in the same warning of another cell, for a footnote that speaks of both. False, and nothing
    /// changed, when it is a different one.
    pub fn absorb(&mut self, other: &Self) -> bool {
        match (self, other) {
            (
                Self::NotSteady { processes, of },
                Self::NotSteady {
                    processes: more,
                    of: of_more,
                },
            )
            | (
                Self::FewProcesses { processes, of },
                Self::FewProcesses {
                    processes: more,
                    of: of_more,
                },
            ) => add((processes, of), (*more, *of_more)),
            (
                Self::Failures { how, processes, of },
                Self::Failures {
                    how: also,
                    processes: more,
                    of: of_more,
                },
            ) if how == also => add((processes, of), (*more, *of_more)),
            (
                Self::Host {
                    worst,
                    repetitions,
                    of,
                },
                Self::Host {
                    worst: also,
                    repetitions: more,
                    of: of_more,
                },
            ) => keep_worst(worst, also) && add((repetitions, of), (*more, *of_more)),
            (
                Self::Imprecise {
                    half_width,
                    precision,
                },
                Self::Imprecise {
                    half_width: also,
                    precision: asked,
                },
            ) if precision == asked => {
                *half_width = half_width.max(*also);
                true
            }
            (Self::FewSteps { n_steps, .. }, Self::FewSteps { n_steps: fewer, .. }) => {
                *n_steps = (*n_steps).min(*fewer);
                true
            }
            (
                Self::LongestAtBoundary {
                    n_boundary,
                    n_steps,
                },
                Self::LongestAtBoundary {
                    n_boundary: more,
                    n_steps: of_more,
                },
            ) => {
                *n_boundary = n_boundary.saturating_add(*more);
                *n_steps = n_steps.saturating_add(*of_more);
                true
            }
            (
                Self::FrequencyDropped {
                    percent,
                    processes,
                    of,
                },
                Self::FrequencyDropped {
                    percent: also,
                    processes: more,
                    of: of_more,
                },
            ) => {
                *percent = percent.max(*also);
                add((processes, of), (*more, *of_more))
            }
            (
                Self::GpuThrottled {
                    reasons,
                    processes,
                    of,
                },
                Self::GpuThrottled {
                    reasons: also,
                    processes: more,
                    of: of_more,
                },
            ) if reasons == also => add((processes, of), (*more, *of_more)),
            (
                Self::FewerThreads { n_threads, asked },
                Self::FewerThreads {
                    n_threads: also,
                    asked: asked_too,
                },
            ) if asked == asked_too => {
                *n_threads = (*n_threads).min(*also);
                true
            }
            (Self::SingleRepetition, Self::SingleRepetition)
            | (Self::OneProcess, Self::OneProcess) => true,
            _ => false,
        }
    }
}

fn add((n, of): (&mut u32, &mut u32), (more, of_more): (u32, u32)) -> bool {
    *n = n.saturating_add(more);
    *of = of.saturating_add(of_more);
    true
}

/// Makes `worst` the worse of two warnings of one kind; false when they are not.
pub(super) fn keep_worst(worst: &mut HostWarning, other: &HostWarning) -> bool {
    use HostWarning as W;
    match (worst, other) {
        (W::NoisyNeighbour { others_percent: a }, W::NoisyNeighbour { others_percent: b })
        | (W::Steal { percent: a }, W::Steal { percent: b }) => *a = a.max(*b),
        (W::Swapping { bytes: a }, W::Swapping { bytes: b })
        | (W::QuotaThrottled { throttled_ns: a }, W::QuotaThrottled { throttled_ns: b }) => {
            *a = (*a).max(*b);
        }
        (a, b) => return *a == *b,
    }
    true
}

impl fmt::Display for CellWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotSteady { processes, of } => write!(
                f,
                "not steady: the step time still changed after the warm-up in {processes} of {of} processes; \
                 measure again, with more repetitions"
            ),
            Self::FewerThreads { n_threads, asked } => write!(
                f,
                "the engine computed with {n_threads} threads, not the {asked} asked for; look for a limit of threads \
                 in the environment or the container"
            ),
            Self::Failures { how, processes, of } => {
                write!(f, "{how} in {processes} of {of} processes; resume the run to try again")
            }
            Self::FewProcesses { processes, of } => write!(
                f,
                "measured in {processes} of {of} planned processes only; resume the run"
            ),
            Self::SingleRepetition => f.write_str(
                "a single repetition has no interval; use --replicates 3 or --repetitions 3",
            ),
            Self::Imprecise {
                half_width,
                precision,
            } if *half_width > 1.0 => write!(
                f,
                "hardly known, as its interval is wider than the figure, and {:.1}% were asked for; allow \
                 more processes (--max-replicates) and more time, or calm the machine",
                precision * 100.0
            ),
            Self::Imprecise {
                half_width,
                precision,
            } => write!(
                f,
                "known to ±{:.1}% only, {:.1}% were asked for, and the most processes were used or the budget was \
                 over; allow more processes (--max-replicates) and more time, or calm the machine",
                half_width * 100.0,
                precision * 100.0
            ),
            Self::OneProcess => f.write_str(
                "measured in one process: the interval knows nothing of differences between processes; \
                 use --replicates 3",
            ),
            Self::FewSteps { n_steps, needed } => write!(
                f,
                "{n_steps} decode steps are too few for a p99, which needs {needed}; raise --n-gen or --repetitions"
            ),
            Self::LongestAtBoundary {
                n_boundary,
                n_steps,
            } => write!(
                f,
                "the longest step is one of the {n_boundary} of {n_steps} that reach a multiple of {KV_PAD} tokens in \
                 the cache, where the engine has more to do: likely no disturbance"
            ),
            Self::FrequencyDropped {
                percent,
                processes,
                of,
            } => write!(
                f,
                "the CPU's clock was up to {percent:.0}% below that of the run's fastest cell with as many threads, in \
                 {processes} of {of} processes; fix the frequency, or let the machine cool between runs"
            ),
            Self::GpuThrottled {
                reasons,
                processes,
                of,
            } => write!(
                f,
                "the GPU's clocks were held down in {processes} of {of} processes: {}; improve its cooling or raise \
                 its power limit",
                reasons.join(", ")
            ),
            Self::Host {
                worst,
                repetitions,
                of,
            } => match worst {
                HostWarning::NoisyNeighbour { others_percent } => write!(
                    f,
                    "other processes used the CPU in {repetitions} of {of} repetitions, at most \
                     {others_percent:.1}% of the machine; close them or use fewer threads"
                ),
                HostWarning::Steal { percent } => write!(
                    f,
                    "the hypervisor gave time to others in {repetitions} of {of} repetitions, at most \
                     {percent:.1}% of the machine; measure at a quieter time or on dedicated cores"
                ),
                other => write!(f, "in {repetitions} of {of} repetitions: {other}"),
            },
        }
    }
}
