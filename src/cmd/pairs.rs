//! Two sides measured in turns, in a folder of their own.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use super::execute::{
    check_same_conditions, execute, header, listen, make_models, name_of, record_skipped,
};
use super::folder::{Folder, check_writable};
use super::measuring::plan_of_some;
use super::note_all;
use super::offload::{self, Fits};
use super::prepare::{self, Prepared};
use super::prices::dry_rows;
use crate::model::FileWatch;
use crate::plan::run_time::RunTime;
use crate::plan::{Axis, Case, CaseId, Plan};
use crate::record::jsonl::Writer;
use crate::record::{Pair, PairSide, RunHeader};
use crate::report::{Document, dry_run};
use crate::run::Ended;
use crate::run::lane::{Lane, LaneWorker};
use crate::run::resume::Done;
use crate::run::supervisor::WorkerCommand;

/// Measures some cells of a pair, by their numbers in both plans, again in turns, in a pair of its own below `out`.
/// Returns its folder.
///
/// # Errors
/// When a side's program, machine or models are not those of the pair, a record cannot be written, or Ctrl-C ended it.
pub(super) fn again(a: &RunHeader, b: &RunHeader, wanted: &[usize], out: &Path) -> Result<PathBuf> {
    let side = |header: &RunHeader, side: PairSide| -> Result<Prepared> {
        let pair = header.pair.as_ref();
        let pair = pair.with_context(|| format!("{}: is no side of a pair", header.run))?;
        let engine = pair.worker_engine.parse().map_err(anyhow::Error::msg)?;
        let command = WorkerCommand {
            program: pair.worker_program.clone(),
            engine,
        };
        let cases: Vec<Case> = wanted
            .iter()
            .map(|at| header.plan.cases[*at].clone())
            .collect();
        let mut plan = plan_of_some(&header.plan, &cases);
        // Of an independent sequence, which side begins each pair is drawn anew.
        plan.protocol.seed = plan.protocol.seed.wrapping_add(1);
        let run = Path::new(&header.run);
        let (machine, engine, program) =
            check_same_conditions(run, header, &mut plan.models, &command)?;
        ensure!(
            program == header.program,
            "{}: is not the program that measured side {} any more; measure the pair again",
            command.program.display(),
            side.folder()
        );
        let fits = offload::fits(&[(&plan, &engine)]).remove(0);
        let rates = prepare::rates(machine.cpu.available_cores.unwrap_or(1), &machine.gpus)?;
        Ok(Prepared {
            plan,
            models: Vec::new(),
            notes: Vec::new(),
            command,
            machine,
            engine,
            program,
            rates,
            fits,
        })
    };
    let sides = [side(a, PairSide::A)?, side(b, PairSide::B)?];
    let (folder, ended) = measure(sides, out)?;
    ensure!(
        !ended.interrupted,
        "{}: the rerun was interrupted",
        folder.display()
    );
    Ok(folder)
}

/// The axes in which cells that belong together differ.
pub(super) fn differing(a: &Plan, b: &Plan) -> Vec<Axis> {
    let mut axes: Vec<Axis> = Vec::new();
    for (a, b) in a.cases.iter().zip(&b.cases) {
        for axis in Axis::varying([a, b]) {
            if !axes.contains(&axis) {
                axes.push(axis);
            }
        }
    }
    axes
}

/// What both sides would cost. Their models are in memory together; cells that both sides share have the time of both.
pub(super) fn cost(sides: [Prepared; 2]) -> Document {
    let [mut a, mut b] = sides;
    let mut fits = offload::fits(&[(&a.plan, &a.engine), (&b.plan, &b.engine)]).into_iter();
    for side in [&mut a, &mut b] {
        side.fits = fits.next().unwrap_or_default();
    }
    let time = pair_time([&a, &b], &[a.fits.clone(), b.fits.clone()]);
    let mut rows = dry_rows(&a);
    for row in dry_rows(&b) {
        match rows.iter_mut().find(|known| known.case == row.case) {
            Some(known) => known.time = known.time.saturating_add(row.time),
            None => rows.push(row),
        }
    }
    dry_run::document(&rows, &time)
}

/// Tells before anything is measured that the first pair of every cell takes longer than the budget.
fn note_over_budget(sides: [&Prepared; 2], fits: &[Fits]) {
    note_all(pair_time(sides, fits).over_budget().as_slice());
}

/// The time of both sides together.
fn pair_time(sides: [&Prepared; 2], fits: &[Fits]) -> RunTime {
    let mut measured: HashSet<CaseId> = HashSet::new();
    for (side, fits) in sides.into_iter().zip(fits) {
        let cases = side.plan.cases.iter().zip(fits);
        let fitting = cases.filter(|(_, (_, outcome))| outcome.is_none());
        measured.extend(fitting.map(|(case, _)| case.id()));
    }
    let plans = sides.map(|side| &side.plan);
    RunTime::of(&plans, &sides[0].rates, |case| {
        measured.contains(&case.id())
    })
}

/// Measures two sides in turns, in a folder of their own below `out`.
pub(super) fn measure(sides: [Prepared; 2], out: &Path) -> Result<(PathBuf, Ended)> {
    check_writable(out)?;
    let [mut a, mut b] = sides;
    let mut fits = offload::fits(&[(&a.plan, &a.engine), (&b.plan, &b.engine)]);
    for (side, fits) in [&mut a, &mut b].into_iter().zip(&fits) {
        let models = std::mem::take(&mut side.models);
        if !models.is_empty() {
            side.plan.models = make_models(&side.plan, models, fits)?;
        }
    }
    note_over_budget([&a, &b], &fits);
    let axes: Vec<String> = differing(&a.plan, &b.plan)
        .iter()
        .map(|axis| axis.name().to_owned())
        .collect();
    let mut folder = Folder::create(out, &a.plan.name)?;
    let (id, started_at) = (name_of(&folder.path), crate::record::timestamp());
    let paths = [
        folder.inner(PairSide::A.folder())?,
        folder.inner(PairSide::B.folder())?,
    ];
    let record = |path: &Path, side: &Prepared, which: PairSide| {
        let header = RunHeader {
            started_at: started_at.clone(),
            pair: Some(Pair {
                id: id.clone(),
                side: which,
                axes: axes.clone(),
                worker_program: side.command.program.clone(),
                worker_engine: side.command.engine.to_argument(),
            }),
            ..header(
                format!("{id}-{}", which.folder()),
                &side.plan,
                side.machine.clone(),
                side.engine.clone(),
                side.program.clone(),
            )
        };
        folder.keep_if(|_| Ok(Writer::create(path, header)?))
    };
    let mut writers = [
        record(&paths[0], &a, PairSide::A)?,
        record(&paths[1], &b, PairSide::B)?,
    ];
    let mut lanes = Vec::new();
    for (side, writer) in [&a, &b].into_iter().zip(&mut writers) {
        let mut done = Done::default();
        record_skipped(&side.plan, fits.remove(0), &mut done, writer)?;
        lanes.push(Lane {
            plan: &side.plan,
            command: &side.command,
            engine: &side.engine,
            program: &side.program,
            writer,
            done,
            worker: LaneWorker::default(),
            watch: FileWatch::default(),
        });
    }
    let hint = "what was measured is in the records; measure the pair again";
    let interrupt = listen()?;
    let ended = execute(lanes, &a.rates, (Instant::now(), &interrupt), hint)?;
    Ok((folder.path, ended))
}
