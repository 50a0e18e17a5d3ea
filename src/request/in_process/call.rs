//! One decode call that whole requests share: what it holds, and what it brings.

use super::Serving;
use super::turns::AnswerTurns;
use crate::engine::{EngineError, Session};
use crate::measure::stopwatch::{BatchShape, TimedWork, timed_call};
use crate::measure::{Call, Phase};
use crate::request::{Arrival, Ending, StopAt};

/// What a batch holds.
#[derive(Default)]
struct BatchContent {
    n_prompt: u32,
    n_decode: u32,
    n_seq: u32,
    n_past: u32,
}

impl BatchContent {
    fn phase(&self) -> Phase {
        match (self.n_prompt, self.n_decode) {
            (_, 0) => Phase::Prefill,
            (0, _) => Phase::Decode,
            _ => Phase::Mixed,
        }
    }
}

impl TimedWork for Serving<'_> {
    fn now_ns(&self) -> u64 {
        Self::now_ns(self)
    }

    fn session(&mut self) -> &mut dyn Session {
        self.session
    }

    fn wait(&mut self) {
        self.session.wait();
        let share = self.slowed_by();
        if share > 0.0 {
            let took_ns = self.now_ns().saturating_sub(self.last_ns);
            let more_ns = (took_ns as f64 * share) as u64;
            self.clock.spin_until_ns(self.clock.now_ns() + more_ns);
        }
    }

    fn sample(&mut self) -> Result<(), EngineError> {
        self.sample_rows()
    }
}

impl Serving<'_> {
    /// One decode call: tokens of all places, as many as a call may have.
    pub(super) fn call(&mut self) -> Result<(), EngineError> {
        self.divide();
        let shape = self.build()?;
        let shape = BatchShape {
            phase: shape.phase(),
            n_tokens: shape.n_prompt + shape.n_decode,
            n_seq: shape.n_seq,
            n_past: shape.n_past,
        };
        let mut last_ns = self.last_ns;
        let (call, sampled) = timed_call(self, shape, true, &mut last_ns)?;
        self.last_ns = last_ns;
        self.note(call);
        sampled?;
        self.forget()
    }

    /// Keeps a call, the last one made.
    fn note(&mut self, call: Call) {
        let Some(turns) = &mut self.turns else {
            self.served.calls.push(call);
            return;
        };
        let active = self.places[turns.place()].as_ref();
        let joined = call.phase == Phase::Prefill && active.is_some_and(|a| a.next.is_some());
        let places = &self.places;
        turns.called(call, joined, self.last_ns, &|place| places[place].is_some());
    }

    /// The share by which the call is slowed on purpose: the largest of its requests.
    fn slowed_by(&self) -> f64 {
        let in_call = self.places.iter().zip(&self.shares);
        let in_call = in_call.filter_map(|(active, share)| active.as_ref().filter(|_| *share > 0));
        let shares = in_call.map(|active| self.job.slowed_of(active.timeline.number));
        shares.fold(0.0, f64::max)
    }

    /// How many tokens each place gets: those that are decoded one, and what is left of a call goes to the prompts of those that
    /// joined, the oldest first.
    fn divide(&mut self) {
        let mut left = self.job.case.largest_call();
        self.joining.clear();
        self.shares.fill(0);
        let in_turn = self.turns.as_ref().map(AnswerTurns::place);
        for (place, active) in self.places.iter().enumerate() {
            if in_turn.is_some_and(|in_turn| in_turn != place) {
                continue;
            }
            let decodes = active.as_ref().is_some_and(|a| a.next.is_some());
            self.shares[place] = u32::from(decodes);
            left -= u32::from(decodes);
            if active.is_some() && !decodes {
                self.joining.push(place);
            }
        }
        let number = |place: &usize| self.places[*place].as_ref().map(|a| a.timeline.number);
        self.joining.sort_by_key(number);
        for &place in &self.joining {
            let Some(active) = &self.places[place] else {
                continue;
            };
            let missing = self.prompts[active.prompt].len() as u32 - active.n_past;
            self.shares[place] = missing.min(left);
            left -= self.shares[place];
        }
    }

    /// The batch, in order of the sequences: llama.cpp computes neighbours together (`llama_batch_allocr::split_equal`), and a
    /// batch out of order in more parts than needed.
    fn build(&mut self) -> Result<BatchContent, EngineError> {
        let mut shape = BatchContent::default();
        self.session.begin();
        self.rows.clear();
        for (place, active) in self.places.iter_mut().enumerate() {
            let (Some(active), share @ 1..) = (active, self.shares[place]) else {
                continue;
            };
            shape.n_seq += 1;
            shape.n_past = shape.n_past.max(active.n_past);
            let prompt = &self.prompts[active.prompt];
            let tokens = match &active.next {
                Some(token) => {
                    shape.n_decode += 1;
                    std::slice::from_ref(token)
                }
                None => {
                    shape.n_prompt += share;
                    &prompt[active.n_past as usize..(active.n_past + share) as usize]
                }
            };
            let first = active.n_past;
            active.n_past += share;
            for (pos, &token) in (first..).zip(tokens) {
                let is_last = pos + 1 == active.n_past && active.n_past as usize >= prompt.len();
                if is_last {
                    let row = shape.n_prompt + shape.n_decode - 1;
                    self.rows.push((row as i32, place));
                }
                self.session.push(token, pos, place as u32, is_last)?;
            }
            active.next = None;
        }
        Ok(shape)
    }

    /// Chooses the next token of every sequence whose prompt is computed.
    fn sample_rows(&mut self) -> Result<(), EngineError> {
        for i in 0..self.rows.len() {
            let (row, place) = self.rows[i];
            if self.job.case.n_gen == 0 {
                self.end(place, self.own_ns(place), Ending::Length);
                continue;
            }
            let started_ns = self.own_ns(place);
            let token = self.session.sample(row, place as u32)?;
            let at_ns = self.own_ns(place);
            let Some(active) = &mut self.places[place] else {
                continue;
            };
            let sample_ns = &mut active.timeline.sample_ns;
            *sample_ns = sample_ns.map(|ns| ns + (at_ns - started_ns));
            if self.job.stop_at == StopAt::EndOfText && self.engine.ends_text(token) {
                self.end(place, at_ns, Ending::Stop);
                continue;
            }
            active.timeline.arrivals.push(Arrival {
                at_ns,
                n_tokens: Some(1),
                is_reasoning: false,
            });
            active.n_generated += 1;
            active.next = Some(token);
            active.text.push(|| self.engine.piece(token));
            if active.n_generated == self.job.case.n_gen {
                self.end(place, at_ns, Ending::Length);
            }
        }
        Ok(())
    }
}
