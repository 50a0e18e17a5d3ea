//! The experiments of requests: prompt length, temperature, concurrent requests, sustained load.

use super::super::resources::{cpu, others_cpu, sampler_share};
use super::super::{Block, first_rows};
use super::missing;
use crate::analysis::live::{self, Overlap};
use crate::analysis::requests::{concurrency, length, questions, sustained, targets};
use crate::analysis::{Finding, requests as findings};
use crate::plot::requests as plots;
use crate::report::requests::{MS, S, ms, plus_minus, rate, s};
use crate::report::table::Table;
use crate::request::Experiment;
use crate::request::shown_target;

use crate::units;
use crate::view::Estimate;
use crate::view::RunView;
use crate::view::requests::{JobFigures, JobView, RequestsView};
use crate::view::usage::MeanMax;

pub(in super::super) fn blocks(view: &RunView, requests: &RequestsView) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut heading = |text: &str, of: Vec<Block>| {
        blocks.push(Block::Heading(text.to_owned()));
        blocks.extend(of);
    };
    heading("Experiment 1: prompt length", prompt_length(view, requests));
    heading("Experiment 2: temperature", temperature(view, requests));
    heading(
        "Experiment 3: concurrent requests",
        concurrent(view, requests),
    );
    heading("Experiment 4: sustained load", load(view, requests));
    blocks
}

/// A finding of each target that has one.
fn of_targets(requests: &RequestsView, of: impl Fn(&str) -> Option<Finding>) -> Vec<Finding> {
    targets(requests).into_iter().filter_map(of).collect()
}

fn prompt_length(view: &RunView, requests: &RequestsView) -> Vec<Block> {
    let found = of_targets(requests, |t| length::finding(requests, t));
    if found.is_empty() {
        return vec![missing(view, Experiment::PromptLength)];
    }
    let of_target = |target| {
        length::points(requests, target)
            .into_iter()
            .map(move |p| (target, p))
    };
    let rows: Vec<_> = targets(requests).into_iter().flat_map(of_target).collect();
    let table = Table::of(&rows)
        .words("target", |(target, _)| shown_target(target))
        .numbers("prompt tokens", |(_, p)| length::tokens(p.n_prompt))
        .numbers("TTFT ms", |(_, p)| ms(p.ttft_ns))
        .numbers("±95%", |(_, p)| plus_minus(p.ttft_ns, MS))
        .numbers("latency s", |(_, p)| s(p.latency_ns))
        .numbers("±95%", |(_, p)| plus_minus(p.latency_ns, S))
        .numbers("TPOT ms", |(_, p)| ms(p.tpot_ns));
    let mut blocks = vec![Block::Findings(found), Block::Table(table.table())];
    blocks.extend(Block::figures([plots::prompt_length(requests)]));
    blocks
}

fn temperature(view: &RunView, requests: &RequestsView) -> Vec<Block> {
    let mut jobs: Vec<&JobView> = requests.of(Experiment::Temperature).collect();
    if jobs.len() < 2 {
        return vec![missing(view, Experiment::Temperature)];
    }
    let all = targets(requests);
    let place = |j: &JobView| all.iter().position(|t| *t == j.target);
    jobs.sort_by(|a, b| {
        let (ta, tb) = (a.job.sampling.temperature, b.job.sampling.temperature);
        place(a).cmp(&place(b)).then(ta.total_cmp(&tb))
    });
    let found = of_targets(requests, |t| questions::temperature(requests, t));
    let each = |f: &JobFigures| Some(f.n_generated? as f64 / f64::from(f.n_whole.max(1)));
    let table = Table::of(first_rows(&jobs))
        .words("target", |j| shown_target(&j.target))
        .numbers("temperature", |j| j.job.sampling.temperature.to_string())
        .numbers("latency s", |j| s(j.figures.latency_ns.median))
        .numbers("TPOT ms", |j| ms(j.figures.tpot_ns.mean))
        .numbers("±95%", |j| plus_minus(j.figures.tpot_ns.mean, MS))
        .numbers("tokens/s", |j| rate(j.tokens_per_s))
        .numbers("tokens an answer", |j| {
            each(&j.figures).map(units::significant)
        })
        .numbers("choosing tokens", |j| sampler_share(j));
    let mut blocks = vec![Block::Findings(found), Block::Table(table.table())];
    blocks.extend(Block::figures([plots::temperature(requests)]));
    blocks
}

fn concurrent(view: &RunView, requests: &RequestsView) -> Vec<Block> {
    let mut found = of_targets(requests, |t| concurrency::finding(requests, t));
    if found.is_empty() {
        return vec![missing(view, Experiment::Concurrency)];
    }
    found.extend(of_targets(requests, |t| live::in_parallel(requests, t)));
    let mut blocks = vec![Block::Findings(found), Block::Table(curves(requests))];
    blocks.extend(Block::figures([
        plots::throughput(requests),
        plots::concurrent_latency(requests),
    ]));
    blocks
}

/// Each target's jobs, fewest requests at once first.
fn curves(requests: &RequestsView) -> Table {
    let mut rows: Vec<(&JobView, Option<Estimate>)> = Vec::new();
    for target in targets(requests) {
        let curve = concurrency::curve(requests, target);
        let gain = |job: &JobView| job.ratio_to(curve.first()?, |r| r.tokens_per_s);
        rows.extend(curve.iter().map(|job| (*job, gain(job))));
    }
    let together = |o: Overlap| format!("{} of {}", o.answered, o.under_way);
    Table::of(&rows)
        .words("target", |(j, _)| shown_target(&j.target))
        .numbers("at once", |(j, _)| j.at_once())
        .numbers("answers", |(j, _)| j.figures.n_whole)
        .numbers("tokens/s", |(j, _)| rate(j.tokens_per_s))
        .numbers("times the first", |(_, gain)| rate(*gain))
        .numbers("requests/s", |(j, _)| rate(j.requests_per_s))
        .numbers("median s", |(j, _)| s(j.figures.latency_ns.median))
        .numbers("p95 s", |(j, _)| s(j.figures.latency_ns.p95))
        .numbers("TTFT ms", |(j, _)| ms(j.figures.ttft_ns.median))
        .numbers("wait ms", |(j, _)| ms(j.figures.wait_ns.median))
        .numbers("answered together", |(j, _)| Overlap::of(j).map(together))
        .table()
}

fn load(view: &RunView, requests: &RequestsView) -> Vec<Block> {
    let found = of_targets(requests, |t| sustained::finding(view, requests, t));
    if found.is_empty() {
        return vec![missing(view, Experiment::Sustained)];
    }
    let jobs: Vec<&JobView> = targets(requests)
        .into_iter()
        .filter_map(|t| sustained::job(requests, t))
        .collect();
    let mut blocks = vec![Block::Findings(found)];
    for job in jobs {
        if requests.has_several_targets() {
            blocks.push(Block::Text(format!("{}:", shown_target(&job.target))));
        }
        blocks.push(Block::Table(taken(view, job)));
    }
    blocks
}

/// What a job took of the machine.
fn taken(view: &RunView, job: &JobView) -> Table {
    let usage = &job.usage;
    let unseen = match job.is_in_process() {
        true => "n/a",
        false => "n/a: a server's process is not watched",
    };
    let seen = |value: Option<String>| Some(value.unwrap_or_else(|| unseen.to_owned()));
    let memory = |of: fn(MeanMax<u64>) -> u64| seen(usage.rss_bytes.map(|b| units::bytes(of(b))));
    let gpu = usage.gpu.as_ref();
    let gpu_share = gpu.and_then(|g| g.utilisation_percent);
    let gpu_memory = gpu.and_then(|g| g.memory_used_bytes);
    let per_s = |m, what| {
        Some(format!(
            "{} {what}",
            rate(m).unwrap_or_else(|| "n/a".to_owned())
        ))
    };
    Table::facts([
        ("load", Some(findings::load(&job.job.load))),
        ("average CPU", seen(cpu(view, usage))),
        ("others' CPU", others_cpu(usage)),
        ("average memory", memory(|b| b.mean)),
        ("peak memory", memory(|b| b.max)),
        (
            "average GPU",
            gpu_share.map(|p| format!("{:.0}% of the time", p.mean)),
        ),
        ("peak GPU memory", gpu_memory.map(|b| units::bytes(b.max))),
        ("throughput", per_s(job.requests_per_s, "requests/s")),
        ("tokens", per_s(job.tokens_per_s, "tokens/s")),
    ])
}
