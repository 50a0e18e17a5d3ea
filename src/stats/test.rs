//! Tests built on Student's t, and corrections for testing many cells at once.

use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF, StudentsT};

use super::Alternative;
use super::interval::{Interval, t_quantile};
use super::summary::Summary;
use super::variance::{Variance, satterthwaite};

/// A difference of means with its t-distributed error: Welch's, or another of this module.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Welch {
    /// Difference of means `a - b` with its interval.
    pub difference: Interval,
    pub standard_error: f64,
    /// Satterthwaite's degrees of freedom; `None` when neither sample varies.
    pub df: Option<f64>,
}

impl Welch {
    /// p-value against the null that the difference is `shift`. Without any variance it is 1, or 0 when the
    /// difference lies on the alternative's side.
    pub fn p_value(&self, shift: f64, alternative: Alternative) -> f64 {
        let distance = self.difference.estimate - shift;
        let (greater, less) = t_tails(distance, self.standard_error, self.df);
        alternative.combine(greater, less)
    }

    /// The same p-value with one more independent error in the difference, of which the samples know nothing.
    /// `None` when the error is no variance.
    pub fn p_value_with(
        &self,
        error: Variance,
        shift: f64,
        alternative: Alternative,
    ) -> Option<f64> {
        let own = Variance {
            value: self.standard_error.powi(2),
            df: self.df.unwrap_or(f64::INFINITY),
        };
        let both = satterthwaite(&[own, error])?;
        let distance = self.difference.estimate - shift;
        let (greater, less) = t_tails(distance, both.value.sqrt(), Some(both.df));
        Some(alternative.combine(greater, less))
    }
}

/// Welch's t for two independent samples (Biometrika 34, 1947; degrees of freedom of Satterthwaite 1946).
///
/// `None` for fewer than 2 values on either side, values that are not finite, or `level` outside 0..1.
pub fn welch(a: &[f64], b: &[f64], level: f64) -> Option<Welch> {
    let (sa, sb) = (Summary::of(a)?, Summary::of(b)?);
    let (va, vb) = (sa.sd?.powi(2) / sa.n as f64, sb.sd?.powi(2) / sb.n as f64);
    let variance = va + vb;
    // Squares of subnormal variances vanish: then there is no usable spread.
    let df = variance.powi(2) / (va.powi(2) / (sa.n - 1) as f64 + vb.powi(2) / (sb.n - 1) as f64);
    let df = (df.is_finite() && df > 0.0).then_some(df);
    let standard_error = if df.is_some() { variance.sqrt() } else { 0.0 };
    student(sa.mean - sb.mean, standard_error, df.unwrap_or(1.0), level)
}

/// Student's t for the mean of paired differences `a - b`. `None` for fewer than 2 values, or values that are not finite.
pub fn paired(differences: &[f64], level: f64) -> Option<Welch> {
    let s = Summary::of(differences)?;
    let standard_error = s.sd? / (s.n as f64).sqrt();
    student(s.mean, standard_error, (s.n - 1) as f64, level)
}

/// One new value against earlier ones, `value - mean(earlier)`: is it another draw from where they came from?
///
/// Student's t for two samples of which one has a single value, so that the spread is the other's (Crawford &
/// Howell, The Clinical Neuropsychologist 12, 1998); its interval is that of a prediction. `None` for fewer than 2
/// earlier values, values that are not finite, or `level` outside 0..1.
pub fn one_against(value: f64, earlier: &[f64], level: f64) -> Option<Welch> {
    let s = Summary::of(earlier)?;
    let standard_error = s.sd? * (1.0 + 1.0 / s.n as f64).sqrt();
    student(value - s.mean, standard_error, (s.n - 1) as f64, level)
}

fn student(estimate: f64, standard_error: f64, df: f64, level: f64) -> Option<Welch> {
    let half = t_quantile(df, level)? * standard_error;
    (estimate.is_finite() && half.is_finite()).then_some(Welch {
        difference: Interval {
            lo: estimate - half,
            estimate,
            hi: estimate + half,
            level,
        },
        standard_error,
        df: (standard_error > 0.0).then_some(df),
    })
}

/// P(T >= t) and P(T <= t) for t = distance / standard error.
fn t_tails(distance: f64, standard_error: f64, df: Option<f64>) -> (f64, f64) {
    let law = df.and_then(|df| StudentsT::new(0.0, 1.0, df).ok());
    match law {
        Some(law) if standard_error > 0.0 => {
            let t = distance / standard_error;
            // The far tail as the near tail of the mirrored t, so that tiny p-values keep their digits.
            (law.cdf(-t), law.cdf(t))
        }
        _ => (f64::from(distance <= 0.0), f64::from(distance >= 0.0)),
    }
}

/// Holm's adjusted p-values, in the order given: reject where at most alpha and the chance of any false alarm
/// among all cells is at most alpha (Scandinavian Journal of Statistics 6, 1979). `None` unless all lie in 0..=1.
pub fn holm(p_values: &[f64]) -> Option<Vec<f64>> {
    let order = ascending(p_values)?;
    let m = p_values.len();
    let mut adjusted = vec![0.0; m];
    let mut floor = 0.0f64;
    for (rank, &i) in order.iter().enumerate() {
        floor = floor.max(p_values[i] * (m - rank) as f64).min(1.0);
        adjusted[i] = floor;
    }
    Some(adjusted)
}

/// Benjamini and Hochberg's adjusted p-values, in the order given: reject where at most q and the expected share
/// of false alarms among the rejected is at most q (JRSS B 57, 1995). `None` unless all lie in 0..=1.
pub fn benjamini_hochberg(p_values: &[f64]) -> Option<Vec<f64>> {
    let order = ascending(p_values)?;
    let m = p_values.len();
    let mut adjusted = vec![0.0; m];
    let mut ceiling = 1.0f64;
    for (rank, &i) in order.iter().enumerate().rev() {
        ceiling = ceiling.min(p_values[i] * m as f64 / (rank + 1) as f64);
        adjusted[i] = ceiling;
    }
    Some(adjusted)
}

/// Indices by ascending p-value; `None` when one is not a probability.
fn ascending(p_values: &[f64]) -> Option<Vec<usize>> {
    if !p_values.iter().all(|p| (0.0..=1.0).contains(p)) {
        return None;
    }
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|&a, &b| p_values[a].total_cmp(&p_values[b]));
    Some(order)
}

#[cfg(test)]
mod tests {
    use super::*;
    use Alternative::{Greater, Less, TwoSided};

    fn close(a: f64, b: f64) {
        assert!((a - b).abs() <= 1e-9 * b.abs().max(1e-6), "{a} is not {b}");
    }

    #[test]
    fn welch_agrees_with_scipy() {
        // scipy 1.17 ttest_ind(equal_var=False) on Hollander & Wolfe's permeability data.
        let a = [0.80, 0.83, 1.89, 1.04, 1.45, 1.38, 1.91, 1.64, 0.73, 1.46];
        let b = [1.15, 0.88, 0.90, 0.74, 1.21];
        let w = welch(&a, &b, 0.95).unwrap();
        close(w.df.unwrap(), 12.970_538_443_257_544);
        close(
            w.difference.estimate / w.standard_error,
            2.041_383_092_210_069_5,
        );
        close(w.p_value(0.0, TwoSided), 0.062_101_343_781_078_47);
        close(w.p_value(0.0, Greater), 0.031_050_671_890_539_235);
        close(w.p_value(0.0, Less), 1.0 - 0.031_050_671_890_539_235);
        close(w.difference.lo, -0.019_724_996_335_103_94);
        close(w.difference.hi, 0.693_724_996_335_103_9);
    }

    #[test]
    fn welch_without_variance_decides_by_the_difference() {
        let w = welch(&[2.0, 2.0], &[1.0, 1.0], 0.95).unwrap();
        assert_eq!((w.difference.lo, w.difference.hi, w.df), (1.0, 1.0, None));
        assert_eq!(w.p_value(0.0, Greater), 0.0);
        assert_eq!(w.p_value(1.0, Greater), 1.0);
        assert_eq!(w.p_value(0.0, Less), 1.0);
    }

    #[test]
    fn paired_differences_agree_with_the_textbook() {
        // Student's sleep data (Biometrika 6, 1908), drug 2 - drug 1: R's t.test gives t = 4.0621, p = 0.002833,
        // interval 0.7001142 to 2.4598858.
        let d = [1.2, 2.4, 1.3, 1.3, 0.0, 1.0, 1.8, 0.8, 4.6, 1.4];
        let t = paired(&d, 0.95).unwrap();
        assert!((t.difference.estimate / t.standard_error - 4.0621).abs() < 5e-5);
        assert!((t.p_value(0.0, TwoSided) - 0.002_833).abs() < 5e-7);
        assert!((t.difference.lo - 0.700_114_2).abs() < 5e-7);
        assert!((t.difference.hi - 2.459_885_8).abs() < 5e-7);
        assert_eq!(paired(&[0.1; 3], 0.95).unwrap().p_value(0.0, Greater), 0.0);
    }

    #[test]
    fn one_against_many_is_the_pooled_t_test_of_a_single_value() {
        // By hand: mean 3, sd sqrt(2.5), standard error sqrt(2.5 * 1.2) = sqrt(3), t = 3 / sqrt(3) with 4 degrees of
        // freedom, whose upper tail at sqrt(3) is 1/2 - (t / (2 sqrt(4 + t^2))) (1 + 2 / (4 + t^2)) = 0.0791.
        let w = one_against(6.0, &[1.0, 2.0, 3.0, 4.0, 5.0], 0.95).unwrap();
        close(w.standard_error, 3.0f64.sqrt());
        let t2 = 3.0f64;
        let tail = 0.5 - (t2.sqrt() / (2.0 * (4.0 + t2).sqrt())) * (1.0 + 2.0 / (4.0 + t2));
        close(w.p_value(0.0, Greater), tail);
        assert_eq!(one_against(6.0, &[1.0], 0.95), None);
        assert_eq!(one_against(6.0, &[1.0, f64::NAN], 0.95), None);
        assert_eq!(one_against(6.0, &[1.0, 2.0], 1.0), None);
    }

    #[test]
    fn holm_and_benjamini_hochberg_by_hand() {
        // Holm by hand; Benjamini-Hochberg from scipy 1.17 false_discovery_control.
        let p = [0.01, 0.04, 0.03, 0.005, 0.5];
        let expected = [
            (0.04, 0.025),
            (0.09, 0.05),
            (0.09, 0.05),
            (0.025, 0.025),
            (0.5, 0.5),
        ];
        let (h, b) = (holm(&p).unwrap(), benjamini_hochberg(&p).unwrap());
        for (i, (holm, bh)) in expected.into_iter().enumerate() {
            close(h[i], holm);
            close(b[i], bh);
        }
        assert_eq!(holm(&[]), Some(vec![]));
    }

    #[test]
    fn another_error_widens_as_satterthwaite_says() {
        // By hand: 2 + 2 = 4 with (2 + 2)^2 / (2^2 / 2 + 2^2 / 2) = 4 degrees of freedom; t = 4 / 2, whose upper tail
        // with 4 degrees of freedom is 1/2 - (t / (2 sqrt(4 + t^2))) (1 + 2 / (4 + t^2)) = 0.0581.
        let own = Welch {
            difference: Interval {
                lo: 0.0,
                estimate: 4.0,
                hi: 8.0,
                level: 0.95,
            },
            standard_error: 2.0f64.sqrt(),
            df: Some(2.0),
        };
        let error = |value, df| Variance { value, df };
        let tail = 0.5 - (2.0 / (2.0 * 8.0f64.sqrt())) * (1.0 + 2.0 / 8.0);
        let p = |e| own.p_value_with(e, 0.0, Greater);
        close(p(error(2.0, 2.0)).unwrap(), tail);
        close(p(error(0.0, 2.0)).unwrap(), own.p_value(0.0, Greater));
        assert_eq!(p(error(-1.0, 2.0)), None);
        let exact = Welch {
            standard_error: 0.0,
            df: None,
            ..own
        };
        // Samples without spread leave the other error alone: t = 2 with its 4 degrees of freedom.
        let only = exact.p_value_with(error(4.0, 4.0), 0.0, Greater);
        close(only.unwrap(), tail);
    }

    #[test]
    fn what_cannot_be_tested_is_none() {
        for bad in [&[][..], &[1.0], &[1.0, f64::NAN], &[1.0, f64::INFINITY]] {
            assert_eq!(welch(bad, &[1.0, 2.0], 0.95), None);
            assert_eq!(welch(&[1.0, 2.0], bad, 0.95), None);
        }
        assert_eq!(welch(&[1.0, 2.0], &[1.0, 2.0], 1.0), None);
        for p in [-0.1, 1.1, f64::NAN] {
            assert_eq!(holm(&[0.5, p]), None);
            assert_eq!(benjamini_hochberg(&[p]), None);
        }
    }
}
