//! `gate-trial`: the gate judged by runs of which the truth is known.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::{DONE, unless_closed};
use crate::cli::GateTrialArgs;
use crate::compare::side::Side;
use crate::gate::trial::{FEWEST_RUNS, trial};
use crate::record::jsonl::locate;
use crate::report;

/// Prints how often the gate fails runs between which nothing changed, and how often slower ones. The counts are for reading:
/// the exit code is that of having counted.
///
/// # Errors
/// When a record cannot be read, runs are too few or of several machines, or standard output is closed.
pub fn gate_trial(args: &GateTrialArgs) -> Result<u8> {
    let runs = sides(&args.runs, args)?;
    ensure!(
        runs.len() >= FEWEST_RUNS,
        "{}: a trial takes a baseline, a night and its rerun, so at least {FEWEST_RUNS} runs with measured cells",
        shown(&args.runs)
    );
    let slower = sides(&args.slower, args)?;
    ensure!(
        args.slower.is_empty() || slower.len() >= 2,
        "{}: a night and its rerun are at least 2 slower runs with measured cells",
        shown(&args.slower)
    );
    let rule = args.judge.rule(None);
    let trial = trial(&runs, &slower, &rule, args.flips, args.seed)?;
    unless_closed(report::print_documents(
        &[report::trial::document(&trial)],
        &trial,
        args.output,
        &mut std::io::stdout().lock(),
    ))?;
    Ok(DONE)
}

/// The runs, and those in folders of runs, in the order in which they started.
fn sides(paths: &[PathBuf], args: &GateTrialArgs) -> Result<Vec<Side>> {
    let mut sides = Vec::new();
    for path in paths {
        for run in runs_at(path)? {
            let metric = args.judge.metric_of(&run)?;
            sides.push(args.judge.read(&run, metric)?);
        }
    }
    sides.retain(|side| !side.cells.is_empty());
    let in_time = |side: &Side| (side.header.started(), side.header.run.clone());
    sides.sort_by_key(in_time);
    sides.dedup_by(|a, b| a.is_paired_with(b));
    Ok(sides)
}

fn runs_at(path: &Path) -> Result<Vec<PathBuf>> {
    if !path.is_dir() || locate(path).is_file() {
        return Ok(vec![path.to_owned()]);
    }
    let entries =
        fs::read_dir(path).with_context(|| format!("{}: cannot be read", path.display()))?;
    let inside = entries.flatten().map(|entry| entry.path());
    Ok(inside
        .filter(|run| run.is_dir() && locate(run).is_file())
        .collect())
}

fn shown(paths: &[PathBuf]) -> String {
    let names: Vec<String> = paths.iter().map(|p| p.display().to_string()).collect();
    names.join(", ")
}
