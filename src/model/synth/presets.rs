//! Ready-made shapes, each from its published configuration.

use super::shape::{SynthArchitecture, SynthExperts, SynthShape};

/// What most shapes have: no experts, no window, heads of `n_embd / n_head`, an output matrix of their own.
const LLAMA: SynthShape = SynthShape {
    architecture: SynthArchitecture::Llama,
    n_layer: 0,
    n_embd: 0,
    n_head: 0,
    n_head_kv: 0,
    n_embd_head: None,
    n_ff: 0,
    experts: None,
    sliding_window: None,
    n_vocab: 0,
    n_ctx_train: 0,
    tied: false,
    rope_freq_base: 10_000.0,
    rope_scaling_factor: None,
};

/// config.json of Qwen/Qwen3-0.6B to 32B: `head_dim`, `vocab_size`, `max_position_embeddings`, `rope_theta`.
const QWEN3: SynthShape = SynthShape {
    architecture: SynthArchitecture::Qwen3,
    n_head_kv: 8,
    n_embd_head: Some(128),
    n_vocab: 151_936,
    n_ctx_train: 40_960,
    rope_freq_base: 1_000_000.0,
    ..LLAMA
};

/// config.json of google/gemma-3-4b-it to 27b-it, `text_config`.
const GEMMA3: SynthShape = SynthShape {
    architecture: SynthArchitecture::Gemma3,
    n_embd_head: Some(256),
    sliding_window: Some(1024),
    n_vocab: 262_208,
    n_ctx_train: 131_072,
    tied: true,
    rope_freq_base: 1_000_000.0,
    ..LLAMA
};

/// config.json of google/gemma-3-270m and 1b-it.
const SMALL_GEMMA3: SynthShape = SynthShape {
    n_head: 4,
    n_head_kv: 1,
    sliding_window: Some(512),
    n_vocab: 262_144,
    n_ctx_train: 32_768,
    ..GEMMA3
};

/// config.json of openai/gpt-oss-20b and 120b, which differ in layers and experts.
const GPT_OSS: SynthShape = SynthShape {
    architecture: SynthArchitecture::GptOss,
    n_embd: 2880,
    n_head: 64,
    n_head_kv: 8,
    n_embd_head: Some(64),
    n_ff: 2880,
    sliding_window: Some(128),
    n_vocab: 201_088,
    n_ctx_train: 131_072,
    rope_freq_base: 150_000.0,
    ..LLAMA
};

/// Ready-made shapes: name, sizes, what they are.
#[rustfmt::skip]
pub const PRESETS: &[(&str, SynthShape, &str)] = &[
    ("tiny", SynthShape {
        n_layer: 2, n_embd: 256, n_head: 4, n_head_kv: 2, n_ff: 512, n_vocab: 512,
        n_ctx_train: 4096, rope_freq_base: 10_000.0,
        ..LLAMA
    }, "1.4 million weights, for tests"),
    // general.architecture llama; the sizes stand in the file that gguf/models.toml lists.
    ("smollm2-135m", SynthShape {
        n_layer: 30, n_embd: 576, n_head: 9, n_head_kv: 3, n_ff: 1536, n_vocab: 49_152,
        n_ctx_train: 8192, tied: true, rope_freq_base: 100_000.0,
        ..LLAMA
    }, "SmolLM2-135M"),
    // config.json of Llama-3.2-1B, Llama-3.2-3B and Meta-Llama-3-8B.
    ("llama3.2-1b", SynthShape {
        n_layer: 16, n_embd: 2048, n_head: 32, n_head_kv: 8, n_ff: 8192, n_vocab: 128_256,
        n_ctx_train: 131_072, tied: true, rope_freq_base: 500_000.0, rope_scaling_factor: Some(32.0),
        ..LLAMA
    }, "Llama 3.2 1B"),
    ("llama3.2-3b", SynthShape {
        n_layer: 28, n_embd: 3072, n_head: 24, n_head_kv: 8, n_ff: 8192, n_vocab: 128_256,
        n_ctx_train: 131_072, tied: true, rope_freq_base: 500_000.0, rope_scaling_factor: Some(32.0),
        ..LLAMA
    }, "Llama 3.2 3B"),
    ("llama3-8b", SynthShape {
        n_layer: 32, n_embd: 4096, n_head: 32, n_head_kv: 8, n_ff: 14_336, n_vocab: 128_256,
        n_ctx_train: 8192, rope_freq_base: 500_000.0,
        ..LLAMA
    }, "Llama 3 8B"),
    // The same of Llama-3.1-8B and 70B, Mistral-7B-v0.3, Qwen2.5 and phi-4, in Llama's architecture.
    ("llama3.1-8b", SynthShape {
        n_layer: 32, n_embd: 4096, n_head: 32, n_head_kv: 8, n_ff: 14_336, n_vocab: 128_256,
        n_ctx_train: 131_072, rope_freq_base: 500_000.0, rope_scaling_factor: Some(8.0),
        ..LLAMA
    }, "Llama 3.1 8B"),
    ("llama3.1-70b", SynthShape {
        n_layer: 80, n_embd: 8192, n_head: 64, n_head_kv: 8, n_ff: 28_672, n_vocab: 128_256,
        n_ctx_train: 131_072, rope_freq_base: 500_000.0, rope_scaling_factor: Some(8.0),
        ..LLAMA
    }, "Llama 3.1 70B, which Llama 3.3 70B has too"),
    ("mistral-7b", SynthShape {
        n_layer: 32, n_embd: 4096, n_head: 32, n_head_kv: 8, n_ff: 14_336, n_vocab: 32_768,
        n_ctx_train: 32_768, rope_freq_base: 1_000_000.0,
        ..LLAMA
    }, "Mistral 7B v0.3"),
    ("qwen2.5-0.5b", SynthShape {
        n_layer: 24, n_embd: 896, n_head: 14, n_head_kv: 2, n_ff: 4864, n_vocab: 151_936,
        n_ctx_train: 32_768, tied: true, rope_freq_base: 1_000_000.0,
        ..LLAMA
    }, "Qwen 2.5 0.5B, without its biases"),
    ("qwen2.5-1.5b", SynthShape {
        n_layer: 28, n_embd: 1536, n_head: 12, n_head_kv: 2, n_ff: 8960, n_vocab: 151_936,
        n_ctx_train: 32_768, tied: true, rope_freq_base: 1_000_000.0,
        ..LLAMA
    }, "Qwen 2.5 1.5B, without its biases"),
    ("qwen2.5-3b", SynthShape {
        n_layer: 36, n_embd: 2048, n_head: 16, n_head_kv: 2, n_ff: 11_008, n_vocab: 151_936,
        n_ctx_train: 32_768, tied: true, rope_freq_base: 1_000_000.0,
        ..LLAMA
    }, "Qwen 2.5 3B, without its biases"),
    ("qwen2.5-7b", SynthShape {
        n_layer: 28, n_embd: 3584, n_head: 28, n_head_kv: 4, n_ff: 18_944, n_vocab: 152_064,
        n_ctx_train: 32_768, rope_freq_base: 1_000_000.0,
        ..LLAMA
    }, "Qwen 2.5 7B, without its biases"),
    ("qwen2.5-14b", SynthShape {
        n_layer: 48, n_embd: 5120, n_head: 40, n_head_kv: 8, n_ff: 13_824, n_vocab: 152_064,
        n_ctx_train: 32_768, rope_freq_base: 1_000_000.0,
        ..LLAMA
    }, "Qwen 2.5 14B, without its biases"),
    ("qwen2.5-32b", SynthShape {
        n_layer: 64, n_embd: 5120, n_head: 40, n_head_kv: 8, n_ff: 27_648, n_vocab: 152_064,
        n_ctx_train: 32_768, rope_freq_base: 1_000_000.0,
        ..LLAMA
    }, "Qwen 2.5 32B, without its biases"),
    ("phi-4", SynthShape {
        n_layer: 40, n_embd: 5120, n_head: 40, n_head_kv: 10, n_ff: 17_920, n_vocab: 100_352,
        n_ctx_train: 16_384, rope_freq_base: 250_000.0,
        ..LLAMA
    }, "Phi-4, whose fused matrices are taken apart"),
    // config.json of mistralai/Mistral-Small-24B-Instruct-2501: `head_dim` 128.
    ("mistral-small-24b", SynthShape {
        n_layer: 40, n_embd: 5120, n_head: 32, n_head_kv: 8, n_embd_head: Some(128), n_ff: 32_768,
        n_vocab: 131_072, n_ctx_train: 32_768, rope_freq_base: 100_000_000.0, ..LLAMA
    }, "Mistral Small 3 24B"),
    ("qwen3-0.6b", SynthShape {
        n_layer: 28, n_embd: 1024, n_head: 16, n_ff: 3072, tied: true, ..QWEN3
    }, "Qwen 3 0.6B"),
    ("qwen3-1.7b", SynthShape {
        n_layer: 28, n_embd: 2048, n_head: 16, n_ff: 6144, tied: true, ..QWEN3
    }, "Qwen 3 1.7B"),
    ("qwen3-4b", SynthShape {
        n_layer: 36, n_embd: 2560, n_head: 32, n_ff: 9728, tied: true, ..QWEN3
    }, "Qwen 3 4B"),
    ("qwen3-8b", SynthShape {
        n_layer: 36, n_embd: 4096, n_head: 32, n_ff: 12_288, ..QWEN3
    }, "Qwen 3 8B"),
    ("qwen3-14b", SynthShape {
        n_layer: 40, n_embd: 5120, n_head: 40, n_ff: 17_408, ..QWEN3
    }, "Qwen 3 14B"),
    ("qwen3-32b", SynthShape {
        n_layer: 64, n_embd: 5120, n_head: 64, n_ff: 25_600, ..QWEN3
    }, "Qwen 3 32B"),
    // config.json of Qwen/Qwen3-30B-A3B.
    ("qwen3-30b-a3b", SynthShape {
        architecture: SynthArchitecture::Qwen3moe,
        n_layer: 48, n_embd: 2048, n_head: 32, n_head_kv: 4, n_ff: 6144,
        experts: Some(SynthExperts { n_expert: 128, n_expert_used: 8, n_ff: 768 }), ..QWEN3
    }, "Qwen 3 30B-A3B, 8 of 128 experts"),
    ("gemma3-270m", SynthShape {
        n_layer: 18, n_embd: 640, n_ff: 2048, ..SMALL_GEMMA3
    }, "Gemma 3 270M"),
    ("gemma3-1b", SynthShape {
        n_layer: 26, n_embd: 1152, n_ff: 6912, ..SMALL_GEMMA3
    }, "Gemma 3 1B"),
    ("gemma3-4b", SynthShape {
        n_layer: 34, n_embd: 2560, n_head: 8, n_head_kv: 4, n_ff: 10_240, ..GEMMA3
    }, "Gemma 3 4B, its text part"),
    ("gemma3-12b", SynthShape {
        n_layer: 48, n_embd: 3840, n_head: 16, n_head_kv: 8, n_ff: 15_360, ..GEMMA3
    }, "Gemma 3 12B, its text part"),
    ("gemma3-27b", SynthShape {
        n_layer: 62, n_embd: 5376, n_head: 32, n_head_kv: 16, n_embd_head: Some(128), n_ff: 21_504, ..GEMMA3
    }, "Gemma 3 27B, its text part"),
    ("gpt-oss-20b", SynthShape {
        n_layer: 24, experts: Some(SynthExperts { n_expert: 32, n_expert_used: 4, n_ff: 2880 }), ..GPT_OSS
    }, "gpt-oss 20B, 4 of 32 experts; published as mxfp4_moe"),
    ("gpt-oss-120b", SynthShape {
        n_layer: 36, experts: Some(SynthExperts { n_expert: 128, n_expert_used: 4, n_ff: 2880 }), ..GPT_OSS
    }, "gpt-oss 120B, 4 of 128 experts; published as mxfp4_moe"),
];
