//! Goodput: requests that meet every limit, as a share and per second.

use super::concurrency;
use crate::analysis::capacity::{LatencyKind, Slo};
use crate::analysis::words::or_unknown;
use crate::analysis::{Finding, Sure};
use crate::text::short;
use crate::units;
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
}

impl Goodput {
    pub fn of(job: &JobView, slo: &Slo) -> Self {
        let met = job.requests.iter().filter(|s| meets(s, slo)).count();
        let elapsed: Option<Vec<u64>> = job.rounds.iter().map(|r| r.elapsed_ns).collect();
        let elapsed = elapsed.map(|all| all.into_iter().fold(0, u64::saturating_add));
        let elapsed = elapsed.filter(|ns| *ns > 0);
        Self {
            n_met: u32::try_from(met).unwrap_or(u32::MAX),
            n_sent: job.figures.n_sent,
            per_s: elapsed.map(|ns| met as f64 / ns as f64 * 1e9),
        }
    }

    /// The share of all that were sent.
    pub fn share(&self) -> Option<f64> {
        (self.n_sent > 0).then(|| f64::from(self.n_met) / f64::from(self.n_sent))
    }
}

fn meets(sent: &RequestView, slo: &Slo) -> bool {
    let within = |(felt, limit): &(LatencyKind, u64)| match felt {
        LatencyKind::Ttft => sent.ttft_ns().is_some_and(|ns| ns <= *limit),
        // An answer of one token has no time per further token to be too long.
        LatencyKind::Tpot => match sent.n_generated {
            Some(0 | 1) => true,
            _ => sent.tpot_ns.is_some_and(|ns| ns <= *limit as f64),
        },
        LatencyKind::Itl => sent.longest_gap_ns.is_none_or(|ns| ns <= *limit),
    };
    sent.is_answered() && slo.limits().iter().all(within)
}

/// A load is within limits when this share of its requests is.
pub const NEARLY_ALL: f64 = 0.95;

/// How many requests at once a target answers within limits; none with a single number of them.
pub fn at_once(requests: &RequestsView, target: &str, slo: &Slo) -> Option<Finding> {
    let curve = concurrency::curve(requests, target);
    let shares: Vec<(&JobView, f64)> = curve
        .iter()
        .filter_map(|job| Some((*job, Goodput::of(job, slo).share()?)))
        .collect();
    let (first, least) = *shares.first()?;
    let within = shares.iter().take_while(|(_, share)| *share >= NEARLY_ALL);
    let name = short(target);
    let claim = match within.last() {
        None => format!(
            "{name}: not even {} at once: {} of its requests are within {slo}.",
            first.at_once(),
            units::percent(least)
        ),
        Some((job, share)) => format!(
            "{name}: {} at once, of which {} are within {slo}; {} tokens/s.",
            job.at_once(),
            units::percent(*share),
            or_unknown(job.tokens_per_s.map(|m| units::significant(m.value)))
        ),
    };
    let evidence = shares.iter().map(|(job, share)| {
        let percent = units::percent(*share);
        let n = job.at_once();
        format!("With {n} at once {percent} of the requests are within the limits.")
    });
    let question = "How many requests at once, within the limits?";
    let finding = Finding::new(question, claim, Sure::Likely).with(evidence);
    Some(finding.see(&["concurrent_latency"]))
}

/// How many requests meet the limits, in the job with the best goodput.
pub fn finding(requests: &RequestsView, slo: &Slo) -> Option<Finding> {
    let all = requests.measured().map(|j| (j, Goodput::of(j, slo)));
    let mut all: Vec<(&JobView, Goodput)> = all.collect();
    let rate = |(_, g): &(&JobView, Goodput)| g.per_s.unwrap_or(0.0);
    all.sort_by(|a, b| rate(b).total_cmp(&rate(a)));
    let in_words = |(job, g): &(&JobView, Goodput)| {
        let per_s = g.per_s.map(units::significant);
        format!(
            "{} of {} requests ({}){}: {} at {}",
            g.n_met,
            g.n_sent,
            or_unknown(g.share().map(units::percent)),
            per_s.map_or(String::new(), |n| format!(", {n} a second")),
            short(&job.job.name),
            short(&job.target)
        )
    };
    let best = all.first()?;
    let claim = match best.1.n_met {
        0 => format!("No request of any job meets {slo}."),
        _ => {
            let load = super::load(&best.0.job.load);
            format!("At best {} ({load}), with {slo}.", in_words(best))
        }
    };
    let evidence = all.iter().take(12).map(|one| in_words(one) + ".");
    let question = "How many requests meet the limits?";
    Some(Finding::new(question, claim, Sure::Likely).with(evidence))
}
