//! The answers of a run of cells in a line each.

use super::trust::known;
use super::{for_all, for_one, named, rate, step, with_settings, within_limits};
use crate::analysis::bottleneck::{self, Bottleneck};
use crate::analysis::capacity::Slo;
use crate::analysis::choice::{self, CellChoice};
use crate::analysis::theory::Theory;
use crate::analysis::words::by_saying;
use crate::analysis::{Answer, Sure};
use crate::metric::Metric;
use crate::units;
use crate::view::{CellView, RunView};

/// What [`lead`](super::lead) says at length: which file and batch, within which limits, what bounds it, how sure.
pub fn brief(view: &RunView, theory: &Theory, slo: Option<&Slo>) -> Vec<Answer> {
    let Some(without) = choice::for_all(view, None) else {
        let result = match &view.header.imported {
            Some(imported) if view.any_batch_measured() => {
                format!(
                    "no choice of a file and a batch, as {} does not time single steps",
                    imported.tool
                )
            }
            _ if view.cells.iter().any(|c| c.n_repetitions > 0) => {
                let rest = match view.can_be_resumed() {
                    true => "; --resume completes the run",
                    false => "",
                };
                format!("no cell was measured to its end{rest}")
            }
            _ => "no cell was measured".to_owned(),
        };
        return vec![Answer::new("result", result)];
    };
    let mut answers = Vec::new();
    answers.extend(slo.map(|slo| Answer::new("limits", within_limits(view, slo).claim)));
    let all = choice::for_all(view, slo);
    let one = choice::for_one(view, slo);
    match &all {
        Some(all) => {
            let is_both = one.as_ref().is_some_and(|o| o.cell.case == all.cell.case);
            let label = if is_both { "best" } else { "many users" };
            let sure = for_all(view, all, None).sure;
            answers.push(Answer::new(label, chosen(view, all, sure)));
            answers.extend(one.as_ref().filter(|_| !is_both).map(|one| {
                let sure = for_one(view, one).sure;
                Answer::new("one user", chosen(view, one, sure))
            }));
        }
        None => {
            let sure = for_all(view, &without, None).sure;
            let text = chosen(view, &without, sure);
            answers.push(Answer::new("no limits", text));
        }
    }
    if choice::is_by_speed_only(view) {
        let text = "speed only: quality was not measured";
        answers.push(Answer::new("accuracy", text));
    }
    if let Some(text) = choice::too_much_lost(view, all.as_ref().unwrap_or(&without).cell) {
        answers.push(Answer::new("accuracy", text));
    }
    let mut cells = vec![all.as_ref().unwrap_or(&without).cell];
    cells.extend(one.map(|o| o.cell));
    cells.dedup_by(|a, b| a.case == b.case);
    answers.push(Answer::new("limited by", bounds(view, theory, &cells)));
    answers.push(Answer::new("how sure", known(view)));
    answers
}

fn chosen(view: &RunView, choice: &CellChoice<'_>, sure: Sure) -> String {
    let cell = choice.cell;
    let spread = cell.interval(Metric::DecodeTokensPerS).and_then(|i| {
        let shown = i.plus_minus(units::significant)?;
        Some(match shown.starts_with('±') {
            true => format!(" {shown}"),
            false => format!(" (95%: {shown})"),
        })
    });
    // Of many sequences the first token is that of the last one, which no user waits for alone.
    let ttft = cell.ns(Metric::TtftNs).filter(|_| cell.case.n_seq == 1);
    let ttft = ttft.map(|ns| format!(", first after {}", units::duration(ns)));
    format!(
        "{}, batch {}: {} tokens/s{}, median step {}{}{}",
        with_settings(view, cell),
        cell.case.n_seq,
        units::significant(rate(cell)),
        spread.unwrap_or_default(),
        step(cell),
        ttft.unwrap_or_default(),
        sure.hedge()
    )
}

/// What bounds each of some cells; those of which the same is known share a part of the sentence.
fn bounds(view: &RunView, theory: &Theory, cells: &[&CellView]) -> String {
    let one_model = cells.iter().all(|c| c.case.model == cells[0].case.model);
    let said = cells.iter().map(|cell| {
        let place = match one_model {
            true => format!("batch {}", cell.case.n_seq),
            false => format!("{} at batch {}", named(cell), cell.case.n_seq),
        };
        let found = bottleneck::of(view, cell, theory.ceiling(cell));
        (place, in_short(&found))
    });
    let said = by_saying(said.collect());
    if let [(found, _)] = &said[..] {
        return found.clone();
    }
    let parts = said.iter();
    let parts = parts.map(|(found, places)| format!("{}: {found}", places.join(", ")));
    parts.collect::<Vec<_>>().join("; ")
}

fn in_short(found: &Bottleneck) -> String {
    match (found.bound, &found.why_not) {
        (Some(bound), _) => bound.short().to_owned(),
        (None, Some(why)) => format!("undetermined: {why}"),
        (None, None) => "undetermined".to_owned(),
    }
}
