//! The table of quality cells, whole, and what it must not do.

use insta::assert_snapshot;
use serde_json::Value;

use super::QualityRow;
use crate::analysis::theory::Theory;
use crate::record::Line;
use crate::report::fixture::quality::*;
use crate::report::{Output, RunAnswers, fixture, markdown_text, print, terminal_text};
use crate::text::width;
use crate::view::RunView;

fn written(view: &RunView, output: Output) -> String {
    let mut out = Vec::new();
    let answers = RunAnswers::of(view, &Theory::of(view, &|_| None), None);
    print(view, &answers, output, &mut out).expect("writes to memory");
    String::from_utf8(out).expect("text")
}

#[test]
fn terminal_of_quality_cells() {
    assert_snapshot!(terminal_text(&alone(), 80, false));
}

#[test]
fn terminal_of_quality_cells_where_there_is_room() {
    assert_snapshot!(terminal_text(&alone(), 160, false));
}

#[test]
fn markdown_of_quality_cells() {
    assert_snapshot!(markdown_text(&alone()));
}

#[test]
fn answers_of_speed_and_accuracy() {
    let view = with_speed();
    let answers = RunAnswers::of(&view, &Theory::of(&view, &|_| None), None);
    assert_snapshot!(answers.terminal(100));
}

#[test]
fn json_of_quality_cells_follows_its_schema() {
    let text = written(&alone(), Output::Json);
    let array: Value = serde_json::from_str(&text).expect("is JSON");
    let schema = include_str!("../../../schema/quality.schema.json");
    let schema: Value = serde_json::from_str(schema).expect("is JSON");
    let validator = jsonschema::draft202012::new(&schema).expect("compiles");
    let errors = validator.iter_errors(&array);
    let errors: Vec<String> = errors
        .map(|e| format!("{e} at {}", e.instance_path))
        .collect();
    assert_eq!(errors, [""; 0]);
    for key in array[0].as_object().expect("an object").keys() {
        let mut broken = array.clone();
        broken[0].as_object_mut().expect("an object").remove(key);
        assert!(!validator.is_valid(&broken), "without {key}");
    }
    let fine = &array[2];
    assert_eq!(
        (&fine["model"], &fine["role"]),
        (&FINE.into(), &"candidate".into())
    );
    assert!((fine["kld_mean"].as_f64().expect("a number") - 0.0055).abs() < 1e-6);
    assert!(fine["kld_mean_ci"][0].as_f64() < fine["kld_mean"].as_f64());
    assert_eq!(array[0]["kld_mean"], Value::Null, "the base has none");
}

#[test]
fn csv_has_a_row_for_each_quality_cell_and_a_column_for_each_key() {
    let view = alone();
    let text = written(&view, Output::Csv);
    let mut read = ::csv::Reader::from_reader(text.as_bytes());
    let header = read.headers().expect("a header").clone();
    let at = |name: &str| header.iter().position(|h| h == name).expect("a column");
    let rows: Vec<::csv::StringRecord> = read.records().map(|r| r.expect("a row")).collect();
    assert_eq!(rows.len(), 4);
    assert_eq!(&rows[2][at("same_top")], "1.0");
    assert_eq!(&rows[0][at("perplexity_ratio_ci_lo")], "");
    assert!(rows[0][at("notes")].starts_with("the base: "));
    let quality = view.quality.as_ref().expect("a text");
    let row = QualityRow::all(&view, quality, &[]).next().expect("a cell");
    let json = serde_json::to_value(&row).expect("plain data");
    let n_intervals = json
        .as_object()
        .expect("an object")
        .keys()
        .filter(|k| k.ends_with("_ci"))
        .count();
    assert_eq!(
        header.len(),
        json.as_object().expect("an object").len() + n_intervals
    );
}

#[test]
fn cells_and_quality_cells_stand_below_each_other() {
    let view = with_speed();
    let csv = written(&view, Output::Csv);
    let (first, second) = csv.split_once("\n\n").expect("two tables");
    assert!(first.starts_with("run,machine,") && second.contains("quality_cell"));
    let json: Value = serde_json::from_str(&written(&view, Output::Json)).expect("JSON");
    let rows = json.as_array().expect("an array");
    let n = |key: &str| rows.iter().filter(|r| r.get(key).is_some()).count();
    assert_eq!((n("case_id"), n("quality_cell")), (6, 4));
    let text = terminal_text(&view, 100, false);
    assert!(
        text.contains("accuracy") && text.matches("run ").count() >= 1,
        "{text}"
    );
    assert_eq!(text.matches("record: ").count(), 1, "{text}");
}

#[test]
fn hostile_names_stay_in_their_lines() {
    let attack = "=<img src=x>|\x1b[31m\u{202e}`# ](x)\n\"";
    let mut plan = quality_plan();
    plan.text = attack.to_owned();
    plan.cells[3].case.model = attack.to_owned();
    let lines: Vec<Line> = plan.cells.iter().flat_map(quality_lines).collect();
    let mut header = quality_header(plan);
    header.plan.models[2].name = attack.to_owned();
    header.plan.models[2].file_type = attack.to_owned();
    header.plan.models[2].requantized_from = Some(attack.to_owned());
    let view = fixture::view(header, lines);
    for output in [Output::Table, Output::Md, Output::Csv, Output::Json] {
        let text = written(&view, output);
        assert!(!text.contains(['\x1b', '\u{202e}']), "{text}");
    }
    let text = terminal_text(&view, 80, false);
    assert!(text.lines().all(|line| width(line) <= 80), "{text}");
}

#[test]
fn the_lines_of_a_record_follow_its_schema() {
    let schema = include_str!("../../../schema/run.schema.json");
    let schema: Value = serde_json::from_str(schema).expect("is JSON");
    let validator = jsonschema::draft202012::new(&schema).expect("compiles");
    let plan = quality_plan();
    let lines = plan.cells.iter().flat_map(quality_lines);
    let header = Line::Run(Box::new(quality_header(plan.clone())));
    for line in std::iter::once(header).chain(lines) {
        let line = serde_json::to_value(&line).expect("plain data");
        let errors = validator.iter_errors(&line);
        let errors: Vec<String> = errors.map(|e| e.to_string()).collect();
        assert_eq!(errors, [""; 0], "{line}");
    }
}
