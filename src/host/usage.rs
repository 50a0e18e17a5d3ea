//! What ran beside a measurement: a snapshot before, one after, and the difference.
//!
//! The process's own CPU time comes from the kernel's nanosecond clock, the machine's from
//! `/proc/stat`, which counts in ticks (10 ms per core): [`UsageDelta::others_resolution_percent`]
//! says how coarse the difference is. Windows adds up both at each tick of its clock (15.6 ms). Elsewhere only CPU time and memory
//! of the process are known.

use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::cgroup::Cgroup;
use super::energy::{EnergySource, RepetitionEnergy};
use super::files::{LiveFiles, MachineFiles, space_value};
use super::memory::page_bytes;
use super::process_usage::ProcessUsage;
use super::procfs::MachineTicks;
use super::thermal;
use crate::units::nanoseconds;

pub use super::sampler::{GpuSummary, SamplerSettings, Spread, UsageSampler, UsageSummary};

/// Counters of the machine and of one process at one instant.
#[derive(Clone, Debug)]
pub struct UsageSnapshot {
    at: Instant,
    tick_ns: Option<u64>,
    machine: Option<MachineTicks>,
    process: ProcessUsage,
    swap_in_bytes: Option<u64>,
    swap_out_bytes: Option<u64>,
    throttle_events: Option<u64>,
    quota_throttled_ns: Option<u64>,
    /// Pieces that the time since this snapshot is made of: each begins and ends within a tick.
    n_pieces: u32,
}

/// What happened between two snapshots. `None`: could not be read.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct UsageDelta {
    pub wall_ns: u64,
    /// CPU time of the process, user and system, all its threads.
    pub process_cpu_ns: Option<u64>,
    /// CPU time of everything else, as a share of the machine's capacity.
    pub others_cpu_percent: Option<f64>,
    /// What one tick too many per core would add to `others_cpu_percent`: below it, that is noise.
    pub others_resolution_percent: Option<f64>,
    /// Capacity that the hypervisor gave to somebody else while we were ready to run.
    pub steal_percent: Option<f64>,
    pub voluntary_switches: Option<u64>,
    /// Context switches because another thread was given the core.
    pub involuntary_switches: Option<u64>,
    /// Page faults served from memory.
    pub minor_faults: Option<u64>,
    /// Page faults served from disk.
    pub major_faults: Option<u64>,
    pub rss_bytes: Option<u64>,
    pub peak_rss_bytes: Option<u64>,
    pub swap_in_bytes: Option<u64>,
    pub swap_out_bytes: Option<u64>,
    /// Thermal throttling events of all cores (x86 Linux).
    pub throttle_events: Option<u64>,
    /// Time a container's CPU quota kept our threads off the CPU.
    pub quota_throttled_ns: Option<u64>,
    /// Energy that the GPUs took, by their own counters. `None`: no GPU was used, or it has no counter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpu_energy: Option<PhaseEnergy>,
    /// Why the GPUs' counters, which were there, gave nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpu_energy_lost: Option<String>,
    /// Energy that the processor's packages took, by their own counters, everybody's work included. `None`: they cannot be
    /// read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_energy: Option<PhaseEnergy>,
    /// Why the processor's counters, which were there, gave nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_energy_lost: Option<String>,
    /// Memory in use by anybody on the GPUs that were computed on, at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpu_memory_used_bytes: Option<u64>,
}

impl UsageDelta {
    /// What was counted of one source.
    pub fn energy_of(&self, source: EnergySource) -> Option<PhaseEnergy> {
        match source {
            EnergySource::Gpu => self.gpu_energy,
            EnergySource::Cpu => self.cpu_energy,
        }
    }

    /// The same with the energy of a repetition.
    #[must_use]
    pub fn with_energy(self, energy: RepetitionEnergy) -> Self {
        Self {
            gpu_energy: energy.gpu,
            gpu_energy_lost: energy.gpu_lost,
            cpu_energy: energy.cpu,
            cpu_energy_lost: energy.cpu_lost,
            ..self
        }
    }
}

/// Energy by phase, millijoules. Each is the difference of counters: a GPU's moves about every 100 ms, a processor's every
/// millisecond.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PhaseEnergy {
    pub prefill_mj: u64,
    pub decode_mj: u64,
}

pub fn rss_bytes() -> Option<u64> {
    ProcessUsage::of_self().rss_bytes
}

impl UsageSnapshot {
    /// Of this machine and this process. Costs under a millisecond: not for inside a measured step.
    pub fn take() -> Self {
        let files = &LiveFiles;
        let vmstat = files.read("/proc/vmstat").unwrap_or_default();
        let pages = |key: &str| space_value(&vmstat, key)?.checked_mul(page_bytes()?);
        Self {
            tick_ns: tick_ns(),
            machine: MachineTicks::read(files),
            process: ProcessUsage::of_self(),
            swap_in_bytes: pages("pswpin"),
            swap_out_bytes: pages("pswpout"),
            throttle_events: thermal::throttle_events(files),
            quota_throttled_ns: Cgroup::find(files, "cpu")
                .and_then(|c| c.quota_throttled_ns(files)),
            n_pieces: 1,
            at: Instant::now(),
        }
    }

    /// The same snapshot as if the time from `from` to `to` had not been: a process stood still then, and what others did meanwhile
    /// is no matter of its own.
    #[must_use]
    pub fn without(&self, from: &Self, to: &Self) -> Self {
        let moved = |own: Option<u64>, from: Option<u64>, to: Option<u64>| {
            own?.checked_add(to?.checked_sub(from?)?)
        };
        let process = |of: fn(&ProcessUsage) -> Option<u64>| {
            moved(of(&self.process), of(&from.process), of(&to.process))
        };
        let machine = self.machine.zip(from.machine.zip(to.machine));
        Self {
            at: self.at + to.at.saturating_duration_since(from.at),
            tick_ns: self.tick_ns,
            machine: machine.map(|(own, (from, to))| own.plus(&to.since(&from))),
            process: ProcessUsage {
                cpu_ns: process(|p| p.cpu_ns),
                voluntary_switches: process(|p| p.voluntary_switches),
                involuntary_switches: process(|p| p.involuntary_switches),
                minor_faults: process(|p| p.minor_faults),
                major_faults: process(|p| p.major_faults),
                ..self.process
            },
            swap_in_bytes: moved(self.swap_in_bytes, from.swap_in_bytes, to.swap_in_bytes),
            swap_out_bytes: moved(self.swap_out_bytes, from.swap_out_bytes, to.swap_out_bytes),
            throttle_events: moved(
                self.throttle_events,
                from.throttle_events,
                to.throttle_events,
            ),
            quota_throttled_ns: moved(
                self.quota_throttled_ns,
                from.quota_throttled_ns,
                to.quota_throttled_ns,
            ),
            n_pieces: self.n_pieces + 1,
        }
    }

    /// The difference to an earlier snapshot of the same process.
    pub fn since(&self, earlier: &Self) -> UsageDelta {
        let grown = |now: Option<u64>, then: Option<u64>| now?.checked_sub(then?);
        let (now, then) = (&self.process, &earlier.process);
        let process_cpu_ns = grown(now.cpu_ns, then.cpu_ns);
        let ticks = self
            .machine
            .zip(earlier.machine)
            .map(|(now, then)| now.since(&then));
        let shares = ticks.and_then(|ticks| CpuShares::of(ticks, process_cpu_ns, self.tick_ns));
        let wall_ns = nanoseconds(self.at.saturating_duration_since(earlier.at));
        let resolution = self
            .tick_ns
            .map(|tick| 100.0 * tick as f64 / wall_ns.max(1) as f64)
            // Their errors are independent.
            .map(|percent| percent * f64::from(earlier.n_pieces).sqrt());
        UsageDelta {
            wall_ns,
            process_cpu_ns,
            others_cpu_percent: shares.and_then(|shares| shares.others_percent),
            others_resolution_percent: shares.and(resolution),
            steal_percent: shares.map(|shares| shares.steal_percent),
            voluntary_switches: grown(now.voluntary_switches, then.voluntary_switches),
            involuntary_switches: grown(now.involuntary_switches, then.involuntary_switches),
            minor_faults: grown(now.minor_faults, then.minor_faults),
            major_faults: grown(now.major_faults, then.major_faults),
            rss_bytes: now.rss_bytes,
            peak_rss_bytes: now.peak_rss_bytes,
            swap_in_bytes: grown(self.swap_in_bytes, earlier.swap_in_bytes),
            swap_out_bytes: grown(self.swap_out_bytes, earlier.swap_out_bytes),
            throttle_events: grown(self.throttle_events, earlier.throttle_events),
            quota_throttled_ns: grown(self.quota_throttled_ns, earlier.quota_throttled_ns),
            ..UsageDelta::default()
        }
    }
}

/// Parts of the machine's CPU capacity over some time, in percent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct CpuShares {
    pub others_percent: Option<f64>,
    pub steal_percent: f64,
}

impl CpuShares {
    /// `None` when no tick passed. Others = busy - ours, never below zero: the two clocks differ.
    pub(crate) fn of(
        ticks: MachineTicks,
        ours_ns: Option<u64>,
        tick_ns: Option<u64>,
    ) -> Option<Self> {
        let total = ticks.total() as f64;
        if total == 0.0 {
            return None;
        }
        let ours = ours_ns
            .zip(tick_ns)
            .map(|(ours, tick)| ours as f64 / tick as f64);
        Some(Self {
            others_percent: ours.map(|ours| (100.0 * (ticks.busy as f64 - ours) / total).max(0.0)),
            steal_percent: 100.0 * ticks.steal as f64 / total,
        })
    }
}

/// Length of the tick that the machine's CPU time is counted in.
#[cfg(target_os = "linux")]
pub(crate) fn tick_ns() -> Option<u64> {
    // SAFETY: sysconf takes no pointers and may be called at any time.
    let per_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    1_000_000_000u64.checked_div(u64::try_from(per_second).ok()?)
}

#[cfg(windows)]
pub(crate) use super::windows::tick_ns;

#[cfg(not(any(windows, target_os = "linux")))]
pub(crate) fn tick_ns() -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn snapshot(at: Instant, busy: u64, idle: u64, steal: u64, cpu_ns: u64) -> UsageSnapshot {
        UsageSnapshot {
            at,
            tick_ns: Some(10_000_000),
            machine: Some(MachineTicks { busy, idle, steal }),
            process: ProcessUsage {
                cpu_ns: Some(cpu_ns),
                voluntary_switches: Some(cpu_ns / 1_000_000),
                ..ProcessUsage::default()
            },
            swap_in_bytes: Some(0),
            swap_out_bytes: None,
            throttle_events: Some(4),
            quota_throttled_ns: None,
            n_pieces: 1,
        }
    }

    #[test]
    fn shares_of_a_two_core_machine_over_one_second() {
        let start = Instant::now();
        let before = snapshot(start, 1000, 1000, 10, 5_000_000_000);
        // 200 ticks: 130 busy, of which ours are 100; 60 idle; 10 stolen.
        let after = snapshot(
            start + Duration::from_secs(1),
            1130,
            1060,
            20,
            6_000_000_000,
        );
        let delta = after.since(&before);
        assert_eq!(delta.wall_ns, 1_000_000_000);
        assert_eq!(delta.process_cpu_ns, Some(1_000_000_000));
        assert_eq!(delta.others_cpu_percent, Some(15.0));
        assert_eq!(delta.others_resolution_percent, Some(1.0));
        assert_eq!(delta.steal_percent, Some(5.0));
        assert_eq!(delta.voluntary_switches, Some(1000));
        assert_eq!(delta.swap_in_bytes, Some(0));
        assert_eq!(delta.swap_out_bytes, None);
        assert_eq!(delta.throttle_events, Some(0));
    }

    #[test]
    fn what_passes_while_a_process_stands_still_is_not_its_own() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let before = snapshot(at(0), 1000, 1000, 10, 5_000_000_000);
        // It computes for half a second, and then somebody else does.
        let stood = snapshot(at(500), 1060, 1040, 10, 5_500_000_000);
        let went_on = snapshot(at(1500), 1160, 1100, 50, 5_500_000_000);
        let after = snapshot(at(2000), 1230, 1120, 60, 6_000_000_000);
        let delta = after.since(&before.without(&stood, &went_on));
        assert_eq!(delta.wall_ns, 1_000_000_000);
        assert_eq!(delta.process_cpu_ns, Some(1_000_000_000));
        // 200 ticks: 130 busy, of which ours are 100; 60 idle; 10 stolen.
        assert_eq!(delta.others_cpu_percent, Some(15.0));
        assert_eq!(delta.steal_percent, Some(5.0));
        assert_eq!(delta.voluntary_switches, Some(1000));
        assert_eq!(delta.swap_out_bytes, None);
        // Two pieces, each of which begins and ends within a tick.
        let resolution = delta.others_resolution_percent.expect("known");
        assert!((resolution - 2.0_f64.sqrt()).abs() < 1e-12, "{resolution}");
    }

    #[test]
    fn clocks_that_disagree_never_give_a_negative_share() {
        let ticks = MachineTicks {
            busy: 99,
            idle: 1,
            steal: 0,
        };
        let shares =
            CpuShares::of(ticks, Some(1_010_000_000), Some(10_000_000)).expect("ticks passed");
        assert_eq!(shares.others_percent, Some(0.0));
        assert_eq!(
            CpuShares::of(MachineTicks::default(), Some(1), Some(1)),
            None
        );
    }

    #[test]
    fn a_counter_that_shrank_is_unknown() {
        let start = Instant::now();
        let before = snapshot(start, 0, 0, 0, 2_000_000);
        let after = snapshot(start, 0, 0, 0, 1_000_000);
        let delta = after.since(&before);
        assert_eq!(delta.process_cpu_ns, None);
        assert_eq!(delta.voluntary_switches, None);
        assert_eq!(delta.others_cpu_percent, None);
    }

    #[test]
    fn our_own_work_is_seen() {
        let before = UsageSnapshot::take();
        let mut pages = vec![1u8; 64 << 20];
        let mut sum = 0u64;
        for (index, byte) in pages.iter_mut().enumerate() {
            *byte = std::hint::black_box(index as u8);
            sum += u64::from(*byte);
        }
        // Keeps the compiler from leaving the memory out altogether.
        std::hint::black_box((sum, &pages));
        let delta = UsageSnapshot::take().since(&before);
        assert!(delta.process_cpu_ns.is_some_and(|ns| ns > 0));
        assert!(delta.rss_bytes.is_some_and(|bytes| bytes > 32 << 20));
        if cfg!(target_os = "linux") {
            assert!(delta.minor_faults.is_some_and(|faults| faults > 0));
            assert!(delta.peak_rss_bytes >= delta.rss_bytes);
            assert!(delta.voluntary_switches.is_some() && delta.involuntary_switches.is_some());
        }
        std::hint::black_box(&pages);
    }

    #[test]
    fn another_pid_is_read_like_our_own() {
        let own = ProcessUsage::of_pid(std::process::id());
        assert!(own.cpu_ns.is_some() && own.rss_bytes.is_some());
        assert_eq!(ProcessUsage::of_pid(u32::MAX), ProcessUsage::default());
    }
}
