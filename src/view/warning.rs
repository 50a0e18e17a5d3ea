//! What makes a cell's figures deserve less trust, with advice.
//!
//! A warning of the machine during a repetition or a round is a [`HostWarning`] (it is in the record); of a cell of whichever
//! work a [`CellWarning`]; of the answers of a job of requests a [`JobDoubt`](super::requests::JobDoubt); of how prompts are sent a
//! [`PromptWarning`](crate::record::requests::PromptWarning); of a gate's verdict a [`Doubt`](crate::gate::Doubt).
//! `report::notes` and `report::requests::warnings` print them.

use std::fmt;

use crate::host::HostWarning;
use crate::plan::KV_PAD;

/// How many of how many: `2 of 3`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CountOf {
    pub n: u32,
    pub of: u32,
}

impl CountOf {
    fn add(&mut self, other: Self) -> bool {
        self.n = self.n.saturating_add(other.n);
        self.of = self.of.saturating_add(other.of);
        true
    }
}

impl fmt::Display for CountOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.n, self.of)
    }
}

/// What a cell's values are of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeated {
    /// A repetition of a batch.
    Repetition,
    /// A round of requests.
    Round,
}

impl fmt::Display for Repeated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Repetition => "repetitions",
            Self::Round => "rounds",
        })
    }
}

/// One reason to trust a cell's figures less. Its `Display` says what to do about it.
#[derive(Debug, Clone, PartialEq)]
pub enum CellWarning {
    /// The warm-up did not reach a steady level in these processes.
    NotSteady(CountOf),
    /// The engine computed with fewer threads than the cell is named after.
    FewerThreads {
        /// Threads, the fewest of any process.
        n_threads: u32,
        asked: u32,
    },
    /// Not measured as planned in some of the planned processes.
    Failures {
        /// What happened there: `crashed: SIGABRT`.
        how: String,
        processes: CountOf,
    },
    /// Measured in fewer processes than planned, without a word why: the run is not over, or was cut off.
    FewProcesses(CountOf),
    /// Served whole in fewer rounds than planned: a job of requests, of which the budget or a fault cost others.
    FewRounds(CountOf),
    /// Too few repetitions for an interval.
    SingleRepetition,
    /// Processes were added until the precision, which was not reached.
    Imprecise {
        /// Half width of the interval of the median step, or of a job's mean latency, relative.
        half_width: f64,
        precision: f64,
    },
    /// All repetitions, or rounds, come from one process.
    OneProcess,
    /// Too few decode steps for the highest percentile.
    FewSteps {
        n_steps: u64,
        /// What a p99 needs.
        needed: u64,
    },
    /// The longest step is one at which the engine's view of the cache grew: longer by design, no disturbance.
    LongestAtBoundary { n_boundary: u64, n_steps: u64 },
    /// The clock was lower than in the run's fastest cell with as many threads.
    FrequencyDropped {
        /// By how much at most.
        percent: f64,
        /// Of the processes whose clock is known.
        processes: CountOf,
    },
    /// The GPU's clocks were held down.
    GpuThrottled {
        reasons: Vec<String>,
        processes: CountOf,
    },
    /// The machine was disturbed.
    Host {
        /// The worst of what happened.
        worst: HostWarning,
        repetitions: CountOf,
        of: Repeated,
    },
}

impl CellWarning {
    /// Whether it is of what the machine did meanwhile.
    pub fn is_of_machine(&self) -> bool {
        matches!(self, Self::Host { .. })
    }

    /// Takes in the same warning of another cell, for a footnote that speaks of both. False, and nothing
    /// changed, when it is a different one.
    pub fn absorb(&mut self, other: &Self) -> bool {
        use CellWarning as W;
        match (self, other) {
            (W::NotSteady(a), W::NotSteady(b))
            | (W::FewProcesses(a), W::FewProcesses(b))
            | (W::FewRounds(a), W::FewRounds(b)) => a.add(*b),
            (
                W::Failures { how, processes },
                W::Failures {
                    how: also,
                    processes: more,
                },
            ) if how == also => processes.add(*more),
            (
                W::Host {
                    worst,
                    repetitions,
                    of,
                },
                W::Host {
                    worst: also,
                    repetitions: more,
                    of: same,
                },
            ) if of == same => keep_worst(worst, also) && repetitions.add(*more),
            (
                W::Imprecise {
                    half_width,
                    precision,
                },
                W::Imprecise {
                    half_width: also,
                    precision: asked,
                },
            ) if precision == asked => {
                *half_width = half_width.max(*also);
                true
            }
            (W::FewSteps { n_steps, .. }, W::FewSteps { n_steps: fewer, .. }) => {
                *n_steps = (*n_steps).min(*fewer);
                true
            }
            (
                W::LongestAtBoundary {
                    n_boundary,
                    n_steps,
                },
                W::LongestAtBoundary {
                    n_boundary: more,
                    n_steps: of_more,
                },
            ) => {
                *n_boundary = n_boundary.saturating_add(*more);
                *n_steps = n_steps.saturating_add(*of_more);
                true
            }
            (
                W::FrequencyDropped { percent, processes },
                W::FrequencyDropped {
                    percent: also,
                    processes: more,
                },
            ) => {
                *percent = percent.max(*also);
                processes.add(*more)
            }
            (
                W::GpuThrottled { reasons, processes },
                W::GpuThrottled {
                    reasons: also,
                    processes: more,
                },
            ) if reasons == also => processes.add(*more),
            (
                W::FewerThreads { n_threads, asked },
                W::FewerThreads {
                    n_threads: also,
                    asked: too,
                },
            ) if asked == too => {
                *n_threads = (*n_threads).min(*also);
                true
            }
            (W::SingleRepetition, W::SingleRepetition) | (W::OneProcess, W::OneProcess) => true,
            _ => false,
        }
    }
}

/// Makes `worst` the worse of two warnings of one kind; false when they are not.
fn keep_worst(worst: &mut HostWarning, other: &HostWarning) -> bool {
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

/// What disturbed the machine: the worst of each kind, and how often it was noted.
#[derive(Debug, Clone, Default)]
pub(super) struct Disturbances(pub Vec<(HostWarning, u32)>);

impl Disturbances {
    /// As warnings of a cell with so many repetitions.
    pub(super) fn warnings(&self, n_repetitions: u32, of: Repeated) -> Vec<CellWarning> {
        let warnings = self.0.iter().map(|(worst, n)| CellWarning::Host {
            worst: worst.clone(),
            repetitions: CountOf {
                n: *n,
                of: n_repetitions,
            },
            of,
        });
        warnings.collect()
    }

    pub(super) fn note(&mut self, warnings: &[HostWarning]) {
        for warning in warnings {
            let mut known = self.0.iter_mut();
            match known.find_map(|(worst, n)| keep_worst(worst, warning).then_some(n)) {
                Some(n) => *n += 1,
                None => self.0.push((warning.clone(), 1)),
            }
        }
    }
}

impl fmt::Display for CellWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotSteady(processes) => write!(
                f,
                "not steady: the step time still changed after the warm-up in {processes} processes; \
                 measure again, with more repetitions"
            ),
            Self::FewerThreads { n_threads, asked } => write!(
                f,
                "the engine computed with {n_threads} threads, not the {asked} asked for; look for a limit of threads \
                 in the environment or the container"
            ),
            Self::Failures { how, processes } => {
                write!(f, "{how} in {processes} processes; resume the run to try again")
            }
            Self::FewProcesses(processes) => {
                write!(f, "measured in {processes} planned processes only; resume the run")
            }
            Self::FewRounds(rounds) => {
                write!(f, "measured in {rounds} planned rounds only; resume the run")
            }
            Self::SingleRepetition => f.write_str(
                "a single repetition has no interval; use --replicates 3 or --repetitions 3",
            ),
            Self::Imprecise { half_width, precision } if *half_width > 1.0 => write!(
                f,
                "hardly known, as its interval is wider than the figure, and {:.1}% were asked for; allow \
                 more processes (--max-replicates) and more time, or calm the machine",
                precision * 100.0
            ),
            Self::Imprecise { half_width, precision } => write!(
                f,
                "known to ±{:.1}% only, {:.1}% were asked for, and the most processes were used or the budget was \
                 over; allow more processes (--max-replicates) and more time, or calm the machine",
                half_width * 100.0,
                precision * 100.0
            ),
            Self::OneProcess => f.write_str(
                "measured in one process: the interval does not include differences between processes; \
                 use --replicates 3",
            ),
            Self::FewSteps { n_steps, needed } => write!(
                f,
                "{n_steps} decode steps are too few for a p99, which needs {needed}; raise --n-gen or --repetitions"
            ),
            Self::LongestAtBoundary { n_boundary, n_steps } => write!(
                f,
                "the longest step is one of the {n_boundary} of {n_steps} that reach a multiple of {KV_PAD} tokens in \
                 the cache, where the engine has more to do: likely no disturbance"
            ),
            Self::FrequencyDropped { percent, processes } => write!(
                f,
                "the CPU's clock was up to {percent:.0}% below that of the run's fastest cell with as many threads, in \
                 {processes} processes; fix the frequency, or let the machine cool between runs"
            ),
            Self::GpuThrottled { reasons, processes } => write!(
                f,
                "the GPU's clocks were held down in {processes} processes: {}; improve its cooling or raise \
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
                    "other processes used the CPU in {repetitions} {of}, at most {others_percent:.1}% of the machine; \
                     close them or use fewer threads"
                ),
                HostWarning::Steal { percent } => write!(
                    f,
                    "the hypervisor gave time to others in {repetitions} {of}, at most {percent:.1}% of the machine; \
                     measure at a quieter time or on dedicated cores"
                ),
                other => write!(f, "in {repetitions} {of}: {other}"),
            },
        }
    }
}
