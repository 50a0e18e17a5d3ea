//! What a metric's values are, and the words for them and for their differences.

use serde::{Deserialize, Serialize};

use crate::units;

/// Which way a metric gets better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Better {
    /// A duration, an energy, or a loss.
    Lower,
    /// A rate, or what stayed equal.
    Higher,
}

/// What a metric's values are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Nanoseconds; whole ones in JSON.
    Ns,
    /// Tokens per second.
    TokensPerS,
    /// Joules per generated token.
    JoulesPerToken,
    /// From 0 to 1, of a time.
    Share,
    /// From 0 to 1, of the scored tokens; the more the better.
    EqualShare,
    /// As many equally likely tokens.
    Perplexity,
    /// Nats.
    Nats,
    /// Probabilities, from 0 to 1.
    Probability,
}

impl Unit {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Ns => "ns",
            Self::TokensPerS => "tokens/s",
            Self::JoulesPerToken => "J/token",
            Self::Share => "of the time",
            Self::EqualShare => "of the tokens",
            Self::Perplexity => "perplexity",
            Self::Nats => "nats",
            Self::Probability => "probability",
        }
    }

    pub(super) fn better(self) -> Better {
        match self {
            Self::TokensPerS | Self::EqualShare => Better::Higher,
            Self::Ns
            | Self::JoulesPerToken
            | Self::Share
            | Self::Perplexity
            | Self::Nats
            | Self::Probability => Better::Lower,
        }
    }

    /// The words for a difference between two sides.
    pub(super) fn words(self) -> &'static ChangeWords {
        match self {
            Self::Ns | Self::TokensPerS => &ChangeWords {
                heading: "time",
                subject: "",
                verb: "takes",
                amounts: ["less time", "more time"],
                better: "faster",
                worse: "slower",
            },
            Self::Share => &ChangeWords {
                heading: "change",
                subject: "'s share",
                verb: "is",
                amounts: ["lower", "higher"],
                better: "lower",
                worse: "higher",
            },
            Self::EqualShare => &ChangeWords {
                heading: "change",
                subject: "",
                verb: "is",
                amounts: ["better in equal top tokens", "worse in equal top tokens"],
                better: "more alike",
                worse: "less alike",
            },
            Self::Perplexity => &ChangeWords {
                heading: "change",
                subject: "'s perplexity",
                verb: "is",
                amounts: ["lower", "higher"],
                better: "lower",
                worse: "higher",
            },
            Self::Nats | Self::Probability => &ChangeWords {
                heading: "change",
                subject: "'s loss",
                verb: "is",
                amounts: ["lower", "higher"],
                better: "lower",
                worse: "higher",
            },
            Self::JoulesPerToken => &ChangeWords {
                heading: "energy",
                subject: "",
                verb: "takes",
                amounts: ["less energy", "more energy"],
                better: "less energy",
                worse: "more energy",
            },
        }
    }
}

/// The words for a difference between two sides.
#[derive(Debug, PartialEq, Eq)]
pub struct ChangeWords {
    /// Heading of a column of changes.
    pub heading: &'static str,
    /// What differs, after the name of a side.
    subject: &'static str,
    verb: &'static str,
    /// After a percentage, where the change is negative and where it is positive.
    amounts: [&'static str; 2],
    /// The better side in a word or two.
    pub better: &'static str,
    /// The worse side.
    pub worse: &'static str,
}

impl ChangeWords {
    /// `B takes 10.0% more time`; of a relative change.
    pub fn change(&self, side: &str, change: f64) -> String {
        let Self { subject, verb, .. } = self;
        let amount = self.amounts[usize::from(change >= 0.0)];
        let percent = units::percent(change.abs());
        format!("{side}{subject} {verb} {percent} {amount}")
    }

    /// `how much more time B takes`.
    pub fn how_much(&self, side: &str) -> String {
        let Self { subject, verb, .. } = self;
        format!("how much {} {side}{subject} {verb}", self.amounts[1])
    }

    /// `B takes more time`.
    pub fn more(&self, side: &str) -> String {
        let Self { subject, verb, .. } = self;
        format!("{side}{subject} {verb} {}", self.amounts[1])
    }
}
