//! The lab report as one HTML file: no network, light and dark, on paper too. Everything that comes from a record is
//! escaped by the template engine; only pictures, style and script of this program's own making are not.

use askama::Template;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use sha2::{Digest as _, Sha256};

use super::{Block, Lab};
use crate::analysis::{Finding, Sure};
use crate::plot::{self, Figure, Medium, Series};

const STYLE: &str = include_str!("../../../templates/report.css");
const SCRIPT: &str = include_str!("../../../templates/report.js");

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

impl ReportPage<'_> {
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
