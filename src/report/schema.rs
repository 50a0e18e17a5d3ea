//! The schemas' files follow the tables: `GGUFBENCH_WRITE_SCHEMAS=1 cargo test --release schema` writes them anew.

use std::path::PathBuf;

use serde_json::{Map, Value, json};

use crate::metric::Metric;
use crate::plan::Axis;
use crate::plan::axis::AXES;

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

fn metrics() -> impl Iterator<Item = (String, Value, bool)> {
    Metric::ALL
        .iter()
        .filter_map(|m| Some((m.key()?, m.schema())))
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
                set_keys(cell, metrics());
            }) as fn(&mut Value),
        ),
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
