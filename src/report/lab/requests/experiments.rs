//! The experiments of requests: prompt length, temperature, concurrent requests, sustained load.

use super::super::{Block, Grid, or_na};
use super::{MOST_ROWS, missing};
use crate::analysis::live::{self, Overlap};
use crate::analysis::requests::{concurrency, length, questions, sustained, targets};
use crate::analysis::{Finding, requests as findings};
use crate::plot::requests as plots;
use crate::report::requests::{MS, S, ms, plus_minus, rate, s};
use crate::request::Experiment;
use crate::text::{plural, short};
use crate::units;
use crate::view::RunView;
use crate::view::requests::{JobView, RequestsView};

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
    let mut grid = Grid::of(
        &["target"],
        &[
            "prompt tokens",
            "TTFT ms",
            "±95%",
            "latency s",
            "±95%",
            "TPOT ms",
        ],
    );
    for target in targets(requests) {
        for p in length::points(requests, target) {
            grid.rows.push(vec![
                short(target),
                length::tokens(p.n_prompt),
                ms(p.ttft_ns),
                plus_minus(p.ttft_ns, MS),
                s(p.latency_ns),
                plus_minus(p.latency_ns, S),
                ms(p.tpot_ns),
            ]);
        }
    }
    let mut blocks = vec![Block::Findings(found), Block::Table(grid)];
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
    let mut grid = Grid::of(
        &["target"],
        &[
            "temperature",
            "latency s",
            "TPOT ms",
            "±95%",
            "tokens/s",
            "tokens an answer",
            "choosing tokens",
        ],
    );
    for job in jobs.into_iter().take(MOST_ROWS) {
        let f = &job.figures;
        let each = f
            .n_generated
            .map(|n| n as f64 / f64::from(f.n_whole.max(1)));
        grid.rows.push(vec![
            short(&job.target),
            job.job.sampling.temperature.to_string(),
            s(f.latency_ns.median),
            ms(f.tpot_ns.mean),
            plus_minus(f.tpot_ns.mean, MS),
            rate(job.tokens_per_s),
            or_na(each.map(units::significant)),
            or_na(
                job.calls
                    .and_then(|c| c.sampler_share())
                    .map(units::percent),
            ),
        ]);
    }
    let mut blocks = vec![Block::Findings(found), Block::Table(grid)];
    blocks.extend(Block::figures([plots::temperature(requests)]));
    blocks
}

fn concurrent(view: &RunView, requests: &RequestsView) -> Vec<Block> {
    let mut found = of_targets(requests, |t| concurrency::finding(requests, t));
    if found.is_empty() {
        return vec![missing(view, Experiment::Concurrency)];
    }
    found.extend(of_targets(requests, |t| live::in_parallel(requests, t)));
    let mut grid = Grid::of(
        &["target"],
        &[
            "at once",
            "answers",
            "tokens/s",
            "times the first",
            "requests/s",
            "median s",
            "p95 s",
            "TTFT ms",
            "wait ms",
            "answered together",
        ],
    );
    for target in targets(requests) {
        let curve = concurrency::curve(requests, target);
        for job in &curve {
            let gain = curve
                .first()
                .and_then(|f| job.ratio_to(f, |r| r.tokens_per_s));
            let f = &job.figures;
            grid.rows.push(vec![
                short(target),
                job.at_once().to_string(),
                f.n_whole.to_string(),
                rate(job.tokens_per_s),
                rate(gain),
                rate(job.requests_per_s),
                s(f.latency_ns.median),
                s(f.latency_ns.p95),
                ms(f.ttft_ns.median),
                ms(f.wait_ns.median),
                or_na(Overlap::of(job).map(|o| format!("{} of {}", o.answered, o.under_way))),
            ]);
        }
    }
    let mut blocks = vec![Block::Findings(found), Block::Table(grid)];
    blocks.extend(Block::figures([
        plots::throughput(requests),
        plots::concurrent_latency(requests),
    ]));
    blocks
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
            blocks.push(Block::Text(format!("{}:", short(&job.target))));
        }
        blocks.push(Block::Table(taken(view, job)));
    }
    blocks
}

/// What a job took of the machine.
fn taken(view: &RunView, job: &JobView) -> Grid {
    let usage = &job.usage;
    let cores = view.header.machine.cpu.available_cores.filter(|n| *n > 0);
    let cpu = |percent: Option<f64>| {
        let share = percent? / f64::from(cores?);
        let threads = plural(cores?, "thread", "threads");
        Some(format!("{share:.0}% of {threads}"))
    };
    let unseen = || match job.is_in_process() {
        true => "n/a".to_owned(),
        false => "n/a: a server's process is not watched".to_owned(),
    };
    let seen = |value: Option<String>| Some(value.unwrap_or_else(unseen));
    let gpu = usage.gpu.as_ref();
    Grid::facts([
        ("load", Some(findings::load(&job.job.load))),
        (
            "average CPU",
            seen(cpu(usage.process_cpu_percent.map(|p| p.mean))),
        ),
        (
            "others' CPU",
            usage.others_cpu_percent.map(|p| format!("{:.1}%", p.mean)),
        ),
        (
            "average memory",
            seen(usage.rss_bytes.map(|b| units::bytes(b.mean))),
        ),
        (
            "peak memory",
            seen(usage.rss_bytes.map(|b| units::bytes(b.max))),
        ),
        (
            "average GPU",
            gpu.and_then(|g| g.utilisation_percent)
                .map(|p| format!("{:.0}% of the time", p.mean)),
        ),
        (
            "peak GPU memory",
            gpu.and_then(|g| g.memory_used_bytes)
                .map(|b| units::bytes(b.max)),
        ),
        (
            "throughput",
            Some(format!("{} requests/s", rate(job.requests_per_s))),
        ),
        (
            "tokens",
            Some(format!("{} tokens/s", rate(job.tokens_per_s))),
        ),
    ])
}
