//! Goodput: requests that meet every limit, as a share and per second.

use super::concurrency;
use crate::analysis::capacity::{LatencyKind, Limit, Percentile, Slo};
use crate::analysis::words::{duration, or_unknown};
use crate::analysis::{Finding, Sure};
use crate::request::shown_target;
use crate::text::short;
use crate::units;
use crate::view::Estimate;
use crate::view::requests::{JobView, RequestView, RequestsView};

/// Requests of a job within limits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Goodput {
    /// Requests that meet every limit.
    pub n_met: u32,
    /// Requests that were sent; one that failed meets nothing.
    pub n_sent: u32,
    /// Those that meet them, per second from the job's begin to its end; none where a round has no end.
    pub per_s: Option<f64>,
    /// Whether the job keeps the limits: every percentile that has one, and [`NEARLY_ALL`] requests the others. `None`
    /// where a percentile needs more requests.
    pub is_kept: Option<bool>,
}

impl Goodput {
    pub fn of(job: &JobView, slo: &Slo) -> Self {
        let meeting = |limits: &[Limit]| {
            let met = job.requests.iter().filter(|sent| meets(sent, limits));
            u32::try_from(met.count()).unwrap_or(u32::MAX)
        };
        let n_met = meeting(slo.limits());
        let elapsed: Option<Vec<u64>> = job.rounds.iter().map(|r| r.elapsed_ns).collect();
        let elapsed = elapsed.map(|all| all.into_iter().fold(0, u64::saturating_add));
        let elapsed = elapsed.filter(|ns| *ns > 0);
        let n_sent = job.figures.n_sent;
        let each: Vec<Limit> = of_each(slo).collect();
        let each_is_kept = each.is_empty() || share(meeting(&each), n_sent) >= Some(NEARLY_ALL);
        let mut percentiles = slo.limits().iter();
        let percentiles = percentiles.try_fold(true, |kept, limit| {
            Some(kept && keeps_percentile(job, limit)?)
        });
        Self {
            n_met,
            n_sent,
            per_s: elapsed.map(|ns| f64::from(n_met) / ns as f64 * 1e9),
            is_kept: percentiles.map(|kept| kept && each_is_kept),
        }
    }

    /// The share of all that were sent.
    pub fn share(&self) -> Option<f64> {
        share(self.n_met, self.n_sent)
    }
}

fn share(n: u32, of: u32) -> Option<f64> {
    (of > 0).then(|| f64::from(n) / f64::from(of))
}

/// The limits that each request has to meet by itself.
fn of_each(slo: &Slo) -> impl Iterator<Item = Limit> {
    let limits = slo.limits().iter().copied();
    limits.filter(|l| l.latency.percentile.is_none())
}

/// What a limit is held against: its percentile, or the p95 of the requests, as [`NEARLY_ALL`] of them must keep it.
fn figure(job: &JobView, limit: &Limit) -> Option<Estimate> {
    let times = match limit.latency.kind {
        LatencyKind::Ttft => &job.figures.ttft_ns,
        LatencyKind::Tpot => &job.figures.tpot_ns,
        LatencyKind::Itl => &job.figures.gap_ns,
    };
    match limit.latency.percentile {
        Some(Percentile::P50) => times.median,
        None | Some(Percentile::P95) => times.p95,
        Some(Percentile::P99) => times.p99,
    }
}

/// Whether a job keeps the limit of a percentile; `None` where it needs more requests, unless the limit is missed
/// whatever those take. A limit without a percentile is of each request, and kept here.
fn keeps_percentile(job: &JobView, limit: &Limit) -> Option<bool> {
    let Some(percentile) = limit.latency.percentile else {
        return Some(true);
    };
    if let Some(figure) = figure(job, limit) {
        return Some(figure.value <= limit.at_most_ns as f64);
    }
    let answered = job.requests.iter().filter(|r| r.is_answered());
    let n_late = answered.filter(|sent| !meets(sent, &[*limit])).count();
    let most_late = (1.0 - percentile.fraction()) * percentile.n_needed() as f64;
    (n_late as f64 > most_late).then_some(false)
}

fn meets(sent: &RequestView, limits: &[Limit]) -> bool {
    let within = |limit: &Limit| match (limit.latency.kind, limit.latency.percentile) {
        (LatencyKind::Ttft, _) => sent.ttft_ns().is_some_and(|ns| ns <= limit.at_most_ns),
        // An answer of one token has no time per further token to be too long.
        (LatencyKind::Tpot, _) => match sent.n_generated {
            Some(0 | 1) => true,
            _ => sent.tpot_ns.is_some_and(|ns| ns <= limit.at_most_ns as f64),
        },
        (LatencyKind::Itl, None) => sent.longest_gap_ns.is_none_or(|ns| ns <= limit.at_most_ns),
        // A percentile of the gaps of all answers says nothing about one of them.
        (LatencyKind::Itl, Some(_)) => true,
    };
    sent.is_answered() && limits.iter().all(within)
}

/// A load is within limits when this share of its requests is.
pub const NEARLY_ALL: f64 = 0.95;

/// `86.7% of 30 requests within the limits (TTFT p95 2.83 s), 0.540 of them a second`. A percentile that was asked for
/// and is unknown says what it needs.
fn in_words(job: &JobView, goodput: &Goodput, slo: &Slo) -> String {
    let figures = slo.limits().iter().filter_map(|limit| {
        let asked = limit.latency.percentile;
        let at = asked.unwrap_or(Percentile::P95);
        let name = format!("{} {}", limit.latency.kind, at.key());
        match figure(job, limit) {
            Some(figure) => Some(format!("{name} {}", duration(figure))),
            None => asked.map(|at| format!("{name} needs {} values", at.n_needed())),
        }
    });
    let figures: Vec<String> = figures.collect();
    let figures = match figures.is_empty() {
        true => String::new(),
        false => format!(" ({})", figures.join(", ")),
    };
    let per_s = goodput.per_s.map(units::significant);
    format!(
        "{} of {} requests within the limits{figures}{}",
        or_unknown(goodput.share().map(units::percent)),
        goodput.n_sent,
        per_s.map_or(String::new(), |n| format!(", {n} of them a second"))
    )
}

/// Each load of a target, and how many of its requests are within limits: `2 at once: 100% of 30 requests ...`. Empty
/// with a single number of requests at once.
pub fn by_load(requests: &RequestsView, target: &str, slo: &Slo) -> Vec<String> {
    let curve = concurrency::curve(requests, target);
    let loads = curve.iter().map(|job| {
        let goodput = Goodput::of(job, slo);
        let kept = match goodput.is_kept {
            Some(true) => "kept",
            Some(false) => "not kept",
            None => "undetermined",
        };
        let said = in_words(job, &goodput, slo);
        format!("{} at once: {kept}, {said}", job.at_once())
    });
    loads.collect()
}

/// How many requests at once a target answers within limits; none with a single number of them.
pub fn at_once(requests: &RequestsView, target: &str, slo: &Slo) -> Option<Finding> {
    let curve = concurrency::curve(requests, target);
    let all: Vec<(&JobView, Goodput)> = curve
        .iter()
        .map(|job| (*job, Goodput::of(job, slo)))
        .collect();
    let (first, least) = *all.first()?;
    let within = all.iter().take_while(|(_, g)| g.is_kept == Some(true));
    let name = shown_target(target);
    let claim = match within.last() {
        None if least.is_kept.is_none() => format!(
            "{name}: undetermined for {slo}: {}.",
            in_words(first, &least, slo)
        ),
        None => format!(
            "{name}: not even {} at once keeps {slo}: {}.",
            first.at_once(),
            in_words(first, &least, slo)
        ),
        Some((job, _)) => format!(
            "{name}: {} at once keeps {slo}; {} tokens/s.",
            job.at_once(),
            or_unknown(job.tokens_per_s.map(|m| units::significant(m.value)))
        ),
    };
    let evidence = by_load(requests, target, slo).into_iter();
    let question = "How many requests at once, within the limits?";
    let sure = match least.is_kept {
        None => Sure::Undetermined,
        Some(_) => Sure::Likely,
    };
    let finding = Finding::new(question, claim, sure).with(evidence.map(|said| said + "."));
    Some(finding.see(&["concurrent_latency"]))
}

/// How many requests meet the limits, in the job with the best goodput.
pub fn finding(requests: &RequestsView, slo: &Slo) -> Option<Finding> {
    let all = requests.measured().map(|j| (j, Goodput::of(j, slo)));
    let mut all: Vec<(&JobView, Goodput)> = all.collect();
    let rate = |(_, g): &(&JobView, Goodput)| g.per_s.unwrap_or(0.0);
    all.sort_by(|a, b| rate(b).total_cmp(&rate(a)));
    let said = |(job, g): &(&JobView, Goodput)| {
        let place = format!("{} at {}", short(&job.job.name), shown_target(&job.target));
        format!("{}: {place}", in_words(job, g, slo))
    };
    let best = all.first()?;
    let claim = match best.1.n_met {
        0 => format!("No request of any job meets {slo}."),
        _ => {
            let load = super::load(&best.0.job.load);
            format!("At best {} ({load}), with {slo}.", said(best))
        }
    };
    let evidence = all.iter().take(12).map(|one| said(one) + ".");
    let question = "How many requests meet the limits?";
    Some(Finding::new(question, claim, Sure::Likely).with(evidence))
}
