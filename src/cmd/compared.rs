//! What `compare` and `ab` do with a comparison: its tables, its costs, its exit code.

use super::{DONE, FAILED_CELLS};
use crate::compare::Comparison;
use crate::compare::output::ComparedOutputs;
use crate::compare::side::Side;
use crate::price::Price;
use crate::report::{Document, comparison, outputs};
use crate::streams::note;

/// A comparison's tables.
pub(super) fn documents(comparison: &Comparison) -> Vec<Document> {
    let outputs = comparison.outputs.iter();
    let outputs = outputs.map(|found| outputs::document(found, ["A", "B"]));
    std::iter::once(comparison::document(comparison))
        .chain(outputs)
        .collect()
}

/// An exit code, where outputs may differ.
pub(super) fn with_outputs(code: u8, outputs: Option<&ComparedOutputs>) -> u8 {
    match code {
        DONE if outputs.is_some_and(ComparedOutputs::any_differs) => FAILED_CELLS,
        other => other,
    }
}

/// A comparison with what energy costs, and a note where none was measured.
pub(super) fn priced(compared: Comparison, (a, b): (&Side, &Side), price: &Price) -> Comparison {
    let compared = compared.with_costs(a, b, price.clone());
    if !compared.has_costs() {
        note("--price: no cell has a cost, as no energy was measured; `ggufbench report` says why");
    }
    compared
}
