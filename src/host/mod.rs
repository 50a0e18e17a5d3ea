//! What machine this is, what it was doing, and what about it disturbs a measurement.
//!
//! On Linux everything comes from `/proc` and `/sys` as any user may read them, on Windows from its own interfaces (`windows`);
//! elsewhere `sysinfo` fills in the basics and the rest is `None`. Parsers are pure functions over text or bytes.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

mod bandwidth;
mod binding;
mod cgroup;
pub(crate) mod cpu;
#[cfg(any(windows, test))]
mod cpuid;
mod energy;
mod environment;
mod features;
mod files;
mod gpu;
mod kernel;
mod memory;
mod neighbours;
pub(crate) mod placement;
mod process_usage;
mod procfs;
mod sampler;
mod sampler_record;
mod thermal;
mod threads;
mod timer;
// Windows' description is read by a function of bytes, which is tested everywhere.
#[cfg(any(windows, test))]
mod topology;
mod trial;
mod virtualisation;
mod warning;
#[cfg(windows)]
mod windows;

pub mod process;
pub mod signals;
pub mod usage;

#[cfg(test)]
mod cpu_tests;
#[cfg(test)]
mod garbage_tests;

pub use bandwidth::{QuickRates, read_rate_ceiling, reading_buffer_bytes};
pub use binding::leave_openmp_places;
pub use cpu::Cpu;
pub use energy::{CpuEnergy, EnergyMeter, EnergySource, RepetitionEnergy};
pub use environment::{EngineEnvironment, not_for_workers};
pub use features::{CpuFeatures, missing_engine_features, names_cpu_features};
pub use gpu::{Gpu, GpuReport};
pub use kernel::{KernelSettings, LimitState, context_switches};
pub use memory::{Memory, available_memory_bytes};
pub use neighbours::{Neighbour, ProcessTimes};
pub use placement::Placement;
pub use threads::ThreadsError;
pub use timer::TimerFacts;
pub use trial::{CoreTrial, StepTrial, TrialSettings, each_core};
pub use virtualisation::Virtualisation;
pub use warning::{
    HostWarning, NEIGHBOUR_PERCENT, STEAL_PERCENT, SWAP_BYTES, machine_warnings, noise_warnings,
    saves_power,
};

use files::{LiveFiles, MachineFiles};

/// Has the terminal understand colours. Only the console of Windows 10 must be asked.
pub fn show_colours() {
    #[cfg(windows)]
    windows::show_colours();
}

/// The machine that a record was made on. `None`: could not be read. Neither host name, user nor
/// serial numbers of the computer are in it; GPUs have their NVML ids.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Machine {
    /// Tells whether two records come from the same machine, see [`Machine::probe`]. Empty: unknown.
    pub fingerprint: String,
    /// Operating system and version, as `Linux (Debian GNU/Linux 12)`.
    pub os: Option<String>,
    pub kernel: Option<String>,
    /// Instruction set that this program was compiled for, as `x86_64`.
    pub arch: String,
    pub cpu: Cpu,
    pub memory: Memory,
    pub virtualisation: Virtualisation,
    /// Mean number of runnable threads over the last 1, 5 and 15 minutes.
    pub load_average: Option<[f64; 3]>,
    pub on_battery: Option<bool>,
    pub gpus: GpuReport,
    pub cpu_energy: CpuEnergy,
    /// How long the idle power was measured before anything was loaded; `None`: it was not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle_over_ns: Option<u64>,
    /// Variables that the engine and its threads read; the same for every worker.
    pub environment: EngineEnvironment,
}

impl Machine {
    /// Asks this machine. Takes some milliseconds, more when a GPU driver has to wake up.
    ///
    /// The fingerprint is the first 16 hexadecimal digits of a SHA-256 over architecture, CPU
    /// identity, core counts and memory rounded up to GiB: equal for equal hardware, and silent
    /// about whose it is.
    pub fn probe() -> Self {
        let files = &LiveFiles;
        let cpuinfo = files.read("/proc/cpuinfo").unwrap_or_default();
        let mut machine = Self {
            fingerprint: String::new(),
            os: sysinfo::System::long_os_version(),
            kernel: sysinfo::System::kernel_version(),
            arch: std::env::consts::ARCH.to_owned(),
            cpu: Cpu::probe(files).complete_live(&cpuinfo),
            memory: Memory::probe(files),
            virtualisation: Virtualisation::of_machine(files),
            load_average: load_average(files),
            on_battery: on_battery(files),
            gpus: GpuReport::probe(),
            cpu_energy: CpuEnergy::probe(),
            idle_over_ns: None,
            environment: EngineEnvironment::probe(),
        };
        machine.fingerprint = fingerprint(&machine);
        machine
    }

    /// Measures what GPUs and processor draw at rest, where they have energy counters that can be read: 2 s with a GPU,
    /// half a second without. Once a process, the first time, which must be before an engine is started.
    pub fn measure_idle_power(&mut self) {
        energy::measure_idle(self);
    }
}

/// Only what neither a reboot, an update nor a container's limits change.
fn fingerprint(machine: &Machine) -> String {
    let cpu = &machine.cpu;
    let gib = machine
        .memory
        .total_bytes
        .map(|bytes| bytes.div_ceil(1 << 30));
    let identity = format!(
        "{:?}",
        (
            &machine.arch,
            &cpu.model,
            &cpu.vendor,
            (cpu.family, cpu.model_number, cpu.stepping),
            (cpu.physical_cores, cpu.logical_cores, cpu.sockets),
            gib,
        )
    );
    let digest = Sha256::digest(identity.as_bytes());
    digest
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(not(windows))]
fn load_average(files: &impl MachineFiles) -> Option<[f64; 3]> {
    if let Some(text) = files.read("/proc/loadavg") {
        return parse_load_average(&text);
    }
    let load = sysinfo::System::load_average();
    Some([load.one, load.five, load.fifteen])
}

#[cfg(not(windows))]
fn on_battery(files: &impl MachineFiles) -> Option<bool> {
    thermal::on_battery(files)
}

#[cfg(windows)]
fn on_battery(_files: &impl MachineFiles) -> Option<bool> {
    windows::on_battery()
}

/// Windows keeps no load average.
#[cfg(windows)]
fn load_average(_files: &impl MachineFiles) -> Option<[f64; 3]> {
    None
}

#[cfg_attr(windows, allow(dead_code))]
fn parse_load_average(text: &str) -> Option<[f64; 3]> {
    let mut words = text.split_whitespace();
    let mut next = || {
        words
            .next()?
            .parse::<f64>()
            .ok()
            .filter(|load| load.is_finite())
    };
    Some([next()?, next()?, next()?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_described_and_survives_json() {
        let machine = Machine::probe();
        assert_eq!(machine.arch, std::env::consts::ARCH);
        assert!(machine.cpu.model.is_some() && machine.cpu.logical_cores.is_some_and(|n| n > 0));
        assert!(machine.cpu.available_cores.is_some_and(|n| n > 0));
        assert!(machine.memory.total_bytes.is_some_and(|bytes| bytes > 0));
        assert!(machine.os.is_some() && machine.kernel.is_some());
        let json = serde_json::to_string(&machine).expect("plain data");
        assert_eq!(
            serde_json::from_str::<Machine>(&json).expect("own output"),
            machine
        );
    }

    #[test]
    fn the_fingerprint_is_stable_under_what_changes_daily() {
        let machine = Machine::probe();
        assert_eq!(machine.fingerprint, Machine::probe().fingerprint);
        assert_eq!(machine.fingerprint.len(), 16);
        let mut rebooted = machine.clone();
        rebooted.kernel = Some("99.0".to_owned());
        rebooted.memory.available_bytes = Some(1);
        rebooted.cpu.available_cores = Some(1);
        rebooted.cpu.current_hz = None;
        rebooted.load_average = None;
        assert_eq!(fingerprint(&rebooted), machine.fingerprint);
    }

    #[test]
    fn the_fingerprint_knows_another_machine() {
        let machine = Machine::probe();
        let mut other = machine.clone();
        other.memory.total_bytes = machine.memory.total_bytes.map(|bytes| bytes * 2);
        assert_ne!(fingerprint(&other), machine.fingerprint);
        let mut other = machine.clone();
        other.cpu.stepping = Some(255);
        assert_ne!(fingerprint(&other), machine.fingerprint);
    }

    #[test]
    fn a_record_from_an_older_version_still_reads() {
        let machine: Machine = serde_json::from_str(r#"{"arch":"x86_64"}"#).expect("defaults");
        assert_eq!(machine.cpu, Cpu::default());
    }

    #[test]
    fn load_average_is_three_numbers_or_nothing() {
        assert_eq!(
            parse_load_average("0.52 1.5 2.25 1/80 999"),
            Some([0.52, 1.5, 2.25])
        );
        assert_eq!(parse_load_average("0.52 1.5"), None);
        assert_eq!(parse_load_average("NaN 1 2"), None);
    }
}
