//! Shapes of models, and the tensors each consists of.

use llama_cpp_sys_2 as sys;
use serde::{Deserialize, Serialize};

use super::presets::PRESETS;
use crate::model::ModelError;

/// The engine's architectures whose tensors are known here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SynthArchitecture {
    /// Llama, and families whose layers have the same matrices.
    Llama,
    /// Qwen 3: norms of queries and keys.
    Qwen3,
    /// Qwen 3 as a mixture of experts.
    Qwen3moe,
    /// Gemma 3: norms before and after, five layers of six with a sliding window.
    Gemma3,
    /// gpt-oss: a mixture of experts with biases and sinks, every other layer with a sliding window.
    GptOss,
}

impl SynthArchitecture {
    /// `general.architecture`, and the first part of the header's keys.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Llama => "llama",
            Self::Qwen3 => "qwen3",
            Self::Qwen3moe => "qwen3moe",
            Self::Gemma3 => "gemma3",
            Self::GptOss => "gpt-oss",
        }
    }

    pub(super) fn is_mixture(self) -> bool {
        matches!(self, Self::Qwen3moe | Self::GptOss)
    }

    pub(super) fn can_slide(self) -> bool {
        matches!(self, Self::Gemma3 | Self::GptOss)
    }
}

/// The experts of every layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SynthExperts {
    /// How many there are.
    pub n_expert: u32,
    /// How many each token uses.
    pub n_expert_used: u32,
    /// Feed-forward width of one.
    pub n_ff: u32,
}

/// Sizes that fix every tensor of a model.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SynthShape {
    /// What the engine takes it for.
    pub architecture: SynthArchitecture,
    /// Transformer blocks.
    pub n_layer: u32,
    /// Width of the residual stream; a multiple of 32, and of `n_head` where heads have no width of their own.
    pub n_embd: u32,
    /// Query heads.
    pub n_head: u32,
    /// KV heads; divides `n_head`.
    pub n_head_kv: u32,
    /// Elements of one head, where that is not `n_embd / n_head`.
    pub n_embd_head: Option<u32>,
    /// Feed-forward width of a layer without experts; mixtures have it in their header all the same.
    pub n_ff: u32,
    /// The experts, for mixtures.
    pub experts: Option<SynthExperts>,
    /// Tokens that layers with a sliding window look back; none where every layer attends in full.
    pub sliding_window: Option<u32>,
    /// Tokens; at least [`SynthShape::MIN_VOCAB`].
    pub n_vocab: u32,
    /// Context length written as the trained one.
    pub n_ctx_train: u32,
    /// The token embedding is also the output matrix.
    pub tied: bool,
    /// `rope.freq_base`.
    pub rope_freq_base: f32,
    /// Llama 3.1's frequency scaling factor, which brings the tensor `rope_freqs.weight`.
    pub rope_scaling_factor: Option<f32>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Fill {
    Norm,
    /// Normal with standard deviation `1 / sqrt(row width)`.
    Matrix,
    /// Normal around 0, small beside what it is added to.
    Bias,
    RopeFreqs {
        factor: f32,
        freq_base: f32,
    },
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct PlannedTensor {
    pub name: String,
    pub ty: sys::ggml_type,
    pub n_in: u64,
    pub n_rows: u64,
    /// As many matrices of that size: one for each expert.
    pub n_matrices: u64,
    pub fill: Fill,
}

impl PlannedTensor {
    pub fn elements(&self) -> u64 {
        self.n_in * self.n_rows * self.n_matrices
    }
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
        self.n_embd_head.unwrap_or(self.n_embd / self.n_head.max(1))
    }

    /// Checks what the engine would assert or misread.
    ///
    /// # Errors
    /// [`ModelError::BadShape`] names the field.
    pub fn validate(&self) -> Result<(), ModelError> {
        let rules = self.rules_of_widths().into_iter();
        let mut rules = rules.chain(self.rules_of_architecture());
        match rules.find(|(holds, _)| !holds) {
            Some((_, rule)) => Err(ModelError::BadShape {
                detail: rule.to_owned(),
            }),
            None => Ok(()),
        }
    }

    fn rules_of_widths(&self) -> [(bool, &'static str); 11] {
        let divides_embd = self.n_head > 0 && self.n_embd.is_multiple_of(self.n_head);
        [
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
                self.n_head > 0 && (divides_embd || self.n_embd_head.is_some()),
                "n_head must divide n_embd",
            ),
            // Rotary pairs.
            (
                (2..=1 << 16).contains(&self.head_dim()) && self.head_dim().is_multiple_of(2),
                "the width of a head (n_embd / n_head, or n_embd_head) must be even, and at most 65536",
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
        ]
    }

    /// What an architecture has that others do not.
    fn rules_of_architecture(&self) -> [(bool, &'static str); 6] {
        let arch = self.architecture;
        [
            (
                self.experts.is_some() == arch.is_mixture(),
                "experts belong to qwen3moe and gpt-oss, which need them",
            ),
            (
                self.experts.is_none_or(|e| {
                    // LLAMA_MAX_EXPERTS; the quantiser has other rules for 8.
                    (2..=1024).contains(&e.n_expert) && e.n_expert != 8
                }),
                "n_expert must be 2 to 1024, and not 8",
            ),
            (
                self.experts
                    .is_none_or(|e| (1..=e.n_expert).contains(&e.n_expert_used)),
                "n_expert_used must be 1 to n_expert",
            ),
            (
                self.experts
                    .is_none_or(|e| (32..=1 << 20).contains(&e.n_ff) && e.n_ff.is_multiple_of(32)),
                "the experts' n_ff must be a multiple of 32",
            ),
            (
                match self.sliding_window {
                    Some(n) => n > 0 && arch.can_slide(),
                    None => arch != SynthArchitecture::GptOss,
                },
                "sliding_window belongs to gemma3 and gpt-oss, and gpt-oss needs one",
            ),
            (
                match arch {
                    SynthArchitecture::Llama => true,
                    SynthArchitecture::GptOss => !self.tied && self.rope_scaling_factor.is_none(),
                    _ => self.rope_scaling_factor.is_none(),
                },
                "rope_scaling_factor belongs to llama, and gpt-oss is never tied",
            ),
        ]
    }
}
