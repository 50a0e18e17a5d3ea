//! From what was typed to what is meant: the plan, priced, with everything wrong refused before
//! anything is written or loaded.

use std::collections::{BTreeSet, HashSet};

use anyhow::{Context, Result};
use serde_json::Value;

use super::ceilings::kept_of_cpu;
use super::offload;
use crate::build_info::BuildInfo;
use crate::cli::{AxisArgs, ProtocolArgs, RunArgs, WorkerArgs};
use crate::engine::EngineFacts;
use crate::host::{Gpu, GpuReport, HostWarning, Machine, QuickRates};
use crate::model::{ModelStore, Resolution, ResolvedModel, resolve, sanitize_name};
use crate::plan::axis::Axis;
use crate::plan::budget::{GpuRates, Rates};
use crate::plan::expand::{ALL_LAYERS, Axes, Exclude, Host, cases};
use crate::plan::protocol::{ProtocolChoice, duration};
use crate::plan::sweep::Sweep;
use crate::plan::{Case, MAX_THREADS, Plan};
use crate::run::protocol::EngineChoice;
use crate::run::supervisor::{Worker, WorkerCommand};

/// Measured when no model is named: a synthetic twin of a small real model, which needs no download.
pub(super) const DEFAULT_MODEL: &str = "synth:smollm2-135m:q4_0";

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
    pub fits: offload::Fits,
}

/// What is asked for, by flags and sweep together.
#[derive(Debug, Clone)]
pub struct RunSpec {
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
    /// Whether cells are to be measured, whose time is forecast from the machine's rates.
    pub has_cells: bool,
}

impl RunSpec {
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
            quality: None,
        });
        let flags = axes.axes()?;
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
            has_cells: true,
        })
    }

    /// The same with other axes over it.
    ///
    /// # Errors
    /// For flags that do not parse.
    pub fn with(&self, axes: &AxisArgs) -> Result<Self> {
        let flags = axes.axes()?;
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
pub fn prepare(asked: RunSpec, command: WorkerCommand) -> Result<Prepared> {
    let RunSpec {
        name,
        axes,
        also,
        exclude,
        protocol,
        measures_idle_power,
        has_cells,
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
    let (mut engine, program) = describe(&command)?;
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
    engine.remote = offload::remote(plan.cases.iter().map(|c| &c.rpc), &command)?;
    for case in &plan.cases {
        offload::check(case, &engine)?;
    }
    let fits = offload::fits(&[(&plan, &engine)]).remove(0);
    let threads: BTreeSet<u32> = plan.cases.iter().map(|case| case.n_threads).collect();
    let notes = debug_note(&program).into_iter().chain(found.notes);
    Ok(Prepared {
        notes: notes.collect(),
        program,
        rates: match has_cells {
            true => Rates {
                ceilings: kept_of_cpu(&machine, &engine, &threads),
                ..rates(host.n_threads, &machine.gpus)?
            },
            false => Rates::of_no_cells(host.n_threads),
        },
        plan,
        models: found.models,
        command,
        machine,
        engine,
        fits,
    })
}

/// Said before anything is measured, as the table says it after.
fn debug_note(program: &BuildInfo) -> Vec<String> {
    let is_debug = program.is_debug();
    let note = is_debug.then(|| HostWarning::DebugBuild.to_string());
    note.into_iter().collect()
}

/// Understands what is asked of servers alone: no model of this machine has a part in it, so none is named, read or
/// made, and nothing is asked of the engine but what it is. `name` stands where a model's would.
///
/// # Errors
/// One line naming what is wrong.
pub fn without_model(asked: RunSpec, name: &str, command: WorkerCommand) -> Result<Prepared> {
    let protocol = asked.protocol.resolve()?;
    let machine = Machine::probe();
    let host = Host {
        n_threads: machine.cpu.available_cores.unwrap_or(1),
        n_gpu_layers: 0,
    };
    let cases = cases(&asked.axes, &[sanitize_name(name)], &asked.exclude, host)?;
    let (engine, program) = describe(&command)?;
    Ok(Prepared {
        notes: debug_note(&program),
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

/// The defaults that depend on the machine and on the engine's devices.
pub(super) fn host(engine: &EngineFacts) -> Host {
    Host {
        n_threads: Machine::probe()
            .cpu
            .available_cores
            .unwrap_or(1)
            .min(MAX_THREADS),
        n_gpu_layers: match engine.supports_gpu_offload {
            true => ALL_LAYERS,
            false => 0,
        },
    }
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
        ceilings: Vec::new(),
    })
}

/// Of the first GPU: the others of a machine are mostly like it, and a model is computed by one after the other.
fn gpu_rates(gpu: &Gpu) -> Option<GpuRates> {
    Some(GpuRates {
        read_bytes_per_s: gpu.nameplate_bytes_per_s()?,
        flops_per_s: gpu.nameplate_f32_flops_per_s()?,
    })
}

fn protocol_of(args: &ProtocolArgs) -> Result<ProtocolChoice> {
    let time =
        |key: &str, text: &Option<String>| text.as_ref().map(|t| duration(key, t)).transpose();
    Ok(ProtocolChoice {
        seed: args.seed,
        replicates: args.replicates,
        max_replicates: args.max_replicates,
        check_output: args.check_output.then_some(true),
        min_repetitions: args.repetitions.or(args.min_repetitions),
        max_repetitions: args.repetitions.or(args.max_repetitions),
        precision: args.precision,
        budget: time("--budget", &args.budget)?,
        timeout: time("--timeout", &args.timeout)?,
    })
}

/// The flags that describe cells or protocol: a resumed run's are in its record.
///
/// # Errors
/// For flags that do not parse.
pub fn flags_of_cells(args: &RunArgs) -> Result<Vec<String>> {
    let axes = serde_json::to_value(args.axes.axes()?)?;
    let protocol = serde_json::to_value(protocol_of(&args.protocol)?)?;
    let mut flags = Vec::new();
    for (name, value) in [axes, protocol]
        .iter()
        .filter_map(Value::as_object)
        .flatten()
    {
        let flag = match Axis::named(name) {
            Some(axis) => axis.flag(),
            None if name.ends_with("_repetitions") && args.protocol.repetitions.is_some() => {
                "repetitions".to_owned()
            }
            None => name.replace('_', "-"),
        };
        let flag = format!("--{flag}");
        if !value.is_null() && !flags.contains(&flag) {
            flags.push(flag);
        }
    }
    Ok(flags)
}
