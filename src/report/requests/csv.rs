//! One row a request, for spreadsheets: numbers as the record has them, empty where it has none.

use std::io::{self, Write};

use serde_json::{Value, json};

use crate::report::csv::field;
use crate::request::ServerTimes;
use crate::request::prompts::Prompt;
use crate::view::RunView;
use crate::view::requests::{JobView, RequestView, RequestsView};

/// A request of a job.
struct RequestRow<'a> {
    view: &'a RunView,
    job: &'a JobView,
    sent: &'a RequestView,
    prompt: Option<&'a Prompt>,
    server: ServerTimes,
}

type CsvColumn = (&'static str, fn(&RequestRow<'_>) -> Value);

/// The columns in their order. Instants are nanoseconds after the job began.
const COLUMNS: [CsvColumn; 39] = [
    ("run", |r| json!(r.view.header.run)),
    ("job", |r| json!(r.job.job.name)),
    ("experiment", |r| json!(r.job.job.experiment)),
    ("target", |r| json!(r.job.target)),
    ("round", |r| json!(r.sent.round)),
    ("number", |r| json!(r.sent.number)),
    ("prompt", |r| json!(r.prompt.map(|p| &p.id))),
    ("class", |r| json!(r.prompt.map(|p| &p.class))),
    ("difficulty", |r| json!(r.prompt.and_then(|p| p.difficulty))),
    ("pair", |r| json!(r.prompt.and_then(|p| p.pair.as_ref()))),
    ("due_ns", |r| json!(r.sent.due_ns)),
    ("sent_ns", |r| json!(r.sent.sent_ns)),
    ("admitted_ns", |r| json!(r.sent.admitted_ns)),
    ("first_ns", |r| json!(r.sent.first_ns)),
    ("first_visible_ns", |r| json!(r.sent.first_visible_ns)),
    ("last_ns", |r| json!(r.sent.last_ns)),
    ("ended_ns", |r| json!(r.sent.ended_ns)),
    ("ending", |r| json!(r.sent.ending.word())),
    ("ending_detail", |r| json!(r.sent.ending.to_string())),
    ("is_short", |r| json!(r.sent.is_short(&r.job.job))),
    ("n_prompt", |r| json!(r.sent.n_prompt)),
    ("n_generated", |r| json!(r.sent.n_generated)),
    ("n_arrivals", |r| json!(r.sent.n_arrivals)),
    ("n_reasoning", |r| json!(r.sent.n_reasoning)),
    ("latency_ns", |r| json!(r.sent.latency_ns())),
    ("ttft_ns", |r| json!(r.sent.ttft_ns())),
    ("ttft_visible_ns", |r| json!(r.sent.ttft_visible_ns())),
    ("tpot_ns", |r| {
        json!(r.sent.tpot_ns.map(|ns| ns.round() as u64))
    }),
    ("wait_ns", |r| json!(r.sent.wait_ns())),
    ("longest_gap_ns", |r| json!(r.sent.longest_gap_ns)),
    ("sample_ns", |r| json!(r.sent.sample_ns)),
    ("tokens_per_s", |r| json!(r.sent.tokens_per_s())),
    ("server_total_ns", |r| json!(r.server.total_ns)),
    ("server_load_ns", |r| json!(r.server.load_ns)),
    ("server_prompt_ns", |r| json!(r.server.prompt_ns)),
    ("server_eval_ns", |r| json!(r.server.eval_ns)),
    ("server_n_prompt", |r| json!(r.server.n_prompt)),
    ("server_n_cached", |r| json!(r.server.n_cached)),
    ("server_n_eval", |r| json!(r.server.n_eval)),
];

/// A header and a row for each request of each job at each target.
///
/// # Errors
/// What the writer says.
pub fn write(view: &RunView, requests: &RequestsView, out: &mut dyn Write) -> io::Result<()> {
    let mut csv = csv::Writer::from_writer(out);
    csv.write_record(COLUMNS.map(|(name, _)| name))?;
    for job in &requests.jobs {
        for sent in &job.requests {
            let row = RequestRow {
                view,
                job,
                sent,
                prompt: job.prompt_of(sent.number),
                server: sent.server.unwrap_or_default(),
            };
            csv.write_record(COLUMNS.map(|(_, value)| field(value(&row))))?;
        }
    }
    csv.flush()
}
