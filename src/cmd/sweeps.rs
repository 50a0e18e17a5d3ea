//! `sweep --list`: the built-in sweeps.

use anyhow::Result;

use super::{DONE, say};
use crate::plan::sweep;
use crate::report::table::{Document, Table};

/// Lists the built-in sweeps.
///
/// # Errors
/// When standard output cannot be written.
pub fn list() -> Result<u8> {
    let all: Vec<(&str, &str)> = sweep::built_in().collect();
    let table = Table::of(&all)
        .words("sweep", |(name, _)| *name)
        .words("question", |(_, question)| *question);
    let document = Document::new("Built-in sweeps", table).below(
        "",
        "measure one with `ggufbench sweep NAME --model FILE`; `--dry-run` shows its cells and its time",
    );
    say(document.for_stdout())?;
    Ok(DONE)
}
