//! When requests of an open loop come: a Poisson process, drawn from the job's seed alone, so that every target gets
//! its requests at the same instants.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::Exp1;

/// The instants, nanoseconds since the job began, one after another without end. None at all when the rate is not
/// a positive number.
#[derive(Debug, Clone)]
pub struct Arrivals {
    rate_per_s: f64,
    rng: ChaCha8Rng,
    at_s: f64,
}

impl Arrivals {
    /// The mean number per second.
    pub fn new(rate_per_s: f64, seed: u64) -> Self {
        Self {
            rate_per_s,
            rng: ChaCha8Rng::seed_from_u64(seed),
            at_s: 0.0,
        }
    }
}

impl Iterator for Arrivals {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        // False for NaN too.
        if self.rate_per_s > 0.0 {
            self.at_s += self.rng.sample::<f64, _>(Exp1) / self.rate_per_s;
            // Beyond what fits, the conversion saturates.
            return Some((self.at_s * 1e9) as u64);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_exponential_with_the_rate_and_the_seed_decides_them() {
        let all: Vec<u64> = Arrivals::new(50.0, 7).take(20_000).collect();
        assert!(all.is_sorted());
        let gaps: Vec<f64> = std::iter::once(&0)
            .chain(&all)
            .zip(&all)
            .map(|(a, b)| (b - a) as f64 / 1e9)
            .collect();
        let n = gaps.len() as f64;
        let mean = gaps.iter().sum::<f64>() / n;
        let variance = gaps.iter().map(|g| (g - mean).powi(2)).sum::<f64>() / n;
        // Of an exponential, mean and standard deviation are both 1 / rate; 20,000 draws know them to a few percent.
        assert!((mean * 50.0 - 1.0).abs() < 0.03, "{mean}");
        assert!((variance.sqrt() * 50.0 - 1.0).abs() < 0.05, "{variance}");
        assert_eq!(all, Arrivals::new(50.0, 7).take(20_000).collect::<Vec<_>>());
        assert_ne!(Arrivals::new(50.0, 8).next(), Some(all[0]));
    }

    #[test]
    fn no_rate_is_no_request() {
        for rate in [0.0, -1.0, f64::NAN] {
            assert_eq!(Arrivals::new(rate, 1).next(), None, "{rate}");
        }
    }
}
