//! What all cells of a run have in common, said once above the table.

use super::axes;
use super::text::{brief, count, plain, plural};
use super::view::RunView;
use crate::engine::Device;
use crate::host::HostWarning;
use crate::model::ModelFacts;
use crate::plan::Case;
use crate::record::imported::ImportedModel;
use crate::units;
use crate::view::requests::RequestsView;
use crate::view::{CellWarning, Repeated};

/// The part of the repetitions that others must have disturbed, as its inverse, before it is said above the table.
const BUSY_PART: u32 = 3;

/// The most columns of a line, before it is wrapped.
const LINE_COLUMNS: usize = 1000;

/// Labelled lines: run, machine, engine, models, cells.
pub fn lines(view: &RunView) -> Vec<(&'static str, String)> {
    let cases: Vec<&Case> = view.cells.iter().map(|c| &c.case).collect();
    let mut lines = vec![
        ("run", run(view)),
        ("machine", machine(view)),
        ("engine", engine(view)),
    ];
    if let [model] = axes::models(&cases)[..] {
        lines.push(("model", model_line(view, model)));
    }
    if let (Some(requests), true) = (&view.requests, cases.is_empty()) {
        lines.extend(model_of(view, requests).map(|text| ("model", text)));
    }
    lines.push(("cells", axes::constants(&cases)));
    if let Some(quality) = &view.quality {
        lines.push(("text", super::quality::of_run(quality)));
        if cases.is_empty() {
            lines.push(("settings", super::quality::constants(quality)));
        }
    }
    if let Some(requests) = &view.requests {
        lines.push(("requests", super::requests::of_run(view, requests)));
    }
    lines.extend(busy(view).map(|text| ("busy", text)));
    for (_, line) in &mut lines {
        *line = brief(line, LINE_COLUMNS);
    }
    lines.retain(|(_, line)| !line.is_empty());
    lines
}

/// The only model of a run of requests: its file, or what the only server calls it.
fn model_of(view: &RunView, requests: &RequestsView) -> Option<String> {
    let jobs = requests.jobs.iter().map(|j| &j.job.case);
    let cases: Vec<&Case> = jobs.collect();
    let [model] = axes::models(&cases)[..] else {
        return None;
    };
    if view.model(model).is_some() {
        return Some(model_line(view, model));
    }
    let [server] = requests.targets.as_slice() else {
        return None;
    };
    let facts = server.facts()?;
    let named = plain(facts.model.as_ref()?);
    // A note says that the server does not list it.
    Some(match facts.notes.is_empty() {
        true => format!("{named} (as the server names it)"),
        false => named,
    })
}

/// That other programs were at work during many repetitions, which a footnote alone would hide.
fn busy(view: &RunView) -> Option<String> {
    let (mut n, mut of, mut most) = (0_u32, 0_u32, 0.0_f64);
    let mut are = Repeated::Round;
    for cell in view.every_cell() {
        of = of.saturating_add(cell.n_repetitions());
        for warning in cell.warnings() {
            let CellWarning::Host {
                worst: HostWarning::NoisyNeighbour { others_percent },
                repetitions,
                of,
            } = warning
            else {
                continue;
            };
            if *of == Repeated::Repetition {
                are = *of;
            }
            n = n.saturating_add(repetitions.n);
            most = most.max(*others_percent);
        }
    }
    let is_busy = n > 0 && n.saturating_mul(BUSY_PART) >= of;
    is_busy.then(|| {
        format!(
            "other programs used up to {most:.0}% of the machine, in {n} of {of} {are}: these are not the figures of a quiet \
             machine"
        )
    })
}

fn run(view: &RunView) -> String {
    let h = &view.header;
    if view.cells.is_empty() && (view.requests.is_some() || view.quality.is_some()) {
        return format!("{}, {}", h.run, h.started_at);
    }
    let replicates = plural(h.plan.protocol.replicates, "process", "processes");
    format!("{}, {}, {replicates} a cell", h.run, h.started_at)
}

/// The machine in one line.
pub fn machine(view: &RunView) -> String {
    let m = &view.header.machine;
    let cores = match (m.cpu.available_cores, m.cpu.logical_cores) {
        (Some(n), Some(all)) if n < all => Some(format!("{n} of {all} hardware threads")),
        (_, Some(n)) | (Some(n), _) => Some(plural(n, "hardware thread", "hardware threads")),
        _ => None,
    };
    let parts = [
        Some(m.cpu.model.clone().unwrap_or_else(|| m.arch.clone())),
        cores,
        m.memory.total_bytes.map(units::bytes),
        m.os.clone(),
        m.virtualisation
            .container
            .as_ref()
            .map(|c| format!("in {c}")),
    ];
    let gpus = accelerators(view).into_iter().chain(imported_gpus(view));
    let parts: Vec<String> = parts.into_iter().flatten().chain(gpus).collect();
    parts.join(", ")
}

/// The GPUs that another program named.
fn imported_gpus(view: &RunView) -> impl Iterator<Item = String> {
    let devices = view.header.machine.gpus.devices.iter();
    let is_imported = view.header.imported.is_some();
    devices.filter_map(move |gpu| gpu.name.clone().filter(|_| is_imported))
}

/// What the engine computes on besides the CPU.
pub fn accelerators(view: &RunView) -> Vec<String> {
    let devices = view.header.engine.devices.iter();
    let shown = |d: &Device| {
        let memory = units::bytes(d.memory_total_bytes);
        format!("{}: {}, {memory}", d.name, d.description)
    };
    devices.filter(|d| d.kind != "cpu").map(shown).collect()
}

fn engine(view: &RunView) -> String {
    let engine = &view.header.engine;
    format!("{} {}; {}", engine.name, engine.version, program(view))
}

/// This program, as the run's machine had it.
pub fn program(view: &RunView) -> String {
    if let Some(imported) = &view.header.imported {
        return format!("measured by {}", imported.tool);
    }
    let program = &view.header.program;
    let git = program.git.as_ref();
    let git = git.map_or_else(String::new, |git| format!(" ({git})"));
    format!("ggufbench {}{git}", program.version)
}

/// A model's name, and its type and size where the record has them.
pub fn model_line(view: &RunView, name: &str) -> String {
    let imported = view.header.imported.as_ref();
    let imported = imported.and_then(|of| imported_facts(of.model(name)?));
    let facts = view.model(name).map(facts).or(imported);
    let facts = facts.unwrap_or_default();
    plain(&format!("{name}{facts}"))
}

/// What another program said of a model.
fn imported_facts(model: &ImportedModel) -> Option<String> {
    let parts = [
        model.description.clone(),
        model.size_bytes.map(units::bytes),
        model.n_params.map(|n| format!("{} parameters", count(n))),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    (!parts.is_empty()).then(|| format!(": {}", parts.join(", ")))
}

fn facts(m: &ModelFacts) -> String {
    let size = units::bytes(m.file_bytes);
    format!(
        ": {}, {size}, {} parameters",
        m.file_type,
        count(m.n_params)
    )
}
