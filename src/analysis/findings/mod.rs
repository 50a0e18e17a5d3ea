//! The sentences of a report: each made from data, each with the figures it rests on.

mod brief;
mod scaling;
mod trust;

pub use brief::brief;
pub use scaling::scaling;
use trust::trust;

use super::bottleneck::{self, Bottleneck};
use super::capacity::{Slo, capacity};
use super::choice::{self, CellChoice, GOOD_ENOUGH, Rival, rate};
use super::curve::Curve;
use super::precision;
use super::theory::Theory;
use super::words::{by_saying, or_unknown, range, range_as, range_of};
use super::{Finding, Sure};
use crate::metric::Metric;
use crate::plan::Case;
use crate::text::{plural, short};
use crate::units;
use crate::view::{CellView, CellWarning, CountOf, RunView};

/// The first screen: which file and batch, within which limits, what bounds it, how sure.
pub fn lead(view: &RunView, theory: &Theory, slo: Option<&Slo>) -> Vec<Finding> {
    let Some(without) = choice::for_all(view, None) else {
        return vec![nothing_measured(view)];
    };
    let mut findings = Vec::new();
    findings.extend(slo.map(|slo| within_limits(view, slo)));
    let choice = choice::for_all(view, slo);
    findings.push(match &choice {
        Some(choice) => for_all(view, choice, slo.map(|_| &without)),
        None => none_keeps(view, slo, &without),
    });
    let one = choice::for_one(view, slo);
    let choice = choice.unwrap_or(without);
    let other = one.as_ref().filter(|one| one.cell.case != choice.cell.case);
    findings.extend(other.map(|one| for_one(view, one)));
    findings.push(bounds(view, theory, choice.cell, other.map(|one| one.cell)));
    findings.push(trust(view));
    findings
}

/// No cell can be recommended: the limits are tighter than anything measured.
fn none_keeps(view: &RunView, slo: Option<&Slo>, without: &CellChoice<'_>) -> Finding {
    let limits = slo.map(ToString::to_string).unwrap_or_default();
    let unknown = slo.and_then(|slo| slo.why_unknown(&choice::all_comparable(view)));
    let (claim, sure) = match unknown {
        Some(why) => (
            format!("Undetermined for {limits}: {why}."),
            Sure::Undetermined,
        ),
        None => (format!("No measured cell keeps {limits}."), Sure::Likely),
    };
    Finding::new(FOR_ALL, claim, sure)
        .with([without_limits(without)])
        .see(&["latency", "ttft_comparison"])
}

const FOR_ALL: &str = "Which file and batch size, for many users?";

/// What would be chosen without limits.
fn without_limits(choice: &CellChoice<'_>) -> String {
    let cell = choice.cell;
    format!(
        "Without the limits it would be {} with {}: {}, a token every {}.",
        named(cell),
        at_batch(cell),
        throughput(cell),
        step(cell)
    )
}

fn nothing_measured(view: &RunView) -> Finding {
    if let Some(imported) = view
        .header
        .imported
        .as_ref()
        .filter(|_| view.any_batch_measured())
    {
        let rate = |c: &CellView| {
            let rate = units::significant(c.value(Metric::TotalTokensPerS)?);
            Some(format!("{}: {rate} tokens/s.", short(c.case_id.as_str())))
        };
        let rates = view.cells.iter().filter_map(rate).take(5);
        let claim = format!(
            "Undetermined: {} does not time single steps, by which files and batch sizes are chosen.",
            imported.tool
        );
        return Finding::new("Which file and batch size?", claim, Sure::Undetermined).with(rates);
    }
    let cells = view.cells.iter().take(5).map(|c| {
        let name = short(c.case_id.as_str());
        format!("{name}: {}.", short(&c.outcome_detail))
    });
    let mut evidence: Vec<String> = cells.collect();
    if view.cells.len() > evidence.len() {
        evidence.push(format!("{} more cells.", view.cells.len() - evidence.len()));
    }
    let claim = "Undetermined: no cell was measured.";
    Finding::new("Which file and batch size?", claim, Sure::Undetermined).with(evidence)
}

/// `1008 tokens/s (95%: 800 to 1270)`.
pub fn throughput(cell: &CellView) -> String {
    let range = range_of(cell.interval(Metric::DecodeTokensPerS));
    format!("{} tokens/s{range}", units::significant(rate(cell)))
}

fn step(cell: &CellView) -> String {
    or_unknown(cell.median_step_ns().map(units::duration))
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

/// The work that a case is: `prompts of 128 and 64 generated tokens`.
pub fn work(case: &Case) -> String {
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
fn for_all(view: &RunView, choice: &CellChoice<'_>, without: Option<&CellChoice<'_>>) -> Finding {
    let cell = choice.cell;
    let mut evidence = Vec::new();
    let mut shown = true;
    let left_out = choice::left_out(view);
    if choice.most.case == cell.case {
        let within = without.map_or("", |_| " within the limits");
        let whose = match left_out.is_empty() {
            true => "",
            false => " of a file that keeps its accuracy",
        };
        evidence.push(format!(
            "No measured cell{whose}{within} gives more tokens/s in all."
        ));
    } else {
        let share = choice.of_most.map(|i| i.estimate);
        let share = share.unwrap_or_else(|| rate(cell) / rate(choice.most));
        let said = choice.of_most.map(|i| range_as(i, units::percent));
        evidence.push(format!(
            "That is {:.0}%{} of the highest throughput, {} with {} of {}, where a token takes {}; of all cells \
             with at least {:.0}% of it, this one has the {}shortest step.",
            share * 100.0,
            said.unwrap_or_default(),
            throughput(choice.most),
            at_batch(choice.most),
            named(choice.most),
            step(choice.most),
            GOOD_ENOUGH * 100.0,
            match choice::quality_of(view, cell) {
                Some(_) => "smallest loss of accuracy and, for its file, the ",
                None => "",
            }
        ));
        shown &= choice.of_most.is_some_and(|i| i.lo >= GOOD_ENOUGH);
    }
    if let Some(rival) = &choice.rival {
        evidence.push(against(cell, rival));
        shown &= rival.is_slower();
    }
    evidence.extend(by_accuracy(view, cell, &left_out));
    let without = without.filter(|w| w.cell.case != cell.case);
    evidence.extend(without.map(without_limits));
    let curves = choice::comparable(view);
    let n_cells: usize = curves.iter().map(|c| c.cells.len()).sum();
    let disturbed = disturbance(cell);
    shown &= n_cells > 1 && disturbed.is_none();
    evidence.extend(disturbed);
    if n_cells == 1 {
        evidence.push("It is the only cell measured: there was nothing to choose from.".to_owned());
    }
    let claim = format!(
        "{} with {}: {} in all, and a token every {} in the median for each, for {}.",
        with_settings(view, cell),
        at_batch(cell),
        throughput(cell),
        step(cell),
        work(&cell.case)
    );
    Finding::new(FOR_ALL, claim, Sure::shown_if(shown))
        .with(evidence)
        .see(&["throughput", "tradeoff"])
}

/// What accuracy had to do with the choice.
fn by_accuracy(view: &RunView, cell: &CellView, left_out: &[(&str, String)]) -> Vec<String> {
    if choice::is_by_speed_only(view) {
        return vec!["The choice is by speed only: quality was not measured.".to_owned()];
    }
    let own = choice::quality_of(view, cell);
    let own = own.map(|quality| format!("Its accuracy: {}.", precision::accuracy(quality)));
    let others = left_out.iter();
    let others = others.map(|(model, why)| format!("{} was left out: {why}.", short(model)));
    let lost = choice::too_much_lost(view, cell).map(|text| text + ".");
    own.into_iter().chain(lost).chain(others).collect()
}

fn for_one(view: &RunView, choice: &CellChoice<'_>) -> Finding {
    let cell = choice.cell;
    let ttft = cell.ns(Metric::TtftNs).map(|ns| {
        format!(
            " The first token of a prompt of {} comes after {}.",
            cell.case.n_prompt,
            units::duration(ns)
        )
    });
    let against = choice.rival.as_ref().map(|rival| against(cell, rival));
    let mut evidence = vec![
        against.unwrap_or_else(|| "No other file was measured with these settings.".to_owned()),
    ];
    let disturbed = disturbance(cell);
    let is_faster = choice.rival.as_ref().is_some_and(Rival::is_slower);
    let sure = Sure::shown_if(is_faster && disturbed.is_none());
    evidence.extend(by_accuracy(view, cell, &choice::left_out(view)));
    evidence.extend(disturbed);
    let claim = format!(
        "{} with {}: {}, a token every {} in the median.{}",
        with_settings(view, cell),
        at_batch(cell),
        throughput(cell),
        step(cell),
        ttft.unwrap_or_default()
    );
    Finding::new("Which file for one user?", claim, sure)
        .with(evidence)
        .see(&["tokens_per_second", "ttft_comparison"])
}

/// Why a cell's figures cannot show anything, when others used the machine during most of its repetitions: they may
/// have done so more during one cell than during another.
fn disturbance(cell: &CellView) -> Option<String> {
    let repetitions = cell.warnings.iter().find_map(|w| match w {
        CellWarning::Host { repetitions, .. } if 2 * repetitions.n > repetitions.of => {
            Some(repetitions)
        }
        _ => None,
    })?;
    let CountOf { n, of } = repetitions;
    Some(format!(
        "The machine was disturbed in {n} of the {of} repetitions of this cell, so no result counts as shown."
    ))
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
            "Against the next best file at this batch, {other}, it is {} times as fast{} by pairs of processes: chance is not excluded.",
            units::significant(i.estimate),
            range(i)
        ),
        None => format!(
            "The next best file at this batch is {other}; with fewer than two processes for each nothing can be said \
             about chance."
        ),
    }
}

/// The capacity of a curve in words: as evidence, and as the claim where it is the best.
struct CurveCapacity {
    batch: u32,
    tokens_per_s: f64,
    said: String,
    claim: String,
    sure: Sure,
}

impl CurveCapacity {
    fn of(curve: &Curve<'_>, slo: &Slo) -> Result<Self, String> {
        let found = capacity(curve, slo)?;
        let batch = found.batch;
        let interval = found.interval.filter(|_| batch > 0);
        // "At least" the largest measured batch has no other end to tell.
        let told = interval.filter(|(lo, hi)| !(found.at_least && lo == hi));
        let range = told.map(|(lo, hi)| format!(" (95%: {lo} to {hi})"));
        let range = range.unwrap_or_default();
        let at_least = if found.at_least { "at least " } else { "" };
        let binds = found.binds.map(|f| format!("; {f} binds"));
        let binds = binds.unwrap_or_default();
        let least = curve.cells.first().map_or(0, |c| c.case.n_seq);
        let said = match batch {
            0 => format!("none: batch {least} is already too slow{binds}"),
            n => format!("{at_least}{n} sequences{range}{binds}"),
        };
        let tokens_per_s = found.tokens_per_s.unwrap_or(0.0);
        let claim = match batch {
            0 => format!("No measured batch keeps {slo}."),
            n => format!(
                "{} serves {at_least}{} at once{range} with {slo}, about {} tokens/s in all.",
                curve.label,
                plural(n, "user", "users"),
                units::significant(tokens_per_s)
            ),
        };
        let from_processes = curve.cells.iter().all(|c| c.n_processes > 1);
        let is_quiet = curve.cells.iter().all(|c| disturbance(c).is_none());
        let is_narrow = match interval {
            Some((lo, _)) => lo >= batch / 2,
            None => batch == 0,
        };
        Ok(Self {
            batch,
            tokens_per_s,
            said,
            claim,
            sure: Sure::shown_if(from_processes && is_narrow && is_quiet),
        })
    }
}

fn within_limits(view: &RunView, slo: &Slo) -> Finding {
    let mut evidence = Vec::new();
    let mut best: Option<CurveCapacity> = None;
    let mut unknown: Option<String> = None;
    for curve in &choice::comparable(view) {
        let found = match CurveCapacity::of(curve, slo) {
            Ok(found) => found,
            Err(why) => {
                evidence.push(format!("{}: undetermined, {why}.", curve.label));
                unknown.get_or_insert(why);
                continue;
            }
        };
        evidence.push(format!("{}: {}.", curve.label, found.said));
        evidence.extend(curve.cells.iter().find_map(|c| {
            let why = disturbance(c)?;
            Some(format!("{}, batch {}: {why}", curve.label, c.case.n_seq))
        }));
        let size = |c: &CurveCapacity| (c.batch, c.tokens_per_s);
        if best.as_ref().is_none_or(|b| size(&found) > size(b)) {
            best = Some(found);
        }
    }
    let (claim, sure) = match best {
        Some(best) => (best.claim, best.sure),
        None => {
            let why = unknown.map_or(String::new(), |why| format!(": {why}"));
            (format!("Undetermined for {slo}{why}."), Sure::Undetermined)
        }
    };
    Finding::new("How many users within the limits?", claim, sure)
        .with(evidence)
        .see(&["latency", "ttft_comparison"])
}

/// What bounds the chosen cells; those of which the same is known share a sentence.
fn bounds(view: &RunView, theory: &Theory, cell: &CellView, other: Option<&CellView>) -> Finding {
    let found = std::iter::once(cell).chain(other).map(|cell| {
        let place = format!("{} at batch {}", named(cell), cell.case.n_seq);
        (place, bottleneck::of(view, cell, theory.ceiling(cell)))
    });
    let found: Vec<(String, Bottleneck)> = found.collect();
    let said = found
        .iter()
        .map(|(place, b)| (place.clone(), bottleneck::words(b)));
    let claims = by_saying(said.collect()).into_iter();
    let claims = claims.map(|(verdict, places)| format!("{}: {verdict}.", places.join(" and ")));
    let evidence = found.iter().flat_map(|(place, b)| {
        b.evidence.iter().map(move |e| {
            let leaves: Vec<&str> = e.leaves.iter().map(|b| b.short()).collect();
            let leaves = match leaves.is_empty() {
                true => "no conclusion".to_owned(),
                false => format!("still possible: {}", leaves.join(", ")),
            };
            format!("{place}, {}: {} ({leaves}).", e.kind, e.text)
        })
    });
    let n_named = found.iter().filter(|(_, b)| b.bound.is_some()).count();
    let sure = match n_named {
        0 => Sure::Undetermined,
        n => Sure::shown_if(n == found.len()),
    };
    let claim = claims.collect::<Vec<_>>().join(" ");
    Finding::new("What limits this machine?", claim, sure)
        .with(evidence)
        .see(&["roofline", "throughput", "step_along_generation"])
}
