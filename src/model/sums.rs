//! Sums over a tensor table: weights and bytes by what a decode step does with them.

use std::collections::BTreeMap;

use llama_cpp_sys_2 as sys;
use serde::{Deserialize, Serialize};

use super::gguf::{TensorInfo, block_bytes, block_elements, tensor_type_name, tensor_type_of};
use super::unused::{is_executed, layer_of};

/// Average bytes of one element of a ggml type by name in any case (`f16` is 2.0, `q8_0` is
/// 34/32); `None` for an unknown name.
#[must_use]
pub fn type_bytes_per_element(name: &str) -> Option<f64> {
    tensor_type_of(name).map(|ty| block_bytes(ty) as f64 / block_elements(ty) as f64)
}

/// Elements of a ggml type that are quantised together, by name in any case; `None` for an unknown name.
#[must_use]
pub fn type_block_elements(name: &str) -> Option<u64> {
    tensor_type_of(name).map(block_elements)
}

/// Whether a ggml type of this name stores fewer bits than it stands for; `false` for an unknown name.
pub(super) fn is_quantized_type(name: &str) -> bool {
    // SAFETY: a table look-up by a valid type.
    tensor_type_of(name).is_some_and(|ty| unsafe { sys::ggml_is_quantized(ty) })
}

/// Matrices of one shape and type that a token multiplies with.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Matrices {
    /// ggml's name of the type, `Q4_0`.
    #[serde(rename = "type")]
    pub tensor_type: String,
    /// Row width: elements of the vector that goes in.
    pub n_in: u64,
    /// Rows: elements of the vector that comes out.
    pub n_out: u64,
    /// Experts in each, of which a token uses a few; 1 for a plain matrix.
    pub n_expert: u64,
    /// Whether only tokens whose logits are asked for pass through: the output matrix, and the last
    /// layer's feed-forward (the engine drops all other tokens after the last attention).
    pub only_logits: bool,
    pub count: u64,
}

#[derive(Default)]
pub(super) struct TensorSums {
    pub params: u64,
    pub matmul_params: u64,
    pub expert_params: u64,
    pub bytes: u64,
    pub by_type: BTreeMap<String, u64>,
    pub token_embd_bytes: u64,
    pub expert_bytes: u64,
    pub step_bytes: u64,
    pub tied: bool,
    pub matrices: Vec<Matrices>,
}

impl TensorSums {
    /// Of a model that runs `n_layer` layers.
    pub fn of(tensors: &[TensorInfo], n_layer: u32) -> Self {
        let mut sums = Self {
            tied: is_tied(tensors),
            ..Self::default()
        };
        for t in tensors {
            let expert = t.name.contains("_exps.");
            let table = is_looked_up(&t.name, sums.tied);
            sums.params += t.elements();
            sums.bytes += t.bytes;
            *sums.by_type.entry(tensor_type_name(t.ty)).or_default() += t.bytes;
            if t.name == TABLE {
                sums.token_embd_bytes += t.bytes;
            }
            if !is_executed(&t.name, n_layer) {
                continue;
            }
            if expert {
                sums.expert_bytes += t.bytes;
            }
            if table {
                continue;
            }
            sums.step_bytes += t.bytes;
            if is_matrix(t) {
                sums.matmul_params += t.elements();
                if expert {
                    sums.expert_params += t.elements();
                }
            }
        }
        sums.matrices = matrices(tensors, n_layer);
        sums
    }

    pub fn dominant_type(&self) -> String {
        let most = self.by_type.iter().max_by_key(|(_, bytes)| **bytes);
        most.map_or_else(String::new, |(name, _)| name.clone())
    }
}

const TABLE: &str = "token_embd.weight";
const OUTPUT: &str = "output.weight";

fn is_tied(tensors: &[TensorInfo]) -> bool {
    !tensors.iter().any(|t| t.name == OUTPUT)
}

/// Rows are looked up in these; gemma3n and gemma4 have the per-layer table besides.
fn is_looked_up(name: &str, tied: bool) -> bool {
    name == "per_layer_token_embd.weight" || (name == TABLE && !tied)
}

fn is_matrix(t: &TensorInfo) -> bool {
    t.ne[1] > 1 && t.name.ends_with(".weight")
}

/// The matrices by shape and type, in a fixed order.
fn matrices(tensors: &[TensorInfo], n_layer: u32) -> Vec<Matrices> {
    let tied = is_tied(tensors);
    let executed = || tensors.iter().filter(|t| is_executed(&t.name, n_layer));
    let last_layer = executed().filter_map(|t| layer_of(&t.name)).max();
    let is_last_feed_forward = |name: &str| {
        name.contains(".ffn_") && layer_of(name).is_some_and(|n| Some(n) == last_layer)
    };
    let mut groups: BTreeMap<Matrices, u64> = BTreeMap::new();
    for t in executed() {
        if !is_matrix(t) || is_looked_up(&t.name, tied) {
            continue;
        }
        let is_output = t.name == OUTPUT || t.name == TABLE;
        let group = Matrices {
            tensor_type: tensor_type_name(t.ty),
            n_in: t.ne[0],
            n_out: t.ne[1],
            n_expert: t.ne[2].max(1),
            only_logits: is_output || is_last_feed_forward(&t.name),
            count: 0,
        };
        *groups.entry(group).or_default() += 1;
    }
    groups
        .into_iter()
        .map(|(group, count)| Matrices { count, ..group })
        .collect()
}
