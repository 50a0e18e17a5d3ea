//! `bisect` and `bisect-step`: which commit made it slow.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};

use super::execute::listen;
use super::prepare::RunSpec;
use super::programs::plan;
use super::{BISECT_ABORTED, BISECT_SKIPPED, DONE, FAILED_CELLS, INCONCLUSIVE, INTERRUPTED};
use super::{note_all, unless_closed};
use crate::bisect::build::{BuildError, BuildRecipe, Builder};
use crate::bisect::journal::{
    BISECT_SCHEMA, BisectHeader, BisectIdentity, BisectJournal, BisectLine,
};
use crate::bisect::repository::{Repository, Revision};
use crate::bisect::search::RevisionAnswer;
use crate::bisect::{BisectOutcome, BisectTask, Bisection, answer, is_over, rule_of};
use crate::build_info::BuildInfo;
use crate::cli::{BisectArgs, BisectStepArgs, ProtocolArgs, RevisionArgs};
use crate::foreign::pairs::{Contender, PER_VISIT, PairSeries, PairTurns, VISIT_TIMEOUT};
use crate::foreign::{ForeignKind, ForeignProgram, ForeignTask, TimedPart};
use crate::host::Machine;
use crate::metric::Metric;
use crate::model::ModelFacts;
use crate::plan::protocol::duration;
use crate::record::timestamp;
use crate::report::table::Note;
use crate::report::{self, bisect as shown};
use crate::run::Interrupt;
use crate::streams::note;
use crate::units::signed_percent;

/// Folder of builds and finished steps, inside that of the runs.
const CACHE: &str = "bisect";

/// Accepted chance of a wrong result of a search.
const ERROR_OF_SEARCH: f64 = 0.05;

/// The same of a single step. A search has about ten.
const ERROR_OF_STEP: f64 = 0.01;

/// Hexadecimal digits of a record's name.
const KEY_DIGITS: usize = 12;

/// Searches the commit that made it slow.
///
/// # Errors
/// When an end does not build or run, or something fails that no revision is to blame for.
pub fn bisect(args: &BisectArgs) -> Result<u8> {
    let begun = Instant::now();
    let of = &args.revisions;
    let repository = Repository::open(&of.repo)?;
    let good = repository.resolve(&args.good).context("--good")?;
    let bad = repository.resolve(&args.bad).context("--bad")?;
    let revisions = repository.between(&good, &bad)?;
    let recipe = recipe(of, &repository, &good)?;
    let budget = args.budget.as_ref().map(|b| duration("--budget", b));
    let error = of.error.unwrap_or(ERROR_OF_SEARCH);
    let (mut asked, model) = task(of, revisions.len(), error)?;
    asked.deadline = budget.transpose()?.map(|budget| begun + budget);
    let program = ForeignProgram {
        path: recipe.program.clone(),
        kind: recipe.kind,
    };
    program
        .arguments(&asked.task, Path::new("."))
        .map_err(anyhow::Error::msg)?;
    let cache = cache(of)?;
    let machine = Machine::probe();
    let identity = BisectIdentity {
        repository: repository.git_dir().to_owned(),
        good: good.clone(),
        bad,
        recipe: recipe.clone(),
        case: asked.task.case.clone(),
        model,
        repetitions: asked.task.repetitions,
        seed: asked.seed,
        rule: asked.rule,
        fingerprint: machine.fingerprint.clone(),
    };
    let mut journal = BisectJournal::open(&record_of(&cache, &identity)?)?;
    journal.append(&BisectLine::Bisect(&BisectHeader {
        schema: BISECT_SCHEMA,
        started_at: timestamp(),
        args: std::env::args_os()
            .skip(1)
            .map(|a| a.to_string_lossy().into_owned())
            .collect(),
        program: BuildInfo::current(),
        machine,
        n_revisions: revisions.len(),
        identity,
    }))?;
    let record = journal.path.display().to_string();
    let interrupt = listen()?;
    let builder = Builder {
        repository: &repository,
        recipe,
        cache: &cache,
        interrupt: &interrupt,
        deadline: asked.deadline,
    };
    let mut tell = |what: String| note(what);
    let search = Bisection::new(&asked, &builder, Some(&mut journal), &mut tell);
    let found = search.search(&good, &revisions)?;
    let document = shown::document(&found).all_below([Note::whole("record", record)]);
    let out = &mut std::io::stdout().lock();
    let data = shown::BisectData::of(&found);
    unless_closed(report::print_documents(
        &[document],
        &data,
        args.output,
        out,
    ))?;
    Ok(match found.outcome {
        BisectOutcome::NotSlower => DONE,
        BisectOutcome::Found | BisectOutcome::FoundRange => FAILED_CELLS,
        BisectOutcome::NotDecided => INCONCLUSIVE,
        BisectOutcome::Interrupted => INTERRUPTED,
    })
}

/// One step for `git bisect run`, which takes any code from 1 to 127 for a bad revision, save that of a skipped one: what goes wrong
/// here shall end the search instead.
pub fn bisect_step(args: &BisectStepArgs) -> u8 {
    match step(args) {
        Ok(code) => code,
        Err(error) => {
            note(format_args!("error: {error:#}"));
            BISECT_ABORTED
        }
    }
}

fn step(args: &BisectStepArgs) -> Result<u8> {
    let of = &args.revisions;
    let (asked, _) = task(of, 1, of.error.unwrap_or(ERROR_OF_STEP))?;
    let cache = cache(of)?;
    let interrupt = listen()?;
    let steps = StepPrograms {
        of,
        cache: &cache,
        interrupt: &interrupt,
    };
    let a = match (&args.good_program, &args.good) {
        (Some(path), _) => find(path, of.program_kind)?,
        (None, Some(good)) => match steps.build(good)? {
            Ok(program) => program,
            Err(_) if interrupt.is_set() => return Ok(INTERRUPTED),
            Err(why) => anyhow::bail!("--good {good}: {why}"),
        },
        (None, None) => anyhow::bail!("say --good REV or --good-program PATH"),
    };
    let b = match &args.built {
        Some(path) if !path.is_file() => {
            let path = path.display();
            note(format_args!(
                "{path}: was not built; this revision is skipped"
            ));
            return Ok(BISECT_SKIPPED);
        }
        Some(path) => find(path, of.program_kind)?,
        None => match steps.build("HEAD")? {
            Ok(program) => program,
            Err(_) if interrupt.is_set() => return Ok(INTERRUPTED),
            Err(why) => {
                note(format_args!("{why}; this revision is skipped"));
                return Ok(BISECT_SKIPPED);
            }
        },
    };
    judge([a, b], &asked, &interrupt)
}

/// Measures until decided, and says the answer as `git bisect run` takes it.
fn judge(programs: [ForeignProgram; 2], asked: &BisectTask, interrupt: &Interrupt) -> Result<u8> {
    let [a, b] = programs.map(|program| Contender {
        program,
        task: asked.task.clone(),
    });
    let rule = &asked.rule;
    let mut turns = PairTurns::new(asked.seed, asked.timeout, interrupt);
    let mut series = PairSeries::default();
    while !is_over(&series, rule) && !interrupt.is_set() {
        let pair = turns.pair([&a, &b]);
        series.note(&pair, Metric::TpotNs, [&a, &b]);
    }
    if interrupt.is_set() {
        return Ok(INTERRUPTED);
    }
    if let Some(why) = series.given_up(0) {
        anyhow::bail!("{}: {why}", a.program.path.display());
    }
    let change = series.decision(1, rule).map(|d| d.estimate.exp_m1());
    let change = change.map_or_else(String::new, |c| format!(" ({})", signed_percent(c)));
    let n = series.log_ratios.len();
    let (word, code) = match answer(&series, rule) {
        RevisionAnswer::Slower => ("slower", FAILED_CELLS),
        RevisionAnswer::NotSlower => ("not slower", DONE),
        RevisionAnswer::Undecided => ("not decided, so it is skipped", BISECT_SKIPPED),
        RevisionAnswer::Skipped => ("crashes, so it is skipped", BISECT_SKIPPED),
    };
    super::say(format!("{word}{change}, after {n} pairs"))?;
    Ok(code)
}

/// What builds the revisions of a step.
struct StepPrograms<'a> {
    of: &'a RevisionArgs,
    cache: &'a Path,
    interrupt: &'a Interrupt,
}

impl StepPrograms<'_> {
    /// Inside: why there is no program.
    fn build(&self, name: &str) -> Result<Result<ForeignProgram, String>> {
        let repository = Repository::open(&self.of.repo)?;
        let revision = repository.resolve(name)?;
        let builder = Builder {
            recipe: recipe(self.of, &repository, &revision)?,
            repository: &repository,
            cache: self.cache,
            interrupt: self.interrupt,
            deadline: None,
        };
        match builder.build(&revision) {
            Ok(built) => Ok(Ok(built.program)),
            Err(BuildError::Failed(why)) => Ok(Err(format!("{}: {why}", revision.short()))),
            Err(BuildError::Stopped) => Ok(Err("interrupted".to_owned())),
            Err(BuildError::Other(error)) => Err(error),
        }
    }
}

fn find(path: &Path, kind: Option<ForeignKind>) -> Result<ForeignProgram> {
    ForeignProgram::find(path, kind).map_err(anyhow::Error::msg)
}

/// The one cell that is measured, and its model.
fn task(of: &RevisionArgs, n_revisions: usize, error: f64) -> Result<(BisectTask, ModelFacts)> {
    let protocol = ProtocolArgs {
        seed: of.seed,
        timeout: of.timeout.clone(),
        ..ProtocolArgs::default()
    };
    let asked = RunSpec::of(&of.axes, &protocol, None, CACHE)?;
    let timeout = asked.protocol.timeout.unwrap_or(VISIT_TIMEOUT);
    let planned = plan(asked)?;
    note_all(&planned.notes);
    let plan = planned.plan;
    ensure!(
        plan.cases.len() == 1,
        "the flags give {} cells, and a search measures one: name one value of each axis",
        plan.cases.len()
    );
    let case = plan.cases[0].clone();
    let model = plan.model_of(&case).clone();
    let tolerance = of
        .same_within
        .unwrap_or(crate::stats::sequential::PairRule::default().tolerance);
    let task = ForeignTask {
        model: model.path.clone(),
        case,
        part: TimedPart::Decode,
        repetitions: of.repetitions.unwrap_or(PER_VISIT),
    };
    let asked = BisectTask {
        task,
        rule: rule_of(n_revisions, tolerance, error, of.max_pairs)?,
        seed: plan.protocol.seed,
        timeout,
        deadline: None,
    };
    Ok((asked, model))
}

/// How revisions are built.
fn recipe(of: &RevisionArgs, repository: &Repository, good: &Revision) -> Result<BuildRecipe> {
    let name = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        ForeignKind::of_name(&name)
    };
    let of_name = of.program.as_ref().and_then(name);
    let kind = of.program_kind.or(of_name);
    let Some(command) = &of.build else {
        ensure!(
            repository.has(good, "include/llama.h") || repository.has(good, "llama.h"),
            "{}: is no checkout of llama.cpp, so say how it is built: --build CMD --program PATH",
            of.repo.display()
        );
        let usual = BuildRecipe::of_llama_cpp(kind.unwrap_or(ForeignKind::LlamaBatchedBench));
        return Ok(BuildRecipe {
            program: of.program.clone().unwrap_or(usual.program.clone()),
            ..usual
        });
    };
    let program = of.program.clone().context("--build needs --program PATH")?;
    ensure!(
        program.is_relative(),
        "--program {}: is no path in the folder of a revision's files",
        program.display()
    );
    Ok(BuildRecipe {
        command: command.clone(),
        kind: kind.with_context(|| {
            let program = program.display();
            format!("{program}: its name does not show which benchmark it is; say --program-kind")
        })?,
        program,
    })
}

/// The folder of builds and steps, made.
fn cache(of: &RevisionArgs) -> Result<PathBuf> {
    let usual = || Path::new(super::OUT).join(CACHE);
    let folder = of.cache.clone().unwrap_or_else(usual);
    let folder = std::path::absolute(&folder)
        .with_context(|| format!("{}: has no absolute path", folder.display()))?;
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("{}: cannot make the folder", folder.display()))?;
    Ok(folder)
}

/// The record of exactly this search.
fn record_of(cache: &Path, identity: &BisectIdentity) -> Result<PathBuf> {
    let digest = Sha256::digest(serde_json::to_vec(identity)?);
    let key: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(cache.join(format!("{}.jsonl", &key[..KEY_DIGITS])))
}
