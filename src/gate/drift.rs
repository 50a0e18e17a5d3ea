//! Changes of level over the nights of a history: slow-downs that each stay below the tolerance of a night. For information
//! only: they change no verdict and no exit code.
//!
//! E-divisive as MongoDB uses it on its nightly benchmarks (Daly et al., arXiv 2003.00584). It only assumes that nights are
//! exchangeable where nothing changed.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::compare::samples::CellKey;
use crate::compare::side::Side;
use crate::plan::CaseId;
use crate::trend::levels::{LevelShift, level_shifts};

/// Fewest nights of a cell from which a change is reported. A step of 2 standard deviations of a night is found 8 times in 10
/// in the middle of 30 nights, and 1 time in 3 in the middle of 20; a step of 3 always, and 8 times in 10 after only 5 nights
/// (simulated below).
pub const MIN_NIGHTS: usize = 30;

/// Most nights that are read, the newest: half a year. The time grows with the square of their number.
pub const MOST_NIGHTS: usize = 180;

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LevelChanges {
    /// Nights that were read, failed ones included.
    pub nights: usize,
    pub changes: Vec<LevelChange>,
}

/// A cell whose level changed between two nights, the last of the old level and the first of the new one.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LevelChange {
    #[serde(skip)]
    pub key: CellKey,
    pub case_id: CaseId,
    pub before: String,
    pub after: String,
    /// Relative change of the median over the nights of each level: 0.1 takes a tenth longer.
    pub change: f64,
    /// Share of permutations of the nights that split as well.
    pub p: f64,
}

impl LevelChanges {
    /// Of the nights of one machine and tonight, in any order; their names give the order in time. `None` when no cell of
    /// tonight has [`MIN_NIGHTS`].
    pub fn over(nights: &[Side], tonight: &Side) -> Option<Self> {
        let by_name: BTreeMap<&str, &Side> = nights
            .iter()
            .chain([tonight])
            .map(|side| (side.header.run.as_str(), side))
            .collect();
        let skipped = by_name.len().saturating_sub(MOST_NIGHTS);
        let sides: Vec<&Side> = by_name.into_values().skip(skipped).collect();
        let series: Vec<(&CellKey, Vec<(&str, f64)>)> = tonight
            .keys()
            .map(|key| (key, series(&sides, key)))
            .filter(|(_, series)| series.len() >= MIN_NIGHTS)
            .collect();
        let nights = series.iter().map(|(_, series)| series.len()).max()?;
        let mut changes: Vec<LevelChange> = series
            .iter()
            .flat_map(|(key, series)| level_changes(key, series))
            .collect();
        changes.sort_by(|a, b| b.after.cmp(&a.after));
        Some(Self { nights, changes })
    }
}

/// A cell's logarithm of time, by night.
fn series<'a>(nights: &[&'a Side], key: &CellKey) -> Vec<(&'a str, f64)> {
    let value = |side: &&'a Side| {
        let median = side.cell(key)?.median()?;
        Some((side.header.run.as_str(), side.metric.log_time(median)))
    };
    nights.iter().filter_map(value).collect()
}

fn level_changes(key: &CellKey, series: &[(&str, f64)]) -> Vec<LevelChange> {
    let values: Vec<f64> = series.iter().map(|(_, value)| *value).collect();
    let change = |shift: LevelShift| LevelChange {
        key: key.clone(),
        case_id: key.name(),
        before: series[shift.index - 1].0.to_owned(),
        after: series[shift.index].0.to_owned(),
        change: shift.change,
        p: shift.p,
    };
    level_shifts(&values).into_iter().map(change).collect()
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;
    use rand_distr::StandardNormal;

    use super::*;
    use crate::compare::fixture::{batches, header, side};
    use crate::plan::Case;
    use crate::trend::levels::ALPHA;

    /// Nights called 000, 001 and so on, of one process each.
    fn nights(cases: &[Case], steps_ns: impl Fn(usize, &Case) -> u64, n: usize) -> Vec<Side> {
        (0..n)
            .map(|at| {
                side(header(&format!("{at:03}"), cases), |case| {
                    vec![steps_ns(at, case)]
                })
            })
            .collect()
    }

    /// About 0.2% to and fro, without a pattern.
    fn wobble(at: usize) -> u64 {
        (at * 7919 % 13) as u64 * 300
    }

    #[test]
    fn a_level_that_changed_and_stayed_is_named_with_its_nights() {
        let cases = batches(&[1, 8]);
        let step = |at: usize, case: &Case| {
            let level = if case.n_seq == 8 && at >= 25 {
                1_042_000
            } else {
                1_000_000
            };
            level + wobble(at)
        };
        let mut all = nights(&cases, step, 40);
        let tonight = all.pop().expect("nights");
        let drift = LevelChanges::over(&all, &tonight).expect("enough nights");
        assert_eq!((drift.nights, drift.changes.len()), (40, 1));
        let change = &drift.changes[0];
        assert_eq!(change.key, CellKey::of_case(&cases[1]));
        assert_eq!(
            (change.before.as_str(), change.after.as_str()),
            ("024", "025")
        );
        assert!((change.change - 0.042).abs() < 0.002, "{}", change.change);
        assert!(change.p <= ALPHA);
        let mut turned = all.clone();
        turned.reverse();
        assert_eq!(LevelChanges::over(&turned, &tonight).as_ref(), Some(&drift));
        assert_eq!(LevelChanges::over(&all[..28], &tonight), None, "29 nights");
    }

    #[test]
    fn what_creeps_in_by_less_than_the_tolerance_is_seen() {
        let cases = batches(&[1]);
        let step = |at: usize, _: &Case| 1_000_000 + 2_500 * at as u64 + wobble(at);
        let all = nights(&cases, step, 60);
        let drift = LevelChanges::over(&all[..59], &all[59]).expect("enough nights");
        assert!(!drift.changes.is_empty());
        assert!(drift.changes.iter().all(|c| c.change > 0.0));
        let newest_first = drift.changes.windows(2).all(|w| w[0].after > w[1].after);
        assert!(newest_first);
    }

    #[test]
    fn only_the_newest_half_year_and_only_the_cells_of_tonight_count() {
        let cases = batches(&[1]);
        let early = |at: usize, _: &Case| {
            let level = if at < 20 { 900_000 } else { 1_000_000 };
            level + wobble(at)
        };
        let all = nights(&cases, early, 20 + MOST_NIGHTS);
        let tonight = all.last().expect("nights");
        let drift = LevelChanges::over(&all, tonight).expect("enough nights");
        assert_eq!((drift.nights, drift.changes), (MOST_NIGHTS, Vec::new()));
        let other = side(header("999", &batches(&[2])), |_| vec![1_000_000]);
        assert_eq!(LevelChanges::over(&all, &other), None);
    }

    /// Shares of histories with a change found, for noise of standard deviation 1 around a step of `step` at `at`.
    fn found(n: usize, at: usize, step: f64, histories: usize) -> f64 {
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        let key = CellKey::of_case(&batches(&[1])[0]);
        let names: Vec<String> = (0..n).map(|at| format!("{at:03}")).collect();
        let hits = (0..histories).filter(|_| {
            let value = |(night, name): (usize, &'_ String)| {
                let level = if night < at { 0.0 } else { step };
                let noise: f64 = rng.sample(StandardNormal);
                (name.clone(), (level + noise) / 100.0)
            };
            let values: Vec<(String, f64)> = names.iter().enumerate().map(value).collect();
            let series: Vec<(&str, f64)> = values.iter().map(|(n, v)| (n.as_str(), *v)).collect();
            !level_changes(&key, &series).is_empty()
        });
        hits.count() as f64 / histories as f64
    }

    #[test]
    fn thirty_nights_can_tell_and_say_nothing_when_nothing_changed() {
        let two_sd = |n: usize| found(n, n / 2, 2.0, 100);
        assert!(two_sd(20) < 0.5, "{}", two_sd(20));
        assert!((0.7..0.9).contains(&two_sd(30)), "{}", two_sd(30));
        assert!(found(30, 15, 3.0, 100) > 0.97);
        assert!(found(30, 25, 3.0, 100) > 0.7, "after five nights");
        // Binomial(10000, 0.001): 10 expected, 21 or more has probability 0.002.
        assert!(found(30, 30, 0.0, 10_000) < 0.0021);
    }
}
