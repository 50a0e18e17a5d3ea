//! How many KV-cache elements one token takes in every layer.
//!
//! Follows llama.cpp's `llama_hparams` (`n_embd_k_gqa(il)`, `n_embd_v_gqa(il)`, `has_kv(il)`,
//! `is_mla()`) and the per-architecture loaders in `src/models/`.

use super::gguf::Gguf;

/// Architectures whose layers keep a recurrent state and no KV cache
/// (`llm_arch_is_recurrent`).
const RECURRENT: &[&str] = &["mamba", "mamba2", "rwkv6", "rwkv6qwen2", "rwkv7", "arwkv7"];

/// KV geometry summed over layers; zero elements means that no layer keeps KV.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct KvHeads {
    pub n_head: Option<u64>,
    pub n_head_kv: Option<u64>,
    pub head_dim_k: Option<u64>,
    pub head_dim_v: Option<u64>,
    pub k_elements_per_token: u64,
    pub v_elements_per_token: u64,
}

pub(super) fn read(gguf: &Gguf, arch: &str, n_layer: u64, n_embd: u64) -> KvHeads {
    let key = |name: &str| format!("{arch}.{name}");
    let positive = |values: Vec<u64>| values.into_iter().max().filter(|&n| n > 0);
    let heads = gguf.uints(&key("attention.head_count"));
    let n_head = heads.clone().and_then(positive);
    // Without head_count_kv every query head has its own (load_hparams).
    let heads_kv = gguf.uints(&key("attention.head_count_kv")).or(heads);
    let n_head_kv = heads_kv.clone().and_then(positive);
    let derived = n_head.map(|n| n_embd / n);
    let head_dim_k = gguf.uint(&key("attention.key_length")).or(derived);
    let head_dim_v = gguf.uint(&key("attention.value_length")).or(derived);

    let mut facts = KvHeads {
        n_head,
        n_head_kv,
        head_dim_k,
        head_dim_v,
        ..KvHeads::default()
    };
    let (Some(heads_kv), Some(dim_k), Some(dim_v)) = (heads_kv, head_dim_k, head_dim_v) else {
        return facts;
    };
    let swa = sliding_layers(gguf, arch);
    let swa_k = gguf.uint(&key("attention.key_length_swa")).unwrap_or(dim_k);
    let swa_v = gguf
        .uint(&key("attention.value_length_swa"))
        .unwrap_or(dim_v);
    // Multi-head latent attention keeps one latent vector; values are a view of the keys.
    let has_v = gguf.uint(&key("attention.key_length_mla")).is_none();
    let cached = CachedLayers::read(gguf, arch, n_layer);
    for layer in (0..n_layer).filter(|&layer| cached.contains(layer)) {
        let n = per_layer(&heads_kv, layer);
        let sliding = swa.get(layer as usize).is_some_and(|&flag| flag != 0);
        let k = n.saturating_mul(if sliding { swa_k } else { dim_k });
        let v = n.saturating_mul(if sliding { swa_v } else { dim_v });
        facts.k_elements_per_token = facts.k_elements_per_token.saturating_add(k);
        if has_v {
            facts.v_elements_per_token = facts.v_elements_per_token.saturating_add(v);
        }
    }
    facts
}

/// A per-layer array, or one value for all layers.
pub(super) fn per_layer(values: &[u64], layer: u64) -> u64 {
    match values {
        [one] => *one,
        many => many.get(layer as usize).copied().unwrap_or(0),
    }
}

/// The layers with a sliding window, where the file lists them one by one.
fn sliding_layers(gguf: &Gguf, arch: &str) -> Vec<u64> {
    let key = format!("{arch}.attention.sliding_window_pattern");
    gguf.uints(&key)
        .filter(|flags| flags.len() > 1)
        .unwrap_or_default()
}

/// Which layers keep a KV cache of their own.
struct CachedLayers {
    /// Layers from here on have none, or reuse an earlier one's.
    end: u64,
    recurrent: Option<Vec<u64>>,
    /// Only every n-th layer attends in full.
    interval: Option<u64>,
}

impl CachedLayers {
    fn read(gguf: &Gguf, arch: &str, n_layer: u64) -> Self {
        let key = |name: &str| format!("{arch}.{name}");
        let end = match arch {
            _ if RECURRENT.contains(&arch) => 0,
            // gemma3n.cpp: n_layer_kv_from_start is fixed.
            "gemma3n" => 20,
            // gemma4.cpp: the last layers reuse the cache of earlier ones.
            _ => {
                let shared = gguf.uint(&key("attention.shared_kv_layers"));
                n_layer.saturating_sub(shared.unwrap_or(0))
            }
        };
        Self {
            end,
            // Hybrids (qwen3next.cpp and its kin) list the recurrent layers or say every how many
            // layers a full one comes.
            recurrent: gguf.uints(&key("attention.recurrent_layers")),
            interval: gguf
                .uint(&key("full_attention_interval"))
                .filter(|&interval| interval > 0),
        }
    }

    fn contains(&self, layer: u64) -> bool {
        layer < self.end
            && match (&self.recurrent, self.interval) {
                (Some(flags), _) => per_layer(flags, layer) == 0,
                (None, Some(interval)) => (layer + 1).is_multiple_of(interval),
                (None, None) => true,
            }
    }
}
