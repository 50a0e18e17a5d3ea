//! How many requests at once: what throughput gains, what latency pays, and where more stop paying.

use crate::analysis::choice::GOOD_ENOUGH;
use crate::analysis::live::{Overlap, Simultaneity};
use crate::analysis::words::{duration, first_with_share, or_unknown};
use crate::analysis::{Finding, Sure};
use crate::request::Experiment;
use crate::request::shown_target;

use crate::units;
use crate::view::requests::{JobView, RequestsView};

/// A target's jobs that send the same prompts, more of them at once each time; in that order. Fewer than two are none.
pub fn curve<'a>(requests: &'a RequestsView, target: &str) -> Vec<&'a JobView> {
    let own = requests.of(Experiment::Concurrency);
    let mut jobs: Vec<&JobView> = own
        .filter(|j| j.target == target && j.is_closed())
        .filter(|j| j.tokens_per_s.is_some())
        .collect();
    jobs.sort_by_key(|j| j.at_once());
    jobs.dedup_by_key(|j| j.at_once());
    if jobs.len() < 2 { Vec::new() } else { jobs }
}

/// The first job that has nearly as many tokens per second as any, and the one with the most.
pub fn knee<'a>(curve: &[&'a JobView]) -> Option<(&'a JobView, &'a JobView)> {
    first_with_share(curve, GOOD_ENOUGH, rate)
}

fn rate(job: &JobView) -> f64 {
    job.tokens_per_s.map_or(0.0, |m| m.value)
}

fn latency(job: &JobView) -> Option<f64> {
    Some(job.figures.latency_ns.median?.value)
}

/// What more requests at once do at a target; none with a single number of them.
pub fn finding(requests: &RequestsView, target: &str) -> Option<Finding> {
    let curve = curve(requests, target);
    let (enough, most) = knee(&curve)?;
    let (first, last) = (*curve.first()?, *curve.last()?);
    let gain = enough.ratio_to(first, |r| r.tokens_per_s)?;
    let name = shown_target(target);
    let grows = rate(most) / rate(first);
    let claim = if grows < NO_GAIN {
        format!(
            "{name}: more than {} at once gain nothing, {} tokens/s with {} and {} with {}; each waits {} instead of {}.",
            first.at_once(),
            units::significant(rate(first)),
            first.at_once(),
            units::significant(rate(last)),
            last.at_once(),
            time(last),
            time(first)
        )
    } else {
        format!(
            "{name}: {} at once, {} tokens/s, {} times those of {}, and {} a request instead of {} (median); {}.",
            enough.at_once(),
            units::significant(rate(enough)),
            units::significant(gain.value),
            first.at_once(),
            time(enough),
            time(first),
            beyond(enough, most, last)
        )
    };
    let mut evidence: Vec<String> = curve.windows(2).filter_map(|w| step(w[0], w[1])).collect();
    evidence.extend(queueing(last));
    let is_shown = match grows < NO_GAIN {
        true => last
            .ratio_to(first, |r| r.tokens_per_s)
            .and_then(|m| m.interval)
            .is_some_and(|i| i.hi < NO_GAIN),
        false => gain.interval.is_some_and(|i| i.lo > 1.0),
    };
    let disturbed = super::disturbed(&curve);
    let sure = Sure::shown_if(is_shown && disturbed.is_none());
    evidence.extend(disturbed);
    let finding = Finding::new("How many requests at once?", claim, sure).with(evidence);
    Some(finding.see(&["concurrent_impact", "concurrent_latency"]))
}

/// Less than this is no growth of throughput that is worth queueing for.
const NO_GAIN: f64 = 1.1;

fn time(job: &JobView) -> String {
    or_unknown(job.figures.latency_ns.median.map(duration))
}

fn beyond(enough: &JobView, most: &JobView, last: &JobView) -> String {
    if enough.at_once() == last.at_once() {
        return "more were not measured, and throughput may still grow".to_owned();
    }
    if most.at_once() == enough.at_once() {
        return "more at once give less".to_owned();
    }
    format!(
        "the most is {} tokens/s with {}",
        units::significant(rate(most)),
        most.at_once()
    )
}

fn step(a: &JobView, b: &JobView) -> Option<String> {
    let more = f64::from(b.at_once()) / f64::from(a.at_once().max(1));
    Some(format!(
        "From {} to {} at once ({} times as many): {} times the tokens/s, {} times the latency.",
        a.at_once(),
        b.at_once(),
        units::significant(more),
        units::significant(rate(b) / rate(a)),
        units::significant(latency(b)? / latency(a)?)
    ))
}

/// How requests queue where most are under way.
pub fn queueing(job: &JobView) -> Option<String> {
    let seen = Overlap::of(job)?;
    let n = seen.under_way;
    let ttft = job.figures.ttft_ns.median.map(duration);
    let ttft = ttft.map(|t| format!(" The first token comes after {t} (median)."));
    let answered = match seen.serving() {
        Simultaneity::OneByOne => {
            format!("With {n} under way they were answered one after another: the others queue.")
        }
        Simultaneity::Partly => format!(
            "With {n} under way at most {} were answered at a time: the others queue.",
            seen.answered
        ),
        Simultaneity::Together => format!(
            "Of {n} requests under way, {} were answered at the same time.",
            seen.answered
        ),
    };
    Some(answered + &ttft.unwrap_or_default())
}
