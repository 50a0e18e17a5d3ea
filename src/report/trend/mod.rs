//! A history by night: a table, a page and a picture.

mod page;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::comparison::{of_cells, of_jobs};
use super::files::{ReportError, write as write_file};
use super::table::{Document, Note, Table};
use super::{axes, text};
use crate::compare::samples::{CellKey, JobAtTarget};
use crate::file::{self, Replace};
use crate::plot;
use crate::trend::{CellLevel, CellTrend, MIN_NIGHTS, Trend, TrendNight};
use crate::units::{p_value, signed_percent};

/// Name of the page.
const HTML_NAME: &str = "trend.html";
/// Name of the picture.
const PNG_NAME: &str = "trend.png";

/// Most cells that are named in a line.
const MOST_CELLS: usize = 3;

/// A row for each cell; changes of level, of builds and of the machine below.
pub fn document(trend: &Trend) -> Document {
    let keys: Vec<&CellKey> = trend.cells.iter().map(|c| &c.key).collect();
    Document::new("Trend", table(trend))
        .above("nights", nights(trend))
        .above("metric", trend.metric.to_string())
        .above("cells", axes::constants_of(&keys))
        .below("", how(trend))
        .all_below(too_few(trend).map(|text| Note::new("levels", text)))
        .all_below(
            level_notes(trend)
                .into_iter()
                .map(|text| Note::new("level changed", text)),
        )
        .all_below(
            change_notes(trend)
                .into_iter()
                .map(|text| Note::new("build or machine", text)),
        )
        .all_below(
            trend
                .left_out
                .iter()
                .map(|text| Note::new("left out", text.as_str())),
        )
}

fn table(trend: &Trend) -> Table {
    let jobs = of_jobs(&trend.cells, |c| c.key.job.as_ref().map(JobAtTarget::shown));
    let newest = |c: &CellTrend| Some(trend.metric.show(c.newest()?.value));
    let since = |c: &CellTrend| {
        let level = c.newest()?;
        Some(trend.nights.get(level.first)?.date().to_owned())
    };
    of_cells(jobs, |c| &c.key.case)
        .numbers("nights", |c| c.medians.len().to_string())
        .numbers("last night", |c| {
            Some(trend.metric.show(c.medians.last()?.value))
        })
        .numbers("level", newest)
        .words("since", since)
        .numbers("change", |c| c.newest()?.change.map(signed_percent))
        .blank()
        .numbers("overall", |c| {
            c.whole_change(trend.metric).map(signed_percent)
        })
        .blank()
        .table()
}

/// `90 nights, 2026-01-01 to 2026-03-31`.
fn nights(trend: &Trend) -> String {
    let n = text::plural(count(trend.nights.len()), "night", "nights");
    let (Some(first), Some(last)) = (trend.nights.first(), trend.nights.last()) else {
        return n;
    };
    let older = match trend.n_older {
        0 => String::new(),
        n => format!("; {n} older are not shown (--last)"),
    };
    match trend.nights.len() {
        1 => format!("{n}, {}{older}", last.date()),
        _ => format!("{n}, {} to {}{older}", first.date(), last.date()),
    }
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// What the columns mean.
fn how(trend: &Trend) -> String {
    let time = trend.metric.words().how_much("it");
    let searched = match trend.cells.iter().any(CellTrend::is_searched) {
        true => "level: the median over the nights since the last change of level (e-divisive)",
        false => "level: the median over the nights",
    };
    format!(
        "{searched}. change: {time} than on the level before; overall: than on the first \
         level. Changes of level are looked for in cells with {MIN_NIGHTS} nights or \
         more. A change of level is advisory: it changes no verdict."
    )
}

/// Why no change of level was looked for, where none was.
fn too_few(trend: &Trend) -> Option<String> {
    let n = trend.too_few_nights()?;
    Some(format!(
        "too few nights ({n} of {MIN_NIGHTS}) to look for changes of level"
    ))
}

/// Changes of level, those of one night in a line, newest first.
fn level_notes(trend: &Trend) -> Vec<String> {
    let mut by_night: BTreeMap<usize, Vec<(&CellTrend, &CellLevel)>> = BTreeMap::new();
    for (cell, level) in trend.level_changes() {
        by_night.entry(level.first).or_default().push((cell, level));
    }
    let lines = by_night.into_iter().rev();
    lines
        .map(|(at, found)| level_note(trend, at, &found))
        .collect()
}

fn level_note(trend: &Trend, at: usize, found: &[(&CellTrend, &CellLevel)]) -> String {
    let by = span(found.iter().filter_map(|(_, level)| level.change));
    let mut names: Vec<String> = found
        .iter()
        .map(|(cell, _)| cell.case_id.to_string())
        .collect();
    names.sort();
    let cells = match (found.len(), trend.cells.len()) {
        (all, n) if all == n && n > 1 => format!("all {n} cells"),
        (n, _) if n > MOST_CELLS => {
            format!(
                "{} and {} more cells",
                names[..MOST_CELLS].join(", "),
                n - MOST_CELLS
            )
        }
        _ => names.join(", "),
    };
    let p = found
        .iter()
        .filter_map(|(_, level)| level.p)
        .fold(0.0, f64::max);
    let before = found
        .iter()
        .find_map(|(cell, level)| trend.night_before(cell, level));
    let before = before.map_or("", TrendNight::date);
    format!(
        "{by} between {before} and {}, in {cells} (p {}); {}{}",
        trend.nights[at].date(),
        p_value(p),
        at_that_time(trend, found, at),
        of_promoted(found)
    )
}

/// What the promoted program, which is the same on all nights, shows of the machine.
fn of_promoted(found: &[(&CellTrend, &CellLevel)]) -> String {
    let changes = || found.iter().filter_map(|(_, level)| level.promoted_change);
    if changes().next().is_none() {
        return String::new();
    }
    format!(
        "; the promoted program changed by {} on the same nights",
        span(changes())
    )
}

/// The least and the largest of some changes: `+3.4% to +3.8%`.
fn span(changes: impl Iterator<Item = f64> + Clone) -> String {
    let least = signed_percent(changes.clone().fold(f64::INFINITY, f64::min));
    let most = signed_percent(changes.fold(f64::NEG_INFINITY, f64::max));
    match least == most {
        true => least,
        false => format!("{least} to {most}"),
    }
}

/// What changed between the last night of the old level and the first of the new one.
fn at_that_time(trend: &Trend, found: &[(&CellTrend, &CellLevel)], at: usize) -> String {
    let earliest = found.iter().filter_map(|(cell, level)| {
        let mut earlier = cell.medians.iter().rev();
        Some(earlier.find(|m| m.night < level.first)?.night)
    });
    let from = earliest.min().unwrap_or(at);
    let nights = trend.nights.iter().take(at + 1).skip(from + 1);
    let facts: Vec<String> = nights
        .flat_map(|night| &night.changes)
        .map(|c| format!("{} {} -> {}", c.fact, c.before, c.after))
        .collect();
    match facts.is_empty() {
        true => "no build and nothing that is recorded of the machine changed with it".to_owned(),
        false => format!("changed with it: {}", facts.join("; ")),
    }
}

/// Builds and the machine, newest first.
fn change_notes(trend: &Trend) -> Vec<String> {
    let nights = trend.nights.iter().rev();
    let lines = nights.flat_map(|night| {
        let changes = night.changes.iter();
        changes.map(|c| format!("{}: {} {} -> {}", night.date(), c.fact, c.before, c.after))
    });
    lines.collect()
}

/// Writes the page and the picture into a folder. Gives back both paths, or the page's alone where there is nothing to draw.
///
/// # Errors
/// [`ReportError`]; where a file is not this program's, nothing is written.
pub fn write(trend: &Trend, folder: &Path, force: bool) -> Result<Vec<PathBuf>, ReportError> {
    let (html, png) = (folder.join(HTML_NAME), folder.join(PNG_NAME));
    let of_page = match force {
        true => Replace::Always,
        false => Replace::Own(page::is_page),
    };
    // A picture does not show whose it is; the page beside it does.
    let of_picture = match force || html.exists() {
        true => Replace::Always,
        false => Replace::Own(|_| false),
    };
    file::check(&html, of_page)?;
    file::check(&png, of_picture)?;
    write_file(&html, page::render(trend)?.as_bytes(), of_page)?;
    let mut written = vec![html];
    if let Some(figure) = plot::trend::overview(trend) {
        write_file(&png, &plot::png(&figure)?, of_picture)?;
        written.push(png);
    }
    Ok(written)
}

#[cfg(test)]
mod tests;
