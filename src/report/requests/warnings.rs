//! What makes the figures of requests deserve less trust, or tells what is not in them.

use crate::analysis::live;
use crate::request::CountCaveat;
use crate::request::shown_target;
use crate::text::{plain, plural, short};
use crate::view::CellWarning;
use crate::view::requests::{JobView, RequestsView};

/// What makes the figures deserve less trust, or tells what is not in them.
pub fn warnings(requests: &RequestsView) -> Vec<String> {
    let mut said: Vec<String> = requests.warnings.iter().map(ToString::to_string).collect();
    for target in &requests.targets {
        if let (None, Some(reason)) = (target.facts(), &target.reason) {
            said.push(format!("{}: {}", shown_target(&target.name), short(reason)));
        }
        for note in target.facts().iter().flat_map(|facts| &facts.notes) {
            said.push(format!("{}: {}", shown_target(&target.name), plain(note)));
        }
    }
    said.extend(of_jobs(requests).iter().map(ToString::to_string));
    for job in &requests.jobs {
        let place = format!("{} at {}", short(&job.job.name), shown_target(&job.target));
        if let Some(failures) = job.figures.failures() {
            said.push(format!("{place}: {failures}"));
        }
        said.extend(job.doubts.iter().map(|d| format!("{place}: {d}")));
        for (round, reason) in &job.unserved {
            let reason = short(reason);
            said.push(format!(
                "{place}: not served in round {}: {reason}",
                round.saturating_add(1)
            ));
        }
        if job.figures.n_short > 0 {
            said.push(format!(
                "{place}: {} shorter than asked for",
                plural(job.figures.n_short, "answer is", "answers are")
            ));
        }
        let of_counting = of_counting(job).into_iter();
        said.extend(of_counting.map(|text| format!("{place}: {text}")));
    }
    let others = live::others(requests).into_iter();
    said.extend(others.filter_map(|other| unequal_work(requests, other)));
    if requests.n_strays > 0 {
        said.push(format!(
            "{} of jobs or targets that the plan does not have: left out",
            plural(requests.n_strays, "line is", "lines are")
        ));
    }
    let n = said.len();
    if n > MOST_WARNINGS {
        said.truncate(MOST_WARNINGS);
        said.push(format!(
            "{} more like these; -o json has all",
            n - MOST_WARNINGS
        ));
    }
    said
}

const MOST_WARNINGS: usize = 12;

/// The warnings that jobs have as cells have them, each once with the rounds of all jobs that have it.
fn of_jobs(requests: &RequestsView) -> Vec<CellWarning> {
    let mut all: Vec<CellWarning> = Vec::new();
    for warning in requests.jobs.iter().flat_map(|job| &job.warnings) {
        if !all.iter_mut().any(|known| known.absorb(warning)) {
            all.push(warning.clone());
        }
    }
    all
}

/// What the counts of tokens leave in doubt, and answers that have no visible part.
pub(super) fn of_counting(job: &JobView) -> Vec<String> {
    let c = &job.figures.counting;
    let answers = |n: u32| plural(n, "answer", "answers");
    let mut said = Vec::new();
    if c.n_reasoning_only > 0 {
        said.push(format!(
            "{} reasoning only: no visible text within {} tokens; raise --n-gen",
            plural(c.n_reasoning_only, "answer is", "answers are"),
            job.job.case.n_gen
        ));
    }
    match &c.left_out {
        Some(CountCaveat::TooMany { counted, asked }) => said.push(format!(
            "the server's count of tokens is left out of {}: it says {counted} where {asked} were asked for",
            answers(c.n_left_out)
        )),
        Some(CountCaveat::NotACount { said: count }) => said.push(format!(
            "the server's count of tokens is left out of {}: it says {}, which is not a count",
            answers(c.n_left_out),
            short(count)
        )),
        _ => {}
    }
    if c.n_visible_only > 0 {
        said.push(format!(
            "the server counts only the visible tokens of {}: tokens/s lack the reasoning, TPOT is of the visible part",
            answers(c.n_visible_only)
        ));
    }
    if c.n_hidden > 0 {
        said.push(format!(
            "the server counts reasoning that it does not send in {}: TPOT leaves these tokens out",
            answers(c.n_hidden)
        ));
    }
    if let Some((n_tokens, n_pieces)) = c.at_once {
        let pieces = plural(n_pieces, "piece", "pieces");
        let such = match n_tokens {
            Some(n) => format!("{} in {pieces}", plural(n, "token", "tokens")),
            None => pieces,
        };
        said.push(format!(
            "{} came in one go, such as {such}: the server, or a proxy before it, does not stream, so TTFT, TPOT and ITL \
             are n/a",
            answers(c.n_at_once)
        ));
    }
    if let Some((n_tokens, n_pieces)) = c.unlike {
        said.push(format!(
            "tokens and pieces differ in {}, such as {n_tokens} tokens in {}: ITL is of pieces; where the server counts \
             tokens that it does not send, TPOT is too small",
            answers(c.n_unlike),
            plural(n_pieces, "piece", "pieces")
        ));
    }
    said
}

/// Jobs in which a target did other work than the one that it is held against, and why in the first of them.
fn unequal_work(requests: &RequestsView, other: &str) -> Option<String> {
    let pairs = live::pairs(requests, other);
    let unlike: Vec<(String, Vec<String>)> = pairs
        .iter()
        .map(|pair| (short(&pair.other.job.name), live::unlike(pair)))
        .filter(|(_, why)| !why.is_empty())
        .collect();
    let (_, why) = unlike.first()?;
    let jobs: Vec<&str> = unlike.iter().map(|(job, _)| job.as_str()).collect();
    Some(format!(
        "{} and {} did not do equal work in {}, so their times do not compare: {}",
        shown_target(other),
        shown_target(&pairs.first()?.base.target),
        jobs.join(", "),
        why.join("; ")
    ))
}
