//! Counters of one process: CPU time, context switches, page faults, memory.

#[cfg(not(windows))]
use super::files::LiveFiles;
use super::files::MachineFiles;
use super::procfs::{ProcessStat, context_switches, resident_bytes};
use super::usage::tick_ns;

/// Totals since the process started, over all its threads. `None`: could not be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ProcessUsage {
    pub cpu_ns: Option<u64>,
    pub voluntary_switches: Option<u64>,
    pub involuntary_switches: Option<u64>,
    pub minor_faults: Option<u64>,
    pub major_faults: Option<u64>,
    pub rss_bytes: Option<u64>,
    pub peak_rss_bytes: Option<u64>,
}

impl ProcessUsage {
    /// This process. `getrusage` counts the switches of threads that have ended, too.
    pub(crate) fn of_self() -> Self {
        let usage = Self::of_pid(std::process::id());
        match own_switches() {
            Some((voluntary, involuntary)) => Self {
                voluntary_switches: Some(voluntary),
                involuntary_switches: Some(involuntary),
                ..usage
            },
            None => usage,
        }
    }

    /// Any process. Context switches are those of the threads that still live.
    #[cfg(target_os = "linux")]
    pub(crate) fn of_pid(pid: u32) -> Self {
        let usage = Self::from_files(&LiveFiles, pid);
        Self {
            cpu_ns: cpu_ns(pid).or(usage.cpu_ns),
            ..usage
        }
    }

    /// Any process: CPU time and memory. Windows counts page faults of both kinds together, and no switches.
    #[cfg(windows)]
    pub(crate) fn of_pid(pid: u32) -> Self {
        let memory = super::windows::process_memory(pid);
        Self {
            cpu_ns: super::windows::process_cpu_ns(pid),
            rss_bytes: memory.map(|(now, _)| now),
            peak_rss_bytes: memory.map(|(_, peak)| peak),
            ..Self::default()
        }
    }

    /// Any process: CPU time and memory, which sysinfo knows everywhere.
    #[cfg(not(any(windows, target_os = "linux")))]
    pub(crate) fn of_pid(pid: u32) -> Self {
        use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System};

        let usage = Self::from_files(&LiveFiles, pid);
        let pid = Pid::from_u32(pid);
        let mut system = System::new();
        let wanted = ProcessRefreshKind::nothing().with_cpu().with_memory();
        system.refresh_processes_specifics(ProcessesToUpdate::Some(&[pid]), true, wanted);
        let Some(process) = system.process(pid) else {
            return usage;
        };
        Self {
            cpu_ns: process.accumulated_cpu_time().checked_mul(1_000_000),
            rss_bytes: Some(process.memory()),
            ..usage
        }
    }

    #[cfg_attr(windows, allow(dead_code))]
    fn from_files(files: &impl MachineFiles, pid: u32) -> Self {
        let folder = format!("/proc/{pid}");
        let stat = files.read(&format!("{folder}/stat"));
        let stat = stat.and_then(|text| ProcessStat::parse(&text));
        let status = files.read(&format!("{folder}/status")).unwrap_or_default();
        let (rss_bytes, peak_rss_bytes) = resident_bytes(&status);
        // The process's own status file has the main thread's switches only.
        let threads = files.list(&format!("{folder}/task"));
        let switches = threads.iter().filter_map(|thread| {
            context_switches(&files.read(&format!("{folder}/task/{thread}/status"))?)
        });
        let switches = switches.reduce(|a, b| (a.0.saturating_add(b.0), a.1.saturating_add(b.1)));
        let ticks = stat.map(|stat| stat.cpu_ticks);
        Self {
            cpu_ns: ticks
                .zip(tick_ns())
                .and_then(|(ticks, tick)| ticks.checked_mul(tick)),
            voluntary_switches: switches.map(|(voluntary, _)| voluntary),
            involuntary_switches: switches.map(|(_, involuntary)| involuntary),
            minor_faults: stat.map(|stat| stat.minor_faults),
            major_faults: stat.map(|stat| stat.major_faults),
            rss_bytes,
            peak_rss_bytes,
        }
    }
}

/// Voluntary and involuntary context switches of this process, ended threads included.
#[cfg(target_os = "linux")]
fn own_switches() -> Option<(u64, u64)> {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::uninit();
    // SAFETY: `usage` is large enough for what the call writes.
    if unsafe { libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr()) } != 0 {
        return None;
    }
    // SAFETY: the call succeeded, so it has filled the whole struct.
    let usage = unsafe { usage.assume_init() };
    Some((
        u64::try_from(usage.ru_nvcsw).ok()?,
        u64::try_from(usage.ru_nivcsw).ok()?,
    ))
}

#[cfg(not(target_os = "linux"))]
fn own_switches() -> Option<(u64, u64)> {
    None
}

/// CPU time of a whole process in nanoseconds, from its CPU clock (clock_getcpuclockid(3)).
#[cfg(target_os = "linux")]
pub(crate) fn cpu_ns(pid: u32) -> Option<u64> {
    let pid = libc::pid_t::try_from(pid).ok()?;
    let mut clock: libc::clockid_t = 0;
    // SAFETY: `clock` is a valid place for the answer.
    if unsafe { libc::clock_getcpuclockid(pid, &mut clock) } != 0 {
        return None;
    }
    clock_ns(clock)
}

#[cfg(windows)]
pub(crate) use super::windows::{process_cpu_ns as cpu_ns, thread_cpu_ns};

#[cfg(not(any(windows, target_os = "linux")))]
pub(crate) fn cpu_ns(pid: u32) -> Option<u64> {
    ProcessUsage::of_pid(pid).cpu_ns
}

#[cfg(target_os = "linux")]
pub(crate) fn thread_cpu_ns() -> Option<u64> {
    clock_ns(libc::CLOCK_THREAD_CPUTIME_ID)
}

#[cfg(not(any(windows, target_os = "linux")))]
pub(crate) fn thread_cpu_ns() -> Option<u64> {
    None
}

#[cfg(target_os = "linux")]
fn clock_ns(clock: libc::clockid_t) -> Option<u64> {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is a valid place for the answer.
    if unsafe { libc::clock_gettime(clock, &mut time) } != 0 {
        return None;
    }
    let seconds = u64::try_from(time.tv_sec).ok()?;
    let nanoseconds = u64::try_from(time.tv_nsec).ok()?;
    seconds.checked_mul(1_000_000_000)?.checked_add(nanoseconds)
}

#[cfg(test)]
mod tests {
    use super::super::files::{FakeFiles, listed};
    use super::*;

    #[test]
    fn switches_add_up_over_threads() {
        let usage = ProcessUsage::from_files(
            &FakeFiles(&listed(
                r"/proc/7/stat 7 (x) S 1 7 7 0 -1 0 98 5 3 4 250 50 1 2 20 0
             /proc/7/status VmHWM: 3 kB\nVmRSS: 2 kB\nvoluntary_ctxt_switches: 1\nnonvoluntary_ctxt_switches: 2
             /proc/7/task/7/status voluntary_ctxt_switches: 1\nnonvoluntary_ctxt_switches: 2
             /proc/7/task/8/status voluntary_ctxt_switches: 10\nnonvoluntary_ctxt_switches: 20",
            )),
            7,
        );
        assert_eq!(
            (usage.voluntary_switches, usage.involuntary_switches),
            (Some(11), Some(22))
        );
        assert_eq!(
            (usage.minor_faults, usage.major_faults),
            (Some(98), Some(3))
        );
        assert_eq!(
            (usage.rss_bytes, usage.peak_rss_bytes),
            (Some(2048), Some(3072))
        );
        assert_eq!(usage.cpu_ns, tick_ns().map(|tick| 300 * tick));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn threads_count_towards_the_process() {
        let before = ProcessUsage::of_self();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let sum = (0..20_000_000u64).fold(0, |sum, n| sum ^ std::hint::black_box(n));
                std::hint::black_box(sum);
            });
        });
        let after = ProcessUsage::of_self();
        assert!(after.cpu_ns > before.cpu_ns);
        assert!(after.voluntary_switches > before.voluntary_switches);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_thread_has_spent_no_more_than_its_process() {
        let thread = thread_cpu_ns().expect("Linux has the clock");
        let process = cpu_ns(std::process::id()).expect("Linux has the clock");
        assert!(thread <= process);
    }
}
