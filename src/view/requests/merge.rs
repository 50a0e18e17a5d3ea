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
    for setting in &other.settings {
        if plan.settings.iter().all(|s| s.target != setting.target) {
            plan.settings.push(setting.clone());
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
    let (Some(plan), Some(other)) = (plan, other) else {
        return Vec::new();
    };
    let of_target = |target: &str| {
        let theirs = other.jobs_of(target);
        let differs = move |job: &&Job| theirs.iter().any(|o| o.name == job.name && o != *job);
        plan.jobs_of(target).iter().filter(differs)
    };
    let mut names: Vec<String> = Vec::new();
    for job in plan.targets.iter().flat_map(|target| of_target(target)) {
        let name = format!("job {}", crate::text::short(&job.name));
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}
