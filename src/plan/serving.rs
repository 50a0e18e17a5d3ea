//! How requests are sent and answered: the words that plans and targets share.

use serde::{Deserialize, Serialize};

/// How requests come.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Load {
    /// Closed loop: a fixed number of requests is under way; the next is due when one ends.
    Closed {
        /// How many.
        concurrency: u32,
    },
    /// Open loop: requests come by themselves (Poisson), whatever became of the ones before. Latency counts from the
    /// instant a request was due, so that a stalled server cannot hide (coordinated omission).
    Open {
        /// How many come in a second, on average.
        rate_per_s: f64,
        /// Most that may be under way: what comes beyond it waits, and its waiting counts.
        most: u32,
    },
}

impl Load {
    /// Most requests that are under way at once.
    pub fn most_at_once(&self) -> u32 {
        match *self {
            Self::Closed { concurrency } => concurrency,
            Self::Open { most, .. } => most,
        }
    }
}

/// How the next token is chosen; llama.cpp's chain in llama.cpp's order: top-k, top-p, min-p, temperature, draw.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sampling {
    /// 0 always takes the most likely token.
    pub temperature: f32,
    /// Only this number of the likeliest tokens; 0: all.
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

/// When an answer is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopAt {
    /// After `n_gen` tokens, or when the model ends it.
    #[default]
    EndOfText,
    /// After exactly `n_gen` tokens: the tokens that end an answer are masked.
    Length,
}

/// The way a text reaches a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Endpoint {
    /// The text is the prompt as the model sees it: Ollama's `/api/generate` with `raw`, OpenAI's `/completions`.
    #[default]
    Completion,
    /// The text is a user's message and the server applies its own template: `/api/chat`, `/chat/completions`.
    Chat,
}

/// Settings of a case that a server is asked for where its protocol can: those that the user named. A server that is told
/// more is often slower than by its own choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Forced {
    /// `n_threads`.
    pub n_threads: bool,
    /// `n_ctx`: named, or that of the in-process target beside it.
    pub n_ctx: bool,
}

impl Forced {
    /// Whether a server is left to its own choice in everything.
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

/// The question that jobs answer together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Experiment {
    /// Prompts by class, one after another: what does a request take?
    Classes,
    /// Prompts trimmed or padded to lengths: does TTFT follow the length?
    PromptLength,
    /// The same prompts at several temperatures.
    Temperature,
    /// The prompts at the first temperature with decode calls that are slowed on purpose: the positive control, which must show.
    TemperatureControl,
    /// The same prompts, more of them at once.
    Concurrency,
    /// One load for a while: what does it take of the machine?
    Sustained,
    /// Matched easy and hard prompts of equal length, answers of equal length.
    DifficultyEqual,
    /// Matched easy and hard prompts, answers as long as the model makes them.
    DifficultyNatural,
    /// Matched prompts of which one is a little longer: the positive control, which must show.
    DifficultyControl,
}
