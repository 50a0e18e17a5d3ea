//! Time and memory of processes, and how this one ends.

use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};

use windows_sys::Win32::Foundation::{FILETIME, HANDLE};
use windows_sys::Win32::System::Diagnostics::Debug::{
    SEM_FAILCRITICALERRORS, SEM_NOGPFAULTERRORBOX, SetErrorMode,
};
use windows_sys::Win32::System::ProcessStatus::{
    K32GetProcessMemoryInfo, PROCESS_MEMORY_COUNTERS_EX,
};
use windows_sys::Win32::System::Threading::{
    GetCurrentProcess, GetCurrentThread, GetProcessTimes, GetThreadTimes, OpenProcess,
    PROCESS_QUERY_LIMITED_INFORMATION, PROCESS_VM_READ, TerminateProcess,
};

/// User and system time of a process, nanoseconds. Windows adds it up at each tick of its clock, about every 16 ms.
pub(crate) fn process_cpu_ns(pid: u32) -> Option<u64> {
    let process = open(pid, PROCESS_QUERY_LIMITED_INFORMATION)?;
    cpu_ns(|times| {
        let [created, ended, kernel, user] = times;
        // SAFETY: the handle is open, and the four places live through the call.
        unsafe { GetProcessTimes(process.as_raw_handle(), created, ended, kernel, user) }
    })
}

/// The same of the thread that asks.
pub(crate) fn thread_cpu_ns() -> Option<u64> {
    cpu_ns(|times| {
        let [created, ended, kernel, user] = times;
        // SAFETY: the handle stands for the thread that asks, and the four places live through the call.
        unsafe { GetThreadTimes(GetCurrentThread(), created, ended, kernel, user) }
    })
}

/// Memory that a process has in RAM, and the most that it had, bytes.
pub(crate) fn process_memory(pid: u32) -> Option<(u64, u64)> {
    let process = open(pid, PROCESS_QUERY_LIMITED_INFORMATION | PROCESS_VM_READ)?;
    let counters = memory_counters(process.as_raw_handle())?;
    Some((
        counters.WorkingSetSize as u64,
        counters.PeakWorkingSetSize as u64,
    ))
}

pub(super) fn memory_counters(process: HANDLE) -> Option<PROCESS_MEMORY_COUNTERS_EX> {
    let mut counters = PROCESS_MEMORY_COUNTERS_EX::default();
    let size = size_of_val(&counters) as u32;
    // SAFETY: the call fills a structure of this size, which begins as the shorter one that its type names.
    let is_filled = unsafe { K32GetProcessMemoryInfo(process, (&raw mut counters).cast(), size) };
    (is_filled != 0).then_some(counters)
}

fn open(pid: u32, rights: u32) -> Option<OwnedHandle> {
    // SAFETY: the call takes numbers only.
    let handle = unsafe { OpenProcess(rights, 0, pid) };
    // SAFETY: the handle was opened by the call above, and nobody else has it.
    (!handle.is_null()).then(|| unsafe { OwnedHandle::from_raw_handle(handle) })
}

fn cpu_ns(read: impl FnOnce([&mut FILETIME; 4]) -> i32) -> Option<u64> {
    let [mut created, mut ended, mut kernel, mut user] = [FILETIME::default(); 4];
    if read([&mut created, &mut ended, &mut kernel, &mut user]) == 0 {
        return None;
    }
    hundred_ns(kernel)
        .checked_add(hundred_ns(user))?
        .checked_mul(100)
}

/// Windows counts time in steps of 100 ns.
pub(super) fn hundred_ns(time: FILETIME) -> u64 {
    u64::from(time.dwHighDateTime) << 32 | u64::from(time.dwLowDateTime)
}

/// Ends this process without the libraries' own endings.
pub(crate) fn leave_at_once(code: i32) -> ! {
    // SAFETY: the handle stands for this process, of which nothing runs after the call.
    unsafe { TerminateProcess(GetCurrentProcess(), code as u32) };
    // Ending oneself is always permitted.
    std::process::exit(code)
}

/// A crash of this process ends it at once, without a window that waits for a click.
pub(crate) fn crash_without_dialog() {
    // SAFETY: the call takes a number and sets a flag of this process.
    unsafe { SetErrorMode(SEM_FAILCRITICALERRORS | SEM_NOGPFAULTERRORBOX) };
}
