//! Figures of a history: all cells relative to their first level, and one cell with its levels.

use super::{Figure, FigureAxis, MOST_SERIES, Mark, PlotPoint, REFERENCE, Series};
use crate::metric::Metric;
use crate::trend::{CellTrend, MIN_NIGHTS, NightMedian, Trend, TrendNight, relative};
use crate::units::signed_percent;

/// More nights than these are lines without points.
const MOST_MARKED_NIGHTS: usize = 45;

/// Most characters of what stands beside the line of a changed night.
const MOST_LABEL: usize = 24;

/// How much longer each cell takes than on its first level, by night.
pub fn overview(trend: &Trend) -> Option<Figure> {
    let mut shown: Vec<&CellTrend> = trend.cells.iter().collect();
    // Those that changed most, in the order of the table.
    let size = |cell: &CellTrend| cell.whole_change(trend.metric).unwrap_or(0.0).abs();
    let mut sizes: Vec<f64> = shown.iter().map(|cell| size(cell)).collect();
    sizes.sort_by(|a, b| b.total_cmp(a));
    if let Some(least) = sizes.get(MOST_SERIES) {
        shown.retain(|cell| size(cell) > *least);
        let others = trend.cells.iter().filter(|cell| size(cell) == *least);
        shown.extend(others.take(MOST_SERIES - shown.len()));
    }
    let lines = shown.iter().enumerate().map(|(look, cell)| {
        let first = cell.levels.first().map_or(f64::NAN, |level| level.value);
        let points = cell.medians.iter().map(|m| {
            let change = relative(trend.metric, first, m.value);
            point(trend, cell, m, change * 100.0)
        });
        let mark = match trend.nights.len() > MOST_MARKED_NIGHTS {
            true => Mark::Thin,
            false => Mark::Line,
        };
        Series::new(short_name(trend, cell), mark, look, points)
    });
    let mut series: Vec<Series> = lines.collect();
    series.extend(changed_nights(trend, &series));
    let more = trend.cells.len().saturating_sub(shown.len());
    let all = match more {
        0 => String::new(),
        n => format!(" The {MOST_SERIES} cells that changed most; {n} more are below."),
    };
    Figure::of(
        "trend",
        "Every cell by night",
        format!(
            "Median of each night, as how much more time it takes than the cell's first level. Dashed lines: nights with another \
             build or another state of the machine.{all}"
        ),
        (FigureAxis::date("night"), share("change of the time, %")),
        series,
    )
}

/// A cell's medians by night, with its levels.
pub fn of_cell(trend: &Trend, cell: &CellTrend) -> Option<Figure> {
    let (unit, divisor) = unit(trend.metric, cell);
    let level = |from: usize, until: usize, value: f64| {
        let nights = [from, until].into_iter();
        nights
            .filter_map(move |at| Some(PlotPoint::at(day(trend.nights.get(at)?), value / divisor)))
    };
    let levels = cell.levels.iter();
    let levels = levels.flat_map(|l| level(l.first, l.last, l.value));
    let medians = cell.medians.iter();
    let medians = medians.map(|m| point(trend, cell, m, m.value / divisor));
    let promoted = cell.promoted.iter();
    let promoted = promoted.map(|m| PlotPoint {
        is_hollow: false,
        ..point(trend, cell, m, m.value / divisor)
    });
    let mut series = vec![
        Series::new(
            "promoted program, the same night".to_owned(),
            Mark::Thin,
            REFERENCE,
            promoted,
        ),
        Series::new("median of a night".to_owned(), Mark::Points, 0, medians),
        Series::new("level".to_owned(), Mark::Thin, 1, levels),
    ];
    series.extend(changed_nights(trend, &series));
    Figure::of(
        "trend_cell",
        cell.case_id.as_str(),
        levels_in_words(trend, cell),
        (
            FigureAxis::date("night"),
            share(&format!("{}, {unit}", trend.metric)),
        ),
        series,
    )
}

/// `1.30 ms; from 2026-04-25 on 1.35 ms (+3.7%).`
fn levels_in_words(trend: &Trend, cell: &CellTrend) -> String {
    let levels: Vec<String> = cell
        .levels
        .iter()
        .map(|level| {
            let value = trend.metric.show(level.value);
            match level.change {
                None => value,
                Some(change) => {
                    let date = trend.nights[level.first].date();
                    format!("from {date} on {value} ({})", signed_percent(change))
                }
            }
        })
        .collect();
    let few = match cell.is_searched() {
        true => String::new(),
        false => format!(" Changes of level are looked for from {MIN_NIGHTS} nights on."),
    };
    let failed = match cell
        .medians
        .iter()
        .any(|m| trend.nights[m.night].has_failed)
    {
        true => " A hollow point is a night that its gate suspected or failed.",
        false => "",
    };
    format!("Level: {}.{few}{failed}", levels.join("; "))
}

/// An axis that need not begin at 0.
fn share(title: &str) -> FigureAxis {
    FigureAxis {
        from_zero: false,
        ..FigureAxis::linear(title)
    }
}

/// The unit of a cell's axis, and what its values are divided by.
fn unit(metric: Metric, cell: &CellTrend) -> (&'static str, f64) {
    let largest = cell.medians.iter().map(|m| m.value).fold(0.0, f64::max);
    match metric.unit() {
        "ns" if largest >= 1e9 => ("s", 1e9),
        "ns" if largest >= 1e6 => ("ms", 1e6),
        "ns" => ("µs", 1e3),
        other => (other, 1.0),
    }
}

fn point(trend: &Trend, cell: &CellTrend, m: &NightMedian, y: f64) -> PlotPoint {
    let night = &trend.nights[m.night];
    let place = short_name(trend, cell);
    PlotPoint {
        is_hollow: night.has_failed,
        ..PlotPoint::at(day(night), y)
    }
    .saying(format!(
        "{}, {place}: {}",
        night.date(),
        trend.metric.show(m.value)
    ))
}

/// Days since 1970.
fn day(night: &TrendNight) -> f64 {
    night.started.as_second() as f64 / 86_400.0
}

/// The parts of a cell's name in which the cells differ.
fn short_name(trend: &Trend, cell: &CellTrend) -> String {
    let parts = |of: &CellTrend| -> Vec<String> {
        let name = of.case_id.as_str().to_owned();
        name.split('/').map(str::to_owned).collect()
    };
    let own = parts(cell);
    let is_common = |part: &String| trend.cells.iter().all(|other| parts(other).contains(part));
    let rest: Vec<&str> = own
        .iter()
        .filter(|part| !is_common(part))
        .map(String::as_str)
        .collect();
    match rest.is_empty() {
        true => cell.case_id.to_string(),
        false => rest.join("/"),
    }
}

/// A line at every night with another build or another state of the machine.
fn changed_nights(trend: &Trend, drawn: &[Series]) -> Option<Series> {
    let ys = drawn.iter().flat_map(|s| &s.points).map(|p| p.y);
    let top = ys.filter(|y| y.is_finite()).fold(f64::NAN, f64::max);
    let lines = trend.changed_nights().map(|night| {
        let facts: Vec<&str> = night.changes.iter().map(|change| change.fact).collect();
        let said: Vec<String> = night
            .changes
            .iter()
            .map(|c| format!("{} {} -> {}", c.fact, c.before, c.after))
            .collect();
        PlotPoint {
            label: Some(crate::text::cut_end(&facts.join(", "), MOST_LABEL)),
            ..PlotPoint::at(day(night), top)
        }
        .saying(format!("{}: {}", night.date(), said.join("; ")))
    });
    let name = "build or machine changed".to_owned();
    let series = Series::new(name, Mark::Upright, REFERENCE, lines);
    (!series.points.is_empty()).then_some(series)
}
