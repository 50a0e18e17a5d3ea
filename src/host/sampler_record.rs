//! What a sampler keeps: sums over its samples, which take no more room however long it runs.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::gpu::usage::throttle_names;
use super::sampler::UsageSample;

/// Smallest, mean and largest of one quantity over the samples that had it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// Smallest, over samples of at least half an interval.
    pub min: f64,
    pub mean: f64,
    /// Largest, over samples of at least half an interval.
    pub max: f64,
}

/// What a sampler saw in its windows. `None`: no sample had it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct UsageSummary {
    pub samples: u64,
    /// Time asked for between samples.
    pub interval_ns: u64,
    pub wall_ns: u64,
    /// CPU time that the sampler itself used, all of it (Linux).
    pub own_cost_ns: Option<u64>,
    /// The part of it while the process worked: the rest came before or after.
    pub beside_cost_ns: u64,
    pub rss_bytes: Option<Spread>,
    /// CPU time of the process: 100 is one core.
    pub process_cpu_percent: Option<Spread>,
    /// CPU time of everybody else, share of the machine.
    pub others_cpu_percent: Option<Spread>,
    /// Capacity taken by the hypervisor, share of the machine.
    pub steal_percent: Option<Spread>,
    /// Clock of the fastest core, while the process worked.
    pub frequency_hz: Option<Spread>,
    pub temperature_c: Option<Spread>,
    pub gpu: Option<GpuSummary>,
}

/// The watched GPUs' part, together: power and memory are sums, the clock is the lowest, the temperature the highest.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct GpuSummary {
    pub sm_clock_hz: Option<Spread>,
    pub power_mw: Option<Spread>,
    pub temperature_c: Option<Spread>,
    /// Device memory in use by anybody.
    pub memory_used_bytes: Option<Spread>,
    /// Share of time in which a kernel ran.
    pub utilisation_percent: Option<Spread>,
    /// Every reason seen for which the device held its clocks down.
    pub throttle_reasons: Vec<String>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Running {
    weight: f64,
    sum: f64,
    extremes: Option<(f64, f64)>,
}

impl Running {
    /// A value that held for so long; `is_whole` when that is long enough for a smallest or largest one.
    fn add(&mut self, value: Option<f64>, wall_ns: u64, is_whole: bool) {
        let Some(value) = value else { return };
        // The weight of an interval that the clock could not see.
        let weight = wall_ns.max(1) as f64;
        self.sum += value * weight;
        self.weight += weight;
        if is_whole {
            let (min, max) = self.extremes.unwrap_or((value, value));
            self.extremes = Some((min.min(value), max.max(value)));
        }
    }

    fn spread(&self) -> Option<Spread> {
        let (min, max) = self.extremes?;
        Some(Spread {
            min,
            mean: self.sum / self.weight,
            max,
        })
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct RunningSums {
    rss: Running,
    process: Running,
    others: Running,
    steal: Running,
    frequency: Running,
    temperature: Running,
    gpu_clock: Running,
    gpu_power: Running,
    gpu_temperature: Running,
    gpu_memory: Running,
    gpu_utilisation: Running,
    gpu_samples: u64,
    gpu_throttle_bits: u64,
}

impl RunningSums {
    fn add(&mut self, sample: &UsageSample, is_whole: bool) {
        let of = |running: &mut Running, value| running.add(value, sample.wall_ns, is_whole);
        of(&mut self.rss, sample.rss_bytes.map(|bytes| bytes as f64));
        of(&mut self.process, sample.process_cpu_percent);
        of(&mut self.others, sample.others_cpu_percent);
        of(&mut self.steal, sample.steal_percent);
        of(&mut self.frequency, sample.frequency_hz.map(|hz| hz as f64));
        let celsius = sample.temperature_mc.map(|mc| mc as f64 / 1000.0);
        of(&mut self.temperature, celsius);
        let Some(gpu) = sample.gpu else { return };
        self.gpu_samples += 1;
        of(&mut self.gpu_clock, gpu.sm_clock_hz.map(|hz| hz as f64));
        of(&mut self.gpu_power, gpu.power_mw.map(f64::from));
        of(&mut self.gpu_temperature, gpu.temperature_c.map(f64::from));
        let memory = gpu.memory_used_bytes.map(|bytes| bytes as f64);
        of(&mut self.gpu_memory, memory);
        let utilisation = gpu.utilisation_percent.map(f64::from);
        of(&mut self.gpu_utilisation, utilisation);
        self.gpu_throttle_bits |= gpu.throttle_bits.unwrap_or(0);
    }

    fn gpu(&self) -> Option<GpuSummary> {
        let names = throttle_names(self.gpu_throttle_bits);
        (self.gpu_samples > 0).then(|| GpuSummary {
            sm_clock_hz: self.gpu_clock.spread(),
            power_mw: self.gpu_power.spread(),
            temperature_c: self.gpu_temperature.spread(),
            memory_used_bytes: self.gpu_memory.spread(),
            utilisation_percent: self.gpu_utilisation.spread(),
            throttle_reasons: names.into_iter().map(str::to_owned).collect(),
        })
    }
}

#[derive(Debug)]
pub(crate) struct Recorder {
    interval: Duration,
    samples: u64,
    wall_ns: u64,
    beside_cost_ns: u64,
    sums: RunningSums,
}

impl Recorder {
    pub(crate) fn new(interval: Duration) -> Self {
        Self {
            interval,
            samples: 0,
            wall_ns: 0,
            beside_cost_ns: 0,
            sums: RunningSums::default(),
        }
    }

    /// A sample; one that is not whole counts for the mean only.
    pub(crate) fn push(&mut self, sample: &UsageSample, is_whole: bool) {
        self.sums.add(sample, is_whole);
        self.samples += 1;
        self.wall_ns = self.wall_ns.saturating_add(sample.wall_ns);
    }

    pub(crate) fn spent_beside(&mut self, cost_ns: u64) {
        self.beside_cost_ns = self.beside_cost_ns.saturating_add(cost_ns);
    }

    /// What there is, and begins anew.
    pub(crate) fn take(&mut self, own_cost_ns: Option<u64>) -> UsageSummary {
        let sums = &self.sums;
        let summary = UsageSummary {
            samples: self.samples,
            interval_ns: crate::units::nanoseconds(self.interval),
            wall_ns: self.wall_ns,
            own_cost_ns,
            beside_cost_ns: self.beside_cost_ns,
            rss_bytes: sums.rss.spread(),
            process_cpu_percent: sums.process.spread(),
            others_cpu_percent: sums.others.spread(),
            steal_percent: sums.steal.spread(),
            frequency_hz: sums.frequency.spread(),
            temperature_c: sums.temperature.spread(),
            gpu: sums.gpu(),
        };
        *self = Self::new(self.interval);
        summary
    }
}

#[cfg(test)]
mod tests {
    use super::super::gpu::usage::GpuUsage;
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn sample(wall_ns: u64, cpu: f64) -> UsageSample {
        UsageSample {
            wall_ns,
            process_cpu_percent: Some(cpu),
            temperature_mc: Some(1000),
            ..UsageSample::default()
        }
    }

    #[test]
    fn means_are_over_time_and_extremes_over_whole_samples() {
        let mut recorder = Recorder::new(Duration::from_secs(2));
        recorder.push(&sample(2 * SECOND, 200.0), true);
        recorder.push(&sample(SECOND, 110.0), true);
        recorder.push(&sample(SECOND, 10.0), false);
        recorder.spent_beside(7);
        let summary = recorder.take(Some(42));
        assert_eq!(
            (summary.samples, summary.wall_ns, summary.interval_ns),
            (3, 4 * SECOND, 2 * SECOND)
        );
        assert_eq!((summary.own_cost_ns, summary.beside_cost_ns), (Some(42), 7));
        // (2 * 200 + 110 + 10) / 4 = 130.
        let spread = |min, mean, max| Some(Spread { min, mean, max });
        assert_eq!(summary.process_cpu_percent, spread(110.0, 130.0, 200.0));
        assert_eq!(summary.temperature_c, spread(1.0, 1.0, 1.0));
        assert_eq!((summary.steal_percent, summary.gpu), (None, None));
        let empty = UsageSummary {
            interval_ns: 2 * SECOND,
            ..UsageSummary::default()
        };
        assert_eq!(recorder.take(None), empty, "taking begins anew");
    }

    #[test]
    fn one_hot_moment_of_the_gpu_is_remembered() {
        let mut recorder = Recorder::new(Duration::ZERO);
        for (bits, clock) in [(0, 1980), (0x20, 1200), (0x1, 1980)] {
            let sample = UsageSample {
                wall_ns: SECOND,
                gpu: Some(GpuUsage {
                    sm_clock_hz: Some(clock),
                    throttle_bits: Some(bits),
                    ..GpuUsage::default()
                }),
                ..UsageSample::default()
            };
            recorder.push(&sample, true);
        }
        let gpu = recorder.take(None).gpu.expect("three samples had one");
        assert_eq!(gpu.throttle_reasons, ["temperature (driver)"]);
        assert_eq!(
            gpu.sm_clock_hz.map(|clock| (clock.min, clock.mean)),
            Some((1200.0, 1720.0))
        );
        assert_eq!(gpu.power_mw, None);
    }

    #[test]
    fn an_older_record_reads_with_what_it_has() {
        let summary: UsageSummary =
            serde_json::from_str(r#"{"samples":3,"temperature_c":{"min":1,"mean":2,"max":3}}"#)
                .expect("defaults");
        assert_eq!((summary.samples, summary.gpu), (3, None));
    }
}
