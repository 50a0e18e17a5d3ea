//! Engines made wrong on purpose: what a test plants, a comparison, a gate or a scored text must find.

use super::clock::Clock;
use super::slowed::SlowedSession;
use super::swapped::SwappedSession;
use super::{Engine, EngineError, GpuMemory, Session, Token};
use crate::plan::Case;

/// A fault that a test plants in the engine.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum PlantedFault {
    /// Every call takes longer by this share, by spinning.
    Slow(f64),
    /// Two sequences of a call get each other's logits.
    SwappedSequences,
}

impl PlantedFault {
    /// What a record says of an engine that has it.
    pub fn said(self) -> String {
        match self {
            Self::Slow(share) => format!("slowed by {:.1}% on purpose", share * 100.0),
            Self::SwappedSequences => {
                "faulty on purpose: two sequences get each other's logits".to_owned()
            }
        }
    }

    /// As the command line names it after `llama:`; `None` for no fault at all.
    pub fn read(text: &str) -> Result<Option<Self>, String> {
        if text == "swap" {
            return Ok(Some(Self::SwappedSequences));
        }
        let share = text
            .strip_prefix("spin=")
            .and_then(|s| match s.strip_suffix('%') {
                Some(percent) => percent.parse().map(|p: f64| p / 100.0).ok(),
                None => s.parse().ok(),
            });
        match share.filter(|s| (0.0..=10.0).contains(s)) {
            Some(0.0) => Ok(None),
            Some(share) => Ok(Some(Self::Slow(share))),
            None => Err(format!("'{text}': say llama:spin=5% or llama:swap")),
        }
    }
}

/// An engine with a planted fault: its sessions have it, everything else is the engine's own.
pub struct FaultyEngine<'e> {
    inner: &'e dyn Engine,
    clock: &'e dyn Clock,
    fault: PlantedFault,
}

impl<'e> FaultyEngine<'e> {
    pub fn new(inner: &'e dyn Engine, clock: &'e dyn Clock, fault: PlantedFault) -> Self {
        Self {
            inner,
            clock,
            fault,
        }
    }
}

impl Engine for FaultyEngine<'_> {
    fn prompt_tokens(&self) -> &[Token] {
        self.inner.prompt_tokens()
    }

    fn tokenize(&self, text: &str, add_special: bool, parse_special: bool) -> Vec<Token> {
        self.inner.tokenize(text, add_special, parse_special)
    }

    fn bos(&self) -> Option<Token> {
        self.inner.bos()
    }

    fn n_vocab(&self) -> usize {
        self.inner.n_vocab()
    }

    fn piece(&self, token: Token) -> Vec<u8> {
        self.inner.piece(token)
    }

    fn ends_text(&self, token: Token) -> bool {
        self.inner.ends_text(token)
    }

    fn apply_template(&self, user_text: &str) -> Result<String, EngineError> {
        self.inner.apply_template(user_text)
    }

    fn gpu_memory(&self) -> Option<GpuMemory> {
        self.inner.gpu_memory()
    }

    fn open<'a>(&'a self, case: &Case) -> Result<Box<dyn Session + 'a>, EngineError> {
        let inner = self.inner.open(case)?;
        Ok(match self.fault {
            PlantedFault::Slow(share) => Box::new(SlowedSession::new(inner, self.clock, share)),
            PlantedFault::SwappedSequences => Box::new(SwappedSession::new(inner)),
        })
    }
}
