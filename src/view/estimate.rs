//! Figures with their intervals, over worker processes or rounds.

use std::collections::BTreeMap;

use crate::run::stop::LEVEL;
use crate::stats::{Interval, median_interval, summary};

/// A figure, and its 95% interval where there is enough for one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// The median over processes of each one's median over its repetitions; of requests the figure over all of them, and of
    /// a rate the median over rounds; of a scored text the figure over all its chunks.
    pub value: f64,
    /// The units are processes; repetitions, or rounds, where there is one process; chunks of a text.
    pub interval: Option<Interval>,
}

impl Estimate {
    pub(super) fn of(processes: &[Vec<f64>]) -> Option<Self> {
        let has_values = processes.iter().filter(|p| !p.is_empty());
        let processes: Vec<Vec<f64>> = has_values.cloned().collect();
        if let Some(interval) = median_interval(&processes, LEVEL) {
            return Some(Self {
                value: interval.estimate,
                interval: Some(interval),
            });
        }
        let medians = processes.iter().filter_map(|p| summary::median(p));
        Some(Self {
            value: summary::median(&medians.collect::<Vec<_>>())?,
            interval: None,
        })
    }

    /// Of a duration that each process shows once.
    pub(super) fn of_single(durations_ns: &[u64]) -> Option<Self> {
        let processes: Vec<Vec<f64>> = durations_ns.iter().map(|t| vec![*t as f64]).collect();
        Self::of(&processes)
    }

    /// The median of the rounds' values.
    pub(super) fn over_rounds(rounds: &[OfRound<f64>]) -> Option<Self> {
        let all: Vec<f64> = rounds.iter().map(|(_, value)| *value).collect();
        Some(Self {
            value: summary::median(&all)?,
            interval: interval_of(rounds),
        })
    }

    /// Over units, such as processes, the median of each one's median over its rounds; over rounds where there is one unit.
    pub(super) fn of_rounds(rounds: &[OfRound<f64>]) -> Option<Self> {
        let units = units_of(rounds);
        let medians = units.iter().filter_map(|unit| summary::median(unit));
        Some(Self {
            value: summary::median(&medians.collect::<Vec<_>>())?,
            interval: interval_of(rounds),
        })
    }

    /// `figure` of the values of all rounds, with the interval of each round's own, for which `unit` is the figure; it is
    /// none where a round has too few values.
    pub(super) fn pooled(
        figure: Option<f64>,
        rounds: &[OfRound<Vec<f64>>],
        unit: &dyn Fn(&[f64]) -> Option<f64>,
    ) -> Option<Self> {
        let value = figure?;
        let of_round = |(process, values): &OfRound<Vec<f64>>| Some((*process, unit(values)?));
        let units: Option<Vec<OfRound<f64>>> = rounds.iter().map(of_round).collect();
        let interval = units.and_then(|units| interval_of(&units));
        Some(Self {
            value,
            interval: interval.map(|i| i.around(value)),
        })
    }

    pub(super) fn ns(self) -> u64 {
        whole_ns(self.value)
    }

    pub fn scaled(self, factor: f64) -> Self {
        Self {
            value: self.value * factor,
            interval: self.interval.map(|i| i.map(|v| v * factor)),
        }
    }
}

/// A round's value, or several, with the unit that it is of, such as its worker process; none of a server, whose process is always the same.
pub(super) type OfRound<T> = (Option<u32>, T);

/// Processes, or rounds, below which there is no interval: two differ by chance as much as by anything.
const FEWEST_UNITS: usize = 3;

/// Units with all their rounds; rounds where there is one unit.
fn units_of(rounds: &[OfRound<f64>]) -> Vec<Vec<f64>> {
    let mut processes: BTreeMap<Option<u32>, Vec<f64>> = BTreeMap::new();
    for (process, value) in rounds {
        processes.entry(*process).or_default().push(*value);
    }
    match processes.len() {
        0 | 1 => rounds.iter().map(|(_, value)| vec![*value]).collect(),
        _ => processes.into_values().collect(),
    }
}

fn interval_of(rounds: &[OfRound<f64>]) -> Option<Interval> {
    let units = units_of(rounds);
    median_interval(&units, LEVEL).filter(|_| units.len() >= FEWEST_UNITS)
}

/// The interval of a percentile by those of single units, around that of all values together, which is another estimate
/// of the same thing.
pub(super) fn percentile_of_units(units: &[Vec<f64>], pooled: f64) -> Option<Interval> {
    Some(median_interval(units, LEVEL)?.around(pooled))
}

/// A rounded duration; a value that is no duration becomes the nearest one.
pub(super) fn whole_ns(value: f64) -> u64 {
    value.round() as u64
}
