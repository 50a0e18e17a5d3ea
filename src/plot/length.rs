//! Figures against lengths and threads: one axis at a time, with a line for each model and batch.

use super::batch::{series_of, with_interval};
use super::{Axis, Figure, MOST_SERIES};
use crate::analysis::curve::{Along, Curve, long_curves, main_curves};
use crate::metric::Metric;
use crate::view::{CellView, RunView};

fn shown(view: &RunView, along: Along) -> Vec<Curve<'_>> {
    main_curves(long_curves(view, along), along, MOST_SERIES)
}

/// The axis, with ticks where cells are. Lengths that reach far are spread by ratio.
fn axis(title: &str, along: Along, curves: &[Curve<'_>]) -> Axis {
    let values: Vec<u32> = curves
        .iter()
        .flat_map(|c| &c.cells)
        .map(|c| along.of(&c.case))
        .collect();
    let least = values.iter().min().copied().unwrap_or(0);
    let most = values.iter().max().copied().unwrap_or(0);
    let axis = if least > 0 && most / least >= 4 {
        Axis::log(title)
    } else {
        Axis::linear(title)
    };
    axis.at(values.into_iter().map(f64::from))
}

fn figure(
    view: &RunView,
    along: Along,
    (id, title, caption): (&'static str, &str, &str),
    (x, y): (&str, &str),
    value: impl Fn(&CellView) -> Option<(f64, Option<crate::stats::Interval>)>,
) -> Option<Figure> {
    let curves = shown(view, along);
    let unit = y.rsplit(", ").next().unwrap_or_default();
    let series = series_of(&curves, |curve, cell| {
        let (y, interval) = value(cell)?;
        let x = along.of(&cell.case);
        let place = format!("{}, {} {x}", curve.label, along.name());
        Some(with_interval(f64::from(x), y, interval, &place, unit))
    });
    Figure {
        id,
        title: title.to_owned(),
        caption: caption.to_owned(),
        x: axis(x, along, &curves),
        y: Axis::log(y),
        series,
    }
    .unless_empty()
}

fn ttft_s(cell: &CellView) -> Option<(f64, Option<crate::stats::Interval>)> {
    let interval = cell.interval(Metric::TtftNs).map(|i| i.map(|ns| ns / 1e9));
    Some((cell.ns(Metric::TtftNs)? as f64 / 1e9, interval))
}

fn step_ms(cell: &CellView) -> Option<(f64, Option<crate::stats::Interval>)> {
    let interval = cell.interval(Metric::StepNs).map(|i| i.map(|ns| ns / 1e6));
    Some((cell.median_step_ns()? as f64 / 1e6, interval))
}

/// Time to first token against the prompt's length.
pub fn prompt(view: &RunView) -> Option<Figure> {
    let names = (
        "prompt_length_impact",
        "Impact of the prompt's length",
        "Time to first token; bars: 95% interval over processes.",
    );
    let axes = ("prompt tokens of each sequence", "TTFT, s");
    figure(view, Along::Prompt, names, axes, ttft_s)
}

/// The step against the generation's length.
pub fn generation(view: &RunView) -> Option<Figure> {
    let names = (
        "generation_length_impact",
        "Impact of the generation's length",
        "Median step; bars: 95% interval over processes. Longer generations attend to more tokens.",
    );
    let axes = ("generated tokens of each sequence", "median step, ms");
    figure(view, Along::Gen, names, axes, step_ms)
}

/// The step against the tokens that are in the cache beforehand.
pub fn depth(view: &RunView) -> Option<Figure> {
    let names = (
        "context_depth_impact",
        "Impact of the context's depth",
        "Median step; bars: 95% interval over processes.",
    );
    let axes = ("tokens in each cache beforehand", "median step, ms");
    figure(view, Along::Depth, names, axes, step_ms)
}

/// Throughput against threads.
pub fn threads(view: &RunView) -> Option<Figure> {
    let names = (
        "thread_impact",
        "Impact of threads",
        "All sequences together; bars: 95% interval over processes.",
    );
    let axes = ("engine threads", "decode, tokens/s");
    figure(view, Along::Threads, names, axes, |c| {
        Some((
            c.decode_tokens_per_s()?,
            c.interval(Metric::DecodeTokensPerS),
        ))
    })
}
