//! `trend`: a history by night, as a table, a page and a picture.

use std::io;

use anyhow::Result;

use super::trend_drawn::drawn;
use super::{DONE, unless_closed};
use crate::cli::TrendArgs;
use crate::report;

/// Shows the newest nights of a history. It is for reading: the exit code says only that it was shown.
///
/// # Errors
/// As [`drawn`], and when standard output cannot be written.
pub fn trend(args: &TrendArgs) -> Result<u8> {
    let (trend, document) = drawn(args)?;
    let out = &mut io::stdout().lock();
    unless_closed(report::print_documents(
        &[document],
        &trend,
        args.output,
        out,
    ))?;
    Ok(DONE)
}
