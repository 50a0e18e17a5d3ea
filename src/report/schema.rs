//! The schemas' files follow the tables: `GGUFBENCH_WRITE_SCHEMAS=1 cargo test --release schema` writes them anew.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde_json::{Map, Value, json};

use crate::metric::Metric;
use crate::plan::axis::AXES;
use crate::plan::{Axis, Protocol};
use crate::record::Outcome;
use crate::record::requests::{NeverServed, RequestsPlan, TargetSetting};

/// Sets what a table says of an object's keys: the form of each, and whether every object has it.
fn set_keys<K: Into<String>>(object: &mut Value, keys: impl Iterator<Item = (K, Value, bool)>) {
    for (key, form, is_required) in keys {
        let key: String = key.into();
        object["properties"][&key] = form;
        let required = object["required"].as_array_mut().expect("a list");
        required.retain(|name| *name != key);
        if is_required {
            required.push(key.into());
        }
    }
}

fn axes(is_required: fn(&Axis) -> bool) -> impl Iterator<Item = (&'static str, Value, bool)> {
    let key = move |axis: &Axis| (axis.words.field, axis.schema(), is_required(axis));
    AXES.iter().map(key)
}

fn metrics(
    keys: impl Iterator<Item = (Metric, &'static str)>,
) -> impl Iterator<Item = (String, Value, bool)> {
    keys.map(|(metric, key)| (key, metric.schema()))
        .flat_map(|(key, (kind, what))| {
            let value = json!({"type": [kind, "null"], "minimum": 0, "description": what});
            let ends = json!({
                "type": ["array", "null"],
                "items": {"type": kind, "minimum": 0},
                "minItems": 2,
                "maxItems": 2,
                "description": "Its 95% interval",
            });
            [
                (key.to_owned(), value, true),
                (format!("{key}_ci"), ends, true),
            ]
        })
}

#[test]
fn schemas_have_what_the_tables_have() {
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/schema"));
    for (name, follow) in [
        (
            "cells.schema.json",
            (|schema| {
                let cell = &mut schema["$defs"]["cell"];
                set_keys(cell, axes(|_| true));
                set_keys(cell, metrics(Metric::keys_of_batches()));
            }) as fn(&mut Value),
        ),
        ("jobs.schema.json", |schema| {
            let job = &mut schema["$defs"]["job"];
            set_keys(job, metrics(Metric::keys_of_requests()));
        }),
        ("quality.schema.json", |schema| {
            set_keys(&mut schema["$defs"]["quality_cell"], axes(|_| true));
        }),
        ("run.schema.json", |schema| {
            set_keys(
                &mut schema["$defs"]["case"],
                axes(|axis| axis.words.is_in_every_record),
            );
        }),
    ] {
        let path = folder.join(name);
        let text = std::fs::read_to_string(&path).expect("is there");
        let kept: Map<String, Value> = serde_json::from_str(&text).expect("is JSON");
        let mut followed = Value::Object(kept.clone());
        follow(&mut followed);
        if std::env::var_os("GGUFBENCH_WRITE_SCHEMAS").is_some() {
            let text = serde_json::to_string_pretty(&followed).expect("plain data");
            std::fs::write(&path, text + "\n").expect("can be written");
        } else {
            let says = "GGUFBENCH_WRITE_SCHEMAS=1 cargo test --release schema writes it anew";
            assert_eq!(Value::Object(kept), followed, "{name}: {says}");
        }
    }
}

/// Every key that a header may have, set: a new field does not compile here before it is thought of.
#[test]
fn the_schema_of_a_record_has_every_setting_of_the_plan() {
    let protocol = Protocol {
        seed: 1,
        replicates: 2,
        max_replicates: Some(3),
        pair_tolerance: Some(0.02),
        chooses_repetitions: true,
        turns_of_steps: true,
        check_output: true,
        min_repetitions: 1,
        max_repetitions: 2,
        precision: 0.02,
        budget_ns: Some(1),
        timeout_ns: Some(1),
    };
    let requests = RequestsPlan {
        targets: vec!["in-process".to_owned()],
        replicates: 2,
        max_replicates: Some(3),
        precision: Some(0.02),
        rounds: 1,
        budget_ns: Some(1),
        most_pairs: Some(40),
        jobs: Vec::new(),
        settings: vec![TargetSetting {
            target: "a".to_owned(),
            named: "a".to_owned(),
            jobs: Vec::new(),
        }],
        never_served: vec![NeverServed {
            job: "a".to_owned(),
            target: "a".to_owned(),
            outcome: Outcome::Interrupted,
        }],
        warnings: Vec::new(),
    };
    let schema = include_str!("../../schema/run.schema.json");
    let schema: Value = serde_json::from_str(schema).expect("is JSON");
    let keys = |object: &Value| -> BTreeSet<String> {
        let object = object.as_object().expect("an object");
        object.keys().cloned().collect()
    };
    let listed = |name: &str| keys(&schema["$defs"][name]["properties"]);
    assert_eq!(keys(&json!(protocol)), listed("protocol"));
    let mut requests = keys(&json!(requests));
    requests.insert("warnings".to_owned());
    assert_eq!(requests, listed("requests"));
}
