//! Which file and which batch size a machine should run.

use std::collections::BTreeMap;

use super::capacity::Slo;
use super::curve::{Along, Curve, curves, is_measured, label};
use super::words::first_with_share;
use crate::compare::change::Change;
use crate::metric::Metric;
use crate::plan::Axis;
use crate::plan::Case;
use crate::run::stop::LEVEL;
use crate::stats::Interval;
use crate::text::short;
use crate::view::quality::KEEPS;
use crate::view::{CellView, QualityCellView, RunView};

/// A cell whose throughput is at least this share of the most that was measured is as good: what the last tenth costs
/// is latency, and the shortest step among such cells decides.
pub const GOOD_ENOUGH: f64 = 0.9;

/// Two cells of one run, compared by the pairs of their replicates.
#[derive(Debug, Clone, Copy)]
pub struct Rival<'a> {
    pub cell: &'a CellView,
    /// How many times as fast the first one is; none with fewer than two replicates in which both were measured.
    pub times_as_fast: Option<Interval>,
}

impl<'a> Rival<'a> {
    pub fn of(cell: &CellView, other: &'a CellView) -> Self {
        Self {
            cell: other,
            times_as_fast: times_as_fast(cell, other),
        }
    }

    /// Whether chance is excluded.
    pub fn is_slower(&self) -> bool {
        self.times_as_fast.is_some_and(|i| i.lo > 1.0)
    }
}

/// How many times the throughput of `other` a cell has.
pub fn times_as_fast(cell: &CellView, other: &CellView) -> Option<Interval> {
    let change = Change::paired(
        Metric::DecodeTokensPerS,
        &cell.decode_by_replicate,
        &other.decode_by_replicate,
        LEVEL,
    )?;
    // A slow-down of the other is a time ratio less one.
    Some(change.slowdown().map(|s| 1.0 + s))
}

/// The cell to run when tokens of all users together count.
#[derive(Debug, Clone)]
pub struct CellChoice<'a> {
    pub cell: &'a CellView,
    /// The one with the most tokens per second, which may be the same.
    pub most: &'a CellView,
    /// `cell` against `most`, when they differ.
    pub of_most: Option<Interval>,
    /// The best cell of another file with the same settings.
    pub rival: Option<Rival<'a>>,
}

/// What a user brings, as against what can be chosen: tokens of the prompt, generated, and in the cache beforehand.
fn work_tokens(case: &Case) -> [u32; 3] {
    [case.n_prompt, case.n_gen, case.n_depth]
}

/// The curves along the batch whose cells do the same work, so that they can be chosen between: the work that most
/// cells do, and of works done equally often the longest.
pub fn comparable(view: &RunView) -> Vec<Curve<'_>> {
    let mut curves = curves(view, Along::Batch);
    let mut counts: BTreeMap<[u32; 3], usize> = BTreeMap::new();
    for curve in &curves {
        *counts.entry(work_tokens(curve.case())).or_default() += curve.cells.len();
    }
    let tokens = |work: &[u32; 3]| work.iter().map(|n| u64::from(*n)).sum::<u64>();
    let usual = counts.iter().max_by_key(|(work, n)| (**n, tokens(work)));
    if let Some((usual, _)) = usual {
        curves.retain(|c| work_tokens(c.case()) == *usual);
    }
    label(&mut curves, Along::Batch);
    curves
}

/// What was chosen besides file and batch: the settings that differ between measured cells, the work itself apart.
/// Empty where nothing else differs.
pub fn settings(view: &RunView, cell: &CellView) -> String {
    let measured = view
        .cells
        .iter()
        .filter(|c| is_measured(c))
        .map(|c| &c.case);
    let chosen: Vec<String> = Axis::varying(measured)
        .iter()
        .filter(|a| !["model", "batch", "n_prompt", "n_gen", "n_depth"].contains(&a.name()))
        .map(|a| format!("{} {}", a.name(), a.value(&cell.case)))
        .collect();
    chosen.join(", ")
}

/// The cells that can be chosen between; with limits, only those that keep them; where accuracy was measured, only those of files
/// that keep enough of it, if there are any.
fn candidates<'a>(view: &'a RunView, slo: Option<&Slo>) -> Vec<&'a CellView> {
    let mut cells = all_comparable(view);
    cells.retain(|c| slo.is_none_or(|slo| slo.is_kept_by(c)));
    for is_left in [
        is_unknown as fn(&RunView, &CellView) -> bool,
        loses_too_much,
    ] {
        if cells.iter().any(|c| !is_left(view, c)) {
            cells.retain(|c| !is_left(view, c));
        }
    }
    cells
}

/// The cells that can be compared with each other.
pub fn all_comparable(view: &RunView) -> Vec<&CellView> {
    let curves = comparable(view);
    curves
        .iter()
        .flat_map(|c| c.cells.iter().copied())
        .collect()
}

/// What a cell's file makes of the text; `None` where it was not scored against the base.
pub fn quality_of<'a>(view: &'a RunView, cell: &CellView) -> Option<&'a QualityCellView> {
    let quality = view.quality.as_ref()?.of_case(&cell.case)?;
    quality.loss().is_some().then_some(quality)
}

/// Whether the accuracy of a cell's file is unknown.
fn is_unknown(view: &RunView, cell: &CellView) -> bool {
    quality_of(view, cell).is_none()
}

fn loses_too_much(view: &RunView, cell: &CellView) -> bool {
    quality_of(view, cell).is_some_and(|quality| !quality.keeps())
}

/// Why a choice is no good in the end: its file loses too much, and no other one's speed was measured.
pub fn too_much_lost(view: &RunView, cell: &CellView) -> Option<String> {
    let quality = quality_of(view, cell).filter(|quality| !quality.keeps())?;
    let share = quality.same_top().unwrap_or(0.0) * 100.0;
    Some(format!(
        "{} keeps {share:.2}% of the base's top tokens, and no file whose speed was measured keeps {:.0}%",
        short(&cell.case.model),
        KEEPS * 100.0
    ))
}

/// The loss of a cell's file, by which files are chosen; those that are not told apart from the kernels' rounding are equal.
fn loss(view: &RunView, cell: &CellView) -> f64 {
    match quality_of(view, cell) {
        Some(quality) if !quality.is_at_floor() => quality.loss().unwrap_or(0.0),
        _ => 0.0,
    }
}

/// Files that were measured and could not be chosen for their accuracy, and why: each once.
pub fn left_out(view: &RunView) -> Vec<(&str, String)> {
    let cells = all_comparable(view);
    let mut found: Vec<(&str, String)> = Vec::new();
    if cells.iter().all(|c| is_unknown(view, c)) {
        return found;
    }
    let keeps = cells
        .iter()
        .any(|c| quality_of(view, c).is_some_and(QualityCellView::keeps));
    for cell in cells {
        let why = match quality_of(view, cell) {
            None => "its accuracy was not measured".to_owned(),
            Some(quality) if keeps && !quality.keeps() => {
                let share = quality.same_top().unwrap_or(0.0) * 100.0;
                format!("it keeps {share:.2}% of the base's top tokens")
            }
            Some(_) => continue,
        };
        let model = cell.case.model.as_str();
        if !found.iter().any(|(known, _)| *known == model) {
            found.push((model, why));
        }
    }
    found
}

/// Whether several files were measured, and the accuracy of none.
pub fn is_by_speed_only(view: &RunView) -> bool {
    let cells = all_comparable(view);
    let several = cells.iter().any(|c| c.case.model != cells[0].case.model);
    several && cells.iter().all(|c| is_unknown(view, c))
}

/// The cell with the shortest step among those whose throughput is [`GOOD_ENOUGH`], of the cells that keep the limits; none
/// when there are none such. Where accuracy was measured, of the file that loses least among them.
pub fn for_all<'a>(view: &'a RunView, slo: Option<&Slo>) -> Option<CellChoice<'a>> {
    let cells = candidates(view, slo);
    let most = *cells.iter().max_by(|a, b| rate(a).total_cmp(&rate(b)))?;
    let enough = GOOD_ENOUGH * rate(most);
    let good: Vec<&CellView> = cells
        .iter()
        .copied()
        .filter(|c| rate(c) >= enough)
        .collect();
    let cell = *least_loss(view, good)
        .iter()
        .min_by_key(|c| (c.median_step_ns(), c.case.n_seq))?;
    let differs = cell.case != most.case;
    Some(CellChoice {
        cell,
        most,
        of_most: differs.then(|| times_as_fast(cell, most)).flatten(),
        rival: rival(cell, &cells),
    })
}

/// The cells whose file loses least; all of them where accuracy is unknown.
fn least_loss<'a>(view: &RunView, mut cells: Vec<&'a CellView>) -> Vec<&'a CellView> {
    let least = cells
        .iter()
        .map(|c| loss(view, c))
        .fold(f64::INFINITY, f64::min);
    cells.retain(|c| loss(view, c) <= least);
    cells
}

/// The cell to run for a single user: the shortest step with one sequence, within the limits. None where no such cell was measured.
pub fn for_one<'a>(view: &'a RunView, slo: Option<&Slo>) -> Option<CellChoice<'a>> {
    let cells = candidates(view, slo);
    // One user is alone, and the smallest batch that was measured may be of several.
    let least = cells.iter().map(|c| c.case.n_seq).min();
    let least = least.filter(|n| *n == 1)?;
    let alone = cells.iter().copied().filter(|c| c.case.n_seq == least);
    let alone: Vec<&CellView> = alone.collect();
    let cell = match alone.iter().any(|c| is_unknown(view, c)) {
        true => *alone.iter().min_by_key(|c| c.median_step_ns())?,
        false => {
            let most = alone.iter().map(|c| rate(c)).fold(0.0, f64::max);
            let good = alone.into_iter().filter(|c| rate(c) >= GOOD_ENOUGH * most);
            *least_loss(view, good.collect())
                .iter()
                .min_by_key(|c| c.median_step_ns())?
        }
    };
    Some(CellChoice {
        cell,
        most: cell,
        of_most: None,
        rival: rival(cell, &cells),
    })
}

/// The best cell of another model that is otherwise the same.
fn rival<'a>(cell: &CellView, cells: &[&'a CellView]) -> Option<Rival<'a>> {
    let same = |other: &CellView| {
        let mut case = other.case.clone();
        case.model.clone_from(&cell.case.model);
        case == cell.case && other.case.model != cell.case.model
    };
    let others = cells.iter().filter(|c| same(c));
    let best = *others.max_by(|a, b| rate(a).total_cmp(&rate(b)))?;
    Some(Rival::of(cell, best))
}

/// The throughput of a measured cell.
pub(super) fn rate(cell: &CellView) -> f64 {
    cell.decode_tokens_per_s().unwrap_or(0.0)
}

/// Where a curve's throughput stops paying: the first cell that has [`GOOD_ENOUGH`] of the curve's most, and the most.
pub fn flattens<'a>(curve: &Curve<'a>) -> Option<(&'a CellView, &'a CellView)> {
    first_with_share(&curve.cells, GOOD_ENOUGH, rate)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Case;
    use crate::record::Line;
    use crate::view::fixture::{self, MS, case, header, three_processes};

    /// Steps in milliseconds of batches 1, 8, 32, 128 of two files.
    fn view(a: [u64; 4], b: [u64; 4]) -> RunView {
        let mut cases: Vec<Case> = Vec::new();
        let mut lines: Vec<Line> = Vec::new();
        for (model, steps) in [("a", a), ("b", b)] {
            for (n_seq, ms) in [1, 8, 32, 128].into_iter().zip(steps) {
                let case = case(model, n_seq);
                lines.extend(three_processes(&case, 3, MS, ms * MS));
                cases.push(case);
            }
        }
        fixture::view(header(&["a", "b"], cases), lines)
    }

    #[test]
    fn the_shortest_step_decides_among_cells_that_are_fast_enough() {
        // Tokens per second: 200, 640, 1032, 1067 and 100, 320, 1000, 1123.
        let view = view([5, 12, 31, 120], [10, 25, 32, 114]);
        let choice = for_all(&view, None).expect("measured");
        assert_eq!(
            (choice.cell.case.model.as_str(), choice.cell.case.n_seq),
            ("a", 32)
        );
        assert_eq!(
            (choice.most.case.model.as_str(), choice.most.case.n_seq),
            ("b", 128)
        );
        let share = choice.of_most.expect("pairs");
        assert!((0.90..0.93).contains(&share.estimate), "{share:?}");
        let rival = choice.rival.expect("the other file");
        assert_eq!(rival.cell.case.n_seq, 32);
        assert!(rival.is_slower(), "{rival:?}");
        let one = for_one(&view, None).expect("measured");
        assert_eq!(
            (one.cell.case.model.as_str(), one.cell.case.n_seq),
            ("a", 1)
        );
        assert!((one.rival.expect("b").times_as_fast.expect("pairs").estimate - 2.0).abs() < 1e-9);
    }

    #[test]
    fn limits_change_what_is_chosen() {
        // Tokens per second: 200, 640, 1032, 1067 and 100, 320, 1000, 1123.
        let view = view([5, 12, 31, 120], [10, 25, 32, 114]);
        let chosen = |slo: &str| {
            let slo: Slo = slo.parse().expect("limits");
            for_all(&view, Some(&slo)).map(|c| (c.cell.case.model.clone(), c.cell.case.n_seq))
        };
        assert_eq!(chosen("tpot=1s"), Some(("a".to_owned(), 32)));
        assert_eq!(chosen("tpot=20ms"), Some(("a".to_owned(), 8)));
        assert_eq!(chosen("tpot=8ms"), Some(("a".to_owned(), 1)));
        assert_eq!(chosen("tpot=1ms"), None);
        assert_eq!(chosen("tpot=1s,itl=1s"), None, "too few steps for a p99");
    }

    #[test]
    fn a_curve_flattens_at_its_first_cell_that_is_fast_enough() {
        let view = view([5, 12, 31, 120], [5, 40, 160, 640]);
        let curves = curves(&view, Along::Batch);
        let batches: Vec<(u32, u32)> = curves
            .iter()
            .filter_map(flattens)
            .map(|(first, most)| (first.case.n_seq, most.case.n_seq))
            .collect();
        assert_eq!(batches[0], (32, 128));
        assert_eq!(batches[1].0, 1, "batching gains nothing");
    }
}
