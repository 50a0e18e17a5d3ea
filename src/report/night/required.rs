//! Limits in absolute values as a table.

use super::name;
use crate::compare::samples::{CellKey, JobAtTarget};
use crate::gate::{GateReport, LimitVerdict, RequiredResult};
use crate::metric::{Better, Metric};
use crate::report::axes;
use crate::report::comparison::{of_cells, of_jobs};
use crate::report::table::{Document, Table};
use crate::stats::Interval;

/// Every limit with its cells; `None` where none was asked for.
pub fn document(report: &GateReport) -> Option<Document> {
    if report.required.is_empty() {
        return None;
    }
    let verdict = report.verdict.word();
    let keys: Vec<&CellKey> = report.required.iter().map(|r| &r.key).collect();
    let mut document = Document::new("Limits in absolute values", table(&report.required));
    if report.is_alone() {
        document = Document::new(
            format!("{}: {verdict}", report.run),
            table(&report.required),
        )
        .above(
            "verdict",
            format!("{verdict} ({})", counts(report).join(", ")),
        )
        .above("run", report.run.as_str())
        .above("baseline", "none: only limits (--require) are judged");
    }
    document = document.above("cells", axes::constants_of(&keys));
    let several = units(&report.required);
    Some(document.below(
        "",
        format!(
            "pass: the whole 95% interval keeps the limit. fail: the whole interval is beyond it. inconclusive: the limit is in the \
             interval, or fewer than two {several} measured the cell."
        ),
    ))
}

/// What the values are of, in the plural.
fn units(required: &[RequiredResult]) -> String {
    let metric = required.first().map_or_else(Metric::default, |r| r.metric);
    CellKey::units_of(required.iter().map(|r| &r.key), metric)
}

/// `2 within limits`, `1 beyond a limit`.
pub(super) fn counts(report: &GateReport) -> Vec<String> {
    let count = |verdict| {
        report
            .required
            .iter()
            .filter(|r| r.verdict == verdict)
            .count()
    };
    let counts = [
        (count(LimitVerdict::Pass), "within limits"),
        (count(LimitVerdict::Fail), "beyond a limit"),
        (count(LimitVerdict::Inconclusive), "not decided on a limit"),
    ];
    let some = counts.into_iter().filter(|(n, _)| *n > 0);
    some.map(|(n, words)| format!("{n} {words}")).collect()
}

fn table(required: &[RequiredResult]) -> Table {
    let jobs = of_jobs(required, |r| r.key.job.as_ref().map(JobAtTarget::shown));
    of_cells(jobs, |r| &r.key.case)
        .words("metric", |r| name(r.metric))
        .numbers("tonight", |r| r.value.map(|v| r.metric.show(v)))
        .numbers("95% interval", |r| {
            r.interval
                .as_ref()
                .map(|interval| range(r.metric, interval))
        })
        .rank(2)
        .numbers("limit", |r| {
            let bound = match r.metric.better() {
                Better::Lower => '≤',
                Better::Higher => '≥',
            };
            format!("{bound} {}", r.metric.show(r.limit))
        })
        .numbers(units(required), |r| r.n_processes.to_string())
        .rank(3)
        .words("verdict", |r| r.verdict.word())
        .table()
}

/// `4.07 to 4.27 ms`.
fn range(metric: Metric, interval: &Interval) -> String {
    let (lo, hi) = (metric.show(interval.lo), metric.show(interval.hi));
    let unit = |text: &str| text.split_once(' ').map(|(_, unit)| unit.to_owned());
    match lo.split_once(' ') {
        Some((value, _)) if unit(&lo) == unit(&hi) => format!("{value} to {hi}"),
        _ => format!("{lo} to {hi}"),
    }
}
