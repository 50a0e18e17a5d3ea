//! Every parameter of llama.cpp's model and context, set on purpose: as its own tools have it, or as the case says.
//!
//! The library's defaults are not its tools': `swa_full` is true in the one and false in the others.

use std::ffi::CStr;
use std::num::NonZeroU32;
use std::ptr::NonNull;

use llama_cpp_2::context::params::{KvCacheType, LlamaContextParams, LlamaContextType};
use llama_cpp_2::model::LlamaModel;
use llama_cpp_sys_2 as sys;

use crate::engine::rpc::backend::device;
use crate::plan::{Case, Devices, FlashAttn, KvType, LoadKey, SplitMode};

/// How a model is loaded, and what the engine's plain structure points to.
pub(super) struct ModelParams {
    plain: sys::llama_model_params,
    /// Ends with a null pointer. Empty: the engine chooses.
    devices: Vec<sys::ggml_backend_dev_t>,
    /// As many as the engine reads. Empty: the engine divides.
    tensor_split: Vec<f32>,
}

impl ModelParams {
    /// How the key says. Left as they are by default, which is as the tools have it: the mode of loading (mapped), no check of the
    /// tensors' values, weights repacked for the CPU where it helps.
    pub(super) fn of(key: &LoadKey) -> Result<Self, String> {
        // SAFETY: they only fill a plain structure, and read a constant.
        let (plain, most_devices) =
            unsafe { (sys::llama_model_default_params(), sys::llama_max_devices()) };
        let as_i32 = |n: u32| i32::try_from(n).unwrap_or(i32::MAX);
        let mut tensor_split: Vec<f32> = key.tensor_split.shares().collect();
        if !key.tensor_split.is_auto() {
            tensor_split.resize(most_devices, 0.0);
        }
        Ok(Self {
            plain: sys::llama_model_params {
                n_gpu_layers: as_i32(key.n_gpu_layers),
                main_gpu: as_i32(key.main_gpu),
                split_mode: match key.split_mode {
                    SplitMode::None => sys::LLAMA_SPLIT_MODE_NONE,
                    SplitMode::Layer => sys::LLAMA_SPLIT_MODE_LAYER,
                    SplitMode::Row => sys::LLAMA_SPLIT_MODE_ROW,
                    SplitMode::Tensor => sys::LLAMA_SPLIT_MODE_TENSOR,
                },
                vocab_only: false,
                no_alloc: false,
                // No prediction layers.
                load_mtp: false,
                ..plain
            },
            devices: devices(&key.device)?,
            tensor_split,
        })
    }

    /// Loads a model; `None` where the engine could not, of which its log has the reason.
    pub(super) fn load(mut self, path: &CStr) -> Option<LlamaModel> {
        if !self.devices.is_empty() {
            self.plain.devices = self.devices.as_mut_ptr();
        }
        if !self.tensor_split.is_empty() {
            self.plain.tensor_split = self.tensor_split.as_ptr();
        }
        // SAFETY: a NUL-terminated path; both lists live through the call and have the lengths that the engine reads.
        let model = unsafe { sys::llama_model_load_from_file(path.as_ptr(), self.plain) };
        let model = NonNull::new(model)?;
        // SAFETY: the binding's model is this pointer (`repr(transparent)`) and frees it in the end. The binding itself cannot set
        // the tensor split.
        Some(unsafe { std::mem::transmute::<NonNull<sys::llama_model>, LlamaModel>(model) })
    }
}

/// The chosen devices and a null pointer; nothing where the engine chooses.
fn devices(chosen: &Devices) -> Result<Vec<sys::ggml_backend_dev_t>, String> {
    let names = match chosen {
        Devices::Auto => return Ok(Vec::new()),
        Devices::None => &[][..],
        Devices::Named(names) => names,
    };
    let named = names.iter().map(|name| {
        device(name).ok_or_else(|| format!("device {name}: the engine has none of this name"))
    });
    named.chain([Ok(std::ptr::null_mut())]).collect()
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
        .with_kv_unified(case.kv_unified)
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
        let other = context(&case(Axes {
            swa_full: Some(vec![true]),
            kv_unified: Some(vec![true]),
            ..Axes::default()
        }));
        assert!(other.swa_full() && other.kv_unified());
    }

    #[test]
    fn a_model_is_loaded_as_the_case_says() {
        let params = |axes| ModelParams::of(&case(axes).load_key());
        let m = params(Axes::default()).expect("known");
        let plain = m.plain;
        assert_eq!((plain.n_gpu_layers, plain.main_gpu), (7, 0));
        assert_eq!(plain.split_mode, sys::LLAMA_SPLIT_MODE_LAYER);
        assert!(!plain.load_mtp && m.devices.is_empty() && m.tensor_split.is_empty());
        let m = params(Axes {
            device: Some(vec![Devices::None]),
            tensor_split: Some(vec!["3,1".parse().expect("shares")]),
            ..Axes::default()
        })
        .expect("known");
        assert_eq!(
            (m.plain.n_gpu_layers, m.devices),
            (0, vec![std::ptr::null_mut()])
        );
        assert_eq!(m.tensor_split[..3], [3.0, 1.0, 0.0]);
        assert!(m.tensor_split.len() >= 16, "as many as the engine reads");
        let e = params(Axes {
            device: Some(vec!["GPU7".parse().expect("a name")]),
            ..Axes::default()
        });
        let e = e.err().expect("unknown");
        assert_eq!(e, "device GPU7: the engine has none of this name");
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
