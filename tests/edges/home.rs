//! `~` where no shell has seen it.

use std::fs;

use super::support::{stderr, tiny_model};
use super::{measured, quick};

#[test]
fn a_tilde_that_no_shell_expanded_is_the_home_folder() {
    let (place, run) = measured();
    let home = place.path().join("home");
    fs::create_dir(&home).expect("makeable");
    fs::copy(tiny_model(), home.join("tiny.gguf")).expect("copied");
    fs::write(
        home.join("prompts.jsonl"),
        "{\"id\":\"a\",\"class\":\"b\",\"text\":\"c\",\"source\":\"d\"}\n",
    )
    .expect("writable");
    fs::write(
        place.path().join("sweep.toml"),
        "model = [\"~/tiny.gguf\"]\nn_prompt = 8\nn_gen = 4\n",
    )
    .expect("writable");
    let at_home = |args: &[&str]| {
        let mut command = place.command();
        command
            .env("HOME", &home)
            .env("GGUFBENCH_MODELS", "~/models")
            .args(args);
        let out = command.output().expect("starts");
        assert!(out.status.success(), "{args:?}: {}", stderr(&out));
    };
    let run = run.to_str().expect("text");
    at_home(&quick("~/tiny.gguf", &["--out=~/runs", "--no-report"]));
    at_home(&["sweep", "sweep.toml", "--dry-run"]);
    at_home(&["model", "info", "~/*.gguf"]);
    at_home(&["prompts", "list", "--prompts=~/prompts.jsonl"]);
    at_home(&["prompts", "import", "~/prompts.jsonl", "--out=~/copy.jsonl"]);
    at_home(&["report", run, "--csv=~/cells.csv"]);
    at_home(&["report", run, "--to=~/report"]);
    at_home(&["gate", run, "--promote", "--history=~/history"]);
    at_home(&["model", "synth", "tiny", "q4_0"]);
    at_home(&["model", "synth", "tiny", "q4_0", "--output=~/own.gguf"]);
    at_home(&["model", "quantize", "~/tiny.gguf", "q8_0", "~/smaller.gguf"]);
    for made in [
        "runs",
        "copy.jsonl",
        "cells.csv",
        "report/report.html",
        "history/pinned",
        "models",
        "own.gguf",
        "smaller.gguf",
    ] {
        assert!(home.join(made).exists(), "{made}");
    }
    let others = place.run(&["-m", "synth:tiny:q8_0", "--out=~nobody-of-this-name/o"]);
    assert_eq!(others.status.code(), Some(2));
    let entries = fs::read_dir(place.path()).expect("there").flatten();
    let tildes = entries.filter(|e| e.file_name().to_string_lossy().starts_with('~'));
    assert_eq!(tildes.count(), 0);
}
