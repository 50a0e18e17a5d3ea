//! From a case to its decode calls: the prompts, and one repetition of prefill and decode with
//! every call timed. METHODOLOGY.md, section 2, is the protocol this follows.

pub mod kernel;
pub(crate) mod steady;
pub(crate) mod stopwatch;

use std::ops::Range;

use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::engine::clock::Clock;
use crate::engine::{EngineError, Session, Token};
use crate::host::{EnergyMeter, RepetitionEnergy};
use crate::plan::{Case, KV_PAD};
use stopwatch::{BatchShape, TimedWork, timed_call};

/// What a decode call was for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Prompt tokens, many of each sequence.
    Prefill,
    /// One token of every sequence.
    Decode,
    /// Both: some sequences are decoded while the prompts of others, which joined later, are computed. Only whole
    /// requests have such calls.
    Mixed,
}

/// One `llama_decode` and what stands around it. The four spans follow each other without a gap, so
/// their sum over calls is the time that passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// What it was for.
    pub phase: Phase,
    /// Tokens in the batch.
    pub n_tokens: u32,
    /// Sequences with a token in the batch.
    pub n_seq: u32,
    /// Tokens in the longest of these sequences' caches before the call.
    pub n_past: u32,
    /// From the previous call's end until the batch was built: this program's own time.
    pub build_ns: u64,
    /// In `llama_decode`. On a GPU it may return early.
    pub submit_ns: u64,
    /// In `llama_synchronize` after it.
    pub wait_ns: u64,
    /// Choosing the next token of every sequence that asked for logits.
    pub sample_ns: u64,
}

/// The decode steps among a repetition's calls, nanoseconds, in order.
pub fn decode_steps_ns(calls: &[Call]) -> Vec<f64> {
    let steps = calls.iter().filter(|c| c.phase == Phase::Decode);
    steps.map(|c| c.step_ns() as f64).collect()
}

/// The time that a phase of a repetition took, where its calls were not timed one by one: other programs record only that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhaseTotal {
    /// What it was for; mixed where prompt and generated tokens have one common time.
    pub phase: Phase,
    /// Tokens of all sequences.
    pub n_tokens: u64,
    /// The whole time.
    pub ns: u64,
}

impl Call {
    /// The engine's part: submit and wait.
    pub fn engine_ns(&self) -> u64 {
        self.submit_ns.saturating_add(self.wait_ns)
    }

    /// Whether the engine's view of the cache grew with this step. llama.cpp attends to the cells in use rounded up
    /// to [`KV_PAD`] (`llama_kv_cache::get_n_kv`); the step that needs the next ones builds its graph anew, and does more work from then on.
    pub fn is_boundary(&self) -> bool {
        self.phase == Phase::Decode && self.n_past > 0 && self.n_past.is_multiple_of(KV_PAD)
    }

    /// The whole: the gap between two tokens of a sequence.
    pub fn step_ns(&self) -> u64 {
        // Saturating: records are read from files that anyone may have written.
        self.build_ns
            .saturating_add(self.engine_ns())
            .saturating_add(self.sample_ns)
    }
}

/// The tokens of a case, drawn once: every repetition computes the same.
#[derive(Debug, Clone, PartialEq)]
pub struct Workload {
    /// For each sequence, `n_depth + n_prompt` tokens.
    prompts: Vec<Vec<Token>>,
    /// For each decode step, one token a sequence: the inputs when none are sampled, and the first
    /// inputs when there is no prompt to sample them from.
    drawn: Vec<Vec<Token>>,
}

impl Workload {
    /// Draws a case's tokens from `vocabulary`, by the seed and the sequence's number alone, so that
    /// sequence `i` is the same in every batch size. No two sequences get the same prompt.
    pub fn draw(case: &Case, vocabulary: &[Token], seed: u64) -> Self {
        let n = (case.n_depth + case.n_prompt) as usize;
        let mut pick = |rng: &mut ChaCha8Rng| {
            *vocabulary
                .choose(rng)
                .expect("an engine without prompt tokens is refused at loading")
        };
        let mut rngs: Vec<_> = (0..case.n_seq)
            .map(|seq| {
                let mut rng = ChaCha8Rng::seed_from_u64(seed);
                rng.set_stream(u64::from(seq));
                rng
            })
            .collect();
        let mut prompts: Vec<Vec<Token>> = Vec::with_capacity(rngs.len());
        for rng in &mut rngs {
            let mut prompt: Vec<Token> = (0..n).map(|_| pick(rng)).collect();
            // Short prompts over a small vocabulary can collide; with too few distinct ones they must.
            for _ in 0..64 {
                if prompt.is_empty() || !prompts.contains(&prompt) {
                    break;
                }
                let at = rng.random_range(0..prompt.len());
                prompt[at] = pick(rng);
            }
            prompts.push(prompt);
        }
        let n_drawn = if case.sample { 1 } else { case.n_gen as usize };
        let drawn = (0..n_drawn)
            .map(|_| rngs.iter_mut().map(&mut pick).collect())
            .collect();
        Self { prompts, drawn }
    }

    /// Each sequence's tokens in the cache before decoding: depth, then prompt.
    pub fn prompts(&self) -> &[Vec<Token>] {
        &self.prompts
    }
}

/// Everything a repetition writes into, allocated before it is timed.
#[derive(Debug, Clone)]
pub struct Buffers {
    /// The calls, in order.
    pub calls: Vec<Call>,
    next: Vec<Token>,
    /// The sampled tokens, step after step, `n_seq` a step. Empty when nothing is sampled.
    pub generated: Vec<Token>,
    /// Batch row and sequence of the tokens that asked for logits.
    rows: Vec<(i32, u32)>,
}

impl Buffers {
    /// Room for one repetition of the case.
    pub fn for_case(case: &Case) -> Self {
        let prompt_tokens = case.n_seq as usize * case.n_prompt as usize;
        let n_calls = prompt_tokens.div_ceil(case.n_batch as usize) + case.n_gen as usize;
        let n_seq = case.n_seq as usize;
        Self {
            calls: Vec::with_capacity(n_calls),
            next: vec![0; n_seq],
            generated: Vec::with_capacity(n_seq * (case.n_gen as usize + 1)),
            rows: Vec::with_capacity(n_seq),
        }
    }
}

/// A case being measured in a session.
pub struct CaseRun<'s> {
    case: &'s Case,
    workload: &'s Workload,
    session: &'s mut dyn Session,
    clock: &'s dyn Clock,
    /// Whether the cache holds `n_depth` tokens of every sequence.
    depth_is_cached: bool,
    /// Energy counters of what the session computes on.
    meter: Option<&'s EnergyMeter>,
}

impl<'s> CaseRun<'s> {
    /// A run of `case` in a session that was opened for it.
    pub fn new(
        case: &'s Case,
        workload: &'s Workload,
        session: &'s mut dyn Session,
        clock: &'s dyn Clock,
    ) -> Self {
        Self {
            case,
            workload,
            session,
            clock,
            depth_is_cached: false,
            meter: None,
        }
    }

    /// With the energy of each repetition's phases read from here.
    #[must_use]
    pub fn with_meter(mut self, meter: Option<&'s EnergyMeter>) -> Self {
        self.meter = meter;
        self
    }

    /// One repetition: an untimed return to `n_depth` cached tokens, prefill of every prompt, then
    /// up to `n_steps` decode steps (at most the case's `n_gen`).
    ///
    /// Gives the energy that it took, where there is a meter. Its counters are read outside of every span of a call.
    ///
    /// # Errors
    /// The engine's; `buffers.calls` then holds the calls made before it.
    pub fn repetition(
        &mut self,
        n_steps: u32,
        buffers: &mut Buffers,
    ) -> Result<RepetitionEnergy, EngineError> {
        self.begin(buffers)?;
        let before = self.meter.map(EnergyMeter::mark);
        let mut last_ns = self.clock.now_ns();
        self.prefill(buffers, &mut last_ns)?;
        let between = self.meter.map(EnergyMeter::mark);
        if between.is_some() {
            last_ns = self.clock.now_ns();
        }
        for step in 0..n_steps.min(self.case.n_gen) {
            self.decode_step(step, buffers, &mut last_ns)?;
        }
        let energy = self.meter.zip(before).zip(between);
        Ok(
            energy.map_or_else(RepetitionEnergy::default, |((meter, before), between)| {
                meter.between(&[before, between, meter.mark()])
            }),
        )
    }

    /// The same up to the end of prefill, without energy; [`CaseRun::steps`] go on with it.
    ///
    /// # Errors
    /// The engine's.
    pub fn prompts(&mut self, buffers: &mut Buffers) -> Result<(), EngineError> {
        self.begin(buffers)?;
        let mut last_ns = self.clock.now_ns();
        self.prefill(buffers, &mut last_ns)
    }

    /// Some decode steps of a repetition whose prompts and earlier steps are computed. What passed since those is in no span.
    ///
    /// # Errors
    /// The engine's.
    pub fn steps(&mut self, steps: Range<u32>, buffers: &mut Buffers) -> Result<(), EngineError> {
        let mut last_ns = self.clock.now_ns();
        for step in steps {
            self.decode_step(step, buffers, &mut last_ns)?;
        }
        Ok(())
    }

    fn begin(&mut self, buffers: &mut Buffers) -> Result<(), EngineError> {
        buffers.calls.clear();
        buffers.generated.clear();
        self.return_to_depth()
    }

    fn return_to_depth(&mut self) -> Result<(), EngineError> {
        let depth = self.case.n_depth;
        if self.depth_is_cached && self.session.truncate(depth) {
            return Ok(());
        }
        self.session.truncate(0);
        self.depth_is_cached = false;
        let mut in_batch = 0;
        self.session.begin();
        for (seq, tokens) in (0..).zip(&self.workload.prompts) {
            for (pos, &token) in (0..depth).zip(tokens) {
                self.session.push(token, pos, seq, false)?;
                in_batch += 1;
                if in_batch == self.case.n_batch {
                    self.flush_untimed()?;
                    in_batch = 0;
                }
            }
        }
        if in_batch > 0 {
            self.flush_untimed()?;
        }
        self.depth_is_cached = true;
        Ok(())
    }

    fn flush_untimed(&mut self) -> Result<(), EngineError> {
        self.session.submit()?;
        self.session.wait();
        self.session.begin();
        Ok(())
    }

    /// All prompts, sequence after sequence, cut into `n_batch` chunks, logits on each last token.
    ///
    /// A chunk's logits are gone with the next chunk, so sequences that end in it are sampled at once,
    /// as a server does; nothing to sample means one wait, after the last chunk.
    fn prefill(&mut self, b: &mut Buffers, last_ns: &mut u64) -> Result<(), EngineError> {
        let (depth, n_prompt) = (self.case.n_depth, self.case.n_prompt);
        if n_prompt == 0 {
            b.next.copy_from_slice(&self.workload.drawn[0]);
            return Ok(());
        }
        let total = u64::from(n_prompt) * u64::from(self.case.n_seq);
        let mut done = 0_u64;
        while done < total {
            let n_tokens = u64::from(self.case.n_batch).min(total - done);
            self.session.begin();
            b.rows.clear();
            for row in 0..n_tokens {
                let at = done + row;
                let seq = (at / u64::from(n_prompt)) as u32;
                let offset = (at % u64::from(n_prompt)) as u32;
                let is_last = offset + 1 == n_prompt;
                let pos = depth + offset;
                let token = self.workload.prompts[seq as usize][pos as usize];
                self.session.push(token, pos, seq, is_last)?;
                if is_last {
                    b.rows.push((row as i32, seq));
                }
            }
            let first_seq = done / u64::from(n_prompt);
            let last_seq = (done + n_tokens - 1) / u64::from(n_prompt);
            let n_past = depth + (done % u64::from(n_prompt)) as u32;
            done += n_tokens;
            let shape = BatchShape {
                phase: Phase::Prefill,
                n_tokens: n_tokens as u32,
                n_seq: (last_seq - first_seq + 1) as u32,
                n_past,
            };
            let wait = done == total || (self.case.sample && !b.rows.is_empty());
            self.call(shape, wait, b, last_ns)?;
        }
        Ok(())
    }

    /// One token of every sequence, interleaved 0123, logits for each.
    fn decode_step(
        &mut self,
        step: u32,
        b: &mut Buffers,
        last_ns: &mut u64,
    ) -> Result<(), EngineError> {
        if !self.case.sample {
            b.next.copy_from_slice(&self.workload.drawn[step as usize]);
        }
        let n_past = self.case.n_depth + self.case.n_prompt + step;
        self.session.begin();
        b.rows.clear();
        for (seq, &token) in (0..).zip(&b.next) {
            self.session.push(token, n_past, seq, true)?;
            b.rows.push((seq as i32, seq));
        }
        let shape = BatchShape {
            phase: Phase::Decode,
            n_tokens: self.case.n_seq,
            n_seq: self.case.n_seq,
            n_past,
        };
        self.call(shape, true, b, last_ns)
    }

    /// Submits the built batch, waits, samples its rows and notes the spans.
    fn call(
        &mut self,
        shape: BatchShape,
        wait: bool,
        b: &mut Buffers,
        last_ns: &mut u64,
    ) -> Result<(), EngineError> {
        let samples = self.case.sample;
        let mut work = CellCall {
            clock: self.clock,
            session: &mut *self.session,
            rows: if samples { &b.rows } else { &[] },
            next: &mut b.next,
            generated: &mut b.generated,
        };
        let (call, sampled) = timed_call(&mut work, shape, wait, last_ns)?;
        b.calls.push(call);
        sampled
    }
}

/// A decode call of a cell.
struct CellCall<'a> {
    clock: &'a dyn Clock,
    session: &'a mut dyn Session,
    /// Rows of the batch with their sequences.
    rows: &'a [(i32, u32)],
    next: &'a mut [Token],
    generated: &'a mut Vec<Token>,
}

impl TimedWork for CellCall<'_> {
    fn now_ns(&self) -> u64 {
        self.clock.now_ns()
    }

    fn session(&mut self) -> &mut dyn Session {
        self.session
    }

    fn sample(&mut self) -> Result<(), EngineError> {
        for &(row, seq) in self.rows {
            let token = self.session.greedy(row)?;
            self.next[seq as usize] = token;
            self.generated.push(token);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
