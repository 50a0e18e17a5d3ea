//! Requests as tables: every job at every target, and the classes of prompts, for terminals and documents; the same
//! for programs in [`row`]; one row a request in [`csv`].

mod compared;
pub(super) mod csv;
pub(super) mod row;
#[cfg(test)]
mod tests;

use super::sheet::{Column, Sheet};
use super::view::RunView;
use super::{caption, notes};
use crate::analysis::live;
use crate::analysis::requests::{load, targets, typical};
use crate::request::{CountCaveat, Ending, Load, StopAt};
use crate::stats::histogram::min_samples_for;
use crate::text::{plain, plural, short};
use crate::units;
use crate::view::CellWarning;
use crate::view::Estimate;
use crate::view::requests::{JobFigures, JobView, RequestsView, Times, failed_kind};

/// Rows of a table; runs of more jobs have all of them in `-o csv` and `-o json`.
const MOST_ROWS: usize = 200;

/// What the words above the columns mean.
const LEGEND: &str = "Latency: from the instant a request was due to its last token. TTFT: to its first one. TPOT: per token after \
                          the first. ITL: between two pieces of an answer. ±95%: the interval of the figure before it, over processes or rounds. \
                          tokens/s and requests/s: of all requests of the job together. All of whole answers only.";

/// What the words above the columns of this run mean.
pub fn legend(requests: &RequestsView) -> String {
    match requests.any_reasoned() {
        true => format!(
            "{LEGEND} Reasoning is a part of an answer: TTFT is to its first token, visible TTFT to the first one of \
             the visible answer."
        ),
        false => LEGEND.to_owned(),
    }
}

/// The tables of a run's requests: jobs, then classes where there are several. The first says what the run is, unless
/// a table of cells has said it.
pub fn sheets(view: &RunView, requests: &RequestsView, is_alone: bool) -> Vec<Sheet> {
    let above = match is_alone {
        true => caption::lines(view),
        false => vec![("requests", of_run(view, requests))],
    };
    let labelled = |lines: Vec<(&'static str, String)>| {
        let lines = lines.into_iter();
        lines
            .map(|(label, text)| (label.to_owned(), text))
            .collect()
    };
    let mut sheets = vec![Sheet {
        title: match is_alone {
            true => view.header.plan.name.clone(),
            false => "Requests".to_owned(),
        },
        above: labelled(above),
        columns: jobs(requests),
        below: Vec::new(),
    }];
    let classes = classes(requests);
    if let Some(columns) = classes {
        sheets.push(Sheet {
            title: "By class of prompt".to_owned(),
            above: labelled(vec![("by class", by_class(requests))]),
            columns,
            below: Vec::new(),
        });
    }
    sheets.extend(compared::sheets(requests));
    if let Some(last) = sheets.last_mut() {
        last.below.extend(below(view, requests, is_alone));
    }
    sheets
}

/// `8 jobs at 2 targets, 5 processes of 2 rounds`.
pub fn of_run(view: &RunView, requests: &RequestsView) -> String {
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let plan = view.header.requests.as_ref();
    let jobs = plan.map_or(0, |p| count(p.jobs.len()));
    let rounds = plan.map_or((0, 1), |p| (p.rounds, p.replicates));
    let names: Vec<String> = requests.targets.iter().map(|t| short(&t.name)).collect();
    let shown = match names.len() {
        0..=4 => names.join(", "),
        n => plural(count(n), "target", "targets"),
    };
    format!(
        "{} at {shown}, {}",
        plural(jobs, "job", "jobs"),
        rounds_of(rounds)
    )
}

/// `3 processes`, `5 processes of 2 rounds`, or `3 rounds` of one.
pub fn rounds_of((rounds, replicates): (u32, u32)) -> String {
    let rounds_of_each = plural(rounds, "round", "rounds");
    match (rounds, replicates) {
        (_, 1) => rounds_of_each,
        (1, n) => plural(n, "process", "processes"),
        (_, n) => format!("{} of {rounds_of_each}", plural(n, "process", "processes")),
    }
}

fn below(view: &RunView, requests: &RequestsView, is_alone: bool) -> Vec<(String, String)> {
    let mut below: Vec<(String, String)> = Vec::new();
    let mut say = |label: &str, text: String| below.push((label.to_owned(), text));
    for text in warnings(requests) {
        say("warning", text);
    }
    if is_alone {
        for text in notes::run_warnings(view) {
            say("warning", text);
        }
    }
    if let Some(text) = about_missing(requests) {
        say("n/a", text);
    }
    if requests.measured().next().is_some() {
        say("", legend(requests));
    }
    if is_alone {
        say("record", view.record.display().to_string());
        for (what, command) in notes::next_steps(view) {
            say("next", format!("{what} {}", command.unwrap_or_default()));
        }
    }
    below
}

/// What makes the figures deserve less trust, or tells what is not in them.
pub fn warnings(requests: &RequestsView) -> Vec<String> {
    let mut said: Vec<String> = requests.warnings.iter().map(ToString::to_string).collect();
    for target in &requests.targets {
        if let (None, Some(reason)) = (target.facts(), &target.reason) {
            said.push(format!("{}: {}", short(&target.name), short(reason)));
        }
        for note in target.facts().iter().flat_map(|facts| &facts.notes) {
            said.push(format!("{}: {}", short(&target.name), plain(note)));
        }
    }
    if requests.measured().any(|job| job.n_processes() == Some(1)) {
        said.push(CellWarning::OneProcess.to_string());
    }
    for job in &requests.jobs {
        let place = format!("{} at {}", short(&job.job.name), short(&job.target));
        if let Some(failures) = failures(&job.figures) {
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
        for warning in &job.warnings {
            said.push(format!("{place}: {warning}"));
        }
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

/// What the counts of tokens leave in doubt, and answers that have no visible part.
fn of_counting(job: &JobView) -> Vec<String> {
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
            "the server's count of tokens is left out of {}: it says {}, which is no count",
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
        short(other),
        short(&pairs.first()?.base.target),
        jobs.join(", "),
        why.join("; ")
    ))
}

/// `2 of 8 failed: 1 http error (HTTP 500: out of memory), 1 truncated`; nothing where none did. What was never sent did
/// not fail.
pub fn failures(figures: &JobFigures) -> Option<String> {
    let not_sent = Ending::NotSent.word();
    let failed = || figures.failed.iter().filter(|(how, _)| **how != not_sent);
    let kinds: Vec<String> = failed()
        .map(|(kind, n)| failed_kind(kind, u64::from(*n), figures.failed_such_as.get(kind)))
        .collect();
    let n: u32 = failed().map(|(_, n)| n).sum();
    (n > 0).then(|| format!("{n} of {} failed: {}", figures.n_sent, kinds.join(", ")))
}

fn about_missing(requests: &RequestsView) -> Option<String> {
    let lacks = |of: fn(&JobFigures) -> bool| requests.measured().any(|j| of(&j.figures));
    let mut said = Vec::new();
    if lacks(|f| f.latency_ns.p95.is_none() || f.latency_ns.p99.is_none()) {
        said.push(format!(
            "p95 needs {} answers and p99 {}",
            min_samples_for(0.95).unwrap_or_default(),
            min_samples_for(0.99).unwrap_or_default()
        ));
    }
    if lacks(|f| f.latency_ns.mean.is_some_and(|m| m.interval.is_none())) {
        said.push("an interval needs three processes, or three rounds of a server".to_owned());
    }
    if lacks(|f| f.n_generated.is_none()) {
        said.push("a target that does not count tokens has no TPOT and no tokens/s".to_owned());
    }
    (!said.is_empty()).then(|| said.join("; "))
}

/// A time in the unit of its column.
fn in_unit(m: Option<Estimate>, unit_ns: f64) -> String {
    m.map_or("n/a".to_owned(), |m| units::significant(m.value / unit_ns))
}

/// Nanoseconds of a second, and of a millisecond.
pub const S: f64 = 1e9;
/// See [`S`].
pub const MS: f64 = 1e6;

/// Seconds.
pub fn s(m: Option<Estimate>) -> String {
    in_unit(m, S)
}

/// Milliseconds.
pub fn ms(m: Option<Estimate>) -> String {
    in_unit(m, MS)
}

/// A rate.
pub fn rate(m: Option<Estimate>) -> String {
    in_unit(m, 1.0)
}

/// The interval of a value whose column has this unit.
pub fn plus_minus(m: Option<Estimate>, unit_ns: f64) -> String {
    let show = |v: f64| units::significant(v / unit_ns);
    let shown = m.and_then(|m| m.interval?.plus_minus(show));
    shown.map_or("n/a".to_owned(), |s| s.trim_start_matches('±').to_owned())
}

fn jobs(requests: &RequestsView) -> Vec<Column> {
    let rows: Vec<&JobView> = requests.jobs.iter().take(MOST_ROWS).collect();
    let words = |head, rank, of: &dyn Fn(&JobView) -> String| {
        Column::words(head, rank, rows.iter().map(|j| of(j)))
    };
    let numbers = |head, rank, of: &dyn Fn(&JobView) -> String| {
        Column::numbers(head, rank, rows.iter().map(|j| of(j)))
    };
    let of_latency =
        |of: fn(&Times) -> Option<Estimate>| move |j: &JobView| of(&j.figures.latency_ns);
    let (mean, median) = (of_latency(|t| t.mean), of_latency(|t| t.median));
    let (p95, p99) = (of_latency(|t| t.p95), of_latency(|t| t.p99));
    let several = requests.targets.len() > 1;
    let queues = requests.jobs.iter().any(|j| j.figures.wait_ns.n > 0);
    let mut columns = vec![words("job", 0, &|j| short(&j.job.name))];
    if several {
        columns.push(words("target", 0, &|j| short(&j.target)));
    }
    columns.extend([
        numbers("load", 5, &|j| short_load(&j.job.load)),
        numbers("answers", 1, &answers),
        numbers("mean s", 3, &|j| s(mean(j))),
        numbers("median s", 0, &|j| s(median(j))),
        numbers("±95%", 4, &|j| plus_minus(median(j), S)),
        numbers("p95 s", 2, &|j| s(p95(j))),
        numbers("p99 s", 6, &|j| s(p99(j))),
        numbers("TTFT ms", 1, &|j| ms(j.figures.ttft_ns.median)),
    ]);
    if requests.any_reasoned() {
        let visible = &|j: &JobView| ms(j.figures.ttft_visible_ns.median);
        columns.push(numbers("visible TTFT ms", 1, visible));
    }
    columns.extend([
        numbers("TPOT ms", 2, &|j| ms(j.figures.tpot_ns.median)),
        numbers("ITL p99 ms", 8, &|j| ms(j.figures.gap_ns.p99)),
    ]);
    if queues {
        columns.push(numbers("wait ms", 7, &|j| ms(j.figures.wait_ns.median)));
    }
    columns.extend([
        numbers("tokens/s", 0, &|j| rate(j.tokens_per_s)),
        numbers("±95%", 4, &|j| plus_minus(j.tokens_per_s, 1.0)),
        numbers("requests/s", 3, &|j| rate(j.requests_per_s)),
    ]);
    columns
}

/// `8` of a closed loop, `2.00/s` of an open one.
fn short_load(load: &Load) -> String {
    match load {
        Load::Closed { concurrency } => concurrency.to_string(),
        Load::Open { rate_per_s, .. } => format!("{}/s", units::significant(*rate_per_s)),
    }
}

/// `24`, or `22 of 24` where some are not whole; `none` where nothing was sent.
pub fn answers(job: &JobView) -> String {
    let f = &job.figures;
    match (f.n_sent, f.n_whole) {
        (0, _) => "none".to_owned(),
        (sent, whole) if sent == whole => whole.to_string(),
        (sent, whole) => format!("{whole} of {sent}"),
    }
}

/// The jobs whose classes are told apart: the typical one of each target, where it has more than one class.
pub fn with_classes(requests: &RequestsView) -> Vec<&JobView> {
    let jobs = targets(requests)
        .into_iter()
        .filter_map(|t| typical(requests, t));
    jobs.filter(|j| j.classes.len() > 1).collect()
}

fn by_class(requests: &RequestsView) -> String {
    let jobs = with_classes(requests);
    let Some(first) = jobs.first() else {
        return String::new();
    };
    let ends = match first.job.stop_at {
        StopAt::Length => format!("answers of exactly {} tokens", first.job.case.n_gen),
        StopAt::EndOfText => format!(
            "answers as long as the model makes them, at most {} tokens",
            first.job.case.n_gen
        ),
    };
    format!(
        "{}, {}, {ends}",
        short(&first.job.name),
        load(&first.job.load)
    )
}

fn classes(requests: &RequestsView) -> Option<Vec<Column>> {
    let jobs = with_classes(requests);
    let rows: Vec<(&JobView, &str, &JobFigures)> = jobs
        .iter()
        .flat_map(|j| j.classes.iter().map(|c| (*j, c.class.as_str(), &c.figures)))
        .take(MOST_ROWS)
        .collect();
    if rows.is_empty() {
        return None;
    }
    let numbers = |head, rank, of: &dyn Fn(&JobFigures) -> String| {
        Column::numbers(head, rank, rows.iter().map(|(_, _, f)| of(f)))
    };
    let tokens = |n: Option<u64>| n.map_or("n/a".to_owned(), |n| n.to_string());
    let mut columns = vec![Column::words(
        "class",
        0,
        rows.iter().map(|(_, class, _)| short(class)),
    )];
    if jobs.len() > 1 {
        let targets = rows.iter().map(|(job, _, _)| short(&job.target));
        columns.push(Column::words("target", 0, targets));
    }
    columns.extend([
        numbers("answers", 2, &|f| f.n_whole.to_string()),
        numbers("mean s", 0, &|f| s(f.latency_ns.mean)),
        numbers("median s", 0, &|f| s(f.latency_ns.median)),
        numbers("p95 s", 1, &|f| s(f.latency_ns.p95)),
        numbers("p99 s", 1, &|f| s(f.latency_ns.p99)),
        numbers("TPS mean", 0, &|f| rate(f.tokens_per_s)),
        numbers("TTFT ms", 0, &|f| ms(f.ttft_ns.mean)),
        numbers("tokens", 2, &|f| tokens(f.n_generated)),
    ]);
    Some(columns)
}
