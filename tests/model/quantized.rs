//! What the quantiser does beside converting: the mark of requantised files, fallbacks, importance matrices.

use std::cell::Cell;
use std::ffi::CString;
use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use ggufbench::model::importance::ImportanceMatrix;
use ggufbench::model::quantize::{Quantized, Quantizer};
use ggufbench::model::synth::SynthSpec;
use ggufbench::model::{ModelError, ModelFacts};
use llama_cpp_sys_2 as sys;

use crate::{file_type, tiny};

fn made_of(input: &Path, type_name: &str) -> (PathBuf, Quantized) {
    let output = input.with_extension(format!("{type_name}.gguf"));
    let made = Quantizer::new(input, 1, false)
        .unwrap()
        .write(&output, file_type(type_name), |_, _| ())
        .unwrap();
    (output, made)
}

#[test]
fn what_is_made_of_a_quantised_file_says_so_and_so_do_its_copies() {
    let dir = tempfile::tempdir().unwrap();
    let (half, made) = made_of(&tiny(dir.path(), "q4_1"), "f16");
    assert_eq!(made.facts.requantized_from.as_deref(), Some("q4_1"));
    let (eight, made) = made_of(&half, "q8_0");
    assert_eq!(made.facts.requantized_from.as_deref(), Some("q4_1"));
    let (_, made) = made_of(&eight, "q4_0");
    assert_eq!(made.facts.requantized_from.as_deref(), Some("q4_1,q8_0"));
    let (_, made) = made_of(&tiny(dir.path(), "f32"), "f16");
    assert_eq!(made.facts.requantized_from, None);
    let json = serde_json::to_value(ModelFacts::read(&half).unwrap()).unwrap();
    assert_eq!(json["requantized_from"], "q4_1");
}

#[test]
fn a_mark_that_is_no_list_of_types_is_not_believed() {
    let dir = tempfile::tempdir().unwrap();
    let (half, _) = made_of(&tiny(dir.path(), "q4_1"), "f16");
    let mut bytes = fs::read(&half).unwrap();
    let key = b"ggufbench.requantized_from";
    let at = bytes.windows(key.len()).position(|w| w == key).unwrap() + key.len() + 12;
    assert_eq!(&bytes[at..at + 4], b"q4_1");
    bytes[at..at + 4].copy_from_slice(b"\x1b[2J");
    fs::write(&half, bytes).unwrap();
    assert_eq!(ModelFacts::read(&half).unwrap().requantized_from, None);
}

#[test]
fn tensors_are_counted_as_they_are_done() {
    let dir = tempfile::tempdir().unwrap();
    let last = Rc::new(Cell::new((0, 0, 0)));
    let seen = Rc::clone(&last);
    let hear = move |done, all| seen.set((done, all, seen.get().2 + 1));
    let made = Quantizer::new(&tiny(dir.path(), "f16"), 1, false)
        .unwrap()
        .write(&dir.path().join("out.gguf"), file_type("q8_0"), hear)
        .unwrap();
    let n = made.n_tensors as u64;
    assert_eq!(last.get(), (n, n, n + 1));
}

#[test]
fn shapes_that_a_type_does_not_fit_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let mut spec = SynthSpec::preset("tiny", file_type("f16")).unwrap();
    spec.shape.n_ff = 480;
    let (_, made) = made_of(&spec.write(dir.path(), &mut |_, _| ()).unwrap(), "q4_k_m");
    let sentence = made.fallback_sentence().unwrap();
    let downs = made.fallbacks.iter().map(|f| f.n_tensors).sum::<usize>();
    assert_eq!(downs, spec.shape.n_layer as usize, "{sentence}");
    let end = ": rows of 480 are not a multiple of 256";
    assert!(
        sentence.ends_with(end) && sentence.contains(" fell back to Q"),
        "{sentence}"
    );
    let of = format!(" of {} tensors", made.n_tensors);
    assert_eq!(sentence.matches(&of).count(), 1, "{sentence}");
}

/// A matrix in the older form: one entry for each weight of the model, whose values rise.
fn dat(model: &Path, value: impl Fn(usize) -> f32) -> Vec<u8> {
    let entries = columns(model);
    let mut bytes = int(entries.len()).to_vec();
    for (name, n_columns) in &entries {
        bytes.extend(int(name.len()));
        bytes.extend(name.as_bytes());
        bytes.extend(int(2));
        bytes.extend(int(*n_columns));
        bytes.extend((0..*n_columns).flat_map(|i| (2.0 * value(i)).to_ne_bytes()));
    }
    bytes.extend(int(7));
    bytes.extend(int(4));
    bytes.extend(b"text");
    bytes
}

fn int(n: usize) -> [u8; 4] {
    i32::try_from(n).unwrap().to_ne_bytes()
}

/// The same in a GGUF file.
fn gguf(model: &Path, path: &Path, value: impl Fn(usize) -> f32) {
    let key = |name: &str| CString::new(name).unwrap();
    // SAFETY: all pointers live for their calls, the arena holds every tensor, and what was made is freed once.
    unsafe {
        let file = sys::gguf_init_empty();
        let text = key("text");
        sys::gguf_set_arr_str(
            file,
            key("imatrix.datasets").as_ptr(),
            &mut text.as_ptr(),
            1,
        );
        sys::gguf_set_val_u32(file, key("imatrix.chunk_count").as_ptr(), 7);
        sys::gguf_set_val_u32(file, key("imatrix.chunk_size").as_ptr(), 512);
        let arena = sys::ggml_init(sys::ggml_init_params {
            mem_size: 16 << 20,
            mem_buffer: std::ptr::null_mut(),
            no_alloc: false,
        });
        let add = |name: String, values: Vec<f32>| {
            let tensor = sys::ggml_new_tensor_1d(arena, sys::GGML_TYPE_F32, values.len() as i64);
            sys::ggml_set_name(tensor, key(&name).as_ptr());
            let data = (*tensor).data.cast::<f32>();
            data.copy_from_nonoverlapping(values.as_ptr(), values.len());
            sys::gguf_add_tensor(file, tensor);
        };
        for (name, n_columns) in columns(model) {
            let sums = (0..n_columns).map(|i| 3.0 * value(i)).collect();
            add(format!("{name}.in_sum2"), sums);
            add(format!("{name}.counts"), vec![3.0]);
        }
        let path = key(path.to_str().unwrap());
        assert!(sys::gguf_write_to_file(file, path.as_ptr(), false));
        sys::ggml_free(arena);
        sys::gguf_free(file);
    }
}

/// The weights of a tiny model and their row widths.
fn columns(model: &Path) -> Vec<(String, usize)> {
    let facts = ModelFacts::read(model).unwrap();
    let (width, wide) = (facts.n_embd as usize, facts.n_ff.unwrap() as usize);
    let of_layer = |layer: u32| {
        let names = [
            "attn_q",
            "attn_k",
            "attn_v",
            "attn_output",
            "ffn_gate",
            "ffn_up",
            "ffn_down",
        ];
        names.map(|name| {
            let n_columns = if name == "ffn_down" { wide } else { width };
            (format!("blk.{layer}.{name}.weight"), n_columns)
        })
    };
    (0..facts.n_layer).flat_map(of_layer).collect()
}

fn with_matrix(
    model: &Path,
    matrix: &Path,
    output: &Path,
    type_name: &str,
) -> Result<Quantized, ModelError> {
    Quantizer::new(model, 1, false)?
        .with_importance(ImportanceMatrix::read(matrix)?)?
        .write(output, file_type(type_name), |_, _| ())
}

fn tensor_bytes(path: &Path) -> Vec<u8> {
    let bytes = fs::read(path).unwrap();
    let n = ModelFacts::read(path).unwrap().tensor_bytes as usize;
    bytes[bytes.len() - n..].to_vec()
}

#[test]
fn both_forms_of_an_importance_matrix_give_the_same_weights_and_others_than_none() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let model = tiny(dir.path(), "f16");
    let value = |i: usize| if i.is_multiple_of(8) { 64.0 } else { 0.25 };
    fs::write(path("im.dat"), dat(&model, value)).unwrap();
    gguf(&model, &path("im.gguf"), value);
    let old = with_matrix(&model, &path("im.dat"), &path("old.gguf"), "q4_k_m").unwrap();
    with_matrix(&model, &path("im.gguf"), &path("new.gguf"), "q4_k_m").unwrap();
    // The output matrix has no entry.
    assert_eq!(old.n_without_importance, 1, "{old:?}");
    assert_eq!(
        tensor_bytes(&path("old.gguf")),
        tensor_bytes(&path("new.gguf"))
    );
    let (plain, _) = made_of(&model, "q4_k_m");
    assert_ne!(tensor_bytes(&path("old.gguf")), tensor_bytes(&plain));
    let head = fs::read(path("new.gguf")).unwrap();
    for text in [
        "quantize.imatrix.file",
        "im.gguf",
        "quantize.imatrix.chunks_count",
    ] {
        assert!(
            head.windows(text.len()).any(|w| w == text.as_bytes()),
            "{text}"
        );
    }
    // A type that needs a matrix.
    let made = with_matrix(&model, &path("im.dat"), &path("2.gguf"), "iq2_xxs").unwrap();
    assert_eq!(made.facts.file_type, "IQ2_XXS");
}

#[test]
fn a_matrix_of_zeros_does_not_abort_the_process() {
    let dir = tempfile::tempdir().unwrap();
    let model = tiny(dir.path(), "f16");
    let matrix = dir.path().join("im.dat");
    for (number, value) in [0.0, 1e15].into_iter().enumerate() {
        fs::write(&matrix, dat(&model, |_| value / 2.0)).unwrap();
        for type_name in ["iq2_xxs", "q2_k_s", "q4_0"] {
            let output = dir.path().join(format!("{number}-{type_name}.gguf"));
            // Whether the engine takes it or refuses it, the file is whole or not there.
            let made = with_matrix(&model, &matrix, &output, type_name);
            assert_eq!(made.is_ok(), output.exists(), "{type_name}");
        }
    }
}

#[test]
fn malformed_matrices_are_refused_in_one_line() {
    let dir = tempfile::tempdir().unwrap();
    let model = tiny(dir.path(), "f16");
    let matrix = dir.path().join("im.dat");
    let good = dat(&model, |i| i as f32);
    let refused = |bytes: &[u8], why: &str| {
        fs::write(&matrix, bytes).unwrap();
        let error = with_matrix(&model, &matrix, &dir.path().join("out.gguf"), "q4_0").unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("im.dat: ") && text.contains(why),
            "{why}: {text}"
        );
        assert_eq!(text.lines().count(), 1, "{text}");
    };
    let changed = |at: usize, value: [u8; 4]| {
        let mut bytes = good.clone();
        bytes[at..at + 4].copy_from_slice(&value);
        bytes
    };
    let name_length = "blk.0.attn_q.weight".len();
    let values = 8 + name_length + 8;
    refused(b"", "the file ends within the number of entries");
    refused(b"hello, this is a text\n", "the file ends within");
    refused(
        &changed(0, (-1_i32).to_ne_bytes()),
        "the number of entries is -1",
    );
    refused(&changed(0, i32::MAX.to_ne_bytes()), "has a NUL byte");
    refused(
        &changed(4, i32::MAX.to_ne_bytes()),
        "the file ends within name 1",
    );
    refused(&changed(8, [0; 4]), "has a NUL byte");
    refused(&changed(8, [0xff; 4]), "a name in it is no tensor's");
    refused(
        &changed(values - 4, [0; 4]),
        "the number of values of `blk.0.attn_q.weight` is 0",
    );
    refused(
        &changed(values, f32::NAN.to_ne_bytes()),
        "has the value NaN",
    );
    refused(
        &changed(values, (-1_f32).to_ne_bytes()),
        "has the value -0.5",
    );
    refused(
        &changed(values, 1e30_f32.to_ne_bytes()),
        "no mean of squares",
    );
    refused(&good[..good.len() / 2], "the file ends within");
    let alien = String::from_utf8_lossy(&dat(&model, |_| 0.0)).replace("blk.", "lkb.");
    refused(
        alien.as_bytes(),
        "no entry is for a tensor of synth-tiny-f16",
    );
    // A GGUF file, but a model's; and one that ends early.
    refused(&fs::read(&model).unwrap(), "has no `imatrix.datasets`");
    let whole = dir.path().join("whole.gguf");
    gguf(&model, &whole, |i| i as f32);
    let whole = fs::read(whole).unwrap();
    refused(&whole[..whole.len() - 4096], "the file ends within `blk.");
    refused(&whole[..100], "truncated");
    assert!(!dir.path().join("out.gguf").exists());
}
