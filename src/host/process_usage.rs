//! Counters of one process: CPU time, context switches, page faults, memory.

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

#[cfg(target_os = "linux")]
impl ProcessUsage {
    /// This process. `getrusage` counts the switches of threads that have ended, too.
    pub(crate) fn of_self() -> Self {
        let mut usage = Self::of_pid(std::process::id());
        let mut raw = std::mem::MaybeUninit::<libc::rusage>::uninit();
        // SAFETY: `raw` is large enough for what the call writes.
        if unsafe { libc::getrusage(libc::RUSAGE_SELF, raw.as_mut_ptr()) } == 0 {
            // SAFETY: the call succeeded, so it has filled the whole struct.
            let raw = unsafe { raw.assume_init() };
            usage.voluntary_switches = u64::try_from(raw.ru_nvcsw).ok();
            usage.involuntary_switches = u64::try_from(raw.ru_nivcsw).ok();
        }
        usage
    }

    /// Any process. Context switches are those of the threads that still live.
    pub(crate) fn of_pid(pid: u32) -> Self {
        use super::files::{Files, LiveFiles};
        use super::procfs::{ProcessStat, context_switches, resident_bytes};

        let files = &LiveFiles;
        let folder = format!("/proc/{pid}");
        let stat = files
            .read(&format!("{folder}/stat"))
            .and_then(|text| ProcessStat::parse(&text));
        let status = files.read(&format!("{folder}/status")).unwrap_or_default();
        let (rss_bytes, peak_rss_bytes) = resident_bytes(&status);
        // The process's own status file has the main thread's switches only.
        let threads = files.list(&format!("{folder}/task"));
        let switches = threads.iter().filter_map(|thread| {
            context_switches(&files.read(&format!("{folder}/task/{thread}/status"))?)
        });
        let switches = switches.reduce(|a, b| (a.0.saturating_add(b.0), a.1.saturating_add(b.1)));
        Self {
            cpu_ns: cpu_ns(pid).or_else(|| {
                let ticks = stat?.cpu_ticks;
                ticks.checked_mul(super::usage::tick_ns()?)
            }),
            voluntary_switches: switches.map(|(voluntary, _)| voluntary),
            involuntary_switches: switches.map(|(_, involuntary)| involuntary),
            minor_faults: stat.map(|stat| stat.minor_faults),
            major_faults: stat.map(|stat| stat.major_faults),
            rss_bytes,
            peak_rss_bytes,
        }
    }
}

#[cfg(not(target_os = "linux"))]
impl ProcessUsage {
    /// This process.
    pub(crate) fn of_self() -> Self {
        Self::of_pid(std::process::id())
    }

    /// Any process: what sysinfo knows everywhere.
    pub(crate) fn of_pid(pid: u32) -> Self {
        use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System};

        let pid = Pid::from_u32(pid);
        let mut system = System::new();
        let wanted = ProcessRefreshKind::nothing().with_cpu().with_memory();
        system.refresh_processes_specifics(ProcessesToUpdate::Some(&[pid]), true, wanted);
        let Some(process) = system.process(pid) else {
            return Self::default();
        };
        Self {
            cpu_ns: process.accumulated_cpu_time().checked_mul(1_000_000),
            rss_bytes: Some(process.memory()),
            ..Self::default()
        }
    }
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

/// CPU time of a whole process in nanoseconds.
#[cfg(not(target_os = "linux"))]
pub(crate) fn cpu_ns(pid: u32) -> Option<u64> {
    ProcessUsage::of_pid(pid).cpu_ns
}

/// CPU time of the calling thread.
#[cfg(target_os = "linux")]
pub(crate) fn thread_cpu_ns() -> Option<u64> {
    clock_ns(libc::CLOCK_THREAD_CPUTIME_ID)
}

/// CPU time of the calling thread.
#[cfg(not(target_os = "linux"))]
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

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

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

    #[test]
    fn a_thread_has_spent_no_more_than_its_process() {
        let thread = thread_cpu_ns().expect("Linux has the clock");
        let process = cpu_ns(std::process::id()).expect("Linux has the clock");
        assert!(thread <= process);
    }
}
