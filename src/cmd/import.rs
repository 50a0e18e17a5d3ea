//! `import`: other programs' figures as records.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};

use super::execute::name_of;
use super::folder::{Folder, check_writable};
use super::{DONE, say_path};
use crate::cli::ImportRunsArgs;
use crate::exchange::runs::{Grouping, ImportedRun, runs};
use crate::exchange::{ForeignFile, Stated, read};
use crate::record::imported::Imported;
use crate::record::jsonl::{Writer, read_header};
use crate::record::{RunHeader, timestamp};
use crate::streams::note;
use crate::text::plural;

/// Writes a run's folder for each build in the files, and prints their paths.
///
/// # Errors
/// When a file is not of a program that is known, or a record cannot be written.
pub fn import(args: &ImportRunsArgs) -> Result<u8> {
    let stated = Stated {
        model: args.model.clone(),
        build_commit: args.build_commit.clone(),
    };
    // All files are read before anything is written.
    let files: Result<Vec<ForeignFile>, _> = args.files.iter().map(|f| read(f, &stated)).collect();
    let files = files?;
    let grouping = Grouping {
        joins_files: args.join,
        each_day: args.each_day,
    };
    let runs = runs(&files, grouping);
    ensure!(!runs.is_empty(), "there is no test in the files");
    check_writable(&args.out)?;
    let known = imported_before(&args.out);
    for run in runs {
        let same = known.iter().find(|(_, there)| is_same(there, &run.header));
        let Some((folder, there)) = same else {
            say_path(&write(run, args)?)?;
            continue;
        };
        let has_grown = there.plan.cases != run.header.plan.cases
            || there.plan.protocol != run.header.plan.protocol;
        note(format_args!(
            "{}: is here already and was not imported again{}",
            there.run,
            match has_grown {
                true =>
                    ", although the file has other tests of it now; delete its folder to import these",
                false => "",
            }
        ));
        say_path(folder)?;
    }
    Ok(DONE)
}

/// The imported runs of a folder.
fn imported_before(out: &Path) -> Vec<(PathBuf, RunHeader)> {
    let entries = std::fs::read_dir(out).into_iter().flatten().flatten();
    let headers = entries.filter_map(|entry| {
        let folder = entry.path();
        let header = read_header(&folder).ok()?;
        header.imported.is_some().then_some((folder, header))
    });
    headers.collect()
}

/// Whether two imported runs are the same: a file that grew has its earlier nights still. A program that names no machine gives no time
/// either, so that its file must have the same name and models.
fn is_same(a: &RunHeader, b: &RunHeader) -> bool {
    let (Some(of_a), Some(of_b)) = (&a.imported, &b.imported) else {
        return false;
    };
    let build = |of: &Imported| (of.tool.clone(), of.build_commit.clone(), of.build_number);
    let names_machine = !a.machine.fingerprint.is_empty();
    a.started_at == b.started_at
        && a.machine.fingerprint == b.machine.fingerprint
        && build(of_a) == build(of_b)
        && (&of_a.settings, &of_a.backends) == (&of_b.settings, &of_b.backends)
        && (names_machine || (&of_a.files, &of_a.models) == (&of_b.files, &of_b.models))
}

/// Writes a run, and returns its folder.
fn write(run: ImportedRun, args: &ImportRunsArgs) -> Result<PathBuf> {
    let ImportedRun { mut header, lines } = run;
    if header.started_at.is_empty() {
        header.started_at = timestamp();
    }
    let started = header.started().unwrap_or_else(jiff::Timestamp::now);
    let stamp = started.strftime("%Y%m%d-%H%M%S");
    let folder = Folder::create_named(&args.out, &format!("{stamp}-{}", header.plan.name))?;
    header.run = name_of(&folder.path);
    header.args = std::env::args_os()
        .skip(1)
        .map(|a| a.to_string_lossy().into_owned())
        .collect();
    let n_cells = u32::try_from(header.plan.cases.len()).unwrap_or(u32::MAX);
    let processes = header.plan.protocol.replicates;
    note(format_args!(
        "{}: {} in {}",
        header.run,
        plural(n_cells, "cell", "cells"),
        plural(processes, "process", "processes")
    ));
    folder.keep_if(|path| {
        let mut writer = Writer::create(path, header)?;
        lines.iter().try_for_each(|line| Ok(writer.append(line)?))
    })?;
    Ok(folder.path)
}
