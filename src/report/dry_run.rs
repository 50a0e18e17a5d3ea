//! What a run would cost, before it is begun: memory and time of every cell, and what does not fit.

use std::time::Duration;

use comfy_table::{CellAlignment, Table, presets};

use super::axes;
use super::text::{cut_end, cut_middle, paragraph, plain, width as width_of};
use crate::plan::Case;
use crate::plan::budget::MemoryPrice;
use crate::units;

/// A cell and its price.
#[derive(Debug, Clone, PartialEq)]
pub struct DryRow {
    /// The cell.
    pub case: Case,
    /// The memory it needs.
    pub price: MemoryPrice,
    /// Whether that fits; else where it does not.
    pub fits: Result<(), Over>,
    /// Its share of the whole run's time, over all replicates.
    pub time: Duration,
}

/// Where a cell does not fit.
#[derive(Debug, Clone, PartialEq)]
pub struct Over {
    /// Bytes it needs there.
    pub needs_bytes: u64,
    /// Bytes there are.
    pub has_bytes: u64,
    /// The GPUs; none: the host.
    pub device: Option<String>,
}

/// [`render`] for standard output.
pub fn for_stdout(rows: &[DryRow]) -> String {
    render(rows, super::terminal::width())
}

/// The cells, fitted to `width` columns where a table of them can be, with sums.
pub fn render(rows: &[DryRow], width: usize) -> String {
    let cases: Vec<&Case> = rows.iter().map(|r| &r.case).collect();
    let models = axes::models(&cases);
    let mut lines = Vec::new();
    if let [model] = models[..] {
        lines.push(format!(
            "model    {}",
            cut_middle(&plain(model), width.saturating_sub(9))
        ));
    }
    let constants = axes::constants(&cases);
    if !constants.is_empty() {
        lines.extend(paragraph("cells    ", &constants, width));
    }
    if !lines.is_empty() {
        lines.push(String::new());
    }
    let grid = grid(rows, &cases);
    let (head, body) = grid.split_at(grid.len().min(1));
    let rule = grid.iter().map(|line| width_of(line)).max().unwrap_or(0);
    lines.extend(head.iter().map(|line| cut_end(line, width)));
    lines.push("─".repeat(rule.min(width)));
    let mut group = None;
    for (row, line) in rows.iter().zip(body) {
        if models.len() > 1 && group != Some(&row.case.model) {
            lines.push(cut_middle(&plain(&row.case.model), width));
            group = Some(&row.case.model);
        }
        lines.push(cut_end(line, width));
    }
    lines.push(String::new());
    lines.extend(sum(rows, width));
    let mut text = lines.join("\n");
    text.push('\n');
    text
}

fn grid(rows: &[DryRow], cases: &[&Case]) -> Vec<String> {
    let axes = axes::columns(cases);
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    let names = axes.iter().map(|a| a.heading());
    // Few models have a recurrent state.
    let has_state = rows.iter().any(|r| r.price.state_bytes > 0);
    let state = has_state.then_some("state");
    let parts = ["weights", "KV"].into_iter().chain(state);
    table.set_header(
        names
            .chain(parts)
            .chain(["compute", "total", "time", "fits"]),
    );
    for row in rows {
        let values = axes.iter().map(|a| a.value(&row.case));
        let price = [row.price.weights_bytes, row.price.kv_bytes]
            .into_iter()
            .chain(has_state.then_some(row.price.state_bytes))
            .chain([row.price.compute_bytes, row.price.total_bytes()])
            .map(units::bytes);
        let verdict = match &row.fits {
            Ok(()) => ["~".to_owned() + &time(row.time), "yes".to_owned()],
            Err(over) => {
                let has = units::bytes(over.has_bytes);
                let no = match &over.device {
                    Some(device) => {
                        let needs = units::bytes(over.needs_bytes);
                        format!("no: {} of {needs} on {}", has, cut_end(&plain(device), 20))
                    }
                    None => format!("no: has {has}"),
                };
                ["skipped".to_owned(), no]
            }
        };
        table.add_row(values.chain(price).chain(verdict));
    }
    let last = axes.len() + 5 + usize::from(has_state);
    for (at, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 2));
        column.set_cell_alignment(if at == last {
            CellAlignment::Left
        } else {
            CellAlignment::Right
        });
    }
    table
        .lines()
        .map(|line| line.trim_end().to_owned())
        .collect()
}

fn sum(rows: &[DryRow], width: usize) -> Vec<String> {
    let fitting = || rows.iter().filter(|r| r.fits.is_ok());
    let total: Duration = fitting()
        .map(|r| r.time)
        .fold(Duration::ZERO, Duration::saturating_add);
    let n = fitting().count();
    let mut lines = paragraph(
        "",
        &format!(
            "{n} of {} cells would be measured, in about {} with the fewest repetitions in every process. \
             Nothing was loaded.",
            rows.len(),
            time(total)
        ),
        width,
    );
    for row in rows {
        if let Err(over) = &row.fits {
            let text = format!(
                "{}: needs {}{}, has {}",
                plain(row.case.id().as_str()),
                units::bytes(over.needs_bytes),
                over.device
                    .as_ref()
                    .map_or_else(String::new, |device| format!(" on {}", plain(device))),
                units::bytes(over.has_bytes)
            );
            lines.extend(paragraph("does not fit: ", &text, width));
        }
    }
    if n < rows.len() {
        let skipped = rows.iter().filter(|r| r.fits.is_err()).map(|r| &r.case);
        lines.extend(paragraph("", &super::notes::to_fit(skipped), width));
    }
    lines
}

fn time(d: Duration) -> String {
    units::duration(u64::try_from(d.as_nanos()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture::{MIB, case};

    fn rows() -> Vec<DryRow> {
        let row = |n_seq: u32, seconds: u64, fits| DryRow {
            case: case("smollm2-135m-q4_0", n_seq),
            price: MemoryPrice {
                weights_bytes: 86 * MIB,
                kv_bytes: 45 * MIB * u64::from(n_seq),
                state_bytes: 0,
                compute_bytes: 105 * MIB,
            },
            fits,
            time: Duration::from_secs(seconds),
        };
        vec![
            row(1, 2, Ok(())),
            row(32, 40, Ok(())),
            row(256, 300, Err(over(None))),
        ]
    }

    fn over(device: Option<&str>) -> Over {
        Over {
            needs_bytes: 11_711 * MIB,
            has_bytes: 8 * 1024 * MIB,
            device: device.map(str::to_owned),
        }
    }

    #[test]
    fn a_cell_that_does_not_fit_a_gpu_says_so() {
        let mut rows = rows();
        rows[2].fits = Err(over(Some("CUDA0")));
        let text = render(&rows, 120);
        assert!(
            text.contains("needs 11.4 GiB on CUDA0, has 8.00 GiB"),
            "{text}"
        );
        assert!(text.contains("no: 8.00 GiB of 11.4 GiB on CUDA0"), "{text}");
    }

    #[test]
    fn says_what_each_cell_costs_and_what_does_not_fit() {
        let text = render(&rows(), 80);
        insta::assert_snapshot!(text);
        assert!(text.lines().all(|l| width_of(l) <= 80));
        assert!(
            text.contains("in about 42.0 s"),
            "cells that do not fit take no time"
        );
    }

    #[test]
    fn a_recurrent_state_has_a_column_where_a_model_has_one() {
        let mut rows = rows();
        assert!(!render(&rows, 80).contains("state"));
        rows[1].price.state_bytes = 32 * 24 * MIB;
        let text = render(&rows, 90);
        assert!(text.contains("state") && text.contains("768 MiB"), "{text}");
    }

    #[test]
    fn no_cells_and_no_room_are_no_reason_to_panic() {
        render(&[], 80);
        let text = render(&rows(), 20);
        assert!(text.contains("batch"));
    }
}
