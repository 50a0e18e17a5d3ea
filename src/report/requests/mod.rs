//! Requests as tables: every job at every target, and the classes of prompts, for terminals and documents; the same
//! for programs in [`row`]; one row a request in [`csv`].

mod compared;
pub(super) mod csv;
pub mod dry_run;
pub(super) mod row;
#[cfg(test)]
mod tests;
pub(super) mod warnings;

use super::cells::warning;
use super::table::{Document, EXTRA, Note, Table, Tone};
use super::view::RunView;
use super::{caption, notes, title};
use crate::analysis::requests::{load, targets, typical};
use crate::request::shown_target;
use crate::request::{Load, StopAt};
use crate::stats::histogram::min_samples_for;
use crate::text::{plural, short};
use crate::units;
use crate::view::Estimate;
use crate::view::requests::{ClassView, JobFigures, JobView, RequestsView};
use warnings::of_counting;

/// Rows of a table; runs of more jobs have all of them in `-o csv` and `-o json`.
const MOST_ROWS: usize = 200;

/// What the words above the columns mean.
const LEGEND: &str = "Latency: from the instant a request was due to its last token. TTFT: to its first one. TPOT: per token \
                      after the first. ITL: between two pieces of an answer. Of jobs TTFT, TPOT and wait are medians over the \
                      answers unless a percentile is named, of classes TTFT is the mean. ±95% is how far the 95% interval of the \
                      figure before it reaches, over processes or rounds. tokens/s and requests/s: of all requests of the job \
                      together. All of whole answers only.";

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
pub fn documents(view: &RunView, requests: &RequestsView, is_alone: bool) -> Vec<Document> {
    let jobs = job_table(requests);
    let mut documents = vec![match is_alone {
        true => Document::new(title::of(view), jobs).all_above(caption::lines(view)),
        false => Document::new("Requests", jobs).above("requests", of_run(view, requests)),
    }];
    if let Some(table) = classes(requests) {
        let document = Document::new("By class of prompt", table);
        documents.push(document.above("by class", by_class(requests)));
    }
    documents.extend(compared::documents(requests));
    let below = below(view, requests, is_alone);
    if let Some(last) = documents.pop() {
        documents.push(last.all_below(below));
    }
    documents
}

/// `8 jobs at 2 targets, 5 processes of 2 rounds`.
pub fn of_run(view: &RunView, requests: &RequestsView) -> String {
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let plan = view.header.requests.as_ref();
    let jobs = plan.map_or(0, |p| count(p.jobs.len()));
    let rounds = plan.map_or((0, 1), |p| (p.rounds, p.replicates));
    let names: Vec<String> = requests
        .targets
        .iter()
        .map(|t| shown_target(&t.name))
        .collect();
    let shown = match names.len() {
        0..=4 => names.join(", "),
        n => plural(count(n), "target", "targets"),
    };
    let planned = rounds.0.saturating_mul(rounds.1);
    let served = requests.jobs.iter().map(|job| count(job.rounds.len()));
    let served = served.max().unwrap_or(0);
    // A comparison, and a precision that is asked for, add rounds to those of the plan.
    let is_own = |name: &String| plan.is_some_and(|p| p.is_in_process(name));
    let has_processes = plan.is_some_and(|p| p.targets.iter().any(is_own));
    let mut of_rounds = rounds_of(rounds, has_processes);
    if served > planned {
        of_rounds += &format!(
            ", then {} until {}",
            plural(served - planned, "round", "rounds"),
            match plan.map(|p| (p.precision, p.most_pairs)) {
                Some((Some(_), None)) => "precise",
                Some((Some(_), Some(_))) => "decided and precise",
                _ => "decided",
            }
        );
    }
    format!("{} at {shown}, {of_rounds}", plural(jobs, "job", "jobs"))
}

/// `3 processes`, `5 processes of 2 rounds`, or `3 rounds` of one. Servers have no processes of this program: theirs are all rounds.
pub fn rounds_of((rounds, replicates): (u32, u32), has_processes: bool) -> String {
    if !has_processes {
        return plural(rounds.saturating_mul(replicates), "round", "rounds");
    }
    let rounds_of_each = plural(rounds, "round", "rounds");
    match (rounds, replicates) {
        (_, 1) => rounds_of_each,
        (1, n) => plural(n, "process", "processes"),
        (_, n) => format!("{} of {rounds_of_each}", plural(n, "process", "processes")),
    }
}

fn below(view: &RunView, requests: &RequestsView, is_alone: bool) -> Vec<Note> {
    let mut texts = warnings::warnings(requests);
    if is_alone {
        texts.extend(notes::run_warnings(view));
    }
    let mut below: Vec<Note> = texts.into_iter().map(warning).collect();
    below.extend(about_missing(requests).map(|text| Note::new("n/a", text)));
    if requests.measured().next().is_some() {
        below.push(Note::new("", legend(requests)).tone(Tone::Quiet));
    }
    if is_alone {
        below.extend(notes::record_and_next(view));
    }
    below
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

/// A value in the unit of its column.
fn in_unit(m: Option<Estimate>, unit: f64) -> Option<String> {
    m.map(|m| units::significant(m.value / unit))
}

/// Nanoseconds of a second.
pub const S: f64 = 1e9;
/// Nanoseconds of a millisecond.
pub const MS: f64 = 1e6;

/// Seconds.
pub fn s(m: Option<Estimate>) -> Option<String> {
    in_unit(m, S)
}

/// Milliseconds.
pub fn ms(m: Option<Estimate>) -> Option<String> {
    in_unit(m, MS)
}

/// A rate.
pub fn rate(m: Option<Estimate>) -> Option<String> {
    in_unit(m, 1.0)
}

/// The interval of a value whose column has this unit.
pub fn plus_minus(m: Option<Estimate>, unit_ns: f64) -> Option<String> {
    let shown = m?
        .interval?
        .plus_minus(|v| units::significant(v / unit_ns))?;
    Some(shown.trim_start_matches('±').to_owned())
}

/// Each job at each target; one without a whole answer has what became of its requests instead.
pub fn job_table(requests: &RequestsView) -> Table {
    let rows = &requests.jobs[..requests.jobs.len().min(MOST_ROWS)];
    let has_queue = requests.jobs.iter().any(|j| j.figures.wait_ns.n > 0);
    let unmeasured = |j: &JobView| {
        let tone = match j.outcome.is_failure() {
            true => Tone::Failure,
            false => Tone::Caution,
        };
        (j.outcome_detail.clone(), tone)
    };
    Table::of(rows)
        .words("job", |j| short(&j.job.name))
        .words("target", |j| shown_target(&j.target))
        .only_if(rows.iter().any(|j| j.target != rows[0].target))
        .texts(|j| (!j.is_measured()).then(|| unmeasured(j)))
        .numbers("load", |j| short_load(&j.job.load))
        .rank(5)
        .numbers("answers", answers)
        .rank(1)
        .numbers("mean s", |j| s(j.figures.latency_ns.mean))
        .rank(3)
        .numbers("median s", |j| s(j.figures.latency_ns.median))
        .numbers("±95%", |j| plus_minus(j.figures.latency_ns.median, S))
        .rank(4)
        .numbers("p95 s", |j| s(j.figures.latency_ns.p95))
        .rank(2)
        .numbers("p99 s", |j| s(j.figures.latency_ns.p99))
        .rank(6)
        .numbers("TTFT ms", |j| ms(j.figures.ttft_ns.median))
        .rank(1)
        .numbers("TTFT p95 ms", |j| ms(j.figures.ttft_ns.p95))
        .rank(5)
        .numbers("visible TTFT ms", |j| ms(j.figures.ttft_visible_ns.median))
        .rank(1)
        .only_if(requests.any_reasoned())
        .numbers("TPOT ms", |j| ms(j.figures.tpot_ns.median))
        .rank(2)
        .numbers("ITL p99 ms", |j| ms(j.figures.gap_ns.p99))
        .rank(8)
        .numbers("wait ms", |j| ms(j.figures.wait_ns.median))
        .rank(7)
        .only_if(has_queue)
        .numbers("tokens/s", |j| rate(j.tokens_per_s))
        .numbers("±95%", |j| plus_minus(j.tokens_per_s, 1.0))
        .rank(4)
        .numbers("requests/s", |j| rate(j.requests_per_s))
        .rank(3)
        .numbers("tokens in all", |j| {
            j.figures.n_generated.map(|n| n.to_string())
        })
        .rank(EXTRA)
        .table()
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

fn classes(requests: &RequestsView) -> Option<Table> {
    let jobs = with_classes(requests);
    let of_all = jobs
        .iter()
        .flat_map(|j| j.classes.iter().map(|c| (j.target.as_str(), c)));
    let rows: Vec<(&str, &ClassView)> = of_all.take(MOST_ROWS).collect();
    let table = Table::of(&rows)
        .words("class", |(_, c)| short(&c.class))
        .words("target", |(target, _)| shown_target(target))
        .only_if(jobs.len() > 1)
        .numbers("answers", |(_, c)| c.figures.n_whole)
        .rank(2)
        .numbers("mean s", |(_, c)| s(c.figures.latency_ns.mean))
        .numbers("median s", |(_, c)| s(c.figures.latency_ns.median))
        .numbers("p95 s", |(_, c)| s(c.figures.latency_ns.p95))
        .rank(1)
        .numbers("p99 s", |(_, c)| s(c.figures.latency_ns.p99))
        .rank(1)
        .numbers("TPS mean", |(_, c)| rate(c.figures.tokens_per_s))
        .numbers("TTFT ms", |(_, c)| ms(c.figures.ttft_ns.mean))
        .numbers("tokens", |(_, c)| {
            c.figures.n_generated.map(|n| n.to_string())
        })
        .rank(2);
    (!rows.is_empty()).then(|| table.table())
}
