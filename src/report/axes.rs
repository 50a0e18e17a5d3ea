//! Which axes tell a run's cells apart: those are columns, the others are said once.

use crate::compare::samples::CellKey;
use crate::plan::Case;
use crate::plan::axis::{AXES, Axis, CaptionRule};

/// The axes that are columns: the batch always, the others where cases differ.
pub fn columns(cases: &[&Case]) -> Vec<Axis> {
    let is_column = |axis: &&Axis| {
        matches!(axis.words.caption, CaptionRule::Never) || axis.varies(cases.iter().copied())
    };
    AXES.iter().filter(is_column).copied().collect()
}

/// What all cases have in common, in words.
pub fn constants(cases: &[&Case]) -> String {
    constants_among(cases, |_| true)
}

/// What compared cells have in common, in words. Jobs have prompts of many lengths, and a server's settings are its own.
pub fn constants_of(keys: &[&CellKey]) -> String {
    let has_job = keys.iter().any(|key| key.job.is_some());
    let has_server = keys.iter().any(|key| key.is_at_server());
    let cases: Vec<&Case> = keys.iter().map(|key| &key.case).collect();
    constants_among(&cases, |axis| match axis.words.field {
        "n_prompt" => !has_job,
        "n_gen" => true,
        _ => !has_server,
    })
}

fn constants_among(cases: &[&Case], applies: impl Fn(&Axis) -> bool) -> String {
    let Some(first) = cases.first() else {
        return String::new();
    };
    let phrases: Vec<String> = AXES
        .iter()
        .filter(|axis| applies(axis) && !axis.varies(cases.iter().copied()))
        .filter_map(|axis| axis.phrase(first))
        .collect();
    phrases.join(", ")
}

/// The models of some cases, each once, in their order.
pub fn models<'a>(cases: &[&'a Case]) -> Vec<&'a str> {
    let mut models: Vec<&str> = Vec::new();
    for case in cases {
        if !models.contains(&case.model.as_str()) {
            models.push(&case.model);
        }
    }
    models
}
