//! The noise of pairs in simulations of rules that look after every pair.

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{ChiSquared, Distribution, StandardNormal};

/// The noise of a pair's log ratio. All but the last kinds are symmetric and independent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum PairNoise {
    Normal,
    /// Student's t with 3 degrees of freedom.
    HeavyTails,
    /// 2% of the pairs are off by ten times as much.
    Outliers,
    /// As measured on a shared virtual machine: 1%, and one pair in seven off by 4 to 9%.
    Measured,
    /// The machine becomes 10% slower over the night; the order of the sides is random.
    Drift,
    /// Each pair repeats this part of the one before.
    Autocorrelated(f64),
}

impl PairNoise {
    pub(super) fn pairs(self, sd: f64, n: usize, rng: &mut ChaCha8Rng) -> Vec<f64> {
        let mut before: f64 = sd * rng.sample::<f64, _>(StandardNormal);
        let mut pair = |at: usize| {
            let normal: f64 = rng.sample(StandardNormal);
            match self {
                Self::Normal => sd * normal,
                Self::HeavyTails => {
                    let chi: f64 = ChiSquared::new(3.0).expect("degrees").sample(rng);
                    // Its variance is 3.
                    sd * normal / (chi / 3.0).sqrt() / 3f64.sqrt()
                }
                Self::Outliers if rng.random_bool(0.02) => 10.0 * sd * normal,
                Self::Outliers => sd * normal,
                Self::Measured if rng.random_bool(1.0 / 7.0) => {
                    let off = rng.random_range(0.04..0.09);
                    if rng.random_bool(0.5) { off } else { -off }
                }
                Self::Measured => 0.01 * normal,
                Self::Drift => {
                    let level = |at: f64| (0.10 * at / n as f64).ln_1p();
                    let between = level(at as f64 + 0.5) - level(at as f64);
                    let order = if rng.random_bool(0.5) { 1.0 } else { -1.0 };
                    sd * normal + order * between
                }
                Self::Autocorrelated(part) => {
                    before = part * before + (1.0 - part * part).sqrt() * sd * normal;
                    before
                }
            }
        };
        (0..n).map(&mut pair).collect()
    }
}
