//! How a next token is chosen, whichever engine chooses it.

use serde::{Deserialize, Serialize};

/// How the next token is chosen; llama.cpp's chain in llama.cpp's order: top-k, top-p, min-p, temperature, draw.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sampling {
    /// 0 always takes the most likely token.
    pub temperature: f32,
    /// Only so many of the likeliest; 0: all.
    pub top_k: u32,
    /// Only the likeliest that together have this probability; 1: all.
    pub top_p: f32,
    /// Only those at least this likely, relative to the likeliest; 0: all.
    pub min_p: f32,
    /// Of the draw; request `i` of a job draws with `seed + i`.
    pub seed: u32,
}

impl Default for Sampling {
    /// Greedy; the other values are Ollama's defaults, which matter once the temperature is not 0.
    fn default() -> Self {
        Self {
            temperature: 0.0,
            top_k: 40,
            top_p: 0.9,
            min_p: 0.0,
            seed: 42,
        }
    }
}

impl Sampling {
    /// The same for request `number` of a job, with a seed of its own.
    pub fn of_request(&self, number: u32) -> Self {
        Self {
            seed: self.seed.wrapping_add(number),
            ..*self
        }
    }

    /// Whether nothing is drawn.
    pub fn is_greedy(&self) -> bool {
        self.temperature <= 0.0
    }
}
