//! What every page has: one style and one script, both inside the page.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use sha2::{Digest as _, Sha256};

use crate::plot::{self, Figure, Medium, Series};

/// What a page's template asks for.
pub(super) trait PageParts {
    fn style(&self) -> String {
        style()
    }

    fn script(&self) -> &'static str {
        SCRIPT
    }

    fn script_hash(&self) -> String {
        script_hash()
    }

    fn picture(&self, figure: &Figure) -> String {
        plot::svg(figure, Medium::Inline)
    }

    fn sample(&self, series: &Series) -> String {
        plot::sample(series)
    }
}

const STYLE: &str = include_str!("../../templates/report.css");

/// Answers the pointer in figures.
const SCRIPT: &str = include_str!("../../templates/report.js");

/// The style, with the colours of the figures.
fn style() -> String {
    let (light, dark) = plot::css_variables();
    format!(
        ":root{{{light}}}@media screen and (prefers-color-scheme:dark){{:root{{{dark}}}}}\n{STYLE}"
    )
}

/// Only this script may run: what a record might smuggle in past all escaping still would not.
fn script_hash() -> String {
    BASE64.encode(Sha256::digest(SCRIPT))
}
