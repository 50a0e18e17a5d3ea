//! The forms of a table, whole, and their schemas.

use insta::assert_snapshot;
use jsonschema::Validator;
use serde_json::Value;

use super::fixture::{self, MS, calls, case, cell, header, measured, repetition};
use super::text::width;
use super::view::RunView;
use super::{Output, RunAnswers};
use super::{csv, json, markdown_text, print, terminal_text};
use crate::analysis::theory::Theory;
use crate::host::usage::{GpuSummary, UsageSummary};
use crate::plan::Case;
use crate::plan::axis::AXES;
use crate::record::{Line, Outcome};

/// Of a machine whose ceilings were not measured.
fn answers(view: &RunView) -> RunAnswers {
    RunAnswers::of(view, &Theory::of(view, &|_| None), None)
}

fn written(view: &RunView, output: Output) -> String {
    let mut out = Vec::new();
    print(view, &answers(view), output, &mut out).expect("writes to memory");
    String::from_utf8(out).expect("text")
}

fn schema(text: &str) -> Validator {
    let schema = serde_json::from_str(text).expect("is JSON");
    jsonschema::draft202012::meta::validate(&schema).expect("is a schema");
    jsonschema::draft202012::new(&schema).expect("compiles")
}

fn cells_schema() -> Validator {
    schema(include_str!("../../schema/cells.schema.json"))
}

fn run_schema() -> Validator {
    schema(include_str!("../../schema/run.schema.json"))
}

#[test]
fn terminal_of_80_columns() {
    let text = terminal_text(&fixture::mixed(), 80, false);
    assert_snapshot!(text);
}

#[test]
fn terminal_of_120_columns() {
    let text = terminal_text(&fixture::mixed(), 120, false);
    assert_snapshot!(text);
}

#[test]
fn a_quiet_run_of_one_model_fits_80_columns() {
    let cases: Vec<Case> = [1, 8, 32]
        .map(|n| Case {
            n_gen: 64,
            ..case("tiny", n)
        })
        .into();
    let lines: Vec<Line> = cases
        .iter()
        .flat_map(|c| fixture::three_processes(c, 3, 20 * MS, 5 * MS))
        .chain([fixture::end()])
        .collect();
    let view = fixture::view(header(&["tiny"], cases), lines);
    assert_snapshot!(terminal_text(&view, 80, false));
}

#[test]
fn no_line_is_wider_than_the_terminal() {
    let view = fixture::mixed();
    for columns in 40..200 {
        for line in terminal_text(&view, columns, false).lines() {
            let copied_whole = line.starts_with("record: ") || line.starts_with("  ggufbench");
            assert!(width(line) <= columns || copied_whole, "{columns}: {line}");
        }
    }
    for columns in [0, 1, 5, 10] {
        terminal_text(&view, columns, true);
    }
}

#[test]
fn colours_change_no_letter() {
    let view = fixture::mixed();
    let plain = terminal_text(&view, 100, false);
    let coloured = terminal_text(&view, 100, true);
    assert!(!plain.contains('\x1b') && coloured.contains("\x1b[31m"));
    let mut stripped = String::new();
    let mut rest = coloured.as_str();
    while let Some((before, after)) = rest.split_once('\x1b') {
        stripped.push_str(before);
        rest = after.split_once('m').expect("every style ends").1;
    }
    stripped.push_str(rest);
    let trimmed: Vec<&str> = stripped.lines().map(str::trim_end).collect();
    assert_eq!(trimmed, plain.lines().collect::<Vec<_>>());
}

#[test]
fn markdown_of_a_mixed_run() {
    assert_snapshot!(markdown_text(&fixture::mixed()));
}

#[test]
fn csv_of_a_mixed_run() {
    assert_snapshot!(written(&fixture::mixed(), Output::Csv));
}

#[test]
fn json_of_a_mixed_run() {
    let text = written(&fixture::mixed(), Output::Json);
    assert_snapshot!(text);
    let array: Value = serde_json::from_str(&text).expect("is JSON");
    let validator = cells_schema();
    let errors: Vec<String> = validator
        .iter_errors(&array)
        .map(|e| e.to_string())
        .collect();
    assert_eq!(errors, [""; 0]);
    let lines: Vec<Value> = written(&fixture::mixed(), Output::Jsonl)
        .lines()
        .map(|l| serde_json::from_str(l).expect("is JSON"))
        .collect();
    assert_eq!(Value::Array(lines), array);
}

#[test]
fn a_plan_without_cells_is_an_empty_table_in_every_form() {
    let view = fixture::view(header(&[], vec![]), []);
    let mut out = Vec::new();
    json::array(&view, &answers(&view), &mut out).expect("writes");
    assert_eq!(out, b"[]\n");
    out.clear();
    csv::write(&view, &mut out).expect("writes");
    assert_eq!(out.iter().filter(|b| **b == b'\n').count(), 1);
    markdown_text(&view);
    terminal_text(&view, 80, true);
}

#[test]
fn hostile_names_steer_nothing() {
    let name = "=cmd|'x'!A1\n\x1b[31m<b>`\",;\u{202e}";
    let hostile = case(name, 1);
    let reason = "=1+1 | <img src=x>\r\n\x1b[2J".to_owned();
    let ok = case("ok", 1);
    let lines = [
        Line::Cell(Box::new(cell(
            &hostile,
            Some(0),
            Outcome::Failed { reason },
        ))),
        Line::Repetition(Box::new(repetition(&ok, 0, 0, calls(&ok, MS, &[MS])))),
        Line::Cell(Box::new(cell(&ok, Some(0), measured(1)))),
    ];
    let view = fixture::view(header(&[name, "ok"], vec![hostile, ok]), lines);

    let text = terminal_text(&view, 80, false);
    assert!(
        !text.chars().any(|c| c.is_control() && c != '\n'),
        "{text:?}"
    );
    assert!(
        text.lines()
            .all(|l| width(l) <= 80 || l.starts_with("record"))
    );

    let md = markdown_text(&view);
    assert!(!md.contains("<b>") && !md.contains("<img") && !md.contains('\x1b'));
    let rows: Vec<&str> = md.lines().filter(|l| l.starts_with("| ")).collect();
    assert_eq!(rows.len(), 4, "two of heading, two cells: {md}");
    let bars = |l: &str| l.replace("\\|", "").matches('|').count();
    assert!(rows.iter().all(|r| bars(r) == bars(rows[0])), "{md}");

    let table = written(&view, Output::Csv);
    let mut read = ::csv::Reader::from_reader(table.as_bytes());
    let names: Vec<String> = read
        .records()
        .map(|r| r.expect("well-formed")[5].to_owned())
        .collect();
    let shown = crate::text::plain(name);
    assert_eq!(names, [format!("'{shown}"), "ok".to_owned()]);

    let array: Value = serde_json::from_str(&written(&view, Output::Json)).expect("is JSON");
    assert_eq!(array[0]["model"], name, "JSON keeps names as they are");
}

/// One line of each kind, and each outcome.
fn lines_of_every_kind() -> Vec<Line> {
    let c = case("tiny", 2);
    let mut header = header(&["tiny"], vec![c.clone()]);
    header.warnings = vec![crate::host::HostWarning::DebugBuild];
    let mut lines = vec![
        Line::Run(Box::new(header)),
        fixture::worker(0, "tiny", None),
        Line::Repetition(Box::new(repetition(&c, 0, 0, calls(&c, MS, &[MS, MS])))),
        fixture::end(),
    ];
    let outcomes = [
        measured(1),
        Outcome::Skipped {
            needs_bytes: u64::MAX,
            has_bytes: 0,
            device: None,
            n_gpu_layers: None,
        },
        Outcome::Failed {
            reason: "no".to_owned(),
        },
        Outcome::Crashed {
            how: "SIGSEGV".to_owned(),
        },
        Outcome::TimedOut {
            after_ns: 60_000 * MS,
        },
        Outcome::Interrupted,
    ];
    lines.extend(outcomes.map(|o| Line::Cell(Box::new(cell(&c, Some(0), o)))));
    lines.extend(lines_of_requests());
    lines
}

/// A run of requests at both kinds of target, in which one request ended in each way there is.
fn lines_of_requests() -> Vec<Line> {
    use crate::request::{Ending, Load};
    let mut jobs = fixture::requests::jobs();
    jobs.truncate(2);
    jobs[1].tag = Some(3);
    jobs[1].load = Load::Open {
        rate_per_s: 2.5,
        most: 4,
    };
    let header = fixture::requests::request_header(&[fixture::requests::OWN], 3, jobs.clone());
    let mut lines = vec![Line::Run(Box::new(header))];
    lines.extend(fixture::requests::both_lines(&jobs, 1, |_, round, t| {
        let reason = String::new;
        t.ending = match (round, t.number) {
            (0, 0) => Ending::Stop,
            (0, 1) => Ending::Refused { reason: reason() },
            (0, 2) => Ending::Http {
                status: 500,
                reason: reason(),
            },
            (0, 3) => Ending::Stream { reason: reason() },
            (0, 4) => Ending::Stalled { after_ns: 1 },
            (0, 5) => Ending::Truncated,
            (1, 0) => Ending::Failed { reason: reason() },
            (1, 1) => Ending::Interrupted,
            _ => Ending::Length,
        };
    }));
    lines
}

#[test]
fn the_schema_knows_what_a_sampler_saw_and_records_without_it() {
    let validator = run_schema();
    let c = case("tiny", 2);
    let mut line = cell(&c, Some(0), measured(1));
    let without = serde_json::to_value(Line::Cell(Box::new(line.clone()))).expect("plain data");
    assert_eq!(without.get("usage"), None, "as older programs wrote it");
    line.usage = Some(UsageSummary {
        gpu: Some(GpuSummary::default()),
        ..fixture::usage(3.0e9)
    });
    let with = serde_json::to_value(Line::Cell(Box::new(line))).expect("plain data");
    for value in [&without, &with] {
        assert!(validator.is_valid(value), "{value}");
        serde_json::from_value::<Line>(value.clone()).expect("reads");
    }
    for key in ["samples", "beside_cost_ns", "frequency_hz"] {
        let mut broken = with.clone();
        let usage = broken["usage"].as_object_mut().expect("an object");
        usage.remove(key);
        assert!(!validator.is_valid(&broken), "without {key}");
    }
}

#[test]
fn the_schema_knows_every_line() {
    let validator = run_schema();
    for line in lines_of_every_kind() {
        let value = serde_json::to_value(&line).expect("plain data");
        let errors: Vec<String> = validator
            .iter_errors(&value)
            .map(|e| e.to_string())
            .collect();
        assert_eq!(errors, [""; 0], "{value}");
    }
}

/// Every key, at every depth that is this program's own, of every kind of line: without it, or under
/// another name, the line is none.
#[test]
fn the_schema_refuses_lines_that_lack_or_rename_a_key() {
    let validator = run_schema();
    for line in lines_of_every_kind() {
        let value = serde_json::to_value(&line).expect("plain data");
        for pointer in [
            "",
            "/case",
            "/calls/0",
            "/outcome",
            "/opened",
            "/load",
            "/plan/protocol",
            "/engine",
            "/plan",
            "/facts",
            "/timeline",
            "/timeline/ending",
            "/timeline/server",
            "/timeline/arrivals/0",
            "/requests",
            "/requests/jobs/0",
            "/requests/jobs/0/sampling",
            "/requests/jobs/1/load/open",
        ] {
            let Some(Value::Object(inner)) = value.pointer(pointer) else {
                continue;
            };
            for key in inner.keys() {
                let mut broken = value.clone();
                let at = broken.pointer_mut(pointer).and_then(Value::as_object_mut);
                let at = at.expect("was there");
                let taken = at.remove(key).expect("was there");
                // What records of cells, servers, and earlier programs do not have.
                let may_lack = matches!(key.as_str(), "requests" | "usage" | "sampled" | "timer")
                    && pointer.is_empty()
                    && value["kind"] != "repetition"
                    || pointer == "/requests" && key == "replicates"
                    || key == "worker" && value["kind"] == "job"
                    || AXES
                        .iter()
                        .any(|a| a.words.field == key && !a.words.is_in_every_record);
                assert!(
                    may_lack || !validator.is_valid(&broken),
                    "without {pointer}/{key}"
                );
                let at = broken.pointer_mut(pointer).and_then(Value::as_object_mut);
                at.expect("was there")
                    .insert(format!("{key}_renamed"), taken);
                assert!(!validator.is_valid(&broken), "with {pointer}/{key} renamed");
            }
        }
    }
}

#[test]
fn the_cells_schema_refuses_cells_that_lack_a_key() {
    let validator = cells_schema();
    let text = written(&fixture::mixed(), Output::Json);
    let whole: Value = serde_json::from_str(&text).expect("is JSON");
    for (pointer, keys) in [("/0", 55), ("/0/step_ns", 14), ("/0/usage", 14)] {
        let inner = whole
            .pointer(pointer)
            .and_then(Value::as_object)
            .expect("an object");
        assert!(inner.len() >= keys);
        for key in inner.keys() {
            let mut broken = whole.clone();
            let at = broken.pointer_mut(pointer).and_then(Value::as_object_mut);
            at.expect("was there").remove(key);
            assert!(!validator.is_valid(&broken), "without {pointer}/{key}");
        }
    }
}
