//! What fits a device of so much memory, as two tables.

use super::axes;
use super::comparison::of_cells;
use super::table::{Document, Note, Table};
use crate::plan::vram::{DeviceFit, DeviceFits, LargestFit};
use crate::plan::{Case, remedy};
use crate::text::cut_middle;
use crate::units;

/// Columns of a model's name.
const MODEL_WIDTH: usize = 20;

/// A cell and the case that tells it from others, without its layers.
struct FitRow<'a> {
    case: Case,
    fit: &'a DeviceFit,
}

/// The cells with their layers and bytes, and the largest that fits.
pub fn documents(fits: &DeviceFits, notes: Vec<String>) -> [Document; 2] {
    let rows: Vec<FitRow<'_>> = fits
        .cells
        .iter()
        .map(|fit| FitRow {
            case: Case {
                n_gpu_layers: 0,
                ..fit.case.clone()
            },
            fit,
        })
        .collect();
    let cases: Vec<&Case> = rows.iter().map(|row| &row.case).collect();
    let names = axes::models(&cases);
    let memory = format!(
        "{}, of which a cell may take {}",
        units::bytes(fits.vram_bytes),
        units::bytes(fits.usable_bytes)
    );
    let model = match names[..] {
        [model] => model,
        _ => "",
    };
    let cells = Document::new(format!("Fits: {}", names.join(", ")), cells_table(&rows))
        .above("device", memory)
        .above("model", model)
        .above("cells", axes::constants(&cases))
        .below("", LEGEND)
        .all_below(without_steps(fits))
        .all_below(to_fit(&rows))
        .all_below(notes.into_iter().map(|text| Note::new("note", text)));
    let largest =
        Document::new("The most that fits", largest_table(&fits.largest)).below("", LARGEST_LEGEND);
    [cells, largest]
}

fn cells_table(rows: &[FitRow<'_>]) -> Table {
    let bytes = units::bytes;
    // Few models have a recurrent state.
    let has_state = rows.iter().any(|r| r.fit.device.state_bytes > 0);
    let has_step = rows.iter().any(|r| r.fit.step.is_some());
    of_cells(Table::of(rows), |row| &row.case)
        .numbers("layers", |r| {
            layers(r.fit.case.n_gpu_layers, r.fit.n_layers)
        })
        .numbers("weights", |r| bytes(r.fit.device.weights_bytes))
        .rank(2)
        .numbers("KV", |r| bytes(r.fit.device.kv_bytes))
        .rank(2)
        .numbers("state", |r| bytes(r.fit.device.state_bytes))
        .rank(3)
        .only_if(has_state)
        .numbers("compute", |r| bytes(r.fit.device.compute_bytes))
        .rank(2)
        .numbers("device", |r| bytes(r.fit.device.total_bytes()))
        .numbers("host", |r| bytes(r.fit.host.total_bytes()))
        .rank(4)
        .numbers("step", |r| {
            let step = r.fit.step.as_ref()?;
            Some(units::duration(step.total.ns.round() as u64))
        })
        .rank(3)
        .why("layers stay on the host")
        .only_if(has_step)
        .table()
}

/// `33/33`: how many of a model's layers.
fn layers(n: u32, of: u32) -> String {
    format!("{n}/{of}")
}

fn largest_table(rows: &[LargestFit]) -> Table {
    let has_several = rows.iter().any(|r| r.model != rows[0].model);
    let number = |n: Option<u32>| n.map(|n| n.to_string());
    Table::of(rows)
        .words("model", |r| cut_middle(&r.model, MODEL_WIDTH))
        .only_if(has_several)
        .words("K, V", |r| match r.type_k == r.type_v {
            true => r.type_k.to_string(),
            false => format!("{}, {}", r.type_k, r.type_v),
        })
        .numbers("ctx", |r| r.n_ctx)
        .numbers("largest", |r| number(r.n_seq))
        .unit("batch")
        .numbers("its longest", |r| number(r.n_ctx_at_n_seq))
        .unit("ctx")
        .why("all layers do not fit, or --kv fit has no context of its own")
        .numbers("longest ctx", |r| number(r.n_ctx_of_one))
        .unit("of batch 1")
        .numbers("most layers", |r| layers(r.n_gpu_layers_of_one, r.n_layers))
        .unit("of batch 1")
        .table()
}

/// Why no step has a time.
fn without_steps(fits: &DeviceFits) -> Option<Note> {
    let has_step = fits.cells.iter().any(|fit| fit.step.is_some());
    let why = "n/a: no ceilings of such a device are known here";
    (!has_step).then(|| Note::new("step time", why))
}

/// What helps the cells that do not fit whole.
fn to_fit(rows: &[FitRow<'_>]) -> Option<Note> {
    let partly = rows.iter().filter(|row| !row.fit.is_whole());
    let cases: Vec<&Case> = partly.map(|row| &row.case).collect();
    if cases.is_empty() {
        return None;
    }
    let text = match remedy::of_memory(cases, false) {
        Some(remedy) => format!("all layers of the other cells need less memory, with {remedy}"),
        None => "all layers of the other cells need a smaller file, or a device with more memory"
            .to_owned(),
    };
    Some(Note::new("next", text))
}

/// What the columns mean.
const LEGEND: &str = "layers: the most that fit the device, the output counted as one, for --n-gpu-layers. weights, KV, compute: what of \
     them lies on the device. host: what stays in the machine's own memory. Computed from the file's header; nothing was loaded.";

/// What the columns of the largest mean.
const LARGEST_LEGEND: &str =
    "batch and ctx with all layers on the device; ctx is tokens of each sequence (--n-ctx).";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::synth::preset_facts;
    use crate::plan::KvType;
    use crate::report::fixture::{MIB, case};
    use crate::text::width as width_of;

    fn fits(preset: &str, batches: &[u32]) -> DeviceFits {
        let model = preset_facts(preset, "q4_k_m");
        let of = |cache: KvType| {
            batches.iter().map(move |&n| Case {
                type_k: cache,
                type_v: cache,
                ..case(preset, n)
            })
        };
        let cells: Vec<Case> = [KvType::F16, KvType::Q8_0]
            .into_iter()
            .flat_map(of)
            .collect();
        DeviceFits::of(8188 * MIB, cells.iter().map(|c| (c, &model)))
    }

    fn render(fits: &DeviceFits, width: usize) -> String {
        documents(fits, Vec::new())
            .map(|d| d.terminal(width, false))
            .join("\n")
    }

    #[test]
    fn an_8_gb_card_has_its_cells_and_the_most_that_fits() {
        let text = render(&fits("llama3.1-8b", &[1, 8, 32]), 80);
        assert!(text.lines().all(|l| width_of(l) <= 80), "{text}");
        for column in ["layers", "weights", "KV", "compute", "device", "host"] {
            assert!(text.contains(column), "no {column}: {text}");
        }
        assert!(
            text.contains("8.00 GiB, of which a cell may take 7.60 GiB"),
            "{text}"
        );
        assert!(
            text.contains("33/33") && text.contains("4.30 GiB"),
            "{text}"
        );
        assert!(text.contains("step time: n/a"), "{text}");
    }

    #[test]
    fn what_does_not_fit_says_what_would_help() {
        let text = render(&fits("llama3.1-70b", &[1]), 80);
        assert!(
            text.contains("next: all layers of the other cells"),
            "{text}"
        );
        assert!(
            text.contains("n/a"),
            "no batch fits with all layers: {text}"
        );
        let text = render(&fits("llama3.2-1b", &[1]), 80);
        assert!(!text.contains("next:"), "{text}");
        // Narrow and empty tables are no reason to panic.
        render(&fits("llama3.2-1b", &[1]), 20);
        documents(&DeviceFits::of(1, std::iter::empty()), Vec::new());
    }
}
