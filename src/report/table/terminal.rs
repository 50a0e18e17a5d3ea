//! Tables for people: fitted to a terminal, with colours where it has them.

use std::env;
use std::io::{IsTerminal, stdout};

use anstyle::{AnsiColor, Style};
use terminal_size::terminal_size;

use super::{Column, Document, EXTRA, Note, RowText, Table, Tone};
use crate::text::{brief, cut_end, cut_middle, paragraph, plain, short, width as width_of};

/// Columns of a terminal that does not say.
const USUAL_WIDTH: usize = 80;
/// The most columns of a text above or below a table, before it is wrapped.
const TEXT_COLUMNS: usize = 1000;
/// The most columns of a table's cell.
const CELL_COLUMNS: usize = 160;
/// Words are not cut to fewer columns.
const LEAST_CUT: usize = 12;
/// Words are not wrapped to fewer columns.
const LEAST_WRAPPED: usize = 20;

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

impl Document {
    /// FittedTable to standard output, without a line break at its end.
    pub fn for_stdout(&self) -> String {
        let mut text = self.terminal(width(), colour());
        text.truncate(text.trim_end().len());
        text
    }

    /// For people. No line is wider than `width`, but for a path or a command that must stay whole, and a table that cannot
    /// be narrower.
    pub fn terminal(&self, width: usize, colour: bool) -> String {
        let paint = Paint { colour };
        let mut lines = self.lines_above(width, paint);
        let fitted = FittedTable::of(&self.table, width);
        lines.extend(fitted.lines(width, paint));
        lines.push(String::new());
        let notes = fitted.notes(width);
        for note in notes.iter().chain(&self.below) {
            lines.extend(note_lines(note, width, paint));
        }
        while lines.last().is_some_and(String::is_empty) {
            lines.pop();
        }
        let mut text = String::new();
        for line in lines {
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }

    fn lines_above(&self, width: usize, paint: Paint) -> Vec<String> {
        let labels = self.above.iter().map(|note| width_of(&note.label));
        let room = labels.max().unwrap_or(0) + 2;
        let mut lines = Vec::new();
        for note in &self.above {
            let label = format!("{:<room$}", note.label);
            let text = paragraph(&label, &brief(&note.text, TEXT_COLUMNS), width);
            lines.extend(text.iter().map(|line| paint.quiet_label(line, label.len())));
        }
        if !lines.is_empty() {
            lines.push(String::new());
        }
        lines
    }
}

fn note_lines(note: &Note, width: usize, paint: Paint) -> Vec<String> {
    let lead = note.lead();
    let mut lines = match note.is_whole {
        true => vec![lead + &plain(&note.text)],
        false => paragraph(&lead, &brief(&note.text, TEXT_COLUMNS), width),
    };
    for line in &mut lines {
        *line = paint.toned(note.tone, line);
    }
    let command = note.command.iter();
    lines.extend(command.map(|c| format!("  {}", paint.bold(&plain(c)))));
    lines
}

/// A column as it is shown.
struct ShownColumn<'a> {
    column: &'a Column,
    texts: Vec<String>,
    width: usize,
}

impl<'a> ShownColumn<'a> {
    fn of(table: &Table, (at, column): (usize, &'a Column), is_short: bool) -> Self {
        let values = column.short.as_ref().filter(|_| is_short);
        let values = values.unwrap_or(&column.values).iter();
        let texts: Vec<String> = values.map(|v| brief(v.text(), CELL_COLUMNS)).collect();
        let has_value = |row: &usize| table.text_of(*row).is_none_or(|text| at < text.from);
        let rows = (0..texts.len()).filter(has_value);
        let widths = rows.map(|row| width_of(&texts[row]));
        let heads = [&column.name, &column.unit].map(|head| width_of(&short(head)));
        Self {
            column,
            width: widths.chain(heads).max().unwrap_or(0),
            texts,
        }
    }

    /// Blanks before it; a column without a name of its own belongs to the one before.
    fn gap(&self) -> usize {
        if self.column.name.is_empty() { 1 } else { 2 }
    }

    fn aligned(&self, text: &str) -> String {
        let room = " ".repeat(self.width.saturating_sub(width_of(text)));
        match self.column.is_text {
            true => text.to_owned() + &room,
            false => room + text,
        }
    }
}

/// The columns for which there is room.
struct FittedTable<'a> {
    table: &'a Table,
    columns: Vec<ShownColumn<'a>>,
    left_out: Vec<String>,
}

impl<'a> FittedTable<'a> {
    /// All columns in full, or else in short, without those of the highest ranks.
    fn of(table: &'a Table, width: usize) -> Self {
        let shown = |is_short| {
            let columns = table.columns.iter().enumerate();
            columns
                .map(|c| ShownColumn::of(table, c, is_short))
                .collect()
        };
        let mut fitted = Self {
            table,
            columns: shown(false),
            left_out: Vec::new(),
        };
        if fitted.width() <= width {
            return fitted;
        }
        fitted.columns = shown(true);
        loop {
            let ranks = fitted.columns.iter().map(|c| c.column.rank);
            let highest = ranks.max().unwrap_or(0);
            if highest == 0 || fitted.width() <= width {
                fitted.narrow_words(width);
                // Intervals of several figures have one heading.
                fitted.left_out.dedup();
                return fitted;
            }
            // A rank goes as a whole: one side's value without the other's says nothing.
            let gone = fitted.columns.extract_if(.., |c| c.column.rank == highest);
            let missed = gone.filter(|c| c.column.rank < EXTRA);
            fitted.left_out.extend(missed.map(|c| c.column.head()));
        }
    }

    /// Leaves the middle of long words out, such as those of a file's name, where the columns after them would be cut.
    fn narrow_words(&mut self, width: usize) {
        let Some((last, before)) = self.columns.split_last() else {
            return;
        };
        // Words in the last column are wrapped, or need no more room than they have.
        let last = match last.column.is_text {
            true => last.gap() + last.width.min(LEAST_WRAPPED),
            false => last.gap() + last.width,
        };
        let excess = (self.width_of_first(before.len()) + last).saturating_sub(width);
        let n = before.len();
        let words = self.columns[..n].iter_mut().filter(|c| c.column.is_text);
        if let Some(widest) = words.max_by_key(|c| c.width)
            && excess > 0
        {
            let least = LEAST_CUT.max(width_of(&short(&widest.column.name)));
            widest.width = widest
                .width
                .saturating_sub(excess)
                .max(least)
                .min(widest.width);
            for text in &mut widest.texts {
                *text = cut_middle(text, widest.width);
            }
        }
    }

    fn width(&self) -> usize {
        self.width_of_first(self.columns.len())
    }

    fn width_of_first(&self, n: usize) -> usize {
        let columns = self.columns.iter().take(n);
        let first_gap = columns.clone().next().map_or(0, ShownColumn::gap);
        columns.map(|c| c.gap() + c.width).sum::<usize>() - first_gap
    }

    /// A line of the first `n` columns.
    fn line(&self, n: usize, text: impl Fn(&ShownColumn<'_>) -> String) -> String {
        let mut line = String::new();
        for (at, column) in self.columns.iter().take(n).enumerate() {
            line += &" ".repeat(if at == 0 { 0 } else { column.gap() });
            line += &column.aligned(&text(column));
        }
        line
    }

    fn row(&self, n: usize, row: usize) -> String {
        self.line(n, |c| c.texts.get(row).cloned().unwrap_or_default())
    }

    fn lines(&self, width: usize, paint: Paint) -> Vec<String> {
        let n = self.columns.len();
        let mut heads = vec![self.line(n, |c| short(&c.column.name))];
        if self.columns.iter().any(|c| !c.column.unit.is_empty()) {
            heads.push(self.line(n, |c| short(&c.column.unit)));
        }
        let heads = heads.iter().map(|head| cut_end(head.trim_end(), width));
        let mut lines: Vec<String> = heads.map(|head| paint.bold(&head)).collect();
        lines.push(paint.quiet(&"─".repeat(self.width().min(width))));
        for row in 0..self.table.n_rows() {
            lines.extend(self.heading_above(row, width).map(|h| paint.bold(&h)));
            match self.table.text_of(row) {
                Some(text) => lines.push(self.text_line(text, width, paint)),
                None => lines.extend(self.row_lines(row, width)),
            }
        }
        lines
    }

    /// A row; words in its last column are wrapped where there is no room for them in one line.
    fn row_lines(&self, row: usize, width: usize) -> Vec<String> {
        let n = self.columns.len();
        let line = self.row(n, row);
        if let Some((last, before)) = self.columns.split_last()
            && last.column.is_text
            && width_of(line.trim_end()) > width
            && self.width_of_first(before.len()) + LEAST_WRAPPED <= width
        {
            let before = self.row(n - 1, row) + &" ".repeat(last.gap());
            let text = last.texts.get(row).map_or("", String::as_str);
            return paragraph(&before, text, width);
        }
        vec![cut_end(line.trim_end(), width)]
    }

    /// The heading of a group at its first row.
    fn heading_above(&self, row: usize, width: usize) -> Option<String> {
        let groups = &self.table.groups.as_ref()?.values;
        let (name, heading) = groups.get(row)?;
        let before = row.checked_sub(1).and_then(|before| groups.get(before));
        let is_first = before.is_none_or(|(before, _)| before != name);
        is_first.then(|| cut_middle(&plain(heading), width))
    }

    /// A row with a text in place of its figures.
    fn text_line(&self, text: &RowText, width: usize, paint: Paint) -> String {
        let shown = cut_end(&plain(&text.text), self.room_for_text(text, width));
        let before = self.row(text.from, text.row);
        format!("{before}  {}", paint.toned(text.tone, &shown))
    }

    fn room_for_text(&self, text: &RowText, width: usize) -> usize {
        width.saturating_sub(self.width_of_first(text.from) + 2)
    }

    /// What the table does not show, and why values are n/a.
    fn notes(&self, width: usize) -> Vec<Note> {
        let mut notes: Vec<Note> = Vec::new();
        for text in &self.table.texts {
            let note = Note::new("in full", text.text.as_str()).tone(Tone::Failure);
            if width_of(&text.text) > self.room_for_text(text, width) && !notes.contains(&note) {
                notes.push(note);
            }
        }
        let columns = self.columns.iter().map(|c| c.column);
        let why = self.table.why_missing_in(columns);
        notes.extend(why.map(|why| Note::new("n/a", why)));
        if !self.left_out.is_empty() {
            let columns = self.left_out.join(", ");
            let them = if self.left_out.len() == 1 {
                "it"
            } else {
                "them"
            };
            let text = format!("{columns}; a wider terminal or -o md shows {them}");
            notes.push(Note::new("no room for", text));
        }
        notes
    }
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

    fn quiet(self, text: &str) -> String {
        self.styled(Style::new().dimmed(), text)
    }

    fn toned(self, tone: Tone, text: &str) -> String {
        match tone {
            Tone::Usual => text.to_owned(),
            Tone::Quiet => self.quiet(text),
            Tone::Caution => self.styled(AnsiColor::Yellow.on_default(), text),
            Tone::Failure => self.styled(AnsiColor::Red.on_default(), text),
        }
    }

    /// A line whose first `n` bytes are its label.
    fn quiet_label(self, line: &str, n: usize) -> String {
        match line.split_at_checked(n) {
            Some((label, text)) => self.quiet(label) + text,
            None => line.to_owned(),
        }
    }
}
