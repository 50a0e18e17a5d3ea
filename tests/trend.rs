//! `trend` as a user sees it: a history that the program measured itself, night after night, with a step in it.

mod support;

use std::path::{Path, PathBuf};

use serde_json::Value;
use support::{Place, stderr, stdout};

/// A run of two cells with the cost-model engine.
fn run(place: &Place) -> PathBuf {
    let engine = r#"synthetic:{"call_ns":1000000,"token_ns":200000,"past_ns":0,"sample_ns":0,"process_cv":0.003,"seed":5}"#;
    let cells = ["run", "-m", "synth:tiny:q4_0", "--batch", "1,8"];
    let how = ["-p", "8", "-n", "8", "--replicates", "3", "-r", "2"];
    let out = place.run(&[&cells[..], &how, &["--no-report", "--engine", engine]].concat());
    assert_eq!(out.status.code(), Some(0), "{}", stderr(&out));
    place.the_run()
}

/// Copies a run's record as a night of day `day`: its calls take `times` as long, and its kernel is another from day 40 on.
fn night(run: &Path, history: &Path, day: i64, times: impl Fn(&str) -> f64) {
    let date = jiff::civil::date(2026, 1, 1) + jiff::Span::new().days(day);
    let name = format!("{}-023000-nightly", date.strftime("%Y%m%d"));
    let lines = support::json_lines(run).into_iter().map(|mut line| {
        match line["kind"].as_str() {
            Some("run") => {
                line["run"] = Value::from(name.as_str());
                line["started_at"] = Value::from(format!("{date}T02:30:00+00:00"));
                line["machine"]["kernel"] = Value::from(if day < 40 { "6.1" } else { "6.8" });
            }
            Some("repetition") => {
                let times = times(line["case_id"].as_str().expect("a cell"));
                for call in line["calls"].as_array_mut().expect("calls") {
                    for span in ["submit_ns", "wait_ns"] {
                        let ns = call[span].as_f64().expect("a time");
                        call[span] = Value::from((ns * times) as u64);
                    }
                }
            }
            _ => {}
        }
        line.to_string() + "\n"
    });
    let folder = history.join(&name);
    std::fs::create_dir_all(&folder).expect("writable");
    std::fs::write(folder.join("run.jsonl"), lines.collect::<String>()).expect("writable");
}

/// About half a percent to and fro, without a pattern.
fn wobble(day: i64) -> f64 {
    (day * 7919 % 13) as f64 * 0.0008
}

fn history(place: &Place, nights: i64) -> PathBuf {
    let (run, history) = (run(place), place.path().join("history"));
    for day in 0..nights {
        night(&run, &history, day, |cell| {
            let step = if cell.contains("/b8/") && day >= 40 {
                1.05
            } else {
                1.0
            };
            step + wobble(day)
        });
    }
    history
}

#[test]
fn a_step_of_one_cell_is_named_with_its_night_and_what_changed() {
    let place = Place::new();
    let history = history(&place, 90);
    let shown = place.run(&["trend", history.to_str().expect("text")]);
    assert_eq!(shown.status.code(), Some(0), "{}", stderr(&shown));
    let text: Vec<String> = stdout(&shown)
        .split_whitespace()
        .map(str::to_owned)
        .collect();
    let text = text.join(" ");
    for needle in [
        "90 nights, 2026-01-01 to 2026-03-31",
        "between 2026-02-09 and 2026-02-10, in synth-tiny-q4_0/pp8/tg8/b8/",
        "changed with it: kernel 6.1 -> 6.8",
        "build or machine: 2026-02-10: kernel 6.1 -> 6.8",
        "history/trend.html",
    ] {
        assert!(text.contains(needle), "{needle}: {text}");
    }
    let page = std::fs::read_to_string(history.join("trend.html")).expect("a page");
    assert!(page.contains("<h2>Changes of level</h2>") && page.contains("2026-02-10"));
    assert!(
        std::fs::read(history.join("trend.png"))
            .expect("a picture")
            .starts_with(b"\x89PNG")
    );

    let json = place.run(&[
        "trend",
        history.to_str().expect("text"),
        "--last",
        "30",
        "-o",
        "json",
        "--no-report",
    ]);
    let found: Value = serde_json::from_str(&stdout(&json)).expect("JSON");
    assert_eq!(found["metric"], "step_ns");
    assert_eq!(found["nights"].as_array().map(Vec::len), Some(30));
    assert_eq!(found["n_older"], 60);
    let levels = |cell: usize| found["cells"][cell]["levels"].as_array().map(Vec::len);
    assert_eq!(
        (levels(0), levels(1)),
        (Some(1), Some(1)),
        "the step is older"
    );
}

#[test]
fn damaged_nights_and_the_first_night_are_no_errors() {
    let place = Place::new();
    let history = history(&place, 3);
    let folder = |day: &str| history.join(format!("2026010{day}-023000-nightly/run.jsonl"));
    std::fs::write(folder("2"), "{\"kind\":\"ru").expect("writable");
    let trend = || place.run(&["trend", history.to_str().expect("text"), "--no-report"]);
    let shown = trend();
    assert_eq!(shown.status.code(), Some(0), "{}", stderr(&shown));
    let text = stdout(&shown);
    assert!(
        text.contains("2 nights, 2026-01-01 to 2026-01-03"),
        "{text}"
    );
    assert!(
        text.contains("left out: ") && text.contains("20260102"),
        "{text}"
    );
    assert!(!history.join("trend.html").exists());
    std::fs::remove_file(folder("1")).expect("there");
    assert!(stdout(&trend()).contains("1 night, 2026-01-03"));
    std::fs::remove_file(folder("3")).expect("there");
    let none = trend();
    assert_eq!(none.status.code(), Some(2));
    assert!(
        stderr(&none).contains("has no night with cells to show"),
        "{}",
        stderr(&none)
    );
    let nowhere = place.run(&["trend", "nowhere"]);
    assert_eq!(nowhere.status.code(), Some(2));
    assert!(
        stderr(&nowhere).contains("nowhere: no such folder"),
        "{}",
        stderr(&nowhere)
    );
}
