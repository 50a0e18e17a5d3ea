//! The page of a trend: no network, light and dark, as the lab report. Everything that comes from a record is escaped by the template
//! engine; only pictures, style and script of this program's own making are not.

use askama::Template;

use super::super::page::PageParts;
use super::super::table::Table;
use super::{change_notes, how, level_notes, nights, table, too_few};
use crate::plot::{self, Figure};
use crate::trend::Trend;

#[derive(Template)]
#[template(path = "trend.html")]
struct TrendPage {
    about: Vec<(&'static str, String)>,
    how: String,
    levels: Vec<String>,
    /// Why `levels` is empty, where nothing was looked for.
    too_few: Option<String>,
    changes: Vec<String>,
    left_out: Vec<String>,
    cells: Table,
    overview: Vec<Figure>,
    figures: Vec<Figure>,
    nights: Table,
    version: &'static str,
}

/// The whole page.
///
/// # Errors
/// When the template engine says so, which for this template and text in memory it does not.
pub(super) fn render(trend: &Trend) -> Result<String, askama::Error> {
    let figures = trend.cells.iter();
    let page = TrendPage {
        about: vec![
            ("nights", nights(trend)),
            ("metric", trend.metric.to_string()),
        ],
        how: how(trend),
        levels: level_notes(trend),
        too_few: too_few(trend),
        changes: change_notes(trend),
        left_out: trend.left_out.clone(),
        cells: table(trend),
        overview: plot::trend::overview(trend).into_iter().collect(),
        figures: figures
            .filter_map(|cell| plot::trend::of_cell(trend, cell))
            .collect(),
        nights: every_night(trend),
        version: env!("CARGO_PKG_VERSION"),
    }
    .render()?;
    Ok(crate::text::document(&page))
}

/// Every night with the medians of its cells, newest first.
fn every_night(trend: &Trend) -> Table {
    let rows: Vec<usize> = (0..trend.nights.len()).rev().collect();
    let mut table = Table::of(&rows)
        .words("night", |at| trend.nights[*at].run.clone())
        .words("gate", |at| match trend.nights[*at].has_failed {
            true => "suspected or failed",
            false => "",
        });
    for cell in &trend.cells {
        table = table
            .numbers(cell.case_id.to_string(), |at| {
                let median = cell.medians.iter().find(|m| m.night == *at)?;
                Some(trend.metric.show(median.value))
            })
            .blank();
    }
    table.table()
}

/// Whether a page's beginning is that of a trend.
pub(super) fn is_page(head: &str) -> bool {
    head.contains("<title>ggufbench trend</title>")
}

impl PageParts for TrendPage {}
