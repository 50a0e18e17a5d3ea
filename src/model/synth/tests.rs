use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};

use super::*;
use crate::model::ModelStore;
use crate::model::fetch::fetch;
use crate::model::gguf::{TensorInfo, tensor_type_name};
use crate::model::quantize::dry_run;

fn tiny(type_name: &str) -> SynthSpec {
    SynthSpec::preset("tiny", FileType::parse(type_name).unwrap()).unwrap()
}

/// The engine's quantiser, asked what it would do with an F32 file of the same shape (only its
/// header is real, the data section is a hole), must choose the types that we write.
#[test]
fn types_are_those_of_the_engines_quantiser() {
    let dir = tempfile::tempdir().unwrap();
    let f32_type = FileType::parse("f32").unwrap();
    let seventy = SynthShape {
        n_layer: 80,
        n_embd: 8192,
        n_head: 64,
        n_head_kv: 8,
        n_ff: 28_672,
        ..SynthShape::preset("llama3-8b").unwrap()
    };
    let odd = SynthShape {
        n_layer: 17,
        n_embd: 288,
        n_head: 9,
        n_head_kv: 9,
        n_ff: 800,
        ..seventy
    };
    let mut shapes: Vec<SynthShape> = PRESETS.iter().map(|preset| preset.1).collect();
    shapes.extend([seventy, odd]);
    for (i, shape) in shapes.into_iter().enumerate() {
        let shape = SynthShape {
            n_vocab: 512,
            ..shape
        };
        let spec = SynthSpec::new("probe", shape, f32_type).unwrap();
        let path = dir.path().join(format!("{i}.gguf"));
        let gguf = header::build(&spec, &shape.tensors(f32_type));
        fs::write(&path, gguf.header_bytes()).unwrap();
        let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.set_len(spec.facts(&path).unwrap().file_bytes).unwrap();
        for file_type in FileType::all() {
            let engine = dry_run(&path, file_type);
            if SynthSpec::new("probe", shape, file_type).is_err() {
                assert!(engine.is_err(), "{} of {shape:?}", file_type.name());
                continue;
            }
            let ours: BTreeMap<String, String> = shape
                .tensors(file_type)
                .into_iter()
                .map(|t| (t.name, tensor_type_name(t.ty)))
                .collect();
            assert_eq!(Ok(ours), engine, "{} of {shape:?}", file_type.name());
        }
    }
}

#[test]
fn planned_facts_are_the_written_ones_in_every_type() {
    let dir = tempfile::tempdir().unwrap();
    for file_type in FileType::all() {
        let spec = tiny(file_type.name());
        let path = spec.write(dir.path(), &mut |_, _| ()).unwrap();
        let facts = ModelFacts::read(&path).unwrap();
        let planned = ModelFacts {
            files: facts.files.clone(), // what is still to be written has none
            ..spec.facts(&path).unwrap()
        };
        assert_eq!(facts, planned, "{}", file_type.name());
        assert_eq!(facts.name, format!("synth-tiny-{}", file_type.slug()));
        assert_eq!(facts.file_type, file_type.name());
        assert!(spec.is_current(&path));
    }
}

#[test]
fn another_seed_shape_or_version_is_not_current() {
    let dir = tempfile::tempdir().unwrap();
    let spec = tiny("q8_0");
    let path = spec.write(dir.path(), &mut |_, _| ()).unwrap();
    let (mut seeded, mut deeper) = (spec.clone(), spec.clone());
    seeded.seed = 1;
    deeper.shape.n_layer = 3;
    assert!(!seeded.is_current(&path) && !deeper.is_current(&path));
    let bytes = fs::read(&path).unwrap();
    let key = header::VERSION_KEY.as_bytes();
    let at = bytes.windows(key.len()).position(|w| w == key).unwrap() + key.len() + 4;
    let mut other = bytes.clone();
    other[at] += 1;
    fs::write(&path, other).unwrap();
    assert!(!spec.is_current(&path));
    fs::write(&path, &bytes[..bytes.len() - 64]).unwrap();
    assert!(!spec.is_current(&path));
    fs::write(&path, bytes).unwrap();
    assert!(spec.is_current(&path));
}

#[test]
fn equal_specs_give_equal_bytes_and_progress_ends_at_the_size() {
    let (mut one, mut two) = (Vec::new(), Vec::new());
    let mut last = (0, 0);
    tiny("q4_k_m")
        .write_to(&mut one, &mut |done, total| last = (done, total))
        .unwrap();
    tiny("q4_k_m").write_to(&mut two, &mut |_, _| ()).unwrap();
    assert_eq!(one, two);
    assert_eq!(last, (one.len() as u64, one.len() as u64));
}

/// Takes so many bytes, then fails like a full disk.
struct Failing<'a> {
    inner: &'a mut OutputFile,
    room: usize,
}

impl Write for Failing<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.room == 0 {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        let n = self.inner.write(&bytes[..bytes.len().min(self.room)])?;
        self.room -= n;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[test]
fn a_write_that_fails_midway_leaves_no_file() {
    let dir = tempfile::tempdir().unwrap();
    let spec = tiny("q4_0");
    let target = dir.path().join(spec.file_name());
    let size = spec.facts(&target).unwrap().file_bytes as usize;
    for room in [0, 100, size / 2, size - 1] {
        let mut file = OutputFile::create(&target, Replace::Always).unwrap();
        let mut out = Failing {
            inner: &mut file,
            room,
        };
        let error = spec.write_to(&mut out, &mut |_, _| ()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        drop(file);
        assert_eq!(
            fs::read_dir(dir.path()).unwrap().count(),
            0,
            "after {room} bytes"
        );
    }
}

#[test]
fn concurrent_writers_leave_one_whole_file() {
    let dir = tempfile::tempdir().unwrap();
    let spec = tiny("q8_0");
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| spec.write(dir.path(), &mut |_, _| ()).unwrap());
        }
    });
    assert!(spec.is_current(&dir.path().join(spec.file_name())));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn shapes_that_the_engine_would_refuse_are_named() {
    let good = SynthShape::preset("tiny").unwrap();
    type Spoil = fn(&mut SynthShape);
    let spoilt: [(Spoil, &str); 8] = [
        (|s| s.n_layer = 0, "n_layer"),
        (|s| s.n_embd = 100, "n_embd"),
        (|s| s.n_head = 3, "n_head must divide"),
        (|s| s.n_head = 0, "n_head must divide"),
        (|s| s.n_head_kv = 3, "n_head_kv"),
        (|s| s.n_head_kv = 0, "n_head_kv"),
        (|s| s.n_vocab = 258, "n_vocab"),
        (|s| s.rope_freq_base = f32::NAN, "rope_freq_base"),
    ];
    for (spoil, what) in spoilt {
        let mut shape = good;
        spoil(&mut shape);
        let error = shape.validate().unwrap_err().to_string();
        assert!(error.contains(what), "{error}");
    }
    assert!(SynthSpec::new("x", good, FileType::parse("iq1_s").unwrap()).is_err());
    for preset in PRESETS {
        preset.1.validate().unwrap();
    }
}

/// Downloads about 100 MB unless `GGUFBENCH_MODELS` has the files.
#[test]
#[ignore = "needs the network or fetched models"]
fn twins_have_the_tensors_of_the_fetched_files() {
    let store = ModelStore::locate().unwrap();
    let table = |path: &Path| -> BTreeMap<String, (String, [u64; 4])> {
        let tensors = Gguf::open(path).unwrap().tensors().into_iter();
        tensors
            .map(|t| (t.name, (tensor_type_name(t.ty), t.ne)))
            .collect()
    };
    for type_name in ["f32", "f16", "q8_0", "q4_0", "q4_1"] {
        let real = fetch(&store, &format!("smollm2-135m-{type_name}"), &mut |_| ()).unwrap();
        let spec = SynthSpec::preset("smollm2-135m", FileType::parse(type_name).unwrap()).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let twin = spec.write(dir.path(), &mut |_, _| ()).unwrap();
        assert_eq!(table(&twin), table(&real.path), "{type_name}");
        let (twin, real) = (
            ModelFacts::read(&twin).unwrap(),
            ModelFacts::read(&real.path).unwrap(),
        );
        let like_the_twin = ModelFacts {
            name: twin.name.clone(),
            path: twin.path.clone(),
            general_name: twin.general_name.clone(),
            file_bytes: twin.file_bytes, // the vocabularies differ
            files: twin.files.clone(),
            ..real
        };
        assert_eq!(twin, like_the_twin, "{type_name}");
    }
}

/// What decoding does not run lies in the file and in no figure of a step.
#[test]
fn prediction_layers_and_towers_count_in_no_step() {
    let spec = tiny("q8_0");
    let path = Path::new("tiny.gguf");
    let plain = spec.facts(path).expect("valid");
    let gguf = header::build(&spec, &spec.shape.tensors(spec.file_type));
    for (key, value) in [
        (c"llama.block_count", plain.n_layer + 1),
        (c"llama.nextn_predict_layers", 1),
    ] {
        // SAFETY: valid context; the engine copies the key.
        unsafe { llama_cpp_sys_2::gguf_set_val_u32(gguf.as_ptr(), key.as_ptr(), value) }
    }
    let mut tensors = gguf.tensors();
    let last = format!("blk.{}.", plain.n_layer - 1);
    let copies = |of: &str, to: &str| -> Vec<_> {
        let of_layer = tensors.iter().filter(|t| t.name.starts_with(of));
        of_layer
            .cloned()
            .map(|mut t| {
                t.name = t.name.replace(of, to);
                t
            })
            .collect()
    };
    let prediction = copies(&last, &format!("blk.{}.", plain.n_layer));
    let vision = copies("blk.0.", "v.blk.0.");
    let added: u64 = prediction.iter().chain(&vision).map(|t| t.bytes).sum();
    tensors.extend(prediction.into_iter().chain(vision));
    let with = ModelFacts::from_parts(path, &gguf, &tensors, 1, 1).expect("valid");
    assert_eq!(with.n_layer, plain.n_layer);
    assert_eq!(with.weight_bytes_per_step, plain.weight_bytes_per_step);
    assert_eq!(with.n_matmul_params, plain.n_matmul_params);
    assert_eq!(with.matrices, plain.matrices);
    assert_eq!(with.k_elements_per_token, plain.k_elements_per_token);
    assert_eq!(with.tensor_bytes, plain.tensor_bytes + added);
    assert_eq!(with.used_tensor_bytes(), plain.tensor_bytes);
    assert_eq!(with.unused.len(), 2);
    // A file of the prediction layer alone drafts for another model.
    let own = |t: &TensorInfo| !t.name.starts_with("blk.") || t.name.starts_with("blk.2.");
    let alone: Vec<TensorInfo> = tensors.into_iter().filter(own).collect();
    let error = ModelFacts::from_parts(path, &gguf, &alone, 1, 1).expect_err("no model");
    assert!(error.to_string().contains("draft"), "{error}");
}
