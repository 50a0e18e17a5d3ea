//! The report's sections on requests: by class, the experiments, what limits them, targets beside each other, answers.

mod experiments;
mod limits;
mod targets;

use super::{Block, MOST_ROWS, missing_or_text};
use crate::analysis::live;
use crate::analysis::requests::{load, questions, targets};
use crate::model::ModelFacts;
use crate::plot::requests as plots;
use crate::report::requests::{job_table, ms, rate, s, with_classes};
use crate::report::suggest::{Suggestion, fitting};
use crate::report::table::Table;
use crate::request::Experiment;
use crate::request::IN_PROCESS;
use crate::request::shown_target;
use crate::stats::histogram::min_samples_for;
use crate::text::{cut_end, plain, plural, short};
use crate::units;
use crate::view::RunView;
use crate::view::requests::{JobFigures, JobView, RequestsView};

pub(super) use experiments::blocks as experiments;
pub(super) use limits::{bottleneck, opportunities};
pub(super) use targets::{beside, facts as target_facts};

/// Columns of a prompt that are quoted.
const QUOTED: usize = 140;
/// Answers that are shown of a target.
const MOST_ANSWERS: usize = 6;

/// What this run did not ask of its targets, and the flags that would.
fn missing(view: &RunView, experiment: Experiment) -> Block {
    let what = match experiment {
        Experiment::Classes => "Requests were not grouped by class of prompt.",
        Experiment::PromptLength => "The prompt's length was not varied.",
        Experiment::Temperature | Experiment::TemperatureControl => "Temperature was not varied.",
        Experiment::Concurrency => "The number of requests at once was not varied.",
        Experiment::Sustained => "Sustained load was not measured.",
        Experiment::DifficultyEqual
        | Experiment::DifficultyNatural
        | Experiment::DifficultyControl => "Harder questions were not asked.",
    };
    let lengths = (experiment == Experiment::PromptLength).then(|| prompt_lengths(view));
    let flags = match experiment {
        Experiment::Classes => vec!["--classes"],
        Experiment::PromptLength => match lengths.iter().flatten().next() {
            Some(values) => vec!["--n-prompt", values],
            // Only the model's own tokenizer makes a prompt of a given number of tokens.
            None => return Block::Text(what.to_owned()),
        },
        Experiment::Temperature | Experiment::TemperatureControl => {
            vec!["--temperature", "0,0.7,1.0,1.5"]
        }
        Experiment::Concurrency => vec!["--batch", "1,8,32"],
        Experiment::Sustained => vec!["--sustained", "60s"],
        Experiment::DifficultyEqual
        | Experiment::DifficultyNatural
        | Experiment::DifficultyControl => vec!["--difficulty"],
    };
    missing_or_text(what, command(view, &flags))
}

/// Lengths of prompts that fit the context; `None` where no target is in-process, as a server's tokenizer is its own.
fn prompt_lengths(view: &RunView) -> Option<String> {
    let plan = view.header.requests.as_ref()?;
    plan.targets.iter().find(|t| plan.is_in_process(t))?;
    let case = &plan.jobs.first()?.case;
    fitting(&[16, 64, 256, 1024], case.n_ctx.saturating_sub(case.n_gen))
}

/// The models of the in-process targets, each once.
fn own_models(view: &RunView) -> Vec<&ModelFacts> {
    let Some(plan) = &view.header.requests else {
        return Vec::new();
    };
    let own = plan.targets.iter().filter(|t| plan.is_in_process(t));
    let jobs = own.filter_map(|target| plan.jobs_of(target).next());
    let mut models: Vec<&ModelFacts> = Vec::new();
    for model in jobs.filter_map(|job| view.model(&job.case.model)) {
        if models.iter().all(|known| known.name != model.name) {
            models.push(model);
        }
    }
    models
}

/// The run's requests with another experiment: by its own command line, or of a sweep's model and targets.
fn command(view: &RunView, flags: &[&str]) -> Option<Suggestion> {
    let own = Suggestion::of_requests(&view.header, flags);
    own.or_else(|| {
        let plan = view.header.requests.as_ref()?;
        let mut command = Suggestion::new(Some("requests"));
        let mut servers: Vec<&str> = plan.targets.iter().map(|t| plan.named(t)).collect();
        servers.retain(|name| *name != IN_PROCESS);
        servers.dedup();
        for target in &servers {
            command = command.flag("--target", target);
        }
        let models = own_models(view);
        let is_beside = !models.is_empty() && !servers.is_empty();
        command = command.models(models);
        if is_beside {
            command = command.flag("--target", IN_PROCESS);
        }
        Some(flags.iter().fold(command, |c, flag| c.word(flag)))
    })
}

/// The beginning of a prompt, cut to `columns`.
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
            blocks.push(Block::Heading(format!("At {}", shown_target(&job.target))));
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
    blocks.push(Block::Table(job_table(requests)));
    blocks.push(Block::List(vec![crate::report::requests::legend(requests)]));
    blocks
}

/// A figure of a class of prompts: its name and its value.
type ClassFigure = (&'static str, fn(&JobFigures) -> Option<String>);

const CLASS_FIGURES: [ClassFigure; 13] = [
    ("answers", |f| Some(f.n_whole.to_string())),
    ("mean latency, s", |f| s(f.latency_ns.mean)),
    ("median latency, s", |f| s(f.latency_ns.median)),
    ("p95 latency, s", |f| s(f.latency_ns.p95)),
    ("p99 latency, s", |f| s(f.latency_ns.p99)),
    ("mean TPS, tokens/s", |f| rate(f.tokens_per_s)),
    ("mean TTFT, s", |f| s(f.ttft_ns.mean)),
    ("mean visible TTFT, s", |f| s(f.ttft_visible_ns.mean)),
    ("mean TPOT, ms", |f| ms(f.tpot_ns.mean)),
    ("p99 ITL, ms", |f| ms(f.gap_ns.p99)),
    ("TTFT's share of latency", |f| {
        f.ttft_share.map(units::percent)
    }),
    ("prompt tokens in all", |f| {
        f.n_prompt.map(|n| n.to_string())
    }),
    ("generated tokens in all", |f| {
        f.n_generated.map(|n| n.to_string())
    }),
];

/// A column a class.
fn class_table(job: &JobView) -> Table {
    let has_reasoned = job.figures.counting.n_reasoned > 0;
    let is_shown = |(name, _): &ClassFigure| has_reasoned || !name.contains("visible");
    let figures: Vec<ClassFigure> = CLASS_FIGURES.into_iter().filter(is_shown).collect();
    let mut table = Table::of(&figures).words("metric", |(name, _)| *name);
    for class in &job.classes {
        table = table.numbers(short(&class.class), |(_, of)| of(&class.figures));
    }
    table.table()
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

/// What would tell more than this run does.
pub(super) fn next(view: &RunView, requests: &RequestsView) -> Vec<Block> {
    let mut blocks = Vec::new();
    if difficulty(requests).is_empty() {
        blocks.push(missing(view, Experiment::DifficultyEqual));
    }
    let has_few = |j: &JobView| j.rounds.len() < 3 || j.n_processes().is_some_and(|n| n < 3);
    if requests.measured().any(has_few) {
        let again = Suggestion::again(&view.header, &[("--replicates", "3".to_owned())]);
        let is_sweep = view.header.args.first().is_some_and(|a| a == "sweep");
        blocks.push(missing_or_text(
            "Intervals need three processes, or three rounds of a server.",
            again.filter(|_| !is_sweep),
        ));
    }
    if live::others(requests).is_empty() {
        blocks.extend(beside_a_server(view));
    }
    blocks
}

/// Whether a server is as fast with the same file: of llama-server's usual address, since no run knows another's.
fn beside_a_server(view: &RunView) -> Vec<Block> {
    let models = own_models(view);
    if models.is_empty() {
        let text = Block::Text(
            "Is this program as fast with the server's file? `ggufbench compare-live` measures both in turns; it needs the \
             file's path (--model)."
                .to_owned(),
        );
        return vec![text];
    }
    // A server has one model at a time.
    let of_model = |model: &&ModelFacts| {
        let command = Suggestion::new(Some("compare-live")).models([*model]);
        let file = match models.len() {
            1 => "the same file".to_owned(),
            _ => short(&model.name),
        };
        Block::Missing(
            format!(
                "Is a server as fast with {file}? With that file in a llama-server at its usual address, in turns with this \
                 program:"
            ),
            command
                .flag("--target", "openai:http://127.0.0.1:8080/v1")
                .to_string(),
        )
    };
    models.iter().map(of_model).collect()
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
                    shown_target(target),
                    asked.unwrap_or_default()
                ),
                lines.join("\n"),
            ));
        }
    }
    blocks
}
