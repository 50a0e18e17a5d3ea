//! The answers of a run of requests in a line or two each.

use super::{concurrency, duration, goodput, limits, load, targets, trust, typical};
use crate::analysis::Answer;
use crate::analysis::capacity::Slo;
use crate::analysis::live;
use crate::text::short;
use crate::units;
use crate::view::RunView;
use crate::view::requests::{Figures, JobView, RequestsView};

/// Classes, or targets, that a line names.
const MOST_NAMED: usize = 4;

/// What [`lead`](super::lead) says at length: how long a request takes, how many at once, how the targets compare or
/// what limits the only one, how sure.
pub fn brief(view: &RunView, requests: &RequestsView, slo: Option<&Slo>) -> Vec<Answer> {
    let all = targets(requests);
    if all.is_empty() {
        return vec![Answer::new("result", "no request was answered")];
    }
    let mut answers = Vec::new();
    let within = slo.and_then(|slo| goodput::finding(requests, slo));
    answers.extend(within.map(|f| Answer::new("limits", f.claim)));
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
        let said = live::headline(&pairs).into_iter();
        answers.extend(said.map(|f| Answer::new("compared", f.claim)));
        let said = live::where_from(&pairs).into_iter();
        answers.extend(said.map(|f| Answer::new("difference", f.claim)));
    }
    if all.len() == 1 {
        let said = limits::finding(view, requests).into_iter();
        answers.extend(said.map(|f| Answer::new("limited by", without_target(&f.claim, all[0]))));
    }
    answers.push(Answer::new("how sure", trust::known(requests)));
    answers
}

fn without_target(claim: &str, target: &str) -> String {
    let prefix = format!("{}: ", short(target));
    claim.strip_prefix(&prefix).unwrap_or(claim).to_owned()
}

/// The median by class at the only target, else of all requests at each.
fn latency(requests: &RequestsView, all: &[&str]) -> Option<String> {
    let median = |f: &Figures| Some(duration(f.latency_ns.median?));
    let jobs: Vec<&JobView> = all.iter().filter_map(|t| typical(requests, t)).collect();
    let first = jobs.first()?;
    let said: Vec<String> = match &jobs[..] {
        [job] if (2..=MOST_NAMED).contains(&job.classes.len()) => {
            let classes = job.classes.iter();
            classes
                .filter_map(|c| Some(format!("{} {}", short(&c.class), median(&c.figures)?)))
                .collect()
        }
        jobs => jobs
            .iter()
            .take(MOST_NAMED)
            .filter_map(|j| Some(format!("{} {}", short(&j.target), median(&j.figures)?)))
            .collect(),
    };
    let per_token = |of: fn(&Figures) -> Option<String>| of(&first.figures).unwrap_or_default();
    let inner = match jobs.len() {
        1 => {
            per_token(|f| {
                Some(format!(
                    ", the first token after {}",
                    duration(f.ttft_ns.median?)
                ))
            }) + &per_token(|f| Some(format!(", then one every {}", duration(f.tpot_ns.median?))))
        }
        _ => String::new(),
    };
    (!said.is_empty()).then(|| {
        format!(
            "{} (median, {}){inner}",
            said.join(", "),
            load(&first.job.load)
        )
    })
}

fn at_once(requests: &RequestsView, target: &str) -> Option<String> {
    let curve = concurrency::curve(requests, target);
    let (enough, _) = concurrency::knee(&curve)?;
    let first = *curve.first()?;
    let rate = units::significant(enough.tokens_per_s?.value);
    let (name, n) = (short(target), enough.at_once());
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
