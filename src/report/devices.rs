//! What the engine can compute on as a table, with the plug-ins below it.

use serde::Serialize;

use super::table::{Document, Table};
use crate::agreement::{Agreement, N_GEN, N_PROMPT};
use crate::engine::plugins::Plugin;
use crate::engine::{Device, EngineFacts};
use crate::host::{Gpu, GpuReport};
use crate::units;

/// What was found.
#[derive(Debug, Clone, Serialize)]
pub struct FoundDevices {
    /// The engine, with its devices and plug-ins.
    pub engine: EngineFacts,
    /// What NVIDIA's management library says of its GPUs.
    pub gpu: GpuReport,
}

/// The table.
pub fn document(found: &FoundDevices) -> Document {
    let engine = &found.engine;
    let remote = engine.remote.iter().flat_map(|r| &r.devices);
    let devices: Vec<&Device> = engine.devices.iter().chain(remote).collect();
    let capability = |d: &Device| {
        gpu_named(&found.gpu, &d.description)?
            .compute_capability
            .clone()
    };
    let table = Table::of(&devices)
        .words("device", |d| d.name.as_str())
        .words("kind", |d| d.kind.as_str())
        .words("backend", |d| d.backend.as_str())
        .words("what it is", |d| d.description.as_str())
        .numbers("memory", |d| memory(d.memory_total_bytes))
        .numbers("free", |d| memory(d.memory_free_bytes))
        .words("capability", |d| capability(d))
        .rank(1);
    Document::new("What the engine can compute on", table)
        .above("engine", format!("{} {}", engine.name, engine.version))
        .above("driver", driver(&found.gpu))
        .all_below(engine.plugins.iter().map(plugin))
}

/// A device beside the CPU.
#[derive(Debug, Clone, Serialize)]
pub struct ComparedDevice {
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
pub fn agreement(model: &str, compared: &[ComparedDevice]) -> Document {
    let number =
        |of: fn(&Agreement) -> String| move |c: &ComparedDevice| c.agreement.as_ref().map(of);
    let verdict = |c: &ComparedDevice| match &c.agreement {
        Some(a) if a.holds() => "agrees",
        Some(_) => "DIFFERS",
        None => "failed",
    };
    let table = Table::of(compared)
        .words("device", |c| c.device.as_str())
        .words("verdict", verdict)
        .numbers("KLD mean", number(|a| format!("{:.2e}", a.mean_kld)))
        .numbers("KLD max", number(|a| format!("{:.2e}", a.max_kld)))
        .numbers("NMSE", number(|a| format!("{:.2e}", a.nmse)))
        .numbers("same top", number(|a| units::percent(a.same_top_share)))
        .numbers(
            "greedy equal",
            number(|a| format!("{} of {N_GEN}", a.n_greedy_equal)),
        )
        .words("what it is", |c| c.description.as_str())
        .rank(1);
    let reason = |c: &ComparedDevice| Some((c.device.clone(), c.failed_because.clone()?));
    let agrees = format!(
        "mean KL divergence from the CPU's distribution at most {}; kernels that round differently stay far below it",
        Agreement::MOST_MEAN_KLD
    );
    Document::new("Results of each device beside the CPU's", table)
        .above("model", model)
        .above(
            "text",
            format!("logits of {N_PROMPT} tokens, {N_GEN} greedy tokens after them"),
        )
        .all_below(compared.iter().filter_map(reason))
        .below("agrees", agrees)
}

/// A backend that does not know its memory says 0.
fn memory(bytes: u64) -> Option<String> {
    (bytes > 0).then(|| units::bytes(bytes))
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
