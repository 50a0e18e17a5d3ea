//! Generated and quantised files in the real engine.

use std::fs;
use std::path::Path;
use std::sync::OnceLock;

use ggufbench::model::quantize::{Quantized, Quantizer};
use ggufbench::model::synth::{SynthExperts, SynthShape, SynthSpec};
use ggufbench::model::{LogCapture, ModelError, ModelFacts};
use llama_cpp_2::context::params::LlamaContextParams;
use llama_cpp_2::llama_backend::LlamaBackend;
use llama_cpp_2::llama_batch::LlamaBatch;
use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::model::params::LlamaModelParams;

use crate::{file_type, tiny};

fn backend() -> &'static LlamaBackend {
    static BACKEND: OnceLock<LlamaBackend> = OnceLock::new();
    BACKEND.get_or_init(|| LlamaBackend::init().unwrap())
}

fn load(path: &Path) -> LlamaModel {
    let _quiet = LogCapture::llama();
    LlamaModel::load_from_file(backend(), path, &LlamaModelParams::default()).unwrap()
}

/// Logits after each token of one sequence.
fn logits(model: &LlamaModel, tokens: &[i32]) -> Vec<Vec<f32>> {
    let _quiet = LogCapture::llama();
    let mut context = model
        .new_context(backend(), LlamaContextParams::default())
        .unwrap();
    let mut batch = LlamaBatch::new(tokens.len(), 1);
    for (i, &token) in tokens.iter().enumerate() {
        batch
            .add(llama_cpp_2::token::LlamaToken(token), i as i32, &[0], true)
            .unwrap();
    }
    context.decode(&mut batch).unwrap();
    (0..tokens.len())
        .map(|i| context.get_logits_ith(i as i32).to_vec())
        .collect()
}

#[test]
fn tiny_models_decode_in_the_real_engine() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["f32", "bf16", "q4_0", "q4_k_m", "q6_k"] {
        let model = load(&tiny(dir.path(), name));
        let rows = logits(&model, &[1, 70, 300, 70]);
        for row in &rows {
            assert_eq!(row.len(), 512);
            assert!(row.iter().all(|x| x.is_finite()));
            let (low, high) = row
                .iter()
                .fold((f32::MAX, f32::MIN), |(l, h), &x| (l.min(x), h.max(x)));
            assert!(high - low > 1.0 && high < 100.0, "{name}: {low} to {high}");
            let mut sorted: Vec<u32> = row.iter().map(|x| x.to_bits()).collect();
            sorted.sort_unstable();
            sorted.dedup();
            assert!(
                sorted.len() > 500,
                "{name}: rows of the output matrix are distinct"
            );
        }
        // The same token at another place: attention does something.
        assert_ne!(rows[1], rows[3]);
    }
}

/// Small models of each architecture's tensors: the engine takes them, counts as many weights, and computes with them.
#[test]
fn every_architecture_decodes_in_the_real_engine() {
    let dir = tempfile::tempdir().unwrap();
    for (preset, type_name) in [
        ("mistral-small-24b", "q8_0"),
        ("qwen3-0.6b", "q4_k_m"),
        ("qwen3-8b", "f16"),
        ("qwen3-30b-a3b", "q8_0"),
        ("gemma3-1b", "q8_0"),
        ("gemma3-27b", "f16"),
        ("gpt-oss-20b", "mxfp4"),
    ] {
        let of_preset = SynthShape::preset(preset).unwrap();
        let shape = SynthShape {
            n_layer: 7, // of Gemma's six, one attends in full
            n_embd: 256,
            n_head: 4,
            n_head_kv: 2,
            n_ff: 512,
            n_vocab: 512,
            experts: of_preset.experts.map(|e| SynthExperts {
                n_expert: 16,
                n_ff: 64,
                ..e
            }),
            ..of_preset
        };
        let spec = SynthSpec::new(preset, shape, file_type(type_name)).unwrap();
        let path = spec.write(dir.path(), &mut |_, _| ()).unwrap();
        let model = load(&path);
        let facts = ModelFacts::read(&path).unwrap();
        assert_eq!(model.n_params(), facts.n_params, "{preset}");
        let rows = logits(&model, &[1, 70, 300, 70]);
        let is_finite = |row: &Vec<f32>| row.len() == 512 && row.iter().all(|x| x.is_finite());
        assert!(rows.iter().all(is_finite), "{preset}");
        assert_ne!(rows[1], rows[3], "{preset}: attention does something");
    }
}

#[test]
fn any_text_survives_the_tokenizer() {
    let dir = tempfile::tempdir().unwrap();
    let model = load(&tiny(dir.path(), "q4_0"));
    let vocab = model.vocab();
    let texts = [
        "Hello, world!",
        "  two  spaces ,  odd . punctuation ' s n't",
        "line\nbreaks\r\n\ttabs \u{0} nul",
        "äöü ß 日本語 🦀 ▁ \u{feff}",
        "<|eos|> <s> </s>",
        "",
    ];
    for text in texts {
        let tokens = vocab.tokenize(text.as_bytes(), false, false);
        assert_eq!(
            tokens.len(),
            text.len(),
            "one token for each byte of {text:?}"
        );
        let back = vocab.detokenize(&tokens, false, false);
        assert_eq!(String::from_utf8_lossy(&back), text);
    }
    assert!(vocab.is_eog(vocab.eos()) && vocab.is_control(vocab.bos()));
}

fn quantize(
    input: &Path,
    output: &Path,
    type_name: &str,
    threads: u32,
    force: bool,
) -> Result<Quantized, ModelError> {
    Quantizer::new(input, threads, force)?.write(output, file_type(type_name), |_, _| ())
}

#[test]
fn quantizes_the_same_bytes_with_any_number_of_threads() {
    let dir = tempfile::tempdir().unwrap();
    let input = tiny(dir.path(), "f16");
    let output = dir.path().join("out.gguf");
    let made = quantize(&input, &output, "q8_0", 1, false).unwrap();
    assert!(made.fallbacks.is_empty(), "{made:?}");
    let facts = made.facts;
    assert_eq!(facts.requantized_from, None);
    assert_eq!(
        (facts.file_type.as_str(), facts.name.as_str()),
        ("Q8_0", "out")
    );
    assert_eq!(
        facts.bytes_by_type.keys().collect::<Vec<_>>(),
        ["F32", "Q8_0"]
    );
    let twin = SynthSpec::preset("tiny", file_type("q8_0"))
        .unwrap()
        .facts(&output)
        .unwrap();
    assert_eq!(facts.bytes_by_type, twin.bytes_by_type);
    let again = quantize(&input, &output, "q8_0", 2, false);
    assert!(matches!(again, Err(ModelError::Exists { .. })));
    let first = fs::read(&output).unwrap();
    quantize(&input, &output, "q8_0", 3, true).unwrap();
    assert_eq!(fs::read(&output).unwrap(), first);
    assert_eq!(logits(&load(&output), &[1, 2]).len(), 2);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2, "no leftovers");
}

#[test]
fn a_failed_quantization_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let input = tiny(dir.path(), "f16");
    let output = dir.path().join("out.gguf");
    let needs_matrix = quantize(&input, &output, "iq2_xs", 1, false);
    assert!(matches!(needs_matrix, Err(ModelError::BadType { .. })));
    // An architecture that the engine does not know: the facts are fine, the quantiser refuses.
    let bytes = fs::read(&input).unwrap();
    let at = bytes.windows(5).position(|w| w == b"llama").unwrap();
    let mut bytes: Vec<u8> = bytes;
    bytes[at..at + 5].copy_from_slice(b"zzzzz");
    let text = b"llama.";
    while let Some(at) = bytes.windows(6).position(|w| w == text) {
        bytes[at..at + 5].copy_from_slice(b"zzzzz");
    }
    fs::write(&input, bytes).unwrap();
    let error = quantize(&input, &output, "q8_0", 1, false).unwrap_err();
    assert!(matches!(error, ModelError::Quantize { .. }), "{error}");
    assert!(
        error.to_string().contains("unknown model architecture"),
        "{error}"
    );
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}
