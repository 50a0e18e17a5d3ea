//! The surface that plotters draws on: it writes SVG with the page's colours, and marks that a pointer can find.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::rc::Rc;

use plotters_backend::text_anchor::{HPos, VPos};
use plotters_backend::{
    BackendColor, BackendCoord, BackendStyle, BackendTextStyle, DrawingBackend, DrawingErrorKind,
    FontTransform,
};

use super::style::{ColourRole, FINE, text_width};

/// Where a picture is to be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Medium {
    /// Inside a web page, whose style colours it and whose script answers the pointer.
    Inline,
    /// A file of its own, on white.
    File,
}

/// The picture as far as it is drawn; shared, since plotters owns the surface while it draws.
#[derive(Debug, Clone)]
pub(super) struct Canvas {
    body: Rc<RefCell<String>>,
    look: Medium,
    size: (i32, i32),
}

/// The letters of a drawing in a file of its own.
pub(super) const FONT: &str = "font-family=\"DejaVu Sans, Verdana, sans-serif\"";

/// Drawing cannot fail: it writes into memory.
pub(super) type Never = std::convert::Infallible;

impl Canvas {
    pub(super) fn new(look: Medium, width: i32, height: i32) -> Self {
        Self {
            body: Rc::default(),
            look,
            size: (width * FINE, height * FINE),
        }
    }

    /// Writes into the picture.
    pub(super) fn write(&self, text: std::fmt::Arguments<'_>) {
        // Writing to a String cannot fail.
        let _ = self.body.borrow_mut().write_fmt(text);
    }

    /// The whole picture.
    pub(super) fn finish(self, label: &str) -> String {
        let (w, h) = (self.size.0 / FINE, self.size.1 / FINE);
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
        svg.push_str(&self.body.borrow());
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

    fn paint(&self, style: &impl BackendStyle, fill: bool) -> String {
        let BackendColor { alpha, rgb } = style.color();
        let colour = self.colour(ColourRole::of_rgb(rgb));
        let alpha = if alpha < 1.0 {
            format!(" opacity=\"{alpha}\"")
        } else {
            String::new()
        };
        if fill {
            return format!("style=\"fill:{colour}\"{alpha}");
        }
        let width = Fine(style.stroke_width() as i32);
        format!("style=\"stroke:{colour}\" stroke-width=\"{width}\" fill=\"none\"{alpha}")
    }
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

impl DrawingBackend for Canvas {
    type ErrorType = Never;

    fn get_size(&self) -> (u32, u32) {
        (self.size.0 as u32, self.size.1 as u32)
    }

    fn ensure_prepared(&mut self) -> Result<(), DrawingErrorKind<Never>> {
        Ok(())
    }

    fn present(&mut self) -> Result<(), DrawingErrorKind<Never>> {
        Ok(())
    }

    fn draw_pixel(
        &mut self,
        point: BackendCoord,
        color: BackendColor,
    ) -> Result<(), DrawingErrorKind<Never>> {
        self.draw_rect(point, (point.0 + 1, point.1 + 1), &color, true)
    }

    fn draw_line<S: BackendStyle>(
        &mut self,
        from: BackendCoord,
        to: BackendCoord,
        style: &S,
    ) -> Result<(), DrawingErrorKind<Never>> {
        self.draw_path([from, to], style)
    }

    fn draw_rect<S: BackendStyle>(
        &mut self,
        (left, top): BackendCoord,
        (right, bottom): BackendCoord,
        style: &S,
        fill: bool,
    ) -> Result<(), DrawingErrorKind<Never>> {
        if style.color().alpha > 0.0 {
            let (x, y, w, h) = (
                Fine(left.min(right)),
                Fine(top.min(bottom)),
                Fine((right - left).abs()),
                Fine((bottom - top).abs()),
            );
            let paint = self.paint(style, fill);
            self.write(format_args!(
                "<rect x=\"{x}\" y=\"{y}\" width=\"{w}\" height=\"{h}\" {paint}/>\n"
            ));
        }
        Ok(())
    }

    fn draw_path<S: BackendStyle, I: IntoIterator<Item = BackendCoord>>(
        &mut self,
        path: I,
        style: &S,
    ) -> Result<(), DrawingErrorKind<Never>> {
        if style.color().alpha > 0.0 {
            let points = path
                .into_iter()
                .map(|(x, y)| format!("{},{}", Fine(x), Fine(y)));
            let points: Vec<String> = points.collect();
            let paint = self.paint(style, false);
            self.write(format_args!(
                "<polyline points=\"{}\" {paint}/>\n",
                points.join(" ")
            ));
        }
        Ok(())
    }

    fn draw_circle<S: BackendStyle>(
        &mut self,
        (x, y): BackendCoord,
        radius: u32,
        style: &S,
        fill: bool,
    ) -> Result<(), DrawingErrorKind<Never>> {
        let paint = self.paint(style, fill);
        let (x, y, r) = (Fine(x), Fine(y), Fine(radius as i32));
        self.write(format_args!(
            "<circle cx=\"{x}\" cy=\"{y}\" r=\"{r}\" {paint}/>\n"
        ));
        Ok(())
    }

    fn fill_polygon<S: BackendStyle, I: IntoIterator<Item = BackendCoord>>(
        &mut self,
        corners: I,
        style: &S,
    ) -> Result<(), DrawingErrorKind<Never>> {
        let corners = corners
            .into_iter()
            .map(|(x, y)| format!("{},{}", Fine(x), Fine(y)));
        let corners: Vec<String> = corners.collect();
        let paint = self.paint(style, true);
        self.write(format_args!(
            "<polygon points=\"{}\" {paint}/>\n",
            corners.join(" ")
        ));
        Ok(())
    }

    fn draw_text<T: BackendTextStyle>(
        &mut self,
        text: &str,
        style: &T,
        (x, y): BackendCoord,
    ) -> Result<(), DrawingErrorKind<Never>> {
        let size = (style.size() / f64::from(FINE)).round() as i32;
        let (anchor, dy) = (style.anchor().h_pos, style.anchor().v_pos);
        let anchor = match anchor {
            HPos::Left => "start",
            HPos::Right => "end",
            HPos::Center => "middle",
        };
        // Not by `dominant-baseline`, which not every viewer knows.
        let dy = match dy {
            VPos::Top => 0.8,
            VPos::Center => 0.35,
            VPos::Bottom => -0.2,
        };
        let turn = match style.transform() {
            FontTransform::None => String::new(),
            FontTransform::Rotate90 => format!(" transform=\"rotate(90 {} {})\"", Fine(x), Fine(y)),
            FontTransform::Rotate180 => {
                format!(" transform=\"rotate(180 {} {})\"", Fine(x), Fine(y))
            }
            FontTransform::Rotate270 => {
                format!(" transform=\"rotate(270 {} {})\"", Fine(x), Fine(y))
            }
        };
        let colour = self.colour(ColourRole::of_rgb(style.color().rgb));
        let y = f64::from(y) / f64::from(FINE) + dy * f64::from(size);
        self.write(format_args!(
            "<text x=\"{}\" y=\"{y:.1}\" font-size=\"{size}\" text-anchor=\"{anchor}\" style=\"fill:{colour}\"{turn}>{}</text>\n",
            Fine(x),
            escaped(text)
        ));
        Ok(())
    }

    fn estimate_text_size<T: BackendTextStyle>(
        &self,
        text: &str,
        style: &T,
    ) -> Result<(u32, u32), DrawingErrorKind<Never>> {
        let size = style.size().round() as i32;
        Ok((text_width(text, size) as u32, size as u32))
    }
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
