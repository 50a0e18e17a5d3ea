//! `run` and `sweep`: measure, record, show.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use super::prepare::{self, Prepared, prepare};
use super::{DONE, FAILED_CELLS, INTERRUPTED, say, unless_closed};
use crate::build_info::BuildInfo;
use crate::cli::RunArgs;
use crate::engine::EngineFacts;
use crate::host::TimerFacts;
use crate::host::{Machine, machine_warnings, missing_engine_features};
use crate::model::{ModelFacts, ResolvedModel};
use crate::plan::budget::{MemoryPrice, Rates};
use crate::plan::sweep::Sweep;
use crate::plan::{Case, Plan};
use crate::record::jsonl::{self, Writer};
use crate::record::{CellLine, Line, Outcome, RunHeader, SCHEMA_VERSION, timestamp};
use crate::report::{self, Files, dry_run, progress};
use crate::run::eta::Eta;
use crate::run::resume::Done;
use crate::run::supervisor::{Worker, WorkerCommand};
use crate::run::{Ended, Execution, Interrupt};
use crate::view::RunView;

/// Measures what flags and sweep describe.
///
/// # Errors
/// When nothing could be measured, or the record could not be written.
pub fn run(args: &RunArgs, sweep: Option<Sweep>) -> Result<u8> {
    if let Some(run) = &args.resume {
        ensure!(
            sweep.is_none() && !prepare::describes_cells(args)?,
            "--resume keeps the run's own plan: leave out the sweep and every flag that describes cells"
        );
        return resume(args, run);
    }
    let prepared = prepare(args, sweep)?;
    if args.dry_run {
        say(dry_run::for_stdout(&dry_rows(&prepared)).trim_end())?;
        return Ok(DONE);
    }
    let Prepared {
        mut plan,
        models,
        command,
        machine,
        engine,
        rates,
        fits,
    } = prepared;
    let out = args.out.clone().unwrap_or_else(|| PathBuf::from("out"));
    check_writable(&out)?;
    let fitting: HashSet<String> = plan
        .cases
        .iter()
        .zip(&fits)
        .filter(|(_, (_, outcome))| outcome.is_none())
        .map(|(case, _)| case.model.clone())
        .collect();
    plan.models = make_models(models, &fitting)?;
    let folder = Folder::create(&out, &plan.name)?;
    let header = header(&folder.path, &plan, machine, engine.clone());
    let mut writer = folder.keep_if(|path| Ok(Writer::create(path, header)?))?;
    let mut done = Done::default();
    record_skipped(&plan, fits, &mut done, &mut writer)?;
    let job = Job {
        plan: &plan,
        engine: &engine,
        command: &command,
        rates: &rates,
    };
    let ended = execute(job, &folder.path, &mut writer, done)?;
    finish(args, &folder.path, ended)
}

/// Writes down the cells that do not fit, and leaves them out.
fn record_skipped(
    plan: &Plan,
    fits: Vec<(MemoryPrice, Option<Outcome>)>,
    done: &mut Done,
    writer: &mut Writer,
) -> Result<()> {
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
            log: Vec::new(),
        })))?;
    }
    Ok(())
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
    let command = prepare::worker_command(args)?;
    let mut writer = Writer::open(folder)?;
    let (header, mut done) = Done::read(folder)?;
    let (machine, engine) = check_same_conditions(run, &header, &header.plan.models, &command)?;
    writer.mend()?;
    let plan = header.plan;
    record_skipped(&plan, prepare::fits(&plan, &engine), &mut done, &mut writer)?;
    let rates = prepare::rates(machine.cpu.available_cores.unwrap_or(1));
    let job = Job {
        plan: &plan,
        engine: &engine,
        command: &command,
        rates: &rates,
    };
    let ended = execute(job, folder, &mut writer, done)?;
    finish(args, folder, ended)
}

/// Measures some cells of a run again, by the run's own protocol, in a run of its own below `out`. Returns its folder.
///
/// # Errors
/// When engine, machine or models are not the run's, the record cannot be written, or Ctrl-C ended it.
pub(super) fn again(
    run: &Path,
    header: &RunHeader,
    cases: &[Case],
    command: &WorkerCommand,
    out: &Path,
) -> Result<PathBuf> {
    let is_used = |m: &&ModelFacts| cases.iter().any(|case| case.model == m.name);
    let models: Vec<ModelFacts> = header.plan.models.iter().filter(is_used).cloned().collect();
    let (machine, engine) = check_same_conditions(run, header, &models, command)?;
    let plan = Plan {
        name: format!("{}-rerun", header.plan.name),
        models,
        cases: cases.to_vec(),
        ..header.plan.clone()
    };
    let rates = prepare::rates(machine.cpu.available_cores.unwrap_or(1));
    let folder = Folder::create(out, &plan.name)?;
    let own = self::header(&folder.path, &plan, machine, engine.clone());
    let mut writer = folder.keep_if(|path| Ok(Writer::create(path, own)?))?;
    let job = Job {
        plan: &plan,
        engine: &engine,
        command,
        rates: &rates,
    };
    let ended = execute(job, &folder.path, &mut writer, Done::default())?;
    ensure!(
        !ended.interrupted,
        "{}: the rerun was interrupted",
        folder.path.display()
    );
    Ok(folder.path)
}

/// What is measured now belongs to a run only on its machine, with its engine and its model files.
fn check_same_conditions(
    run: &Path,
    header: &RunHeader,
    models: &[ModelFacts],
    command: &WorkerCommand,
) -> Result<(Machine, EngineFacts)> {
    let engine = Worker::start(command)
        .context("the engine does not start")?
        .engine()
        .clone();
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
    for model in models {
        check_same_file(model)?;
    }
    Ok((machine, engine))
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

fn check_same_file(model: &ModelFacts) -> Result<()> {
    let mut now = ModelFacts::read(&model.path)?;
    // A model of which no cell fitted was never hashed.
    if model.sha256.is_some() {
        now.hash(&mut |_, _| {})?;
    }
    ensure!(
        now.sha256 == model.sha256 && now.file_bytes == model.file_bytes,
        "{}: is not the file the run began with",
        model.path.display()
    );
    Ok(())
}

/// What is to be done, and with what.
struct Job<'a> {
    plan: &'a Plan,
    engine: &'a EngineFacts,
    command: &'a WorkerCommand,
    rates: &'a Rates,
}

fn execute(job: Job<'_>, folder: &Path, writer: &mut Writer, done: Done) -> Result<Ended> {
    let interrupt = Interrupt::default();
    let flag = interrupt.clone();
    ctrlc::set_handler(move || {
        if flag.is_set() {
            // The worker sees its standard input end and goes too.
            std::process::exit(INTERRUPTED.into());
        }
        flag.set();
        eprintln!("\ninterrupted: finishing the repetition in hand (again to leave at once)");
    })
    .context("cannot listen to Ctrl-C")?;
    let mut observer = progress::for_stderr(job.plan);
    Execution {
        plan: job.plan,
        command: job.command,
        engine: job.engine,
        writer,
        observer: observer.as_mut(),
        interrupt,
        done,
        eta: Eta::of(job.plan, job.rates),
    }
    .run()
    .with_context(|| {
        format!(
            "the run stopped; when that is mended, `ggufbench --resume {}` goes on",
            folder.display()
        )
    })
}

fn finish(args: &RunArgs, folder: &Path, ended: Ended) -> Result<u8> {
    let view = RunView::read(folder)?;
    if !args.no_report {
        super::report::write(&view, args.slo.as_ref(), &Files::in_folder(folder))?;
    }
    unless_closed(report::print(&view, args.output, &mut io::stdout().lock()))?;
    Ok(if ended.interrupted {
        INTERRUPTED
    } else if view.any_failed() || !view.any_measured() {
        FAILED_CELLS
    } else {
        DONE
    })
}

fn dry_rows(prepared: &Prepared) -> Vec<dry_run::DryRow> {
    let protocol = &prepared.plan.protocol;
    let plan = &prepared.plan;
    plan.cases
        .iter()
        .zip(&prepared.fits)
        .map(|(case, (price, outcome))| {
            let time = crate::plan::budget::time(case, plan.model_of(case), &prepared.rates)
                .visit(protocol.min_repetitions)
                * protocol.replicates;
            dry_run::DryRow {
                case: case.clone(),
                price: *price,
                fits: match outcome {
                    Some(Outcome::Skipped {
                        needs_bytes,
                        has_bytes,
                    }) => Err((*needs_bytes, *has_bytes)),
                    _ => Ok(()),
                },
                time,
            }
        })
        .collect()
}

/// Makes the models that are not there yet, and hashes them all; those that no cell can use are left alone.
fn make_models(models: Vec<ResolvedModel>, fitting: &HashSet<String>) -> Result<Vec<ModelFacts>> {
    let mut facts = Vec::new();
    for mut model in models {
        let name = model.facts.name.clone();
        if !fitting.contains(&name) {
            facts.push(model.facts);
            continue;
        }
        model.ensure(&mut *progress::file_work(&format!("writing {name}")))?;
        model
            .facts
            .hash(&mut *progress::file_work(&format!("hashing {name}")))?;
        // A run may be resumed from another folder.
        model.facts.path = std::path::absolute(&model.facts.path)
            .with_context(|| format!("{}: has no absolute path", model.facts.path.display()))?;
        facts.push(model.facts);
    }
    Ok(facts)
}

fn header(folder: &Path, plan: &Plan, machine: Machine, engine: EngineFacts) -> RunHeader {
    let missing_cpu_features = missing_engine_features(&machine.cpu.features, &engine.system_info);
    let n_threads = plan.cases.iter().map(|c| c.n_threads).max().unwrap_or(1);
    let name = folder.file_name().unwrap_or_default();
    RunHeader {
        schema: SCHEMA_VERSION,
        run: name.to_string_lossy().into_owned(),
        started_at: timestamp(),
        args: std::env::args_os()
            .skip(1)
            .map(|a| a.to_string_lossy().into_owned())
            .collect(),
        program: BuildInfo::current(),
        warnings: machine_warnings(&machine, &engine.system_info, n_threads),
        machine,
        timer: TimerFacts::measure(),
        engine,
        missing_cpu_features,
        plan: plan.clone(),
    }
}

/// Fails, and leaves no trace, when a run's folder could not be made in `out`.
fn check_writable(out: &Path) -> Result<()> {
    let existing = out
        .ancestors()
        .map(|p| {
            if p.as_os_str().is_empty() {
                Path::new(".")
            } else {
                p
            }
        })
        .find(|p| p.exists())
        .unwrap_or(Path::new("."));
    tempfile::tempfile_in(existing)
        .map(drop)
        .with_context(|| format!("{}: cannot write there", out.display()))
}

/// A run's folder, and what had to be made for it.
struct Folder {
    path: PathBuf,
    /// Every folder that was made, the topmost first.
    made: Vec<PathBuf>,
}

impl Folder {
    /// Makes a folder for a run in `out`, which is made too where it is missing.
    fn create(out: &Path, name: &str) -> Result<Self> {
        let mut folder = Self {
            path: PathBuf::new(),
            made: Vec::new(),
        };
        folder.fill(out, name).inspect_err(|_| folder.remove())?;
        Ok(folder)
    }

    fn fill(&mut self, out: &Path, name: &str) -> Result<()> {
        let missing: Vec<&Path> = out
            .ancestors()
            .take_while(|p| !p.as_os_str().is_empty() && !p.exists())
            .collect();
        for path in missing.into_iter().rev() {
            self.make(path)?;
        }
        let stamp = jiff::Zoned::now().strftime("%Y%m%d-%H%M%S").to_string();
        for n in 1..100 {
            let suffix = if n == 1 {
                String::new()
            } else {
                format!("-{n}")
            };
            let path = out.join(format!("{stamp}-{name}{suffix}"));
            if !path.exists() {
                self.make(&path)?;
                self.path = path;
                return Ok(());
            }
        }
        bail!("{}: a hundred runs began in one second", out.display())
    }

    fn make(&mut self, path: &Path) -> Result<()> {
        fs::create_dir(path)
            .with_context(|| format!("{}: cannot make the folder", path.display()))?;
        self.made.push(path.to_owned());
        Ok(())
    }

    /// The result of filling the folder; removed again when that fails, so that bad luck leaves no trace.
    fn keep_if<T>(&self, fill: impl FnOnce(&Path) -> Result<T>) -> Result<T> {
        fill(&self.path).inspect_err(|_| {
            // What cannot be removed stays; the error that matters is the first.
            let _ = fs::remove_file(self.path.join(jsonl::FILE_NAME));
            self.remove();
        })
    }

    fn remove(&self) {
        for path in self.made.iter().rev() {
            // Only empty folders of our own making go.
            let _ = fs::remove_dir(path);
        }
    }
}
