//! Records that earlier releases wrote: they are read, and their figures are what those releases computed.

mod support;

use std::path::PathBuf;

use serde_json::Value;
use support::{Place, stderr, stdout};

fn record(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/records")).join(name)
}

fn expected(name: &str) -> Value {
    let text = std::fs::read_to_string(record(name)).expect("an expected output");
    serde_json::from_str(&text).expect("JSON")
}

/// Where `found` lacks a key of `expected` or has another value. Sentences may be said otherwise, and keys may be new.
fn differences(expected: &Value, found: &Value, path: &str) -> Vec<String> {
    match (expected, found) {
        (Value::Object(a), Value::Object(b)) => a
            .iter()
            .filter(|(_, value)| !is_sentences(value))
            .filter(|(key, _)| !["question", "answer"].contains(&key.as_str()))
            .flat_map(|(key, value)| {
                let path = format!("{path}/{key}");
                match b.get(key) {
                    // Sentences too, of which none is lost.
                    Some(Value::Array(other)) if key == "warnings" => {
                        let n = value.as_array().map_or(0, Vec::len);
                        let is_lost = other.len() < n;
                        Vec::from_iter(is_lost.then(|| format!("{path}: fewer than {n}")))
                    }
                    Some(other) => differences(value, other, &path),
                    None => vec![format!("{path}: missing")],
                }
            })
            .collect(),
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            let each = a.iter().zip(b).enumerate();
            each.flat_map(|(i, (a, b))| differences(a, b, &format!("{path}/{i}")))
                .collect()
        }
        (a, b) if a == b => Vec::new(),
        (a, b) => vec![format!("{path}: {a} became {b}")],
    }
}

/// The answers of a comparison are sentences alone.
fn is_sentences(value: &Value) -> bool {
    let is_sentence = |text: &Value| text.as_str().is_some_and(|text| text.contains(": "));
    value
        .as_array()
        .is_some_and(|texts| !texts.is_empty() && texts.iter().all(is_sentence))
}

fn check(args: &[&str], name: &str) {
    let out = Place::new().run(args);
    assert_eq!(out.status.code(), Some(0), "{}", stderr(&out));
    let found: Value = serde_json::from_str(&stdout(&out)).expect("JSON");
    let differences = differences(&expected(name), &found, "");
    assert!(differences.is_empty(), "{differences:#?}");
}

#[test]
fn cells_have_the_figures_that_they_had() {
    let run = record("cells");
    check(
        &["report", run.to_str().expect("text"), "-o", "json"],
        "cells/report.json",
    );
}

#[test]
fn requests_have_the_figures_that_they_had() {
    let run = record("requests");
    check(
        &["report", run.to_str().expect("text"), "-o", "json"],
        "requests/report.json",
    );
}

#[test]
fn a_pair_has_the_comparison_that_it_had() {
    let (a, b) = (record("pair/a"), record("pair/b"));
    let sides = [a.to_str().expect("text"), b.to_str().expect("text")];
    check(
        &["compare", sides[0], sides[1], "-o", "json"],
        "pair/compare.json",
    );
}
