//! Energy and GPU memory as a user sees them: records of a real GPU, a processor's counters, and machines without either.

mod support;

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use support::{Place, follow, stderr, stdout};

/// A run on an H200, of a program that measured the GPU's energy.
fn h200() -> String {
    let folder = "docs/results/h200/energy";
    format!("{}/{folder}", env!("CARGO_MANIFEST_DIR"))
}

fn cells(place: &Place, args: &[&str]) -> Vec<Value> {
    let mut all = vec!["report"];
    all.extend(args);
    all.extend(["-o", "json"]);
    let out = place.run(&all);
    assert_eq!(out.status.code(), Some(0), "{}", stderr(&out));
    let cells: Value = serde_json::from_str(&stdout(&out)).expect("JSON");
    follow("cells.schema.json", [cells.clone()]);
    cells.as_array().expect("an array").clone()
}

/// The report as Markdown and as HTML.
fn documents(place: &Place, args: &[&str]) -> [String; 2] {
    let out = place.run(&[&["report", "--to", "documents"], args].concat());
    assert_eq!(out.status.code(), Some(0), "{}", stderr(&out));
    ["report.md", "report.html"].map(|name| {
        let path = place.path().join("documents").join(name);
        std::fs::read_to_string(path).expect("written")
    })
}

/// A run of the cost model on the CPU, of three processes; its folder.
fn synthetic(place: &Place, out: &str) -> PathBuf {
    let made = place.run(&[
        "--engine",
        r#"synthetic:{"call_ns":4000000,"token_ns":800000,"step_cv":0.01}"#,
        "--model",
        "synth:tiny:q4_0",
        "--batch",
        "1,4",
        "-n",
        "20",
        "-r",
        "2",
        "--no-report",
        "--out",
        out,
    ]);
    assert_eq!(made.status.code(), Some(0), "{}", stderr(&made));
    let folder = std::fs::read_dir(place.path().join(out))
        .expect("made")
        .next();
    folder.expect("a run").expect("readable").path()
}

/// Writes a record anew, each line changed.
fn rewrite(run: &Path, change: impl Fn(&mut Value)) {
    let path = run.join("run.jsonl");
    let text = std::fs::read_to_string(&path).expect("a record");
    let lines = text.lines().map(|line| {
        let mut line: Value = serde_json::from_str(line).expect("JSON");
        change(&mut line);
        format!("{line}\n")
    });
    std::fs::write(&path, lines.collect::<String>()).expect("writable");
}

/// Gives every repetition what a processor's counters would say at this power, in milliwatts.
fn count(run: &Path, power_mw: u64) {
    rewrite(run, |line| match line["kind"].as_str() {
        Some("run") => {
            line["machine"]["cpu_energy"] = json!({"idle_power_mw": 20_000});
            line["machine"]["idle_over_ns"] = json!(500_000_000);
        }
        Some("repetition") => {
            let calls = line["calls"].as_array().expect("calls").iter();
            let ns: u64 = calls
                .filter(|call| call["phase"] == "decode")
                .flat_map(|call| {
                    ["build_ns", "submit_ns", "wait_ns", "sample_ns"].map(|part| &call[part])
                })
                .filter_map(Value::as_u64)
                .sum();
            let decode_mj = (ns as f64 * power_mw as f64 / 1e9).round() as u64;
            line["usage"]["cpu_energy"] = json!({"prefill_mj": 1, "decode_mj": decode_mj});
        }
        _ => {}
    });
}

#[test]
fn a_real_gpus_tokens_have_joules_and_a_cost() {
    let place = Place::new();
    let cells = cells(&place, &[&h200(), "--price", "0.30EUR/kWh"]);
    let first = cells
        .iter()
        .find(|c| c["model"] == "llama3-8b-f16" && c["n_seq"] == 1);
    let first = first.expect("measured");
    let joules = first["joules_per_token"].as_f64().expect("measured");
    assert!((joules - 3.34).abs() < 0.01, "{joules}");
    let energy = &first["usage"]["gpu_energy"];
    let above = energy["decode_j_per_token_above_idle"]
        .as_f64()
        .expect("known");
    // 80 W of 689 W are idle.
    assert!((above / joules - 0.884).abs() < 0.01, "{above} of {joules}");
    assert_eq!(
        energy["idle_over_ns"],
        Value::Null,
        "one reading of the sensor"
    );
    let cost = first["cost_per_million_tokens"].as_f64().expect("priced");
    assert!((cost / (joules / 3.6 * 0.3) - 1.0).abs() < 1e-9, "{cost}");
    assert_eq!(
        (&first["price_per_kwh"], &first["price_currency"]),
        (&json!(0.3), &json!("EUR"))
    );
    let memory = &first["usage"]["gpu_memory"];
    assert_eq!(memory["used_peak_bytes"], 16_000_024_576_u64);
    assert_eq!(
        memory["used_loaded_bytes"],
        Value::Null,
        "that program did not look"
    );
    assert_eq!(first["usage"]["cpu_energy"], Value::Null);
    assert!(first["usage"]["cpu_energy_unknown"].is_string());
    let plain = self::cells(&place, &[&h200()]);
    assert!(plain.iter().all(|c| c["cost_per_million_tokens"].is_null()));
}

#[test]
fn the_report_of_a_gpu_shows_energy_cost_memory_and_each_reason_once() {
    let place = Place::new();
    let [text, _] = documents(&place, &[&h200(), "--price", "$0.30/kWh"]);
    for needle in [
        "joules/token",
        "above idle",
        "$ a million tokens",
        "at 0.3 $/kWh",
        "one reading of the power sensor",
        "temperature, highest",
        "power limit",
        "Energy of the CPU: not measured: ",
    ] {
        assert!(text.contains(needle), "{needle}: {text}");
    }
    assert_eq!(text.matches("Energy of the CPU").count(), 1);
}

#[test]
fn sides_are_compared_by_energy_and_cost() {
    let place = Place::new();
    let args = [
        "--axis",
        "model=llama3-8b-f16,llama3-8b-q8_0",
        "--metric",
        "joules_per_token",
    ];
    let compare = |more: &[&str]| {
        let run = h200();
        let all = [&["compare", &run][..], &args, more].concat();
        let out = place.run(&all);
        assert_eq!(out.status.code(), Some(0), "{}", stderr(&out));
        stdout(&out)
    };
    let json: Value =
        serde_json::from_str(&compare(&["-o", "json", "--price", "1/kWh"])).expect("JSON");
    assert_eq!(json["metric"], "joules_per_token");
    let row = &json["rows"][0];
    let (a, cost) = (
        row["a"].as_f64().expect("known"),
        row["cost_a"].as_f64().expect("priced"),
    );
    assert!((cost / (a / 3.6) - 1.0).abs() < 1e-9, "{row}");
    assert!(row["cost_b"].is_number());
    let text = compare(&["--price", "1EUR/kWh"]);
    // A sentence may be cut at any blank.
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    for needle in [
        "cost A",
        "EUR for the energy",
        "how much more energy B takes",
    ] {
        assert!(text.contains(needle), "{needle}: {text}");
    }
    assert!(!compare(&[]).contains("cost"));
}

#[test]
fn a_processors_counters_give_the_same_figures() {
    let place = Place::new();
    let (a, b) = (synthetic(&place, "a"), synthetic(&place, "b"));
    count(&a, 50_000);
    count(&b, 60_000);
    let [a, b] = [&a, &b].map(|run| run.to_string_lossy().into_owned());
    let cells = cells(&place, &[&a, "--price", "0.30/kWh"]);
    let energy = &cells[0]["usage"]["cpu_energy"];
    let power = energy["decode_power_w"].as_f64().expect("measured");
    assert!((power - 50.0).abs() < 0.1, "{power}");
    assert_eq!(
        (&energy["idle_power_w"], &energy["idle_over_ns"]),
        (&json!(20.0), &json!(500_000_000))
    );
    assert_eq!(cells[0]["joules_per_token"], energy["decode_j_per_token"]);
    let whole = energy["decode_j_per_token"].as_f64().expect("measured");
    let above = energy["decode_j_per_token_above_idle"]
        .as_f64()
        .expect("measured");
    assert!((above / whole - 0.6).abs() < 0.01, "30 of 50 W");
    assert_eq!(cells[0]["price_currency"], Value::Null);
    assert!(cells[0]["cost_per_million_tokens"].is_number());
    let out = place.run(&["compare", &a, &b, "--metric", "joules_per_token"]);
    assert_eq!(out.status.code(), Some(0), "{}", stderr(&out));
    let text = stdout(&out);
    assert!(
        text.contains("more energy") && !text.contains("slower"),
        "{text}"
    );
}

#[test]
fn without_a_gpu_and_counters_nothing_is_zero_in_any_form() {
    let place = Place::new();
    let run = synthetic(&place, "out");
    // Whatever machine this is: one without counters.
    rewrite(&run, |line| {
        if line["kind"] == "run" {
            let because = "/sys/class/powercap/intel-rapl:0/energy_uj is readable by root only";
            line["machine"]["cpu_energy"] = json!({"no_energy_because": because});
            line["machine"]["gpus"] = json!({"none_because": "NVML not found: no NVIDIA driver"});
        }
    });
    let run = run.to_string_lossy().into_owned();
    for cell in cells(&place, &[&run, "--price", "0.30/kWh"]) {
        let usage = &cell["usage"];
        for key in [
            "gpu",
            "gpu_memory",
            "gpu_energy",
            "gpu_energy_unknown",
            "cpu_energy",
        ] {
            assert_eq!(usage[key], Value::Null, "{key}");
        }
        for key in ["joules_per_token", "cost_per_million_tokens"] {
            assert_eq!(cell[key], Value::Null, "{key}");
        }
        let why = cell["joules_per_token_unknown"].as_str().expect("a reason");
        assert!(why.ends_with("readable by root only"), "{why}");
    }
    let out = place.run(&["report", &run, "-o", "csv", "--price", "0.30/kWh"]);
    assert!(
        stderr(&out).contains("--price: no cell has a cost"),
        "{}",
        stderr(&out)
    );
    let text = stdout(&out);
    let mut csv = csv::Reader::from_reader(text.as_bytes());
    let heads = csv.headers().expect("a header").clone();
    for row in csv.records() {
        let row = row.expect("a row");
        let of_energy = |head: &str| {
            let is_figure =
                head.contains("gpu_") || head.contains("cpu_energy") || head.contains("joules");
            is_figure && head != "n_gpu_layers" && !head.ends_with("_unknown")
        };
        let values: Vec<(&str, &str)> = heads
            .iter()
            .zip(&row)
            .filter(|(head, _)| of_energy(head))
            .collect();
        assert!(values.len() > 25, "{values:?}");
        let main_gpu = |(head, value): &(&str, &str)| *head == "main_gpu" || value.is_empty();
        assert!(values.iter().all(main_gpu), "{values:?}");
    }
    for text in documents(&place, &[&run]) {
        assert!(text.contains("none that the engine uses"), "{text}");
        let said = text
            .matches("Energy of the CPU: not measured: /sys/class/powercap")
            .count();
        assert_eq!(said, 1, "{text}");
        assert!(!text.contains("Energy of the GPU"), "{text}");
    }
    for form in ["table", "md", "jsonl"] {
        let out = place.run(&["report", &run, "-o", form]);
        assert_eq!(out.status.code(), Some(0), "{form}: {}", stderr(&out));
        assert!(!stdout(&out).contains("NaN"), "{form}");
    }
    let out = place.run(&[
        "compare",
        &run,
        "--axis",
        "batch=1,4",
        "--metric",
        "joules_per_token",
    ]);
    assert_eq!(out.status.code(), Some(2));
    assert!(
        stderr(&out).contains("no energy was measured"),
        "{}",
        stderr(&out)
    );
}

#[test]
fn a_price_that_is_none_is_refused_in_a_line() {
    let place = Place::new();
    for verb in [&["report", "x"][..], &["compare", "x", "y"], &["run"]] {
        let out = place.run(&[verb, &["--price", "0,30/kWh"]].concat());
        assert_eq!(out.status.code(), Some(2), "{verb:?}");
        assert!(
            stderr(&out).contains("the decimal sign is a point"),
            "{}",
            stderr(&out)
        );
    }
}

#[test]
fn energy_that_cannot_be_measured_is_told_before_anything_is() {
    let machine: Value = {
        let place = Place::new();
        let run = synthetic(&place, "out");
        let text = std::fs::read_to_string(run.join("run.jsonl")).expect("a record");
        let first = text.lines().next().expect("a header");
        serde_json::from_str::<Value>(first).expect("JSON")["machine"].clone()
    };
    let Some(because) = machine["cpu_energy"]["no_energy_because"].as_str() else {
        // This machine has counters that can be read.
        assert!(machine["cpu_energy"].is_object());
        return;
    };
    let place = Place::new();
    let out = place.run(&[
        "ab",
        "--model",
        "synth:tiny:q4_0",
        "--metric",
        "joules_per_token",
        "--",
        "--threads",
        "1",
        "--",
        "--threads",
        "2",
    ]);
    assert_eq!(out.status.code(), Some(2), "{}", stderr(&out));
    assert!(stderr(&out).contains(because), "{}", stderr(&out));
    assert!(!place.out().exists(), "nothing was measured");
}
