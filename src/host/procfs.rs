//! Numbers out of `/proc`: the machine's CPU time, one process's counters. Pure functions over text.
//! Source of every field's meaning: proc(5).

use super::files::{MachineFiles, colon_value, kib_value_bytes};

/// CPU time of the whole machine since boot, in ticks summed over cores.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct MachineTicks {
    /// At work: user, nice, system, interrupts. Guests are inside user and nice already.
    pub busy: u64,
    /// Idle, waiting for disks included.
    pub idle: u64,
    /// Ready to run while the hypervisor ran somebody else.
    pub steal: u64,
}

impl MachineTicks {
    /// Of this machine, where the system keeps them.
    pub(crate) fn read(files: &impl MachineFiles) -> Option<Self> {
        #[cfg(windows)]
        {
            let _ = files;
            super::windows::machine_ticks()
        }
        #[cfg(not(windows))]
        Self::parse(&files.read("/proc/stat")?)
    }

    #[cfg_attr(windows, allow(dead_code))]
    pub(crate) fn parse(stat: &str) -> Option<Self> {
        let line = stat.lines().next()?.strip_prefix("cpu ")?;
        let mut fields = [0u64; 8];
        let mut words = line.split_ascii_whitespace();
        // Kernels before 2.6.11 print fewer fields; those that exist are user, nice, system, idle.
        for (index, field) in fields.iter_mut().enumerate() {
            match words.next() {
                Some(word) => *field = word.parse().ok()?,
                None if index >= 4 => break,
                None => return None,
            }
        }
        let [user, nice, system, idle, iowait, irq, softirq, steal] = fields;
        let sum = |values: &[u64]| values.iter().try_fold(0u64, |sum, v| sum.checked_add(*v));
        Some(Self {
            busy: sum(&[user, nice, system, irq, softirq])?,
            idle: sum(&[idle, iowait])?,
            steal,
        })
    }

    /// With what passed some other time.
    pub(crate) fn plus(&self, passed: &Self) -> Self {
        Self {
            busy: self.busy.saturating_add(passed.busy),
            idle: self.idle.saturating_add(passed.idle),
            steal: self.steal.saturating_add(passed.steal),
        }
    }

    /// What passed since `earlier`. The kernel's idle counters may step back a little: never below zero.
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        Self {
            busy: self.busy.saturating_sub(earlier.busy),
            idle: self.idle.saturating_sub(earlier.idle),
            steal: self.steal.saturating_sub(earlier.steal),
        }
    }

    pub(crate) fn total(&self) -> u64 {
        self.busy
            .saturating_add(self.idle)
            .saturating_add(self.steal)
    }
}

/// Counters of one process over all its threads, from `/proc/<pid>/stat`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ProcessStat {
    pub minor_faults: u64,
    pub major_faults: u64,
    /// User and system time.
    pub cpu_ticks: u64,
}

impl ProcessStat {
    /// The second field is the program's name in brackets and may hold spaces and brackets itself.
    pub(crate) fn parse(stat: &str) -> Option<Self> {
        let (_, rest) = stat.rsplit_once(") ")?;
        let mut words = rest.split_ascii_whitespace();
        // `rest` starts at field 3, the state.
        let mut field = |skip: usize| words.nth(skip)?.parse::<u64>().ok();
        let minor_faults = field(7)?;
        let major_faults = field(1)?;
        let (user, system) = (field(1)?, field(0)?);
        Some(Self {
            minor_faults,
            major_faults,
            cpu_ticks: user.checked_add(system)?,
        })
    }
}

/// Memory in use and its peak, from `/proc/<pid>/status`.
pub(crate) fn resident_bytes(status: &str) -> (Option<u64>, Option<u64>) {
    (
        kib_value_bytes(status, "VmRSS"),
        kib_value_bytes(status, "VmHWM"),
    )
}

/// Voluntary and involuntary context switches of one thread, from its `status` file.
pub(crate) fn context_switches(status: &str) -> Option<(u64, u64)> {
    let number = |key: &str| colon_value(status, key)?.parse::<u64>().ok();
    Some((
        number("voluntary_ctxt_switches")?,
        number("nonvoluntary_ctxt_switches")?,
    ))
}

/// Resident pages, the second number of `/proc/<pid>/statm`.
pub(crate) fn statm_resident_pages(statm: &str) -> Option<u64> {
    statm.split_ascii_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str =
        "cpu  61335 14281 12715 55182 640 0 92 56 7 0\ncpu0 30426 6879 5774 28954 110 0 6 23 0 0\n";
    const PID_STAT: &str = "11822 (a) R (b c) S 11814 11814 10007 0 -1 4194304 98 5 3 4 250 50 1 2 20 0 1 0 \
        72388 3133440 414 18446744073709551615";
    const STATUS: &str = "Name:\tggufbench\nVmHWM:\t  300 kB\nVmRSS:\t  200 kB\nThreads:\t3\n\
        voluntary_ctxt_switches:\t12\nnonvoluntary_ctxt_switches:\t34\n";

    #[test]
    fn machine_ticks_keep_steal_apart_and_count_guests_once() {
        let ticks = MachineTicks::parse(STAT).expect("a whole line");
        assert_eq!(ticks.busy, 61335 + 14281 + 12715 + 92);
        assert_eq!(ticks.idle, 55182 + 640);
        assert_eq!(ticks.steal, 56);
        assert_eq!(
            MachineTicks::parse("cpu  1 2 3 4").map(|t| (t.busy, t.idle)),
            Some((6, 4))
        );
        assert_eq!(MachineTicks::parse("cpu  1 2 3"), None);
        assert_eq!(MachineTicks::parse("cpu0 1 2 3 4"), None);
    }

    #[test]
    fn counters_that_step_back_give_zero_not_a_giant() {
        let later = MachineTicks {
            busy: 5,
            idle: 9,
            steal: 0,
        };
        let earlier = MachineTicks {
            busy: 2,
            idle: 10,
            steal: 0,
        };
        assert_eq!(
            later.since(&earlier),
            MachineTicks {
                busy: 3,
                idle: 0,
                steal: 0
            }
        );
    }

    #[test]
    fn a_name_with_brackets_does_not_shift_the_fields() {
        let stat = ProcessStat::parse(PID_STAT).expect("a whole line");
        assert_eq!((stat.minor_faults, stat.major_faults), (98, 3));
        assert_eq!(stat.cpu_ticks, 300);
        assert_eq!(ProcessStat::parse("1 (x) S 1"), None);
    }

    #[test]
    fn status_gives_memory_and_switches() {
        assert_eq!(resident_bytes(STATUS), (Some(200 * 1024), Some(300 * 1024)));
        assert_eq!(context_switches(STATUS), Some((12, 34)));
        assert_eq!(context_switches("Name: kthread"), None);
        assert_eq!(statm_resident_pages("765 414 300 1 0 80 0"), Some(414));
    }
}
