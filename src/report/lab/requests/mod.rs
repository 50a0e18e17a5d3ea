//! The report's sections on requests: by class, the experiments, what they take, targets beside each other, answers.

mod experiments;
mod takes;
mod targets;

use super::{Block, Grid, or_na, verb_command};
use crate::analysis::live;
use crate::analysis::requests::{load, questions, targets};
use crate::plot::requests as plots;
use crate::report::requests::{
    answers as n_answers, failures, ms, rate, s, warnings, with_classes,
};
use crate::request::Experiment;
use crate::stats::histogram::min_samples_for;
use crate::text::{cut_end, plain, plural, short};
use crate::units;
use crate::view::RunView;
use crate::view::requests::{Figures, JobView, RequestsView};

pub(super) use experiments::blocks as experiments;
pub(super) use takes::{bottleneck, opportunities, resources};
pub(super) use targets::{beside, facts as target_facts};

/// Columns of a prompt that are quoted.
const QUOTED: usize = 140;
/// Rows of a table; more are in requests.csv and `-o json`.
const MOST_ROWS: usize = 100;
/// Answers that are shown of a target.
const MOST_ANSWERS: usize = 6;

/// What this run did not ask of its targets, and the flags that would.
fn missing(view: &RunView, experiment: Experiment) -> Block {
    let (what, flags) = match experiment {
        Experiment::Classes => (
            "Requests were not told apart by class of prompt.",
            "--classes",
        ),
        Experiment::PromptLength => (
            "The prompt's length was not varied.",
            "--n-prompt 16,64,256,1024",
        ),
        Experiment::Temperature => ("Temperature was not varied.", "--temperature 0,0.7,1.0,1.5"),
        Experiment::Concurrency => (
            "The number of requests at once was not varied.",
            "--batch 1,8,32",
        ),
        Experiment::Sustained => ("Sustained load was not measured.", "--sustained 60s"),
        Experiment::DifficultyEqual
        | Experiment::DifficultyNatural
        | Experiment::DifficultyControl => ("Harder questions were not asked.", "--difficulty"),
    };
    Block::Missing(what.to_owned(), verb_command(view, Some("requests"), flags))
}

/// The beginning of a prompt, of at most so many columns.
fn beginning(text: &str, columns: usize) -> String {
    // Only what can be shown is made fit: prompts may be long.
    let head: String = text.chars().take(4 * columns).collect();
    let words: Vec<String> = plain(&head).split_whitespace().map(str::to_owned).collect();
    cut_end(&words.join(" "), columns)
}

/// Requests by class of prompt, as the one who waits feels them.
pub(super) fn by_class(view: &RunView, requests: &RequestsView) -> Vec<Block> {
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
        blocks.push(missing(view, Experiment::Classes));
    }
    blocks.extend(Block::figures([plots::ttft_by_class(requests)]));
    blocks.push(Block::Heading("Every job".to_owned()));
    blocks.push(Block::Table(every_job(requests)));
    blocks.push(Block::List(vec![crate::report::requests::legend(requests)]));
    blocks
}

/// A row of a class's table: its name, and a class's value.
type MetricRow<'a> = (&'a str, &'a dyn Fn(&Figures) -> String);

/// A column a class.
fn class_table(job: &JobView) -> Grid {
    let names: Vec<String> = job.classes.iter().map(|c| short(&c.class)).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut grid = Grid::of(&["metric"], &names);
    let tokens = |n: Option<u64>| or_na(n.map(|n| n.to_string()));
    let rows: [MetricRow<'_>; 13] = [
        ("answers", &|f| f.n_whole.to_string()),
        ("mean latency, s", &|f| s(f.latency_ns.mean)),
        ("median latency, s", &|f| s(f.latency_ns.median)),
        ("p95 latency, s", &|f| s(f.latency_ns.p95)),
        ("p99 latency, s", &|f| s(f.latency_ns.p99)),
        ("mean TPS, tokens/s", &|f| rate(f.tokens_per_s)),
        ("mean TTFT, s", &|f| s(f.ttft_ns.mean)),
        ("mean visible TTFT, s", &|f| s(f.ttft_visible_ns.mean)),
        ("mean TPOT, ms", &|f| ms(f.tpot_ns.mean)),
        ("p99 ITL, ms", &|f| ms(f.gap_ns.p99)),
        ("TTFT's share of latency", &|f| {
            or_na(f.ttft_share.map(units::percent))
        }),
        ("prompt tokens in all", &|f| tokens(f.n_prompt)),
        ("generated tokens in all", &|f| tokens(f.n_generated)),
    ];
    let has_reasoned = job.figures.counting.n_reasoned > 0;
    let shown = |name: &str| has_reasoned || !name.contains("visible");
    for (name, of) in rows.into_iter().filter(|(name, _)| shown(name)) {
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
            let own = || {
                (0..)
                    .zip(&job.job.prompts)
                    .filter(|(_, p)| p.class == c.class)
            };
            let (first, _) = own().next()?;
            let n = plural(
                u32::try_from(own().count()).unwrap_or(u32::MAX),
                "prompt",
                "prompts",
            );
            Some(format!(
                "{} ({n}): \u{201c}{}\u{201d}",
                short(&c.class),
                beginning(job.job.said_of(first), QUOTED)
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
    let has_reasoned = requests.any_reasoned();
    let mut numbers = vec!["answers", "mean s", "median s", "p95 s", "p99 s", "TTFT ms"];
    numbers.extend(has_reasoned.then_some("visible TTFT ms"));
    numbers.extend([
        "TPOT ms",
        "ITL p99 ms",
        "wait ms",
        "tokens/s",
        "requests/s",
        "tokens in all",
    ]);
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
            row.extend(failures(f));
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
        ]);
        row.extend(has_reasoned.then(|| ms(f.ttft_visible_ns.median)));
        row.extend([
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

/// What would tell more than this run does.
pub(super) fn next(view: &RunView, requests: &RequestsView) -> Vec<Block> {
    let mut blocks = Vec::new();
    if difficulty(requests).is_empty() {
        blocks.push(missing(view, Experiment::DifficultyEqual));
    }
    if requests.measured().any(|j| j.rounds.len() < 3) {
        blocks.push(Block::Missing(
            "Intervals need three rounds.".to_owned(),
            verb_command(view, Some("requests"), "--rounds 3"),
        ));
    }
    if live::others(requests).is_empty() {
        blocks.push(Block::Missing(
            "Is a server as fast with the same file? In turns with this program:".to_owned(),
            "ggufbench compare-live --model ollama:llama3.1:8b --target ollama:llama3.1:8b"
                .to_owned(),
        ));
    }
    blocks
}

/// A few answers, folded away: that the model says something is seen by reading it.
pub(super) fn answers(requests: &RequestsView) -> Vec<Block> {
    let mut blocks = Vec::new();
    for target in targets(requests) {
        let own: Vec<&JobView> = requests.measured().filter(|j| j.target == target).collect();
        // One of each job before a second of any.
        let most = own.iter().map(|j| j.samples.len()).max().unwrap_or(0);
        let nth = |n: usize| {
            own.iter()
                .filter_map(move |j| Some((*j, j.samples.get(n)?)))
        };
        for (job, answer) in (0..most).flat_map(nth).take(MOST_ANSWERS) {
            let has_prompt = job.prompt_of(answer.number).is_some();
            let asked = has_prompt.then(|| beginning(job.job.said_of(answer.number), QUOTED));
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
