//! Goodput: requests that meet every limit, as a share and per second.

use crate::analysis::capacity::{LatencyKind, Percentile, Slo, SloLimit};
use crate::analysis::words::{duration, or_unknown};
use crate::analysis::{Finding, Sure};
use crate::request::{Ending, Experiment, shown_target};
use crate::stats::summary::quantile_type7;
use crate::text::short;
use crate::units;
use crate::view::Estimate;
use crate::view::requests::{JobView, RequestView, RequestsView, Times};

/// Requests of a job within limits. Those that were interrupted say nothing about the target, and are left out.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Goodput {
    /// Requests that meet every limit.
    pub n_met: u32,
    /// Requests that were sent; one that failed meets nothing.
    pub n_sent: u32,
    /// Those that meet them, per second from the job's begin to its end; none where a round has no end.
    pub per_s: Option<f64>,
    /// Whether the job keeps the limits: every percentile that has one, and [`NEARLY_ALL`] requests the others. `None`
    /// where a percentile needs more requests, or the target does not say what is limited.
    pub is_kept: Option<bool>,
}

impl Goodput {
    pub fn of(job: &JobView, slo: &Slo) -> Self {
        let met = Met::of(job, slo.limits());
        let elapsed: Option<Vec<u64>> = job.rounds.iter().map(|r| r.elapsed_ns).collect();
        let elapsed = elapsed.map(|all| all.into_iter().fold(0, u64::saturating_add));
        let elapsed = elapsed.filter(|ns| *ns > 0);
        let each: Vec<SloLimit> = slo.limits().iter().copied().filter(is_of_each).collect();
        let mut kept = vec![match each.is_empty() {
            true => Some(true),
            false => Met::of(job, &each).is_nearly_all(),
        }];
        let percentiles = slo.limits().iter().filter(|limit| !is_of_each(limit));
        kept.extend(percentiles.map(|limit| keeps_percentile(job, limit)));
        Self {
            n_met: met.n,
            n_sent: met.of,
            per_s: elapsed.map(|ns| f64::from(met.n) / ns as f64 * 1e9),
            is_kept: match kept.contains(&Some(false)) {
                true => Some(false),
                false => kept.into_iter().all(|kept| kept.is_some()).then_some(true),
            },
        }
    }

    /// The share of all that were sent.
    pub fn share(&self) -> Option<f64> {
        (self.n_sent > 0).then(|| f64::from(self.n_met) / f64::from(self.n_sent))
    }
}

/// Whether each request has to meet a limit by itself.
fn is_of_each(limit: &SloLimit) -> bool {
    limit.latency.percentile.is_none()
}

/// Whether a percentile of the gaps of all answers is limited, which says nothing about one of them.
fn is_of_all_gaps(limit: &SloLimit) -> bool {
    limit.latency.kind == LatencyKind::Itl && !is_of_each(limit)
}

/// Requests that meet limits.
struct Met {
    n: u32,
    /// Of these some are answered, and it is not known whether they do.
    n_unknown: u32,
    of: u32,
}

impl Met {
    fn of(job: &JobView, limits: &[SloLimit]) -> Self {
        let mut met = Self {
            n: 0,
            n_unknown: 0,
            of: 0,
        };
        for sent in counted(job) {
            met.of += 1;
            match meets(sent, limits) {
                Some(true) => met.n += 1,
                Some(false) => {}
                None => met.n_unknown += 1,
            }
        }
        met
    }

    /// Whether [`NEARLY_ALL`] of them do; `None` where those that are unknown decide it.
    fn is_nearly_all(&self) -> Option<bool> {
        let is = |n: u32| f64::from(n) >= NEARLY_ALL * f64::from(self.of);
        let (least, most) = (is(self.n), is(self.n + self.n_unknown));
        (self.of > 0 && least == most).then_some(least)
    }
}

/// The requests of a job that are counted.
fn counted(job: &JobView) -> impl Iterator<Item = &RequestView> {
    let requests = job.requests.iter();
    requests.filter(|sent| sent.ending != Ending::Interrupted)
}

/// Whether a request meets limits; `None` where it was answered, and what is limited is not known.
fn meets(sent: &RequestView, limits: &[SloLimit]) -> Option<bool> {
    if !sent.is_answered() {
        return Some(false);
    }
    let mut is_known = true;
    for limit in limits.iter().filter(|limit| !is_of_all_gaps(limit)) {
        match latency(sent, limit.latency.kind) {
            Known::Ns(ns) if ns > limit.at_most_ns as f64 => return Some(false),
            Known::Ns(_) | Known::NotThere => {}
            Known::No => is_known = false,
        }
    }
    is_known.then_some(true)
}

/// What is known of a latency of an answered request.
enum Known {
    Ns(f64),
    /// An answer of one token has no further token that could be late.
    NotThere,
    No,
}

fn latency(sent: &RequestView, kind: LatencyKind) -> Known {
    let ns = match kind {
        LatencyKind::Ttft => sent.ttft_ns().map(|ns| ns as f64),
        LatencyKind::Tpot if matches!(sent.n_generated, Some(0 | 1)) => return Known::NotThere,
        LatencyKind::Tpot => sent.tpot_ns,
        LatencyKind::Itl if sent.came_at_once => None,
        LatencyKind::Itl => match sent.longest_gap_ns {
            None => return Known::NotThere,
            gap => gap.map(|ns| ns as f64),
        },
    };
    ns.map_or(Known::No, Known::Ns)
}

/// The figure that a limit is held against: its percentile, or the p95 of the requests, as [`NEARLY_ALL`] of them must keep it.
fn figure(job: &JobView, limit: &SloLimit) -> Option<Estimate> {
    let times = times(job, limit);
    match limit.latency.percentile {
        Some(Percentile::P50) => times.median,
        None | Some(Percentile::P95) => times.p95,
        Some(Percentile::P99) => times.p99,
    }
}

fn times<'a>(job: &'a JobView, limit: &SloLimit) -> &'a Times {
    match limit.latency.kind {
        LatencyKind::Ttft => &job.figures.ttft_ns,
        LatencyKind::Tpot => &job.figures.tpot_ns,
        LatencyKind::Itl => &job.figures.gap_ns,
    }
}

/// Whether a job keeps the limit of a percentile. A request that failed is later than any limit. `None` where too few requests were
/// sent, unless more could not mend it in time, and where the target does not say what is limited.
fn keeps_percentile(job: &JobView, limit: &SloLimit) -> Option<bool> {
    let percentile = limit.latency.percentile?;
    if is_of_all_gaps(limit) {
        let (n, failed) = counted(job).fold((0_u32, 0_u32), |(n, failed), sent| {
            (n + 1, failed + u32::from(!sent.is_answered()))
        });
        let is_missed = f64::from(failed) > (1.0 - percentile.fraction()) * f64::from(n);
        let kept = figure(job, limit).map(|figure| figure.value <= limit.at_most_ns as f64);
        return if is_missed { Some(false) } else { kept };
    }
    let mut values = Vec::new();
    for sent in counted(job) {
        values.push(match sent.is_answered() {
            // Not infinite, as quantiles interpolate.
            false => f64::MAX / 4.0,
            true => match latency(sent, limit.latency.kind) {
                Known::Ns(ns) => ns,
                Known::NotThere => continue,
                Known::No => return None,
            },
        });
    }
    let n_needed = usize::try_from(percentile.n_needed()).unwrap_or(usize::MAX);
    let is_enough = !values.is_empty() && values.len() >= n_needed;
    // At best those that are missing take no time at all.
    values.resize(values.len().max(n_needed), 0.0);
    values.sort_unstable_by(f64::total_cmp);
    let at_best = quantile_type7(&values, percentile.fraction())?;
    match at_best <= limit.at_most_ns as f64 {
        true => is_enough.then_some(true),
        false => Some(false),
    }
}

/// A load is within limits when this share of its requests is.
pub const NEARLY_ALL: f64 = 0.95;

/// `86.7% of 30 requests within the limits (TTFT p95 2.83 s), 0.540 of them a second`. A percentile that was asked for decides, so it comes
/// first: `TTFT p50 189 ms; 70.0% of 30 requests within the limits`. One that is unknown says what it needs.
fn in_words(job: &JobView, goodput: &Goodput, slo: &Slo) -> String {
    let figures = slo.limits().iter().filter_map(|limit| {
        let asked = limit.latency.percentile;
        let at = asked.unwrap_or(Percentile::P95);
        let name = format!("{} {}", limit.latency.kind, at.key());
        match (figure(job, limit), times(job, limit).n) {
            (Some(figure), _) => Some(format!("{name} {}", duration(figure))),
            (None, 0) => Some(format!("{} unknown", limit.latency.kind)),
            (None, n) => asked.map(|at| format!("{name} needs {} values, has {n}", at.n_needed())),
        }
    });
    let figures = figures.collect::<Vec<_>>().join(", ");
    if slo.limits().iter().all(is_of_all_gaps) {
        return figures;
    }
    let per_s = goodput.per_s.map(units::significant);
    let per_s = per_s.map_or(String::new(), |n| format!(", {n} of them a second"));
    let share = or_unknown(goodput.share().map(units::percent));
    let within = format!("{share} of {} requests within the limits", goodput.n_sent);
    let decides = slo.limits().iter().any(|l| l.latency.percentile.is_some());
    match (figures.is_empty(), decides) {
        (true, _) => format!("{within}{per_s}"),
        (false, true) => format!("{figures}; {within}{per_s}"),
        (false, false) => format!("{within} ({figures}){per_s}"),
    }
}

/// The jobs of a target that are about load, the smallest first; those that got no answer too.
fn loads<'a>(requests: &'a RequestsView, target: &str) -> Vec<(&'a JobView, String)> {
    let is_of_load = |job: &&JobView| {
        let experiment = job.job.experiment;
        matches!(experiment, Experiment::Concurrency | Experiment::Sustained)
            && job.target == target
            && job.figures.n_sent > 0
    };
    let mut jobs: Vec<&JobView> = requests.jobs.iter().filter(is_of_load).collect();
    jobs.sort_by_key(|job| {
        let is_sustained = job.job.experiment == Experiment::Sustained;
        (is_sustained, !job.is_closed(), job.at_once())
    });
    let named = jobs.into_iter().map(|job| {
        let load = super::load(&job.job.load);
        match job.job.experiment {
            Experiment::Sustained => (job, format!("{load}, sustained")),
            _ => (job, load),
        }
    });
    named.collect()
}

/// Each load of a target, and whether it keeps the limits: `2 at a time: kept, 100% of 30 requests ...`. Empty where no experiment was
/// about load.
pub fn by_load(requests: &RequestsView, target: &str, slo: &Slo) -> Vec<String> {
    let loads = loads(requests, target).into_iter().map(|(job, load)| {
        let goodput = Goodput::of(job, slo);
        let kept = match goodput.is_kept {
            Some(true) => "kept",
            Some(false) => "not kept",
            None => "undetermined",
        };
        let said = in_words(job, &goodput, slo);
        format!("{load}: {kept}, {said}")
    });
    loads.collect()
}

/// How many requests at once a target answers within limits; none with a single number of them.
pub fn at_once(requests: &RequestsView, target: &str, slo: &Slo) -> Option<Finding> {
    let closed = loads(requests, target).into_iter();
    let closed = closed.filter(|(job, _)| job.job.experiment == Experiment::Concurrency);
    let all: Vec<(&JobView, Goodput)> = closed
        .map(|(job, _)| (job, Goodput::of(job, slo)))
        .collect();
    if all.len() < 2 {
        return None;
    }
    let n_kept = all.iter().take_while(|(_, g)| g.is_kept == Some(true));
    let n_kept = n_kept.count();
    let (kept, next) = (n_kept.checked_sub(1).map(|at| &all[at]), all.get(n_kept));
    let name = shown_target(target);
    let is_open = next.is_some_and(|(_, goodput)| goodput.is_kept.is_none());
    let claim = match (kept, next) {
        (None, Some((job, goodput))) => {
            let n = job.at_once();
            let what = match is_open {
                true => format!("with {n} at once it is undetermined whether it keeps {slo}"),
                false => format!("even with {n} at once it does not keep {slo}"),
            };
            format!("{name}: {what}: {}.", in_words(job, goodput, slo))
        }
        (Some((job, _)), next) => format!(
            "{name}: with {} at once it keeps {slo}, at {} tokens/s; {}.",
            job.at_once(),
            or_unknown(job.tokens_per_s.map(|m| units::significant(m.value))),
            match next {
                None => "more at once were not measured".to_owned(),
                Some((next, _)) if is_open => format!("with {} it is undetermined", next.at_once()),
                Some((next, _)) => format!("with {} it does not", next.at_once()),
            }
        ),
        (None, None) => return None,
    };
    let evidence = by_load(requests, target, slo).into_iter();
    let question = "How many requests at once, within the limits?";
    let sure = match (kept, is_open) {
        (None, true) => Sure::Undetermined,
        _ => Sure::Likely,
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
        0 => format!("No request of any job is known to meet {slo}."),
        _ => {
            let load = super::load(&best.0.job.load);
            format!("At best {} ({load}), with {slo}.", said(best))
        }
    };
    let evidence = all.iter().take(12).map(|one| said(one) + ".");
    let question = "How many requests meet the limits?";
    Some(Finding::new(question, claim, Sure::Likely).with(evidence))
}
