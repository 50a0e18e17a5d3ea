//! `manual`: completions and man pages, from the table of flags.

use std::io::{self, Write as _};

use anyhow::{Context, Result};

use super::{DONE, unless_closed};
use crate::cli::ManualArgs;

/// Writes the completions of a shell, or a man page of each verb.
///
/// # Errors
/// When they cannot be written.
pub fn manual(what: &ManualArgs) -> Result<u8> {
    let mut command = crate::cli::command();
    match what {
        ManualArgs::Completions { shell } => {
            let mut text = Vec::new();
            clap_complete::generate(*shell, &mut command, "ggufbench", &mut text);
            unless_closed(io::stdout().write_all(&text))?;
        }
        ManualArgs::Man { folder } => {
            std::fs::create_dir_all(folder)
                .and_then(|()| clap_mangen::generate_to(command, folder))
                .with_context(|| format!("{}: cannot write the man pages", folder.display()))?;
        }
    }
    Ok(DONE)
}
