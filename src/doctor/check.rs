//! What one check says: a finding, a verdict, what to do, and what that would bring.

use serde::Serialize;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckVerdict {
    /// Does not disturb.
    Good,
    /// Could not be read: never taken for good.
    Unknown,
    /// Disturbs, limits, or must be known to read the figures.
    Mind,
    /// Figures mislead, or drown in noise, until it is mended.
    Bad,
}

impl CheckVerdict {
    pub fn word(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Unknown => "unknown",
            Self::Mind => "mind",
            Self::Bad => "bad",
        }
    }

    /// By two limits that a value may reach without being graded down.
    pub(super) fn of(value: f64, good_up_to: f64, bad_above: f64) -> Self {
        if value <= good_up_to {
            Self::Good
        } else if value <= bad_above {
            Self::Mind
        } else {
            // What is no number is not good either.
            Self::Bad
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    Measured,
    /// An upper bound that follows from what was measured.
    Derived,
    /// Measured elsewhere; METHODOLOGY says where.
    Cited,
}

/// What following an advice would bring. A check without one says that it is not known.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Gain {
    pub text: String,
    /// More throughput, as a share of what there is now, where it is that.
    pub share: Option<f64>,
    pub basis: Basis,
}

impl Gain {
    /// An upper bound on the gain of throughput.
    pub(super) fn at_most(share: f64, why: &str) -> Self {
        Self {
            text: format!("at most {} more throughput: {why}", percent(share)),
            share: Some(share),
            basis: Basis::Derived,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DoctorCheck {
    pub name: &'static str,
    pub finding: String,
    pub verdict: CheckVerdict,
    pub advice: Option<String>,
    /// What that would bring; none: not known.
    pub expected_gain: Option<Gain>,
}

impl DoctorCheck {
    pub(super) fn new(
        name: &'static str,
        verdict: CheckVerdict,
        finding: impl Into<String>,
    ) -> Self {
        Self {
            name,
            finding: finding.into(),
            verdict,
            advice: None,
            expected_gain: None,
        }
    }

    pub(super) fn good(name: &'static str, finding: impl Into<String>) -> Self {
        Self::new(name, CheckVerdict::Good, finding)
    }

    pub(super) fn unknown(name: &'static str) -> Self {
        Self::new(name, CheckVerdict::Unknown, "could not be read")
    }

    /// What to do, unless there is nothing to do.
    pub(super) fn advise(mut self, advice: impl Into<String>) -> Self {
        if self.verdict != CheckVerdict::Good {
            self.advice = Some(advice.into());
        }
        self
    }

    /// What it would bring, unless there is nothing to do.
    pub(super) fn gain(mut self, gain: Option<Gain>) -> Self {
        if self.verdict != CheckVerdict::Good {
            self.expected_gain = gain;
        }
        self
    }
}

/// A share as it is said: one decimal below 10%, none above; never a rounded zero for something.
pub(super) fn percent(share: f64) -> String {
    let percent = share * 100.0;
    match percent.abs() {
        0.0 => "0%".to_owned(),
        p if p < 0.05 => "below 0.1%".to_owned(),
        p if p < 9.95 => format!("{percent:.1}%"),
        p if p < 999.5 => format!("{percent:.0}%"),
        _ => "over 999%".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_number_is_bad() {
        assert_eq!(CheckVerdict::of(1.0, 1.0, 2.0), CheckVerdict::Good);
        assert_eq!(CheckVerdict::of(1.5, 1.0, 2.0), CheckVerdict::Mind);
        assert_eq!(CheckVerdict::of(2.5, 1.0, 2.0), CheckVerdict::Bad);
        assert_eq!(CheckVerdict::of(f64::NAN, 1.0, 2.0), CheckVerdict::Bad);
    }

    #[test]
    fn nothing_to_do_brings_nothing() {
        let gain = Some(Gain::at_most(0.1, "x"));
        let good = DoctorCheck::good("a", "b").advise("c").gain(gain.clone());
        assert_eq!((good.advice, good.expected_gain), (None, None));
        let mind = DoctorCheck::new("a", CheckVerdict::Mind, "b")
            .advise("c")
            .gain(gain);
        assert_eq!(mind.advice.as_deref(), Some("c"));
        let text = mind.expected_gain.expect("kept").text;
        assert_eq!(text, "at most 10% more throughput: x");
    }

    #[test]
    fn shares_as_people_say_them() {
        for (share, said) in [
            (0.0, "0%"),
            (0.0001, "below 0.1%"),
            (0.0123, "1.2%"),
            (0.0994, "9.9%"),
            (0.5, "50%"),
            (50.0, "over 999%"),
        ] {
            assert_eq!(percent(share), said);
        }
    }
}
