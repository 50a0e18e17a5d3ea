//! `compare`: two runs, or two settings within one, cell by cell.

use anyhow::Result;

use super::{DONE, unless_closed};
use crate::cli::CompareArgs;
use crate::compare::pair;
use crate::compare::side::Side;
use crate::compare::{Question, compare as compare_sides, sides};
use crate::record::jsonl::is_pair;
use crate::report::{self, comparison};

/// Prints a comparison. Its verdicts are for reading: the exit code is that of having compared.
///
/// # Errors
/// When a record cannot be read, there are no two sides, or standard output is closed.
pub fn compare(args: &CompareArgs) -> Result<u8> {
    let mut question = Question {
        axes: args.axis.clone(),
        same_within: args.same_within,
        ..Question::default()
    };
    let (a, b) = match &args.b {
        None if is_pair(&args.a) => {
            let pairing = pair::read(&args.a, args.metric)?;
            question.axes.extend(pairing.axes);
            (pairing.a, Some(pairing.b))
        }
        None => (Side::read(&args.a, args.metric)?, None),
        Some(b) => {
            let (a, b) = (
                Side::read(&args.a, args.metric)?,
                Side::read(b, args.metric)?,
            );
            if a.is_paired_with(&b) {
                question.axes.extend(pair::axes(a.header.pair.as_ref()));
            }
            (a, Some(b))
        }
    };
    let (a, b) = sides(&a, b.as_ref(), &mut question)?;
    let comparison = compare_sides(&a, &b, &question)?;
    let sheet = comparison::sheet(&comparison);
    unless_closed(report::print_sheet(
        &sheet,
        &comparison::Data::of(&comparison),
        args.output,
        &mut std::io::stdout().lock(),
    ))?;
    Ok(DONE)
}
