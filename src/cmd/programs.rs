//! Cells that other programs measure: planned by the same flags, without asking this program's engine for anything.

use anyhow::Result;

use super::prepare::{DEFAULT_MODEL, RunSpec};
use crate::host::Machine;
use crate::model::{ModelStore, resolve, sanitize_name};
use crate::plan::expand::{ALL_LAYERS, Axes, Host, cases};
use crate::plan::{Case, MAX_THREADS, Plan};
use crate::report::progress;

/// A plan whose models are there, and what the user should know of them.
pub(super) struct PlannedCells {
    pub plan: Plan,
    pub notes: Vec<String>,
}

/// The cells that are asked for, and their models. Nothing is chosen from the logits in them, since llama.cpp's benchmarks feed tokens
/// drawn beforehand; and layers go to the GPU where the machine has one, as everywhere.
pub(super) fn plan(asked: RunSpec) -> Result<PlannedCells> {
    let protocol = asked.protocol.resolve()?;
    let machine = Machine::probe();
    let host = Host {
        n_threads: machine.cpu.available_cores.unwrap_or(1).min(MAX_THREADS),
        n_gpu_layers: match machine.gpus.devices.is_empty() {
            true => 0,
            false => ALL_LAYERS,
        },
    };
    let groups: Vec<&Axes> = std::iter::once(&asked.axes).chain(&asked.also).collect();
    let specs = |axes: &Axes| {
        let usual = || vec![DEFAULT_MODEL.to_owned()];
        axes.model.clone().unwrap_or_else(usual)
    };
    let all: Vec<String> = groups.iter().flat_map(|axes| specs(axes)).collect();
    let found = resolve(&all, &ModelStore::locate()?)?;
    let mut planned: Vec<Case> = Vec::new();
    for axes in groups {
        let names: Vec<String> = found
            .meant_by(&specs(axes))
            .map(|m| m.facts.name.clone())
            .collect();
        for case in cases(axes, &names, &asked.exclude, host)? {
            let case = Case {
                sample: false,
                ..case
            };
            if !planned.contains(&case) {
                planned.push(case);
            }
        }
    }
    let mut models = Vec::new();
    for mut model in found.models {
        let name = model.facts.name.clone();
        model.ensure(&mut *progress::file_work(&format!("writing {name}")))?;
        model.hash(&mut *progress::file_work(&format!("hashing {name}")))?;
        model.facts.make_path_absolute();
        models.push(model.facts);
    }
    Ok(PlannedCells {
        notes: found.notes,
        plan: Plan {
            name: sanitize_name(&asked.name),
            protocol,
            models,
            cases: planned,
        },
    })
}
