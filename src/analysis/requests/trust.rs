//! How sure the figures of requests are.

use crate::analysis::{Finding, Sure};
use crate::text::{plural, short};
use crate::units;
use crate::view::requests::{JobView, Measured, RequestsView};

/// Half-widths of intervals up to this let differences be seen that matter.
const NARROW: f64 = 0.05;

/// Sentences about what the figures hide.
const MOST_DOUBTS: usize = 12;

/// Jobs that a sentence names.
const MOST_NAMED: usize = 5;

pub(super) fn nothing_measured(requests: &RequestsView) -> Finding {
    Finding {
        question: "How long does a request take?",
        claim: "Undetermined: no request was answered.".to_owned(),
        evidence: failures(requests),
        sure: Sure::Undetermined,
        see: Vec::new(),
    }
}

pub(super) fn finding(requests: &RequestsView) -> Finding {
    let measured: Vec<&JobView> = requests.measured().collect();
    let width = |m: Option<Measured>| m?.interval?.relative_half_width();
    let mut widths: Vec<f64> = measured
        .iter()
        .filter_map(|j| width(j.figures.latency_ns.mean))
        .collect();
    widths.sort_unstable_by(f64::total_cmp);
    let rounds = measured.iter().map(|j| j.rounds.len()).max().unwrap_or(0);
    let rounds = plural(u32::try_from(rounds).unwrap_or(u32::MAX), "round", "rounds");
    let (claim, sure) = match widths[..] {
        [] => (
            format!("Undetermined: there is no interval from {rounds}; three give one."),
            Sure::Undetermined,
        ),
        [least, ..] => {
            let (middle, widest) = (widths[widths.len() / 2], widths[widths.len() - 1]);
            let percent = |share: f64| match share > 10.0 {
                true => "more than 1000%".to_owned(),
                false => format!("{}%", units::significant(share * 100.0)),
            };
            let sure = match middle {
                w if w <= NARROW => Sure::Shown,
                w if w <= 4.0 * NARROW => Sure::Likely,
                _ => Sure::Undetermined,
            };
            (
                format!(
                    "The mean latency is known to {} or better in half of the jobs (best {}, worst {}), from {rounds}.",
                    percent(middle),
                    percent(least),
                    percent(widest)
                ),
                sure,
            )
        }
    };
    let mut evidence = failures(requests);
    evidence.extend(short_answers(&measured));
    evidence.extend(doubts(requests));
    let disturbed = measured.iter().filter(|j| !j.warnings.is_empty()).count();
    if disturbed > 0 {
        evidence.push(format!(
            "The machine was disturbed during {disturbed} of {} jobs at a target.",
            measured.len()
        ));
    }
    Finding {
        question: "How sure are the figures of requests?",
        claim,
        evidence,
        sure,
        see: Vec::new(),
    }
}

/// What the figures hide: of the prompts, then of each job that has something to hide.
fn doubts(requests: &RequestsView) -> Vec<String> {
    let of_prompts = requests.warnings.iter().map(|w| format!("Note that {w}."));
    let of_jobs = requests.jobs.iter().flat_map(|j| {
        let place = format!("{} at {}", short(&j.job.name), short(&j.target));
        j.doubts.iter().map(move |d| format!("{place}: {d}."))
    });
    of_prompts.chain(of_jobs).take(MOST_DOUBTS).collect()
}

/// What was not answered, by how it ended.
fn failures(requests: &RequestsView) -> Vec<String> {
    let (mut sent, mut whole, mut empty) = (0_u64, 0_u64, 0_u64);
    let mut kinds: std::collections::BTreeMap<&str, u64> = std::collections::BTreeMap::new();
    for job in &requests.jobs {
        sent += u64::from(job.figures.n_sent);
        whole += u64::from(job.figures.n_whole);
        empty += u64::from(job.figures.n_empty);
        for (kind, n) in &job.figures.failed {
            *kinds.entry(kind).or_default() += u64::from(*n);
        }
    }
    let mut said = vec![format!("Of {sent} requests {whole} have a whole answer.")];
    if empty > 0 {
        said.push(format!("Of the others {empty} have an empty one."));
    }
    if !kinds.is_empty() {
        let kinds = kinds.iter();
        let kinds: Vec<String> = kinds
            .map(|(k, n)| format!("{n} {}", k.replace('_', " ")))
            .collect();
        said.push(format!("The others: {}.", kinds.join(", ")));
    }
    let rounds: usize = requests.jobs.iter().map(|j| j.unserved.len()).sum();
    if rounds > 0 {
        said.push(format!("Not served at all: {rounds} rounds of jobs."));
    }
    let lost: Vec<String> = requests
        .jobs
        .iter()
        .filter(|j| !j.is_measured())
        .map(|j| format!("{} at {}", short(&j.job.name), short(&j.target)))
        .collect();
    if !lost.is_empty() {
        let named: Vec<&str> = lost.iter().take(MOST_NAMED).map(String::as_str).collect();
        let more = match lost.len() - named.len() {
            0 => String::new(),
            n => format!(" and {n} more"),
        };
        said.push(format!("Without any answer: {}{more}.", named.join(", ")));
    }
    said
}

fn short_answers(measured: &[&JobView]) -> Option<String> {
    let n: u32 = measured.iter().map(|j| j.figures.n_short).sum();
    (n > 0).then(|| {
        format!(
            "{} ended before the length that was asked for, so they are no equal work.",
            plural(n, "answer", "answers")
        )
    })
}
