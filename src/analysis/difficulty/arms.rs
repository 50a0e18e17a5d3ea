//! The two arms and the control: pairs to figures, figures to verdicts.

use super::{AnswerEnd, PairFigures, RequestFigures};
use crate::request::figures::{have_equal_lengths, paired_log_ratio};
use crate::stats::equivalence::{self, EqualityRule, EqualityVerdict};
use crate::stats::interval::t_interval;
use crate::stats::summary::{mean, median};
use crate::stats::{Interval, bca};

/// Level of the intervals of what is estimated and not held against a margin.
const LEVEL: f64 = 0.95;
/// Resamples, and their seed: the same record gives the same report.
const RESAMPLES: usize = 4_000;
const SEED: u64 = 42;
/// A part that explains at least this much of a difference is its mechanism.
const EXPLAINS: f64 = 0.5;

/// A ratio of two sides, hard / easy, over pairs, judged by the rule for equality.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Effect {
    pub n_pairs: usize,
    /// Median of the pairs' ratios, with its confidence sequence.
    pub ratio: Ratio,
    pub verdict: EqualityVerdict,
    /// About how many pairs would decide; `None` of a decided ratio, and where no useful number of pairs would.
    pub pairs_to_decide: Option<usize>,
}

/// A ratio and its interval; few pairs exclude nothing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ratio {
    pub estimate: f64,
    pub interval: Option<Interval>,
}

impl From<Interval> for Ratio {
    fn from(interval: Interval) -> Self {
        Self {
            estimate: interval.estimate,
            interval: Some(interval),
        }
    }
}

impl Effect {
    /// Of log ratios, one a pair, in the order in which they were measured, where `n_sides` sides are compared with one base; none
    /// of fewer than two pairs.
    pub(super) fn of(logs: &[f64], n_sides: usize) -> Option<Self> {
        let decision = equivalence::decide(logs, n_sides, &EqualityRule::default())?;
        let more = decision.more_pairs.filter(|_| logs.len() > 1);
        (logs.len() > 1).then(|| Self {
            n_pairs: logs.len(),
            ratio: Ratio {
                estimate: decision.estimate.exp(),
                interval: decision.interval.map(|i| i.map(f64::exp)),
            },
            verdict: decision.verdict,
            pairs_to_decide: more.map(|more| logs.len() + more),
        })
    }
}

/// Arm A: at equal lengths.
#[derive(Debug, Clone, PartialEq)]
pub struct Equal {
    pub step: Effect,
    /// Time per token without choosing it; none where choosing cannot be seen.
    pub decode: Option<Effect>,
    pub ttft: Option<Effect>,
    /// Time spent choosing a token; none where it cannot be seen.
    pub sampler: Option<Effect>,
    /// The sampler's part of the time per token.
    pub sampler_share: Option<f64>,
    /// The sampler's part of the difference in time per token.
    pub sampler_of_difference: Option<f64>,
    /// Pairs left out because their halves do not have equal numbers of tokens.
    pub n_unequal: usize,
    /// Pairs of which not all numbers of tokens are known.
    pub n_unknown: usize,
    /// Requests left out because they did not end as they should.
    pub n_broken: usize,
}

impl Equal {
    pub(super) fn of(pairs: &[PairFigures]) -> Option<Self> {
        let n_unequal = pairs.iter().filter(|p| lengths(p) == Some(false)).count();
        let kept: Vec<&PairFigures> = pairs.iter().filter(|p| lengths(p) != Some(false)).collect();
        let whole = RequestFigures::is_whole;
        let step = log_ratios(&kept, whole, |r| r.tpot_ns);
        let ttft = log_ratios(&kept, whole, |r| r.ttft_ns.map(|ns| ns as f64));
        let sampler = log_ratios(&kept, whole, RequestFigures::sample_ns_per_token);
        let decode = log_ratios(&kept, whole, RequestFigures::decode_ns_per_token);
        let parts = SamplerParts::of(&kept);
        Some(Self {
            step: Effect::of(&step, 1)?,
            decode: Effect::of(&decode, 1),
            ttft: Effect::of(&ttft, 1),
            sampler: Effect::of(&sampler, 1),
            sampler_share: parts.as_ref().map(SamplerParts::share),
            sampler_of_difference: parts.as_ref().and_then(SamplerParts::of_difference),
            n_unequal,
            n_unknown: kept.iter().filter(|p| lengths(p).is_none()).count(),
            n_broken: count(pairs, |r| !r.is_whole()).iter().sum(),
        })
    }

    /// Whether the sampler is what makes a token take longer.
    pub(super) fn sampler_explains(&self) -> bool {
        self.sampler_of_difference
            .is_some_and(|part| part >= EXPLAINS)
            && self
                .sampler
                .is_some_and(|effect| effect.verdict.is_different())
    }
}

/// Mean times of a token, and of choosing it, over the pairs that have both.
pub(super) struct SamplerParts {
    step_ns: [f64; 2],
    sample_ns: [f64; 2],
}

impl SamplerParts {
    fn of(pairs: &[&PairFigures]) -> Option<Self> {
        let row = |pair: &&PairFigures| {
            let halves = [&pair.easy, &pair.hard];
            let steps = halves.map(|h| middle(h, |r| r.tpot_ns));
            let samples = halves.map(|h| middle(h, RequestFigures::sample_ns_per_token));
            Some([steps[0]?, steps[1]?, samples[0]?, samples[1]?])
        };
        let rows: Vec<[f64; 4]> = pairs.iter().filter_map(row).collect();
        let column = |i: usize| mean(&rows.iter().map(|row| row[i]).collect::<Vec<_>>());
        Some(Self {
            step_ns: [column(0)?, column(1)?],
            sample_ns: [column(2)?, column(3)?],
        })
    }

    fn share(&self) -> f64 {
        self.sample_ns.iter().sum::<f64>() / self.step_ns.iter().sum::<f64>()
    }

    fn of_difference(&self) -> Option<f64> {
        let step = self.step_ns[1] - self.step_ns[0];
        (step != 0.0).then(|| (self.sample_ns[1] - self.sample_ns[0]) / step)
    }
}

/// Arm B: answers as long as the model makes them. Ratios hard / easy, geometric means over pairs, intervals of 95%;
/// `total = tokens * per_token` holds exactly.
#[derive(Debug, Clone, PartialEq)]
pub struct Natural {
    pub n_pairs: usize,
    pub total: Interval,
    /// Tokens of it.
    pub tokens: Interval,
    /// Time of the whole over its tokens, so the prefill has a part in it.
    pub per_token: Interval,
    /// Length's part of the difference in log(total); only where a difference is shown.
    pub length_share: Option<Interval>,
    /// Answers cut at the limit, of easy and hard questions: their length is not known, they are left out.
    pub n_censored: [usize; 2],
    /// Requests in all, of easy and of hard.
    pub n_requests: [usize; 2],
    /// Pairs of which no round had two whole answers.
    pub n_lost: usize,
    /// Requests left out because they did not end as they should.
    pub n_broken: usize,
}

impl Natural {
    pub(super) fn of(pairs: &[PairFigures]) -> Option<Self> {
        let ended = |r: &RequestFigures| r.ended == AnswerEnd::ByModel && r.n_generated > Some(0);
        let all: Vec<&PairFigures> = pairs.iter().collect();
        // Total and tokens from the same requests, so that their ratio is one of times per token.
        let logs: Vec<(f64, f64)> = all
            .iter()
            .filter_map(|pair| {
                let total = log_ratio(pair, ended, |r| Some(r.total_ns as f64))?;
                let tokens = log_ratio(pair, ended, |r| r.n_generated.map(f64::from))?;
                Some((total, tokens))
            })
            .collect();
        let interval = |f: fn(&(f64, f64)) -> f64| {
            let values: Vec<f64> = logs.iter().map(f).collect();
            t_interval(&values, LEVEL)
        };
        let total = interval(|(total, _)| *total)?;
        let shown = !total.contains(0.0);
        Some(Self {
            n_pairs: logs.len(),
            total: total.map(f64::exp),
            tokens: interval(|(_, tokens)| *tokens)?.map(f64::exp),
            per_token: interval(|(total, tokens)| total - tokens)?.map(f64::exp),
            length_share: if shown { length_share(&logs) } else { None },
            n_censored: count(pairs, |r| r.ended == AnswerEnd::AtLimit),
            n_requests: count(pairs, |_| true),
            n_lost: pairs.len() - logs.len(),
            n_broken: count(pairs, |r| !r.is_whole()).iter().sum(),
        })
    }

    /// Whether the answers take longer or shorter, and their length is what makes it.
    pub(super) fn is_length(&self) -> bool {
        let shown = !self.tokens.contains(1.0);
        shown
            && self
                .length_share
                .is_some_and(|share| share.estimate >= EXPLAINS)
    }
}

/// Length's part of the difference, over pairs drawn again and again.
fn length_share(logs: &[(f64, f64)]) -> Option<Interval> {
    let numbers: Vec<f64> = (0..logs.len()).map(|i| i as f64).collect();
    let share = |drawn: &[f64]| {
        let sums = drawn.iter().fold((0.0, 0.0), |(total, tokens), &i| {
            let (a, b) = logs[i as usize];
            (total + a, tokens + b)
        });
        sums.1 / sums.0
    };
    bca(&numbers, share, LEVEL, RESAMPLES, SEED)
}

/// The positive control: the same prompts, a little longer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Control {
    /// Prompt tokens, longer / shorter: the middle of the pairs; none where they were not counted.
    pub longer: Option<f64>,
    pub ttft: Effect,
    /// Whether what must show did: no difference, and any in the other direction, is excluded.
    pub is_seen: bool,
}

impl Control {
    pub(super) fn of(pairs: &[PairFigures]) -> Option<Self> {
        let all: Vec<&PairFigures> = pairs.iter().collect();
        let whole = RequestFigures::is_whole;
        let longer = log_ratios(&all, whole, |r| r.n_prompt.map(f64::from));
        let ttft = log_ratios(&all, whole, |r| r.ttft_ns.map(|ns| ns as f64));
        Some(Self {
            longer: median(&longer).map(f64::exp),
            ttft: Effect::of(&ttft, 1)?,
            is_seen: equivalence::is_above(&ttft, &EqualityRule::default()),
        })
    }
}

/// Whether both halves have equal numbers of tokens, prompt and answer; none where one is not known.
fn lengths(pair: &PairFigures) -> Option<bool> {
    have_equal_lengths(pair.easy.iter().chain(&pair.hard))
}

/// One log ratio hard / easy a pair; pairs without a round that has both are left out.
pub(super) fn log_ratios(
    pairs: &[&PairFigures],
    counts: impl Fn(&RequestFigures) -> bool,
    figure: impl Fn(&RequestFigures) -> Option<f64>,
) -> Vec<f64> {
    pairs
        .iter()
        .filter_map(|pair| log_ratio(pair, &counts, &figure))
        .collect()
}

fn log_ratio(
    pair: &PairFigures,
    counts: impl Fn(&RequestFigures) -> bool,
    figure: impl Fn(&RequestFigures) -> Option<f64>,
) -> Option<f64> {
    paired_log_ratio(&pair.easy, &pair.hard, counts, figure)
}

/// The middle of a figure over the whole answers.
pub(super) fn middle(
    requests: &[RequestFigures],
    figure: impl Fn(&RequestFigures) -> Option<f64>,
) -> Option<f64> {
    let whole = requests.iter().filter(|r| r.is_whole());
    median(&whole.filter_map(figure).collect::<Vec<_>>())
}

fn count(pairs: &[PairFigures], which: impl Fn(&RequestFigures) -> bool) -> [usize; 2] {
    let of = |half: fn(&PairFigures) -> &[RequestFigures]| {
        let requests = pairs.iter().flat_map(half);
        requests.filter(|r| which(r)).count()
    };
    [of(|p| &p.easy), of(|p| &p.hard)]
}
