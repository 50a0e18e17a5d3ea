//! One row a request, for spreadsheets: numbers as the record has them, empty where it has none.

use std::io::{self, Write};

use serde::Serialize;

use crate::report::csv::defused;
use crate::request::prompts::Difficulty;
use crate::view::RunView;
use crate::view::requests::{JobView, RequestView, RequestsView};

/// A request. Instants are nanoseconds after its job began.
#[derive(Debug, Serialize)]
struct Row {
    run: String,
    job: String,
    experiment: String,
    target: String,
    round: u32,
    number: u32,
    prompt: String,
    class: String,
    difficulty: Option<Difficulty>,
    pair: String,
    due_ns: u64,
    sent_ns: u64,
    admitted_ns: Option<u64>,
    first_ns: Option<u64>,
    first_visible_ns: Option<u64>,
    last_ns: Option<u64>,
    ended_ns: u64,
    ending: &'static str,
    ending_detail: String,
    is_short: bool,
    n_prompt: Option<u32>,
    n_generated: Option<u32>,
    n_arrivals: u32,
    n_reasoning: u32,
    latency_ns: u64,
    ttft_ns: Option<u64>,
    ttft_visible_ns: Option<u64>,
    tpot_ns: Option<u64>,
    wait_ns: Option<u64>,
    longest_gap_ns: Option<u64>,
    sample_ns: Option<u64>,
    tokens_per_s: Option<f64>,
    server_total_ns: Option<u64>,
    server_load_ns: Option<u64>,
    server_prompt_ns: Option<u64>,
    server_eval_ns: Option<u64>,
    server_n_prompt: Option<u32>,
    server_n_cached: Option<u32>,
    server_n_eval: Option<u32>,
}

/// The columns, in their order.
const COLUMNS: [&str; 39] = [
    "run",
    "job",
    "experiment",
    "target",
    "round",
    "number",
    "prompt",
    "class",
    "difficulty",
    "pair",
    "due_ns",
    "sent_ns",
    "admitted_ns",
    "first_ns",
    "first_visible_ns",
    "last_ns",
    "ended_ns",
    "ending",
    "ending_detail",
    "is_short",
    "n_prompt",
    "n_generated",
    "n_arrivals",
    "n_reasoning",
    "latency_ns",
    "ttft_ns",
    "ttft_visible_ns",
    "tpot_ns",
    "wait_ns",
    "longest_gap_ns",
    "sample_ns",
    "tokens_per_s",
    "server_total_ns",
    "server_load_ns",
    "server_prompt_ns",
    "server_eval_ns",
    "server_n_prompt",
    "server_n_cached",
    "server_n_eval",
];

/// A header and a row for each request of each job at each target.
///
/// # Errors
/// What the writer says.
pub fn write(view: &RunView, requests: &RequestsView, out: &mut dyn Write) -> io::Result<()> {
    let mut builder = csv::WriterBuilder::new();
    // Written by hand, so that a run without a request has it too.
    let mut csv = builder.has_headers(false).from_writer(out);
    csv.write_record(COLUMNS)?;
    for job in &requests.jobs {
        for sent in &job.requests {
            csv.serialize(row(view, job, sent))?;
        }
    }
    csv.flush()
}

fn row(view: &RunView, job: &JobView, sent: &RequestView) -> Row {
    let prompt = job.prompt_of(sent.number);
    let server = sent.server.unwrap_or_default();
    let experiment = serde_json::to_value(job.job.experiment).ok();
    let experiment = experiment.as_ref().and_then(|v| v.as_str());
    Row {
        run: defused(&view.header.run),
        job: defused(&job.job.name),
        experiment: experiment.unwrap_or_default().to_owned(),
        target: defused(&job.target),
        round: sent.round,
        number: sent.number,
        prompt: defused(prompt.map_or("", |p| p.id.as_str())),
        class: defused(prompt.map_or("", |p| p.class.as_str())),
        difficulty: prompt.and_then(|p| p.difficulty),
        pair: defused(prompt.and_then(|p| p.pair.as_deref()).unwrap_or_default()),
        due_ns: sent.due_ns,
        sent_ns: sent.sent_ns,
        admitted_ns: sent.admitted_ns,
        first_ns: sent.first_ns,
        first_visible_ns: sent.first_visible_ns,
        last_ns: sent.last_ns,
        ended_ns: sent.ended_ns,
        ending: sent.ending.word(),
        ending_detail: defused(&sent.ending.to_string()),
        is_short: sent.is_short(&job.job),
        n_prompt: sent.n_prompt,
        n_generated: sent.n_generated,
        n_arrivals: sent.n_arrivals,
        n_reasoning: sent.n_reasoning,
        latency_ns: sent.latency_ns(),
        ttft_ns: sent.ttft_ns(),
        ttft_visible_ns: sent.ttft_visible_ns(),
        tpot_ns: sent.tpot_ns.map(|ns| ns.round() as u64),
        wait_ns: sent.wait_ns(),
        longest_gap_ns: sent.longest_gap_ns,
        sample_ns: sent.sample_ns,
        tokens_per_s: sent.tokens_per_s(),
        server_total_ns: server.total_ns,
        server_load_ns: server.load_ns,
        server_prompt_ns: server.prompt_ns,
        server_eval_ns: server.eval_ns,
        server_n_prompt: server.n_prompt,
        server_n_cached: server.n_cached,
        server_n_eval: server.n_eval,
    }
}
