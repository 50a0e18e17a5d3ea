//! Figures against the batch: throughput, the step, what one user sees, the time to the first token, and one against
//! the other.

use super::{Axis, Figure, MOST_SERIES, Mark, Point, REFERENCE, Series};
use crate::analysis::choice::comparable;
use crate::analysis::curve::{Along, Curve, long_curves, main_curves};
use crate::analysis::theory::Fitted;
use crate::metric::Metric;
use crate::stats::Interval;
use crate::units;
use crate::view::{CellView, RunView};

/// Title of the axis of batches.
const BATCH: &str = "batch: sequences decoded together";

/// The curves along the batch that figures show.
pub fn shown(view: &RunView) -> Vec<Curve<'_>> {
    let mut curves = comparable(view);
    curves.retain(|c| c.cells.len() > 1);
    main_curves(curves, Along::Batch, MOST_SERIES)
}

/// What a caption says when not every curve is shown.
pub fn of_all(view: &RunView, shown: &[Curve<'_>]) -> String {
    let n = long_curves(view, Along::Batch).len();
    if n > shown.len() {
        let work = shown.first().map(|c| {
            let case = c.case();
            let depth = match case.n_depth {
                0 => String::new(),
                n => format!(" after {n} cached ones"),
            };
            format!(
                " with prompts of {} and {} generated tokens{depth}",
                case.n_prompt, case.n_gen
            )
        });
        format!(
            " {} of {n} curves, those{}; cells.csv has all.",
            shown.len(),
            work.unwrap_or_default()
        )
    } else {
        String::new()
    }
}

/// Tokens per second of all sequences against the batch, with the ideal and what fits say.
pub fn throughput(view: &RunView, fits: &[Fitted]) -> Option<Figure> {
    let curves = shown(view);
    let mut series = measured(&curves, |c| {
        Some((
            c.decode_tokens_per_s()?,
            c.interval(Metric::DecodeTokensPerS),
            "tokens/s",
        ))
    });
    let fitted = curves.iter().enumerate().filter_map(|(look, curve)| {
        let fit = fits.iter().find(|f| f.label == curve.label)?;
        let points = fit.points.iter().map(|(x, y)| Point::at(*x, *y));
        Some(Series {
            name: format!("fit: {}, {}", fit.fit.form.formula(), curve.label),
            mark: Mark::Dashed,
            look,
            points: points.collect(),
        })
    });
    let fitted: Vec<Series> = fitted.collect();
    let ideal = ideal(&curves);
    series.extend(fitted);
    series.extend(ideal);
    Figure {
        id: "throughput",
        title: "Throughput against batch".to_owned(),
        caption: format!(
            "All sequences together; bars: 95% interval over processes. Ideal: batching costs nobody anything.{}",
            of_all(view, &curves)
        ),
        x: batches(&curves),
        y: Axis::log("decode tokens/s, all sequences"),
        series,
    }
    .unless_empty()
}

/// The straight line that the fastest single sequence would make, as far as the figure stays readable.
fn ideal(curves: &[Curve<'_>]) -> Option<Series> {
    let first = |c: &Curve<'_>| {
        let cell = c.cells.first()?;
        Some((f64::from(cell.case.n_seq), cell.decode_tokens_per_s()?))
    };
    let starts = curves.iter().filter_map(first);
    let (x, y) = starts.max_by(|(ax, ay), (bx, by)| (ay / ax).total_cmp(&(by / bx)))?;
    let most = curves
        .iter()
        .flat_map(|c| &c.cells)
        .filter_map(|c| c.decode_tokens_per_s())
        .fold(0.0, f64::max);
    let largest = curves
        .iter()
        .flat_map(|c| &c.cells)
        .map(|c| f64::from(c.case.n_seq))
        .fold(0.0, f64::max);
    let until = (x * most * 1.5 / y).min(largest);
    (until > x).then(|| Series {
        name: "ideal".to_owned(),
        mark: Mark::Dashed,
        look: REFERENCE,
        points: vec![Point::at(x, y), Point::at(until, y * until / x)],
    })
}

/// The step at its median, 90th and 99th percentile against the batch.
pub fn latency(view: &RunView) -> Option<Figure> {
    let curves = shown(view);
    let series = series_of(&curves, |curve, cell| {
        let steps = cell.step_ns;
        let median = cell.median_step_ns()? as f64;
        let worst = steps.p99.or(steps.p90).map(|ns| ns as f64);
        let names = [
            ("p50", Some(median as u64)),
            ("p90", steps.p90),
            ("p99", steps.p99),
        ];
        let said: Vec<String> = names
            .iter()
            .filter_map(|(name, ns)| Some(format!("{name} {}", units::duration((*ns)?))))
            .collect();
        let tip = format!(
            "{}, batch {}: {}",
            curve.label,
            cell.case.n_seq,
            said.join(", ")
        );
        Some(Point {
            bar: worst.map(|w| (milliseconds(median), milliseconds(w.max(median)))),
            notch: steps.p90.map(|ns| milliseconds(ns as f64)),
            ..Point::at(f64::from(cell.case.n_seq), milliseconds(median)).saying(tip)
        })
    });
    Figure {
        id: "latency",
        title: "Latency against batch".to_owned(),
        caption: format!(
            "The step: the gap between two tokens of a sequence. Points: median; bars: up to p99 with a notch at p90, \
             or up to p90 where steps are too few.{}",
            of_all(view, &curves)
        ),
        x: batches(&curves),
        y: Axis::log("step, ms"),
        series,
    }
    .unless_empty()
}

/// Latency against throughput: what more tokens for all cost each.
pub fn tradeoff(view: &RunView) -> Option<Figure> {
    let curves = shown(view);
    let series = series_of(&curves, |curve, cell| {
        let (rate, step) = (cell.decode_tokens_per_s()?, cell.median_step_ns()?);
        let tip = format!(
            "{}, batch {}: {} tokens/s, step {}",
            curve.label,
            cell.case.n_seq,
            units::significant(rate),
            units::duration(step)
        );
        Some(Point {
            label: Some(cell.case.n_seq.to_string()),
            ..Point::at(rate, milliseconds(step as f64)).saying(tip)
        })
    });
    Figure {
        id: "tradeoff",
        title: "Latency against throughput".to_owned(),
        caption: format!(
            "A point for each batch, labelled with it. Down and to the right is better.{}",
            of_all(view, &curves)
        ),
        x: Axis::log("decode tokens/s, all sequences"),
        y: Axis::log("median step, ms"),
        series,
    }
    .unless_empty()
}

/// Tokens per second of one sequence against the batch.
pub fn per_sequence(view: &RunView) -> Option<Figure> {
    let curves = shown(view);
    let series = measured(&curves, |c| {
        let n_seq = f64::from(c.case.n_seq.max(1));
        let interval = c
            .interval(Metric::DecodeTokensPerS)
            .map(|i| i.map(|v| v / n_seq));
        Some((c.per_seq_tokens_per_s()?, interval, "tokens/s"))
    });
    Figure {
        id: "tokens_per_second",
        title: "Tokens per second of one user".to_owned(),
        caption: format!(
            "What each sequence gets; bars: 95% interval over processes.{}",
            of_all(view, &curves)
        ),
        x: batches(&curves),
        y: Axis::log("decode tokens/s, one sequence"),
        series,
    }
    .unless_empty()
}

/// Time to the first token against the batch.
pub fn ttft(view: &RunView) -> Option<Figure> {
    let curves = shown(view);
    let seconds = |i: Interval| i.map(|ns| ns / 1e9);
    let series = measured(&curves, |c| {
        Some((
            c.ns(Metric::TtftNs)? as f64 / 1e9,
            c.interval(Metric::TtftNs).map(seconds),
            "s",
        ))
    });
    let prompts: Vec<String> = Along::Prompt
        .values(&curves)
        .iter()
        .map(u32::to_string)
        .collect();
    Figure {
        id: "ttft_comparison",
        title: "Time to first token against batch".to_owned(),
        caption: format!(
            "Until the last sequence of the batch has its first token, all prompts of {} tokens given at once; bars: \
             95% interval over processes.{}",
            prompts.join(", "),
            of_all(view, &curves)
        ),
        x: batches(&curves),
        y: Axis::log("TTFT, s"),
        series,
    }
    .unless_empty()
}

impl Along {
    /// The values that some curves have, ascending.
    fn values(self, curves: &[Curve<'_>]) -> Vec<u32> {
        let cells = curves.iter().flat_map(|c| &c.cells);
        let mut values: Vec<u32> = cells.map(|c| self.of(&c.case)).collect();
        values.sort_unstable();
        values.dedup();
        values
    }
}

fn batches(curves: &[Curve<'_>]) -> Axis {
    Axis::log(BATCH).at(Along::Batch.values(curves).into_iter().map(f64::from))
}

fn milliseconds(ns: f64) -> f64 {
    ns / 1e6
}

/// A series for each curve, with a point for each cell that has one.
pub(super) fn series_of(
    curves: &[Curve<'_>],
    point: impl Fn(&Curve<'_>, &CellView) -> Option<Point>,
) -> Vec<Series> {
    let one = |(look, curve): (usize, &Curve<'_>)| Series {
        name: curve.label.clone(),
        mark: Mark::Line,
        look,
        points: curve.cells.iter().filter_map(|c| point(curve, c)).collect(),
    };
    curves.iter().enumerate().map(one).collect()
}

/// The same of a value with its interval, against the batch.
fn measured(
    curves: &[Curve<'_>],
    value: impl Fn(&CellView) -> Option<(f64, Option<Interval>, &'static str)>,
) -> Vec<Series> {
    series_of(curves, |curve, cell| {
        let (value, interval, unit) = value(cell)?;
        let place = format!("{}, batch {}", curve.label, cell.case.n_seq);
        Some(with_interval(
            f64::from(cell.case.n_seq),
            value,
            interval,
            &place,
            unit,
        ))
    })
}

/// A point that says its value and interval.
pub(super) fn with_interval(
    x: f64,
    y: f64,
    interval: Option<Interval>,
    place: &str,
    unit: &str,
) -> Point {
    let said = interval.map_or(String::new(), |i| {
        format!(
            " (95%: {} to {})",
            units::significant(i.lo),
            units::significant(i.hi)
        )
    });
    let tip = format!("{place}: {} {unit}{said}", units::significant(y));
    Point {
        bar: interval.map(|i| (i.lo, i.hi)),
        ..Point::at(x, y).saying(tip)
    }
}
