//! From what was typed to what is meant: the plan, priced, with everything wrong refused before
//! anything is written or loaded.

use std::collections::HashSet;

use anyhow::{Context, Result, bail};

use crate::build_info::BuildInfo;
use crate::cli::{AxisArgs, ProtocolArgs, RunArgs, WorkerArgs};
use crate::engine::{Device, EngineFacts};
use crate::host::{self, Gpu, GpuReport, Machine, QuickRates};
use crate::model::{ModelStore, Resolution, ResolvedModel, resolve, sanitize_name};
use crate::plan::budget::{self, GpuRates, MemoryPrice, Rates};
use crate::plan::expand::{Axes, Exclude, Host, cases};
use crate::plan::protocol::{ProtocolChoice, duration};
use crate::plan::sweep::Sweep;
use crate::plan::{Case, MAX_THREADS, Plan, SplitMode, axis};
use crate::record::Outcome;
use crate::run::protocol::EngineChoice;
use crate::run::supervisor::{Worker, WorkerCommand};

/// Measured when no model is named: a synthetic twin of a small real model, which needs no download.
const DEFAULT_MODEL: &str = "synth:smollm2-135m:q4_0";

/// Layers asked for when a GPU is there and nobody says how many: more than any model has.
const ALL_LAYERS: u32 = 999;

/// Share of the free memory a cell may take; the rest is for everybody else.
const MEMORY_SHARE: f64 = 0.95;

/// Price of each case of a plan, and its outcome where it does not fit.
pub type Fits = Vec<(MemoryPrice, Option<Outcome>)>;

/// Everything known before a run.
pub struct Prepared {
    /// What will be done.
    pub plan: Plan,
    /// The models, some still to be made.
    pub models: Vec<ResolvedModel>,
    /// What the user should know of the models: files that were left out.
    pub notes: Vec<String>,
    /// How to start workers.
    pub command: WorkerCommand,
    /// The machine.
    pub machine: Machine,
    /// The engine, as a worker described it.
    pub engine: EngineFacts,
    /// The workers' program.
    pub program: BuildInfo,
    /// The machine's rates, roughly.
    pub rates: Rates,
    /// Whether each case fits, in the plan's order.
    pub fits: Fits,
}

/// What is asked for, by flags and sweep together.
#[derive(Debug, Clone)]
pub struct Asked {
    /// Name of the run's folder.
    pub name: String,
    /// The axes.
    pub axes: Axes,
    /// Axes of further cells, whole.
    pub also: Vec<Axes>,
    /// Combinations that are left out.
    pub exclude: Vec<Exclude>,
    /// The protocol.
    pub protocol: ProtocolChoice,
    /// Whether the idle power is measured beforehand, where it can be.
    pub measures_idle_power: bool,
}

impl Asked {
    /// Flags over a sweep, or over the defaults; `name` is that of a run without a sweep.
    ///
    /// # Errors
    /// For flags that do not parse.
    pub fn of(
        axes: &AxisArgs,
        protocol: &ProtocolArgs,
        sweep: Option<Sweep>,
        name: &str,
    ) -> Result<Self> {
        let sweep = sweep.unwrap_or_else(|| Sweep {
            name: name.to_owned(),
            axes: Axes::default(),
            also: Vec::new(),
            exclude: Vec::new(),
            protocol: ProtocolChoice::default(),
            requests: None,
        });
        let flags = axes_of(axes)?;
        let also = sweep.also.into_iter().map(|also| {
            let over = sweep.axes.clone().overridden_by(also);
            over.overridden_by(flags.clone())
        });
        Ok(Self {
            name: sweep.name,
            also: also.collect(),
            axes: sweep.axes.clone().overridden_by(flags.clone()),
            exclude: sweep.exclude,
            protocol: sweep.protocol.overridden_by(protocol_of(protocol)?),
            measures_idle_power: false,
        })
    }

    /// The same with other axes over it.
    ///
    /// # Errors
    /// For flags that do not parse.
    pub fn with(&self, axes: &AxisArgs) -> Result<Self> {
        let flags = axes_of(axes)?;
        let over = |axes: &Axes| axes.clone().overridden_by(flags.clone());
        Ok(Self {
            axes: over(&self.axes),
            also: self.also.iter().map(over).collect(),
            ..self.clone()
        })
    }
}

/// How workers are started for these flags.
///
/// # Errors
/// For an unknown engine.
pub fn worker_command(args: &WorkerArgs) -> Result<WorkerCommand> {
    let engine: EngineChoice = match &args.engine {
        None => EngineChoice::default(),
        Some(text) => text.parse().map_err(anyhow::Error::msg)?,
    };
    Ok(WorkerCommand::of_this_program(engine)?)
}

/// The engine that workers run, and their program.
///
/// # Errors
/// When none starts.
pub fn describe(command: &WorkerCommand) -> Result<(EngineFacts, BuildInfo)> {
    let worker = Worker::start(command).context("the engine does not start")?;
    let program = worker.program().cloned().unwrap_or_else(BuildInfo::unknown);
    Ok((worker.engine().clone(), program))
}

/// Understands what is asked for.
///
/// # Errors
/// One line naming what is wrong.
pub fn prepare(asked: Asked, command: WorkerCommand) -> Result<Prepared> {
    let Asked {
        name,
        axes,
        also,
        exclude,
        protocol,
        measures_idle_power,
    } = asked;
    let groups: Vec<&Axes> = std::iter::once(&axes).chain(&also).collect();
    let protocol = protocol.resolve()?;
    // What needs no model is checked first: a wrong batch is told before a missing file.
    let mut machine = Machine::probe();
    let default_host = Host {
        n_threads: machine.cpu.available_cores.unwrap_or(1).min(MAX_THREADS),
        n_gpu_layers: 0,
    };
    let of_any_model: Vec<Exclude> = exclude
        .iter()
        .filter(|x| x.model.is_none())
        .cloned()
        .collect();
    for axes in &groups {
        cases(axes, &["any".to_owned()], &of_any_model, default_host)?;
    }

    let all_specs: Vec<String> = groups.iter().flat_map(|axes| specs(axes)).collect();
    let found = resolve(&all_specs, &ModelStore::locate()?)?;
    if measures_idle_power && matches!(command.engine, EngineChoice::Llama { .. }) {
        machine.measure_idle_power();
    }
    let (engine, program) = describe(&command)?;
    for axes in &groups {
        check_gpu(axes, &engine)?;
    }
    let host = Host {
        n_gpu_layers: if engine.supports_gpu_offload {
            ALL_LAYERS
        } else {
            0
        },
        ..default_host
    };
    let plan = Plan {
        name: sanitize_name(&name),
        protocol,
        models: found.models.iter().map(|m| m.facts.clone()).collect(),
        cases: planned(&groups, &found, &exclude, host)?,
    };
    let fits = fits(&[(&plan, &engine)]).remove(0);
    Ok(Prepared {
        program,
        rates: rates(host.n_threads, &machine.gpus)?,
        plan,
        models: found.models,
        notes: found.notes,
        command,
        machine,
        engine,
        fits,
    })
}

/// Understands what is asked of servers alone: no model of this machine has a part in it, so none is named, read or
/// made, and nothing is asked of the engine but what it is. `name` stands where a model's would.
///
/// # Errors
/// One line naming what is wrong.
pub fn without_model(asked: Asked, name: &str, command: WorkerCommand) -> Result<Prepared> {
    let protocol = asked.protocol.resolve()?;
    let machine = Machine::probe();
    let host = Host {
        n_threads: machine.cpu.available_cores.unwrap_or(1),
        n_gpu_layers: 0,
    };
    let cases = cases(&asked.axes, &[sanitize_name(name)], &asked.exclude, host)?;
    let (engine, program) = describe(&command)?;
    Ok(Prepared {
        notes: Vec::new(),
        program,
        rates: Rates::of_no_cells(host.n_threads),
        plan: Plan {
            name: sanitize_name(&asked.name),
            protocol,
            models: Vec::new(),
            cases,
        },
        models: Vec::new(),
        command,
        machine,
        engine,
        fits: Vec::new(),
    })
}

/// What `--model` was given, or the default.
fn specs(axes: &Axes) -> Vec<String> {
    let default = || vec![DEFAULT_MODEL.to_owned()];
    axes.model.clone().unwrap_or_else(default)
}

/// The cells of all groups of axes, each once.
fn planned(
    groups: &[&Axes],
    models: &Resolution,
    exclude: &[Exclude],
    host: Host,
) -> Result<Vec<Case>> {
    let mut planned: Vec<Case> = Vec::new();
    let mut known = HashSet::new();
    for axes in groups {
        let specs = specs(axes);
        let own = models.meant_by(&specs);
        let names: Vec<String> = own.map(|m| m.facts.name.clone()).collect();
        for case in cases(axes, &names, exclude, host)? {
            if known.insert(case.clone()) {
                planned.push(case);
            }
        }
    }
    Ok(planned)
}

/// The machine's quickly measured rates in the form the budget takes.
///
/// # Errors
/// When the system gives fewer threads.
pub fn rates(n_threads: u32, gpus: &GpuReport) -> Result<Rates> {
    let quick = QuickRates::measure(n_threads)?;
    Ok(Rates {
        read_bytes_per_s: quick.read_bytes_per_s,
        flops_per_s: quick.flops_per_s,
        n_threads,
        gpu: gpus.devices.first().and_then(gpu_rates),
    })
}

/// Of the first GPU: the others of a machine are mostly like it, and a model is computed by one after the other.
fn gpu_rates(gpu: &Gpu) -> Option<GpuRates> {
    Some(GpuRates {
        read_bytes_per_s: gpu.nameplate_bytes_per_s()?,
        flops_per_s: gpu.nameplate_f32_flops_per_s()?,
    })
}

fn check_gpu(axes: &Axes, engine: &EngineFacts) -> Result<()> {
    let largest = |axis: &Option<Vec<u32>>| axis.iter().flatten().copied().max().unwrap_or(0);
    let main_gpu = largest(&axes.main_gpu);
    let n_gpus = engine
        .devices
        .iter()
        .filter(|d| d.kind.ends_with("gpu"))
        .count();
    if main_gpu > 0 && main_gpu as usize >= n_gpus {
        bail!("main_gpu {main_gpu}: the engine found {n_gpus} GPUs, counted from 0");
    }
    check_split_mode(axes, engine)?;
    let asked = largest(&axes.n_gpu_layers);
    if asked == 0 || engine.supports_gpu_offload {
        return Ok(());
    }
    if cfg!(any(feature = "cuda", feature = "metal", feature = "vulkan")) {
        bail!(
            "n_gpu_layers {asked}: this build has a GPU backend, but the engine found no GPU it can use; \
             check the driver, or ask for 0"
        );
    }
    bail!(
        "n_gpu_layers {asked}: this build has no GPU backend; build it with `make build CUDA=1` (needs \
         NVIDIA's toolkit), or ask for 0"
    );
}

/// Otherwise the engine loads and then throws "does not support split buffers" (CUDA lost them with llama.cpp PR 24216).
fn check_split_mode(axes: &Axes, engine: &EngineFacts) -> Result<()> {
    let asks_for_rows = axes
        .split_mode
        .iter()
        .flatten()
        .any(|m| *m == SplitMode::Row);
    let cannot = |d: &&Device| d.kind.ends_with("gpu") && !d.can_split_rows;
    match engine.devices.iter().find(cannot) {
        Some(device) if asks_for_rows => bail!(
            "split_mode row: the {} backend of this engine cannot split rows; use layer, or tensor (experimental)",
            device.backend
        ),
        _ => Ok(()),
    }
}

/// Prices every case and says which do not fit the free memory of the host and of the GPUs. Lanes, each with the engine
/// of its workers, are loaded side by side: a cell fits in all of them or in none.
pub fn fits(lanes: &[(&Plan, &EngineFacts)]) -> Vec<Fits> {
    let mut fits: Vec<Fits> = lanes.iter().map(|_| Vec::new()).collect();
    let n_cases = lanes.iter().map(|(plan, _)| plan.cases.len()).min();
    for at in 0..n_cases.unwrap_or(0) {
        let prices: Vec<LanePrice> = lanes
            .iter()
            .map(|(plan, engine)| LanePrice::of(plan, &plan.cases[at], engine))
            .collect();
        let outcome = over(&prices);
        for (fits, price) in fits.iter_mut().zip(prices) {
            fits.push((price.whole, outcome.clone()));
        }
    }
    fits
}

/// What a lane's cell takes, and where.
struct LanePrice {
    whole: MemoryPrice,
    on_gpu: u64,
    on_host: u64,
    /// Free memory of the GPUs that the cell uses.
    gpu_bytes: u64,
    /// The engine's names of them.
    gpus: String,
}

impl LanePrice {
    fn of(plan: &Plan, case: &Case, engine: &EngineFacts) -> Self {
        let model = plan.model_of(case);
        let whole = budget::memory(case, model);
        // An integrated GPU's memory is the host's.
        let used = engine.gpus_of(&case.load_key()).into_iter();
        let used = used
            .map(|at| &engine.devices[at])
            .filter(|d| d.kind == "gpu");
        let gpus: Vec<&Device> = used.collect();
        let (on_gpu, on_host) = if gpus.is_empty() {
            (0, whole.total_bytes())
        } else {
            whole.split(case, model)
        };
        let names: Vec<&str> = gpus.iter().map(|d| d.name.as_str()).collect();
        Self {
            whole,
            on_gpu,
            on_host,
            gpu_bytes: gpus
                .iter()
                .fold(0, |sum: u64, d| sum.saturating_add(d.memory_free_bytes)),
            gpus: names.join(", "),
        }
    }
}

/// The outcome of a cell that does not fit.
fn over(lanes: &[LanePrice]) -> Option<Outcome> {
    let share = |bytes: u64| (bytes as f64 * MEMORY_SHARE) as u64;
    let over = |needs_bytes: u64, has_bytes: u64, device: Option<&str>| {
        (needs_bytes > has_bytes).then(|| Outcome::Skipped {
            needs_bytes,
            has_bytes,
            device: device.map(str::to_owned),
        })
    };
    let sum = |bytes: fn(&LanePrice) -> u64| lanes.iter().map(bytes).fold(0, u64::saturating_add);
    let on_gpu = sum(|lane| lane.on_gpu);
    let on_host = sum(|lane| lane.on_host);
    let using = lanes.iter().filter(|lane| lane.on_gpu > 0);
    let roomiest = using.max_by_key(|lane| lane.gpu_bytes);
    roomiest
        .and_then(|lane| over(on_gpu, share(lane.gpu_bytes), Some(&lane.gpus)))
        .or_else(|| host::available_memory_bytes().and_then(|has| over(on_host, share(has), None)))
}

/// The axes that flags name.
///
/// # Errors
/// For values that do not parse.
pub fn axes_of(args: &AxisArgs) -> Result<Axes> {
    fn numbers(key: &str, values: &[String]) -> Result<Option<Vec<u32>>> {
        if values.is_empty() {
            return Ok(None);
        }
        Ok(Some(axis::numbers(key, &values.join(","))?))
    }
    fn words<T>(key: &str, values: &[String]) -> Result<Option<Vec<T>>>
    where
        T: std::str::FromStr<Err = String> + PartialEq,
    {
        if values.is_empty() {
            return Ok(None);
        }
        Ok(Some(axis::words(key, &values.join(","))?))
    }
    fn switches(key: &str, values: &[String]) -> Result<Option<Vec<bool>>> {
        if values.is_empty() {
            return Ok(None);
        }
        Ok(Some(axis::switches(key, &values.join(","))?))
    }
    Ok(Axes {
        model: (!args.model.is_empty()).then(|| args.model.clone()),
        n_seq: numbers("--batch", &args.batch)?,
        n_prompt: numbers("--n-prompt", &args.n_prompt)?,
        n_gen: numbers("--n-gen", &args.n_gen)?,
        n_depth: numbers("--n-depth", &args.n_depth)?,
        n_threads: numbers("--threads", &args.threads)?,
        n_ctx: numbers("--n-ctx", &args.n_ctx)?,
        kv: words("--kv", &args.kv)?,
        n_batch: numbers("--n-batch", &args.n_batch)?,
        n_ubatch: numbers("--n-ubatch", &args.n_ubatch)?,
        type_k: words("--type-k", &args.type_k)?,
        type_v: words("--type-v", &args.type_v)?,
        flash_attn: words("--flash-attn", &args.flash_attn)?,
        swa_full: switches("--swa-full", &args.swa_full)?,
        n_gpu_layers: numbers("--n-gpu-layers", &args.n_gpu_layers)?,
        split_mode: words("--split-mode", &args.split_mode)?,
        main_gpu: numbers("--main-gpu", &args.main_gpu)?,
        sample: args.no_sample.then(|| vec![false]),
    })
}

fn protocol_of(args: &ProtocolArgs) -> Result<ProtocolChoice> {
    let time =
        |key: &str, text: &Option<String>| text.as_ref().map(|t| duration(key, t)).transpose();
    Ok(ProtocolChoice {
        seed: args.seed,
        replicates: args.replicates,
        max_replicates: args.max_replicates,
        min_repetitions: args.repetitions.or(args.min_repetitions),
        max_repetitions: args.repetitions.or(args.max_repetitions),
        precision: args.precision,
        budget: time("--budget", &args.budget)?,
        timeout: time("--timeout", &args.timeout)?,
    })
}

/// Whether any flag describes cells or protocol: a resumed run's are in its record.
///
/// # Errors
/// For flags that do not parse.
pub fn describes_cells(args: &RunArgs) -> Result<bool> {
    Ok(axes_of(&args.axes)? != Axes::default()
        || protocol_of(&args.protocol)? != ProtocolChoice::default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::fixture::{case, header};

    /// The fixture's engine with a GPU of so much free memory.
    fn engine(free_bytes: u64, facts: &EngineFacts) -> EngineFacts {
        let gpu = Device {
            name: "CUDA0".to_owned(),
            description: "NVIDIA H200".to_owned(),
            backend: "CUDA".to_owned(),
            kind: "gpu".to_owned(),
            memory_total_bytes: free_bytes,
            memory_free_bytes: free_bytes,
            can_split_rows: false,
            pci_bus_id: None,
        };
        EngineFacts {
            devices: vec![gpu],
            ..facts.clone()
        }
    }

    #[test]
    fn a_cell_that_does_not_fit_its_gpu_is_skipped_before_anything_is_loaded() {
        let offloaded = Case {
            n_gpu_layers: 99,
            ..case("tiny", 8)
        };
        let header = header(&["tiny"], vec![offloaded.clone()]);
        let price = budget::memory(&offloaded, &header.plan.models[0]);
        let needs = price.split(&offloaded, &header.plan.models[0]).0;
        // Weights, KV cache and compute buffers, but for what dividing by layers rounds off.
        assert!(price.total_bytes() - needs < 100, "{needs} of {price:?}");
        let outcome = |free_bytes: u64| {
            let engine = engine(free_bytes, &header.engine);
            fits(&[(&header.plan, &engine)]).remove(0).remove(0).1
        };
        let share = (needs as f64 / MEMORY_SHARE) as u64;
        assert_eq!(outcome(share + 1000), None);
        let skipped = outcome(share - 1000).expect("it does not fit").to_string();
        assert!(skipped.contains("on CUDA0, has "), "{skipped}");
        let on_cpu = Plan {
            cases: vec![case("tiny", 8)],
            ..header.plan.clone()
        };
        let engine = engine(0, &header.engine);
        let of_cpu = fits(&[(&on_cpu, &engine)]).remove(0).remove(0).1;
        assert_eq!(of_cpu, None, "a full GPU is nothing to it");
    }
}
