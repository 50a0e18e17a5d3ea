//! Scores chunks of a text in an opened session.

use std::sync::OnceLock;

use super::row::Normaliser;
use super::store::{DistributionStore, StoreShape};
use super::{ScoredChunk, first_scored, n_scored};
use crate::engine::clock::Clock;
use crate::engine::{EngineError, Session, Token};
use crate::plan::Case;

/// Why chunks could not be scored.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ScoreError {
    /// The engine's.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The file with the base's distributions cannot be written or read.
    #[error("the base's distributions: {0}")]
    Store(#[from] std::io::Error),
    /// Not the base's tokens.
    #[error(
        "chunk {chunk}: this model splits the text into other tokens than the base does, so their distributions cannot be compared"
    )]
    OtherTokens {
        /// The first such chunk.
        chunk: u32,
    },
    /// The supervisor wants no more.
    #[error("stopped")]
    Stopped,
    /// The base did not get that far.
    #[error("chunk {chunk}: the base did not score it")]
    NotInBase {
        /// The first such chunk.
        chunk: u32,
    },
}

/// What is done with the distributions.
#[derive(Debug)]
pub(crate) enum Distributions {
    /// Nothing: perplexity alone.
    Unused,
    /// They are the base's, and are kept.
    Kept(DistributionStore),
    /// They are compared with the base's.
    Compared(DistributionStore),
}

/// A text being scored with one cell.
pub(crate) struct TextScoring<'a> {
    pub case: &'a Case,
    pub session: &'a mut dyn Session,
    pub clock: &'a dyn Clock,
    /// The text's.
    pub tokens: &'a [Token],
    /// Stands in the place of each chunk's first token, where the model wants one there.
    pub bos: Option<Token>,
    pub shape: StoreShape,
    pub distributions: Distributions,
    /// Is asked after each call whether to go on.
    pub goes_on: &'a mut dyn FnMut() -> bool,
}

/// A position whose logits are wanted: row of the batch, chunk within the group, position within the chunk.
#[derive(Debug, Clone, Copy)]
struct WantedRow {
    row: i32,
    seq: u32,
    pos: u32,
}

/// A chunk of a group that is being computed.
struct OpenChunk {
    scored: ScoredChunk,
    /// The base's rows, read or to be written.
    rows: Vec<u8>,
}

/// What a row gave.
struct ScoredRow {
    nll: f32,
    top: Token,
    kld: Option<f32>,
    codes: Vec<u8>,
}

impl TextScoring<'_> {
    /// Scores a group of chunks together, at most as many as the case has sequences.
    pub(crate) fn group(&mut self, chunks: &[u32]) -> Result<Vec<ScoredChunk>, ScoreError> {
        let started_ns = self.clock.now_ns();
        let mut open: Vec<OpenChunk> = Vec::with_capacity(chunks.len());
        for &chunk in chunks {
            open.push(self.open(chunk)?);
        }
        let mut engine_ns = 0;
        self.session.truncate(0);
        self.prompt(&mut open, &mut engine_ns)?;
        self.one_by_one(&mut open, &mut engine_ns)?;
        self.keep(&mut open)?;
        let n = chunks.len() as u64;
        let all_ns = self.clock.now_ns() - started_ns;
        let scored = open.into_iter().map(|chunk| ScoredChunk {
            engine_ns: engine_ns / n,
            score_ns: (all_ns - engine_ns) / n,
            ..chunk.scored
        });
        Ok(scored.collect())
    }

    fn n_positions(&self) -> u32 {
        self.case.n_prompt + self.case.n_gen
    }

    /// The chunk's tokens as they are in the text.
    fn text_of(&self, chunk: u32) -> &[Token] {
        let n = self.n_positions() as usize;
        &self.tokens[chunk as usize * n..][..n]
    }

    fn open(&mut self, chunk: u32) -> Result<OpenChunk, ScoreError> {
        let hash = hash_of(self.text_of(chunk));
        let n_scored = self.shape.n_scored;
        let mut rows = Vec::new();
        match &mut self.distributions {
            Distributions::Unused => {}
            Distributions::Kept(_) => rows.reserve_exact(n_scored * self.shape.row_bytes()),
            Distributions::Compared(store) => {
                match store.hash_of(chunk)? {
                    None => return Err(ScoreError::NotInBase { chunk }),
                    Some(of_base) if of_base != hash => {
                        return Err(ScoreError::OtherTokens { chunk });
                    }
                    Some(_) => {}
                }
                rows.resize(n_scored * self.shape.row_bytes(), 0);
                store.read(chunk, &mut rows)?;
            }
        }
        Ok(OpenChunk {
            scored: ScoredChunk {
                chunk,
                tokens_hash: hash,
                nll: Vec::with_capacity(n_scored),
                top: Vec::with_capacity(n_scored),
                kld: Vec::new(),
                engine_ns: 0,
                score_ns: 0,
            },
            rows,
        })
    }

    /// The token at a position as the model gets it.
    fn input(&self, chunk: u32, pos: u32) -> Token {
        match (self.bos, pos) {
            (Some(bos), 0) => bos,
            _ => self.text_of(chunk)[pos as usize],
        }
    }

    fn is_scored(&self, pos: u32) -> bool {
        pos >= first_scored(self.n_positions()) && pos + 1 < self.n_positions()
    }

    /// The first `n_prompt` tokens of every chunk, chunk after chunk, cut into batches.
    fn prompt(&mut self, open: &mut [OpenChunk], engine_ns: &mut u64) -> Result<(), ScoreError> {
        let mut wanted = Vec::new();
        let mut n_in_batch = 0;
        self.session.begin();
        for seq in 0..open.len() {
            for pos in 0..self.case.n_prompt {
                if n_in_batch == self.case.n_batch {
                    self.submit(&mut wanted, open, engine_ns)?;
                    n_in_batch = 0;
                }
                self.push((n_in_batch, seq, pos), open, &mut wanted)?;
                n_in_batch += 1;
            }
        }
        match n_in_batch {
            0 => Ok(()),
            _ => self.submit(&mut wanted, open, engine_ns),
        }
    }

    /// The other tokens, one of every chunk a call, as if each had been generated.
    fn one_by_one(
        &mut self,
        open: &mut [OpenChunk],
        engine_ns: &mut u64,
    ) -> Result<(), ScoreError> {
        let mut wanted = Vec::new();
        // What follows the last token is not known.
        for pos in self.case.n_prompt..self.n_positions() - 1 {
            self.session.begin();
            for seq in 0..open.len() {
                self.push((seq as u32, seq, pos), open, &mut wanted)?;
            }
            self.submit(&mut wanted, open, engine_ns)?;
        }
        Ok(())
    }

    fn push(
        &mut self,
        (row, seq, pos): (u32, usize, u32),
        open: &[OpenChunk],
        wanted: &mut Vec<WantedRow>,
    ) -> Result<(), ScoreError> {
        let is_scored = self.is_scored(pos);
        let token = self.input(open[seq].scored.chunk, pos);
        let seq = seq as u32;
        self.session.push(token, pos, seq, is_scored)?;
        if is_scored {
            let row = row as i32;
            wanted.push(WantedRow { row, seq, pos });
        }
        Ok(())
    }

    /// Computes the batch and scores its rows; then the batch is empty.
    fn submit(
        &mut self,
        wanted: &mut Vec<WantedRow>,
        open: &mut [OpenChunk],
        engine_ns: &mut u64,
    ) -> Result<(), ScoreError> {
        let started_ns = self.clock.now_ns();
        self.session.submit()?;
        self.session.wait();
        *engine_ns += self.clock.now_ns() - started_ns;
        let scored = self.rows(wanted, open)?;
        let is_kept = matches!(self.distributions, Distributions::Kept(_));
        for (wanted, row) in wanted.drain(..).zip(scored) {
            let chunk = &mut open[wanted.seq as usize];
            chunk.scored.nll.push(row.nll);
            chunk.scored.top.push(row.top);
            chunk.scored.kld.extend(row.kld);
            if is_kept {
                chunk.rows.extend(row.codes);
            }
        }
        self.session.begin();
        match (self.goes_on)() {
            true => Ok(()),
            false => Err(ScoreError::Stopped),
        }
    }

    fn rows(
        &mut self,
        wanted: &[WantedRow],
        open: &[OpenChunk],
    ) -> Result<Vec<ScoredRow>, ScoreError> {
        let (n_positions, row_bytes) = (self.n_positions(), self.shape.row_bytes());
        let targets: Vec<usize> = wanted
            .iter()
            .map(|w| self.text_of(open[w.seq as usize].scored.chunk)[w.pos as usize + 1] as usize)
            .collect();
        let results: Vec<OnceLock<Option<ScoredRow>>> =
            wanted.iter().map(|_| OnceLock::new()).collect();
        let distributions = &self.distributions;
        let score = |at: usize, logits: &[f32]| {
            let norm = Normaliser::of(logits)?;
            let wanted = wanted[at];
            let of_base = || {
                let first = (wanted.pos - first_scored(n_positions)) as usize * row_bytes;
                &open[wanted.seq as usize].rows[first..first + row_bytes]
            };
            let mut codes = Vec::new();
            if matches!(distributions, Distributions::Kept(_)) {
                codes.resize(row_bytes, 0);
                norm.encode(logits, &mut codes);
            }
            Some(ScoredRow {
                nll: norm.nll(*logits.get(targets[at])?),
                top: norm.top as Token,
                kld: matches!(distributions, Distributions::Compared(_))
                    .then(|| norm.divergence(logits, of_base())),
                codes,
            })
        };
        let rows: Vec<i32> = wanted.iter().map(|w| w.row).collect();
        self.session
            .each_logits(&rows, self.case.n_threads, &|at, logits| {
                // Each row is scored once.
                let _ = results[at].set(score(at, logits));
            });
        let scored = results.into_iter().zip(rows);
        let scored = scored.map(|(result, row)| {
            let result = result.into_inner().flatten();
            result.ok_or(ScoreError::Engine(EngineError::Logits { row }))
        });
        scored.collect()
    }

    fn keep(&mut self, open: &mut [OpenChunk]) -> Result<(), ScoreError> {
        if let Distributions::Kept(store) = &mut self.distributions {
            for chunk in open {
                let scored = &chunk.scored;
                store.write(scored.chunk, scored.tokens_hash, &chunk.rows)?;
            }
        }
        Ok(())
    }
}

/// The store's shape for a case.
pub(crate) fn shape(case: &Case, n_vocab: usize) -> StoreShape {
    StoreShape {
        n_vocab,
        n_scored: n_scored(case.n_prompt + case.n_gen) as usize,
    }
}

/// FNV-1a over the tokens' bytes; never 0. It is recorded, so it must stay the same in every build.
pub(crate) fn hash_of(tokens: &[Token]) -> u64 {
    let bytes = tokens.iter().flat_map(|token| token.to_le_bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    hash.max(1)
}
