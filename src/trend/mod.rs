//! A history as series: each cell's median by night, the nights at which its level changed, and what changed with it in the builds and
//! the machine. It shows what two programs measured in turns cannot show: a driver, a kernel, a disk, heat. It is advisory: no
//! verdict and no exit code depends on it.

mod facts;
pub(crate) mod levels;

use jiff::Timestamp;
use serde::Serialize;

use crate::compare::samples::CellKey;
use crate::compare::side::Side;
use crate::metric::Metric;
use crate::plan::CaseId;
use crate::record::history::{History, HistoryError};
use crate::stats::summary::median;

pub use facts::FactChange;
use levels::level_shifts;

/// Nights that are shown unless another number is named: half a year. The time grows with the square of their number.
pub const MOST_NIGHTS: usize = 180;

/// Fewest nights of a cell in which changes of level are looked for. With the shares in [`levels`], fewer nights can show none.
pub const MIN_NIGHTS: usize = 15;

/// Each cell's median by night.
#[derive(Debug, Clone, Serialize)]
pub struct Trend {
    pub metric: Metric,
    /// In the order of time.
    pub nights: Vec<TrendNight>,
    /// Cells of the newest night first.
    pub cells: Vec<CellTrend>,
    /// Older nights of the history that are not shown.
    pub n_older: usize,
    /// Why nights cannot be shown, one line each.
    pub left_out: Vec<String>,
}

#[derive(Debug, Clone, Serialize)]
pub struct TrendNight {
    pub run: String,
    pub started_at: String,
    #[serde(skip)]
    pub started: Timestamp,
    /// Whether the night's gate suspected or found a regression.
    pub has_failed: bool,
    /// What differs from the night before, of builds and the machine.
    pub changes: Vec<FactChange>,
}

impl TrendNight {
    /// The day, in the night's own time zone.
    pub fn date(&self) -> &str {
        self.started_at.get(..10).unwrap_or(&self.started_at)
    }
}

#[derive(Debug, Clone, Serialize)]
pub struct CellTrend {
    #[serde(skip)]
    pub key: CellKey,
    pub case_id: CaseId,
    pub medians: Vec<NightMedian>,
    /// In the order of time, at least one.
    pub levels: Vec<Level>,
}

/// A cell's median over the processes of a night.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct NightMedian {
    /// Index of the night.
    pub night: usize,
    /// In the metric's unit.
    pub value: f64,
    pub n_processes: usize,
}

/// Nights of a cell between two changes.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Level {
    /// Index of its first night.
    pub first: usize,
    /// Index of its last night.
    pub last: usize,
    /// The median over its nights, in the metric's unit.
    pub value: f64,
    /// Relative change of the time from the level before: 0.1 takes a tenth longer. `None` of the first level.
    pub change: Option<f64>,
    /// Share of permutations of the nights that split as well. `None` of the first level.
    pub p: Option<f64>,
}

impl CellTrend {
    /// The level of the newest nights.
    pub fn newest(&self) -> Option<&Level> {
        self.levels.last()
    }

    /// Relative change of the time from the first level to the newest one.
    pub fn whole_change(&self, metric: Metric) -> Option<f64> {
        let (first, last) = (self.levels.first()?, self.levels.last()?);
        (self.levels.len() > 1).then(|| relative(metric, first.value, last.value))
    }

    /// Whether the cell has enough nights for changes of level to be found.
    pub fn is_searched(&self) -> bool {
        self.medians.len() >= MIN_NIGHTS
    }
}

/// How much longer `after` takes, relative to `before`.
pub fn relative(metric: Metric, before: f64, after: f64) -> f64 {
    (metric.log_time(after) - metric.log_time(before)).exp_m1()
}

impl Trend {
    /// Reads the newest nights of a history, at most `last` of them. What cannot be read is named.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn read(history: &History, metric: Metric, last: usize) -> Result<Self, HistoryError> {
        let found = history.all()?;
        let mut left_out: Vec<String> = found.left_out.iter().map(ToString::to_string).collect();
        let mut sides = Vec::new();
        for folder in found.folders.iter().take(last) {
            match Side::read(folder, metric) {
                Ok(side) => sides.push((side, history.has_failed(folder))),
                Err(e) => left_out.push(e.to_string()),
            }
        }
        sides.reverse();
        Ok(Self {
            n_older: found.folders.len().saturating_sub(last),
            left_out,
            ..Self::of(metric, &sides)
        })
    }

    /// Of nights in the order of time, and whether each failed.
    fn of(metric: Metric, sides: &[(Side, bool)]) -> Self {
        let mut keys: Vec<&CellKey> = Vec::new();
        for key in sides.iter().rev().flat_map(|(side, _)| side.keys()) {
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
        let nights = sides.iter().enumerate().map(|(at, (side, has_failed))| {
            let header = &side.header;
            let before = at.checked_sub(1).map(|at| &sides[at].0.header);
            TrendNight {
                run: header.run.clone(),
                started_at: header.started_at.clone(),
                started: header.started().unwrap_or_default(),
                has_failed: *has_failed,
                changes: before.map_or_else(Vec::new, |before| facts::changes(before, header)),
            }
        });
        Self {
            metric,
            nights: nights.collect(),
            cells: keys
                .into_iter()
                .map(|key| cell(metric, sides, key))
                .collect(),
            n_older: 0,
            left_out: Vec::new(),
        }
    }

    /// The nights with another build or another state of the machine than the night before.
    pub fn changed_nights(&self) -> impl Iterator<Item = &TrendNight> {
        self.nights.iter().filter(|night| !night.changes.is_empty())
    }

    /// Every change of level with its cell, newest first.
    pub fn level_changes(&self) -> Vec<(&CellTrend, &Level)> {
        let of = |cell| move |level| (cell, level);
        let cells = self.cells.iter();
        let mut found: Vec<(&CellTrend, &Level)> = cells
            .flat_map(|cell| cell.levels.iter().skip(1).map(of(cell)))
            .collect();
        found.sort_by_key(|(_, level)| std::cmp::Reverse(level.first));
        found
    }

    /// The night before the first night of a level on which the cell was measured.
    pub fn night_before(&self, cell: &CellTrend, level: &Level) -> Option<&TrendNight> {
        let mut earlier = cell.medians.iter().rev();
        let at = earlier.find(|m| m.night < level.first)?.night;
        self.nights.get(at)
    }
}

fn cell(metric: Metric, sides: &[(Side, bool)], key: &CellKey) -> CellTrend {
    let medians = sides.iter().enumerate().filter_map(|(night, (side, _))| {
        let samples = side.cell(key)?;
        Some(NightMedian {
            night,
            value: samples.median()?,
            n_processes: samples.replicates().count(),
        })
    });
    let medians: Vec<NightMedian> = medians.collect();
    CellTrend {
        key: key.clone(),
        case_id: key.name(),
        levels: levels_of(metric, &medians),
        medians,
    }
}

fn levels_of(metric: Metric, medians: &[NightMedian]) -> Vec<Level> {
    let log_times: Vec<f64> = medians.iter().map(|m| metric.log_time(m.value)).collect();
    let shifts = match medians.len() >= MIN_NIGHTS {
        true => level_shifts(&log_times),
        false => Vec::new(),
    };
    let starts = std::iter::once((0, None)).chain(shifts.iter().map(|s| (s.index, Some(s.p))));
    let ends = shifts.iter().map(|s| s.index).chain([medians.len()]);
    let mut levels: Vec<Level> = Vec::new();
    for ((start, p), end) in starts.zip(ends) {
        let nights = &medians[start..end];
        let values: Vec<f64> = nights.iter().map(|m| m.value).collect();
        let ([first, .., last] | [first @ last], Some(value)) = (nights, median(&values)) else {
            continue;
        };
        let before = levels.last().map(|level| level.value);
        levels.push(Level {
            first: first.night,
            last: last.night,
            value,
            change: before.map(|before| relative(metric, before, value)),
            p,
        });
    }
    levels
}

#[cfg(test)]
pub(crate) mod tests;
