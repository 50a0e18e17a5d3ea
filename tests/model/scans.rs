//! Folders and patterns: a neighbour that is no model is left out and named.

use std::fs;
use std::path::{Path, PathBuf};

use ggufbench::model::{ModelError, ModelStore, Resolution, resolve};

use crate::files::header;
use crate::split::split;
use crate::tiny;

fn resolved(spec: &str) -> Result<Resolution, ModelError> {
    let store = ModelStore::at(Path::new("nowhere")).unwrap();
    resolve(&[spec.to_owned()], &store)
}

/// A folder of everything that lies beside models, without a model; gives the names.
fn neighbours(dir: &Path) -> Vec<&'static str> {
    fs::create_dir_all(dir).unwrap();
    let arch = |name| ("general.architecture", Ok(name));
    let kind = |name| ("general.type", Ok(name));
    let whole = fs::read(tiny(&dir.join("elsewhere"), "q4_0")).unwrap();
    let files = [
        ("mmproj-F16.gguf", header(&[arch("clip"), kind("mmproj")])),
        ("encoder.gguf", header(&[arch("bert")])),
        ("imatrix.gguf", header(&[kind("imatrix")])),
        ("lora.gguf", header(&[arch("llama"), kind("adapter")])),
        ("vocab.gguf", header(&[arch("llama")])),
        (
            "pointer.gguf",
            b"version https://git-lfs.github.com/spec/v1\n".to_vec(),
        ),
        ("truncated.gguf", whole[..whole.len() / 2].to_vec()),
        ("joined.gguf", [whole.clone(), whole].concat()),
        ("empty.gguf", Vec::new()),
        ("._macos.GGUF", b"\0\x05\x16\x07".to_vec()),
        (
            "lost-00002-of-00002.gguf",
            header(&[("split.no", Err(1)), ("split.count", Err(2))]),
        ),
    ];
    let mut names: Vec<&str> = files.iter().map(|(name, _)| *name).collect();
    for (name, bytes) in &files {
        fs::write(dir.join(name), bytes).unwrap();
    }
    fs::create_dir(dir.join("folder.gguf")).unwrap();
    names.push("folder.gguf");
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink("gone", dir.join("link.gguf")).unwrap();
        names.push("link.gguf");
    }
    names
}

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

#[test]
fn a_neighbour_that_is_no_model_is_left_out_and_named_in_one_note() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("d");
    let names = neighbours(&folder);
    tiny(&folder, "q8_0");
    for spec in [text(&folder), text(&folder.join("*"))] {
        let found = resolved(&spec).unwrap();
        let models: Vec<&str> = found.models.iter().map(|m| m.facts.name.as_str()).collect();
        assert_eq!(models, ["synth-tiny-q8_0"]);
        assert_eq!(found.notes.len(), 1, "{:?}", found.notes);
        for name in &names {
            assert!(found.notes[0].contains(name), "{name}: {}", found.notes[0]);
        }
        for reason in [
            "projector",
            "LoRA",
            "git lfs pull",
            "first part is not here",
            "--merge",
        ] {
            assert!(found.notes[0].contains(reason), "{}", found.notes[0]);
        }
    }
    for name in names {
        let error = resolved(&text(&folder.join(name)));
        // A folder of that name is a folder without models.
        let error = error.unwrap_err().to_string();
        assert!(error.contains(name), "{error}");
    }
}

#[test]
fn a_folder_without_a_usable_model_says_why_for_every_file() {
    let dir = tempfile::tempdir().unwrap();
    let names = neighbours(dir.path());
    for spec in [text(dir.path()), text(&dir.path().join("*.[gG]*"))] {
        let error = resolved(&spec).unwrap_err().to_string();
        for name in &names {
            assert!(error.contains(name), "{name}: {error}");
        }
        assert_eq!(error.lines().count(), 1, "{error}");
    }
}

#[test]
fn subfolders_are_not_searched_and_that_is_said() {
    let dir = tempfile::tempdir().unwrap();
    tiny(&dir.path().join("publisher"), "q4_0");
    fs::create_dir(dir.path().join("pictures")).unwrap();
    let error = resolved(&text(dir.path())).unwrap_err().to_string();
    assert!(
        error.contains("subfolders are not searched (publisher)"),
        "{error}"
    );
    tiny(dir.path(), "q8_0");
    let found = resolved(&text(dir.path())).unwrap();
    assert_eq!(found.models.len(), 1);
    assert!(found.notes[0].contains("subfolders are not searched (publisher)"));
    assert!(!found.notes[0].contains("pictures"), "{}", found.notes[0]);
    // What the note advises works.
    let all = resolved(&text(&dir.path().join("**/*.gguf"))).unwrap();
    assert_eq!((all.models.len(), all.notes.len()), (2, 0));
}

#[test]
fn parts_belong_to_their_first_one() {
    let dir = tempfile::tempdir().unwrap();
    let whole = tiny(dir.path(), "q8_0");
    let parts: Vec<PathBuf> = split(&whole, 3);
    fs::remove_file(whole).unwrap();
    let found = resolved(&text(dir.path())).unwrap();
    assert_eq!((found.models.len(), found.notes.len()), (1, 0));
    tiny(dir.path(), "q4_0");
    fs::copy(&parts[2], &parts[1]).unwrap();
    let found = resolved(&text(dir.path())).unwrap();
    assert_eq!(found.models[0].facts.name, "synth-tiny-q4_0");
    assert!(
        found.notes[0].contains("-00002-of-00003.gguf"),
        "{}",
        found.notes[0]
    );
}

#[test]
fn padding_that_nobody_reads_is_noted() {
    let dir = tempfile::tempdir().unwrap();
    let path = tiny(dir.path(), "q8_0");
    let mut bytes = fs::read(&path).unwrap();
    bytes.extend([0; 4096]);
    fs::write(&path, bytes).unwrap();
    let found = resolved(&text(&path)).unwrap();
    assert!(found.notes[0].contains("4096 bytes after the last tensor"));
}

#[cfg(target_os = "linux")]
#[test]
fn a_name_that_is_not_utf_8_is_left_out_or_refused() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    let dir = tempfile::tempdir().unwrap();
    let model = tiny(dir.path(), "q8_0");
    let name = OsStr::from_bytes(b"caf\xe9.gguf");
    if fs::copy(&model, dir.path().join(name)).is_err() {
        return; // this file system has no such names
    }
    for spec in [text(dir.path()), text(&dir.path().join("*.gguf"))] {
        let found = resolved(&spec).unwrap();
        assert_eq!(found.models.len(), 1);
        assert!(found.notes[0].contains("caf") && found.notes[0].contains("UTF-8"));
    }
    fs::remove_file(model).unwrap();
    for spec in [text(dir.path()), text(&dir.path().join("c*.gguf"))] {
        let error = resolved(&spec).unwrap_err().to_string();
        assert!(error.contains("caf") && error.contains("UTF-8"), "{error}");
    }
}
