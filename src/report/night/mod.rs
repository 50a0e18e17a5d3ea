//! A gate's verdict as a table.

mod notes;

use super::axes;
use super::comparison::{cell_columns, differences, job_column, listed, range};
use super::sheet::{Column, Sheet, p_value, signed_percent};
use crate::compare::{more_in_short, would_need};
use crate::gate::{BaselineUnits, CellResult, CellVerdict, Doubt, GateReport};
use crate::plan::Case;

/// A gate's table, with its baseline above and advice below.
pub fn sheet(report: &GateReport) -> Sheet {
    let cases: Vec<&Case> = report.cells.iter().map(|c| &c.key.case).collect();
    let mut above = vec![
        ("verdict".to_owned(), verdict(report)),
        ("run".to_owned(), report.run.clone()),
        ("baseline".to_owned(), baseline(report)),
    ];
    above.extend(
        report
            .rerun
            .iter()
            .map(|run| ("rerun".to_owned(), run.clone())),
    );
    above.push(("metric".to_owned(), report.metric.to_string()));
    above.push(("cells".to_owned(), axes::constants(&cases)));
    above.extend(differences(&report.differences));
    let mut below = Vec::new();
    below.extend(listed("not measured tonight", &report.missing));
    below.extend(listed("not in the baseline", &report.new));
    below.extend(notes::below(report));
    Sheet {
        title: format!("{}: {}", report.run, report.verdict.word()),
        above,
        columns: columns(report, &cases),
        below,
    }
}

fn columns(report: &GateReport, cases: &[&Case]) -> Vec<Column> {
    let of = |value: &dyn Fn(&CellResult) -> String| {
        report.cells.iter().map(value).collect::<Vec<String>>()
    };
    let or_na = |value: Option<String>| value.unwrap_or_else(|| "n/a".to_owned());
    let job = |c: &CellResult| c.key.job.as_ref().map(ToString::to_string);
    let mut columns: Vec<Column> = job_column(report.cells.iter().map(job))
        .into_iter()
        .chain(cell_columns(cases))
        .collect();
    columns.extend([
        Column::numbers(
            report.metric.words().heading,
            0,
            of(&|c| or_na(c.slowdown.map(|s| signed_percent(s.estimate)))),
        ),
        Column::numbers(
            "95% interval",
            0,
            of(&|c| or_na(c.slowdown.as_ref().map(range))),
        ),
        Column::numbers("p", 2, of(&|c| or_na(c.p_adjusted.map(p_value)))),
    ]);
    if report.cells.iter().any(|c| c.p_night.is_some()) {
        let p = |c: &CellResult| or_na(c.p_night.map(p_value));
        columns.push(Column::numbers("p nights", 4, of(&p)));
    }
    if report.rerun.is_some() {
        let again = |c: &CellResult| Some(signed_percent(c.rerun?.slowdown?.estimate));
        columns.push(Column::numbers(
            "rerun",
            0,
            of(&|c| again(c).unwrap_or_default()),
        ));
    }
    columns.push(Column::numbers(
        "against",
        3,
        of(&|c| match c.against {
            BaselineUnits::Processes(n) => format!("{n} processes"),
            BaselineUnits::Nights(n) => format!("{n} nights"),
        }),
    ));
    let verdicts = |at: usize| of(&|c| verdicts(c)[at].clone());
    columns.push(Column::words("verdict", 0, verdicts(0)).or_short(verdicts(1)));
    columns
}

/// A cell's verdict with its reason, in full and in short.
fn verdicts(cell: &CellResult) -> [String; 2] {
    let reasons = match (cell.doubt, cell.more_processes) {
        (Some(Doubt::NotSeenAgain), _) => ["(not seen again)", "(once)"].map(str::to_owned),
        (Some(Doubt::Night), _) => ["(nights may differ as much)", "(night)"].map(str::to_owned),
        (Some(Doubt::Disturbed { tonight, baseline }), _) => [
            format!(
                "(disturbed: {} of {} against {} of {})",
                tonight.repetitions, tonight.of, baseline.repetitions, baseline.of
            ),
            "(disturbed)".to_owned(),
        ],
        (None, Some(n)) => [format!("({})", would_need(Some(n))), more_in_short(Some(n))],
        (None, None) => return [cell.verdict.word(); 2].map(str::to_owned),
    };
    reasons.map(|reason| format!("{} {reason}", cell.verdict.word()))
}

fn verdict(report: &GateReport) -> String {
    let count = |verdict| report.cells.iter().filter(|c| c.verdict == verdict).count();
    let counts = [
        CellVerdict::Pass,
        CellVerdict::Regression,
        CellVerdict::Suspected,
        CellVerdict::Inconclusive,
    ]
    .map(|verdict| (count(verdict), verdict.word()));
    let mut parts: Vec<String> = counts
        .iter()
        .filter(|(n, _)| *n > 0)
        .map(|(n, word)| format!("{n} {word}"))
        .collect();
    if !report.missing.is_empty() {
        parts.push(format!("{} not measured", report.missing.len()));
    }
    format!("{} ({})", report.verdict.word(), parts.join(", "))
}

fn baseline(report: &GateReport) -> String {
    match report.baseline.as_slice() {
        [one] => one.clone(),
        nights => {
            let oldest = nights.last().map_or("", String::as_str);
            let newest = nights.first().map_or("", String::as_str);
            format!("{} nights, {oldest} to {newest}", nights.len())
        }
    }
}

#[cfg(test)]
mod tests;
