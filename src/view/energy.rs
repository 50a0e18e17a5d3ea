//! Joules per token, from the energy counters that each repetition's phases were read with.

use serde::Serialize;

use crate::engine::EngineFacts;
use crate::host::usage::{PhaseEnergy, UsageDelta};
use crate::host::{EnergySource, Machine};
use crate::measure::{Call, Phase};
use crate::plan::Case;
use crate::units;

/// Energy of a cell's GPUs, or of the processor, over all its repetitions. `None`: the phase was too short for the counter, whose
/// steps would leave more than 5% of doubt.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct CellEnergy {
    pub decode_j_per_token: Option<f64>,
    /// The same, less what the idle device draws in that time.
    pub decode_j_per_token_above_idle: Option<f64>,
    pub prefill_j_per_token: Option<f64>,
    /// Mean power while tokens were generated, watts.
    pub decode_power_w: Option<f64>,
    /// What the device drew before the run, watts.
    pub idle_power_w: Option<f64>,
    /// How long that was measured; none where it is one reading of the power sensor.
    pub idle_over_ns: Option<u64>,
    /// Time in which tokens were generated and the counter was read.
    pub decode_ns: u64,
}

/// What a run's record says of the energy of one source before any repetition.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct EnergyFacts {
    is_used: bool,
    idle_power_w: Option<f64>,
    idle_over_ns: Option<u64>,
    /// Why there is no counter.
    because: Option<String>,
}

impl EnergyFacts {
    pub(super) fn of(
        source: EnergySource,
        case: &Case,
        engine: &EngineFacts,
        machine: &Machine,
    ) -> Self {
        match source {
            EnergySource::Cpu => Self {
                is_used: true,
                idle_power_w: machine.cpu_energy.idle_power_mw.map(|mw| mw as f64 / 1e3),
                idle_over_ns: machine.idle_over_ns,
                because: machine.cpu_energy.no_energy_because.clone(),
            },
            EnergySource::Gpu => Self::of_gpus(case, engine, machine),
        }
    }

    fn of_gpus(case: &Case, engine: &EngineFacts, machine: &Machine) -> Self {
        let used = engine.pci_ids_of(&case.load_key());
        if used.is_empty() {
            return Self::default();
        }
        let (idle_power_w, because) = match machine.gpus.indices_of(&used) {
            Ok(indices) => (
                machine.gpus.idle_power_w(&indices),
                machine.gpus.no_energy_because(&indices).map(str::to_owned),
            ),
            Err(because) => (None, Some(because)),
        };
        Self {
            is_used: true,
            idle_power_w,
            idle_over_ns: machine.idle_over_ns.filter(|_| idle_power_w.is_some()),
            because,
        }
    }
}

/// Why the energy of the device that a case is computed on cannot be measured; none where it can.
pub fn why_unmeasurable(case: &Case, engine: &EngineFacts, machine: &Machine) -> Option<String> {
    EnergyFacts::of(EnergySource::of(case), case, engine, machine).because
}

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

    /// Watts; `None` where it took less than `least_ns`, for which the counter's steps say too little, and where the counter
    /// stood still.
    fn watts(&self, least_ns: u64) -> Option<f64> {
        let is_known = self.ns > 0 && self.ns >= least_ns && self.mj > 0;
        // Millijoules over nanoseconds are millions of watts.
        is_known.then(|| self.mj as f64 * 1e6 / self.ns as f64)
    }

    fn joules_per_token(&self, watts: f64) -> Option<f64> {
        (self.tokens > 0).then(|| rounded(watts * self.ns as f64 / 1e9 / self.tokens as f64))
    }
}

#[derive(Debug, Clone)]
pub(super) struct EnergyCollector {
    source: EnergySource,
    n_repetitions: u64,
    prefill: Sum,
    decode: Sum,
    /// Why a counter that was there gave nothing, the first time.
    lost: Option<String>,
}

impl EnergyCollector {
    pub(super) fn new(source: EnergySource) -> Self {
        Self {
            source,
            n_repetitions: 0,
            prefill: Sum::default(),
            decode: Sum::default(),
            lost: None,
        }
    }

    pub(super) fn note(&mut self, delta: &UsageDelta, calls: &[Call]) {
        if let Some(energy) = delta.energy_of(self.source) {
            self.add(energy, calls);
        }
        let lost = match self.source {
            EnergySource::Gpu => &delta.gpu_energy_lost,
            EnergySource::Cpu => &delta.cpu_energy_lost,
        };
        if self.lost.is_none() {
            self.lost.clone_from(lost);
        }
    }

    fn add(&mut self, energy: PhaseEnergy, calls: &[Call]) {
        self.n_repetitions = self.n_repetitions.saturating_add(1);
        self.prefill.add(energy.prefill_mj, calls, Phase::Prefill);
        self.decode.add(energy.decode_mj, calls, Phase::Decode);
    }

    /// The figures, where a repetition was read with a counter; and why the joules per generated token are unknown, where they
    /// are and the cell uses the source.
    pub(super) fn finish(&self, facts: &EnergyFacts) -> (Option<CellEnergy>, Option<String>) {
        if !facts.is_used {
            return (None, None);
        }
        if self.n_repetitions == 0 {
            let because = self.lost.as_ref().or(facts.because.as_ref());
            let unsaid = || "no repetition was read with an energy counter".to_owned();
            return (None, Some(because.cloned().unwrap_or_else(unsaid)));
        }
        let (prefill, decode) = (&self.prefill, &self.decode);
        let least_ns = self.source.least_ns(self.n_repetitions);
        let decode_power_w = decode.watts(least_ns);
        let above_idle = decode_power_w
            .zip(facts.idle_power_w)
            .map(|(watts, idle)| watts - idle)
            .filter(|watts| *watts > 0.0);
        let figures = CellEnergy {
            decode_j_per_token: decode_power_w.and_then(|w| decode.joules_per_token(w)),
            decode_j_per_token_above_idle: above_idle.and_then(|w| decode.joules_per_token(w)),
            prefill_j_per_token: prefill
                .watts(least_ns)
                .and_then(|w| prefill.joules_per_token(w)),
            decode_power_w: decode_power_w.map(rounded),
            idle_power_w: facts.idle_power_w.map(rounded),
            idle_over_ns: facts.idle_over_ns,
            decode_ns: decode.ns,
        };
        let because = match figures.decode_j_per_token {
            Some(_) => None,
            None => Some(self.too_little(least_ns)),
        };
        (Some(figures), because)
    }

    fn too_little(&self, least_ns: u64) -> String {
        if self.decode.ns < least_ns {
            return format!(
                "generation took {} in all, and the counter needs {} (raise --n-gen or --repetitions)",
                units::duration(self.decode.ns),
                units::duration(least_ns)
            );
        }
        "the energy counter stood still".to_owned()
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

    fn gpu(idle_power_w: Option<f64>) -> EnergyFacts {
        EnergyFacts {
            is_used: true,
            idle_power_w,
            idle_over_ns: Some(2_000_000_000),
            because: None,
        }
    }

    fn delta(prefill_mj: u64, decode_mj: u64) -> UsageDelta {
        UsageDelta {
            gpu_energy: Some(PhaseEnergy {
                prefill_mj,
                decode_mj,
            }),
            ..UsageDelta::default()
        }
    }

    #[test]
    fn joules_are_the_counters_over_the_tokens_of_a_phase() {
        let mut collector = EnergyCollector::new(EnergySource::Gpu);
        // 10 s of decoding at 200 W, 80 tokens; 0.2 s of prefill, which is too short.
        let mut calls = vec![call(Phase::Prefill, 64, 200_000_000)];
        calls.extend([call(Phase::Decode, 8, 1_000_000_000); 10]);
        collector.note(&delta(50_000, 2_000_000), &calls);
        let (known, because) = collector.finish(&gpu(Some(80.0)));
        let known = known.expect("a counter was read");
        assert_eq!(known.decode_power_w, Some(200.0));
        assert_eq!(known.decode_j_per_token, Some(25.0));
        assert_eq!(known.decode_j_per_token_above_idle, Some(15.0));
        assert_eq!(known.prefill_j_per_token, None);
        assert_eq!(known.decode_ns, 10_000_000_000);
        assert_eq!(known.idle_over_ns, Some(2_000_000_000));
        assert_eq!(because, None);
        let (busy, _) = collector.finish(&gpu(Some(250.0)));
        let above = busy.and_then(|e| e.decode_j_per_token_above_idle);
        assert_eq!(above, None, "an idle device that drew more is no basis");
    }

    #[test]
    fn short_phases_stay_unknown_and_say_how_long_is_enough() {
        let mut short = EnergyCollector::new(EnergySource::Gpu);
        let calls = [call(Phase::Decode, 8, 500_000_000)];
        let is_known = |e: &EnergyCollector| {
            let (known, because) = e.finish(&gpu(None));
            assert_ne!(
                known.and_then(|e| e.decode_power_w).is_some(),
                because.is_some()
            );
            because.is_none()
        };
        short.note(&delta(0, 50_000), &calls);
        let because = short.finish(&gpu(None)).1.unwrap_or_default();
        assert!(
            because.contains("took 500 ms in all, and the counter needs 816"),
            "{because}"
        );
        // The doubt grows with the root of the repetitions, the time with their number: 0.5 s each needs three of them.
        short.note(&delta(0, 50_000), &calls);
        assert!(!is_known(&short), "two repetitions");
        short.note(&delta(0, 50_000), &calls);
        assert!(is_known(&short), "three repetitions");
    }

    #[test]
    fn what_was_not_read_has_its_reason_and_no_zero() {
        let calls = [call(Phase::Decode, 8, 5_000_000_000)];
        let mut lost = EnergyCollector::new(EnergySource::Gpu);
        let gone = |why: &str| UsageDelta {
            gpu_energy_lost: Some(why.to_owned()),
            ..UsageDelta::default()
        };
        lost.note(&gone("GPU 0 was lost"), &calls);
        lost.note(&gone("and again"), &calls);
        let because = |e: &EnergyCollector, facts: &EnergyFacts| e.finish(facts).1;
        assert_eq!(
            because(&lost, &gpu(None)).as_deref(),
            Some("GPU 0 was lost")
        );
        let never = EnergyCollector::new(EnergySource::Cpu);
        let root_only = EnergyFacts {
            because: Some("readable by root only".to_owned()),
            ..gpu(None)
        };
        assert_eq!(
            because(&never, &root_only).as_deref(),
            Some("readable by root only")
        );
        assert!(because(&never, &gpu(None)).is_some(), "an older record");
        assert_eq!(
            never.finish(&EnergyFacts::default()),
            (None, None),
            "no GPU is used"
        );
        let mut still = EnergyCollector::new(EnergySource::Gpu);
        still.note(&delta(0, 0), &calls);
        let (figures, why) = still.finish(&gpu(None));
        assert_eq!(figures.and_then(|e| e.decode_j_per_token), None);
        assert_eq!(why.as_deref(), Some("the energy counter stood still"));
    }
}
