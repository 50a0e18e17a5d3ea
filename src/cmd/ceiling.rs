//! `ceiling`: what this machine can do at best, measured and kept.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::{DONE, unless_closed};
use crate::cli::{CeilingArgs, DeviceChoice};
use crate::engine::clock::MonotonicClock;
use crate::engine::kernel::{KernelBackend, KernelDevice};
use crate::engine::llama::{Llama, Log};
use crate::engine::{EngineError, EngineFacts};
use crate::host::usage::UsageSnapshot;
use crate::host::{self, Machine};
use crate::measure::kernel::{self, Effort};
use crate::model::{ModelStore, resolve, type_bytes_per_element};
use crate::plan::forecast;
use crate::record::RunHeader;
use crate::record::ceilings::{self as kept, Found, Owner};
use crate::report::{self, ceiling as sheet, progress};
use crate::roofline::ceiling::{Ceilings, ReadRate};
use crate::roofline::kernel::{Kernel, Load, Point};

/// Tokens that kernels are timed with.
const TOKENS: [u32; 9] = [1, 2, 4, 8, 16, 32, 64, 128, 512];

/// Most sequences that attention and logits are timed with.
const MOST_SEQUENCES: u32 = 128;

/// Contexts that attention is timed at: a token sees this many, itself included.
const CONTEXTS: [u32; 2] = [64, 256];

/// The matrix for types without a model: the width of an 8B model.
const WIDTH: u64 = 4096;

const DEFAULT_TYPES: [&str; 3] = ["q4_0", "q8_0", "f16"];

/// The engine's devices and this machine, to measure ceilings of.
pub(super) struct Place {
    machine: Machine,
    engine: EngineFacts,
}

impl Place {
    /// Asks machine and engine.
    ///
    /// # Errors
    /// When the engine cannot be initialised.
    pub fn probe() -> Result<Self> {
        let llama = Llama::init(Log::Off).context("the engine does not start")?;
        Ok(Self {
            machine: Machine::probe(),
            engine: llama.facts(),
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

    /// Threads when nobody says how many.
    pub fn default_threads(&self) -> u32 {
        self.machine.cpu.available_cores.unwrap_or(1)
    }

    fn cache_bytes(&self) -> Option<u64> {
        self.machine.cpu.last_level_cache_bytes()
    }
}

/// The ceilings of one device under one number of threads: what is kept of them, and the means to measure
/// the rest.
pub(super) struct Desk<'p> {
    place: &'p Place,
    backend: KernelBackend,
    path: Option<PathBuf>,
    fresh: bool,
    /// What is known.
    pub ceilings: Ceilings,
    /// Points that were measured now.
    pub n_measured: usize,
    /// What disturbed that.
    pub notes: Vec<String>,
}

impl<'p> Desk<'p> {
    /// Opens the device and reads what is kept; with `fresh` it measures that again.
    ///
    /// # Errors
    /// When there is no such device.
    pub fn open(
        place: &'p Place,
        device: KernelDevice,
        n_threads: u32,
        fresh: bool,
    ) -> Result<Self> {
        let backend = KernelBackend::open(device, n_threads)?;
        let owner = Owner {
            machine: place.machine.fingerprint.clone(),
            engine: format!("{} | {}", place.engine.version, place.engine.system_info),
            device: backend.device_name().to_owned(),
            n_threads,
        };
        let path = owner.path();
        let mut notes = Vec::new();
        let found = match &path {
            Some(path) => owner.read(path),
            None => Found::Nothing,
        };
        let ceilings = match found {
            Found::Kept(ceilings) => ceilings,
            Found::Nothing => owner.empty(),
            Found::Unreadable(why) => {
                notes.push(format!("the kept ceilings were not used: {why}"));
                owner.empty()
            }
        };
        Ok(Self {
            place,
            backend,
            path,
            fresh,
            ceilings,
            n_measured: 0,
            notes,
        })
    }

    /// How thoroughly: `quick` for what somebody waits for.
    fn effort(&self, quick: bool) -> Effort {
        let cache = self.place.cache_bytes();
        if quick {
            Effort::quick(cache)
        } else {
            Effort::thorough(cache, host::available_memory_bytes())
        }
    }

    /// Measures those of the points that are not known, and the memory bandwidth if that is not; keeps all.
    /// Answers the points that the device cannot compute.
    ///
    /// # Errors
    /// When the ceilings cannot be written.
    pub fn learn(&mut self, points: Vec<Point>, quick: bool) -> Result<Vec<(Point, EngineError)>> {
        let unknown: Vec<Point> = points
            .into_iter()
            .filter(|point| self.fresh || self.ceilings.get(point).is_none())
            .collect();
        let on_cpu = self.backend.device() == KernelDevice::Cpu;
        let wants_read = on_cpu && (self.fresh || self.ceilings.read.is_none());
        if unknown.is_empty() && !wants_read {
            return Ok(Vec::new());
        }
        let effort = self.effort(quick);
        if !unknown.is_empty() {
            eprintln!("{}", announcement(unknown.len(), effort));
        }
        let before = UsageSnapshot::take();
        if wants_read {
            self.ceilings.read = Some(self.read_rate(quick)?);
        }
        let mut refused = Vec::new();
        let clock = MonotonicClock::start();
        let mut show = progress::counted_work("measuring kernels");
        let timed = kernel::time(&self.backend, &unknown, effort, &clock, &mut *show);
        for (point, timing) in timed {
            match timing {
                Ok(mut timing) => {
                    timing.measured_at_s = kept::now_s();
                    self.ceilings.insert(point, timing);
                    self.n_measured += 1;
                }
                Err(e) => refused.push((point, e)),
            }
        }
        self.note_noise(&before, &unknown, wants_read);
        self.keep()?;
        Ok(refused)
    }

    /// Marks what was measured since `before` if others disturbed it.
    fn note_noise(&mut self, before: &UsageSnapshot, points: &[Point], read: bool) {
        let warnings = host::noise_warnings(&UsageSnapshot::take().since(before));
        if warnings.is_empty() {
            return;
        }
        self.notes.extend(warnings.iter().map(ToString::to_string));
        let entries = self.ceilings.entries.iter_mut();
        for entry in entries.filter(|e| points.contains(&e.point)) {
            entry.timing.disturbed = true;
        }
        if let Some(rate) = self.ceilings.read.as_mut().filter(|_| read) {
            rate.disturbed = true;
        }
    }

    fn read_rate(&self, quick: bool) -> Result<ReadRate> {
        let (rounds, round) = if quick { (3, 150) } else { (7, 400) };
        let n_threads = self.ceilings.n_threads;
        Ok(ReadRate {
            measured_at_s: kept::now_s(),
            ..host::read_rate_ceiling(n_threads, rounds, Duration::from_millis(round))?
        })
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
    pub fn source(&self) -> sheet::Source {
        sheet::Source {
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
    format!("measuring {n} kernels on this machine, about {s:.0} s (kept for next time)")
}

/// Measures and prints.
///
/// # Errors
/// For unknown models and types, and devices that are not there.
pub fn ceiling(args: &CeilingArgs) -> Result<u8> {
    let place = Place::probe()?;
    let n_threads = args.threads.unwrap_or_else(|| place.default_threads());
    if n_threads == 0 {
        bail!("--threads: 0 is too small; at least 1");
    }
    let device = place.device(args.device);
    let points = points(args, n_threads)?;
    let mut desk = Desk::open(&place, device, n_threads, args.fresh)?;
    let refused = desk.learn(points.clone(), false)?;
    for (point, e) in &refused {
        desk.notes.push(format!("{}: {e}", point.kernel));
    }
    desk.notes.dedup();
    let source = desk.source();
    let sheets = sheet::sheets(&desk.ceilings, &points, &source);
    let mut out = std::io::stdout().lock();
    unless_closed(report::print_sheets(
        &sheets,
        &desk.ceilings,
        args.output,
        &mut out,
    ))?;
    Ok(DONE)
}

/// What was asked for.
fn points(args: &CeilingArgs, n_threads: u32) -> Result<Vec<Point>> {
    if args.model.is_empty() {
        let defaults = DEFAULT_TYPES.map(str::to_owned);
        let types = match args.types.is_empty() {
            true => &defaults[..],
            false => &args.types[..],
        };
        return types
            .iter()
            .map(|name| of_type(name))
            .collect::<Result<Vec<_>>>()
            .map(|all| all.concat());
    }
    let models = resolve(&args.model, &ModelStore::locate()?)?;
    let mut kernels: Vec<Kernel> = Vec::new();
    for model in &models {
        // Any cell names the model's kernels.
        let case = super::predict::any_case(&model.facts.name, n_threads)?;
        let (decode, _) = forecast::kernels(&case, &model.facts);
        kernels.extend(decode.into_iter().map(|item| item.point.kernel));
    }
    kernels.sort();
    kernels.dedup();
    Ok(kernels.iter().flat_map(loads_of).collect())
}

fn of_type(name: &str) -> Result<Vec<Point>> {
    let weights = name.trim().to_ascii_uppercase();
    if type_bytes_per_element(&weights).is_none() {
        bail!("--type: '{name}' is no tensor type; one such as q4_0, q8_0, q4_k, f16");
    }
    Ok(loads_of(&Kernel::MatMul {
        weights,
        n_in: WIDTH,
        n_out: WIDTH,
    }))
}

/// Everything that a kernel is timed with.
fn loads_of(kernel: &Kernel) -> Vec<Point> {
    let point = |load: Load| Point {
        kernel: kernel.clone(),
        load,
    };
    match kernel {
        Kernel::MatMul { .. } | Kernel::Experts { .. } => {
            TOKENS.map(|n| point(Load::tokens(n))).into()
        }
        Kernel::Attention { .. } => sequences()
            .flat_map(|n_seq| {
                CONTEXTS.map(|seen| {
                    point(Load {
                        n_seq,
                        n_tokens: 1,
                        n_past: seen - 1,
                    })
                })
            })
            .collect(),
        Kernel::Glue { .. } | Kernel::Logits { .. } => {
            sequences().map(|n| point(Load::tokens(n))).collect()
        }
    }
}

fn sequences() -> impl Iterator<Item = u32> {
    TOKENS.into_iter().filter(|&n| n <= MOST_SEQUENCES)
}
