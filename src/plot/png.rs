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

/// The figure as a PNG file's bytes.
///
/// # Errors
/// [`PngError`] when the picture is no valid SVG or too large; neither happens to figures of this program.
pub fn png(figure: &Figure) -> Result<Vec<u8>, PngError> {
    let failed = |reason: String| PngError {
        figure: figure.id,
        reason,
    };
    let options = usvg::Options {
        font_family: FAMILY.to_owned(),
        fontdb: FONTS.clone(),
        ..usvg::Options::default()
    };
    let tree = usvg::Tree::from_str(&svg(figure, Medium::File), &options)
        .map_err(|e| failed(e.to_string()))?;
    let size = tree.size().to_int_size();
    let size = size
        .scale_by(SCALE)
        .ok_or_else(|| failed("has no size".to_owned()))?;
    let mut pixels = Pixmap::new(size.width(), size.height())
        .ok_or_else(|| failed("is too large".to_owned()))?;
    let transform = Transform::from_scale(SCALE, SCALE);
    resvg::render(&tree, transform, &mut pixels.as_mut());
    pixels.encode_png().map_err(|e| failed(e.to_string()))
}
