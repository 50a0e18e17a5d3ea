//! What a repetition is judged by: its figures by name, with unit and direction.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::host::EnergySource;
use crate::host::usage::PhaseEnergy;
use crate::measure::{Call, Phase};
use crate::plan::Case;
use crate::stats::summary;
use crate::units;

/// Which way a metric gets better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Better {
    /// A duration, or an energy.
    Lower,
    /// A rate.
    Higher,
}

/// A figure of one repetition; definitions in METHODOLOGY.md, section 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Median decode step: the latency between two tokens.
    #[default]
    StepNs,
    /// Generated tokens of all sequences per second of decode steps.
    DecodeTokensPerS,
    /// Prompt tokens of all sequences per second of prefill.
    PrefillTokensPerS,
    /// The whole prefill, until the last sequence has its first token.
    TtftNs,
    /// Time per output token of one sequence: without speculation the mean decode step.
    TpotNs,
    /// The engine's part of a decode step, median.
    EngineNs,
    /// This program's own part of a decode step, median.
    OverheadNs,
    /// The part of choosing tokens in a decode step, median.
    SampleNs,
    /// Energy per generated token of all sequences, by the counters of the device that computes: GPUs, or else the
    /// processor's packages.
    JoulesPerToken,
}

impl Metric {
    /// Every metric, in the order of help texts.
    pub const ALL: [Metric; 9] = [
        Metric::StepNs,
        Metric::DecodeTokensPerS,
        Metric::PrefillTokensPerS,
        Metric::TtftNs,
        Metric::TpotNs,
        Metric::EngineNs,
        Metric::OverheadNs,
        Metric::SampleNs,
        Metric::JoulesPerToken,
    ];

    /// Its word in the table and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::StepNs => "step",
            Self::DecodeTokensPerS => "decode",
            Self::PrefillTokensPerS => "prefill",
            Self::TtftNs => "ttft",
            Self::TpotNs => "tpot",
            Self::EngineNs => "engine",
            Self::OverheadNs => "overhead",
            Self::SampleNs => "sample",
            Self::JoulesPerToken => "joules_per_token",
        }
    }

    /// The unit of its values.
    pub fn unit(self) -> &'static str {
        match (self, self.better()) {
            (Self::JoulesPerToken, _) => "J/token",
            (_, Better::Lower) => "ns",
            (_, Better::Higher) => "tokens/s",
        }
    }

    /// What a side that is slower takes more of.
    pub fn quantity(self) -> &'static str {
        match self {
            Self::JoulesPerToken => "energy",
            _ => "time",
        }
    }

    /// Which way it gets better.
    pub fn better(self) -> Better {
        match self {
            Self::DecodeTokensPerS | Self::PrefillTokensPerS => Better::Higher,
            _ => Better::Lower,
        }
    }

    /// A repetition's value, positive, in [`Metric::unit`]; none when it has none: no such calls, no prompt, no token
    /// chosen, a part of a step too short for the clock, or generation too short for the energy counter. `energy` is that of
    /// the device that computes.
    pub fn of(self, case: &Case, calls: &[Call], energy: Option<PhaseEnergy>) -> Option<f64> {
        self.measured(case, calls, energy).filter(|v| *v > 0.0)
    }

    /// As [`Metric::of`], but with a part of a step that the clock saw nothing of as the 0 that it is.
    pub fn measured(self, case: &Case, calls: &[Call], energy: Option<PhaseEnergy>) -> Option<f64> {
        let of_phase = |phase| calls.iter().filter(move |c| c.phase == phase);
        let parts = |part: fn(&Call) -> u64| -> Vec<f64> {
            let decode = of_phase(Phase::Decode);
            decode.map(|c| part(c) as f64).collect()
        };
        match self {
            Self::StepNs => summary::median(&parts(Call::step_ns)),
            Self::TpotNs => summary::mean(&parts(Call::step_ns)),
            Self::EngineNs => summary::median(&parts(Call::engine_ns)),
            Self::OverheadNs => summary::median(&parts(|c| c.build_ns)),
            Self::SampleNs if !case.sample => None,
            Self::SampleNs => summary::median(&parts(|c| c.sample_ns)),
            Self::DecodeTokensPerS => rate(of_phase(Phase::Decode)),
            Self::PrefillTokensPerS if case.n_prompt == 0 => None,
            Self::PrefillTokensPerS => rate(of_phase(Phase::Prefill)),
            Self::TtftNs if case.n_prompt == 0 || !case.sample => None,
            Self::TtftNs => of_phase(Phase::Prefill)
                .map(Call::step_ns)
                .reduce(u64::saturating_add)
                .map(|ns| ns as f64),
            Self::JoulesPerToken => {
                let (tokens, ns) = total(of_phase(Phase::Decode));
                let is_known = tokens > 0 && ns >= EnergySource::of(case).least_ns(1);
                let mj = energy?.decode_mj;
                // A counter that stands still counts nothing.
                (is_known && mj > 0).then(|| mj as f64 / 1e3 / tokens as f64)
            }
        }
    }

    /// The logarithm of a value as a time: of a rate, that of its inverse. More is slower, whatever the metric.
    pub fn log_time(self, value: f64) -> f64 {
        match self.better() {
            Better::Lower => value.ln(),
            Better::Higher => -value.ln(),
        }
    }

    /// A value as people read it, with its unit where the unit depends on its size.
    pub fn show(self, value: f64) -> String {
        match (self, self.better()) {
            (Self::JoulesPerToken, _) => units::fine(value),
            (_, Better::Higher) => units::significant(value),
            (_, Better::Lower) => units::duration(value.round() as u64),
        }
    }
}

/// Tokens and time of some calls.
fn total<'a>(calls: impl Iterator<Item = &'a Call>) -> (u64, u64) {
    calls.fold((0_u64, 0_u64), |(tokens, ns), c| {
        (
            tokens.saturating_add(u64::from(c.n_tokens)),
            ns.saturating_add(c.step_ns()),
        )
    })
}

/// Tokens per second of some calls; none when no time passed.
fn rate<'a>(calls: impl Iterator<Item = &'a Call>) -> Option<f64> {
    let (tokens, ns) = total(calls);
    (tokens > 0 && ns > 0).then(|| tokens as f64 / ns as f64 * 1e9)
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Metric {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|m| m.name() == s)
            .ok_or_else(|| {
                let names = Self::ALL.map(Self::name).join(", ");
                format!("'{s}' is no metric; one of {names}")
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::expand::{Axes, Host, cases};

    fn case(sample: bool, n_prompt: u32) -> Case {
        let host = Host {
            n_threads: 1,
            n_gpu_layers: 0,
        };
        let axes = Axes {
            sample: Some(vec![sample]),
            n_prompt: Some(vec![n_prompt]),
            ..Axes::default()
        };
        cases(&axes, &["m".into()], &[], host)
            .expect("valid")
            .remove(0)
    }

    fn call(phase: Phase, n_tokens: u32, submit_ns: u64) -> Call {
        Call {
            phase,
            n_tokens,
            n_seq: 2,
            n_past: 0,
            build_ns: 0,
            submit_ns: submit_ns - submit_ns / 10,
            wait_ns: 0,
            sample_ns: submit_ns / 10,
        }
    }

    #[test]
    fn values_are_those_of_the_calls() {
        let calls = [
            call(Phase::Prefill, 10, 500),
            call(Phase::Prefill, 10, 500),
            call(Phase::Decode, 2, 100),
            call(Phase::Decode, 2, 200),
            call(Phase::Decode, 2, 900),
        ];
        let case = |sample| case(sample, 10);
        let of = |m: Metric| m.of(&case(true), &calls, None);
        assert_eq!(of(Metric::StepNs), Some(200.0));
        assert_eq!(of(Metric::DecodeTokensPerS), Some(6.0 / 1200.0 * 1e9));
        assert_eq!(of(Metric::PrefillTokensPerS), Some(20.0 / 1000.0 * 1e9));
        assert_eq!(of(Metric::TtftNs), Some(1000.0));
        assert_eq!(of(Metric::TpotNs), Some(400.0));
        assert_eq!(of(Metric::EngineNs), Some(180.0));
        assert_eq!(of(Metric::SampleNs), Some(20.0));
        assert_eq!(of(Metric::OverheadNs), None, "no logarithm of nothing");
        assert_eq!(
            Metric::OverheadNs.measured(&case(true), &calls, None),
            Some(0.0),
            "but it was measured"
        );
        for metric in [Metric::TtftNs, Metric::SampleNs] {
            assert_eq!(metric.of(&case(false), &calls, None), None, "{metric}");
        }
        for metric in Metric::ALL {
            assert_eq!(metric.of(&case(true), &[], None), None, "{metric}");
            assert_eq!(metric.name().parse(), Ok(metric));
        }
        assert!(
            "speed"
                .parse::<Metric>()
                .expect_err("none")
                .contains("step, decode")
        );
    }

    #[test]
    fn joules_are_of_generation_that_is_long_enough_for_the_counter() {
        let energy = PhaseEnergy {
            prefill_mj: 90_000,
            decode_mj: 60_000,
        };
        let joules = |n_gpu_layers: u32, step_ns: u64, energy: Option<PhaseEnergy>| {
            let calls = [
                call(Phase::Prefill, 10, 500),
                call(Phase::Decode, 2, step_ns),
            ];
            let case = Case {
                n_gpu_layers,
                ..case(true, 10)
            };
            Metric::JoulesPerToken.of(&case, &calls, energy)
        };
        assert_eq!(joules(99, 900_000_000, Some(energy)), Some(30.0));
        assert_eq!(
            joules(99, 800_000_000, Some(energy)),
            None,
            "a counter of 100 ms"
        );
        assert_eq!(
            joules(0, 800_000_000, Some(energy)),
            Some(30.0),
            "one of 1 ms"
        );
        assert_eq!(joules(0, 800_000_000, None), None, "not measured");
        let still = PhaseEnergy {
            decode_mj: 0,
            ..energy
        };
        assert_eq!(joules(0, 800_000_000, Some(still)), None, "never 0");
    }

    #[test]
    fn what_needs_a_prompt_has_no_value_without_one() {
        let calls = [call(Phase::Prefill, 10, 500), call(Phase::Decode, 2, 100)];
        let alone: Vec<Metric> = Metric::ALL
            .into_iter()
            .filter(|m| m.of(&case(true, 0), &calls, None).is_none())
            .filter(|m| ![Metric::OverheadNs, Metric::JoulesPerToken].contains(m))
            .collect();
        assert_eq!(alone, [Metric::PrefillTokensPerS, Metric::TtftNs]);
    }

    #[test]
    fn more_log_time_is_slower_for_times_and_rates() {
        for metric in Metric::ALL {
            let (slow, fast) = match metric.better() {
                Better::Lower => (2.0, 1.0),
                Better::Higher => (1.0, 2.0),
            };
            assert!(metric.log_time(slow) > metric.log_time(fast));
        }
    }
}
