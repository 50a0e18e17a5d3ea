//! Joules per token, from the energy counters that each repetition's phases were read with.

use serde::Serialize;

use crate::host::usage::PhaseEnergy;
use crate::measure::{Call, Phase};

/// NVML's energy counter moves about this often (arXiv 2312.02741 measured 100 ms on recent devices), so each end of a
/// repetition's phase is wrong by up to that time.
const COUNTER_STEP_NS: f64 = 100e6;

/// A figure is shown when the counter's steps make it uncertain by at most this share, as one standard deviation.
const MOST_DOUBT: f64 = 0.05;

/// Energy of a cell's GPUs over all its repetitions. `None`: the phase was too short for the counter, whose steps would leave more than 5% of doubt.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct CellEnergy {
    /// Joules per generated token, of all sequences together.
    pub decode_j_per_token: Option<f64>,
    /// The same, less what the idle device draws in that time.
    pub decode_j_per_token_above_idle: Option<f64>,
    /// Joules per prompt token.
    pub prefill_j_per_token: Option<f64>,
    /// Mean power while tokens were generated, watts.
    pub decode_power_w: Option<f64>,
    /// What the device drew before the run, watts.
    pub idle_power_w: Option<f64>,
    /// Time in which tokens were generated and the counter was read.
    pub decode_ns: u64,
}

/// One phase over all repetitions.
#[derive(Debug, Clone, Copy, Default)]
struct Sum {
    mj: u64,
    ns: u64,
    tokens: u64,
}

impl Sum {
    fn add(&mut self, mj: u64, calls: &[Call], phase: Phase) {
        self.mj = self.mj.saturating_add(mj);
        for call in calls.iter().filter(|call| call.phase == phase) {
            self.ns = self.ns.saturating_add(call.step_ns());
            self.tokens = self.tokens.saturating_add(u64::from(call.n_tokens));
        }
    }

    /// Watts; `None` where the counter's steps say too little. A step's error is uniform over the counter's step, at both
    /// ends of each repetition: a variance of twice a twelfth of its square.
    fn watts(&self, n_repetitions: u64) -> Option<f64> {
        let doubt_ns = COUNTER_STEP_NS * (n_repetitions as f64 / 6.0).sqrt();
        let is_known = self.ns > 0 && doubt_ns <= MOST_DOUBT * self.ns as f64;
        // Millijoules over nanoseconds are millions of watts.
        is_known.then(|| self.mj as f64 * 1e6 / self.ns as f64)
    }

    fn joules_per_token(&self, watts: f64) -> Option<f64> {
        (self.tokens > 0).then(|| rounded(watts * self.ns as f64 / 1e9 / self.tokens as f64))
    }
}

/// What is known while a record is read.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct EnergyCollector {
    n_repetitions: u64,
    prefill: Sum,
    decode: Sum,
}

impl EnergyCollector {
    /// A repetition whose energy was read.
    pub(super) fn note(&mut self, energy: PhaseEnergy, calls: &[Call]) {
        self.n_repetitions = self.n_repetitions.saturating_add(1);
        self.prefill.add(energy.prefill_mj, calls, Phase::Prefill);
        self.decode.add(energy.decode_mj, calls, Phase::Decode);
    }

    /// `None` where no repetition was read with a counter.
    pub(super) fn finish(&self, idle_power_w: Option<f64>) -> Option<CellEnergy> {
        if self.n_repetitions == 0 {
            return None;
        }
        let (prefill, decode) = (&self.prefill, &self.decode);
        let decode_power_w = decode.watts(self.n_repetitions);
        let above_idle = decode_power_w
            .zip(idle_power_w)
            .map(|(watts, idle)| watts - idle);
        Some(CellEnergy {
            decode_j_per_token: decode_power_w.and_then(|w| decode.joules_per_token(w)),
            decode_j_per_token_above_idle: above_idle.and_then(|w| decode.joules_per_token(w)),
            prefill_j_per_token: prefill
                .watts(self.n_repetitions)
                .and_then(|w| prefill.joules_per_token(w)),
            decode_power_w: decode_power_w.map(rounded),
            idle_power_w: idle_power_w.map(rounded),
            decode_ns: decode.ns,
        })
    }
}

/// Hundredths of a millijoule, and of a milliwatt, are more than any counter knows.
fn rounded(value: f64) -> f64 {
    (value * 1e5).round() / 1e5
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(phase: Phase, n_tokens: u32, step_ns: u64) -> Call {
        Call {
            phase,
            n_tokens,
            n_seq: 8,
            n_past: 1,
            build_ns: 0,
            submit_ns: step_ns,
            wait_ns: 0,
            sample_ns: 0,
        }
    }

    #[test]
    fn joules_are_the_counters_over_the_tokens_of_a_phase() {
        let mut collector = EnergyCollector::default();
        let energy = PhaseEnergy {
            prefill_mj: 50_000,
            decode_mj: 2_000_000,
        };
        // 10 s of decoding at 200 W, 80 tokens; 0.2 s of prefill, which is too short.
        let mut calls = vec![call(Phase::Prefill, 64, 200_000_000)];
        calls.extend([call(Phase::Decode, 8, 1_000_000_000); 10]);
        collector.note(energy, &calls);
        let known = collector.finish(Some(80.0)).expect("a counter was read");
        assert_eq!(known.decode_power_w, Some(200.0));
        assert_eq!(known.decode_j_per_token, Some(25.0));
        assert_eq!(known.decode_j_per_token_above_idle, Some(15.0));
        assert_eq!(known.prefill_j_per_token, None);
        assert_eq!(known.decode_ns, 10_000_000_000);
    }

    #[test]
    fn without_a_counter_nothing_is_known_and_short_phases_stay_unknown() {
        assert_eq!(EnergyCollector::default().finish(Some(80.0)), None);
        let mut short = EnergyCollector::default();
        let calls = [call(Phase::Decode, 8, 500_000_000)];
        short.note(PhaseEnergy::default(), &calls);
        let known = short.finish(None).expect("a counter was read");
        assert_eq!(
            (known.decode_j_per_token, known.decode_power_w),
            (None, None)
        );
        // The doubt grows with the root of the repetitions, the time with their number: 0.5 s each needs three of them.
        let more = PhaseEnergy {
            prefill_mj: 0,
            decode_mj: 50_000,
        };
        let is_known = |e: &EnergyCollector| {
            let known = e.finish(None);
            known.is_some_and(|e| e.decode_power_w.is_some())
        };
        short.note(more, &calls);
        assert!(!is_known(&short), "two repetitions");
        short.note(more, &calls);
        assert!(is_known(&short), "three repetitions");
    }
}
