//! Prompts as data: JSON Lines of texts with a class and, where it can be checked, a difficulty.
//!
//! | question | where |
//! |---|---|
//! | the sets that come with the program, and reading others | [`PromptSet`] |
//! | what of a text may be cut or repeated to make a length | [`parts`]; [`fit`](super::fit) does it |
//! | pages, tables and texts turned into prompts | [`import`] |
//!
//! `prompts/README.md` describes the files.

mod error;
pub mod import;
mod set;

pub use error::PromptError;
pub use set::{BUNDLED, MatchedPair, PromptSet};

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// How hard the question is, by something outside the model: operations of a sum, length of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Difficulty {
    /// The easy half of a pair.
    Easy,
    /// Between.
    Medium,
    /// The hard half of a pair.
    Hard,
}

impl Difficulty {
    /// All, from easy to hard.
    pub const ALL: [Self; 3] = [Self::Easy, Self::Medium, Self::Hard];

    /// The word in files.
    pub fn word(self) -> &'static str {
        match self {
            Self::Easy => "easy",
            Self::Medium => "medium",
            Self::Hard => "hard",
        }
    }
}

impl fmt::Display for Difficulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl FromStr for Difficulty {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|d| d.word() == s);
        known.ok_or_else(|| format!("'{}' is not easy, medium or hard", crate::text::short(s)))
    }
}

/// A prompt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prompt {
    /// Its name, unique in its set.
    pub id: String,
    /// What it is grouped by in reports: `short`, `arithmetic`.
    pub class: String,
    /// How hard it is, where something says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub difficulty: Option<Difficulty>,
    /// The other half of a matched pair has the same word here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pair: Option<String>,
    /// The text.
    pub text: String,
    /// The right answer, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
    /// Where it is from: a file, an address, or who wrote it.
    pub source: String,
    /// Tokens of the text by the model's tokenizer, once it has been asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n_tokens: Option<u32>,
}

/// What of a text may be cut or repeated, and the question after it that may not: its last paragraph. A text with a single
/// paragraph is filler as a whole.
pub fn parts(text: &str) -> (&str, &str) {
    let text = text.trim_end();
    match text.rsplit_once("\n\n") {
        Some((filler, question)) if !filler.trim().is_empty() => (filler.trim_end(), question),
        _ => (text, ""),
    }
}
