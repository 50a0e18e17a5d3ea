//! What the engine keeps of every sequence: the KV cache of the layers that attend, and the recurrent state of
//! those that do not.
//!
//! Follows llama.cpp's `llama_hparams` (`n_embd_k_gqa(il)`, `n_embd_v_gqa(il)`, `has_kv(il)`, `is_swa(il)`,
//! `is_recr(il)`, `is_mla()`), the layer filters of `llama_model::create_memory`, and the per-architecture loaders in
//! `src/models/`.

mod recurrent;
mod sliding;

use serde::{Deserialize, Serialize};

use super::gguf::Gguf;

/// Layers that attend to the latest tokens only. The engine keeps no more of their KV cache than they look at,
/// unless told to (`swa_full`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlidingLayers {
    /// Tokens that a token attends to there, itself included.
    pub n_window: u32,
    /// Such layers with a KV cache.
    pub n_layer: u32,
    /// Elements that one token adds to their key caches, summed; part of the model's `k_elements_per_token`.
    pub k_elements_per_token: u64,
    /// The same of their value caches.
    pub v_elements_per_token: u64,
}

/// Geometry summed over layers; zero elements means that no layer keeps KV.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct SequenceMemory {
    pub n_head: Option<u64>,
    pub n_head_kv: Option<u64>,
    pub head_dim_k: Option<u64>,
    pub head_dim_v: Option<u64>,
    pub k_elements_per_token: u64,
    pub v_elements_per_token: u64,
    pub sliding: Option<SlidingLayers>,
    pub state_elements_per_seq: u64,
}

/// What a file's metadata say of its layers, as the engine reads them.
struct LayerHeader<'a> {
    gguf: &'a Gguf,
    arch: &'a str,
    n_layer: u64,
    n_embd: u64,
    heads: Vec<u64>,
    heads_kv: Vec<u64>,
    head_dim_k: u64,
}

impl LayerHeader<'_> {
    fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.arch)
    }

    fn uint(&self, name: &str) -> Option<u64> {
        self.gguf.uint(&self.key(name))
    }

    /// A number, or 0 where the file has none.
    fn or_zero(&self, name: &str) -> u64 {
        self.uint(name).unwrap_or(0)
    }

    /// One number a layer; none where the file has a single number or nothing.
    fn listed(&self, name: &str) -> Option<Vec<u64>> {
        let key = self.key(name);
        self.gguf.array_len(&key)?;
        self.gguf.uints(&key)
    }

    /// One number a layer, or one for all.
    fn listed_or_one(&self, name: &str) -> Option<Vec<u64>> {
        self.gguf.uints(&self.key(name))
    }

    fn heads_kv_of(&self, layer: u64) -> u64 {
        per_layer(&self.heads_kv, layer)
    }
}

/// Reads the geometry of the `n_layer` layers that decoding runs.
pub(super) fn read(gguf: &Gguf, arch: &str, n_layer: u64, n_embd: u64) -> SequenceMemory {
    let key = |name: &str| format!("{arch}.{name}");
    let positive = |values: Vec<u64>| values.into_iter().max().filter(|&n| n > 0);
    let heads = gguf.uints(&key("attention.head_count"));
    let n_head = heads.clone().and_then(positive);
    // Without head_count_kv every query head has its own (load_hparams).
    let heads_kv = gguf
        .uints(&key("attention.head_count_kv"))
        .or(heads.clone());
    let derived = n_head.map(|n| n_embd / n);
    let head_dim_k = gguf.uint(&key("attention.key_length")).or(derived);
    let head_dim_v = gguf.uint(&key("attention.value_length")).or(derived);
    let header = LayerHeader {
        gguf,
        arch,
        n_layer,
        n_embd,
        heads: heads.unwrap_or_default(),
        heads_kv: heads_kv.clone().unwrap_or_default(),
        head_dim_k: head_dim_k.unwrap_or(0),
    };
    let recurrent = recurrent::layers(&header);
    let mut memory = SequenceMemory {
        n_head,
        n_head_kv: heads_kv.and_then(positive),
        head_dim_k,
        head_dim_v,
        state_elements_per_seq: recurrent::state_elements(&header, &recurrent),
        ..SequenceMemory::default()
    };
    if let (Some(dim_k), Some(dim_v)) = (head_dim_k, head_dim_v) {
        memory.add_kv(&header, &recurrent, (dim_k, dim_v));
    }
    memory
}

impl SequenceMemory {
    /// Adds every layer's KV cache, for heads of `dim_k` and `dim_v` elements.
    fn add_kv(&mut self, header: &LayerHeader<'_>, recurrent: &[bool], (dim_k, dim_v): (u64, u64)) {
        let window = sliding::read(header, recurrent);
        let swa_k = header.uint("attention.key_length_swa").unwrap_or(dim_k);
        let swa_v = header.uint("attention.value_length_swa").unwrap_or(dim_v);
        // Multi-head latent attention keeps one latent vector; values are a view of the keys.
        let has_v = header.uint("attention.key_length_mla").is_none();
        let mut sliding = SlidingLayers {
            n_window: window.as_ref().map_or(0, |w| w.n_tokens),
            n_layer: 0,
            k_elements_per_token: 0,
            v_elements_per_token: 0,
        };
        for (layer, &is_recurrent) in (0..end_of_kv(header)).zip(recurrent) {
            let n = header.heads_kv_of(layer);
            if n == 0 || !attends(header, layer, is_recurrent) {
                continue;
            }
            let slides = window.as_ref().is_some_and(|w| w.slides(layer));
            let k = n.saturating_mul(if slides { swa_k } else { dim_k });
            let v = n.saturating_mul(if slides { swa_v } else { dim_v });
            let v = if has_v { v } else { 0 };
            add(&mut self.k_elements_per_token, k);
            add(&mut self.v_elements_per_token, v);
            if slides {
                sliding.n_layer += 1;
                add(&mut sliding.k_elements_per_token, k);
                add(&mut sliding.v_elements_per_token, v);
            }
        }
        self.sliding = (sliding.n_layer > 0).then_some(sliding);
    }
}

fn add(sum: &mut u64, n: u64) {
    *sum = sum.saturating_add(n);
}

/// Layers from here on have no KV cache, or reuse an earlier one's.
fn end_of_kv(header: &LayerHeader<'_>) -> u64 {
    let end = match header.arch {
        // gemma3n.cpp: n_layer_kv_from_start is fixed.
        "gemma3n" => 20,
        // gemma4.cpp: the last layers reuse the cache of earlier ones.
        _ => {
            let shared = header.or_zero("attention.shared_kv_layers");
            header.n_layer.saturating_sub(shared)
        }
    };
    end.min(header.n_layer)
}

/// Whether the layer has an attention of its own (`filter_attn` of `create_memory`).
fn attends(header: &LayerHeader<'_>, layer: u64, is_recurrent: bool) -> bool {
    match header.arch {
        // Both in every layer.
        "falcon-h1" => true,
        // Its feed-forward networks are layers of their own.
        "nemotron_h" | "nemotron_h_moe" => !is_recurrent && recurrent::n_ff(header, layer) == 0,
        _ => !is_recurrent,
    }
}

/// A per-layer array, or one value for all layers.
pub(super) fn per_layer(values: &[u64], layer: u64) -> u64 {
    match values {
        [one] => *one,
        many => many.get(layer as usize).copied().unwrap_or(0),
    }
}

#[cfg(test)]
mod tests;
