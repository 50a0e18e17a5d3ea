//! Targets that served the same jobs in turns, held against each other: how much longer, and where the time goes.
//!
//! METHODOLOGY.md, section "Requests", says how the difference is split.

mod overlap;
mod sentences;
mod split;
#[cfg(test)]
mod tests;
mod work;

pub use overlap::{Overlap, Simultaneity};
pub use sentences::{findings, headline, in_parallel, where_from};
use split::Gaps;
pub use split::{LatencyParts, PerToken};
pub use work::unlike;

use std::collections::BTreeMap;

use super::requests::targets;
use crate::stats::equivalence::{self, EqualityDecision, EqualityRule};
use crate::stats::summary;
use crate::view::Estimate;
use crate::view::requests::{JobView, RequestView, RequestsView, Round};

/// A job at two targets.
#[derive(Debug, Clone, Copy)]
pub struct JobPair<'a> {
    /// At what the other is held against: in-process where there is it, else the first target.
    pub base: &'a JobView,
    pub other: &'a JobView,
    /// The comparisons that share the chance of a wrong decision, where rounds were added until each was decided.
    pub n_comparisons: Option<usize>,
}

impl JobPair<'_> {
    /// How many times the base's value the other has, round by round. Its interval is valid although rounds were added until
    /// the latency was decided.
    pub fn ratio(&self, of: fn(&Round) -> Option<f64>) -> Option<Estimate> {
        let Some(n) = self.n_comparisons else {
            return self.other.ratio_over(self.base, self.ratios(of));
        };
        let decision = self.judged(of, n)?;
        Some(Estimate {
            value: decision.estimate.exp(),
            interval: decision.interval.map(|i| i.map(f64::exp)),
        })
    }

    /// Whether the latency is decided; none with a fixed number of rounds, or without a round.
    pub fn decision(&self) -> Option<EqualityDecision> {
        self.judged(|r| r.latency_ns, self.n_comparisons?)
    }

    fn judged(&self, of: fn(&Round) -> Option<f64>, n: usize) -> Option<EqualityDecision> {
        let logs: Vec<f64> = self.ratios(of).into_values().map(f64::ln).collect();
        equivalence::decide(&logs, n, &EqualityRule::of_targets())
    }

    /// By round. A round that was cut at one of them has other requests there, so that its means do not compare.
    fn ratios(&self, of: fn(&Round) -> Option<f64>) -> BTreeMap<u32, f64> {
        let mut ratios = self.other.ratios_to(self.base, of);
        for round in self.base.cut_rounds().chain(self.other.cut_rounds()) {
            ratios.remove(&round);
        }
        ratios
    }

    /// The rounds that are compared: both answered, and at neither was one cut.
    pub fn n_rounds(&self) -> usize {
        self.ratios(|r| r.latency_ns).len()
    }

    /// A mean at the base and at the other over the rounds that are compared, where one of them has more rounds; else `None`, and the
    /// jobs' own figures are those of these rounds.
    pub fn means_of_compared(&self, of: fn(&Round) -> Option<f64>) -> Option<[f64; 2]> {
        let compared = self.ratios(|r| r.latency_ns);
        let jobs = [self.base, self.other];
        let are_all = |job: &&JobView| job.by_round(|r| r.latency_ns).len() == compared.len();
        if jobs.iter().all(are_all) {
            return None;
        }
        let mean = |job: &JobView| {
            let values = job.by_round(of).into_iter();
            let values = values.filter(|(round, _)| compared.contains_key(round));
            summary::mean(&values.map(|(_, value)| value).collect::<Vec<_>>())
        };
        Some([mean(self.base)?, mean(self.other)?])
    }

    /// Whether a request was answered by both.
    pub fn has_common_answers(&self) -> bool {
        !self.of_common(|_, r| Some(r.latency_ns())).is_empty()
    }

    /// The parts of the base's latency and of the other's; none where one of them does not say enough.
    pub fn parts(&self) -> Option<[LatencyParts; 2]> {
        let both = self.of_common(LatencyParts::of_request);
        let base = LatencyParts::mean(both.iter().map(|[base, _]| *base))?;
        Some([
            base,
            LatencyParts::mean(both.iter().map(|[_, other]| *other))?,
        ])
    }

    /// What a token takes at the base and at the other; none where one of them does not say.
    pub fn per_token(&self) -> Option<[PerToken; 2]> {
        let both = self.of_common(Gaps::of);
        let base = PerToken::over(self.base, both.iter().map(|[base, _]| *base))?;
        let other = PerToken::over(self.other, both.iter().map(|[_, other]| *other))?;
        Some([base, other])
    }

    /// A value of each request that both answered, at the base and at the other, where both have it: a round that was cut at one of
    /// them has fewer requests there, and means over unlike requests do not compare.
    fn of_common<T>(&self, of: impl Fn(&JobView, &RequestView) -> Option<T>) -> Vec<[T; 2]> {
        let values = |job: &JobView| -> BTreeMap<(u32, u32), T> {
            let answered = job.requests.iter().filter(|r| r.is_answered());
            let valued = answered.filter_map(|r| Some(((r.round, r.number), of(job, r)?)));
            valued.collect()
        };
        let mut at_other = values(self.other);
        let both = values(self.base).into_iter();
        both.filter_map(|(request, base)| Some([base, at_other.remove(&request)?]))
            .collect()
    }
}

/// The target that others are held against.
pub fn base(requests: &RequestsView) -> Option<&str> {
    let is_planned = |j: &&JobView| Some(&j.target) == requests.base.as_ref();
    let is_own = |j: &&JobView| j.is_in_process();
    let planned = requests.measured().find(is_planned);
    let own = planned.or_else(|| requests.measured().find(is_own));
    let base = own.or_else(|| requests.measured().next())?;
    Some(&base.target)
}

/// The other targets that answered, in the plan's order.
pub fn others(requests: &RequestsView) -> Vec<&str> {
    let base = base(requests);
    let mut targets = targets(requests);
    targets.retain(|name| Some(*name) != base);
    targets
}

/// The jobs that both answered, by how many requests are under way at once.
pub fn pairs<'a>(requests: &'a RequestsView, other: &str) -> Vec<JobPair<'a>> {
    let Some(base) = base(requests) else {
        return Vec::new();
    };
    let of = |target: &str, name: &str| {
        let mut jobs = requests.measured();
        jobs.find(|j| j.target == target && j.job.name == name)
    };
    let mut pairs: Vec<JobPair<'a>> = requests
        .measured()
        .filter(|j| j.target == other)
        .filter_map(|other| {
            let base = of(base, &other.job.name)?;
            Some(JobPair {
                base,
                other,
                n_comparisons: requests.n_comparisons,
            })
        })
        .collect();
    pairs.sort_by_key(|p| p.other.at_once());
    pairs
}
