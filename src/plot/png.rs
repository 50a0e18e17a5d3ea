//! A figure as a bitmap, for viewers that show no SVG: the same picture with letters from a built-in font, so that a
//! machine without fonts writes the same file.

use std::sync::{Arc, LazyLock};

use resvg::tiny_skia::{Pixmap, Transform};
use resvg::usvg::{self, fontdb};

use super::canvas::Medium;
use super::{Figure, svg};

const SCALE: f32 = 2.0;
/// The family name of the built-in font.
const FAMILY: &str = "DejaVu Sans";

/// A picture that cannot be made.
#[derive(Debug, thiserror::Error)]
#[error("figure {figure}: cannot be made a bitmap: {reason}")]
pub struct PngError {
    figure: &'static str,
    reason: String,
}

static FONTS: LazyLock<Arc<fontdb::Database>> = LazyLock::new(|| {
    let mut fonts = fontdb::Database::new();
    fonts.load_font_data(dejavu::sans::regular().to_vec());
    fonts.set_sans_serif_family(FAMILY);
    Arc::new(fonts)
});

/// A picture with its letters placed.
pub(super) fn tree(svg: &str) -> Result<usvg::Tree, usvg::Error> {
    let options = usvg::Options {
        font_family: FAMILY.to_owned(),
        fontdb: FONTS.clone(),
        ..usvg::Options::default()
    };
    usvg::Tree::from_str(svg, &options)
}

/// The figure as a PNG file's bytes.
///
/// # Errors
/// [`PngError`] when the picture is no valid SVG or too large; neither happens to figures of this program.
pub fn png(figure: &Figure) -> Result<Vec<u8>, PngError> {
    bitmap(figure.id, &svg(figure, Medium::File), SCALE)
}

/// A picture as a PNG file's bytes, enlarged.
fn bitmap(figure: &'static str, svg: &str, scale: f32) -> Result<Vec<u8>, PngError> {
    let pixels = pixels(figure, svg, scale)?;
    pixels.encode_png().map_err(|e| failed(figure, e))
}

/// Under this key a PNG file says which program wrote it (PNG specification, 11.3.3.2).
const AUTHOR_KEY: &str = "Software";
const AUTHOR: &str = "ggufbench";

/// A picture in its own size as a PNG file's bytes, which say that this program wrote them.
pub(super) fn bitmap_with_author(figure: &'static str, svg: &str) -> Result<Vec<u8>, PngError> {
    let pixels = pixels(figure, svg, 1.0)?;
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, pixels.width(), pixels.height());
    encoder.set_color(png::ColorType::Rgba);
    let author = (
        AUTHOR_KEY.to_owned(),
        format!("{AUTHOR} {}", env!("CARGO_PKG_VERSION")),
    );
    encoder
        .add_text_chunk(author.0, author.1)
        .and_then(|()| encoder.write_header())
        .and_then(|mut file| {
            file.write_image_data(&pixels.take_demultiplied())?;
            file.finish()
        })
        .map_err(|e| failed(figure, e))?;
    Ok(bytes)
}

/// Whether a bitmap's beginning says that this program wrote it.
pub(crate) fn is_own_bitmap(head: &str) -> bool {
    head.contains(&format!("tEXt{AUTHOR_KEY}\0{AUTHOR}"))
}

fn pixels(figure: &'static str, svg: &str, scale: f32) -> Result<Pixmap, PngError> {
    let tree = tree(svg).map_err(|e| failed(figure, e))?;
    let size = tree.size().to_int_size();
    let size = size
        .scale_by(scale)
        .ok_or_else(|| failed(figure, "has no size"))?;
    let mut pixels =
        Pixmap::new(size.width(), size.height()).ok_or_else(|| failed(figure, "is too large"))?;
    resvg::render(
        &tree,
        Transform::from_scale(scale, scale),
        &mut pixels.as_mut(),
    );
    Ok(pixels)
}

fn failed(figure: &'static str, reason: impl ToString) -> PngError {
    PngError {
        figure,
        reason: reason.to_string(),
    }
}
