//! A cell's decode steps, as lean as they can be kept: eight bytes each.

use crate::stats::summary::median_of_sorted;

/// Every decode step of a cell, repetition after repetition.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Steps {
    /// Tokens in each sequence's cache before the first step of a repetition.
    first_past: u32,
    step_ns: Vec<u64>,
    /// For each repetition, where its steps end in `step_ns`.
    ends: Vec<usize>,
}

/// The steps at one place of the generation, over all repetitions.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepsAt {
    /// Tokens in each sequence's cache before the step.
    pub n_past: u32,
    /// Fastest of all repetitions, nanoseconds.
    pub min_ns: u64,
    /// Median over repetitions, nanoseconds.
    pub median_ns: f64,
    /// Slowest of all repetitions, nanoseconds.
    pub max_ns: u64,
}

impl Steps {
    /// Adds a repetition's steps; `first_past` is the first one's `n_past`.
    pub(super) fn push(&mut self, first_past: u32, step_ns: impl Iterator<Item = u64>) {
        if self.ends.is_empty() {
            self.first_past = first_past;
        }
        self.step_ns.extend(step_ns);
        self.ends.push(self.step_ns.len());
    }

    /// All steps in the order they were made, nanoseconds.
    pub fn all(&self) -> &[u64] {
        &self.step_ns
    }

    /// All steps in ascending order, nanoseconds.
    pub fn sorted(&self) -> Vec<u64> {
        let mut sorted = self.step_ns.clone();
        sorted.sort_unstable();
        sorted
    }

    /// The steps of each repetition.
    pub fn by_repetition(&self) -> impl Iterator<Item = &[u64]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts
            .zip(&self.ends)
            .map(|(start, end)| &self.step_ns[start..*end])
    }

    /// The steps along the generation: one entry for each place that any repetition reached.
    pub fn along(&self) -> Vec<StepsAt> {
        let longest = self.by_repetition().map(<[u64]>::len).max().unwrap_or(0);
        (0..longest)
            .filter_map(|at| {
                let here = self.by_repetition().filter_map(|steps| steps.get(at));
                let mut here: Vec<f64> = here.map(|ns| *ns as f64).collect();
                here.sort_unstable_by(f64::total_cmp);
                Some(StepsAt {
                    n_past: self.first_past.saturating_add(u32::try_from(at).ok()?),
                    min_ns: *here.first()? as u64,
                    median_ns: median_of_sorted(&here)?,
                    max_ns: *here.last()? as u64,
                })
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_compared_over_repetitions_of_unequal_length() {
        let mut steps = Steps::default();
        steps.push(32, [10, 20, 30].into_iter());
        steps.push(32, [12, 26].into_iter());
        let along = steps.along();
        let medians: Vec<f64> = along.iter().map(|s| s.median_ns).collect();
        assert_eq!(medians, [11.0, 23.0, 30.0]);
        assert_eq!(
            along[1],
            StepsAt {
                n_past: 33,
                min_ns: 20,
                median_ns: 23.0,
                max_ns: 26
            }
        );
        assert_eq!(steps.sorted(), [10, 12, 20, 26, 30]);
        assert_eq!(Steps::default().along(), []);
    }
}
