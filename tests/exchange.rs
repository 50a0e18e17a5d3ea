//! `import`, `export`, and the Markdown of `compare` and `gate`, as a user sees them.

mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use support::{Place, follow, json_lines, record, stderr, stdout};

fn fixture(name: &str) -> String {
    format!("{}/tests/exchange/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// The runs that a command made, by the paths that it printed.
#[track_caller]
fn imported(place: &Place, args: &[&str]) -> Vec<PathBuf> {
    let out = place.run(&[&["import"], args].concat());
    assert_eq!(out.status.code(), Some(0), "{}", stderr(&out));
    let paths = stdout(&out);
    paths.lines().map(|path| place.path().join(path)).collect()
}

fn text(path: &Path) -> &str {
    path.to_str().expect("text")
}

#[track_caller]
fn said(place: &Place, args: &[&str]) -> String {
    let out = place.run(args);
    assert_eq!(out.status.code(), Some(0), "{args:?}: {}", stderr(&out));
    stdout(&out)
}

/// A cost of the synthetic engine, in thousandths, measured in three processes.
fn measured(place: &Place, permille: u32) -> PathBuf {
    let ns = 1000 * permille;
    let engine = format!(
        r#"synthetic:{{"call_ns":{ns},"token_ns":0,"past_ns":0,"sample_ns":0,"process_cv":0.002,"seed":{permille}}}"#
    );
    let name = format!("of{permille}");
    said(
        place,
        &[
            "--engine",
            &engine,
            "--model",
            "synth:tiny:q4_0",
            "--batch",
            "1,8",
            "-p",
            "8",
            "-n",
            "16",
            "-r",
            "3",
            "-o",
            "json",
            "--name",
            &name,
        ],
    );
    let runs = std::fs::read_dir(place.out()).expect("runs");
    let mut runs = runs.map(|e| e.expect("readable").path());
    runs.find(|run| run.to_string_lossy().ends_with(&name))
        .expect("the run")
}

#[test]
fn llama_benchs_output_is_a_run_like_any_other() {
    let place = Place::new();
    let runs = imported(
        &place,
        &[&fixture("llama-bench.json"), &fixture("llama-bench.sql")],
    );
    assert_eq!(runs.len(), 2);
    let (header, lines) = record(&runs[0]);
    let of = header.imported.expect("imported");
    assert_eq!(
        (of.tool.as_str(), &of.files[..]),
        ("llama-bench", &["llama-bench.json".to_owned()][..])
    );
    assert_eq!(lines.len(), 4 * 5 + 4);
    follow("run.schema.json", json_lines(&runs[0]));
    let table = said(&place, &["report", text(&runs[0]), "-o", "table"]);
    assert!(table.contains("does not record single steps"), "{table}");
    assert!(
        table.contains("one process") && !table.contains("--resume"),
        "{table}"
    );
    let cells: Value =
        serde_json::from_str(&said(&place, &["report", text(&runs[0]), "-o", "json"]))
            .expect("JSON");
    for cell in cells.as_array().expect("cells") {
        assert_eq!(cell["outcome"], "measured");
        for key in [
            "median_step_ns",
            "ttft_ns",
            "step_ns_max",
            "peak_rss_bytes",
            "load_ns",
            "engine_ns",
        ] {
            assert!(cell.get(key).is_none_or(Value::is_null), "{key}: {cell}");
        }
        assert!(
            cell["total_tokens_per_s"]
                .as_f64()
                .is_some_and(|rate| rate > 0.0)
        );
    }
    said(&place, &["report", text(&runs[0])]);
    let html = std::fs::read_to_string(runs[0].join("report.html")).expect("the report");
    assert!(
        html.contains("llama-bench"),
        "the report says what measured"
    );
    let out = place.run(&["--resume", text(&runs[0])]);
    assert_eq!(out.status.code(), Some(2));
    assert!(
        stderr(&out).contains("imported from another program"),
        "{}",
        stderr(&out)
    );
}

#[test]
fn a_database_gives_compare_the_means_that_llama_bench_printed() {
    let place = Place::new();
    // The database that `llama-bench -o sql | sqlite3` makes.
    let database = place.path().join("nights.sqlite");
    let sql = std::fs::read_to_string(fixture("llama-bench.sql")).expect("there");
    let connection = rusqlite::Connection::open(&database).expect("a database");
    connection
        .execute_batch(&sql.replace("'unknown', '0'", "'abc1234', '100'"))
        .expect("SQL");
    // Another build of a third of the speed.
    let slower = "INSERT INTO llama_bench SELECT * FROM llama_bench; \
         UPDATE llama_bench SET build_commit = 'def5678', build_number = '101', avg_ts = avg_ts / 3 WHERE rowid > 4;";
    connection.execute_batch(slower).expect("SQL");
    let runs = imported(&place, &[text(&database)]);
    assert_eq!(runs.len(), 2, "a run for each build");
    let compared = said(
        &place,
        &["compare", text(&runs[0]), text(&runs[1]), "-o", "json"],
    );
    let compared: Value = serde_json::from_str(&compared).expect("JSON");
    assert_eq!(compared["metric"], "total_tokens_per_s");
    let rows = compared["rows"].as_array().expect("rows");
    assert_eq!(rows.len(), 4);
    let mut means = connection
        .prepare("SELECT avg_ts FROM llama_bench ORDER BY rowid")
        .expect("SQL");
    let means = means
        .query_map([], |row| row.get::<_, f64>(0))
        .expect("rows");
    let means: Vec<f64> = means.map(|mean| mean.expect("a number")).collect();
    for (row, (a, b)) in rows.iter().zip(means[..4].iter().zip(&means[4..])) {
        for (key, mean) in [("mean_a", a), ("mean_b", b)] {
            let ours = row[key].as_f64().expect("a mean");
            assert!((ours / mean - 1.0).abs() < 1e-3, "{key}: {ours} {mean}");
        }
        assert_eq!(
            row["verdict"]["word"], "cannot_tell",
            "one process a side tells nothing"
        );
    }
    let md = said(
        &place,
        &["compare", text(&runs[0]), text(&runs[1]), "-o", "md"],
    );
    for needle in [
        "| smollm2-135m-q4_0 | pp32",
        "| tg8 @ d64 ",
        "| -66.7% ",
        "b100 (abc1234)",
        "b101 (def5678)",
    ] {
        assert!(md.contains(needle), "{needle}: {md}");
    }
}

#[test]
fn imported_nights_are_judged_by_the_gate() {
    let place = Place::new();
    let night = |day: u32, permille: u32| {
        let line = format!(
            r#"{{"build_commit":"abc{day:04}","build_number":{},"cpu_info":"C","backends":"CPU","model_filename":"m.gguf",
                "n_prompt":0,"n_gen":64,"n_threads":4,"test_time":"2026-01-{day:02}T02:00:00Z","avg_ns":1,
                "avg_ts":{}}}"#,
            100 + day,
            100_000.0 / f64::from(permille)
        );
        line.replace('\n', " ")
    };
    // Twelve nights that differ by less than a percent, and one that is a third slower.
    let times = [
        1000, 1003, 998, 1004, 997, 1001, 999, 1002, 1003, 997, 1000, 1002,
    ];
    let history: Vec<String> = (1..)
        .zip(times)
        .map(|(day, permille)| night(day, permille))
        .collect();
    let file = place.path().join("old.jsonl");
    std::fs::write(&file, history.join("\n")).expect("writable");
    let nights = imported(&place, &[text(&file), "--each-day", "--out", "history"]);
    assert_eq!(nights.len(), 12);
    assert!(
        nights[0].ends_with("20260101-020000-llama-bench-b101-abc0001"),
        "{:?}",
        nights[0]
    );
    let again = imported(&place, &[text(&file), "--each-day", "--out", "history"]);
    assert_eq!(again, nights, "nights that are there are not made again");
    let n_nights = std::fs::read_dir(place.path().join("history")).expect("nights");
    assert_eq!(n_nights.count(), 12);
    for (day, permille, code, word) in [(20, 1001, 0, "pass"), (21, 1300, 3, "inconclusive")] {
        let tonight = place.path().join(format!("tonight-{permille}.jsonl"));
        std::fs::write(&tonight, night(day, permille)).expect("writable");
        let tonight = imported(&place, &[text(&tonight)]);
        let summary = place.path().join("summary.md");
        let out = place.run(&[
            "gate",
            text(&tonight[0]),
            "--history",
            "history",
            "--baseline",
            "last:14",
            "--summary",
            text(&summary),
        ]);
        assert_eq!(
            out.status.code(),
            Some(code),
            "{}{}",
            stdout(&out),
            stderr(&out)
        );
        let md = std::fs::read_to_string(&summary).expect("the summary");
        assert!(md.contains(&format!(": {word}\n")), "{md}");
        assert!(
            md.contains("| m ") && md.contains("| tg64 ") && md.contains("t/s before"),
            "{md}"
        );
    }
    let md = std::fs::read_to_string(place.path().join("summary.md")).expect("the summary");
    assert_eq!(md.matches("<details>").count(), 2, "the second is appended");
    let night = text(&nights[11]);
    let gate = ["gate", night, "--baseline", text(&nights[0])];
    for (more, needle) in [
        (&["--rerun"][..], "--confirm"),
        (&["--summary", "history"], "cannot be appended to"),
    ] {
        let out = place.run(&[&gate[..], more].concat());
        assert_eq!(out.status.code(), Some(2));
        assert!(
            stdout(&out).is_empty() && stderr(&out).contains(needle),
            "{}",
            stderr(&out)
        );
    }
    assert!(md.contains("suspected"), "{md}");
}

#[test]
fn a_summary_has_prompt_and_generation_before_and_after() {
    let place = Place::new();
    let (a, b) = (measured(&place, 1000), measured(&place, 1100));
    let md = said(&place, &["compare", text(&a), text(&b), "-o", "md"]);
    let table: Vec<Vec<&str>> = md
        .lines()
        .take_while(|line| !line.starts_with("<details>"))
        .filter(|line| line.starts_with("| synth"))
        .map(|line| line.split('|').map(str::trim).collect())
        .collect();
    let tests: Vec<&str> = table.iter().map(|cells| cells[2]).collect();
    assert_eq!(tests, ["pp8", "tg16", "pp8 @ b8", "tg16 @ b8"]);
    for cells in &table {
        assert!(
            cells[5].starts_with("-9.") && cells[7] == "slower",
            "{cells:?}"
        );
    }
    let n_rows = |needle: &str| md.lines().filter(|line| line.starts_with(needle)).count();
    assert_eq!(
        (n_rows("- **before**: "), n_rows("- **after**: ")),
        (1, 1),
        "{md}"
    );
    assert!(
        md.contains("ggufbench 0.") && md.ends_with("</details>\n"),
        "{md}"
    );
    let by_step = said(
        &place,
        &[
            "compare",
            text(&a),
            text(&b),
            "-o",
            "md",
            "--metric",
            "step",
        ],
    );
    assert!(by_step.contains("| step before |"), "{by_step}");
}

#[test]
fn a_run_is_written_in_the_forms_of_other_programs() {
    let place = Place::new();
    let run = measured(&place, 1000);
    let out = place.run(&[
        "export",
        text(&run),
        "-o",
        "json",
        "--build-commit",
        "abc1234",
    ]);
    assert!(
        stderr(&out).contains("2 tests of several sequences left out"),
        "{}",
        stderr(&out)
    );
    let tests: Value = serde_json::from_str(&stdout(&out)).expect("JSON");
    let columns = |key: &str| -> Vec<Value> {
        tests
            .as_array()
            .expect("tests")
            .iter()
            .map(|t| t[key].clone())
            .collect()
    };
    assert_eq!(columns("n_prompt"), [8, 0]);
    assert_eq!(columns("n_gen"), [0, 16]);
    assert_eq!(columns("n_depth"), [0, 8]);
    assert_eq!(columns("build_commit"), ["abc1234"; 2]);
    assert!(
        columns("samples_ns")
            .iter()
            .all(|samples| samples.as_array().is_some_and(|s| s.len() == 9))
    );
    let benchstat = said(&place, &["export", text(&run), "-o", "benchstat"]);
    let lines: Vec<&str> = benchstat
        .lines()
        .filter(|line| line.starts_with("Benchmark"))
        .collect();
    assert_eq!(
        lines.len(),
        2 * 2 * 3,
        "cells, parts, processes: {benchstat}"
    );
    assert!(
        lines
            .iter()
            .all(|line| line.split(' ').count() == 6 && line.ends_with(" tokens/s")),
        "{benchstat}"
    );
    let bencher: Value =
        serde_json::from_str(&said(&place, &["export", text(&run), "-o", "bencher"]))
            .expect("JSON");
    let of_eight = bencher
        .as_object()
        .expect("tests")
        .iter()
        .find(|(name, _)| name.contains("/tg16 @ b8/"));
    let (_, measures) = of_eight.expect("the test");
    for measure in ["throughput", "latency"] {
        let of = |key: &str| measures[measure][key].as_f64().expect(key);
        assert!(
            of("lower_value") <= of("value") && of("value") <= of("upper_value"),
            "{measures}"
        );
    }
    let hgrm = said(
        &place,
        &["export", text(&run), "-o", "hgrm", "--cell", "*/b8/*"],
    );
    let n_steps = 16 * 3 * 3;
    assert!(
        hgrm.contains(&format!("Total count    = {n_steps:>12}]")),
        "{hgrm}"
    );
    let shares = hgrm
        .lines()
        .filter_map(|line| line.split_whitespace().nth(1)?.parse::<f64>().ok());
    let shares: Vec<f64> = shares.collect();
    assert!(
        shares.len() > 3 && shares.is_sorted() && shares.last() == Some(&1.0),
        "{hgrm}"
    );
    let out = place.run(&["export", text(&run), "-o", "hgrm"]);
    assert_eq!(out.status.code(), Some(2));
    assert!(stderr(&out).contains("2 cells match"), "{}", stderr(&out));
    let file = place.path().join("made.sql");
    said(
        &place,
        &["export", text(&run), "-o", "sql", "--to", text(&file)],
    );
    let again = imported(&place, &[text(&file)]);
    assert_eq!(record(&again[0]).0.plan.cases.len(), 2);
    let out = place.run(&["export", text(&run), "-o", "sql", "--to", text(&file)]);
    assert!(
        stderr(&out).contains("--force replaces it"),
        "{}",
        stderr(&out)
    );
}

/// llama.cpp's own script reads our export.
#[test]
#[ignore = "COMPARE_LLAMA_BENCH names llama.cpp's script, and PYTHON a python3 that has GitPython and tabulate"]
fn compare_llama_bench_prints_its_table_of_our_export() {
    let script =
        std::env::var_os("COMPARE_LLAMA_BENCH").expect("COMPARE_LLAMA_BENCH names the script");
    let place = Place::new();
    let database = place.path().join("both.sqlite");
    let connection = rusqlite::Connection::open(&database).expect("a database");
    for (permille, commit) in [(1000, "abc1234"), (1250, "def5678")] {
        let run = measured(&place, permille);
        let sql = said(
            &place,
            &["export", text(&run), "-o", "sql", "--build-commit", commit],
        );
        connection.execute_batch(&sql).expect("SQL");
    }
    let python = std::env::var_os("PYTHON").unwrap_or_else(|| "python3".into());
    let out = Command::new(python)
        .arg(script)
        .args(["-i", text(&database), "-b", "abc1234", "-c", "def5678"])
        .current_dir(place.path())
        .stderr(Stdio::inherit())
        .output()
        .expect("python3");
    let table = stdout(&out);
    assert!(
        out.status.success() && table.contains("| tg16@d8 |") && table.contains("0.80 |"),
        "{table}"
    );
}
