//! `import`: other programs' figures as records.

use anyhow::{Result, ensure};

use super::execute::name_of;
use super::folder::{Folder, check_writable};
use super::{DONE, say_path};
use crate::cli::ImportRunsArgs;
use crate::exchange::runs::{Grouping, ImportedRun, runs};
use crate::exchange::{ForeignFile, Stated, read};
use crate::record::jsonl::Writer;
use crate::record::timestamp;
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
    for run in runs {
        say_path(&write(run, args)?)?;
    }
    Ok(DONE)
}

/// Writes a run, and returns its folder.
fn write(run: ImportedRun, args: &ImportRunsArgs) -> Result<std::path::PathBuf> {
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
