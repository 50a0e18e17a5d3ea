//! What a run of requests says: how long one takes, how many at once, what limits, and what each experiment found.
//!
//! | question | where |
//! |---|---|
//! | how long does a request take, by class | `how_long` |
//! | how many at once, and where more stop paying | [`concurrency`] |
//! | does TTFT follow the prompt's length | [`length`] |
//! | what does load take of the machine, and does it stay | [`sustained`] |
//! | temperature, and easy against hard | [`questions`] |
//! | what limits | [`limits`] |
//! | how many meet promised latencies | [`goodput`] |
//! | one target against another | [`live`] |

mod brief;
pub mod concurrency;
pub mod goodput;
pub mod length;
pub mod limits;
pub mod questions;
pub mod sustained;
#[cfg(test)]
mod tests;
mod trust;

pub use brief::brief;

use super::capacity::Slo;
use super::words::{counted, duration};
use super::{Finding, Sure, live};
use crate::request::shown_target;
use crate::request::{Experiment, Load};
use crate::text::{plural, short};
use crate::units;
use crate::view::RunView;
use crate::view::requests::{JobFigures, JobView, RequestsView};

/// The first screen: how long a request takes, how many at once, what limits, how the targets compare, how sure.
pub fn lead(view: &RunView, requests: &RequestsView, slo: Option<&Slo>) -> Vec<Finding> {
    if requests.measured().next().is_none() {
        return vec![trust::nothing_measured(requests)];
    }
    let mut found: Vec<Finding> = Vec::new();
    found.extend(slo.and_then(|slo| goodput::finding(requests, slo)));
    for target in targets(requests) {
        found.extend(how_long(requests, target));
    }
    for target in targets(requests) {
        found.extend(match slo {
            Some(slo) => goodput::at_once(requests, target, slo),
            None => concurrency::finding(requests, target),
        });
    }
    found.extend(limits::finding(view, requests));
    for other in live::others(requests) {
        found.extend(live::headline(&live::pairs(requests, other)));
    }
    found.push(trust::finding(requests));
    found
}

/// The targets that answered, in the plan's order.
pub fn targets(requests: &RequestsView) -> Vec<&str> {
    let names = requests.targets.iter().map(|t| t.name.as_str());
    names
        .filter(|name| requests.measured().any(|j| j.target == *name))
        .collect()
}

/// The job that tells how long a request takes: prompts by class one after another, else the one with the fewest at
/// once.
pub fn typical<'a>(requests: &'a RequestsView, target: &str) -> Option<&'a JobView> {
    let own = || requests.measured().filter(|j| j.target == target);
    let by_class = own().find(|j| j.job.experiment == Experiment::Classes);
    by_class.or_else(|| own().min_by_key(|j| j.at_once()))
}

impl JobFigures {
    /// `short 86.1 ms`: the median latency.
    fn named_median(&self, name: &str) -> Option<String> {
        let median = duration(self.latency_ns.median?);
        Some(format!("{} {median}", shown_target(name)))
    }
}

impl JobView {
    /// The median latency of each class.
    fn by_class(&self) -> Vec<String> {
        let classes = self.classes.iter();
        classes
            .filter_map(|c| c.figures.named_median(&c.class))
            .collect()
    }
}

/// How long a request takes, by class.
pub fn how_long(requests: &RequestsView, target: &str) -> Option<Finding> {
    let job = typical(requests, target)?;
    let mut medians = job.by_class();
    let n = medians.len();
    if n > MOST_CLASSES {
        medians.truncate(MOST_CLASSES);
        medians.push(format!("{} more classes", n - MOST_CLASSES));
    }
    if medians.is_empty() {
        medians.push(duration(job.figures.latency_ns.median?));
    }
    let share = job.figures.ttft_share.map(|share| {
        let percent = units::percent(share);
        format!("Of the latency {percent} passes before the first token (prefill), the rest is decoding.")
    });
    let classes = job.classes.iter().take(MOST_CLASSES);
    let mut evidence: Vec<String> = classes.map(|c| in_words(&c.class, &c.figures)).collect();
    if job.classes.len() != 1 {
        evidence.push(in_words("all", &job.figures));
    }
    evidence.extend(share);
    let disturbed = disturbed(&[job]);
    let median = job.figures.latency_ns.median;
    let is_known = median.is_some_and(|m| m.interval.is_some());
    let sure = Sure::shown_if(is_known && disturbed.is_none());
    evidence.extend(disturbed);
    let claim = format!(
        "{} at {}, {}: from when it was due to its last token (median).",
        medians.join(", "),
        shown_target(target),
        load(&job.job.load)
    );
    let finding = Finding::new("How long does a request take?", claim, sure).with(evidence);
    Some(finding.see(&["request_latency", "ttft_by_class"]))
}

/// Why figures of these jobs show nothing, when others used the machine during some of them.
fn disturbed(jobs: &[&JobView]) -> Option<String> {
    let n = jobs.iter().filter(|j| j.is_disturbed()).count();
    let of = counted(jobs.len(), "job");
    (n > 0)
        .then(|| format!("The machine was disturbed in {n} of {of}, so no result counts as shown."))
}

/// Classes that get a part of a sentence each.
const MOST_CLASSES: usize = 6;

/// `one at a time`, `8 at a time`, `2.00 a second`.
pub fn load(load: &Load) -> String {
    match load {
        Load::Closed { concurrency: 1 } => "one at a time".to_owned(),
        Load::Closed { concurrency } => format!("{concurrency} at a time"),
        Load::Open { rate_per_s, .. } => {
            format!("{} a second on average", units::significant(*rate_per_s))
        }
    }
}

/// The figures of some requests in one sentence.
fn in_words(name: &str, f: &JobFigures) -> String {
    let visible = f.ttft_visible_ns.mean.filter(|_| f.counting.n_reasoned > 0);
    let times = [
        ("mean", f.latency_ns.mean),
        ("median", f.latency_ns.median),
        ("p95", f.latency_ns.p95),
        ("p99", f.latency_ns.p99),
        ("TTFT mean", f.ttft_ns.mean),
        ("visible TTFT mean", visible),
        ("TPOT mean", f.tpot_ns.mean),
    ];
    let said: Vec<String> = times
        .into_iter()
        .filter_map(|(name, m)| Some(format!("{name} {}", duration(m?))))
        .collect();
    format!(
        "{}: {}; {}.",
        short(name),
        plural(f.n_whole, "answer", "answers"),
        said.join(", ")
    )
}
