//! Sums over a tensor table: weights and bytes by what a decode step does with them.

use std::collections::BTreeMap;

use super::gguf::{TensorInfo, block_bytes, block_elements, tensor_type_name};

/// Average bytes of one element of a ggml type by name in any case (`f16` is 2.0, `q8_0` is
/// 34/32); `None` for an unknown name.
#[must_use]
pub fn type_bytes_per_element(name: &str) -> Option<f64> {
    let upper = name.to_ascii_uppercase();
    (0..llama_cpp_sys_2::GGML_TYPE_COUNT)
        .find(|&ty| block_elements(ty) > 0 && tensor_type_name(ty) == upper)
        .map(|ty| block_bytes(ty) as f64 / block_elements(ty) as f64)
}

/// Sums over the tensor table.
#[derive(Default)]
pub(super) struct Sums {
    pub params: u64,
    pub matmul_params: u64,
    pub expert_params: u64,
    pub bytes: u64,
    pub by_type: BTreeMap<String, u64>,
    pub token_embd_bytes: u64,
    pub expert_bytes: u64,
    pub step_bytes: u64,
    pub tied: bool,
}

impl Sums {
    pub fn of(tensors: &[TensorInfo]) -> Self {
        let mut sums = Self {
            tied: !tensors.iter().any(|t| t.name == "output.weight"),
            ..Self::default()
        };
        for t in tensors {
            let expert = t.name.contains("_exps.");
            // Rows are looked up in these; gemma3n and gemma4 have the per-layer table besides.
            let table = t.name == "per_layer_token_embd.weight"
                || (t.name == "token_embd.weight" && !sums.tied);
            sums.params += t.elements();
            sums.bytes += t.bytes;
            *sums.by_type.entry(tensor_type_name(t.ty)).or_default() += t.bytes;
            if t.name == "token_embd.weight" {
                sums.token_embd_bytes += t.bytes;
            }
            if expert {
                sums.expert_bytes += t.bytes;
            }
            if table {
                continue;
            }
            sums.step_bytes += t.bytes;
            if t.ne[1] > 1 && t.name.ends_with(".weight") {
                sums.matmul_params += t.elements();
                if expert {
                    sums.expert_params += t.elements();
                }
            }
        }
        sums
    }

    /// The type of most bytes.
    pub fn dominant_type(&self) -> String {
        let most = self.by_type.iter().max_by_key(|(_, bytes)| **bytes);
        most.map_or_else(String::new, |(name, _)| name.clone())
    }
}
