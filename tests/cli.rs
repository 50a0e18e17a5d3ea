//! Bad input: one clear line, exit code 2, and no trace.

mod support;

use std::path::Path;

use support::{Place, stderr, tiny_model};

/// The program refuses the arguments with one line that contains `needle`, and leaves no run behind.
#[track_caller]
fn refused(place: &Place, args: &[&str], needle: &str) {
    let out = place.run(args);
    let text = stderr(&out);
    assert_eq!(out.status.code(), Some(2), "{args:?}: {text}");
    assert_eq!(text.trim_end().lines().count(), 1, "{args:?}: {text}");
    assert!(
        text.starts_with("error: ") && text.contains(needle),
        "{args:?}: {text}"
    );
    assert!(out.stdout.is_empty(), "{args:?}");
    assert!(!place.out().exists(), "{args:?} left {:?}", place.out());
}

fn tiny() -> &'static str {
    tiny_model().to_str().expect("text")
}

fn write(place: &Place, name: &str, bytes: &[u8]) -> String {
    let path = place.path().join(name);
    std::fs::write(&path, bytes).expect("writable");
    path.to_str().expect("text").to_owned()
}

#[test]
fn models_that_are_none() {
    let place = Place::new();
    refused(&place, &["-m", "no-such.gguf"], "no-such.gguf");
    let empty = write(&place, "empty.gguf", b"");
    refused(&place, &["-m", &empty], "empty");
    let text = write(
        &place,
        "text.gguf",
        b"this is a text, not a model, though it is long enough",
    );
    refused(&place, &["-m", &text], "text.gguf");
    let whole = std::fs::read(tiny()).expect("readable");
    for cut in [5, 100, 5000, whole.len() / 2, whole.len() - 1] {
        let short = write(&place, "short.gguf", &whole[..cut]);
        refused(&place, &["-m", &short], "short.gguf");
    }
    let nothing_there = place.path().to_str().expect("text").to_owned();
    refused(&place, &["-m", &nothing_there], "gguf");
    refused(&place, &["-m", "synth:tiny:q9"], "q9");
    refused(&place, &["-m", "synth:huge"], "huge");
    refused(
        &place,
        &["-m", "smollm2-135m-q8_0"],
        "model fetch smollm2-135m-q8_0",
    );
}

#[test]
fn values_that_no_cell_can_have() {
    let place = Place::new();
    for (args, needle) in [
        (vec!["--batch", "0"], "batch: 0 sequences"),
        (vec!["--batch", "257"], "257 sequences"),
        (vec!["--batch", "eight"], "'eight' is not a number"),
        (vec!["-n", "0"], "n_gen: 0"),
        (vec!["-p", "2000", "-n", "100"], "do not fit n_ctx 2048"),
        (vec!["-b", "32"], "--batch N"),
        (vec!["--replicates", "0"], "replicates"),
        (vec!["-r", "0"], "repetitions"),
        (vec!["--precision", "2"], "precision"),
        (vec!["--budget", "soon"], "--budget"),
        (vec!["--timeout", "0"], "timeout"),
        (vec!["-c", "4294967295"], "more cells than"),
        (vec!["--main-gpu", "3"], "main_gpu 3"),
        (vec!["-p", "1-999", "-n", "1-999"], "998001 combinations"),
        (vec!["-ctk", "q9_9"], "q9_9"),
        (vec!["--kv", "half"], "half"),
        (vec!["--engine", "vllm"], "vllm"),
    ] {
        let mut all = vec!["-m", tiny()];
        all.extend(args);
        refused(&place, &all, needle);
    }
}

#[cfg(not(any(feature = "cuda", feature = "metal", feature = "vulkan")))]
#[test]
fn layers_for_a_gpu_that_the_build_does_not_know() {
    let place = Place::new();
    refused(&place, &["-m", tiny(), "-ngl", "99"], "CUDA=1");
}

#[test]
fn sweeps_that_are_none() {
    let place = Place::new();
    refused(&place, &["sweep", "no-such.toml"], "no-such.toml");
    let typo = write(&place, "typo.toml", b"batch = 1\nbatchs = 2\n");
    refused(
        &place,
        &["sweep", &typo],
        "typo.toml:2: unknown field `batchs`",
    );
    let model = format!("model = \"{}\"\n", tiny());
    let excluded = write(
        &place,
        "none.toml",
        format!("{model}[[exclude]]\nbatch = 1\n").as_bytes(),
    );
    refused(&place, &["sweep", &excluded], "no cell is left");
}

#[test]
fn an_exclusion_can_leave_out_what_no_cell_can_have() {
    let place = Place::new();
    let sweep = format!(
        "model = \"{}\"\nn_prompt = [128, 2000]\nn_gen = [16, 64]\nflash_attn = [\"on\", \"off\"]\n\
         type_v = [\"f16\", \"q8_0\"]\n[[exclude]]\nn_prompt = 2000\nn_gen = 64\n\
         [[exclude]]\ntype_v = \"q8_0\"\nflash_attn = \"off\"\n",
        tiny()
    );
    let path = write(&place, "tight.toml", sweep.as_bytes());
    let out = place.run(&["sweep", &path, "--dry-run"]);
    assert_eq!(out.status.code(), Some(0), "{}", stderr(&out));
    let text = support::stdout(&out);
    assert!(text.contains("9 of 9 cells"), "{text}");
}

#[test]
fn what_is_resumed_must_be_a_run_and_is_not_touched_otherwise() {
    let place = Place::new();
    let foreign = place.path().join("foreign");
    std::fs::create_dir(&foreign).expect("writable");
    let file = foreign.join("run.jsonl");
    std::fs::write(&file, "{\"a\":1}").expect("writable");
    refused(
        &place,
        &["--resume", foreign.to_str().expect("text")],
        "is no run",
    );
    assert_eq!(std::fs::read(&file).expect("readable"), b"{\"a\":1}");
    let other = write(&place, "other.jsonl", b"{}\n");
    refused(&place, &["--resume", &other], "run.jsonl");
    for flag in ["--dry-run", "--out=x", "--name=x"] {
        let out = place.run(&["--resume", "somewhere", flag]);
        assert_eq!(out.status.code(), Some(2), "{flag}: {}", stderr(&out));
    }
}

#[test]
fn an_unknown_flag_is_claps_error_and_exit_code() {
    let place = Place::new();
    let out = place.run(&["--bach", "1"]);
    assert_eq!(out.status.code(), Some(2));
    assert!(stderr(&out).contains("--bach"), "{}", stderr(&out));
}

#[test]
fn a_folder_that_cannot_be_written() {
    let place = Place::new();
    let file = write(&place, "a-file", b"x");
    let below = Path::new(&file).join("out");
    let out = place.run(&["-m", tiny(), "--out", below.to_str().expect("text")]);
    assert_eq!(out.status.code(), Some(2), "{}", stderr(&out));
    assert_eq!(
        stderr(&out).trim_end().lines().count(),
        1,
        "{}",
        stderr(&out)
    );
}

/// On a file system with no room, in a mount namespace of its own.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk() {
    let place = Place::new();
    let full = place.path().join("full");
    std::fs::create_dir(&full).expect("writable");
    let script = format!(
        "mount -t tmpfs -o size=4k,nr_inodes=16 none '{dir}' || exit 77
         head -c 4096 /dev/zero > '{dir}/filler'
         '{bin}' -m '{model}' -n 4 -r 1 --replicates 1 --no-report --out '{dir}/out'
         code=$?; ls '{dir}'; exit $code",
        dir = full.display(),
        bin = env!("CARGO_BIN_EXE_ggufbench"),
        model = tiny(),
    );
    let out = std::process::Command::new("unshare")
        .args(["-rm", "sh", "-c", &script])
        .output();
    let Ok(out) = out else {
        eprintln!("skipped: no unshare on this machine");
        return;
    };
    if out.status.code() == Some(77) || stderr(&out).contains("unshare") {
        eprintln!("skipped: this user may not mount: {}", stderr(&out));
        return;
    }
    let text = stderr(&out);
    assert_eq!(out.status.code(), Some(2), "{text}");
    assert_eq!(text.trim_end().lines().count(), 1, "{text}");
    assert!(text.contains("No space left"), "{text}");
    assert_eq!(support::stdout(&out).trim(), "filler", "no trace");
}

#[test]
fn every_committed_sweep_is_valid() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("sweeps");
    let mut n = 0;
    for entry in std::fs::read_dir(folder).expect("sweeps/ exists") {
        let path = entry.expect("readable").path();
        if path.extension().is_some_and(|e| e == "toml") {
            let sweep = ggufbench::plan::sweep::read(&path).expect("valid");
            sweep.protocol.resolve().expect("valid");
            n += 1;
        }
    }
    assert!(n >= 2, "quick and mission at least");
}

#[test]
fn more_threads_than_the_engine_takes() {
    let place = Place::new();
    refused(
        &place,
        &["-m", tiny(), "-t", "20000"],
        "threads: 20000 threads; the engine takes at most 512",
    );
    refused(
        &place,
        &["-m", tiny(), "--swa-full", "auto"],
        "swa-full: 'auto' is not one of on, off",
    );
}

#[test]
fn a_price_beyond_all_bounds_does_not_fit() {
    let place = Place::new();
    let out = place.run(&[
        "-m",
        tiny(),
        "--dry-run",
        "--batch",
        "256",
        "--n-ctx",
        "8000000",
        "--n-gen",
        "7000000",
        "--n-prompt",
        "8",
    ]);
    let text = format!("{}{}", support::stdout(&out), stderr(&out));
    assert_eq!(out.status.code(), Some(0), "{text}");
    assert!(text.contains("no: has") && !text.contains("PiB"), "{text}");
}

#[test]
fn a_type_that_fails_does_not_stop_the_others() {
    let place = Place::new();
    let quantize = |args: &[&str]| place.run(&[&["model", "quantize", tiny()], args].concat());
    std::fs::create_dir(place.path().join("made")).expect("makeable");
    let out = quantize(&["q8_0,iq2_xxs,Q4_0,q4_0", "made"]);
    let text = stderr(&out);
    assert_eq!(out.status.code(), Some(1), "{text}");
    assert!(
        text.contains("error: 1 of 3 types failed: IQ2_XXS"),
        "{text}"
    );
    assert!(
        text.contains("type `IQ2_XXS`: needs an importance matrix"),
        "{text}"
    );
    assert_eq!(String::from_utf8_lossy(&out.stdout).lines().count(), 2);
    let made = std::fs::read_dir(place.path().join("made")).expect("there");
    assert_eq!(made.count(), 2);
    let several = quantize(&["q8_0,q4_0", "one.gguf"]);
    assert_eq!(several.status.code(), Some(2));
    assert!(stderr(&several).contains("one.gguf: 2 types make as many files"));
    refused(
        &place,
        &["model", "quantize", tiny(), "q8_0,q9_9"],
        "`q9_9`",
    );
    let matrix = write(&place, "im.dat", b"no matrix");
    let args = [
        "model",
        "quantize",
        tiny(),
        "q8_0",
        "x.gguf",
        "--imatrix",
        &matrix,
    ];
    refused(&place, &args, "im.dat: not a usable importance matrix");
    assert!(!place.path().join("x.gguf").exists());
}
