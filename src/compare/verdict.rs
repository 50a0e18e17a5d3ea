//! A row's answer, in a word and in full.

use serde::Serialize;

use super::change;
use crate::metric::Metric;
use crate::stats::sequential::{MOST_MORE_PAIRS, PairDecision, PairVerdict};

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
    /// Of pairs measured until decided: B takes more than A by more than the tolerance.
    Regression,
    /// B takes less than A by more than the tolerance.
    Improvement,
    /// That B takes more by more than the tolerance is excluded.
    NoRegression,
    NotDecided {
        /// About how many more pairs would tell; `None` for more than [`MOST_MORE_PAIRS`].
        more_pairs: Option<usize>,
    },
}

impl From<PairDecision> for ChangeVerdict {
    fn from(decision: PairDecision) -> Self {
        match decision.verdict {
            PairVerdict::Slower => Self::Regression,
            PairVerdict::Faster => Self::Improvement,
            PairVerdict::NotSlower => Self::NoRegression,
            PairVerdict::Undecided => Self::NotDecided {
                more_pairs: decision.more_pairs,
            },
        }
    }
}

impl ChangeVerdict {
    /// The answer in one word or two.
    pub fn word(self) -> &'static str {
        match self {
            Self::Faster => "faster",
            Self::Slower => "slower",
            Self::Same => "same",
            Self::CannotTell { .. } => "cannot tell",
            Self::Regression => "regression",
            Self::Improvement => "improvement",
            Self::NoRegression => "no regression",
            Self::NotDecided { .. } => "not decided",
        }
    }

    /// Whether it says how much more it would need.
    pub fn asks_for_more(self) -> bool {
        matches!(self, Self::CannotTell { .. } | Self::NotDecided { .. })
    }

    /// The answer in one word or two, for the metric that was compared.
    pub fn word_of(self, metric: Metric) -> &'static str {
        match self {
            Self::Faster => metric.words().better,
            Self::Slower => metric.words().worse,
            other => other.word(),
        }
    }

    /// The answer in full.
    /// `unit` is what an observation is of, in the singular and in the plural.
    pub fn in_full(self, metric: Metric, unit: [&str; 2], same_within: f64) -> String {
        match self {
            Self::Same => format!("same within {}", percent(same_within)),
            Self::CannotTell { more_processes } => {
                format!("cannot tell ({})", would_need_of(more_processes, unit))
            }
            Self::NoRegression => format!("no regression beyond {}", percent(same_within)),
            Self::NotDecided { more_pairs } => {
                format!("not decided ({})", would_need_pairs(more_pairs))
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
            Self::NotDecided { more_pairs } => {
                format!("{} {}", self.word(), more_pairs_in_short(more_pairs))
            }
            Self::NoRegression => self.word().to_owned(),
            other => other.in_full(metric, metric.sample_unit(), same_within),
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

/// `(+4)`, or `(>1000)`.
pub fn more_pairs_in_short(more_pairs: Option<usize>) -> String {
    match more_pairs {
        Some(n) => format!("(+{n})"),
        None => format!("(>{MOST_MORE_PAIRS})"),
    }
}

/// `would need about 4 more pairs`.
pub fn would_need_pairs(more_pairs: Option<usize>) -> String {
    match more_pairs {
        Some(1) => "would need about 1 more pair".to_owned(),
        Some(n) => format!("would need about {n} more pairs"),
        None => format!("would need more than {MOST_MORE_PAIRS} more pairs"),
    }
}

/// `would need 4 more processes`, or another unit, given in the singular and in the plural.
pub fn would_need_of(more_units: Option<usize>, [one, several]: [&str; 2]) -> String {
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
