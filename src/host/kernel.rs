//! How the kernel and the container are set up, where it matters to a measurement.

use serde::{Deserialize, Serialize};

use super::cgroup::Cgroup;
use super::files::{LiveFiles, MachineFiles, space_value};

/// A limit that may exist, not exist, or not be readable: three answers, not two.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LimitState<T> {
    #[default]
    Unknown,
    /// Could be read, and there is none.
    Without,
    At(T),
}

/// Settings that change how fast or how steadily a program runs. `None`: could not be read.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct KernelSettings {
    /// How readily the kernel swaps programs out for file cache, 0 to 200 (`vm.swappiness`).
    pub swappiness: Option<u32>,
    /// What the clock is read from, as `tsc`.
    pub clock_source: Option<String>,
    /// Kind of hypervisor, as `KVM`, where it leaves a mark.
    pub hypervisor: Option<String>,
    pub cpu_quota_cores: LimitState<f64>,
    pub memory_limit_bytes: LimitState<u64>,
}

impl KernelSettings {
    #[cfg(not(windows))]
    pub fn probe() -> Self {
        Self::from_files(&LiveFiles)
    }

    #[cfg(windows)]
    pub fn probe() -> Self {
        Self {
            hypervisor: super::cpuid::CpuId::probe().and_then(|id| id.hypervisor_kind()),
            ..Self::default()
        }
    }

    #[cfg_attr(windows, allow(dead_code))]
    pub(crate) fn from_files(files: &impl MachineFiles) -> Self {
        let cpu = Cgroup::find(files, "cpu");
        let memory = Cgroup::find(files, "memory");
        Self {
            swappiness: files.number("/proc/sys/vm/swappiness"),
            clock_source: clock_sources(files, "current").into_iter().next(),
            hypervisor: hypervisor(files),
            cpu_quota_cores: cpu.map_or(LimitState::Unknown, |c| c.cpu_limit(files)),
            memory_limit_bytes: memory.map_or(LimitState::Unknown, |c| c.memory_limit(files)),
        }
    }
}

/// Context switches of the whole machine since it started.
pub fn context_switches() -> Option<u64> {
    space_value(&LiveFiles.read("/proc/stat")?, "ctxt")
}

fn clock_sources(files: &impl MachineFiles, which: &str) -> Vec<String> {
    let path = format!("/sys/devices/system/clocksource/clocksource0/{which}_clocksource");
    let text = files.read(&path).unwrap_or_default();
    text.split_whitespace().map(str::to_owned).collect()
}

/// By Xen's own file, else by the clock that a hypervisor offers its guests
/// (Documentation/ABI/stable/sysfs-hypervisor-xen; arch/x86/kernel/kvmclock.c; drivers/clocksource/hyperv_timer.c).
fn hypervisor(files: &impl MachineFiles) -> Option<String> {
    if let Some(kind) = files.read("/sys/hypervisor/type").filter(|k| !k.is_empty()) {
        return Some(kind);
    }
    let clocks = clock_sources(files, "available");
    let marks = [
        ("kvm-clock", "KVM"),
        ("hyperv_clocksource", "Hyper-V"),
        ("xen", "Xen"),
    ];
    let found = marks
        .iter()
        .find(|(mark, _)| clocks.iter().any(|clock| clock.starts_with(mark)));
    found.map(|(_, kind)| (*kind).to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::files::FakeFiles;
    use super::*;

    const CLOCKS: &str = "/sys/devices/system/clocksource/clocksource0/available_clocksource";

    #[test]
    fn a_guest_in_a_container() {
        let settings = KernelSettings::from_files(&FakeFiles(&[
            ("/proc/sys/vm/swappiness", "60"),
            (CLOCKS, "tsc kvm-clock acpi_pm"),
            (
                "/sys/devices/system/clocksource/clocksource0/current_clocksource",
                "tsc",
            ),
            ("/proc/self/cgroup", "0::/a"),
            (
                "/proc/self/mountinfo",
                "30 24 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw",
            ),
            ("/sys/fs/cgroup/a/cgroup.controllers", "cpu memory"),
            ("/sys/fs/cgroup/a/cpu.max", "max 100000"),
            ("/sys/fs/cgroup/a/memory.max", "1000"),
            ("/sys/fs/cgroup/memory.max", "900"),
        ]));
        assert_eq!(settings.swappiness, Some(60));
        assert_eq!(settings.clock_source.as_deref(), Some("tsc"));
        assert_eq!(settings.hypervisor.as_deref(), Some("KVM"));
        assert_eq!(settings.cpu_quota_cores, LimitState::Without);
        assert_eq!(settings.memory_limit_bytes, LimitState::At(900));
    }

    #[test]
    fn no_limit_and_no_answer_are_two_things() {
        let v1 = |file: &'static str, text: &'static str| {
            let files = [
                ("/proc/self/cgroup", "3:cpu,cpuacct:/"),
                (
                    "/proc/self/mountinfo",
                    "32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu",
                ),
                ("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000"),
                (file, text),
            ];
            KernelSettings::from_files(&FakeFiles(&files)).cpu_quota_cores
        };
        assert_eq!(
            v1("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "150000"),
            LimitState::At(1.5)
        );
        assert_eq!(
            v1("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1"),
            LimitState::Without
        );
        assert_eq!(v1("/elsewhere", "-1"), LimitState::Unknown);
        assert_eq!(
            KernelSettings::from_files(&FakeFiles(&[])),
            KernelSettings::default()
        );
    }

    #[test]
    fn hypervisors_are_known_by_their_clocks() {
        let kind = |clocks| hypervisor(&FakeFiles(&[(CLOCKS, clocks)]));
        assert_eq!(
            kind("hyperv_clocksource_tsc_page tsc").as_deref(),
            Some("Hyper-V")
        );
        assert_eq!(kind("xen tsc").as_deref(), Some("Xen"));
        assert_eq!(kind("tsc hpet acpi_pm"), None);
        let xen = [("/sys/hypervisor/type", "xen"), (CLOCKS, "tsc")];
        assert_eq!(hypervisor(&FakeFiles(&xen)).as_deref(), Some("xen"));
    }
}
