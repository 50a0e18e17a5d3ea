//! Which axes tell a run's cells apart: those are columns, the others are said once.

use crate::plan::expand::Defaults;
use crate::plan::{Case, KvSizing};

/// One axis of a case.
pub struct Axis {
    /// Heading of its column.
    pub name: &'static str,
    /// A case's value.
    pub value: fn(&Case) -> String,
    /// How the value is said once for all cells; none where it is the engine's default and goes without saying.
    phrase: fn(&Case) -> Option<String>,
}

/// Every axis but the model, in the order of columns.
const AXES: [Axis; 20] = [
    Axis {
        name: "batch",
        value: |c| c.n_seq.to_string(),
        phrase: |_| None,
    },
    Axis {
        name: "prompt",
        value: |c| c.n_prompt.to_string(),
        phrase: |c| Some(format!("prompt {}", c.n_prompt)),
    },
    Axis {
        name: "gen",
        value: |c| c.n_gen.to_string(),
        phrase: |c| Some(format!("gen {}", c.n_gen)),
    },
    Axis {
        name: "depth",
        value: |c| c.n_depth.to_string(),
        phrase: |c| (c.n_depth > 0).then(|| format!("depth {}", c.n_depth)),
    },
    Axis {
        name: "threads",
        value: |c| c.n_threads.to_string(),
        phrase: |c| Some(format!("threads {}", c.n_threads)),
    },
    Axis {
        name: "ctx",
        value: |c| c.n_ctx.to_string(),
        phrase: |c| {
            let used = c.kv == KvSizing::Full;
            used.then(|| format!("context {} per sequence", c.n_ctx))
        },
    },
    Axis {
        name: "kv",
        value: |c| c.kv.to_string(),
        phrase: |c| Some(format!("kv {}", c.kv)),
    },
    Axis {
        name: "n_batch",
        value: |c| c.n_batch.to_string(),
        phrase: |c| {
            let usual = c.n_batch == Defaults::default().n_batch;
            (!usual).then(|| format!("n_batch {}", c.n_batch))
        },
    },
    Axis {
        name: "n_ubatch",
        value: |c| c.n_ubatch.to_string(),
        phrase: |c| {
            let usual = c.n_ubatch == Defaults::default().n_ubatch;
            (!usual).then(|| format!("n_ubatch {}", c.n_ubatch))
        },
    },
    Axis {
        name: "type_k",
        value: |c| c.type_k.to_string(),
        phrase: |c| Some(format!("K {}", c.type_k)),
    },
    Axis {
        name: "type_v",
        value: |c| c.type_v.to_string(),
        phrase: |c| Some(format!("V {}", c.type_v)),
    },
    Axis {
        name: "fa",
        value: |c| c.flash_attn.to_string(),
        phrase: |c| {
            let usual = c.flash_attn == Defaults::default().flash_attn;
            (!usual).then(|| format!("flash attention {}", c.flash_attn))
        },
    },
    Axis {
        name: "swa_full",
        value: |c| if c.swa_full { "on" } else { "off" }.to_owned(),
        phrase: |c| {
            c.swa_full
                .then(|| "full cache for sliding windows".to_owned())
        },
    },
    Axis {
        name: "ngl",
        value: |c| c.n_gpu_layers.to_string(),
        phrase: |c| (c.n_gpu_layers > 0).then(|| format!("GPU layers {}", c.n_gpu_layers)),
    },
    Axis {
        name: "split",
        value: |c| c.split_mode.to_string(),
        phrase: |c| {
            let usual = c.split_mode == Defaults::default().split_mode;
            (!usual).then(|| format!("split {}", c.split_mode))
        },
    },
    Axis {
        name: "gpu",
        value: |c| c.main_gpu.to_string(),
        phrase: |c| (c.main_gpu > 0).then(|| format!("GPU {}", c.main_gpu)),
    },
    Axis {
        name: "rpc",
        value: |c| c.rpc.to_string(),
        phrase: |c| (!c.rpc.is_none()).then(|| format!("RPC servers {}", c.rpc)),
    },
    Axis {
        name: "device",
        value: |c| c.device.to_string(),
        phrase: |c| (!c.device.is_auto()).then(|| format!("device {}", c.device)),
    },
    Axis {
        name: "tensor_split",
        value: |c| c.tensor_split.to_string(),
        phrase: |c| {
            let usual = c.tensor_split.is_auto();
            (!usual).then(|| format!("tensor split {}", c.tensor_split))
        },
    },
    Axis {
        name: "sample",
        value: |c| if c.sample { "yes" } else { "no" }.to_owned(),
        phrase: |c| (!c.sample).then(|| "no sampling".to_owned()),
    },
];

fn varies(axis: &Axis, cases: &[&Case]) -> bool {
    let mut values = cases.iter().map(|c| (axis.value)(c));
    let first = values.next();
    values.any(|v| Some(&v) != first.as_ref())
}

/// The axes that are columns: the batch always, the others where cases differ.
pub fn columns(cases: &[&Case]) -> Vec<&'static Axis> {
    AXES.iter()
        .enumerate()
        .filter(|(at, axis)| *at == 0 || varies(axis, cases))
        .map(|(_, axis)| axis)
        .collect()
}

/// What all cases have in common, in words.
pub fn constants(cases: &[&Case]) -> String {
    let Some(first) = cases.first() else {
        return String::new();
    };
    let phrases: Vec<String> = AXES
        .iter()
        .filter(|axis| !varies(axis, cases))
        .filter_map(|axis| (axis.phrase)(first))
        .collect();
    phrases.join(", ")
}

/// The models of some cases, each once, in their order.
pub fn models<'a>(cases: &[&'a Case]) -> Vec<&'a str> {
    let mut models: Vec<&str> = Vec::new();
    for case in cases {
        if !models.contains(&case.model.as_str()) {
            models.push(&case.model);
        }
    }
    models
}
