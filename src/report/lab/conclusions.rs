//! What follows: what bounds, what was expected, what would help, what went wrong, what to measure next.

use super::{Block, Grid, command, or_na};
use crate::analysis::bottleneck::{self, Bottleneck, Bound};
use crate::analysis::choice;
use crate::analysis::curve::is_measured;
use crate::analysis::theory::Theory;
use crate::compare::axis::Axis;
use crate::plot::resources::kv_bytes;
use crate::plot::roofline::roofline;
use crate::report::notes;
use crate::text::short;
use crate::units;
use crate::view::{CellView, RunView};

/// The evidence of the two chosen cells, and expected against actual.
pub(super) fn bottleneck(view: &RunView, theory: &Theory) -> Vec<Block> {
    let mut blocks = Vec::new();
    let chosen = chosen(view);
    for cell in &chosen {
        let found = bottleneck::of(view, cell, theory.ceiling(cell));
        blocks.push(Block::Heading(format!(
            "{} at batch {}",
            short(&cell.case.model),
            cell.case.n_seq
        )));
        blocks.push(Block::Text(bottleneck::sentence(cell, &found)));
        blocks.push(Block::Table(evidence(&found)));
        blocks.extend(lacking(view, cell, &found));
    }
    if chosen.is_empty() {
        blocks.push(Block::Text("No cell was measured.".to_owned()));
    }
    blocks.push(Block::Heading("Expected and actual".to_owned()));
    if theory.ceilings.is_some() {
        blocks.push(Block::Table(expected(view, theory)));
        blocks.extend(Block::figures([roofline(view, theory)]));
    } else {
        blocks.push(Block::Missing(
            "What to expect follows from this machine's ceilings, which have not been measured."
                .to_owned(),
            "ggufbench ceiling".to_owned(),
        ));
    }
    blocks
}

fn chosen(view: &RunView) -> Vec<&CellView> {
    let choices = [choice::for_one(view), choice::for_all(view)];
    let mut cells: Vec<&CellView> = choices.into_iter().flatten().map(|c| c.cell).collect();
    cells.dedup_by(|a, b| a.case == b.case);
    cells
}

fn evidence(found: &Bottleneck) -> Grid {
    let mut grid = Grid::of(
        &["evidence", "what was seen", "what it leaves possible"],
        &[],
    );
    for e in &found.evidence {
        let leaves: Vec<&str> = e.leaves.iter().map(|b| b.short()).collect();
        let leaves = match leaves.is_empty() {
            true => "anything".to_owned(),
            false => leaves.join(", "),
        };
        grid.rows
            .push(vec![e.kind.to_string(), e.text.clone(), leaves]);
    }
    grid
}

fn lacking(view: &RunView, cell: &CellView, found: &Bottleneck) -> Vec<Block> {
    let missing = bottleneck::missing(view, cell, found);
    let block = |(axis, why): (Axis, &str)| {
        let flags = match axis.name() {
            "model" => "--model A.gguf,B.gguf,C.gguf --batch 1,8,32".to_owned(),
            "threads" => format!(
                "--batch {} --threads 1-{}",
                cell.case.n_seq,
                cell.case.n_threads.max(2)
            ),
            _ => "--batch 1,8,32".to_owned(),
        };
        Block::Missing(format!("More evidence: {why}."), command(view, &flags))
    };
    missing.into_iter().map(block).collect()
}

fn expected(view: &RunView, theory: &Theory) -> Grid {
    let mut grid = Grid::of(
        &["model"],
        &[
            "batch",
            "step, expected",
            "step, actual",
            "actual / expected",
            "TTFT, expected",
            "TTFT, actual",
            "MBU",
            "MFU",
        ],
    );
    for cell in view.cells.iter().filter(|c| is_measured(c)) {
        let Some(e) = theory.of(cell) else { continue };
        let time = |ns: Option<f64>| or_na(ns.map(|ns| units::duration(ns.round() as u64)));
        let actual = cell.median_step_ns.map(|ns| ns as f64);
        let ratio = actual
            .zip(e.step_ns)
            .map(|(a, e)| units::significant(a / e));
        let (mbu, mfu) = theory.utilisation(cell).unzip();
        grid.rows.push(vec![
            short(&cell.case.model),
            cell.case.n_seq.to_string(),
            time(e.step_ns),
            time(actual),
            or_na(ratio),
            time(e.ttft_ns),
            or_na(cell.ttft_ns.map(units::duration)),
            or_na(mbu.map(units::percent)),
            or_na(mfu.map(units::percent)),
        ]);
    }
    grid
}

/// What would make this machine faster, as far as its own data say so.
pub(super) fn opportunities(view: &RunView) -> Vec<Block> {
    let mut found: Vec<String> = Vec::new();
    let measured: Vec<&CellView> = view.cells.iter().filter(|c| is_measured(c)).collect();
    let missing = &view.header.missing_cpu_features;
    if !missing.is_empty() {
        let names: Vec<String> = missing.iter().map(|f| short(f)).collect();
        found.push(format!(
            "Build the engine for this CPU: it has {}, which the engine has kernels for and was built without.",
            names.join(", ")
        ));
    }
    found.extend(batching(view));
    found.extend(too_many_threads(view, &measured));
    found.extend(by_bound(view));
    if found.is_empty() {
        found.push(
            "The data of this run suggest nothing; the commands below would add evidence."
                .to_owned(),
        );
    }
    vec![Block::List(found)]
}

fn batching(view: &RunView) -> Option<String> {
    let (one, all) = (choice::for_one(view)?, choice::for_all(view)?);
    let gain = all.cell.decode_tokens_per_s? / one.cell.decode_tokens_per_s?;
    (gain >= 1.5).then(|| {
        format!(
            "Batch: {} sequences of {} give {} times the tokens/s of the best single one, at {} times its step.",
            all.cell.case.n_seq,
            short(&all.cell.case.model),
            units::significant(gain),
            units::significant(
                all.cell.median_step_ns.unwrap_or(0) as f64
                    / one.cell.median_step_ns.unwrap_or(1) as f64
            )
        )
    })
}

fn too_many_threads(view: &RunView, measured: &[&CellView]) -> Option<String> {
    let cores = view.header.machine.cpu.available_cores?;
    let over = measured.iter().filter(|c| c.case.n_threads > cores).count();
    (over > 0).then(|| {
        format!(
            "Use at most {cores} threads: {over} of the cells had more than this process may use, and threads that do not \
             run hold up the others."
        )
    })
}

/// What helps against the bound of the chosen cells.
fn by_bound(view: &RunView) -> Vec<String> {
    let mut found = Vec::new();
    for cell in chosen(view) {
        let place = format!("{} at batch {}", short(&cell.case.model), cell.case.n_seq);
        let kv = kv_bytes(view, cell).zip(view.model(&cell.case.model));
        let text = match bottleneck::of(view, cell, None).bound {
            Some(Bound::Weights) => {
                "is bounded by reading weights: a file of fewer bits, or more sequences that share the reading"
            }
            Some(Bound::Compute) => {
                "is bounded by arithmetic: more cores, a GPU, or a type that unpacks faster; a larger batch gains nothing"
            }
            Some(Bound::KvCache) => {
                "is bounded by reading the context: a smaller cache type (--type-k, --type-v q8_0) or shorter contexts"
            }
            Some(Bound::Sampling) => {
                "spends most of a step choosing tokens: a sampler that reads fewer logits"
            }
            Some(Bound::Host) => {
                "spends most of a step outside the engine's kernels: fewer, larger calls"
            }
            None => {
                if let Some((kv, model)) = kv
                    && kv > model.tensor_bytes
                {
                    found.push(format!(
                        "{place} reserves {} of KV cache beside {} of weights: --kv fit, a smaller --n-ctx or cache type \
                         would free memory.",
                        units::bytes(kv),
                        units::bytes(model.tensor_bytes)
                    ));
                }
                continue;
            }
        };
        found.push(format!("{place} {text}."));
    }
    found
}

/// Failures, skipped cells and disturbances.
pub(super) fn trouble(view: &RunView) -> Vec<Block> {
    let mut grid = Grid::of(&["cell", "what happened"], &[]);
    for cell in &view.cells {
        let mut said: Vec<String> = Vec::new();
        if !notes::is_row(cell) {
            said.push(notes::outcome(cell));
        }
        said.extend(
            cell.warnings
                .iter()
                .map(|w| crate::text::plain(&w.to_string())),
        );
        if !said.is_empty() {
            let said: Vec<String> = said.iter().map(|s| crate::text::cut_end(s, 400)).collect();
            grid.rows
                .push(vec![short(cell.case_id.as_str()), said.join("; ")]);
        }
    }
    if grid.rows.is_empty() {
        return vec![Block::Text(
            "Nothing: every cell was measured as planned and undisturbed.".to_owned(),
        )];
    }
    vec![Block::Table(grid)]
}

/// Commands that continue from here.
pub(super) fn next(view: &RunView) -> Vec<Block> {
    let mut blocks = Vec::new();
    for (text, command) in notes::next_steps(view) {
        match command {
            Some(command) => blocks.push(Block::Missing(
                text.trim_end_matches(':').to_owned(),
                crate::text::cut_end(&command, 400),
            )),
            None => blocks.push(Block::Text(text.to_owned())),
        }
    }
    let folder = short(&crate::text::quoted(view.folder()));
    let varying = Axis::varying(
        view.cells
            .iter()
            .filter(|c| is_measured(c))
            .map(|c| &c.case),
    );
    if let Some(axis) = varying.first() {
        let cases = view
            .cells
            .iter()
            .filter(|c| is_measured(c))
            .map(|c| &c.case);
        let values: Vec<String> = axis
            .values(cases)
            .iter()
            .map(|v| short(v))
            .take(2)
            .collect();
        blocks.push(Block::Missing(
            format!(
                "Which values of {} are better than others, beyond chance?",
                axis.name()
            ),
            format!(
                "ggufbench compare {folder} --axis {}={}",
                axis.name(),
                values.join(",")
            ),
        ));
    }
    blocks.push(Block::Missing(
        "Narrower intervals: more processes, not more repetitions.".to_owned(),
        command(view, "--batch 1,8,32 --replicates 10"),
    ));
    blocks
}
