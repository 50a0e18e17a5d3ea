//! A prepared run is measured and shown, whatever its work.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Result, ensure};

use super::execute::{check_same_conditions, execute, header, listen, name_of, record_skipped};
use super::folder::{Folder, check_writable};
use super::prepare::{self, Prepared};
use super::{DONE, FAILED_CELLS, INTERRUPTED, OUT, requests_targets, shown};
use crate::cli::OutputArgs;
use crate::compare::samples::CellKey;
use crate::model::{FileWatch, ModelFacts};
use crate::plan::{Case, Plan};
use crate::record::RunHeader;
use crate::record::jsonl::Writer;
use crate::report::progress;
use crate::report::progress::requests::for_stderr;
use crate::request::Job;
use crate::request::compared::JobPart;
use crate::run::lane::{Lane, LaneWorker};
use crate::run::quality::{QualityRun, QualityWorkers};
use crate::run::requests::RequestsRun;
use crate::run::requests::done::DoneJobs;
use crate::run::resume::Done;
use crate::run::supervisor::WorkerCommand;
use crate::run::{Ended, Interrupt};
use crate::text::quoted;
use crate::view::RunView;

/// The folder that gets runs' folders.
pub(super) fn out_folder(args: &OutputArgs) -> Result<PathBuf> {
    let out = args.out.clone().unwrap_or_else(|| PathBuf::from(OUT));
    check_writable(&out)?;
    Ok(out)
}

/// Sends requests, scores a text and measures cells, into one new record, which is then shown.
///
/// # Errors
/// When the record cannot be written.
pub(super) fn measure(
    prepared: Prepared,
    (requests, quality): (Option<RequestsRun>, Option<QualityRun>),
    args: &OutputArgs,
    out: &Path,
    interrupt: &Interrupt,
) -> Result<u8> {
    let folder = Folder::create(out, &prepared.plan.name)?;
    let name = name_of(&folder.path);
    let (machine, engine) = (prepared.machine.clone(), prepared.engine.clone());
    let mut header = header(
        name,
        &prepared.plan,
        machine,
        engine,
        prepared.program.clone(),
    );
    header.requests = requests.as_ref().map(|r| r.plan.clone());
    header.quality = quality.as_ref().map(|q| q.plan.clone());
    let mut writer = folder.keep_if(|path| Ok(Writer::create(path, header)?))?;
    let record = (&mut writer, folder.path.as_path());
    measure_into(
        record,
        Done::default(),
        prepared,
        (requests, quality),
        args,
        interrupt,
    )
}

/// The same into a record that may have a part of it already, which is `done`.
///
/// # Errors
/// As [`measure`].
pub(super) fn measure_into(
    record: (&mut Writer, &Path),
    done: Done,
    prepared: Prepared,
    work: (Option<RequestsRun>, Option<QualityRun>),
    args: &OutputArgs,
    interrupt: &Interrupt,
) -> Result<u8> {
    let (writer, folder) = record;
    let ended = carry_out((writer, folder), done, prepared, work, interrupt)?;
    finish(args, folder, ended)
}

/// Requests, then a text, then cells, as far as they are not done.
fn carry_out(
    (writer, folder): (&mut Writer, &Path),
    mut done: Done,
    prepared: Prepared,
    (requests, quality): (Option<RequestsRun>, Option<QualityRun>),
    interrupt: &Interrupt,
) -> Result<Ended> {
    let Prepared {
        plan,
        command,
        engine,
        program,
        rates,
        fits,
        ..
    } = prepared;
    record_skipped(&plan, fits, &mut done, writer)?;
    let started = Instant::now();
    if let Some(mut requests) = requests {
        requests.serve(writer, started, interrupt, &mut *for_stderr())?;
    }
    if let Some(mut quality) = quality {
        let workers = QualityWorkers {
            command: &command,
            engine: &engine,
            program: &program,
            models: &plan.models,
        };
        quality.score(
            &workers,
            (writer, folder),
            interrupt,
            &mut *progress::quality::for_stderr(),
        )?;
    }
    let lane = Lane {
        plan: &plan,
        command: &command,
        engine: &engine,
        program: &program,
        writer,
        done,
        worker: LaneWorker::default(),
        watch: FileWatch::default(),
    };
    let hint = format!(
        "when that is mended, `ggufbench --resume {}` goes on",
        quoted(folder)
    );
    execute(vec![lane], &rates, (started, interrupt), &hint)
}

/// Measures some cells of a run again, by the run's own protocol, in a run of its own below `out`. Returns its folder.
///
/// # Errors
/// When engine, machine, models or servers are not the run's, the record cannot be written, or Ctrl-C ended it.
pub(super) fn again(
    run: &Path,
    header: &RunHeader,
    cells: &[CellKey],
    command: &WorkerCommand,
    out: &Path,
) -> Result<PathBuf> {
    let batches = cells.iter().filter(|cell| cell.job.is_none());
    let cases: Vec<Case> = batches.map(|cell| cell.case.clone()).collect();
    let mut plan = plan_of_some(&header.plan, &cases);
    let is_wanted = |job: &Job, target: &str| {
        let mut parts = JobPart::all_of(job).into_iter();
        parts.any(|part| cells.contains(&CellKey::of_job(&part.job, target, target)))
    };
    let requests = header.requests.as_ref().map(|all| all.of_some(is_wanted));
    let requests = requests.filter(|some| !some.jobs.is_empty());
    if requests.is_some() {
        plan.models.clone_from(&header.plan.models);
    }
    let (machine, engine, program) = check_same_conditions(run, header, &mut plan.models, command)?;
    let rates = prepare::rates(machine.cpu.available_cores.unwrap_or(1), &machine.gpus)?;
    let interrupt = listen()?;
    let planned = RunHeader {
        requests: requests.clone(),
        plan: plan.clone(),
        ..header.clone()
    };
    let requests_run = requests_targets::again(&planned, DoneJobs::default(), command, &interrupt)?;
    let folder = Folder::create(out, &plan.name)?;
    let name = name_of(&folder.path);
    let own = RunHeader {
        requests,
        ..self::header(name, &plan, machine, engine.clone(), program.clone())
    };
    let mut writer = folder.keep_if(|path| Ok(Writer::create(path, own)?))?;
    let prepared = Prepared {
        plan,
        models: Vec::new(),
        notes: Vec::new(),
        command: command.clone(),
        machine: header.machine.clone(),
        engine,
        program,
        rates,
        // What was measured fits.
        fits: Vec::new(),
    };
    let record = (&mut writer, folder.path.as_path());
    let ended = carry_out(
        record,
        Done::default(),
        prepared,
        (requests_run, None),
        &interrupt,
    )?;
    ensure!(
        !ended.interrupted,
        "{}: the rerun was interrupted",
        folder.path.display()
    );
    Ok(folder.path)
}

/// A plan for measuring some of a plan's cells again.
pub(super) fn plan_of_some(plan: &Plan, cases: &[Case]) -> Plan {
    let is_used = |m: &&ModelFacts| cases.iter().any(|case| case.model == m.name);
    Plan {
        name: format!("{}-rerun", plan.name),
        models: plan.models.iter().filter(is_used).cloned().collect(),
        cases: cases.to_vec(),
        ..plan.clone()
    }
}

fn finish(args: &OutputArgs, folder: &Path, ended: Ended) -> Result<u8> {
    let mut view = RunView::read(folder)?;
    shown::set_price(&mut view, args.price.as_ref());
    let has_report = shown::show(&view, args)?;
    Ok(with_reports(exit_code(ended, &[&view]), has_report))
}

/// The exit code of a run that was measured, where its report may not have been written.
pub(super) fn with_reports(code: u8, has_reports: bool) -> u8 {
    match code {
        DONE if !has_reports => FAILED_CELLS,
        other => other,
    }
}

/// The exit code of runs that ended so.
pub(super) fn exit_code(ended: Ended, views: &[&RunView]) -> u8 {
    let is_whole = |view: &&RunView| view.any_measured() && !view.any_failed();
    if ended.interrupted {
        INTERRUPTED
    } else if views.iter().all(is_whole) {
        DONE
    } else {
        FAILED_CELLS
    }
}
