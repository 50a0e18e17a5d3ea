//! Headers of GGUF files, changed at random: each is refused in a line, or has facts of which plans and forecasts can
//! be made within little memory. `GGUFBENCH_FUZZ_MINUTES=30 cargo test --release --test fuzz_gguf` looks longer.

mod support;

use std::path::Path;

use ggufbench::measure::kernel::Effort;
use ggufbench::model::ModelFacts;
use ggufbench::plan::budget;
use ggufbench::plan::expand::{Axes, Host, cases};
use ggufbench::plan::forecast;
use ggufbench::roofline::slice::Slice;
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use support::fuzz::{self, odd_number, one_of};
use support::gguf::{ARRAY, Gguf, STRING, U32};
use support::tiny_model;

const CORPUS: &str = include_str!("fuzz/headers.txt");

/// Keys that decide shapes, whether the model has them or not.
const KEYS: [&str; 24] = [
    "general.alignment",
    "general.architecture",
    "general.file_type",
    "general.name",
    "split.count",
    "split.no",
    "llama.block_count",
    "llama.context_length",
    "llama.embedding_length",
    "llama.feed_forward_length",
    "llama.vocab_size",
    "llama.attention.head_count",
    "llama.attention.head_count_kv",
    "llama.attention.key_length",
    "llama.attention.value_length",
    "llama.attention.key_length_swa",
    "llama.attention.key_length_mla",
    "llama.attention.shared_kv_layers",
    "llama.attention.recurrent_layers",
    "llama.attention.sliding_window",
    "llama.attention.sliding_window_pattern",
    "llama.expert_count",
    "llama.expert_used_count",
    "llama.full_attention_interval",
];

/// A header's reading, and everything that is computed of its facts before anything is loaded.
fn read(path: &Path) -> Result<(), String> {
    let facts = ModelFacts::read(path).map_err(|e| e.to_string())?;
    let host = Host {
        n_threads: 2,
        n_gpu_layers: 0,
    };
    let axes = Axes {
        n_seq: Some(vec![1, 32, 256]),
        ..Axes::default()
    };
    let cases = cases(&axes, std::slice::from_ref(&facts.name), &[], host);
    let effort = Effort::quick(None, None);
    for case in cases.map_err(|e| e.to_string())? {
        let price = budget::memory(&case, &facts);
        assert!(price.total_bytes() >= price.weights_bytes);
        let (decode, prefill) = forecast::kernels(&case, &facts);
        for item in decode.iter().chain(&prefill) {
            let slice = Slice::of(&item.point, effort.bounds());
            let needs = slice.needs_bytes(effort.stock_bytes);
            assert!(
                needs <= effort.most_bytes,
                "{}: {needs} bytes for {slice:?}",
                path.display()
            );
        }
    }
    Ok(())
}

/// A refusal in one line that a terminal can show.
fn reads_or_refuses(path: &Path) {
    if let Err(reason) = read(path) {
        assert!(
            !reason.is_empty() && !reason.contains('\n'),
            "{}: {reason:?}",
            path.display()
        );
    }
}

fn change(model: &mut Gguf, rng: &mut ChaCha8Rng) {
    let n = odd_number(rng);
    match rng.random_range(0..10) {
        0..4 => {
            let key = *one_of(rng, &KEYS);
            match rng.random_range(0..3) {
                0 => model.set_u64(key, n),
                1 => model.set(key, ARRAY, &array(rng)),
                _ => model.set_u32(key, n as u32),
            }
        }
        4 => {
            let at = rng.random_range(0..model.values.len());
            model.values[at].2 = some_bytes(rng);
        }
        5 => {
            let at = rng.random_range(0..model.values.len());
            model.values[at].1 = rng.random_range(0..14);
        }
        6 => {
            let at = rng.random_range(0..model.values.len());
            let value = model.values.remove(at);
            // Twice, elsewhere, or not at all.
            for _ in 0..rng.random_range(0..3) {
                model.values.insert(0, value.clone());
            }
        }
        7 => {
            let at = rng.random_range(0..model.tensors.len());
            let tensor = &mut model.tensors[at];
            match rng.random_range(0..5) {
                0 => tensor.ty = n as u32,
                1 => tensor.offset = n,
                2 => {
                    tensor.dims = (0..rng.random_range(0..6))
                        .map(|_| odd_number(rng))
                        .collect()
                }
                3 => tensor.name = "x".repeat(rng.random_range(0..200)),
                _ => {
                    let at = rng.random_range(0..tensor.dims.len().max(1));
                    tensor.dims.resize(at + 1, 1);
                    tensor.dims[at] = n;
                }
            }
        }
        8 => {
            let at = rng.random_range(0..model.tensors.len());
            let tensor = model.tensors.swap_remove(at);
            for _ in 0..rng.random_range(0..3) {
                model.tensors.push(tensor.clone());
            }
        }
        _ => {
            let text = "\u{1b}]0;x\u{7}\n".repeat(rng.random_range(0..40));
            let key = one_of(rng, &KEYS);
            model.set(key, STRING, &string(&text));
        }
    }
}

fn array(rng: &mut ChaCha8Rng) -> Vec<u8> {
    let n = rng.random_range(0..8_u64);
    let said = if rng.random_bool(0.2) {
        odd_number(rng)
    } else {
        n
    };
    let mut value = U32.to_le_bytes().to_vec();
    value.extend(said.to_le_bytes());
    value.extend((0..n).flat_map(|_| (odd_number(rng) as u32).to_le_bytes()));
    value
}

/// A string as it stands in a header.
fn string(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat()
}

fn json_string(text: &str) -> String {
    serde_json::from_str(text).expect("a string")
}

fn some_bytes(rng: &mut ChaCha8Rng) -> Vec<u8> {
    let n = rng.random_range(0..24);
    (0..n).map(|_| rng.random()).collect()
}

/// Single bytes of the header, or where it ends.
fn change_bytes(header: &mut Vec<u8>, rng: &mut ChaCha8Rng) {
    for _ in 0..rng.random_range(0..4) {
        let at = rng.random_range(0..header.len());
        header[at] = rng.random();
    }
    if rng.random_bool(0.1) {
        header.truncate(rng.random_range(0..header.len()));
    }
}

#[test]
fn mutated_headers_are_refused_or_priced() {
    let sound = Gguf::read(tiny_model());
    fuzz::run("fuzz_gguf", 400, |rng, folder| {
        let mut model = sound.clone();
        for _ in 0..rng.random_range(0..4) {
            if !model.values.is_empty() && !model.tensors.is_empty() {
                change(&mut model, rng);
            }
        }
        let mut bytes = model.header();
        if rng.random_bool(0.3) {
            change_bytes(&mut bytes, rng);
        }
        bytes.extend(&model.data);
        let path = folder.join("last.gguf");
        std::fs::write(&path, bytes).expect("writable");
        reads_or_refuses(&path);
    });
}

#[test]
fn headers_that_were_trouble_once_are_refused_by_key() {
    let sound = Gguf::read(tiny_model());
    let folder = tempfile::tempdir().expect("a temporary folder");
    for line in fuzz::corpus(CORPUS) {
        let mut model = sound.clone();
        for edit in line.split(';') {
            let words: Vec<&str> = edit.split_whitespace().collect();
            let [key, ty, value] = words[..] else {
                panic!("not KEY TYPE VALUE: {edit}");
            };
            match ty {
                "u32" => model.set_u32(key, value.parse().expect("a number")),
                "u64" => model.set_u64(key, value.parse().expect("a number")),
                "str" => model.set(key, STRING, &string(&json_string(value))),
                other => panic!("no type {other}"),
            }
        }
        let path = folder.path().join("x.gguf");
        model.write(&path);
        let reason = read(&path).expect_err(line);
        let key = line.split_whitespace().next().expect("a key");
        let section = key.split('.').next().expect("a section");
        assert!(reason.contains(&format!("`{section}.")), "{line}: {reason}");
        assert!(
            reason.contains("x.gguf") && !reason.contains('\n'),
            "{line}: {reason}"
        );
    }
}
