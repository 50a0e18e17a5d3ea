//! What a worker process does to itself, and how its end is read.

use std::io;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use super::cgroup::Cgroup;
#[cfg(target_os = "linux")]
use super::files::kib_value_bytes;
use super::files::{LiveFiles, MachineFiles, space_value};
use super::process_usage::cpu_ns;

/// Makes this process the first that the kernel ends when memory runs out, so that the supervisor
/// and the user's other programs live on (proc(5), `oom_score_adj`). Does nothing outside Linux.
pub fn lower_oom_priority_of_self() -> io::Result<()> {
    #[cfg(target_os = "linux")]
    std::fs::write("/proc/self/oom_score_adj", "1000")?;
    Ok(())
}

/// Has a crash of this process end it at once. Only Windows would show a window first, and wait for a click.
pub fn crash_without_dialog() {
    #[cfg(windows)]
    super::windows::crash_without_dialog();
}

/// Lets this process take `bytes` more of memory for data than it has now; asking for more then fails (setrlimit(2),
/// `RLIMIT_DATA`; on Windows a job's limit of memory). Does nothing on other systems.
pub fn limit_memory_of_self(bytes: u64) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        let status = std::fs::read_to_string("/proc/self/status")?;
        let held = kib_value_bytes(&status, "VmData").ok_or(io::ErrorKind::InvalidData)?;
        let limit = held.saturating_add(bytes);
        let limit = libc::rlimit {
            rlim_cur: limit,
            rlim_max: limit,
        };
        // SAFETY: the call reads the structure, which lives through it.
        if unsafe { libc::setrlimit(libc::RLIMIT_DATA, &raw const limit) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    #[cfg(windows)]
    super::windows::limit_memory_of_self(bytes)?;
    // Unused elsewhere.
    let _ = bytes;
    Ok(())
}

/// Ends the process without running destructors: another thread may be in the middle of the engine, whose
/// global state they would take away.
pub fn leave_at_once(code: i32) -> ! {
    #[cfg(unix)]
    // SAFETY: `_exit` takes any number and does not return; nothing of this process is used after it.
    unsafe {
        libc::_exit(code)
    }
    #[cfg(windows)]
    super::windows::leave_at_once(code)
}

/// Has the kernel kill this process when its parent ends (prctl(2), `PR_SET_PDEATHSIG`). Does nothing outside Linux: on Windows its
/// [`ProcessGroup`] does, elsewhere a worker must notice the end of its pipe.
///
/// "Parent" means the *thread* that started this process: a supervisor must start its workers from
/// a thread that lives as long as they do. A parent that was gone before this call is not noticed.
pub fn die_with_parent() -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        // SAFETY: this option takes a signal number and touches no memory of ours.
        let result = unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as libc::c_ulong) };
        if result != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Has the kernel kill a command's process when the thread that starts it ends ([`die_with_parent`]).
#[cfg(unix)]
pub fn end_with_parent(command: &mut Command) {
    use std::os::unix::process::CommandExt;
    // SAFETY: the function only makes a system call, which a forked child may do.
    unsafe { command.pre_exec(die_with_parent) };
}

/// A child process and all that it starts, which can be ended together. On Windows they end with this value, and with this program.
#[derive(Debug)]
pub struct ProcessGroup {
    #[cfg(unix)]
    leader: u32,
    /// None where the system made none: then only the child itself can be ended.
    #[cfg(windows)]
    job: Option<super::windows::JobObject>,
}

impl ProcessGroup {
    /// Has the child that will be started lead a group of its own: the terminal's Ctrl-C reaches this program alone.
    pub fn prepare(command: &mut Command) {
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(command, 0);
        #[cfg(windows)]
        {
            // A console of its own, without a window: neither Ctrl-C nor the window that closes is meant for it.
            const CREATE_NO_WINDOW: u32 = 0x0800_0000;
            std::os::windows::process::CommandExt::creation_flags(command, CREATE_NO_WINDOW);
        }
    }

    /// Of a child that was [prepared](Self::prepare), right after its start.
    pub fn of(child: &Child) -> Self {
        Self {
            #[cfg(unix)]
            leader: child.id(),
            #[cfg(windows)]
            job: super::windows::JobObject::of(child).ok(),
        }
    }

    /// Ends all of its processes, also when the child itself has ended already.
    pub fn kill(&self) {
        #[cfg(unix)]
        if let Ok(group) = i32::try_from(self.leader) {
            // SAFETY: the call takes two numbers and touches no memory of ours; a group that is gone is only an error.
            unsafe { libc::kill(-group, libc::SIGKILL) };
        }
        #[cfg(windows)]
        if let Some(job) = &self.job {
            job.kill();
        }
    }
}

/// Whether this process may do everything, as a browser's sandbox may not be left to. Always false outside Unix.
pub fn is_root() -> bool {
    #[cfg(unix)]
    // SAFETY: the call takes nothing, cannot fail and touches no memory of ours.
    let is_root = unsafe { libc::geteuid() } == 0;
    #[cfg(not(unix))]
    let is_root = false;
    is_root
}

/// Lets the processes that this one starts keep a file open, and with it a lock on it. Does nothing outside Unix, where a lock is that
/// of a process.
pub fn leave_open_for_children(file: &std::fs::File) -> io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::fd::AsRawFd;
        // SAFETY: the call takes numbers and touches no memory of ours; the descriptor is open.
        if unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETFD, 0) } == -1 {
            return Err(io::Error::last_os_error());
        }
    }
    // Unused elsewhere.
    let _ = file;
    Ok(())
}

/// Asks a process to end in order. Does nothing outside Unix, where the console tells all of its processes.
pub fn ask_to_end(pid: u32) {
    #[cfg(unix)]
    if let Ok(pid) = i32::try_from(pid) {
        // SAFETY: the call takes two numbers and touches no memory of ours; a process that is gone is only an error.
        unsafe { libc::kill(pid, libc::SIGTERM) };
    }
    // Unused elsewhere.
    let _ = pid;
}

/// Whether there is a process of this number.
pub fn is_running(pid: u32) -> bool {
    use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System};

    let pid = Pid::from_u32(pid);
    let mut system = System::new();
    let nothing_more = ProcessRefreshKind::nothing();
    system.refresh_processes_specifics(ProcessesToUpdate::Some(&[pid]), true, nothing_more);
    system.process(pid).is_some()
}

/// Standard output for this program alone: from now on what a C library prints there goes nowhere. Outside Unix it goes on.
pub fn take_stdout() -> io::Result<Box<dyn io::Write>> {
    #[cfg(unix)]
    {
        use std::os::fd::AsFd;
        let own = io::stdout().as_fd().try_clone_to_owned()?;
        let nowhere = std::fs::File::options().write(true).open("/dev/null")?;
        replace_stdout(&nowhere)?;
        Ok(Box::new(std::fs::File::from(own)))
    }
    #[cfg(not(unix))]
    Ok(Box::new(io::stdout()))
}

#[cfg(unix)]
fn replace_stdout(by: &impl std::os::fd::AsRawFd) -> io::Result<()> {
    // SAFETY: both are open descriptors of this process; the old one is closed by the call itself.
    match unsafe { libc::dup2(by.as_raw_fd(), libc::STDOUT_FILENO) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Whether [`wait_until_idle`] can tell: elsewhere clocks of a process move in steps of milliseconds.
pub const CAN_WAIT_UNTIL_IDLE: bool = cfg!(target_os = "linux");

/// Waits until no other thread of this process computes, at most so long. Threads of OpenMP look for work for some milliseconds
/// before they fall asleep.
pub fn wait_until_idle(at_most: Duration) {
    const LOOK: Duration = Duration::from_micros(200);
    let own = std::process::id();
    let started = Instant::now();
    while started.elapsed() < at_most {
        let (cpu_ns, looked) = (cpu_ns(own), Instant::now());
        std::thread::sleep(LOOK);
        let used = self::cpu_ns(own)
            .zip(cpu_ns)
            .map(|(now, then)| now.saturating_sub(then));
        let is_idle = |used| Duration::from_nanos(used) < looked.elapsed() / 4;
        if used.is_none_or(is_idle) {
            return;
        }
    }
}

/// Threads that this process has now. `None` outside Linux.
pub fn thread_count_of_self() -> Option<u32> {
    let threads = std::fs::read_dir("/proc/self/task").ok()?;
    u32::try_from(threads.count()).ok()
}

/// How a process ended, in a few words: `SIGABRT`, `exit code 3`, `access violation (0xC0000005)`.
pub fn describe_exit(status: ExitStatus) -> String {
    #[cfg(unix)]
    {
        use std::os::unix::process::ExitStatusExt;
        if let Some(signal) = status.signal() {
            let name = signal_hook::low_level::signal_name(signal);
            let name = match name {
                Some("SIGILL") => "SIGILL (illegal instruction)".to_owned(),
                Some(name) => name.to_owned(),
                None => format!("signal {signal}"),
            };
            return match status.core_dumped() {
                true => format!("{name} (core dumped)"),
                false => name,
            };
        }
    }
    match status.code() {
        Some(code) => describe_code(code),
        None => "unknown end".to_owned(),
    }
}

/// Whether the process ended itself, by an exit or an abort, so that it may have said why.
pub fn ended_itself(status: ExitStatus) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::process::ExitStatusExt;
        if let Some(signal) = status.signal() {
            return signal == libc::SIGABRT;
        }
    }
    let is_crash = |code: i32| code < 0 && code as u32 != STATUS_STACK_BUFFER_OVERRUN;
    !status.success() && !status.code().is_some_and(is_crash)
}

/// Windows reports a crash as an exit code with the NTSTATUS of its exception, of which error codes are negative.
fn describe_code(code: i32) -> String {
    let status = code as u32;
    match nt_status_name(status) {
        Some(name) => format!("{name} (0x{status:08X})"),
        None if code < 0 => format!("exit code 0x{status:08X}"),
        // What `abort` of the C library `msvcrt.dll` ends with.
        None if cfg!(windows) && code == 3 => "abort (exit code 3)".to_owned(),
        None => format!("exit code {code}"),
    }
}

const STATUS_NO_MEMORY: u32 = 0xC000_0017;
const STATUS_COMMITMENT_LIMIT: u32 = 0xC000_012D;
/// Also what `abort` ends with where the C library is the newer one, and what Rust's does.
const STATUS_STACK_BUFFER_OVERRUN: u32 = 0xC000_0409;

/// From Microsoft's NTSTATUS table (MS-ERREF 2.3.1), in words.
fn nt_status_name(code: u32) -> Option<&'static str> {
    Some(match code {
        0x8000_0003 => "breakpoint",
        0xC000_0005 => "access violation",
        STATUS_NO_MEMORY => "no memory",
        0xC000_001D => "illegal instruction",
        0xC000_0094 => "division by zero",
        0xC000_00FD => "stack overflow",
        STATUS_COMMITMENT_LIMIT => "commitment limit",
        0xC000_0135 => "DLL not found",
        0xC000_013A => "Ctrl-C",
        0xC000_0374 => "heap corruption",
        STATUS_STACK_BUFFER_OVERRUN => "abort",
        _ => return None,
    })
}

/// Processes ended by the kernel's out-of-memory killer so far: those of this process's cgroup
/// where it counts them, else those of the whole machine. Read it before a worker starts and after
/// it ended. `None` outside Linux and on kernels before 4.13.
pub fn oom_kill_count() -> Option<u64> {
    oom_kills(&LiveFiles)
}

fn oom_kills(files: &impl MachineFiles) -> Option<u64> {
    let by_cgroup = Cgroup::find(files, "memory").and_then(|cgroup| cgroup.oom_kills(files));
    by_cgroup.or_else(|| space_value(&files.read("/proc/vmstat")?, "oom_kill"))
}

/// Whether a process was ended for want of memory, from how it ended and [`oom_kill_count`] before
/// and after it. `None`: it was killed, and the counts that would say why are missing.
pub fn is_memory_kill(status: ExitStatus, before: Option<u64>, after: Option<u64>) -> Option<bool> {
    #[cfg(unix)]
    {
        use std::os::unix::process::ExitStatusExt;
        if status.signal() == Some(libc::SIGKILL) {
            return Some(after? > before?);
        }
    }
    // Unused where no signals exist.
    let _ = (before, after);
    let code = status.code().map(|code| code as u32);
    Some(matches!(
        code,
        Some(STATUS_NO_MEMORY | STATUS_COMMITMENT_LIMIT)
    ))
}

#[cfg(test)]
mod tests {
    use super::super::files::FakeFiles;
    use super::*;

    #[test]
    fn codes_have_names_where_windows_gave_them() {
        assert_eq!(describe_code(0), "exit code 0");
        assert_eq!(describe_code(4), "exit code 4");
        assert_eq!(
            describe_code(0xC000_0005_u32 as i32),
            "access violation (0xC0000005)"
        );
        assert_eq!(
            describe_code(0xC000_0001_u32 as i32),
            "exit code 0xC0000001"
        );
    }

    #[cfg(unix)]
    #[test]
    fn ends_on_unix() {
        use std::os::unix::process::ExitStatusExt;
        let end = |raw| describe_exit(ExitStatus::from_raw(raw));
        // wait(2): the low byte is the signal, 0x80 marks a core dump, the second byte is the code.
        assert_eq!(end(libc::SIGABRT), "SIGABRT");
        assert_eq!(end(libc::SIGSEGV | 0x80), "SIGSEGV (core dumped)");
        assert_eq!(end(libc::SIGILL), "SIGILL (illegal instruction)");
        assert_eq!(end(64), "signal 64");
        assert_eq!(end(3 << 8), "exit code 3");
    }

    #[cfg(unix)]
    #[test]
    fn only_a_kill_that_was_counted_is_a_memory_kill() {
        use std::os::unix::process::ExitStatusExt;
        let killed = ExitStatus::from_raw(libc::SIGKILL);
        assert_eq!(is_memory_kill(killed, Some(4), Some(5)), Some(true));
        assert_eq!(is_memory_kill(killed, Some(4), Some(4)), Some(false));
        assert_eq!(is_memory_kill(killed, None, Some(4)), None);
        let aborted = ExitStatus::from_raw(libc::SIGABRT);
        assert_eq!(is_memory_kill(aborted, Some(4), Some(5)), Some(false));
    }

    #[test]
    fn the_cgroups_own_count_comes_before_the_machines() {
        let vmstat = ("/proc/vmstat", "pswpin 0\noom_kill 9");
        assert_eq!(oom_kills(&FakeFiles(&[vmstat])), Some(9));
        let files = FakeFiles(&[
            vmstat,
            ("/proc/self/cgroup", "0::/a"),
            (
                "/proc/self/mountinfo",
                "30 24 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw",
            ),
            (
                "/sys/fs/cgroup/a/memory.events",
                "oom 2\noom_kill 1\noom_group_kill 0",
            ),
        ]);
        assert_eq!(oom_kills(&files), Some(1));
        assert_eq!(oom_kills(&FakeFiles(&[])), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_child_can_offer_itself_to_the_kernel() {
        use std::os::unix::process::CommandExt;
        use std::process::Command;

        let mut child = Command::new("cat");
        child.arg("/proc/self/oom_score_adj");
        // SAFETY: both functions only make system calls, which a forked child may do.
        unsafe {
            child.pre_exec(|| {
                die_with_parent()?;
                lower_oom_priority_of_self()
            });
        }
        let output = child.output().expect("cat runs");
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "1000");
        assert_eq!(describe_exit(output.status), "exit code 0");
    }
}
