//! What a run that scores a text leaves behind: lines of their own in the same record.
//!
//! A quality cell is a [`Case`] whose tokens are those of a text, cut into chunks of `n_prompt + n_gen` tokens, one chunk a
//! sequence: the first `n_prompt` are computed as a prompt, the others one after the other, as if they had been generated.
//! `n_seq` chunks are computed together. The positions from the middle of a chunk to its last but one are scored, as
//! llama.cpp's perplexity tool does (METHODOLOGY.md, "Accuracy").

use serde::{Deserialize, Serialize};

use super::Outcome;
use crate::engine::Token;
use crate::plan::{Case, CaseId};

/// What is to be scored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct QualityPlan {
    /// The text: the name of a bundled one, or the path of the user's.
    pub text: String,
    /// SHA-256 of its bytes.
    pub text_sha256: String,
    /// The cells; the base is the first. The others are compared with it.
    pub cells: Vec<QualityCell>,
}

impl QualityPlan {
    /// The cell that the others are compared with.
    pub fn base(&self) -> Option<&QualityCell> {
        self.cells.iter().find(|c| c.role == QualityRole::Base)
    }
}

/// A cell of a text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct QualityCell {
    /// Model and setting.
    pub case: Case,
    /// What it is measured for.
    pub role: QualityRole,
    /// Chunks that it scores, from the text's first; fewer where the text has fewer.
    pub n_chunks: u32,
}

/// What a quality cell is measured for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QualityRole {
    /// The others are compared with it.
    Base,
    /// The base's file and setting, computed in calls of another shape: what the engine's kernels alone differ by.
    Floor,
    /// What the user wants to know.
    Candidate,
}

/// A chunk that was scored. The lists have one value for each scored position, in the text's order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChunkLine {
    /// The cell's name.
    pub case_id: CaseId,
    /// The cell.
    pub case: Case,
    /// The worker process.
    pub worker: u32,
    /// What was seen.
    #[serde(flatten)]
    pub scored: ScoredChunk,
}

/// The scores of a chunk.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScoredChunk {
    /// Its number in the text, from 0.
    pub chunk: u32,
    /// A hash of its tokens; the same tokens in two files have the same.
    pub tokens_hash: u64,
    /// Negative logarithm of the probability of the token that really follows, nats.
    pub nll: Vec<f32>,
    /// The most likely token.
    pub top: Vec<Token>,
    /// Kullback-Leibler divergence from the base's distribution, nats; empty for the base itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kld: Vec<f32>,
    /// The engine's time for the call or calls that computed it, shared equally among the chunks of the calls.
    pub engine_ns: u64,
    /// Time of the arithmetic on the logits, likewise.
    pub score_ns: u64,
}

/// What became of a quality cell; after its chunks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct QualityLine {
    /// The cell's name.
    pub case_id: CaseId,
    /// The cell.
    pub case: Case,
    /// The worker process; none for a cell that was never started.
    pub worker: Option<u32>,
    /// The outcome; its repetitions are chunks.
    pub outcome: Outcome,
    /// Nanoseconds from asking to the loaded model; none when it failed, or when the worker had it already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load_ns: Option<u64>,
    /// Tokens of the text in this model's vocabulary.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n_text_tokens: Option<u32>,
    /// The engine's log meanwhile.
    pub log: Vec<String>,
}
