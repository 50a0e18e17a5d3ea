//! Which tensor type llama.cpp's quantiser gives to which tensor.
//!
//! A twin of a real file runs at its speed only with the same types, and these differ within a
//! file: Q4_K_M holds Q6_K, and widths that a type cannot divide fall back to another. This is
//! `llama_tensor_get_type_impl` and `tensor_type_fallback` of llama-quant.cpp for the architectures of
//! [`SynthArchitecture`] without an importance matrix, and mixtures of another number of experts than 8, which have rules
//! of their own; a test compares it with the engine's dry run.

use llama_cpp_sys_2 as sys;

use super::shape::{SynthArchitecture, SynthShape};
use crate::model::FileType;
use crate::model::gguf::block_elements;

/// The quantiser's tensor categories, as far as their rules differ here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TensorRole {
    Output,
    TokenEmbd,
    AttnQk,
    AttnV,
    AttnOutput,
    FfnDown,
    FfnUpGate,
}

pub(super) struct Mixture {
    file_type: FileType,
    default: sys::ggml_type,
    n_layer: u32,
    // Query heads per KV head.
    n_gqa: u32,
    tied: bool,
    // The quantiser's LLM_TYPE_70B: 80 layers with grouped heads.
    is_70b: bool,
}

impl Mixture {
    pub fn new(file_type: FileType, shape: &SynthShape) -> Self {
        Self {
            file_type,
            default: file_type.default_tensor_type(),
            n_layer: shape.n_layer,
            n_gqa: shape.n_head / shape.n_head_kv.max(1),
            tied: shape.tied,
            is_70b: shape.architecture == SynthArchitecture::Llama
                && shape.n_layer == 80
                && shape.n_head != shape.n_head_kv,
        }
    }

    /// The type of a matrix with rows of `n_in` elements.
    pub fn tensor_type(&self, role: TensorRole, layer: u32, n_in: u64) -> sys::ggml_type {
        if block_elements(self.default) == 1 {
            return self.default; // F32, F16 and BF16 are never mixed
        }
        fall_back(n_in, self.wanted(role, layer, n_in))
    }

    /// The type of the experts' matrices: as others of their role, but for the type that is for experts alone.
    pub fn expert_type(&self, role: TensorRole, layer: u32, n_in: u64) -> sys::ggml_type {
        match self.default {
            sys::GGML_TYPE_MXFP4 => fall_back(n_in, self.default),
            _ => self.tensor_type(role, layer, n_in),
        }
    }

    fn wanted(&self, role: TensorRole, layer: u32, n_in: u64) -> sys::ggml_type {
        let is = |names: &[&str]| names.contains(&self.file_type.name());
        let early = layer < self.n_layer / 8;
        match role {
            TensorRole::Output => self.output(n_in),
            TensorRole::TokenEmbd if self.tied => self.output(n_in),
            _ if is(&["MXFP4_MOE"]) => sys::GGML_TYPE_Q8_0, // only experts get MXFP4
            TensorRole::TokenEmbd if is(&["TQ1_0", "TQ2_0", "Q2_0"]) => sys::GGML_TYPE_Q4_K,
            TensorRole::AttnV => self.attn_v(layer),
            TensorRole::FfnDown => match self.file_type.name() {
                "Q2_K" => sys::GGML_TYPE_Q3_K,
                "Q3_K_M" if layer < self.n_layer / 16 => sys::GGML_TYPE_Q5_K,
                "Q3_K_M" => sys::GGML_TYPE_Q4_K,
                "Q3_K_L" => sys::GGML_TYPE_Q5_K,
                "IQ3_M" if early => sys::GGML_TYPE_Q4_K,
                "Q4_K_M" | "Q5_K_M" if self.use_more_bits(layer) => sys::GGML_TYPE_Q6_K,
                "IQ4_NL" | "IQ4_XS" | "Q4_K_S" if early => sys::GGML_TYPE_Q5_K,
                _ => self.default,
            },
            TensorRole::AttnOutput => match self.file_type.name() {
                "Q2_K" => sys::GGML_TYPE_Q3_K,
                "Q3_K_M" | "IQ3_M" => sys::GGML_TYPE_Q4_K,
                "Q3_K_L" => sys::GGML_TYPE_Q5_K,
                _ => self.default,
            },
            TensorRole::TokenEmbd | TensorRole::AttnQk | TensorRole::FfnUpGate => self.default,
        }
    }

    fn output(&self, n_in: u64) -> sys::ggml_type {
        let indivisible = !n_in.is_multiple_of(block_elements(self.default));
        let eight_bit = indivisible
            || self.default == sys::GGML_TYPE_Q8_0
            || self.default == sys::GGML_TYPE_MXFP4;
        if eight_bit {
            sys::GGML_TYPE_Q8_0
        } else {
            sys::GGML_TYPE_Q6_K
        }
    }

    fn attn_v(&self, layer: u32) -> sys::ggml_type {
        let grouped = self.n_gqa >= 4;
        let ty = match self.file_type.name() {
            "Q2_K" if grouped => sys::GGML_TYPE_Q4_K,
            "Q2_K" => sys::GGML_TYPE_Q3_K,
            "IQ3_S" if grouped => sys::GGML_TYPE_Q4_K,
            "IQ3_M" => sys::GGML_TYPE_Q4_K,
            "Q3_K_M" if layer < 2 => sys::GGML_TYPE_Q5_K,
            "Q3_K_M" => sys::GGML_TYPE_Q4_K,
            "Q3_K_L" => sys::GGML_TYPE_Q5_K,
            "IQ4_NL" | "IQ4_XS" if grouped => sys::GGML_TYPE_Q5_K,
            "Q4_K_M" | "Q5_K_M" if self.use_more_bits(layer) => sys::GGML_TYPE_Q6_K,
            "Q4_K_S" if layer < 4 => sys::GGML_TYPE_Q5_K,
            _ => self.default,
        };
        let small = ty == sys::GGML_TYPE_Q3_K || ty == sys::GGML_TYPE_Q4_K;
        if self.is_70b && small {
            sys::GGML_TYPE_Q5_K
        } else {
            ty
        }
    }

    /// The first and last eighth of the layers and every third between.
    fn use_more_bits(&self, layer: u32) -> bool {
        let (layer, n) = (i64::from(layer), i64::from(self.n_layer));
        layer < n / 8 || layer >= 7 * n / 8 || (layer - n / 8) % 3 == 2
    }
}

fn fall_back(n_in: u64, wanted: sys::ggml_type) -> sys::ggml_type {
    let fits = |ty| n_in.is_multiple_of(block_elements(ty));
    if fits(wanted) {
        return wanted;
    }
    let next = match wanted {
        sys::GGML_TYPE_IQ3_S | sys::GGML_TYPE_IQ4_XS => sys::GGML_TYPE_IQ4_NL,
        sys::GGML_TYPE_Q2_0
        | sys::GGML_TYPE_Q2_K
        | sys::GGML_TYPE_Q3_K
        | sys::GGML_TYPE_TQ1_0
        | sys::GGML_TYPE_TQ2_0 => sys::GGML_TYPE_Q4_0,
        sys::GGML_TYPE_Q4_K => sys::GGML_TYPE_Q5_0,
        sys::GGML_TYPE_Q5_K => sys::GGML_TYPE_Q5_1,
        sys::GGML_TYPE_Q6_K => sys::GGML_TYPE_Q8_0,
        other => other,
    };
    if fits(next) { next } else { sys::GGML_TYPE_F16 }
}
