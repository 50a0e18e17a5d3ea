//! What is made of the table of flags: completions and man pages.

use std::path::PathBuf;

use clap::Subcommand;

/// What is written of the table of flags.
#[derive(Debug, Subcommand)]
pub enum ManualArgs {
    /// Completions for a shell, on standard output
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// A man page of each verb
    Man {
        /// The folder for them
        folder: PathBuf,
    },
}
