//! An engine that computes nothing: a cost model moves a fake clock, and the "next token" is a hash
//! of the tokens before it. Everything above the seam is tested against it with exact numbers.

use std::cell::RefCell;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, LogNormal};
use serde::{Deserialize, Serialize};

use super::{Engine, EngineError, EngineFacts, Session, Token};
use crate::engine::clock::FakeClock;
use crate::plan::Case;
use crate::plan::serving::Sampling;
use crate::streams::note;

const N_VOCAB: usize = 1000;

/// The token that ends an answer: outside the vocabulary, so that only [`Session::sample`] gives it.
pub const END: Token = N_VOCAB as Token;

/// Most bytes of one token.
const TOKEN_BYTES: usize = 4;

/// What a decode call costs, and what goes wrong.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SyntheticCost {
    /// Every call: reading the weights.
    pub call_ns: f64,
    /// Every token of the batch: arithmetic.
    pub token_ns: f64,
    /// Every cached token that is attended to.
    pub past_ns: f64,
    /// Choosing one token.
    pub sample_ns: f64,
    /// Coefficient of variation of a call's time.
    pub step_cv: f64,
    /// Coefficient of variation of a process's speed.
    pub process_cv: f64,
    /// Seed of both variations; combined with the process's own number.
    pub seed: u64,
    /// The call, counted from 1 in each process, at which the process aborts.
    pub abort_at_call: Option<u64>,
    /// The call at which the process sleeps for ever.
    pub hang_at_call: Option<u64>,
    /// The call at which the engine answers with an error.
    pub fail_at_call: Option<u64>,
    /// Answers end when their sequence holds so many tokens, prompt and answer together. None: never.
    pub end_at: Option<u32>,
}

impl Default for SyntheticCost {
    fn default() -> Self {
        Self {
            call_ns: 5_000_000.0,
            token_ns: 100_000.0,
            past_ns: 10.0,
            sample_ns: 1_000.0,
            step_cv: 0.0,
            process_cv: 0.0,
            seed: 0,
            abort_at_call: None,
            hang_at_call: None,
            fail_at_call: None,
            end_at: None,
        }
    }
}

/// A synthetic "loaded model".
#[derive(Debug)]
pub struct SyntheticEngine {
    cost: SyntheticCost,
    clock: FakeClock,
    tokens: Vec<Token>,
    state: RefCell<State>,
}

#[derive(Debug)]
struct State {
    rng: ChaCha8Rng,
    process_factor: f64,
    n_calls: u64,
}

/// A log-normal factor of mean 1 and the given coefficient of variation.
fn factor(cv: f64, rng: &mut ChaCha8Rng) -> f64 {
    if cv <= 0.0 {
        return 1.0;
    }
    let sigma2 = (1.0 + cv * cv).ln();
    LogNormal::new(-sigma2 / 2.0, sigma2.sqrt()).map_or(1.0, |d| d.sample(rng))
}

impl SyntheticEngine {
    /// An engine that moves `clock`; `process` tells replicate processes apart.
    pub fn new(cost: SyntheticCost, clock: FakeClock, process: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(cost.seed);
        rng.set_stream(process);
        let process_factor = factor(cost.process_cv, &mut rng);
        Self {
            cost,
            clock,
            tokens: (0..N_VOCAB as Token).collect(),
            state: RefCell::new(State {
                rng,
                process_factor,
                n_calls: 0,
            }),
        }
    }

    /// What records say of this engine.
    pub fn facts() -> EngineFacts {
        EngineFacts {
            name: "synthetic".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            system_info: String::new(),
            devices: Vec::new(),
            supports_gpu_offload: false,
            remote: Vec::new(),
            plugins: Vec::new(),
        }
    }
}

/// A token for each word, long words cut every few bytes; which one, the bytes decide.
fn tokenize(text: &str) -> Vec<Token> {
    text.split_whitespace()
        .flat_map(|word| word.as_bytes().chunks(TOKEN_BYTES))
        .map(|part| (hash(part.iter().map(|&b| u64::from(b))) % N_VOCAB as u64) as Token)
        .collect()
}

fn hash(values: impl Iterator<Item = u64>) -> u64 {
    values.fold(17, |h, v| h.wrapping_mul(31).wrapping_add(v))
}

impl Engine for SyntheticEngine {
    fn prompt_tokens(&self) -> &[Token] {
        &self.tokens
    }

    fn tokenize(&self, text: &str, _add_special: bool, _parse_special: bool) -> Vec<Token> {
        tokenize(text)
    }

    fn bos(&self) -> Option<Token> {
        None
    }

    fn n_vocab(&self) -> usize {
        N_VOCAB
    }

    fn piece(&self, token: Token) -> Vec<u8> {
        format!(" w{token}").into_bytes()
    }

    fn ends_text(&self, token: Token) -> bool {
        token == END
    }

    fn apply_template(&self, user_text: &str) -> Result<String, EngineError> {
        Ok(format!("user: {user_text} answer:"))
    }

    fn open<'a>(&'a self, case: &Case) -> Result<Box<dyn Session + 'a>, EngineError> {
        Ok(Box::new(SyntheticSession {
            engine: self,
            n_ctx_seq: case.n_ctx_seq(),
            n_batch: case.n_batch as usize,
            cached: vec![Vec::new(); case.n_seq as usize],
            samplers: vec![None; case.n_seq as usize],
            batch: Vec::new(),
            logits: Vec::new(),
        }))
    }
}

/// How a sequence's tokens are chosen.
#[derive(Debug, Clone, Copy)]
struct Sampler {
    sampling: Sampling,
    mask_end: bool,
}

struct SyntheticSession<'e> {
    engine: &'e SyntheticEngine,
    n_ctx_seq: u32,
    n_batch: usize,
    /// Each sequence's tokens; a position must follow the last, as in the real cache.
    cached: Vec<Vec<Token>>,
    samplers: Vec<Option<Sampler>>,
    batch: Vec<(Token, u32, u32, bool)>,
    logits: Vec<f32>,
}

impl SyntheticSession<'_> {
    fn disturb(&self, n_calls: u64) -> Result<(), EngineError> {
        let cost = &self.engine.cost;
        if cost.abort_at_call == Some(n_calls) {
            note(format_args!(
                "synthetic engine: aborting at call {n_calls} as asked"
            ));
            std::process::abort();
        }
        if cost.hang_at_call == Some(n_calls) {
            loop {
                std::thread::park();
            }
        }
        if cost.fail_at_call == Some(n_calls) {
            return Err(EngineError::Decode(format!(
                "synthetic failure at call {n_calls}, as asked"
            )));
        }
        Ok(())
    }

    fn next_token(&self, row: i32) -> Result<Token, EngineError> {
        let missing = || EngineError::Decode(format!("row {row} has no logits"));
        let index = usize::try_from(row).map_err(|_| missing())?;
        let &(_, pos, seq, logits) = self.batch.get(index).ok_or_else(missing)?;
        if !logits {
            return Err(missing());
        }
        let until = &self.cached[seq as usize][..=pos as usize];
        let hash = hash(until.iter().map(|&t| t as u64));
        Ok((hash % N_VOCAB as u64) as Token)
    }

    fn pass_sampling_time(&self) {
        let ns = self.engine.cost.sample_ns.round() as u64;
        self.engine.clock.advance_ns(ns);
    }
}

impl Session for SyntheticSession<'_> {
    fn n_ctx_seq(&self) -> u32 {
        self.n_ctx_seq
    }

    fn truncate(&mut self, n_past: u32) -> bool {
        for seq in &mut self.cached {
            seq.truncate(n_past as usize);
        }
        true
    }

    fn remove(&mut self, seq: u32) -> bool {
        self.cached[seq as usize].clear();
        true
    }

    fn begin(&mut self) {
        self.batch.clear();
    }

    fn push(&mut self, token: Token, pos: u32, seq: u32, logits: bool) -> Result<(), EngineError> {
        if self.batch.len() == self.n_batch {
            return Err(EngineError::Decode("the batch is full".to_owned()));
        }
        self.batch.push((token, pos, seq, logits));
        Ok(())
    }

    fn submit(&mut self) -> Result<(), EngineError> {
        let mut n_past = 0_u64;
        for &(token, pos, seq, _) in &self.batch {
            let cached = &mut self.cached[seq as usize];
            if cached.len() != pos as usize || pos >= self.n_ctx_seq {
                return Err(EngineError::Decode(format!(
                    "sequence {seq} has {} of {} cells, position {pos} does not follow",
                    cached.len(),
                    self.n_ctx_seq
                )));
            }
            n_past += u64::from(pos);
            cached.push(token);
        }
        let mut state = self.engine.state.borrow_mut();
        state.n_calls += 1;
        self.disturb(state.n_calls)?;
        let cost = &self.engine.cost;
        let ns =
            cost.call_ns + cost.token_ns * self.batch.len() as f64 + cost.past_ns * n_past as f64;
        let noise = factor(cost.step_cv, &mut state.rng) * state.process_factor;
        self.engine.clock.advance_ns((ns * noise).round() as u64);
        Ok(())
    }

    fn wait(&mut self) {}

    fn greedy(&mut self, row: i32) -> Result<Token, EngineError> {
        self.pass_sampling_time();
        self.next_token(row)
    }

    fn set_sampler(&mut self, seq: u32, sampling: &Sampling, mask_end: bool) {
        self.samplers[seq as usize] = Some(Sampler {
            sampling: *sampling,
            mask_end,
        });
    }

    /// As [`Session::greedy`], and with a temperature a token that the seed decides too.
    fn sample(&mut self, row: i32, seq: u32) -> Result<Token, EngineError> {
        self.pass_sampling_time();
        let likeliest = self.next_token(row)?;
        let sampler = self.samplers[seq as usize]
            .ok_or_else(|| EngineError::Decode(format!("sequence {seq} has no sampler")))?;
        let n_cached = self.cached[seq as usize].len();
        let is_over = self
            .engine
            .cost
            .end_at
            .is_some_and(|end| n_cached >= end as usize);
        if is_over && !sampler.mask_end {
            return Ok(END);
        }
        if sampler.sampling.is_greedy() {
            return Ok(likeliest);
        }
        let drawn = [likeliest as u64, u64::from(sampler.sampling.seed)];
        Ok((hash(drawn.into_iter()) % N_VOCAB as u64) as Token)
    }

    fn logits(&mut self, row: i32) -> &[f32] {
        self.logits.clear();
        self.logits.resize(N_VOCAB, 0.0);
        if let Ok(token) = self.next_token(row) {
            self.logits[token as usize] = 1.0;
        }
        &self.logits
    }
}
