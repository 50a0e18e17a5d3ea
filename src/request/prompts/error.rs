//! Prompts that cannot be used.

use std::io;

use crate::file::WriteError;

/// Why a set of prompts cannot be used. Messages name the file, and the line and key where there is one.
#[derive(Debug, thiserror::Error)]
pub enum PromptError {
    /// The file system said no.
    #[error("{name}: {source}")]
    Io {
        /// The file.
        name: String,
        /// Its reason.
        source: io::Error,
    },
    /// The whole of it is wrong.
    #[error("{name}: {reason}")]
    Whole {
        /// The file, or the set's name.
        name: String,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// A line of it is wrong.
    #[error("{name}:{line}: {reason}")]
    Line {
        /// The file, or the set's name.
        name: String,
        /// The line, from 1.
        line: usize,
        /// The key and what is wrong with it.
        reason: String,
    },
    /// It cannot be written there.
    #[error(transparent)]
    Output(WriteError),
}

impl From<WriteError> for PromptError {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Io { path, source } => Self::Io {
                name: path.display().to_string(),
                source,
            },
            other => Self::Output(other),
        }
    }
}

impl PromptError {
    pub(super) fn whole(name: &str, reason: impl Into<String>) -> Self {
        Self::Whole {
            name: name.to_owned(),
            reason: reason.into(),
        }
    }

    pub(super) fn line(name: &str, line: usize, reason: impl Into<String>) -> Self {
        Self::Line {
            name: name.to_owned(),
            line,
            reason: reason.into(),
        }
    }
}
