//! Targets that served the same jobs, one held against the other: a table for each pair of targets.

use super::super::table::{Document, Table};
use super::{ms, rate, s};
use crate::analysis::live::{self, JobPair};
use crate::request::shown_target;
use crate::text::{cut_middle, short};
use crate::units;
use crate::view::Estimate;
use crate::view::requests::{JobView, RequestsView, Round};

/// Jobs of a table; the report has all of them.
const MOST_JOBS: usize = 12;

/// Most columns of a target's name above its values.
const HEAD_COLUMNS: usize = 13;

/// A mean of both targets: its name, its value in a round, and how it is shown.
type Mean = (
    &'static str,
    fn(&Round) -> Option<f64>,
    fn(&JobView) -> Option<Estimate>,
    fn(Option<Estimate>) -> Option<String>,
);

const MEANS: [Mean; 4] = [
    (
        "latency s",
        |r| r.latency_ns,
        |j| j.figures.latency_ns.mean,
        s,
    ),
    ("TTFT ms", |r| r.ttft_ns, |j| j.figures.ttft_ns.mean, ms),
    ("TPOT ms", |r| r.tpot_ns, |j| j.figures.tpot_ns.mean, ms),
    ("tokens/s", |r| r.tokens_per_s, |j| j.tokens_per_s, rate),
];

/// A table for each other target; where the difference comes from is among the answers.
pub fn documents(requests: &RequestsView) -> Vec<Document> {
    let others = live::others(requests).into_iter();
    let found = others.filter_map(|other| document(requests, other));
    found.collect()
}

fn document(requests: &RequestsView, other: &str) -> Option<Document> {
    let all = live::pairs(requests, other);
    let pairs = &all[..all.len().min(MOST_JOBS)];
    let base = shown_target(&pairs.first()?.base.target);
    let name = shown_target(other);
    let rows: Vec<(&JobPair<'_>, &Mean, Estimate)> = pairs
        .iter()
        .flat_map(|pair| MEANS.iter().map(move |mean| (pair, mean)))
        .filter_map(|(pair, mean)| Some((pair, mean, pair.ratio(mean.1)?)))
        .collect();
    if rows.is_empty() {
        return None;
    }
    let table = Table::of(&rows)
        // A job's name stands at the first of its figures.
        .words("job", |(pair, (mean, ..), _)| match *mean == MEANS[0].0 {
            true => short(&pair.other.job.name),
            false => String::new(),
        })
        .words("mean", |(_, (mean, ..), _)| *mean)
        .numbers(head(&base, &name), |(pair, mean, _)| value(pair, mean, 0))
        .numbers(head(&name, &base), |(pair, mean, _)| value(pair, mean, 1))
        .numbers("times", |(.., ratio)| units::significant(ratio.value))
        .numbers("95% interval", |(.., ratio)| range(*ratio));
    // Settings of this program are served one after the other: one model at a time is in memory.
    let both_own = pairs[0].base.is_in_process() && pairs[0].other.is_in_process();
    let order = if both_own {
        "one after the other"
    } else {
        "in turns"
    };
    let what = format!(
        "{name} against {base}, the same requests {order}; times: the ratio of their values"
    );
    let mut document =
        Document::new(format!("{name} against {base}"), table).above("compared", what);
    let lacks = |(pair, _, ratio): &(&JobPair<'_>, &Mean, Estimate)| {
        pair.n_comparisons.is_some() && ratio.interval.is_none()
    };
    if rows.iter().any(lacks) {
        document = document.below(
            "n/a",
            "there are too few rounds for an interval that holds whenever the rounds end",
        );
    }
    if all.len() > pairs.len() {
        let more = all.len() - pairs.len();
        document = document.below("", format!("{more} more jobs are in the report"));
    }
    Some(document)
}

/// A mean at the base (0) or at the other (1), over the rounds that are compared.
fn value(pair: &JobPair<'_>, mean: &Mean, side: usize) -> Option<String> {
    let (_, of_round, of_job, shown) = mean;
    shown(match pair.means_of_compared(*of_round) {
        Some(means) => Some(Estimate {
            value: means[side],
            interval: None,
        }),
        None => of_job([pair.base, pair.other][side]),
    })
}

/// A target's name above its values, without the first part that both have in common.
fn head(name: &str, other: &str) -> String {
    let first = |name: &str| name.split_once('/').map(|(first, _)| first.to_owned());
    let own = match first(name) {
        Some(part) if first(other).as_ref() == Some(&part) => &name[part.len() + 1..],
        _ => name,
    };
    cut_middle(own, HEAD_COLUMNS)
}

fn range(m: Estimate) -> Option<String> {
    let interval = m.interval?;
    Some(format!(
        "{} to {}",
        units::significant(interval.lo),
        units::significant(interval.hi)
    ))
}
