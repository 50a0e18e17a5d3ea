//! Literal machines for the processor's readers.

use super::cpu::*;
use super::files::{FakeFiles, listed};

const LAPTOP: &str = "processor\t: 0\nvendor_id\t: GenuineIntel\ncpu family\t: 6\nmodel\t\t: 154\n\
    model name\t: 12th Gen Intel(R) Core(TM) i7-1260P\nstepping\t: 3\ncpu MHz\t\t: 2500.000\n\
    flags\t\t: fpu pni ssse3 fma avx avx2 f16c bmi2 avx_vnni\n\n\
    processor\t: 1\nvendor_id\t: GenuineIntel\ncpu MHz\t\t: 1500.500\n";

/// Two threads of one performance core, and two efficiency cores that share their second-level cache.
const LAPTOP_FILES: &str = "
    /sys/devices/system/cpu/online 0-3
    /sys/devices/system/node/online 0
    /sys/devices/system/cpu/cpu0/topology/core_cpus_list 0-1
    /sys/devices/system/cpu/cpu1/topology/core_cpus_list 0-1
    /sys/devices/system/cpu/cpu2/topology/core_cpus_list 2
    /sys/devices/system/cpu/cpu3/topology/core_cpus_list 3
    /sys/devices/system/cpu/cpu0/topology/physical_package_id 0
    /sys/devices/system/cpu/cpu3/topology/physical_package_id 0
    /sys/devices/system/cpu/cpu0/cache/index0/level 1
    /sys/devices/system/cpu/cpu0/cache/index0/type Data
    /sys/devices/system/cpu/cpu0/cache/index0/size 48K
    /sys/devices/system/cpu/cpu0/cache/index0/shared_cpu_list 0-1
    /sys/devices/system/cpu/cpu1/cache/index0/level 1
    /sys/devices/system/cpu/cpu1/cache/index0/type Data
    /sys/devices/system/cpu/cpu1/cache/index0/size 48K
    /sys/devices/system/cpu/cpu1/cache/index0/shared_cpu_list 0-1
    /sys/devices/system/cpu/cpu2/cache/index0/level 1
    /sys/devices/system/cpu/cpu2/cache/index0/type Data
    /sys/devices/system/cpu/cpu2/cache/index0/size 32K
    /sys/devices/system/cpu/cpu2/cache/index0/shared_cpu_list 2
    /sys/devices/system/cpu/cpu3/cache/index0/level 1
    /sys/devices/system/cpu/cpu3/cache/index0/type Data
    /sys/devices/system/cpu/cpu3/cache/index0/size 32K
    /sys/devices/system/cpu/cpu3/cache/index0/shared_cpu_list 3
    /sys/devices/system/cpu/cpu2/cache/index2/level 2
    /sys/devices/system/cpu/cpu2/cache/index2/type Unified
    /sys/devices/system/cpu/cpu2/cache/index2/size 2048K
    /sys/devices/system/cpu/cpu2/cache/index2/shared_cpu_list 2-3
    /sys/devices/system/cpu/cpu0/cpufreq/base_frequency 2100000
    /sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq 4700000
    /sys/devices/system/cpu/cpu2/cpufreq/cpuinfo_max_freq 3400000
    /sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq 3000000
    /sys/devices/system/cpu/cpu1/cpufreq/scaling_cur_freq 1000000
    /sys/devices/system/cpu/cpu0/cpufreq/scaling_governor powersave
    /sys/devices/system/cpu/intel_pstate/no_turbo 0
";

#[test]
fn a_hybrid_laptop() {
    let mut files = listed(LAPTOP_FILES);
    files.push(("/proc/cpuinfo", LAPTOP));
    let cpu = Cpu::probe(&FakeFiles(&files));
    assert_eq!(
        cpu.model.as_deref(),
        Some("12th Gen Intel(R) Core(TM) i7-1260P")
    );
    assert_eq!(cpu.vendor.as_deref(), Some("GenuineIntel"));
    assert_eq!(
        (cpu.family, cpu.model_number, cpu.stepping),
        (Some(6), Some(154), Some(3))
    );
    assert_eq!((cpu.physical_cores, cpu.logical_cores), (Some(3), Some(4)));
    assert_eq!((cpu.sockets, cpu.numa_nodes), (Some(1), Some(1)));
    assert_eq!(
        (cpu.base_hz, cpu.max_hz),
        (Some(2_100_000_000), Some(4_700_000_000))
    );
    assert_eq!(cpu.current_hz, Some(2_000_000_000));
    assert_eq!(cpu.governor.as_deref(), Some("powersave"));
    assert_eq!(cpu.turbo, Some(true));
    let cache = |level, kind: &str, bytes, shared_by, instances| Cache {
        level,
        kind: kind.to_owned(),
        bytes,
        shared_by,
        instances,
    };
    assert_eq!(
        cpu.caches,
        [
            cache(1, "Data", 32 << 10, 1, 2),
            cache(1, "Data", 48 << 10, 2, 1),
            cache(2, "Unified", 2 << 20, 2, 1),
        ]
    );
    assert_eq!(cpu.last_level_cache_bytes(), Some(2 << 20));
}

#[test]
fn a_virtual_machine_without_a_frequency_driver() {
    let cpu = Cpu::probe(&FakeFiles(&[
        (
            "/proc/cpuinfo",
            "vendor_id\t: AuthenticAMD\nmodel name\t: AMD EPYC\ncpu MHz\t\t: 2596.096\n",
        ),
        ("/sys/devices/system/cpu/online", "0-1"),
        (
            "/sys/devices/system/cpu/cpu0/topology/thread_siblings_list",
            "0",
        ),
        (
            "/sys/devices/system/cpu/cpu1/topology/thread_siblings_list",
            "1",
        ),
    ]));
    assert_eq!(cpu.model.as_deref(), Some("AMD EPYC"));
    assert_eq!(cpu.current_hz, Some(2_596_096_000));
    assert_eq!((cpu.governor, cpu.turbo, cpu.max_hz), (None, None, None));
    assert_eq!(cpu.physical_cores, Some(2));
    assert_eq!(cpu.sockets, None);
}

#[test]
fn an_arm_server() {
    let cpu = Cpu::probe(&FakeFiles(&[(
        "/proc/cpuinfo",
        "processor\t: 0\nFeatures\t: fp asimd asimddp sve\nCPU implementer\t: 0x41\n\
         CPU variant\t: 0x1\nCPU part\t: 0xd40\nCPU revision\t: 1\n",
    )]));
    assert_eq!(cpu.model.as_deref(), Some("Neoverse-V1"));
    assert_eq!(cpu.vendor.as_deref(), Some("0x41"));
    assert_eq!((cpu.model_number, cpu.stepping), (Some(0xd40), Some(1)));
    assert_eq!(cpu.features.names(), ["neon", "dotprod", "sve"]);
}

#[test]
fn an_unknown_machine_is_all_unknown() {
    assert_eq!(Cpu::probe(&FakeFiles(&[])), Cpu::default());
    assert_eq!(Cpu::default().last_level_cache_bytes(), None);
}

#[test]
fn sizes_as_sysfs_writes_them() {
    assert_eq!(kernel_size("48K\n"), Some(48 << 10));
    assert_eq!(kernel_size("8M"), Some(8 << 20));
    assert_eq!(kernel_size("512"), Some(512));
    assert_eq!(kernel_size("K"), None);
    assert_eq!(kernel_size("18446744073709551615G"), None);
}
