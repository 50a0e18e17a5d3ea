//! What follows: what bounds, what was expected, what would help, what went wrong, what to measure next.

use super::expectation::{expected, fits};
use super::experiments::another_type;
use super::{Block, template, threads_up_to_cores};
use crate::analysis::bottleneck::{self, Bottleneck, Bound, BoundEvidence};
use crate::analysis::choice;
use crate::analysis::curve::is_measured;
use crate::analysis::theory::Theory;
use crate::plan::Axis;
use crate::plan::protocol::MOST_REPLICATES;
use crate::plan::{Case, remedy};
use crate::plot::resources::kv_bytes;
use crate::plot::roofline::roofline;
use crate::report::notes;
use crate::report::requests::warnings::warnings;
use crate::report::shows_cells;
use crate::report::suggest::Suggestion;
use crate::report::table::Table;
use crate::text::{cut_end, plain, short};
use crate::units;
use crate::view::{AnyCell, CellView, CellWarning, RunView};

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
        blocks.push(Block::Text(format!("It is {}.", bottleneck::words(&found))));
        blocks.push(Block::Table(evidence(&found)));
        blocks.extend(lacking(view, cell, &found));
    }
    if chosen.is_empty() {
        blocks.push(Block::Text("No cell was measured.".to_owned()));
    }
    blocks.push(Block::Heading("Expected and actual".to_owned()));
    if theory.ceilings.is_none() {
        let threads = template(view).map(|case| case.n_threads.to_string());
        let command = Suggestion::new(Some("ceiling"));
        let command = match threads {
            Some(threads) => command.flag("--threads", &threads),
            None => command,
        };
        blocks.push(Block::Missing(
            "Expectations need the ceilings of the run's machine, which are not known here. This measures them on that machine:"
                .to_owned(),
            command.to_string(),
        ));
    }
    if !theory.cells.is_empty() {
        blocks.push(Block::Text(
            "Bytes and FLOPs of the middle decode step are computed from the file's shape, the rates from them and the \
             measured step. MBU and MFU are these rates as shares of this machine's measured ceilings."
                .to_owned(),
        ));
        blocks.push(Block::Table(expected(view, theory)));
    }
    blocks.extend(Block::figures([roofline(view, theory)]));
    blocks.extend(fits(theory));
    blocks
}

fn chosen(view: &RunView) -> Vec<&CellView> {
    let choices = [choice::for_one(view, None), choice::for_all(view, None)];
    let mut cells: Vec<&CellView> = choices.into_iter().flatten().map(|c| c.cell).collect();
    cells.dedup_by(|a, b| a.case == b.case);
    cells
}

fn evidence(found: &Bottleneck) -> Table {
    let leaves = |e: &BoundEvidence| match e.leaves.is_empty() {
        true => "anything".to_owned(),
        false => e
            .leaves
            .iter()
            .map(|b| b.short())
            .collect::<Vec<_>>()
            .join(", "),
    };
    Table::of(&found.evidence)
        .words("evidence", |e| e.kind.to_string())
        .words("what was seen", |e| e.text.as_str())
        .words("what it leaves possible", leaves)
        .table()
}

fn lacking(view: &RunView, cell: &CellView, found: &Bottleneck) -> Vec<Block> {
    let mut blocks = Vec::new();
    let of_cell = |what: String, over: (&str, String)| {
        let command = Suggestion::of_case(view, &cell.case, &[over]);
        Block::Missing(what, command.to_string())
    };
    for (axis, why) in bottleneck::missing(view, cell, found) {
        let what = format!("More evidence: {why}.");
        match axis.name() {
            "model" => blocks.extend(another_type(view, &cell.case, &what)),
            "threads" => {
                let values = threads_up_to_cores(view);
                blocks.extend(values.map(|values| of_cell(what, ("threads", values))));
            }
            _ => blocks.push(of_cell(what, ("batch", "1,8,32".to_owned()))),
        }
    }
    blocks
}

/// What would make this machine faster, as far as the run's cells say so.
pub(super) fn opportunities(view: &RunView) -> Vec<String> {
    let batch = batching(view).into_iter();
    let found = batch.chain(too_many_threads(view)).chain(by_bound(view));
    found.collect()
}

/// An engine that was built for a lesser CPU than the run's.
pub(super) fn missing_cpu_features(view: &RunView) -> Option<String> {
    let missing = view.header.missing_cpu_features.iter();
    let names: Vec<String> = missing.map(|f| short(f)).collect();
    (!names.is_empty()).then(|| {
        format!(
            "Build the engine for this CPU: it has {}, which the engine has kernels for and was built without.",
            names.join(", ")
        )
    })
}

fn batching(view: &RunView) -> Option<String> {
    let (one, all) = (choice::for_one(view, None)?, choice::for_all(view, None)?);
    let gain = all.cell.decode_tokens_per_s()? / one.cell.decode_tokens_per_s()?;
    (gain >= 1.5).then(|| {
        format!(
            "Batch: {} sequences of {} give {} times the tokens/s of the best single one, at {} times its step.",
            all.cell.case.n_seq,
            short(&all.cell.case.model),
            units::significant(gain),
            units::significant(
                all.cell.median_step_ns().unwrap_or(0) as f64
                    / one.cell.median_step_ns().unwrap_or(1) as f64
            )
        )
    })
}

fn too_many_threads(view: &RunView) -> Option<String> {
    let cores = view.header.machine.cpu.available_cores?;
    let measured = view.cells.iter().filter(|c| is_measured(c));
    let over = measured.filter(|c| c.case.n_threads > cores).count();
    (over > 0).then(|| {
        format!(
            "Use at most {cores} threads: {over} of the cells had more than this process may use, and the others wait for \
             those that do not run."
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
            Some(Bound::KvCache) if remedy::has_smaller_cache_type(&cell.case) => {
                "is bounded by reading the context: a smaller cache type (--type-k, --type-v q8_0) or shorter contexts"
            }
            Some(Bound::KvCache) => "is bounded by reading the context: shorter contexts",
            Some(Bound::Sampling) => {
                "spends most of a step choosing tokens: a sampler that reads fewer logits"
            }
            Some(Bound::Host) => {
                "spends most of a step outside the engine's kernels: fewer, larger calls"
            }
            None => {
                if let Some((kv, model)) = kv
                    && kv > model.tensor_bytes
                    && let Some(remedy) = remedy::of_cache([&cell.case])
                {
                    found.push(format!(
                        "{place} reserves {} of KV cache beside {} of weights: {remedy} would free memory.",
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

/// What was not measured as planned, or was disturbed, of any work.
pub(super) fn trouble(view: &RunView) -> Vec<Block> {
    let said = |cell: AnyCell<'_>| {
        let outcome = match cell {
            AnyCell::Batch(cell) => notes::outcome(cell),
            AnyCell::Requests(_) | AnyCell::Quality(_) => cell.outcome_detail().to_owned(),
        };
        let outcome = Some(outcome).filter(|_| !cell.is_measured());
        // Those of jobs are listed below, once for all jobs.
        let own = match cell {
            AnyCell::Batch(cell) => &cell.warnings[..],
            AnyCell::Requests(_) | AnyCell::Quality(_) => &[],
        };
        let warnings = own.iter().filter(|w| is_trouble(w));
        let all = outcome.into_iter().chain(warnings.map(ToString::to_string));
        let all: Vec<String> = all.map(|text| cut_end(&plain(&text), 400)).collect();
        all.join("; ")
    };
    let rows = view.every_cell().map(|cell| (cell.name(), said(cell)));
    let rows: Vec<(String, String)> = rows.filter(|(_, said)| !said.is_empty()).collect();
    let table = Table::of(&rows)
        .words("cell", |(name, _)| short(name))
        .words("what happened", |(_, said)| said.as_str());
    let table = (!rows.is_empty()).then(|| Block::Table(table.table()));
    let listed: Vec<String> = view.requests.iter().flat_map(warnings).collect();
    let list = (!listed.is_empty()).then_some(Block::List(listed));
    let blocks: Vec<Block> = table.into_iter().chain(list).collect();
    if !blocks.is_empty() {
        return blocks;
    }
    let nothing = match (shows_cells(view), &view.requests) {
        (true, _) => "Nothing: every cell was measured as planned and undisturbed.",
        (false, Some(_)) => {
            "Nothing: every request has a whole answer, and the machine was undisturbed."
        }
        (false, None) => return Vec::new(),
    };
    vec![Block::Text(nothing.to_owned())]
}

/// Whether a warning tells of something that went wrong, rather than of data that are few.
fn is_trouble(warning: &CellWarning) -> bool {
    !matches!(
        warning,
        CellWarning::SingleRepetition
            | CellWarning::OneProcess
            | CellWarning::FewSteps { .. }
            | CellWarning::LongestAtBoundary { .. }
    )
}

/// Commands that continue from here.
pub(super) fn next(view: &RunView) -> Vec<Block> {
    let mut blocks = next_steps(view);
    blocks.extend(compared(view));
    blocks.extend(narrower(view));
    blocks
}

/// What is missing or failed, of any work.
pub(super) fn next_steps(view: &RunView) -> Vec<Block> {
    let steps = notes::next_steps(view).into_iter();
    let step = |(text, command): (String, Option<String>)| match command {
        Some(command) => Block::Missing(text.trim_end_matches(':').to_owned(), command),
        None => Block::Text(text),
    };
    steps.map(step).collect()
}

/// Two cells of one run that differ in one axis only, held against each other.
fn compared(view: &RunView) -> Option<Block> {
    // `compare` reads one run; what differs between several is no axis of any.
    if !view.also.is_empty() {
        return None;
    }
    let measured: Vec<&Case> = view
        .cells
        .iter()
        .filter(|c| is_measured(c))
        .map(|c| &c.case)
        .collect();
    // Files before batches: the first axis in which two cells differ and in nothing else.
    let pair_in = |axis: &Axis| {
        let differ = |a: &Case, b: &Case| Axis::varying([a, b]) == [*axis];
        measured.iter().enumerate().find_map(|(at, a)| {
            let b = measured[at + 1..].iter().find(|b| differ(a, b))?;
            Some((*axis, [axis.value(a), axis.value(b)]))
        })
    };
    let varying = Axis::varying(measured.iter().copied());
    let (axis, values) = varying.iter().find_map(pair_in)?;
    let command = Suggestion::new(Some("compare")).path(view.folder());
    let command = command.flag("--axis", &format!("{}={}", axis.name(), values.join(",")));
    Some(Block::Missing(
        format!(
            "Which values of {} are better than others, beyond chance?",
            axis.name()
        ),
        command.to_string(),
    ))
}

/// Each run again, by its own command line, in more processes.
fn narrower(view: &RunView) -> Vec<Block> {
    let headers = std::iter::once(&view.header).chain(&view.also);
    let commands = headers.filter_map(|header| {
        let protocol = &header.plan.protocol;
        let now = protocol.most_replicates();
        let more = now.saturating_mul(2).clamp(10, MOST_REPLICATES);
        let flag = match protocol.max_replicates {
            None => "--replicates",
            Some(_) => "--max-replicates",
        };
        let command = Suggestion::again(header, &[(flag, more.to_string())]);
        command.filter(|_| more > now)
    });
    let mut commands: Vec<String> = commands.map(|c| c.to_string()).collect();
    commands.dedup();
    let what = "Narrower intervals: more processes, not more repetitions.";
    commands
        .into_iter()
        .map(|command| Block::Missing(what.to_owned(), command))
        .collect()
}
