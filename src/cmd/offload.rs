//! Where a plan's cells compute: other machines' devices, what cannot be offloaded as asked, and whether it fits.

use anyhow::{Context, Result, bail};

use crate::engine::{Device, EngineFacts, Remote, rpc};
use crate::host;
use crate::model::ModelFacts;
use crate::plan::budget::{self, MemoryPrice, usable};
use crate::plan::{Case, Devices, Plan, RpcServers, SplitMode};
use crate::record::Outcome;
use crate::run::supervisor::{Worker, WorkerCommand};

/// Price of each case of a plan, and its outcome where it does not fit.
pub type Fits = Vec<(MemoryPrice, Option<Outcome>)>;

/// The devices behind each set of RPC servers.
///
/// # Errors
/// In one line, for a server that cannot be used.
pub fn remote<'a>(
    sets: impl Iterator<Item = &'a RpcServers>,
    command: &WorkerCommand,
) -> Result<Vec<Remote>> {
    let mut remote: Vec<Remote> = Vec::new();
    for servers in sets.filter(|servers| !servers.is_none()) {
        if remote.iter().any(|known| known.servers == *servers) {
            continue;
        }
        // Told without starting an engine.
        rpc::check_all(servers).map_err(anyhow::Error::msg)?;
        remote.push(Remote {
            servers: servers.clone(),
            devices: Worker::start(command)?.remote_devices(servers)?,
        });
    }
    Ok(remote)
}

/// Refuses what the engine would refuse after loading, or would not do as asked.
pub fn check(case: &Case, engine: &EngineFacts) -> Result<()> {
    let devices = engine.offload_devices(&case.rpc);
    let used = chosen(case, &devices)?;
    if case.n_gpu_layers > 0 && devices.is_empty() {
        no_offload(case.n_gpu_layers)?;
    }
    let main_gpu = case.main_gpu;
    if main_gpu > 0 && main_gpu as usize >= used.len() {
        bail!(
            "main_gpu {main_gpu}: the engine found {} GPUs, counted from 0",
            used.len()
        );
    }
    let n_shares = case.tensor_split.shares().len();
    if n_shares > used.len() {
        bail!(
            "tensor_split {}: {n_shares} shares for {} devices",
            case.tensor_split,
            used.len()
        );
    }
    // Otherwise the engine loads and then throws "does not support split buffers" (CUDA lost them with llama.cpp PR 24216).
    let cannot = |d: &&&Device| !d.can_split_rows;
    match used.iter().find(cannot) {
        Some(device) if case.split_mode == SplitMode::Row => bail!(
            "split_mode row: the {} backend of this engine cannot split rows; use layer, or tensor (experimental)",
            device.backend
        ),
        _ => Ok(()),
    }
}

/// The devices that the case computes on, the CPU aside.
fn chosen<'a>(case: &Case, devices: &[&'a Device]) -> Result<Vec<&'a Device>> {
    let names = match &case.device {
        Devices::Auto => return Ok(devices.to_vec()),
        Devices::None => return Ok(Vec::new()),
        Devices::Named(names) => names,
    };
    let found = names.iter().map(|name| {
        let named = devices.iter().find(|d| d.name.eq_ignore_ascii_case(name));
        named.copied().with_context(|| {
            let known: Vec<&str> = devices.iter().map(|d| d.name.as_str()).collect();
            match known.as_slice() {
                [] => format!("device {name}: the engine has no device but the CPU; leave --device out, or say none"),
                known => format!(
                    "device {name}: the engine has none of this name; there are {}, or none for the CPU alone",
                    known.join(", ")
                ),
            }
        })
    });
    found.collect()
}

fn no_offload(n_gpu_layers: u32) -> Result<()> {
    if cfg!(any(feature = "cuda", feature = "metal", feature = "vulkan")) {
        bail!(
            "n_gpu_layers {n_gpu_layers}: this build has a GPU backend, but the engine found no GPU it can use; \
             check the driver, or ask for 0"
        );
    }
    bail!(
        "n_gpu_layers {n_gpu_layers}: this build has no GPU backend; build it with `make build CUDA=1` (needs \
         NVIDIA's toolkit), name RPC servers (--rpc), or ask for 0"
    );
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
struct LanePrice<'a> {
    case: &'a Case,
    model: &'a ModelFacts,
    whole: MemoryPrice,
    on_gpu: u64,
    on_host: u64,
    /// Free memory of the GPUs that the cell uses.
    gpu_bytes: u64,
    /// The engine's names of them.
    gpus: String,
}

impl<'a> LanePrice<'a> {
    fn of(plan: &'a Plan, case: &'a Case, engine: &EngineFacts) -> Self {
        let model = plan.model_of(case);
        let whole = budget::memory(case, model);
        let gpus = priced_gpus(case, engine);
        let (on_gpu, on_host) = if gpus.is_empty() {
            (0, whole.total_bytes())
        } else {
            let placed = budget::place(case, model);
            (placed.device.total_bytes(), placed.host.total_bytes())
        };
        let names: Vec<&str> = gpus.iter().map(|d| d.name.as_str()).collect();
        Self {
            case,
            model,
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

/// The devices with memory of their own that the case uses: an integrated GPU's is the host's.
fn priced_gpus<'a>(case: &Case, engine: &'a EngineFacts) -> Vec<&'a Device> {
    if case.n_gpu_layers == 0 {
        return Vec::new();
    }
    // What names no device was refused before.
    let devices = chosen(case, &engine.offload_devices(&case.rpc)).unwrap_or_default();
    let used: Vec<&Device> = match case.split_mode {
        SplitMode::None => devices
            .get(case.main_gpu as usize)
            .copied()
            .into_iter()
            .collect(),
        SplitMode::Layer | SplitMode::Row | SplitMode::Tensor => devices,
    };
    used.into_iter().filter(|d| d.kind == "gpu").collect()
}

/// The outcome of a cell that does not fit.
fn over(lanes: &[LanePrice<'_>]) -> Option<Outcome> {
    let sum =
        |bytes: fn(&LanePrice<'_>) -> u64| lanes.iter().map(bytes).fold(0, u64::saturating_add);
    let on_gpu = sum(|lane| lane.on_gpu);
    let on_host = sum(|lane| lane.on_host);
    let using = lanes.iter().filter(|lane| lane.on_gpu > 0);
    if let Some(lane) = using.max_by_key(|lane| lane.gpu_bytes) {
        let has_bytes = usable(lane.gpu_bytes);
        if on_gpu > has_bytes {
            // What two lanes leave to each other is nothing to advise.
            let alone = (lanes.len() == 1).then_some(lane);
            return Some(Outcome::Skipped {
                needs_bytes: on_gpu,
                has_bytes,
                device: Some(lane.gpus.clone()),
                n_gpu_layers: alone.map(|l| budget::most_layers(l.case, l.model, has_bytes)),
            });
        }
    }
    let has_bytes = usable(host::available_memory_bytes()?);
    (on_host > has_bytes).then_some(Outcome::Skipped {
        needs_bytes: on_host,
        has_bytes,
        device: None,
        n_gpu_layers: None,
    })
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
        let model = &header.plan.models[0];
        let needs = budget::place(&offloaded, model).device.total_bytes();
        let outcome = |free_bytes: u64| {
            let engine = engine(free_bytes, &header.engine);
            fits(&[(&header.plan, &engine)]).remove(0).remove(0).1
        };
        let share = (needs as f64 / 0.95) as u64;
        assert_eq!(outcome(share + 1000), None);
        let skipped = outcome(share - 1000).expect("it does not fit").to_string();
        assert!(skipped.contains("on CUDA0, has "), "{skipped}");
        let fewer = format!("; --n-gpu-layers {} fits", model.n_layer);
        assert!(skipped.ends_with(&fewer), "{skipped}");
        let on_cpu = Plan {
            cases: vec![case("tiny", 8)],
            ..header.plan.clone()
        };
        let engine = engine(0, &header.engine);
        let of_cpu = fits(&[(&on_cpu, &engine)]).remove(0).remove(0).1;
        assert_eq!(of_cpu, None, "a full GPU is nothing to it");
    }
}
