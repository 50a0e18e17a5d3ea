//! Facts of good files, and one clear error for each bad one.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Seek, SeekFrom, Write};

use ggufbench::model::{ModelError, ModelFacts, sanitize_name, type_bytes_per_element};

use crate::tiny;

#[test]
fn bytes_by_type_of_tiny_as_computed_by_hand() {
    let dir = tempfile::tempdir().unwrap();
    // 2 layers of width 256, 4/2 heads of 64, feed-forward 512, 512 tokens, untied.
    // Matrices of a layer: q and o 256*256, k and v 256*128, three of 256*512.
    let layer = 2 * 256 * 256 + 2 * 256 * 128 + 3 * 256 * 512;
    let table = 256 * 512;
    let norms = (2 * 2 + 1) * 256 * 4;
    let by_type = |pairs: &[(&str, u64)]| -> BTreeMap<String, u64> {
        pairs
            .iter()
            .map(|&(name, bytes)| (name.to_owned(), bytes))
            .collect()
    };
    let all = 2 * layer + 2 * table;
    let expected = [
        ("f32", by_type(&[("F32", all * 4 + norms)])),
        ("f16", by_type(&[("F16", all * 2), ("F32", norms)])),
        ("bf16", by_type(&[("BF16", all * 2), ("F32", norms)])),
        ("q8_0", by_type(&[("Q8_0", all / 32 * 34), ("F32", norms)])),
        // Q4_0: 18 bytes for 32; the output is Q6_K: 210 for 256.
        (
            "q4_0",
            by_type(&[
                ("Q4_0", (2 * layer + table) / 32 * 18),
                ("Q6_K", table / 256 * 210),
                ("F32", norms),
            ]),
        ),
        // Of two layers, 7*2/8 = 1 and up get more bits in v and down: the second.
        (
            "q4_k_m",
            by_type(&[
                (
                    "Q4_K",
                    (2 * layer + table - 256 * 128 - 256 * 512) / 256 * 144,
                ),
                ("Q6_K", (table + 256 * 128 + 256 * 512) / 256 * 210),
                ("F32", norms),
            ]),
        ),
    ];
    for (name, bytes) in expected {
        let path = tiny(dir.path(), name);
        let facts = ModelFacts::read(&path).unwrap();
        assert_eq!(facts.bytes_by_type, bytes, "{name}");
        assert_eq!(facts.tensor_bytes, bytes.values().sum::<u64>());
        assert_eq!(
            facts.weight_bytes_per_step,
            facts.tensor_bytes - facts.token_embd_bytes
        );
        assert_eq!(facts.file_bytes, fs::metadata(&path).unwrap().len());
        assert_eq!(facts.n_params, all + norms / 4);
        assert_eq!(facts.n_matmul_params, 2 * layer + table);
        // Two layers, two heads of 64, keys and values at 2 bytes.
        assert_eq!(
            facts.kv_bytes_per_token(2.0, 2.0),
            f64::from(2 * 2 * 64 * 2 * 2)
        );
    }
    assert_eq!(type_bytes_per_element("q8_0"), Some(34.0 / 32.0));
    assert_eq!(type_bytes_per_element("F16"), Some(2.0));
    assert_eq!(type_bytes_per_element("q4_k_m"), None);
}

#[test]
fn facts_survive_json() {
    let dir = tempfile::tempdir().unwrap();
    let mut facts = ModelFacts::read(&tiny(dir.path(), "q8_0")).unwrap();
    facts.sha256 = Some("00".repeat(32));
    let text = serde_json::to_string(&facts).unwrap();
    assert_eq!(serde_json::from_str::<ModelFacts>(&text).unwrap(), facts);
}

#[test]
fn a_file_cut_anywhere_is_truncated_and_nothing_aborts() {
    let dir = tempfile::tempdir().unwrap();
    let whole = fs::read(tiny(dir.path(), "q4_0")).unwrap();
    let path = dir.path().join("cut.gguf");
    let len = whole.len();
    let cuts = (1..400)
        .chain((400..len).step_by(997))
        .chain([len - 33, len - 1]);
    for cut in cuts {
        fs::write(&path, &whole[..cut]).unwrap();
        match ModelFacts::read(&path) {
            Err(ModelError::Truncated { .. }) => {}
            other => panic!("{cut} of {} bytes: {other:?}", whole.len()),
        }
    }
}

#[test]
fn damaged_headers_are_errors_or_facts_but_never_an_abort() {
    let dir = tempfile::tempdir().unwrap();
    let whole = fs::read(tiny(dir.path(), "q4_0")).unwrap();
    let path = dir.path().join("damaged.gguf");
    fs::write(&path, &whole).unwrap();
    let mut file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    let mut put = |at: usize, byte: u8| {
        file.seek(SeekFrom::Start(at as u64)).unwrap();
        file.write_all(&[byte]).unwrap();
    };
    for at in (0..1200).chain((1200..20_000).step_by(251)) {
        for flip in [0x01, 0x80, 0xff] {
            put(at, whole[at] ^ flip);
            if let Err(error) = ModelFacts::read(&path) {
                assert_eq!(error.to_string().lines().count(), 1, "{error}");
            }
        }
        put(at, whole[at]);
    }
    assert!(ModelFacts::read(&path).is_ok());
}

#[test]
fn what_is_no_gguf_file_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = dir.path().join(name);
        fs::write(&path, bytes).unwrap();
        ModelFacts::read(&path).unwrap_err()
    };
    let error = file("text.gguf", b"hello, this is text");
    assert!(
        error
            .to_string()
            .contains("not a GGUF file (it begins with 'hell'"),
        "{error}"
    );
    let error = file("lfs.gguf", b"version https://example.invalid/spec/v1\n");
    assert!(error.to_string().contains("git lfs pull"), "{error}");
    assert!(matches!(file("empty.gguf", b""), ModelError::Empty { .. }));
    assert!(matches!(
        file("short.gguf", b"GG"),
        ModelError::Truncated { .. }
    ));
    let old = [b"GGUF".as_slice(), &1_u32.to_le_bytes(), &[0; 16]].concat();
    assert!(matches!(
        file("v1.gguf", &old),
        ModelError::Malformed { .. }
    ));
    let error = ModelFacts::read(dir.path()).unwrap_err();
    assert!(matches!(error, ModelError::Folder { .. }));
    let error = ModelFacts::read(&dir.path().join("none.gguf")).unwrap_err();
    assert!(matches!(error, ModelError::Missing { .. }));
}

/// A header as the GGUF specification writes it: strings and u32 values only, no tensors.
pub fn header(pairs: &[(&str, Result<&str, u32>)]) -> Vec<u8> {
    let text = |s: &str| [&(s.len() as u64).to_le_bytes(), s.as_bytes()].concat();
    let mut bytes = b"GGUF".to_vec();
    bytes.extend(3_u32.to_le_bytes());
    bytes.extend(0_u64.to_le_bytes());
    bytes.extend((pairs.len() as u64).to_le_bytes());
    for (key, value) in pairs {
        bytes.extend(text(key));
        match value {
            Ok(s) => bytes.extend([&8_u32.to_le_bytes()[..], &text(s)].concat()),
            Err(n) => bytes.extend([4_u32.to_le_bytes(), n.to_le_bytes()].concat()),
        }
    }
    bytes
}

#[test]
fn a_gguf_file_that_is_no_language_model_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.gguf");
    let kind = |pairs: &[(&str, Result<&str, u32>)]| {
        fs::write(&path, header(pairs)).unwrap();
        match ModelFacts::read(&path).unwrap_err() {
            ModelError::NotLanguageModel { kind, .. } => kind,
            other => other.to_string(),
        }
    };
    let arch = |name| ("general.architecture", Ok(name));
    assert!(kind(&[arch("clip")]).contains("projector"));
    assert!(kind(&[arch("llama"), ("general.type", Ok("adapter"))]).contains("LoRA"));
    assert!(kind(&[("general.type", Ok("imatrix"))]).contains("importance matrix"));
    assert!(kind(&[arch("bert")]).contains("encoder"));
    assert!(kind(&[arch("t5")]).contains("encoder-decoder"));
    assert!(kind(&[arch("llama")]).contains("vocabulary only"));
    assert!(kind(&[arch("whisper")]).contains("speech"));
    assert!(kind(&[arch("flux")]).contains("pictures"));
    assert!(kind(&[arch("controlvector")]).contains("control vector"));
    assert!(kind(&[]).contains("general.architecture"));
    // A key of the wrong type is as good as none, and no abort.
    assert!(kind(&[("general.architecture", Err(7))]).contains("general.architecture"));
}

#[test]
fn a_file_of_another_format_is_told_what_it_may_be() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.gguf");
    for (begin, hint) in [
        ("<!DOCTYPE html>", "web page"),
        ("<html>", "web page"),
        ("PK\u{3}\u{4}", "archive"),
        ("tjgg\u{3}", "before GGUF"),
        ("version https://git-lfs.github.com/spec/v1", "git lfs pull"),
    ] {
        fs::write(&path, format!("{begin}{}", "x".repeat(100))).unwrap();
        let error = ModelFacts::read(&path).unwrap_err().to_string();
        assert!(error.contains(hint), "{begin}: {error}");
    }
}

#[test]
fn names_for_ids() {
    assert_eq!(
        sanitize_name("SmolLM2-135M-Instruct.Q4_1"),
        "smollm2-135m-instruct.q4_1"
    );
    assert_eq!(sanitize_name("My  Model (v2)!"), "my-model-v2");
    assert_eq!(sanitize_name("日本"), "model");
    assert_eq!(sanitize_name(&"x".repeat(100)).len(), 64);
}

#[test]
fn a_split_model_without_its_later_parts_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let pairs = |no: u32| {
        header(&[
            ("general.architecture", Ok("llama")),
            ("split.no", Err(no)),
            ("split.count", Err(2)),
        ])
    };
    let first = dir.path().join("m-00001-of-00002.gguf");
    let second = dir.path().join("m-00002-of-00002.gguf");
    fs::write(&first, pairs(0)).unwrap();
    match ModelFacts::read(&first).unwrap_err() {
        ModelError::Missing { path } => assert_eq!(path, second),
        other => panic!("{other}"),
    }
    fs::write(&second, pairs(1)).unwrap();
    let error = ModelFacts::read(&second).unwrap_err();
    assert!(
        matches!(error, ModelError::LaterPart { part: 2, .. }),
        "{error}"
    );
    let renamed = dir.path().join("renamed.gguf");
    fs::rename(&first, &renamed).unwrap();
    let error = ModelFacts::read(&renamed).unwrap_err().to_string();
    assert!(error.contains("-00001-of-00002"), "{error}");
}
