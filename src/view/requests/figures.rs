//! From requests to figures: means, percentiles, and their intervals over processes or rounds.

use std::collections::BTreeMap;

use super::{Counting, JobFigures, RequestView, Round, Times};
use crate::metric::Answers;
use crate::request::Job;
use crate::stats::histogram::min_samples_for;
use crate::stats::summary;
use crate::view::collect::count;
use crate::view::estimate::{Estimate, OfRound};

/// Means and rates of one round; `times` are when it began and how long it took.
pub(super) fn round(
    number: u32,
    process: Option<u32>,
    all: &[RequestView],
    times: Option<(u64, Option<u64>)>,
) -> Round {
    let own = || all.iter().filter(|r| r.round == number);
    let whole = || own().filter(|r| r.is_answered());
    let mean = |of: &dyn Fn(&RequestView) -> Option<f64>| {
        let values: Vec<f64> = whole().filter_map(of).collect();
        mean(&values)
    };
    let elapsed_ns = times.and_then(|(_, elapsed)| elapsed);
    let per_s = |n: f64| {
        let ns = elapsed_ns.filter(|ns| *ns > 0)?;
        Some(n / ns as f64 * 1e9)
    };
    let n_whole = whole().count();
    Round {
        round: number,
        process,
        elapsed_ns,
        started_ns: times.map(|(started, _)| started),
        latency_ns: mean(&|r| Some(r.latency_ns() as f64)),
        ttft_ns: mean(&|r| r.ttft_ns().map(|ns| ns as f64)),
        tpot_ns: mean(&|r| r.tpot_ns),
        tokens_per_s: n_generated(own()).and_then(per_s),
        requests_per_s: per_s(n_whole as f64).filter(|_| n_whole > 0),
        ..Round::default()
    }
}

/// Generated tokens of some requests. An interrupted answer's count, as they are work too; a whole answer of unknown length makes
/// the sum unknown.
fn n_generated<'a>(mut requests: impl Iterator<Item = &'a RequestView>) -> Option<f64> {
    let sum = requests.try_fold(0.0, |sum, r| match r.n_generated {
        Some(n) => Some(sum + f64::from(n)),
        None => (!r.is_answered()).then_some(sum),
    });
    sum.filter(|n| *n > 0.0)
}

/// What metrics see of a round, which took `elapsed_ns`.
pub(super) fn answers(sent: &[RequestView], elapsed_ns: Option<u64>) -> Answers {
    let elapsed_ns = elapsed_ns.filter(|ns| *ns > 0);
    let per_s = |n: f64| Some(n / elapsed_ns? as f64 * 1e9);
    let mut answers = Answers {
        tokens_per_s: n_generated(sent.iter()).and_then(per_s),
        ..Answers::default()
    };
    for sent in sent.iter().filter(|s| s.is_answered()) {
        answers.latency_ns.push(sent.latency_ns() as f64);
        answers.ttft_ns.extend(sent.ttft_ns().map(|ns| ns as f64));
        answers.tpot_ns.extend(sent.tpot_ns);
    }
    answers
}

/// The worker process of a round.
pub(super) type ProcessOf<'a> = &'a dyn Fn(u32) -> Option<u32>;

impl JobFigures {
    /// Of these requests, which are in the order of their rounds.
    pub(super) fn of(job: &Job, requests: &[&RequestView], process_of: ProcessOf<'_>) -> Self {
        let is_whole = |r: &&RequestView| r.is_answered();
        let whole: Vec<&RequestView> = requests.iter().copied().filter(is_whole).collect();
        let by_round = |of: &dyn Fn(&RequestView) -> Vec<f64>| by_round(&whole, process_of, of);
        let times = |of: &dyn Fn(&RequestView) -> Option<f64>| {
            Times::of(by_round(&|r| Vec::from_iter(of(r))))
        };
        let rates = by_round(&|r| Vec::from_iter(r.tokens_per_s()));
        let every_rate: Vec<f64> = rates.iter().flat_map(|(_, rates)| rates).copied().collect();
        let sum = |of: fn(&RequestView) -> Option<u32>| {
            let n: Option<Vec<u64>> = whole.iter().map(|r| of(r).map(u64::from)).collect();
            n.filter(|n| !n.is_empty()).map(|n| n.iter().sum())
        };
        let mut figures = Self {
            n_sent: count(requests.len()),
            n_whole: count(whole.len()),
            n_empty: count(requests.iter().filter(|r| r.is_empty()).count()),
            n_short: count(whole.iter().filter(|r| r.is_short(job)).count()),
            n_prompt: sum(|r| r.n_prompt),
            n_generated: sum(|r| r.n_generated),
            latency_ns: times(&|r| Some(r.latency_ns() as f64)),
            ttft_ns: times(&|r| Some(r.ttft_ns()? as f64)),
            ttft_visible_ns: times(&|r| Some(r.ttft_visible_ns()? as f64)),
            tpot_ns: times(&|r| r.tpot_ns),
            gap_ns: Times::of(by_round(&|r| {
                r.gaps_ns.iter().map(|ns| *ns as f64).collect()
            })),
            wait_ns: times(&|r| Some(r.wait_ns()? as f64)),
            tokens_per_s: Estimate::pooled(mean(&every_rate), &rates, &mean),
            ttft_share: ttft_share(&whole),
            counting: Counting::of(whole.iter().copied()),
            ..Self::default()
        };
        for ending in requests.iter().map(|r| &r.ending).filter(|e| !e.is_whole()) {
            *figures.failed.entry(ending.word()).or_default() += 1;
            if let Some(reason) = ending.reason() {
                figures
                    .failed_such_as
                    .entry(ending.word())
                    .or_insert(reason);
            }
        }
        figures
    }
}

fn mean(values: &[f64]) -> Option<f64> {
    let n = values.len();
    (n > 0).then(|| values.iter().sum::<f64>() / n as f64)
}

fn ttft_share(whole: &[&RequestView]) -> Option<f64> {
    let both = whole.iter();
    let both = both.filter_map(|r| Some((r.ttft_ns()? as f64, r.latency_ns() as f64)));
    let (first, all) = both.fold((0.0, 0.0), |(a, b), (x, y)| (a + x, b + y));
    (all > 0.0).then_some(first / all)
}

/// Values in groups of one round each; the requests are in the order of rounds.
fn by_round(
    requests: &[&RequestView],
    process_of: ProcessOf<'_>,
    of: &dyn Fn(&RequestView) -> Vec<f64>,
) -> Vec<OfRound<Vec<f64>>> {
    let mut rounds: BTreeMap<u32, Vec<f64>> = BTreeMap::new();
    for request in requests {
        rounds.entry(request.round).or_default().extend(of(request));
    }
    let rounds = rounds.into_iter().filter(|(_, values)| !values.is_empty());
    rounds
        .map(|(round, values)| (process_of(round), values))
        .collect()
}

impl Times {
    fn of(mut rounds: Vec<OfRound<Vec<f64>>>) -> Self {
        for (_, round) in &mut rounds {
            // Sorted once: what follows sorts again, which is cheap then.
            round.sort_unstable_by(f64::total_cmp);
        }
        let every = rounds.iter().flat_map(|(_, round)| round).copied();
        let mut every: Vec<f64> = every.collect();
        every.sort_unstable_by(f64::total_cmp);
        let enough = |values: &[f64], q| {
            min_samples_for(q).is_some_and(|needed| values.len() as u64 >= needed)
        };
        let percentile = |q: f64| {
            let value = summary::quantile_type7(&every, q).filter(|_| enough(&every, q));
            Estimate::pooled(value, &rounds, &|r| {
                summary::quantile_type8(r, q).filter(|_| enough(r, q))
            })
        };
        Self {
            n: every.len() as u64,
            mean: Estimate::pooled(mean(&every), &rounds, &mean),
            median: Estimate::pooled(summary::median(&every), &rounds, &summary::median),
            p95: percentile(0.95),
            p99: percentile(0.99),
            max: every.last().copied(),
        }
    }
}
