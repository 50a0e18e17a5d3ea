//! The lab report as one HTML file: no network, light and dark, on paper too. Everything that comes from a record is
//! escaped by the template engine; only pictures, style and script of this program's own making are not.

use askama::Template;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use sha2::{Digest as _, Sha256};

use super::lab::{Block, Grid, Lab};
use crate::analysis::{Finding, Sure};
use crate::plot::{self, Figure, Medium, Series};

const STYLE: &str = include_str!("../../templates/report.css");
const SCRIPT: &str = include_str!("../../templates/report.js");

#[derive(Template)]
#[template(path = "report.html")]
struct Page<'a> {
    lab: &'a Lab,
    version: &'static str,
    record: String,
}

/// A table's cell as HTML has it.
struct Cell<'a> {
    text: &'a str,
    is_number: bool,
    /// Short words stay on one line: names have hyphens, at which a browser would break them.
    is_short: bool,
    span: usize,
}

/// The whole page; `record` is where the figures come from.
///
/// # Errors
/// When the template engine says so, which for this template and text in memory it does not.
pub fn render(lab: &Lab, record: &std::path::Path) -> Result<String, askama::Error> {
    let name = record.file_name().unwrap_or(record.as_os_str());
    let page = Page {
        lab,
        version: env!("CARGO_PKG_VERSION"),
        record: crate::text::short(&name.to_string_lossy()),
    }
    .render()?;
    Ok(crate::text::document(&page))
}

impl Page<'_> {
    fn style(&self) -> String {
        let (light, dark) = plot::css_variables();
        format!(
            ":root{{{light}}}@media screen and (prefers-color-scheme:dark){{:root{{{dark}}}}}\n{STYLE}"
        )
    }

    fn script(&self) -> &'static str {
        SCRIPT
    }

    /// Only this script may run: what a record might smuggle in past all escaping still would not.
    fn script_hash(&self) -> String {
        BASE64.encode(Sha256::digest(SCRIPT))
    }

    fn picture(&self, figure: &Figure) -> String {
        plot::svg(figure, Medium::Inline)
    }

    fn sample(&self, series: &Series) -> String {
        plot::sample(series)
    }

    /// Whether a table has so many columns that they have to be set closer.
    fn is_wide(&self, grid: &Grid) -> bool {
        grid.head.len() > 14
    }

    /// Whether a table is so long that it scrolls by itself.
    fn is_long(&self, grid: &Grid) -> bool {
        grid.rows.len() > 40
    }

    fn has_head(&self, grid: &Grid) -> bool {
        grid.head.iter().any(|h| !h.text.is_empty())
    }

    fn cells<'g>(&self, grid: &'g Grid, row: &'g [String]) -> Vec<Cell<'g>> {
        let n = grid.head.len();
        let cell = |(at, text): (usize, &'g String)| Cell {
            text,
            is_short: text.chars().count() <= 40,
            is_number: grid.head.get(at).is_some_and(|h| h.is_number),
            // A row that ends early gives the rest of it to its last value.
            span: if at + 1 == row.len() {
                n.saturating_sub(at)
            } else {
                1
            },
        };
        row.iter().enumerate().map(cell).collect()
    }

    fn sure_class(&self, finding: &Finding) -> &'static str {
        match finding.sure {
            Sure::Shown => "shown",
            Sure::Likely => "likely",
            Sure::Undetermined => "undetermined",
        }
    }

    /// The plots that a finding names and that this report has.
    fn plots(&self, finding: &Finding) -> Vec<&'static str> {
        let has = |id: &&&str| self.lab.figures().any(|f| f.id == **id);
        finding.see.iter().filter(has).copied().collect()
    }

    fn figure_title(&self, id: &str) -> &str {
        let found = self.lab.figures().find(|f| f.id == id);
        found.map_or("", |f| f.title.as_str())
    }
}
