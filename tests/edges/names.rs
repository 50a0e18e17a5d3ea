//! Names that would steer a terminal.

use std::fs;
use std::path::PathBuf;

use super::quick;
use super::support::{Place, stderr, stdout, tiny_model};

/// A tiny model whose own name is hostile, under a file name that is.
fn hostile(place: &Place) -> PathBuf {
    let name = "x\u{1b}]0;PWNED\u{7}\u{9b}2J\u{202e}gpj.exe\u{200b}";
    let mut bytes = fs::read(tiny_model()).expect("readable");
    let own = b"general.name";
    let at = bytes
        .windows(own.len())
        .position(|w| w == own)
        .expect("has a name")
        + own.len()
        + 4;
    let n = u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight"));
    let hostile: Vec<u8> = name
        .bytes()
        .cycle()
        .take(usize::try_from(n).expect("short"))
        .collect();
    bytes[at + 8..at + 8 + hostile.len()].copy_from_slice(&hostile);
    let path = place.path().join(format!("{name}.gguf"));
    fs::write(&path, bytes).expect("writable");
    path
}

fn is_harmless(text: &str) -> bool {
    text.chars()
        .all(|c| c == '\n' || ggufbench::text::is_harmless(c))
}

#[test]
fn nothing_of_foreign_origin_steers_a_terminal() {
    let place = Place::new();
    let model = hostile(&place);
    let model = model.to_str().expect("text");
    fs::copy(model, place.path().join("gguf/a\u{1b}[2Jb.gguf")).expect("copied");
    let bad = place.path().join("bad\u{1b}[31m\u{202e}.gguf");
    fs::write(&bad, "no model").expect("writable");
    let bad = bad.to_str().expect("text");
    let huge = "x".repeat(100_000);
    for args in [
        &["model", "info", model][..],
        &["model", "info", model, "--json"],
        &["model", "list"],
        &["-m", model, "--dry-run"],
        &["-m", bad],
        &["-m", &huge],
        &[
            "model",
            "info",
            "nothing\u{1b}]52;c;eA==\u{7}\nerror: not this",
        ],
        &["report", "nothing\u{9b}2J"],
        &["--no-such\u{1b}[2Jflag"],
        &quick(model, &[]),
        &quick(model, &["-o", "md"]),
    ] {
        let out = place.run(args);
        for text in [stdout(&out), stderr(&out)] {
            assert!(is_harmless(&text), "{args:?}: {text:?}");
            let longest = text
                .lines()
                .map(|line| line.chars().count())
                .max()
                .unwrap_or(0);
            assert!(longest <= 4096, "{args:?}: {longest}");
        }
        let n_errors = stderr(&out)
            .lines()
            .filter(|l| l.starts_with("error: "))
            .count();
        assert!(n_errors <= 1, "{args:?}: {}", stderr(&out));
    }
    for run in fs::read_dir(place.out()).expect("there").flatten() {
        for name in ["report.html", "report.md", "cells.csv"] {
            let text = fs::read_to_string(run.path().join(name)).expect("text");
            assert!(is_harmless(&text.replace(['\t', '\r'], "")), "{name}");
        }
    }
}
