//! Which line is which: in a picture of its own a few lines of names, in a page a sample beside each name.

use plotters::style::text_anchor::{HPos, VPos};

use super::canvas::{Canvas, Medium};
use super::draw::{dashes, put, shape, text_style};
use super::style::{ColourRole, FINE, FONT, WIDTH, fitted, text_width};
use super::{Figure, Mark, Series};
use crate::text::{cut_middle, plain};

const LEGEND_LINE: i32 = 19;
/// Most columns of a series' name in a picture's legend.
const NAME_COLUMNS: usize = 44;

/// The legend of a picture in a file: names in lines, as many in each as fit.
#[derive(Debug, Default)]
pub(super) struct Legend {
    entries: Vec<(i32, i32, String, usize, Mark)>,
    n_lines: i32,
}

impl Legend {
    pub(super) fn of(figure: &Figure) -> Self {
        let mut legend = Self::default();
        let (mut x, mut row) = (8, 0);
        for series in &figure.series {
            let name = cut_middle(&plain(&series.name), NAME_COLUMNS);
            let name = fitted(&name, FONT, WIDTH - 8 - 28 - 14);
            let width = 28 + text_width(&name, FONT) + 14;
            if x > 8 && x + width > WIDTH {
                (x, row) = (8, row + 1);
            }
            legend
                .entries
                .push((x, row, name, series.look, series.mark));
            x += width;
        }
        legend.n_lines = row + 1;
        legend
    }

    pub(super) fn height(&self) -> i32 {
        self.n_lines * LEGEND_LINE
    }

    pub(super) fn draw(&self, page: &Canvas, top: i32) {
        for (x, row, name, look, mark) in &self.entries {
            let y = top + row * LEGEND_LINE + LEGEND_LINE / 2;
            page.write(format_args!("{}", key(*look, *mark, (*x, y), page)));
            let style = text_style(FONT, ColourRole::Ink, HPos::Left, VPos::Center);
            put(page, name, &style, (x + 28, y));
        }
    }
}

/// What stands before a name in a legend.
fn key(look: usize, mark: Mark, (x, y): (i32, i32), page: &Canvas) -> String {
    let colour = page.colour(ColourRole::Series(look));
    let dashed = match mark {
        Mark::Dashed | Mark::Upright => "5 4",
        _ => dashes(look),
    };
    let right = x + 24;
    let line = format!(
        "<path d=\"M{x} {y}H{right}\" style=\"stroke:{colour}\" stroke-width=\"2\" stroke-dasharray=\"{dashed}\" fill=\"none\"/>"
    );
    let line = match mark {
        Mark::Points | Mark::Bars => String::new(),
        _ if dashed.is_empty() => line.replace(" stroke-dasharray=\"\"", ""),
        _ => line,
    };
    let dot = match mark {
        Mark::Line | Mark::Points => shape(look, ((x + 12) * FINE, y * FINE), &colour),
        Mark::Bars => format!(
            "<rect x=\"{}\" y=\"{}\" width=\"14\" height=\"9\" style=\"fill:{colour};stroke:{colour}\" fill-opacity=\"0.35\"/>",
            x + 5,
            y - 5
        ),
        _ => String::new(),
    };
    format!("{line}{dot}\n")
}

/// The sample of a series' line and shape, for a legend that is a page's own text.
pub(crate) fn sample(series: &Series) -> String {
    let page = Canvas::new(Medium::Inline, 24, 12);
    format!(
        "<svg width=\"24\" height=\"12\" viewBox=\"0 0 24 12\" aria-hidden=\"true\">{}</svg>",
        key(series.look, series.mark, (0, 6), &page).trim_end()
    )
}
