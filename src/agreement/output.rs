//! What a record keeps of a checked output, and two of them held against each other.
//!
//! A record keeps no whole distribution: of each row the most likely tokens with their logits, and the logits of a sample of the
//! vocabulary. The divergence over these and all others together is at most that of the distributions (the data processing
//! inequality), and close to it where they differ by rounding. A difference among tokens that are all unlikely is seen in the
//! squares of the sampled logits instead, so both are judged.

use serde::{Deserialize, Serialize};

use super::{Agreement, RowsCompared, log_sum_exp, n_equal};
use crate::engine::Token;

/// Most likely tokens of a row that are kept.
const N_TOP: usize = 64;

/// Tokens spread over the vocabulary whose logits are kept.
const N_SAMPLED: usize = 256;

/// How many times the rounding a divergence may be. Another build, or another number of sequences, computes with other kernels, which
/// add in another order; how much that changes is measured once a run, on few tokens. EVIDENCE.md has what was seen.
pub const MOST_ROUNDINGS: f64 = 5.0;

/// Least rounding that is believed, in nats and as NMSE: logits have 24 bits, and sums of hundreds of them fewer.
const LEAST_ROUNDING: f64 = 1e-6;

/// Most that is believed to be rounding, in nats: a broken kernel must not excuse what it breaks.
pub const MOST_KLD: f64 = Agreement::MOST_MEAN_KLD;

/// The same as NMSE.
const MOST_NMSE: f64 = 0.02;

/// Figures of sequences that were computed in two ways.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct SequencesAgreement {
    /// Over the rows of all sequences; of the greedy tokens the sequence with the fewest equal ones.
    #[serde(flatten)]
    pub agreement: Agreement,
    /// The sequence whose distributions differ most.
    pub worst_seq: u32,
    /// Mean Kullback-Leibler divergence of its rows, in nats.
    pub worst_kld: f64,
}

impl SequencesAgreement {
    /// From the rows of each sequence.
    pub(super) fn of(sums: &[RowsCompared], n_greedy_equal: u32) -> Self {
        let means = sums.iter().map(RowsCompared::mean_kld).enumerate();
        let worst = means.max_by(|(_, a), (_, b)| a.total_cmp(b));
        let (worst_seq, worst_kld) = worst.unwrap_or((0, 0.0));
        let mut all = RowsCompared::default();
        sums.iter().for_each(|sum| all.join(sum));
        Self {
            agreement: all.agreement(n_greedy_equal),
            worst_seq: worst_seq as u32,
            worst_kld,
        }
    }
}

/// What was computed to check the output of a setting.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OutputChecked {
    /// Tokens of the vocabulary.
    pub n_vocab: u32,
    /// A hash of the tokens of each text.
    pub texts: Vec<u64>,
    /// Tokens of each that were computed as a prompt.
    pub n_prompt: u32,
    /// Tokens of each that were decoded one after the other; the logits after them are compared.
    pub n_decoded: u32,
    /// Greedy tokens after these.
    pub n_greedy: u32,
    /// Each text decoded token by token, against the same text as a prompt, one sequence at a time: what the engine's kernels
    /// alone differ by.
    pub alone: SequencesAgreement,
    /// Each text as a prompt with the other kind of attention (with flash attention, or without it), against that of the setting:
    /// another order of additions, as another build has. None where the engine has one kind only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attention: Option<SequencesAgreement>,
    /// All sequences of the batch together, against each alone. None with one sequence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub together: Option<SequencesAgreement>,
    /// Some rows of each text, decoded alone; the texts one after the other.
    pub rows: Vec<OutputRow>,
    /// Greedy tokens after each text, decoded alone.
    pub greedy: Vec<Vec<Token>>,
}

/// What is kept of a row of logits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OutputRow {
    /// ln of the sum of e^logit over the vocabulary.
    pub log_sum: f64,
    /// The most likely tokens, the most likely first.
    pub top: Vec<Token>,
    /// Their logits.
    pub top_logits: Vec<f32>,
    /// Logits of tokens at equal distances in the vocabulary, from token 0 on.
    pub sampled: Vec<f32>,
}

impl OutputRow {
    pub(super) fn of(logits: &[f32]) -> Self {
        let by_logit = |a: &usize, b: &usize| logits[*b].total_cmp(&logits[*a]).then(a.cmp(b));
        let mut top: Vec<usize> = (0..logits.len()).collect();
        if top.len() > N_TOP {
            top.select_nth_unstable_by(N_TOP - 1, by_logit);
            top.truncate(N_TOP);
        }
        top.sort_unstable_by(by_logit);
        Self {
            log_sum: log_sum_exp(logits),
            top_logits: top.iter().map(|&token| logits[token]).collect(),
            top: top.into_iter().map(|token| token as Token).collect(),
            sampled: logits.iter().step_by(step(logits.len())).copied().collect(),
        }
    }

    /// Logarithm of the probability of a token; of one that is not kept, the most it can be.
    fn log_p(&self, token: Token, n_vocab: usize) -> f64 {
        let kept = self.top.iter().position(|&kept| kept == token);
        let of_sample = || {
            let step = step(n_vocab);
            let token = usize::try_from(token).ok()?;
            (token % step == 0).then(|| self.sampled.get(token / step))?
        };
        let logit = kept
            .and_then(|at| self.top_logits.get(at))
            .or_else(of_sample)
            .or_else(|| self.top_logits.last());
        logit.map_or(f64::NEG_INFINITY, |&logit| f64::from(logit) - self.log_sum)
    }

    /// Divergence of the other row's distribution from this one's, over this row's most likely tokens, the sampled ones, and all
    /// others together.
    fn divergence(&self, other: &Self, n_vocab: usize) -> f64 {
        let top = self.top.iter().zip(&self.top_logits);
        let top = top.map(|(&token, &logit)| (logit, other.log_p(token, n_vocab)));
        let ids = (0..).step_by(step(n_vocab)).map(|token| token as Token);
        let sampled = ids.zip(self.sampled.iter().zip(&other.sampled));
        let sampled = sampled
            .filter(|(token, _)| !self.top.contains(token))
            .map(|(_, (&a, &b))| (a, f64::from(b) - other.log_sum));
        let (mut rest_p, mut rest_q, mut sum) = (1.0, 1.0, 0.0);
        for (logit, log_q) in top.chain(sampled) {
            let log_p = f64::from(logit) - self.log_sum;
            rest_p -= log_p.exp();
            rest_q -= log_q.exp();
            sum += log_p.exp() * (log_p - log_q);
        }
        // What rounding leaves of a distribution that has no others is no probability.
        if rest_p > 1e-9 {
            sum += rest_p * (rest_p / rest_q.max(1e-9)).ln();
        }
        sum.max(0.0)
    }

    /// Squared difference of the sampled logits, and this row's squares.
    fn squares(&self, other: &Self) -> (f64, f64) {
        let squared = |(a, b): (&f32, &f32)| f64::from(a - b).powi(2);
        let difference = self.sampled.iter().zip(&other.sampled).map(squared).sum();
        let size = self.sampled.iter().map(|&a| f64::from(a).powi(2)).sum();
        (difference, size)
    }
}

/// Distance of the sampled tokens in the vocabulary.
fn step(n_vocab: usize) -> usize {
    n_vocab.div_ceil(N_SAMPLED).max(1)
}

/// One output against another.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct OutputDifference {
    /// Rows that were compared.
    pub n_rows: u32,
    /// Their figures; of the greedy tokens the text with the fewest equal ones.
    #[serde(flatten)]
    pub agreement: Agreement,
}

impl OutputChecked {
    /// What the engine's kernels alone differ by, in nats.
    pub fn rounding(&self) -> f64 {
        let attention = self.attention.map_or(0.0, |other| other.worst_kld);
        let measured = self.alone.worst_kld.max(attention);
        measured.clamp(LEAST_ROUNDING, MOST_KLD / MOST_ROUNDINGS)
    }

    /// The same as NMSE.
    pub fn rounding_nmse(&self) -> f64 {
        let attention = self.attention.map_or(0.0, |other| other.agreement.nmse);
        let measured = self.alone.agreement.nmse.max(attention);
        measured.clamp(LEAST_ROUNDING, MOST_NMSE / MOST_ROUNDINGS)
    }

    /// Whether a text that is decoded token by token gets the logits that it gets as a prompt.
    pub fn is_decoded_right(&self) -> bool {
        self.alone.worst_kld <= MOST_KLD
    }

    /// Whether that holds, and the sequences of the batch give together what each gives alone.
    pub fn is_right(&self) -> bool {
        let within =
            |together: SequencesAgreement| together.worst_kld <= MOST_ROUNDINGS * self.rounding();
        self.is_decoded_right() && self.together.is_none_or(within)
    }

    /// This output against a base, over the texts that both have. `None` where they have none in common: their tokens differ.
    pub fn against(&self, base: &Self) -> Option<OutputDifference> {
        let lengths = |of: &Self| (of.n_vocab, of.n_prompt, of.n_decoded, of.n_greedy);
        if lengths(self) != lengths(base) {
            return None;
        }
        let mut texts = self.texts.iter().zip(&base.texts);
        let n_texts = texts.by_ref().take_while(|(a, b)| a == b).count();
        if n_texts == 0 {
            return None;
        }
        let per_text = |of: &Self| of.rows.len() / of.texts.len();
        let n_rows = per_text(self).min(per_text(base)) * n_texts;
        let mut sum = RowsCompared::default();
        for (a, b) in base.rows.iter().zip(&self.rows).take(n_rows) {
            let kld = a.divergence(b, base.n_vocab as usize);
            sum.add_figures(a.squares(b), kld, a.top.first() == b.top.first());
        }
        let greedy = base.greedy.iter().zip(&self.greedy).take(n_texts);
        let n_greedy_equal = greedy.map(|(a, b)| n_equal(a, b)).min();
        Some(OutputDifference {
            n_rows: n_rows as u32,
            agreement: sum.agreement(n_greedy_equal.unwrap_or(0)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Logits over about 20 nats, in an order that no sampled step has.
    fn logits(n: usize, times: f32) -> Vec<f32> {
        let value = |i: usize| times * ((i * 7919 + 13) % n) as f32 / n as f32 * 20.0;
        (0..n).map(value).collect()
    }

    #[test]
    fn what_is_kept_tells_the_divergence_of_the_distributions() {
        let n = 5000;
        let base = logits(n, 1.0);
        for times in [1.0, 0.999, 0.9, 0.5] {
            let other = logits(n, times);
            let whole = super::super::divergence(&base, &other);
            let kept = OutputRow::of(&base).divergence(&OutputRow::of(&other), n);
            assert!(
                kept <= 1.001 * whole + 1e-9 && kept >= 0.2 * whole - 1e-9,
                "{times}: {kept} {whole}"
            );
        }
        let row = OutputRow::of(&base);
        assert_eq!((row.top.len(), row.sampled.len()), (64, 250));
        assert!(row.top_logits.is_sorted_by(|a, b| a >= b));
        assert_eq!(row.divergence(&row, n), 0.0);
    }

    #[test]
    fn a_row_of_few_tokens_is_kept_whole() {
        let (p, q) = ([0.0, 0.0], [0.0, 3.0_f32.ln()]);
        let kept = OutputRow::of(&p).divergence(&OutputRow::of(&q), 2);
        assert!((kept - 0.143_841).abs() < 1e-6, "{kept}");
        assert_eq!(OutputRow::of(&p).squares(&OutputRow::of(&p)), (0.0, 0.0));
    }

    #[test]
    fn the_worst_sequence_is_named() {
        let mut sums = [RowsCompared::default(); 3];
        for (sum, kld) in sums.iter_mut().zip([0.1, 0.5, 0.2]) {
            sum.add_figures((1.0, 2.0), kld, true);
            sum.add_figures((0.0, 2.0), kld, false);
        }
        let found = SequencesAgreement::of(&sums, 3);
        assert_eq!((found.worst_seq, found.worst_kld), (1, 0.5));
        assert_eq!(found.agreement.nmse, 0.25);
        assert_eq!(found.agreement.same_top_share, 0.5);
        assert!((found.agreement.mean_kld - 0.8 / 3.0).abs() < 1e-12);
    }
}
