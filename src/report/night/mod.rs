//! A gate's verdict as a table.

mod notes;
pub(super) mod required;

use super::axes;
use super::comparison::{differences, listed, of_cells, of_jobs, range};
use super::table::{Document, Table};
use crate::compare::output::ComparedOutputs;
use crate::compare::samples::{CellKey, JobAtTarget};
use crate::compare::{more_in_short, more_pairs_in_short, would_need_of, would_need_pairs};
use crate::gate::{BaselineUnits, CellResult, CellVerdict, Doubt, GateReport};
use crate::metric::Metric;
use crate::units::{p_value, signed_percent};

/// A gate's tables: of the cells against the baseline, and of the limits in absolute values.
pub fn documents(report: &GateReport) -> Vec<Document> {
    let against = (!report.is_alone()).then(|| document(report));
    let required = required::document(report);
    against.into_iter().chain(required).collect()
}

/// A gate's table, with its baseline above and advice below.
pub fn document(report: &GateReport) -> Document {
    let keys: Vec<&CellKey> = report.cells.iter().map(|c| &c.key).collect();
    Document::new(
        format!("{}: {}", report.run, report.verdict.word()),
        table(report),
    )
    .above("verdict", verdict(report))
    .above("run", report.run.as_str())
    .above("baseline", baseline(report))
    .all_above(report.rerun.iter().map(|run| ("rerun", run.clone())))
    .above("metric", report.metric.to_string())
    .above("cells", axes::constants_of(&keys))
    .all_above(differences(&report.differences))
    .all_below(listed("not measured tonight", &report.missing))
    .all_below(listed("not in the baseline", &report.new))
    .all_below(notes::below(report))
}

fn table(report: &GateReport) -> Table {
    let again = |c: &CellResult| Some(signed_percent(c.rerun?.slowdown?.estimate));
    let jobs = of_jobs(&report.cells, |c| {
        c.key.job.as_ref().map(JobAtTarget::shown)
    });
    let units = |c: &CellResult| c.key.sample_unit(report.metric);
    of_cells(jobs, |c| &c.key.case)
        .numbers(format!("{} before", name(report.metric)), |c| {
            c.value_before.map(|v| report.metric.show(v))
        })
        .rank(2)
        .numbers("tonight", |c| c.value.map(|v| report.metric.show(v)))
        .rank(2)
        .numbers("pairs", |c| c.pairs.map(|pairs| pairs.n_pairs.to_string()))
        .only_if(report.has_pairs())
        .numbers(report.metric.words().heading, |c| {
            let of_pairs = c.pairs.map(|pairs| pairs.estimate.exp_m1());
            let change = c.slowdown.map(|s| s.estimate).or(of_pairs);
            change.map(signed_percent)
        })
        .numbers("95% interval", |c| c.slowdown.as_ref().map(range))
        .numbers("p", |c| c.p_adjusted.map(p_value))
        .rank(3)
        .only_if(!report.has_pairs())
        .numbers("p nights", |c| c.p_night.map(p_value))
        .rank(4)
        .only_if(report.cells.iter().any(|c| c.p_night.is_some()))
        .numbers("rerun", again)
        .blank()
        .only_if(report.rerun.is_some())
        .numbers("against", |c| match c.against {
            BaselineUnits::Processes(n) => format!("{n} {}", units(c)[1]),
            BaselineUnits::Nights(n) => format!("{n} nights"),
            BaselineUnits::Chunks(n) => format!("{n} chunks"),
        })
        .rank(4)
        .words("verdict", |c| verdicts(c, units(c))[0].clone())
        .short(|c| verdicts(c, units(c))[1].clone())
        .table()
}

/// What a column of a metric's values is called: the unit where the values do not show it.
fn name(metric: Metric) -> String {
    match metric.unit() {
        "tokens/s" => format!("{} t/s", metric.name().replace('_', " ")),
        "J/token" => "J/token".to_owned(),
        _ => metric.name().replace('_', " "),
    }
}

/// A cell's verdict with its reason, in full and in short.
pub(super) fn verdicts(cell: &CellResult, units: [&str; 2]) -> [String; 2] {
    let reasons = match (cell.doubt, cell.more_processes) {
        (Some(Doubt::NotSeenAgain), _) => ["(not seen again)", "(once)"].map(str::to_owned),
        (Some(Doubt::UndecidedAgain { more }), _) => undecided_again(cell, more, units),
        (Some(Doubt::NotMeasuredAgain), _) => {
            ["(not measured again)", "(no rerun)"].map(str::to_owned)
        }
        (Some(Doubt::Night), _) => ["(nights may differ as much)", "(night)"].map(str::to_owned),
        (Some(Doubt::Disturbed { tonight, baseline }), _) => [
            format!(
                "(disturbed: {} of {} against {} of {})",
                tonight.repetitions, tonight.of, baseline.repetitions, baseline.of
            ),
            "(disturbed)".to_owned(),
        ],
        (None, Some(n)) if cell.pairs.is_some() => [
            format!("({})", would_need_pairs(Some(n))),
            more_pairs_in_short(Some(n)),
        ],
        (None, Some(n)) => [
            format!("({})", would_need_of(Some(n), units)),
            more_in_short(Some(n)),
        ],
        (None, None) => return [cell.verdict.word(); 2].map(str::to_owned),
    };
    reasons.map(|reason| format!("{} {reason}", cell.verdict.word()))
}

/// What a rerun lacks that showed nothing.
fn undecided_again(cell: &CellResult, more: Option<usize>, units: [&str; 2]) -> [String; 2] {
    let (needs, in_short) = match (more, cell.pairs) {
        (None, _) => return ["(undecided again)", "(undecided)"].map(str::to_owned),
        (more, Some(_)) => (would_need_pairs(more), more_pairs_in_short(more)),
        (more, None) => (would_need_of(more, units), more_in_short(more)),
    };
    [format!("(undecided again, {needs})"), in_short]
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
    parts.extend(required::counts(report));
    let is_wrong = report.outputs.as_ref();
    let of_outputs = match is_wrong.is_some_and(ComparedOutputs::any_differs) {
        true => "; output differs",
        false => "",
    };
    format!(
        "{} ({}{of_outputs})",
        report.verdict.word(),
        parts.join(", ")
    )
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
