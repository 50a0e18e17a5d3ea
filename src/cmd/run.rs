//! `run` and `sweep`: measure, record, show.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Result, bail, ensure};

use super::execute::{
    check_same_conditions, execute, header, listen, make_models, name_of, record_skipped,
};
use super::folder::{Folder, check_writable};
use super::offload;
use super::prepare::{self, Prepared, RunSpec, prepare};
use super::quiet::{self, CpuUseWindow};
use super::requests_plan::PlannedRequests;
use super::requests_targets;
use super::{DONE, FAILED_CELLS, INTERRUPTED, OUT, note_all, say};
use crate::analysis::capacity::Slo;
use crate::build_info::BuildInfo;
use crate::cli::{OutputArgs, RunArgs};
use crate::compare::samples::CellKey;
use crate::engine::EngineFacts;
use crate::model::{FileWatch, ModelFacts};
use crate::plan::budget;
use crate::plan::requests::RequestsChoice;
use crate::plan::run_time::RunTime;
use crate::plan::sweep::Sweep;
use crate::plan::{Case, CaseId, Plan};
use crate::record::RunHeader;
use crate::record::jsonl::{self, Writer};
use crate::report::dry_run;
use crate::report::progress;
use crate::report::progress::requests::for_stderr;
use crate::request::compared::JobPart;
use crate::request::{Forced, Job};
use crate::run::lane::{Lane, LaneWorker};
use crate::run::quality::{QualityRun, QualityWorkers};
use crate::run::requests::RequestsRun;
use crate::run::requests::done::DoneJobs;
use crate::run::resume::Done;
use crate::run::supervisor::WorkerCommand;
use crate::run::{Ended, Interrupt};
use crate::stats::sequential::PairRule;
use crate::streams::note;
use crate::text::{plural, quoted};
use crate::units;
use crate::view::RunView;

/// Measures what flags and sweep describe.
///
/// # Errors
/// When nothing could be measured, or the record could not be written.
pub fn run(args: &RunArgs, sweep: Option<Sweep>) -> Result<u8> {
    if let Some(run) = &args.resume {
        ensure!(
            sweep.is_none(),
            "--resume keeps the run's own plan: leave out the sweep"
        );
        let flags = prepare::flags_of_cells(args)?;
        ensure!(
            flags.is_empty(),
            "--resume keeps the run's own plan: leave out {}",
            flags.join(", ")
        );
        return resume(args, run);
    }
    let window = CpuUseWindow::begin();
    let requests = sweep.as_ref().and_then(|s| s.requests.clone());
    let slo = args.output.slo.as_ref().filter(|_| requests.is_none());
    if let Some(why) = slo.and_then(Slo::of_requests_only) {
        bail!("--slo: {why}");
    }
    let quality = sweep.as_ref().and_then(|s| s.quality.clone());
    let mut spec = RunSpec::of(&args.axes, &args.protocol, sweep, "run")?;
    spec.name = args.output.name.clone().unwrap_or(spec.name);
    spec.measures_idle_power = !args.dry_run;
    let forced = Forced {
        n_threads: spec.axes.n_threads.is_some(),
        n_ctx: true,
    };
    let axes = spec.axes.clone();
    let mut prepared = prepare(spec, prepare::worker_command(&args.worker)?)?;
    note_all(&prepared.notes);
    let quality = quality.map(|choice| super::quality::of_sweep(&choice, &axes, &prepared));
    let quality = quality.transpose()?;
    let planned = requests
        .map(|choice| planned_requests(choice, &prepared.plan, forced))
        .transpose()?;
    let is_open = args.protocol.replicates.is_none()
        && args.protocol.repetitions.is_none()
        && args.protocol.min_repetitions.is_none();
    if is_open && args.protocol.budget.is_some() {
        note_all(shorten(&mut prepared).as_slice());
    }
    let time = run_time(&prepared);
    if args.dry_run {
        say(dry_run::document(&dry_rows(&prepared), &time).for_stdout())?;
        if let Some(planned) = &planned {
            say(planned.dry_run(&prepared).for_stdout())?;
        }
        if let Some(quality) = &quality {
            say(super::quality::dry_run(quality, &prepared))?;
        }
        return Ok(DONE);
    }
    note_all(time.over_budget().as_slice());
    let out = out_folder(&args.output)?;
    if let Some(quality) = &quality {
        super::quality::check_room(&quality.plan, &prepared.plan.models, &out)?;
    }
    let models = std::mem::take(&mut prepared.models);
    prepared.plan.models = make_models(&prepared.plan, models, &prepared.fits)?;
    let interrupt = listen()?;
    quiet::before_measuring(window, &args.output, &interrupt)?;
    let requests = match planned {
        None => None,
        Some(planned) => match planned.connected(&prepared, &interrupt)? {
            None => return Ok(INTERRUPTED),
            requests => requests,
        },
    };
    measure(
        prepared,
        (requests, quality),
        &args.output,
        &out,
        &interrupt,
    )
}

/// The folder that gets runs' folders.
pub(super) fn out_folder(args: &OutputArgs) -> Result<PathBuf> {
    let out = args.out.clone().unwrap_or_else(|| PathBuf::from(OUT));
    check_writable(&out)?;
    Ok(out)
}

/// The requests of a sweep, in the setting of its first cell.
fn planned_requests(
    choice: RequestsChoice,
    plan: &Plan,
    forced: Forced,
) -> Result<PlannedRequests> {
    let of_model = |case: &&Case| choice.model.as_ref().is_none_or(|m| *m == case.model);
    let Some(setting) = plan.cases.iter().find(of_model) else {
        bail!(
            "requests.model: '{}' is no model of this sweep: {}",
            choice.model.unwrap_or_default(),
            plan.models
                .iter()
                .map(|m| m.name.as_str())
                .collect::<Vec<_>>()
                .join(", ")
        );
    };
    let seed = plan.protocol.seed;
    let setting = std::slice::from_ref(setting);
    PlannedRequests::of(choice.resolve(seed)?, setting, forced, seed)
}

/// Sends requests, scores a text and measures cells, into one record, which is then shown.
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
    let Prepared {
        plan,
        models: _,
        notes: _,
        command,
        machine,
        engine,
        program,
        rates,
        fits,
    } = prepared;
    let folder = Folder::create(out, &plan.name)?;
    let name = name_of(&folder.path);
    let mut header = header(name, &plan, machine, engine.clone(), program.clone());
    header.requests = requests.as_ref().map(|r| r.plan.clone());
    header.quality = quality.as_ref().map(|q| q.plan.clone());
    let mut writer = folder.keep_if(|path| Ok(Writer::create(path, header)?))?;
    let mut done = Done::default();
    record_skipped(&plan, fits, &mut done, &mut writer)?;
    let started = Instant::now();
    if let Some(mut requests) = requests {
        requests.serve(&mut writer, started, interrupt, &mut *for_stderr())?;
    }
    if let Some(mut quality) = quality {
        let workers = workers(&command, &engine, &program, &plan);
        let record = (&mut writer, folder.path.as_path());
        quality.score(
            &workers,
            record,
            interrupt,
            &mut *progress::quality::for_stderr(),
        )?;
    }
    let lane = Lane {
        plan: &plan,
        command: &command,
        engine: &engine,
        program: &program,
        writer: &mut writer,
        done,
        worker: LaneWorker::default(),
        watch: FileWatch::default(),
    };
    let hint = resume_hint(&folder.path);
    let ended = execute(vec![lane], &rates, (started, interrupt), &hint)?;
    finish(args, &folder.path, ended)
}

/// Measures what an interrupted run lacks. Nothing is written before it is sure that it is a run, and that
/// it can go on here.
fn resume(args: &RunArgs, run: &Path) -> Result<u8> {
    let folder = match (
        run.is_file(),
        run.file_name().is_some_and(|n| n == jsonl::FILE_NAME),
    ) {
        (true, true) => run.parent().unwrap_or(run),
        (true, false) => bail!(
            "{}: name the run's folder, or its {}",
            run.display(),
            jsonl::FILE_NAME
        ),
        (false, _) => run,
    };
    let command = prepare::worker_command(&args.worker)?;
    let mut writer = Writer::open(folder)?;
    let (mut header, mut done) = Done::read(folder)?;
    let (_, served) = DoneJobs::read(folder)?;
    ensure!(
        header.pair.is_none(),
        "{}: is one side of a pair, which was measured in turns with the other; measure the pair again",
        run.display()
    );
    let mut models = std::mem::take(&mut header.plan.models);
    let (machine, engine, program) = check_same_conditions(run, &header, &mut models, &command)?;
    header.plan.models = models;
    let interrupt = listen()?;
    quiet::before_measuring(CpuUseWindow::begin(), &args.output, &interrupt)?;
    let requests = match requests_targets::again(&header, served, &command, &interrupt) {
        Err(_) if interrupt.is_set() => return Ok(INTERRUPTED),
        Err(reason) if !header.plan.cases.is_empty() => {
            note(format_args!("resuming the cells alone: {reason:#}"));
            None
        }
        requests => requests?,
    };
    let quality = super::quality::again(&header, &engine, folder)?;
    writer.mend()?;
    let plan = header.plan;
    let fits = offload::fits(&[(&plan, &engine)]).remove(0);
    record_skipped(&plan, fits, &mut done, &mut writer)?;
    let rates = prepare::rates(machine.cpu.available_cores.unwrap_or(1), &machine.gpus)?;
    if let Some(mut requests) = requests {
        requests.serve(&mut writer, Instant::now(), &interrupt, &mut *for_stderr())?;
    }
    if let Some(mut quality) = quality {
        let workers = workers(&command, &engine, &program, &plan);
        let record = (&mut writer, folder);
        quality.score(
            &workers,
            record,
            &interrupt,
            &mut *progress::quality::for_stderr(),
        )?;
    }
    let lane = Lane {
        plan: &plan,
        command: &command,
        engine: &engine,
        program: &program,
        writer: &mut writer,
        done,
        worker: LaneWorker::default(),
        watch: FileWatch::default(),
    };
    let hint = resume_hint(folder);
    let ended = execute(vec![lane], &rates, (Instant::now(), &interrupt), &hint)?;
    finish(&args.output, folder, ended)
}

/// Those that score a text with a plan's models.
fn workers<'a>(
    command: &'a WorkerCommand,
    engine: &'a EngineFacts,
    program: &'a BuildInfo,
    plan: &'a Plan,
) -> QualityWorkers<'a> {
    QualityWorkers {
        command,
        engine,
        program,
        models: &plan.models,
    }
}

fn resume_hint(folder: &Path) -> String {
    format!(
        "when that is mended, `ggufbench --resume {}` goes on",
        quoted(folder)
    )
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
    let started = Instant::now();
    if let Some(mut requests) = requests_run {
        requests.serve(&mut writer, started, &interrupt, &mut *for_stderr())?;
    }
    let lane = Lane {
        plan: &plan,
        command,
        engine: &engine,
        program: &program,
        writer: &mut writer,
        done: Done::default(),
        worker: LaneWorker::default(),
        watch: FileWatch::default(),
    };
    let hint = resume_hint(&folder.path);
    let ended = execute(vec![lane], &rates, (started, &interrupt), &hint)?;
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
    super::report::set_price(&mut view, args.price.as_ref());
    let has_report = super::report::show(&view, args)?;
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

/// How long the cells that fit take.
fn run_time(prepared: &Prepared) -> RunTime {
    let fitting = fitting(prepared);
    RunTime::of(&[&prepared.plan], &prepared.rates, |case| {
        fitting.contains(&case.id())
    })
}

fn fitting(prepared: &Prepared) -> HashSet<CaseId> {
    let cases = prepared.plan.cases.iter().zip(&prepared.fits);
    let fitting = cases.filter(|(_, (_, outcome))| outcome.is_none());
    fitting.map(|(case, _)| case.id()).collect()
}

/// Plans fewer repetitions, and then fewer processes, where a budget that the user typed is too short for the usual number of them. What
/// was planned instead, in words.
fn shorten(prepared: &mut Prepared) -> Option<String> {
    let before = run_time(prepared);
    let fitting = fitting(prepared);
    let (processes, repetitions) = RunTime::shortened(&prepared.plan, &prepared.rates, |case| {
        fitting.contains(&case.id())
    })?;
    let protocol = &mut prepared.plan.protocol;
    (protocol.replicates, protocol.min_repetitions) = (processes, repetitions);
    let (usual, usual_repetitions) = before.n_fewest;
    let each = |repetitions, processes| {
        format!(
            "{} in {}",
            plural(repetitions, "repetition", "repetitions"),
            match processes {
                1 => "one process".to_owned(),
                n => format!("each of {n} processes"),
            }
        )
    };
    Some(format!(
        "the budget is too short for {}, which take about {}; planned instead: {} or more (--replicates and --repetitions set them)",
        each(usual_repetitions, usual),
        units::duration(units::nanoseconds(before.fewest)),
        each(repetitions, processes),
    ))
}

/// The cells of a plan with what they cost.
pub(super) fn dry_rows(prepared: &Prepared) -> Vec<dry_run::DryRow> {
    let protocol = &prepared.plan.protocol;
    let plan = &prepared.plan;
    // Of pairs until decided, as many as a verdict needs.
    let n_processes = match protocol.pair_tolerance {
        Some(_) => PairRule::default().fewest.try_into().unwrap_or(u32::MAX),
        None => protocol.replicates,
    };
    plan.cases
        .iter()
        .zip(&prepared.fits)
        .map(|(case, (price, outcome))| {
            let time = budget::time(case, plan.model_of(case), &prepared.rates)
                .visit(protocol.min_repetitions)
                .saturating_mul(n_processes);
            dry_run::DryRow {
                case: case.clone(),
                price: *price,
                fits: dry_run::Over::check(outcome.as_ref()),
                time,
                is_timed: budget::is_timed(case, plan.model_of(case), &prepared.rates),
            }
        })
        .collect()
}
