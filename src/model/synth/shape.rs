//! Shapes of Llama-architecture models, and the tensors each consists of.

use llama_cpp_sys_2 as sys;
use serde::{Deserialize, Serialize};

use super::mixture::{Mixture, TensorRole};
use crate::model::{FileType, ModelError};

/// Sizes that fix every tensor of a Llama-architecture model.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SynthShape {
    /// Transformer blocks.
    pub n_layer: u32,
    /// Width of the residual stream; a multiple of 32 and of `n_head`.
    pub n_embd: u32,
    /// Query heads.
    pub n_head: u32,
    /// KV heads; divides `n_head`.
    pub n_head_kv: u32,
    /// Feed-forward width.
    pub n_ff: u32,
    /// Tokens; at least [`SynthShape::MIN_VOCAB`].
    pub n_vocab: u32,
    /// Context length written as the trained one.
    pub n_ctx_train: u32,
    /// The token embedding is also the output matrix.
    pub tied: bool,
    /// `llama.rope.freq_base`.
    pub rope_freq_base: f32,
    /// Llama 3.1's frequency scaling factor, which brings the tensor `rope_freqs.weight`.
    pub rope_scaling_factor: Option<f32>,
}

/// Ready-made shapes: name, sizes, what they are.
#[rustfmt::skip]
pub const PRESETS: &[(&str, SynthShape, &str)] = &[
    ("tiny", SynthShape {
        n_layer: 2, n_embd: 256, n_head: 4, n_head_kv: 2, n_ff: 512, n_vocab: 512,
        n_ctx_train: 4096, tied: false, rope_freq_base: 10_000.0, rope_scaling_factor: None,
    }, "1.4 million weights, for tests"),
    // general.architecture llama; the sizes stand in the file that gguf/models.toml lists.
    ("smollm2-135m", SynthShape {
        n_layer: 30, n_embd: 576, n_head: 9, n_head_kv: 3, n_ff: 1536, n_vocab: 49_152,
        n_ctx_train: 8192, tied: true, rope_freq_base: 100_000.0, rope_scaling_factor: None,
    }, "SmolLM2-135M"),
    // config.json of Llama-3.2-1B, Llama-3.2-3B and Meta-Llama-3-8B.
    ("llama3.2-1b", SynthShape {
        n_layer: 16, n_embd: 2048, n_head: 32, n_head_kv: 8, n_ff: 8192, n_vocab: 128_256,
        n_ctx_train: 131_072, tied: true, rope_freq_base: 500_000.0, rope_scaling_factor: Some(32.0),
    }, "Llama 3.2 1B"),
    ("llama3.2-3b", SynthShape {
        n_layer: 28, n_embd: 3072, n_head: 24, n_head_kv: 8, n_ff: 8192, n_vocab: 128_256,
        n_ctx_train: 131_072, tied: true, rope_freq_base: 500_000.0, rope_scaling_factor: Some(32.0),
    }, "Llama 3.2 3B"),
    ("llama3-8b", SynthShape {
        n_layer: 32, n_embd: 4096, n_head: 32, n_head_kv: 8, n_ff: 14_336, n_vocab: 128_256,
        n_ctx_train: 8192, tied: false, rope_freq_base: 500_000.0, rope_scaling_factor: None,
    }, "Llama 3 8B"),
    // The same of Llama-3.1-8B and 70B, Mistral-7B-v0.3, Qwen2.5 and phi-4, in Llama's architecture.
    ("llama3.1-8b", SynthShape {
        n_layer: 32, n_embd: 4096, n_head: 32, n_head_kv: 8, n_ff: 14_336, n_vocab: 128_256,
        n_ctx_train: 131_072, tied: false, rope_freq_base: 500_000.0, rope_scaling_factor: Some(8.0),
    }, "Llama 3.1 8B"),
    ("llama3.1-70b", SynthShape {
        n_layer: 80, n_embd: 8192, n_head: 64, n_head_kv: 8, n_ff: 28_672, n_vocab: 128_256,
        n_ctx_train: 131_072, tied: false, rope_freq_base: 500_000.0, rope_scaling_factor: Some(8.0),
    }, "Llama 3.1 70B, which Llama 3.3 70B has too"),
    ("mistral-7b", SynthShape {
        n_layer: 32, n_embd: 4096, n_head: 32, n_head_kv: 8, n_ff: 14_336, n_vocab: 32_768,
        n_ctx_train: 32_768, tied: false, rope_freq_base: 1_000_000.0, rope_scaling_factor: None,
    }, "Mistral 7B v0.3"),
    ("qwen2.5-0.5b", SynthShape {
        n_layer: 24, n_embd: 896, n_head: 14, n_head_kv: 2, n_ff: 4864, n_vocab: 151_936,
        n_ctx_train: 32_768, tied: true, rope_freq_base: 1_000_000.0, rope_scaling_factor: None,
    }, "Qwen 2.5 0.5B, without its biases"),
    ("qwen2.5-1.5b", SynthShape {
        n_layer: 28, n_embd: 1536, n_head: 12, n_head_kv: 2, n_ff: 8960, n_vocab: 151_936,
        n_ctx_train: 32_768, tied: true, rope_freq_base: 1_000_000.0, rope_scaling_factor: None,
    }, "Qwen 2.5 1.5B, without its biases"),
    ("qwen2.5-3b", SynthShape {
        n_layer: 36, n_embd: 2048, n_head: 16, n_head_kv: 2, n_ff: 11_008, n_vocab: 151_936,
        n_ctx_train: 32_768, tied: true, rope_freq_base: 1_000_000.0, rope_scaling_factor: None,
    }, "Qwen 2.5 3B, without its biases"),
    ("qwen2.5-7b", SynthShape {
        n_layer: 28, n_embd: 3584, n_head: 28, n_head_kv: 4, n_ff: 18_944, n_vocab: 152_064,
        n_ctx_train: 32_768, tied: false, rope_freq_base: 1_000_000.0, rope_scaling_factor: None,
    }, "Qwen 2.5 7B, without its biases"),
    ("qwen2.5-14b", SynthShape {
        n_layer: 48, n_embd: 5120, n_head: 40, n_head_kv: 8, n_ff: 13_824, n_vocab: 152_064,
        n_ctx_train: 32_768, tied: false, rope_freq_base: 1_000_000.0, rope_scaling_factor: None,
    }, "Qwen 2.5 14B, without its biases"),
    ("qwen2.5-32b", SynthShape {
        n_layer: 64, n_embd: 5120, n_head: 40, n_head_kv: 8, n_ff: 27_648, n_vocab: 152_064,
        n_ctx_train: 32_768, tied: false, rope_freq_base: 1_000_000.0, rope_scaling_factor: None,
    }, "Qwen 2.5 32B, without its biases"),
    ("phi-4", SynthShape {
        n_layer: 40, n_embd: 5120, n_head: 40, n_head_kv: 10, n_ff: 17_920, n_vocab: 100_352,
        n_ctx_train: 16_384, tied: false, rope_freq_base: 250_000.0, rope_scaling_factor: None,
    }, "Phi-4, whose fused matrices are taken apart"),
];

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Fill {
    Norm,
    /// Normal with standard deviation `1 / sqrt(row width)`.
    Matrix,
    RopeFreqs {
        factor: f32,
        freq_base: f32,
    },
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Planned {
    pub name: String,
    pub ty: sys::ggml_type,
    pub n_in: u64,
    pub n_rows: u64,
    pub fill: Fill,
}

impl SynthShape {
    /// Three control tokens and one for each byte.
    pub const MIN_VOCAB: u32 = 259;

    /// The preset of this name.
    #[must_use]
    pub fn preset(name: &str) -> Option<Self> {
        PRESETS
            .iter()
            .find(|preset| preset.0 == name)
            .map(|preset| preset.1)
    }

    /// Elements of one attention head.
    #[must_use]
    pub fn head_dim(&self) -> u32 {
        self.n_embd / self.n_head.max(1)
    }

    /// Checks what the engine would assert or misread.
    ///
    /// # Errors
    /// [`ModelError::BadShape`] names the field.
    pub fn validate(&self) -> Result<(), ModelError> {
        let rules = [
            // LLAMA_MAX_LAYERS
            (
                (1..=512).contains(&self.n_layer),
                "n_layer must be 1 to 512",
            ),
            (
                self.n_embd > 0 && self.n_embd.is_multiple_of(32),
                "n_embd must be a multiple of 32",
            ),
            (
                self.n_ff > 0 && self.n_ff.is_multiple_of(32),
                "n_ff must be a multiple of 32",
            ),
            (
                self.n_embd <= 1 << 20 && self.n_ff <= 1 << 20,
                "n_embd and n_ff must be at most 1048576",
            ),
            (
                self.n_head > 0 && self.n_embd.is_multiple_of(self.n_head),
                "n_head must divide n_embd",
            ),
            // Rotary pairs.
            (
                self.head_dim().is_multiple_of(2),
                "n_embd / n_head must be even",
            ),
            (
                self.n_head_kv > 0 && self.n_head.is_multiple_of(self.n_head_kv),
                "n_head_kv must divide n_head",
            ),
            (
                (Self::MIN_VOCAB..=1 << 22).contains(&self.n_vocab),
                "n_vocab must be 259 to 4194304 (a token for each byte and three control tokens)",
            ),
            (self.n_ctx_train > 0, "n_ctx_train must be positive"),
            (
                self.rope_freq_base.is_finite() && self.rope_freq_base > 0.0,
                "rope_freq_base must be positive",
            ),
            (
                self.rope_scaling_factor
                    .is_none_or(|f| f.is_finite() && f >= 1.0),
                "rope_scaling_factor must be at least 1",
            ),
        ];
        match rules.iter().find(|(holds, _)| !holds) {
            Some((_, rule)) => Err(ModelError::BadShape {
                detail: (*rule).to_owned(),
            }),
            None => Ok(()),
        }
    }

    /// Every tensor in the order of the engine's quantiser: by layer, then by name
    /// (`weight_name_comparer`), so that a generated file is laid out as a quantised one.
    pub(super) fn tensors(&self, file_type: FileType) -> Vec<Planned> {
        let mixture = Mixture::new(file_type, self);
        let (embd, ff) = (u64::from(self.n_embd), u64::from(self.n_ff));
        let kv = u64::from(self.head_dim()) * u64::from(self.n_head_kv);
        let vocab = u64::from(self.n_vocab);
        let matrix = |name: String, role: TensorRole, layer: u32, n_in: u64, n_rows: u64| Planned {
            ty: mixture.tensor_type(role, layer, n_in),
            fill: Fill::Matrix,
            name,
            n_in,
            n_rows,
        };
        let vector = |name: String, n_in: u64, fill: Fill| Planned {
            ty: sys::GGML_TYPE_F32,
            n_rows: 1,
            name,
            n_in,
            fill,
        };
        let mut all = Vec::new();
        if !self.tied {
            all.push(matrix(
                "output.weight".into(),
                TensorRole::Output,
                0,
                embd,
                vocab,
            ));
        }
        all.push(vector("output_norm.weight".into(), embd, Fill::Norm));
        if let Some(factor) = self.rope_scaling_factor {
            let fill = Fill::RopeFreqs {
                factor,
                freq_base: self.rope_freq_base,
            };
            all.push(vector(
                "rope_freqs.weight".into(),
                u64::from(self.head_dim() / 2),
                fill,
            ));
        }
        all.push(matrix(
            "token_embd.weight".into(),
            TensorRole::TokenEmbd,
            0,
            embd,
            vocab,
        ));
        for layer in 0..self.n_layer {
            let name = |part: &str| format!("blk.{layer}.{part}.weight");
            all.extend([
                matrix(name("attn_k"), TensorRole::AttnQk, layer, embd, kv),
                vector(name("attn_norm"), embd, Fill::Norm),
                matrix(
                    name("attn_output"),
                    TensorRole::AttnOutput,
                    layer,
                    embd,
                    embd,
                ),
                matrix(name("attn_q"), TensorRole::AttnQk, layer, embd, embd),
                matrix(name("attn_v"), TensorRole::AttnV, layer, embd, kv),
                matrix(name("ffn_down"), TensorRole::FfnDown, layer, ff, embd),
                matrix(name("ffn_gate"), TensorRole::FfnUpGate, layer, embd, ff),
                vector(name("ffn_norm"), embd, Fill::Norm),
                matrix(name("ffn_up"), TensorRole::FfnUpGate, layer, embd, ff),
            ]);
        }
        all
    }
}
