//! From prepared plans to finished records: what every verb that measures does.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};

use super::INTERRUPTED;
use super::offload::{self, Fits};
use super::prepare;
use crate::build_info::BuildInfo;
use crate::engine::EngineFacts;
use crate::host::signals::{self, EndSignal};
use crate::host::{Machine, TimerFacts, machine_warnings, missing_engine_features};
use crate::model::{ModelFacts, ModelFile, ResolvedModel};
use crate::plan::Plan;
use crate::plan::budget::Rates;
use crate::record::jsonl::Writer;
use crate::record::{CellLine, Line, RunHeader, SCHEMA_VERSION, timestamp};
use crate::report::progress;
use crate::run::eta::Eta;
use crate::run::lane::Lane;
use crate::run::resume::Done;
use crate::run::supervisor::WorkerCommand;
use crate::run::{Course, Ended, Execution, Interrupt};
use crate::streams::note;

/// Listens to Ctrl-C and its like: the first sets the interrupt, the second leaves at once. Once a process.
///
/// # Errors
/// When the system does not let it.
pub fn listen() -> Result<Interrupt> {
    let interrupt = Interrupt::default();
    let flag = interrupt.clone();
    signals::on_ending(move |signal| {
        if flag.is_set() {
            // A terminal that closes says so twice: the kernel to what is in front, the shell to its jobs.
            if signal == EndSignal::HungUp {
                return;
            }
            // The workers see their standard input end and go too.
            std::process::exit(INTERRUPTED.into());
        }
        flag.set();
        note("\ninterrupted: finishing what is in hand (again to leave at once)");
    })
    .context("cannot listen to Ctrl-C")?;
    Ok(interrupt)
}

/// Measures the lanes' plans until they are done or Ctrl-C. `hint` says how to go on when a record cannot be written.
///
/// # Errors
/// When a record cannot be written.
pub fn execute(
    lanes: Vec<Lane<'_>>,
    rates: &Rates,
    (started, interrupt): (Instant, &Interrupt),
    hint: &str,
) -> Result<Ended> {
    let plans: Vec<&Plan> = lanes.iter().map(|lane| lane.plan).collect();
    let mut observer = progress::cells::for_stderr(plans[0], plans.len());
    let course = Course {
        started,
        measuring: started,
        observer: observer.as_mut(),
        interrupt: interrupt.clone(),
        eta: Eta::of(&plans, rates),
        costs: HashMap::new(),
    };
    let run = Execution { lanes, course }.run();
    run.with_context(|| format!("the run stopped; {hint}"))
}

/// Writes down the cells that do not fit, and leaves them out.
///
/// # Errors
/// When the record cannot be written.
pub fn record_skipped(plan: &Plan, fits: Fits, done: &mut Done, writer: &mut Writer) -> Result<()> {
    let replicates = 0..plan.protocol.replicates;
    for (case, (_, outcome)) in plan.cases.iter().zip(fits) {
        let id = case.id();
        let Some(outcome) = outcome else { continue };
        if replicates.clone().all(|r| done.is_finished(&id, r)) {
            continue;
        }
        done.skip(id.clone());
        writer.append(&Line::Cell(Box::new(CellLine {
            case_id: id,
            case: case.clone(),
            replicate: None,
            worker: None,
            outcome,
            opened: None,
            usage: None,
            found: None,
            log: Vec::new(),
        })))?;
    }
    Ok(())
}

/// Makes a plan's models that are not there yet, and hashes them all; those that no cell can use are left alone.
///
/// # Errors
/// When one cannot be made or read.
pub fn make_models(
    plan: &Plan,
    models: Vec<ResolvedModel>,
    fits: &Fits,
) -> Result<Vec<ModelFacts>> {
    let cases = plan.cases.iter().zip(fits);
    let fitting: HashSet<&str> = cases
        .filter(|(_, (_, outcome))| outcome.is_none())
        .map(|(case, _)| case.model.as_str())
        .collect();
    let mut facts = Vec::new();
    for mut model in models {
        let name = model.facts.name.clone();
        if !fitting.contains(name.as_str()) {
            facts.push(model.facts);
            continue;
        }
        model.ensure(&mut *progress::file_work(&format!("writing {name}")))?;
        model.hash(&mut *progress::file_work(&format!("hashing {name}")))?;
        // A run may be resumed from another folder.
        model.facts.make_path_absolute();
        facts.push(model.facts);
    }
    Ok(facts)
}

/// The first line of the record of a run called `name`.
pub fn header(
    name: String,
    plan: &Plan,
    machine: Machine,
    engine: EngineFacts,
    program: BuildInfo,
) -> RunHeader {
    let missing_cpu_features = missing_engine_features(&machine.cpu.features, &engine.system_info);
    let n_threads = plan.cases.iter().map(|c| c.n_threads).max().unwrap_or(1);
    RunHeader {
        schema: SCHEMA_VERSION,
        run: name,
        started_at: timestamp(),
        args: std::env::args_os()
            .skip(1)
            .map(|a| a.to_string_lossy().into_owned())
            .collect(),
        warnings: machine_warnings(&machine, &engine.system_info, n_threads),
        program,
        machine,
        timer: Some(TimerFacts::measure()),
        engine,
        missing_cpu_features,
        plan: plan.clone(),
        requests: None,
        quality: None,
        pair: None,
        imported: None,
        n_repeated_lines: 0,
    }
}

/// The name of a run's folder.
pub fn name_of(folder: &Path) -> String {
    let name = folder.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

/// What is measured now belongs to a run only on its machine, with its engine and its model files, whose stamps become
/// those of today.
///
/// # Errors
/// When it does not.
pub fn check_same_conditions(
    run: &Path,
    header: &RunHeader,
    models: &mut [ModelFacts],
    command: &WorkerCommand,
) -> Result<(Machine, EngineFacts, BuildInfo)> {
    ensure!(
        header.imported.is_none(),
        "{}: was imported from another program's output; this program cannot measure its cells again",
        run.display()
    );
    let (mut engine, program) = prepare::describe(command)?;
    ensure!(
        engine.is_same_build(&header.engine),
        "{}: was measured with {}, this program has {}: their cells are not one run",
        run.display(),
        engine_text(&header.engine),
        engine_text(&engine)
    );
    let machine = Machine::probe();
    ensure!(
        machine.fingerprint == header.machine.fingerprint,
        "{}: was measured on another machine ({}): its cells and this one's are not one run",
        run.display(),
        header.machine.cpu.model.as_deref().unwrap_or("unknown CPU")
    );
    let variables = |machine: &Machine| machine.environment.acting.clone();
    ensure!(
        variables(&machine) == variables(&header.machine),
        "{}: was measured with other environment variables that act on the engine ({}; now {}): set them as they were",
        run.display(),
        variables_text(&header.machine),
        variables_text(&machine)
    );
    engine.remote = offload::remote(header.plan.cases.iter().map(|c| &c.rpc), command)?;
    for model in models {
        model.files = same_files(model)?;
    }
    Ok((machine, engine, program))
}

fn engine_text(engine: &EngineFacts) -> String {
    let devices: Vec<&str> = engine.devices.iter().map(|d| d.name.as_str()).collect();
    format!(
        "{} {} on {}",
        engine.name,
        engine.version,
        devices.join(", ")
    )
}

fn variables_text(machine: &Machine) -> String {
    let acting = machine.environment.acting.iter();
    let set: Vec<String> = acting
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    if set.is_empty() {
        "none".to_owned()
    } else {
        set.join(" ")
    }
}

/// The files of a model, when all have the bytes they had; one whose hash is kept for its stamp is not read.
fn same_files(model: &ModelFacts) -> Result<Vec<ModelFile>> {
    let mut now = ModelFacts::read(&model.path)?;
    // A model of which no cell fitted was never hashed.
    if model.sha256.is_some() {
        now.hash(&mut *progress::file_work(&format!(
            "hashing {}",
            model.name
        )))?;
    }
    if let Some(path) = now.first_difference(model) {
        bail!("{}: is not the file the run began with", path.display());
    }
    Ok(now.files)
}
