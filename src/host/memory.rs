//! Memory and disk: how much there is, and how much this process may still take.

use serde::{Deserialize, Serialize};

use super::cgroup::Cgroup;
use super::files::{LiveFiles, MachineFiles, kib_value_bytes};

/// The machine's memory. `None`: could not be read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Memory {
    /// Physical memory that the kernel manages.
    pub total_bytes: Option<u64>,
    /// What this process could take now without swapping, see [`available_memory_bytes`].
    pub available_bytes: Option<u64>,
    pub swap_total_bytes: Option<u64>,
    pub swap_used_bytes: Option<u64>,
    /// Mode of transparent huge pages: `always`, `madvise` or `never`.
    pub huge_pages: Option<String>,
    pub page_bytes: Option<u64>,
}

impl Memory {
    pub(crate) fn probe(files: &impl MachineFiles) -> Self {
        let meminfo = files.read("/proc/meminfo").unwrap_or_default();
        let total = kib_value_bytes(&meminfo, "MemTotal");
        if total.is_none() {
            return Self::from_sysinfo();
        }
        let swap_total = kib_value_bytes(&meminfo, "SwapTotal");
        let swap_free = kib_value_bytes(&meminfo, "SwapFree");
        Self {
            total_bytes: total,
            available_bytes: available_bytes(files),
            swap_total_bytes: swap_total,
            swap_used_bytes: swap_total
                .zip(swap_free)
                .and_then(|(all, free)| all.checked_sub(free)),
            huge_pages: files
                .read("/sys/kernel/mm/transparent_hugepage/enabled")
                .and_then(|text| bracketed(&text)),
            page_bytes: page_bytes(),
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn from_sysinfo() -> Self {
        let mut system = sysinfo::System::new();
        system.refresh_memory();
        Self {
            total_bytes: Some(system.total_memory()).filter(|bytes| *bytes > 0),
            available_bytes: Some(system.available_memory()).filter(|bytes| *bytes > 0),
            swap_total_bytes: Some(system.total_swap()),
            swap_used_bytes: Some(system.used_swap()),
            huge_pages: None,
            page_bytes: page_bytes(),
        }
    }

    #[cfg(target_os = "linux")]
    fn from_sysinfo() -> Self {
        Self {
            page_bytes: page_bytes(),
            ..Self::default()
        }
    }
}

/// Bytes this process could take now without swapping and without meeting a container's limit:
/// the smallest of the kernel's `MemAvailable`, the headroom of the cgroups above the process, and what its own limit of
/// addresses (`ulimit -v`) leaves.
/// Outside Linux, what the operating system calls available. `None`: unknown.
pub fn available_memory_bytes() -> Option<u64> {
    Memory::probe(&LiveFiles).available_bytes
}

fn available_bytes(files: &impl MachineFiles) -> Option<u64> {
    let meminfo = files.read("/proc/meminfo")?;
    let machine = kib_value_bytes(&meminfo, "MemAvailable");
    let container =
        Cgroup::find(files, "memory").and_then(|cgroup| cgroup.memory_headroom_bytes(files));
    let addresses = address_headroom_bytes(files);
    machine.into_iter().chain(container).chain(addresses).min()
}

/// What `ulimit -v` leaves to this process; none without such a limit.
fn address_headroom_bytes(files: &impl MachineFiles) -> Option<u64> {
    let limits = files.read("/proc/self/limits")?;
    let line = limits
        .lines()
        .find_map(|l| l.strip_prefix("Max address space"))?;
    let limit: u64 = line.split_whitespace().next()?.parse().ok()?;
    let taken = kib_value_bytes(&files.read("/proc/self/status")?, "VmSize")?;
    Some(limit.saturating_sub(taken))
}

/// The chosen word of a kernel setting such as `always [madvise] never`.
fn bracketed(text: &str) -> Option<String> {
    let (_, rest) = text.split_once('[')?;
    Some(rest.split_once(']')?.0.to_owned())
}

#[cfg(unix)]
pub(crate) fn page_bytes() -> Option<u64> {
    // SAFETY: sysconf takes no pointers and may be called at any time.
    let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    u64::try_from(bytes).ok().filter(|bytes| *bytes > 0)
}

#[cfg(windows)]
pub(crate) use super::windows::page_bytes;

#[cfg(test)]
mod tests {
    use super::super::files::FakeFiles;
    use super::*;

    const MEMINFO: &str = "MemTotal:       16000000 kB\nMemFree:          100 kB\n\
        MemAvailable:   8000000 kB\nSwapTotal:       2000 kB\nSwapFree:        1500 kB\n";

    #[test]
    fn a_limit_of_addresses_is_what_is_available() {
        let limits = |limit: &str| {
            let line =
                format!("Max address space         {limit}            unlimited            bytes");
            let texts = [
                ("/proc/meminfo", MEMINFO),
                ("/proc/self/limits", line.as_str()),
                ("/proc/self/status", "VmSize:\t   50000 kB"),
            ];
            Memory::probe(&FakeFiles(&texts)).available_bytes
        };
        assert_eq!(limits("unlimited"), Some(8_000_000 << 10));
        assert_eq!(limits("204800000"), Some(204_800_000 - (50_000 << 10)));
        assert_eq!(limits("1000"), Some(0));
    }

    #[test]
    fn reads_meminfo_and_the_huge_page_mode() {
        let memory = Memory::probe(&FakeFiles(&[
            ("/proc/meminfo", MEMINFO),
            (
                "/sys/kernel/mm/transparent_hugepage/enabled",
                "always [madvise] never",
            ),
        ]));
        assert_eq!(memory.total_bytes, Some(16_000_000 * 1024));
        assert_eq!(memory.available_bytes, Some(8_000_000 * 1024));
        assert_eq!(memory.swap_total_bytes, Some(2000 * 1024));
        assert_eq!(memory.swap_used_bytes, Some(500 * 1024));
        assert_eq!(memory.huge_pages.as_deref(), Some("madvise"));
    }

    #[test]
    fn a_container_limit_caps_what_is_available() {
        let files = FakeFiles(&[
            ("/proc/meminfo", MEMINFO),
            ("/proc/self/cgroup", "0::/"),
            (
                "/proc/self/mountinfo",
                "30 24 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw",
            ),
            ("/sys/fs/cgroup/memory.max", "1073741824"),
            ("/sys/fs/cgroup/memory.current", "73741824"),
        ]);
        assert_eq!(available_bytes(&files), Some(1_000_000_000));
    }

    #[test]
    fn an_old_kernel_without_the_estimate_is_unknown() {
        assert_eq!(
            available_bytes(&FakeFiles(&[("/proc/meminfo", "MemTotal: 5 kB")])),
            None
        );
        assert_eq!(available_bytes(&FakeFiles(&[])), None);
    }

    #[test]
    fn this_machine_has_memory() {
        let available = available_memory_bytes().expect("every supported system says");
        let total = Memory::probe(&LiveFiles)
            .total_bytes
            .expect("every supported system says");
        assert!(0 < available && available <= total);
    }
}
