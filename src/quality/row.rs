//! The arithmetic on one row of logits: its normaliser, a token's probability, the divergence from another distribution.
//!
//! The loops are written for the compiler to vectorise: a row has as many values as the vocabulary has tokens, and a text of
//! 16,000 tokens over a vocabulary of 50,000 has 400 million of them.

use crate::engine::argmax;

/// Independent sums that a vector register holds.
const LANES: usize = 16;

/// Values summed in 32 bits before the sum goes on in 64.
const BLOCK: usize = 2048;

/// Nats below which a stored probability is not told apart from zero: e^-32 is 1e-14.
const MOST_NATS: f32 = 32.0;

/// The largest code.
const MOST_CODE: f32 = 65535.0;

/// Bytes of a stored logarithm of a probability.
pub(crate) const CODE_BYTES: usize = 2;

/// What the softmax of a row is made with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Normaliser {
    /// The most likely token.
    pub top: usize,
    /// ln of the sum of e^logit.
    log_sum: f64,
}

impl Normaliser {
    /// Of a row; `None` where no value is finite.
    pub(crate) fn of(logits: &[f32]) -> Option<Self> {
        let top = argmax(logits)?;
        let max = logits[top];
        let sum = sum_of(logits.chunks(BLOCK), |&logit| exp(logit - max));
        let log_sum = f64::from(max) + sum.ln();
        log_sum.is_finite().then_some(Self { top, log_sum })
    }

    /// Negative logarithm of a token's probability, nats.
    pub(crate) fn nll(self, logit: f32) -> f32 {
        (self.log_sum - f64::from(logit)) as f32
    }

    /// Writes a row's logarithms of probabilities, [`CODE_BYTES`] each: the square root of the negative logarithm, so that
    /// likely tokens, on whose logarithms a divergence depends most, are stored most exactly.
    pub(crate) fn encode(self, logits: &[f32], codes: &mut [u8]) {
        let log_sum = self.log_sum as f32;
        for (code, &logit) in codes.chunks_exact_mut(CODE_BYTES).zip(logits) {
            let nats = (log_sum - logit).clamp(0.0, MOST_NATS);
            let scaled = (nats / MOST_NATS).sqrt() * MOST_CODE;
            code.copy_from_slice(&rounded(scaled).to_le_bytes());
        }
    }

    /// Kullback-Leibler divergence of this row's distribution from a stored one, sum p (ln p - ln q), nats. The stored
    /// distribution is normalised anew, so that what its rounding costs is of second order.
    pub(crate) fn divergence(self, logits: &[f32], codes: &[u8]) -> f32 {
        let log_sum = self.log_sum as f32;
        let (mut sum_p, mut sum_d) = (0.0_f64, 0.0_f64);
        let blocks = codes.chunks(BLOCK * CODE_BYTES).zip(logits.chunks(BLOCK));
        for (codes, logits) in blocks {
            let (mut p_lanes, mut d_lanes) = ([0.0_f32; LANES], [0.0_f32; LANES]);
            let groups = codes.chunks(LANES * CODE_BYTES).zip(logits.chunks(LANES));
            for (codes, logits) in groups {
                let values = codes.chunks_exact(CODE_BYTES).zip(logits);
                let lanes = p_lanes.iter_mut().zip(&mut d_lanes);
                for ((p_sum, d_sum), (code, &logit)) in lanes.zip(values) {
                    let log_p = decoded(u16::from_le_bytes([code[0], code[1]]));
                    let p = exp(log_p);
                    *p_sum += p;
                    *d_sum += p * (log_p - (logit - log_sum));
                }
            }
            sum_p += p_lanes.iter().map(|&v| f64::from(v)).sum::<f64>();
            sum_d += d_lanes.iter().map(|&v| f64::from(v)).sum::<f64>();
        }
        (sum_d / sum_p - sum_p.ln()) as f32
    }
}

fn sum_of<'a>(blocks: impl Iterator<Item = &'a [f32]>, of: impl Fn(&f32) -> f32) -> f64 {
    let of_block = |block: &[f32]| {
        let mut lanes = [0.0_f32; LANES];
        for values in block.chunks(LANES) {
            for (lane, value) in lanes.iter_mut().zip(values) {
                *lane += of(value);
            }
        }
        lanes.iter().map(|&v| f64::from(v)).sum::<f64>()
    };
    blocks.map(of_block).sum()
}

/// The nearest whole number of one from 0 to 65535: adding 2^23 leaves it in the low bits, and needs no conversion that the
/// compiler cannot vectorise.
#[inline(always)]
fn rounded(value: f32) -> u16 {
    const TWO_TO_23: f32 = 8_388_608.0;
    ((value + TWO_TO_23).to_bits() & 0xffff) as u16
}

/// The stored logarithm.
#[inline(always)]
fn decoded(code: u16) -> f32 {
    let root = f32::from(code) * (1.0 / MOST_CODE);
    -MOST_NATS * root * root
}

/// e^x of an x that is not positive, to 2e-7 of it; below -87 it is e^-87. Cody and Waite's reduction to 2^n e^r with
/// |r| <= ln 2 / 2, then Taylor's series to r^6.
#[inline(always)]
fn exp(x: f32) -> f32 {
    /// 1.5 * 2^23: adding it rounds to a whole number, which is then in the low bits.
    const ROUNDER: f32 = 12_582_912.0;
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    let x = x.max(-87.0);
    let shifted = x * std::f32::consts::LOG2_E + ROUNDER;
    let n = shifted - ROUNDER;
    let r = x - n * LN_2_HIGH - n * LN_2_LOW;
    let series = 1.0 / 720.0;
    let series = series * r + 1.0 / 120.0;
    let series = series * r + 1.0 / 24.0;
    let series = series * r + 1.0 / 6.0;
    let series = series * r + 0.5;
    let series = series * r + 1.0;
    let series = series * r + 1.0;
    let exponent = shifted.to_bits().wrapping_sub(ROUNDER.to_bits());
    series * f32::from_bits(exponent.wrapping_add(127) << 23)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(seed: u32, n: usize) -> Vec<f32> {
        // A linear congruential generator: spread over about 25 nats.
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            f64::from(state) / f64::from(u32::MAX)
        };
        (0..n).map(|_| (next() * 25.0 - 5.0) as f32).collect()
    }

    fn softmax(logits: &[f32]) -> Vec<f64> {
        let max = logits.iter().copied().fold(f32::MIN, f32::max);
        let e: Vec<f64> = logits.iter().map(|&l| f64::from(l - max).exp()).collect();
        let sum: f64 = e.iter().sum();
        e.iter().map(|v| v / sum).collect()
    }

    fn codes_of(logits: &[f32]) -> Vec<u8> {
        let mut codes = vec![0; logits.len() * CODE_BYTES];
        Normaliser::of(logits)
            .expect("finite")
            .encode(logits, &mut codes);
        codes
    }

    #[test]
    fn the_exponential_is_that_of_the_library() {
        for i in 0..=870_000 {
            let x = -(i as f32) * 1e-4;
            let (own, library) = (exp(x), x.exp());
            assert!(
                (own - library).abs() <= library * 3e-7,
                "{x}: {own}, {library}"
            );
        }
        assert_eq!(exp(f32::NEG_INFINITY), exp(-87.0));
    }

    #[test]
    fn probabilities_are_those_of_a_plain_softmax() {
        for n in [1, 15, 2048, 5003] {
            let logits = row(n as u32, n);
            let p = softmax(&logits);
            let norm = Normaliser::of(&logits).expect("finite");
            for (&logit, p) in logits.iter().zip(&p) {
                assert!((f64::from(norm.nll(logit)) + p.ln()).abs() < 2e-5);
            }
            assert_eq!(Some(norm.top), argmax(&logits));
        }
        assert_eq!(Normaliser::of(&[f32::NAN; 3]), None);
        assert_eq!(Normaliser::of(&[]), None);
    }

    #[test]
    fn the_divergence_is_the_sum_over_the_vocabulary() {
        let (a, b) = (row(1, 5003), row(2, 5003));
        let mixed: Vec<f32> = a.iter().zip(&b).map(|(a, b)| 0.9 * a + 0.1 * b).collect();
        let (p, q) = (softmax(&a), softmax(&mixed));
        let plain: f64 = p.iter().zip(&q).map(|(p, q)| p * (p / q).ln()).sum();
        let norm = Normaliser::of(&mixed).expect("finite");
        let own = f64::from(norm.divergence(&mixed, &codes_of(&a)));
        assert!((own - plain).abs() < 1e-5 + 1e-4 * plain, "{own}, {plain}");
    }

    #[test]
    fn a_distribution_does_not_diverge_from_itself() {
        for seed in 1..50 {
            let logits = row(seed, 4999);
            let norm = Normaliser::of(&logits).expect("finite");
            let own = norm.divergence(&logits, &codes_of(&logits));
            assert!(own.abs() < 1e-6, "{own}");
        }
    }
}
