//! How often one sample beats another: few assumptions, little harmed by outliers.

use serde::{Deserialize, Serialize};

use super::sorted;

/// The usual words for the size of [`CliffsDelta`] (Romano et al. 2006: 0.147, 0.33, 0.474).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Magnitude {
    /// |delta| below 0.147.
    Negligible,
    /// |delta| below 0.33.
    Small,
    /// |delta| below 0.474.
    Medium,
    /// |delta| of 0.474 or more.
    Large,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct CliffsDelta {
    /// P(a > b) - P(a < b), from -1 to 1.
    pub delta: f64,
    pub magnitude: Magnitude,
}

/// Cliff's delta (Psychological Bulletin 114, 1993); positive when `a` tends to be larger. `None` when a sample is empty or
/// not finite.
pub fn cliffs_delta(a: &[f64], b: &[f64]) -> Option<CliffsDelta> {
    let (wins, ties) = wins_and_ties(a, b)?;
    let pairs = a.len() * b.len();
    if pairs == 0 {
        return None;
    }
    let losses = pairs - wins - ties;
    let delta = (wins as f64 - losses as f64) / pairs as f64;
    let magnitude = match delta.abs() {
        d if d < 0.147 => Magnitude::Negligible,
        d if d < 0.33 => Magnitude::Small,
        d if d < 0.474 => Magnitude::Medium,
        _ => Magnitude::Large,
    };
    Some(CliffsDelta { delta, magnitude })
}

/// Number of pairs with a > b, and with a = b.
fn wins_and_ties(a: &[f64], b: &[f64]) -> Option<(usize, usize)> {
    let (a, b) = (sorted(a)?, sorted(b)?);
    Some(a.iter().fold((0, 0), |(wins, ties), &x| {
        let below = b.partition_point(|&y| y < x);
        let not_above = b.partition_point(|&y| y <= x);
        (wins + below, ties + not_above - below)
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cliffs_delta_has_its_usual_words() {
        let words = |d: f64| {
            // 1000 against one value: delta = (wins - losses) / 1000.
            let wins = ((1.0 + d) / 2.0 * 1000.0).round() as usize;
            let a: Vec<f64> = (0..1000)
                .map(|i| if i < wins { 1.0 } else { -1.0 })
                .collect();
            cliffs_delta(&a, &[0.0]).unwrap().magnitude
        };
        assert_eq!(words(0.146), Magnitude::Negligible);
        assert_eq!(words(0.148), Magnitude::Small);
        assert_eq!(words(-0.332), Magnitude::Medium);
        assert_eq!(words(0.474), Magnitude::Large);
    }

    #[test]
    fn all_pairs_count() {
        // Hollander & Wolfe: permeability of chorioamnion at term, and at 12 to 26 weeks (R's `?wilcox.test`).
        let term = [0.80, 0.83, 1.89, 1.04, 1.45, 1.38, 1.91, 1.64, 0.73, 1.46];
        let early = [1.15, 0.88, 0.90, 0.74, 1.21];
        let delta = cliffs_delta(&term, &early).unwrap().delta;
        assert!((delta - 0.4).abs() < 1e-12, "{delta}");
        for bad in [&[][..], &[f64::NAN, 1.0], &[f64::INFINITY]] {
            assert_eq!(cliffs_delta(&early, bad), None);
        }
    }
}
