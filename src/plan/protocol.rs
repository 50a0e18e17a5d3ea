//! The protocol as asked for, by flags and sweeps, and what it means.

use std::time::Duration;

use serde::Serialize;

use super::{PlanError, Protocol};

/// Most worker processes that a protocol takes.
pub const MOST_REPLICATES: u32 = 1000;

/// Processes a cell begins with when it may get more: METHODOLOGY.md, section 2, has the coverage.
pub(super) const FEWEST_BEFORE_MORE: u32 = 6;

/// The protocol's settings as asked for; `None` leaves the default.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[allow(missing_docs)] // named as the fields of `Protocol`, which has their docs
pub struct ProtocolChoice {
    pub seed: Option<u64>,
    pub replicates: Option<u32>,
    pub max_replicates: Option<u32>,
    pub check_output: Option<bool>,
    pub min_repetitions: Option<u32>,
    pub max_repetitions: Option<u32>,
    pub precision: Option<f64>,
    pub budget: Option<Duration>,
    pub timeout: Option<Duration>,
}

impl ProtocolChoice {
    /// These settings, each taken from `over` where it names one.
    #[must_use]
    pub fn overridden_by(self, over: ProtocolChoice) -> ProtocolChoice {
        ProtocolChoice {
            seed: over.seed.or(self.seed),
            replicates: over.replicates.or(self.replicates),
            max_replicates: over.max_replicates.or(self.max_replicates),
            check_output: over.check_output.or(self.check_output),
            min_repetitions: over.min_repetitions.or(self.min_repetitions),
            max_repetitions: over.max_repetitions.or(self.max_repetitions),
            precision: over.precision.or(self.precision),
            budget: over.budget.or(self.budget),
            timeout: over.timeout.or(self.timeout),
        }
    }

    /// The protocol, defaults filled in.
    ///
    /// # Errors
    /// [`PlanError::Axis`] for a setting that is out of range.
    pub fn resolve(self) -> Result<Protocol, PlanError> {
        let d = Protocol::default();
        // If only one end is named, the other follows it where it must.
        let min = self.min_repetitions.unwrap_or_else(|| {
            d.min_repetitions
                .min(self.max_repetitions.unwrap_or(u32::MAX))
        });
        let max = self
            .max_repetitions
            .unwrap_or_else(|| d.max_repetitions.max(min));
        if min == 0 || max < min {
            return Err(PlanError::axis(
                "repetitions",
                format!("at least 1, and no more than the most: {min} to {max}"),
            ));
        }
        // Stopping at the first narrow interval costs coverage, and less of it the more processes one begins with.
        let fewest = match self.max_replicates {
            Some(max) => FEWEST_BEFORE_MORE.min(max).max(1),
            None => d.replicates,
        };
        let replicates = self.replicates.unwrap_or(fewest);
        if !(1..=MOST_REPLICATES).contains(&replicates) {
            return Err(PlanError::axis(
                "replicates",
                format!("{replicates} processes; 1 to {MOST_REPLICATES}"),
            ));
        }
        let max_replicates = self.max_replicates.filter(|max| *max != replicates);
        if max_replicates.is_some_and(|max| !(replicates..=MOST_REPLICATES).contains(&max)) {
            return Err(PlanError::axis(
                "max_replicates",
                format!("no fewer than the {replicates} replicates, and at most {MOST_REPLICATES}"),
            ));
        }
        if self.timeout.is_some_and(|t| t.is_zero()) {
            return Err(PlanError::axis(
                "timeout",
                "0 kills every worker at once; leave it out for the default",
            ));
        }
        let precision = self.precision.unwrap_or(d.precision);
        if !(precision.is_finite() && precision > 0.0 && precision < 1.0) {
            return Err(PlanError::axis(
                "precision",
                format!("{precision} is not a share between 0 and 1 (0.02 is 2%)"),
            ));
        }
        let ns = |d: Duration| u64::try_from(d.as_nanos()).unwrap_or(u64::MAX);
        Ok(Protocol {
            seed: self.seed.unwrap_or(d.seed),
            replicates,
            max_replicates,
            pair_tolerance: None,
            chooses_repetitions: false,
            turns_of_steps: false,
            check_output: self.check_output.unwrap_or(d.check_output),
            min_repetitions: min,
            max_repetitions: max,
            precision,
            budget_ns: self.budget.map(ns),
            timeout_ns: self.timeout.map(ns),
        })
    }
}

/// A span of time as people type it: `90s`, `3m`, `1h30m`, `500ms`, or bare seconds.
///
/// # Errors
/// [`PlanError::Axis`] naming `key` and the forms that are right.
pub fn duration(key: &str, text: &str) -> Result<Duration, PlanError> {
    let text = text.trim();
    let bad = || {
        PlanError::axis(
            key,
            format!("'{text}' is no length of time; 90s, 3m, 1h30m or 500ms"),
        )
    };
    if let Ok(seconds) = text.parse::<u32>() {
        return Ok(Duration::from_secs(seconds.into()));
    }
    let span: jiff::SignedDuration = text.parse().map_err(|_| bad())?;
    Duration::try_from(span).map_err(|_| bad())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protocol_ends_follow_each_other() {
        let resolve = |c: ProtocolChoice| {
            let p = c.resolve().expect("valid");
            (p.min_repetitions, p.max_repetitions)
        };
        assert_eq!(resolve(ProtocolChoice::default()), (3, 10));
        assert_eq!(
            resolve(ProtocolChoice {
                max_repetitions: Some(1),
                ..Default::default()
            }),
            (1, 1)
        );
        assert_eq!(
            resolve(ProtocolChoice {
                min_repetitions: Some(30),
                ..Default::default()
            }),
            (30, 30)
        );
        for bad in [
            ProtocolChoice {
                replicates: Some(3),
                max_replicates: Some(2),
                ..ProtocolChoice::default()
            },
            ProtocolChoice {
                replicates: Some(0),
                ..Default::default()
            },
            ProtocolChoice {
                precision: Some(f64::NAN),
                ..Default::default()
            },
            ProtocolChoice {
                min_repetitions: Some(3),
                max_repetitions: Some(2),
                ..Default::default()
            },
        ] {
            bad.clone().resolve().expect_err(&format!("{bad:?}"));
        }
    }

    #[test]
    fn lengths_of_time() {
        assert_eq!(duration("k", "90").expect("s"), Duration::from_secs(90));
        assert_eq!(
            duration("k", "1h30m").expect("s"),
            Duration::from_secs(5400)
        );
        assert_eq!(
            duration("k", "500ms").expect("s"),
            Duration::from_millis(500)
        );
        assert!(duration("k", "-3s").is_err());
    }
}
