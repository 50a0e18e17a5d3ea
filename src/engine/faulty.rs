//! Engines made wrong on purpose: what a test plants, a comparison, a gate or a scored text must find.

use super::clock::Clock;
use super::slowed::SlowedSession;
use super::swapped::SwappedSession;
use super::{Engine, EngineError, GpuMemory, Session, Token};
use crate::plan::Case;

/// A fault that a test plants in the engine.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum PlantedFault {
    /// Every call takes longer by a share, by spinning.
    Slow {
        /// The share.
        share: f64,
        /// The one batch size whose cells are slowed; none: all are.
        n_seq: Option<u32>,
    },
    /// Two sequences of a call get each other's logits.
    SwappedSequences,
}

impl PlantedFault {
    /// What a record says of an engine that has it.
    pub fn said(self) -> String {
        match self {
            Self::Slow { share, n_seq } => {
                let cells = n_seq.map(|n| format!(" at batch {n}")).unwrap_or_default();
                format!("slowed by {:.1}% on purpose{cells}", share * 100.0)
            }
            Self::SwappedSequences => {
                "faulty on purpose: two sequences get each other's logits".to_owned()
            }
        }
    }

    /// As [`PlantedFault::read`] reads it.
    pub fn argument(self) -> String {
        match self {
            Self::Slow { share, n_seq } => {
                let cells = n_seq.map(|n| format!("@{n}")).unwrap_or_default();
                format!("spin={share}{cells}")
            }
            Self::SwappedSequences => "swap".to_owned(),
        }
    }

    /// As the command line names it after `llama:`; `None` for no fault at all.
    pub fn read(text: &str) -> Result<Option<Self>, String> {
        if text == "swap" {
            return Ok(Some(Self::SwappedSequences));
        }
        let wrong = || format!("'{text}': say llama:spin=5%, llama:spin=5%@8 or llama:swap");
        let spin = text.strip_prefix("spin=").ok_or_else(wrong)?;
        let (share, n_seq) = match spin.split_once('@') {
            Some((share, n)) => (share, Some(n.parse().map_err(|_| wrong())?)),
            None => (spin, None),
        };
        let share: Option<f64> = match share.strip_suffix('%') {
            Some(percent) => percent.parse().map(|p: f64| p / 100.0).ok(),
            None => share.parse().ok(),
        };
        match share.filter(|s| (0.0..=10.0).contains(s)) {
            Some(0.0) => Ok(None),
            Some(share) => Ok(Some(Self::Slow { share, n_seq })),
            None => Err(wrong()),
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
            PlantedFault::Slow { n_seq, .. } if n_seq.is_some_and(|n| n != case.n_seq) => inner,
            PlantedFault::Slow { share, .. } => {
                Box::new(SlowedSession::new(inner, self.clock, share))
            }
            PlantedFault::SwappedSequences => Box::new(SwappedSession::new(inner)),
        })
    }
}
