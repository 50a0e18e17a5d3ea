//! Prompts as data: JSON Lines of texts with a class and, where it can be checked, a difficulty.

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
