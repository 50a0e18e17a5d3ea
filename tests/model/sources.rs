//! What `--model` takes.

use std::fs;
use std::path::Path;

use ggufbench::model::{Ensure, ModelError, ModelFacts, ModelStore, ResolvedModel, resolve};

use crate::tiny;

fn store(dir: &Path) -> ModelStore {
    ModelStore::at(dir).unwrap()
}

fn resolved(spec: &str, store: &ModelStore) -> Result<Vec<ResolvedModel>, ModelError> {
    resolve(&[spec.to_owned()], store).map(|found| found.models)
}

fn names(models: &[ResolvedModel]) -> Vec<&str> {
    models.iter().map(|m| m.facts.name.as_str()).collect()
}

#[test]
fn paths_lists_globs_folders_and_names_resolve() {
    let dir = tempfile::tempdir().unwrap();
    let models = dir.path().join("models");
    let (q8, q4) = (tiny(&models, "q8_0"), tiny(&models, "q4_0"));
    fs::write(models.join("notes.txt"), "x").unwrap();
    let store = store(&models);
    let both = ["synth-tiny-q4_0", "synth-tiny-q8_0"];
    let list = format!("{},{}", q8.display(), q4.display());
    assert_eq!(names(&resolved(&list, &store).unwrap()), [both[1], both[0]]);
    assert_eq!(
        names(&resolved(models.to_str().unwrap(), &store).unwrap()),
        both
    );
    let glob = models.join("*q4*").display().to_string();
    assert_eq!(names(&resolved(&glob, &store).unwrap()), [both[0]]);
    assert_eq!(
        names(&resolved("synth-tiny-q8_0", &store).unwrap()),
        [both[1]]
    );
    // The same file by three spellings is one model.
    let thrice = format!(
        "{},{},synth:tiny:q8_0",
        q8.display(),
        glob.replace("q4", "q8")
    );
    assert_eq!(names(&resolved(&thrice, &store).unwrap()), [both[1]]);
}

#[test]
fn same_names_in_two_folders_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (dir.path().join("a"), dir.path().join("b"));
    tiny(&a, "q8_0");
    tiny(&b, "q8_0");
    let list = format!("{},{}", a.display(), b.display());
    let models = resolved(&list, &store(dir.path())).unwrap();
    assert_eq!(names(&models), ["a-synth-tiny-q8_0", "b-synth-tiny-q8_0"]);
}

#[test]
fn a_synthetic_model_is_planned_then_written_once() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("not-yet-there");
    let store = store(&root);
    let mut models = resolved("synth:tiny", &store).unwrap();
    assert!(!root.exists(), "resolving writes nothing");
    assert!(matches!(models[0].ensure, Ensure::Synth(_)));
    let planned = models[0].facts.clone();
    assert_eq!(planned.name, "synth-tiny-q4_0");
    models[0].ensure(&mut |_, _| ()).unwrap();
    let written = models[0].facts.clone();
    assert_eq!(written.files.len(), 1);
    let files = written.files.clone();
    assert_eq!(written, ModelFacts { files, ..planned });
    assert_eq!(models[0].ensure, Ensure::Nothing);
    let again = resolved("synth:tiny:Q4_0", &store).unwrap();
    assert_eq!(again[0].ensure, Ensure::Nothing);
    assert_eq!(again[0].facts, written);
}

#[test]
fn what_means_no_model_is_explained() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let says = |spec: &str, what: &str| {
        let error = resolved(spec, &store).unwrap_err().to_string();
        assert!(error.contains(what), "{spec}: {error}");
    };
    says(
        "smollm2-135m-q8_0",
        "ggufbench model fetch smollm2-135m-q8_0",
    );
    says("smollm2-135-q8", "did you mean `smollm2-135m-q8_0`");
    says("tiny", "synth:tiny");
    says("zebra", "known names: ");
    says("gone.gguf", "no such file");
    says("gone/*.gguf", "no file matches");
    says("a[", "bad pattern");
    says("synth:huge", "unknown preset; one of: tiny, smollm2-135m");
    says("synth:tiny:q9", "type `q9`: unknown");
    says("synth:", "synth:PRESET");
    says("", "is empty");
    says("synth:tiny,,synth:tiny:q8_0", "is empty");
    says(dir.path().to_str().unwrap(), "no .gguf file");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}
