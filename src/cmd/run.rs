//! `run` and `sweep`: measure, record, show.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use super::prepare::{self, Prepared, prepare};
use super::{DONE, FAILED_CELLS, INTERRUPTED};
use crate::build_info::BuildInfo;
use crate::cli::RunArgs;
use crate::host::TimerFacts;
use crate::host::{Machine, machine_warnings, missing_engine_features};
use crate::model::{ModelFacts, ResolvedModel};
use crate::plan::Plan;
use crate::plan::sweep::Sweep;
use crate::record::jsonl::Writer;
use crate::record::{CellLine, Line, Outcome, RunHeader, SCHEMA_VERSION, timestamp};
use crate::report::view::RunView;
use crate::report::{self, dry_run, progress};
use crate::run::eta::Eta;
use crate::run::resume::Done;
use crate::run::supervisor::Worker;
use crate::run::{Ended, Execution, Interrupt};

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
        print!("{}", dry_run::for_stdout(&dry_rows(&prepared)));
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
    plan.models = make_models(models)?;
    let folder = Folder::create(&out, &plan.name)?;
    let header = header(&folder.path, &plan, machine, engine);
    let mut writer = folder.keep_if(|path| Ok(Writer::create(path, header)?))?;
    let mut done = Done::default();
    for (case, (_, outcome)) in plan.cases.iter().zip(fits) {
        let Some(outcome) = outcome else { continue };
        done.skip(case.id());
        writer.append(&Line::Cell(Box::new(CellLine {
            case_id: case.id(),
            case: case.clone(),
            replicate: None,
            worker: None,
            outcome,
            opened: None,
            log: Vec::new(),
        })))?;
    }
    let eta = Eta::of(&plan, &rates);
    let ended = execute(&plan, &command, &mut writer, done, eta)?;
    finish(args, &folder.path, ended)
}

/// Measures what an interrupted run lacks.
fn resume(args: &RunArgs, run: &Path) -> Result<u8> {
    let folder = if run.is_file() {
        run.parent().unwrap_or(run)
    } else {
        run
    };
    let command = prepare::worker_command(args)?;
    let mut writer = Writer::resume(folder)?;
    let (header, done) = Done::read(folder)?;
    let engine = Worker::start(&command)
        .context("the engine does not start")?
        .engine()
        .clone();
    ensure!(
        engine.version == header.engine.version && engine.name == header.engine.name,
        "{}: was measured with {} {}, this program has {} {}: their cells are not one run",
        run.display(),
        header.engine.name,
        header.engine.version,
        engine.name,
        engine.version
    );
    let machine = Machine::probe();
    ensure!(
        machine.fingerprint == header.machine.fingerprint,
        "{}: was measured on another machine ({}): its cells and this one's are not one run",
        run.display(),
        header.machine.cpu.model.as_deref().unwrap_or("unknown CPU")
    );
    for model in &header.plan.models {
        check_same_file(model)?;
    }
    let plan = header.plan;
    let rates = prepare::rates(machine.cpu.available_cores.unwrap_or(1));
    let eta = Eta::of(&plan, &rates);
    let ended = execute(&plan, &command, &mut writer, done, eta)?;
    finish(args, folder, ended)
}

fn check_same_file(model: &ModelFacts) -> Result<()> {
    let mut now = ModelFacts::read(&model.path)?;
    now.hash(&mut |_, _| {})?;
    ensure!(
        now.sha256 == model.sha256 && now.file_bytes == model.file_bytes,
        "{}: is not the file the run began with",
        model.path.display()
    );
    Ok(())
}

fn execute(
    plan: &Plan,
    command: &crate::run::supervisor::WorkerCommand,
    writer: &mut Writer,
    done: Done,
    eta: Eta,
) -> Result<Ended> {
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
    let mut observer = progress::for_stderr(plan);
    let ended = Execution {
        plan,
        command,
        writer,
        observer: observer.as_mut(),
        interrupt,
        done,
        eta,
    }
    .run()?;
    Ok(ended)
}

fn finish(args: &RunArgs, folder: &Path, ended: Ended) -> Result<u8> {
    let view = RunView::read(folder)?;
    report::print(&view, args.output, &mut io::stdout().lock())
        .context("cannot write to standard output")?;
    if !args.no_report {
        report::write_files(&view, folder)
            .with_context(|| format!("{}: cannot write the report", folder.display()))?;
    }
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

/// Makes the models that are not there yet, and hashes them all.
fn make_models(models: Vec<ResolvedModel>) -> Result<Vec<ModelFacts>> {
    let mut facts = Vec::new();
    for mut model in models {
        let name = model.facts.name.clone();
        model.ensure(&mut *progress::file_work(&format!("writing {name}")))?;
        model
            .facts
            .hash(&mut *progress::file_work(&format!("hashing {name}")))?;
        facts.push(model.facts);
    }
    Ok(facts)
}

fn header(
    folder: &Path,
    plan: &Plan,
    machine: Machine,
    engine: crate::engine::EngineFacts,
) -> RunHeader {
    let missing_cpu_features =
        missing_engine_features(&machine.cpu.features, &engine.system_info);
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
        .map(|p| if p.as_os_str().is_empty() { Path::new(".") } else { p })
        .find(|p| p.exists())
        .unwrap_or(Path::new("."));
    tempfile::tempfile_in(existing)
        .map(drop)
        .with_context(|| format!("{}: cannot write there", out.display()))
}

/// A run's folder, and what had to be made for it.
struct Folder {
    path: PathBuf,
    made_out: Option<PathBuf>,
}

impl Folder {
    fn create(out: &Path, name: &str) -> Result<Self> {
        let made_out = (!out.exists()).then(|| out.to_owned());
        fs::create_dir_all(out)
            .with_context(|| format!("{}: cannot make the output folder", out.display()))?;
        let stamp = jiff::Zoned::now().strftime("%Y%m%d-%H%M%S").to_string();
        for n in 1..100 {
            let suffix = if n == 1 { String::new() } else { format!("-{n}") };
            let path = out.join(format!("{stamp}-{name}{suffix}"));
            match fs::create_dir(&path) {
                Ok(()) => return Ok(Self { path, made_out }),
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                Err(e) => {
                    return Err(e)
                        .with_context(|| format!("{}: cannot make the folder", path.display()));
                }
            }
        }
        bail!("{}: a hundred runs began in one second", out.display())
    }

    /// The result of filling the folder; removed again when that fails, so that bad luck leaves no trace.
    fn keep_if<T>(&self, fill: impl FnOnce(&Path) -> Result<T>) -> Result<T> {
        fill(&self.path).inspect_err(|_| {
            // What cannot be removed stays; the error that matters is the first.
            let _ = fs::remove_dir_all(&self.path);
            if let Some(out) = &self.made_out {
                let _ = fs::remove_dir(out);
            }
        })
    }
}
