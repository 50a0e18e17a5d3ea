//! Benchmark programs of others as sides of a comparison: `llama-bench` and `llama-batched-bench` of any build or fork, and other
//! builds of this program. A process of one is a visit, and the repetitions that it prints are the observations.

mod arguments;
pub(crate) mod browser;
pub(crate) mod child;
mod kind;
mod observation;
pub(crate) mod pairs;
pub(crate) mod record;

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::host::not_for_workers;
use crate::host::process::describe_exit;
use crate::metric::Metric;
use crate::plan::Case;
use crate::run::Interrupt;
use child::{ChildError, FinishedChild};

pub use kind::ForeignKind;
pub(crate) use observation::ForeignObservation;

/// Most lines of a program's last words that a message has.
const MOST_LAST_WORDS: usize = 3;

/// A program, and how it is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ForeignProgram {
    pub path: PathBuf,
    pub kind: ForeignKind,
}

/// The part of a repetition whose time is observed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum TimedPart {
    Prefill,
    Decode,
}

impl TimedPart {
    /// The part that a metric is of, and the metric whose definition the figures of such programs meet: they print the time of all
    /// decode steps together, so that the mean step stands for the median one.
    pub fn of(metric: Metric) -> Option<(Self, Metric)> {
        match metric {
            Metric::StepNs | Metric::TpotNs => Some((Self::Decode, Metric::TpotNs)),
            Metric::DecodeTokensPerS => Some((Self::Decode, metric)),
            Metric::PrefillTokensPerS => Some((Self::Prefill, metric)),
            _ => None,
        }
    }
}

/// What is measured in a visit.
#[derive(Debug, Clone)]
pub(crate) struct ForeignTask {
    pub case: Case,
    pub model: PathBuf,
    pub part: TimedPart,
    /// Observations that a visit shall give.
    pub repetitions: u32,
}

/// Why a visit has no observations.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum VisitError {
    /// The program cannot measure such a cell; another try would end the same way.
    #[error("{0}")]
    Impossible(String),
    /// The process could not be started, crashed, or printed something else than was asked for.
    #[error("{0}")]
    Failed(String),
    #[error("no answer for {} s", .0.as_secs())]
    TimedOut(Duration),
    #[error("interrupted")]
    Interrupted,
}

impl fmt::Display for ForeignProgram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.path.display())
    }
}

impl ForeignProgram {
    /// The program at `path`, of the kind that was named, or that its file name or its help shows.
    ///
    /// # Errors
    /// When its kind cannot be known, or it is not there.
    pub fn find(path: &Path, kind: Option<ForeignKind>) -> Result<Self, String> {
        let absolute = std::path::absolute(path).map_err(|e| format!("{}: {e}", path.display()))?;
        if !absolute.is_file() {
            return Err(format!("{}: there is no such program", path.display()));
        }
        let kind = match kind {
            Some(kind) => kind,
            None => ForeignKind::of_program(&absolute)?,
        };
        Ok(Self {
            path: absolute,
            kind,
        })
    }

    /// The command line of a visit, without the program; `scratch` is an empty folder.
    ///
    /// # Errors
    /// When the program cannot measure such a cell.
    pub fn arguments(&self, task: &ForeignTask, scratch: &Path) -> Result<Vec<String>, String> {
        arguments::of(self.kind, task, scratch)
    }

    /// Starts the program once, and reads its repetitions.
    pub fn visit(
        &self,
        task: &ForeignTask,
        timeout: Duration,
        interrupt: &Interrupt,
    ) -> Result<Vec<ForeignObservation>, VisitError> {
        let scratch = tempfile::tempdir()
            .map_err(|e| VisitError::Failed(format!("cannot make a temporary folder: {e}")))?;
        let arguments = self
            .arguments(task, scratch.path())
            .map_err(VisitError::Impossible)?;
        let mut command = Command::new(&self.path);
        command.args(arguments).current_dir(scratch.path());
        for name in not_for_workers() {
            command.env_remove(name);
        }
        let finished = child::run(&mut command, Some(timeout), interrupt);
        let FinishedChild {
            status,
            stdout,
            stderr,
        } = finished.map_err(|e| match e {
            ChildError::Start(reason) => {
                VisitError::Failed(format!("{}: {reason}", self.path.display()))
            }
            ChildError::TimedOut(after) => VisitError::TimedOut(after),
            ChildError::Interrupted => VisitError::Interrupted,
        })?;
        if !status.success() {
            let how = describe_exit(status);
            return Err(VisitError::Failed(how + &last_words(&stderr)));
        }
        observation::read(self.kind, task, &stdout, scratch.path())
            .map_err(|reason| VisitError::Failed(reason + &last_words(&stderr)))
    }
}

/// The end of what a program said on standard error, after a colon; empty where it said nothing.
pub(crate) fn last_words(stderr: &str) -> String {
    let lines: Vec<&str> = stderr
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    let last = &lines[lines.len().saturating_sub(MOST_LAST_WORDS)..];
    match last {
        [] => String::new(),
        last => format!(": {}", last.join(" / ")),
    }
}

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(all(test, unix))]
mod tests;
