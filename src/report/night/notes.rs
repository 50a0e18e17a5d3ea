//! The notes below a gate's table: how to read it, what it does not include, and what to do next.

use std::collections::BTreeMap;

use crate::compare::percent;
use crate::compare::samples::Disturbed;
use crate::gate::drift::{LevelChange, LevelChanges};
use crate::gate::{CellResult, CellVerdict, Doubt, GateReport, NightSd, NightVerdict};
use crate::report::table::Note;
use crate::report::text::plural;
use crate::units::{p_value, signed_percent};
use crate::view::quality::FEWEST_CHUNKS;

/// Most lines of changes in the history; the JSON has all.
const MOST_CHANGES: usize = 6;

/// Most cells that are named in such a line.
const MOST_CELLS: usize = 3;

/// Labelled lines.
pub(super) fn below(report: &GateReport) -> Vec<Note> {
    let mut notes = vec![Note::new("", rule(report))];
    let unjudged = report.has_unjudged_requests.then(|| {
        "the requests of this run were not judged: `--metric request_latency`, or another metric of requests, judges them".to_owned()
    });
    let unjudged_quality = report.has_unjudged_quality.then(|| {
        "the quality cells of this run were not judged: `--metric kld`, or another metric of a scored text, judges them".to_owned()
    });
    let doubts = unjudged
        .into_iter()
        .chain(unjudged_quality)
        .chain(rounding(report))
        .chain(caveat(report))
        .chain(disturbance(report));
    notes.extend(doubts.map(|text| Note::new("note", text)));
    let drift = report.drift.iter();
    let changes = drift.flat_map(|d| history(d, report.cells.len()));
    notes.extend(changes.map(|text| Note::new("history", text)));
    notes.extend(next(report).into_iter().map(|text| Note::new("next", text)));
    notes
}

fn rule(report: &GateReport) -> String {
    let rule = &report.rule;
    let words = report.metric.words();
    let is_open = |cell: &CellResult| cell.verdict == CellVerdict::Inconclusive;
    let more = |units: &str| match report.cells.iter().any(is_open) {
        true => format!(" (+N): would need about N more {units}."),
        false => String::new(),
    };
    if report.metric.is_of_quality() {
        return format!(
            "{}: {}, relative to the baseline, over the chunks that both scored. pass: a change of +{tolerance} or more is excluded \
             at {}. regression: p at most {} for a change of at most +{tolerance}, after Holm over the cells; a score is computed \
             without chance, so no rerun is needed. Fewer than {FEWEST_CHUNKS} chunks are inconclusive.{more}",
            words.heading,
            words.how_much("tonight"),
            percent(rule.pass_level),
            rule.alpha,
            tolerance = percent(rule.tolerance),
            more = more("chunks a side"),
        );
    }
    if report.has_pairs() {
        return format!(
            "{}: {}, relative to the baseline: the median over the pairs. The interval holds at whatever pair the measurement ended. \
             pass: a change of more than +{} is excluded at {}. regression: such a change is shown, and the chance of one shown \
             falsely in any cell is at most {}.{}",
            words.heading,
            words.how_much("tonight"),
            percent(rule.tolerance),
            percent(rule.pass_level),
            rule.alpha,
            more("pairs")
        );
    }
    format!(
        "{}: {}, relative to the baseline. pass: a change of +{} or more is excluded at {}. suspected: p at most {} for a change of at \
         most +{}, after Holm over the cells; regression: and seen again in a rerun.{}",
        words.heading,
        words.how_much("tonight"),
        percent(rule.tolerance),
        percent(rule.pass_level),
        rule.alpha,
        percent(rule.tolerance),
        more("processes a side")
    )
}

/// What is no loss although the tolerance is exceeded.
fn rounding(report: &GateReport) -> Option<String> {
    let rounding = report.rounding?;
    Some(format!(
        "in every cell a change of {} by at most {} passes: the engine's rounding explains it, as the baseline's floor shows.",
        report.metric,
        report.metric.show(rounding)
    ))
}

/// What the intervals do not include.
fn caveat(report: &GateReport) -> Option<String> {
    let known: Vec<NightSd> = report.cells.iter().filter_map(|c| c.night_sd).collect();
    let nights = known.iter().map(|n| n.nights).max()?;
    let least = known.iter().map(|n| n.sd).fold(f64::INFINITY, f64::min);
    let most = known.iter().map(|n| n.sd).fold(0.0, f64::max);
    let spread = if nights < 2 {
        format!("{} (--night-sd)", percent(report.rule.night_sd))
    } else {
        let range = match (tenths(least), tenths(most)) {
            (least, most) if least == most => most,
            (least, most) => format!("{least} to {most}"),
        };
        format!(
            "{range} (--night-sd {}, corrected by {nights} nights of the history)",
            percent(report.rule.night_sd)
        )
    };
    Some(format!(
        "the baseline is a single run, so the intervals do not include the difference between nights. Nights are assumed to differ by \
         {spread}. A change that two such nights show by chance more often than {} of the time is no regression.",
        percent(report.rule.night_alpha)
    ))
}

fn tenths(share: f64) -> String {
    format!("{:.1}%", share * 100.0)
}

fn disturbance(report: &GateReport) -> Option<String> {
    let uneven = |c: &&CellResult| matches!(c.doubt, Some(Doubt::Disturbed { .. }));
    let cells: Vec<&CellResult> = report.cells.iter().filter(uneven).collect();
    if cells.is_empty() {
        return None;
    }
    let (tonight, baseline): (Vec<Disturbed>, Vec<Disturbed>) = cells
        .iter()
        .filter_map(|c| match c.doubt {
            Some(Doubt::Disturbed { tonight, baseline }) => Some((tonight, baseline)),
            _ => None,
        })
        .unzip();
    let (tonight, baseline) = (Disturbed::sum(tonight), Disturbed::sum(baseline));
    Some(format!(
        "in the cells called disturbed, other work used the machine (other processes, steal, swapping, throttling) in {} of {} repetitions \
         tonight and in {} of {} of the baseline; the undisturbed ones do not give the same verdict.",
        tonight.repetitions, tonight.of, baseline.repetitions, baseline.of
    ))
}

/// Changes of level, those of the same night in one line.
fn history(drift: &LevelChanges, n_cells: usize) -> Vec<String> {
    if drift.changes.is_empty() {
        return vec![format!("no change of level in {} nights", drift.nights)];
    }
    let mut by_night: BTreeMap<(&str, &str), Vec<&LevelChange>> = BTreeMap::new();
    for change in &drift.changes {
        let nights = (change.after.as_str(), change.before.as_str());
        by_night.entry(nights).or_default().push(change);
    }
    let n_lines = by_night.len();
    let newest = by_night.iter().rev().take(MOST_CHANGES);
    let mut lines: Vec<String> = newest
        .map(|((after, before), changes)| {
            let of = |c: &&LevelChange| c.change;
            let least = changes.iter().map(of).fold(f64::INFINITY, f64::min);
            let most = changes.iter().map(of).fold(f64::NEG_INFINITY, f64::max);
            let by = match (signed_percent(least), signed_percent(most)) {
                (least, most) if least == most => most,
                (least, most) => format!("{least} to {most}"),
            };
            let p = changes.iter().map(|c| c.p).fold(0.0, f64::max);
            format!(
                "level changed by {by} between {before} and {after} in {} (p {})",
                cells(changes, n_cells),
                p_value(p)
            )
        })
        .collect();
    if n_lines > MOST_CHANGES {
        lines.push(format!("and {} earlier changes", n_lines - MOST_CHANGES));
    }
    if let Some(first) = lines.first_mut() {
        first.push_str(&format!(
            "; of {} nights, for information only",
            drift.nights
        ));
    }
    lines
}

fn cells(changes: &[&LevelChange], n_cells: usize) -> String {
    if changes.len() == n_cells && n_cells > 1 {
        return format!("all {n_cells} cells");
    }
    let mut names: Vec<String> = changes
        .iter()
        .take(MOST_CELLS)
        .map(|c| c.case_id.to_string())
        .collect();
    if changes.len() > MOST_CELLS {
        let more = u32::try_from(changes.len() - MOST_CELLS).unwrap_or(u32::MAX);
        names.push(format!("{} more", plural(more, "cell", "cells")));
    }
    names.join(", ")
}

fn next(report: &GateReport) -> Vec<String> {
    let has = |verdict| report.cells.iter().any(|c| c.verdict == verdict);
    let doubts = |of: fn(&Doubt) -> bool| {
        report
            .cells
            .iter()
            .any(|c| c.doubt.as_ref().is_some_and(of))
    };
    // Requests are not measured in turns with another program.
    let in_turns = match report.metric.is_of_requests() {
        true => "",
        false => "measure both sides in turns (ggufbench ab), or ",
    };
    let lacks = |c: &CellResult| {
        c.more_processes.is_some() || matches!(c.doubt, Some(Doubt::UndecidedAgain { .. }))
    };
    let lacks = report.cells.iter().any(lacks);
    let advice = [
        (
            has(CellVerdict::Suspected),
            "--rerun measures the suspected cells again; only what is seen twice is a regression"
                .to_owned(),
        ),
        (
            doubts(|d| is_disturbed(d, |tonight, baseline| tonight > baseline)),
            format!("the machine was disturbed tonight: {in_turns}measure again at a quieter time"),
        ),
        (
            doubts(|d| is_disturbed(d, |tonight, baseline| tonight < baseline)),
            "the machine was disturbed when the baseline was measured: promote a quieter run"
                .to_owned(),
        ),
        (
            doubts(|d| *d == Doubt::Night),
            format!(
                "{in_turns}--keep nights, which show how much they differ, or state it with --night-sd"
            ),
        ),
        (
            report.verdict == NightVerdict::Inconclusive && lacks,
            match (report.has_pairs(), report.metric.is_of_quality()) {
                (true, _) => {
                    "measure the pair with more --budget or --max-replicates, or calm the machine"
                }
                (false, true) => "raise --chunks in both runs",
                (false, false) => "raise --replicates in both runs, or calm the machine",
            }
            .to_owned(),
        ),
    ];
    let applies = advice.into_iter().filter(|(applies, _)| *applies);
    applies.map(|(_, text)| text).collect()
}

fn is_disturbed(doubt: &Doubt, uneven: fn(f64, f64) -> bool) -> bool {
    match doubt {
        Doubt::Disturbed { tonight, baseline } => uneven(tonight.share(), baseline.share()),
        _ => false,
    }
}
