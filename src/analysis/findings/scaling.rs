//! How throughput grows with the batch, and which file is fastest where.

use super::{against, disturbance, named, throughput};
use crate::analysis::choice::{self, Rival, rate};
use crate::analysis::curve::{Along, Curve, main_curves};
use crate::analysis::{Finding, Sure};
use crate::metric::Metric;
use crate::units;
use crate::view::{CellView, RunView};

/// Curves that get a sentence each; more would not be read.
const MOST_CURVES: usize = 8;

/// What the curves show: how throughput grows, which file wins where, how long the worst steps are.
pub fn scaling(view: &RunView) -> Vec<Finding> {
    let mut curves = choice::comparable(view);
    curves.retain(|c| c.cells.len() > 1);
    let curves = main_curves(curves, Along::Batch, MOST_CURVES);
    let mut findings: Vec<Finding> = curves.iter().filter_map(flattening).collect();
    findings.extend(ranking(view));
    findings
}

/// How a curve's throughput grows, and where that stops paying.
fn flattening(curve: &Curve<'_>) -> Option<Finding> {
    let (first, most) = choice::flattens(curve)?;
    let (least, largest) = (*curve.cells.first()?, *curve.cells.last()?);
    let speedup = rate(most) / rate(least);
    let growth = |pair: &[&CellView]| {
        let (a, b) = (pair[0], pair[1]);
        let more = f64::from(b.case.n_seq) / f64::from(a.case.n_seq.max(1));
        Some(format!(
            "From batch {} to {} ({} times the sequences): {} times the tokens/s, {} times the step.",
            a.case.n_seq,
            b.case.n_seq,
            units::significant(more),
            units::significant(rate(b) / rate(a)),
            units::significant(b.median_step_ns()? as f64 / a.median_step_ns()? as f64),
        ))
    };
    let evidence: Option<Vec<String>> = curve.cells.windows(2).map(growth).collect();
    let ends_at_most = first.case == most.case;
    let where_it_ends = match (ends_at_most, most.case.n_seq == largest.case.n_seq) {
        (true, true) => "it still grows at the largest batch measured".to_owned(),
        (true, false) => format!(
            "the most, {}, is reached at batch {}, and larger ones {}",
            throughput(most),
            most.case.n_seq,
            match is_less(largest, most) {
                true => "give less",
                false => "show no gain",
            }
        ),
        (false, _) => format!(
            "batch {} already gives {:.0}% of the most, {} at batch {}",
            first.case.n_seq,
            rate(first) / rate(most) * 100.0,
            throughput(most),
            most.case.n_seq
        ),
    };
    let is_known = |c: &&CellView| {
        let interval = c.interval(Metric::DecodeTokensPerS);
        let width = interval.and_then(|i| i.relative_half_width());
        c.n_processes > 1 && width.is_some_and(|w| w <= 0.1)
    };
    let claim = format!(
        "{}: {} times the tokens/s of batch {} at best; {where_it_ends}.",
        curve.label,
        units::significant(speedup),
        least.case.n_seq
    );
    let disturbed = curve.cells.iter().find_map(|c| {
        let why = disturbance(c)?;
        Some(format!("Batch {}: {why}", c.case.n_seq))
    });
    let is_shown = [first, most, least].iter().all(is_known) && disturbed.is_none();
    let finding = Finding::new(
        "How does throughput grow with the batch?",
        claim,
        Sure::shown_if(is_shown),
    );
    let finding = finding.with(evidence?.into_iter().chain(disturbed));
    Some(finding.see(&["throughput"]))
}

/// Whether a cell gives less than another for sure: their intervals do not meet.
fn is_less(cell: &CellView, than: &CellView) -> bool {
    let interval = |c: &CellView| c.interval(Metric::DecodeTokensPerS);
    let is_quiet = disturbance(cell).is_none() && disturbance(than).is_none();
    let both = interval(cell).zip(interval(than)).filter(|_| is_quiet);
    both.is_some_and(|(cell, than)| cell.hi < than.lo)
}

/// Which file is fastest at which batch, when that is not the same everywhere.
fn ranking(view: &RunView) -> Option<Finding> {
    let all = choice::comparable(view);
    let cells = || all.iter().flat_map(|c| &c.cells).copied();
    let mut batches: Vec<u32> = cells().map(|c| c.case.n_seq).collect();
    batches.sort_unstable();
    batches.dedup();
    let by_rate = |a: &&CellView, b: &&CellView| rate(a).total_cmp(&rate(b));
    let mut winners: Vec<(u32, &CellView, Rival<'_>)> = Vec::new();
    for batch in batches {
        let here = || cells().filter(|c| c.case.n_seq == batch);
        let best = here().max_by(by_rate)?;
        let others = here().filter(|c| c.case.model != best.case.model);
        let second = others.max_by(by_rate);
        winners.extend(second.map(|s| (batch, best, Rival::of(best, s))));
    }
    let (_, first, _) = winners.first()?;
    let is_first = |best: &CellView| best.case.model == first.case.model;
    let is_shown = winners.iter().all(|(_, _, rival)| rival.is_slower());
    // An estimate that chance may have put first is no fact.
    let by = if is_shown { "" } else { "By the estimates " };
    let claim = if winners.iter().all(|(_, best, _)| is_first(best)) {
        format!("{by}{} is the fastest file at every batch.", named(first))
    } else {
        let list = winners.iter();
        let list = list.map(|(batch, best, rival)| {
            let open = match rival.is_slower() {
                true => "",
                false => " (chance is not excluded)",
            };
            format!("{} at {batch}{open}", named(best))
        });
        let list = list.collect::<Vec<_>>().join(", ");
        let the = if is_shown { "The" } else { "the" };
        format!("{by}{the} fastest file depends on the batch: {list}.")
    };
    let evidence = winners.iter().map(|(batch, best, rival)| {
        let against = against(best, rival);
        format!("Batch {batch}: {}. {against}", throughput(best))
    });
    let sure = Sure::shown_if(is_shown);
    let finding = Finding::new("Which file is fastest where?", claim, sure);
    Some(finding.with(evidence).see(&["throughput"]))
}
