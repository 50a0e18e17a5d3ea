//! Figures against the batch: throughput, the step, what one user sees, the time to the first token, and one against
//! the other.

use super::{Figure, FigureAxis, MOST_SERIES, Mark, PlotPoint, REFERENCE, Series};
use crate::analysis::choice::comparable;
use crate::analysis::curve::{Along, Curve, long_curves, main_curves};
use crate::analysis::findings::work;
use crate::analysis::theory::FittedCurve;
use crate::metric::Metric;
use crate::units;
use crate::view::{CellView, Estimate, RunView};

/// The curves along the batch that figures show.
pub fn shown(view: &RunView) -> Vec<Curve<'_>> {
    let mut curves = comparable(view);
    curves.retain(|c| c.cells.len() > 1);
    main_curves(curves, Along::Batch, MOST_SERIES)
}

/// What a caption says when not every curve is shown.
pub(super) fn of_all(view: &RunView, shown: &[Curve<'_>]) -> String {
    let (n, n_shown) = (long_curves(view, Along::Batch).len(), shown.len());
    let with = shown.first().map(|c| format!(" with {}", work(c.case())));
    let with = with.unwrap_or_default();
    match n > n_shown {
        true => format!(" {n_shown} of {n} curves, those{with}; cells.csv has all."),
        false => String::new(),
    }
}

/// A figure of the curves against the batch.
fn against_batch(
    view: &RunView,
    curves: &[Curve<'_>],
    (id, title, caption): (&'static str, &str, &str),
    y: &str,
    series: Vec<Series>,
) -> Option<Figure> {
    let caption = format!("{caption}{}", of_all(view, curves));
    Figure::of(
        id,
        title,
        caption,
        (batches(curves), FigureAxis::log(y)),
        series,
    )
}

/// Tokens per second of all sequences against the batch, with the ideal and what fits say.
pub fn throughput(view: &RunView, fits: &[FittedCurve]) -> Option<Figure> {
    let curves = shown(view);
    let mut series = estimates(&curves, Along::Batch, "tokens/s", |c| {
        c.estimate(Metric::DecodeTokensPerS)
    });
    let fitted = curves.iter().enumerate().filter_map(|(look, curve)| {
        let fit = fits.iter().find(|f| f.label == curve.label)?;
        let points = fit.points.iter().map(|(x, y)| PlotPoint::at(*x, *y));
        let name = format!("fit: {}, {}", fit.fit.form.formula(), curve.label);
        Some(Series::new(name, Mark::Dashed, look, points))
    });
    series.extend(fitted);
    series.extend(ideal(&curves));
    let names = (
        "throughput",
        "Throughput against batch",
        "All sequences together; bars: 95% interval over processes. Ideal: tokens/s grow in proportion to the batch.",
    );
    against_batch(
        view,
        &curves,
        names,
        "decode tokens/s, all sequences",
        series,
    )
}

/// The straight line that the fastest single sequence would make, as far as the figure stays readable.
fn ideal(curves: &[Curve<'_>]) -> Option<Series> {
    let point = |c: &&CellView| Some((f64::from(c.case.n_seq), c.decode_tokens_per_s()?));
    let cells = || curves.iter().flat_map(|c| &c.cells);
    let starts = curves.iter().filter_map(|c| point(c.cells.first()?));
    let (x, y) = starts.max_by(|(ax, ay), (bx, by)| (ay / ax).total_cmp(&(by / bx)))?;
    let most = cells().filter_map(|c| c.decode_tokens_per_s());
    let most = most.fold(0.0, f64::max);
    let largest = cells().map(|c| f64::from(c.case.n_seq));
    let until = (x * most * 1.5 / y).min(largest.fold(0.0, f64::max));
    let points = [PlotPoint::at(x, y), PlotPoint::at(until, y * until / x)];
    (until > x).then(|| Series::new("ideal".to_owned(), Mark::Dashed, REFERENCE, points))
}

/// The step at its median, 90th and 99th percentile against the batch.
pub fn latency(view: &RunView) -> Option<Figure> {
    let curves = shown(view);
    let series = series_of(&curves, |curve, cell| {
        let (steps, median) = (cell.step_ns, cell.median_step_ns()?);
        let names = [
            ("p50", Some(median)),
            ("p90", steps.p90),
            ("p99", steps.p99),
        ];
        let said = names.into_iter();
        let said = said.filter_map(|(name, ns)| Some(format!("{name} {}", units::duration(ns?))));
        let said = said.collect::<Vec<_>>().join(", ");
        let worst = steps.p99.or(steps.p90);
        Some(PlotPoint {
            bar: worst.map(|w| (milliseconds(median), milliseconds(w.max(median)))),
            notch: steps.p90.map(milliseconds),
            ..at_batch(curve, cell, milliseconds(median), &said)
        })
    });
    let names = (
        "latency",
        "Latency against batch",
        "The step: the gap between two tokens of a sequence. Points: median; bars: up to p99 with a notch at p90, \
         or up to p90 where steps are too few.",
    );
    against_batch(view, &curves, names, "step, ms", series)
}

/// Latency against throughput: what more tokens for all cost each.
pub fn tradeoff(view: &RunView) -> Option<Figure> {
    let curves = shown(view);
    let series = series_of(&curves, |curve, cell| {
        let (rate, step) = (cell.decode_tokens_per_s()?, cell.median_step_ns()?);
        let (tokens, duration) = (units::significant(rate), units::duration(step));
        let said = format!("{tokens} tokens/s, step {duration}");
        Some(PlotPoint {
            x: rate,
            label: Some(cell.case.n_seq.to_string()),
            ..at_batch(curve, cell, milliseconds(step), &said)
        })
    });
    let caption = format!(
        "A point for each batch, labelled with it. Down and to the right is better.{}",
        of_all(view, &curves)
    );
    let axes = (
        FigureAxis::log("decode tokens/s, all sequences"),
        FigureAxis::log("median step, ms"),
    );
    Figure::of(
        "tradeoff",
        "Latency against throughput",
        caption,
        axes,
        series,
    )
}

/// Tokens per second of one sequence against the batch.
pub fn per_sequence(view: &RunView) -> Option<Figure> {
    let curves = shown(view);
    let series = estimates(&curves, Along::Batch, "tokens/s", |c| {
        let all = c.estimate(Metric::DecodeTokensPerS)?;
        let n_seq = f64::from(c.case.n_seq.max(1));
        Some(Estimate {
            value: all.value / n_seq,
            interval: all.interval.map(|i| i.map(|v| v / n_seq)),
        })
    });
    let names = (
        "tokens_per_second",
        "Tokens per second of one user",
        "What each sequence gets; bars: 95% interval over processes.",
    );
    against_batch(
        view,
        &curves,
        names,
        "decode tokens/s, one sequence",
        series,
    )
}

/// Time to the first token against the batch.
pub fn ttft(view: &RunView) -> Option<Figure> {
    let curves = shown(view);
    let series = estimates(&curves, Along::Batch, "s", ttft_s);
    let prompts = Along::Prompt.values(&curves);
    let prompts: Vec<String> = prompts.iter().map(u32::to_string).collect();
    let caption = format!(
        "Until the last sequence of the batch has its first token, all prompts of {} tokens given at once; bars: \
         95% interval over processes.",
        prompts.join(", "),
    );
    let names = (
        "ttft_comparison",
        "Time to first token against batch",
        caption.as_str(),
    );
    against_batch(view, &curves, names, "TTFT, s", series)
}

pub(super) fn ttft_s(cell: &CellView) -> Option<Estimate> {
    in_units(cell, Metric::TtftNs, 1e9)
}

/// A duration, whole nanoseconds over those of the unit.
pub(super) fn in_units(cell: &CellView, metric: Metric, unit_ns: f64) -> Option<Estimate> {
    Some(Estimate {
        value: cell.ns(metric)? as f64 / unit_ns,
        interval: cell.interval(metric).map(|i| i.map(|ns| ns / unit_ns)),
    })
}

impl Along {
    /// The values that some curves have, ascending.
    pub(super) fn values(self, curves: &[Curve<'_>]) -> Vec<u32> {
        let cells = curves.iter().flat_map(|c| &c.cells);
        let mut values: Vec<u32> = cells.map(|c| self.of(&c.case)).collect();
        values.sort_unstable();
        values.dedup();
        values
    }
}

pub(super) fn batches(curves: &[Curve<'_>]) -> FigureAxis {
    let values = Along::Batch.values(curves).into_iter().map(f64::from);
    FigureAxis::log("batch: sequences decoded together").at(values)
}

fn milliseconds(ns: u64) -> f64 {
    ns as f64 / 1e6
}

/// A point against the batch with what is said of it.
pub(super) fn at_batch(curve: &Curve<'_>, cell: &CellView, y: f64, said: &str) -> PlotPoint {
    let n_seq = cell.case.n_seq;
    let tip = format!("{}, batch {n_seq}: {said}", curve.label);
    PlotPoint::at(f64::from(n_seq), y).saying(tip)
}

/// A series for each curve, with a point for each cell that has one.
pub(super) fn series_of(
    curves: &[Curve<'_>],
    point: impl Fn(&Curve<'_>, &CellView) -> Option<PlotPoint>,
) -> Vec<Series> {
    let one = |(look, curve): (usize, &Curve<'_>)| {
        let points = curve.cells.iter().filter_map(|c| point(curve, c));
        Series::new(curve.label.clone(), Mark::Line, look, points)
    };
    curves.iter().enumerate().map(one).collect()
}

/// The same of a value with its interval, against an axis.
pub(super) fn estimates(
    curves: &[Curve<'_>],
    along: Along,
    unit: &str,
    value: impl Fn(&CellView) -> Option<Estimate>,
) -> Vec<Series> {
    series_of(curves, |curve, cell| {
        let x = along.of(&cell.case);
        let place = format!("{}, {} {x}", curve.label, along.name());
        Some(PlotPoint::estimated(
            f64::from(x),
            value(cell)?,
            &place,
            unit,
        ))
    })
}
