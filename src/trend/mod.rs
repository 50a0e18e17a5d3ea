//! A history as series: each cell's median by night, the nights at which its level changed, and what changed with it in the builds and
//! the machine. It shows what two programs measured in turns cannot show: a driver, a kernel, a disk, heat. It is advisory: no
//! verdict and no exit code depends on it.

mod facts;
pub(crate) mod levels;

use std::path::Path;

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

/// Fewest nights of a level from which a change of the promoted program is told.
pub const FEWEST_PROMOTED: usize = 3;

/// Name of the copy of the promoted program's record, beside a night's own.
const PROMOTED: &str = "promoted.jsonl";

/// A night as it was read.
struct NightRecord {
    side: Side,
    has_failed: bool,
    /// The promoted program, if the night measured it in turns with its own.
    promoted: Option<Side>,
}

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
    /// What differs from the last night that has it recorded, of builds and the machine.
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
    /// Medians of the promoted program, where a night measured it in turns with its own.
    pub promoted: Vec<NightMedian>,
    /// In the order of time, at least one.
    pub levels: Vec<CellLevel>,
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
pub struct CellLevel {
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
    /// Relative change of the promoted program's time between the nights of both levels: what the machine changed, and not the
    /// program. `None` unless one promoted program was measured on [`FEWEST_PROMOTED`] nights of each.
    pub promoted_change: Option<f64>,
}

impl CellTrend {
    /// The level of the newest nights.
    pub fn newest(&self) -> Option<&CellLevel> {
        self.levels.last()
    }

    /// Relative change of the time from the first level to the newest one.
    pub fn whole_change(&self, metric: Metric) -> Option<f64> {
        let (first, last) = (self.levels.first()?, self.levels.last()?);
        (self.levels.len() > 1).then(|| relative(metric, first.value, last.value))
    }

    /// Whether the cell has enough nights for changes of level to be looked for.
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
        let mut records = Vec::new();
        for folder in found.folders.iter().take(last) {
            let mut read = |path: &Path| match Side::read(path, metric) {
                Ok(side) => Some(side),
                Err(e) => {
                    left_out.push(e.to_string());
                    None
                }
            };
            let Some(side) = read(folder) else { continue };
            let promoted = folder.join(PROMOTED);
            records.push(NightRecord {
                side,
                has_failed: history.has_failed(folder),
                promoted: promoted.exists().then(|| read(&promoted)).flatten(),
            });
        }
        records.reverse();
        Ok(Self {
            n_older: found.folders.len().saturating_sub(last),
            left_out,
            ..Self::of(metric, &records)
        })
    }

    /// Of nights in the order of time.
    fn of(metric: Metric, records: &[NightRecord]) -> Self {
        let mut keys: Vec<&CellKey> = Vec::new();
        for key in records.iter().rev().flat_map(|night| night.side.keys()) {
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
        let nights = records.iter().enumerate().map(|(at, night)| {
            let header = &night.side.header;
            let earlier = records[..at].iter().rev().map(|night| &night.side.header);
            TrendNight {
                run: header.run.clone(),
                started_at: header.started_at.clone(),
                started: header.started().unwrap_or_default(),
                has_failed: night.has_failed,
                changes: facts::changes(earlier, header),
            }
        });
        Self {
            metric,
            nights: nights.collect(),
            cells: keys
                .into_iter()
                .map(|key| cell(metric, records, key))
                .collect(),
            n_older: 0,
            left_out: Vec::new(),
        }
    }

    /// The nights with another build or another state of the machine than was last known.
    pub fn changed_nights(&self) -> impl Iterator<Item = &TrendNight> {
        self.nights.iter().filter(|night| !night.changes.is_empty())
    }

    /// The most nights of a cell, where these are too few in every cell for changes of level to be looked for.
    pub fn too_few_nights(&self) -> Option<usize> {
        let most = self.cells.iter().map(|cell| cell.medians.len()).max()?;
        (most < MIN_NIGHTS).then_some(most)
    }

    /// Every change of level with its cell, newest first.
    pub fn level_changes(&self) -> Vec<(&CellTrend, &CellLevel)> {
        let of = |cell| move |level| (cell, level);
        let cells = self.cells.iter();
        let mut found: Vec<(&CellTrend, &CellLevel)> = cells
            .flat_map(|cell| cell.levels.iter().skip(1).map(of(cell)))
            .collect();
        found.sort_by_key(|(_, level)| std::cmp::Reverse(level.first));
        found
    }

    /// The night before the first night of a level on which the cell was measured.
    pub fn night_before(&self, cell: &CellTrend, level: &CellLevel) -> Option<&TrendNight> {
        let mut earlier = cell.medians.iter().rev();
        let at = earlier.find(|m| m.night < level.first)?.night;
        self.nights.get(at)
    }
}

fn cell(metric: Metric, records: &[NightRecord], key: &CellKey) -> CellTrend {
    let medians = medians(records, key, |night| Some(&night.side));
    let promoted = self::medians(records, key, |night| night.promoted.as_ref());
    let mut levels = levels_of(metric, &medians);
    for at in 1..levels.len() {
        levels[at].promoted_change =
            promoted_change(metric, records, &promoted, [&levels[at - 1], &levels[at]]);
    }
    CellTrend {
        key: key.clone(),
        case_id: key.name(),
        medians,
        promoted,
        levels,
    }
}

fn medians<'a>(
    records: &'a [NightRecord],
    key: &CellKey,
    side: impl Fn(&'a NightRecord) -> Option<&'a Side>,
) -> Vec<NightMedian> {
    let of = |(night, record): (usize, &'a NightRecord)| {
        let samples = side(record)?.cell(key)?;
        Some(NightMedian {
            night,
            value: samples.median()?,
            n_processes: samples.replicates().count(),
        })
    };
    records.iter().enumerate().filter_map(of).collect()
}

/// How much longer the promoted program takes on the nights of the second level than on those of the first.
fn promoted_change(
    metric: Metric,
    records: &[NightRecord],
    promoted: &[NightMedian],
    levels: [&CellLevel; 2],
) -> Option<f64> {
    // Builds of a changed checkout have the same commit; the file that ran tells them apart.
    let program = |m: &NightMedian| {
        let header = &records[m.night].promoted.as_ref()?.header;
        let file = header.pair.as_ref();
        let file = file.map(|pair| (&pair.worker_program, &pair.worker_engine));
        let engine = (&header.engine.name, &header.engine.version);
        Some((&header.program, engine, file))
    };
    let within = |level: &CellLevel, m: &NightMedian| (level.first..=level.last).contains(&m.night);
    let mut earlier = promoted.iter().rev();
    // A program that was promoted in between is another one, and shows nothing of the machine.
    let known = program(earlier.find(|m| within(levels[0], m))?);
    let medians = levels.map(|level| {
        let nights = promoted.iter();
        let nights = nights.filter(|m| within(level, m) && program(m) == known);
        let values: Vec<f64> = nights.map(|m| m.value).collect();
        median(&values).filter(|_| values.len() >= FEWEST_PROMOTED)
    });
    Some(relative(metric, medians[0]?, medians[1]?))
}

fn levels_of(metric: Metric, medians: &[NightMedian]) -> Vec<CellLevel> {
    let log_times: Vec<f64> = medians.iter().map(|m| metric.log_time(m.value)).collect();
    let shifts = match medians.len() >= MIN_NIGHTS {
        true => level_shifts(&log_times),
        false => Vec::new(),
    };
    let starts =
        std::iter::once((0, None)).chain(shifts.iter().map(|shift| (shift.index, Some(shift))));
    let ends = shifts.iter().map(|s| s.index).chain([medians.len()]);
    let mut levels: Vec<CellLevel> = Vec::new();
    for ((start, shift), end) in starts.zip(ends) {
        let nights = &medians[start..end];
        let values: Vec<f64> = nights.iter().map(|m| m.value).collect();
        let ([first, .., last] | [first @ last], Some(value)) = (nights, median(&values)) else {
            continue;
        };
        levels.push(CellLevel {
            first: first.night,
            last: last.night,
            value,
            change: shift.map(|shift| shift.change),
            p: shift.map(|shift| shift.p),
            promoted_change: None,
        });
    }
    levels
}

#[cfg(test)]
pub(crate) mod tests;
