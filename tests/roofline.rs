//! `predict` and `ceiling` as a user sees them, on a model small enough to be quick.

mod support;

use serde_json::Value;
use support::{Place, follow, stderr, stdout, tiny_model};

#[test]
fn a_cell_is_expected_checked_and_its_ceilings_are_kept() {
    let place = Place::new();
    let model = tiny_model().to_str().expect("text");
    let args = [
        "predict", model, "--batch", "1,2", "-t", "1", "-p", "16", "-n", "4", "-o", "json",
    ];
    let first = place.run(&args);
    assert_eq!(first.status.code(), Some(0), "{}", stderr(&first));
    assert!(stderr(&first).contains("measuring"), "{}", stderr(&first));
    let said: Value = serde_json::from_str(&stdout(&first)).expect("JSON");
    follow("prediction.schema.json", [said.clone()]);
    let ids: Vec<&Value> = said["forecasts"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|f| &f["case_id"])
        .collect();
    assert_eq!(ids.len(), 2);
    assert!(
        ids[1].as_str().is_some_and(|id| id.contains("/b2/")),
        "{ids:?}"
    );

    // What is kept is not measured again, and says the same.
    let again = place.run(&args);
    assert!(!stderr(&again).contains("measuring"), "{}", stderr(&again));
    let same: Value = serde_json::from_str(&stdout(&again)).expect("JSON");
    assert_eq!(said["forecasts"], same["forecasts"]);
    let folder = place
        .path()
        .join("cache")
        .join("ggufbench")
        .join("ceilings");
    let kept: Vec<_> = std::fs::read_dir(&folder)
        .expect("was made")
        .flatten()
        .collect();
    assert_eq!(kept.len(), 1);
    let text = std::fs::read_to_string(kept[0].path()).expect("readable");
    follow(
        "ceilings.schema.json",
        [serde_json::from_str(&text).expect("JSON")],
    );

    // A run of the same cells is held against them.
    let run = [
        "-m", model, "--batch", "1,2", "-t", "1", "-p", "16", "-n", "4", "-r", "1",
    ];
    let run = place.run(&[&run[..], &["--replicates", "1", "--no-report"]].concat());
    assert_eq!(run.status.code(), Some(0), "{}", stderr(&run));
    let the_run = place.the_run();
    let check = place.run(&["predict", "--check", the_run.to_str().expect("text")]);
    assert_eq!(check.status.code(), Some(0), "{}", stderr(&check));
    assert!(
        stdout(&check).contains("errors of 2 cells"),
        "{}",
        stdout(&check)
    );
}

#[test]
fn what_fits_a_device_is_said_without_measuring_or_writing_anything() {
    let place = Place::new();
    let args = [
        "predict",
        "llama3.1-8b:q4_k_m",
        "--vram",
        "8188MiB",
        "--batch",
        "1,8,32",
        "-t",
        "1",
    ];
    let out = place.run(&args);
    assert_eq!(out.status.code(), Some(0), "{}", stderr(&out));
    assert!(!stderr(&out).contains("measuring"), "{}", stderr(&out));
    let text = stdout(&out);
    for needle in [
        "8.00 GiB",
        "33/33",
        "type_k",
        "most layers",
        "--type-k and --type-v q8_0",
    ] {
        assert!(text.contains(needle), "no {needle}: {text}");
    }
    let json = place.run(&[&args[..], &["-o", "json"]].concat());
    let said: Value = serde_json::from_str(&stdout(&json)).expect("JSON");
    follow("vram.schema.json", [said.clone()]);
    let cells = said["cells"].as_array().expect("a list");
    assert_eq!(cells.len(), 6, "three batches in two cache types");
    let usable = said["usable_bytes"].as_u64().expect("a number");
    for cell in cells {
        let parts = ["weights_bytes", "kv_bytes", "state_bytes", "compute_bytes"];
        let bytes = parts.map(|part| cell["device"][part].as_u64().expect("a number"));
        assert!(bytes.iter().sum::<u64>() <= usable, "{cell}");
        assert!(cell["step"].is_null(), "no such device is here: {cell}");
    }
    assert_eq!(said["largest"].as_array().map(Vec::len), Some(2));
    let typed = place.run(
        &[
            &args[..],
            &["--type-k", "q4_0", "--type-v", "q4_0", "-o", "json"],
        ]
        .concat(),
    );
    let said: Value = serde_json::from_str(&stdout(&typed)).expect("JSON");
    assert_eq!(said["cells"].as_array().map(Vec::len), Some(3), "as typed");
    assert!(!place.out().exists(), "nothing is recorded");
}

#[test]
fn what_cannot_be_expected_is_said_in_a_line() {
    let place = Place::new();
    let says = |args: &[&str], what: &str| {
        let out = place.run(args);
        assert_eq!(out.status.code(), Some(2), "{args:?}: {}", stderr(&out));
        assert!(stderr(&out).contains(what), "{args:?}: {}", stderr(&out));
    };
    says(&["predict", "llama9-80b"], "llama9-80b");
    says(&["predict", "llama3-8b:q9_9"], "q9_9");
    says(&["predict", "llama3-8b", "--batch", "0"], "batch");
    says(&["predict", "llama3-8b", "--vram", "8188"], "has no unit");
    says(&["ceiling", "--type", "q9_9"], "no tensor type");
    says(&["ceiling", "--threads", "0"], "at least 1");
    says(&["predict", "--check", "nowhere"], "nowhere");
    let bare = place.run(&["predict"]);
    assert_eq!(bare.status.code(), Some(2));
}
