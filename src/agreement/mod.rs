//! Whether two engines compute the same: the logits of one text, and the greedy tokens after it.
//!
//! Two devices are held against each other in one process ([`compute`]). Two builds, settings or nights are held against each
//! other by what their records keep of the same computation ([`check`], [`output`]).

pub(crate) mod check;
pub mod output;

use serde::{Deserialize, Serialize};

use crate::engine::{EngineError, Session, Token, argmax};

/// Tokens of the text whose logits are compared.
pub const N_PROMPT: u32 = 64;
/// Greedy tokens after it.
pub const N_GEN: u32 = 32;

/// What one side computed: a row of logits after each token, the greedy tokens among them last.
#[derive(Debug, Clone, PartialEq)]
pub struct Computed {
    rows: Vec<Vec<f32>>,
    greedy: Vec<Token>,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Agreement {
    /// Squared difference of the text's logits over their squared size: ggml's own measure of two backends.
    pub nmse: f64,
    /// Kullback-Leibler divergence of the next token's distribution from the first side's, mean over the text, in nats.
    pub mean_kld: f64,
    pub max_kld: f64,
    /// Share of the text's positions where both have the same most likely next token.
    pub same_top_share: f64,
    /// Greedy tokens before the first that differs.
    pub n_greedy_equal: u32,
}

impl Agreement {
    /// Largest mean divergence at which two devices count as agreeing. Kernels round differently, and those for quantised weights
    /// also quantise the activations, some devices' coarser than others'; a wrong result is beyond it by far.
    pub const MOST_MEAN_KLD: f64 = 0.05;

    /// Whether the sides differ by no more than kernels round.
    pub fn holds(&self) -> bool {
        self.mean_kld <= Self::MOST_MEAN_KLD
    }

    /// Of two sides that computed the same text.
    ///
    /// # Panics
    /// When they are not of one model.
    pub fn of(first: &Computed, second: &Computed) -> Self {
        let mut rows = RowsCompared::default();
        let of_text = first.rows.iter().zip(&second.rows).take(N_PROMPT as usize);
        for (a, b) in of_text {
            rows.add(a, b);
        }
        rows.agreement(n_equal(&first.greedy, &second.greedy))
    }
}

/// Tokens before the first that differs.
pub(crate) fn n_equal(a: &[Token], b: &[Token]) -> u32 {
    let equal = a.iter().zip(b).take_while(|(a, b)| a == b);
    equal.count() as u32
}

/// Adds up rows of logits that two sides computed at the same places.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct RowsCompared {
    n: u32,
    /// Sum of the squared differences.
    difference: f64,
    /// Sum of the first side's squares.
    size: f64,
    sum_kld: f64,
    max_kld: f64,
    n_same_top: u32,
}

impl RowsCompared {
    /// Takes both sides' rows of a place in, and returns their divergence.
    ///
    /// # Panics
    /// When they are not of one vocabulary.
    pub(crate) fn add(&mut self, a: &[f32], b: &[f32]) -> f64 {
        assert_eq!(a.len(), b.len(), "logits of one vocabulary");
        let squared = |(a, b): (&f32, &f32)| f64::from(a - b).powi(2);
        let squares = (
            a.iter().zip(b).map(squared).sum(),
            a.iter().map(|&a| f64::from(a).powi(2)).sum(),
        );
        let is_same_top = argmax(a).is_some() && argmax(a) == argmax(b);
        let kld = divergence(a, b);
        self.add_figures(squares, kld, is_same_top);
        kld
    }

    /// Takes the figures of a place in: the squared difference and the first side's square, the divergence, and whether both have
    /// the same most likely token.
    pub(crate) fn add_figures(
        &mut self,
        (difference, size): (f64, f64),
        kld: f64,
        is_same_top: bool,
    ) {
        self.n += 1;
        self.difference += difference;
        self.size += size;
        self.sum_kld += kld;
        self.max_kld = self.max_kld.max(kld);
        self.n_same_top += u32::from(is_same_top);
    }

    pub(crate) fn mean_kld(&self) -> f64 {
        self.sum_kld / f64::from(self.n.max(1))
    }

    /// Takes the rows of another sum in.
    pub(crate) fn join(&mut self, other: &Self) {
        self.n += other.n;
        self.difference += other.difference;
        self.size += other.size;
        self.sum_kld += other.sum_kld;
        self.max_kld = self.max_kld.max(other.max_kld);
        self.n_same_top += other.n_same_top;
    }

    /// The figures; without a row they are those of equal sides.
    pub(crate) fn agreement(&self, n_greedy_equal: u32) -> Agreement {
        let n = f64::from(self.n.max(1));
        Agreement {
            nmse: match self.size > 0.0 {
                true => self.difference / self.size,
                false => self.difference,
            },
            mean_kld: self.mean_kld(),
            max_kld: self.max_kld,
            same_top_share: match self.n {
                0 => 1.0,
                _ => f64::from(self.n_same_top) / n,
            },
            n_greedy_equal,
        }
    }
}

/// Of the distribution that `b` gives from that of `a`: sum of p (ln p - ln q).
fn divergence(a: &[f32], b: &[f32]) -> f64 {
    let (log_sum_a, log_sum_b) = (log_sum_exp(a), log_sum_exp(b));
    let of_one = |(&a, &b): (&f32, &f32)| {
        let (log_p, log_q) = (f64::from(a) - log_sum_a, f64::from(b) - log_sum_b);
        log_p.exp() * (log_p - log_q)
    };
    a.iter().zip(b).map(of_one).sum::<f64>().max(0.0)
}

pub(crate) fn log_sum_exp(logits: &[f32]) -> f64 {
    let most = f64::from(logits.iter().copied().fold(f32::MIN, f32::max));
    let sum: f64 = logits.iter().map(|&l| (f64::from(l) - most).exp()).sum();
    most + sum.ln()
}

/// The logits after each of a text's first [`N_PROMPT`] tokens, and [`N_GEN`] greedy tokens after them.
///
/// # Errors
/// What the engine says; [`EngineError::Logits`] when a row has a value that is not finite.
pub fn compute(session: &mut dyn Session, text: &[Token]) -> Result<Computed, EngineError> {
    let mut computed = Computed {
        rows: Vec::new(),
        greedy: Vec::new(),
    };
    let mut input = text.to_vec();
    input.truncate(N_PROMPT as usize);
    let mut n_past = 0;
    loop {
        session.begin();
        for (pos, token) in (n_past..).zip(&input) {
            session.push(*token, pos, 0, true)?;
        }
        session.submit()?;
        session.wait();
        for row in 0..input.len() as i32 {
            let logits = session.logits(row);
            if logits.iter().any(|l| !l.is_finite()) {
                return Err(EngineError::Logits { row });
            }
            computed.rows.push(logits.to_vec());
        }
        n_past += input.len() as u32;
        if computed.greedy.len() == N_GEN as usize {
            return Ok(computed);
        }
        let last = input.len() as i32 - 1;
        let next = session.greedy(last)?;
        computed.greedy.push(next);
        input = vec![next];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn side(row: &[f32], greedy: &[Token]) -> Computed {
        Computed {
            rows: vec![row.to_vec(); N_PROMPT as usize],
            greedy: greedy.to_vec(),
        }
    }

    #[test]
    fn equal_sides_agree_wholly() {
        let one = side(&[1.0, 2.0, 4.0], &[2, 2]);
        let found = Agreement::of(&one, &one);
        assert_eq!((found.nmse, found.mean_kld), (0.0, 0.0));
        assert_eq!((found.same_top_share, found.n_greedy_equal), (1.0, 2));
        assert!(found.holds());
    }

    #[test]
    fn divergence_is_that_of_the_distributions() {
        // p = (1/2, 1/2), q = (1/4, 3/4): ln 2 - (ln 3) / 2 = 0.143841.
        let (p, q) = ([0.0, 0.0], [0.0, 3.0_f32.ln()]);
        let found = Agreement::of(&side(&p, &[0, 1]), &side(&q, &[0, 0]));
        assert!((found.mean_kld - 0.143_841).abs() < 1e-6, "{found:?}");
        assert!((found.max_kld - found.mean_kld).abs() < 1e-12);
        assert_eq!((found.same_top_share, found.n_greedy_equal), (0.0, 1));
        assert!(!found.holds());
        // A shift of all logits is the same distribution, and a difference of the logits.
        let shifted = Agreement::of(&side(&[1.0, 2.0], &[]), &side(&[2.0, 3.0], &[]));
        assert!(shifted.mean_kld < 1e-12);
        assert!((shifted.nmse - 2.0 / 5.0).abs() < 1e-12);
    }
}
