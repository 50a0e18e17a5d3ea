//! The requests of several runs read as one.

use crate::record::requests::RequestsPlan;
use crate::request::Job;

/// Takes another run's plan in: jobs and targets that are not there yet.
pub(in crate::view) fn take_in(plan: &mut Option<RequestsPlan>, other: &Option<RequestsPlan>) {
    let Some(other) = other else { return };
    let Some(plan) = plan else {
        *plan = Some(other.clone());
        return;
    };
    (plan.rounds, plan.replicates) = match plan.rounds == other.rounds {
        true => (
            plan.rounds,
            plan.replicates.saturating_add(other.replicates),
        ),
        false => (plan.all_rounds().saturating_add(other.all_rounds()), 1),
    };
    for target in &other.targets {
        if !plan.targets.contains(target) {
            plan.targets.push(target.clone());
        }
    }
    for warning in &other.warnings {
        if !plan.warnings.contains(warning) {
            plan.warnings.push(warning.clone());
        }
    }
    for job in &other.jobs {
        if plan.jobs.iter().all(|j| j.name != job.name) {
            plan.jobs.push(job.clone());
        }
    }
}

/// Jobs that have one name in two plans and are not the same.
pub(in crate::view) fn unlike(
    plan: &Option<RequestsPlan>,
    other: &Option<RequestsPlan>,
) -> Vec<String> {
    let jobs = |plan: &Option<RequestsPlan>| -> Vec<Job> {
        plan.as_ref().map(|p| p.jobs.clone()).unwrap_or_default()
    };
    let (mine, theirs) = (jobs(plan), jobs(other));
    let differs = |job: &&Job| theirs.iter().any(|o| o.name == job.name && o != *job);
    let names = mine.iter().filter(differs);
    names
        .map(|job| format!("job {}", crate::text::short(&job.name)))
        .collect()
}
