//! Figures: what is to be seen of a run ([`batch`], [`latency`], [`length`], [`resources`],
//! [`roofline`], [`requests`]), as data, and one way of
//! drawing it ([`svg`], [`png`](fn@png)).
//!
//! A [`Figure`] holds values in the units of its axes and knows no colours or pixels. A figure whose data a run lacks
//! is none at all.

pub mod batch;
mod canvas;
mod draw;
pub mod latency;
mod legend;
pub mod length;
mod png;
pub mod requests;
pub mod resources;
pub mod roofline;
mod style;
mod ticks;

pub use canvas::Look;
pub(crate) use canvas::escaped;
pub use draw::svg;
pub(crate) use legend::sample;
pub use png::{PngError, png};
pub use style::css_variables;

/// Whether a drawing's text is that of a file that [`svg`] made.
pub(crate) fn is_file(svg: &str) -> bool {
    svg.starts_with("<svg xmlns=") && svg.contains(canvas::FONT)
}

/// Most series of a figure: more cannot be told apart.
pub const MOST_SERIES: usize = 8;

/// The name of every figure there is.
pub const IDS: [&str; 21] = [
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
    pub x: Axis,
    /// Bottom to top.
    pub y: Axis,
    /// What is drawn, the first at the bottom.
    pub series: Vec<Series>,
}

/// An axis.
#[derive(Debug, Clone, PartialEq)]
pub struct Axis {
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
}

impl Scale {
    /// Whether the scale has a place for the value.
    fn takes(self, v: f64) -> bool {
        v.is_finite() && (self == Self::Linear || v > 0.0)
    }

    /// To drawing coordinates.
    fn forth(self, v: f64) -> f64 {
        match self {
            Self::Linear => v,
            Self::Log => v.log2(),
        }
    }

    /// And back.
    fn back(self, v: f64) -> f64 {
        match self {
            Self::Linear => v,
            Self::Log => v.exp2(),
        }
    }
}

impl Axis {
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

    /// With ticks at these values only: the measured ones.
    pub fn at(self, values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_unstable_by(f64::total_cmp);
        values.dedup();
        Self {
            at: Some(values),
            ..self
        }
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
    pub points: Vec<Point>,
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
    /// A line that goes sideways, then up: a cumulative share.
    Stairs,
    /// Bars from 0 up: each point's `x` is the left edge of its bar and `until` the right one.
    Bars,
}

/// A point.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Point {
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
    /// What the pointer is told; without it the point is not found by it.
    pub tip: Option<String>,
}

impl Point {
    /// A bare point.
    pub fn at(x: f64, y: f64) -> Self {
        Self {
            x,
            y,
            ..Self::default()
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

impl Figure {
    /// The figure, unless it has nothing to show.
    pub fn unless_empty(mut self) -> Option<Self> {
        self.series.retain(|s| !s.points.is_empty());
        let measured = |s: &Series| s.mark != Mark::Dashed;
        self.series.iter().any(measured).then_some(self)
    }

    /// Whether more than one series has to be told apart.
    pub fn needs_legend(&self) -> bool {
        self.series.len() > 1
    }
}

#[cfg(test)]
mod tests;
