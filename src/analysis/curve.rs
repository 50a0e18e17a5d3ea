//! Cells that differ in one axis only, in the order of that axis.

use std::collections::HashMap;

use crate::plan::Axis;
use crate::plan::Case;
use crate::view::{CellOutcome, CellView, RunView};

/// An axis whose values are numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Along {
    Batch,
    Prompt,
    Gen,
    Depth,
    Threads,
}

impl Along {
    pub fn of(self, case: &Case) -> u32 {
        match self {
            Self::Batch => case.n_seq,
            Self::Prompt => case.n_prompt,
            Self::Gen => case.n_gen,
            Self::Depth => case.n_depth,
            Self::Threads => case.n_threads,
        }
    }

    /// The case without its value on this axis: equal for the cells of one curve.
    fn rest(self, case: &Case) -> Case {
        let mut rest = case.clone();
        match self {
            Self::Batch => rest.n_seq = 0,
            Self::Prompt => rest.n_prompt = 0,
            Self::Gen => rest.n_gen = 0,
            Self::Depth => rest.n_depth = 0,
            Self::Threads => rest.n_threads = 0,
        }
        rest
    }

    /// One of its values, as a sentence says it.
    pub fn words(self) -> &'static str {
        match self {
            Self::Batch => "batch size",
            Self::Prompt => "length of prompt",
            Self::Gen => "length of generation",
            Self::Depth => "depth of context",
            Self::Threads => "number of threads",
        }
    }

    /// The axis' name on the command line, as `compare::axis` has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Batch => "batch",
            Self::Prompt => "n_prompt",
            Self::Gen => "n_gen",
            Self::Depth => "n_depth",
            Self::Threads => "threads",
        }
    }
}

/// Measured cells that differ in one axis only, ascending on it.
#[derive(Debug, Clone)]
pub struct Curve<'a> {
    /// What tells it from the other curves: the model, and the values of other axes that differ.
    pub label: String,
    /// Its cells, at least one.
    pub cells: Vec<&'a CellView>,
}

impl<'a> Curve<'a> {
    /// The case of its first cell.
    pub fn case(&self) -> &'a Case {
        &self.cells[0].case
    }
}

/// Every curve of a run along an axis, in the plan's order.
pub fn curves(view: &RunView, along: Along) -> Vec<Curve<'_>> {
    let mut order: Vec<Vec<&CellView>> = Vec::new();
    let mut places: HashMap<Case, usize> = HashMap::new();
    for cell in view.cells.iter().filter(|c| is_measured(c)) {
        let place = places.entry(along.rest(&cell.case)).or_insert_with(|| {
            order.push(Vec::new());
            order.len() - 1
        });
        order[*place].push(cell);
    }
    for cells in &mut order {
        cells.sort_by_key(|c| along.of(&c.case));
    }
    let mut curves: Vec<Curve> = order
        .into_iter()
        .map(|cells| Curve {
            label: String::new(),
            cells,
        })
        .collect();
    label(&mut curves, along);
    curves
}

/// Names curves by what tells them apart.
pub(super) fn label(curves: &mut [Curve<'_>], along: Along) {
    let cases: Vec<&Case> = curves.iter().map(|c| c.case()).collect();
    let labels = labels(&cases, along);
    for (curve, label) in curves.iter_mut().zip(labels) {
        curve.label = label;
    }
}

/// The curves that have more than one cell.
pub fn long_curves(view: &RunView, along: Along) -> Vec<Curve<'_>> {
    let mut curves = curves(view, along);
    curves.retain(|c| c.cells.len() > 1);
    curves
}

/// At most `most` of the curves: where there are more, those with the settings that most cells share.
pub fn main_curves(mut curves: Vec<Curve<'_>>, along: Along, most: usize) -> Vec<Curve<'_>> {
    if curves.len() > most {
        let cases: Vec<Case> = curves.iter().map(|c| c.case().clone()).collect();
        for axis in other_axes(&cases.iter().collect::<Vec<_>>(), along) {
            let Some(usual) = most_common(&curves, axis) else {
                continue;
            };
            let kept: Vec<Curve> = curves
                .iter()
                .filter(|c| axis.value(c.case()) == usual)
                .cloned()
                .collect();
            curves = kept;
            if curves.len() <= most {
                break;
            }
        }
        curves.truncate(most);
        label(&mut curves, along);
    }
    curves
}

/// The value that most cells have; of equally frequent ones the first in the plan.
fn most_common(curves: &[Curve<'_>], axis: Axis) -> Option<String> {
    let mut counts: Vec<(String, usize)> = Vec::new();
    for curve in curves {
        let value = axis.value(curve.case());
        match counts.iter_mut().find(|(known, _)| *known == value) {
            Some((_, n)) => *n += curve.cells.len(),
            None => counts.push((value, curve.cells.len())),
        }
    }
    let most = counts.iter().map(|(_, n)| *n).max()?;
    counts.into_iter().find(|(_, n)| *n == most).map(|(v, _)| v)
}

/// The axes besides model and `along` in which cases differ.
fn other_axes(cases: &[&Case], along: Along) -> Vec<Axis> {
    let mut axes = Axis::varying(cases.iter().copied());
    axes.retain(|a| a.name() != along.name() && a.name() != "model");
    axes
}

fn labels(cases: &[&Case], along: Along) -> Vec<String> {
    let axes = other_axes(cases, along);
    let models = cases.windows(2).any(|pair| pair[0].model != pair[1].model);
    let label = |case: &&Case| {
        let mut parts: Vec<String> = axes
            .iter()
            .map(|a| format!("{} {}", a.name(), a.value(case)))
            .collect();
        if models || parts.is_empty() {
            parts.insert(0, crate::text::short(&case.model));
        }
        crate::text::plain(&parts.join(", "))
    };
    cases.iter().map(label).collect()
}

/// Whether a cell has figures that can be built upon.
pub fn is_measured(cell: &CellView) -> bool {
    cell.outcome == CellOutcome::Measured
        && cell.decode_tokens_per_s().is_some()
        && cell.median_step_ns().is_some_and(|ns| ns > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::fixture::{self, MS, case, header, three_processes};

    #[test]
    fn cells_of_a_curve_differ_in_one_axis_only() {
        let view = fixture::mixed();
        let curves = long_curves(&view, Along::Batch);
        let found: Vec<(&str, Vec<u32>)> = curves
            .iter()
            .map(|c| {
                let batches = c.cells.iter().map(|c| c.case.n_seq).collect();
                (c.label.as_str(), batches)
            })
            .collect();
        assert_eq!(found, [("smollm2-135m-q4_0", vec![1, 8, 32])]);
        assert_eq!(super::curves(&view, Along::Batch).len(), 2);
        assert!(long_curves(&view, Along::Threads).is_empty());
    }

    #[test]
    fn of_too_many_curves_those_with_the_usual_settings_stay() {
        let mut cases = Vec::new();
        for model in ["a", "b", "c"] {
            for n_gen in [16, 64, 256] {
                for n_seq in [8, 1] {
                    cases.push(Case {
                        n_gen,
                        ..case(model, n_seq)
                    });
                }
            }
        }
        // One cell more of 64 than of the others.
        cases.push(Case {
            n_gen: 64,
            ..case("a", 32)
        });
        let lines: Vec<_> = cases
            .iter()
            .flat_map(|c| three_processes(c, 1, MS, MS))
            .collect();
        let view = fixture::view(header(&["a", "b", "c"], cases), lines);
        let all = long_curves(&view, Along::Batch);
        assert_eq!(all.len(), 9);
        assert_eq!(all[1].label, "a, n_gen 64");
        assert_eq!(all[1].cells[0].case.n_seq, 1, "ascending");
        let main = main_curves(all, Along::Batch, 8);
        let labels: Vec<&str> = main.iter().map(|c| c.label.as_str()).collect();
        assert_eq!(labels, ["a", "b", "c"]);
        assert_eq!(main[0].case().n_gen, 64);
    }
}
