//! The lab report as one HTML file: no network, light and dark, on paper too. Everything that comes from a record is
//! escaped by the template engine; only pictures, style and script of this program's own making are not.

use std::borrow::Borrow;

use askama::Template;

use super::{Block, Lab, Section};
use crate::analysis::{Finding, Sure};
use crate::report::page::PageParts;

#[derive(Template)]
#[template(path = "report.html")]
struct ReportPage<'a> {
    lab: &'a Lab,
    version: &'static str,
    record: String,
}

/// The whole page; `record` is where the figures come from.
///
/// # Errors
/// When the template engine says so, which for this template and text in memory it does not.
pub fn render(lab: &Lab, record: &std::path::Path) -> Result<String, askama::Error> {
    let name = record.file_name().unwrap_or(record.as_os_str());
    let page = ReportPage {
        lab,
        version: env!("CARGO_PKG_VERSION"),
        record: crate::text::short(&name.to_string_lossy()),
    }
    .render()?;
    Ok(crate::text::document(&page))
}

impl PageParts for ReportPage<'_> {}

impl ReportPage<'_> {
    fn sure_class(&self, finding: &Finding) -> &'static str {
        match finding.sure {
            Sure::Shown => "shown",
            Sure::Likely => "likely",
            Sure::Undetermined => "undetermined",
        }
    }

    /// What a block of a section is about: the heading before it, or the section's.
    fn name_of<'s>(&self, section: &'s Section, at: impl Borrow<usize>) -> &'s str {
        let before = section.blocks.iter().take(*at.borrow());
        let mut headings = before.filter_map(|block| match block {
            Block::Heading(text) => Some(text.as_str()),
            _ => None,
        });
        headings.next_back().unwrap_or(section.title)
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
