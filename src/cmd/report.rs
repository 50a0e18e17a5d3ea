//! `report`: the lab report, or the table, of runs that were made before.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::shown::{limits, set_price, theory, write};
use super::{DONE, OUT, say, unless_closed};
use crate::analysis::Finding;
use crate::cli::ReportArgs;
use crate::file::is_standard_output;
use crate::record::newest;
use crate::report::table::terminal;
use crate::report::{self, ReportFiles, RunAnswers};
use crate::streams::note;
use crate::text::paragraph;
use crate::view::RunView;

/// Writes the report of some runs, or prints their table.
///
/// # Errors
/// When a record cannot be read, a file cannot be written, or standard output is closed.
pub fn report(args: &ReportArgs) -> Result<u8> {
    let runs = match args.runs.is_empty() {
        true => vec![newest_run(args.out.as_deref())?],
        false => args.runs.clone(),
    };
    let mut view = RunView::read_all(&runs)?;
    set_price(&mut view, args.price.as_ref());
    if let Some(output) = args.output {
        let slo = limits(&view, args.slo.as_ref());
        let answers = RunAnswers::of(&view, &theory(&view), slo.as_ref());
        let out = &mut io::stdout().lock();
        unless_closed(report::print(&view, &answers, output, out))?;
        return Ok(DONE);
    }
    let mut files = args.named_files();
    if files.is_empty() {
        let folder = args.to.as_deref().unwrap_or_else(|| view.folder());
        fs::create_dir_all(folder)
            .with_context(|| format!("{}: cannot make the folder", folder.display()))?;
        files = ReportFiles {
            force: args.force,
            ..ReportFiles::in_folder(folder)
        };
    }
    let elsewhere = "name another place with --to, or print the table with -o table";
    let slo = limits(&view, args.slo.as_ref());
    let (lab, written) = write(&view, slo.as_ref(), &files, elsewhere)?;
    let mut told = String::new();
    if args.runs.is_empty() {
        told.push_str(&format!("report of {}\n\n", view.folder().display()));
    }
    told.push_str(&answers(&lab.lead, terminal::width()));
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

/// The newest run below a folder.
fn newest_run(out: Option<&Path>) -> Result<PathBuf> {
    let out = out.unwrap_or(Path::new(OUT));
    let none = || {
        format!(
            "{}: has no run yet; `ggufbench` measures one, or name the folder of a run",
            out.display()
        )
    };
    let found = newest::newest(out);
    let found = found.with_context(|| format!("{}: cannot look for runs", out.display()))?;
    found.with_context(none)
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
