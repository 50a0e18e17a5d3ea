//! Models in Ollama's own store, as a user names them.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use ggufbench::model::sha256_file;
use serde_json::{Value, json};

use super::tiny;

/// A store with a tiny model called `tiny:1b`; gives its digest.
fn store(root: &Path) -> String {
    let file = tiny(root, "q8_0");
    let hex = sha256_file(&file, &mut |_, _| ()).unwrap();
    let size = fs::metadata(&file).unwrap().len();
    let blobs = root.join("blobs");
    fs::create_dir(&blobs).unwrap();
    fs::rename(file, blobs.join(format!("sha256-{hex}"))).unwrap();
    let manifests = root.join("manifests/registry.ollama.ai/library/tiny");
    fs::create_dir_all(&manifests).unwrap();
    let manifest = json!({"schemaVersion": 2, "layers": [
        {"mediaType": "application/vnd.ollama.image.model", "digest": format!("sha256:{hex}"), "size": size},
        {"mediaType": "application/vnd.ollama.image.params", "digest": "sha256:1", "size": 1},
    ]});
    fs::write(manifests.join("1b"), manifest.to_string()).unwrap();
    hex
}

fn ggufbench(root: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ggufbench"))
        .current_dir(root)
        .env("OLLAMA_MODELS", root)
        .env("GGUFBENCH_MODELS", root.join("gguf"))
        .env("XDG_CACHE_HOME", root.join("cache"))
        .args(args)
        .output()
        .unwrap()
}

const RUN: [&str; 15] = [
    "run",
    "--engine",
    "synthetic",
    "--model",
    "ollama:tiny:1b",
    "--batch",
    "1",
    "-p",
    "4",
    "-n",
    "4",
    "-r",
    "1",
    "--replicates",
    "1",
];

#[test]
fn a_model_of_ollamas_is_measured_where_it_lies() {
    let dir = tempfile::tempdir().unwrap();
    let hex = store(dir.path());
    let out = ggufbench(dir.path(), &RUN);
    assert!(
        out.status.success(),
        "{}",
        String::from_utf8_lossy(&out.stderr)
    );
    let run = fs::read_dir(dir.path().join("out"))
        .unwrap()
        .next()
        .unwrap();
    let record = fs::read_to_string(run.unwrap().path().join("run.jsonl")).unwrap();
    let header: Value = serde_json::from_str(record.lines().next().unwrap()).unwrap();
    let model = &header["plan"]["models"][0];
    assert_eq!(model["name"], "ollama-tiny-1b");
    assert_eq!(model["sha256"], hex.as_str());
    let blobs = dir.path().join("blobs");
    assert_eq!(
        fs::read_dir(blobs).unwrap().count(),
        1,
        "nothing is written there"
    );
}

#[test]
fn a_blob_that_is_not_what_its_name_says_is_not_measured() {
    let dir = tempfile::tempdir().unwrap();
    let hex = store(dir.path());
    let blob = dir.path().join(format!("blobs/sha256-{hex}"));
    let mut bytes = fs::read(&blob).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&blob, bytes).unwrap();
    let out = ggufbench(dir.path(), &RUN);
    let said = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(2), "{said}");
    assert!(
        said.contains(&format!("Ollama's manifest says {hex}")),
        "{said}"
    );
}

#[test]
fn a_model_that_ollama_has_not_is_told_with_those_it_has() {
    let dir = tempfile::tempdir().unwrap();
    store(dir.path());
    let out = ggufbench(dir.path(), &["model", "info", "ollama:tiny"]);
    let said = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(2), "{said}");
    assert!(said.contains("there are: tiny:1b;"), "{said}");
    assert!(said.contains("ollama pull tiny:latest"), "{said}");
}
