//! What requests take, what limits them, and what would help.

use super::super::{Block, Grid, or_na};
use super::MOST_ROWS;
use crate::analysis::live::{self, LatencyParts, Overlap, Simultaneity};
use crate::analysis::requests::{concurrency, limits, targets};
use crate::model::ModelFacts;
use crate::plan::Case;
use crate::plan::budget;
use crate::report::requests::rate;
use crate::report::suggest::Suggestion;
use crate::request::TargetKind;
use crate::text::{plural, short};
use crate::units;
use crate::view::RunView;
use crate::view::requests::{JobView, RequestsView};

/// Processor and memory of each job, how its time divides, and what memory is made of.
pub(in super::super) fn resources(view: &RunView, requests: &RequestsView) -> Vec<Block> {
    let jobs: Vec<&JobView> = requests.measured().take(MOST_ROWS).collect();
    if jobs.is_empty() {
        return vec![Block::Text("No request was answered.".to_owned())];
    }
    let mut blocks = vec![
        Block::Heading("During the requests".to_owned()),
        Block::Table(usage(view, &jobs)),
        Block::Heading("Prefill and decode of requests".to_owned()),
        Block::Table(phases(&jobs)),
    ];
    let memory = memory(view, &jobs);
    if !memory.rows.is_empty() {
        blocks.push(Block::Heading("Memory while serving requests".to_owned()));
        blocks.extend(per_token(view, &jobs));
        blocks.push(Block::Table(memory));
    }
    blocks
}

fn names(job: &JobView) -> Vec<String> {
    vec![short(&job.job.name), short(&job.target)]
}

fn usage(view: &RunView, jobs: &[&JobView]) -> Grid {
    let mut grid = Grid::of(
        &["job", "target"],
        &[
            "CPU, mean",
            "others' CPU, mean",
            "memory, mean",
            "memory, peak",
            "requests/s",
            "tokens/s",
        ],
    );
    let cores = view.header.machine.cpu.available_cores.filter(|n| *n > 0);
    for job in jobs {
        let usage = &job.usage;
        let cpu = usage.process_cpu_percent.zip(cores).map(|(p, cores)| {
            let share = p.mean / f64::from(cores);
            format!("{share:.0}% of {}", plural(cores, "thread", "threads"))
        });
        let mut row = names(job);
        row.extend([
            or_na(cpu),
            or_na(usage.others_cpu_percent.map(|p| format!("{:.1}%", p.mean))),
            or_na(usage.rss_bytes.map(|b| units::bytes(b.mean))),
            or_na(usage.rss_bytes.map(|b| units::bytes(b.max))),
            rate(job.requests_per_s),
            rate(job.tokens_per_s),
        ]);
        grid.rows.push(row);
    }
    grid
}

fn phases(jobs: &[&JobView]) -> Grid {
    let mut grid = Grid::of(
        &["job", "target"],
        &[
            "waiting",
            "prefill",
            "decode",
            "transport",
            "TTFT's share",
            "choosing tokens",
            "sequences a call",
        ],
    );
    for job in jobs {
        let parts = LatencyParts::of(job).filter(|p| p.whole > 0.0);
        let share = |of: fn(&LatencyParts) -> f64| {
            or_na(
                parts
                    .as_ref()
                    .map(|p| units::percent(of(p).max(0.0) / p.whole)),
            )
        };
        let mut row = names(job);
        row.extend([
            share(|p| p.waiting),
            share(|p| p.prefill),
            share(|p| p.decode),
            share(|p| p.transport),
            or_na(job.figures.ttft_share.map(units::percent)),
            or_na(
                job.calls
                    .and_then(|c| c.sampler_share())
                    .map(units::percent),
            ),
            or_na(
                job.calls
                    .and_then(|c| c.decode_n_seq)
                    .map(units::significant),
            ),
        ]);
        grid.rows.push(row);
    }
    grid
}

fn memory(view: &RunView, jobs: &[&JobView]) -> Grid {
    let mut grid = Grid::of(
        &["job"],
        &[
            "at once",
            "peak",
            "weights",
            "KV cache, by shape",
            "the rest",
        ],
    );
    for job in jobs.iter().filter(|j| j.is_in_process()) {
        let case = &job.job.case;
        let model = view.model(&case.model);
        let peak = job.usage.rss_bytes.map(|b| b.max);
        let weights = model.map(ModelFacts::used_tensor_bytes);
        let kv = model.map(|m| {
            let kv = budget::kv_bytes(case, m, case.n_ctx_seq());
            kv.saturating_add(budget::state_bytes(case, m))
        });
        let known = weights.zip(kv).map(|(w, kv)| w.saturating_add(kv));
        let rest = peak.zip(known).and_then(|(p, k)| p.checked_sub(k));
        let bytes = |b: Option<u64>| or_na(b.map(units::bytes));
        grid.rows.push(vec![
            short(&job.job.name),
            case.n_seq.to_string(),
            bytes(peak),
            bytes(weights),
            bytes(kv),
            bytes(rest),
        ]);
    }
    grid
}

/// What a token of context costs, in one sentence a model.
fn per_token(view: &RunView, jobs: &[&JobView]) -> Option<Block> {
    let mut said: Vec<String> = Vec::new();
    for job in jobs.iter().filter(|j| j.is_in_process()) {
        let case = &job.job.case;
        let Some(model) = view.model(&case.model) else {
            continue;
        };
        let cache = case.kv_cache();
        let bytes = model.kv_bytes_per_token(cache.k_bytes, cache.v_bytes);
        let of_all = budget::kv_bytes(case, model, case.n_ctx_seq());
        let text = format!(
            "{}: a token of context takes {} of cache by the file's shape, {} a sequence of {} tokens.",
            short(&case.model),
            units::bytes(bytes.round() as u64),
            units::bytes(of_all / u64::from(case.n_seq.max(1))),
            case.n_ctx_seq()
        );
        if !said.contains(&text) {
            said.push(text);
        }
    }
    (!said.is_empty()).then_some(Block::List(said))
}

/// What limits, with its evidence.
pub(in super::super) fn bottleneck(view: &RunView, requests: &RequestsView) -> Vec<Block> {
    let Some(mut found) = limits::finding(view, requests) else {
        return vec![Block::Text("No request was answered.".to_owned())];
    };
    // Here the evidence is what one looks for: it is not folded away.
    let evidence = std::mem::take(&mut found.evidence);
    let mut blocks = vec![Block::Findings(vec![found]), Block::List(evidence)];
    if view.cells.is_empty() {
        let what = "What a step should take by this machine's ceilings, and whether weights or arithmetic bound it, follows \
                    from cells of several batch sizes.";
        let own = requests.measured().find(|j| j.is_in_process());
        blocks.extend(own.map(|job| {
            let usual = Case::usual("");
            let cells = Case {
                n_prompt: usual.n_prompt,
                n_gen: usual.n_gen,
                n_ctx: job.job.case.n_ctx.max(usual.n_ctx),
                ..job.job.case.clone()
            };
            let over = [("batch", "1,8,32".to_owned())];
            Block::Missing(
                what.to_owned(),
                Suggestion::of_case(view, &cells, &over).to_string(),
            )
        }));
    }
    blocks
}

/// What would help, as far as this run's own data say so.
pub(in super::super) fn opportunities(view: &RunView, requests: &RequestsView) -> Vec<Block> {
    let mut found: Vec<String> = Vec::new();
    let missing = &view.header.missing_cpu_features;
    if view.cells.is_empty() && !missing.is_empty() {
        let names: Vec<String> = missing.iter().map(|f| short(f)).collect();
        found.push(format!(
            "Build the engine for this CPU: it has {}, which the engine has kernels for and was built without.",
            names.join(", ")
        ));
    }
    for target in targets(requests) {
        found.extend(more_at_once(requests, target));
        found.extend(more_slots(requests, target));
        found.extend(long_prompts(requests, target));
    }
    if found.is_empty() {
        found.push("The requests of this run suggest nothing.".to_owned());
    }
    vec![Block::List(found)]
}

fn more_at_once(requests: &RequestsView, target: &str) -> Option<String> {
    let curve = concurrency::curve(requests, target);
    let (enough, _) = concurrency::knee(&curve)?;
    let first = curve.first()?;
    let gain = enough.ratio_to(first, |r| r.tokens_per_s)?.value;
    (gain >= 1.5).then(|| {
        format!(
            "{}: serve {} at once, {} times the tokens/s of {}.",
            short(target),
            enough.at_once(),
            units::significant(gain),
            first.at_once()
        )
    })
}

fn more_slots(requests: &RequestsView, target: &str) -> Option<String> {
    let jobs = requests.measured().filter(|j| j.target == target);
    let (job, seen) = jobs
        .filter_map(|j| Some((j, Overlap::of(j)?)))
        .max_by_key(|(_, seen)| seen.under_way)?;
    let setting = match job.kind? {
        TargetKind::Ollama => "OLLAMA_NUM_PARALLEL",
        TargetKind::Openai => "the server's number of slots",
        TargetKind::InProcess => return None,
    };
    (seen.serving() != Simultaneity::Together).then(|| {
        format!(
            "{}: raise {setting}; {} requests were under way and {} answered at a time.",
            short(target),
            seen.under_way,
            seen.answered
        )
    })
}

fn long_prompts(requests: &RequestsView, target: &str) -> Option<String> {
    let mut jobs = requests.measured().filter(|j| j.target == target);
    let job = jobs.find(|j| LatencyParts::of(j).is_some_and(|p| p.prefill > p.decode))?;
    let parts = live::LatencyParts::of(job)?;
    Some(format!(
        "{}: in {} the prompt takes {} of a request, more than the answer: shorter prompts, or a prefix that is kept in the \
         cache between requests.",
        short(target),
        short(&job.job.name),
        units::percent(parts.prefill / parts.whole.max(1.0))
    ))
}
