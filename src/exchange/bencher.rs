//! Bencher's own JSON (its adapter `json`): for each test its rate, and for generations the time between two tokens, both with their
//! 95% intervals.

use serde_json::{Map, Value, json};

use crate::metric::Metric;
use crate::plan::Case;
use crate::view::{CellView, Estimate, RunView, TestPart};

/// The cells that are wanted.
pub(crate) fn json(view: &RunView, is_wanted: &dyn Fn(&Case) -> bool) -> Value {
    let mut all = Map::new();
    for cell in view.cells.iter().filter(|c| is_wanted(&c.case)) {
        let apart = [TestPart::Prompt, TestPart::Generation];
        let has_parts = apart.iter().any(|part| cell.value(part.metric()).is_some());
        let parts = match has_parts {
            true => &apart[..],
            false => &[TestPart::Both],
        };
        for part in parts {
            if let Some(measures) = measures(cell, *part) {
                all.insert(part.full_name(&cell.case), measures);
            }
        }
    }
    Value::Object(all)
}

fn measures(cell: &CellView, part: TestPart) -> Option<Value> {
    let mut measures = Map::new();
    measures.insert(
        "throughput".to_owned(),
        measure(cell.estimate(part.metric())?),
    );
    let step = cell
        .estimate(Metric::StepNs)
        .filter(|_| part == TestPart::Generation);
    if let Some(step) = step {
        measures.insert("latency".to_owned(), measure(step));
    }
    Some(Value::Object(measures))
}

fn measure(estimate: Estimate) -> Value {
    match estimate.interval {
        Some(interval) => json!({
            "value": estimate.value, "lower_value": interval.lo, "upper_value": interval.hi
        }),
        None => json!({"value": estimate.value}),
    }
}
