//! What a figure shows in words, for those who do not see it.

use super::ticks::label;
use super::{Figure, FigureAxis, Mark, PlotPoint, Series};
use crate::text::short;
use crate::units;

impl Figure {
    /// Its title, axes, and where each series begins, ends and is highest.
    pub fn in_words(&self) -> String {
        let series = self.series.iter().map(|s| self.series_in_words(s));
        let mut parts = vec![
            short(&self.title),
            format!("Across: {}", self.x.title),
            format!("Up: {}", self.y.title),
        ];
        parts.extend(series);
        parts.join(". ") + "."
    }

    fn series_in_words(&self, series: &Series) -> String {
        let name = short(&series.name);
        let place = |p: &PlotPoint| {
            let y = units::significant(p.y);
            format!("{y} at {}", value(&self.x, p.x))
        };
        let highest = series.points.iter().max_by(|a, b| a.y.total_cmp(&b.y));
        let (Some(first), Some(last), Some(highest)) =
            (series.points.first(), series.points.last(), highest)
        else {
            return name;
        };
        match series.mark {
            Mark::Upright => {
                let all = series.points.iter().map(|p| value(&self.x, p.x));
                format!("{name}: at {}", all.collect::<Vec<_>>().join(", "))
            }
            Mark::Bars => format!("{name}: highest {}", place(highest)),
            _ if first == last => format!("{name}: {}", place(first)),
            _ if highest.y > first.y.max(last.y) => format!(
                "{name}: {}, highest {}, {}",
                place(first),
                place(highest),
                place(last)
            ),
            _ => format!("{name}: {} to {}", place(first), place(last)),
        }
    }
}

/// A value of the horizontal axis: a whole number where it is one, or a date.
fn value(axis: &FigureAxis, v: f64) -> String {
    match v == v.round() {
        true => label(axis.scale, v),
        false if axis.scale == super::Scale::Date => label(axis.scale, v),
        false => units::significant(v),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_says_where_its_lines_begin_and_end() {
        let at = |(x, y): &(f64, f64)| PlotPoint::at(*x, *y);
        let line = |name: &str, mark, points: &[(f64, f64)]| {
            Series::new(name.to_owned(), mark, 0, points.iter().map(at))
        };
        let series = vec![
            line("q4_0", Mark::Line, &[(1.0, 211.0), (128.0, 1089.0)]),
            line(
                "f16",
                Mark::Line,
                &[(1.0, 125.0), (8.0, 900.5), (128.0, 765.0)],
            ),
            line("ideal", Mark::Dashed, &[(1.0, 211.0)]),
            line("steps", Mark::Bars, &[(0.25, 3.0), (1.5, 40.0)]),
        ];
        let axes = (FigureAxis::log("batch"), FigureAxis::log("tokens/s"));
        let figure = Figure::of("throughput", "Throughput", String::new(), axes, series);
        assert_eq!(
            figure.expect("measured").in_words(),
            "Throughput. Across: batch. Up: tokens/s. q4_0: 211 at 1 to 1089 at 128. f16: 125 at 1, highest 900 at 8, 765 at 128. \
             ideal: 211 at 1. steps: highest 40.0 at 1.50."
        );
    }
}
