//! The metadata of a generated model: sizes, a vocabulary that can spell anything, the stamp.

use std::ffi::CString;

use llama_cpp_sys_2 as sys;

use super::SynthSpec;
use super::shape::{PlannedTensor, SynthShape};
use crate::model::gguf::Gguf;

/// Raised whenever the generator writes other bytes for the same spec; older files are rewritten.
pub(super) const VERSION: u32 = 1;
pub(super) const VERSION_KEY: &str = "ggufbench.synth.version";
pub(super) const SEED_KEY: &str = "ggufbench.synth.seed";

// llama_token_type in llama.h, as `tokenizer.ggml.token_type` stores it.
const NORMAL: i32 = 1;
const CONTROL: i32 = 3;

/// Builds the header in memory; tensor offsets follow from the order of `tensors`.
pub(super) fn build(spec: &SynthSpec, tensors: &[PlannedTensor]) -> Gguf {
    let gguf = Gguf::empty();
    let header = HeaderWriter(&gguf);
    let shape = &spec.shape;
    header.str("general.architecture", shape.architecture.name());
    header.str("general.type", "model");
    header.str("general.name", &format!("synthetic {}", spec.name));
    header.u32("general.file_type", spec.file_type.number());
    header.u32("general.quantization_version", 2); // GGML_QNT_VERSION
    header.u32(VERSION_KEY, VERSION);
    header.u64(SEED_KEY, spec.seed);
    header.sizes(shape);
    header.vocabulary(shape.n_vocab);
    header.tensors(tensors);
    gguf
}

struct HeaderWriter<'a>(&'a Gguf);

impl HeaderWriter<'_> {
    fn str(&self, key: &str, value: &str) {
        let (key, value) = (c_string(key), c_string(value));
        // SAFETY: valid context; the engine copies both strings.
        unsafe { sys::gguf_set_val_str(self.0.as_ptr(), key.as_ptr(), value.as_ptr()) }
    }

    fn u32(&self, key: &str, value: u32) {
        // SAFETY: valid context; the engine copies the key.
        unsafe { sys::gguf_set_val_u32(self.0.as_ptr(), c_string(key).as_ptr(), value) }
    }

    fn u64(&self, key: &str, value: u64) {
        // SAFETY: valid context; the engine copies the key.
        unsafe { sys::gguf_set_val_u64(self.0.as_ptr(), c_string(key).as_ptr(), value) }
    }

    fn f32(&self, key: &str, value: f32) {
        // SAFETY: valid context; the engine copies the key.
        unsafe { sys::gguf_set_val_f32(self.0.as_ptr(), c_string(key).as_ptr(), value) }
    }

    fn bool(&self, key: &str, value: bool) {
        // SAFETY: valid context; the engine copies the key.
        unsafe { sys::gguf_set_val_bool(self.0.as_ptr(), c_string(key).as_ptr(), value) }
    }

    fn strs(&self, key: &str, values: &[String]) {
        let values: Vec<CString> = values.iter().map(|value| c_string(value)).collect();
        let mut pointers: Vec<_> = values.iter().map(|value| value.as_ptr()).collect();
        let key = c_string(key);
        // SAFETY: as many NUL-terminated strings as the count says; the engine copies them all.
        unsafe {
            sys::gguf_set_arr_str(
                self.0.as_ptr(),
                key.as_ptr(),
                pointers.as_mut_ptr(),
                pointers.len(),
            );
        }
    }

    fn i32s(&self, key: &str, values: &[i32]) {
        let key = c_string(key);
        // SAFETY: the element type and count are the slice's own; the engine copies the bytes.
        unsafe {
            sys::gguf_set_arr_data(
                self.0.as_ptr(),
                key.as_ptr(),
                sys::GGUF_TYPE_INT32,
                values.as_ptr().cast(),
                values.len(),
            );
        }
    }

    fn sizes(&self, shape: &SynthShape) {
        let arch = shape.architecture.name();
        let u32 = |name: &str, value| self.u32(&format!("{arch}.{name}"), value);
        u32("block_count", shape.n_layer);
        u32("context_length", shape.n_ctx_train);
        u32("embedding_length", shape.n_embd);
        u32("feed_forward_length", shape.n_ff);
        u32("attention.head_count", shape.n_head);
        u32("attention.head_count_kv", shape.n_head_kv);
        let f32 = |name: &str, value| self.f32(&format!("{arch}.{name}"), value);
        f32("attention.layer_norm_rms_epsilon", 1e-5);
        f32("rope.freq_base", shape.rope_freq_base);
        u32("rope.dimension_count", shape.head_dim());
        if let Some(width) = shape.n_embd_head {
            u32("attention.key_length", width);
            u32("attention.value_length", width);
        }
        if let Some(experts) = shape.experts {
            u32("expert_count", experts.n_expert);
            u32("expert_used_count", experts.n_expert_used);
            u32("expert_feed_forward_length", experts.n_ff);
        }
        if let Some(window) = shape.sliding_window {
            u32("attention.sliding_window", window);
        }
        u32("vocab_size", shape.n_vocab);
    }

    /// A byte-level vocabulary without merges: every text becomes its UTF-8 bytes and comes back
    /// unchanged. The remaining tokens have distinct texts that no input ever produces.
    fn vocabulary(&self, n_vocab: u32) {
        self.str("tokenizer.ggml.model", "gpt2");
        // A pre-tokeniser that the engine does not tidy spaces for when it puts text together.
        self.str("tokenizer.ggml.pre", "qwen2");
        let mut texts: Vec<String> = ["<|unk|>", "<|bos|>", "<|eos|>"].map(String::from).into();
        texts.extend((0..=255).map(|byte| gpt2_char(byte).to_string()));
        texts.extend((texts.len() as u32..n_vocab).map(|id| format!("<tok{id}>")));
        let kinds: Vec<i32> = (0..n_vocab)
            .map(|id| if id < 3 { CONTROL } else { NORMAL })
            .collect();
        self.strs("tokenizer.ggml.tokens", &texts);
        self.i32s("tokenizer.ggml.token_type", &kinds);
        self.strs("tokenizer.ggml.merges", &[]);
        self.u32("tokenizer.ggml.unknown_token_id", 0);
        self.u32("tokenizer.ggml.bos_token_id", 1);
        self.u32("tokenizer.ggml.eos_token_id", 2);
        self.bool("tokenizer.ggml.add_bos_token", false);
    }

    fn tensors(&self, tensors: &[PlannedTensor]) {
        // SAFETY: the arena has room for every tensor's description (no data, `no_alloc`), the
        // names are shorter than GGML_MAX_NAME, the types and widths were matched by the mixture,
        // and the context copies the descriptions before the arena is freed.
        unsafe {
            let arena = sys::ggml_init(sys::ggml_init_params {
                mem_size: (tensors.len() + 1) * sys::ggml_tensor_overhead(),
                mem_buffer: std::ptr::null_mut(),
                no_alloc: true,
            });
            assert!(!arena.is_null(), "out of memory");
            for tensor in tensors {
                let (n_in, n_rows) = (tensor.n_in as i64, tensor.n_rows as i64);
                let raw = match tensor.n_matrices {
                    1 if tensor.n_rows == 1 => sys::ggml_new_tensor_1d(arena, tensor.ty, n_in),
                    1 => sys::ggml_new_tensor_2d(arena, tensor.ty, n_in, n_rows),
                    n => sys::ggml_new_tensor_3d(arena, tensor.ty, n_in, n_rows, n as i64),
                };
                sys::ggml_set_name(raw, c_string(&tensor.name).as_ptr());
                sys::gguf_add_tensor(self.0.as_ptr(), raw);
            }
            sys::ggml_free(arena);
        }
    }
}

/// GPT-2's stand-in for a byte: itself when printable in Latin-1, else the next free character
/// from U+0100 (`bytes_to_unicode` of the GPT-2 encoder).
fn gpt2_char(byte: u8) -> char {
    let printable = |b: u8| matches!(b, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
    if printable(byte) {
        return char::from(byte);
    }
    let earlier = (0..byte).filter(|&b| !printable(b)).count() as u32;
    char::from_u32(0x100 + earlier).expect("68 characters above U+0100 are all assigned")
}

fn c_string(text: &str) -> CString {
    CString::new(text.replace('\0', "")).expect("NUL bytes were removed")
}
