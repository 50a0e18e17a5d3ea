//! What a run costs before it is begun.

use std::collections::HashSet;

use super::prepare::Prepared;
use crate::plan::CaseId;
use crate::plan::budget;
use crate::plan::run_time::RunTime;
use crate::report::dry_run;
use crate::stats::sequential::PairRule;

/// How long the cells that fit take.
pub(super) fn run_time(prepared: &Prepared) -> RunTime {
    let fitting = fitting(prepared);
    RunTime::of(&[&prepared.plan], &prepared.rates, |case| {
        fitting.contains(&case.id())
    })
}

pub(super) fn fitting(prepared: &Prepared) -> HashSet<CaseId> {
    let cases = prepared.plan.cases.iter().zip(&prepared.fits);
    let fitting = cases.filter(|(_, (_, outcome))| outcome.is_none());
    fitting.map(|(case, _)| case.id()).collect()
}

/// The cells of a plan with what they cost.
pub(super) fn dry_rows(prepared: &Prepared) -> Vec<dry_run::DryRow> {
    let protocol = &prepared.plan.protocol;
    let plan = &prepared.plan;
    // Of pairs until decided, as many as a verdict needs.
    let n_processes = match protocol.pair_tolerance {
        Some(_) => PairRule::default().fewest.try_into().unwrap_or(u32::MAX),
        None => protocol.replicates,
    };
    plan.cases
        .iter()
        .zip(&prepared.fits)
        .map(|(case, (price, outcome))| {
            let time = budget::time(case, plan.model_of(case), &prepared.rates)
                .visit(protocol.min_repetitions)
                .saturating_mul(n_processes);
            dry_run::DryRow {
                case: case.clone(),
                price: *price,
                fits: dry_run::Over::check(outcome.as_ref()),
                time,
                is_timed: budget::is_timed(case, plan.model_of(case), &prepared.rates),
            }
        })
        .collect()
}
