//! What the engine can compute on as a table, with the plug-ins below it.

use serde::Serialize;

use super::sheet::{Column, Sheet};
use crate::engine::plugins::Plugin;
use crate::engine::{Device, EngineFacts};
use crate::host::{Gpu, GpuReport};
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
