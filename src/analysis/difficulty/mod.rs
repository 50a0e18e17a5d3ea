//! Does a harder question cost more compute? Matched pairs until they are equal or different, with a margin set beforehand, and a
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
pub use arms::{Control, Equal, Natural};
pub use sentences::findings;
pub use temperature::{AtTemperature, PlantedControl, PromptFigures, temperature};

use crate::request::figures::is_kept_whole;
pub use crate::request::figures::{AnswerEnd, RequestFigures};
use crate::request::prompts::Prompt;
use crate::stats::equivalence::EqualityVerdict;
use crate::view::requests::RequestView;

/// The figures of a request with this prompt.
pub fn request_figures(request: &RequestView, prompt: &Prompt) -> RequestFigures {
    let right = request.text.as_deref().zip(prompt.answer.as_deref());
    let right = right.and_then(|(text, answer)| {
        let is_found = is_right(text, answer);
        // What the kept part does not hold may stand in the rest.
        (is_found || is_kept_whole(text)).then_some(is_found)
    });
    RequestFigures {
        round: request.round,
        ended: AnswerEnd::from(&request.ending),
        n_prompt: request.n_prompt,
        n_generated: request.n_generated,
        ttft_ns: request.ttft_ns(),
        tpot_ns: request.step_ns.or(request.tpot_ns),
        total_ns: request.ended_ns.saturating_sub(request.sent_ns),
        sample_ns: request.sample_ns,
        right,
    }
}

/// The requests of a matched pair: of one round where halves are compared, of all rounds in arm B.
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
    let seen = control.as_ref().is_some_and(|control| control.is_seen);
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
        EqualityVerdict::Undecided => Mechanism::Undetermined,
        EqualityVerdict::Different | EqualityVerdict::DifferentBeyond => {
            match equal.sampler_explains() {
                true => Mechanism::Sampler,
                false => Mechanism::Unexplained,
            }
        }
        EqualityVerdict::Equal | EqualityVerdict::DifferentWithin => {
            match natural.is_some_and(Natural::is_length) {
                true => Mechanism::Length,
                false => Mechanism::Nothing,
            }
        }
    }
}
