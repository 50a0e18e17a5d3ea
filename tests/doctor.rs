//! `doctor` as a user and a program see it, on whatever machine this is.

mod support;

use std::collections::BTreeSet;

use serde_json::Value;
use support::{Place, follow, stderr, stdout};

/// The shortest look, with an engine that says nothing of itself.
const SHORTLY: [&str; 5] = ["doctor", "--for", "2s", "--engine", "synthetic"];

#[test]
fn the_json_follows_its_schema_and_what_cannot_be_read_is_unknown() {
    let place = Place::new();
    let out = place.run(&[&SHORTLY[..], &["-o", "json", "-t", "2"]].concat());
    assert_eq!(out.status.code(), Some(0), "{}", stderr(&out));
    let found: Value = serde_json::from_str(&stdout(&out)).expect("JSON");
    follow("doctor.schema.json", [found.clone()]);

    assert_eq!(found["n_threads"], 2);
    let checks = found["checks"].as_array().expect("checks");
    let named = |name: &str| {
        let found = checks.iter().find(|check| check["name"] == name);
        found.unwrap_or_else(|| panic!("no check {name}"))
    };
    assert_eq!(named("engine")["verdict"], "unknown");
    for check in checks {
        let needs_advice = check["verdict"] == "bad" || check["verdict"] == "mind";
        assert!(!needs_advice || check["advice"].is_string(), "{check}");
    }
    assert!(found["figures"]["n_trials"].as_u64() >= Some(6));
    assert!(found["figures"]["compute_sd"].is_number());
    assert!(!place.out().exists(), "nothing is recorded");
}

#[test]
fn the_table_ends_with_the_verdict_and_names_nobody_in_a_pipe() {
    let place = Place::new();
    let out = place.run(&SHORTLY);
    assert_eq!(out.status.code(), Some(0), "{}", stderr(&out));
    let text = stdout(&out);
    assert!(text.lines().all(|l| l.chars().count() <= 80), "{text}");
    assert!(!text.contains("busiest"), "{text}");
    let said = stderr(&out);
    assert!(
        said.lines().all(|line| line.contains("busiest meanwhile")),
        "{said}"
    );
    let names: BTreeSet<&str> = text
        .lines()
        .filter_map(|line| line.split("  ").next())
        .collect();
    for name in [
        "other programs",
        "read bandwidth",
        "CPU set",
        "NUMA",
        "governor",
    ] {
        assert!(names.contains(name), "{name}: {text}");
    }
    let verdict = text.rfind("\nverdict: ").expect("a verdict");
    let last = &text[verdict..];
    assert!(
        !last.trim().contains("\n\n"),
        "nothing comes after it: {text}"
    );
    assert!(last.contains("fit"), "{text}");
}

#[test]
fn bad_input_is_refused_before_anything_is_measured() {
    let place = Place::new();
    for (args, needle) in [
        (["doctor", "--for", "1s"], "from 2s to 10m"),
        (["doctor", "--for", "soon"], "no length of time"),
        (["doctor", "--threads", "0"], "0 is not in"),
        (["doctor", "--engine", "vllm"], "vllm"),
    ] {
        let out = place.run(&args);
        assert_eq!(out.status.code(), Some(2), "{args:?}: {}", stderr(&out));
        assert!(stderr(&out).contains(needle), "{args:?}: {}", stderr(&out));
        assert!(out.stdout.is_empty(), "{args:?}");
    }
}
