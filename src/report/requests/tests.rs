//! The tables of requests, whole, and what they must not do.

use insta::assert_snapshot;
use serde_json::Value;

use crate::analysis::theory::Theory;
use crate::report::fixture::requests::{both, hostile, own, with_cells};
use crate::report::requests::rounds_of;
use crate::report::{Output, RunAnswers, fixture, markdown_text, print, terminal_text};
use crate::text::width;
use crate::view::RunView;

const ATTACK: &str = "=<img src=x onerror=alert(1)>|\x1b[31m\u{202e}`# ](x)\n\"";

fn written(view: &RunView, output: Output) -> String {
    let mut out = Vec::new();
    let answers = RunAnswers::of(view, &Theory::of(view, &|_| None), None);
    print(view, &answers, output, &mut out).expect("writes to memory");
    String::from_utf8(out).expect("text")
}

#[test]
fn terminal_of_80_columns() {
    assert_snapshot!(terminal_text(&both(), 80, false));
}

#[test]
fn terminal_of_120_columns() {
    assert_snapshot!(terminal_text(&both(), 120, false));
}

#[test]
fn terminal_of_one_target() {
    assert_snapshot!(terminal_text(&own(), 80, false));
}

#[test]
fn markdown_of_requests() {
    assert_snapshot!(markdown_text(&both()));
}

#[test]
fn csv_of_requests() {
    assert_snapshot!(written(&both(), Output::Csv));
}

#[test]
fn json_of_requests() {
    let text = written(&both(), Output::Json);
    assert_snapshot!(text);
    let array: Value = serde_json::from_str(&text).expect("is JSON");
    let schema: Value =
        serde_json::from_str(include_str!("../../../schema/jobs.schema.json")).expect("is JSON");
    let validator = jsonschema::draft202012::new(&schema).expect("compiles");
    let errors: Vec<String> = validator
        .iter_errors(&array)
        .map(|e| format!("{e} at {}", e.instance_path))
        .collect();
    assert_eq!(errors, [""; 0]);
    for key in array[0].as_object().expect("an object").keys() {
        let mut broken = array.clone();
        broken[0].as_object_mut().expect("an object").remove(key);
        assert!(!validator.is_valid(&broken), "without {key}");
    }
}

#[test]
fn cells_and_requests_stand_below_each_other() {
    let view = with_cells();
    let text = terminal_text(&view, 120, false);
    let cells = terminal_text(&view, 120, false);
    assert!(text.starts_with(&cells), "{text}");
    assert!(text.contains("requests  8 jobs at in-process, ollama:tiny, 3 processes"));
    let csv = written(&view, Output::Csv);
    let (first, second) = csv.split_once("\n\n").expect("two tables");
    assert!(first.starts_with("run,machine,") && second.starts_with("run,job,"));
    let json: Value = serde_json::from_str(&written(&view, Output::Json)).expect("JSON");
    let rows = json.as_array().expect("an array");
    assert_eq!(
        rows.iter().filter(|r| r.get("case_id").is_some()).count(),
        2
    );
    assert_eq!(rows.iter().filter(|r| r.get("job").is_some()).count(), 16);
    assert_eq!(written(&view, Output::Jsonl).lines().count(), 18);
}

#[test]
fn a_run_of_requests_has_no_cells_to_miss() {
    for view in [both(), own()] {
        for output in [Output::Table, Output::Md, Output::Csv] {
            let text = written(&view, output);
            assert!(
                !text.contains("decode\n")
                    && !text.contains("No cell")
                    && !text.contains("process a cell"),
                "{text}"
            );
        }
    }
}

#[test]
fn a_record_without_requests_reads_as_before() {
    let view = fixture::mixed();
    assert_eq!(view.requests, None);
    assert_eq!(
        terminal_text(&view, 120, false),
        terminal_text(&view, 120, false)
    );
    assert!(!written(&view, Output::Json).contains("\"job\""));
}

#[test]
fn no_line_is_wider_than_the_terminal() {
    let view = both();
    for columns in [60, 72, 80, 100, 120, 160, 200] {
        for line in terminal_text(&view, columns, false).lines() {
            let whole = line.starts_with("record: ");
            assert!(width(line) <= columns || whole, "{columns}: {line}");
        }
    }
    for columns in [0, 1, 10] {
        terminal_text(&view, columns, false);
    }
}

#[test]
fn hostile_text_stays_text() {
    let view = hostile(ATTACK);
    let text = terminal_text(&view, 120, false);
    assert!(
        !text.chars().any(|c| c.is_control() && c != '\n') && !text.contains('\u{202e}'),
        "{text:?}"
    );
    let md = markdown_text(&view);
    assert!(!md.contains("<img") && !md.contains('\x1b') && !md.contains('\u{202e}'));
    let bars = |l: &str| l.replace("\\|", "").matches('|').count();
    let rows: Vec<&str> = md.lines().filter(|l| l.starts_with("| ")).collect();
    for pair in rows.windows(2).filter(|p| md.contains(&p.join("\n"))) {
        assert_eq!(bars(pair[0]), bars(pair[1]), "{pair:?}");
    }
    let table = written(&view, Output::Csv);
    let mut read = ::csv::Reader::from_reader(table.as_bytes());
    let mut n = 0;
    for record in read.records() {
        for field in &record.expect("well-formed") {
            let starts_formula = field.starts_with(['=', '+', '-', '@', '\t', '\r']);
            assert!(!starts_formula || field.parse::<f64>().is_ok(), "{field}");
        }
        n += 1;
    }
    let requests = view.requests.as_ref().expect("has requests");
    let sent: usize = requests.jobs.iter().map(|j| j.requests.len()).sum();
    assert_eq!(n, sent, "a row a request");
    let json: Value = serde_json::from_str(&written(&view, Output::Json)).expect("JSON");
    assert_eq!(json[1]["target"], ATTACK, "JSON keeps names as they are");
}

#[test]
fn servers_have_rounds_and_no_processes() {
    assert_eq!(rounds_of((1, 3), true), "3 processes");
    assert_eq!(rounds_of((2, 5), true), "5 processes of 2 rounds");
    assert_eq!(rounds_of((3, 1), true), "3 rounds");
    assert_eq!(rounds_of((2, 3), false), "6 rounds");
}
