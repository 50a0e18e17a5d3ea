//! The roofline: what a step computes against what it reads, under the machine's measured ceilings.

use super::batch::{at_batch, of_all, series_of, shown};
use super::{Figure, FigureAxis, Mark, PlotPoint, REFERENCE, Series};
use crate::analysis::theory::{Best, Theory};
use crate::units;
use crate::view::RunView;

/// Arithmetic done per second against arithmetic per byte read, a point for each cell. None without ceilings.
pub fn roofline(view: &RunView, theory: &Theory) -> Option<Figure> {
    let ceilings = theory.ceilings?;
    let curves = shown(view);
    let mut series = series_of(&curves, |curve, cell| {
        let expected = theory.of_cell(cell)?;
        let seconds = cell.median_step_ns().filter(|ns| *ns > 0)? as f64 / 1e9;
        let (x, y) = (
            expected.cost.intensity(),
            expected.cost.flops() / seconds / 1e9,
        );
        let (mbu, mfu) = theory.utilisation(cell)?;
        let said = format!(
            "{} GFLOP/s, {} of the bandwidth and {} of the arithmetic",
            units::significant(y),
            units::percent(mbu),
            units::percent(mfu)
        );
        Some(PlotPoint {
            x,
            label: Some(cell.case.n_seq.to_string()),
            ..at_batch(curve, cell, y, &said)
        })
    });
    series.insert(0, roof(&ceilings, &series));
    let caption = format!(
        "Points: decode steps, labelled with the batch. Dashed: what this machine was measured to do at best, {} GB/s \
         and {} GFLOP/s. Under the slope memory bounds, under the flat part arithmetic.{}",
        units::significant(ceilings.bytes_per_s / 1e9),
        units::significant(ceilings.flops_per_s / 1e9),
        of_all(view, &curves)
    );
    let axes = (
        FigureAxis::log("arithmetic per byte, FLOP/B"),
        FigureAxis::log("arithmetic, GFLOP/s"),
    );
    Figure::of("roofline", "Roofline", caption, axes, series)
}

/// From half the least intensity to beyond the ridge and every point.
fn roof(ceilings: &Best, measured: &[Series]) -> Series {
    let ridge = ceilings.flops_per_s / ceilings.bytes_per_s;
    let xs = || measured.iter().flat_map(|s| &s.points).map(|p| p.x);
    let from = xs().fold(ridge, f64::min) / 2.0;
    let to = xs().fold(ridge, f64::max) * 2.0;
    let at = |x: f64| {
        let flops_per_s = (x * ceilings.bytes_per_s).min(ceilings.flops_per_s);
        PlotPoint::at(x, flops_per_s / 1e9)
    };
    let points = [from, ridge, to].map(at);
    let name = "ceilings of this machine".to_owned();
    Series::new(name, Mark::Dashed, REFERENCE, points)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::analysis::theory::StepForecast;
    use crate::roofline::cost::Cost;
    use crate::view::fixture;

    #[test]
    fn points_lie_where_bytes_and_arithmetic_put_them() {
        let view = fixture::mixed();
        assert_eq!(roofline(&view, &Theory::default()), None);
        let best = Best {
            bytes_per_s: 30e9,
            flops_per_s: 300e9,
        };
        let cells: HashMap<_, _> = view
            .cells
            .iter()
            .map(|c| {
                let cost = Cost {
                    weight_bytes: 1e8,
                    matmul_flops: 2e8 * f64::from(c.case.n_seq),
                    ..Cost::default()
                };
                let expected = StepForecast {
                    cost,
                    best: Some(best),
                    ..StepForecast::default()
                };
                (c.case_id.clone(), expected)
            })
            .collect();
        let theory = Theory {
            ceilings: Some(best),
            cells,
            ..Theory::default()
        };
        let figure = roofline(&view, &theory).expect("three batches");
        let xs: Vec<f64> = figure.series[1].points.iter().map(|p| p.x).collect();
        assert_eq!(xs, [2.0, 16.0, 64.0]);
        let roof: Vec<(f64, f64)> = figure.series[0].points.iter().map(|p| (p.x, p.y)).collect();
        assert_eq!(roof, [(1.0, 30.0), (10.0, 300.0), (128.0, 300.0)]);
    }
}
