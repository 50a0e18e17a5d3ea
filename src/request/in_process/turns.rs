//! Answers to one question that take turns: a few decode calls of one, then of the next.
//!
//! Within a second the level of a shared machine moves by more than what is looked for, and answers that follow each other as a whole
//! are not measured on the same machine. Each answer has a clock that stands still in the others' turns. When all have ended, they and
//! their calls are written down one after the other, each with the time of its own turns, as if they had been answered so.

use crate::measure::{Call, Phase};
use crate::request::Timeline;

/// Decode calls of a turn. What one answer's sampler leaves in the caches may slow the first call of the next answer's turn, which a
/// median over all calls does not notice.
const CALLS_A_TURN: u32 = 4;

/// Whose turn it is, and what is known of those that take turns. They have the places from 0, in the order of their numbers.
#[derive(Debug)]
pub(super) struct AnswerTurns {
    /// The place whose turn it is.
    place: usize,
    /// When its turn began.
    began_ns: u64,
    /// Decode calls of the turn so far.
    n_calls: u32,
    answers: Vec<TurnAnswer>,
}

/// An answer among those that take turns.
#[derive(Debug, Default)]
struct TurnAnswer {
    /// Time of the others' turns since all were admitted.
    away_ns: u64,
    calls: Vec<Call>,
    /// Once it ended.
    timeline: Option<Timeline>,
}

impl AnswerTurns {
    pub(super) fn of(n_places: usize) -> Self {
        Self {
            place: 0,
            began_ns: 0,
            n_calls: 0,
            answers: (0..n_places).map(|_| TurnAnswer::default()).collect(),
        }
    }

    /// All are admitted: the first place has the first turn.
    pub(super) fn begin(&mut self, now_ns: u64) {
        (self.place, self.began_ns, self.n_calls) = (0, now_ns, 0);
    }

    pub(super) fn place(&self) -> usize {
        self.place
    }

    /// What the clock of a place shows.
    pub(super) fn own_ns(&self, place: usize, now_ns: u64) -> u64 {
        let away_ns = self.answers[place].away_ns;
        match place == self.place {
            true => now_ns - away_ns,
            false => self.began_ns - away_ns,
        }
    }

    /// Notes a call of the place whose turn it is, that ended at `now_ns`. `joined`: it was the last of a prompt. The turn goes to the
    /// next place after a prompt, after some decode calls, and after an answer's end; `is_under_way` tells of a place whether its answer
    /// goes on.
    pub(super) fn called(
        &mut self,
        call: Call,
        joined: bool,
        now_ns: u64,
        is_under_way: &dyn Fn(usize) -> bool,
    ) {
        self.answers[self.place].calls.push(call);
        self.n_calls += 1;
        let prompt_goes_on = call.phase == Phase::Prefill && !joined;
        let is_over = joined || (!prompt_goes_on && self.n_calls >= CALLS_A_TURN);
        if is_under_way(self.place) && !is_over {
            return;
        }
        let n = self.answers.len();
        let next = (1..=n).map(|i| (self.place + i) % n);
        let Some(next) = next.into_iter().find(|place| is_under_way(*place)) else {
            return;
        };
        let took_ns = now_ns - self.began_ns;
        for (place, answer) in self.answers.iter_mut().enumerate() {
            if place != self.place && is_under_way(place) {
                answer.away_ns += took_ns;
            }
        }
        (self.place, self.began_ns, self.n_calls) = (next, now_ns, 0);
    }

    /// Keeps an answer that ended.
    pub(super) fn ended(&mut self, place: usize, timeline: Timeline) {
        self.answers[place].timeline = Some(timeline);
    }

    /// The answers that ended and their calls, one after the other from when they were admitted; those to come begin anew.
    pub(super) fn take(&mut self) -> (Vec<Timeline>, Vec<Call>) {
        let (mut timelines, mut calls) = (Vec::new(), Vec::new());
        let mut before_ns = 0;
        for answer in self.answers.iter_mut().map(std::mem::take) {
            calls.extend(answer.calls);
            let Some(mut timeline) = answer.timeline else {
                continue;
            };
            let took_ns = timeline.ended_ns.saturating_sub(timeline.sent_ns);
            timeline.shift(before_ns);
            before_ns += took_ns;
            timelines.push(timeline);
        }
        (timelines, calls)
    }
}
