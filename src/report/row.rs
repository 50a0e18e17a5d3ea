//! A cell as machine-readable formats give it: one flat object, units in the names, null for missing.
//! `schema/cells.schema.json` states its form.

use std::collections::HashMap;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::view::{CellView, Estimate, RunView};
use crate::metric::Metric;
use crate::plan::axis::AXES;
use crate::stats::Interval;

/// Adds keys with their values to an object, in their order.
macro_rules! entries {
    ($object:ident: $($key:literal = $value:expr),* $(,)?) => {
        $($object.serialize_entry($key, &$value)?;)*
    };
}
pub(super) use entries;

/// One cell of a run.
pub struct CellRow<'a> {
    view: &'a RunView,
    cell: &'a CellView,
    run_warnings: &'a [String],
}

impl<'a> CellRow<'a> {
    /// Every cell of a view, in its order. `run_warnings` are the view's, see [`notes::run_warnings`](super::notes::run_warnings).
    pub fn all(view: &'a RunView, run_warnings: &'a [String]) -> impl Iterator<Item = Self> {
        view.cells.iter().map(move |cell| Self {
            view,
            cell,
            run_warnings,
        })
    }

    fn of_run<M: SerializeMap>(&self, row: &mut M) -> Result<(), M::Error> {
        let (header, case) = (&self.view.header, &self.cell.case);
        let model = self.view.model(&case.model);
        entries!(row:
            "run" = header.run,
            "machine" = header.machine.fingerprint,
            "engine" = header.engine.name,
            "engine_version" = header.engine.version,
            "case_id" = self.cell.case_id,
            "model" = case.model,
            "file_type" = model.map(|m| &m.file_type),
            "model_file_bytes" = model.map(|m| m.file_bytes),
            "model_sha256" = model.and_then(|m| m.sha256.as_ref()),
        );
        for axis in AXES {
            row.serialize_entry(axis.words.field, &axis.json(case))?;
        }
        Ok(())
    }

    fn of_measuring<M: SerializeMap>(&self, row: &mut M) -> Result<(), M::Error> {
        let cell = self.cell;
        entries!(row:
            "outcome" = cell.outcome.word(),
            "outcome_detail" = cell.outcome_detail,
            "n_processes" = cell.n_processes,
            "n_repetitions" = cell.n_repetitions,
            "n_steps" = cell.n_steps,
            "stopped_by" = cell.stopped_by,
        );
        estimates(Metric::keys_of_batches(), &cell.estimates, row)
    }

    fn of_cell<M: SerializeMap>(&self, row: &mut M) -> Result<(), M::Error> {
        let (view, cell) = (self.view, self.cell);
        let (price, bounds) = (view.price.as_ref(), &cell.intervals);
        let warnings: Vec<String> = cell.warnings.iter().map(ToString::to_string).collect();
        entries!(row:
            "per_seq_tokens_per_s" = cell.per_seq_tokens_per_s(),
            "step_ns" = StepRow(cell),
            "speedup" = cell.speedup,
            "speedup_ci" = bounds.speedup.map(ends),
            "efficiency" = cell.efficiency,
            "peak_rss_bytes" = cell.peak_rss_bytes,
            "joules_per_token" = cell.joules_per_token(),
            "joules_per_token_unknown" = cell.energy_unknown(),
            "price_per_kwh" = price.map(|p| p.per_kwh),
            "price_currency" = price.and_then(|p| p.currency.as_ref()),
            "cost_per_million_tokens" = view.cost_per_million_tokens(cell),
            "usage" = cell.usage,
            "load_ns" = cell.load_ns,
            "load_ns_ci" = bounds.load_ns.map(whole_ns),
            "context_ns" = cell.context_ns,
            "context_ns_ci" = bounds.context_ns.map(whole_ns),
            "warnings" = warnings,
            "run_warnings" = self.run_warnings,
        );
        Ok(())
    }
}

impl Serialize for CellRow<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut row = to.serialize_map(None)?;
        self.of_run(&mut row)?;
        self.of_measuring(&mut row)?;
        self.of_cell(&mut row)?;
        row.end()
    }
}

/// Decode step times with the intervals of their percentiles.
struct StepRow<'a>(&'a CellView);

impl Serialize for StepRow<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let (times, bounds) = (&self.0.step_ns, &self.0.intervals);
        let mut row = to.serialize_map(None)?;
        entries!(row:
            "mean" = times.mean,
            "sd" = times.sd,
            "p50" = times.p50,
            "p50_ci" = bounds.p50.map(whole_ns),
            "p90" = times.p90,
            "p90_ci" = bounds.p90.map(whole_ns),
            "p95" = times.p95,
            "p95_ci" = bounds.p95.map(whole_ns),
            "p99" = times.p99,
            "p99_ci" = bounds.p99.map(whole_ns),
            "max" = times.max,
            "max_n_past" = times.max_n_past,
            "max_at_boundary" = times.max_at_boundary(),
            "n_boundary" = times.n_boundary,
        );
        row.end()
    }
}

/// Metrics by their keys, each with its interval.
pub(super) fn estimates<M: SerializeMap>(
    keys: impl Iterator<Item = (Metric, &'static str)>,
    estimates: &HashMap<Metric, Estimate>,
    row: &mut M,
) -> Result<(), M::Error> {
    for (metric, key) in keys {
        let known = estimates.get(&metric);
        let value = known.map(|e| metric.json(e.value));
        row.serialize_entry(key, &value)?;
        let bounds = known.and_then(|e| e.interval).map(ends);
        let bounds = bounds.map(|both| both.map(|v| metric.json(v)));
        row.serialize_entry(&format!("{key}_ci"), &bounds)?;
    }
    Ok(())
}

/// The ends of an interval.
pub(super) fn ends(interval: Interval) -> [f64; 2] {
    [interval.lo, interval.hi]
}

/// The ends of an interval of durations.
pub(super) fn whole_ns(interval: Interval) -> [u64; 2] {
    ends(interval).map(|ns| ns.round() as u64)
}
