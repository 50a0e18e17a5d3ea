//! What was measured, on what, with what; and the raw data.

use super::Block;
use crate::host::{Gpu, GpuReport};
use crate::report::caption::{accelerators, program};
use crate::report::csv;
use crate::report::table::Table;
use crate::text::{count, plain, plural, quoted, short, shown};
use crate::units;
use crate::view::RunView;

/// Cells up to this many are copied into the report; more are in the file beside it.
const MOST_RAW_CELLS: usize = 200;

pub(super) fn blocks(view: &RunView) -> Vec<Block> {
    vec![
        Block::Heading("Hardware".to_owned()),
        Block::Table(hardware(view)),
        Block::Heading("Software".to_owned()),
        Block::Table(software(view)),
        Block::Heading("Models".to_owned()),
        Block::Table(models(view)),
    ]
}

fn hardware(view: &RunView) -> Table {
    let m = &view.header.machine;
    let cores = |n: Option<u32>, what: &str| n.map(|n| format!("{n} {what}"));
    let all = [
        cores(m.cpu.physical_cores, "cores"),
        cores(m.cpu.logical_cores, "hardware threads"),
        cores(m.cpu.available_cores, "usable here"),
    ];
    let all: Vec<String> = all.into_iter().flatten().collect();
    let caches: Vec<String> = m
        .cpu
        .caches
        .iter()
        .map(|c| format!("L{} {} {}", c.level, c.kind, units::bytes(c.bytes)))
        .collect();
    let gpus = accelerators(view);
    let gpus = match gpus.is_empty() {
        true => "none that the engine uses".to_owned(),
        false => gpus.join("; "),
    };
    Table::facts([
        (
            "CPU",
            Some(short(m.cpu.model.as_deref().unwrap_or(&m.arch))),
        ),
        ("cores", Some(all.join(", "))),
        ("caches", Some(plain(&caches.join(", ")))),
        ("memory", m.memory.total_bytes.map(units::bytes)),
        ("GPU", Some(plain(&gpus))),
        ("GPU driver", gpu_driver(&m.gpus).map(|text| plain(&text))),
        ("GPU limits", m.gpus.devices.first().and_then(gpu_limits)),
        (
            "virtual machine",
            m.virtualisation.product.as_deref().map(short),
        ),
        (
            "container",
            m.virtualisation.container.as_deref().map(short),
        ),
        ("governor", m.cpu.governor.as_deref().map(short)),
    ])
}

fn gpu_driver(gpus: &GpuReport) -> Option<String> {
    let version = gpus.driver_version.as_deref()?;
    let cuda = gpus.cuda_version.as_deref();
    let cuda = cuda.map_or_else(String::new, |v| format!(", CUDA up to {v}"));
    Some(format!("NVIDIA {version}{cuda}"))
}

/// Power limit, highest clocks and link of the first GPU, as far as its driver says.
fn gpu_limits(gpu: &Gpu) -> Option<String> {
    let mhz = |hz: u64| format!("{} MHz", hz / 1_000_000);
    let link = gpu.pcie_generation.zip(gpu.pcie_width);
    let parts = [
        gpu.power_limit_mw.map(|mw| format!("{} W", mw / 1000)),
        gpu.max_sm_clock_hz.map(|hz| format!("clock {}", mhz(hz))),
        gpu.max_memory_clock_hz
            .map(|hz| format!("memory clock {}", mhz(hz))),
        link.map(|(generation, width)| format!("PCIe {generation} x{width}")),
    ];
    let known: Vec<String> = parts.into_iter().flatten().collect();
    (!known.is_empty()).then(|| known.join(", "))
}

fn software(view: &RunView) -> Table {
    let h = &view.header;
    let protocol = &h.plan.protocol;
    let repetitions = if protocol.min_repetitions == protocol.max_repetitions {
        format!("{} repetitions", protocol.min_repetitions)
    } else {
        format!(
            "{} to {} repetitions (target precision {})",
            protocol.min_repetitions,
            protocol.max_repetitions,
            units::percent(protocol.precision)
        )
    };
    let runs: Vec<String> = view.runs().map(short).collect();
    Table::facts([
        ("system", h.machine.os.as_deref().map(short)),
        ("kernel", h.machine.kernel.as_deref().map(short)),
        (
            "engine",
            Some(short(&format!("{} {}", h.engine.name, h.engine.version))),
        ),
        ("program", Some(short(&program(view)))),
        (
            "protocol",
            Some(match (&view.requests, view.cells.is_empty()) {
                (Some(requests), true) => crate::report::requests::of_run(view, requests),
                (None, true) if view.quality.is_some() => "one process a file".to_owned(),
                _ => format!(
                    "{}, {repetitions} in each, seed {}",
                    plural(protocol.replicates, "process a cell", "processes a cell"),
                    protocol.seed
                ),
            }),
        ),
        ("began", Some(short(&h.started_at))),
        (
            "took",
            view.end.as_ref().map(|e| units::duration(e.elapsed_ns)),
        ),
        ("runs", (runs.len() > 1).then(|| runs.join(", "))),
    ])
}

fn models(view: &RunView) -> Table {
    if let Some(imported) = &view.header.imported {
        return Table::of(&imported.models)
            .words("model", |m| short(&m.name))
            .words("described as", |m| m.description.clone())
            .numbers("size", |m| m.size_bytes.map(units::bytes))
            .numbers("parameters", |m| m.n_params.map(count))
            .table();
    }
    Table::of(&view.header.plan.models)
        .words("model", |m| short(&m.name))
        .words("type", |m| short(&m.file_type))
        .words("architecture", |m| short(&m.architecture))
        .numbers("size", |m| units::bytes(m.file_bytes))
        .numbers("parameters", |m| count(m.n_params))
        .numbers("layers", |m| m.n_layer)
        .numbers("width", |m| m.n_embd)
        .numbers("bytes read a step", |m| {
            units::bytes(m.weight_bytes_per_step)
        })
        .table()
}

/// The most columns of a line of raw data.
const RAW_COLUMNS: usize = 1000;

/// Raw data and everything the record knows of the system.
pub(super) fn raw(view: &RunView) -> Vec<Block> {
    let h = &view.header;
    let json = |value: serde_json::Result<String>| value.unwrap_or_else(|e| e.to_string());
    let args: Vec<String> = h.args.iter().map(|a| quoted(a.as_ref())).collect();
    let cells = if view.cells.len() <= MOST_RAW_CELLS {
        let mut text = Vec::new();
        // Writing into memory cannot fail.
        let _ = csv::write(view, &mut text);
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<String> = text.lines().map(plain).collect();
        Block::Folded(
            "Figures of every cell, as in cells.csv".to_owned(),
            lines.join("\n"),
        )
    } else {
        Block::Text(format!(
            "The figures of all {} cells are in cells.csv.",
            view.cells.len()
        ))
    };
    let folded =
        |summary: &str, text: String| Block::Folded(summary.to_owned(), shown(&text, RAW_COLUMNS));
    let requests = view.requests.is_some();
    let first = match (requests, crate::report::shows_cells(view)) {
        (true, _) => {
            "Every request with its arrivals, and every decode call, in nanoseconds is in run.jsonl; everything here is \
             computed from it. requests.csv has a row for each request."
        }
        (false, true) => {
            "Every decode call in nanoseconds is in run.jsonl; everything here is computed from it."
        }
        (false, false) => {
            "The scores of every chunk are in run.jsonl; everything here is computed from them."
        }
    };
    let of_text = "quality.csv has a row for each quality cell.".to_owned();
    let of_text = view.quality.as_ref().map(|_| Block::Text(of_text));
    let cells = crate::report::shows_cells(view).then_some(cells);
    let mut blocks = vec![Block::Text(first.to_owned())];
    blocks.extend(cells);
    blocks.extend(of_text);
    blocks.extend([
        folded("Command line", format!("ggufbench {}", args.join(" "))),
        folded("Machine", json(serde_json::to_string_pretty(&h.machine))),
        folded("Engine", json(serde_json::to_string_pretty(&h.engine))),
        folded("Program", json(serde_json::to_string_pretty(&h.program))),
    ]);
    let clock = h.timer.iter();
    blocks.extend(clock.map(|timer| folded("Clock", json(serde_json::to_string_pretty(timer)))));
    let imported = h.imported.iter();
    blocks
        .extend(imported.map(|of| folded("Imported from", json(serde_json::to_string_pretty(of)))));
    blocks.extend([folded(
        "Models",
        json(serde_json::to_string_pretty(&h.plan.models)),
    )]);
    blocks
}
