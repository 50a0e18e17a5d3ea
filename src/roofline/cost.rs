//! Bytes and FLOPs of the engine's calls, from a model's facts: METHODOLOGY.md, "Ceilings and what follows".

use serde::{Deserialize, Serialize};

use super::kernel::touched_share;
use crate::model::ModelFacts;

/// Cells of the KV cache that the engine works on come in multiples of this (`llama-kv-cache.cpp`, `get_n_kv`).
pub const KV_PAD: u32 = 256;

/// The K and the V cache, as far as they decide what a call moves.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct KvCache {
    /// Bytes of an element of a key.
    pub k_bytes: f64,
    /// Bytes of an element of a value.
    pub v_bytes: f64,
    /// Cells beyond their window that layers with a sliding window keep: as many as are computed at once. None where
    /// they keep the full context.
    pub beyond_window: Option<u32>,
}

impl KvCache {
    /// Both caches in half precision, the engine's default, and full.
    #[cfg(test)]
    pub const F16: Self = Self {
        k_bytes: 2.0,
        v_bytes: 2.0,
        beyond_window: None,
    };

    /// Most cells that a sequence has in a layer which looks back `n_window` tokens (`llama_kv_cache_iswa`).
    pub fn sliding_cells(&self, n_window: u32) -> u32 {
        sliding_cells(n_window, self.beyond_window)
    }
}

/// Most cells that a sequence has in a layer which looks back `n_window` tokens and keeps `beyond` more.
pub(super) fn sliding_cells(n_window: u32, beyond: Option<u32>) -> u32 {
    beyond.map_or(u32::MAX, |beyond| {
        let needed = n_window.saturating_add(beyond);
        needed.checked_next_multiple_of(KV_PAD).unwrap_or(u32::MAX)
    })
}

/// What a call is given. All sequences of a call have equally many tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallShape {
    pub n_seq: u32,
    pub n_tokens: u32,
    /// Tokens in each one's cache before the call.
    pub n_past: u32,
    /// Tokens whose logits are asked for, over all sequences.
    pub n_logits: u32,
    /// Most tokens the engine computes at once (`n_ubatch`): more of them read the weights again.
    pub n_ubatch: u32,
}

impl CallShape {
    /// A decode step: a token of every sequence, logits for each.
    pub fn decode(n_seq: u32, n_past: u32) -> Self {
        Self {
            n_seq,
            n_tokens: 1,
            n_past,
            n_logits: n_seq,
            n_ubatch: n_seq.max(1),
        }
    }

    /// The prefill of equal prompts, logits for the last token of each.
    pub fn prefill(n_seq: u32, n_prompt: u32, n_past: u32, n_ubatch: u32) -> Self {
        Self {
            n_seq,
            n_tokens: n_prompt,
            n_past,
            n_logits: n_seq,
            n_ubatch: n_ubatch.max(1),
        }
    }

    fn total_tokens(&self) -> f64 {
        f64::from(self.n_seq) * f64::from(self.n_tokens)
    }

    fn passes(&self) -> f64 {
        (self.total_tokens() / f64::from(self.n_ubatch.max(1)))
            .ceil()
            .max(1.0)
    }

    /// Sum over the call's tokens of the tokens each attends to, itself included, and at most `window`.
    fn attended(&self, window: f64) -> f64 {
        let (n, past) = (f64::from(self.n_tokens), f64::from(self.n_past));
        // The first tokens see all that is before them, the others a full window.
        let first = (window - past).clamp(0.0, n);
        let others = if first < n { (n - first) * window } else { 0.0 };
        f64::from(self.n_seq) * (first * past + first * (first + 1.0) / 2.0 + others)
    }

    /// Tokens in each sequence's cache after the call.
    fn context(&self) -> u64 {
        u64::from(self.n_past) + u64::from(self.n_tokens)
    }

    /// KV cells of all sequences that the call works on: the context after it, padded, and of each at most `most`.
    fn padded_cells(&self, most: u64) -> f64 {
        let cells = self.context().next_multiple_of(KV_PAD.into()).min(most);
        f64::from(self.n_seq) * cells as f64
    }

    /// Times that some sequence's recurrent state is read and written.
    fn state_passes(&self) -> f64 {
        self.passes().max(f64::from(self.n_seq))
    }
}

/// What a call moves and computes. Expected values where the model is a mixture of experts.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Cost {
    /// Weights read; of experts the distinct ones that some token is expected to choose.
    pub weight_bytes: f64,
    /// KV cache read, all cells the engine works on: an upper bound, since kernels may skip masked ones.
    pub kv_read_bytes: f64,
    /// Of these, what holds tokens: the lower bound.
    pub kv_used_bytes: f64,
    pub kv_write_bytes: f64,
    /// Recurrent and convolution state, read and written.
    #[serde(default)]
    pub state_bytes: f64,
    pub embedding_bytes: f64,
    /// Logits handed out, in f32.
    pub logits_bytes: f64,
    /// Multiply-adds with weights, counted as two.
    pub matmul_flops: f64,
    /// Multiply-adds of attention, counted as two.
    pub attention_flops: f64,
}

impl Cost {
    /// All bytes, with the padded KV cache.
    pub fn bytes(&self) -> f64 {
        self.weight_bytes
            + self.kv_read_bytes
            + self.kv_write_bytes
            + self.state_bytes
            + self.embedding_bytes
            + self.logits_bytes
    }

    pub fn flops(&self) -> f64 {
        self.matmul_flops + self.attention_flops
    }

    /// FLOPs per byte: where on the roofline the call stands.
    pub fn intensity(&self) -> f64 {
        self.flops() / self.bytes()
    }

    /// Memory bandwidth utilisation of a call that took `ns`: its bytes a second as a share of the
    /// machine's. `None` unless both are positive.
    pub fn mbu(&self, ns: f64, bytes_per_s: f64) -> Option<f64> {
        share(self.bytes(), ns, bytes_per_s)
    }

    /// Model FLOPs utilisation, as [`Cost::mbu`].
    pub fn mfu(&self, ns: f64, flops_per_s: f64) -> Option<f64> {
        share(self.flops(), ns, flops_per_s)
    }
}

fn share(amount: f64, ns: f64, per_s: f64) -> Option<f64> {
    (ns > 0.0 && per_s > 0.0).then(|| amount / (ns / 1e9) / per_s)
}

/// Layers with a KV cache, counted in layers of the model's most KV heads.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AttentionLayers {
    pub full: f64,
    pub sliding: f64,
}

pub fn attention_layers(model: &ModelFacts) -> AttentionLayers {
    let layers = |k_elements: u64| match (model.n_head_kv, model.head_dim_k) {
        (Some(heads), Some(dim)) if heads > 0 && dim > 0 => {
            k_elements as f64 / (f64::from(heads) * f64::from(dim))
        }
        _ => 0.0,
    };
    let sliding = model.sliding.map_or(0, |s| s.k_elements_per_token);
    AttentionLayers {
        full: layers(model.k_elements_per_token.saturating_sub(sliding)),
        sliding: layers(sliding),
    }
}

/// What a call costs.
///
/// With L attention layers, h query heads of d_h, V vocabulary, d width:
/// `FLOPs = 2 (P_mm - V d) tokens + 2 V d logits + 2 L h (d_k + d_v) attended`,
/// `bytes = passes W + kappa (cells read + tokens written) + states + embedding rows + 4 V logits`.
/// `P_mm` counts, of experts, those a token uses; `W` those that the tokens of a pass are expected to touch. Layers
/// with a sliding window attend to no more than that, and work on no more cells than they keep.
pub fn of(model: &ModelFacts, kv: KvCache, call: &CallShape) -> Cost {
    let tokens = call.total_tokens();
    let passes = call.passes();
    let experts = u64::from(model.n_expert.unwrap_or(0));
    let used = u64::from(model.n_expert_used.unwrap_or(0));
    let touched = |n_tokens: f64| touched_share(experts, used, n_tokens);
    let idle_bytes = (1.0 - touched(tokens / passes)) * model.expert_bytes as f64;
    let params = model.n_matmul_params as f64 - (1.0 - touched(1.0)) * model.n_expert_params as f64;
    let output_params = f64::from(model.n_vocab) * f64::from(model.n_embd);
    let layer_params = (params - output_params).max(0.0);
    let kappa_all = model.kv_bytes_per_token(kv.k_bytes, kv.v_bytes);
    let kappa_sliding = model.sliding_bytes_per_token(kv.k_bytes, kv.v_bytes);
    let kappa = kappa_all - kappa_sliding;
    let window = model.sliding.map_or(0, |s| s.n_window);
    let layers = attention_layers(model);
    let head_elements = f64::from(model.n_head.unwrap_or(0))
        * f64::from(model.head_dim_k.unwrap_or(0) + model.head_dim_v.unwrap_or(0));
    let row_bytes = model.token_embd_bytes as f64 / f64::from(model.n_vocab.max(1));
    let logits = f64::from(call.n_logits);
    let context = call.context() as f64;
    let seen = context.min(f64::from(window));
    Cost {
        weight_bytes: passes * (model.weight_bytes_per_step as f64 - idle_bytes),
        kv_read_bytes: kappa * call.padded_cells(u64::MAX)
            + kappa_sliding * call.padded_cells(kv.sliding_cells(window).into()),
        kv_used_bytes: f64::from(call.n_seq) * (kappa * context + kappa_sliding * seen),
        kv_write_bytes: kappa_all * tokens,
        state_bytes: 2.0 * model.state_bytes_per_seq() as f64 * call.state_passes(),
        embedding_bytes: tokens * row_bytes,
        logits_bytes: 4.0 * f64::from(model.n_vocab) * logits,
        matmul_flops: 2.0 * (layer_params * tokens + output_params.min(params) * logits),
        attention_flops: 2.0
            * head_elements
            * (layers.full * call.attended(f64::INFINITY)
                + layers.sliding * call.attended(f64::from(window))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::SlidingLayers;
    use crate::model::synth::preset_facts as facts;

    #[test]
    fn llama_3_8b_as_computed_by_hand() {
        // L 32, d 4096, h 32, g 8, d_h 128, f 14336, V 128256, untied.
        let layer = 2 * 4096 * 4096 + 2 * 4096 * 1024 + 3 * 4096 * 14_336;
        let p_mm: u64 = 32 * layer + 128_256 * 4096;
        assert_eq!(p_mm, 7_504_658_432, "7.505e9");
        let model = facts("llama3-8b", "f16");
        assert_eq!(model.n_matmul_params, p_mm);
        let one = of(&model, KvCache::F16, &CallShape::decode(1, 0));
        assert_eq!(one.matmul_flops, 2.0 * p_mm as f64);
        assert!(
            (one.flops() / 15.0e9 - 1.0).abs() < 0.001,
            "15.0 GFLOP per token"
        );
        // One attended token: 4 L h d_h.
        assert_eq!(one.attention_flops, f64::from(4 * 32 * 32 * 128));
        // kappa = 2 L g d_h 2 bytes = 128 KiB; 256 padded cells are read, one is written.
        let kappa = 131_072.0;
        assert_eq!(one.kv_write_bytes, kappa);
        assert_eq!(
            (one.kv_read_bytes, one.kv_used_bytes),
            (256.0 * kappa, kappa)
        );
        assert_eq!(one.logits_bytes, 4.0 * 128_256.0);
        assert_eq!(one.embedding_bytes, 2.0 * 4096.0);
        let norms = (32 * 2 + 1) * 4096 * 4;
        assert_eq!(one.weight_bytes, (p_mm * 2 + norms) as f64);
    }

    #[test]
    fn where_kv_bytes_of_128_sequences_equal_the_weights() {
        let equal = |file_type: &str| {
            let model = facts("llama3-8b", file_type);
            model.weight_bytes_per_step as f64 / (131_072.0 * 128.0)
        };
        // METHOD: about 290 tokens of context for Q4_K_M and 960 for F16 (there with the table's bytes).
        assert!((equal("q4_k_m") - 277.0).abs() < 5.0, "{}", equal("q4_k_m"));
        assert!((equal("f16") - 895.0).abs() < 5.0, "{}", equal("f16"));
    }

    #[test]
    fn smollm2_as_computed_by_hand() {
        // L 30, d 576, h 9, g 3, d_h 64, f 1536, V 49152, tied.
        let layer = 2 * 576 * 576 + 2 * 576 * 192 + 3 * 576 * 1536;
        let output = 49_152 * 576;
        let p_mm: u64 = 30 * layer + output;
        assert_eq!(p_mm, 134_479_872);
        let model = facts("smollm2-135m", "f16");
        let b = 32_u32;
        let step = of(&model, KvCache::F16, &CallShape::decode(b, 159));
        assert_eq!(step.matmul_flops, (2 * p_mm * 32) as f64);
        assert_eq!(step.attention_flops, f64::from(4 * 30 * 9 * 64 * 32 * 160));
        // 2 * 30 * 3 * 64 elements of two bytes.
        assert_eq!(step.kv_used_bytes, f64::from(23_040 * 32 * 160));
        assert_eq!(step.kv_read_bytes, f64::from(23_040 * 32 * 256));
        let norms = (30 * 2 + 1) * 576 * 4;
        assert_eq!(
            step.weight_bytes,
            (p_mm * 2 + norms) as f64,
            "the tied table is the output"
        );
        assert_eq!(step.embedding_bytes, f64::from(32 * 576 * 2));
        // 4 B V.
        assert_eq!(step.logits_bytes, f64::from(4 * 32 * 49_152));

        let prefill = of(&model, KvCache::F16, &CallShape::prefill(8, 128, 0, 512));
        let all_layers = 2 * 30 * layer * 1024 + 2 * output * 8;
        assert_eq!(
            prefill.matmul_flops, all_layers as f64,
            "the output for eight tokens only"
        );
        assert_eq!(
            prefill.attention_flops,
            f64::from(4 * 30 * 9 * 64 * 8) * (128.0 * 129.0 / 2.0)
        );
        assert_eq!(
            prefill.weight_bytes,
            2.0 * step.weight_bytes,
            "1024 tokens, 512 at once"
        );
    }

    #[test]
    fn a_cache_type_changes_the_kv_bytes_only() {
        let model = facts("smollm2-135m", "q8_0");
        let call = CallShape::decode(4, 100);
        let f16 = of(&model, KvCache::F16, &call);
        let q8 = KvCache {
            k_bytes: 34.0 / 32.0,
            v_bytes: 2.0,
            beyond_window: None,
        };
        let mixed = of(&model, q8, &call);
        assert_eq!(
            mixed.kv_read_bytes,
            f16.kv_read_bytes * (34.0 / 32.0 + 2.0) / 4.0
        );
        assert_eq!(mixed.weight_bytes, f16.weight_bytes);
        assert_eq!(mixed.flops(), f16.flops());
    }

    #[test]
    fn a_mixture_reads_the_experts_its_tokens_chose() {
        let mut model = facts("smollm2-135m", "f16");
        // As if all feed-forward matrices were 8 experts of which 2 are used.
        model.n_expert = Some(8);
        model.n_expert_used = Some(2);
        model.n_expert_params = 30 * 3 * 576 * 1536;
        model.expert_bytes = 2 * model.n_expert_params;
        let dense = facts("smollm2-135m", "f16");
        let step = |b: u32| of(&model, KvCache::F16, &CallShape::decode(b, 0));
        let saved = |b: u32| dense.weight_bytes_per_step as f64 - step(b).weight_bytes;
        assert_eq!(saved(1), 0.75 * model.expert_bytes as f64);
        assert_eq!(saved(2), 0.75 * 0.75 * model.expert_bytes as f64);
        let used = model.n_matmul_params as f64 - 0.75 * model.n_expert_params as f64;
        assert_eq!(step(4).matmul_flops, 8.0 * used);
    }

    #[test]
    fn a_sliding_window_bounds_what_its_layers_read_and_attend_to() {
        let mut model = facts("smollm2-135m", "f16");
        // 25 of 30 layers look back 512 tokens.
        model.sliding = Some(SlidingLayers {
            n_window: 512,
            n_layer: 25,
            k_elements_per_token: 25 * 192,
            v_elements_per_token: 25 * 192,
        });
        let layer_bytes = 2.0 * 192.0 * 2.0;
        let kept = KvCache {
            beyond_window: Some(512),
            ..KvCache::F16
        };
        let far = of(&model, kept, &CallShape::decode(2, 3999));
        assert_eq!(
            far.kv_used_bytes,
            2.0 * layer_bytes * (5.0 * 4000.0 + 25.0 * 512.0)
        );
        assert_eq!(
            far.kv_read_bytes,
            2.0 * layer_bytes * (5.0 * 4096.0 + 25.0 * 1024.0)
        );
        assert_eq!(far.kv_write_bytes, 2.0 * layer_bytes * 30.0);
        let attended = 2.0 * 9.0 * 128.0 * (5.0 * 8000.0 + 25.0 * 1024.0);
        assert_eq!(far.attention_flops, attended);
        let full = of(&model, KvCache::F16, &CallShape::decode(2, 3999));
        assert_eq!(full.kv_read_bytes, 2.0 * layer_bytes * 30.0 * 4096.0);
        assert_eq!(full.attention_flops, attended, "masked all the same");
        let mut dense = model.clone();
        dense.sliding = None;
        let near = CallShape::prefill(1, 100, 0, 512);
        assert_eq!(of(&model, kept, &near), of(&dense, kept, &near));
        // Tokens 401 to 600 of a sequence: the first 112 see all, 88 see 512.
        let all = (401..=512).sum::<u32>() + 88 * 512;
        assert_eq!(
            CallShape::prefill(1, 200, 400, 512).attended(512.0),
            f64::from(all)
        );
    }

    #[test]
    fn a_recurrent_state_is_read_and_written_whole() {
        let mut model = facts("smollm2-135m", "f16");
        model.state_elements_per_seq = 1000;
        let step = of(&model, KvCache::F16, &CallShape::decode(8, 100));
        assert_eq!(step.state_bytes, 2.0 * 4.0 * 1000.0 * 8.0);
        let later = of(&model, KvCache::F16, &CallShape::decode(8, 1000));
        assert_eq!(later.state_bytes, step.state_bytes);
        let prefill = CallShape::prefill(1, 2048, 0, 512);
        assert_eq!(
            of(&model, KvCache::F16, &prefill).state_bytes,
            2.0 * 4.0 * 1000.0 * 4.0
        );
    }

    #[test]
    fn utilisation_is_the_share_of_a_ceiling() {
        let cost = Cost {
            weight_bytes: 1e9,
            matmul_flops: 2e9,
            ..Cost::default()
        };
        // 1 GB in 100 ms is 10 GB/s.
        assert_eq!(cost.mbu(1e8, 20e9), Some(0.5));
        assert_eq!(cost.mfu(1e8, 80e9), Some(0.25));
        assert_eq!(cost.intensity(), 2.0);
        assert_eq!((cost.mbu(0.0, 1.0), cost.mfu(1.0, 0.0)), (None, None));
    }
}
