//! How sure the figures of requests are.

use std::collections::BTreeMap;

use crate::analysis::words::{counted, duration_ns};
use crate::analysis::{Finding, Sure, Widths};
use crate::text::{brief, plural, short};
use crate::view::AnyCell;
use crate::view::requests::{JobView, RequestsView, failed_kind};

/// Sentences about what the figures hide.
const MOST_DOUBTS: usize = 12;

/// Jobs that a sentence names.
const MOST_NAMED: usize = 5;

/// Columns of what became of such a job.
const DETAIL_COLUMNS: usize = 120;

pub(super) fn nothing_measured(requests: &RequestsView) -> Finding {
    let claim = "Undetermined: no request was answered.";
    let finding = Finding::new("How long does a request take?", claim, Sure::Undetermined);
    finding.with(failures(requests))
}

fn widths(requests: &RequestsView) -> Option<Widths> {
    let measured = requests.measured();
    Widths::of(measured.filter_map(|j| j.figures.latency_ns.mean?.interval))
}

/// The mean latency's interval in a few words.
pub(super) fn known(requests: &RequestsView) -> String {
    match widths(requests) {
        Some(widths) => format!("latency {}", widths.in_short("jobs", duration_ns)),
        None => {
            "unknown: an interval needs three processes, or three rounds of a server".to_owned()
        }
    }
}

pub(super) fn finding(requests: &RequestsView) -> Finding {
    let measured: Vec<&JobView> = requests.measured().collect();
    let rounds = measured.iter().map(|j| j.rounds.len()).max().unwrap_or(0);
    let rounds = counted(rounds, "round");
    let rounds = match measured.iter().filter_map(|j| j.n_processes()).max() {
        Some(n) => format!("{rounds} in {}", plural(n, "process", "processes")),
        None => rounds,
    };
    let (claim, sure) = match widths(requests) {
        None => {
            let claim =
                format!("Undetermined: there is no interval from {rounds}; three give one.");
            (claim, Sure::Undetermined)
        }
        Some(widths) => {
            let known = widths.in_words("jobs", duration_ns);
            let claim = format!("The mean latency is {known}, from {rounds}.");
            (claim, widths.sure())
        }
    };
    let mut evidence = failures(requests);
    evidence.extend(short_answers(&measured));
    evidence.extend(doubts(requests));
    let disturbed = measured.iter().filter(|j| j.is_disturbed()).count();
    if disturbed > 0 {
        let of = measured.len();
        evidence.push(format!(
            "The machine was disturbed during {disturbed} of {of} jobs at a target."
        ));
    }
    Finding::new("How sure are the figures of requests?", claim, sure).with(evidence)
}

/// What the figures hide: of the prompts, then of each job that has something to hide.
fn doubts(requests: &RequestsView) -> Vec<String> {
    let of_prompts = requests.warnings.iter().map(|w| format!("Note that {w}."));
    let of_jobs = requests.jobs.iter().flat_map(|j| {
        let place = short(&AnyCell::Requests(j).name());
        j.doubts.iter().map(move |d| format!("{place}: {d}."))
    });
    of_prompts.chain(of_jobs).take(MOST_DOUBTS).collect()
}

/// What was not answered, by how it ended.
fn failures(requests: &RequestsView) -> Vec<String> {
    let (mut sent, mut whole, mut empty) = (0_u64, 0_u64, 0_u64);
    let mut kinds: BTreeMap<&str, (u64, Option<&String>)> = BTreeMap::new();
    for job in &requests.jobs {
        sent += u64::from(job.figures.n_sent);
        whole += u64::from(job.figures.n_whole);
        empty += u64::from(job.figures.n_empty);
        for (kind, n) in &job.figures.failed {
            let (all, such_as) = kinds.entry(kind).or_default();
            *all += u64::from(*n);
            *such_as = such_as.or(job.figures.failed_such_as.get(kind));
        }
    }
    let mut said = vec![format!("Of {sent} requests {whole} have a whole answer.")];
    if empty > 0 {
        said.push(format!("Of the others {empty} have an empty one."));
    }
    if !kinds.is_empty() {
        let kinds = kinds.iter();
        let kinds: Vec<String> = kinds
            .map(|(kind, (n, such_as))| failed_kind(kind, *n, *such_as))
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
        .map(|j| {
            let name = AnyCell::Requests(j).name();
            format!(
                "{} ({})",
                short(&name),
                brief(&j.outcome_detail, DETAIL_COLUMNS)
            )
        })
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
            "{} ended before the length that was asked for, so the work is not equal.",
            plural(n, "answer", "answers")
        )
    })
}
