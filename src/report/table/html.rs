//! Tables in a page. All that they hold is escaped by the template engine.

use askama::Template;

use super::Table;

/// More columns than these are set closer.
const WIDE: usize = 14;
/// A table of more rows scrolls by itself.
const LONG: usize = 40;
/// Letters of a text that stays on one line: names have hyphens, at which a browser would break them.
const SHORT: usize = 40;
/// A table of so many columns, with words in a column after the first, does not fit a phone: there each of its rows becomes a
/// list.
const STACKED: usize = 3;

#[derive(Template)]
#[template(path = "table.html")]
struct TableTemplate<'a> {
    /// What it shows, for those who do not see it.
    name: &'a str,
    is_wide: bool,
    is_long: bool,
    is_stacked: bool,
    has_head: bool,
    /// Headings, and whether each is of numbers.
    heads: Vec<(String, bool)>,
    rows: Vec<Vec<HtmlCell<'a>>>,
}

struct HtmlCell<'a> {
    text: &'a str,
    /// The heading of its column.
    head: &'a str,
    /// Whether it says what the rest of its row is of.
    is_head: bool,
    class: &'static str,
    /// Columns that it takes.
    span: usize,
}

impl Table {
    /// The table as an element of a page; `name` says what it shows.
    ///
    /// # Errors
    /// When the template engine says so, which for this template and text in memory it does not.
    pub fn html(&self, name: &str) -> Result<String, askama::Error> {
        let table = self.with_group_column();
        let heads = table.columns.iter().map(|c| (c.head(), !c.is_text));
        let heads: Vec<(String, bool)> = heads.collect();
        let has_head = heads.iter().any(|(head, _)| !head.is_empty());
        let mut further = heads.iter().skip(1);
        let rows = 0..table.n_rows();
        TableTemplate {
            name,
            is_wide: heads.len() > WIDE,
            is_long: table.n_rows() > LONG,
            is_stacked: has_head
                && heads.len() >= STACKED
                && further.any(|(_, is_number)| !is_number),
            has_head,
            rows: rows.map(|row| table.html_row(row, &heads)).collect(),
            heads: heads.clone(),
        }
        .render()
    }

    fn html_row<'a>(&'a self, row: usize, heads: &'a [(String, bool)]) -> Vec<HtmlCell<'a>> {
        // Without headings above them values are said by what stands before them.
        let is_facts = heads.iter().all(|(head, _)| head.is_empty());
        let values = self.values(row).zip(&self.columns).zip(heads).enumerate();
        let mut cells: Vec<HtmlCell<'a>> = Vec::new();
        for (at, ((text, column), (head, _))) in values {
            cells.push(HtmlCell {
                text,
                head,
                is_head: is_facts && at == 0,
                class: match column.is_text {
                    false => "n",
                    true if text.chars().count() <= SHORT => "short",
                    true => "",
                },
                span: 1,
            });
        }
        let rest = self.columns.len() - cells.len();
        cells.extend(self.text_of(row).map(|text| HtmlCell {
            text: &text.text,
            head: "",
            is_head: false,
            class: "rest",
            span: rest,
        }));
        cells
    }
}
