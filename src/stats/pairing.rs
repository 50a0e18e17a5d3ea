//! What two sides that take turns every few steps differ by.

use super::summary::median;

/// Median log ratio of decode steps, B over A, where both sides computed steps of the same number next to each other; each item is
/// a repetition's steps. A slow moment of the machine has met both steps of a ratio, as a rule, which it has not met two medians
/// of whole repetitions. None without a step that both have.
pub fn log_ratio_of_steps<'a>(
    repetitions: impl IntoIterator<Item = (&'a [f64], &'a [f64])>,
) -> Option<f64> {
    let ratios = |(a, b): (&'a [f64], &'a [f64])| a.iter().zip(b).map(|(a, b)| (b / a).ln());
    let ratios: Vec<f64> = repetitions.into_iter().flat_map(ratios).collect();
    median(&ratios)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_moment_that_meets_both_sides_is_no_difference() {
        // The machine is slow during other steps in each repetition; B takes 5% more everywhere.
        let level = [[1.0, 1.0, 1.8, 1.0], [2.5, 2.4, 1.0, 1.0]];
        let b = level.map(|steps| steps.map(|s| 1.05 * s));
        let both = || level.iter().zip(&b).map(|(a, b)| (&a[..], &b[..]));
        let found = log_ratio_of_steps(both()).expect("steps");
        assert!((found - 0.05_f64.ln_1p()).abs() < 1e-12, "{found}");
        // A step that one side lacks has nothing to be compared with.
        let cut = both().map(|(a, b)| (a, &b[..3]));
        assert!(log_ratio_of_steps(cut).is_some());
        assert_eq!(log_ratio_of_steps([(&[1.0][..], &[][..])]), None);
    }
}
