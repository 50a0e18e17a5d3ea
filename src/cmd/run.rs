//! `run` and `sweep`: measure, record, show.

use std::path::Path;

use anyhow::{Result, bail, ensure};

use super::execute::{check_same_conditions, listen, make_models};
use super::measuring::{measure, measure_into, out_folder};
use super::offload;
use super::prepare::{self, Prepared, RunSpec, prepare};
use super::prices::{dry_rows, fitting, run_time};
use super::quality_plan;
use super::quiet::{self, CpuUseWindow};
use super::requests_plan::PlannedRequests;
use super::requests_targets;
use super::{DONE, INTERRUPTED, note_all, say};
use crate::analysis::capacity::Slo;
use crate::cli::RunArgs;
use crate::plan::requests::RequestsChoice;
use crate::plan::run_time::RunTime;
use crate::plan::sweep::Sweep;
use crate::plan::{Case, Plan};
use crate::record::jsonl::{self, Writer};
use crate::report::dry_run;
use crate::request::Forced;
use crate::run::requests::done::DoneJobs;
use crate::run::resume::Done;
use crate::streams::note;
use crate::text::plural;
use crate::units;

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
    let quality = quality.map(|choice| quality_plan::of_sweep(&choice, &axes, &prepared));
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
            say(quality_plan::dry_run(quality, &prepared))?;
        }
        return Ok(DONE);
    }
    note_all(time.over_budget().as_slice());
    let out = out_folder(&args.output)?;
    if let Some(quality) = &quality {
        quality_plan::check_room(&quality.plan, &prepared.plan.models, &out)?;
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
    let (mut header, done) = Done::read(folder)?;
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
    let quality = quality_plan::again(&header, &engine, folder)?;
    writer.mend()?;
    let fits = offload::fits(&[(&header.plan, &engine)]).remove(0);
    let prepared = Prepared {
        plan: header.plan,
        models: Vec::new(),
        notes: Vec::new(),
        command,
        rates: prepare::rates(machine.cpu.available_cores.unwrap_or(1), &machine.gpus)?,
        machine,
        engine,
        program,
        fits,
    };
    let record = (&mut writer, folder);
    measure_into(
        record,
        done,
        prepared,
        (requests, quality),
        &args.output,
        &interrupt,
    )
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
