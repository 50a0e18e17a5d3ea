//! Which layers keep a recurrent state instead of a KV cache, and how large it is: `llm_arch_is_recurrent`,
//! `llm_arch_is_hybrid`, `llama_hparams::n_embd_r` and `n_embd_s`.

use super::{LayerHeader, per_layer};

/// Architectures of recurrent layers only.
const RECURRENT: &[&str] = &["mamba", "mamba2", "rwkv6", "rwkv6qwen2", "rwkv7", "arwkv7"];

/// Hybrids in which the layers without KV heads are recurrent.
const WITHOUT_KV_HEADS: &[&str] = &[
    "jamba",
    "plamo2",
    "granitehybrid",
    "lfm2",
    "lfm2moe",
    "kimi-linear",
    "kimi-k3",
    "bailingmoe3",
    "glm5-next",
];

/// Hybrids that list their recurrent layers, or say every how many layers a full attention comes; this many where
/// the file says nothing.
const EVERY_NTH_ATTENDS: &[(&str, u64)] = &[
    ("qwen3next", 4),
    ("qwen35", 4),
    ("qwen35moe", 4),
    ("qwen4exp", 4),
    ("minimax-01", 8),
];

/// Whether each layer that decoding runs is recurrent.
pub(super) fn layers(header: &LayerHeader<'_>) -> Vec<bool> {
    let arch = header.arch;
    let every = EVERY_NTH_ATTENDS.iter().find(|(name, _)| *name == arch);
    let listed = header.listed_or_one("attention.recurrent_layers");
    let is_recurrent = |layer: u64| match (every, &listed) {
        (Some(_), Some(flags)) => per_layer(flags, layer) != 0,
        (Some((_, usual)), None) => {
            let n = header.uint("full_attention_interval").unwrap_or(*usual);
            n > 0 && !(layer + 1).is_multiple_of(n)
        }
        (None, _) if RECURRENT.contains(&arch) || arch == "falcon-h1" => true,
        (None, _) if arch.starts_with("nemotron_h") => {
            header.heads_kv_of(layer) == 0 && n_ff(header, layer) == 0
        }
        (None, _) => WITHOUT_KV_HEADS.contains(&arch) && header.heads_kv_of(layer) == 0,
    };
    (0..header.n_layer).map(is_recurrent).collect()
}

/// Width of the layer's feed-forward network; 0 where it has none.
pub(super) fn n_ff(header: &LayerHeader<'_>, layer: u64) -> u64 {
    let widths = header.listed_or_one("feed_forward_length");
    per_layer(&widths.unwrap_or_default(), layer)
}

/// Elements, each an F32, of one sequence's recurrent and convolution state over all layers.
pub(super) fn state_elements(header: &LayerHeader<'_>, recurrent: &[bool]) -> u64 {
    let n = recurrent
        .iter()
        .filter(|&&is_recurrent| is_recurrent)
        .count() as u64;
    if n == 0 {
        return 0;
    }
    n.saturating_mul(elements_per_layer(header))
}

/// `n_embd_r() + n_embd_s()`: what was convolved last, and the state.
fn elements_per_layer(header: &LayerHeader<'_>) -> u64 {
    let product = |factors: &[u64]| factors.iter().copied().fold(1, u64::saturating_mul);
    let n_embd = header.n_embd;
    let n_head = per_layer(&header.heads, 0);
    let wkv = header.or_zero("wkv.head_size");
    if wkv > 0 {
        let shifts = header.uint("token_shift_count").unwrap_or(2);
        return product(&[shifts, n_embd]).saturating_add(product(&[n_embd, wkv]));
    }
    let short_conv = header.or_zero("shortconv.l_cache");
    if short_conv > 0 {
        return product(&[n_embd, short_conv - 1]);
    }
    let d_conv = header.or_zero("ssm.conv_kernel");
    let kda = header.or_zero("kda.head_dim");
    if kda > 0 {
        let columns = if d_conv > 0 { d_conv - 1 } else { 3 };
        return product(&[3, columns, n_head, kda]).saturating_add(product(&[kda, kda, n_head]));
    }
    if header.arch == "minimax-01" {
        return product(&[header.head_dim_k, header.head_dim_k, n_head]);
    }
    let (d_inner, d_state) = (
        header.or_zero("ssm.inner_size"),
        header.or_zero("ssm.state_size"),
    );
    // mamba.cpp and jamba.cpp read no group count.
    let groups = match header.arch {
        "mamba" | "jamba" => 0,
        _ => header.or_zero("ssm.group_count"),
    };
    let convolved = d_inner.saturating_add(product(&[2, groups, d_state]));
    product(&[d_conv.saturating_sub(1), convolved]).saturating_add(product(&[d_state, d_inner]))
}
