//! How many more units of evidence would answer a question, and what so many can answer.

use super::interval::t_quantile;

/// Chance with which the answer is to come out, when the spread is as observed.
pub const POWER: f64 = 0.8;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SampleDesign {
    /// Differences within pairs: `sd` is theirs.
    Paired,
    /// Two independent samples of equal size: `sd` is that within either.
    TwoSamples,
}

/// Units (pairs, or values on each side) for which a t interval of `level` reaches less than `distance` from its
/// centre, with [`POWER`]: the smallest `n` with `(t(level) + t(power)) * standard error(n) <= distance`, both quantiles
/// with the degrees of freedom of that `n` (Chow, Shao & Wang, Sample Size Calculations in Clinical Research, 3.1
/// and 3.2, with t instead of z).
///
/// `None` when more than `most` would be needed, or a number makes no sense: `sd` negative, `distance` not positive,
/// `level` outside 0..1.
pub fn units_needed(
    design: SampleDesign,
    sd: f64,
    distance: f64,
    level: f64,
    most: usize,
) -> Option<usize> {
    let makes_sense = sd >= 0.0 && sd.is_finite() && distance > 0.0;
    if !makes_sense || t_quantile(1.0, level).is_none() {
        return None;
    }
    (2..=most).find(|&n| shown_distance(design, sd, n, level).is_some_and(|d| d <= distance))
}

/// The smallest distance that `n` units show with [`POWER`] by a t interval of `level`: [`units_needed`] the other way
/// round, in the unit of `sd`.
///
/// `None` for fewer than 2 units, a negative `sd`, or a `level` outside 0..1.
pub fn shown_distance(design: SampleDesign, sd: f64, n: usize, level: f64) -> Option<f64> {
    let makes_sense = sd >= 0.0 && sd.is_finite() && n >= 2;
    if !makes_sense {
        return None;
    }
    let (df, variance) = match design {
        SampleDesign::Paired => (n - 1, sd * sd / n as f64),
        SampleDesign::TwoSamples => (2 * (n - 1), 2.0 * sd * sd / n as f64),
    };
    // A one-sided quantile of POWER is the two-sided one of 2 POWER - 1.
    let of_level = t_quantile(df as f64, level)?;
    let of_power = t_quantile(df as f64, 2.0 * POWER - 1.0)?;
    Some((of_level + of_power) * variance.sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_published_sample_sizes() {
        // Cohen 1988, table 2.4.1 (two-sided alpha .05, power .80): d = 0.5 needs 64 a group, d = 0.8 26, d = 1.0 17.
        // The quantile formula is within one of the noncentral t.
        for (d, published) in [(0.5, 64), (0.8, 26), (1.0, 17)] {
            let n = units_needed(SampleDesign::TwoSamples, 1.0, d, 0.95, 1000).unwrap();
            assert!(
                n.abs_diff(published) <= 1,
                "{d}: {n}, published {published}"
            );
        }
        // Paired, d = 0.5: 34 (G*Power 3.1).
        let n = units_needed(SampleDesign::Paired, 1.0, 0.5, 0.95, 1000).unwrap();
        assert!(n.abs_diff(34) <= 1, "{n}");
    }

    #[test]
    fn less_spread_or_more_distance_never_needs_more() {
        let n = |sd, distance| units_needed(SampleDesign::TwoSamples, sd, distance, 0.95, 10_000);
        assert_eq!(n(0.0, 0.01), Some(2));
        assert!(n(0.01, 0.03) < n(0.02, 0.03) && n(0.02, 0.03) < n(0.02, 0.02));
        assert_eq!(
            units_needed(SampleDesign::Paired, 1.0, 1e-6, 0.95, 100),
            None
        );
        for (sd, distance, level) in [
            (f64::NAN, 1.0, 0.9),
            (-1.0, 1.0, 0.9),
            (1.0, 0.0, 0.9),
            (1.0, 1.0, 1.0),
        ] {
            assert_eq!(
                units_needed(SampleDesign::Paired, sd, distance, level, 100),
                None
            );
        }
    }

    #[test]
    fn three_against_three_show_three_standard_deviations() {
        // t(0.975, 4) = 2.776, t(0.8, 4) = 0.941, standard error = sqrt(2 / 3).
        let shown = shown_distance(SampleDesign::TwoSamples, 0.01, 3, 0.95).unwrap();
        assert!((shown - 0.01 * (2.776 + 0.941) * (2.0f64 / 3.0).sqrt()).abs() < 1e-5);
        let needed = units_needed(SampleDesign::TwoSamples, 0.01, shown * 1.001, 0.95, 100);
        assert_eq!(needed, Some(3));
        assert_eq!(
            shown_distance(SampleDesign::TwoSamples, 0.0, 3, 0.95),
            Some(0.0)
        );
        for (sd, n, level) in [(0.1, 1, 0.95), (-0.1, 3, 0.95), (0.1, 3, 1.0)] {
            assert_eq!(shown_distance(SampleDesign::TwoSamples, sd, n, level), None);
        }
    }
}
