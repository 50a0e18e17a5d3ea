//! A job at a target as machine-readable formats give it: one flat object, units in the names, null for missing.
//! `schema/jobs.schema.json` states its form.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::request::{Endpoint, Experiment, Load, Sampling, StopAt};
use crate::stats::Interval;
use crate::view::Estimate;
use crate::view::requests::{Calls, JobFigures, JobView, RequestsView, Times};
use crate::view::{CellUsage, RunView};

/// A job at a target.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row<'a> {
    run: &'a str,
    machine: &'a str,
    job: &'a str,
    target: &'a str,
    experiment: Experiment,
    model: &'a str,
    load: Load,
    sampling: Sampling,
    stop_at: StopAt,
    endpoint: Endpoint,
    n_threads: Option<u32>,
    n_ctx: Option<u32>,
    n_gen: u32,
    n_rounds: u32,
    /// Worker processes; null for servers.
    n_processes: Option<u32>,
    tokens_per_s: Option<f64>,
    tokens_per_s_ci: Option<[f64; 2]>,
    requests_per_s: Option<f64>,
    requests_per_s_ci: Option<[f64; 2]>,
    #[serde(flatten)]
    figures: FiguresRow<'a>,
    sampler_share: Option<f64>,
    calls: Option<CallsRow>,
    usage: &'a CellUsage,
    classes: Vec<ClassRow<'a>>,
    warnings: Vec<String>,
}

/// A class of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct ClassRow<'a> {
    class: &'a str,
    #[serde(flatten)]
    figures: FiguresRow<'a>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
struct FiguresRow<'a> {
    n_sent: u32,
    n_whole: u32,
    n_short: u32,
    n_empty: u32,
    n_reasoning_only: u32,
    failed: &'a BTreeMap<&'static str, u32>,
    failed_such_as: &'a BTreeMap<&'static str, String>,
    n_prompt_tokens: Option<u64>,
    n_generated_tokens: Option<u64>,
    latency_ns: TimesRow,
    ttft_ns: TimesRow,
    ttft_visible_ns: TimesRow,
    tpot_ns: TimesRow,
    itl_ns: TimesRow,
    wait_ns: TimesRow,
    request_tokens_per_s: Option<f64>,
    request_tokens_per_s_ci: Option<[f64; 2]>,
    ttft_share: Option<f64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
struct TimesRow {
    n: u64,
    mean: Option<u64>,
    mean_ci: Option<[u64; 2]>,
    median: Option<u64>,
    median_ci: Option<[u64; 2]>,
    p95: Option<u64>,
    p95_ci: Option<[u64; 2]>,
    p99: Option<u64>,
    p99_ci: Option<[u64; 2]>,
    max: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
struct CallsRow {
    n: u64,
    prefill_ns: u64,
    decode_ns: u64,
    mixed_ns: u64,
    build_ns: u64,
    engine_ns: u64,
    sample_ns: u64,
    decode_step_ns: Option<u64>,
    decode_n_seq: Option<f64>,
}

fn whole(ns: f64) -> u64 {
    ns.max(0.0).round() as u64
}

fn value(m: Option<Estimate>) -> Option<f64> {
    m.map(|m| m.value)
}

fn ends(m: Option<Estimate>) -> Option<[f64; 2]> {
    let interval: Interval = m?.interval?;
    Some([interval.lo, interval.hi])
}

impl From<&Times> for TimesRow {
    fn from(times: &Times) -> Self {
        let value = |m: Option<Estimate>| m.map(|m| whole(m.value));
        let ends = |m: Option<Estimate>| ends(m).map(|both| both.map(whole));
        Self {
            n: times.n,
            mean: value(times.mean),
            mean_ci: ends(times.mean),
            median: value(times.median),
            median_ci: ends(times.median),
            p95: value(times.p95),
            p95_ci: ends(times.p95),
            p99: value(times.p99),
            p99_ci: ends(times.p99),
            max: times.max.map(whole),
        }
    }
}

impl From<&Calls> for CallsRow {
    fn from(calls: &Calls) -> Self {
        Self {
            n: calls.n,
            prefill_ns: calls.prefill_ns,
            decode_ns: calls.decode_ns,
            mixed_ns: calls.mixed_ns,
            build_ns: calls.build_ns,
            engine_ns: calls.engine_ns,
            sample_ns: calls.sample_ns,
            decode_step_ns: calls.decode_step_ns.map(whole),
            decode_n_seq: calls.decode_n_seq,
        }
    }
}

impl<'a> From<&'a JobFigures> for FiguresRow<'a> {
    fn from(f: &'a JobFigures) -> Self {
        Self {
            n_sent: f.n_sent,
            n_whole: f.n_whole,
            n_short: f.n_short,
            n_empty: f.n_empty,
            n_reasoning_only: f.counting.n_reasoning_only,
            failed: &f.failed,
            failed_such_as: &f.failed_such_as,
            n_prompt_tokens: f.n_prompt,
            n_generated_tokens: f.n_generated,
            latency_ns: (&f.latency_ns).into(),
            ttft_ns: (&f.ttft_ns).into(),
            ttft_visible_ns: (&f.ttft_visible_ns).into(),
            tpot_ns: (&f.tpot_ns).into(),
            itl_ns: (&f.gap_ns).into(),
            wait_ns: (&f.wait_ns).into(),
            request_tokens_per_s: value(f.tokens_per_s),
            request_tokens_per_s_ci: ends(f.tokens_per_s),
            ttft_share: f.ttft_share,
        }
    }
}

/// Every job at every target, in the view's order.
pub fn rows<'a>(
    view: &'a RunView,
    requests: &'a RequestsView,
) -> impl Iterator<Item = Row<'a>> + 'a {
    requests
        .jobs
        .iter()
        .map(move |job| row(view, requests, job))
}

fn row<'a>(view: &'a RunView, requests: &'a RequestsView, view_of_job: &'a JobView) -> Row<'a> {
    let (job, case) = (&view_of_job.job, &view_of_job.job.case);
    let is_own = view_of_job.is_in_process();
    let said = requests.target(&view_of_job.target).and_then(|t| t.facts());
    let doubts = view_of_job.doubts.iter().map(ToString::to_string);
    Row {
        run: &view.header.run,
        machine: &view.header.machine.fingerprint,
        job: &job.name,
        target: &view_of_job.target,
        experiment: job.experiment,
        model: &case.model,
        load: job.load,
        sampling: job.sampling,
        stop_at: job.stop_at,
        endpoint: job.endpoint,
        n_threads: (is_own || job.forced.n_threads).then_some(case.n_threads),
        n_ctx: match is_own || job.forced.n_ctx {
            true => Some(case.n_ctx),
            false => said.and_then(|facts| facts.n_ctx),
        },
        n_gen: case.n_gen,
        n_rounds: u32::try_from(view_of_job.rounds.len()).unwrap_or(u32::MAX),
        n_processes: view_of_job.n_processes(),
        tokens_per_s: value(view_of_job.tokens_per_s),
        tokens_per_s_ci: ends(view_of_job.tokens_per_s),
        requests_per_s: value(view_of_job.requests_per_s),
        requests_per_s_ci: ends(view_of_job.requests_per_s),
        figures: (&view_of_job.figures).into(),
        sampler_share: view_of_job.calls.and_then(|c| c.sampler_share()),
        calls: view_of_job.calls.as_ref().map(CallsRow::from),
        usage: &view_of_job.usage,
        classes: view_of_job
            .classes
            .iter()
            .map(|c| ClassRow {
                class: &c.class,
                figures: (&c.figures).into(),
            })
            .collect(),
        warnings: view_of_job
            .warnings
            .iter()
            .map(ToString::to_string)
            .chain(doubts)
            .chain(requests.warnings.iter().map(ToString::to_string))
            .chain(super::of_counting(view_of_job))
            .collect(),
    }
}
