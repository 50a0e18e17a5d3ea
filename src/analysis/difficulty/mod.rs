//! Does a harder question cost more compute? Matched pairs, an equivalence test with a margin set beforehand, and a
//! positive control: METHODOLOGY.md, section "Does a harder question cost more compute?".
//!
//! A dense model computes the same for every token, whatever it says, so "we saw no difference" proves nothing: the
//! measurement may have been too coarse. Here equality is shown or it is not claimed, and nothing at all is claimed where a
//! prompt that is known to cost more did not show.

mod answer;
mod arms;
mod sentences;
mod temperature;
#[cfg(test)]
mod tests;

pub use answer::is_right;
pub use arms::{Control, Equal, EqualityVerdict, Natural};
pub use sentences::findings;
pub use temperature::{AtTemperature, PromptFigures, temperature};

use crate::request::prompts::Prompt;
use crate::request::{Ending, KEPT_TEXT_BYTES};
use crate::view::requests::RequestView;

/// Differences up to this share do not matter; set before anything was measured.
pub const MARGIN: f64 = 0.01;
/// Of each of the two one-sided tests, so that their interval is one of 90%.
pub const ALPHA: f64 = 0.05;

/// How an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnswerEnd {
    /// The model ended it.
    ByModel,
    /// It had as many tokens as were allowed: how long it would have become is not known.
    AtLimit,
    /// Anything else: an error, a stall, an interruption. Left out everywhere, and counted.
    Broken,
}

/// What was measured of one request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RequestFigures {
    /// The round, from 0: halves of a pair are compared within a round.
    pub round: u32,
    pub ended: AnswerEnd,
    pub n_prompt: Option<u32>,
    pub n_generated: Option<u32>,
    pub ttft_ns: Option<u64>,
    /// Time per token after the first: the median step where decode calls are seen, else the mean interval.
    pub tpot_ns: Option<f64>,
    /// From sending it to its end.
    pub total_ns: u64,
    /// Time spent choosing all its tokens; none for servers.
    pub sample_ns: Option<u64>,
    /// Whether the right answer stands in its text; none where none is known.
    pub right: Option<bool>,
}

impl RequestFigures {
    /// Of a request with this prompt.
    pub fn of(request: &RequestView, prompt: &Prompt) -> Self {
        let right = request.text.as_deref().zip(prompt.answer.as_deref());
        let right = right.and_then(|(text, answer)| {
            let is_found = is_right(text, answer);
            // What the kept part does not hold may stand in the rest.
            (is_found || text.len() + 4 <= KEPT_TEXT_BYTES).then_some(is_found)
        });
        Self {
            round: request.round,
            ended: match request.ending {
                Ending::Stop => AnswerEnd::ByModel,
                Ending::Length => AnswerEnd::AtLimit,
                _ => AnswerEnd::Broken,
            },
            n_prompt: request.n_prompt,
            n_generated: request.n_generated,
            ttft_ns: request.ttft_ns(),
            tpot_ns: request.tpot_ns,
            total_ns: request.ended_ns.saturating_sub(request.sent_ns),
            sample_ns: request.sample_ns,
            right,
        }
    }

    pub fn sample_ns_per_token(&self) -> Option<f64> {
        let n = self.n_generated.filter(|n| *n > 0)?;
        Some(self.sample_ns? as f64 / f64::from(n))
    }

    fn is_whole(&self) -> bool {
        self.ended != AnswerEnd::Broken
    }
}

/// The requests of a matched pair, over all rounds.
#[derive(Debug, Clone, PartialEq)]
pub struct PairFigures {
    /// The pair's word, [`Prompt::pair`].
    pub pair: String,
    /// Those of the easy half; of the control, the shorter one.
    pub easy: Vec<RequestFigures>,
    /// Those of the hard half; of the control, the longer one.
    pub hard: Vec<RequestFigures>,
}

/// What one target measured of the experiment. An arm that was not run is empty.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct DifficultyExperiment {
    /// What was measured, as a reader knows it: `smollm2-135m-q4_0 in-process`. May be empty.
    pub of: String,
    /// Arm A: prompts of equal length, answers of equal length.
    pub equal: Vec<PairFigures>,
    /// Arm B: answers as long as the model makes them.
    pub natural: Vec<PairFigures>,
    /// Positive control: the `hard` half is the same prompt made a little longer, which must show in the TTFT.
    pub control: Vec<PairFigures>,
}

/// What makes the difference between easy and hard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mechanism {
    /// Nothing does: a token costs the same, and the answers take equally long or were not compared.
    Nothing,
    /// The answers are longer (or shorter); a token costs the same.
    Length,
    /// Choosing the token takes longer.
    Sampler,
    /// A token takes longer and the sampler does not explain it.
    Unexplained,
    Undetermined,
}

/// The experiment as figures. None: that part was not measured, or in fewer than two pairs.
#[derive(Debug, Clone, PartialEq)]
pub struct Judgement {
    pub control: Option<Control>,
    pub equal: Option<Equal>,
    pub natural: Option<Natural>,
    pub mechanism: Mechanism,
    /// Right answers and answers judged, of easy and of hard questions.
    pub right: Option<[(usize, usize); 2]>,
}

pub fn judge(experiment: &DifficultyExperiment) -> Judgement {
    let control = Control::of(&experiment.control);
    let equal = Equal::of(&experiment.equal);
    let natural = Natural::of(&experiment.natural);
    let seen = control.as_ref().is_some_and(Control::is_seen);
    Judgement {
        mechanism: match &equal {
            Some(equal) if seen => mechanism(equal, natural.as_ref()),
            _ => Mechanism::Undetermined,
        },
        right: answer::shares(&experiment.natural).or_else(|| answer::shares(&experiment.equal)),
        control,
        equal,
        natural,
    }
}

fn mechanism(equal: &Equal, natural: Option<&Natural>) -> Mechanism {
    match equal.step.verdict {
        EqualityVerdict::Undetermined { .. } => Mechanism::Undetermined,
        EqualityVerdict::Different if equal.sampler_explains() => Mechanism::Sampler,
        EqualityVerdict::Different => Mechanism::Unexplained,
        EqualityVerdict::Equal if natural.is_some_and(Natural::is_length) => Mechanism::Length,
        EqualityVerdict::Equal => Mechanism::Nothing,
    }
}
