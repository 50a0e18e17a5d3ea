//! The per-request seam: a [`Target`] answers whole requests, and only what its side can see is written down.
//!
//! A server hides how requests are batched and when single decode calls run, so a request has a [`Timeline`] of its
//! own: when it was due, when it was sent, when each piece of the answer arrived, how it ended. What a server says of
//! itself ([`ServerTimes`]) is kept apart from what its client saw. Only [`in_process`] also gives the
//! decode calls that the requests shared.

pub mod arrivals;
pub mod compared;
pub mod exchange;
pub mod figures;
pub mod fit;
pub mod http;
pub mod in_process;
pub mod load;
mod loose;
pub mod ollama;
pub mod openai;
pub mod plan;
pub mod prompts;
pub mod ready;
pub mod redact;
pub mod spec;
#[cfg(test)]
mod stream_tests;

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::measure::Call;
use crate::plan::Case;
pub use crate::plan::serving::{Endpoint, Experiment, Forced, Load, Sampling, StopAt};
use crate::stats::summary::median;
use compared::Compared;
use prompts::Prompt;
pub use spec::shown_target;

/// How the target in this program is named.
pub const IN_PROCESS: &str = "in-process";

/// Requests that are served together, by one target.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// Its name in the run, like `concurrency/c8`.
    pub name: String,
    /// What experiment it is a part of.
    pub experiment: Experiment,
    /// The prompts. Their texts are final: template applied, trimmed or padded.
    pub prompts: Vec<Prompt>,
    /// How many requests are sent at most: request `i` has prompt `i` modulo their number.
    pub n_requests: u32,
    /// How they come.
    pub load: Load,
    /// No request is sent later than this; those under way are finished. None: all are sent.
    pub most_ns: Option<u64>,
    /// The context that serves them. `n_seq` is [`Job::n_places`]; `n_prompt` is the longest prompt's tokens,
    /// `n_gen` the most tokens of an answer.
    pub case: Case,
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// Temperature of each request in place of the sampling's; missing ones have that. A plan has none: see `compared`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub temperatures: Vec<f32>,
    /// The share by which the decode calls of each request are slowed on purpose, in-process; missing ones are not. A plan has
    /// none: see `compared`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub slowed: Vec<f64>,
    /// Answers of this number of successive requests take turns in-process, a few decode calls each, in a closed loop of one. Each has a
    /// clock that stands still in the others' turns. 0: no answers take turns.
    #[serde(default, skip_serializing_if = "nobody")]
    pub in_turns: u32,
    /// How its answers are compared with each other; none: they are not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compared: Option<Compared>,
    /// When an answer is over.
    pub stop_at: StopAt,
    /// The way the text reaches a server.
    pub endpoint: Endpoint,
    /// Whether a server with OpenAI's completions gets OpenAI's own fields only.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub openai_strict: bool,
    /// What of the case is asked of a server; the rest is its own business.
    #[serde(default, skip_serializing_if = "Forced::is_nothing")]
    pub forced: Forced,
    /// A number that, with the request's own, stands at the beginning of what is said, so that no server has it in its
    /// cache; none: the texts are sent as they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<u32>,
    /// Where in each text what is said begins, bytes: a chat template has a beginning of its own. Missing ones are 0.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub said_at: Vec<u32>,
    /// Seed of the arrivals in an open loop.
    pub seed: u64,
}

/// Whether a number of those that take turns says that nobody does.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn nobody(n: &u32) -> bool {
    *n == 0
}

impl Job {
    /// Sequences that it needs: one for each request under way.
    pub fn n_places(&self) -> u32 {
        self.load.most_at_once().max(self.in_turns)
    }

    /// Whether a round with `n_recorded` requests is whole: a load of a fixed length has as many as come.
    pub fn is_whole(&self, n_recorded: usize) -> bool {
        self.most_ns.is_some() || n_recorded >= self.n_requests as usize
    }

    /// The prompt of request `number`.
    ///
    /// # Panics
    /// When the job has no prompt.
    pub fn prompt_of(&self, number: u32) -> &Prompt {
        &self.prompts[self.prompt_index(number)]
    }

    /// What the prompt of request `number` says, without what a chat template puts before it.
    ///
    /// # Panics
    /// When the job has no prompt.
    pub fn said_of(&self, number: u32) -> &str {
        let text = self.prompt_of(number).text.as_str();
        text.get(self.said_at(number)..).unwrap_or(text)
    }

    fn said_at(&self, number: u32) -> usize {
        let at = self.prompt_index(number);
        self.said_at.get(at).map_or(0, |at| *at as usize)
    }

    /// The text of request `number` as it is sent.
    ///
    /// # Panics
    /// When the job has no prompt.
    pub fn text_of(&self, number: u32) -> Cow<'_, str> {
        let text = self.prompt_of(number).text.as_str();
        let Some(tag) = self.tag else {
            return text.into();
        };
        let at = self.said_at(number);
        let (before, said) = text.split_at_checked(at).unwrap_or(("", text));
        // Of one width: a number more must not be a token more.
        format!("{before}{tag:04}-{number:06}. {said}").into()
    }
}

/// A piece of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Arrival {
    /// Nanoseconds since the job began.
    pub at_ns: u64,
    /// Tokens in it; none where a server does not say. A piece without text is no arrival.
    pub n_tokens: Option<u32>,
    /// Whether it is reasoning, which a server tells apart from the visible answer.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_reasoning: bool,
}

/// What a server's count of tokens does not cover, or why it is not believed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum CountCaveat {
    /// More tokens than were asked for and than there are pieces: the count is left out.
    TooMany {
        /// What the server said.
        counted: u64,
        /// The most tokens that the request allowed.
        asked: u32,
    },
    /// Not a whole number: the count is left out.
    NotACount {
        /// What the server said, shortened.
        said: String,
    },
    /// The count leaves out the reasoning that arrived: times per token are those of the visible answer.
    VisibleOnly,
    /// The count holds reasoning that never arrived: times per token leave these tokens out.
    HiddenReasoning {
        /// Tokens of it, as the server counts them.
        n_tokens: u32,
    },
}

/// What a server says of a request, by its own clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ServerTimes {
    /// From its receipt of the request to the answer's end.
    pub total_ns: Option<u64>,
    /// Loading the model.
    pub load_ns: Option<u64>,
    /// Prefill.
    pub prompt_ns: Option<u64>,
    /// Decoding.
    pub eval_ns: Option<u64>,
    /// Prompt tokens it computed (fewer than the prompt's where it had a prefix cached).
    pub n_prompt: Option<u32>,
    /// Prompt tokens that it took from its cache.
    pub n_cached: Option<u32>,
    /// Tokens it generated.
    pub n_eval: Option<u32>,
}

/// How a request ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "how", rename_all = "snake_case")]
pub enum Ending {
    /// The model ended its answer.
    Stop,
    /// It had as many tokens as asked for.
    Length,
    /// No connection: no program listens there, or the name is unknown.
    Refused {
        /// The system's reason.
        reason: String,
    },
    /// An answer that is not one: HTTP status 300 or above.
    Http {
        /// The status.
        status: u16,
        /// What the body says, shortened.
        reason: String,
    },
    /// An error inside the stream, or something that is not the protocol.
    Stream {
        /// What it says, shortened.
        reason: String,
    },
    /// Nothing arrived for so long; the connection was given up.
    Stalled {
        /// How long it was waited for.
        after_ns: u64,
    },
    /// It was not over at its deadline, though something arrived all the time; the connection was given up.
    TimedOut {
        /// The deadline, from when it was sent.
        after_ns: u64,
    },
    /// More arrived than an answer of the tokens asked for can have; the connection was given up.
    Excess {
        /// How much.
        reason: String,
    },
    /// The stream ended without saying that the answer is over.
    Truncated,
    /// The engine said no, in-process.
    Failed {
        /// Its reason.
        reason: String,
    },
    /// It came in an open loop and was still waiting to be sent when the load's time was over.
    NotSent,
    /// Never sent, or given up: the run was interrupted.
    Interrupted,
}

impl Ending {
    /// Whether the answer is whole.
    pub fn is_whole(&self) -> bool {
        matches!(self, Self::Stop | Self::Length)
    }

    /// What it says beyond its [word](Self::word), such as a server's message.
    pub fn reason(&self) -> Option<String> {
        match self {
            Self::Refused { .. }
            | Self::Http { .. }
            | Self::Stream { .. }
            | Self::Stalled { .. }
            | Self::TimedOut { .. }
            | Self::Excess { .. }
            | Self::Failed { .. } => Some(self.to_string()),
            Self::Stop | Self::Length | Self::Truncated | Self::NotSent | Self::Interrupted => None,
        }
    }

    /// The one word of machine-readable output.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::Refused { .. } => "refused",
            Self::Http { .. } => "http_error",
            Self::Stream { .. } => "stream_error",
            Self::Stalled { .. } => "stalled",
            Self::TimedOut { .. } => "timed_out",
            Self::Excess { .. } => "excess",
            Self::Truncated => "truncated",
            Self::Failed { .. } => "failed",
            Self::NotSent => "not_sent",
            Self::Interrupted => "interrupted",
        }
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stop => f.write_str("ended by the model"),
            Self::Length => f.write_str("as long as asked for"),
            Self::Refused { reason } => write!(f, "no connection: {reason}"),
            Self::Http { status, reason } => write!(f, "HTTP {status}: {reason}"),
            Self::Stream { reason } => write!(f, "broken stream: {reason}"),
            Self::Stalled { after_ns } => write!(
                f,
                "nothing arrived for {}",
                crate::units::duration(*after_ns)
            ),
            Self::TimedOut { after_ns } => {
                write!(f, "not over after {}", crate::units::duration(*after_ns))
            }
            Self::Excess { reason } => write!(f, "more than was asked for: {reason}"),
            Self::Truncated => f.write_str("the stream ended in the middle of the answer"),
            Self::Failed { reason } => write!(f, "failed: {reason}"),
            Self::NotSent => f.write_str("still waiting to be sent when the load's time was over"),
            Self::Interrupted => f.write_str("interrupted"),
        }
    }
}

/// One request. Instants are nanoseconds since the job began.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Timeline {
    /// Its number in the job, from 0; [`Job::prompt_of`] is its prompt.
    pub number: u32,
    /// When it was due: in a closed loop when a place fell free, in an open loop when it came.
    pub due_ns: u64,
    /// When it was sent: connection asked for, or given to the in-process loop.
    pub sent_ns: u64,
    /// When it got its sequence of the batch, in-process; a server does not say.
    pub admitted_ns: Option<u64>,
    /// The pieces of the answer.
    pub arrivals: Vec<Arrival>,
    /// When its end was known.
    pub ended_ns: u64,
    /// How.
    pub ending: Ending,
    /// Tokens of the prompt, counted by the engine in-process and by the server elsewhere.
    pub n_prompt: Option<u32>,
    /// Tokens of the answer, reasoning included, counted the same way. A token that ends the answer is not one of
    /// them. None also for a count that is not believed.
    pub n_generated: Option<u32>,
    /// What `n_generated` does not cover, or why it is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caveat: Option<CountCaveat>,
    /// Time spent choosing its tokens, in-process.
    pub sample_ns: Option<u64>,
    /// What the server says.
    pub server: Option<ServerTimes>,
    /// The answer, its first [`KEPT_TEXT_BYTES`] or fewer.
    pub text: String,
}

/// Fewer tokens may well arrive together.
const FEWEST_AT_ONCE: u64 = 4;
/// Tokens that follow each other faster than this were kept somewhere on the way,
const BURST_NS_PER_TOKEN: u64 = 20_000;
/// and came in this part of the time that was waited for the first.
const BURST_OF_WAIT: u64 = 100;

/// Most bytes of an answer that are kept.
pub const KEPT_TEXT_BYTES: usize = 2048;

impl Timeline {
    /// A request of which nothing is known but when it was due, over at `now_ns`.
    pub fn unanswered(number: u32, due_ns: u64, now_ns: u64, ending: Ending) -> Self {
        Self {
            number,
            due_ns,
            sent_ns: now_ns,
            admitted_ns: None,
            arrivals: Vec::new(),
            ended_ns: now_ns,
            ending,
            n_prompt: None,
            n_generated: None,
            caveat: None,
            sample_ns: None,
            server: None,
            text: String::new(),
        }
    }

    /// Moves all its instants.
    pub(crate) fn shift(&mut self, ns: u64) {
        let arrivals = self.arrivals.iter_mut().map(|arrival| &mut arrival.at_ns);
        let fixed = [&mut self.due_ns, &mut self.sent_ns, &mut self.ended_ns];
        for at_ns in arrivals.chain(fixed).chain(&mut self.admitted_ns) {
            *at_ns = at_ns.saturating_add(ns);
        }
    }

    /// Whether an answer of several tokens came in one go, as from a server or a proxy that does not stream: then no
    /// instant is that of its first token, nor of any other.
    pub fn came_at_once(&self) -> bool {
        let (Some(first), Some(last)) = (self.arrivals.first(), self.arrivals.last()) else {
            return false;
        };
        let n_pieces = self.arrivals.len() as u64;
        let n = self.n_generated.map_or(n_pieces, u64::from).max(n_pieces);
        let span_ns = last.at_ns.saturating_sub(first.at_ns);
        let waited_ns = first.at_ns.saturating_sub(self.sent_ns);
        // No model makes tokens that fast; a proxy hands on what it kept in several reads.
        let is_burst = span_ns < n * BURST_NS_PER_TOKEN && span_ns < waited_ns / BURST_OF_WAIT;
        n >= FEWEST_AT_ONCE && (span_ns == 0 || is_burst)
    }

    /// From the instant it was due to the first piece of the answer, visible or reasoning. None where it
    /// [came at once](Self::came_at_once).
    pub fn ttft_ns(&self) -> Option<u64> {
        let first = self.arrivals.first().filter(|_| !self.came_at_once())?;
        Some(first.at_ns.saturating_sub(self.due_ns))
    }

    /// From the instant it was due to its end: what a user waits.
    pub fn latency_ns(&self) -> u64 {
        self.ended_ns.saturating_sub(self.due_ns)
    }

    /// The median time between two tokens, where every arrival is known to be one token. None with fewer than two tokens.
    pub fn step_ns(&self) -> Option<f64> {
        if self.came_at_once() || self.arrivals.iter().any(|a| a.n_tokens != Some(1)) {
            return None;
        }
        let gaps = self.arrivals.windows(2);
        let gaps = gaps.map(|w| w[1].at_ns.saturating_sub(w[0].at_ns) as f64);
        median(&gaps.collect::<Vec<_>>())
    }

    /// Time per output token after the first: from the first arrival to the last, over the tokens that came after
    /// the first. Tokens and time are those of the same pieces, see [`CountCaveat`]. None with fewer than two tokens,
    /// or where their number is unknown, or where they [came at once](Self::came_at_once).
    pub fn tpot_ns(&self) -> Option<f64> {
        if self.came_at_once() {
            return None;
        }
        let is_counted =
            |a: &&Arrival| !(a.is_reasoning && self.caveat == Some(CountCaveat::VisibleOnly));
        let first = self.arrivals.iter().find(is_counted)?;
        let last = self.arrivals.iter().rfind(is_counted)?;
        let n_hidden = match self.caveat {
            Some(CountCaveat::HiddenReasoning { n_tokens }) => n_tokens,
            _ => 0,
        };
        let n_arrived = self.n_generated?.checked_sub(n_hidden)?;
        let after_first = n_arrived.checked_sub(first.n_tokens.unwrap_or(1))?;
        (after_first > 0)
            .then(|| last.at_ns.saturating_sub(first.at_ns) as f64 / f64::from(after_first))
    }
}

/// What a target did for a job.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Served {
    /// One for each request that was sent, by number.
    pub timelines: Vec<Timeline>,
    /// The decode calls they shared, in order; empty for servers, which hide them.
    pub calls: Vec<Call>,
    /// From the job's begin to its last request's end.
    pub elapsed_ns: u64,
}

/// What kind of target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TargetKind {
    /// llama.cpp linked into this program.
    InProcess,
    /// An Ollama server.
    Ollama,
    /// A server with OpenAI's completions: llama-server, vLLM.
    Openai,
}

/// A target as it describes itself. None: it does not say.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TargetFacts {
    /// What kind.
    pub kind: TargetKind,
    /// How the user named it: `in-process`, `ollama:llama3.1:8b`.
    pub name: String,
    /// The server's version, or the engine's.
    pub version: Option<String>,
    /// The model by its own name.
    pub model: Option<String>,
    /// SHA-256 of the model's file, lower-case hex: proof that two targets run the same one.
    pub sha256: Option<String>,
    /// The file's type, `Q4_0`.
    pub file_type: Option<String>,
    /// Memory the loaded model takes, bytes.
    pub size_bytes: Option<u64>,
    /// Of it, on a GPU.
    pub size_vram_bytes: Option<u64>,
    /// Context of the loaded model, tokens.
    pub n_ctx: Option<u32>,
    /// Requests it decodes together.
    pub n_parallel: Option<u32>,
    /// What could not be verified of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// A target that cannot be used at all; what happens to single requests is their [`Ending`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// It cannot be reached.
    #[error("{target}: {reason}")]
    Unreachable {
        /// Its name.
        target: String,
        /// Why, and what to do.
        reason: String,
    },
    /// It is there, and cannot do what the job needs.
    #[error("{target}: {reason}")]
    Unfit {
        /// Its name.
        target: String,
        /// Why, and what to do.
        reason: String,
    },
    /// It is there and not ready yet, such as a server that loads its model.
    #[error("{target}: {reason}")]
    NotReady {
        /// Its name.
        target: String,
        /// What it says.
        reason: String,
        /// Whether it says itself that this passes.
        is_certain: bool,
        /// How long it asks to be left alone, seconds.
        retry_after_s: Option<u32>,
    },
    /// The worker process that is the in-process target failed.
    #[error("in-process: {0}")]
    Worker(String),
    /// Ctrl-C.
    #[error("interrupted")]
    Interrupted,
}

/// A program that serves requests.
pub trait Target {
    /// What it is, as it stands now: asked before the first job and after the last.
    ///
    /// # Errors
    /// [`TargetError`] when it cannot be reached or used.
    fn facts(&mut self) -> Result<TargetFacts, TargetError>;

    /// Serves a job to its end. `stop` is looked at between tokens; once it says true nothing more is sent and what is
    /// under way ends as [`Ending::Interrupted`].
    ///
    /// # Errors
    /// [`TargetError`] when nothing could be served; single requests that fail are timelines.
    fn serve(&mut self, job: &Job, stop: &dyn Fn() -> bool) -> Result<Served, TargetError>;
}
