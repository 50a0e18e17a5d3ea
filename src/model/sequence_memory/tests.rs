//! Hand-computed from published configurations and the engine's formulas.

use std::ffi::CString;

use llama_cpp_sys_2 as sys;

use super::*;

/// A header in memory, keys under the architecture's name.
struct Made<'a> {
    gguf: Gguf,
    arch: &'a str,
}

impl<'a> Made<'a> {
    fn of(arch: &'a str, numbers: &[(&str, u32)]) -> Self {
        let made = Self {
            gguf: Gguf::empty(),
            arch,
        };
        for (key, value) in numbers {
            let key = made.key(key);
            // SAFETY: valid context; the engine copies the key.
            unsafe { sys::gguf_set_val_u32(made.gguf.as_ptr(), key.as_ptr(), *value) }
        }
        made
    }

    fn listing(self, key: &str, values: &[u32]) -> Self {
        let (key, data) = (self.key(key), values.as_ptr().cast());
        // SAFETY: valid context; the engine copies the key and as many values as there are.
        unsafe {
            let kind = sys::GGUF_TYPE_UINT32;
            sys::gguf_set_arr_data(self.gguf.as_ptr(), key.as_ptr(), kind, data, values.len());
        }
        self
    }

    fn key(&self, key: &str) -> CString {
        CString::new(format!("{}.{key}", self.arch)).expect("no NUL")
    }

    fn read(&self, n_layer: u64, n_embd: u64) -> SequenceMemory {
        read(&self.gguf, self.arch, n_layer, n_embd)
    }
}

const HEADS: [(&str, u32); 4] = [
    ("attention.head_count", 8),
    ("attention.head_count_kv", 2),
    ("attention.key_length", 64),
    ("attention.value_length", 64),
];

fn with_heads(more: &[(&'static str, u32)]) -> Vec<(&'static str, u32)> {
    [&HEADS[..], more].concat()
}

/// KV heads of `n` layers: `kv` in every layer that `attends`, none in the others.
fn kv_heads(n: u32, kv: u32, attends: impl Fn(u32) -> bool) -> Vec<u32> {
    (0..n).map(|il| if attends(il) { kv } else { 0 }).collect()
}

/// Layers that slide and their window.
fn sliding(arch: &str, n_layer: u64, more: &[(&'static str, u32)]) -> Option<(u32, u32)> {
    let memory = Made::of(arch, &with_heads(more)).read(n_layer, 512);
    assert_eq!(memory.k_elements_per_token, n_layer * 128);
    memory.sliding.map(|s| {
        assert_eq!(s.k_elements_per_token, u64::from(s.n_layer) * 128);
        assert_eq!(s.v_elements_per_token, s.k_elements_per_token);
        (s.n_layer, s.n_window)
    })
}

#[test]
fn each_architecture_has_its_own_pattern_of_sliding_layers() {
    let window = [("attention.sliding_window", 512)];
    assert_eq!(sliding("gemma3", 18, &window), Some((15, 512)));
    assert_eq!(sliding("gemma2", 26, &[]), Some((13, 4096)));
    assert_eq!(sliding("gpt-oss", 24, &window), Some((12, 512)));
    assert_eq!(sliding("cohere2", 32, &window), Some((24, 512)));
    assert_eq!(sliding("llama4", 48, &[]), Some((36, 8192)));
    assert_eq!(sliding("smallthinker", 9, &window), Some((6, 4096)));
    assert_eq!(sliding("exaone4", 64, &[]), Some((48, 4096)));
    let listed = Made::of("gemma4", &with_heads(&window))
        .listing("attention.sliding_window_pattern", &[1, 1, 0, 1]);
    assert_eq!(listed.read(4, 512).sliding.map(|s| s.n_layer), Some(3));
}

#[test]
fn a_period_in_the_file_stands_over_the_architectures_own() {
    let every_third = [
        ("attention.sliding_window", 512),
        ("attention.sliding_window_pattern", 3),
    ];
    assert_eq!(sliding("gemma3", 18, &every_third), Some((12, 512)));
    let all = [
        ("attention.sliding_window", 512),
        ("attention.sliding_window_pattern", 0),
    ];
    assert_eq!(sliding("gemma3", 18, &all), Some((18, 512)));
}

#[test]
fn a_window_that_the_engine_does_not_use_is_none() {
    let window = [("attention.sliding_window", 2047)];
    // phi3.cpp disables it, llama.cpp never looks.
    for arch in ["phi3", "llama", "qwen2"] {
        assert_eq!(sliding(arch, 32, &window), None, "{arch}");
    }
    let zero = [("attention.sliding_window", 0)];
    for arch in ["gemma3", "llama4", "smallthinker", "olmo2"] {
        assert_eq!(sliding(arch, 16, &zero), None, "{arch}");
    }
    assert_eq!(sliding("gemma3", 18, &[]), None);
    assert_eq!(sliding("exaone4", 30, &window), None, "the 1.2B model");
}

#[test]
fn sliding_layers_may_have_heads_of_another_size() {
    let sizes = [
        ("attention.sliding_window", 512),
        ("attention.key_length_swa", 32),
        ("attention.value_length_swa", 16),
    ];
    let made = Made::of("gemma3", &with_heads(&sizes));
    let memory = made.read(6, 512);
    assert_eq!(memory.k_elements_per_token, 2 * (5 * 32 + 64));
    assert_eq!(memory.v_elements_per_token, 2 * (5 * 16 + 64));
}

#[test]
fn recurrent_models_keep_a_state_and_no_cache() {
    let ssm = |inner, state, groups| {
        [
            ("attention.head_count", 0),
            ("ssm.conv_kernel", 4),
            ("ssm.inner_size", inner),
            ("ssm.state_size", state),
            ("ssm.group_count", groups),
        ]
    };
    // Mamba 2.8B.
    let mamba = Made::of("mamba", &ssm(5120, 16, 0)).read(64, 2560);
    assert_eq!(mamba.state_elements_per_seq, 64 * (3 * 5120 + 16 * 5120));
    assert_eq!((mamba.k_elements_per_token, mamba.n_head), (0, None));
    // Mamba-2 2.7B.
    let mamba2 = Made::of("mamba2", &ssm(5120, 128, 1)).read(64, 2560);
    let layer = 3 * (5120 + 2 * 128) + 128 * 5120;
    assert_eq!(mamba2.state_elements_per_seq, 64 * layer);
    // RWKV-6 1.6B.
    let rwkv = Made::of("rwkv6", &[("wkv.head_size", 64)]).read(24, 2048);
    assert_eq!(rwkv.state_elements_per_seq, 24 * (2 * 2048 + 2048 * 64));
    let one_shift = [("wkv.head_size", 64), ("token_shift_count", 1)];
    let qwen = Made::of("rwkv6qwen2", &one_shift).read(24, 2048);
    assert_eq!(qwen.state_elements_per_seq, 24 * (2048 + 2048 * 64));
}

#[test]
fn hybrids_keep_both() {
    let ssm = |inner, state, groups| {
        with_heads(&[
            ("ssm.conv_kernel", 4),
            ("ssm.inner_size", inner),
            ("ssm.state_size", state),
            ("ssm.group_count", groups),
        ])
    };
    // Granite 4.0 H Tiny: 4 of 40 layers attend.
    let granite = Made::of("granitehybrid", &ssm(3072, 128, 1)).listing(
        "attention.head_count_kv",
        &kv_heads(40, 4, |il| il % 10 == 5),
    );
    let memory = granite.read(40, 1536);
    let layer = 3 * (3072 + 2 * 128) + 128 * 3072;
    assert_eq!(memory.state_elements_per_seq, 36 * layer);
    assert_eq!(memory.k_elements_per_token, 4 * 4 * 64);
    // Qwen3-Next 80B: every fourth layer attends, whether the file says so or not; 75 MiB a sequence.
    let layer = 3 * (4096 + 2 * 16 * 128) + 128 * 4096;
    let next = Made::of("qwen3next", &ssm(4096, 128, 16)).read(48, 2048);
    assert_eq!(next.state_elements_per_seq, 36 * layer);
    assert_eq!(next.k_elements_per_token, 12 * 128);
    assert_eq!(next.state_elements_per_seq * 4 / (1 << 20), 75);
    let half = with_heads(&[("full_attention_interval", 2)]);
    let half = Made::of("qwen3next", &[ssm(4096, 128, 16), half].concat()).read(48, 2048);
    assert_eq!(half.state_elements_per_seq, 24 * layer);
    // Falcon-H1: both in every layer.
    let falcon = Made::of("falcon-h1", &ssm(3072, 256, 1)).read(24, 2048);
    let layer = 3 * (3072 + 2 * 256) + 256 * 3072;
    assert_eq!(falcon.state_elements_per_seq, 24 * layer);
    assert_eq!(falcon.k_elements_per_token, 24 * 128);
    // Jamba reads no group count.
    let jamba = Made::of("jamba", &ssm(8192, 16, 9)).listing(
        "attention.head_count_kv",
        &kv_heads(32, 8, |il| il % 8 == 4),
    );
    let memory = jamba.read(32, 4096);
    assert_eq!(memory.state_elements_per_seq, 28 * (3 * 8192 + 16 * 8192));
}

#[test]
fn nemotron_has_layers_that_only_feed_forward() {
    // M-M*: recurrent, feed-forward, recurrent, attention.
    let numbers = with_heads(&[
        ("ssm.conv_kernel", 4),
        ("ssm.inner_size", 1024),
        ("ssm.state_size", 128),
        ("ssm.group_count", 8),
    ]);
    let made = Made::of("nemotron_h", &numbers)
        .listing("attention.head_count_kv", &[0, 0, 0, 8])
        .listing("feed_forward_length", &[0, 4096, 0, 0]);
    let memory = made.read(4, 512);
    let layer = 3 * (1024 + 2 * 8 * 128) + 128 * 1024;
    assert_eq!(memory.state_elements_per_seq, 2 * layer);
    assert_eq!(memory.k_elements_per_token, 8 * 64);
}

#[test]
fn convolutions_and_delta_attention_have_their_own_state() {
    // LFM2 1.2B: six of 16 layers attend.
    let attends = [2, 5, 8, 10, 12, 14];
    let lfm2 = Made::of("lfm2", &with_heads(&[("shortconv.l_cache", 3)])).listing(
        "attention.head_count_kv",
        &kv_heads(16, 8, |il| attends.contains(&il)),
    );
    let memory = lfm2.read(16, 2048);
    assert_eq!(memory.state_elements_per_seq, 10 * 2048 * 2);
    assert_eq!(memory.k_elements_per_token, 6 * 8 * 64);
    // Kimi Linear 48B: 20 of 27 layers are KDA, 32 heads of 128.
    let numbers = [
        ("attention.head_count", 32),
        ("attention.key_length", 576),
        ("attention.value_length", 512),
        ("attention.key_length_mla", 192),
        ("ssm.conv_kernel", 4),
        ("kda.head_dim", 128),
    ];
    let kimi = Made::of("kimi-linear", &numbers).listing(
        "attention.head_count_kv",
        &kv_heads(27, 1, |il| il % 4 == 3 || il == 26),
    );
    let memory = kimi.read(27, 2304);
    let layer = 3 * 3 * 32 * 128 + 128 * 128 * 32;
    assert_eq!(memory.state_elements_per_seq, 20 * layer);
    assert_eq!(memory.k_elements_per_token, 7 * 576);
    assert_eq!(memory.v_elements_per_token, 0, "one latent vector");
    // MiniMax-Text-01: seven of eight layers are linear, 64 heads of 128.
    let numbers = [
        ("attention.head_count", 64),
        ("attention.head_count_kv", 8),
        ("attention.key_length", 128),
        ("attention.value_length", 128),
    ];
    let minimax = Made::of("minimax-01", &numbers).read(80, 6144);
    assert_eq!(minimax.state_elements_per_seq, 70 * 128 * 128 * 64);
}

#[test]
fn numbers_out_of_range_neither_overflow_nor_panic() {
    for arch in ["mamba", "mamba2", "rwkv7", "lfm2", "kimi-linear", "gemma3"] {
        let huge = u32::MAX;
        let numbers = [
            ("attention.head_count", huge),
            ("attention.key_length", huge),
            ("attention.value_length", huge),
            ("attention.sliding_window", huge),
            ("attention.sliding_window_pattern", huge),
            ("ssm.conv_kernel", huge),
            ("ssm.inner_size", huge),
            ("ssm.state_size", huge),
            ("ssm.group_count", huge),
            ("shortconv.l_cache", huge),
        ];
        Made::of(arch, &numbers).read(1000, huge.into());
    }
}
