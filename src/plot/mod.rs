//! Figures: what is to be seen of a run ([`batch`], [`latency`], [`length`], [`resources`],
//! [`roofline`], [`requests`], [`precision`]) or of a history ([`trend`]), as data, and one way of
//! drawing it ([`svg`], [`png`](fn@png)).
//!
//! A [`Figure`] holds values in the units of its axes and knows no colours or pixels. A figure whose data a run lacks
//! is `None`.
//!
//! A new figure is a function in one of these files, its name in [`IDS`], and its place in a section of `report::lab`.

pub(crate) mod batch;
mod canvas;
pub(crate) mod card;
mod draw;
pub(crate) mod latency;
mod legend;
pub(crate) mod length;
#[cfg(test)]
pub(crate) mod placed;
mod png;
pub(crate) mod precision;
mod reach;
pub(crate) mod requests;
pub(crate) mod resources;
pub(crate) mod roofline;
mod style;
mod ticks;
pub(crate) mod trend;
mod words;

pub use canvas::Medium;
pub(crate) use canvas::escaped;
pub use draw::svg;
pub(crate) use legend::sample;
pub(crate) use png::{PngError, is_own_bitmap, png};
pub(crate) use style::css_variables;

/// Whether a drawing's text is that of a file that [`svg`] made.
pub(crate) fn is_file(svg: &str) -> bool {
    svg.starts_with("<svg xmlns=") && svg.contains(canvas::FONT)
}

use crate::analysis::words::range_of;
use crate::units;
use crate::view::Estimate;

/// Most series of a figure: more cannot be told apart.
pub const MOST_SERIES: usize = 8;

/// The name of every figure there is.
pub const IDS: [&str; 22] = [
    "throughput",
    "latency",
    "tradeoff",
    "tokens_per_second",
    "ttft_comparison",
    "latency_distribution",
    "latency_cumulative",
    "step_along_generation",
    "prompt_length_impact",
    "generation_length_impact",
    "context_depth_impact",
    "thread_impact",
    "memory",
    "roofline",
    "ttft_by_class",
    "request_latency",
    "prompt_length_requests",
    "temperature_impact",
    "concurrent_impact",
    "concurrent_latency",
    "requests_over_time",
    "precision_tradeoff",
];

/// The [`Series::look`] of what the others are held against.
pub const REFERENCE: usize = usize::MAX;

/// One figure.
#[derive(Debug, Clone, PartialEq)]
pub struct Figure {
    /// Its name in file names and links: `throughput`.
    pub id: &'static str,
    /// What it shows.
    pub title: String,
    /// How to read it, and which cells it shows.
    pub caption: String,
    /// Left to right.
    pub x: FigureAxis,
    /// Bottom to top.
    pub y: FigureAxis,
    /// What is drawn, the first at the bottom.
    pub series: Vec<Series>,
    /// Where bars are cut that reach much farther than the points are apart; `None` where none has to be.
    pub limits: Option<(f64, f64)>,
}

/// An axis.
#[derive(Debug, Clone, PartialEq)]
pub struct FigureAxis {
    /// What, and in which unit.
    pub title: String,
    /// How values are spread.
    pub scale: Scale,
    /// Where the ticks are; none for round values.
    pub at: Option<Vec<f64>>,
    /// Whether a linear axis begins at 0.
    pub from_zero: bool,
}

/// How values are spread along an axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// Equal distances are equal differences.
    Linear,
    /// Equal distances are equal ratios.
    Log,
    /// Values are days since 1970, and labels are dates.
    Date,
}

impl Scale {
    /// Whether the scale has a place for the value.
    fn takes(self, v: f64) -> bool {
        v.is_finite() && (self != Self::Log || v > 0.0)
    }

    /// To drawing coordinates.
    fn forth(self, v: f64) -> f64 {
        match self {
            Self::Linear | Self::Date => v,
            Self::Log => v.log2(),
        }
    }

    /// And back.
    fn back(self, v: f64) -> f64 {
        match self {
            Self::Linear | Self::Date => v,
            Self::Log => v.exp2(),
        }
    }
}

impl FigureAxis {
    /// A linear axis from 0.
    pub fn linear(title: impl Into<String>) -> Self {
        Self {
            title: title.into(),
            scale: Scale::Linear,
            at: None,
            from_zero: true,
        }
    }

    /// A logarithmic axis.
    pub fn log(title: impl Into<String>) -> Self {
        Self {
            scale: Scale::Log,
            ..Self::linear(title)
        }
    }

    /// An axis of days since 1970.
    pub fn date(title: impl Into<String>) -> Self {
        Self {
            scale: Scale::Date,
            ..Self::linear(title)
        }
    }

    /// With ticks at these values only: the measured ones.
    pub fn at(self, values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_unstable_by(f64::total_cmp);
        values.dedup();
        let at = Some(values);
        Self { at, ..self }
    }

    /// With ticks at these lengths or numbers; those that reach far are spread by ratio.
    fn spread(title: &str, at: Vec<f64>) -> Self {
        let least = at.iter().copied().fold(f64::INFINITY, f64::min);
        let most = at.iter().copied().fold(0.0, f64::max);
        let axis = match least > 0.0 && most / least >= 4.0 {
            true => Self::log(title),
            false => Self::linear(title),
        };
        axis.at(at.into_iter().map(f64::round))
    }
}

/// Values that belong together.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// Its name in the legend.
    pub name: String,
    /// How it is drawn.
    pub mark: Mark,
    /// Which colour and shape: equal numbers look alike in all figures of a report.
    pub look: usize,
    /// In the order in which they are joined.
    pub points: Vec<PlotPoint>,
}

/// How a series is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// Points joined by a line.
    Line,
    /// Points only.
    Points,
    /// A thin line without points.
    Thin,
    /// A dashed line without points: not measured, but computed.
    Dashed,
    /// A dashed line over the whole height at the place of each point, which is not drawn itself.
    Upright,
    /// A line that goes sideways, then up: a cumulative share.
    Stairs,
    /// Bars from 0 up: each point's `x` is the left edge of its bar and `until` the right one.
    Bars,
}

/// A point.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct PlotPoint {
    /// Place on the horizontal axis.
    pub x: f64,
    /// And on the vertical one.
    pub y: f64,
    /// Ends of the bar through the point, on the vertical axis.
    pub bar: Option<(f64, f64)>,
    /// A mark on that bar.
    pub notch: Option<f64>,
    /// Right edge, for [`Mark::Bars`].
    pub until: Option<f64>,
    /// What stands beside it, where there is room.
    pub label: Option<String>,
    /// Whether it is drawn hollow, beside the line that joins the others.
    pub is_hollow: bool,
    /// What the pointer is told; without it the point is not found by it.
    pub tip: Option<String>,
}

impl PlotPoint {
    /// A bare point.
    pub fn at(x: f64, y: f64) -> Self {
        Self {
            x,
            y,
            ..Self::default()
        }
    }

    /// With its interval, and what the pointer is told of both.
    fn estimated(x: f64, y: Estimate, place: &str, unit: &str) -> Self {
        let range = range_of(y.interval);
        let tip = format!("{place}: {} {unit}{range}", units::significant(y.value));
        Self {
            bar: y.interval.map(|i| (i.lo, i.hi)),
            ..Self::at(x, y.value).saying(tip)
        }
    }

    /// With what the pointer is told.
    pub fn saying(self, tip: impl Into<String>) -> Self {
        Self {
            tip: Some(tip.into()),
            ..self
        }
    }
}

impl Series {
    fn new(
        name: String,
        mark: Mark,
        look: usize,
        points: impl IntoIterator<Item = PlotPoint>,
    ) -> Self {
        let points = points.into_iter().collect();
        Self {
            name,
            mark,
            look,
            points,
        }
    }
}

/// Most points of a line or a cloud; more are thinned.
const MOST_POINTS: usize = 512;

/// Every n-th item, so that there are few enough.
fn thinned<T>(items: &[T]) -> impl Iterator<Item = &T> {
    items
        .iter()
        .step_by(items.len().div_ceil(MOST_POINTS).max(1))
}

/// The share of durations, which ascend, that are at most so long; the axis is in units of `unit_ns`.
fn cumulative(name: String, look: usize, sorted_ns: &[u64], what: &str, unit_ns: f64) -> Series {
    let n = sorted_ns.len();
    let every = n.div_ceil(MOST_POINTS).max(1);
    let shown = sorted_ns.iter().enumerate();
    let shown = shown.filter(|(at, ns)| **ns > 0 && ((at + 1) % every == 0 || at + 1 == n));
    let points = shown.map(|(at, ns)| {
        let share = (at + 1) as f64 / n as f64 * 100.0;
        let within = units::duration(*ns);
        let tip = format!("{name}: {share:.1}% of {what} within {within}");
        PlotPoint::at(*ns as f64 / unit_ns, share).saying(tip)
    });
    let points: Vec<PlotPoint> = points.collect();
    Series::new(name, Mark::Stairs, look, points)
}

impl Figure {
    /// The figure, unless it has nothing measured to show.
    fn of(
        id: &'static str,
        title: &str,
        caption: String,
        (x, y): (FigureAxis, FigureAxis),
        mut series: Vec<Series>,
    ) -> Option<Self> {
        series.retain(|s| !s.points.is_empty());
        let limits = reach::limits(&series, y.scale);
        let caption = match limits {
            Some(_) => caption + " An arrow: the bar reaches beyond the figure.",
            None => caption,
        };
        let is_measured = series.iter().any(|s| s.mark != Mark::Dashed);
        is_measured.then(|| Self {
            id,
            title: title.to_owned(),
            caption,
            x,
            y,
            series,
            limits,
        })
    }

    /// Whether more than one series has to be told apart.
    pub fn needs_legend(&self) -> bool {
        self.series.len() > 1
    }
}

#[cfg(test)]
mod tests;
