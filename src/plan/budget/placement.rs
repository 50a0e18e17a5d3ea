//! What of a cell's memory lies on devices of their own memory, and what on the host: as llama.cpp places layers.

use serde::Serialize;

use super::{MemoryPrice, memory, row_logits_bytes};
use crate::model::sums::Matrices;
use crate::model::{ModelFacts, type_bytes_per_element};
use crate::plan::Case;

/// Share of the free memory that a cell may take. The rest is for other programs, and for what a device's driver takes
/// itself.
const MEMORY_SHARE: f64 = 0.95;

/// What of so many free bytes a cell may take.
pub fn usable(bytes: u64) -> u64 {
    (bytes as f64 * MEMORY_SHARE) as u64
}

/// A cell's memory by where it lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct MemoryPlacement {
    /// On the devices that layers are offloaded to, all together.
    pub device: MemoryPrice,
    /// On the host.
    pub host: MemoryPrice,
}

/// Layers that can be offloaded, the output counted as one.
pub fn n_layers(model: &ModelFacts) -> u32 {
    model.n_layer.saturating_add(1)
}

/// Places a cell's memory.
///
/// The output is offloaded first, then the last layers (`llama_model::load_tensors`). The token embedding stays on the
/// host; where it is the output too, the device gets a copy. Each layer has its KV cache beside its weights. Layers count as
/// equally large. A device computes with host layers' weights too when many tokens come at once, and then holds a copy of
/// one matrix at a time (`op_offload`). Logits are handed out on the host.
pub fn place(case: &Case, model: &ModelFacts) -> MemoryPlacement {
    let whole = memory(case, model);
    let offloaded = case.n_gpu_layers.min(n_layers(model));
    if offloaded == 0 {
        return MemoryPlacement {
            host: whole,
            ..MemoryPlacement::default()
        };
    }
    let is_whole = offloaded == n_layers(model);
    let of_layers = |bytes: u64| share(bytes, offloaded - 1, model.n_layer);
    let weights = Weights::of(model);
    let logits = u64::from(case.n_seq).saturating_mul(row_logits_bytes(model));
    let graph = whole.compute_bytes.saturating_sub(logits);
    let layers = of_layers(weights.layers);
    let device = MemoryPrice {
        weights_bytes: weights.output.saturating_add(layers),
        kv_bytes: of_layers(whole.kv_bytes),
        state_bytes: of_layers(whole.state_bytes),
        compute_bytes: match is_whole {
            true => graph,
            false => graph.saturating_add(largest_matrix(model)),
        },
    };
    MemoryPlacement {
        device,
        host: MemoryPrice {
            weights_bytes: weights
                .table
                .saturating_add(weights.layers.saturating_sub(layers)),
            kv_bytes: whole.kv_bytes.saturating_sub(device.kv_bytes),
            state_bytes: whole.state_bytes.saturating_sub(device.state_bytes),
            compute_bytes: if is_whole {
                logits
            } else {
                whole.compute_bytes
            },
        },
    }
}

/// The most layers, the output counted as one, that leave a cell's device memory within these bytes.
pub fn most_layers(case: &Case, model: &ModelFacts, bytes: u64) -> u32 {
    let fits = |n_gpu_layers: u32| {
        let case = Case {
            n_gpu_layers,
            ..case.clone()
        };
        place(&case, model).device.total_bytes() <= bytes
    };
    let all = n_layers(model);
    if fits(all) {
        return all;
    }
    // Each further layer takes more.
    let counts: Vec<u32> = (1..all).collect();
    let n = counts.partition_point(|&n| fits(n));
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// The part of some bytes that `n` of `of` equal layers have.
fn share(bytes: u64, n: u32, of: u32) -> u64 {
    let part = u128::from(bytes) * u128::from(n) / u128::from(of.max(1));
    u64::try_from(part).unwrap_or(u64::MAX)
}

/// A model's weights by what decides where they lie.
struct Weights {
    /// The token embedding.
    table: u64,
    layers: u64,
    /// The output matrix, or the copy of the table that a device computes with.
    output: u64,
}

impl Weights {
    fn of(model: &ModelFacts) -> Self {
        let table = model.token_embd_bytes;
        let rest = model.used_tensor_bytes().saturating_sub(table);
        let is_output =
            |m: &&Matrices| m.only_logits && m.n_out == u64::from(model.n_vocab) && m.n_expert <= 1;
        let outputs = model.matrices.iter().filter(is_output);
        let output = match model.tied_embeddings {
            true => table,
            // Records of earlier programs do not list the matrices: the output has the table's size.
            false if model.matrices.is_empty() => table.min(rest),
            false => outputs.map(matrix_bytes).sum(),
        };
        let layers = match model.tied_embeddings {
            true => rest,
            false => rest.saturating_sub(output),
        };
        Self {
            table,
            layers,
            output,
        }
    }
}

fn matrix_bytes(m: &Matrices) -> u64 {
    let elements = m.n_in as f64 * m.n_out as f64 * m.n_expert as f64;
    // A float beyond the integers becomes the largest of them.
    (elements * type_bytes_per_element(&m.tensor_type).unwrap_or(4.0)).ceil() as u64
}

/// The largest matrix of a layer, all its experts together.
fn largest_matrix(model: &ModelFacts) -> u64 {
    let of_layers = model
        .matrices
        .iter()
        .filter(|m| m.n_out != u64::from(model.n_vocab));
    of_layers.map(matrix_bytes).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::synth::preset_facts;
    use crate::plan::KvType;
    use crate::plan::expand::{Axes, Host, cases};

    fn case(n_gpu_layers: u32, cache: KvType) -> Case {
        let axes = Axes {
            n_ctx: Some(vec![8192]),
            type_k: Some(vec![cache]),
            type_v: Some(vec![cache]),
            ..Axes::default()
        };
        let host = Host {
            n_threads: 1,
            n_gpu_layers,
        };
        cases(&axes, &["m".into()], &[], host)
            .expect("valid")
            .remove(0)
    }

    #[test]
    fn llama_3_1_8b_lies_where_llama_cpp_puts_it() {
        let model = preset_facts("llama3.1-8b", "q4_k_m");
        // 128256 rows of 4096: Q4_K has 144 bytes for 256 elements, Q6_K 210.
        let table = 128_256 * 4096 / 256 * 144;
        let output = 128_256 * 4096 / 256 * 210;
        let all = place(&case(99, KvType::F16), &model);
        assert_eq!(all.device.weights_bytes, model.tensor_bytes - table);
        assert_eq!(all.host.weights_bytes, table);
        assert_eq!(all.device.kv_bytes, 1 << 30);
        assert_eq!(all.host.kv_bytes, 0);
        assert_eq!(all.host.compute_bytes, 4 * 128_256);
        let one = place(&case(1, KvType::F16), &model);
        assert_eq!((one.device.weights_bytes, one.device.kv_bytes), (output, 0));
        let half = place(&case(17, KvType::Q8_0), &model);
        let layers = model.tensor_bytes - table - output;
        assert_eq!(half.device.weights_bytes, output + layers / 2);
        assert_eq!(half.device.kv_bytes, (1 << 29) * 17 / 32);
        // Of the other layers the largest matrix may be copied: ffn_down in Q6_K.
        let copied = 14_336 * 4096 / 256 * 210;
        let graph = all.device.compute_bytes;
        assert_eq!(half.device.compute_bytes, graph + copied);
        let none = place(&case(0, KvType::F16), &model);
        assert_eq!(none.device, MemoryPrice::default());
        assert_eq!(none.host, memory(&case(0, KvType::F16), &model));
    }

    #[test]
    fn a_tied_table_is_on_both_sides() {
        let model = preset_facts("qwen3-0.6b", "q8_0");
        let all = place(&case(99, KvType::F16), &model);
        assert_eq!(all.device.weights_bytes, model.tensor_bytes);
        assert_eq!(all.host.weights_bytes, model.token_embd_bytes);
    }

    #[test]
    fn the_most_layers_fit_and_one_more_does_not() {
        let model = preset_facts("llama3.1-8b", "q4_k_m");
        let cell = case(0, KvType::F16);
        let needs = |n_gpu_layers: u32| {
            let case = Case {
                n_gpu_layers,
                ..cell.clone()
            };
            place(&case, &model).device.total_bytes()
        };
        assert_eq!(most_layers(&cell, &model, needs(33)), 33);
        for n in [1, 2, 17, 32] {
            assert_eq!(most_layers(&cell, &model, needs(n)), n);
            assert_eq!(most_layers(&cell, &model, needs(n) - 1), n - 1);
        }
        assert_eq!(most_layers(&cell, &model, 0), 0);
        assert_eq!(usable(1000), 950);
    }
}
