//! The table for people: fitted to the terminal, units in its head, outcomes and advice in words.

use std::env;
use std::io::{IsTerminal, stdout};

use anstyle::{AnsiColor, Style};
use comfy_table::{CellAlignment, Table, presets};
use terminal_size::terminal_size;

use super::columns::{Column, Detail};
use super::notes::{self, Notes};
use super::text::{cut_end, cut_middle, paragraph, plain, short, width as width_of};
use super::view::{CellView, RunView};
use super::{axes, caption, columns};
use crate::plan::Case;

/// Columns of a terminal that does not say.
const USUAL_WIDTH: usize = 80;

/// From this width on the table shows everything.
const WIDE: usize = 110;

/// Columns of standard output: the terminal's, else `COLUMNS`, else 80.
pub fn width() -> usize {
    let of_terminal = || Some(usize::from(terminal_size()?.0.0));
    let of_environment = || env::var("COLUMNS").ok()?.parse().ok();
    let known = if stdout().is_terminal() {
        of_terminal().or_else(of_environment)
    } else {
        of_environment()
    };
    known.filter(|w| *w > 0).unwrap_or(USUAL_WIDTH)
}

/// Whether standard output wants colours: a terminal that is not dumb, and no `NO_COLOR` (no-color.org).
pub fn colour() -> bool {
    let refused = env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
    let dumb = env::var_os("TERM").is_some_and(|v| v == "dumb");
    stdout().is_terminal() && !refused && !dumb
}

/// The whole report: caption, table, notes. No line is wider than `width`, but for a path or a command
/// that must stay whole, and a table that cannot be narrower.
pub fn render(view: &RunView, width: usize, colour: bool) -> String {
    let paint = Paint { colour };
    let notes = Notes::of(view);
    let mut lines = Vec::new();
    for (label, text) in caption::lines(view) {
        let text = if label == "model" {
            cut_middle(&text, width.saturating_sub(9))
        } else {
            text
        };
        let label = format!("{label:<9}");
        for line in paragraph(&label, &text, width) {
            lines.push(paint.dim_label(&line, label.len()));
        }
    }
    lines.push(String::new());
    let table = FittedTable::of(view, &notes, width);
    table.lines(view, width, paint, &mut lines);
    below(view, &notes, &table, width, paint, &mut lines);
    let mut text = String::new();
    for line in lines {
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// The columns for which there is room.
struct FittedTable {
    columns: Vec<Column>,
    n_axes: usize,
    left_out: Vec<String>,
}

impl FittedTable {
    fn of(view: &RunView, notes: &Notes, width: usize) -> Self {
        let detail = if width >= WIDE {
            Detail::Wide
        } else {
            Detail::Narrow
        };
        let (columns, n_axes) = columns::of(view, notes, detail);
        let mut fitted = Self {
            columns,
            n_axes,
            left_out: Vec::new(),
        };
        while widest(&fitted.grid(view)) > width {
            let ranks = fitted
                .columns
                .iter()
                .enumerate()
                .filter(|(_, c)| c.rank > 0);
            let Some((at, _)) = ranks.max_by_key(|(_, c)| c.rank) else {
                break;
            };
            let column = fitted.columns.remove(at);
            if column.rank >= columns::EXTRA {
                continue;
            }
            fitted
                .left_out
                .push(format!("{} {}", column.name, column.unit).trim().to_owned());
        }
        fitted
    }

    /// The aligned lines: two of heading, one a cell.
    fn grid(&self, view: &RunView) -> Vec<String> {
        let mut table = Table::new();
        table.load_preset(presets::NOTHING);
        table.set_header(
            self.columns
                .iter()
                .map(|c| format!("{}\n{}", c.name, c.unit)),
        );
        for (row, cell) in view.cells.iter().enumerate() {
            let is_row = notes::is_row(cell);
            table.add_row(self.columns.iter().enumerate().map(|(at, column)| {
                match column.values.get(row).and_then(Option::as_deref) {
                    Some(value) if is_row || at < self.n_axes => short(value),
                    None if is_row && column.why_missing.is_some() => "n/a".to_owned(),
                    _ => String::new(),
                }
            }));
        }
        for (at, column) in table.column_iter_mut().enumerate() {
            // A column without a name of its own belongs to the one before.
            let next = self.columns.get(at + 1);
            let gap = if next.is_some_and(|c| c.name.is_empty()) {
                1
            } else {
                2
            };
            column.set_padding((0, gap));
            column.set_cell_alignment(CellAlignment::Right);
        }
        table
            .lines()
            .map(|line| line.trim_end().to_owned())
            .collect()
    }

    fn lines(&self, view: &RunView, width: usize, paint: Paint, lines: &mut Vec<String>) {
        let grid = self.grid(view);
        let rule = "─".repeat(widest(&grid).min(width));
        let (head, rows) = grid.split_at(grid.len().min(2));
        lines.extend(head.iter().map(|line| paint.bold(&cut_end(line, width))));
        lines.push(paint.dim(&rule));
        let axes_width = self.axes_width(view);
        let cases: Vec<&Case> = view.cells.iter().map(|c| &c.case).collect();
        let has_groups = axes::models(&cases).len() > 1;
        let mut group: Option<&str> = None;
        for (cell, row) in view.cells.iter().zip(rows) {
            let model = cell.case.model.as_str();
            if has_groups && group != Some(model) {
                let heading = cut_middle(&caption::model_line(view, model), width);
                lines.push(paint.bold(&heading));
                group = Some(model);
            }
            lines.push(if notes::is_row(cell) {
                cut_end(row, width)
            } else {
                outcome_line(cell, row, axes_width, width, paint)
            });
        }
    }

    /// Columns up to the last axis.
    fn axes_width(&self, view: &RunView) -> usize {
        let axes = Self {
            columns: self.columns[..self.n_axes].to_vec(),
            n_axes: self.n_axes,
            left_out: Vec::new(),
        };
        widest(&axes.grid(view))
    }
}

/// A cell without figures: its axes, then its outcome across the other columns.
fn outcome_line(cell: &CellView, row: &str, from: usize, width: usize, paint: Paint) -> String {
    let text = cut_end(&notes::outcome(cell), room(from, width));
    let text = if cell.outcome.is_failure() {
        paint.red(&text)
    } else {
        paint.yellow(&text)
    };
    let gap = " ".repeat(from.saturating_sub(width_of(row)) + 2);
    format!("{row}{gap}{text}")
}

/// Columns for an outcome beside the axes.
fn room(axes_width: usize, width: usize) -> usize {
    width.saturating_sub(axes_width + 2)
}

/// Outcomes for which the table had no room, each once.
fn cut_outcomes(view: &RunView, axes_width: usize, width: usize) -> Vec<String> {
    let outcomes = view
        .cells
        .iter()
        .filter(|c| !notes::is_row(c))
        .map(notes::outcome);
    let mut cut: Vec<String> = Vec::new();
    for outcome in outcomes.filter(|o| width_of(o) > room(axes_width, width)) {
        if !cut.contains(&outcome) {
            cut.push(outcome);
        }
    }
    cut
}

fn below(
    view: &RunView,
    notes: &Notes,
    table: &FittedTable,
    width: usize,
    paint: Paint,
    lines: &mut Vec<String>,
) {
    lines.push(String::new());
    for text in cut_outcomes(view, table.axes_width(view), width) {
        let wrapped = paragraph("in full: ", &text, width);
        lines.extend(wrapped.iter().map(|line| paint.red(line)));
    }
    for (number, text) in notes.footnotes() {
        let wrapped = paragraph(&number, &text, width);
        lines.extend(wrapped.iter().map(|line| paint.yellow(line)));
    }
    for text in notes::run_warnings(view) {
        let wrapped = paragraph("warning: ", &text, width);
        lines.extend(wrapped.iter().map(|line| paint.yellow(line)));
    }
    if let Some(text) = notes::about_missing(view, &table.columns) {
        lines.extend(paragraph("n/a: ", &text, width));
    }
    if !table.left_out.is_empty() {
        let text = format!(
            "{}; a wider terminal or -o csv shows them",
            table.left_out.join(", ")
        );
        lines.extend(paragraph("no room for: ", &text, width));
    }
    if view.any_measured() {
        let wrapped = paragraph("", notes::LEGEND, width);
        lines.extend(wrapped.iter().map(|line| paint.dim(line)));
    }
    lines.push(format!(
        "record: {}",
        plain(&view.record.display().to_string())
    ));
    for (text, command) in notes::next_steps(view) {
        lines.extend(paragraph("next: ", &text, width));
        lines.extend(command.map(|c| format!("  {}", paint.bold(&c))));
    }
}

fn widest(lines: &[String]) -> usize {
    lines.iter().map(|line| width_of(line)).max().unwrap_or(0)
}

/// Styles, or none of them.
#[derive(Debug, Clone, Copy)]
struct Paint {
    colour: bool,
}

impl Paint {
    fn styled(self, style: Style, text: &str) -> String {
        if self.colour && !text.is_empty() {
            format!("{style}{text}{style:#}")
        } else {
            text.to_owned()
        }
    }

    fn bold(self, text: &str) -> String {
        self.styled(Style::new().bold(), text)
    }

    fn dim(self, text: &str) -> String {
        self.styled(Style::new().dimmed(), text)
    }

    fn red(self, text: &str) -> String {
        self.styled(AnsiColor::Red.on_default(), text)
    }

    fn yellow(self, text: &str) -> String {
        self.styled(AnsiColor::Yellow.on_default(), text)
    }

    /// A line whose first `n` bytes, ASCII, are its label.
    fn dim_label(self, line: &str, n: usize) -> String {
        match line.split_at_checked(n) {
            Some((label, text)) => self.dim(label) + text,
            None => line.to_owned(),
        }
    }
}
