//! Requests served by the engine in this process: continuous batching, as llama-server does it.
//!
//! A batch has places, one for each sequence. A request takes the lowest free one; its prompt is computed in the same calls in which the
//! others' next tokens are, up to `n_batch` tokens a call, decode tokens first; when its answer ends, its tokens are forgotten and the next request takes
//! the place. METHODOLOGY.md, section 12, says what the instants mean. The loop knows an engine, a session and a clock
//! and nothing else, so tests follow it to the nanosecond.

mod call;
mod source;
mod text;
mod turns;

use super::{Ending, Job, Served, StopAt, Timeline};
use crate::engine::clock::Clock;
use crate::engine::{Engine, EngineError, Session, Token};
use source::ArrivalQueue;
use text::AnswerText;
use turns::AnswerTurns;

/// How long the loop may sleep before it looks whether it shall stop.
const NAP_NS: u64 = 50_000_000;

/// The prompts of the requests that a job has, as tokens. They are made before the job begins: choosing tokens for a text takes
/// microseconds and belongs to no request.
pub fn tokenize(engine: &dyn Engine, job: &Job) -> Vec<Vec<Token>> {
    let n_prompts = u32::try_from(job.prompts.len()).unwrap_or(u32::MAX);
    // With a tag every request has a text of its own.
    let n_texts = match job.tag {
        Some(_) => job.n_requests,
        None => job.n_requests.min(n_prompts),
    };
    (0..n_texts)
        .map(|number| engine.tokenize(&job.text_of(number), true, true))
        .collect()
}

/// Serves a job in a session that was opened for its case and is empty; `prompts` are [`tokenize`]'s. `stop` is asked before
/// every call; once it says true, what is under way ends as [`Ending::Interrupted`].
///
/// A prompt that does not fit ends as [`Ending::Failed`], and so does everything under way when the engine fails: its
/// cache may be damaged, so the job ends there. Requests of an open loop that came and were never sent are [`Ending::NotSent`] when
/// its time was over ([`Job::most_ns`]), and [`Ending::Interrupted`] when the job stopped or failed.
pub fn serve(
    engine: &dyn Engine,
    session: &mut dyn Session,
    clock: &dyn Clock,
    job: &Job,
    prompts: &[Vec<Token>],
    stop: &dyn Fn() -> bool,
) -> Served {
    let mut serving = Serving::new(engine, session, clock, job, prompts);
    if let Err(e) = serving.run(stop) {
        serving.give_up(&Ending::Failed {
            reason: e.to_string(),
        });
    }
    serving.write_down_turns();
    let mut served = serving.served;
    // No two have the same number; a stable sort would take half as much memory again.
    served.timelines.sort_unstable_by_key(|t| t.number);
    served.elapsed_ns = served
        .timelines
        .iter()
        .map(|t| t.ended_ns)
        .max()
        .unwrap_or(0);
    served
}

/// A request that has a place.
struct Active {
    timeline: Timeline,
    text: AnswerText,
    /// Its prompt among the job's.
    prompt: usize,
    /// Tokens of it in the cache.
    n_past: u32,
    n_generated: u32,
    /// The token to decode next; none while the prompt is being computed.
    next: Option<Token>,
}

struct Serving<'a> {
    engine: &'a dyn Engine,
    session: &'a mut dyn Session,
    clock: &'a dyn Clock,
    job: &'a Job,
    prompts: &'a [Vec<Token>],
    begin_ns: u64,
    /// When the last call or the last wait for a request ended.
    last_ns: u64,
    source: ArrivalQueue,
    /// One for each sequence.
    places: Vec<Option<Active>>,
    /// Tokens of each place in the call that is built.
    shares: Vec<u32>,
    /// Places whose prompts are being computed, the oldest request first.
    joining: Vec<usize>,
    /// Batch row and place of the tokens that asked for logits.
    rows: Vec<(i32, usize)>,
    /// Places whose tokens must be forgotten.
    left: Vec<usize>,
    /// Where the answers to a question take turns.
    turns: Option<AnswerTurns>,
    served: Served,
}

impl<'a> Serving<'a> {
    fn new(
        engine: &'a dyn Engine,
        session: &'a mut dyn Session,
        clock: &'a dyn Clock,
        job: &'a Job,
        prompts: &'a [Vec<Token>],
    ) -> Self {
        let n_places = job.case.n_seq.min(job.n_places()) as usize;
        Self {
            engine,
            session,
            clock,
            job,
            prompts,
            begin_ns: clock.now_ns(),
            last_ns: 0,
            source: ArrivalQueue::of(job),
            places: (0..n_places).map(|_| None).collect(),
            shares: vec![0; n_places],
            joining: Vec::with_capacity(n_places),
            rows: Vec::with_capacity(n_places),
            left: Vec::with_capacity(n_places),
            turns: (job.in_turns > 1).then(|| AnswerTurns::of(n_places)),
            served: Served::default(),
        }
    }

    fn now_ns(&self) -> u64 {
        self.clock.now_ns() - self.begin_ns
    }

    /// The instant of a request's place: it stands still in the turns of others.
    fn own_ns(&self, place: usize) -> u64 {
        let now_ns = self.now_ns();
        let turns = self.turns.as_ref();
        turns.map_or(now_ns, |turns| turns.own_ns(place, now_ns))
    }

    fn run(&mut self, stop: &dyn Fn() -> bool) -> Result<(), EngineError> {
        loop {
            if stop() {
                self.give_up(&Ending::Interrupted);
                return Ok(());
            }
            let now_ns = self.now_ns();
            self.admit(now_ns);
            if self.places.iter().any(Option::is_some) {
                self.call()?;
                continue;
            }
            let Some(due_ns) = self
                .source
                .next_due_ns()
                .filter(|_| !self.places.is_empty())
            else {
                return Ok(());
            };
            let until_ns = due_ns.min(now_ns + NAP_NS);
            self.clock.wait_until_ns(self.begin_ns + until_ns);
            // No request was under way meanwhile: the time belongs to no call.
            self.last_ns = self.now_ns();
        }
    }

    /// Gives free places to requests that are due.
    fn admit(&mut self, now_ns: u64) {
        if self.source.is_over(now_ns) {
            self.end_waiting(now_ns, &Ending::NotSent);
        }
        let mut n_most = usize::MAX;
        if self.turns.is_some() {
            // The answers to a question begin together, and no other one is among them.
            if self.places.iter().any(Option::is_some) {
                return;
            }
            n_most = self.places.len();
            self.write_down_turns();
        }
        for _ in 0..n_most {
            let Some(place) = self.places.iter().position(Option::is_none) else {
                break;
            };
            let Some(taken) = self.source.take(now_ns) else {
                break;
            };
            let due_ns = match self.turns {
                Some(_) => now_ns,
                None => taken.due_ns,
            };
            let prompt = taken.number as usize % self.prompts.len();
            let mut timeline =
                Timeline::unanswered(taken.number, due_ns, now_ns, Ending::Interrupted);
            timeline.n_prompt = Some(self.prompts[prompt].len() as u32);
            if let Err(reason) = self.check(&self.prompts[prompt]) {
                timeline.ending = Ending::Failed { reason };
                self.served.timelines.push(timeline);
                self.source.ended(now_ns);
                continue;
            }
            timeline.admitted_ns = Some(now_ns);
            timeline.n_generated = Some(0);
            timeline.sample_ns = Some(0);
            let sampling = self.job.sampling_of(taken.number);
            let mask_end = self.job.stop_at == StopAt::Length;
            self.session.set_sampler(place as u32, &sampling, mask_end);
            self.places[place] = Some(Active {
                timeline,
                text: AnswerText::default(),
                prompt,
                n_past: 0,
                n_generated: 0,
                next: None,
            });
        }
        if let Some(turns) = &mut self.turns {
            turns.begin(now_ns);
        }
    }

    /// Puts the answers that took turns into the record.
    fn write_down_turns(&mut self) {
        let Some(turns) = &mut self.turns else {
            return;
        };
        let (timelines, calls) = turns.take();
        self.served.timelines.extend(timelines);
        self.served.calls.extend(calls);
    }

    /// Whether a prompt and its answer fit into a sequence.
    fn check(&self, prompt: &[Token]) -> Result<(), String> {
        let (n_prompt, n_gen) = (prompt.len(), self.job.case.n_gen);
        let n_ctx = self.session.n_ctx_seq();
        if n_prompt == 0 {
            return Err("the prompt has no token".to_owned());
        }
        if n_prompt as u64 + u64::from(n_gen) > u64::from(n_ctx) {
            return Err(format!(
                "a prompt of {n_prompt} tokens and an answer of {n_gen} need more than the context of {n_ctx}: \
                 shorten one of them or raise n_ctx"
            ));
        }
        Ok(())
    }

    /// Ends a request; its place is free at once, its tokens are forgotten before the next call.
    fn end(&mut self, place: usize, at_ns: u64, ending: Ending) {
        let Some(active) = self.places[place].take() else {
            return;
        };
        let mut timeline = active.timeline;
        timeline.arrivals.shrink_to_fit();
        timeline.n_generated = Some(active.n_generated);
        timeline.ended_ns = at_ns;
        timeline.ending = ending;
        timeline.text = active.text.into_string();
        match &mut self.turns {
            Some(turns) => turns.ended(place, timeline),
            None => self.served.timelines.push(timeline),
        }
        self.left.push(place);
        self.source.ended(at_ns);
    }

    fn forget(&mut self) -> Result<(), EngineError> {
        for place in self.left.drain(..) {
            if !self.session.remove(place as u32) {
                return Err(EngineError::Unsupported(format!(
                    "the engine cannot forget sequence {place}, so no other request can take its place"
                )));
            }
        }
        Ok(())
    }

    /// Ends everything that is under way or waits.
    fn give_up(&mut self, ending: &Ending) {
        let now_ns = self.now_ns();
        for place in 0..self.places.len() {
            self.end(place, self.own_ns(place), ending.clone());
        }
        self.end_waiting(now_ns, &Ending::Interrupted);
    }

    fn end_waiting(&mut self, now_ns: u64, ending: &Ending) {
        let waiting = self.source.close(now_ns);
        let ended = waiting
            .into_iter()
            .map(|taken| Timeline::unanswered(taken.number, taken.due_ns, now_ns, ending.clone()));
        self.served.timelines.extend(ended);
    }
}

#[cfg(test)]
mod tests;
