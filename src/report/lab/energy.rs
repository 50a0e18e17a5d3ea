//! What tokens cost in energy: of GPUs and processor side by side, and why it is not known.

use super::{Block, Grid, Places, or_na};
use crate::text::plural;
use crate::units;
use crate::view::{CellEnergy, CellView, RunView};

/// Rows of the table; runs of many cells have all of it in cells.csv.
const MOST_ROWS: usize = 48;

/// Whose energy, and how a cell gives it.
type Source = (
    &'static str,
    fn(&CellView) -> Option<&CellEnergy>,
    fn(&CellView) -> Option<&str>,
);

const SOURCES: [Source; 2] = [
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
    let grid = table(view, cells);
    if !grid.rows.is_empty() {
        blocks.push(Block::Table(grid));
        blocks.push(Block::Text(reading(view, cells)));
    }
    let unknown = unknown(cells);
    if !unknown.is_empty() {
        blocks.push(Block::List(unknown));
    }
    blocks
}

fn table(view: &RunView, cells: &[&CellView]) -> Grid {
    let places = Places::of(view);
    let cost = view
        .price
        .as_ref()
        .map(|price| format!("{} a million tokens", price.unit()));
    let mut heads = vec![
        "of",
        "joules/token",
        "above idle",
        "prompt J/token",
        "power",
        "idle power",
    ];
    heads.extend(cost.as_deref());
    let mut grid = places.grid(&heads);
    for cell in cells.iter().take(MOST_ROWS) {
        for (name, energy, _) in SOURCES {
            let Some(energy) = energy(cell) else { continue };
            let joules = |j: Option<f64>| or_na(j.map(units::fine));
            let watts = |w: Option<f64>| or_na(w.map(|w| format!("{w:.0} W")));
            let mut row = places.row(cell);
            row.extend([
                name.to_owned(),
                joules(energy.decode_j_per_token),
                joules(energy.decode_j_per_token_above_idle),
                joules(energy.prefill_j_per_token),
                watts(energy.decode_power_w),
                watts(energy.idle_power_w),
            ]);
            if let Some(price) = &view.price {
                let cost = energy
                    .decode_j_per_token
                    .map(|j| price.of_million_tokens(j));
                row.push(or_na(cost.map(units::fine)));
            }
            grid.rows.push(row);
        }
    }
    grid
}

fn reading(view: &RunView, cells: &[&CellView]) -> String {
    let mut text = String::from(
        "Joules per token: by the devices' own energy counters while tokens were generated, of all sequences together; n/a \
         where a phase was too short for the counter. Power: the mean of the same time. CPU: whole packages, everybody's work \
         included; the rest of the machine is in no figure.",
    );
    let energies = || {
        let of_cell = |cell: &&&CellView| SOURCES.map(|(_, energy, _)| energy(cell).copied());
        cells.iter().flat_map(move |cell| of_cell(&cell)).flatten()
    };
    match energies().find_map(|e| e.idle_over_ns) {
        Some(ns) => text.push_str(&format!(
            " Idle power: the mean over {} before anything was loaded; above idle is what is left without it.",
            units::duration(ns)
        )),
        None if energies().any(|e| e.idle_power_w.is_some()) => text.push_str(
            " Idle power: one reading of the power sensor before anything was loaded; above idle is what is left without it.",
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
