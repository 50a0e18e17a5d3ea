//! Accuracy: a text is scored with a model, and its distributions are compared with those of another file of the model.
//!
//! What is scored is what llama.cpp's perplexity tool scores; METHODOLOGY.md, "Accuracy", has the definitions.

mod row;
pub(crate) mod score;
pub(crate) mod store;
pub mod text;

use serde::{Deserialize, Serialize};

use crate::engine::Token;

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

/// The first scored position of a chunk: what stands before it is context for the others.
pub(crate) fn first_scored(n_positions: u32) -> u32 {
    n_positions / 2
}

/// Scored positions of a chunk. The token after its last one is not known.
pub(crate) fn n_scored(n_positions: u32) -> u32 {
    n_positions.saturating_sub(1 + first_scored(n_positions))
}
