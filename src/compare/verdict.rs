//! A row's answer, in a word and in full.

use serde::Serialize;

use super::change;
use crate::metric::Metric;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "word", rename_all = "snake_case")]
pub enum ChangeVerdict {
    /// B takes less time or less energy, its share is lower, or it loses less.
    Faster,
    /// B takes more time or more energy, its share is higher, or it loses more.
    Slower,
    /// The whole interval is within the changes that do not matter.
    Same,
    CannotTell {
        /// How many more processes a side would tell, about; `None` for more than [`change::MOST_PROCESSES`] in all.
        more_processes: Option<usize>,
    },
}

impl ChangeVerdict {
    /// The answer in one word or two.
    pub fn word(self) -> &'static str {
        match self {
            Self::Faster => "faster",
            Self::Slower => "slower",
            Self::Same => "same",
            Self::CannotTell { .. } => "cannot tell",
        }
    }

    /// The answer in one word or two, for the metric that was compared.
    pub fn word_of(self, metric: Metric) -> &'static str {
        match self {
            Self::Faster => metric.words().better,
            Self::Slower => metric.words().worse,
            Self::Same | Self::CannotTell { .. } => self.word(),
        }
    }

    /// The answer in full.
    pub fn in_full(self, metric: Metric, same_within: f64) -> String {
        match self {
            Self::Same => format!("same within {}", percent(same_within)),
            Self::CannotTell { more_processes } => {
                format!(
                    "cannot tell ({})",
                    would_need_of(more_processes, metric.sample_unit())
                )
            }
            other => other.word_of(metric).to_owned(),
        }
    }

    /// The same where there is little room: `cannot tell (+4)`.
    pub fn in_short(self, metric: Metric, same_within: f64) -> String {
        match self {
            Self::CannotTell { more_processes } => {
                format!("{} {}", self.word(), more_in_short(more_processes))
            }
            other => other.in_full(metric, same_within),
        }
    }
}

/// `(+4)`, or `(>100)` for more than is worth counting.
pub fn more_in_short(more_processes: Option<usize>) -> String {
    match more_processes {
        Some(n) => format!("(+{n})"),
        None => format!("(>{})", change::MOST_PROCESSES),
    }
}

/// `would need 4 more processes`.
pub fn would_need(more_processes: Option<usize>) -> String {
    would_need_of(more_processes, ["process", "processes"])
}

/// The same of another unit, in the singular and in the plural.
fn would_need_of(more_units: Option<usize>, [one, several]: [&str; 2]) -> String {
    match more_units {
        Some(1) => format!("would need 1 more {one}"),
        Some(n) => format!("would need {n} more {several}"),
        None => format!("would need more than {} {several}", change::MOST_PROCESSES),
    }
}

/// A share with the fewest digits: `3%`, `2.5%`.
pub fn percent(share: f64) -> String {
    let text = format!("{:.2}", share * 100.0);
    format!("{}%", text.trim_end_matches('0').trim_end_matches('.'))
}
