//! What a sampler keeps: a ring of the latest samples, and sums over all of them.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::gpu::throttle_names;
use super::sampler::UsageSample;

/// Smallest, mean and largest of one quantity over the samples that had it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// Smallest.
    pub min: f64,
    /// Arithmetic mean.
    pub mean: f64,
    /// Largest.
    pub max: f64,
}

/// A sampler's run in short. `None`: no sample had it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct UsageSummary {
    /// Samples taken.
    pub samples: u64,
    /// Time asked for between samples.
    pub interval_ns: u64,
    /// Time from start to stop.
    pub wall_ns: u64,
    /// CPU time that the sampler itself used (Linux).
    pub own_cost_ns: Option<u64>,
    /// Memory of the process.
    pub rss_bytes: Option<Spread>,
    /// CPU time of the process: 100 is one core.
    pub process_cpu_percent: Option<Spread>,
    /// CPU time of everybody else, share of the machine.
    pub others_cpu_percent: Option<Spread>,
    /// Capacity taken by the hypervisor, share of the machine.
    pub steal_percent: Option<Spread>,
    /// Clock, mean over cores.
    pub frequency_hz: Option<Spread>,
    /// Processor temperature in degrees Celsius.
    pub temperature_c: Option<Spread>,
    /// Thermal throttling events of all cores between start and stop (x86 Linux).
    pub throttle_events: Option<u64>,
    /// The watched GPU.
    pub gpu: Option<GpuSummary>,
    /// Whether CPU or GPU were slowed down for heat or power; `None` when neither can be read.
    pub throttled: Option<bool>,
}

/// The watched GPU's part.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct GpuSummary {
    /// Clock of the multiprocessors.
    pub sm_clock_hz: Option<Spread>,
    /// Power draw in milliwatts.
    pub power_mw: Option<Spread>,
    /// Degrees Celsius.
    pub temperature_c: Option<Spread>,
    /// Device memory in use by anybody.
    pub memory_used_bytes: Option<Spread>,
    /// Share of time in which a kernel ran.
    pub utilisation_percent: Option<Spread>,
    /// Every reason seen for which the device held its clocks down.
    pub throttle_reasons: Vec<String>,
}

/// A summary with the samples behind it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct UsageTrace {
    /// Over all samples.
    pub summary: UsageSummary,
    /// The latest samples, oldest first.
    pub samples: Vec<UsageSample>,
}

/// Sums that give a [`Spread`].
#[derive(Clone, Copy, Debug, Default)]
struct Running {
    count: u64,
    sum: f64,
    min: f64,
    max: f64,
}

impl Running {
    fn add(&mut self, value: Option<f64>) {
        let Some(value) = value else { return };
        if self.count == 0 {
            (self.min, self.max) = (value, value);
        }
        self.min = self.min.min(value);
        self.max = self.max.max(value);
        self.sum += value;
        self.count += 1;
    }

    fn spread(&self) -> Option<Spread> {
        (self.count > 0).then(|| Spread {
            min: self.min,
            mean: self.sum / self.count as f64,
            max: self.max,
        })
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Sums {
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
    gpu_throttle_bits: Option<u64>,
}

impl Sums {
    fn add(&mut self, sample: &UsageSample) {
        self.rss.add(sample.rss_bytes.map(|bytes| bytes as f64));
        self.process.add(sample.process_cpu_percent);
        self.others.add(sample.others_cpu_percent);
        self.steal.add(sample.steal_percent);
        self.frequency.add(sample.frequency_hz.map(|hz| hz as f64));
        self.temperature
            .add(sample.temperature_mc.map(|mc| mc as f64 / 1000.0));
        let Some(gpu) = sample.gpu else { return };
        self.gpu_samples += 1;
        self.gpu_clock.add(gpu.sm_clock_hz.map(|hz| hz as f64));
        self.gpu_power.add(gpu.power_mw.map(f64::from));
        self.gpu_temperature.add(gpu.temperature_c.map(f64::from));
        self.gpu_memory
            .add(gpu.memory_used_bytes.map(|bytes| bytes as f64));
        self.gpu_utilisation
            .add(gpu.utilisation_percent.map(f64::from));
        if let Some(bits) = gpu.throttle_bits {
            self.gpu_throttle_bits = Some(self.gpu_throttle_bits.unwrap_or(0) | bits);
        }
    }

    fn gpu(&self) -> Option<GpuSummary> {
        let names = throttle_names(self.gpu_throttle_bits.unwrap_or(0));
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

/// Collects samples without allocating after the start.
#[derive(Debug)]
pub(crate) struct Recorder {
    ring: Vec<UsageSample>,
    capacity: usize,
    sums: Sums,
    summary: UsageSummary,
}

impl Recorder {
    pub(crate) fn new(interval: Duration, capacity: usize) -> Self {
        let capacity = capacity.max(1);
        Self {
            ring: Vec::with_capacity(capacity),
            capacity,
            sums: Sums::default(),
            summary: UsageSummary {
                interval_ns: as_ns(interval),
                ..UsageSummary::default()
            },
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.summary.samples == 0
    }

    pub(crate) fn push(&mut self, sample: UsageSample) {
        self.sums.add(&sample);
        if self.ring.len() < self.capacity {
            self.ring.push(sample);
        } else {
            let oldest = (self.summary.samples % self.capacity as u64) as usize;
            self.ring[oldest] = sample;
        }
        self.summary.samples += 1;
    }

    pub(crate) fn close(
        &mut self,
        wall: Duration,
        own_cost_ns: Option<u64>,
        throttled: Option<u64>,
    ) {
        self.summary.wall_ns = as_ns(wall);
        self.summary.own_cost_ns = own_cost_ns;
        self.summary.throttle_events = throttled;
    }

    pub(crate) fn finish(mut self) -> UsageTrace {
        if self.ring.len() == self.capacity {
            let oldest = (self.summary.samples % self.capacity as u64) as usize;
            self.ring.rotate_left(oldest);
        }
        let cpu = self.summary.throttle_events.map(|events| events > 0);
        let gpu = self
            .sums
            .gpu_throttle_bits
            .map(|bits| !throttle_names(bits).is_empty());
        let sums = &self.sums;
        let summary = UsageSummary {
            rss_bytes: sums.rss.spread(),
            process_cpu_percent: sums.process.spread(),
            others_cpu_percent: sums.others.spread(),
            steal_percent: sums.steal.spread(),
            frequency_hz: sums.frequency.spread(),
            temperature_c: sums.temperature.spread(),
            gpu: sums.gpu(),
            throttled: cpu.into_iter().chain(gpu).reduce(|a, b| a || b),
            ..self.summary
        };
        UsageTrace {
            summary,
            samples: self.ring,
        }
    }
}

fn as_ns(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::gpu::GpuUsage;
    use super::*;

    fn sample(at_ns: u64) -> UsageSample {
        UsageSample {
            at_ns,
            rss_bytes: Some(at_ns * 10),
            temperature_mc: Some(1000 * at_ns as i64),
            ..UsageSample::default()
        }
    }

    #[test]
    fn the_ring_keeps_the_latest_and_the_summary_counts_all() {
        let mut recorder = Recorder::new(Duration::from_millis(200), 3);
        (1..=5).for_each(|at| recorder.push(sample(at)));
        recorder.close(Duration::from_secs(1), Some(42), None);
        let trace = recorder.finish();
        let kept: Vec<u64> = trace.samples.iter().map(|sample| sample.at_ns).collect();
        assert_eq!(kept, [3, 4, 5]);
        let summary = trace.summary;
        assert_eq!((summary.samples, summary.interval_ns), (5, 200_000_000));
        assert_eq!(
            (summary.wall_ns, summary.own_cost_ns),
            (1_000_000_000, Some(42))
        );
        let spread = |min, mean, max| Some(Spread { min, mean, max });
        assert_eq!(summary.rss_bytes, spread(10.0, 30.0, 50.0));
        assert_eq!(summary.temperature_c, spread(1.0, 3.0, 5.0));
        assert_eq!(
            (summary.steal_percent, summary.gpu, summary.throttled),
            (None, None, None)
        );
    }

    #[test]
    fn a_ring_that_is_just_full_stays_in_order() {
        let mut recorder = Recorder::new(Duration::ZERO, 3);
        (1..=3).for_each(|at| recorder.push(sample(at)));
        let kept: Vec<u64> = recorder.finish().samples.iter().map(|s| s.at_ns).collect();
        assert_eq!(kept, [1, 2, 3]);
    }

    #[test]
    fn one_hot_moment_of_the_gpu_is_remembered() {
        let mut recorder = Recorder::new(Duration::ZERO, 8);
        for (bits, clock) in [(0, 1980), (0x20, 1200), (0x1, 1980)] {
            recorder.push(UsageSample {
                gpu: Some(GpuUsage {
                    sm_clock_hz: Some(clock),
                    throttle_bits: Some(bits),
                    ..GpuUsage::default()
                }),
                ..UsageSample::default()
            });
        }
        let summary = recorder.finish().summary;
        assert_eq!(summary.throttled, Some(true));
        let gpu = summary.gpu.expect("three samples had one");
        assert_eq!(gpu.throttle_reasons, ["temperature (driver)"]);
        assert_eq!(
            gpu.sm_clock_hz.map(|clock| (clock.min, clock.mean)),
            Some((1200.0, 1720.0))
        );
        assert_eq!(gpu.power_mw, None);
    }

    #[test]
    fn counters_that_stood_still_mean_not_throttled() {
        let mut recorder = Recorder::new(Duration::ZERO, 1);
        recorder.close(Duration::ZERO, None, Some(0));
        assert_eq!(recorder.finish().summary.throttled, Some(false));
    }
}
