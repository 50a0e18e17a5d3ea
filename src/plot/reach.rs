//! How far the bars of a figure reach: one interval that is far wider than the points are apart must not press them together.

use super::{Figure, Scale, Series};

/// How far bars may reach on each side of the points, as a share of the room that the points themselves take.
const MOST_BEYOND: f64 = 0.75;
/// The least room that points are said to take on a linear axis, as a share of the largest.
const LEAST_SHARE: f64 = 0.25;
/// And on a logarithmic one: a factor of two.
const LEAST_LOG2: f64 = 1.0;

/// The end of a bar as it is drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct BarEnd {
    /// Where it is drawn, in the units of the axis.
    pub(super) value: f64,
    /// Whether the bar really goes on.
    pub(super) is_cut: bool,
}

/// Where bars are cut; `None` where none has to be.
pub(super) fn limits(series: &[Series], scale: Scale) -> Option<(f64, f64)> {
    let points = || series.iter().flat_map(|s| &s.points);
    let ys = points().map(|p| p.y).filter(|y| scale.takes(*y));
    let (mut least, mut most) = (f64::INFINITY, f64::NEG_INFINITY);
    for y in ys {
        (least, most) = (least.min(y), most.max(y));
    }
    if least > most {
        return None;
    }
    let (lo, hi) = (scale.forth(least), scale.forth(most));
    let least_room = match scale {
        Scale::Log => LEAST_LOG2,
        Scale::Linear | Scale::Date => LEAST_SHARE * least.abs().max(most.abs()),
    };
    let beyond = (hi - lo).max(least_room) * MOST_BEYOND;
    let limits = (scale.back(lo - beyond), scale.back(hi + beyond));
    let bars = || points().filter_map(|p| p.bar);
    let low = bars().map(|(lo, _)| lo).fold(least, f64::min);
    let high = bars().map(|(_, hi)| hi).fold(most, f64::max);
    let is_any_cut = low < limits.0 || high > limits.1;
    is_any_cut.then(|| (low.max(limits.0), high.min(limits.1)))
}

impl Figure {
    /// Where the end of a bar is drawn.
    pub(super) fn end_of(&self, end: f64) -> BarEnd {
        let Some((lo, hi)) = self.limits else {
            return BarEnd {
                value: end,
                is_cut: false,
            };
        };
        BarEnd {
            value: end.clamp(lo, hi),
            is_cut: end < lo || end > hi,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{FigureAxis, Mark, PlotPoint};
    use super::*;

    fn figure(axis: FigureAxis, bars: &[(f64, (f64, f64))]) -> Figure {
        let points = (1_u32..).zip(bars).map(|(x, (y, bar))| PlotPoint {
            bar: Some(*bar),
            ..PlotPoint::at(f64::from(x), *y)
        });
        let series = Series::new("a".to_owned(), Mark::Line, 0, points);
        let axes = (FigureAxis::linear("x"), axis);
        let caption = "Bars: 95%.".to_owned();
        Figure::of("throughput", "t", caption, axes, vec![series]).expect("measured")
    }

    #[test]
    fn usual_bars_are_drawn_whole() {
        let figure = figure(
            FigureAxis::log("y"),
            &[(100.0, (95.0, 105.0)), (400.0, (300.0, 500.0))],
        );
        assert_eq!(
            (figure.limits, figure.caption.as_str()),
            (None, "Bars: 95%.")
        );
    }

    #[test]
    fn a_bar_of_a_disturbed_cell_ends_in_an_arrow() {
        // From 100 to 400 are two powers of two, and bars may add one and a half on each side.
        let figure = figure(
            FigureAxis::log("y"),
            &[(100.0, (95.0, 105.0)), (400.0, (0.0, 1e6))],
        );
        let (lo, hi) = figure.limits.expect("is cut");
        assert!((lo - 100.0 / 8_f64.sqrt()).abs() < 1e-9, "{lo}");
        assert!((hi - 400.0 * 8_f64.sqrt()).abs() < 1e-9, "{hi}");
        assert_eq!(
            figure.end_of(1e6),
            BarEnd {
                value: hi,
                is_cut: true
            }
        );
        assert_eq!(
            figure.end_of(0.0),
            BarEnd {
                value: lo,
                is_cut: true
            }
        );
        assert!(!figure.end_of(105.0).is_cut);
        assert!(
            figure
                .caption
                .ends_with("An arrow: the bar reaches beyond the figure.")
        );
    }

    #[test]
    fn points_at_one_height_leave_room_for_their_bars() {
        let small = [(100.0, (90.0, 110.0)), (100.0, (95.0, 105.0))];
        assert_eq!(figure(FigureAxis::linear("y"), &small).limits, None);
        let wide = [(100.0, (-900.0, 1100.0)), (100.0, (95.0, 105.0))];
        let limits = figure(FigureAxis::linear("y"), &wide).limits;
        assert_eq!(limits, Some((81.25, 118.75)));
    }
}
