//! How throughput grows with the batch, and which file is fastest where.

use super::{against, named, throughput};
use crate::analysis::choice::{self, Rival, rate};
use crate::analysis::curve::{Along, Curve, main_curves};
use crate::analysis::{Finding, Sure};
use crate::metric::Metric;
use crate::units;
use crate::view::{CellView, RunView};

/// Curves that get a sentence each; with more nobody reads on.
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
            units::significant(b.median_step_ns()? as f64 / a.median_step_ns()? as f64),
        ));
    }
    let ends_at_most = first.case == most.case;
    let where_it_ends = match (ends_at_most, most.case.n_seq == largest.case.n_seq) {
        (true, true) => "it still grows at the largest batch measured".to_owned(),
        (true, false) => format!(
            "the most, {}, is reached at batch {}, and larger ones give less",
            throughput(most),
            most.case.n_seq
        ),
        (false, _) => format!(
            "batch {} already gives {:.0}% of the most, {} at batch {}",
            first.case.n_seq,
            rate(first) / rate(most) * 100.0,
            throughput(most),
            most.case.n_seq
        ),
    };
    let known = [first, most, least].iter().all(|c| {
        c.n_processes > 1
            && c.interval(Metric::DecodeTokensPerS)
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
    let all = choice::comparable(view);
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
