//! An engine made wrong on purpose: a planted fault of batching that a scored text must find.

use super::{EngineError, Session, Token};
use crate::plan::serving::Sampling;

/// A session that exchanges the logits of two sequences. A call with tokens of one sequence is computed correctly, so only what
/// several sequences share is wrong.
pub(super) struct SwappedSession<'a> {
    inner: Box<dyn Session + 'a>,
    /// Tokens of the batch.
    n_rows: i32,
    /// Rows that asked for logits, with their sequences, in the order of the batch.
    wanted: Vec<(i32, u32)>,
}

impl<'a> SwappedSession<'a> {
    pub(super) fn new(inner: Box<dyn Session + 'a>) -> Self {
        Self {
            inner,
            n_rows: 0,
            wanted: Vec::new(),
        }
    }

    /// The row whose logits are handed out for `row`: that of the same rank among the other sequence's rows, for the first two
    /// sequences of the batch.
    fn other(&self, row: i32) -> i32 {
        let seq_of = |wanted: i32| self.wanted.iter().find(|(row, _)| *row == wanted);
        let Some((&(_, first), &(_, own))) = self.wanted.first().zip(seq_of(row)) else {
            return row;
        };
        let Some(&(_, second)) = self.wanted.iter().find(|(_, seq)| *seq != first) else {
            return row;
        };
        let other = match own {
            own if own == first => second,
            own if own == second => first,
            _ => return row,
        };
        let rows_of = |seq: u32| {
            let of_seq = self.wanted.iter().filter(move |(_, of)| *of == seq);
            of_seq.map(|(row, _)| *row)
        };
        let rank = rows_of(own).take_while(|earlier| *earlier != row).count();
        rows_of(other).nth(rank).unwrap_or(row)
    }
}

impl Session for SwappedSession<'_> {
    fn n_ctx_seq(&self) -> u32 {
        self.inner.n_ctx_seq()
    }

    fn truncate(&mut self, n_past: u32) -> bool {
        self.inner.truncate(n_past)
    }

    fn remove(&mut self, seq: u32) -> bool {
        self.inner.remove(seq)
    }

    fn begin(&mut self) {
        self.n_rows = 0;
        self.wanted.clear();
        self.inner.begin();
    }

    fn push(&mut self, token: Token, pos: u32, seq: u32, logits: bool) -> Result<(), EngineError> {
        self.inner.push(token, pos, seq, logits)?;
        if logits {
            self.wanted.push((self.n_rows, seq));
        }
        self.n_rows += 1;
        Ok(())
    }

    fn submit(&mut self) -> Result<(), EngineError> {
        self.inner.submit()
    }

    fn wait(&mut self) {
        self.inner.wait();
    }

    fn greedy(&mut self, row: i32) -> Result<Token, EngineError> {
        self.inner.greedy(self.other(row))
    }

    fn set_sampler(&mut self, seq: u32, sampling: &Sampling, mask_end: bool) {
        self.inner.set_sampler(seq, sampling, mask_end);
    }

    fn sample(&mut self, row: i32, seq: u32) -> Result<Token, EngineError> {
        self.inner.sample(self.other(row), seq)
    }

    fn each_logits(&mut self, rows: &[i32], n_threads: u32, each: &(dyn Fn(usize, &[f32]) + Sync)) {
        let others: Vec<i32> = rows.iter().map(|row| self.other(*row)).collect();
        self.inner.each_logits(&others, n_threads, each);
    }

    fn logits(&mut self, row: i32) -> &[f32] {
        self.inner.logits(self.other(row))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Engine;
    use crate::engine::clock::FakeClock;
    use crate::engine::synthetic::{SyntheticCost, SyntheticEngine};
    use crate::plan::expand::{Axes, Host, cases};

    /// The rows that stand for these rows of a batch, whose tokens are of these sequences.
    fn others(seqs: &[u32], rows: &[i32]) -> Vec<i32> {
        let engine = SyntheticEngine::new(SyntheticCost::default(), FakeClock::default(), 0);
        let host = Host {
            n_threads: 1,
            n_gpu_layers: 0,
        };
        let axes = Axes {
            n_seq: Some(vec![4]),
            ..Axes::default()
        };
        let case = cases(&axes, &["m".into()], &[], host)
            .expect("valid")
            .remove(0);
        let mut session = SwappedSession::new(engine.open(&case).expect("opens"));
        session.begin();
        for (pos, seq) in (0..).zip(seqs) {
            session.push(1, pos, *seq, pos > 0).expect("fits");
        }
        rows.iter().map(|row| session.other(*row)).collect()
    }

    #[test]
    fn the_first_two_sequences_exchange_their_rows() {
        assert_eq!(others(&[0, 0, 0], &[1, 2]), [1, 2], "one sequence");
        assert_eq!(others(&[3, 0, 1, 2], &[1, 2, 3]), [2, 1, 3]);
        assert_eq!(
            others(&[3, 0, 0, 1, 1, 1], &[1, 2, 3, 4, 5]),
            [3, 4, 1, 2, 5]
        );
    }
}
