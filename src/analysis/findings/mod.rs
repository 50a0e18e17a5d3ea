//! The sentences of a report: each made from data, each with the figures it rests on.

mod brief;
mod scaling;
mod trust;

pub use brief::brief;
pub use scaling::scaling;
use trust::trust;

use super::bottleneck::{self, Bottleneck};
use super::capacity::{Slo, capacity};
use super::choice::{self, Choice, GOOD_ENOUGH, Rival, rate};
use super::theory::Theory;
use super::{Finding, Sure};
use crate::metric::Metric;
use crate::stats::Interval;
use crate::text::{plural, short};
use crate::units;
use crate::view::{CellView, CellWarning, RunView};

/// The first screen: which file and batch, within which limits, what bounds it, how sure.
pub fn lead(view: &RunView, theory: &Theory, slo: Option<&Slo>) -> Vec<Finding> {
    let Some(without) = choice::for_all(view) else {
        return vec![nothing_measured(view)];
    };
    let mut findings = Vec::new();
    findings.extend(slo.map(|slo| within_limits(view, slo)));
    let choice = choice::for_all_within(view, slo);
    findings.push(match &choice {
        Some(choice) => for_all(view, choice, slo.map(|_| &without)),
        None => none_keeps(slo, &without),
    });
    let one = choice::for_one_within(view, slo);
    let choice = choice.unwrap_or(without);
    findings.extend(
        one.as_ref()
            .filter(|one| one.cell.case != choice.cell.case)
            .map(|one| for_one(view, one)),
    );
    findings.push(bounds(view, theory, &choice, one.as_ref()));
    findings.push(trust(view));
    findings
}

/// No cell can be recommended: the limits are tighter than anything measured.
fn none_keeps(slo: Option<&Slo>, without: &Choice<'_>) -> Finding {
    let limits = slo.map(ToString::to_string).unwrap_or_default();
    Finding {
        question: FOR_ALL,
        claim: format!("None: no measured cell keeps {limits}."),
        evidence: vec![format!(
            "Without the limits it would be {}.",
            in_short(without.cell)
        )],
        sure: Sure::Likely,
        see: vec!["latency", "ttft_comparison"],
    }
}

const FOR_ALL: &str = "Which file and batch size, for many users?";

/// `a with 32 sequences at once: 1032 tokens/s (95%: 1030 to 1033), a token every 31.0 ms`.
fn in_short(cell: &CellView) -> String {
    format!(
        "{} with {}: {}, a token every {}",
        named(cell),
        at_batch(cell),
        throughput(cell),
        step(cell)
    )
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
    let said = cell
        .interval(Metric::DecodeTokensPerS)
        .map(range)
        .unwrap_or_default();
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
    cell.median_step_ns()
        .map_or("n/a".to_owned(), units::duration)
}

fn named(cell: &CellView) -> String {
    short(&cell.case.model)
}

/// The model, with whatever else was chosen.
fn with_settings(view: &RunView, cell: &CellView) -> String {
    match choice::settings(view, cell).as_str() {
        "" => named(cell),
        settings => format!("{} ({settings})", named(cell)),
    }
}

/// The work that a cell does: `prompts of 128 and 64 generated tokens`.
fn work(cell: &CellView) -> String {
    let case = &cell.case;
    let depth = match case.n_depth {
        0 => String::new(),
        n => format!(" after {n} cached ones"),
    };
    format!(
        "prompts of {} and {} generated tokens{depth}",
        case.n_prompt, case.n_gen
    )
}

fn at_batch(cell: &CellView) -> String {
    match cell.case.n_seq {
        1 => "one sequence at a time".to_owned(),
        n => format!("{n} sequences at once"),
    }
}

/// `without` is what would be chosen without limits, where there are some.
fn for_all(view: &RunView, choice: &Choice<'_>, without: Option<&Choice<'_>>) -> Finding {
    let cell = choice.cell;
    let mut evidence = Vec::new();
    let mut shown = true;
    if choice.most.case == cell.case {
        let within = without.map_or("", |_| " within the limits");
        evidence.push(format!(
            "No measured cell{within} gives more tokens/s in all."
        ));
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
    if let Some(without) = without.filter(|w| w.cell.case != cell.case) {
        let other = in_short(without.cell);
        evidence.push(format!("Without the limits it would be {other}."));
    }
    let n_cells = choice::comparable(view)
        .iter()
        .map(|c| c.cells.len())
        .sum::<usize>();
    shown &= n_cells > 1;
    let disturbed = disturbance(cell);
    shown &= disturbed.is_none();
    evidence.extend(disturbed);
    if n_cells == 1 {
        evidence.push("It is the only cell measured: there was nothing to choose from.".to_owned());
    }
    Finding {
        question: FOR_ALL,
        claim: format!(
            "{} with {}: {} in all, and a token every {} for each, for {}.",
            with_settings(view, cell),
            at_batch(cell),
            throughput(cell),
            step(cell),
            work(cell)
        ),
        evidence,
        sure: if shown { Sure::Shown } else { Sure::Likely },
        see: vec!["throughput", "tradeoff"],
    }
}

fn for_one(view: &RunView, choice: &Choice<'_>) -> Finding {
    let cell = choice.cell;
    let ttft = cell.ns(Metric::TtftNs).map(|ns| {
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
    let disturbed = disturbance(cell);
    shown &= disturbed.is_none();
    evidence.extend(disturbed);
    Finding {
        question: "Which file for one user?",
        claim: format!(
            "{} with {}: {}, a token every {}.{}",
            with_settings(view, cell),
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

/// Why a cell's figures cannot show anything, when others used the machine during most of its repetitions: they may
/// have done so more during one cell than during another.
fn disturbance(cell: &CellView) -> Option<String> {
    let disturbed = cell.warnings.iter().find_map(|w| match w {
        CellWarning::Host {
            repetitions, of, ..
        } if 2 * repetitions > *of => Some((repetitions, of)),
        _ => None,
    });
    disturbed.map(|(n, of)| {
        format!("The machine was disturbed in {n} of the {of} repetitions of this cell, so nothing counts as shown.")
    })
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
    let curves = choice::comparable(view);
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
        let from_processes = curve.cells.iter().all(|c| c.n_processes > 1);
        let sure = match (c.batch, interval) {
            _ if !from_processes => Sure::Likely,
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

/// A sentence for each verdict; cells of which the same is known share one.
fn bound_claims(found: &[(&CellView, Bottleneck)]) -> String {
    let mut said: Vec<(String, Vec<String>)> = Vec::new();
    for (cell, verdict) in found {
        let place = format!("{} at batch {}", named(cell), cell.case.n_seq);
        let verdict = bottleneck::words(verdict);
        match said.iter_mut().find(|(known, _)| *known == verdict) {
            Some((_, places)) => places.push(place),
            None => said.push((verdict, vec![place])),
        }
    }
    let sentence =
        |(verdict, places): (String, Vec<String>)| format!("{}: {verdict}.", places.join(" and "));
    said.into_iter().map(sentence).collect::<Vec<_>>().join(" ")
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
    let claims = bound_claims(&found);
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
        claim: claims,
        evidence,
        sure: match (all_named, any_named) {
            (true, _) => Sure::Shown,
            (_, true) => Sure::Likely,
            _ => Sure::Undetermined,
        },
        see: vec!["roofline", "throughput", "step_along_generation"],
    }
}
