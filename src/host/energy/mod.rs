//! Energy by counters that only grow: NVML's of the GPUs, RAPL's of the processor. Never a power limit times a time.
//!
//! A meter is read before, between and after the phases of a repetition; what lies between two readings is a
//! difference, and what cannot be read is unknown, with a reason, from then on.

mod gpu;
mod rapl;
mod source;

use std::fmt;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::Machine;
use super::files::LiveFiles;
use super::gpu::GpuReport;
use super::usage::PhaseEnergy;
use gpu::GpuCounters;
use rapl::Rapl;

pub use source::EnergySource;

/// How long the idle power is measured: a GPU's counter moves about every 100 ms, which leaves a standard deviation of 2%.
const IDLE_WITH_GPU: Duration = Duration::from_secs(2);

/// The same of the processor alone, whose counter moves about every millisecond.
const IDLE_OF_CPU: Duration = Duration::from_millis(500);

/// Counters of some devices of one kind.
trait EnergyCounters: fmt::Debug {
    /// Microjoules since some instant, one value a device.
    fn read_uj(&self) -> Result<Vec<u64>, String>;

    /// The largest value of a device's counter, after which it begins again; `None`: it never does.
    fn range_uj(&self, at: usize) -> Option<u64>;

    fn name(&self, at: usize) -> String;
}

type Reading = Result<Vec<u64>, String>;

/// Microjoules between two readings, of each device.
fn grown(counters: &dyn EnergyCounters, then: &Reading, now: &Reading) -> Reading {
    let (then, now) = (
        then.as_ref().map_err(String::clone)?,
        now.as_ref().map_err(String::clone)?,
    );
    let pairs = then.iter().zip(now).enumerate();
    pairs
        .map(
            |(at, (then, now))| match (now.checked_sub(*then), counters.range_uj(at)) {
                (Some(difference), _) => Ok(difference),
                (None, Some(range)) if *then <= range => Ok(range - then + now),
                (None, _) => Err(format!(
                    "the energy counter of {} went backwards: its driver was loaded anew",
                    counters.name(at)
                )),
            },
        )
        .collect()
}

/// Energy counters of what a cell is computed on, read by the process that submits the work.
///
/// A GPU's counter (`nvmlDeviceGetTotalEnergyConsumption`) moves about every 100 ms, so a difference over a short time is
/// coarse; over some seconds it is good to a few percent. METHODOLOGY.md says how it is used.
#[derive(Debug, Default)]
pub struct EnergyMeter {
    gpu: Option<Box<dyn EnergyCounters>>,
    cpu: Option<Box<dyn EnergyCounters>>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EnergyMark {
    gpu: Option<Reading>,
    cpu: Option<Reading>,
}

/// Energy of a repetition. `None` without a reason: there was no counter from the beginning, for which the record's machine has
/// the reason.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RepetitionEnergy {
    /// Of the GPUs that it was computed on.
    pub gpu: Option<PhaseEnergy>,
    /// Why their counters, which were there, gave nothing.
    pub gpu_lost: Option<String>,
    pub cpu: Option<PhaseEnergy>,
    /// Why their counters, which were there, gave nothing.
    pub cpu_lost: Option<String>,
}

impl EnergyMeter {
    /// Of the processor, and of GPUs by NVML's numbers, as far as they can be read.
    pub fn open(gpus: &[u32]) -> Self {
        fn boxed<C: EnergyCounters + 'static>(c: C) -> Box<dyn EnergyCounters> {
            Box::new(c)
        }
        Self {
            gpu: GpuCounters::open(gpus).ok().map(boxed),
            cpu: Rapl::open(LiveFiles).ok().map(boxed),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.gpu.is_none() && self.cpu.is_none()
    }

    /// Reads every counter. Takes some microseconds: not for inside a span of a call.
    pub fn mark(&self) -> EnergyMark {
        let read = |counters: &Option<Box<dyn EnergyCounters>>| {
            counters.as_ref().map(|counters| counters.read_uj())
        };
        EnergyMark {
            gpu: read(&self.gpu),
            cpu: read(&self.cpu),
        }
    }

    /// The energy of a repetition, from the marks around its phases.
    pub fn between(&self, [before, between, after]: &[EnergyMark; 3]) -> RepetitionEnergy {
        let phases = |counters: &Option<Box<dyn EnergyCounters>>,
                      of: fn(&EnergyMark) -> &Option<Reading>| {
            let (Some(counters), Some(a), Some(b), Some(c)) =
                (counters.as_deref(), of(before), of(between), of(after))
            else {
                return (None, None);
            };
            let total_mj = |then, now| grown(counters, then, now).map(in_mj);
            match (total_mj(a, b), total_mj(b, c)) {
                (Ok(prefill_mj), Ok(decode_mj)) => (
                    Some(PhaseEnergy {
                        prefill_mj,
                        decode_mj,
                    }),
                    None,
                ),
                (Err(why), _) | (_, Err(why)) => (None, Some(why)),
            }
        };
        let (gpu, gpu_lost) = phases(&self.gpu, |mark| &mark.gpu);
        let (cpu, cpu_lost) = phases(&self.cpu, |mark| &mark.cpu);
        RepetitionEnergy {
            gpu,
            gpu_lost,
            cpu,
            cpu_lost,
        }
    }
}

fn in_mj(devices_uj: Vec<u64>) -> u64 {
    let total = devices_uj.into_iter().fold(0, u64::saturating_add);
    total / 1000
}

/// The processor's energy counters, and what it draws at rest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CpuEnergy {
    /// Mean power of all packages before the run, milliwatts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle_power_mw: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub no_energy_because: Option<String>,
}

impl CpuEnergy {
    pub(super) fn probe() -> Self {
        Self {
            idle_power_mw: None,
            no_energy_because: Rapl::open(LiveFiles).err(),
        }
    }
}

/// What was drawn before anything was loaded.
#[derive(Debug, Clone)]
struct IdlePower {
    over_ns: u64,
    gpus: Vec<u32>,
    gpu: Option<Reading>,
    cpu: Option<Reading>,
}

impl IdlePower {
    /// Milliwatts over a time in which nothing of ours runs.
    fn measure(meter: &EnergyMeter, gpus: Vec<u32>, rest: impl FnOnce() -> u64) -> Self {
        let before = meter.mark();
        let over_ns = rest().max(1);
        let after = meter.mark();
        let power = |counters: &Option<Box<dyn EnergyCounters>>,
                     then: &Option<Reading>,
                     now: &Option<Reading>| {
            let (counters, then, now) = (counters.as_deref()?, then.as_ref()?, now.as_ref()?);
            Some(grown(counters, then, now).and_then(|uj| {
                // Microjoules over nanoseconds are gigawatts.
                let mw = |uj: u64| (uj as f64 * 1e6 / over_ns as f64).round() as u64;
                match uj.iter().position(|uj| *uj == 0) {
                    Some(at) => Err(format!(
                        "the energy counter of {} stands still",
                        counters.name(at)
                    )),
                    None => Ok(uj.into_iter().map(mw).collect()),
                }
            }))
        };
        Self {
            over_ns,
            gpus,
            gpu: power(&meter.gpu, &before.gpu, &after.gpu),
            cpu: power(&meter.cpu, &before.cpu, &after.cpu),
        }
    }

    fn note(&self, machine: &mut Machine) {
        let mut is_known = false;
        match &self.gpu {
            Some(Ok(mw)) => {
                for (index, mw) in self.gpus.iter().zip(mw) {
                    if let Some(gpu) = device(&mut machine.gpus, *index) {
                        gpu.idle_power_mw = Some(*mw);
                        is_known = true;
                    }
                }
            }
            Some(Err(why)) => {
                for index in &self.gpus {
                    if let Some(gpu) = device(&mut machine.gpus, *index) {
                        gpu.no_energy_because = Some(why.clone());
                    }
                }
            }
            None => {}
        }
        match &self.cpu {
            Some(Ok(mw)) => {
                machine.cpu_energy.idle_power_mw = Some(mw.iter().sum());
                is_known = true;
            }
            Some(Err(why)) => machine.cpu_energy.no_energy_because = Some(why.clone()),
            None => {}
        }
        machine.idle_over_ns = is_known.then_some(self.over_ns);
    }
}

fn device(gpus: &mut GpuReport, index: u32) -> Option<&mut super::Gpu> {
    gpus.devices.iter_mut().find(|gpu| gpu.index == index)
}

/// Measures what the machine draws at rest and writes it into its description: once a process, the first time, when
/// no engine has been started yet. Takes no time where there is no counter.
pub(super) fn measure_idle(machine: &mut Machine) {
    static IDLE: OnceLock<Option<IdlePower>> = OnceLock::new();
    let idle = IDLE.get_or_init(|| {
        let countable = |gpu: &&super::Gpu| gpu.no_energy_because.is_none();
        let gpus: Vec<u32> = machine
            .gpus
            .devices
            .iter()
            .filter(countable)
            .map(|gpu| gpu.index)
            .collect();
        let meter = EnergyMeter::open(&gpus);
        if meter.is_empty() {
            return None;
        }
        let time = if meter.gpu.is_some() {
            IDLE_WITH_GPU
        } else {
            IDLE_OF_CPU
        };
        Some(IdlePower::measure(&meter, gpus, || {
            let started = Instant::now();
            std::thread::sleep(time);
            crate::units::nanoseconds(started.elapsed())
        }))
    });
    if let Some(idle) = idle {
        idle.note(machine);
    }
}

#[cfg(test)]
mod tests;
