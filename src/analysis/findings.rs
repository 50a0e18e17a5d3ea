//! The sentences of a report: each made from data, each with the figures it rests on.

use super::bottleneck::{self, Bottleneck};
use super::capacity::{Slo, capacity};
use super::choice::{self, Choice, GOOD_ENOUGH, Rival, rate};
use super::curve::{Along, Curve, curves, is_measured, long_curves};
use super::theory::Theory;
use super::{Finding, Sure};
use crate::stats::Interval;
use crate::text::{plural, short};
use crate::units;
use crate::view::{CellOutcome, CellView, CellWarning, RunView};

/// Half-widths of intervals up to this let differences be seen that matter.
const NARROW: f64 = 0.05;
/// Curves that get a sentence each; with more nobody reads on.
const MOST_CURVES: usize = 8;

/// The first screen: which file and batch, within which limits, what bounds it, how sure.
pub fn lead(view: &RunView, theory: &Theory, slo: Option<&Slo>) -> Vec<Finding> {
    let Some(choice) = choice::for_all(view) else {
        return vec![nothing_measured(view)];
    };
    let mut findings = Vec::new();
    findings.extend(slo.map(|slo| within_limits(view, slo)));
    findings.push(for_all(view, &choice));
    let one = choice::for_one(view);
    findings.extend(
        one.as_ref()
            .filter(|one| one.cell.case != choice.cell.case)
            .map(for_one),
    );
    findings.push(bounds(view, theory, &choice, one.as_ref()));
    findings.push(trust(view));
    findings
}

/// What the curves show: how throughput grows, which file wins where, how long the worst steps are.
pub fn scaling(view: &RunView) -> Vec<Finding> {
    let curves = long_curves(view, Along::Batch);
    let mut findings: Vec<Finding> = curves.iter().filter_map(flattening).collect();
    findings.truncate(MOST_CURVES);
    findings.extend(ranking(view));
    findings
}

fn nothing_measured(view: &RunView) -> Finding {
    let mut evidence: Vec<String> = view
        .cells
        .iter()
        .take(5)
        .map(|c| {
            format!(
                "{}: {}.",
                short(c.case_id.as_str()),
                short(&c.outcome_detail)
            )
        })
        .collect();
    if view.cells.len() > evidence.len() {
        evidence.push(format!("{} more cells.", view.cells.len() - evidence.len()));
    }
    Finding {
        question: "Which file and batch size?",
        claim: "Undetermined: no cell was measured.".to_owned(),
        evidence,
        sure: Sure::Undetermined,
        see: Vec::new(),
    }
}

/// `1008 tokens/s (95%: 800 to 1270)`.
pub fn throughput(cell: &CellView) -> String {
    let said = cell.decode_interval.map(range).unwrap_or_default();
    format!("{} tokens/s{said}", units::significant(rate(cell)))
}

fn range(i: Interval) -> String {
    format!(
        " (95%: {} to {})",
        units::significant(i.lo),
        units::significant(i.hi)
    )
}

fn step(cell: &CellView) -> String {
    cell.median_step_ns
        .map_or("n/a".to_owned(), units::duration)
}

/// The model, with the other settings that tell it from the run's other cells.
fn named(cell: &CellView) -> String {
    short(&cell.case.model)
}

fn at_batch(cell: &CellView) -> String {
    match cell.case.n_seq {
        1 => "one sequence at a time".to_owned(),
        n => format!("{n} sequences at once"),
    }
}

fn for_all(view: &RunView, choice: &Choice<'_>) -> Finding {
    let cell = choice.cell;
    let mut evidence = Vec::new();
    let mut shown = true;
    if choice.most.case == cell.case {
        evidence.push("No measured cell gives more tokens/s in all.".to_owned());
    } else {
        let share = choice
            .of_most
            .map_or(rate(cell) / rate(choice.most), |i| i.estimate);
        let said = choice.of_most.map(|i| range(i.map(|s| s * 100.0)));
        evidence.push(format!(
            "That is {:.0}%{} of the most that was measured, {} with {} of {}, where a token takes {}; of all cells \
             with at least {:.0}% it has the shortest step.",
            share * 100.0,
            said.unwrap_or_default(),
            throughput(choice.most),
            at_batch(choice.most),
            named(choice.most),
            step(choice.most),
            GOOD_ENOUGH * 100.0,
        ));
        shown &= choice.of_most.is_some_and(|i| i.lo >= GOOD_ENOUGH);
    }
    if let Some(rival) = &choice.rival {
        evidence.push(against(cell, rival));
        shown &= rival.is_slower();
    }
    let n_cells = curves(view, Along::Batch)
        .iter()
        .map(|c| c.cells.len())
        .sum::<usize>();
    shown &= n_cells > 1;
    if n_cells == 1 {
        evidence.push("It is the only cell measured: there was nothing to choose from.".to_owned());
    }
    Finding {
        question: "Which file and batch size, for many users?",
        claim: format!(
            "{} with {}: {} in all, and a token every {} for each.",
            named(cell),
            at_batch(cell),
            throughput(cell),
            step(cell)
        ),
        evidence,
        sure: if shown { Sure::Shown } else { Sure::Likely },
        see: vec!["throughput", "tradeoff"],
    }
}

fn for_one(choice: &Choice<'_>) -> Finding {
    let cell = choice.cell;
    let ttft = cell.ttft_ns.map(|ns| {
        format!(
            " The first token of a prompt of {} comes after {}.",
            cell.case.n_prompt,
            units::duration(ns)
        )
    });
    let mut evidence = Vec::new();
    let mut shown = false;
    if let Some(rival) = &choice.rival {
        evidence.push(against(cell, rival));
        shown = rival.is_slower();
    } else {
        evidence.push("No other file was measured with these settings.".to_owned());
    }
    Finding {
        question: "Which file for one user?",
        claim: format!(
            "{} with {}: {}, a token every {}.{}",
            named(cell),
            at_batch(cell),
            throughput(cell),
            step(cell),
            ttft.unwrap_or_default()
        ),
        evidence,
        sure: if shown { Sure::Shown } else { Sure::Likely },
        see: vec!["tokens_per_second", "ttft_comparison"],
    }
}

fn against(cell: &CellView, rival: &Rival<'_>) -> String {
    let other = format!("{} ({})", named(rival.cell), throughput(rival.cell));
    match rival.times_as_fast {
        Some(i) if i.lo > 1.0 => format!(
            "The next best file at this batch is {other}; {} is {} times as fast{}, by pairs of processes.",
            named(cell),
            units::significant(i.estimate),
            range(i)
        ),
        Some(i) => format!(
            "Against the next best file at this batch, {other}, it is {} times as fast{}: chance is not excluded.",
            units::significant(i.estimate),
            range(i)
        ),
        None => format!(
            "The next best file at this batch is {other}; with fewer than two processes for each nothing can be said \
             about chance."
        ),
    }
}

fn within_limits(view: &RunView, slo: &Slo) -> Finding {
    let curves = curves(view, Along::Batch);
    let mut evidence = Vec::new();
    let mut best: Option<(u32, f64, String, Sure)> = None;
    let mut known = false;
    for curve in &curves {
        let c = match capacity(curve, slo) {
            Ok(c) => c,
            Err(why) => {
                evidence.push(format!("{}: undetermined, {why}.", curve.label));
                continue;
            }
        };
        known = true;
        let least = curve.cells.first().map_or(0, |c| c.case.n_seq);
        let interval = c.interval.filter(|_| c.batch > 0);
        let range = interval
            .map(|(lo, hi)| format!(" (95%: {lo} to {hi})"))
            .unwrap_or_default();
        let at_least = if c.at_least { "at least " } else { "" };
        let binds = c.binds.map(|f| format!("; {f} binds")).unwrap_or_default();
        let said = match c.batch {
            0 => format!("none: already {least} is too slow{binds}"),
            n => format!("{at_least}{n} sequences{range}{binds}"),
        };
        evidence.push(format!("{}: {said}.", curve.label));
        let rate = c.tokens_per_s.unwrap_or(0.0);
        let sure = match (c.batch, interval) {
            (_, Some((lo, _))) if lo >= c.batch.max(1) / 2 => Sure::Shown,
            (0, _) => Sure::Shown,
            _ => Sure::Likely,
        };
        if best
            .as_ref()
            .is_none_or(|(n, r, _, _)| (c.batch, rate) > (*n, *r))
        {
            let users = plural(c.batch, "user", "users");
            let said = match c.batch {
                0 => format!("No measured batch keeps {slo}."),
                _ => format!(
                    "{} serves {at_least}{users} at once{range} with {slo}, about {} tokens/s in all.",
                    curve.label,
                    units::significant(rate)
                ),
            };
            best = Some((c.batch, rate, said, sure));
        }
    }
    let (claim, sure) = match best {
        Some((_, _, claim, sure)) if known => (claim, sure),
        _ => (format!("Undetermined for {slo}."), Sure::Undetermined),
    };
    Finding {
        question: "How many users within the limits?",
        claim,
        evidence,
        sure,
        see: vec!["latency", "ttft_comparison"],
    }
}

fn bounds(
    view: &RunView,
    theory: &Theory,
    choice: &Choice<'_>,
    one: Option<&Choice<'_>>,
) -> Finding {
    let mut cells = vec![choice.cell];
    cells.extend(one.map(|o| o.cell).filter(|c| c.case != choice.cell.case));
    let found: Vec<(&CellView, Bottleneck)> = cells
        .into_iter()
        .map(|cell| (cell, bottleneck::of(view, cell, theory.ceiling(cell))))
        .collect();
    let claims: Vec<String> = found
        .iter()
        .map(|(cell, found)| bottleneck::sentence(cell, found))
        .collect();
    let all_named = found.iter().all(|(_, b)| b.bound.is_some());
    let any_named = found.iter().any(|(_, b)| b.bound.is_some());
    let evidence = found
        .iter()
        .flat_map(|(cell, b)| {
            let place = format!("{} at batch {}", named(cell), cell.case.n_seq);
            b.evidence.iter().map(move |e| {
                let leaves: Vec<&str> = e.leaves.iter().map(|b| b.short()).collect();
                let leaves = match leaves.is_empty() {
                    true => "says nothing".to_owned(),
                    false => format!("leaves {}", leaves.join(", ")),
                };
                format!("{place}, {}: {} ({leaves}).", e.kind, e.text)
            })
        })
        .collect();
    Finding {
        question: "What limits this machine?",
        claim: claims.join(" "),
        evidence,
        sure: match (all_named, any_named) {
            (true, _) => Sure::Shown,
            (_, true) => Sure::Likely,
            _ => Sure::Undetermined,
        },
        see: vec!["roofline", "throughput", "step_along_generation"],
    }
}

fn trust(view: &RunView) -> Finding {
    let measured: Vec<&CellView> = view.cells.iter().filter(|c| is_measured(c)).collect();
    let mut widths: Vec<f64> = measured
        .iter()
        .filter_map(|c| c.decode_interval?.relative_half_width())
        .collect();
    widths.sort_unstable_by(f64::total_cmp);
    let processes = measured.iter().map(|c| c.n_processes);
    let (fewest, most) = (
        processes.clone().min().unwrap_or(0),
        processes.max().unwrap_or(0),
    );
    let processes = if fewest == most {
        plural(most, "process", "processes")
    } else {
        format!("{fewest} to {most} processes")
    };
    let (claim, sure) = match widths[..] {
        [] => (
            format!(
                "Undetermined: {processes} a cell and a single repetition in it give no interval."
            ),
            Sure::Undetermined,
        ),
        [least, ..] => {
            let (middle, widest) = (widths[widths.len() / 2], widths[widths.len() - 1]);
            let claim = format!(
                "Throughput is known to {} or better in half of the cells (best {}, worst {}), from {processes} a cell.",
                percent(middle),
                percent(least),
                percent(widest)
            );
            let sure = match middle {
                w if w <= NARROW => Sure::Shown,
                w if w <= 4.0 * NARROW => Sure::Likely,
                _ => Sure::Undetermined,
            };
            (claim, sure)
        }
    };
    Finding {
        question: "How sure is it?",
        claim,
        evidence: doubts(view, &measured),
        sure,
        see: Vec::new(),
    }
}

fn percent(share: f64) -> String {
    if share > 10.0 {
        return "more than 1000%".to_owned();
    }
    format!("{}%", units::significant(share * 100.0))
}

fn doubts(view: &RunView, measured: &[&CellView]) -> Vec<String> {
    let n = measured.len();
    let mut said = vec![format!(
        "{n} of {} were measured.",
        plural(count(view.cells.len()), "cell", "cells")
    )];
    let with = |has: fn(&CellWarning) -> bool| {
        measured
            .iter()
            .filter(|c| c.warnings.iter().any(has))
            .count()
    };
    let disturbed = with(|w| matches!(w, CellWarning::Host { .. }));
    if disturbed > 0 {
        said.push(format!(
            "The machine was disturbed in some repetition of {disturbed} of these {n}."
        ));
    }
    let unsteady = with(|w| matches!(w, CellWarning::NotSteady { .. }));
    if unsteady > 0 {
        said.push(format!(
            "The warm-up of {unsteady} did not settle in some process."
        ));
    }
    let partly = with(|w| {
        matches!(
            w,
            CellWarning::Failures { .. } | CellWarning::FewProcesses { .. }
        )
    });
    if partly > 0 {
        said.push(format!(
            "{partly} were measured in fewer processes than planned."
        ));
    }
    for (outcome, words) in [
        (CellOutcome::Skipped, "did not fit into memory"),
        (CellOutcome::Crashed, "crashed"),
        (CellOutcome::Failed, "failed"),
        (CellOutcome::TimedOut, "hung"),
        (CellOutcome::Interrupted, "were interrupted"),
        (CellOutcome::Missing, "were not measured yet"),
    ] {
        let n = view.cells.iter().filter(|c| c.outcome == outcome).count();
        if n > 0 {
            said.push(format!("{n} {words}."));
        }
    }
    if measured.iter().all(|c| c.step_ns.p99.is_none()) {
        said.push("No cell has the 299 steps that a p99 needs.".to_owned());
    }
    said
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// How a curve's throughput grows, and where that stops paying.
fn flattening(curve: &Curve<'_>) -> Option<Finding> {
    let (first, most) = choice::flattens(curve)?;
    let (least, largest) = (*curve.cells.first()?, *curve.cells.last()?);
    let speedup = rate(most) / rate(least);
    let mut evidence: Vec<String> = Vec::new();
    for pair in curve.cells.windows(2) {
        let (a, b) = (pair[0], pair[1]);
        let more = f64::from(b.case.n_seq) / f64::from(a.case.n_seq.max(1));
        evidence.push(format!(
            "From batch {} to {} ({} times the sequences): {} times the tokens/s, {} times the step.",
            a.case.n_seq,
            b.case.n_seq,
            units::significant(more),
            units::significant(rate(b) / rate(a)),
            units::significant(b.median_step_ns? as f64 / a.median_step_ns? as f64),
        ));
    }
    let where_it_ends = if most.case.n_seq == largest.case.n_seq && first.case == most.case {
        "it still grows at the largest batch measured".to_owned()
    } else {
        format!(
            "batch {} already gives {:.0}% of the most, {} at batch {}",
            first.case.n_seq,
            rate(first) / rate(most) * 100.0,
            throughput(most),
            most.case.n_seq
        )
    };
    let known = [first, most, least].iter().all(|c| {
        c.decode_interval
            .and_then(|i| i.relative_half_width())
            .is_some_and(|w| w <= 0.1)
    });
    Some(Finding {
        question: "How does throughput grow with the batch?",
        claim: format!(
            "{}: {} times the tokens/s of batch {} at best; {where_it_ends}.",
            curve.label,
            units::significant(speedup),
            least.case.n_seq
        ),
        evidence,
        sure: if known { Sure::Shown } else { Sure::Likely },
        see: vec!["throughput"],
    })
}

/// Which file is fastest at which batch, when that is not the same everywhere.
fn ranking(view: &RunView) -> Option<Finding> {
    let all = curves(view, Along::Batch);
    let mut batches: Vec<u32> = all
        .iter()
        .flat_map(|c| &c.cells)
        .map(|c| c.case.n_seq)
        .collect();
    batches.sort_unstable();
    batches.dedup();
    let mut winners: Vec<(u32, &CellView, Option<Rival<'_>>)> = Vec::new();
    for batch in batches {
        let here = || {
            all.iter()
                .flat_map(|c| &c.cells)
                .filter(|c| c.case.n_seq == batch)
        };
        let best = here().max_by(|a, b| rate(a).total_cmp(&rate(b)))?;
        let others = here().filter(|c| c.case.model != best.case.model);
        let second = others.max_by(|a, b| rate(a).total_cmp(&rate(b)));
        winners.push((batch, best, second.map(|s| Rival::of(best, s))));
    }
    winners.retain(|(_, _, rival)| rival.is_some());
    let (_, first, _) = winners.first()?;
    let everywhere = winners
        .iter()
        .all(|(_, best, _)| best.case.model == first.case.model);
    let shown = winners
        .iter()
        .all(|(_, _, r)| r.is_some_and(|r| r.is_slower()));
    let claim = if everywhere {
        format!("{} is the fastest file at every batch.", named(first))
    } else {
        let list: Vec<String> = winners
            .iter()
            .map(|(batch, best, _)| format!("{} at {batch}", named(best)))
            .collect();
        format!(
            "The fastest file depends on the batch: {}.",
            list.join(", ")
        )
    };
    let evidence = winners.iter().filter_map(|(batch, best, rival)| {
        Some(format!(
            "Batch {batch}: {}. {}",
            throughput(best),
            against(best, rival.as_ref()?)
        ))
    });
    Some(Finding {
        question: "Which file is fastest where?",
        claim,
        evidence: evidence.collect(),
        sure: if shown { Sure::Shown } else { Sure::Likely },
        see: vec!["throughput"],
    })
}
