//! What a night needs besides measuring and judging: one night at a time, its folders, the promoted program, and the summary.
//!
//! The verb `nightly` puts them together. Measuring and judging are children, other runs of the program: a crash of one is an outcome of
//! the night, a signal ends it in order, and what is killed leaves a record and no lock.

mod advice;
pub mod child;
mod failures;
pub mod folders;
pub mod lock;
mod markdown;
pub mod page;
pub mod program;
pub mod summary;

pub use failures::{Failures, cut_rounds};
pub use markdown::command_line;

/// How a night ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Pass,
    /// A pass, because there is no earlier night.
    FirstNight,
    Promoted,
    Regression,
    Inconclusive,
    Interrupted,
    Error,
}

impl Verdict {
    /// Its words in the summary's title, which a later night reads.
    pub fn words(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::FirstNight => "first night, not judged",
            Self::Promoted => "promoted",
            Self::Regression => "regression",
            Self::Inconclusive => "inconclusive",
            Self::Interrupted => "interrupted",
            Self::Error => "error",
        }
    }
}

/// A night's verdict, and the reason in a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conclusion {
    pub verdict: Verdict,
    pub reason: String,
}

impl Conclusion {
    pub fn new(verdict: Verdict, reason: impl Into<String>) -> Self {
        Self {
            verdict,
            reason: reason.into(),
        }
    }

    pub fn error(reason: impl Into<String>) -> Self {
        Self::new(Verdict::Error, reason)
    }

    pub fn inconclusive(reason: impl Into<String>) -> Self {
        Self::new(Verdict::Inconclusive, reason)
    }
}
