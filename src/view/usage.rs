//! What process and machine did while a cell was measured, over all its processes.

use serde::Serialize;

use super::CountOf;
use super::energy::{CellEnergy, EnergyCollector, EnergyFacts};
use crate::engine::GpuMemory;
use crate::host::EnergySource;
use crate::host::usage::{GpuSummary, Spread, UsageDelta, UsageSummary};
use crate::measure::Call;
use crate::record::LoadMemory;

/// Mean and largest.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct MeanMax<T> {
    pub mean: T,
    pub max: T,
}

/// Mean and smallest: of clocks, whose drops are what matters.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct MeanMin<T> {
    pub mean: T,
    pub min: T,
}

/// During a cell's repetitions, over all its processes. None: not watched, or this system does not tell.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct CellUsage {
    /// CPU time of the process: 100 is one core.
    pub process_cpu_percent: Option<MeanMax<f64>>,
    /// CPU time of all other processes, share of the machine.
    pub others_cpu_percent: Option<MeanMax<f64>>,
    /// Capacity taken by the hypervisor, share of the machine.
    pub steal_percent: Option<MeanMax<f64>>,
    pub rss_bytes: Option<MeanMax<u64>>,
    /// Clock of the fastest core.
    pub frequency_hz: Option<MeanMin<u64>>,
    pub temperature_c: Option<MeanMax<f64>>,
    /// Context switches because a thread waited.
    pub voluntary_switches: Option<u64>,
    pub involuntary_switches: Option<u64>,
    /// Page faults served from disk.
    pub major_faults: Option<u64>,
    /// Bytes that the whole machine moved to and from swap.
    pub swapped_bytes: Option<u64>,
    /// Thermal throttling events of all cores.
    pub throttle_events: Option<u64>,
    /// Time a container's CPU quota kept threads off the CPU.
    pub quota_throttled_ns: Option<u64>,
    pub gpu: Option<CellGpu>,
    pub gpu_memory: Option<CellGpuMemory>,
    pub gpu_energy: Option<CellEnergy>,
    /// Why the joules per token of the GPUs are unknown; none where they are known, and where no GPU was used.
    pub gpu_energy_unknown: Option<String>,
    /// Energy of the processor's packages, the work of other processes included.
    pub cpu_energy: Option<CellEnergy>,
    /// Why the joules per token of the processor are unknown.
    pub cpu_energy_unknown: Option<String>,
    /// CPU time of the sampler while the process worked, in percent of that time.
    pub sampler_cost_percent: Option<f64>,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct CellGpu {
    /// Clock of the multiprocessors.
    pub sm_clock_hz: Option<MeanMin<u64>>,
    pub power_mw: Option<MeanMax<u64>>,
    pub temperature_c: Option<MeanMax<f64>>,
    /// Device memory in use by any process.
    pub memory_used_bytes: Option<MeanMax<u64>>,
    /// Share of time in which a kernel ran.
    pub utilisation_percent: Option<MeanMax<f64>>,
    /// Every reason for which the device held its clocks down.
    pub throttle_reasons: Vec<String>,
}

/// Memory of GPUs, in use by any process, as their driver or the engine's backend tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct CellGpuMemory {
    pub total_bytes: Option<u64>,
    /// Free before the model was loaded.
    pub free_before_bytes: Option<u64>,
    /// In use before the model was loaded.
    pub used_before_bytes: Option<u64>,
    /// In use after the model was loaded, without a context.
    pub used_loaded_bytes: Option<u64>,
    /// The most that was in use while the cell was measured.
    pub used_peak_bytes: Option<u64>,
}

/// What a cell's usage is finished with, besides its own lines.
#[derive(Debug, Clone, Default)]
pub(super) struct UsageFacts {
    pub gpu: EnergyFacts,
    pub cpu: EnergyFacts,
    /// Memory around the loading of its model.
    pub loading: Option<LoadMemory>,
}

#[derive(Debug, Clone)]
pub(super) struct UsageCollector {
    visits: Vec<UsageSummary>,
    counted: CellUsage,
    gpu_energy: EnergyCollector,
    cpu_energy: EnergyCollector,
    /// The most that was seen outside of the samples.
    gpu_used_bytes: Option<u64>,
}

impl Default for UsageCollector {
    fn default() -> Self {
        Self {
            visits: Vec::new(),
            counted: CellUsage::default(),
            gpu_energy: EnergyCollector::new(EnergySource::Gpu),
            cpu_energy: EnergyCollector::new(EnergySource::Cpu),
            gpu_used_bytes: None,
        }
    }
}

impl UsageCollector {
    /// What a repetition counted during its calls.
    pub(super) fn note_repetition(&mut self, delta: &UsageDelta, calls: &[Call]) {
        self.gpu_energy.note(delta, calls);
        self.cpu_energy.note(delta, calls);
        self.gpu_used_bytes = self.gpu_used_bytes.max(delta.gpu_memory_used_bytes);
        let swapped = [delta.swap_in_bytes, delta.swap_out_bytes];
        let swapped = swapped.into_iter().flatten().reduce(u64::saturating_add);
        let counted = &mut self.counted;
        for (sum, more) in [
            (&mut counted.voluntary_switches, delta.voluntary_switches),
            (
                &mut counted.involuntary_switches,
                delta.involuntary_switches,
            ),
            (&mut counted.major_faults, delta.major_faults),
            (&mut counted.swapped_bytes, swapped),
            (&mut counted.throttle_events, delta.throttle_events),
            (&mut counted.quota_throttled_ns, delta.quota_throttled_ns),
        ] {
            let known = [*sum, more].into_iter().flatten();
            *sum = known.reduce(u64::saturating_add);
        }
    }

    /// GPU memory when the context was made and warm.
    pub(super) fn note_opened(&mut self, memory: GpuMemory) {
        self.gpu_used_bytes = self.gpu_used_bytes.max(Some(memory.used_bytes()));
    }

    pub(super) fn note_visit(&mut self, usage: UsageSummary) {
        self.visits.push(usage);
    }

    /// Each visit's mean clock, where known.
    pub(super) fn clocks_hz(&self) -> Vec<f64> {
        let clocks = self.visits.iter().filter_map(|v| v.frequency_hz);
        clocks.map(|clock| clock.mean).collect()
    }

    /// Of the visits with a GPU those in which it was held down.
    pub(super) fn throttled_visits(&self) -> CountOf {
        let gpus = || self.visits.iter().filter_map(|v| v.gpu.as_ref());
        let held_down = gpus().filter(|gpu| !gpu.throttle_reasons.is_empty());
        CountOf {
            n: held_down.count() as u32,
            of: gpus().count() as u32,
        }
    }

    pub(super) fn finish(&self, facts: &UsageFacts) -> CellUsage {
        let (gpu_energy, gpu_energy_unknown) = self.gpu_energy.finish(&facts.gpu);
        let (cpu_energy, cpu_energy_unknown) = self.cpu_energy.finish(&facts.cpu);
        let gpu = self.gpu();
        let over = |of: fn(&UsageSummary) -> Option<Spread>| self.merged(of);
        let costs = self.visits.iter().map(|v| v.beside_cost_ns as f64);
        let wall: f64 = self.visits.iter().map(|v| v.wall_ns as f64).sum();
        CellUsage {
            process_cpu_percent: over(|v| v.process_cpu_percent).map(mean_max),
            others_cpu_percent: over(|v| v.others_cpu_percent).map(mean_max),
            steal_percent: over(|v| v.steal_percent).map(mean_max),
            rss_bytes: over(|v| v.rss_bytes).map(whole_mean_max),
            frequency_hz: over(|v| v.frequency_hz).map(whole_mean_min),
            temperature_c: over(|v| v.temperature_c).map(mean_max),
            gpu_memory: self.gpu_memory(facts.loading, gpu.as_ref()),
            gpu,
            gpu_energy,
            gpu_energy_unknown,
            cpu_energy,
            cpu_energy_unknown,
            sampler_cost_percent: (wall > 0.0).then(|| 100.0 * costs.sum::<f64>() / wall),
            ..self.counted.clone()
        }
    }

    /// None where nothing of it is known.
    fn gpu_memory(
        &self,
        loading: Option<LoadMemory>,
        gpu: Option<&CellGpu>,
    ) -> Option<CellGpuMemory> {
        let sampled = gpu.and_then(|g| g.memory_used_bytes).map(|b| b.max);
        let known = CellGpuMemory {
            total_bytes: loading.map(|l| l.before.total_bytes),
            free_before_bytes: loading.map(|l| l.before.free_bytes),
            used_before_bytes: loading.map(|l| l.before.used_bytes()),
            used_loaded_bytes: loading.map(|l| l.after.used_bytes()),
            used_peak_bytes: sampled.max(self.gpu_used_bytes),
        };
        (known != CellGpuMemory::default()).then_some(known)
    }

    /// What samplers saw of the GPUs.
    pub(super) fn gpu(&self) -> Option<CellGpu> {
        let gpus = || self.visits.iter().filter_map(|v| v.gpu.as_ref());
        gpus().next()?;
        let over = |of: fn(&GpuSummary) -> Option<Spread>| self.merged(|v| of(v.gpu.as_ref()?));
        let mut throttle_reasons: Vec<String> = Vec::new();
        for reason in gpus().flat_map(|gpu| &gpu.throttle_reasons) {
            if !throttle_reasons.contains(reason) {
                throttle_reasons.push(reason.clone());
            }
        }
        Some(CellGpu {
            sm_clock_hz: over(|g| g.sm_clock_hz).map(whole_mean_min),
            power_mw: over(|g| g.power_mw).map(whole_mean_max),
            temperature_c: over(|g| g.temperature_c).map(mean_max),
            memory_used_bytes: over(|g| g.memory_used_bytes).map(whole_mean_max),
            utilisation_percent: over(|g| g.utilisation_percent).map(mean_max),
            throttle_reasons,
        })
    }

    /// The spread over all visits, each counting for its time.
    fn merged(&self, of: impl Fn(&UsageSummary) -> Option<Spread>) -> Option<Spread> {
        self.visits
            .iter()
            .filter_map(|v| Some((of(v)?, v.wall_ns)))
            .fold(None, weighted)
            .map(|(spread, _)| spread)
    }
}

/// Two spreads as one, each counting for its time.
fn weighted(
    so_far: Option<(Spread, u64)>,
    (spread, wall_ns): (Spread, u64),
) -> Option<(Spread, u64)> {
    let wall_ns = wall_ns.max(1);
    let Some((all, before_ns)) = so_far else {
        return Some((spread, wall_ns));
    };
    let (a, b) = (before_ns as f64, wall_ns as f64);
    let both = Spread {
        min: all.min.min(spread.min),
        mean: (all.mean * a + spread.mean * b) / (a + b),
        max: all.max.max(spread.max),
    };
    Some((both, before_ns.saturating_add(wall_ns)))
}

/// A thousandth of a percent, or of a degree, is finer than any sensor.
fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

fn mean_max(spread: Spread) -> MeanMax<f64> {
    MeanMax {
        mean: rounded(spread.mean),
        max: rounded(spread.max),
    }
}

fn whole_mean_max(spread: Spread) -> MeanMax<u64> {
    MeanMax {
        mean: spread.mean.round() as u64,
        max: spread.max.round() as u64,
    }
}

fn whole_mean_min(spread: Spread) -> MeanMin<u64> {
    MeanMin {
        mean: spread.mean.round() as u64,
        min: spread.min.round() as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spread(min: f64, mean: f64, max: f64) -> Option<Spread> {
        Some(Spread { min, mean, max })
    }

    #[test]
    fn visits_count_for_their_time() {
        let mut usage = UsageCollector::default();
        usage.note_visit(UsageSummary {
            wall_ns: 3_000,
            beside_cost_ns: 1,
            process_cpu_percent: spread(150.0, 200.0, 201.0),
            frequency_hz: spread(1e9, 2e9, 3e9),
            ..UsageSummary::default()
        });
        usage.note_visit(UsageSummary {
            wall_ns: 1_000,
            beside_cost_ns: 3,
            process_cpu_percent: spread(90.0, 100.0, 210.0),
            gpu: Some(GpuSummary {
                power_mw: spread(1.0, 2.4, 3.0),
                throttle_reasons: vec!["power limit".to_owned()],
                ..GpuSummary::default()
            }),
            ..UsageSummary::default()
        });
        let cell = usage.finish(&UsageFacts::default());
        // (3 * 200 + 100) / 4.
        let expected = MeanMax {
            mean: 175.0,
            max: 210.0,
        };
        assert_eq!(cell.process_cpu_percent, Some(expected));
        let clock = cell.frequency_hz.expect("one visit had it");
        assert_eq!((clock.mean, clock.min), (2_000_000_000, 1_000_000_000));
        assert_eq!((cell.steal_percent, cell.swapped_bytes), (None, None));
        assert_eq!(cell.sampler_cost_percent, Some(0.1), "4 of 4000");
        let gpu = cell.gpu.expect("one visit had it");
        assert_eq!(gpu.power_mw, Some(MeanMax { mean: 2, max: 3 }));
        assert_eq!(gpu.throttle_reasons, ["power limit"]);
        assert_eq!(usage.throttled_visits(), CountOf { n: 1, of: 1 });
        assert_eq!(usage.clocks_hz(), [2e9]);
    }

    #[test]
    fn gpu_memory_is_what_was_seen_around_loading_and_the_most_afterwards() {
        let memory = |free_bytes| GpuMemory {
            total_bytes: 100,
            free_bytes,
        };
        let mut usage = UsageCollector::default();
        assert_eq!(
            usage.finish(&UsageFacts::default()).gpu_memory,
            None,
            "no GPU"
        );
        usage.note_opened(memory(30));
        usage.note_repetition(
            &UsageDelta {
                gpu_memory_used_bytes: Some(75),
                ..UsageDelta::default()
            },
            &[],
        );
        let facts = UsageFacts {
            loading: Some(LoadMemory {
                before: memory(95),
                after: memory(50),
            }),
            ..UsageFacts::default()
        };
        let seen = CellGpuMemory {
            total_bytes: Some(100),
            free_before_bytes: Some(95),
            used_before_bytes: Some(5),
            used_loaded_bytes: Some(50),
            used_peak_bytes: Some(75),
        };
        assert_eq!(usage.finish(&facts).gpu_memory, Some(seen));
        usage.note_visit(UsageSummary {
            gpu: Some(GpuSummary {
                memory_used_bytes: spread(60.0, 70.0, 80.0),
                ..GpuSummary::default()
            }),
            ..UsageSummary::default()
        });
        let peak = usage
            .finish(&facts)
            .gpu_memory
            .and_then(|m| m.used_peak_bytes);
        assert_eq!(peak, Some(80));
    }

    #[test]
    fn repetitions_add_up() {
        let mut usage = UsageCollector::default();
        let delta = UsageDelta {
            involuntary_switches: Some(7),
            swap_in_bytes: Some(1),
            swap_out_bytes: Some(2),
            ..UsageDelta::default()
        };
        usage.note_repetition(&delta, &[]);
        usage.note_repetition(&delta, &[]);
        usage.note_repetition(&UsageDelta::default(), &[]);
        let cell = usage.finish(&UsageFacts::default());
        assert_eq!(
            (cell.involuntary_switches, cell.swapped_bytes),
            (Some(14), Some(6))
        );
        assert_eq!(
            (cell.voluntary_switches, cell.gpu, cell.sampler_cost_percent),
            (None, None, None)
        );
    }
}
