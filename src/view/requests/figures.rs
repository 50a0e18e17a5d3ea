//! From requests to figures: means, percentiles, and their intervals over processes or rounds.

use std::collections::BTreeMap;

use super::{Counting, Figures, Measured, Round, Sent, Times};
use crate::request::Job;
use crate::run::stop::LEVEL;
use crate::stats::histogram::min_samples_for;
use crate::stats::{Interval, median_interval, summary};

/// Processes, or rounds, below which there is no interval: two differ by chance as much as by anything.
const FEWEST_UNITS: usize = 3;

/// A round's value, or several, and the worker process that it is of; none of a server, whose process is always the same.
pub(super) type OfRound<T> = (Option<u32>, T);

/// A request while its figures are made.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) sent: Sent,
    /// Between its arrivals.
    pub(super) gaps_ns: Vec<u64>,
}

/// A value for each round: their median, with its interval.
pub(super) fn over_rounds(values: &[OfRound<f64>]) -> Option<Measured> {
    let all: Vec<f64> = values.iter().map(|(_, value)| *value).collect();
    Some(Measured {
        value: summary::median(&all)?,
        interval: interval_of(values),
    })
}

/// The units are processes with all their rounds; rounds where there is one process.
fn interval_of(values: &[OfRound<f64>]) -> Option<Interval> {
    let mut processes: BTreeMap<Option<u32>, Vec<f64>> = BTreeMap::new();
    for (process, value) in values {
        processes.entry(*process).or_default().push(*value);
    }
    let units: Vec<Vec<f64>> = match processes.len() {
        0 | 1 => values.iter().map(|(_, value)| vec![*value]).collect(),
        _ => processes.into_values().collect(),
    };
    median_interval(&units, LEVEL).filter(|_| units.len() >= FEWEST_UNITS)
}

/// Means and rates of one round; `times` are when it began and how long it took.
pub(super) fn round(
    number: u32,
    process: Option<u32>,
    all: &[Kept],
    times: Option<(u64, Option<u64>)>,
) -> Round {
    let own = || all.iter().map(|k| &k.sent).filter(|s| s.round == number);
    let whole = || own().filter(|s| s.is_answered());
    let mean = |of: &dyn Fn(&Sent) -> Option<f64>| {
        let values: Vec<f64> = whole().filter_map(of).collect();
        mean(&values)
    };
    let elapsed_ns = times.and_then(|(_, elapsed)| elapsed);
    let per_s = |n: f64| {
        elapsed_ns
            .filter(|ns| *ns > 0)
            .map(|ns| n / ns as f64 * 1e9)
    };
    let n_whole = whole().count();
    Round {
        round: number,
        process,
        elapsed_ns,
        started_ns: times.map(|(started, _)| started),
        latency_ns: mean(&|s| Some(s.latency_ns() as f64)),
        ttft_ns: mean(&|s| s.ttft_ns().map(|ns| ns as f64)),
        tpot_ns: mean(&|s| s.tpot_ns),
        tokens_per_s: n_generated(own()).and_then(per_s),
        requests_per_s: per_s(n_whole as f64).filter(|_| n_whole > 0),
    }
}

/// Generated tokens of some requests. An interrupted answer's count, as they are work too; a whole answer of unknown length makes
/// the sum unknown.
pub fn n_generated<'a>(mut sent: impl Iterator<Item = &'a Sent>) -> Option<f64> {
    let sum = sent.try_fold(0.0, |sum, s| match s.n_generated {
        Some(n) => Some(sum + f64::from(n)),
        None => (!s.is_answered()).then_some(sum),
    });
    sum.filter(|n| *n > 0.0)
}

fn mean(values: &[f64]) -> Option<f64> {
    let n = values.len();
    (n > 0).then(|| values.iter().sum::<f64>() / n as f64)
}

/// Figures of these requests, which are in the order of their rounds; `process_of` is the worker process of a round.
pub(super) fn of(
    job: &Job,
    requests: &[&Kept],
    process_of: &dyn Fn(u32) -> Option<u32>,
) -> Figures {
    let whole: Vec<&Kept> = requests
        .iter()
        .copied()
        .filter(|k| k.sent.is_answered())
        .collect();
    let mut failed: BTreeMap<&'static str, u32> = BTreeMap::new();
    let mut failed_such_as: BTreeMap<&'static str, String> = BTreeMap::new();
    for kept in requests.iter().filter(|k| !k.sent.ending.is_whole()) {
        let ending = &kept.sent.ending;
        *failed.entry(ending.word()).or_default() += 1;
        if let Some(reason) = ending.reason() {
            failed_such_as.entry(ending.word()).or_insert(reason);
        }
    }
    let by_round = |of: &dyn Fn(&Kept) -> Vec<f64>| by_round(&whole, process_of, of);
    let times =
        |of: &dyn Fn(&Sent) -> Option<f64>| Times::of(by_round(&|k| Vec::from_iter(of(&k.sent))));
    let rates = by_round(&|k| Vec::from_iter(k.sent.tokens_per_s()));
    let every_rate: Vec<f64> = rates.iter().flat_map(|(_, rates)| rates).copied().collect();
    let sum = |of: fn(&Sent) -> Option<u32>| {
        let n: Option<Vec<u64>> = whole.iter().map(|k| of(&k.sent).map(u64::from)).collect();
        n.filter(|n| !n.is_empty()).map(|n| n.iter().sum())
    };
    Figures {
        n_sent: count(requests.len()),
        n_whole: count(whole.len()),
        n_empty: count(requests.iter().filter(|k| k.sent.is_empty()).count()),
        n_short: count(whole.iter().filter(|k| k.sent.is_short(job)).count()),
        failed,
        failed_such_as,
        n_prompt: sum(|s| s.n_prompt),
        n_generated: sum(|s| s.n_generated),
        latency_ns: times(&|s| Some(s.latency_ns() as f64)),
        ttft_ns: times(&|s| Some(s.ttft_ns()? as f64)),
        ttft_visible_ns: times(&|s| Some(s.ttft_visible_ns()? as f64)),
        tpot_ns: times(&|s| s.tpot_ns),
        gap_ns: Times::of(by_round(&|k| {
            k.gaps_ns.iter().map(|ns| *ns as f64).collect()
        })),
        wait_ns: times(&|s| Some(s.wait_ns()? as f64)),
        tokens_per_s: measured(mean(&every_rate), &rates, &mean),
        ttft_share: ttft_share(&whole),
        counting: Counting::of(whole.iter().map(|k| &k.sent)),
    }
}

fn ttft_share(whole: &[&Kept]) -> Option<f64> {
    let both = whole
        .iter()
        .filter_map(|k| Some((k.sent.ttft_ns()? as f64, k.sent.latency_ns() as f64)));
    let (first, all) = both.fold((0.0, 0.0), |(a, b), (x, y)| (a + x, b + y));
    (all > 0.0).then_some(first / all)
}

/// Values in groups of one round each; the requests are in the order of rounds.
fn by_round(
    requests: &[&Kept],
    process_of: &dyn Fn(u32) -> Option<u32>,
    of: &dyn Fn(&Kept) -> Vec<f64>,
) -> Vec<OfRound<Vec<f64>>> {
    let rounds = requests.chunk_by(|a, b| a.sent.round == b.sent.round);
    rounds
        .map(|round| {
            let values = round.iter().flat_map(|kept| of(kept)).collect();
            (process_of(round[0].sent.round), values)
        })
        .filter(|(_, values): &OfRound<Vec<f64>>| !values.is_empty())
        .collect()
}

/// A value of all rounds, with the interval of the rounds' own; `unit` is that of a round, none where it has too
/// little for one.
fn measured(
    value: Option<f64>,
    rounds: &[OfRound<Vec<f64>>],
    unit: &dyn Fn(&[f64]) -> Option<f64>,
) -> Option<Measured> {
    let value = value?;
    let of_round = |(process, values): &OfRound<Vec<f64>>| Some((*process, unit(values)?));
    let units: Option<Vec<OfRound<f64>>> = rounds.iter().map(of_round).collect();
    let interval = units.and_then(|units| interval_of(&units));
    Some(Measured {
        value,
        interval: interval.map(|i| i.around(value)),
    })
}

impl Times {
    fn of(mut rounds: Vec<OfRound<Vec<f64>>>) -> Self {
        for (_, round) in &mut rounds {
            // Sorted once: what follows sorts again, which is cheap then.
            round.sort_unstable_by(f64::total_cmp);
        }
        let mut every: Vec<f64> = rounds
            .iter()
            .flat_map(|(_, round)| round)
            .copied()
            .collect();
        every.sort_unstable_by(f64::total_cmp);
        let enough = |values: &[f64], q| {
            min_samples_for(q).is_some_and(|needed| values.len() as u64 >= needed)
        };
        let percentile = |q: f64| {
            let value = summary::quantile_type7(&every, q).filter(|_| enough(&every, q));
            measured(value, &rounds, &|r| {
                summary::quantile_type8(r, q).filter(|_| enough(r, q))
            })
        };
        Self {
            n: every.len() as u64,
            mean: measured(mean(&every), &rounds, &mean),
            median: measured(summary::median(&every), &rounds, &summary::median),
            p95: percentile(0.95),
            p99: percentile(0.99),
            max: every.last().copied(),
        }
    }
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
