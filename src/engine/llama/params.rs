//! Every parameter of llama.cpp's model and context, set on purpose: as its own tools have it, or as the case says.
//!
//! The library's defaults are not its tools': `swa_full` is true in the one and false in the others.

use std::num::NonZeroU32;

use llama_cpp_2::context::params::{KvCacheType, LlamaContextParams, LlamaContextType};
use llama_cpp_2::model::params::{LlamaModelParams, LlamaSplitMode};
use llama_cpp_sys_2 as sys;

use crate::plan::{Case, FlashAttn, KvType, LoadKey, SplitMode};

/// How a model is loaded. Left as they are by default, which is as the tools have it: the mode of loading (mapped),
/// no check of the tensors' values, weights repacked for the CPU where it helps, no prediction layers.
pub(super) fn model(key: &LoadKey) -> LlamaModelParams {
    LlamaModelParams::default()
        .with_n_gpu_layers(key.n_gpu_layers)
        .with_main_gpu(i32::try_from(key.main_gpu).unwrap_or(i32::MAX))
        .with_split_mode(match key.split_mode {
            SplitMode::None => LlamaSplitMode::None,
            SplitMode::Layer => LlamaSplitMode::Layer,
            SplitMode::Row => LlamaSplitMode::Row,
            SplitMode::Tensor => LlamaSplitMode::Tensor,
        })
        .with_vocab_only(false)
        .with_no_alloc(false)
        .with_load_mtp(false)
}

/// What a context is made with. RoPE, YaRN, pooling and the kind of attention stay the model's own.
pub(super) fn context(case: &Case) -> LlamaContextParams {
    let threads = i32::try_from(case.n_threads).unwrap_or(i32::MAX);
    LlamaContextParams::default()
        .with_context_type(LlamaContextType::Default)
        .with_n_ctx(NonZeroU32::new(case.n_ctx_total()))
        .with_n_seq_max(case.n_seq)
        // Snapshots of recurrent states, for speculation only.
        .with_n_rs_seq(0)
        .with_n_batch(case.n_batch)
        .with_n_ubatch(case.n_ubatch)
        .with_n_threads(threads)
        .with_n_threads_batch(threads)
        .with_type_k(kv_type(case.type_k))
        .with_type_v(kv_type(case.type_v))
        .with_flash_attention_policy(match case.flash_attn {
            FlashAttn::Auto => sys::LLAMA_FLASH_ATTN_TYPE_AUTO,
            FlashAttn::On => sys::LLAMA_FLASH_ATTN_TYPE_ENABLED,
            FlashAttn::Off => sys::LLAMA_FLASH_ATTN_TYPE_DISABLED,
        })
        .with_swa_full(case.swa_full)
        .with_offload_kqv(true)
        .with_op_offload(true)
        // Each sequence has its own cells, as a server's slots have.
        .with_kv_unified(false)
        .with_embeddings(false)
        .with_no_perf(true)
}

fn kv_type(t: KvType) -> KvCacheType {
    match t {
        KvType::F32 => KvCacheType::F32,
        KvType::F16 => KvCacheType::F16,
        KvType::Bf16 => KvCacheType::BF16,
        KvType::Q8_0 => KvCacheType::Q8_0,
        KvType::Q4_0 => KvCacheType::Q4_0,
        KvType::Q4_1 => KvCacheType::Q4_1,
        KvType::Iq4Nl => KvCacheType::IQ4_NL,
        KvType::Q5_0 => KvCacheType::Q5_0,
        KvType::Q5_1 => KvCacheType::Q5_1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::expand::{Axes, Host, cases};

    fn case(axes: Axes) -> Case {
        let host = Host {
            n_threads: 3,
            n_gpu_layers: 7,
        };
        cases(&axes, &["m".into()], &[], host)
            .expect("valid")
            .remove(0)
    }

    #[test]
    fn a_context_is_what_the_case_says() {
        let p = context(&case(Axes {
            n_seq: Some(vec![4]),
            n_ctx: Some(vec![1000]),
            type_k: Some(vec![KvType::Q8_0]),
            flash_attn: Some(vec![FlashAttn::On]),
            ..Axes::default()
        }));
        assert_eq!(p.n_ctx(), NonZeroU32::new(4 * 1024));
        assert_eq!((p.n_seq_max(), p.n_batch(), p.n_ubatch()), (4, 2048, 512));
        assert_eq!((p.n_threads(), p.n_threads_batch()), (3, 3));
        assert_eq!(
            (p.type_k(), p.type_v()),
            (KvCacheType::Q8_0, KvCacheType::F16)
        );
        assert_eq!(
            p.flash_attention_policy(),
            sys::LLAMA_FLASH_ATTN_TYPE_ENABLED
        );
        assert!(!p.swa_full() && !p.kv_unified() && !p.embeddings());
        assert!(p.offload_kqv() && p.op_offload() && p.no_perf());
        let full = Axes {
            swa_full: Some(vec![true]),
            ..Axes::default()
        };
        assert!(context(&case(full)).swa_full());
        let m = model(&case(Axes::default()).load_key());
        assert_eq!(
            (m.n_gpu_layers(), m.main_gpu(), m.load_mtp()),
            (7, 0, false)
        );
    }

    /// A parameter that llama.cpp adds or changes has to be decided upon above: the patterns name every field.
    #[test]
    fn defaults_that_are_left_alone_are_the_ones_known() {
        // SAFETY: both only fill a plain structure.
        let (model, context) = unsafe {
            (
                sys::llama_model_default_params(),
                sys::llama_context_default_params(),
            )
        };
        let sys::llama_model_params {
            devices,
            tensor_buft_overrides,
            n_gpu_layers: _,
            split_mode: _,
            load_mode,
            lazy_mode,
            main_gpu: _,
            tensor_split,
            progress_callback: _,
            progress_callback_user_data: _,
            kv_overrides,
            vocab_only: _,
            check_tensors,
            use_extra_bufts,
            no_host,
            no_alloc: _,
            load_mtp: _,
        } = model;
        assert!(devices.is_null() && tensor_buft_overrides.is_null());
        assert!(tensor_split.is_null() && kv_overrides.is_null());
        assert_eq!(load_mode, sys::LLAMA_LOAD_MODE_AUTO);
        assert_eq!(lazy_mode, sys::LLAMA_LAZY_MODE_AUTO);
        assert!(!check_tensors && use_extra_bufts && !no_host);
        let sys::llama_context_params {
            n_ctx: _,
            n_batch: _,
            n_ubatch: _,
            n_seq_max: _,
            n_rs_seq: _,
            n_outputs_max,
            n_outputs_max_per_seq,
            n_threads: _,
            n_threads_batch: _,
            ctx_type: _,
            rope_scaling_type,
            pooling_type,
            attention_type,
            flash_attn_type: _,
            rope_freq_base,
            rope_freq_scale,
            yarn_ext_factor,
            yarn_attn_factor,
            yarn_beta_fast,
            yarn_beta_slow,
            yarn_orig_ctx,
            defrag_thold: _,
            cb_eval: _,
            cb_eval_user_data: _,
            type_k: _,
            type_v: _,
            abort_callback: _,
            abort_callback_data: _,
            embeddings: _,
            offload_kqv: _,
            no_perf: _,
            op_offload: _,
            swa_full: _,
            kv_unified: _,
            samplers,
            n_samplers,
            ctx_other,
        } = context;
        // No limit of its own: a prefill asks for the logits of one token a sequence.
        assert_eq!((n_outputs_max, n_outputs_max_per_seq), (0, 1));
        assert_eq!(rope_scaling_type, sys::LLAMA_ROPE_SCALING_TYPE_UNSPECIFIED);
        assert_eq!(pooling_type, sys::LLAMA_POOLING_TYPE_UNSPECIFIED);
        assert_eq!(attention_type, sys::LLAMA_ATTENTION_TYPE_UNSPECIFIED);
        let of_the_model = [rope_freq_base, rope_freq_scale];
        assert_eq!(of_the_model, [0.0, 0.0]);
        let yarn = [
            yarn_ext_factor,
            yarn_attn_factor,
            yarn_beta_fast,
            yarn_beta_slow,
        ];
        assert_eq!(yarn, [-1.0; 4]);
        assert_eq!((yarn_orig_ctx, n_samplers), (0, 0));
        assert!(samplers.is_null() && ctx_other.is_null());
    }
}
