//! The ceilings of a device that are kept, and the means to measure the rest: what `ceiling` and `predict` share.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::prepare;
use crate::cli::DeviceChoice;
use crate::engine::kernel::KernelDevice;
use crate::engine::{Device, EngineFacts};
use crate::host::usage::UsageDelta;
use crate::host::{self, Machine};
use crate::measure::kernel::Effort;
use crate::plan::Case;
use crate::plan::expand::{Axes, Host, cases};
use crate::record::RunHeader;
use crate::record::ceilings::{self as kept, CachedCeilings, CeilingsOwner};
use crate::report::{ceiling as sheet, progress};
use crate::roofline::ceiling::{Ceilings, ReadRate};
use crate::roofline::kernel::Point;
use crate::run::kernels::KernelTimer;
use crate::run::protocol::EngineChoice;
use crate::run::supervisor::WorkerCommand;
use crate::streams::note;

/// This machine and the engine's devices, as a worker described them, to measure ceilings of.
pub(super) struct KernelHost {
    machine: Machine,
    engine: EngineFacts,
    command: WorkerCommand,
}

impl KernelHost {
    /// Asks machine and engine.
    pub fn probe() -> Result<Self> {
        let command = WorkerCommand::of_this_program(EngineChoice::default())?;
        let (engine, _) = prepare::describe(&command)?;
        Ok(Self {
            machine: Machine::probe(),
            engine,
            command,
        })
    }

    /// The device that was asked for, or the GPU where there is one.
    pub fn device(&self, asked: Option<DeviceChoice>) -> KernelDevice {
        match asked {
            Some(DeviceChoice::Cpu) => KernelDevice::Cpu,
            Some(DeviceChoice::Gpu) => KernelDevice::Gpu,
            None if self.engine.supports_gpu_offload => KernelDevice::Gpu,
            None => KernelDevice::Cpu,
        }
    }

    /// Whether a run was made here, with this engine.
    pub fn is_of(&self, header: &RunHeader) -> bool {
        self.machine.fingerprint == header.machine.fingerprint
            && self.engine.is_same_build(&header.engine)
    }

    /// Threads by default.
    pub fn default_threads(&self) -> u32 {
        self.machine.cpu.available_cores.unwrap_or(1)
    }

    /// The first device of a kind, a GPU before an integrated one.
    fn engine_device(&self, device: KernelDevice) -> Result<&Device> {
        let kinds: &[&str] = match device {
            KernelDevice::Cpu => &["cpu"],
            KernelDevice::Gpu => &["gpu", "igpu"],
        };
        let devices = &self.engine.devices;
        let found = kinds
            .iter()
            .find_map(|kind| devices.iter().find(|d| d.kind == **kind));
        match (found, device) {
            (Some(device), _) => Ok(device),
            (None, KernelDevice::Cpu) => bail!("the engine has no CPU backend"),
            (None, KernelDevice::Gpu) => {
                bail!("--device: the engine found no GPU it can use; cpu is there")
            }
        }
    }

    /// How thoroughly: `quick` for what a user waits for.
    fn effort(&self, device: KernelDevice, quick: bool) -> Result<Effort> {
        let of_gpu = match device {
            KernelDevice::Cpu => None,
            KernelDevice::Gpu => Some(self.engine_device(device)?.memory_free_bytes),
        };
        let available = host::available_memory_bytes().into_iter().chain(of_gpu);
        let of = if quick {
            Effort::quick
        } else {
            Effort::thorough
        };
        Ok(of(
            self.machine.cpu.last_level_cache_bytes(),
            available.min(),
        ))
    }
}

/// Whose ceilings those of a device under a number of threads are.
fn owner(
    machine: &Machine,
    engine: &EngineFacts,
    device: &Device,
    n_threads: u32,
) -> CeilingsOwner {
    CeilingsOwner {
        machine: machine.fingerprint.clone(),
        engine: format!("{} | {}", engine.version, engine.system_info),
        device: device.description.trim().to_owned(),
        n_threads,
    }
}

/// What earlier commands kept of the CPU under each of these numbers of threads; nothing is measured.
pub(super) fn kept_of_cpu(
    machine: &Machine,
    engine: &EngineFacts,
    n_threads: &BTreeSet<u32>,
) -> Vec<Ceilings> {
    let cpu = engine.devices.iter().find(|device| device.kind == "cpu");
    let of_threads = |n: &u32| {
        let owner = owner(machine, engine, cpu?, *n);
        match owner.read(&owner.path()?) {
            CachedCeilings::Kept(ceilings) => Some(ceilings),
            CachedCeilings::Nothing | CachedCeilings::Unreadable(_) => None,
        }
    };
    n_threads.iter().filter_map(of_threads).collect()
}

/// The ceilings of one device under one number of threads: what is kept of them, and the means to measure
/// the rest.
pub(super) struct CeilingCache<'h> {
    host: &'h KernelHost,
    device: KernelDevice,
    path: Option<PathBuf>,
    fresh: bool,
    /// What is known.
    pub ceilings: Ceilings,
    /// Points that were measured now.
    pub n_measured: usize,
    /// What disturbed that.
    pub notes: Vec<String>,
}

impl<'h> CeilingCache<'h> {
    /// Reads what is kept of a device; with `fresh` it measures that again.
    pub fn open(
        host: &'h KernelHost,
        device: KernelDevice,
        n_threads: u32,
        fresh: bool,
    ) -> Result<Self> {
        let owner = owner(
            &host.machine,
            &host.engine,
            host.engine_device(device)?,
            n_threads,
        );
        let path = owner.path();
        let mut notes = Vec::new();
        let found = match &path {
            Some(path) => owner.read(path),
            None => CachedCeilings::Nothing,
        };
        let ceilings = match found {
            CachedCeilings::Kept(ceilings) => ceilings,
            CachedCeilings::Nothing => owner.empty(),
            CachedCeilings::Unreadable(why) => {
                notes.push(format!("the kept ceilings were not used: {why}"));
                owner.empty()
            }
        };
        Ok(Self {
            host,
            device,
            path,
            fresh,
            ceilings,
            n_measured: 0,
            notes,
        })
    }

    /// Measures those of the points that are not known, and the memory bandwidth if that is not; keeps all.
    /// Answers the points that have no time, and why.
    pub fn learn(&mut self, points: Vec<Point>, quick: bool) -> Result<Vec<(Point, String)>> {
        let unknown: Vec<Point> = points
            .into_iter()
            .filter(|point| self.fresh || self.ceilings.get(point).is_none())
            .collect();
        let on_cpu = self.device == KernelDevice::Cpu;
        let wants_read = on_cpu && (self.fresh || self.ceilings.read.is_none());
        if unknown.is_empty() && !wants_read {
            return Ok(Vec::new());
        }
        let effort = self.host.effort(self.device, quick)?;
        if !unknown.is_empty() {
            note(announcement(unknown.len(), effort));
        }
        let n_threads = self.ceilings.n_threads;
        let mut timer = KernelTimer::new(&self.host.command, self.device, n_threads, effort);
        if wants_read {
            self.learn_read_rate(&mut timer, quick);
        }
        let mut refused = Vec::new();
        let mut show = progress::counted_work("measuring kernels");
        for (point, timing) in timer.time(&unknown, &mut *show) {
            match timing {
                Ok(mut timing) => {
                    timing.measured_at_s = kept::now_s();
                    self.ceilings.insert(point, timing);
                    self.n_measured += 1;
                }
                Err(reason) => refused.push((point, reason)),
            }
        }
        self.note_noise(timer.usages(), &unknown, wants_read);
        self.keep()?;
        Ok(refused)
    }

    /// Marks what was measured now if others disturbed it.
    fn note_noise(&mut self, usages: &[UsageDelta], points: &[Point], read: bool) {
        let warnings: Vec<String> = usages
            .iter()
            .flat_map(host::noise_warnings)
            .map(|warning| warning.to_string())
            .collect();
        if warnings.is_empty() {
            return;
        }
        self.notes.extend(warnings);
        let entries = self.ceilings.entries.iter_mut();
        for entry in entries.filter(|e| points.contains(&e.point)) {
            entry.timing.disturbed = true;
        }
        if let Some(rate) = self.ceilings.read.as_mut().filter(|_| read) {
            rate.disturbed = true;
        }
    }

    fn learn_read_rate(&mut self, timer: &mut KernelTimer<'_>, quick: bool) {
        let (rounds, round) = if quick { (3, 150) } else { (7, 400) };
        match timer.read_rate(rounds, Duration::from_millis(round)) {
            Ok(rate) => {
                self.ceilings.read = Some(ReadRate {
                    measured_at_s: kept::now_s(),
                    ..rate
                });
            }
            Err(reason) => self.notes.push(format!("memory bandwidth: {reason}")),
        }
    }

    fn keep(&mut self) -> Result<()> {
        match &self.path {
            Some(path) => kept::write(&self.ceilings, path)
                .with_context(|| format!("{}: cannot keep the ceilings", path.display())),
            None => {
                let why = "there is no cache folder (HOME is not set): nothing was kept";
                self.notes.push(why.to_owned());
                Ok(())
            }
        }
    }

    /// What a table says about where these come from.
    pub fn source(&self) -> sheet::CeilingSource {
        sheet::CeilingSource {
            path: self.path.clone(),
            now_s: kept::now_s(),
            n_measured: self.n_measured,
            notes: self.notes.clone(),
        }
    }
}

fn announcement(n: usize, effort: Effort) -> String {
    // Laying in and the untimed pass take about as long again.
    let s = n as f64 * f64::from(effort.rounds) * effort.round_ns as f64 * 2.0 / 1e9;
    format!(
        "measuring {n} kernels on this machine, about {:.0} s (kept for next time)",
        s.min(45.0)
    )
}

/// Why kernels have no time, each kernel and reason once.
pub(super) fn reasons(refused: &[(Point, String)]) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for (point, reason) in refused {
        let line = format!("{}: {reason}", point.kernel);
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    lines
}

/// A cell with every default: what kernels a model has does not depend on it.
pub(super) fn any_case(model: &str, n_threads: u32) -> Result<Case> {
    let host = Host {
        n_threads,
        n_gpu_layers: 0,
    };
    let mut cases = cases(&Axes::default(), &[model.to_owned()], &[], host)?;
    Ok(cases.remove(0))
}
