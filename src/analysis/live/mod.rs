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
pub use split::{LatencyParts, PerToken};
pub use work::unlike;

use std::collections::{BTreeMap, BTreeSet};

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

    /// A mean at the base and at the other over the rounds that are compared, where a round was cut; else `None`, and a job's own
    /// figures are those of these rounds.
    pub fn means_without_cut_rounds(&self, of: fn(&Round) -> Option<f64>) -> Option<[f64; 2]> {
        let cut: BTreeSet<u32> = self
            .base
            .cut_rounds()
            .chain(self.other.cut_rounds())
            .collect();
        let mean = |job: &JobView| {
            let rounds = job.rounds.iter().filter(|r| !cut.contains(&r.round));
            let values: Vec<f64> = rounds.filter_map(of).collect();
            summary::mean(&values)
        };
        (!cut.is_empty()).then_some([mean(self.base)?, mean(self.other)?])
    }

    /// Whether a request was answered by both.
    pub fn has_common_answers(&self) -> bool {
        !self.answered_by_both()[0].is_empty()
    }

    /// The parts of the base's latency and of the other's; none where one of them does not say enough.
    pub fn parts(&self) -> Option<[LatencyParts; 2]> {
        let [base, other] = self.answered_by_both();
        let base = LatencyParts::over(self.base, base.into_iter())?;
        Some([base, LatencyParts::over(self.other, other.into_iter())?])
    }

    /// What a token takes at the base and at the other; none where one of them does not say.
    pub fn per_token(&self) -> Option<[PerToken; 2]> {
        let [base, other] = self.answered_by_both();
        let base = PerToken::over(self.base, base.into_iter())?;
        Some([base, PerToken::over(self.other, other.into_iter())?])
    }

    /// The requests that both answered, at the base and at the other, in the same order: a round that was cut at one of them has fewer
    /// there, and means over unlike requests do not compare.
    fn answered_by_both(&self) -> [Vec<&RequestView>; 2] {
        let answered = |job: &JobView| -> BTreeSet<(u32, u32)> {
            let answered = job.requests.iter().filter(|r| r.is_answered());
            answered.map(|r| (r.round, r.number)).collect()
        };
        let both = &answered(self.base) & &answered(self.other);
        [self.base, self.other].map(|job| {
            let requests = job.requests.iter();
            let requests = requests.filter(|r| both.contains(&(r.round, r.number)));
            let mut requests: Vec<&RequestView> = requests.collect();
            requests.sort_by_key(|r| (r.round, r.number));
            requests
        })
    }
}

/// The target that others are held against.
pub fn base(requests: &RequestsView) -> Option<&str> {
    let is_own = |j: &&JobView| j.is_in_process();
    let own = requests.measured().find(is_own);
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
