//! What every page has: one style and one script, both inside the page.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use sha2::{Digest as _, Sha256};

use crate::plot;

const STYLE: &str = include_str!("../../templates/report.css");

/// Answers the pointer in figures.
pub(super) const SCRIPT: &str = include_str!("../../templates/report.js");

/// The style, with the colours of the figures.
pub(super) fn style() -> String {
    let (light, dark) = plot::css_variables();
    format!(
        ":root{{{light}}}@media screen and (prefers-color-scheme:dark){{:root{{{dark}}}}}\n{STYLE}"
    )
}

/// Only this script may run: what a record might smuggle in past all escaping still would not.
pub(super) fn script_hash() -> String {
    BASE64.encode(Sha256::digest(SCRIPT))
}
