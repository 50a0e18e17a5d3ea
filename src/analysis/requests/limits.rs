//! What limits requests: where their time goes, and what the calls and the processor say.

use crate::analysis::live::{LatencyParts, Overlap, Simultaneity};
use crate::analysis::requests::concurrency::{curve, knee};
use crate::analysis::requests::{targets, typical};
use crate::analysis::{Finding, Sure};
use crate::request::shown_target;
use crate::text::{plural, short};
use crate::units;
use crate::view::RunView;
use crate::view::requests::{JobView, RequestsView};

/// A part of the time that is more than this is what limits.
const MOST_OF_IT: f64 = 0.5;

/// Batching that multiplies tokens/s by this much cannot be bounded by arithmetic at one request: the same arithmetic
/// was done that many times as often.
const SHARED: f64 = 1.5;

/// What limits the target that this program looks into, else the first one.
pub fn finding(view: &RunView, requests: &RequestsView) -> Option<Finding> {
    let all = targets(requests);
    let own = |name: &&&str| {
        let mut jobs = requests.measured();
        jobs.any(|j| j.target == **name && j.is_in_process())
    };
    let target = all.iter().find(own).or_else(|| all.first())?;
    let job = typical(requests, target)?;
    let mut evidence: Vec<String> = Vec::new();
    evidence.extend(of_calls(job));
    evidence.extend(of_latency(job));
    evidence.extend(of_processor(view, job));
    let batching = batching(requests, target);
    evidence.extend(batching.as_ref().map(|(_, said)| said.clone()));
    let queues = queues(requests, target);
    evidence.extend(queues.clone());
    let (claim, sure) = claim(job, batching.map(|(gain, _)| gain), queues.is_some());
    let claim = format!("{}: {claim}", shown_target(target));
    let finding = Finding::new("What limits a request?", claim, sure).with(evidence);
    Some(finding.see(&["concurrent_impact"]))
}

fn claim(job: &JobView, gain: Option<f64>, queues: bool) -> (String, Sure) {
    let Some((prefill, decode, sampler)) = shares(job) else {
        let claim = "undetermined: the target does not report where the time goes.";
        return (claim.to_owned(), Sure::Undetermined);
    };
    let percent = units::percent;
    let (claim, sure) = if sampler > MOST_OF_IT {
        let sampler = percent(sampler);
        let claim = format!("choosing tokens, {sampler} of the time of all calls.");
        (claim, Sure::Likely)
    } else if prefill > MOST_OF_IT {
        let claim = format!(
            "reading the prompt, {} of a request's time: arithmetic, as all its tokens are computed together.",
            percent(prefill)
        );
        (claim, Sure::Likely)
    } else if decode <= MOST_OF_IT {
        let claim = "undetermined: no part of a request takes most of its time.";
        return (claim.to_owned(), Sure::Undetermined);
    } else {
        let decode = percent(decode);
        match (gain, gain.map(units::significant).unwrap_or_default()) {
            (Some(gain), times) if gain >= SHARED => {
                let claim = format!(
                    "one at a time, reading the weights for every token: decoding is {decode} of a request, and sharing the \
                     reading gives {times} times the tokens/s."
                );
                (claim, Sure::Likely)
            }
            (Some(_), times) => {
                let claim = format!(
                    "decoding, {decode} of a request. Sharing the weights' reading gives only {times} times the tokens/s, which does not tell \
                     whether weights or arithmetic bound it."
                );
                (claim, Sure::Undetermined)
            }
            (None, _) => {
                let claim = format!(
                    "decoding, {decode} of a request. Whether weights or arithmetic bound it was not told apart: that needs \
                     several requests at once, or several batch sizes."
                );
                (claim, Sure::Undetermined)
            }
        }
    };
    let queue = match queues {
        true => " With more at once, waiting for a slot comes on top.",
        false => "",
    };
    (claim + queue, sure)
}

/// Prefill's, decoding's and the sampler's shares of a typical request.
fn shares(job: &JobView) -> Option<(f64, f64, f64)> {
    let parts = LatencyParts::of(job)?;
    let sampler = job.calls.and_then(|c| c.sampler_share()).unwrap_or(0.0);
    (parts.whole > 0.0).then(|| {
        (
            parts.prefill / parts.whole,
            parts.decode / parts.whole,
            sampler,
        )
    })
}

fn of_calls(job: &JobView) -> Option<String> {
    let calls = job.calls?;
    let whole = calls.whole_ns();
    let share = |ns: u64| units::percent(ns as f64 / whole.max(1) as f64);
    (whole > 0).then(|| {
        format!(
            "{}: of the time of its {} decode calls {} were prefill only, {} decode only, {} both; the engine had {}, \
             choosing tokens {}, this program {}.",
            short(&job.job.name),
            calls.n,
            share(calls.prefill_ns),
            share(calls.decode_ns),
            share(calls.mixed_ns),
            share(calls.engine_ns),
            share(calls.sample_ns),
            share(calls.build_ns)
        )
    })
}

fn of_latency(job: &JobView) -> Option<String> {
    let parts = LatencyParts::of(job)?;
    let share = |ns: f64| units::percent(ns.max(0.0) / parts.whole.max(1.0));
    Some(format!(
        "Of a request's time, {} is waiting for a slot, {} prefill, {} decoding and {} transport.",
        share(parts.waiting),
        share(parts.prefill),
        share(parts.decode),
        share(parts.transport)
    ))
}

fn of_processor(view: &RunView, job: &JobView) -> Option<String> {
    let cores = view.header.machine.cpu.available_cores.filter(|n| *n > 0)?;
    let busy = job.usage.process_cpu_percent?.mean;
    Some(format!(
        "The engine kept {:.0}% of {} busy, with {} asked for.",
        busy / f64::from(cores),
        plural(cores, "hardware thread", "hardware threads"),
        plural(job.job.case.n_threads, "thread", "threads")
    ))
}

/// What sharing calls gains, where requests were really answered together.
fn batching(requests: &RequestsView, target: &str) -> Option<(f64, String)> {
    let curve = curve(requests, target);
    let (enough, _) = knee(&curve)?;
    let (first, last) = (*curve.first()?, *curve.last()?);
    // Where more gain nothing, that is what is told.
    let enough = match enough.at_once() == first.at_once() {
        true => last,
        false => enough,
    };
    let seen = Overlap::of(enough)?;
    if seen.serving() == Simultaneity::OneByOne {
        return None;
    }
    let gain = enough.ratio_to(first, |r| r.tokens_per_s)?.value;
    Some((
        gain,
        format!(
            "{} at once give {} times the tokens/s of {}.",
            enough.at_once(),
            units::significant(gain),
            first.at_once()
        ),
    ))
}

/// Whether requests wait for a place where most are under way.
fn queues(requests: &RequestsView, target: &str) -> Option<String> {
    let own = requests.measured().filter(|j| j.target == target);
    let most = own.max_by_key(|j| j.at_once())?;
    let parts = LatencyParts::of(most)?;
    let share = parts.waiting / parts.whole.max(1.0);
    (share > 0.1).then(|| {
        format!(
            "{}, {}: waiting for a slot is {} of a request.",
            short(&most.job.name),
            super::load(&most.job.load),
            units::percent(share)
        )
    })
}
