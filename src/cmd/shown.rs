//! Runs that were measured, as they are shown: the report beside the record, and the table in the asked form.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::PathBuf;

use anyhow::{Result, anyhow};

use super::unless_closed;
use crate::analysis::capacity::Slo;
use crate::analysis::theory::Theory;
use crate::cli::OutputArgs;
use crate::engine::Device;
use crate::plan::Case;
use crate::price::Price;
use crate::record::ceilings::{CachedCeilings, CeilingsOwner};
use crate::report::lab::Lab;
use crate::report::{self, ReportError, ReportFiles, RunAnswers};
use crate::roofline::ceiling::Ceilings;
use crate::streams::note;
use crate::view::{CellView, RunView};

/// The limits on latency: those that are asked for, or those with which the run was measured.
pub(super) fn limits(view: &RunView, asked: Option<&Slo>) -> Option<Slo> {
    let measured_with = view.header.typed("--slo");
    let measured_with = measured_with.and_then(|text| text.parse().ok());
    asked.cloned().or(measured_with)
}

/// What energy costs, for every figure of a view; a note where that says nothing.
pub(super) fn set_price(view: &mut RunView, price: Option<&Price>) {
    let measured_with = view.header.typed("--price");
    let measured_with = measured_with.and_then(|text| text.parse().ok());
    view.price = price.cloned().or(measured_with);
    let is_unused = view.cells.iter().all(|c| c.joules_per_token().is_none());
    if price.is_some() && is_unused && !view.cells.is_empty() {
        let because = view.cells.iter().find_map(CellView::energy_unknown);
        let because = because.map_or_else(String::new, |because| format!(": {because}"));
        note(format_args!(
            "--price: no cell has a cost, as its energy was not measured{because}"
        ));
    }
}

/// Writes a finished run's report, unless that is not wanted, and prints the run in the asked form with its answers. False
/// when the report could not be written: what was measured is printed all the same.
///
/// # Errors
/// When standard output is closed.
pub(super) fn show(view: &RunView, args: &OutputArgs) -> Result<bool> {
    let slo = limits(view, args.slo.as_ref());
    let mut answers = RunAnswers::of(view, &theory(view), slo.as_ref());
    let is_whole = args.no_report || write_beside_record(view, slo.as_ref());
    if is_whole && !args.no_report {
        answers.report = ReportFiles::in_folder(view.folder()).html;
    }
    let out = &mut io::stdout().lock();
    unless_closed(report::print(view, &answers, args.form, out))?;
    Ok(is_whole)
}

/// Writes a run's report into its folder. False, with a note, when that failed.
pub(super) fn write_beside_record(view: &RunView, slo: Option<&Slo>) -> bool {
    let run = view.folder();
    let elsewhere = format!(
        "the record is kept, and 'ggufbench report {} --to FOLDER' writes the report elsewhere",
        run.display()
    );
    let written = write(view, slo, &ReportFiles::in_folder(run), &elsewhere);
    if let Err(reason) = &written {
        note(format_args!("no report: {reason:#}"));
    }
    written.is_ok()
}

/// What the machine's ceilings, where they were measured, say of a run.
pub(super) fn theory(view: &RunView) -> Theory {
    let kept = kept_ceilings(view);
    // Ceilings are this machine's.
    let of = |case: &Case| match case.rpc.is_none() {
        true => kept.get(&(case.n_threads, case.n_gpu_layers > 0)),
        false => None,
    };
    Theory::of(view, &of)
}

/// Writes a run's report and gives it back, with the files it is in.
///
/// # Errors
/// When a file cannot be written, with what to do instead.
pub(super) fn write(
    view: &RunView,
    slo: Option<&Slo>,
    files: &ReportFiles,
    elsewhere: &str,
) -> Result<(Lab, Vec<PathBuf>)> {
    let lab = Lab::of(view, &theory(view), slo);
    let written = report::write_files(view, &lab, files).map_err(|e| match e {
        ReportError::Io { .. } => anyhow!("{e}; {elsewhere}"),
        other => other.into(),
    })?;
    Ok((lab, written))
}

/// Ceilings of the run's machine, engine and threads that were measured here; by threads, and whether of a GPU.
/// Where there are none, the report says which command measures them.
fn kept_ceilings(view: &RunView) -> HashMap<(u32, bool), Ceilings> {
    let header = &view.header;
    let wanted: HashSet<(u32, bool)> = view
        .cells
        .iter()
        .map(|c| (c.case.n_threads, c.case.n_gpu_layers > 0))
        .collect();
    let read = |key: (u32, bool)| {
        let of_kind = |d: &&Device| (d.kind != "cpu") == key.1;
        let owner = CeilingsOwner {
            machine: header.machine.fingerprint.clone(),
            engine: format!("{} | {}", header.engine.version, header.engine.system_info),
            device: header
                .engine
                .devices
                .iter()
                .find(of_kind)?
                .description
                .trim()
                .to_owned(),
            n_threads: key.0,
        };
        match owner.read(&owner.path()?) {
            CachedCeilings::Kept(ceilings) => Some((key, ceilings)),
            CachedCeilings::Nothing | CachedCeilings::Unreadable(_) => None,
        }
    };
    wanted.into_iter().filter_map(read).collect()
}
