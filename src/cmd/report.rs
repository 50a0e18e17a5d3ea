//! `report`: the lab report, or the table, of runs that were made before.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::path::PathBuf;

use anyhow::{Context, Result, anyhow};

use super::{DONE, say, unless_closed};
use crate::analysis::Finding;
use crate::analysis::capacity::Slo;
use crate::analysis::theory::Theory;
use crate::cli::ReportArgs;
use crate::engine::Device;
use crate::file::is_standard_output;
use crate::plan::Case;
use crate::record::ceilings::{Found, Owner};
use crate::report::lab::Lab;
use crate::report::terminal;
use crate::report::{self, Files, WriteError};
use crate::roofline::ceiling::Ceilings;
use crate::streams::note;
use crate::text::paragraph;
use crate::view::RunView;

/// Writes the report of some runs, or prints their table.
///
/// # Errors
/// When a record cannot be read, a file cannot be written, or standard output is closed.
pub fn report(args: &ReportArgs) -> Result<u8> {
    let view = RunView::read_all(&args.runs)?;
    if let Some(output) = args.output {
        unless_closed(report::print(&view, output, &mut io::stdout().lock()))?;
        return Ok(DONE);
    }
    let mut files = args.named_files();
    if files.is_empty() {
        let folder = args.to.as_deref().unwrap_or_else(|| view.folder());
        fs::create_dir_all(folder)
            .with_context(|| format!("{}: cannot make the folder", folder.display()))?;
        files = Files {
            force: args.force,
            ..Files::in_folder(folder)
        };
    }
    let (lab, written) = write(&view, args.slo.as_ref(), &files)?;
    let mut told = answers(&lab.lead, terminal::width());
    for path in &written {
        told.push_str(&format!("\nwrote {}", path.display()));
    }
    if written.iter().any(|path| is_standard_output(path)) {
        // What is there already is for a program.
        note(told);
    } else {
        say(told)?;
    }
    Ok(DONE)
}

/// Writes a run's report and gives it back, with the files it is in.
///
/// # Errors
/// When a file cannot be written.
pub(super) fn write(
    view: &RunView,
    slo: Option<&Slo>,
    files: &Files,
) -> Result<(Lab, Vec<PathBuf>)> {
    let kept = kept_ceilings(view);
    let of = |case: &Case| kept.get(&(case.n_threads, case.n_gpu_layers > 0));
    let lab = Lab::of(view, &Theory::of(view, &of), slo);
    let hint = "name another place with --to, or print the table with -o table";
    let written = report::write_files(view, &lab, files).map_err(|e| match e {
        WriteError::Io { .. } => anyhow!("{e}; {hint}"),
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
        let owner = Owner {
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
            Found::Kept(ceilings) => Some((key, ceilings)),
            Found::Nothing | Found::Unreadable(_) => None,
        }
    };
    wanted.into_iter().filter_map(read).collect()
}

/// The first screen, for a terminal.
fn answers(lead: &[Finding], width: usize) -> String {
    let mut lines = Vec::new();
    for finding in lead {
        lines.push(finding.question.to_owned());
        let text = format!("{} ({})", finding.claim, finding.sure);
        lines.extend(paragraph("  ", &text, width));
    }
    lines.push(String::new());
    lines.join("\n")
}
