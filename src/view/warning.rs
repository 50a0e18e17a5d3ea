//! What makes a cell's figures deserve less trust, with advice.

use std::fmt;

use crate::host::HostWarning;

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
    /// All repetitions come from one process.
    OneProcess,
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
            Self::OneProcess => f.write_str(
                "measured in one process: the interval knows nothing of differences between processes; \
                 use --replicates 3",
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
