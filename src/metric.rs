//! The table of metrics: what a repetition is judged by, one row each. Estimates, comparison, the gate, JSON, CSV and schemas come from it;
//! a new metric is a row here. A metric of requests that needs more of a round than [`Answers`] has adds it there and in
//! `compare::side`; one of a scored text, to [`ChunkScores`] and in `view::quality`.

mod words;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::host::EnergySource;
use crate::host::usage::PhaseEnergy;
use crate::measure::{Call, Phase, PhaseTotal};
use crate::plan::Case;
use crate::stats::histogram::min_samples_for;
use crate::stats::summary;
use crate::units;
pub use words::{Better, ChangeWords, Unit};

/// One repetition of a cell, as metrics see it.
#[derive(Debug, Clone, Copy)]
pub struct TimedRepetition<'a> {
    /// The cell.
    pub case: &'a Case,
    /// Its calls, in order.
    pub calls: &'a [Call],
    /// Times of phases whose calls were not timed one by one.
    pub totals: &'a [PhaseTotal],
    /// Of the device that computes; none where it was not measured.
    pub energy: Option<PhaseEnergy>,
}

/// The answers of a job in one round: durations of the whole ones, nanoseconds, and the rate of all.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Answers {
    /// Of each, from due to ended.
    pub latency_ns: Vec<f64>,
    /// From due to the first piece, of those whose pieces came one by one.
    pub ttft_ns: Vec<f64>,
    /// Per token after the first, likewise.
    pub tpot_ns: Vec<f64>,
    /// Generated tokens of all requests per second of the round; `None` where an answer's length is unknown.
    pub tokens_per_s: Option<f64>,
}

/// Smallest divergence and change of a probability that the stored distributions resolve, nats and 1.
const RESOLUTION: f64 = 1e-6;

/// The scores of a chunk of a text: means over its scored positions.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ChunkScores {
    /// Scored positions.
    pub n_scored: u32,
    /// Negative log likelihood of the token that really follows, nats.
    pub mean_nll: f64,
    /// Kullback-Leibler divergence from the base's distribution, nats; `None` of the base, and where the base did not score
    /// the same tokens.
    pub mean_kld: Option<f64>,
    /// Share of positions whose most likely token is the base's, likewise.
    pub same_top: Option<f64>,
    /// Root mean square of the change of the right token's probability, likewise.
    pub right_token_rms: Option<f64>,
}

/// The work that a metric is of, and its value of one repetition.
enum Of {
    /// Batches: a repetition's calls.
    Batch(fn(&TimedRepetition<'_>) -> Option<f64>),
    /// Whole requests: a round of a job.
    Requests(fn(&Answers) -> Option<f64>),
    /// A scored text: a chunk of it.
    Quality(fn(&ChunkScores) -> Option<f64>),
}

/// A metric's row.
struct MetricRow {
    name: &'static str,
    /// Its key in the JSON of a cell or a job, and its column in CSV; empty where another figure stands for it.
    key: &'static str,
    unit: Unit,
    description: &'static str,
    of: Of,
}

/// A row is: what it is (also in schemas); the value of [`Metric`], its name on the command line and in tables, its key in JSON and CSV; its
/// unit; the work that it is of, and its value of one repetition.
macro_rules! metrics {
    ($($(#[doc = $doc:literal])+ $metric:ident = $name:literal, $key:literal, $unit:ident, $work:ident $of:expr;)*) => {
        /// A figure of one repetition; definitions in METHODOLOGY.md, section 1.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Metric {
            $($(#[doc = $doc])+ $metric,)*
        }

        impl Metric {
            /// Every metric, in the order of the table.
            pub const ALL: &[Metric] = &[$(Metric::$metric),*];
        }

        const ROWS: &[MetricRow] = &[$(MetricRow {
            name: $name,
            key: $key,
            unit: Unit::$unit,
            description: concat!($($doc),+),
            of: Of::$work($of),
        }),*];
    };
}

metrics! {
    /// Generated tokens of all sequences per second of decode steps.
    DecodeTokensPerS = "decode", "decode_tokens_per_s", TokensPerS, Batch |r| rate(r.total(Phase::Decode));
    /// Prompt tokens of all sequences per second of prefill; none without a prompt.
    PrefillTokensPerS = "prefill", "prefill_tokens_per_s", TokensPerS, Batch |r| {
        rate(r.total(Phase::Prefill)).filter(|_| r.case.n_prompt > 0)
    };
    /// Median decode step: the latency between two tokens.
    StepNs = "step", "median_step_ns", Ns, Batch |r| r.median_of_steps(Call::step_ns);
    /// Time to first token: the whole prefill, until the last sequence of the jointly prefilled batch has its first token. None
    /// without a prompt, or when no token is chosen.
    TtftNs = "ttft", "ttft_ns", Ns, Batch |r| {
        let has_first = r.case.n_prompt > 0 && r.case.sample;
        let (_, ns) = r.total(Phase::Prefill)?;
        has_first.then_some(ns as f64)
    };
    /// Time per output token of one sequence, (last token - first token) / intervals between them: without speculation the mean
    /// decode step.
    TpotNs = "tpot", "tpot_ns", Ns, Batch |r| {
        // Of a phase timed as a whole its time over the steps is the same mean.
        let (_, ns) = r.only_total(Phase::Decode).unwrap_or_default();
        let of_total = (ns > 0 && r.case.n_gen > 0).then(|| ns as f64 / f64::from(r.case.n_gen));
        summary::mean(&r.steps(Call::step_ns)).or(of_total)
    };
    /// The engine's part of a decode step, median.
    EngineNs = "engine", "engine_ns", Ns, Batch |r| r.median_of_steps(Call::engine_ns);
    /// This program's own part of a decode step, median.
    OverheadNs = "overhead", "overhead_ns", Ns, Batch |r| r.median_of_steps(|c| c.build_ns);
    /// The part of choosing tokens in a decode step, median; none when none are chosen.
    SampleNs = "sample", "sample_ns", Ns, Batch |r| {
        r.median_of_steps(|c| c.sample_ns).filter(|_| r.case.sample)
    };
    /// Share of a repetition's time that its prefill takes; none without a prompt, or without a decode step.
    PrefillShare = "prefill_share", "prefill_share", Share, Batch |r| {
        let (_, prefill_ns) = r.total(Phase::Prefill)?;
        let (_, decode_ns) = r.total(Phase::Decode)?;
        let has_both = r.case.n_prompt > 0 && prefill_ns > 0 && decode_ns > 0;
        has_both.then(|| prefill_ns as f64 / (prefill_ns as f64 + decode_ns as f64))
    };
    /// Prompt and generated tokens of all sequences per second of a repetition, whatever it consists of: llama-bench's t/s, and
    /// the S t/s of llama-batched-bench.
    TotalTokensPerS = "total", "total_tokens_per_s", TokensPerS, Batch |r| {
        let phases = [Phase::Prefill, Phase::Decode, Phase::Mixed];
        rate(phases.into_iter().filter_map(|phase| r.total(phase)).reduce(add))
    };
    /// Energy per generated token of all sequences, by the counters of the device that computes: GPUs, or else the
    /// processor's packages.
    JoulesPerToken = "joules_per_token", "", JoulesPerToken, Batch |r| {
        let (tokens, ns) = r.total(Phase::Decode)?;
        let is_known = tokens > 0 && ns >= EnergySource::of(r.case).least_ns(1);
        let mj = r.energy?.decode_mj;
        // A counter that stands still counts nothing.
        (is_known && mj > 0).then(|| mj as f64 / 1e3 / tokens as f64)
    };
    /// Latency of a request, from due to its last token: mean over a job's whole answers.
    RequestLatencyNs = "request_latency", "request_latency_ns", Ns, Requests |a| summary::mean(&a.latency_ns);
    /// Time to first token of a request, from due: mean over a job's whole answers.
    RequestTtftNs = "request_ttft", "request_ttft_ns", Ns, Requests |a| summary::mean(&a.ttft_ns);
    /// Its 95th percentile over a job's whole answers in one round; none below 59.
    RequestTtftP95Ns = "request_ttft_p95", "request_ttft_p95_ns", Ns, Requests |a| {
        let enough = min_samples_for(0.95).is_some_and(|n| a.ttft_ns.len() as u64 >= n);
        let mut sorted = a.ttft_ns.clone();
        sorted.sort_unstable_by(f64::total_cmp);
        summary::quantile_type8(&sorted, 0.95).filter(|_| enough)
    };
    /// Time per output token of a request after its first: mean over a job's whole answers.
    RequestTpotNs = "request_tpot", "request_tpot_ns", Ns, Requests |a| summary::mean(&a.tpot_ns);
    /// Generated tokens of all requests of a job per second, from its first request to its last token.
    RequestThroughput = "request_throughput", "request_throughput_tokens_per_s", TokensPerS, Requests |a| a.tokens_per_s;
    /// Perplexity of a chunk of a text: exp(mean negative log likelihood of the token that really follows).
    Perplexity = "perplexity", "", Perplexity, Quality |c| Some(c.mean_nll.exp());
    /// Mean Kullback-Leibler divergence of a chunk from the base's distribution.
    Kld = "kld", "", Nats, Quality |c| c.mean_kld.map(|kld| kld.max(RESOLUTION));
    /// Share of a chunk's scored tokens whose most likely token is the base's.
    SameTop = "same_top", "", EqualShare, Quality |c| c.same_top.map(|share| share.max(0.5 / f64::from(c.n_scored.max(1))));
    /// Root mean square, over a chunk, of the change of the right token's probability against the base.
    RightTokenRms = "right_token_rms", "", Probability, Quality |c| c.right_token_rms.map(|rms| rms.max(RESOLUTION));
}

impl<'a> TimedRepetition<'a> {
    /// Tokens and time of a phase; none where it has no part in the repetition, or was not timed by itself.
    fn total(&self, phase: Phase) -> Option<(u64, u64)> {
        let of_calls = self.of_phase(phase);
        let of_calls = of_calls.map(|c| (u64::from(c.n_tokens), c.step_ns()));
        of_calls.reduce(add).or_else(|| self.only_total(phase))
    }

    /// The same of a phase whose calls were not timed one by one.
    fn only_total(&self, phase: Phase) -> Option<(u64, u64)> {
        let totals = self.totals.iter().filter(|total| total.phase == phase);
        totals.map(|total| (total.n_tokens, total.ns)).reduce(add)
    }

    fn of_phase(&self, phase: Phase) -> impl Iterator<Item = &'a Call> {
        self.calls.iter().filter(move |c| c.phase == phase)
    }

    fn steps(&self, part: fn(&Call) -> u64) -> Vec<f64> {
        let decode = self.of_phase(Phase::Decode);
        decode.map(|c| part(c) as f64).collect()
    }

    fn median_of_steps(&self, part: fn(&Call) -> u64) -> Option<f64> {
        summary::median(&self.steps(part))
    }
}

impl Metric {
    fn row(self) -> &'static MetricRow {
        &ROWS[self as usize]
    }

    /// Its word in the table and on the command line.
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// What `--metric` says of its values.
    pub fn help() -> String {
        let names: Vec<&str> = Self::ALL.iter().map(|metric| metric.name()).collect();
        format!("What is compared: {}", names.join(", "))
    }

    /// The metrics of batches that have a key, each with it.
    pub fn keys_of_batches() -> impl Iterator<Item = (Self, &'static str)> {
        let of_batches = Self::ALL
            .iter()
            .filter(|m| matches!(m.row().of, Of::Batch(_)));
        of_batches.filter_map(|metric| Some((*metric, metric.key()?)))
    }

    /// The metrics of requests that have a key, each with it.
    pub fn keys_of_requests() -> impl Iterator<Item = (Self, &'static str)> {
        let of_requests = Self::ALL.iter().filter(|metric| metric.is_of_requests());
        of_requests.filter_map(|metric| Some((*metric, metric.key()?)))
    }

    /// Its key in the JSON of a cell or a job, and its column in CSV; none where another figure stands for it.
    pub fn key(self) -> Option<&'static str> {
        Some(self.row().key).filter(|key| !key.is_empty())
    }

    /// The unit of its values.
    pub fn unit(self) -> &'static str {
        self.row().unit.name()
    }

    /// The words for a difference between two sides.
    pub fn words(self) -> &'static ChangeWords {
        self.row().unit.words()
    }

    /// Which way it gets better.
    pub fn better(self) -> Better {
        self.row().unit.better()
    }

    /// A value in JSON.
    pub fn json(self, value: f64) -> Value {
        match self.row().unit {
            Unit::Ns => json!(value.round() as u64),
            _ => json!(value),
        }
    }

    /// The form of its values in JSON, and what they are.
    pub fn schema(self) -> (&'static str, &'static str) {
        let kind = match self.row().unit {
            Unit::Ns => "integer",
            _ => "number",
        };
        (kind, self.row().description.trim())
    }

    /// A repetition's value, positive, in [`Metric::unit`]; none when it has none: no such calls, no prompt, no token
    /// chosen, a part of a step too short for the clock, or generation too short for the energy counter. `energy` is that of
    /// the device that computes.
    pub fn of(self, case: &Case, calls: &[Call], energy: Option<PhaseEnergy>) -> Option<f64> {
        self.measured(case, calls, energy).filter(|v| *v > 0.0)
    }

    /// As [`Metric::of`], but with a part of a step that the clock saw nothing of as the 0 that it is.
    pub fn measured(self, case: &Case, calls: &[Call], energy: Option<PhaseEnergy>) -> Option<f64> {
        self.measured_of(&TimedRepetition {
            case,
            calls,
            totals: &[],
            energy,
        })
    }

    /// The value of a repetition, positive; none when it has none.
    pub fn of_repetition(self, repetition: &TimedRepetition<'_>) -> Option<f64> {
        self.measured_of(repetition).filter(|v| *v > 0.0)
    }

    /// As [`Metric::of_repetition`], but with a part of a step that the clock saw nothing of as the 0 that it is.
    pub fn measured_of(self, repetition: &TimedRepetition<'_>) -> Option<f64> {
        match self.row().of {
            Of::Batch(of) => of(repetition),
            Of::Requests(_) | Of::Quality(_) => None,
        }
    }

    /// Of a distance from the base, which rounding alone makes: the smallest that is told apart from zero.
    pub fn resolution(self) -> Option<f64> {
        matches!(self, Self::Kld | Self::RightTokenRms).then_some(RESOLUTION)
    }

    /// Whether it is of a scored text, and not of batches.
    pub fn is_of_quality(self) -> bool {
        matches!(self.row().of, Of::Quality(_))
    }

    /// Whether it is of whole requests, and not of batches.
    pub fn is_of_requests(self) -> bool {
        matches!(self.row().of, Of::Requests(_))
    }

    /// The metric of whole requests that is called the same: `request_ttft` for `ttft`.
    pub fn of_whole_requests(self) -> Option<Self> {
        let namesake = |metric: &&Self| metric.name().strip_prefix("request_") == Some(self.name());
        Self::ALL.iter().find(namesake).copied()
    }

    /// What it is of, in the plural: `requests` or `cells`.
    pub fn work(self) -> &'static str {
        match self.row().of {
            Of::Batch(_) => "cells",
            Of::Requests(_) => "requests",
            Of::Quality(_) => "quality cells",
        }
    }

    /// What an observation of it is of, in the singular and in the plural.
    pub fn sample_unit(self) -> [&'static str; 2] {
        match self.is_of_quality() {
            true => ["chunk", "chunks"],
            false => ["process", "processes"],
        }
    }

    /// The names of the metrics of a scored text.
    pub fn names_of_quality() -> String {
        let of_quality = Self::ALL.iter().filter(|metric| metric.is_of_quality());
        let names: Vec<&str> = of_quality.map(|metric| metric.name()).collect();
        names.join(", ")
    }

    /// The names of the metrics of requests.
    pub fn names_of_requests() -> String {
        let of_requests = Self::ALL.iter().filter(|metric| metric.is_of_requests());
        let names: Vec<&str> = of_requests.map(|metric| metric.name()).collect();
        names.join(", ")
    }

    /// The value of a job in one round; none when it has none: no whole answer, or too few of them.
    pub fn of_round(self, answers: &Answers) -> Option<f64> {
        match self.row().of {
            Of::Requests(of) => of(answers).filter(|v| *v > 0.0),
            Of::Batch(_) | Of::Quality(_) => None,
        }
    }

    /// The value of a chunk of a text, positive; none where it has none: the base's own chunk. One that equals the base's has the
    /// smallest value that is told apart from zero, and one without an equal top token half of one.
    pub fn of_chunk(self, scores: &ChunkScores) -> Option<f64> {
        match self.row().of {
            Of::Quality(of) => of(scores).filter(|v| *v > 0.0),
            Of::Batch(_) | Of::Requests(_) => None,
        }
    }

    /// The logarithm of a value as a time: of a rate, that of its inverse. More is slower, whatever the metric.
    pub fn log_time(self, value: f64) -> f64 {
        match self.better() {
            Better::Lower => value.ln(),
            Better::Higher => -value.ln(),
        }
    }

    /// A value as people read it, with its unit where the unit depends on its size.
    pub fn show(self, value: f64) -> String {
        match self.row().unit {
            Unit::JoulesPerToken => units::significant(value),
            Unit::Nats => units::nats(value),
            Unit::Share | Unit::EqualShare | Unit::Probability => units::percent(value),
            Unit::TokensPerS | Unit::Perplexity => units::significant(value),
            Unit::Ns => units::duration(value.round() as u64),
        }
    }
}

/// Tokens and times of two parts together.
fn add(a: (u64, u64), b: (u64, u64)) -> (u64, u64) {
    (a.0.saturating_add(b.0), a.1.saturating_add(b.1))
}

/// Tokens per second; none when no time passed.
fn rate(total: Option<(u64, u64)>) -> Option<f64> {
    let (tokens, ns) = total?;
    (tokens > 0 && ns > 0).then(|| tokens as f64 / ns as f64 * 1e9)
}

/// The latency between two tokens is what people ask for first.
impl Default for Metric {
    fn default() -> Self {
        Self::StepNs
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Metric {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        // `ttft_p95` is no metric of cells, so it can only be that of requests.
        let of_requests = |m: &&Self| m.name().strip_prefix("request_") == Some(s);
        let mut all = Self::ALL.iter();
        let found = all.clone().find(|metric| metric.name() == s);
        found
            .or_else(|| all.find(of_requests))
            .copied()
            .ok_or_else(|| {
                let names: Vec<&str> = Self::ALL.iter().map(|metric| metric.name()).collect();
                format!("'{s}' is not a metric; one of {}", names.join(", "))
            })
    }
}

#[cfg(test)]
mod tests;
