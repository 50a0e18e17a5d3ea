//! A cell as machine-readable formats give it: one flat object, units in the names, null for missing.
//! `schema/cells.schema.json` states its form.

use serde::{Serialize, Serializer};
use serde_json::Value;

use super::view::{CellUsage, CellView, RunView};
use crate::metric::Metric;
use crate::plan::Case;
use crate::plan::axis::AXES;
use crate::record::StoppedBy;
use crate::stats::Interval;

/// One cell of a run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row<'a> {
    run: &'a str,
    /// Fingerprint: equal for equal hardware.
    machine: &'a str,
    engine: &'a str,
    engine_version: &'a str,
    case_id: &'a str,
    model: &'a str,
    file_type: Option<&'a str>,
    model_file_bytes: Option<u64>,
    model_sha256: Option<&'a str>,
    #[serde(flatten)]
    axes: AxesOf<'a>,
    outcome: &'a str,
    outcome_detail: &'a str,
    n_processes: u32,
    n_repetitions: u32,
    n_steps: u64,
    stopped_by: Option<StoppedBy>,
    #[serde(flatten)]
    metrics: MetricsOf<'a>,
    per_seq_tokens_per_s: Option<f64>,
    step_ns: Steps,
    speedup: Option<f64>,
    speedup_ci: Option<[f64; 2]>,
    efficiency: Option<f64>,
    peak_rss_bytes: Option<u64>,
    /// Of the device that computes, per generated token.
    joules_per_token: Option<f64>,
    /// Why it is null.
    joules_per_token_unknown: Option<&'a str>,
    price_per_kwh: Option<f64>,
    price_currency: Option<&'a str>,
    /// Of that energy, for a million generated tokens.
    cost_per_million_tokens: Option<f64>,
    usage: &'a CellUsage,
    load_ns: Option<u64>,
    load_ns_ci: Option<[u64; 2]>,
    context_ns: Option<u64>,
    context_ns_ci: Option<[u64; 2]>,
    warnings: Vec<String>,
    /// What concerns all cells of the run.
    run_warnings: &'a [String],
}

/// The axes of a case but its model, each by the name of its field.
#[derive(Debug, Clone, PartialEq)]
struct AxesOf<'a>(&'a Case);

impl Serialize for AxesOf<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_map(
            AXES.iter()
                .map(|axis| (axis.words.field, axis.json(self.0))),
        )
    }
}

/// The metrics of a cell, each by its key, with its interval by that key and `_ci`.
#[derive(Debug, Clone, PartialEq)]
struct MetricsOf<'a>(&'a CellView);

impl Serialize for MetricsOf<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let of = |metric: &Metric| {
            let key = metric.key()?;
            let value = self.0.value(*metric).map(|v| metric.json(v));
            let ends = self.0.interval(*metric).map(ends);
            let ends = ends.map(|ends| ends.map(|v| metric.json(v)).to_vec().into());
            let or_null = |value: Option<Value>| value.unwrap_or(Value::Null);
            Some([
                (key.to_owned(), or_null(value)),
                (format!("{key}_ci"), or_null(ends)),
            ])
        };
        to.collect_map(Metric::ALL.iter().filter_map(of).flatten())
    }
}

/// Decode step times with the intervals of their percentiles.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Steps {
    mean: Option<u64>,
    sd: Option<u64>,
    p50: Option<u64>,
    p50_ci: Option<[u64; 2]>,
    p90: Option<u64>,
    p90_ci: Option<[u64; 2]>,
    p95: Option<u64>,
    p95_ci: Option<[u64; 2]>,
    p99: Option<u64>,
    p99_ci: Option<[u64; 2]>,
    max: Option<u64>,
    max_n_past: Option<u32>,
    max_at_boundary: Option<bool>,
    n_boundary: u64,
}

impl Steps {
    fn of(cell: &CellView) -> Self {
        let (times, ci) = (&cell.step_ns, &cell.intervals);
        Self {
            mean: times.mean,
            sd: times.sd,
            p50: times.p50,
            p50_ci: ci.p50.map(whole_ns),
            p90: times.p90,
            p90_ci: ci.p90.map(whole_ns),
            p95: times.p95,
            p95_ci: ci.p95.map(whole_ns),
            p99: times.p99,
            p99_ci: ci.p99.map(whole_ns),
            max: times.max,
            max_n_past: times.max_n_past,
            max_at_boundary: times.max_at_boundary(),
            n_boundary: times.n_boundary,
        }
    }
}

fn ends(interval: Interval) -> [f64; 2] {
    [interval.lo, interval.hi]
}

fn whole_ns(interval: Interval) -> [u64; 2] {
    [interval.lo.round() as u64, interval.hi.round() as u64]
}

/// Every cell of a view, in its order. `run_warnings` are the view's, see [`notes::run_warnings`](super::notes::run_warnings).
pub fn rows<'a>(view: &'a RunView, run_warnings: &'a [String]) -> impl Iterator<Item = Row<'a>> {
    view.cells
        .iter()
        .map(move |cell| row(view, cell, run_warnings))
}

fn row<'a>(view: &'a RunView, cell: &'a CellView, run_warnings: &'a [String]) -> Row<'a> {
    let (header, case, ci) = (&view.header, &cell.case, &cell.intervals);
    let model = view.model(&case.model);
    Row {
        run: &header.run,
        machine: &header.machine.fingerprint,
        engine: &header.engine.name,
        engine_version: &header.engine.version,
        case_id: cell.case_id.as_str(),
        model: &case.model,
        file_type: model.map(|m| m.file_type.as_str()),
        model_file_bytes: model.map(|m| m.file_bytes),
        model_sha256: model.and_then(|m| m.sha256.as_deref()),
        axes: AxesOf(case),
        outcome: cell.outcome.word(),
        outcome_detail: &cell.outcome_detail,
        n_processes: cell.n_processes,
        n_repetitions: cell.n_repetitions,
        n_steps: cell.n_steps,
        stopped_by: cell.stopped_by,
        metrics: MetricsOf(cell),
        per_seq_tokens_per_s: cell.per_seq_tokens_per_s(),
        step_ns: Steps::of(cell),
        speedup: cell.speedup,
        speedup_ci: ci.speedup.map(ends),
        efficiency: cell.efficiency,
        peak_rss_bytes: cell.peak_rss_bytes,
        joules_per_token: cell.joules_per_token(),
        joules_per_token_unknown: cell.energy_unknown(),
        price_per_kwh: view.price.as_ref().map(|p| p.per_kwh),
        price_currency: view.price.as_ref().and_then(|p| p.currency.as_deref()),
        cost_per_million_tokens: view.cost_per_million_tokens(cell),
        usage: &cell.usage,
        load_ns: cell.load_ns,
        load_ns_ci: ci.load_ns.map(whole_ns),
        context_ns: cell.context_ns,
        context_ns_ci: ci.context_ns.map(whole_ns),
        warnings: cell.warnings.iter().map(ToString::to_string).collect(),
        run_warnings,
    }
}
