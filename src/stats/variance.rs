//! Variances that are known only so well: assumed ones that data correct, and sums of several.

use super::summary::Summary;

/// A variance, and how well it is known.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Variance {
    /// Its value, not negative.
    pub value: f64,
    /// Degrees of freedom: of an estimate from n values n - 1; infinite when it is known.
    pub df: f64,
}

impl Variance {
    /// An assumed variance, corrected by values that were drawn with the true one: weighted by degrees of freedom,
    /// which add up. That is the posterior of a scaled inverse chi-squared prior, and a t with it keeps its law when
    /// the assumption is that law (the "moderated t" of Smyth, Statistical Applications in Genetics and Molecular Biology 3,
    /// 2004). Fewer than 2 values correct nothing; `None` when a value is not finite.
    pub fn corrected_by(self, values: &[f64]) -> Option<Self> {
        if values.len() < 2 {
            return super::all_finite(values).then_some(self);
        }
        let seen = Summary::of(values)?.sd?.powi(2);
        let seen_df = (values.len() - 1) as f64;
        let df = self.df + seen_df;
        Some(Self {
            value: (self.df * self.value + seen_df * seen) / df,
            df,
        })
    }

    pub fn scaled(self, factor: f64) -> Self {
        Self {
            value: self.value * factor * factor,
            df: self.df,
        }
    }
}

/// The variance of a sum of independent errors, with degrees of freedom by which it is nearly a multiple of
/// chi-squared (Satterthwaite, Biometrics Bulletin 2, 1946). Infinite when all are known, or nothing varies; `None` when a
/// value is negative or not finite, or degrees of freedom are not positive.
pub fn satterthwaite(parts: &[Variance]) -> Option<Variance> {
    let is_variance = |v: &Variance| v.value >= 0.0 && v.value.is_finite() && v.df > 0.0;
    if !parts.iter().all(is_variance) {
        return None;
    }
    let value: f64 = parts.iter().map(|v| v.value).sum();
    let uncertainty: f64 = parts.iter().map(|v| v.value * v.value / v.df).sum();
    let df = value * value / uncertainty;
    Some(Variance {
        value,
        df: if df.is_finite() { df } else { f64::INFINITY },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variance(value: f64, df: f64) -> Variance {
        Variance { value, df }
    }

    #[test]
    fn data_correct_an_assumption_as_much_as_they_weigh() {
        let assumed = variance(9.0, 4.0);
        // 1, 2, 3, 4, 5: variance 2.5 with 4 degrees of freedom, so that both weigh the same.
        let corrected = assumed.corrected_by(&[1.0, 2.0, 3.0, 4.0, 5.0]).unwrap();
        assert_eq!(corrected, variance(5.75, 8.0));
        assert_eq!(assumed.corrected_by(&[7.0]), Some(assumed));
        assert_eq!(assumed.corrected_by(&[]), Some(assumed));
        assert_eq!(assumed.corrected_by(&[1.0, f64::NAN]), None);
        assert_eq!(assumed.corrected_by(&[f64::NAN]), None);
        assert_eq!(assumed.scaled(2.0), variance(36.0, 4.0));
    }

    #[test]
    fn a_sum_is_as_sure_as_its_largest_part() {
        let sum = satterthwaite(&[variance(2.0, 2.0), variance(2.0, 2.0)]).unwrap();
        assert_eq!(sum, variance(4.0, 4.0));
        let one = satterthwaite(&[variance(3.0, 7.0), variance(0.0, 1.0)]).unwrap();
        assert_eq!(one.value, 3.0);
        assert!((one.df - 7.0).abs() < 1e-12);
        let known = satterthwaite(&[variance(1.0, f64::INFINITY)]).unwrap();
        assert_eq!(known, variance(1.0, f64::INFINITY));
        assert_eq!(satterthwaite(&[variance(0.0, 3.0)]).unwrap().value, 0.0);
        for bad in [
            variance(-1.0, 1.0),
            variance(f64::NAN, 1.0),
            variance(1.0, 0.0),
        ] {
            assert_eq!(satterthwaite(&[bad]), None);
        }
    }
}
