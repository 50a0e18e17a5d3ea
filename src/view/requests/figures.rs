//! From requests to figures: means, percentiles, and their intervals over rounds.

use std::collections::BTreeMap;

use super::{Counting, Figures, Measured, Round, Sent, Times};
use crate::request::Job;
use crate::run::stop::LEVEL;
use crate::stats::histogram::min_samples_for;
use crate::stats::{Interval, median_interval, summary};

/// Rounds below which there is no interval: two differ by chance as much as by anything.
const FEWEST_ROUNDS: usize = 3;

/// A request while its figures are made.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) sent: Sent,
    /// Between its arrivals.
    pub(super) gaps_ns: Vec<u64>,
}

/// A value for each round: their median, with its interval.
pub(super) fn over_rounds(values: &[f64]) -> Option<Measured> {
    Some(Measured {
        value: summary::median(values)?,
        interval: interval_of(values),
    })
}

fn interval_of(values: &[f64]) -> Option<Interval> {
    if values.len() < FEWEST_ROUNDS {
        return None;
    }
    let units: Vec<Vec<f64>> = values.iter().map(|v| vec![*v]).collect();
    median_interval(&units, LEVEL)
}

/// Means and rates of one round; `times` are when it began and how long it took.
pub(super) fn round(number: u32, all: &[Kept], times: Option<(u64, Option<u64>)>) -> Round {
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
    // What an interrupted answer has is work done too; a whole answer of unknown length makes the sum unknown.
    let tokens = own().try_fold(0.0, |sum, s| match s.n_generated {
        Some(n) => Some(sum + f64::from(n)),
        None => (!s.is_answered()).then_some(sum),
    });
    let n_whole = whole().count();
    Round {
        round: number,
        elapsed_ns,
        started_ns: times.map(|(started, _)| started),
        latency_ns: mean(&|s| Some(s.latency_ns() as f64)),
        ttft_ns: mean(&|s| s.ttft_ns().map(|ns| ns as f64)),
        tpot_ns: mean(&|s| s.tpot_ns),
        tokens_per_s: tokens.filter(|n| *n > 0.0).and_then(per_s),
        requests_per_s: per_s(n_whole as f64).filter(|_| n_whole > 0),
    }
}

fn mean(values: &[f64]) -> Option<f64> {
    let n = values.len();
    (n > 0).then(|| values.iter().sum::<f64>() / n as f64)
}

/// Figures of these requests, which are in the order of their rounds.
pub(super) fn of(job: &Job, requests: &[&Kept]) -> Figures {
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
    let times = |of: &dyn Fn(&Sent) -> Option<f64>| Times::of(by_round(&whole, |k| of(&k.sent)));
    let of_gaps = |k: &Kept| k.gaps_ns.iter().map(|ns| *ns as f64).collect::<Vec<_>>();
    let rates = by_round(&whole, |k| k.sent.tokens_per_s());
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
        gap_ns: Times::of(by_round(&whole, of_gaps)),
        wait_ns: times(&|s| Some(s.wait_ns()? as f64)),
        tokens_per_s: measured(mean(&rates.concat()), &rates, &mean),
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
fn by_round<I: IntoIterator<Item = f64>>(
    requests: &[&Kept],
    of: impl Fn(&Kept) -> I,
) -> Vec<Vec<f64>> {
    let mut rounds: Vec<Vec<f64>> = Vec::new();
    let mut last = None;
    for kept in requests {
        if last != Some(kept.sent.round) {
            rounds.push(Vec::new());
            last = Some(kept.sent.round);
        }
        if let Some(round) = rounds.last_mut() {
            round.extend(of(kept));
        }
    }
    rounds.retain(|r| !r.is_empty());
    rounds
}

/// A value of all rounds, with the interval of the rounds' own; `unit` is that of a round, none where it has too
/// little for one.
fn measured(
    value: Option<f64>,
    rounds: &[Vec<f64>],
    unit: &dyn Fn(&[f64]) -> Option<f64>,
) -> Option<Measured> {
    let value = value?;
    let units: Option<Vec<f64>> = rounds.iter().map(|r| unit(r)).collect();
    let interval = units.and_then(|units| interval_of(&units));
    Some(Measured {
        value,
        interval: interval.map(|i| i.around(value)),
    })
}

impl Times {
    fn of(mut rounds: Vec<Vec<f64>>) -> Self {
        for round in &mut rounds {
            // Sorted once: what follows sorts again, which is cheap then.
            round.sort_unstable_by(f64::total_cmp);
        }
        let mut every = rounds.concat();
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
