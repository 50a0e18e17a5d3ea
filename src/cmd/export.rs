//! `export`: runs in the forms of other programs.

use std::io::{self, Write};
use std::path::Path;

use anyhow::{Result, bail, ensure};

use super::{DONE, say_path, unless_closed};
use crate::cli::{ExportForm, ExportRunArgs};
use crate::exchange::llama_bench_out::{self, BenchRow};
use crate::exchange::tested::{TestedPart, tested};
use crate::exchange::{bencher, benchstat, hgrm};
use crate::file::{OutputFile, Replace, is_standard_output};
use crate::plan::Case;
use crate::record::RunHeader;
use crate::streams::note;
use crate::text::plural;
use crate::view::{CellView, RunView};

/// Writes runs in the asked form.
///
/// # Errors
/// When a record cannot be read, no cell has the form, or the file cannot be written.
pub fn export(args: &ExportRunArgs) -> Result<u8> {
    let mut text = Vec::new();
    write(args, &mut text)?;
    let Some(path) = &args.to else {
        unless_closed(io::stdout().lock().write_all(&text))?;
        return Ok(DONE);
    };
    let replace = if args.force {
        Replace::Always
    } else {
        Replace::Never
    };
    let mut file = OutputFile::create(path, replace)?;
    file.write_all(&text)?;
    file.commit()?;
    if !is_standard_output(path) {
        say_path(path)?;
    }
    Ok(DONE)
}

fn write(args: &ExportRunArgs, out: &mut Vec<u8>) -> Result<()> {
    match args.output {
        ExportForm::Json => llama_bench_out::write_json(&bench_rows(args)?, out)?,
        ExportForm::Jsonl => llama_bench_out::write_jsonl(&bench_rows(args)?, out)?,
        ExportForm::Sql => llama_bench_out::write_sql(&bench_rows(args)?, out)?,
        ExportForm::Benchstat => {
            for run in &args.runs {
                let (header, tests) = tests(args, run)?;
                if header.plan.protocol.replicates == 1 {
                    note(format_args!(
                        "{}: was measured in one process, so its repetitions are the samples; benchstat does not see how much \
                         processes differ",
                        header.run
                    ));
                }
                benchstat::write(&header, &tests, out)?;
            }
        }
        ExportForm::Bencher => {
            let view = RunView::read_all(&args.runs)?;
            let all = bencher::json(&view, &|case| is_wanted(args, case));
            ensure!(
                all.as_object().is_some_and(|all| !all.is_empty()),
                no_test(args)
            );
            writeln!(out, "{}", serde_json::to_string_pretty(&all)?)?;
        }
        ExportForm::Hgrm => write_hgrm(args, out)?,
    }
    Ok(())
}

fn is_wanted(args: &ExportRunArgs, case: &Case) -> bool {
    let id = case.id();
    args.cell.is_empty() || args.cell.iter().any(|glob| glob.matches(id.as_str()))
}

fn no_test(args: &ExportRunArgs) -> String {
    let runs: Vec<String> = args
        .runs
        .iter()
        .map(|run| run.display().to_string())
        .collect();
    let which = if args.cell.is_empty() {
        ""
    } else {
        " that --cell asks for"
    };
    format!("{}: no measured cell{which}", runs.join(", "))
}

/// The tests of a run, at least one.
fn tests(args: &ExportRunArgs, run: &Path) -> Result<(RunHeader, Vec<TestedPart>)> {
    let (header, tests) = tested(run, &|case| is_wanted(args, case))?;
    ensure!(!tests.is_empty(), no_test(args));
    Ok((header, tests))
}

fn bench_rows(args: &ExportRunArgs) -> Result<Vec<BenchRow>> {
    let mut rows = Vec::new();
    let mut n_left_out = 0;
    for run in &args.runs {
        let (header, tests) = tests(args, run)?;
        for test in tests {
            if !llama_bench_out::has_form(&test.case) {
                n_left_out += 1;
                continue;
            }
            rows.push(llama_bench_out::row(
                &header,
                &test,
                args.build_commit.as_deref(),
            ));
        }
    }
    if n_left_out > 0 {
        note(format_args!(
            "{} of several sequences left out: llama-bench has no batch; -o benchstat and -o bencher have it",
            plural(n_left_out, "test", "tests")
        ));
    }
    ensure!(
        !rows.is_empty(),
        "no cell has one sequence, and llama-bench has no batch"
    );
    Ok(rows)
}

fn write_hgrm(args: &ExportRunArgs, out: &mut Vec<u8>) -> Result<()> {
    let view = RunView::read_all(&args.runs)?;
    let has_steps = |c: &&CellView| c.n_steps > 0 && is_wanted(args, &c.case);
    let cells: Vec<&CellView> = view.cells.iter().filter(has_steps).collect();
    match cells[..] {
        [] => bail!("{}, or its single steps were not timed", no_test(args)),
        [cell] => Ok(hgrm::write(&cell.steps.sorted(), out)?),
        [first, ..] => bail!(
            "{} cells match, and a .hgrm file has one distribution; name the cell with --cell, such as --cell '{}'",
            cells.len(),
            first.case_id
        ),
    }
}
