//! A figure as SVG: plotters lays out the axes and lines, this room's page writes them.

use plotters::chart::{ChartBuilder, ChartContext};
use plotters::coord::Shift;
use plotters::coord::cartesian::Cartesian2d;
use plotters::drawing::{DrawingArea, IntoDrawingArea as _};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{Color as _, FontDesc, FontFamily, FontStyle, ShapeStyle, TextStyle};

use super::canvas::{Canvas, Fine, Medium};
use super::legend::Legend;
use super::style::{
    ColourRole, FINE, FONT, HEIGHT, N_COLOURS, SMALL_FONT, WIDTH, fitted, text_width,
};
use super::ticks::DrawnAxis;
use super::{Figure, Mark, PlotPoint, Scale, Series};

type Chart<'a> = ChartContext<'a, Canvas, Cartesian2d<DrawnAxis, DrawnAxis>>;

/// Height of the title of a picture in a file.
const TITLE: i32 = 26;

/// The figure as a picture. One for a page has neither title nor legend: they are the page's own text.
pub fn svg(figure: &Figure, look: Medium) -> String {
    let legend = match look {
        Medium::File if figure.needs_legend() => Legend::of(figure),
        _ => Legend::default(),
    };
    let head = match look {
        Medium::File => TITLE + legend.height(),
        Medium::Inline => 0,
    };
    let page = Canvas::new(look, WIDTH, HEIGHT + head);
    if look == Medium::File {
        let title = fitted(&figure.title, FONT + 2, WIDTH - 16);
        let style = text_style(FONT + 2, ColourRole::Ink, HPos::Left, VPos::Center);
        put(&page, &title, &style, (8, TITLE / 2));
        legend.draw(&page, TITLE);
    }
    let root = page.clone().into_drawing_area();
    draw_chart(figure, &page, &root, head);
    drop(root);
    page.finish(&figure.in_words())
}

/// Room around the chart: above it, and at the left of the axis' title.
const MARGIN: i32 = 10;
/// Height of the horizontal axis with its labels and title.
const BELOW: i32 = 44;
/// Room for the vertical axis' title and marks, beside its labels.
const BESIDE: i32 = 26;
/// Room at the right where no label needs more.
const RIGHT: i32 = 16;

/// The axes made ready, and the room beside the chart: at its left and its right.
fn axes(figure: &Figure) -> (DrawnAxis, DrawnAxis, i32, i32) {
    let points = || figure.series.iter().flat_map(|s| &s.points);
    let xs = points().flat_map(|p| [Some(p.x), p.until]).flatten();
    let ys = points().flat_map(|p| {
        let bar = p.bar.map(|(lo, hi)| [lo, hi]).into_iter().flatten();
        std::iter::once(p.y).chain(bar.map(|end| figure.end_of(end).value))
    });
    let (x, y) = (DrawnAxis::of(&figure.x, xs), DrawnAxis::of(&figure.y, ys));
    let y = y.thinned_upwards(HEIGHT - MARGIN - BELOW - 6, FONT);
    let widest = y.ticks.iter().map(|t| text_width(&y.label(*t), FONT)).max();
    let left = widest.unwrap_or(0) + BESIDE;
    let length = WIDTH - left - 6 - RIGHT;
    let x = x.thinned(length, FONT);
    // Some units more: the shorter axis moves the label too.
    let right = RIGHT.max(x.beyond(length, FONT) + 4);
    // And it moves all labels together.
    let x = x.thinned(length + RIGHT - right, FONT);
    (x, y, left, right)
}

fn draw_chart(figure: &Figure, page: &Canvas, root: &DrawingArea<Canvas, Shift>, head: i32) {
    let (x, y, left, right) = axes(figure);
    let chart = ChartBuilder::on(root)
        .margin_top((head + MARGIN) * FINE)
        .margin_bottom(6 * FINE)
        .margin_left(6 * FINE)
        .margin_right(right * FINE)
        .x_label_area_size(BELOW * FINE)
        .y_label_area_size(left * FINE)
        .build_cartesian_2d(x.clone(), y.clone());
    // Cannot fail: the page writes into memory, and there is always room for its fixed sizes.
    let Ok(mut chart) = chart else { return };
    draw_mesh(&mut chart, figure, &x, &y);
    let n = figure.series.iter().filter(|s| has_bars(s)).count() as i32;
    let mut at = 0;
    let pencils = figure.series.iter().map(|series| {
        // Bars at one place are moved apart a little, so that none hides another.
        let aside = if has_bars(series) {
            at += 1;
            (2 * at - n - 1) * 2 * FINE
        } else {
            0
        };
        let pencil = Pencil {
            page,
            chart: &chart,
            figure,
            scales: (x.scale, y.scale),
            aside,
        };
        (pencil, series)
    });
    let pencils: Vec<(Pencil<'_, '_>, &Series)> = pencils.collect();
    // Every point is known before the first label finds its place.
    let mut labels = Labels::inside(&chart);
    for (pencil, series) in &pencils {
        let places = pencil.places(series).into_iter();
        let points = places.map(|(_, (x, y))| (x / FINE, y / FINE));
        labels.points.extend(points);
    }
    for (number, (pencil, series)) in pencils.iter().enumerate() {
        page.write(format_args!("<g data-s=\"{number}\">\n"));
        pencil.series(series);
        pencil.labels(series, &mut labels);
        page.write(format_args!("</g>\n"));
    }
}

fn has_bars(series: &Series) -> bool {
    series.points.iter().any(|p| p.bar.is_some())
}

fn draw_mesh(chart: &mut Chart<'_>, figure: &Figure, x: &DrawnAxis, y: &DrawnAxis) {
    let text = text_style(FONT, ColourRole::Ink, HPos::Center, VPos::Center);
    let nothing = ColourRole::Grid.rgb().mix(0.0);
    let (x_label, y_label) = (|v: &f64| x.label(*v), |v: &f64| y.label(*v));
    let (width, height) = chart.plotting_area().dim_in_pixel();
    let title = |text: &str, room: u32| fitted(text, FONT, room as i32 / FINE);
    // Cannot fail, as above.
    let _ = chart
        .configure_mesh()
        .bold_line_style(line(ColourRole::Grid, FINE * 7 / 10))
        .light_line_style(nothing)
        .axis_style(line(ColourRole::Ink, FINE))
        .set_all_tick_mark_size(4 * FINE)
        .x_labels(x.ticks.len().max(1))
        .y_labels(y.ticks.len().max(1))
        .x_label_formatter(&x_label)
        .y_label_formatter(&y_label)
        .label_style(text.clone())
        .axis_desc_style(text)
        .x_desc(title(&figure.x.title, width))
        .y_desc(title(&figure.y.title, height))
        .draw();
}

fn line(role: ColourRole, width: i32) -> ShapeStyle {
    ShapeStyle::from(role.rgb()).stroke_width(width as u32)
}

pub(super) fn text_style(font: i32, role: ColourRole, h: HPos, v: VPos) -> TextStyle<'static> {
    let font = FontDesc::new(
        FontFamily::SansSerif,
        f64::from(font * FINE),
        FontStyle::Normal,
    );
    TextStyle {
        color: role.rgb().to_backend_color(),
        pos: Pos::new(h, v),
        ..TextStyle::from(font)
    }
}

pub(super) fn put(page: &Canvas, text: &str, style: &TextStyle<'_>, (x, y): (i32, i32)) {
    use plotters_backend::DrawingBackend as _;
    // Cannot fail, as above.
    let _ = page.clone().draw_text(text, style, (x * FINE, y * FINE));
}

struct Pencil<'a, 'c> {
    page: &'a Canvas,
    chart: &'a Chart<'c>,
    figure: &'a Figure,
    scales: (Scale, Scale),
    /// How far the series is moved to the side.
    aside: i32,
}

impl Pencil<'_, '_> {
    fn place(&self, x: f64, y: f64) -> Option<(i32, i32)> {
        let (sx, sy) = self.scales;
        if !(sx.takes(x) && sy.takes(y)) {
            return None;
        }
        let (px, py) = self.chart.backend_coord(&(sx.forth(x), sy.forth(y)));
        Some((px + self.aside, py))
    }

    fn places<'s>(&self, series: &'s Series) -> Vec<(&'s PlotPoint, (i32, i32))> {
        let points = series.points.iter();
        points
            .filter_map(|p| Some((p, self.place(p.x, p.y)?)))
            .collect()
    }

    fn series(&self, series: &Series) {
        let colour = self.page.colour(ColourRole::Series(series.look));
        let places = self.places(series);
        match series.mark {
            Mark::Bars => return self.bars(series, &colour),
            Mark::Stairs => {
                let mut path: Vec<(i32, i32)> = Vec::new();
                for (_, (x, y)) in &places {
                    path.extend(path.last().map(|(_, before)| (*x, *before)));
                    path.push((*x, *y));
                }
                self.path(&path, &colour, 18, dashes(series.look));
            }
            Mark::Line => {
                let joined = places.iter().filter(|(point, _)| !point.is_hollow);
                let joined: Vec<(i32, i32)> = joined.map(|(_, place)| *place).collect();
                self.path(&joined, &colour, 18, dashes(series.look));
            }
            Mark::Thin => self.path(&of(&places), &colour, 12, ""),
            Mark::Dashed => self.path(&of(&places), &colour, 14, "5 4"),
            Mark::Upright => {
                let height = self.chart.plotting_area().get_pixel_range().1;
                for (_, (x, _)) in &places {
                    let ends = [(*x, height.start), (*x, height.end)];
                    self.path(&ends, &colour, 10, "5 4");
                }
            }
            Mark::Points => {}
        }
        for (point, place) in &places {
            self.whisker(point, *place, &colour);
        }
        for (point, place) in places {
            self.marker(series, point, place, &colour);
        }
    }

    fn path(&self, places: &[(i32, i32)], colour: &str, tenths: i32, dashes: &str) {
        if places.len() < 2 {
            return;
        }
        let points: Vec<String> = places
            .iter()
            .map(|(x, y)| format!("{},{}", Fine(*x), Fine(*y)))
            .collect();
        let dashes = match dashes {
            "" => String::new(),
            dashes => format!(" stroke-dasharray=\"{dashes}\""),
        };
        self.page.write(format_args!(
            "<polyline points=\"{}\" style=\"stroke:{colour}\" stroke-width=\"{}\" stroke-linejoin=\"round\" fill=\"none\"{dashes}/>\n",
            points.join(" "),
            Fine(tenths)
        ));
    }

    /// The bar through a point, its ends, and the notch on it. An end beyond the figure is an arrow.
    fn whisker(&self, point: &PlotPoint, (x, _): (i32, i32), colour: &str) {
        let Some((lo, hi)) = point.bar else { return };
        let at = |y: f64| self.place(point.x, y).map(|(_, y)| y);
        let (lo, hi) = (self.figure.end_of(lo), self.figure.end_of(hi));
        let (Some(low), Some(high)) = (at(lo.value), at(hi.value)) else {
            return;
        };
        let mut path = format!("M{0} {1}V{2}", Fine(x), Fine(low), Fine(high));
        for (end, y, inwards) in [(lo, low, "-4.5"), (hi, high, "4.5")] {
            let (left, y) = (Fine(x - 3 * FINE), Fine(y));
            path.push_str(&match end.is_cut {
                // From the left barb to the tip to the right barb.
                true => format!("M{} {y}m-3 {inwards}L{0} {y}m3 {inwards}L{0} {y}", Fine(x)),
                false => format!("M{left} {y}h6"),
            });
        }
        if let Some(y) = point.notch.and_then(at) {
            path.push_str(&format!("M{} {}h6", Fine(x - 3 * FINE), Fine(y)));
        }
        self.page.write(format_args!(
            "<path d=\"{path}\" style=\"stroke:{colour}\" stroke-width=\"1.2\" fill=\"none\"/>\n"
        ));
    }

    fn marker(&self, series: &Series, point: &PlotPoint, (x, y): (i32, i32), colour: &str) {
        let (px, py) = (Fine(x), Fine(y));
        if let Some(tip) = &point.tip {
            let tip = super::escaped(tip);
            self.page.write(format_args!(
                "<g data-x=\"{px}\" data-y=\"{py}\" data-tip=\"{tip}\">"
            ));
        }
        if matches!(series.mark, Mark::Line | Mark::Points) {
            let filled = shape(series.look, (x, y), colour);
            let paper = self.page.colour(ColourRole::Background);
            let shape = match point.is_hollow {
                true => filled.replace(
                    &format!("style=\"fill:{colour}\""),
                    &format!("style=\"fill:{paper};stroke:{colour}\" stroke-width=\"1.5\""),
                ),
                false => filled,
            };
            self.page.write(format_args!("{shape}"));
        }
        if point.tip.is_some() {
            self.page.write(format_args!("</g>\n"));
        }
    }

    fn bars(&self, series: &Series, colour: &str) {
        for point in &series.points {
            let Some(until) = point.until else { continue };
            let corners = (self.place(point.x, point.y), self.place(until, 0.0));
            let (Some((left, top)), Some((right, bottom))) = corners else {
                continue;
            };
            let tip = point.tip.as_deref().map(super::escaped).unwrap_or_default();
            self.page.write(format_args!(
                "<rect data-x=\"{}\" data-y=\"{}\" data-tip=\"{tip}\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" \
                 style=\"fill:{colour};stroke:{colour}\" fill-opacity=\"0.35\"/>\n",
                Fine((left + right) / 2),
                Fine(top),
                Fine(left),
                Fine(top),
                Fine((right - left).max(2)),
                Fine((bottom - top).max(0)),
            ));
        }
    }

    /// Labels beside points, where they touch neither each other nor the frame.
    fn labels(&self, series: &Series, labels: &mut Labels) {
        for (point, (x, y)) in self.places(series) {
            let Some(label) = &point.label else { continue };
            let Some((x, y)) = labels.room(label, (x / FINE, y / FINE)) else {
                continue;
            };
            let style = text_style(SMALL_FONT, ColourRole::Ink, HPos::Left, VPos::Top);
            put(self.page, label, &style, (x, y));
        }
    }
}

fn of(places: &[(&PlotPoint, (i32, i32))]) -> Vec<(i32, i32)> {
    places.iter().map(|(_, place)| *place).collect()
}

/// Dashes tell series apart once the colours begin again.
pub(super) fn dashes(look: usize) -> &'static str {
    if look < N_COLOURS { "" } else { "7 3" }
}

/// A shape for each series, so that colour is not all that tells them apart.
pub(super) fn shape(look: usize, (x, y): (i32, i32), colour: &str) -> String {
    let (px, py) = (Fine(x), Fine(y));
    let d = match look % 4 {
        0 => return format!("<circle cx=\"{px}\" cy=\"{py}\" r=\"3.6\" style=\"fill:{colour}\"/>"),
        1 => "m-3.3 -3.3h6.6v6.6h-6.6z",
        2 => "m0 -4.4l4.4 7.6h-8.8z",
        _ => "m0 -4.8l4.8 4.8l-4.8 4.8l-4.8 -4.8z",
    };
    format!("<path d=\"M{px} {py}{d}\" style=\"fill:{colour}\"/>")
}

/// Where labels and points are already, and the frame that labels stay inside.
#[derive(Debug)]
struct Labels {
    /// Left, top, right and bottom.
    frame: (i32, i32, i32, i32),
    taken: Vec<(i32, i32, i32, i32)>,
    points: Vec<(i32, i32)>,
}

impl Labels {
    fn inside(chart: &Chart<'_>) -> Self {
        let (x, y) = chart.plotting_area().get_pixel_range();
        let [left, right, top, bottom] = [x.start, x.end, y.start, y.end].map(|at| at / FINE);
        Self {
            frame: (left, top, right, bottom),
            taken: Vec::new(),
            points: Vec::new(),
        }
    }

    /// The upper left corner of a free place beside a point.
    fn room(&mut self, label: &str, (x, y): (i32, i32)) -> Option<(i32, i32)> {
        let (w, h) = (text_width(label, SMALL_FONT), SMALL_FONT);
        let corners = [
            (x + 6, y - h - 3),
            (x - w - 6, y - h - 3),
            (x + 6, y + 4),
            (x - w - 6, y + 4),
        ];
        let free = |(left, top): &(i32, i32)| {
            let (right, bottom) = (left + w, top + h);
            let frame = self.frame;
            // A label below its letters' line needs a little more, and one at the right edge may use the margin.
            let inside = *left > frame.0 + 2
                && right < WIDTH - 4
                && *top > frame.1 - 6
                && bottom + 3 < frame.3;
            let touches = |&(l, t, r, b): &(i32, i32, i32, i32)| {
                *left < r + 2 && l < right + 2 && *top < b + 2 && t < bottom + 2
            };
            let covers = |&(px, py): &(i32, i32)| {
                (*left - 2..right + 2).contains(&px) && (*top - 2..bottom + 2).contains(&py)
            };
            inside && !self.taken.iter().any(touches) && !self.points.iter().any(covers)
        };
        let (left, top) = corners.into_iter().find(free)?;
        self.taken.push((left, top, left + w, top + h));
        Some((left, top))
    }
}
