//! Names that are not UTF-8: carried as they are, or refused in one line before anything is done.
#![cfg(target_os = "linux")]

mod support;

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::process::Output;

use support::{Place, stderr, stdout, tiny_model};

const QUICK: &str = "-p 8 -n 4 --n-ctx 64 -r 1 --replicates 1 -t 1 --engine synthetic";

/// `caf\xe9` with an ending; Latin-1.
fn name(ending: &str) -> OsString {
    let mut bytes = b"caf\xe9".to_vec();
    bytes.extend(ending.as_bytes());
    OsStr::from_bytes(&bytes).to_owned()
}

/// A place with a model; none on file systems without such names.
fn place() -> Option<Place> {
    let place = Place::new();
    fs::copy(tiny_model(), place.path().join("tiny.gguf")).expect("a copy");
    fs::create_dir(place.path().join(name(""))).ok()?;
    Some(place)
}

/// The run's folder below an output folder of any name.
fn run_in(out: &PathBuf) -> PathBuf {
    let mut runs = fs::read_dir(out).expect("out exists");
    runs.next().expect("a run").expect("readable").path()
}

fn run(place: &Place, flags: &str, more: &[&OsStr]) -> Output {
    let mut command = place.command();
    command.args(flags.split_whitespace()).args(more);
    command.output().expect("the program starts")
}

#[track_caller]
fn assert_refused(run: &Output) {
    let said = stderr(run);
    assert_eq!(run.status.code(), Some(2), "{said}");
    assert!(said.contains("caf") && said.contains("UTF-8"), "{said}");
    let lines = said.lines().filter(|l| l.starts_with("error: ")).count();
    assert_eq!((lines, said.contains("panicked")), (1, false), "{said}");
}

#[test]
fn models_that_no_record_can_name_are_refused_before_anything_is_made() {
    let Some(place) = place() else { return };
    let folder = place.path().join(name(""));
    let model = folder.join("tiny.gguf");
    fs::copy(tiny_model(), &model).expect("a copy");
    let only = place.path().join("only");
    fs::create_dir(&only).expect("a folder");
    fs::copy(tiny_model(), only.join(name(".gguf"))).expect("a copy");
    for of in [folder.as_os_str(), model.as_os_str(), only.as_os_str()] {
        for verb in [
            "run",
            "requests --target in-process",
            "ceiling",
            "predict",
            "model info",
        ] {
            let flag = match verb {
                "predict" | "model info" => "",
                _ => "--model",
            };
            let mut command = place.command();
            command.args(verb.split(' '));
            command.args((!flag.is_empty()).then_some(flag)).arg(of);
            assert_refused(&command.output().expect("the program starts"));
        }
    }
    let store = place.command().env("GGUFBENCH_MODELS", &folder).output();
    assert_refused(&store.expect("the program starts"));
    let ollama = place.path().join(name("-ollama"));
    let manifests = ollama.join("manifests/registry.ollama.ai/library/m");
    let blobs = ollama.join("blobs");
    fs::create_dir_all(&manifests).expect("folders");
    fs::create_dir(&blobs).expect("a folder");
    let hex = "0".repeat(64);
    let size = fs::copy(&model, blobs.join(format!("sha256-{hex}"))).expect("a copy");
    let layer = format!(
        r#"{{"mediaType":"application/vnd.ollama.image.model","digest":"sha256:{hex}","size":{size}}}"#
    );
    let manifest = format!(r#"{{"layers":[{layer}]}}"#);
    fs::write(manifests.join("latest"), manifest).expect("writable");
    let mut command = place.command();
    command.env("OLLAMA_MODELS", &ollama);
    command.args(["--model", "ollama:m"]);
    assert_refused(&command.output().expect("the program starts"));
    let sides = run(
        &place,
        "ab --model tiny.gguf --worker-b",
        &[model.as_os_str()],
    );
    assert_refused(&sides);
    assert!(!place.out().exists(), "nothing was begun");
}

#[test]
fn folders_of_any_name_get_runs_which_every_verb_reads() {
    let Some(place) = place() else { return };
    let out = place.path().join(name("-out"));
    let made = run(
        &place,
        &format!("--model tiny.gguf {QUICK} --out"),
        &[out.as_os_str()],
    );
    assert_eq!(made.status.code(), Some(0), "{}", stderr(&made));
    let the_run = run_in(&out);
    let history = place.path().join(name("-history"));
    for (flags, more) in [
        ("report -o json", vec![the_run.as_os_str()]),
        ("report", vec![the_run.as_os_str()]),
        ("--engine synthetic --resume", vec![the_run.as_os_str()]),
        (
            "compare -o json",
            vec![the_run.as_os_str(), the_run.as_os_str()],
        ),
        (
            "gate --promote --history",
            vec![history.as_os_str(), the_run.as_os_str()],
        ),
    ] {
        let done = run(&place, flags, &more);
        assert_eq!(done.status.code(), Some(0), "{flags}: {}", stderr(&done));
    }
}

#[test]
fn a_working_folder_of_any_name_is_a_folder() {
    let Some(place) = place() else { return };
    let folder = place.path().join(name(""));
    fs::copy(tiny_model(), folder.join("tiny.gguf")).expect("a copy");
    let here = |args: &str| {
        let mut command = place.command();
        command.current_dir(&folder).args(args.split_whitespace());
        command.output().expect("the program starts")
    };
    let made = here(&format!("--model tiny.gguf {QUICK}"));
    assert_eq!(made.status.code(), Some(0), "{}", stderr(&made));
    let again = here("model info tiny.gguf --json");
    assert_eq!(again.status.code(), Some(0), "{}", stderr(&again));
    let pair = here(&format!(
        "ab --model tiny.gguf {QUICK} --out pairs -- -- --n-ctx 128"
    ));
    assert_eq!(pair.status.code(), Some(0), "{}", stderr(&pair));
    let resumed = here(&format!("--engine synthetic --resume {}", {
        let the_run = run_in(&folder.join("out"));
        format!(
            "out/{}",
            the_run.file_name().expect("named").to_str().expect("text")
        )
    }));
    assert_eq!(resumed.status.code(), Some(0), "{}", stderr(&resumed));
}

#[test]
fn files_of_prompts_and_sweeps_are_read_or_refused() {
    let Some(place) = place() else { return };
    let prompts = place.path().join(name(".jsonl"));
    let prompt = r#"{"id":"a","class":"c","source":"x","text":"hello"}"#;
    fs::write(&prompts, prompt).expect("writable");
    let asked = run(
        &place,
        "requests --model tiny.gguf --prompts",
        &[prompts.as_os_str()],
    );
    assert_refused(&asked);
    assert_refused(&run(
        &place,
        "prompts list --prompts",
        &[prompts.as_os_str()],
    ));
    let sweep = place.path().join(name(".toml"));
    fs::write(&sweep, "model = \"tiny.gguf\"\nbatch = 1\n").expect("writable");
    let planned = run(&place, "sweep --dry-run", &[sweep.as_os_str()]);
    assert_eq!(planned.status.code(), Some(0), "{}", stderr(&planned));
    assert!(stdout(&planned).contains("tiny"));
    let import = place.path().join(name(".txt"));
    fs::write(&import, "One.\n\nTwo.\n").expect("writable");
    assert_refused(&run(&place, "prompts import", &[import.as_os_str()]));
    let to = place.path().join(name("-prompts.jsonl"));
    fs::write(place.path().join("plain.txt"), "One.\n\nTwo.\n").expect("writable");
    let saved = run(&place, "prompts import plain.txt --out", &[to.as_os_str()]);
    assert_eq!(saved.status.code(), Some(0), "{}", stderr(&saved));
    assert!(to.is_file());
}
