//! Tables in a page. All that they hold is escaped by the template engine.

use askama::Template;

use super::Table;

/// More columns than these are set closer.
const WIDE: usize = 14;
/// A table of more rows scrolls by itself.
const LONG: usize = 40;
/// Letters of a text that stays on one line: names have hyphens, at which a browser would break them.
const SHORT: usize = 40;

#[derive(Template)]
#[template(path = "table.html")]
struct TableTemplate<'a> {
    is_wide: bool,
    is_long: bool,
    has_head: bool,
    /// Headings, and whether each is of numbers.
    heads: Vec<(String, bool)>,
    rows: Vec<Vec<HtmlCell<'a>>>,
}

struct HtmlCell<'a> {
    text: &'a str,
    class: &'static str,
    /// Columns that it takes.
    span: usize,
}

impl Table {
    /// The table as an element of a page.
    ///
    /// # Errors
    /// When the template engine says so, which for this template and text in memory it does not.
    pub fn html(&self) -> Result<String, askama::Error> {
        let table = self.with_group_column();
        let heads = table.columns.iter().map(|c| (c.head(), !c.is_text));
        let heads: Vec<(String, bool)> = heads.collect();
        TableTemplate {
            is_wide: heads.len() > WIDE,
            is_long: table.n_rows() > LONG,
            has_head: heads.iter().any(|(head, _)| !head.is_empty()),
            heads,
            rows: (0..table.n_rows()).map(|row| table.html_row(row)).collect(),
        }
        .render()
    }

    fn html_row(&self, row: usize) -> Vec<HtmlCell<'_>> {
        let cell = |(text, column): (_, &super::Column)| HtmlCell {
            text,
            class: match column.is_text {
                false => "n",
                true if text.chars().count() <= SHORT => "short",
                true => "",
            },
            span: 1,
        };
        let mut cells: Vec<HtmlCell<'_>> = self.values(row).zip(&self.columns).map(cell).collect();
        let rest = self.columns.len() - cells.len();
        cells.extend(self.text_of(row).map(|text| HtmlCell {
            text: &text.text,
            class: "rest",
            span: rest,
        }));
        cells
    }
}
