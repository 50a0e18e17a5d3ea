//! The per-call seam: an [`Engine`] is a loaded model, a [`Session`] one context of it.
//!
//! Two implementations: [`llama`] (llama.cpp in this process) and [`synthetic`] (a cost model on a
//! fake clock), so that every layer above is tested with exact numbers and no waiting. `faulty` wraps one of
//! them.

pub mod clock;
pub(crate) mod faulty;
pub mod kernel;
pub mod llama;
pub mod log_report;
pub(crate) mod out_of_memory;
pub(crate) mod plugins;
pub(crate) mod rpc;
mod slowed;
mod swapped;
pub mod synthetic;

use serde::{Deserialize, Serialize};

use crate::plan::serving::Sampling;
use crate::plan::{Case, Devices, LoadKey, RpcServers, SplitMode};

/// A token id of the model's vocabulary.
pub type Token = i32;

/// What the engine answered when it could not do as asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// The model file could not be loaded.
    #[error("cannot load the model: {0}")]
    Load(String),
    /// An RPC server cannot be used.
    #[error("{0}")]
    Rpc(String),
    /// A context of the asked shape could not be made, most often for want of memory.
    #[error("cannot make a context: {0}")]
    Context(String),
    /// `llama_decode` refused or failed.
    #[error("decode failed: {0}")]
    Decode(String),
    /// Logits that hold no finite number: a broken file, or a type the engine computes wrongly.
    #[error(
        "the logits of row {row} are not finite: the model file is broken or its type unsupported"
    )]
    Logits {
        /// The batch row they were read from.
        row: i32,
    },
    /// The model has no way to do what the case needs.
    #[error("{0}")]
    Unsupported(String),
    /// The model file has no chat template, or one that the engine cannot apply.
    #[error("chat template: {0}")]
    Template(String),
}

/// A device the engine can compute on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Device {
    /// Its name, like `CUDA0`.
    pub name: String,
    /// What it is, like `NVIDIA H100`.
    pub description: String,
    /// The ggml backend that drives it.
    pub backend: String,
    /// cpu, gpu, igpu, accel or unknown.
    pub kind: String,
    /// Its memory, bytes.
    pub memory_total_bytes: u64,
    /// Its free memory when the engine started, bytes.
    pub memory_free_bytes: u64,
    /// Whether its backend can spread the rows of a matrix over several devices (`--split-mode row`).
    #[serde(default)]
    pub can_split_rows: bool,
    /// Where it is on the PCI bus, as `0000:c1:00.0`; none where the backend does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pci_bus_id: Option<String>,
}

/// Memory of the GPUs that a model's layers are on, together, as their backends tell it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct GpuMemory {
    /// All of it.
    pub total_bytes: u64,
    /// Not in use by anybody.
    pub free_bytes: u64,
}

impl GpuMemory {
    /// In use by anybody.
    pub fn used_bytes(self) -> u64 {
        self.total_bytes.saturating_sub(self.free_bytes)
    }
}

impl Device {
    /// Whether layers can be offloaded to it.
    pub fn takes_layers(&self) -> bool {
        self.kind.ends_with("gpu")
    }

    /// Whether it is behind an RPC server, whose address is then its description.
    pub fn is_remote(&self) -> bool {
        self.backend == plugins::RPC
    }
}

/// The devices behind a set of RPC servers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Remote {
    /// The servers, as they were named.
    pub servers: RpcServers,
    /// Their devices, as the engine sees them before the run.
    pub devices: Vec<Device>,
}

/// The engine as it was built and as it found the machine; the same for every model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EngineFacts {
    /// `llama.cpp` or `synthetic`.
    pub name: String,
    /// The engine's version: for llama.cpp the binding crate's, which pins its commit.
    pub version: String,
    /// `llama_print_system_info()`: what the CPU backend was compiled with.
    pub system_info: String,
    /// Every device of every compiled backend.
    pub devices: Vec<Device>,
    /// Whether layers can be offloaded: a GPU backend is there and found a device.
    pub supports_gpu_offload: bool,
    /// Devices of other machines, for each set of servers that the run names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remote: Vec<Remote>,
    /// Backends that were looked for as files, where the build loads them so.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub plugins: Vec<plugins::Plugin>,
}

impl EngineFacts {
    /// The devices that layers can be offloaded to with these servers, as the engine orders them: those of servers first.
    pub fn offload_devices(&self, servers: &RpcServers) -> Vec<&Device> {
        let remote = self.remote.iter().filter(|r| r.servers == *servers);
        remote
            .flat_map(|r| &r.devices)
            .chain(self.devices.iter().filter(|d| d.takes_layers()))
            .collect()
    }

    /// This machine's own GPUs that layers of a model loaded so are on, by their numbers; nothing where none is offloaded.
    /// A server's device is another machine's, or may be: what this machine's GPUs do says nothing of it.
    pub fn gpus_of(&self, load: &LoadKey) -> Vec<usize> {
        if load.n_gpu_layers == 0 {
            return Vec::new();
        }
        // In the engine's order; none is a server's.
        let used: Vec<Option<usize>> = match &load.device {
            Devices::None => Vec::new(),
            Devices::Named(names) => names.iter().map(|name| self.own_gpu(name)).collect(),
            Devices::Auto => self.gpus_by_default(&load.rpc),
        };
        match load.split_mode {
            SplitMode::None => used
                .get(load.main_gpu as usize)
                .copied()
                .flatten()
                .into_iter()
                .collect(),
            SplitMode::Layer | SplitMode::Row | SplitMode::Tensor => {
                used.into_iter().flatten().collect()
            }
        }
    }

    /// The number of this machine's GPU of this name.
    fn own_gpu(&self, name: &str) -> Option<usize> {
        let is_it =
            |d: &Device| d.takes_layers() && !d.is_remote() && d.name.eq_ignore_ascii_case(name);
        self.devices.iter().position(is_it)
    }

    /// As llama.cpp chooses: devices of servers, then this machine's GPUs; an integrated one only where there is no other.
    fn gpus_by_default(&self, servers: &RpcServers) -> Vec<Option<usize>> {
        let known = self.remote.iter().find(|r| r.servers == *servers);
        let n_remote = match known {
            Some(remote) => remote.devices.len(),
            // A worker has them among its own.
            None => self.devices.iter().filter(|d| d.is_remote()).count(),
        };
        let of_kind = |kind: &'static str| {
            let devices = self.devices.iter().enumerate();
            devices.filter(move |(_, d)| d.kind == kind && !d.is_remote())
        };
        let mut used: Vec<Option<usize>> = vec![None; n_remote];
        used.extend(of_kind("gpu").map(|(at, _)| Some(at)));
        if used.is_empty() {
            used.extend(of_kind("igpu").map(|(at, _)| Some(at)).take(1));
        }
        used
    }

    /// Where these are on the PCI bus, as far as their backends say.
    pub fn pci_ids_of(&self, load: &LoadKey) -> Vec<Option<&str>> {
        let gpus = self.gpus_of(load).into_iter();
        gpus.map(|at| self.devices[at].pci_bus_id.as_deref())
            .collect()
    }

    /// Whether the two would compute the same way: one build, finding the same devices. Free memory may
    /// differ.
    pub fn is_same_build(&self, other: &Self) -> bool {
        fn names(facts: &EngineFacts) -> Vec<(&str, &str)> {
            facts
                .devices
                .iter()
                .map(|d| (d.backend.as_str(), d.description.as_str()))
                .collect()
        }
        self.name == other.name
            && self.version == other.version
            && self.system_info == other.system_info
            && self.supports_gpu_offload == other.supports_gpu_offload
            && names(self) == names(other)
    }
}

/// A loaded model.
pub trait Engine {
    /// Tokens that a prompt may hold: no control, unknown, unused or end-of-generation token.
    fn prompt_tokens(&self) -> &[Token];

    /// A text as tokens. `add_special` lets the model put before and after it what it wants there (BOS, EOS);
    /// `parse_special` reads `<|im_start|>` and the like as the tokens they name, not as letters.
    fn tokenize(&self, text: &str, add_special: bool, parse_special: bool) -> Vec<Token>;

    /// The token that the model wants at the beginning of a text; `None` where it wants none.
    fn bos(&self) -> Option<Token>;

    /// Tokens of the vocabulary: the logits of a row.
    fn n_vocab(&self) -> usize;

    /// What a token adds to a text; nothing for control tokens. It may begin or end inside a UTF-8 character.
    fn piece(&self, token: Token) -> Vec<u8>;

    /// Whether the token ends an answer (llama.cpp: an end-of-generation token).
    fn ends_text(&self, token: Token) -> bool;

    /// What a user says as the model's own chat template puts it, up to where the answer begins.
    fn apply_template(&self, user_text: &str) -> Result<String, EngineError>;

    /// Memory now of the GPUs that the model's layers are on; none without any.
    fn gpu_memory(&self) -> Option<GpuMemory> {
        None
    }

    /// A fresh context for the case; it costs memory for the KV cache and the compute buffers.
    fn open<'a>(&'a self, case: &Case) -> Result<Box<dyn Session + 'a>, EngineError>;
}

/// A context: the KV cache of all sequences, and one batch under construction.
///
/// The order of calls is `begin`, `push`..., `submit`, `wait`, then `greedy`, `sample` or `logits`. They are
/// separate so that each can be timed by itself.
pub trait Session {
    /// Cells of the KV cache each sequence has.
    fn n_ctx_seq(&self) -> u32;

    /// Forgets every sequence's tokens from position `n_past` on; 0 forgets everything and always
    /// succeeds. False when the model's memory cannot forget a part (recurrent models).
    fn truncate(&mut self, n_past: u32) -> bool;

    /// Forgets one sequence wholly, so that another can take its place. False when the engine could not.
    fn remove(&mut self, seq: u32) -> bool;

    /// Empties the batch.
    fn begin(&mut self);

    /// Adds a token of sequence `seq` at position `pos`; `logits` asks for its logits.
    fn push(&mut self, token: Token, pos: u32, seq: u32, logits: bool) -> Result<(), EngineError>;

    /// Hands the batch to the engine. On a GPU it may return before the work is done.
    fn submit(&mut self) -> Result<(), EngineError>;

    /// Returns when everything submitted is done.
    fn wait(&mut self);

    /// The most likely token after the one in batch row `row`, which asked for logits.
    fn greedy(&mut self, row: i32) -> Result<Token, EngineError>;

    /// Decides how the sequence's tokens are chosen from now on; its draw begins anew. With `mask_end` no token that ends
    /// an answer can be chosen.
    fn set_sampler(&mut self, seq: u32, sampling: &Sampling, mask_end: bool);

    /// A next token for sequence `seq` from batch row `row`, which asked for logits, as its sampler chooses.
    fn sample(&mut self, row: i32, seq: u32) -> Result<Token, EngineError>;

    /// The logits after the token in batch row `row`, `n_vocab` of them.
    fn logits(&mut self, row: i32) -> &[f32];

    /// Calls `each` with the place of every row in `rows` and the row's logits, from up to `n_threads` threads.
    fn each_logits(&mut self, rows: &[i32], n_threads: u32, each: &(dyn Fn(usize, &[f32]) + Sync)) {
        let _ = n_threads;
        for (at, &row) in rows.iter().enumerate() {
            each(at, self.logits(row));
        }
    }
}

/// Index of the largest finite value; the first of equals, as llama.cpp's greedy sampler takes.
/// None when no value is finite.
///
/// Each block is searched for its largest number, which the compiler vectorises, and only the block that has the largest of
/// all once more: logits that a GPU has just written come from memory, and are read once.
pub fn argmax(values: &[f32]) -> Option<usize> {
    /// Elements searched again: few enough to be in the first cache still.
    const BLOCK: usize = 2048;
    let (mut max, mut start) = (f32::NEG_INFINITY, 0);
    for (at, block) in values.chunks(BLOCK).enumerate() {
        let of_block = largest(block);
        if of_block > max {
            (max, start) = (of_block, at * BLOCK);
        }
    }
    if !max.is_finite() {
        return None;
    }
    let block = &values[start..values.len().min(start + BLOCK)];
    block.iter().position(|&v| v == max).map(|at| start + at)
}

/// The largest of some numbers, none of them NaN; minus infinity without any.
fn largest(values: &[f32]) -> f32 {
    const LANES: usize = 16;
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let mut chunks = values.chunks_exact(LANES);
    for chunk in &mut chunks {
        for (lane, &v) in lanes.iter_mut().zip(chunk) {
            // A comparison with NaN is false, so NaN never wins.
            *lane = if v > *lane { v } else { *lane };
        }
    }
    let rest = lanes.iter().chain(chunks.remainder());
    rest.fold(f32::NEG_INFINITY, |m, &v| if v > m { v } else { m })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::TensorSplit;

    #[test]
    fn the_gpus_of_a_load_are_those_that_its_layers_are_on() {
        let device = |kind: &str, pci: Option<&str>| Device {
            name: kind.to_owned(),
            description: kind.to_owned(),
            backend: "X".to_owned(),
            kind: kind.to_owned(),
            memory_total_bytes: 1,
            memory_free_bytes: 1,
            can_split_rows: false,
            pci_bus_id: pci.map(str::to_owned),
        };
        let facts = |devices: Vec<Device>| EngineFacts {
            devices,
            ..synthetic::SyntheticEngine::facts()
        };
        let load = |n_gpu_layers, split_mode, main_gpu| LoadKey {
            model: "m".to_owned(),
            n_gpu_layers,
            split_mode,
            main_gpu,
            rpc: RpcServers::default(),
            device: Devices::Auto,
            tensor_split: TensorSplit::default(),
        };
        let two = facts(vec![
            device("gpu", Some("0000:c1:00.0")),
            device("igpu", None),
            device("gpu", Some("0000:01:00.0")),
            device("cpu", None),
        ]);
        assert_eq!(two.gpus_of(&load(99, SplitMode::Layer, 0)), [0, 2]);
        assert_eq!(two.gpus_of(&load(99, SplitMode::None, 1)), [2]);
        let ids = two.pci_ids_of(&load(1, SplitMode::None, 1));
        assert_eq!(ids, [Some("0000:01:00.0")]);
        assert!(two.gpus_of(&load(0, SplitMode::Layer, 0)).is_empty());
        assert!(two.gpus_of(&load(9, SplitMode::None, 2)).is_empty());
        let named = LoadKey {
            device: "gpu".parse().expect("a name"),
            ..load(9, SplitMode::Layer, 0)
        };
        assert_eq!(two.gpus_of(&named), [0]);
        let servers: RpcServers = "box:50052".parse().expect("a server");
        let behind = |split_mode, main_gpu| LoadKey {
            rpc: servers.clone(),
            ..load(9, split_mode, main_gpu)
        };
        let mut with_a_server = two.clone();
        with_a_server.remote = vec![Remote {
            servers: servers.clone(),
            devices: vec![device("gpu", None)],
        }];
        assert_eq!(with_a_server.gpus_of(&behind(SplitMode::Layer, 0)), [0, 2]);
        assert!(
            with_a_server
                .gpus_of(&behind(SplitMode::None, 0))
                .is_empty(),
            "the server's"
        );
        assert_eq!(with_a_server.gpus_of(&behind(SplitMode::None, 1)), [0]);
        let integrated = facts(vec![device("cpu", None), device("igpu", None)]);
        assert_eq!(integrated.gpus_of(&load(99, SplitMode::Layer, 0)), [1]);
        assert!(
            facts(Vec::new())
                .gpus_of(&load(99, SplitMode::Layer, 0))
                .is_empty()
        );
    }

    #[test]
    fn argmax_takes_the_first_of_equals_and_no_nan() {
        assert_eq!(argmax(&[1.0, 3.0, 3.0, 2.0]), Some(1));
        assert_eq!(argmax(&[f32::NAN, -5.0, f32::NAN]), Some(1));
        assert_eq!(argmax(&[]), None);
        assert_eq!(argmax(&[f32::NAN; 40]), None);
        assert_eq!(argmax(&[f32::NEG_INFINITY; 3]), None);
        assert_eq!(
            argmax(&[0.0, f32::INFINITY]),
            None,
            "broken logits are not a choice"
        );
    }

    proptest::proptest! {
        #[test]
        fn argmax_agrees_with_the_plain_loop(v in proptest::collection::vec(-1e6_f32..1e6, 1..6000)) {
            let mut best = 0;
            for (i, x) in v.iter().enumerate() {
                if *x > v[best] {
                    best = i;
                }
            }
            proptest::prop_assert_eq!(argmax(&v), Some(best));
        }
    }
}
