//! The surface of a picture: it writes SVG with the page's colours.

use std::fmt::Write as _;

use super::style::{ColourRole, FINE};

/// Where a picture is to be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Medium {
    /// Inside a web page, whose style colours it and whose script answers the pointer.
    Inline,
    /// A file of its own, on white.
    File,
}

/// The picture as far as it is drawn. Places are in fine units.
#[derive(Debug)]
pub(super) struct Canvas {
    body: String,
    look: Medium,
    size: (i32, i32),
}

/// The letters of a drawing in a file of its own.
pub(super) const FONT: &str = "font-family=\"DejaVu Sans, Verdana, sans-serif\"";

/// Where a text stands from its place: along the line, and as a share of its height below the place. Not by
/// `dominant-baseline`, which not every viewer knows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Anchor(&'static str, f64);

impl Anchor {
    pub(super) const LEFT_MIDDLE: Self = Self("start", 0.35);
    pub(super) const RIGHT_MIDDLE: Self = Self("end", 0.35);
    pub(super) const LEFT_BELOW: Self = Self("start", 0.8);
    pub(super) const CENTRE_BELOW: Self = Self("middle", 0.8);
    pub(super) const CENTRE_ABOVE: Self = Self("middle", -0.2);
}

impl Canvas {
    pub(super) fn new(look: Medium, width: i32, height: i32) -> Self {
        Self {
            body: String::new(),
            look,
            size: (width, height),
        }
    }

    /// Writes into the picture.
    pub(super) fn write(&mut self, text: std::fmt::Arguments<'_>) {
        // Writing to a String cannot fail.
        let _ = self.body.write_fmt(text);
    }

    /// The whole picture.
    pub(super) fn finish(self, label: &str) -> String {
        let (w, h) = self.size;
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {w} {h}\" role=\"img\" aria-label=\"{}\"",
            escaped(label)
        );
        let font = match self.look {
            Medium::Inline => String::new(),
            Medium::File => format!(" width=\"{w}\" height=\"{h}\" {FONT}"),
        };
        svg.push_str(&font);
        svg.push_str(">\n");
        if self.look == Medium::File {
            let _ = writeln!(svg, "<rect width=\"{w}\" height=\"{h}\" fill=\"#ffffff\"/>");
        }
        svg.push_str(&self.body);
        svg.push_str("</svg>\n");
        svg
    }

    /// A colour as an attribute's value.
    pub(super) fn colour(&self, role: ColourRole) -> String {
        match self.look {
            Medium::Inline => format!("var({})", role.variable()),
            Medium::File => format!("#{:06x}", role.hex()),
        }
    }

    /// A line of this width.
    pub(super) fn line(&mut self, points: &[(i32, i32)], role: ColourRole, width: i32) {
        let colour = self.colour(role);
        self.write(format_args!(
            "<polyline points=\"{}\" style=\"stroke:{colour}\" stroke-width=\"{}\" fill=\"none\"/>\n",
            joined(points),
            Fine(width)
        ));
    }

    /// A text in ink; `turn` is in degrees around its place.
    pub(super) fn text(
        &mut self,
        text: &str,
        size: i32,
        Anchor(anchor, below): Anchor,
        (x, y): (i32, i32),
        turn: Option<i32>,
    ) {
        let turn = turn.map(|t| format!(" transform=\"rotate({t} {} {})\"", Fine(x), Fine(y)));
        let turn = turn.unwrap_or_default();
        let colour = self.colour(ColourRole::Ink);
        let y = f64::from(y) / f64::from(FINE) + below * f64::from(size);
        self.write(format_args!(
            "<text x=\"{}\" y=\"{y:.1}\" font-size=\"{size}\" text-anchor=\"{anchor}\" style=\"fill:{colour}\"{turn}>{}</text>\n",
            Fine(x),
            escaped(text)
        ));
    }
}

/// Places as SVG lists them.
pub(super) fn joined(points: &[(i32, i32)]) -> String {
    let points = points.iter();
    let points = points.map(|(x, y)| format!("{},{}", Fine(*x), Fine(*y)));
    points.collect::<Vec<_>>().join(" ")
}

/// A length of the surface in units of the picture.
pub(super) struct Fine(pub(super) i32);

impl std::fmt::Display for Fine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (whole, rest) = (self.0 / FINE, (self.0 % FINE).abs());
        let sign = if self.0 < 0 && whole == 0 { "-" } else { "" };
        match rest {
            0 => write!(f, "{sign}{whole}"),
            rest => write!(f, "{sign}{whole}.{rest}"),
        }
    }
}

/// Text that stays text inside SVG and HTML, in an attribute too.
pub(crate) fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in crate::text::plain(text).chars() {
        match c {
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '&' => safe.push_str("&amp;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            // Not characters of XML, though Rust has them.
            '\u{fffe}' | '\u{ffff}' => safe.push('?'),
            c => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_in_units_of_the_picture() {
        let shown: Vec<String> = [0, 5, -5, 120, 123, -123]
            .into_iter()
            .map(|n| Fine(n).to_string())
            .collect();
        assert_eq!(shown, ["0", "0.5", "-0.5", "12", "12.3", "-12.3"]);
    }

    #[test]
    fn text_stays_text() {
        assert_eq!(
            escaped("<script>\"a\" & 'b'\n\u{0}</script>"),
            "&lt;script&gt;&quot;a&quot; &amp; &#39;b&#39; ?&lt;/script&gt;"
        );
    }
}
