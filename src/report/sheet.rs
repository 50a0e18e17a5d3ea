//! A table with text above and below it, for the terminal and as Markdown: the form of a comparison and of a gate.

use comfy_table::{CellAlignment, Table, presets};

use super::markdown::escaped;
use super::text::{brief, cut_end, paragraph, short, width as width_of};

/// The most columns of a text above or below a table, before it is wrapped.
const TEXT_COLUMNS: usize = 1000;
/// The most columns of a table's cell.
const CELL_COLUMNS: usize = 160;

/// A column with a heading of one line.
#[derive(Debug, Clone, PartialEq)]
pub struct Column {
    /// What it is, and in which unit.
    pub head: String,
    /// One a row.
    pub values: Vec<String>,
    /// The same in fewer words, for a narrow terminal.
    pub short: Option<Vec<String>>,
    /// Columns of a higher rank are left out first where there is no room; 0 never is.
    pub rank: u8,
    /// Whether values are words rather than numbers.
    pub is_text: bool,
}

impl Column {
    /// Numbers.
    pub fn numbers(head: &str, rank: u8, values: impl IntoIterator<Item = String>) -> Self {
        Self {
            head: head.to_owned(),
            values: values.into_iter().collect(),
            short: None,
            rank,
            is_text: false,
        }
    }

    /// Words.
    pub fn words(head: &str, rank: u8, values: impl IntoIterator<Item = String>) -> Self {
        Self {
            is_text: true,
            ..Self::numbers(head, rank, values)
        }
    }

    /// With shorter words for where there is little room.
    pub fn or_short(self, values: impl IntoIterator<Item = String>) -> Self {
        Self {
            short: Some(values.into_iter().collect()),
            ..self
        }
    }

    fn shortened(&self) -> Self {
        Self {
            values: self.short.clone().unwrap_or_else(|| self.values.clone()),
            ..self.clone()
        }
    }
}

/// Labelled lines, a table, labelled lines.
#[derive(Debug, Clone, PartialEq)]
pub struct Sheet {
    /// What it is.
    pub title: String,
    /// Before the table; an empty label continues without one.
    pub above: Vec<(String, String)>,
    /// The table.
    pub columns: Vec<Column>,
    /// After it.
    pub below: Vec<(String, String)>,
}

impl Sheet {
    /// For people, at most `width` columns wide, but for a table that cannot be narrower.
    pub fn terminal(&self, width: usize) -> String {
        let mut lines = Vec::new();
        let room = self
            .above
            .iter()
            .map(|(label, _)| width_of(label))
            .max()
            .unwrap_or(0);
        for (label, text) in &self.above {
            lines.extend(paragraph(
                &format!("{label:<room$}  "),
                &brief(text, TEXT_COLUMNS),
                width,
            ));
        }
        lines.push(String::new());
        let (table, left_out) = self.fitted(width);
        let rule = table
            .iter()
            .map(|line| width_of(line))
            .max()
            .unwrap_or(0)
            .min(width);
        for (at, line) in table.iter().enumerate() {
            if at == 1 {
                lines.push("─".repeat(rule));
            }
            lines.push(cut_end(line, width));
        }
        lines.push(String::new());
        if !left_out.is_empty() {
            let text = format!(
                "{}; a wider terminal or -o md shows them",
                left_out.join(", ")
            );
            lines.extend(paragraph("no room for: ", &text, width));
        }
        for (label, text) in &self.below {
            let label = if label.is_empty() {
                String::new()
            } else {
                format!("{label}: ")
            };
            lines.extend(paragraph(&label, &brief(text, TEXT_COLUMNS), width));
        }
        let mut text = String::new();
        for line in lines {
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }

    /// The table's lines, in full or else in short with as many columns as there is room for, and the headings of
    /// the others.
    fn fitted(&self, width: usize) -> (Vec<String>, Vec<String>) {
        let fits = |lines: &[String]| lines.iter().all(|line| width_of(line) <= width);
        let whole = grid(&self.columns);
        if fits(&whole) {
            return (whole, Vec::new());
        }
        let mut columns: Vec<Column> = self.columns.iter().map(Column::shortened).collect();
        let mut left_out = Vec::new();
        loop {
            let lines = grid(&columns);
            let least = columns.iter().map(|c| c.rank).max().unwrap_or(0);
            if least == 0 || fits(&lines) {
                return (lines, left_out);
            }
            // A rank goes as a whole: one side's value without the other's says nothing.
            left_out.extend(columns.extract_if(.., |c| c.rank == least).map(|c| c.head));
            // Intervals of several figures have one heading.
            left_out.dedup();
        }
    }

    /// For documents.
    pub fn markdown(&self) -> String {
        let mut out = format!("# {}\n\n", escaped(&self.title));
        for (label, text) in &self.above {
            out.push_str(&format!("- **{label}**: {}\n", escaped(text)));
        }
        out.push('\n');
        self.pipes(&mut out);
        for (label, text) in &self.below {
            let label = if label.is_empty() {
                String::new()
            } else {
                format!("{label}: ")
            };
            out.push_str(&format!("\n{label}{}\n", escaped(text)));
        }
        out
    }

    /// The table in Markdown, padded: it is also read as plain text, in a mail or a log.
    fn pipes(&self, out: &mut String) {
        let columns: Vec<(bool, usize, Vec<String>)> = self
            .columns
            .iter()
            .map(|c| {
                let texts = std::iter::once(&c.head).chain(&c.values);
                let texts: Vec<String> = texts.map(|text| escaped(text)).collect();
                let widest = texts.iter().map(|text| width_of(text)).max();
                (c.is_text, widest.unwrap_or(0).max(3), texts)
            })
            .collect();
        let rows = columns.iter().map(|(_, _, texts)| texts.len()).max();
        for row in 0..rows.unwrap_or(0) {
            for (is_text, width, texts) in &columns {
                let text = texts.get(row).map_or("", String::as_str);
                let room = " ".repeat(width - width_of(text));
                match is_text {
                    true => out.push_str(&format!("| {text}{room} ")),
                    false => out.push_str(&format!("| {room}{text} ")),
                }
            }
            out.push_str("|\n");
            if row == 0 {
                for (is_text, width, _) in &columns {
                    let rule = "-".repeat(width - 1);
                    out.push_str(&format!("| {rule}{} ", if *is_text { '-' } else { ':' }));
                }
                out.push_str("|\n");
            }
        }
    }
}

/// The aligned lines: the heading, then the rows.
fn grid(columns: &[Column]) -> Vec<String> {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table.set_header(columns.iter().map(|c| short(&c.head)));
    let rows = columns.iter().map(|c| c.values.len()).max().unwrap_or(0);
    for row in 0..rows {
        table.add_row(columns.iter().map(|c| {
            c.values
                .get(row)
                .map(|v| brief(v, CELL_COLUMNS))
                .unwrap_or_default()
        }));
    }
    for (column, aligned) in columns.iter().zip(table.column_iter_mut()) {
        aligned.set_padding((0, 2));
        if !column.is_text {
            aligned.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
        .lines()
        .map(|line| line.trim_end().to_owned())
        .collect()
}

/// A relative slow-down as a change in percent: `+10.0%`.
pub fn signed_percent(share: f64) -> String {
    let percent = share * 100.0;
    // A rounded zero has no sign.
    let percent = if percent.abs() < 0.05 { 0.0 } else { percent };
    match percent.abs() {
        0.0 => "0.0%".to_owned(),
        p if p >= 999.5 => format!("{}999%", if percent > 0.0 { ">" } else { "<-" }),
        p if p >= 99.5 => format!("{percent:+.0}%"),
        _ => format!("{percent:+.1}%"),
    }
}

/// A p-value: three decimals, and never a zero.
pub fn p_value(p: f64) -> String {
    if p < 0.0005 {
        "<0.001".to_owned()
    } else {
        format!("{p:.3}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sheet() -> Sheet {
        let rows = || ["1".to_owned(), "128".to_owned()];
        Sheet {
            title: "a_b".to_owned(),
            above: vec![("A".to_owned(), "one\x1b[31m".to_owned())],
            columns: vec![
                Column::numbers("batch", 0, rows()),
                Column::numbers("dispensable", 2, rows()),
                Column::words("verdict", 0, ["same".to_owned(), "a|b".to_owned()])
                    .or_short(["s".to_owned(), "a".to_owned()]),
            ],
            below: vec![(String::new(), "The end.".to_owned())],
        }
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let wide = sheet().terminal(80);
        assert!(
            wide.starts_with("A  one?[31m\n\nbatch  dispensable  verdict\n───"),
            "{wide}"
        );
        assert!(wide.contains("\n    1            1  same\n") && wide.ends_with("\n\nThe end.\n"));
        let narrow = sheet().terminal(24);
        assert!(
            narrow.contains("batch  verdict\n") && narrow.contains("\n    1  s\n"),
            "{narrow}"
        );
        assert!(wide.contains("a|b") && narrow.contains("no room for: dispensable"));
    }

    #[test]
    fn markdown_is_escaped() {
        let text = sheet().markdown();
        assert!(
            text.contains("| batch | dispensable | verdict |\n| ----: | ----------: | ------- |\n")
        );
        assert!(
            text.contains("|   128 |         128 | a\\|b    |\n"),
            "{text}"
        );
    }

    #[test]
    fn changes_and_p_values_as_people_read_them() {
        for (share, shown) in [
            (0.1, "+10.0%"),
            (-0.0311, "-3.1%"),
            (0.0004, "0.0%"),
            (-1e-9, "0.0%"),
            (2.5, "+250%"),
            (1e9, ">999%"),
        ] {
            assert_eq!(signed_percent(share), shown);
        }
        assert_eq!(
            (p_value(0.0), p_value(0.04567)),
            ("<0.001".into(), "0.046".into())
        );
    }
}
