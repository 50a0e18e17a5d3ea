//! `gate`: the night's verdict, its rerun, and the history it belongs to.

use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::{DONE, ab, prepare, run, say, unless_closed};
use crate::cli::{BaselineChoice, GateArgs, WorkerArgs};
use crate::compare::pair::{self, Pairing};
use crate::compare::side::Side;
use crate::gate::drift::{self, Drift};
use crate::gate::{Again, Baseline, CellVerdict, Rerun, Rule, gate as judge};
use crate::metric::Metric;
use crate::plan::Case;
use crate::record::PairSide;
use crate::record::history::{History, Nights};
use crate::record::jsonl::is_pair;
use crate::report::{self, night};
use crate::streams::note;
use crate::text::quoted;

/// The figure that nights are judged by.
pub(super) const METRIC: Metric = Metric::StepNs;

/// Judges a night, or makes it the baseline.
///
/// # Errors
/// When a record cannot be read, there is no baseline, or the rerun cannot be made.
pub fn gate(args: &GateArgs) -> Result<u8> {
    let history = History::at(&args.history);
    if args.promote {
        let night = history.promote(&args.run)?;
        say(format!("baseline: {}", night.display()))?;
        return Ok(DONE);
    }
    let tonight = read(&args.run, args)?;
    let nights = nights(args, &history, &tonight);
    let baseline = baseline(args, &history, &tonight, &nights)?;
    let rule = Rule {
        tolerance: args.tolerance,
        alpha: args.alpha,
        night_sd: args.night_sd,
        ..Rule::default()
    };
    let in_turns = baseline.is_paired_with(&tonight);
    let mut measure_again = |cells: &[Case]| again(args, &tonight, in_turns, cells);
    let asked = args.rerun || args.confirm.is_some();
    let rerun: Option<Rerun<'_, anyhow::Error>> = match asked {
        true => Some(&mut measure_again),
        false => None,
    };
    let mut report = judge(&tonight, &baseline, &rule, rerun)?;
    let all: Vec<Side> = nights.into_iter().map(|night| night.side).collect();
    report.drift = Drift::over(&all, &tonight);
    let document = night::document(&report);
    unless_closed(report::print_documents(
        &[document],
        &report,
        args.output,
        &mut std::io::stdout().lock(),
    ))?;
    if args.keep {
        let is_slow = |v| matches!(v, CellVerdict::Regression | CellVerdict::Suspected);
        history.add(&args.run, report.cells.iter().any(|c| is_slow(c.verdict)))?;
    }
    Ok(report.verdict.exit_code())
}

fn read(run: &Path, args: &GateArgs) -> Result<Side> {
    let mut side = Side::read(run, METRIC)?;
    keep_asked(&mut side, &args.cell);
    ensure!(
        !side.cells.is_empty(),
        "{}: has no measured cell{}",
        run.display(),
        if args.cell.is_empty() {
            ""
        } else {
            " that --cell asks for"
        }
    );
    Ok(side)
}

/// Leaves the cells whose names match any of the globs; all without one.
pub(super) fn keep_asked(side: &mut Side, globs: &[glob::Pattern]) {
    let is_asked = |case: &Case| {
        let id = case.id();
        globs.is_empty() || globs.iter().any(|glob| glob.matches(id.as_str()))
    };
    side.cells.retain(|cell| is_asked(&cell.case));
}

/// A night of the history.
struct Night {
    side: Side,
    failed: bool,
}

/// The history's nights of this machine since the promoted one, newest first: what they say of tonight is beside the
/// verdict, so one that cannot be read is named and left out.
fn nights(args: &GateArgs, history: &History, tonight: &Side) -> Vec<Night> {
    let found = history.nights(&tonight.header).unwrap_or_else(|e| {
        note(format_args!("warning: {e}"));
        Nights::default()
    });
    for e in &found.left_out {
        note(format_args!("warning: left out of the history: {e}"));
    }
    let newest = found.folders.iter().take(drift::MOST_NIGHTS - 1);
    let mut nights = Vec::new();
    for folder in newest {
        match Side::read(folder, METRIC) {
            Ok(mut side) => {
                keep_asked(&mut side, &args.cell);
                nights.push(Night {
                    side,
                    failed: history.has_failed(folder),
                });
            }
            Err(e) => note(format_args!("warning: left out of the history: {e}")),
        }
    }
    let here = &tonight.header.machine.fingerprint;
    nights.retain(|night| night.side.header.machine.fingerprint == *here);
    nights
}

fn baseline(
    args: &GateArgs,
    history: &History,
    tonight: &Side,
    nights: &[Night],
) -> Result<Baseline> {
    let how = format!(
        "`ggufbench gate {} --promote` makes this run the baseline",
        quoted(&args.run)
    );
    let run = match &args.baseline {
        BaselineChoice::Run(run) => run.clone(),
        BaselineChoice::Pinned => history
            .pinned()?
            .with_context(|| format!("{}: no run is pinned; {how}", history.folder().display()))?,
        BaselineChoice::Last(n) => {
            // What is left out was named with the history.
            let nights = history.last(*n, &tonight.header)?.folders;
            ensure!(
                !nights.is_empty(),
                "{}: has no earlier night; {how}",
                history.folder().display()
            );
            let sides: Result<Vec<Side>> = nights.iter().map(|night| read(night, args)).collect();
            return Ok(Baseline::Nights(sides?));
        }
    };
    let known = nights.iter().filter(|night| !night.failed);
    Ok(Baseline::RunAmong {
        run: Box::new(read(&run, args)?),
        nights: known.map(|night| night.side.clone()).collect(),
    })
}

/// The rerun that was made, or one that is made now, beside the run; of a night that was measured in turns with its
/// baseline, both are measured again.
fn again(args: &GateArgs, tonight: &Side, in_turns: bool, cells: &[Case]) -> Result<Again> {
    if let Some(made) = &args.confirm {
        return match is_pair(made) {
            true => again_paired(made, tonight),
            false => Ok(read(made, args)?.into()),
        };
    }
    let folder = if args.run.is_file() {
        args.run.parent().unwrap_or(Path::new("."))
    } else {
        &args.run
    };
    // A folder given as `.` has its parent only in its whole path.
    let whole = folder
        .canonicalize()
        .with_context(|| format!("{}: cannot be found", folder.display()))?;
    let out = whole.parent().unwrap_or(&whole);
    if in_turns && is_pair(out) {
        let Pairing { a, b, .. } = pair::read(out, METRIC)?;
        let beside = out.parent().unwrap_or(out);
        let plan = &tonight.header.plan;
        let wanted: Vec<usize> = (0..plan.cases.len())
            .filter(|at| cells.contains(&plan.cases[*at]))
            .collect();
        let made = ab::again(&a.header, &b.header, &wanted, beside)?;
        return again_paired(&made, tonight);
    }
    let command = prepare::worker_command(&WorkerArgs {
        engine: args.engine.clone(),
    })?;
    let rerun = run::again(&args.run, &tonight.header, cells, &command, out)?;
    Ok(Side::read(&rerun, METRIC)?.into())
}

/// A pair that was measured again: the side that is tonight's, held against its own other side.
fn again_paired(folder: &Path, tonight: &Side) -> Result<Again> {
    let Pairing { a, b, .. } = pair::read(folder, METRIC)?;
    let pair = tonight.header.pair.as_ref();
    let (run, other) = match pair.map(|pair| pair.side) {
        Some(PairSide::A) => (a, b),
        _ => (b, a),
    };
    Ok(Again {
        run,
        baseline: Some(Baseline::Run(Box::new(other))),
    })
}
