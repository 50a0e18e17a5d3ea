//! Split models: every part is what its name says, or it is named.

use std::fs;
use std::path::{Path, PathBuf};

use ggufbench::model::{ModelError, ModelFacts};

use crate::split::split;
use crate::tiny;

fn parts(dir: &Path, type_name: &str, n: usize) -> Vec<PathBuf> {
    split(&tiny(dir, type_name), n)
}

fn refusal(first: &Path) -> String {
    ModelFacts::read(first).unwrap_err().to_string()
}

fn name(path: &Path) -> &str {
    path.file_name().unwrap().to_str().unwrap()
}

#[test]
fn a_split_model_is_its_whole_with_a_hash_over_every_part() {
    let dir = tempfile::tempdir().unwrap();
    let whole = ModelFacts::read(&tiny(dir.path(), "q8_0")).unwrap();
    let parts = parts(dir.path(), "q8_0", 3);
    let mut facts = ModelFacts::read(&parts[0]).unwrap();
    assert_eq!(facts.n_parts, 3);
    assert_eq!(facts.tensor_bytes, whole.tensor_bytes);
    let files: Vec<&str> = facts.files.iter().map(|f| f.file.as_str()).collect();
    assert_eq!(files, parts.iter().map(|p| name(p)).collect::<Vec<_>>());
    facts.hash(&mut |_, _| ()).unwrap();
    let first = facts.clone();
    assert!(first.sha256.is_some() && facts.files.iter().all(|f| f.sha256.is_some()));
    // A change of any part changes the model's hash, and that part is named.
    let mut bytes = fs::read(&parts[2]).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&parts[2], bytes).unwrap();
    let mut changed = ModelFacts::read(&parts[0]).unwrap();
    changed.hash(&mut |_, _| ()).unwrap();
    assert_ne!(changed.sha256, first.sha256);
    assert_eq!(changed.first_difference(&first).as_ref(), Some(&parts[2]));
    assert_eq!(first.first_difference(&first), None);
}

#[test]
fn a_part_over_another_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let parts = parts(dir.path(), "q8_0", 3);
    let whole: Vec<Vec<u8>> = parts.iter().map(|p| fs::read(p).unwrap()).collect();
    for (wrong, right) in [(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)] {
        fs::write(&parts[right], &whole[wrong]).unwrap();
        let error = refusal(&parts[0]);
        let says = format!("its header says part {} of 3", wrong + 1);
        assert!(error.contains(name(&parts[right])), "{error}");
        assert!(error.contains(&says), "{error}");
        fs::write(&parts[right], &whole[right]).unwrap();
    }
    ModelFacts::read(&parts[0]).unwrap();
}

#[test]
fn a_part_of_another_model_and_a_whole_model_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let three = parts(&dir.path().join("a"), "q8_0", 3);
    let two = parts(&dir.path().join("b"), "q8_0", 2);
    fs::copy(&two[1], &three[1]).unwrap();
    assert!(refusal(&three[0]).contains("its header says part 2 of 2"));
    fs::copy(tiny(dir.path(), "q8_0"), &three[1]).unwrap();
    let error = refusal(&three[0]);
    assert!(error.contains("no part of a split model"), "{error}");
    assert!(error.contains(name(&three[1])), "{error}");
    let whole = fs::read(&three[2]).unwrap();
    fs::write(&three[1], &whole[..whole.len() / 2]).unwrap();
    let error = ModelFacts::read(&three[0]).unwrap_err();
    assert!(matches!(error, ModelError::Truncated { .. }), "{error}");
    assert!(error.to_string().contains(name(&three[1])), "{error}");
}

#[test]
fn joined_files_are_named_with_the_way_to_merge_whatever_their_name() {
    let dir = tempfile::tempdir().unwrap();
    let parts = parts(dir.path(), "q8_0", 2);
    let [first, second] = [0, 1].map(|i: usize| fs::read(&parts[i]).unwrap());
    let joined = [first.clone(), second.clone()].concat();
    let backwards = [second, first.clone()].concat();
    let other = dir.path().join("other");
    let whole = fs::read(tiny(&other, "q8_0")).unwrap();
    let twice = [whole.clone(), whole].concat();
    for (file, bytes) in [
        ("whole.gguf", &joined),
        ("backwards.gguf", &backwards),
        ("twice.gguf", &twice),
        ("w-00001-of-00002.gguf", &joined),
        ("w-00002-of-00002.gguf", &joined),
    ] {
        let path = other.join(file);
        fs::write(&path, bytes).unwrap();
        let error = ModelFacts::read(&path).unwrap_err();
        assert!(matches!(error, ModelError::Joined { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains(file) && text.contains("--merge"), "{text}");
    }
    // The name of a part is no excuse for the first part's reader either.
    fs::write(other.join("w-00001-of-00002.gguf"), first).unwrap();
    let error = refusal(&other.join("w-00001-of-00002.gguf"));
    assert!(error.contains("w-00002-of-00002.gguf"), "{error}");
    assert!(error.contains("--merge"), "{error}");
}

#[test]
fn bytes_after_the_last_tensor_are_named_unless_they_are_padding() {
    let dir = tempfile::tempdir().unwrap();
    let path = tiny(dir.path(), "q8_0");
    let whole = fs::read(&path).unwrap();
    let with = |tail: &[u8]| {
        fs::write(&path, [&whole, tail].concat()).unwrap();
        ModelFacts::read(&path)
    };
    assert_eq!(with(&[]).unwrap().files[0].unused_bytes, 0);
    assert_eq!(with(&[0; 5000]).unwrap().files[0].unused_bytes, 5000);
    for tail in [&b"x"[..], &[0, 0, 0, 0, 0, 1], b"GGUF", &whole[100..300]] {
        let error = with(tail).unwrap_err().to_string();
        let says = format!("{} bytes after the last tensor", tail.len());
        assert!(error.contains(&says), "{error}");
    }
}
