//! What the engine can compute on as a table, with the plug-ins below it.

use serde::Serialize;

use super::sheet::{Column, Sheet};
use crate::engine::plugins::Plugin;
use crate::engine::{Device, EngineFacts};
use crate::host::{Gpu, GpuReport};
use crate::measure::agreement::{Agreement, N_GEN, N_PROMPT};
use crate::units;

/// What was found.
#[derive(Debug, Clone, Serialize)]
pub struct Found {
    /// The engine, with its devices and plug-ins.
    pub engine: EngineFacts,
    /// What NVIDIA's management library says of its GPUs.
    pub gpu: GpuReport,
}

/// The table.
pub fn sheet(found: &Found) -> Sheet {
    let EngineFacts {
        devices, remote, ..
    } = &found.engine;
    let devices: Vec<&Device> = devices
        .iter()
        .chain(remote.iter().flat_map(|r| &r.devices))
        .collect();
    let mut above = vec![(
        "engine".to_owned(),
        format!("{} {}", found.engine.name, found.engine.version),
    )];
    above.push(("driver".to_owned(), driver(&found.gpu)));
    let nvidia = |description: &str| gpu_named(&found.gpu, description);
    Sheet {
        title: "What the engine can compute on".to_owned(),
        above,
        columns: vec![
            Column::words("device", 0, devices.iter().map(|d| d.name.clone())),
            Column::words("kind", 0, devices.iter().map(|d| d.kind.clone())),
            Column::words("backend", 0, devices.iter().map(|d| d.backend.clone())),
            Column::words(
                "what it is",
                0,
                devices.iter().map(|d| d.description.clone()),
            ),
            Column::numbers(
                "memory",
                0,
                devices.iter().map(|d| memory(d.memory_total_bytes)),
            ),
            Column::numbers(
                "free",
                0,
                devices.iter().map(|d| memory(d.memory_free_bytes)),
            ),
            Column::words(
                "capability",
                1,
                devices.iter().map(|d| {
                    let known =
                        nvidia(&d.description).and_then(|gpu| gpu.compute_capability.clone());
                    known.unwrap_or_else(|| "n/a".to_owned())
                }),
            ),
        ],
        below: found.engine.plugins.iter().map(plugin).collect(),
    }
}

/// A device beside the CPU.
#[derive(Debug, Clone, Serialize)]
pub struct Compared {
    /// Its name.
    pub device: String,
    /// What it is.
    pub description: String,
    /// How far its results are from the CPU's; none where it could not compute.
    pub agreement: Option<Agreement>,
    /// Why it could not.
    pub failed_because: Option<String>,
}

/// Each device's results beside the CPU's.
pub fn agreement(model: &str, compared: &[Compared]) -> Sheet {
    let number = |of: fn(&Agreement) -> String| {
        let value = move |c: &Compared| c.agreement.as_ref().map_or_else(|| "n/a".to_owned(), of);
        compared.iter().map(value)
    };
    let verdict = |c: &Compared| match &c.agreement {
        Some(a) if a.holds() => "agrees".to_owned(),
        Some(_) => "DIFFERS".to_owned(),
        None => "failed".to_owned(),
    };
    let reason = |c: &Compared| Some((c.device.clone(), c.failed_because.clone()?));
    let mut below: Vec<(String, String)> = compared.iter().filter_map(reason).collect();
    below.push((
        "agrees".to_owned(),
        format!(
            "mean KL divergence from the CPU's distribution at most {}; kernels that round differently stay far below it",
            Agreement::MOST_MEAN_KLD
        ),
    ));
    Sheet {
        title: "Results of each device beside the CPU's".to_owned(),
        above: vec![
            ("model".to_owned(), model.to_owned()),
            (
                "text".to_owned(),
                format!("logits of {N_PROMPT} tokens, {N_GEN} greedy tokens after them"),
            ),
        ],
        columns: vec![
            Column::words("device", 0, compared.iter().map(|c| c.device.clone())),
            Column::words("verdict", 0, compared.iter().map(verdict)),
            Column::numbers("KLD mean", 0, number(|a| format!("{:.2e}", a.mean_kld))),
            Column::numbers("KLD max", 0, number(|a| format!("{:.2e}", a.max_kld))),
            Column::numbers("NMSE", 0, number(|a| format!("{:.2e}", a.nmse))),
            Column::numbers("same top", 0, number(|a| units::percent(a.same_top_share))),
            Column::numbers(
                "greedy equal",
                0,
                number(|a| format!("{} of {N_GEN}", a.n_greedy_equal)),
            ),
            Column::words(
                "what it is",
                1,
                compared.iter().map(|c| c.description.clone()),
            ),
        ],
        below,
    }
}

/// A backend that does not know its memory says 0.
fn memory(bytes: u64) -> String {
    if bytes == 0 {
        return "n/a".to_owned();
    }
    units::bytes(bytes)
}

fn driver(gpu: &GpuReport) -> String {
    match (&gpu.none_because, &gpu.driver_version) {
        (Some(reason), _) => reason.clone(),
        (None, version) => format!(
            "NVIDIA {}, CUDA up to {}",
            version.as_deref().unwrap_or("n/a"),
            gpu.cuda_version.as_deref().unwrap_or("n/a")
        ),
    }
}

/// The engine names devices as the driver does; of two alike the first stands for both.
fn gpu_named<'a>(report: &'a GpuReport, description: &str) -> Option<&'a Gpu> {
    let named = |gpu: &&Gpu| gpu.name.as_deref() == Some(description);
    report.devices.iter().find(named)
}

fn plugin(plugin: &Plugin) -> (String, String) {
    let state = match plugin.unusable_because() {
        Some(reason) => format!("not usable: {reason}"),
        None => match plugin.n_devices {
            0 => "usable, with --rpc".to_owned(),
            1 => "1 device".to_owned(),
            n => format!("{n} devices"),
        },
    };
    (plugin.file.clone(), state)
}
