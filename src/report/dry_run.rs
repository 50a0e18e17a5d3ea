//! What a run would cost, before it is begun: memory and time of every cell, and what does not fit.

use std::time::Duration;

use super::axes;
use super::table::{Document, Note, Table};
use super::text::{cut_end, plain};
use crate::plan::Case;
use crate::plan::budget::MemoryPrice;
use crate::plan::remedy;
use crate::plan::run_time::RunTime;
use crate::record::Outcome;
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
    /// Whether that is from its own kernels, which were timed earlier, and not from a quick look at the machine.
    pub is_timed: bool,
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
    /// Most layers that fit these GPUs.
    pub n_gpu_layers: Option<u32>,
}

impl Over {
    /// Whether a cell of this outcome fits.
    pub fn check(outcome: Option<&Outcome>) -> Result<(), Self> {
        match outcome {
            Some(Outcome::Skipped {
                needs_bytes,
                has_bytes,
                device,
                n_gpu_layers,
            }) => Err(Self {
                needs_bytes: *needs_bytes,
                has_bytes: *has_bytes,
                device: device.clone(),
                n_gpu_layers: *n_gpu_layers,
            }),
            _ => Ok(()),
        }
    }

    /// The line that names what does not fit.
    pub fn line(&self, name: &str) -> Note {
        let device = self.device.as_ref();
        let text = format!(
            "{name}: needs {}{}, has {}{}",
            units::bytes(self.needs_bytes),
            device.map_or_else(String::new, |device| format!(" on {device}")),
            units::bytes(self.has_bytes),
            remedy::of_layers(self.n_gpu_layers)
        );
        Note::new("does not fit", text)
    }
}

/// The cells with their prices and sums.
pub fn document(rows: &[DryRow], whole: &RunTime) -> Document {
    let cases: Vec<&Case> = rows.iter().map(|r| &r.case).collect();
    let models = axes::models(&cases);
    let model = match models[..] {
        [model] => plain(model),
        _ => String::new(),
    };
    let is_over = |r: &&DryRow| r.fits.is_err();
    let mut document = Document::new("", table(rows, &cases))
        .above("model", model)
        .above("cells", axes::constants(&cases))
        .below("", sum(rows, whole))
        .all_below(whole.over_budget().map(|text| Note::new("budget", text)))
        .all_below(rows.iter().filter_map(|row| {
            let over = row.fits.as_ref().err()?;
            Some(over.line(row.case.id().as_str()))
        }));
    if rows.iter().any(|r| is_over(&r)) {
        let over = |r: &'_ DryRow| Some(r.fits.as_ref().err()?.device.is_some());
        let skipped = rows.iter().filter_map(|r| Some((&r.case, over(r)?)));
        document = document.below("", super::notes::to_fit(skipped));
    }
    document
}

fn table(rows: &[DryRow], cases: &[&Case]) -> Table {
    let mut table = Table::of(rows);
    if axes::models(cases).len() > 1 {
        table = table.groups("model", |r| (r.case.model.clone(), r.case.model.clone()));
    }
    for axis in axes::columns(cases) {
        table = table.numbers(axis.heading(), |r| axis.value(&r.case));
    }
    // Few models have a recurrent state.
    let has_state = rows.iter().any(|r| r.price.state_bytes > 0);
    table
        .numbers("weights", |r| units::bytes(r.price.weights_bytes))
        .numbers("KV", |r| units::bytes(r.price.kv_bytes))
        .numbers("state", |r| units::bytes(r.price.state_bytes))
        .only_if(has_state)
        .numbers("compute", |r| units::bytes(r.price.compute_bytes))
        .numbers("total", |r| units::bytes(r.price.total_bytes()))
        .numbers("time", |r| match r.fits {
            Ok(()) => format!("~{}", time(r.time)),
            Err(_) => "skipped".to_owned(),
        })
        .words("fits", |r| fits(&r.fits))
        .table()
}

/// `yes`, or `no` and what there is.
pub fn fits(fits: &Result<(), Over>) -> String {
    let Err(over) = fits else {
        return "yes".to_owned();
    };
    let has = units::bytes(over.has_bytes);
    match &over.device {
        Some(device) => {
            let needs = units::bytes(over.needs_bytes);
            format!("no: {has} of {needs} on {}", cut_end(&plain(device), 20))
        }
        None => format!("no: has {has}"),
    }
}

fn sum(rows: &[DryRow], whole: &RunTime) -> String {
    let fitting = rows.iter().filter(|r| r.fits.is_ok()).count();
    let most = whole.most_in_budget();
    let is_measured = |row: &&DryRow| row.fits.is_ok();
    let source = match rows.iter().filter(is_measured).all(|row| row.is_timed) {
        true => "from the times of the engine's kernels that are kept for this machine",
        false => {
            "rough, from a quick look at this machine's memory and processor: `ggufbench predict` times the engine's kernels, which makes them \
             exact to about a fifth"
        }
    };
    let range = match (most > whole.fewest, whole.budget) {
        (false, _) => String::new(),
        (true, Some(budget)) if budget < whole.most => {
            format!(" to {}, which is the budget", time(most))
        }
        (true, _) => format!(" to {} with the most", time(most)),
    };
    let fewest = match whole.least_decided {
        Some((decided, n_pairs)) => format!(
            "{} with one pair of each, {} with the {n_pairs} pairs that a verdict needs at least",
            time(whole.fewest),
            time(decided)
        ),
        None => format!(
            "{} with the fewest repetitions in every process",
            time(whole.fewest)
        ),
    };
    format!(
        "{fitting} of {} cells would be measured, in about {fewest}{range}, loading included. These times are {source}. Nothing was loaded.",
        rows.len()
    )
}

/// A time to come.
pub fn time(d: Duration) -> String {
    units::duration(u64::try_from(d.as_nanos()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture::{MIB, case};
    use crate::text::width as width_of;

    fn render(rows: &[DryRow], width: usize) -> String {
        document(rows, &WHOLE).terminal(width, false)
    }

    const WHOLE: RunTime = RunTime {
        fewest: Duration::from_secs(42),
        most: Duration::from_secs(150),
        budget: None,
        least_decided: None,
        n_fewest: (3, 2),
    };

    #[test]
    fn the_whole_takes_from_the_fewest_repetitions_to_the_most_or_the_budget() {
        let text = |whole: &RunTime| {
            let text = document(&rows(), whole).terminal(500, false);
            text.split_whitespace().collect::<Vec<_>>().join(" ")
        };
        let plain = text(&WHOLE);
        assert!(
            plain.contains("in about 42.0 s with the fewest repetitions in every process to 2 min 30 s with the most"),
            "{plain}"
        );
        assert!(plain.contains("These times are rough"), "{plain}");
        let mut timed = rows();
        timed[..2].iter_mut().for_each(|row| row.is_timed = true);
        let timed = document(&timed, &WHOLE).terminal(500, false);
        assert!(
            !timed.contains("rough") && timed.contains("kept for this machine"),
            "{timed}"
        );
        let budget = |s| RunTime {
            budget: Some(Duration::from_secs(s)),
            ..WHOLE
        };
        let cut = text(&budget(100));
        assert!(cut.contains("to 1 min 40 s, which is the budget"), "{cut}");
        let roomy = text(&budget(1000));
        assert!(
            roomy.contains("with the most") && !roomy.contains("budget"),
            "{roomy}"
        );
        let short = text(&budget(20));
        assert!(
            !short.contains("with the most") && !short.contains("which is the budget"),
            "{short}"
        );
        assert!(
            short.contains("budget: the run takes longer than its budget of 20.0 s"),
            "{short}"
        );
    }

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
            is_timed: false,
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
            n_gpu_layers: device.map(|_| 20),
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
        assert!(text.contains("; --n-gpu-layers 20 fits"), "{text}");
        let in_one_line = text.replace('\n', " ");
        assert!(in_one_line.contains("fewer layers on the device"), "{text}");
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
