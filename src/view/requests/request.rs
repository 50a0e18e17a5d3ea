//! A request as numbers, without a text except for what an answer is judged by.

use serde::Serialize;

use crate::request::{CountCaveat, Ending, Job, ServerTimes, StopAt, Timeline};

/// A request, without its texts. Instants are nanoseconds since its job began.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RequestView {
    pub round: u32,
    pub number: u32,
    pub due_ns: u64,
    pub sent_ns: u64,
    /// When it got its place in the batch; in-process.
    pub admitted_ns: Option<u64>,
    /// First piece of the answer, visible or reasoning.
    pub first_ns: Option<u64>,
    pub first_visible_ns: Option<u64>,
    pub last_ns: Option<u64>,
    pub n_arrivals: u32,
    /// Of these, pieces of reasoning.
    pub n_reasoning: u32,
    /// Between two of them, where they did not come in one go; kept until the figures of its job are made.
    #[serde(skip)]
    pub(super) gaps_ns: Vec<u64>,
    /// The longest time between two of them.
    pub longest_gap_ns: Option<u64>,
    pub ended_ns: u64,
    pub ending: Ending,
    pub n_prompt: Option<u32>,
    pub n_generated: Option<u32>,
    /// What `n_generated` does not cover, or why it is missing.
    pub caveat: Option<CountCaveat>,
    /// Whether its tokens came in one go: no figure is to their instants.
    #[serde(skip)]
    pub came_at_once: bool,
    /// Time per output token after the first.
    pub tpot_ns: Option<f64>,
    /// The median time between two tokens, where every token is seen.
    #[serde(skip)]
    pub step_ns: Option<f64>,
    /// Time spent choosing its tokens.
    pub sample_ns: Option<u64>,
    pub server: Option<ServerTimes>,
    /// The answer, its beginning; only where the prompt has a right one that it can be held against.
    #[serde(skip)]
    pub text: Option<Box<str>>,
}

impl RequestView {
    pub(crate) fn of(round: u32, t: &Timeline) -> Self {
        let gaps = t.arrivals.windows(2);
        let gaps = gaps.map(|w| w[1].at_ns.saturating_sub(w[0].at_ns));
        let came_at_once = t.came_at_once();
        let n_reasoning = t.arrivals.iter().filter(|a| a.is_reasoning).count();
        let visible = t.arrivals.iter().find(|a| !a.is_reasoning);
        Self {
            round,
            number: t.number,
            due_ns: t.due_ns,
            sent_ns: t.sent_ns,
            admitted_ns: t.admitted_ns,
            first_ns: t.arrivals.first().map(|a| a.at_ns),
            first_visible_ns: visible.map(|a| a.at_ns),
            last_ns: t.arrivals.last().map(|a| a.at_ns),
            n_arrivals: u32::try_from(t.arrivals.len()).unwrap_or(u32::MAX),
            n_reasoning: u32::try_from(n_reasoning).unwrap_or(u32::MAX),
            longest_gap_ns: gaps.clone().max(),
            gaps_ns: gaps.filter(|_| !came_at_once).collect(),
            ended_ns: t.ended_ns,
            ending: t.ending.clone(),
            n_prompt: t.n_prompt,
            n_generated: t.n_generated,
            caveat: t.caveat.clone(),
            came_at_once,
            tpot_ns: t.tpot_ns(),
            step_ns: t.step_ns(),
            sample_ns: t.sample_ns,
            server: t.server,
            text: Some(t.text.as_str().into()),
        }
    }

    /// Whether its answer is whole and has a token: the others have no figure of time.
    pub fn is_answered(&self) -> bool {
        self.ending.is_whole() && !self.is_empty()
    }

    /// Whether its answer is whole and has no token.
    pub fn is_empty(&self) -> bool {
        self.ending.is_whole() && self.n_arrivals == 0 && self.n_generated.unwrap_or(0) == 0
    }

    /// From the instant it was due to its end.
    pub fn latency_ns(&self) -> u64 {
        self.ended_ns.saturating_sub(self.due_ns)
    }

    /// From the instant it was due to the first visible piece of the answer.
    pub fn ttft_visible_ns(&self) -> Option<u64> {
        let first_ns = self.first_visible_ns.filter(|_| !self.came_at_once)?;
        Some(first_ns.saturating_sub(self.due_ns))
    }

    /// Whether all that arrived is reasoning.
    pub fn is_reasoning_only(&self) -> bool {
        self.n_reasoning > 0 && self.first_visible_ns.is_none()
    }

    /// From the instant it was due to the first piece of the answer, visible or reasoning.
    pub fn ttft_ns(&self) -> Option<u64> {
        let first_ns = self.first_ns.filter(|_| !self.came_at_once)?;
        Some(first_ns.saturating_sub(self.due_ns))
    }

    /// From the instant it was due to its place in the batch.
    pub fn wait_ns(&self) -> Option<u64> {
        Some(self.admitted_ns?.saturating_sub(self.due_ns))
    }

    /// Generated tokens over the latency.
    pub fn tokens_per_s(&self) -> Option<f64> {
        let ns = self.latency_ns();
        (ns > 0).then_some(f64::from(self.n_generated?) / ns as f64 * 1e9)
    }

    /// Whether the model ended it before the length that was asked for.
    pub fn is_short(&self, job: &Job) -> bool {
        job.stop_at == StopAt::Length
            && self.is_answered()
            && self.n_generated.is_some_and(|n| n < job.case.n_gen)
    }
}
