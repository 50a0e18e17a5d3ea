//! Readers meet text they have never seen: they answer, they do not panic.

use proptest::prelude::*;

use super::cgroup::Cgroup;
use super::cpu::{Cpu, cpuinfo_hz, kernel_size};
use super::features::{CpuFeatures, missing_engine_features};
use super::files::{FakeFiles, MachineFiles, colon_value, cpu_list, kib_value_bytes, space_value};
use super::kernel::KernelSettings;
use super::memory::Memory;
use super::placement::Placement;
use super::procfs::{
    MachineTicks, ProcessStat, context_switches, resident_bytes, statm_resident_pages,
};
use super::virtualisation::Virtualisation;
use super::{parse_load_average, thermal};

/// A machine on which every file there is holds the same text.
struct Everywhere(String);

impl MachineFiles for Everywhere {
    fn read_or_why(&self, _path: &str) -> Result<String, std::io::ErrorKind> {
        Ok(self.0.clone())
    }

    fn list(&self, _folder: &str) -> Vec<String> {
        vec!["index0".to_owned(), "hwmon0".to_owned(), "BAT0".to_owned()]
    }
}

/// Pieces of real files in any order, so that parsers get past their first check.
fn almost_real() -> impl Strategy<Value = String> {
    let pieces = prop::sample::select(vec![
        "cpu ",
        "MemTotal: ",
        "MemAvailable:",
        " kB",
        "\n",
        ": ",
        " - cgroup2 cgroup2 rw",
        "0::/",
        "4:memory:",
        "CPU : ",
        "AVX = 1",
        " | ",
        "flags\t: ",
        ") S ",
        "oom_kill ",
        "max ",
        "0-3",
        ",",
        "K",
        "18446744073709551615",
        "-1",
        "9999999999999999999999",
        "0",
        "é",
        "[",
        "]",
        "/..",
        " ",
        "1 2 3 4 5 6 7 8 9",
        "cpu MHz\t: ",
        "nan",
        "inf",
        "inactive_file ",
    ]);
    prop::collection::vec(pieces, 0..40).prop_map(|pieces| pieces.concat())
}

fn read_everything(text: &str) {
    let files = Everywhere(text.to_owned());
    Cpu::probe(&files).last_level_cache_bytes();
    Memory::probe(&files);
    Virtualisation::probe(&files);
    Placement::from_files(&files).spanned_nodes();
    KernelSettings::from_files(&files);
    for controller in ["memory", "cpu"] {
        if let Some(cgroup) = Cgroup::find(&files, controller) {
            cgroup.memory_headroom_bytes(&files);
            cgroup.cpu_quota_cores(&files);
            cgroup.quota_throttled_ns(&files);
            cgroup.oom_kills(&files);
        }
    }
    thermal::throttle_events(&files);
    thermal::temperature_file(&files);
    thermal::frequency_files(&files, 3);
    thermal::on_battery(&files);
    if let Some(ticks) = MachineTicks::parse(text) {
        ticks.total();
    }
    ProcessStat::parse(text);
    context_switches(text);
    resident_bytes(text);
    statm_resident_pages(text);
    cpuinfo_hz(text);
    kernel_size(text);
    cpu_list(text);
    colon_value(text, "MemTotal");
    kib_value_bytes(text, "MemTotal");
    space_value(text, "oom_kill");
    parse_load_average(text);
    missing_engine_features(&CpuFeatures::from_cpuinfo(text), text);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_text(text in any::<String>()) {
        read_everything(&text);
    }

    #[test]
    fn text_that_looks_real(text in almost_real()) {
        read_everything(&text);
    }

    #[test]
    fn any_cgroup_path(path in "(/[a-z.]{0,4}){0,6}", root in "(/[a-z]{0,2}){0,3}") {
        let own = format!("0::{path}");
        let mounts = format!("1 2 0:1 {root} /sys/fs/cgroup rw - cgroup2 cgroup2 rw");
        let files = [("/proc/self/cgroup", own.as_str()), ("/proc/self/mountinfo", mounts.as_str())];
        if let Some(cgroup) = Cgroup::find(&FakeFiles(&files), "memory") {
            prop_assert_eq!(cgroup.memory_headroom_bytes(&FakeFiles(&files)), None);
        }
    }
}
