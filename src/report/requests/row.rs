//! A job at a target as machine-readable formats give it: one flat object, units in the names, null for missing.
//! `schema/jobs.schema.json` states its form.

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use crate::metric::Metric;
use crate::report::row::{ends, entries, estimates, whole_ns};
use crate::view::Estimate;
use crate::view::RunView;
use crate::view::requests::{Calls, ClassView, JobFigures, JobView, RequestsView, Times};

/// A job at a target.
pub struct JobRow<'a> {
    view: &'a RunView,
    requests: &'a RequestsView,
    job: &'a JobView,
}

impl<'a> JobRow<'a> {
    /// Every job at every target, in the view's order.
    pub fn all(view: &'a RunView, requests: &'a RequestsView) -> impl Iterator<Item = Self> {
        requests.jobs.iter().map(move |job| Self {
            view,
            requests,
            job,
        })
    }

    fn of_plan<M: SerializeMap>(&self, row: &mut M) -> Result<(), M::Error> {
        let (header, job) = (&self.view.header, &self.job.job);
        let (case, forced) = (&job.case, &job.forced);
        let is_own = self.job.is_in_process();
        let target = self.requests.target(&self.job.target);
        let n_ctx = match is_own || forced.n_ctx {
            true => Some(case.n_ctx),
            false => target.and_then(|t| t.facts()?.n_ctx),
        };
        entries!(row:
            "run" = header.run,
            "machine" = header.machine.fingerprint,
            "job" = job.name,
            "target" = self.job.target,
            "experiment" = job.experiment,
            "model" = case.model,
            "load" = job.load,
            "sampling" = job.sampling,
            "stop_at" = job.stop_at,
            "endpoint" = job.endpoint,
            "n_threads" = (is_own || forced.n_threads).then_some(case.n_threads),
            "n_ctx" = n_ctx,
            "n_gen" = case.n_gen,
        );
        Ok(())
    }

    fn of_measuring<M: SerializeMap>(&self, row: &mut M) -> Result<(), M::Error> {
        let job = self.job;
        let classes: Vec<ClassRow<'_>> = job.classes.iter().map(ClassRow).collect();
        entries!(row:
            "outcome" = job.outcome.word(),
            "outcome_detail" = job.outcome_detail,
            "n_rounds" = job.rounds.len(),
            "n_processes" = job.n_processes(),
            "tokens_per_s" = value(job.tokens_per_s),
            "tokens_per_s_ci" = bounds(job.tokens_per_s),
            "requests_per_s" = value(job.requests_per_s),
            "requests_per_s_ci" = bounds(job.requests_per_s),
        );
        estimates(Metric::keys_of_requests(), &job.estimates, row)?;
        figures(&job.figures, row)?;
        entries!(row:
            "sampler_share" = job.calls.and_then(|c| c.sampler_share()),
            "calls" = job.calls.as_ref().map(CallsRow),
            "usage" = job.usage,
            "classes" = classes,
            "warnings" = self.warnings(),
        );
        Ok(())
    }

    fn warnings(&self) -> Vec<String> {
        let job = self.job;
        let own = job.warnings.iter().map(ToString::to_string);
        let doubts = job.doubts.iter().map(ToString::to_string);
        let of_prompts = self.requests.warnings.iter().map(ToString::to_string);
        let all = own.chain(doubts).chain(of_prompts);
        all.chain(super::of_counting(job)).collect()
    }
}

impl Serialize for JobRow<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut row = to.serialize_map(None)?;
        self.of_plan(&mut row)?;
        self.of_measuring(&mut row)?;
        row.end()
    }
}

fn figures<M: SerializeMap>(f: &JobFigures, row: &mut M) -> Result<(), M::Error> {
    entries!(row:
        "n_sent" = f.n_sent,
        "n_whole" = f.n_whole,
        "n_short" = f.n_short,
        "n_empty" = f.n_empty,
        "n_reasoning_only" = f.counting.n_reasoning_only,
        "failed" = f.failed,
        "failed_such_as" = f.failed_such_as,
        "n_prompt_tokens" = f.n_prompt,
        "n_generated_tokens" = f.n_generated,
        "latency_ns" = TimesRow(&f.latency_ns),
        "ttft_ns" = TimesRow(&f.ttft_ns),
        "ttft_visible_ns" = TimesRow(&f.ttft_visible_ns),
        "tpot_ns" = TimesRow(&f.tpot_ns),
        "itl_ns" = TimesRow(&f.gap_ns),
        "wait_ns" = TimesRow(&f.wait_ns),
        "request_tokens_per_s" = value(f.tokens_per_s),
        "request_tokens_per_s_ci" = bounds(f.tokens_per_s),
        "ttft_share" = f.ttft_share,
    );
    Ok(())
}

/// A class of a job's prompts.
struct ClassRow<'a>(&'a ClassView);

impl Serialize for ClassRow<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut row = to.serialize_map(None)?;
        row.serialize_entry("class", &self.0.class)?;
        figures(&self.0.figures, &mut row)?;
        row.end()
    }
}

struct TimesRow<'a>(&'a Times);

impl Serialize for TimesRow<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let times = self.0;
        let mut row = to.serialize_map(None)?;
        row.serialize_entry("n", &times.n)?;
        for (name, m) in [
            ("mean", times.mean),
            ("median", times.median),
            ("p95", times.p95),
            ("p99", times.p99),
        ] {
            row.serialize_entry(name, &value(m).map(whole))?;
            let bounds = m.and_then(|m| m.interval).map(whole_ns);
            row.serialize_entry(&format!("{name}_ci"), &bounds)?;
        }
        row.serialize_entry("max", &times.max.map(whole))?;
        row.end()
    }
}

struct CallsRow<'a>(&'a Calls);

impl Serialize for CallsRow<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let calls = self.0;
        let mut row = to.serialize_map(None)?;
        entries!(row:
            "n" = calls.n,
            "prefill_ns" = calls.prefill_ns,
            "decode_ns" = calls.decode_ns,
            "mixed_ns" = calls.mixed_ns,
            "build_ns" = calls.build_ns,
            "engine_ns" = calls.engine_ns,
            "sample_ns" = calls.sample_ns,
            "decode_step_ns" = calls.decode_step_ns.map(whole),
            "decode_n_seq" = calls.decode_n_seq,
        );
        row.end()
    }
}

fn whole(ns: f64) -> u64 {
    ns.round() as u64
}

fn value(m: Option<Estimate>) -> Option<f64> {
    m.map(|m| m.value)
}

fn bounds(m: Option<Estimate>) -> Option<[f64; 2]> {
    m?.interval.map(ends)
}
