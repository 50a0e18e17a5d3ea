//! Figures against lengths and threads: one axis at a time, with a line for each model and batch.

use super::batch::{estimates, in_units, ttft_s};
use super::{Figure, FigureAxis, MOST_SERIES};
use crate::analysis::curve::{Along, long_curves, main_curves};
use crate::metric::Metric;
use crate::view::{CellView, Estimate, RunView};

fn figure(
    view: &RunView,
    along: Along,
    (id, title, caption): (&'static str, &str, &str),
    (x, y): (&str, &str),
    value: impl Fn(&CellView) -> Option<Estimate>,
) -> Option<Figure> {
    let curves = main_curves(long_curves(view, along), along, MOST_SERIES);
    let unit = y.rsplit(", ").next().unwrap_or_default();
    let series = estimates(&curves, along, unit, value);
    let values = along.values(&curves).into_iter().map(f64::from);
    let axes = (FigureAxis::spread(x, values.collect()), FigureAxis::log(y));
    Figure::of(id, title, caption.to_owned(), axes, series)
}

fn step_ms(cell: &CellView) -> Option<Estimate> {
    in_units(cell, Metric::StepNs, 1e6)
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
        c.estimate(Metric::DecodeTokensPerS)
    })
}
