//! A repetition as its users see it: the time from the prompt to the last token.

use crate::measure::{Call, Phase, PhaseTotal};
use crate::record::Repetition;

/// One repetition from its prompt to its last token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RepetitionTime {
    pub whole_ns: u64,
    /// The prefill, nanoseconds; none without a prompt.
    pub prefill_ns: Option<u64>,
    pub n_generated: u64,
}

impl RepetitionTime {
    pub(super) fn of(repetition: &Repetition) -> Option<Self> {
        let Repetition { calls, totals, .. } = repetition;
        let sum = |phase| {
            let calls = calls.iter().filter(|c| c.phase == phase);
            let calls = calls.map(Call::step_ns).reduce(u64::saturating_add);
            let totals = totals.iter().filter(|t| t.phase == phase);
            calls.or(totals.map(|t| t.ns).reduce(u64::saturating_add))
        };
        let (prefill_ns, decode_ns) = (sum(Phase::Prefill), sum(Phase::Decode));
        let decode = calls.iter().filter(|c| c.phase == Phase::Decode);
        let totals = totals.iter().filter(|t| t.phase == Phase::Decode);
        let of_totals = totals.map(|PhaseTotal { n_tokens, .. }| *n_tokens);
        Some(Self {
            whole_ns: prefill_ns.unwrap_or(0).saturating_add(decode_ns?),
            prefill_ns,
            n_generated: decode
                .map(|c| u64::from(c.n_tokens))
                .chain(of_totals)
                .fold(0, u64::saturating_add),
        })
    }

    /// The decode steps, nanoseconds.
    pub fn decode_ns(&self) -> u64 {
        self.whole_ns - self.prefill_ns.unwrap_or(0)
    }

    /// Generated tokens of all sequences per second of decoding.
    pub fn tokens_per_s(&self) -> Option<f64> {
        let ns = self.decode_ns();
        (ns > 0).then(|| self.n_generated as f64 / ns as f64 * 1e9)
    }
}
