//! Which axes tell a run's cells apart: those are columns, the others are said once.

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
    let Some(first) = cases.first() else {
        return String::new();
    };
    let phrases: Vec<String> = AXES
        .iter()
        .filter(|axis| !axis.varies(cases.iter().copied()))
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
