//! The answers of a run of requests in a line or two each.

use super::{concurrency, goodput, limits, load, questions, targets, trust, typical};
use crate::analysis::capacity::Slo;
use crate::analysis::live;
use crate::analysis::words::duration;
use crate::analysis::{Answer, Finding};
use crate::request::shown_target;
use crate::units;
use crate::view::RunView;
use crate::view::requests::{JobView, RequestsView};

/// Classes, or targets, that a line names.
const MOST_NAMED: usize = 4;

/// Loads of a target that get a line each.
const MOST_LOADS: usize = 8;

/// What [`lead`](super::lead) says at length: how long a request takes, how many at once, how the targets compare or
/// what limits the only one, how sure.
pub fn brief(view: &RunView, requests: &RequestsView, slo: Option<&Slo>) -> Vec<Answer> {
    let all = targets(requests);
    if all.is_empty() {
        return vec![Answer::new("result", "no request was answered")];
    }
    let mut answers = Vec::new();
    answers.extend(
        slo.map(|slo| limits_of(requests, &all, slo))
            .unwrap_or_default(),
    );
    answers.extend(latency(requests, &all).map(|text| Answer::new("latency", text)));
    let curves = all.iter().take(MOST_NAMED);
    let at_once = curves.filter_map(|target| match slo {
        Some(slo) => goodput::at_once(requests, target, slo).map(|f| f.claim),
        None => at_once(requests, target),
    });
    let at_once: Vec<String> = at_once.collect();
    if !at_once.is_empty() {
        answers.push(Answer::new("at once", at_once.join("; ")));
    }
    for other in live::others(requests).into_iter().take(MOST_NAMED) {
        let pairs = live::pairs(requests, other);
        let compared = live::headline(&pairs).into_iter();
        answers.extend(compared.map(|f| Answer::new("compared", f.claim)));
        let difference = live::where_from(&pairs).into_iter();
        answers.extend(difference.map(|f| Answer::new("difference", f.claim)));
    }
    for target in all.iter().take(MOST_NAMED) {
        let temperature = questions::temperature(requests, target).into_iter();
        answers.extend(temperature.map(|f| Answer::new("temperature", with_control(&f))));
        let difficulty = questions::difficulty(requests, target).into_iter();
        answers.extend(difficulty.map(|f| Answer::new("difficulty", with_control(&f))));
    }
    if let [only] = all[..] {
        let limit = limits::finding(view, requests).into_iter();
        let prefix = format!("{}: ", shown_target(only));
        answers.extend(limit.map(|f| {
            let claim = f.claim.strip_prefix(&prefix).unwrap_or(&f.claim);
            Answer::new("limited by", claim)
        }));
    }
    answers.push(Answer::new("how sure", trust::known(requests)));
    answers
}

/// Each load of each target within limits, where several were measured; else the job with the best goodput.
fn limits_of(requests: &RequestsView, all: &[&str], slo: &Slo) -> Vec<Answer> {
    let targets = all.iter().take(MOST_NAMED);
    let loads = targets.flat_map(|target| {
        let loads = goodput::by_load(requests, target, slo).into_iter();
        let prefix = match all.len() {
            1 => String::new(),
            _ => format!("{}: ", shown_target(target)),
        };
        loads
            .take(MOST_LOADS)
            .map(move |said| format!("{prefix}{said}"))
    });
    let mut said: Vec<String> = loads.collect();
    if said.is_empty() {
        said.extend(goodput::finding(requests, slo).map(|f| f.claim));
    }
    said.into_iter()
        .map(|text| Answer::new("limits", text))
        .collect()
}

/// The claim of a comparison, and whether its positive control was seen.
fn with_control(found: &Finding) -> String {
    let control = found.evidence.iter();
    let control = control.filter(|said| said.starts_with("Positive control"));
    let said: Vec<&str> = [found.claim.as_str()]
        .into_iter()
        .chain(control.map(String::as_str))
        .collect();
    said.join(" ")
}

/// The median by class at the only target, else of all requests at each.
fn latency(requests: &RequestsView, all: &[&str]) -> Option<String> {
    let jobs: Vec<&JobView> = all.iter().filter_map(|t| typical(requests, t)).collect();
    let first = &jobs.first()?.figures;
    let medians: Vec<String> = match &jobs[..] {
        [job] if (2..=MOST_NAMED).contains(&job.classes.len()) => job.by_class(),
        jobs => {
            let jobs = jobs.iter().take(MOST_NAMED);
            jobs.filter_map(|j| j.figures.named_median(&j.target))
                .collect()
        }
    };
    let ttft = first.ttft_ns.median.filter(|_| jobs.len() == 1);
    let tpot = first.tpot_ns.median.filter(|_| jobs.len() == 1);
    let ttft = ttft.map(|m| format!(", the first token after {}", duration(m)));
    let tpot = tpot.map(|m| format!(", then one every {}", duration(m)));
    (!medians.is_empty()).then(|| {
        format!(
            "{} (median, {}){}{}",
            medians.join(", "),
            load(&jobs[0].job.load),
            ttft.unwrap_or_default(),
            tpot.unwrap_or_default()
        )
    })
}

fn at_once(requests: &RequestsView, target: &str) -> Option<String> {
    let curve = concurrency::curve(requests, target);
    let (enough, _) = concurrency::knee(&curve)?;
    let first = *curve.first()?;
    let rate = units::significant(enough.tokens_per_s?.value);
    let (name, n) = (shown_target(target), enough.at_once());
    if enough.at_once() == first.at_once() {
        return Some(format!("{name}: {n}, {rate} tokens/s; more gain nothing"));
    }
    let gain = enough.ratio_to(first, |r| r.tokens_per_s)?;
    Some(format!(
        "{name}: {n}, {rate} tokens/s, {} times those of {}",
        units::significant(gain.value),
        first.at_once()
    ))
}
