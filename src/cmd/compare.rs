//! `compare`: two runs, or two settings within one, cell by cell.

use std::path::Path;

use anyhow::{Result, ensure};

use super::{DONE, FAILED_CELLS, unless_closed};
use crate::cli::CompareArgs;
use crate::compare::output::{ComparedOutputs, missing};
use crate::compare::pair;
use crate::compare::side::Side;
use crate::compare::{CompareOptions, Comparison, compare as compare_sides, sides};
use crate::metric::Metric;
use crate::price::Price;
use crate::record::PairSide;
use crate::record::jsonl::{RecordError, is_pair};
use crate::report::{self, Document, comparison, outputs};
use crate::streams::note;

/// Prints a comparison. Its verdicts on speed are for reading: the exit code is that of having compared, but for outputs that differ.
///
/// # Errors
/// When a record cannot be read, there are no two sides, or standard output is closed.
pub fn compare(args: &CompareArgs) -> Result<u8> {
    let mut options = CompareOptions {
        axes: args.axis.clone(),
        same_within: args.same_within,
        ..CompareOptions::default()
    };
    let (a, b) = match &args.b {
        None if is_pair(&args.a) => {
            let pairing = pair::read(&args.a, args.metric)?;
            options.axes.extend(pairing.axes);
            (pairing.a, Some(pairing.b))
        }
        None => (Side::read(&args.a, args.metric)?, None),
        Some(b) => {
            let (a, b) = (
                Side::read(&args.a, args.metric)?,
                Side::read(b, args.metric)?,
            );
            if a.is_paired_with(&b) {
                options.axes.extend(pair::axes(a.header.pair.as_ref()));
            }
            (a, Some(b))
        }
    };
    let (a, b) = sides(&a, b.as_ref(), &mut options)?;
    let mut comparison = compare_sides(&a, &b, &options)?;
    if args.check_output {
        check_outputs(&a, &b)?;
    }
    if let Some(price) = &args.price {
        let (a, b) = energies(args)?;
        comparison = priced(comparison, (&a, &b), price);
    }
    let documents = documents(&comparison);
    unless_closed(report::print_documents(
        &documents,
        &comparison::Data::of(&comparison),
        args.output,
        &mut std::io::stdout().lock(),
    ))?;
    Ok(with_outputs(DONE, comparison.outputs.as_ref()))
}

/// A comparison's tables.
pub(super) fn documents(comparison: &Comparison) -> Vec<Document> {
    let outputs = comparison.outputs.iter();
    let outputs = outputs.map(|found| outputs::document(found, ["A", "B"]));
    std::iter::once(comparison::document(comparison))
        .chain(outputs)
        .collect()
}

/// Checks that both sides have outputs.
///
/// # Errors
/// Naming the side that has none.
pub(super) fn check_outputs(a: &Side, b: &Side) -> Result<()> {
    for side in [a, b] {
        ensure!(!side.outputs.is_empty(), missing(side));
    }
    Ok(())
}

/// An exit code, where outputs may differ.
pub(super) fn with_outputs(code: u8, outputs: Option<&ComparedOutputs>) -> u8 {
    match code {
        DONE if outputs.is_some_and(ComparedOutputs::any_differs) => FAILED_CELLS,
        other => other,
    }
}

/// Joules per token of both sides, of all their cells.
fn energies(args: &CompareArgs) -> Result<(Side, Side), RecordError> {
    let read = |run: &Path| Side::read(run, Metric::JoulesPerToken);
    match &args.b {
        Some(b) => Ok((read(&args.a)?, read(b)?)),
        None if is_pair(&args.a) => {
            let [a, b] = [PairSide::A, PairSide::B].map(|side| read(&args.a.join(side.folder())));
            Ok((a?, b?))
        }
        None => {
            let both = read(&args.a)?;
            Ok((both.clone(), both))
        }
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
