//! Forecast against actual: what ceilings say of cells, and curves of the batches that they were not fitted to.

use super::{Block, cell_table, first_rows};
use crate::analysis::curve::is_measured;
use crate::analysis::theory::{StepForecast, Theory};
use crate::metric::Metric;
use crate::report::table::Table;
use crate::roofline::ceiling::Span;
use crate::units;
use crate::view::{CellView, RunView};

/// The curves that steps follow, and how well they predict batches they have not seen.
pub(super) fn fits(theory: &Theory) -> Vec<Block> {
    let mut blocks = vec![Block::Heading("Predicted and measured".to_owned())];
    if theory.fits.is_empty() {
        blocks.push(Block::Text(
            "A curve over the batch needs three batch sizes of one file.".to_owned(),
        ));
        return blocks;
    }
    let sentences = theory.fits.iter().map(|fit| {
        let form = &fit.fit.form;
        let residual = fit.fit.residual_share.map_or(String::new(), |r| {
            format!(", with residuals of {}", units::percent(r))
        });
        let knee = fit.knee.map_or(String::new(), |k| {
            // A batch far beyond all that are measured bounds nothing.
            let range = k
                .interval
                .map_or(String::new(), |(lo, hi)| match hi < 100.0 * k.batch {
                    true => format!(
                        " (95%: {} to {})",
                        units::significant(lo),
                        units::significant(hi)
                    ),
                    false => " (95%: unknown)".to_owned(),
                });
            format!(
                " A step takes twice as long as that of one sequence at batch {}{range}.",
                units::significant(k.batch)
            )
        });
        let n = fit.fit.n;
        let proven = match fit.proven {
            true => format!("chosen by AICc among {n} batch sizes"),
            false => format!("which fits these {n} batch sizes; they are too few to prove it"),
        };
        format!(
            "{}: the step follows t = {} ({}){residual}; {proven}.{knee}",
            fit.label,
            form.formula(),
            form.words()
        )
    });
    blocks.push(Block::List(sentences.collect()));
    let held_out = held_out(theory);
    if held_out.is_empty() {
        blocks.push(Block::Text(
            "Predicting a batch from the others needs four batch sizes of one file.".to_owned(),
        ));
    } else {
        blocks.push(Block::Text(
            "Each batch was left out in turn, and the curve that was chosen and fitted from the others predicted it.".to_owned(),
        ));
        blocks.push(Block::Table(held_out));
    }
    blocks
}

fn held_out(theory: &Theory) -> Table {
    let fits = theory.fits.iter();
    let rows: Vec<_> = fits
        .flat_map(|fit| fit.held_out.iter().map(move |h| (fit, h)))
        .collect();
    let time = |ns: f64| units::duration(ns.round() as u64);
    let range = |(lo, hi): (f64, f64)| format!("{} to {}", time(lo), time(hi));
    Table::of(&rows)
        .words("curve", |(fit, _)| fit.label.as_str())
        .numbers("batch left out", |(_, held)| held.batch.to_string())
        .numbers("step, measured", |(_, held)| time(held.measured_ns))
        .numbers("step, predicted", |(_, held)| time(held.expected_ns))
        .numbers("95% interval", |(_, held)| held.interval_ns.map(range))
        .numbers("error", |(_, held)| {
            format!("{:+.1}%", held.error() * 100.0)
        })
        .table()
}

pub(super) fn expected(view: &RunView, theory: &Theory) -> Table {
    let row = |cell| Some((cell, theory.of_cell(cell)?, cell.median_step_ns()? as f64));
    let measured = view.cells.iter().filter(|c| is_measured(c));
    let rows: Vec<(&CellView, &StepForecast, f64)> = measured.filter_map(row).collect();
    let is_known = theory.ceilings.is_some();
    let step = |e: &StepForecast| Some(e.step.as_ref()?.total);
    let utilisation = |c| theory.utilisation(c).unzip();
    cell_table(view, first_rows(&rows), |(cell, ..)| *cell)
        .numbers("bytes a step", |(_, e, _)| {
            units::bytes(e.cost.bytes() as u64)
        })
        .numbers("GB/s", |(_, e, ns)| units::significant(e.cost.bytes() / ns))
        .numbers("GFLOP/s", |(_, e, ns)| {
            units::significant(e.cost.flops() / ns)
        })
        .numbers("step, actual", |(.., ns)| units::duration(*ns as u64))
        .numbers("step, expected", |(_, e, _)| step(e).map(band))
        .only_if(is_known)
        .numbers("actual / expected", |(_, e, ns)| {
            Some(units::significant(ns / step(e)?.ns))
        })
        .only_if(is_known)
        .numbers("TTFT, expected", |(_, e, _)| e.ttft.map(band))
        .only_if(is_known)
        .numbers("TTFT, actual", |(c, ..)| {
            c.ns(Metric::TtftNs).map(units::duration)
        })
        .only_if(is_known)
        .numbers("MBU", |(c, ..)| utilisation(c).0.map(units::percent))
        .only_if(is_known)
        .numbers("MFU", |(c, ..)| utilisation(c).1.map(units::percent))
        .only_if(is_known)
        .table()
}

fn band(span: Span) -> String {
    let time = |ns: f64| units::duration(ns.round() as u64);
    format!(
        "{} ({} to {})",
        time(span.ns),
        time(span.low_ns),
        time(span.high_ns)
    )
}
