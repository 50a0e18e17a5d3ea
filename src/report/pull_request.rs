//! What a reader of a pull request or of a CI page needs: each test before and after, and what was compared with what. The whole
//! document follows, folded.

use std::io::{self, Write};

use super::axes;
use super::comparison::{self, answers, range};
use super::night;
use super::outputs::{self, SideNames};
use super::table::markdown::{escaped, labelled};
use super::table::{Document, Table};
use crate::compare::output::ComparedOutputs;
use crate::compare::samples::{CellKey, Samples};
use crate::compare::side::Side;
use crate::compare::{ComparedCell, Comparison};
use crate::gate::{Baseline, CellResult, GateReport, MIN_NIGHTS};
use crate::metric::Metric;
use crate::plan::{Axis, Case};
use crate::record::RunHeader;
use crate::stats::{Interval, summary};
use crate::text::document;
use crate::units::signed_percent;
use crate::view::TestPart;

/// A test on both sides.
struct SummaryRow {
    case: Case,
    /// That of the side after.
    case_after: Case,
    test: String,
    before: Option<String>,
    after: Option<String>,
    change: Option<f64>,
    interval: Option<Interval>,
    verdict: String,
}

/// Axes that the test's name has.
const NAMED: [&str; 4] = ["n_seq", "n_prompt", "n_gen", "n_depth"];

/// Writes a comparison: the rates of its tests, or the compared metric where there are none, and the comparison itself folded.
///
/// # Errors
/// The writer's.
pub fn print(
    compared: &Comparison,
    tests: &[Comparison],
    (before, after): (&RunHeader, &RunHeader),
    out: &mut dyn Write,
) -> io::Result<()> {
    let by = if tests.is_empty() {
        std::slice::from_ref(compared)
    } else {
        tests
    };
    let mut text = format!(
        "# {} against {}\n\n",
        escaped(&compared.b),
        escaped(&compared.a)
    );
    let metric = by.first().map_or(compared.metric, |c| c.metric);
    text += &table(&rows(by, compared), metric).markdown();
    text += "\n";
    text += &labelled(
        "before",
        &format!("{}: {}", compared.a, measured_by(before)),
    );
    text += &labelled("after", &format!("{}: {}", compared.b, measured_by(after)));
    text += &labelled("change", &changes(metric));
    if decides_instead(compared, Metric::DecodeTokensPerS) {
        let verdicts = format!("of tg: by {}, for which pairs were added", compared.metric);
        text += &labelled("verdict", &verdicts);
    }
    for difference in &compared.differences {
        text += &labelled("differ", &difference.to_string());
    }
    for said in answers(compared) {
        text += &labelled(&format!("answer by {}", compared.metric), &said);
    }
    if let Some(found) = &compared.outputs {
        text += &of_outputs(found, ["A", "B"]);
    }
    text += &folded(
        "Intervals, and how they were computed",
        &comparison::document(compared),
    );
    out.write_all(document(&text).as_bytes())?;
    out.flush()
}

/// What is wrong with the outputs of both sides, and their table folded.
fn of_outputs(found: &ComparedOutputs, names: SideNames) -> String {
    let wrong = outputs::wrong(found, names);
    let wrong = wrong.map(|text| labelled("WRONG", &text));
    wrong.collect::<String>() + &folded("Output of both sides", &outputs::document(found, names))
}

/// A night's verdict; `before` and `after` are its sides in the metric that is shown. Without a baseline there are only limits.
pub fn of_night(report: &GateReport, before: Option<&Baseline>, after: &Side) -> String {
    let verdict = report.verdict.word();
    let mut text = format!("# {}: {}\n\n", escaped(&report.run), escaped(verdict));
    let Some(before) = before else {
        text += &limits(report);
        text += &labelled(
            "measured",
            &format!("{}: {}", report.run, measured_by(&after.header)),
        );
        return document(&text);
    };
    let rows: Vec<SummaryRow> = report
        .cells
        .iter()
        .map(|c| night_row(c, before, after))
        .collect();
    text += &table(&rows, after.metric).markdown();
    text += "\n";
    if let Some(foremost) = before.foremost() {
        let label = match before.sides().len() {
            n if n < MIN_NIGHTS => foremost.label.clone(),
            n => format!("median of up to {n} nights, the newest {}", foremost.label),
        };
        text += &labelled(
            "before",
            &format!("{label}: {}", measured_by(&foremost.header)),
        );
    }
    text += &labelled(
        "after",
        &format!("{}: {}", report.run, measured_by(&after.header)),
    );
    text += &labelled("change", &changes_of_night(report.metric, after.metric));
    for difference in &report.differences {
        text += &labelled("differ", &difference.to_string());
    }
    for cell in &report.missing {
        text += &labelled("not measured", cell.as_str());
    }
    if let Some(found) = &report.outputs {
        text += &of_outputs(found, ["baseline", "tonight"]);
    }
    if !report.required.is_empty() {
        text += "\n";
        text += &limits(report);
    }
    text += &folded("The verdict in full", &night::document(report));
    document(&text)
}

/// The table of limits, without a title of its own.
fn limits(report: &GateReport) -> String {
    let document = night::required::document(report);
    let text = document.map_or_else(String::new, |document| document.markdown());
    text.split_once('\n')
        .map_or("", |(_, rest)| rest)
        .trim_start()
        .to_owned()
}

fn changes(metric: Metric) -> String {
    match metric.unit() {
        "tokens/s" => {
            "of t/s; more is faster. A verdict is about the time that the same work takes"
                .to_owned()
        }
        _ => format!(
            "{}; {}",
            metric.words().heading,
            metric.words().how_much("after")
        ),
    }
}

/// What the change of a night is of, where another metric is judged than the columns before and after have.
fn changes_of_night(judged: Metric, shown: Metric) -> String {
    match judged == shown {
        true => changes(shown),
        false => format!(
            "of the median {judged}, as a rate, while the columns have {shown}; more is faster. Interval and verdict are of {judged} too"
        ),
    }
}

/// The engine and the program of a side.
fn measured_by(header: &RunHeader) -> String {
    let (engine, program) = (&header.engine, &header.program);
    let mut by = format!("{} {}", engine.name, engine.version);
    if let Some(imported) = &header.imported {
        return format!("{by}, measured by {}", imported.tool);
    }
    if let Some(number) = program.llama_cpp_build {
        by += &format!(", b{number}");
    }
    if let Some(commit) = &program.llama_cpp_commit {
        by += &format!(", commit {commit}");
    }
    let git = program.git.as_ref().map(|git| format!(" ({git})"));
    by + &format!(", ggufbench {}{}", program.version, git.unwrap_or_default())
}

/// A document without its title, behind a line that unfolds it.
fn folded(summary: &str, whole: &Document) -> String {
    let text = whole.markdown();
    let text = text.split_once('\n').map_or("", |(_, rest)| rest);
    format!("\n<details>\n<summary>{summary}</summary>\n{text}\n</details>\n")
}

/// Whether the verdict on a rate is that of the compared metric: pairs were added until that one was decided, and the two are of the
/// same steps.
fn decides_instead(compared: &Comparison, rate: Metric) -> bool {
    compared.until_decided && compared.metric == Metric::StepNs && rate == Metric::DecodeTokensPerS
}

/// The tests of one cell stand together.
fn rows(by: &[Comparison], compared: &Comparison) -> Vec<SummaryRow> {
    let mut rows: Vec<(usize, SummaryRow)> = Vec::new();
    let mut cases: Vec<Case> = Vec::new();
    for comparison in by {
        for cell in &comparison.rows {
            let at = cases.iter().position(|case| *case == cell.key.case);
            let at = at.unwrap_or_else(|| {
                cases.push(cell.key.case.clone());
                cases.len() - 1
            });
            let mut row = row(comparison, cell);
            let decided = compared.rows.iter().find(|c| c.key.case == cell.key.case);
            if let Some(decided) = decided
                && decides_instead(compared, comparison.metric)
            {
                row.verdict = decided.verdict_in_full(compared.metric, compared.same_within);
            }
            rows.push((at, row));
        }
    }
    rows.sort_by_key(|(at, _)| *at);
    rows.into_iter().map(|(_, row)| row).collect()
}

fn row(c: &Comparison, cell: &ComparedCell) -> SummaryRow {
    let of_pairs = cell.pairs.map(|pairs| pairs.estimate.exp_m1());
    // Where too few processes give no interval, the values still differ by something.
    let plain = (c.metric.log_time(cell.b) - c.metric.log_time(cell.a)).exp_m1();
    let slowdown = cell
        .slowdown
        .map(|s| s.estimate)
        .or(of_pairs)
        .unwrap_or(plain);
    SummaryRow {
        test: test_name(c.metric, &cell.key.case, cell.job.as_deref()),
        case: cell.key.case.clone(),
        case_after: cell.key_b.case.clone(),
        before: Some(c.metric.show(cell.a)),
        after: Some(c.metric.show(cell.b)),
        change: Some(change(c.metric, slowdown)).filter(|v| v.is_finite()),
        interval: cell.slowdown.map(|s| changes_of(c.metric, s)),
        verdict: cell.verdict_in_full(c.metric, c.same_within),
    }
}

fn night_row(cell: &CellResult, before: &Baseline, after: &Side) -> SummaryRow {
    let metric = after.metric;
    // The nights that the gate held the cell against.
    let held = before.held_against(&cell.key, after);
    let nights = held.iter().filter_map(|(_, samples)| samples.median());
    let nights: Vec<f64> = nights.collect();
    let of_pairs = cell.pairs.map(|pairs| pairs.estimate.exp_m1());
    let slowdown = cell.slowdown.map(|s| s.estimate).or(of_pairs);
    SummaryRow {
        test: test_name(metric, &cell.key.case, job_of(&cell.key).as_deref()),
        case: cell.key.case.clone(),
        case_after: cell.key.case.clone(),
        before: summary::median(&nights).map(|v| metric.show(v)),
        after: after
            .cell(&cell.key)
            .and_then(Samples::median)
            .map(|v| metric.show(v)),
        change: slowdown.map(|s| change(metric, s)),
        interval: cell.slowdown.map(|s| changes_of(metric, s)),
        verdict: night::verdicts(cell, cell.key.sample_unit(metric))[0].clone(),
    }
}

fn job_of(key: &CellKey) -> Option<String> {
    key.job.as_ref().map(ToString::to_string)
}

fn test_name(metric: Metric, case: &Case, job: Option<&str>) -> String {
    match job {
        Some(job) => job.to_owned(),
        None if metric.is_of_quality() => case.id().to_string(),
        None => TestPart::of(metric, case).test_name(case),
    }
}

/// The change of a value whose time changed so: rates fall as times rise.
fn change(metric: Metric, slowdown: f64) -> f64 {
    match metric.unit() {
        "tokens/s" => (1.0 + slowdown).recip() - 1.0,
        _ => slowdown,
    }
}

fn changes_of(metric: Metric, slowdown: Interval) -> Interval {
    let of = slowdown.map(|s| change(metric, s));
    Interval {
        lo: of.lo.min(of.hi),
        hi: of.lo.max(of.hi),
        ..of
    }
}

fn table(rows: &[SummaryRow], metric: Metric) -> Table {
    let cases: Vec<&Case> = rows.iter().map(|row| &row.case).collect();
    let value = match metric.unit() {
        "tokens/s" => "t/s".to_owned(),
        _ => metric.name().replace('_', " "),
    };
    let sides = |before: String, after: String| match before == after {
        true => before,
        false => format!("{before} → {after}"),
    };
    let mut table = Table::of(rows)
        .words("model", move |row| {
            sides(row.case.model.clone(), row.case_after.model.clone())
        })
        .words("test", |row| row.test.clone());
    let varying = axes::columns(&cases);
    let differs = |axis: &Axis| {
        rows.iter()
            .any(|row| axis.value(&row.case) != axis.value(&row.case_after))
    };
    let is_extra = |axis: &Axis| {
        let is_shown = varying.contains(axis) || differs(axis);
        is_shown && axis.name() != "model" && !NAMED.contains(&axis.words.field)
    };
    for axis in Axis::all().filter(is_extra) {
        table = table.numbers(axis.heading(), move |row| {
            sides(axis.value(&row.case), axis.value(&row.case_after))
        });
    }
    table
        .numbers(format!("{value} before"), |row| row.before.clone())
        .numbers(format!("{value} after"), |row| row.after.clone())
        .numbers("change", |row| row.change.map(signed_percent))
        .numbers("95% interval", |row| row.interval.as_ref().map(range))
        .why(
            "an interval needs at least two processes on each side (of a server two rounds, of a scored text several chunks), and of pairs \
             that are measured until decided at least seven",
        )
        .words("verdict", |row| row.verdict.clone())
        .table()
}
