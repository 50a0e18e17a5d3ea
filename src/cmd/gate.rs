//! `gate`: the night's verdict, its rerun, and the history it belongs to.

use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::{DONE, ab, prepare, run, say, unless_closed};
use crate::cli::{BaselineChoice, GateArgs, WorkerArgs};
use crate::compare::pair::{self, Pairing};
use crate::compare::side::Side;
use crate::gate::{Again, Baseline, CellVerdict, Rerun, Rule, gate as judge};
use crate::metric::Metric;
use crate::plan::Case;
use crate::record::history::History;
use crate::report::{self, night};

/// The figure that nights are judged by.
const METRIC: Metric = Metric::StepNs;

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
    let baseline = baseline(args, &history, &tonight)?;
    let rule = Rule {
        tolerance: args.tolerance,
        alpha: args.alpha,
        ..Rule::default()
    };
    let in_turns = matches!(&baseline, Baseline::Run(side) if side.is_paired_with(&tonight));
    let mut measure_again = |cells: &[Case]| again(args, &tonight, in_turns, cells);
    let asked = args.rerun || args.confirm.is_some();
    let rerun: Option<Rerun<'_, anyhow::Error>> = match asked {
        true => Some(&mut measure_again),
        false => None,
    };
    let report = judge(&tonight, &baseline, &rule, rerun)?;
    let sheet = night::sheet(&report);
    unless_closed(report::print_sheet(
        &sheet,
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
    let is_asked = |case: &Case| {
        let id = case.id();
        args.cell.is_empty() || args.cell.iter().any(|glob| glob.matches(id.as_str()))
    };
    side.cells.retain(|cell| is_asked(&cell.case));
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

fn baseline(args: &GateArgs, history: &History, tonight: &Side) -> Result<Baseline> {
    let how = "`ggufbench gate RUN --promote` makes a run the baseline";
    let run = match &args.baseline {
        BaselineChoice::Run(run) => run.clone(),
        BaselineChoice::Pinned => history
            .pinned()?
            .with_context(|| format!("{}: no run is pinned; {how}", history.folder().display()))?,
        BaselineChoice::Last(n) => {
            let nights = history.last(*n, &tonight.header.run)?;
            ensure!(
                !nights.is_empty(),
                "{}: has no earlier night; {how}",
                history.folder().display()
            );
            let sides: Result<Vec<Side>> = nights.iter().map(|night| read(night, args)).collect();
            return Ok(Baseline::Nights(sides?));
        }
    };
    Ok(Baseline::Run(Box::new(read(&run, args)?)))
}

/// The rerun that was made, or one that is made now, beside the run; of a night that was measured in turns with its
/// baseline, both are measured again.
fn again(args: &GateArgs, tonight: &Side, in_turns: bool, cells: &[Case]) -> Result<Again> {
    if let Some(made) = &args.confirm {
        return match pair::is_pair(made) {
            true => again_paired(made),
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
    if in_turns && pair::is_pair(out) {
        let Pairing { a, b, .. } = pair::read(out, METRIC)?;
        let beside = out.parent().unwrap_or(out);
        return again_paired(&ab::again(&a.header, &b.header, cells, beside)?);
    }
    let command = prepare::worker_command(&WorkerArgs {
        engine: args.engine.clone(),
    })?;
    let rerun = run::again(&args.run, &tonight.header, cells, &command, out)?;
    Ok(Side::read(&rerun, METRIC)?.into())
}

/// A pair that was measured again: its side B is tonight's, held against its own side A.
fn again_paired(folder: &Path) -> Result<Again> {
    let Pairing { a, b, .. } = pair::read(folder, METRIC)?;
    Ok(Again {
        run: b,
        baseline: Some(Baseline::Run(Box::new(a))),
    })
}
