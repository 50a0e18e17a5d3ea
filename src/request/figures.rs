//! What is compared of answers: their figures, and the log ratio of two of them.

use super::{Ending, Job, KEPT_TEXT_BYTES, Timeline};
use crate::stats::summary::median;

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

impl From<&Ending> for AnswerEnd {
    fn from(ending: &Ending) -> Self {
        match ending {
            Ending::Stop => Self::ByModel,
            Ending::Length => Self::AtLimit,
            _ => Self::Broken,
        }
    }
}

/// What was measured of one request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RequestFigures {
    /// The round, from 0: halves of a pair are compared within a round.
    pub round: u32,
    /// How it ended.
    pub ended: AnswerEnd,
    /// Tokens of its prompt.
    pub n_prompt: Option<u32>,
    /// Tokens of its answer.
    pub n_generated: Option<u32>,
    /// Time to the first token.
    pub ttft_ns: Option<u64>,
    /// Time per token after the first: the median step where every token is seen, else the mean interval.
    pub tpot_ns: Option<f64>,
    /// From sending it to its end.
    pub total_ns: u64,
    /// Time spent choosing all its tokens; none for servers.
    pub sample_ns: Option<u64>,
    /// Whether the right answer stands in its text; none where none is known.
    pub right: Option<bool>,
}

impl RequestFigures {
    /// Of a request in a round; what its text says is not judged.
    pub fn of(round: u32, t: &Timeline) -> Self {
        Self {
            round,
            ended: AnswerEnd::from(&t.ending),
            n_prompt: t.n_prompt,
            n_generated: t.n_generated,
            ttft_ns: t.ttft_ns(),
            tpot_ns: t.step_ns().or_else(|| t.tpot_ns()),
            total_ns: t.ended_ns.saturating_sub(t.sent_ns),
            sample_ns: t.sample_ns,
            right: None,
        }
    }

    /// The time of choosing a token.
    pub fn sample_ns_per_token(&self) -> Option<f64> {
        let n = self.n_generated.filter(|n| *n > 0)?;
        Some(self.sample_ns? as f64 / f64::from(n))
    }

    /// The time per token without choosing it.
    pub fn decode_ns_per_token(&self) -> Option<f64> {
        let decode_ns = self.tpot_ns? - self.sample_ns_per_token()?;
        (decode_ns > 0.0).then_some(decode_ns)
    }

    /// Whether it ended as an answer should.
    pub fn is_whole(&self) -> bool {
        self.ended != AnswerEnd::Broken
    }
}

/// Whether a text that was kept is the whole answer, as far as its length tells.
pub fn is_kept_whole(text: &str) -> bool {
    text.len() + 4 <= KEPT_TEXT_BYTES
}

/// Whether all whole answers have equal numbers of tokens, prompt and answer; none where one is not known.
pub fn have_equal_lengths<'a>(
    answers: impl Iterator<Item = &'a RequestFigures> + Clone,
) -> Option<bool> {
    let whole = answers.filter(|r| r.is_whole());
    let same = |f: fn(&RequestFigures) -> Option<u32>| {
        let mut known = whole.clone().filter_map(f);
        let first = known.next();
        let differ = known.any(|n| Some(n) != first);
        let all_known = whole.clone().all(|r| f(r).is_some());
        if differ {
            Some(false)
        } else {
            all_known.then_some(true)
        }
    };
    match (same(|r| r.n_prompt), same(|r| r.n_generated)) {
        (Some(false), _) | (_, Some(false)) => Some(false),
        (Some(true), Some(true)) => Some(true),
        _ => None,
    }
}

/// The middle, over rounds, of the log ratio within a round, so that a machine that drifts from round to round does
/// not come between the halves.
pub fn paired_log_ratio(
    below: &[RequestFigures],
    above: &[RequestFigures],
    counts: impl Fn(&RequestFigures) -> bool,
    figure: impl Fn(&RequestFigures) -> Option<f64>,
) -> Option<f64> {
    let mut rounds: Vec<u32> = below.iter().map(|r| r.round).collect();
    rounds.sort_unstable();
    rounds.dedup();
    let of = |half: &[RequestFigures], round: u32| {
        let values: Vec<f64> = half
            .iter()
            .filter(|r| r.round == round && counts(r))
            .filter_map(|r| figure(r).filter(|v| *v > 0.0))
            .collect();
        median(&values)
    };
    let logs: Vec<f64> = rounds
        .into_iter()
        .filter_map(|round| Some((of(above, round)? / of(below, round)?).ln()))
        .collect();
    median(&logs)
}

/// The answers of a compared job so far.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ComparedAnswers {
    /// Requests that were sent, or were to be.
    pub n_asked: u32,
    /// By question, in the order in which they were asked: the answers of each side.
    questions: Vec<(u32, Vec<Vec<RequestFigures>>)>,
}

impl ComparedAnswers {
    /// Adds requests of a job, by their numbers in the job.
    pub fn add(&mut self, job: &Job, sent: impl Iterator<Item = (u32, RequestFigures)>) {
        for (number, figures) in sent {
            let Some(request) = job.compared_request(number) else {
                continue;
            };
            self.n_asked = self.n_asked.saturating_add(1);
            let known = self
                .questions
                .iter()
                .position(|(n, _)| *n == request.question);
            let at = known.unwrap_or_else(|| {
                let sides = vec![Vec::new(); job.n_sides() as usize];
                self.questions.push((request.question, sides));
                self.questions.len() - 1
            });
            self.questions[at].1[request.side].push(figures);
        }
    }

    /// A log ratio of each question, this side over the first: of whole answers, and of equal lengths where that matters.
    pub fn log_ratios(
        &self,
        side: usize,
        needs_equal_lengths: bool,
        figure: impl Fn(&RequestFigures) -> Option<f64>,
    ) -> Vec<f64> {
        let questions = self.questions.iter();
        questions
            .filter_map(|(_, sides)| {
                let (below, above) = (sides.first()?, sides.get(side)?);
                let both = below.iter().chain(above);
                if needs_equal_lengths && have_equal_lengths(both) == Some(false) {
                    return None;
                }
                paired_log_ratio(below, above, RequestFigures::is_whole, &figure)
            })
            .collect()
    }
}
