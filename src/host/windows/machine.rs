//! The machine: processors, time, power.

use windows_sys::Win32::Foundation::{FILETIME, LocalFree};
use windows_sys::Win32::System::Power::{
    CallNtPowerInformation, GetSystemPowerStatus, PROCESSOR_POWER_INFORMATION,
    PowerGetActiveScheme, ProcessorInformation, SYSTEM_POWER_STATUS,
};
use windows_sys::Win32::System::Registry::{HKEY_LOCAL_MACHINE, RRF_RT_REG_SZ, RegGetValueW};
use windows_sys::Win32::System::SystemInformation::{
    GetLogicalProcessorInformationEx, GetSystemInfo, GetSystemTimeAdjustment, RelationAll,
    SYSTEM_INFO,
};
use windows_sys::Win32::System::Threading::{
    GetActiveProcessorGroupCount, GetCurrentProcess, GetCurrentThread, GetProcessAffinityMask,
    GetSystemTimes, SetThreadAffinityMask,
};
use windows_sys::core::GUID;

use super::super::procfs::MachineTicks;
use super::super::topology::Topology;
use super::process::hundred_ns;

/// Vendor and product that the firmware names, as Windows keeps them. (Reading the firmware's own tables through sysinfo ends the program where
/// they are incomplete, as Wine's are.)
pub(crate) fn product() -> Option<String> {
    let parts = ["SystemManufacturer", "SystemProductName"];
    let parts = parts.map(|name| registry_text(r"HARDWARE\DESCRIPTION\System\BIOS", name));
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join(" "))
}

/// A text below `HKEY_LOCAL_MACHINE`, if there is one that is not blank.
fn registry_text(key: &str, name: &str) -> Option<String> {
    let wide = |text: &str| text.encode_utf16().chain([0]).collect::<Vec<u16>>();
    let (key, name) = (wide(key), wide(name));
    let mut text = [0u16; 256];
    let mut bytes = u32::try_from(size_of_val(&text)).ok()?;
    // SAFETY: the names end with 0, and the buffer has the bytes that are named.
    let error = unsafe {
        RegGetValueW(
            HKEY_LOCAL_MACHINE,
            key.as_ptr(),
            name.as_ptr(),
            RRF_RT_REG_SZ,
            std::ptr::null_mut(),
            text.as_mut_ptr().cast(),
            &raw mut bytes,
        )
    };
    let text = text.split(|unit| *unit == 0).next()?;
    let text = String::from_utf16_lossy(text).trim().to_owned();
    Some(text).filter(|text| error == 0 && !text.is_empty())
}

pub(crate) fn page_bytes() -> Option<u64> {
    let mut info = SYSTEM_INFO::default();
    // SAFETY: the call fills the structure, which lives through it.
    unsafe { GetSystemInfo(&raw mut info) };
    Some(info.dwPageSize.into()).filter(|bytes| *bytes > 0)
}

/// How often Windows adds up CPU time: the period of its clock, as a rule 15.625 ms.
pub(crate) fn tick_ns() -> Option<u64> {
    let (mut adjustment, mut increment, mut is_off) = (0, 0, 0);
    // SAFETY: the three places live through the call.
    let is_known = unsafe {
        GetSystemTimeAdjustment(&raw mut adjustment, &raw mut increment, &raw mut is_off)
    };
    (is_known != 0 && increment > 0).then(|| u64::from(increment) * 100)
}

/// CPU time of all processors in ticks of [`tick_ns`].
pub(crate) fn machine_ticks() -> Option<MachineTicks> {
    let [mut idle, mut kernel, mut user] = [FILETIME::default(); 3];
    // SAFETY: the three places live through the call.
    if unsafe { GetSystemTimes(&raw mut idle, &raw mut kernel, &raw mut user) } == 0 {
        return None;
    }
    let tick = tick_ns()? / 100;
    let [idle, kernel, user] = [idle, kernel, user].map(hundred_ns);
    // The kernel's time has that of being idle in it.
    let busy = kernel.checked_sub(idle)?.checked_add(user)?;
    Some(MachineTicks {
        busy: busy / tick,
        idle: idle / tick,
        steal: 0,
    })
}

pub(crate) fn topology() -> Option<Topology> {
    let mut bytes = 0u32;
    // SAFETY: without a buffer the call only says how long one must be.
    unsafe { GetLogicalProcessorInformationEx(RelationAll, std::ptr::null_mut(), &raw mut bytes) };
    // Words, so that the structures lie as they must.
    let mut buffer = vec![0u64; (bytes as usize).div_ceil(8)];
    // SAFETY: the buffer has at least the bytes that are named.
    let is_filled = unsafe {
        GetLogicalProcessorInformationEx(RelationAll, buffer.as_mut_ptr().cast(), &raw mut bytes)
    };
    if is_filled == 0 {
        return None;
    }
    let all: Vec<u8> = buffer.iter().flat_map(|word| word.to_ne_bytes()).collect();
    Topology::parse(all.get(..bytes as usize)?)
}

/// Processors that this process may run on. `None` where there are several groups of them, for which one mask does not say it.
pub(crate) fn affinity() -> Option<Vec<u32>> {
    // SAFETY: the call takes nothing.
    if unsafe { GetActiveProcessorGroupCount() } != 1 {
        return None;
    }
    let (mut own, mut all) = (0usize, 0usize);
    // SAFETY: the handle stands for this process, and the two places live through the call.
    let is_known =
        unsafe { GetProcessAffinityMask(GetCurrentProcess(), &raw mut own, &raw mut all) };
    let cpus = (0..usize::BITS).filter(|cpu| own >> cpu & 1 == 1);
    (is_known != 0).then(|| cpus.collect())
}

/// Has this thread run on one processor only. `None` where it may not, or where there are several groups of processors.
pub(crate) fn bind_to(cpu: u32) -> Option<()> {
    // SAFETY: the call takes nothing.
    if unsafe { GetActiveProcessorGroupCount() } != 1 {
        return None;
    }
    let mask = 1usize.checked_shl(cpu)?;
    // SAFETY: the handle stands for the thread that asks.
    (unsafe { SetThreadAffinityMask(GetCurrentThread(), mask) } != 0).then_some(())
}

/// Whether the machine runs on its battery. `None`: Windows does not know.
pub(crate) fn on_battery() -> Option<bool> {
    const NO_BATTERY: u8 = 128;
    const UNKNOWN: u8 = 255;
    let mut status = SYSTEM_POWER_STATUS::default();
    // SAFETY: the call fills the structure, which lives through it.
    let is_known = unsafe { GetSystemPowerStatus(&raw mut status) } != 0;
    if !is_known || status.BatteryFlag == UNKNOWN {
        return None;
    }
    match (status.BatteryFlag & NO_BATTERY, status.ACLineStatus) {
        (0, 0) => Some(true),
        (_, 1) => Some(false),
        _ => None,
    }
}

/// Clocks of the first processor that Windows names, hertz: what it is made for, and now. Above the first number is turbo, which this
/// does not show.
pub(crate) fn clocks_hz() -> Option<(u64, u64)> {
    let mut info = SYSTEM_INFO::default();
    // SAFETY: the call fills the structure, which lives through it.
    unsafe { GetSystemInfo(&raw mut info) };
    let n = info.dwNumberOfProcessors.max(1) as usize;
    let mut all = vec![PROCESSOR_POWER_INFORMATION::default(); n];
    // SAFETY: the buffer has as many structures as the call asks for, one a processor of this group.
    let status = unsafe {
        CallNtPowerInformation(
            ProcessorInformation,
            std::ptr::null(),
            0,
            all.as_mut_ptr().cast(),
            size_of_val(all.as_slice()) as u32,
        )
    };
    let first = all.first().filter(|p| status == 0 && p.MaxMhz > 0)?;
    let hz = |mhz: u32| u64::from(mhz) * 1_000_000;
    Some((hz(first.MaxMhz), hz(first.CurrentMhz)))
}

/// Windows' own power plans; others are not named.
pub(crate) fn power_plan() -> Option<&'static str> {
    let mut scheme: *mut GUID = std::ptr::null_mut();
    // SAFETY: the call gives a pointer to memory that is the caller's to free.
    let status = unsafe { PowerGetActiveScheme(std::ptr::null_mut(), &raw mut scheme) };
    if status != 0 || scheme.is_null() {
        return None;
    }
    // SAFETY: the call succeeded, so the pointer is to an identifier, which is freed once it is read.
    let first = unsafe {
        let first = (*scheme).data1;
        LocalFree(scheme.cast());
        first
    };
    Some(match first {
        0xa184_1308 => "power saver",
        0x381b_4222 => "balanced",
        0x8c5e_7fda => "high performance",
        0xe9a4_2b02 => "ultimate performance",
        _ => "a plan of its own",
    })
}
