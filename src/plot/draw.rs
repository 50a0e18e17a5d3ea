//! A figure as SVG.

use super::canvas::{Anchor, Canvas, Fine, Medium, joined};
use super::legend::Legend;
use super::style::{ColourRole, FINE, FONT, HEIGHT, N_COLOURS, SMALL_FONT, WIDTH, text_width};
use super::ticks::DrawnAxis;
use super::{Figure, Mark, PlotPoint, Series};
use crate::text::{cut_middle, plain};

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
    let mut page = Canvas::new(look, WIDTH, HEIGHT + head);
    if look == Medium::File {
        let title = cut_middle(&plain(&figure.title), 60);
        let place = (8 * FINE, TITLE / 2 * FINE);
        page.text(&title, FONT + 2, Anchor::LEFT_MIDDLE, place, None);
        legend.draw(&mut page, TITLE);
    }
    draw_chart(figure, &mut page, head);
    page.finish(&figure.title)
}

fn draw_chart(figure: &Figure, page: &mut Canvas, head: i32) {
    let frame = Frame::of(figure, head);
    frame.draw(figure, page);
    let n = figure.series.iter().filter(|s| has_bars(s)).count() as i32;
    let mut labels = Labels::default();
    let mut at = 0;
    for (number, series) in figure.series.iter().enumerate() {
        // Bars at one place are moved apart a little, so that none hides another.
        let aside = if has_bars(series) {
            at += 1;
            (2 * at - n - 1) * 2 * FINE
        } else {
            0
        };
        page.write(format_args!("<g data-s=\"{number}\">\n"));
        let mut pencil = Pencil {
            page: &mut *page,
            frame: &frame,
            aside,
        };
        pencil.series(series);
        pencil.labels(series, &mut labels);
        page.write(format_args!("</g>\n"));
    }
}

/// The axes, with the first and the last place of each.
struct Frame {
    x: DrawnAxis,
    y: DrawnAxis,
    across: (i32, i32),
    /// From the bottom up.
    up: (i32, i32),
}

impl Frame {
    fn of(figure: &Figure, head: i32) -> Self {
        let points = || figure.series.iter().flat_map(|s| &s.points);
        let xs = points().flat_map(|p| [Some(p.x), p.until]).flatten();
        let ys = points().flat_map(|p| {
            let bar = p.bar.map(|(lo, hi)| [lo, hi]).into_iter().flatten();
            std::iter::once(p.y).chain(bar)
        });
        let x = DrawnAxis::of(&figure.x, xs);
        let y = DrawnAxis::of(&figure.y, ys);
        let widest = y.ticks.iter().map(|t| text_width(&y.label(*t), FONT)).max();
        let left = widest.unwrap_or(0) + 26;
        Self {
            x: x.thinned(WIDTH - left - 22, FONT),
            y,
            across: ((left + 6) * FINE, (WIDTH - 16) * FINE - 1),
            up: ((HEIGHT + head - 50) * FINE - 1, (head + 10) * FINE),
        }
    }

    fn place(&self, x: f64, y: f64) -> Option<(i32, i32)> {
        let (sx, sy) = (self.x.scale, self.y.scale);
        let is_inside = sx.takes(x) && sy.takes(y);
        is_inside.then(|| {
            let x = self.x.place(sx.forth(x), self.across);
            (x, self.y.place(sy.forth(y), self.up))
        })
    }

    /// The axes with their titles and ticks, and the lines behind the data.
    fn draw(&self, figure: &Figure, page: &mut Canvas) {
        let ((left, right), (bottom, top)) = (self.across, self.up);
        let middle = ((left + right + 1) / 2, (bottom + top + 1) / 2);
        let place = (6 * FINE, middle.1);
        page.text(
            &figure.y.title,
            FONT,
            Anchor::CENTRE_BELOW,
            place,
            Some(270),
        );
        let place = (middle.0, bottom + 1 + 44 * FINE);
        page.text(&figure.x.title, FONT, Anchor::CENTRE_ABOVE, place, None);
        let xs: Vec<i32> = self.x.places(self.across);
        let ys: Vec<i32> = self.y.places(self.up);
        let (grid, ink) = (ColourRole::Grid, ColourRole::Ink);
        for x in &xs {
            page.line(&[(*x, bottom), (*x, top)], grid, FINE * 7 / 10);
        }
        for y in &ys {
            page.line(&[(left, *y), (right, *y)], grid, FINE * 7 / 10);
        }
        let tick = 4 * FINE;
        page.line(&[(left - 1, top), (left - 1, bottom)], ink, FINE);
        for (y, t) in ys.into_iter().zip(&self.y.ticks) {
            let beside = (left - 2 * tick, y);
            page.text(&self.y.label(*t), FONT, Anchor::RIGHT_MIDDLE, beside, None);
            page.line(&[(left - 1 - tick, y), (left - 1, y)], ink, FINE);
        }
        page.line(&[(left, bottom + 1), (right, bottom + 1)], ink, FINE);
        for (x, t) in xs.into_iter().zip(&self.x.ticks) {
            let below = (x, bottom + 1 + 2 * tick);
            page.text(&self.x.label(*t), FONT, Anchor::CENTRE_BELOW, below, None);
            page.line(&[(x, bottom + 1), (x, bottom + 1 + tick)], ink, FINE);
        }
    }
}

fn has_bars(series: &Series) -> bool {
    series.points.iter().any(|p| p.bar.is_some())
}

/// Draws a series.
struct Pencil<'a> {
    page: &'a mut Canvas,
    frame: &'a Frame,
    /// How far the series is moved to the side.
    aside: i32,
}

impl Pencil<'_> {
    fn place(&self, x: f64, y: f64) -> Option<(i32, i32)> {
        let (x, y) = self.frame.place(x, y)?;
        Some((x + self.aside, y))
    }

    fn places<'s>(&self, series: &'s Series) -> Vec<(&'s PlotPoint, (i32, i32))> {
        let points = series.points.iter();
        points
            .filter_map(|p| Some((p, self.place(p.x, p.y)?)))
            .collect()
    }

    fn series(&mut self, series: &Series) {
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
            Mark::Line => self.path(&of(&places), &colour, 18, dashes(series.look)),
            Mark::Thin => self.path(&of(&places), &colour, 12, ""),
            Mark::Dashed => self.path(&of(&places), &colour, 14, "5 4"),
            Mark::Points => {}
        }
        for (point, place) in &places {
            self.whisker(point, *place, &colour);
        }
        for (point, place) in places {
            self.marker(series, point, place, &colour);
        }
    }

    fn path(&mut self, places: &[(i32, i32)], colour: &str, tenths: i32, dashes: &str) {
        if places.len() < 2 {
            return;
        }
        let dashes = match dashes {
            "" => String::new(),
            dashes => format!(" stroke-dasharray=\"{dashes}\""),
        };
        self.page.write(format_args!(
            "<polyline points=\"{}\" style=\"stroke:{colour}\" stroke-width=\"{}\" stroke-linejoin=\"round\" fill=\"none\"{dashes}/>\n",
            joined(places),
            Fine(tenths)
        ));
    }

    /// The bar through a point, its ends, and the notch on it.
    fn whisker(&mut self, point: &PlotPoint, (x, _): (i32, i32), colour: &str) {
        let Some((lo, hi)) = point.bar else { return };
        let at = |y: f64| self.place(point.x, y).map(|(_, y)| y);
        let (Some(low), Some(high)) = (at(lo), at(hi)) else {
            return;
        };
        let mut path = format!("M{0} {1}V{2}", Fine(x), Fine(low), Fine(high));
        for end in [Some(low), Some(high), point.notch.and_then(at)] {
            let Some(y) = end else { continue };
            path.push_str(&format!("M{} {}h6", Fine(x - 3 * FINE), Fine(y)));
        }
        self.page.write(format_args!(
            "<path d=\"{path}\" style=\"stroke:{colour}\" stroke-width=\"1.2\" fill=\"none\"/>\n"
        ));
    }

    fn marker(&mut self, series: &Series, point: &PlotPoint, (x, y): (i32, i32), colour: &str) {
        let (px, py) = (Fine(x), Fine(y));
        if let Some(tip) = &point.tip {
            let tip = super::escaped(tip);
            self.page.write(format_args!(
                "<g data-x=\"{px}\" data-y=\"{py}\" data-tip=\"{tip}\">"
            ));
        }
        if matches!(series.mark, Mark::Line | Mark::Points) {
            self.page
                .write(format_args!("{}", shape(series.look, (x, y), colour)));
        }
        if point.tip.is_some() {
            self.page.write(format_args!("</g>\n"));
        }
    }

    fn bars(&mut self, series: &Series, colour: &str) {
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
    fn labels(&mut self, series: &Series, labels: &mut Labels) {
        for (point, (x, y)) in self.places(series) {
            labels.points.push((x / FINE, y / FINE));
            let Some(label) = &point.label else { continue };
            let Some((x, y)) = labels.room(label, (x / FINE, y / FINE)) else {
                continue;
            };
            let place = (x * FINE, y * FINE);
            self.page
                .text(label, SMALL_FONT, Anchor::LEFT_BELOW, place, None);
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

/// Where labels and points are already.
#[derive(Debug, Default)]
struct Labels {
    taken: Vec<(i32, i32, i32, i32)>,
    points: Vec<(i32, i32)>,
}

impl Labels {
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
            let inside = *left > 40 && right < WIDTH - 4 && *top > 2;
            let touches = |&(l, t, r, b): &(i32, i32, i32, i32)| {
                *left < r && l < right && *top < b && t < bottom
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
