//! A gate's verdict as a table.

use super::axes;
use super::comparison::{cell_columns, differences, listed, range};
use super::sheet::{Column, Sheet, p_value, signed_percent};
use crate::compare::{more_in_short, percent, would_need};
use crate::gate::{Against, CellResult, CellVerdict, GateReport, NightVerdict};
use crate::plan::Case;

/// A gate's table, what it was held against, and what to do.
pub fn sheet(report: &GateReport) -> Sheet {
    let cases: Vec<&Case> = report.cells.iter().map(|c| &c.case).collect();
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
    above.push(("cells".to_owned(), axes::constants(&cases)));
    above.extend(differences(&report.differences));
    let mut below = Vec::new();
    below.extend(listed("not measured tonight", &report.missing));
    below.extend(listed("not in the baseline", &report.new));
    below.push((String::new(), rule(report)));
    below.extend(caveat(report).map(|text| ("note".to_owned(), text.to_owned())));
    below.extend(next(report).map(|text| ("next".to_owned(), text.to_owned())));
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
    let mut columns = cell_columns(cases);
    columns.extend([
        Column::numbers(
            "time",
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
            Against::Processes(n) => format!("{n} processes"),
            Against::Nights(n) => format!("{n} nights"),
        }),
    ));
    let short = |c: &CellResult| match (c.rerun, c.more_processes) {
        (None, Some(n)) => format!("{} {}", c.verdict.word(), more_in_short(Some(n))),
        _ => c.verdict.word().to_owned(),
    };
    columns.push(Column::words("verdict", 0, of(&cell_verdict)).or_short(of(&short)));
    columns
}

fn cell_verdict(cell: &CellResult) -> String {
    match (cell.verdict, cell.more_processes) {
        (CellVerdict::Inconclusive, _) if cell.rerun.is_some() => {
            "inconclusive (not seen again)".to_owned()
        }
        (CellVerdict::Inconclusive, Some(n)) => format!("inconclusive ({})", would_need(Some(n))),
        (verdict, _) => verdict.word().to_owned(),
    }
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

fn rule(report: &GateReport) -> String {
    let rule = &report.rule;
    format!(
        "time: how much longer a decode step takes. pass: {} slower or more is excluded at {}. suspected: p at most {} for \
         \"at most {} slower\", after Holm over the cells; regression: and seen again in a rerun. (+N): would need about \
         N more processes a side.",
        percent(rule.tolerance),
        percent(rule.pass_level),
        rule.alpha,
        percent(rule.tolerance)
    )
}

/// What the intervals do not know.
fn caveat(report: &GateReport) -> Option<&'static str> {
    let single = report
        .cells
        .iter()
        .any(|c| matches!(c.against, Against::Processes(_)));
    single.then_some(
        "the baseline is a single run: what differs between nights is in no interval; from 4 nights of history on, \
         --baseline last:14 knows it",
    )
}

fn next(report: &GateReport) -> Option<&'static str> {
    let has = |verdict| report.cells.iter().any(|c| c.verdict == verdict);
    if has(CellVerdict::Suspected) {
        return Some(
            "--rerun measures the suspected cells again; only what is seen twice is a regression",
        );
    }
    let lacks = report.cells.iter().any(|c| c.more_processes.is_some());
    (report.verdict == NightVerdict::Inconclusive && lacks)
        .then_some("raise --replicates in both runs, or calm the machine")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::fixture::{batches, header, run, side};
    use crate::gate::Again;
    use crate::gate::{Baseline, GateError, Rule, gate};

    const QUIET: [u64; 3] = [999_000, 1_000_000, 1_001_000];

    #[test]
    fn a_night_fits_80_columns() {
        let cases = batches(&[1, 8, 32, 128]);
        let baseline = Baseline::Run(Box::new(run("20260131-020000-nightly", &cases, QUIET)));
        let tonight = side(
            header("20260201-020000-nightly", &cases[..3]),
            |case| match case.n_seq {
                1 => QUIET.to_vec(),
                8 => QUIET.map(|ns| ns * 11 / 10).to_vec(),
                _ => vec![960_000, 1_000_000, 1_040_000],
            },
        );
        let once = gate::<GateError>(&tonight, &baseline, &Rule::default(), None).expect("judged");
        let text = sheet(&once).terminal(80);
        assert!(
            text.lines().all(|line| line.chars().count() <= 80),
            "{text}"
        );
        for needle in [
            "inconclusive (1 pass, 1 suspected, 1 inconclusive, 1 not measured)",
            "inconclusive (+",
            "+10.0%",
            "not measured tonight: m/pp128/tg64/b128",
            "single run",
            "next: --rerun",
        ] {
            assert!(text.contains(needle), "{needle}: {text}");
        }
        let mut again = |cells: &[Case]| -> Result<Again, GateError> {
            Ok(run("20260201-030000-rerun", cells, QUIET.map(|ns| ns * 12 / 10)).into())
        };
        let rule = Rule::default();
        let twice = gate(&tonight, &baseline, &rule, Some(&mut again)).expect("judged");
        let text = sheet(&twice).terminal(80);
        assert!(
            text.contains("regression (1 pass, 1 regression, "),
            "{text}"
        );
        assert!(
            text.contains("+20.0%") && !text.contains("next: --rerun"),
            "{text}"
        );
    }
}
