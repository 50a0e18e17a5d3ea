//! The report's sections on requests: by class, the experiments, what they take, targets beside each other, answers.

mod experiments;
mod takes;

use super::{Block, Grid, or_na};
use crate::analysis::live;
use crate::analysis::requests::{load, questions, targets};
use crate::plot::requests as plots;
use crate::report::requests::{
    answers as n_answers, failures, ms, rate, s, warnings, with_classes,
};
use crate::request::Experiment;
use crate::request::TargetFacts;
use crate::stats::histogram::min_samples_for;
use crate::text::{cut_end, plain, plural, short};
use crate::units;
use crate::view::requests::{Figures, JobView, RequestsView};

pub(super) use experiments::blocks as experiments;
pub(super) use takes::{bottleneck, opportunities, resources};

/// Columns of a prompt that are quoted.
const QUOTED: usize = 140;
/// Rows of a table; more are in requests.csv and `-o json`.
const MOST_ROWS: usize = 100;
/// Answers that are shown of a target.
const MOST_ANSWERS: usize = 6;

/// The command that measures what a run of requests lacks.
fn missing(what: &str) -> Block {
    Block::Missing(
        what.to_owned(),
        "ggufbench sweep sweeps/day1.toml".to_owned(),
    )
}

/// The beginning of a prompt, of at most so many columns.
fn beginning(text: &str, columns: usize) -> String {
    // Only what can be shown is made fit: prompts may be long.
    let head: String = text.chars().take(4 * columns).collect();
    let words: Vec<String> = plain(&head).split_whitespace().map(str::to_owned).collect();
    cut_end(&words.join(" "), columns)
}

/// Requests by class of prompt, as the one who waits feels them.
pub(super) fn by_class(requests: &RequestsView) -> Vec<Block> {
    let mut blocks = Vec::new();
    let jobs = with_classes(requests);
    for job in &jobs {
        if jobs.len() > 1 {
            blocks.push(Block::Heading(format!("At {}", short(&job.target))));
        }
        blocks.push(Block::Text(format!(
            "{}, {}. Latency is from the instant a request was due to its last token; TPS are its generated tokens over \
             that. p95 needs {} answers, p99 {}.",
            short(&job.job.name),
            load(&job.job.load),
            min_samples_for(0.95).unwrap_or_default(),
            min_samples_for(0.99).unwrap_or_default(),
        )));
        blocks.push(Block::Table(class_table(job)));
    }
    if let Some(first) = jobs.first() {
        blocks.push(Block::List(first_prompts(first)));
    } else {
        blocks.push(missing(
            "Requests were not told apart by classes of prompts.",
        ));
    }
    blocks.extend(Block::figures([plots::ttft_by_class(requests)]));
    blocks.push(Block::Heading("Every job".to_owned()));
    blocks.push(Block::Table(every_job(requests)));
    blocks.push(Block::List(vec![
        crate::report::requests::LEGEND.to_owned(),
    ]));
    blocks
}

/// A column a class.
fn class_table(job: &JobView) -> Grid {
    let names: Vec<String> = job.classes.iter().map(|c| short(&c.class)).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut grid = Grid::of(&["metric"], &names);
    let tokens = |n: Option<u64>| or_na(n.map(|n| n.to_string()));
    let rows: [(&str, &dyn Fn(&Figures) -> String); 12] = [
        ("answers", &|f| f.n_whole.to_string()),
        ("mean latency, s", &|f| s(f.latency_ns.mean)),
        ("median latency, s", &|f| s(f.latency_ns.median)),
        ("p95 latency, s", &|f| s(f.latency_ns.p95)),
        ("p99 latency, s", &|f| s(f.latency_ns.p99)),
        ("mean TPS, tokens/s", &|f| rate(f.tokens_per_s)),
        ("mean TTFT, s", &|f| s(f.ttft_ns.mean)),
        ("mean TPOT, ms", &|f| ms(f.tpot_ns.mean)),
        ("p99 ITL, ms", &|f| ms(f.gap_ns.p99)),
        ("TTFT's share of latency", &|f| {
            or_na(f.ttft_share.map(units::percent))
        }),
        ("prompt tokens in all", &|f| tokens(f.n_prompt)),
        ("generated tokens in all", &|f| tokens(f.n_generated)),
    ];
    for (name, of) in rows {
        let mut row = vec![name.to_owned()];
        row.extend(job.classes.iter().map(|c| of(&c.figures)));
        grid.rows.push(row);
    }
    grid
}

/// The first prompt of each class, quoted.
fn first_prompts(job: &JobView) -> Vec<String> {
    let classes = job.classes.iter().take(MOST_ROWS);
    classes
        .filter_map(|c| {
            let own = || job.job.prompts.iter().filter(|p| p.class == c.class);
            let first = own().next()?;
            let n = plural(
                u32::try_from(own().count()).unwrap_or(u32::MAX),
                "prompt",
                "prompts",
            );
            Some(format!(
                "{} ({n}): \u{201c}{}\u{201d}",
                short(&c.class),
                beginning(&first.text, QUOTED)
            ))
        })
        .collect()
}

fn every_job(requests: &RequestsView) -> Grid {
    let several = requests.targets.len() > 1;
    let words: &[&str] = if several {
        &["job", "target", "load"]
    } else {
        &["job", "load"]
    };
    let numbers = [
        "answers",
        "mean s",
        "median s",
        "p95 s",
        "p99 s",
        "TTFT ms",
        "TPOT ms",
        "ITL p99 ms",
        "wait ms",
        "tokens/s",
        "requests/s",
        "tokens in all",
    ];
    let mut grid = Grid::of(words, &numbers);
    for job in requests.jobs.iter().take(MOST_ROWS) {
        let f = &job.figures;
        let mut row = vec![short(&job.job.name)];
        if several {
            row.push(short(&job.target));
        }
        row.push(load(&job.job.load));
        if !job.is_measured() {
            row.push(n_answers(job));
            if !f.failed.is_empty() {
                row.push(failures(f));
            }
            grid.rows.push(row);
            continue;
        }
        row.extend([
            n_answers(job),
            s(f.latency_ns.mean),
            s(f.latency_ns.median),
            s(f.latency_ns.p95),
            s(f.latency_ns.p99),
            ms(f.ttft_ns.median),
            ms(f.tpot_ns.median),
            ms(f.gap_ns.p99),
            ms(f.wait_ns.median),
            rate(job.tokens_per_s),
            rate(job.requests_per_s),
            or_na(f.n_generated.map(|n| n.to_string())),
        ]);
        grid.rows.push(row);
    }
    grid
}

/// How requests of the typical job are spread.
pub(super) fn distribution(requests: &RequestsView) -> Vec<Block> {
    let figures = [plots::latency(requests), plots::over_time(requests)];
    Block::figures(figures).into_iter().collect()
}

/// Targets beside each other; nothing where there is one.
pub(super) fn beside(requests: &RequestsView) -> Vec<Block> {
    let others = live::others(requests);
    if others.is_empty() {
        return Vec::new();
    }
    let mut blocks = vec![Block::Findings(live::findings(requests))];
    for other in others {
        let pairs = live::pairs(requests, other);
        let Some(first) = pairs.first() else { continue };
        blocks.push(Block::Heading(format!(
            "{} against {}",
            short(other),
            short(&first.base.target)
        )));
        blocks.push(Block::Table(ratios(&pairs)));
        blocks.push(Block::Table(split(&pairs)));
    }
    blocks.push(Block::Text(
        "Ratios are medians over rounds, in which the targets took turns; in brackets their 95% interval, where there are \
         three rounds. Waiting is the time before the engine began with a request, as the server's own durations leave \
         it; transport is what the client saw beyond the server's total. The parts are means and add up."
            .to_owned(),
    ));
    blocks
}

fn ratios(pairs: &[live::Pair<'_>]) -> Grid {
    let mut grid = Grid::of(
        &["job", "load"],
        &[
            "latency, times",
            "TTFT, times",
            "TPOT, times",
            "tokens/s, times",
        ],
    );
    for pair in pairs.iter().take(MOST_ROWS) {
        let ratio = |of| {
            or_na(
                pair.ratio(of)
                    .map(live::times)
                    .map(|t| t.replace(" times", "")),
            )
        };
        grid.rows.push(vec![
            short(&pair.other.job.name),
            load(&pair.other.job.load),
            ratio(|r| r.latency_ns),
            ratio(|r| r.ttft_ns),
            ratio(|r| r.tpot_ns),
            ratio(|r| r.tokens_per_s),
        ]);
    }
    grid
}

/// The parts of a request at both targets, and their difference.
fn split(pairs: &[live::Pair<'_>]) -> Grid {
    let mut grid = Grid::of(
        &["job", "target"],
        &[
            "latency",
            "waiting",
            "prefill",
            "decode",
            "loading",
            "transport",
            "engine's token",
        ],
    );
    let time = |ns: f64| units::duration(ns.max(0.0).round() as u64);
    for pair in pairs.iter().take(MOST_ROWS / 2) {
        for job in [pair.base, pair.other] {
            let parts = live::Parts::of(job);
            let of = |part: fn(&live::Parts) -> f64| or_na(parts.as_ref().map(part).map(time));
            let mut row = vec![short(&job.job.name), short(&job.target)];
            row.extend([
                or_na(job.figures.latency_ns.mean.map(|m| time(m.value))),
                of(|p| p.waiting),
                of(|p| p.prefill),
                of(|p| p.decode),
                of(|p| p.loading),
                of(|p| p.transport),
                or_na(live::PerToken::of(job).map(|t| time(t.ns))),
            ]);
            grid.rows.push(row);
        }
    }
    grid
}

/// Whether harder questions cost more; nothing where they were not asked.
pub(super) fn difficulty(requests: &RequestsView) -> Vec<Block> {
    let all = targets(requests);
    let findings: Vec<_> = all
        .into_iter()
        .flat_map(|t| questions::difficulty(requests, t))
        .collect();
    match findings.is_empty() {
        true => Vec::new(),
        false => vec![Block::Findings(findings)],
    }
}

/// The targets as they described themselves.
pub(super) fn target_facts(requests: &RequestsView) -> Vec<Block> {
    let mut grid = Grid::of(
        &["target", "version", "model", "type", "SHA-256"],
        &["memory", "on a GPU", "context", "in parallel"],
    );
    let mut changed = Vec::new();
    for target in &requests.targets {
        let Some(facts) = target.facts() else {
            let reason = target.reason.as_deref().map(short);
            grid.rows.push(vec![
                short(&target.name),
                reason.unwrap_or_else(|| "it said nothing of itself".to_owned()),
            ]);
            continue;
        };
        let text = |t: &Option<String>| or_na(t.as_deref().map(short));
        // The model may be loaded by the first job only.
        let later = target.after.as_ref().unwrap_or(facts);
        let hash = facts.sha256.as_deref().map(|h| cut_end(&plain(h), 13));
        grid.rows.push(vec![
            short(&target.name),
            text(&facts.version),
            text(&facts.model),
            text(&facts.file_type),
            or_na(hash),
            or_na(later.size_bytes.map(units::bytes)),
            or_na(later.size_vram_bytes.map(units::bytes)),
            or_na(later.n_ctx.map(|n| n.to_string())),
            or_na(later.n_parallel.map(|n| n.to_string())),
        ]);
        if let (Some(before), Some(after)) = (&target.before, &target.after)
            && identity(before) != identity(after)
        {
            changed.push(format!(
                "{} was not the same before its jobs and after them: another version or file.",
                short(&target.name)
            ));
        }
    }
    let mut blocks = vec![
        Block::Heading("Targets of requests".to_owned()),
        Block::Table(grid),
    ];
    if !changed.is_empty() {
        blocks.push(Block::List(changed));
    }
    blocks
}

fn identity(facts: &TargetFacts) -> (&Option<String>, &Option<String>) {
    (&facts.version, &facts.sha256)
}

/// What was not answered as planned.
pub(super) fn trouble(requests: &RequestsView) -> Vec<Block> {
    let all = warnings(requests);
    if all.is_empty() {
        return vec![Block::Text(
            "Nothing: every request has a whole answer, and the machine was undisturbed."
                .to_owned(),
        )];
    }
    vec![Block::List(all)]
}

/// Experiments that this run has not done.
pub(super) fn next(requests: &RequestsView) -> Vec<Block> {
    let lacks = |e: Experiment| requests.of(e).next().is_none();
    let mut blocks = Vec::new();
    for (experiment, what) in [
        (
            Experiment::Classes,
            "Requests by class of prompt, one after another.",
        ),
        (Experiment::PromptLength, "Prompts of several lengths."),
        (Experiment::Temperature, "Several temperatures."),
        (Experiment::Concurrency, "More requests at once."),
        (Experiment::Sustained, "Sustained load."),
    ] {
        if lacks(experiment) {
            blocks.push(missing(&format!("Not in this run: {}", what)));
        }
    }
    if requests.measured().any(|j| j.rounds.len() < 3) {
        blocks.push(Block::Text(
            "Intervals: three rounds or more; five or more make them narrow.".to_owned(),
        ));
    }
    if live::others(requests).is_empty() {
        blocks.push(Block::Text(
            "Another server, Ollama or one that speaks OpenAI's completions, named as a further target would be measured in \
             turns with this one."
                .to_owned(),
        ));
    }
    blocks
}

/// A few answers, folded away: that the model says something is seen by reading it.
pub(super) fn answers(requests: &RequestsView) -> Vec<Block> {
    let mut blocks = Vec::new();
    for target in targets(requests) {
        let own = requests.measured().filter(|j| j.target == target);
        let all = own.flat_map(|j| j.samples.iter().map(move |a| (j, a)));
        for (job, answer) in all.take(MOST_ANSWERS) {
            let prompt = job.prompt_of(answer.number);
            let asked = prompt.map(|p| beginning(&p.text, QUOTED));
            let lines: Vec<String> = answer.text.lines().map(plain).collect();
            blocks.push(Block::Folded(
                format!(
                    "{} at {}: {}",
                    short(&job.job.name),
                    short(target),
                    asked.unwrap_or_default()
                ),
                lines.join("\n"),
            ));
        }
    }
    blocks
}
