//! Figures of single steps: their distribution, and how they change along the generation.

use super::batch::shown;
use super::{Figure, FigureAxis, MOST_SERIES, Mark, PlotPoint, Series, thinned};
use crate::analysis::choice;
use crate::analysis::curve::is_measured;
use crate::text::short;
use crate::units;
use crate::view::{CellView, RunView};

const N_BARS: usize = 32;

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

/// A series for each cell.
fn by_cell<P>(
    cells: &[(String, &CellView)],
    mark: Mark,
    points: impl Fn(&str, &CellView) -> P,
) -> Vec<Series>
where
    P: IntoIterator<Item = PlotPoint>,
{
    let one = |(look, (name, cell)): (usize, &(String, &CellView))| {
        Series::new(name.clone(), mark, look, points(name, cell))
    };
    cells.iter().enumerate().map(one).collect()
}

/// How often steps of each length occurred.
pub fn histogram(view: &RunView) -> Option<Figure> {
    let cells = cells(view);
    let positive = |c: &CellView| c.steps.sorted().into_iter().filter(|ns| *ns > 0);
    let every = || cells.iter().flat_map(|(_, c)| positive(c));
    let (least, most) = (every().min()? as f64, every().max()? as f64);
    // Bars of equal ratio, not less than the histogram of percentiles tells apart.
    let ratio = (most / least).powf(1.0 / N_BARS as f64).max(1.002);
    let bar = |ns: u64| ((ns as f64 / least).ln() / ratio.ln()).floor().max(0.0) as usize;
    let edge = |n: usize| least * ratio.powi(n as i32) / 1e6;
    let series = by_cell(&cells, Mark::Bars, |name, cell| {
        let mut counts = [0_u64; N_BARS + 1];
        for ns in positive(cell) {
            counts[bar(ns).min(N_BARS)] += 1;
        }
        let total = counts.iter().sum::<u64>().max(1) as f64;
        let counts = counts.into_iter().enumerate().filter(|(_, n)| *n > 0);
        let points = counts.map(|(at, n)| {
            let tip = format!(
                "{name}: {n} of {total} steps from {} to {} ms",
                units::significant(edge(at)),
                units::significant(edge(at + 1))
            );
            PlotPoint {
                until: Some(edge(at + 1)),
                ..PlotPoint::at(edge(at), n as f64 / total * 100.0).saying(tip)
            }
        });
        points.collect::<Vec<_>>()
    });
    let caption = format!("{} Every step of every repetition.", which(view, &cells));
    let axes = (FigureAxis::log("step, ms"), FigureAxis::linear("steps, %"));
    let title = "Distribution of the step";
    Figure::of("latency_distribution", title, caption, axes, series)
}

/// The share of steps that took at most so long.
pub fn cumulative(view: &RunView) -> Option<Figure> {
    let cells = cells(view);
    let one = |(look, (name, cell)): (usize, &(String, &CellView))| {
        super::cumulative(name.clone(), look, &cell.steps.sorted(), "steps", 1e6)
    };
    let caption = format!(
        "{} How many percent of the steps took at most so long; right ends are the longest steps.",
        which(view, &cells)
    );
    let axes = (
        FigureAxis::log("step, ms"),
        FigureAxis::linear("steps up to this long, %"),
    );
    let title = "Cumulative distribution of the step";
    let series = cells.iter().enumerate().map(one).collect();
    Figure::of("latency_cumulative", title, caption, axes, series)
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
    // Two places are no course.
    cells.retain(|(_, c)| c.steps.along().len() > 2);
    let series = by_cell(&cells, Mark::Thin, |name, cell| {
        let along = cell.steps.along();
        let points = thinned(&along).map(|s| {
            let tip = format!(
                "{name}, {} cached tokens: {} (fastest {}, slowest {})",
                s.n_past,
                units::duration(s.median_ns.round() as u64),
                units::duration(s.min_ns),
                units::duration(s.max_ns)
            );
            PlotPoint::at(f64::from(s.n_past), s.median_ns / 1e6).saying(tip)
        });
        points.collect::<Vec<_>>()
    });
    let caption = format!(
        "{} Median over repetitions at each place. The engine works on the cache in blocks of 256 tokens: a rise \
         there is by design.",
        which(view, &cells)
    );
    let x = FigureAxis {
        from_zero: false,
        ..FigureAxis::linear("tokens in each sequence's cache")
    };
    let title = "Step along the generation";
    let axes = (x, FigureAxis::linear("step, ms"));
    Figure::of("step_along_generation", title, caption, axes, series)
}
