//! Figures of single steps: their distribution, and how they change along the generation.

use super::batch::shown;
use super::{Axis, Figure, MOST_SERIES, Mark, Point, Scale, Series};
use crate::analysis::choice;
use crate::analysis::curve::is_measured;
use crate::text::short;
use crate::units;
use crate::view::{CellView, RunView};

/// Bars of a histogram.
const N_BARS: usize = 32;
/// Most points of a line; longer ones are thinned.
const MOST_POINTS: usize = 512;

/// The cells whose steps are shown: those of each model that are otherwise like the chosen one, and where there is one
/// model only, that of each batch.
fn cells(view: &RunView) -> Vec<(String, &CellView)> {
    let Some(choice) = choice::for_all(view, None) else {
        return Vec::new();
    };
    let chosen = &choice.cell.case;
    let like = |c: &CellView| {
        let mut case = c.case.clone();
        case.model.clone_from(&chosen.model);
        case == *chosen
    };
    let mut cells: Vec<(String, &CellView)> = view
        .cells
        .iter()
        .filter(|c| is_measured(c) && like(c))
        .map(|c| (short(&c.case.model), c))
        .collect();
    if cells.len() == 1 {
        let curves = shown(view);
        let curve = curves
            .iter()
            .find(|c| c.cells.iter().any(|c| c.case == *chosen));
        if let Some(curve) = curve {
            let named = |c: &&'_ CellView| format!("batch {}", c.case.n_seq);
            cells = curve.cells.iter().map(|c| (named(c), *c)).collect();
        }
    }
    cells.truncate(MOST_SERIES);
    cells
}

fn which(view: &RunView, cells: &[(String, &CellView)]) -> String {
    let Some((_, first)) = cells.first() else {
        return String::new();
    };
    let several_models = cells.iter().any(|(_, c)| c.case.model != first.case.model);
    match choice::for_all(view, None) {
        Some(c) if several_models => format!("Cells of batch {}.", c.cell.case.n_seq),
        _ => format!("Cells of {}.", short(&first.case.model)),
    }
}

/// How often steps of each length occurred.
pub fn histogram(view: &RunView) -> Option<Figure> {
    let cells = cells(view);
    let every = || cells.iter().flat_map(|(_, c)| c.steps.sorted());
    let positive = every().filter(|ns| *ns > 0);
    let least = positive.min()? as f64;
    let most = every().max()? as f64;
    // Bars of equal ratio, not less than the histogram of percentiles tells apart.
    let ratio = (most / least).powf(1.0 / N_BARS as f64).max(1.002);
    let bar = |ns: u64| ((ns as f64 / least).ln() / ratio.ln()).floor().max(0.0) as usize;
    let one = |(look, (name, cell)): (usize, &(String, &CellView))| {
        let mut counts = [0_u64; N_BARS + 1];
        for ns in cell.steps.sorted().iter().filter(|ns| **ns > 0) {
            counts[bar(*ns).min(N_BARS)] += 1;
        }
        let total = counts.iter().sum::<u64>().max(1) as f64;
        let edge = |n: usize| least * ratio.powi(n as i32) / 1e6;
        let points = counts.iter().enumerate().filter(|(_, n)| **n > 0);
        Series {
            name: name.clone(),
            mark: Mark::Bars,
            look,
            points: points
                .map(|(at, n)| {
                    let share = *n as f64 / total * 100.0;
                    let tip = format!(
                        "{name}: {} of {total} steps from {} to {} ms",
                        n,
                        units::significant(edge(at)),
                        units::significant(edge(at + 1))
                    );
                    Point {
                        until: Some(edge(at + 1)),
                        ..Point::at(edge(at), share).saying(tip)
                    }
                })
                .collect(),
        }
    };
    Figure {
        id: "latency_distribution",
        title: "Distribution of the step".to_owned(),
        caption: format!("{} Every step of every repetition.", which(view, &cells)),
        x: Axis::log("step, ms"),
        y: Axis::linear("steps, %"),
        series: cells.iter().enumerate().map(one).collect(),
    }
    .unless_empty()
}

/// The share of steps that took at most so long.
pub fn cumulative(view: &RunView) -> Option<Figure> {
    let cells = cells(view);
    let one = |(look, (name, cell)): (usize, &(String, &CellView))| {
        let sorted = cell.steps.sorted();
        let n = sorted.len();
        let every = n.div_ceil(MOST_POINTS).max(1);
        let points = sorted
            .iter()
            .enumerate()
            .filter(|(at, ns)| **ns > 0 && ((at + 1) % every == 0 || at + 1 == n));
        Series {
            name: name.clone(),
            mark: Mark::Stairs,
            look,
            points: points
                .map(|(at, ns)| {
                    let share = (at + 1) as f64 / n as f64 * 100.0;
                    let tip = format!(
                        "{name}: {share:.1}% of steps within {}",
                        units::duration(*ns)
                    );
                    Point::at(*ns as f64 / 1e6, share).saying(tip)
                })
                .collect(),
        }
    };
    Figure {
        id: "latency_cumulative",
        title: "Cumulative distribution of the step".to_owned(),
        caption: format!(
            "{} How many percent of the steps took at most so long; right ends are the longest steps.",
            which(view, &cells)
        ),
        x: Axis::log("step, ms"),
        y: Axis::linear("steps up to this long, %"),
        series: cells.iter().enumerate().map(one).collect(),
    }
    .unless_empty()
}

/// The step along the generation: growth with the context, steps that cross a multiple of 256 cached tokens, outliers.
pub fn along_generation(view: &RunView) -> Option<Figure> {
    let mut cells = cells(view);
    // The longest generation shows most; other settings stay the chosen one's.
    for (_, cell) in &mut cells {
        let like = |c: &&CellView| {
            let mut case = c.case.clone();
            case.n_gen = cell.case.n_gen;
            is_measured(c) && case == cell.case
        };
        let longest = view.cells.iter().filter(like).max_by_key(|c| c.case.n_gen);
        *cell = longest.unwrap_or(cell);
    }
    let one = |(look, (name, cell)): (usize, &(String, &CellView))| {
        let along = cell.steps.along();
        let every = along.len().div_ceil(MOST_POINTS).max(1);
        let points = along.iter().step_by(every).map(|s| {
            let tip = format!(
                "{name}, {} cached tokens: {} (fastest {}, slowest {})",
                s.n_past,
                units::duration(s.median_ns.round() as u64),
                units::duration(s.min_ns),
                units::duration(s.max_ns)
            );
            Point::at(f64::from(s.n_past), s.median_ns / 1e6).saying(tip)
        });
        Series {
            name: name.clone(),
            mark: Mark::Thin,
            look,
            points: points.collect(),
        }
    };
    // Two places are no course.
    cells.retain(|(_, c)| c.steps.along().len() > 2);
    Figure {
        id: "step_along_generation",
        title: "Step along the generation".to_owned(),
        caption: format!(
            "{} Median over repetitions at each place. The engine works on the cache in blocks of 256 tokens: a rise \
             there is by design.",
            which(view, &cells)
        ),
        x: Axis {
            from_zero: false,
            scale: Scale::Linear,
            ..Axis::linear("tokens in each sequence's cache")
        },
        y: Axis::linear("step, ms"),
        series: cells.iter().enumerate().map(one).collect(),
    }
    .unless_empty()
}
