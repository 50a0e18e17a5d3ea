//! The two arms and the control: pairs to figures, figures to verdicts.

use super::{ALPHA, AnswerEnd, MARGIN, PairFigures, RequestFigures};
use crate::stats::interval::t_interval;
use crate::stats::sample_size::pairs_for_margin;
use crate::stats::summary::{mean, median};
use crate::stats::test::tost_paired;
use crate::stats::{Interval, Summary, bca};

/// Level of the intervals of what is estimated and not held against a margin.
const LEVEL: f64 = 0.95;
/// No experiment has more pairs.
const MOST_PAIRS: usize = 10_000;
/// Resamples, and their seed: the same record gives the same report.
const RESAMPLES: usize = 4_000;
const SEED: u64 = 42;
/// A part that explains at least this much of a difference is its mechanism.
const EXPLAINS: f64 = 0.5;

/// Whether two halves cost the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EqualityVerdict {
    /// The whole interval is within the margin: shown to be equal.
    Equal,
    /// The whole interval is beyond the margin: shown to differ by more than matters.
    Different,
    Undetermined {
        /// Pairs with which it would be one of both with 80% power, were the truth as estimated; none where no
        /// number of pairs would do.
        pairs: Option<usize>,
    },
}

/// A ratio hard / easy over pairs, held against the margin.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Effect {
    pub n_pairs: usize,
    /// Geometric mean of the pairs' ratios, with its interval of 90%.
    pub ratio: Interval,
    pub verdict: EqualityVerdict,
}

impl Effect {
    /// Of log ratios, one a pair; none of fewer than two.
    pub(super) fn of(logs: &[f64]) -> Option<Self> {
        let margin = MARGIN.ln_1p();
        let tost = tost_paired(logs, margin, ALPHA)?;
        let (lo, hi) = (tost.mean.lo, tost.mean.hi);
        let verdict = if tost.equivalent {
            EqualityVerdict::Equal
        } else if lo > margin || hi < -margin {
            EqualityVerdict::Different
        } else {
            let sd = Summary::of(logs)?.sd?;
            let level = 1.0 - 2.0 * ALPHA;
            let pairs = pairs_for_margin(sd, tost.mean.estimate, margin, level, MOST_PAIRS);
            // The formula's power is not the luck of this sample: it may name no more pairs than there were.
            EqualityVerdict::Undetermined {
                pairs: pairs.map(|n| n.max(logs.len() + 1)),
            }
        };
        Some(Self {
            n_pairs: logs.len(),
            ratio: tost.mean.map(f64::exp),
            verdict,
        })
    }
}

/// Arm A: at equal lengths.
#[derive(Debug, Clone, PartialEq)]
pub struct Equal {
    pub step: Effect,
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
        let parts = SamplerParts::of(&kept);
        Some(Self {
            step: Effect::of(&step)?,
            ttft: Effect::of(&ttft),
            sampler: Effect::of(&sampler),
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
                .is_some_and(|effect| effect.verdict == EqualityVerdict::Different)
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
}

impl Control {
    pub(super) fn of(pairs: &[PairFigures]) -> Option<Self> {
        let all: Vec<&PairFigures> = pairs.iter().collect();
        let whole = RequestFigures::is_whole;
        let longer = log_ratios(&all, whole, |r| r.n_prompt.map(f64::from));
        let ttft = log_ratios(&all, whole, |r| r.ttft_ns.map(|ns| ns as f64));
        Some(Self {
            longer: median(&longer).map(f64::exp),
            ttft: Effect::of(&ttft)?,
        })
    }

    /// Whether what must show did: the whole interval is above 1.
    pub fn is_seen(&self) -> bool {
        self.ttft.ratio.lo > 1.0
    }
}

/// Whether both halves have equal numbers of tokens, prompt and answer; none where one is not known.
fn lengths(pair: &PairFigures) -> Option<bool> {
    let whole = || pair.easy.iter().chain(&pair.hard).filter(|r| r.is_whole());
    let same = |f: fn(&RequestFigures) -> Option<u32>| {
        let mut known = whole().filter_map(f);
        let first = known.next();
        let differ = known.any(|n| Some(n) != first);
        let all_known = whole().all(|r| f(r).is_some());
        if differ {
            Some(false)
        } else {
            all_known.then_some(true)
        }
    };
    match (same(|r| r.n_prompt), same(|r| r.n_generated)) {
        (Some(false), _) | (_, Some(false)) => Some(false),
        (Some(true), Some(true)) => Some(true),
        _ => None,
    }
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

/// The middle, over rounds, of the log ratio within a round, so that a machine that drifts from round to round does
/// not come between the halves.
pub(super) fn paired_log_ratio(
    below: &[RequestFigures],
    above: &[RequestFigures],
    counts: impl Fn(&RequestFigures) -> bool,
    figure: impl Fn(&RequestFigures) -> Option<f64>,
) -> Option<f64> {
    let mut rounds: Vec<u32> = below.iter().map(|r| r.round).collect();
    rounds.sort_unstable();
    rounds.dedup();
    let of = |half: &[RequestFigures], round: u32| {
        let values: Vec<f64> = half
            .iter()
            .filter(|r| r.round == round && counts(r))
            .filter_map(|r| figure(r).filter(|v| *v > 0.0))
            .collect();
        median(&values)
    };
    let logs: Vec<f64> = rounds
        .into_iter()
        .filter_map(|round| Some((of(above, round)? / of(below, round)?).ln()))
        .collect();
    median(&logs)
}

fn count(pairs: &[PairFigures], which: impl Fn(&RequestFigures) -> bool) -> [usize; 2] {
    let of = |half: fn(&PairFigures) -> &[RequestFigures]| {
        let requests = pairs.iter().flat_map(half);
        requests.filter(|r| which(r)).count()
    };
    [of(|p| &p.easy), of(|p| &p.hard)]
}
