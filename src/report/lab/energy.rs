//! What tokens cost in energy: of GPUs and processor side by side, and why it is not known.

use super::{Block, cell_table, first_rows};
use crate::report::table::Table;
use crate::text::plural;
use crate::units;
use crate::view::{CellEnergy, CellView, RunView};

/// Whose energy, and how a cell gives it.
type EnergySourceOfCell = (
    &'static str,
    fn(&CellView) -> Option<&CellEnergy>,
    fn(&CellView) -> Option<&str>,
);

const SOURCES: [EnergySourceOfCell; 2] = [
    (
        "GPU",
        |cell| cell.usage.gpu_energy.as_ref(),
        |cell| cell.usage.gpu_energy_unknown.as_deref(),
    ),
    (
        "CPU",
        |cell| cell.usage.cpu_energy.as_ref(),
        |cell| cell.usage.cpu_energy_unknown.as_deref(),
    ),
];

/// A heading, a table where any energy was read, how to read it, and what was not measured and why.
pub(super) fn blocks(view: &RunView, cells: &[&CellView]) -> Vec<Block> {
    let mut blocks = vec![Block::Heading("Energy".to_owned())];
    let table = table(view, cells);
    if !table.is_empty() {
        blocks.push(Block::Table(table));
        blocks.push(Block::Text(reading(view, cells)));
    }
    let unknown = unknown(cells);
    if !unknown.is_empty() {
        blocks.push(Block::List(unknown));
    }
    blocks
}

fn table(view: &RunView, cells: &[&CellView]) -> Table {
    let sources = first_rows(cells)
        .iter()
        .flat_map(|cell| SOURCES.map(|source| (*cell, source)));
    let rows: Vec<(&CellView, &str, &CellEnergy)> = sources
        .filter_map(|(cell, (name, energy, _))| Some((cell, name, energy(cell)?)))
        .collect();
    let cost = |energy: &CellEnergy| {
        let price = view.price.as_ref()?;
        let joules = energy.decode_j_per_token?;
        Some(units::significant(price.of_million_tokens(joules)))
    };
    let head = view
        .price
        .as_ref()
        .map(|price| format!("{} a million tokens", price.unit()));
    let joules = |j: Option<f64>| j.map(units::significant);
    let watts = |w: Option<f64>| w.map(|w| format!("{w:.0} W"));
    cell_table(view, &rows, |(c, ..)| *c)
        .numbers("of", |(_, name, _)| *name)
        .numbers("joules/token", |(.., e)| joules(e.decode_j_per_token))
        .numbers("above idle", |(.., e)| {
            joules(e.decode_j_per_token_above_idle)
        })
        .numbers("prompt J/token", |(.., e)| joules(e.prefill_j_per_token))
        .numbers("power", |(.., e)| watts(e.decode_power_w))
        .numbers("idle power", |(.., e)| watts(e.idle_power_w))
        .numbers(head.clone().unwrap_or_default(), |(.., e)| cost(e))
        .only_if(head.is_some())
        .table()
}

fn reading(view: &RunView, cells: &[&CellView]) -> String {
    let mut text = String::from(
        "Joules per token: by the devices' own energy counters while tokens were generated, of all sequences together; n/a \
         where a phase was too short for the counter. Power: the mean of the same time. CPU: whole packages, \
         including the work of other programs; no figure includes the rest of the machine.",
    );
    let energies = || {
        let of_cell = |cell: &&&CellView| SOURCES.map(|(_, energy, _)| energy(cell).copied());
        cells.iter().flat_map(move |cell| of_cell(&cell)).flatten()
    };
    match energies().find_map(|e| e.idle_over_ns) {
        Some(ns) => text.push_str(&format!(
            " Idle power: the mean over {} before anything was loaded; above idle: without this power.",
            units::duration(ns)
        )),
        None if energies().any(|e| e.idle_power_w.is_some()) => text.push_str(
            " Idle power: one reading of the power sensor before anything was loaded; above idle: without this power.",
        ),
        None => {}
    }
    if let Some(price) = &view.price {
        text.push_str(&format!(" Cost: of the energy of that device, at {price}."));
    }
    text
}

/// What was not measured, each reason once.
fn unknown(cells: &[&CellView]) -> Vec<String> {
    let mut sentences = Vec::new();
    for (name, _, unknown) in SOURCES {
        let mut reasons: Vec<(&str, u32)> = Vec::new();
        for reason in cells.iter().filter_map(|cell| unknown(cell)) {
            match reasons.iter_mut().find(|(known, _)| *known == reason) {
                Some((_, n)) => *n += 1,
                None => reasons.push((reason, 1)),
            }
        }
        sentences.extend(reasons.into_iter().map(|(reason, n)| {
            let of = match n as usize == cells.len() {
                true => String::new(),
                false => format!(" of {}", plural(n, "cell", "cells")),
            };
            format!("Energy of the {name}{of}: not measured: {reason}.")
        }));
    }
    sentences
}
