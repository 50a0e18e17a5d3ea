//! What makes a measurement on this machine less than it could be, with advice.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Machine;
use super::features::missing_engine_features;
use super::usage::UsageDelta;
use crate::build_info::BuildInfo;

/// A repetition during which others took more than this share of the machine is flagged (METHOD, protocol).
pub const NEIGHBOUR_PERCENT: f64 = 3.0;
/// Steal above this is flagged: a quiet virtual machine shows a few tenths.
pub const STEAL_PERCENT: f64 = 1.0;
/// Traffic to and from swap below this is not ours.
pub const SWAP_BYTES: u64 = 1 << 20;

/// One thing that disturbs or limits measurements. Its `Display` says what to do about it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum HostWarning {
    NoisyNeighbour {
        /// Share of the machine's capacity.
        others_percent: f64,
    },
    Steal {
        /// Share of the machine's capacity.
        percent: f64,
    },
    Swapping {
        /// Both directions together.
        bytes: u64,
    },
    Throttled,
    QuotaThrottled {
        /// Time off the CPU, summed over threads.
        throttled_ns: u64,
    },
    PowerSaveGovernor {
        governor: String,
    },
    BatterySupply,
    EngineLacksCpuFeatures {
        missing: Vec<String>,
    },
    DebugBuild,
    LowMemory {
        available_bytes: u64,
        total_bytes: u64,
    },
    EngineVariables {
        /// As `NAME=value`.
        set: Vec<String>,
    },
    ClearedVariables {
        names: Vec<String>,
    },
    MoreThreadsThanCores {
        n_threads: u32,
        cores: u32,
    },
}

impl fmt::Display for HostWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoisyNeighbour { others_percent } => write!(
                f,
                "other processes used {others_percent:.1}% of the machine; close them or use fewer threads"
            ),
            Self::Steal { percent } => write!(
                f,
                "the hypervisor gave {percent:.1}% of this machine to others; measure again at a quieter time or on dedicated cores"
            ),
            Self::Swapping { bytes } => write!(
                f,
                "the machine swapped {:.1} MiB; use a smaller model or context, or free memory",
                *bytes as f64 / (1u64 << 20) as f64
            ),
            Self::Throttled => write!(
                f,
                "clocks were lowered for heat or power; improve cooling or pause between runs"
            ),
            Self::QuotaThrottled { throttled_ns } => write!(
                f,
                "the container's CPU quota held threads back for {:.1} ms in all; raise the quota or use fewer threads",
                *throttled_ns as f64 / 1e6
            ),
            Self::PowerSaveGovernor { governor } if governor == "power saver" => write!(
                f,
                "the power plan is {governor}; choose high performance (powercfg /setactive SCHEME_MIN)"
            ),
            Self::PowerSaveGovernor { governor } => write!(
                f,
                "the CPU frequency governor is {governor}; set it to performance (cpupower frequency-set -g performance)"
            ),
            Self::BatterySupply => write!(f, "the machine runs on its battery; plug it in"),
            Self::EngineLacksCpuFeatures { missing } => write!(
                f,
                "the engine was compiled without {}, which this CPU has; a build on this machine with RUSTFLAGS=\"-C target-cpu=native\" uses it",
                missing.join(", ")
            ),
            Self::DebugBuild => write!(
                f,
                "this is a debug build, whose times are not meaningful; rebuild with cargo build --release"
            ),
            Self::LowMemory {
                available_bytes,
                total_bytes,
            } => write!(
                f,
                "only {:.1} of {:.1} GiB of memory are available; close other programs",
                gib(*available_bytes),
                gib(*total_bytes)
            ),
            Self::EngineVariables { set } => write!(
                f,
                "{} in the environment acts on the engine; unset it where it is not meant",
                set.join(", ")
            ),
            Self::ClearedVariables { names } => write!(
                f,
                "{} in the environment is not given to workers: this program's own flags decide",
                names.join(", ")
            ),
            Self::MoreThreadsThanCores { n_threads, cores } => write!(
                f,
                "{n_threads} threads share {cores} available cores; use at most {cores} threads"
            ),
        }
    }
}

impl HostWarning {
    /// Whether it is something that happened while a repetition ran, as [`noise_warnings`] finds it, and not what the
    /// machine or the build is like.
    pub fn is_disturbance(&self) -> bool {
        matches!(
            self,
            Self::NoisyNeighbour { .. }
                | Self::Steal { .. }
                | Self::Swapping { .. }
                | Self::Throttled
                | Self::QuotaThrottled { .. }
        )
    }
}

fn gib(bytes: u64) -> f64 {
    bytes as f64 / (1u64 << 30) as f64
}

/// What disturbed the time between two snapshots.
pub fn noise_warnings(delta: &UsageDelta) -> Vec<HostWarning> {
    let mut warnings = Vec::new();
    // Over a short time one tick is a large share: only what exceeds that can be others' work.
    let limit = NEIGHBOUR_PERCENT + delta.others_resolution_percent.unwrap_or(0.0);
    if let Some(others_percent) = delta.others_cpu_percent.filter(|percent| *percent > limit) {
        warnings.push(HostWarning::NoisyNeighbour { others_percent });
    }
    let limit = STEAL_PERCENT + delta.others_resolution_percent.unwrap_or(0.0);
    if let Some(percent) = delta.steal_percent.filter(|percent| *percent > limit) {
        warnings.push(HostWarning::Steal { percent });
    }
    let swapped = [delta.swap_in_bytes, delta.swap_out_bytes];
    let bytes = swapped.into_iter().flatten().fold(0, u64::saturating_add);
    if bytes >= SWAP_BYTES {
        warnings.push(HostWarning::Swapping { bytes });
    }
    if delta.throttle_events.is_some_and(|events| events > 0) {
        warnings.push(HostWarning::Throttled);
    }
    let quota = delta
        .quota_throttled_ns
        .filter(|ns| *ns > delta.wall_ns / 100);
    warnings.extend(quota.map(|throttled_ns| HostWarning::QuotaThrottled { throttled_ns }));
    warnings
}

/// What a user could change before measuring. `system_info` is `llama_print_system_info()`.
pub fn machine_warnings(machine: &Machine, system_info: &str, n_threads: u32) -> Vec<HostWarning> {
    let mut warnings = Vec::new();
    let missing = missing_engine_features(&machine.cpu.features, system_info);
    if !missing.is_empty() {
        warnings.push(HostWarning::EngineLacksCpuFeatures { missing });
    }
    if BuildInfo::current().is_debug() {
        warnings.push(HostWarning::DebugBuild);
    }
    if let Some(governor) = machine
        .cpu
        .governor
        .as_deref()
        .filter(|name| saves_power(name))
    {
        let governor = governor.to_owned();
        warnings.push(HostWarning::PowerSaveGovernor { governor });
    }
    if machine.on_battery == Some(true) {
        warnings.push(HostWarning::BatterySupply);
    }
    let memory = &machine.memory;
    if let Some((available_bytes, total_bytes)) = memory.available_bytes.zip(memory.total_bytes)
        && available_bytes < total_bytes / 10
    {
        warnings.push(HostWarning::LowMemory {
            available_bytes,
            total_bytes,
        });
    }
    let environment = &machine.environment;
    if !environment.acting.is_empty() {
        let acting = environment.acting.iter();
        let set = acting.map(|(name, value)| format!("{name}={value}"));
        warnings.push(HostWarning::EngineVariables { set: set.collect() });
    }
    if !environment.cleared.is_empty() {
        let names = environment.cleared.clone();
        warnings.push(HostWarning::ClearedVariables { names });
    }
    if let Some(cores) = machine
        .cpu
        .available_cores
        .filter(|cores| n_threads > *cores)
    {
        warnings.push(HostWarning::MoreThreadsThanCores { n_threads, cores });
    }
    warnings
}

/// Governors that start low and follow the load late (Documentation/admin-guide/pm/cpufreq), and the plan of Windows that holds the
/// clock low.
pub fn saves_power(governors: &str) -> bool {
    let slow = ["powersave", "ondemand", "conservative", "power saver"];
    governors
        .split(',')
        .any(|governor| slow.contains(&governor))
}

#[cfg(test)]
mod tests {
    use super::super::cpu::Cpu;
    use super::super::memory::Memory;
    use super::*;

    #[test]
    fn a_quiet_second_gives_no_warning() {
        let quiet = UsageDelta {
            wall_ns: 1_000_000_000,
            others_cpu_percent: Some(3.9),
            others_resolution_percent: Some(1.0),
            steal_percent: Some(1.9),
            swap_in_bytes: Some(4096),
            throttle_events: Some(0),
            quota_throttled_ns: Some(10_000_000),
            ..UsageDelta::default()
        };
        assert_eq!(noise_warnings(&quiet), []);
        assert_eq!(noise_warnings(&UsageDelta::default()), []);
    }

    #[test]
    fn everything_wrong_at_once() {
        let loud = UsageDelta {
            wall_ns: 1_000_000_000,
            others_cpu_percent: Some(4.1),
            others_resolution_percent: Some(1.0),
            steal_percent: Some(2.1),
            swap_in_bytes: Some(1 << 19),
            swap_out_bytes: Some(1 << 19),
            throttle_events: Some(1),
            quota_throttled_ns: Some(10_000_001),
            ..UsageDelta::default()
        };
        let expected = [
            HostWarning::NoisyNeighbour {
                others_percent: 4.1,
            },
            HostWarning::Steal { percent: 2.1 },
            HostWarning::Swapping { bytes: 1 << 20 },
            HostWarning::Throttled,
            HostWarning::QuotaThrottled {
                throttled_ns: 10_000_001,
            },
        ];
        assert_eq!(noise_warnings(&loud), expected);
        assert!(expected.iter().all(HostWarning::is_disturbance));
        assert!(!HostWarning::BatterySupply.is_disturbance());
    }

    #[test]
    fn a_laptop_that_needs_advice() {
        let mut machine = Machine {
            cpu: Cpu {
                governor: Some("performance,powersave".to_owned()),
                available_cores: Some(4),
                ..Cpu::default()
            },
            memory: Memory {
                available_bytes: Some(99),
                total_bytes: Some(1000),
                ..Memory::default()
            },
            on_battery: Some(true),
            ..Machine::default()
        };
        machine.cpu.features.avx512f = true;
        let acting = [("OMP_PROC_BIND".to_owned(), "close".to_owned())];
        machine.environment.acting = acting.into();
        machine.environment.cleared = vec!["OMP_THREAD_LIMIT".to_owned()];
        let warnings = machine_warnings(&machine, "CPU : AVX2 = 1 | ", 5);
        let lines: Vec<String> = warnings
            .iter()
            .filter(|warning| **warning != HostWarning::DebugBuild)
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            lines,
            [
                "the engine was compiled without AVX512, which this CPU has; a build on this machine with RUSTFLAGS=\"-C target-cpu=native\" uses it",
                "the CPU frequency governor is performance,powersave; set it to performance (cpupower frequency-set -g performance)",
                "the machine runs on its battery; plug it in",
                "only 0.0 of 0.0 GiB of memory are available; close other programs",
                "OMP_PROC_BIND=close in the environment acts on the engine; unset it where it is not meant",
                "OMP_THREAD_LIMIT in the environment is not given to workers: this program's own flags decide",
                "5 threads share 4 available cores; use at most 4 threads",
            ]
        );
        let debug = warnings.contains(&HostWarning::DebugBuild);
        assert_eq!(debug, BuildInfo::current().is_debug());
    }

    #[test]
    fn a_machine_that_tells_nothing_is_not_blamed() {
        let warnings = machine_warnings(&Machine::default(), "", 64);
        assert!(
            warnings
                .iter()
                .all(|warning| *warning == HostWarning::DebugBuild)
        );
    }

    #[test]
    fn warnings_are_tagged_in_records() {
        let warning = HostWarning::MoreThreadsThanCores {
            n_threads: 8,
            cores: 4,
        };
        let json = serde_json::to_string(&warning).expect("plain data");
        assert_eq!(
            json,
            r#"{"kind":"more_threads_than_cores","n_threads":8,"cores":4}"#
        );
        assert_eq!(
            serde_json::from_str::<HostWarning>(&json).expect("own output"),
            warning
        );
        let json = serde_json::to_string(&HostWarning::Throttled).expect("plain data");
        assert_eq!(json, r#"{"kind":"throttled"}"#);
    }
}
