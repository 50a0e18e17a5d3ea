//! What a repetition is judged by: its figures by name, with unit and direction.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::measure::{Call, Phase};
use crate::plan::Case;
use crate::stats::summary;
use crate::units;

/// Which way a metric gets better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Better {
    /// A duration.
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
}

impl Metric {
    /// Every metric, in the order of help texts.
    pub const ALL: [Metric; 8] = [
        Metric::StepNs,
        Metric::DecodeTokensPerS,
        Metric::PrefillTokensPerS,
        Metric::TtftNs,
        Metric::TpotNs,
        Metric::EngineNs,
        Metric::OverheadNs,
        Metric::SampleNs,
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
        }
    }

    /// The unit of its values.
    pub fn unit(self) -> &'static str {
        match self.better() {
            Better::Lower => "ns",
            Better::Higher => "tokens/s",
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
    /// chosen, or a part of a step too short for the clock.
    pub fn of(self, case: &Case, calls: &[Call]) -> Option<f64> {
        self.measured(case, calls).filter(|v| *v > 0.0)
    }

    /// As [`Metric::of`], but with a part of a step that the clock saw nothing of as the 0 that it is.
    pub fn measured(self, case: &Case, calls: &[Call]) -> Option<f64> {
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
        match self.better() {
            Better::Lower => units::duration(value.round() as u64),
            Better::Higher => units::significant(value),
        }
    }
}

/// Tokens per second of some calls; none when no time passed.
fn rate<'a>(calls: impl Iterator<Item = &'a Call>) -> Option<f64> {
    let (tokens, ns) = calls.fold((0_u64, 0_u64), |(tokens, ns), c| {
        (
            tokens.saturating_add(u64::from(c.n_tokens)),
            ns.saturating_add(c.step_ns()),
        )
    });
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
        let of = |m: Metric| m.of(&case(true), &calls);
        assert_eq!(of(Metric::StepNs), Some(200.0));
        assert_eq!(of(Metric::DecodeTokensPerS), Some(6.0 / 1200.0 * 1e9));
        assert_eq!(of(Metric::PrefillTokensPerS), Some(20.0 / 1000.0 * 1e9));
        assert_eq!(of(Metric::TtftNs), Some(1000.0));
        assert_eq!(of(Metric::TpotNs), Some(400.0));
        assert_eq!(of(Metric::EngineNs), Some(180.0));
        assert_eq!(of(Metric::SampleNs), Some(20.0));
        assert_eq!(of(Metric::OverheadNs), None, "no logarithm of nothing");
        assert_eq!(
            Metric::OverheadNs.measured(&case(true), &calls),
            Some(0.0),
            "but it was measured"
        );
        for metric in [Metric::TtftNs, Metric::SampleNs] {
            assert_eq!(metric.of(&case(false), &calls), None, "{metric}");
        }
        for metric in Metric::ALL {
            assert_eq!(metric.of(&case(true), &[]), None, "{metric}");
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
    fn what_needs_a_prompt_has_no_value_without_one() {
        let calls = [call(Phase::Prefill, 10, 500), call(Phase::Decode, 2, 100)];
        let alone: Vec<Metric> = Metric::ALL
            .into_iter()
            .filter(|m| m.of(&case(true, 0), &calls).is_none() && *m != Metric::OverheadNs)
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
