//! Where a plan's cells compute: other machines' devices, what cannot be offloaded as asked, and whether it fits.

use anyhow::{Context, Result, bail};

use crate::engine::{Device, EngineFacts, Remote, rpc};
use crate::host;
use crate::plan::budget::{self, MemoryPrice};
use crate::plan::{Case, Devices, Plan, RpcServers, SplitMode};
use crate::record::Outcome;
use crate::run::supervisor::{Worker, WorkerCommand};

/// Share of the free memory a cell may take; the rest is for everybody else.
const MEMORY_SHARE: f64 = 0.95;

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
struct LanePrice {
    whole: MemoryPrice,
    on_gpu: u64,
    on_host: u64,
    /// Free memory of the GPUs that the cell may use.
    gpu_bytes: u64,
}

impl LanePrice {
    fn of(plan: &Plan, case: &Case, engine: &EngineFacts) -> Self {
        // What names no device was refused before.
        let devices = chosen(case, &engine.offload_devices(&case.rpc)).unwrap_or_default();
        let gpus = devices.iter().filter(|d| d.kind == "gpu");
        let gpus: Vec<u64> = gpus.map(|d| d.memory_free_bytes).collect();
        let model = plan.model_of(case);
        let whole = budget::memory(case, model);
        // An integrated GPU's memory is the host's.
        let (on_gpu, on_host) = if gpus.is_empty() {
            (0, whole.total_bytes())
        } else {
            whole.split(case, model)
        };
        let gpu_bytes = match case.split_mode {
            SplitMode::None => gpus.get(case.main_gpu as usize).copied().unwrap_or(0),
            SplitMode::Layer | SplitMode::Row | SplitMode::Tensor => {
                gpus.iter().copied().fold(0, u64::saturating_add)
            }
        };
        Self {
            whole,
            on_gpu,
            on_host,
            gpu_bytes,
        }
    }
}

/// The outcome of a cell that does not fit.
fn over(lanes: &[LanePrice]) -> Option<Outcome> {
    let share = |bytes: u64| (bytes as f64 * MEMORY_SHARE) as u64;
    let over = |needs_bytes: u64, has_bytes: u64| {
        (needs_bytes > has_bytes).then_some(Outcome::Skipped {
            needs_bytes,
            has_bytes,
        })
    };
    let sum = |bytes: fn(&LanePrice) -> u64| lanes.iter().map(bytes).fold(0, u64::saturating_add);
    let on_gpu = sum(|lane| lane.on_gpu);
    let using = lanes.iter().filter(|lane| lane.on_gpu > 0);
    let gpu_bytes = using.map(|lane| lane.gpu_bytes).max().unwrap_or(0);
    let on_host = sum(|lane| lane.on_host);
    over(on_gpu, share(gpu_bytes))
        .or_else(|| host::available_memory_bytes().and_then(|has| over(on_host, share(has))))
}
