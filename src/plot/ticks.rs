//! Where an axis has its lines and what stands beside them.

use std::ops::Range;

use plotters::coord::ranged1d::{DefaultFormatting, KeyPointHint, Ranged};

use super::style::text_width;
use super::{FigureAxis, Scale};

/// An axis made ready: its range and its ticks in drawing coordinates (logarithms, where the scale is one).
#[derive(Debug, Clone, PartialEq)]
pub(super) struct DrawnAxis {
    pub(super) scale: Scale,
    pub(super) range: (f64, f64),
    pub(super) ticks: Vec<f64>,
}

impl DrawnAxis {
    /// For the values that are to be shown. Without any it is an empty axis from 0 to 1.
    pub(super) fn of(axis: &FigureAxis, values: impl Iterator<Item = f64>) -> Self {
        let scale = axis.scale;
        let shown: Vec<f64> = values.filter(|v| scale.takes(*v)).collect();
        let least = shown.iter().copied().fold(f64::INFINITY, f64::min);
        let most = shown.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        if least > most {
            let range = (0.0, 1.0);
            return Self {
                scale,
                range,
                ticks: Vec::new(),
            };
        }
        // Over a small ratio a logarithmic axis is nearly straight, and would hardly have a round value on it.
        let narrow = scale == Scale::Log && axis.at.is_none() && most < SMALLEST_RATIO * least;
        let scale = if narrow { Scale::Linear } else { scale };
        let (range, ticks) = match (&axis.at, scale) {
            (Some(at), _) => padded(scale, least, most, at.clone()),
            (None, Scale::Date) => dates(least, most),
            (None, Scale::Linear) => linear(least, most, axis.from_zero && !narrow),
            (None, Scale::Log) => logarithmic(least, most),
        };
        let (lo, hi) = range;
        let mut ticks: Vec<f64> = ticks.into_iter().map(|v| scale.forth(v)).collect();
        ticks.retain(|t| (lo..=hi).contains(t));
        Self {
            scale,
            range,
            ticks,
        }
    }

    /// Leaves out ticks whose labels would touch on an axis of so many units, from left to right.
    pub(super) fn thinned(self, length: i32, font: i32) -> Self {
        let widths = |axis: &Self, tick: f64| f64::from(text_width(&axis.label(tick), font));
        self.apart(length, widths)
    }

    /// The same from bottom to top.
    pub(super) fn thinned_upwards(self, length: i32, font: i32) -> Self {
        self.apart(length, |_, _| f64::from(font))
    }

    /// Keeps ticks whose labels, which take `size` units along the axis, have a gap between them.
    fn apart(mut self, length: i32, size: impl Fn(&Self, f64) -> f64) -> Self {
        let mut kept: Vec<f64> = Vec::new();
        for tick in &self.ticks {
            let free = kept.last().is_none_or(|last| {
                let sizes = size(&self, *tick) + size(&self, *last);
                self.place(*tick, length) - self.place(*last, length) > sizes / 2.0 + 6.0
            });
            if free {
                kept.push(*tick);
            }
        }
        self.ticks = kept;
        self
    }

    /// Where a tick is on an axis of so many units.
    fn place(&self, tick: f64, length: i32) -> f64 {
        let (lo, hi) = self.range;
        (tick - lo) / (hi - lo) * f64::from(length)
    }

    /// How far the label of the last tick reaches beyond the end of an axis of so many units.
    pub(super) fn beyond(&self, length: i32, font: i32) -> i32 {
        let Some(last) = self.ticks.last() else {
            return 0;
        };
        let half = f64::from(text_width(&self.label(*last), font)) / 2.0;
        (half - (f64::from(length) - self.place(*last, length))).ceil() as i32
    }

    /// What stands beside a tick.
    pub(super) fn label(&self, tick: f64) -> String {
        label(self.scale, self.scale.back(tick))
    }
}

impl Ranged for DrawnAxis {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (from, to): (i32, i32)) -> i32 {
        let (lo, hi) = self.range;
        // Far outside is just outside: a number of pixels must not overflow.
        let way = ((value - lo) / (hi - lo)).clamp(-1.0, 2.0);
        from + (f64::from(to - from) * way).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        if hint.weight().allow_light_points() {
            Vec::new()
        } else {
            self.ticks.clone()
        }
    }

    fn range(&self) -> Range<f64> {
        self.range.0..self.range.1
    }
}

/// The measured values themselves are the ticks, with some room on both sides.
fn padded(scale: Scale, least: f64, most: f64, at: Vec<f64>) -> ((f64, f64), Vec<f64>) {
    let (lo, hi) = (scale.forth(least), scale.forth(most));
    let room = ((hi - lo) * 0.06).max(if scale == Scale::Log { 0.1 } else { 0.5 });
    ((lo - room, hi + room), at)
}

/// Three to seven round values from about the least, or 0, to above the most.
fn linear(least: f64, most: f64, from_zero: bool) -> ((f64, f64), Vec<f64>) {
    let low = if from_zero { least.min(0.0) } else { least };
    let span = if most > low {
        most - low
    } else {
        most.abs().max(1.0)
    };
    let rough = span / 5.0;
    let power = 10_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 2.5, 5.0, 10.0]
        .into_iter()
        .map(|m| m * power)
        .find(|s| *s >= rough)
        .unwrap_or(10.0 * power);
    let first = (low / step).floor();
    let last = ((low + span) / step).ceil();
    let ticks = (0..=(last - first) as u32).map(|n| (first + f64::from(n)) * step);
    ((first * step, last * step), ticks.collect())
}

/// At most so many dates stand beside an axis.
const MOST_DATES: f64 = 5.0;

/// Whole days, with some room on both sides.
fn dates(least: f64, most: f64) -> ((f64, f64), Vec<f64>) {
    let room = ((most - least) * 0.04).max(0.5);
    let step = [1.0, 2.0, 7.0, 14.0, 28.0, 56.0, 91.0, 182.0]
        .into_iter()
        .find(|step| (most - least) / step < MOST_DATES)
        .unwrap_or_else(|| ((most - least) / MOST_DATES).ceil());
    let (first, last) = (least.floor(), most.floor());
    let ticks = (0..=((last - first) / step) as u32).map(|n| first + f64::from(n) * step);
    ((least - room, most + room), ticks.collect())
}

/// Days since 1970 as `2026-02-14`.
fn date(days: f64) -> String {
    let since = jiff::civil::date(1970, 1, 1);
    let days = jiff::Span::new().try_days(days.floor() as i64);
    let date = days.and_then(|days| since.checked_add(days));
    date.map_or_else(|_| String::new(), |date| date.to_string())
}

/// Axes that span less are linear.
const SMALLEST_RATIO: f64 = 3.0;
/// More ticks than this are too many.
const MOST_LOG_TICKS: usize = 8;

/// 1, 2 and 5 of every power of ten, more or fewer where that is too few or too many.
fn logarithmic(least: f64, most: f64) -> ((f64, f64), Vec<f64>) {
    let (lo, hi) = (least.log2(), most.log2());
    let room = ((hi - lo) * 0.08).max(0.15);
    let range = (lo - room, hi + room);
    let (first, last) = (
        (range.0 * 2_f64.log10()).floor() as i32,
        (range.1 * 2_f64.log10()).ceil() as i32,
    );
    let ticks = |multiples: &'static [f64]| -> Vec<f64> {
        let all = (first..=last).flat_map(|p| multiples.iter().map(move |m| m * 10_f64.powi(p)));
        all.filter(|t| (range.0..=range.1).contains(&t.log2()))
            .collect()
    };
    let fewer = [
        ticks(&[1.0, 1.5, 2.0, 3.0, 5.0, 7.0]),
        ticks(&[1.0, 2.0, 5.0]),
        ticks(&[1.0]),
    ];
    let few_enough = fewer.iter().find(|t| t.len() <= MOST_LOG_TICKS);
    (range, few_enough.unwrap_or(&fewer[2]).clone())
}

/// A value of an axis in words.
pub(super) fn label(scale: Scale, value: f64) -> String {
    match scale {
        Scale::Date => date(value),
        Scale::Linear | Scale::Log => number(value),
    }
}

/// A round number as short as it can be said.
pub(super) fn number(v: f64) -> String {
    if v != 0.0 && !(0.99e-5..0.999e7).contains(&v.abs()) {
        let text = format!("{v:.2e}");
        let (digits, power) = text.split_once('e').unwrap_or((&text, "0"));
        let digits = digits.trim_end_matches('0').trim_end_matches('.');
        return format!("{digits}e{power}");
    }
    let text = format!("{v:.6}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    match text {
        "-0" | "" => "0".to_owned(),
        text => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn axis(scale: Scale, at: Option<Vec<f64>>) -> FigureAxis {
        FigureAxis {
            title: String::new(),
            scale,
            at,
            from_zero: true,
        }
    }

    fn labels(axis: &FigureAxis, values: &[f64]) -> Vec<String> {
        let ready = DrawnAxis::of(axis, values.iter().copied());
        ready.ticks.iter().map(|t| ready.label(*t)).collect()
    }

    #[test]
    fn round_values_enclose_the_data() {
        let linear = axis(Scale::Linear, None);
        assert_eq!(
            labels(&linear, &[3.0, 41.0]),
            ["0", "10", "20", "30", "40", "50"]
        );
        assert_eq!(
            labels(&linear, &[0.0]),
            ["0", "0.2", "0.4", "0.6", "0.8", "1"]
        );
        assert_eq!(
            labels(&axis(Scale::Log, None), &[1.3, 140.0]),
            ["1", "2", "5", "10", "20", "50", "100", "200"]
        );
    }

    #[test]
    fn measured_batches_are_the_ticks_and_do_not_touch() {
        let batches = vec![1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 100.0, 128.0];
        let axis = axis(Scale::Log, Some(batches.clone()));
        let ready = DrawnAxis::of(&axis, batches.into_iter()).thinned(200, 13);
        let labels: Vec<String> = ready.ticks.iter().map(|t| ready.label(*t)).collect();
        assert_eq!(labels, ["1", "2", "4", "8", "100"]);
    }

    #[test]
    fn what_is_far_from_one_has_an_exponent() {
        assert_eq!(number(0.00001), "0.00001");
        assert_eq!(number(2_500_000.0), "2500000");
        assert_eq!(number(30_000_000.000_000_004), "3e7");
        assert_eq!(number(-1.25e300), "-1.25e300");
        assert_eq!(number(0.000002), "2e-6");
        assert_eq!(number(0.0), "0");
    }

    #[test]
    fn labels_above_each_other_do_not_touch() {
        let values = vec![1.0, 1.01, 1.02, 30.0];
        let axis = axis(Scale::Log, Some(values.clone()));
        let ready = DrawnAxis::of(&axis, values.into_iter()).thinned_upwards(240, 13);
        let labels: Vec<String> = ready.ticks.iter().map(|t| ready.label(*t)).collect();
        assert_eq!(labels, ["1", "30"]);
        // Half of "30" is 9 units, and the tick stands 13 units before the end.
        assert_eq!(ready.beyond(240, 13), -4);
        assert_eq!(ready.beyond(0, 13), 9);
    }

    #[test]
    fn dates_are_whole_days() {
        // 2026-02-14 and half a year later.
        let (from, until) = (20_498.1, 20_678.9);
        let date = axis(Scale::Date, None);
        assert_eq!(
            labels(&date, &[from, until]),
            ["2026-02-14", "2026-04-11", "2026-06-06", "2026-08-01"]
        );
        assert_eq!(labels(&date, &[from]), ["2026-02-14"]);
        assert_eq!(labels(&date, &[1e300]).len(), 1);
    }

    #[test]
    fn nothing_to_show_is_an_axis_all_the_same() {
        for scale in [Scale::Linear, Scale::Log] {
            let values = [f64::NAN, f64::INFINITY, -1.0].into_iter();
            let ready = DrawnAxis::of(&axis(Scale::Log, None), values);
            assert_eq!(ready.range, (0.0, 1.0));
            let ready = DrawnAxis::of(&axis(scale, None), std::iter::once(5.0));
            assert!(ready.range.0 < ready.range.1, "{ready:?}");
        }
    }
}
