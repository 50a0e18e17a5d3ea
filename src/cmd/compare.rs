//! `compare`: two runs, or two settings within one, cell by cell.

use std::path::Path;

use anyhow::Result;

use super::compared::{documents, priced, with_outputs};
use super::{DONE, unless_closed};
use crate::cli::CompareArgs;
use crate::compare::output::ensure_compared;
use crate::compare::pair;
use crate::compare::side::Side;
use crate::compare::{CompareOptions, Comparison, compare as compare_sides, sides};
use crate::metric::Metric;
use crate::plan::Case;
use crate::record::PairSide;
use crate::record::jsonl::{RecordError, is_pair, read_header};
use crate::report::{self, DocumentForm, comparison, pull_request};

/// Prints a comparison. Its verdicts on speed are for reading: the exit code is that of having compared, but for outputs that differ.
///
/// # Errors
/// When a record cannot be read, there are no two sides, or standard output is closed.
pub fn compare(args: &CompareArgs) -> Result<u8> {
    let metric = metric_of(args)?;
    let (a, b, options) = sides_of(args, metric)?;
    let mut comparison = compare_sides(&a, &b, &options)?;
    if args.check_output {
        ensure_compared(comparison.outputs.as_ref(), ["A", "B"])?;
    }
    if let Some(price) = &args.price {
        let (a, b) = energies(args)?;
        comparison = priced(comparison, (&a, &b), price);
    }
    let out = &mut std::io::stdout().lock();
    let written = match args.output {
        DocumentForm::Md => {
            let tests = match args.metric {
                Some(_) => Vec::new(),
                None => rates(args)?,
            };
            let headers = (&a.header, &b.header);
            pull_request::print(&comparison, &tests, headers, out)
        }
        form => {
            let data = comparison::ComparisonData::of(&comparison);
            report::print_documents(&documents(&comparison), &data, form, out)
        }
    };
    unless_closed(written)?;
    Ok(with_outputs(DONE, comparison.outputs.as_ref()))
}

/// The metric that was asked for, or the usual one. Imported runs have no single steps.
fn metric_of(args: &CompareArgs) -> Result<Metric> {
    if let Some(metric) = args.metric {
        return Ok(metric);
    }
    let a = match is_pair(&args.a) {
        true => args.a.join(PairSide::A.folder()),
        false => args.a.clone(),
    };
    for run in std::iter::once(&a).chain(&args.b) {
        let header = read_header(run)?;
        if header.imported.is_some() {
            return Ok(header.usual_metric());
        }
    }
    Ok(Metric::default())
}

/// Both sides in a metric, and how they are compared.
fn sides_of(args: &CompareArgs, metric: Metric) -> Result<(Side, Side, CompareOptions)> {
    let mut options = CompareOptions {
        axes: args.axis.clone(),
        same_within: args.same_within,
        ..CompareOptions::default()
    };
    let (a, b) = match &args.b {
        None if is_pair(&args.a) => {
            let pairing = pair::read(&args.a, metric)?;
            options.axes.extend(pairing.axes);
            (pairing.a, Some(pairing.b))
        }
        None => (Side::read(&args.a, metric)?, None),
        Some(b) => {
            let (a, b) = (Side::read(&args.a, metric)?, Side::read(b, metric)?);
            if a.is_paired_with(&b) {
                options.axes.extend(pair::axes(a.header.pair.as_ref()));
            }
            (a, Some(b))
        }
    };
    let (a, b) = sides(&a, b.as_ref(), &mut options)?;
    Ok((a, b, options))
}

/// The sides compared by the rates of their tests: of prompts, of generations, and of what was timed as a whole. A rate that no
/// cell of both sides has is left out.
fn rates(args: &CompareArgs) -> Result<Vec<Comparison>> {
    let mut compared: Vec<Comparison> = Vec::new();
    for metric in [
        Metric::PrefillTokensPerS,
        Metric::DecodeTokensPerS,
        Metric::TotalTokensPerS,
    ] {
        let Ok((mut a, b, options)) = sides_of(args, metric) else {
            continue;
        };
        if metric == Metric::TotalTokensPerS {
            let has_parts = |case: &Case| {
                compared
                    .iter()
                    .flat_map(|c| &c.rows)
                    .any(|r| r.key.case == *case)
            };
            a.cells.retain(|cell| !has_parts(&cell.key.case));
        }
        if !a.cells.is_empty() {
            compared.extend(compare_sides(&a, &b, &options));
        }
    }
    Ok(compared)
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
