//! `ab`: two settings, or two builds, measured in turns and compared.

mod programs;

use std::collections::HashSet;
use std::ffi::OsString;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use super::compare::{priced, with_outputs};
use super::execute::{
    check_same_conditions, execute, header, listen, make_models, name_of, record_skipped,
};
use super::folder::{Folder, check_writable};
use super::llama_build;
use super::offload::{self, Fits};
use super::prepare::{self, Prepared, RunSpec, prepare};
use super::quiet::{self, CpuUseWindow};
use super::run::{dry_rows, exit_code, plan_of_some, with_reports};
use super::{DONE, OUT, note_all, say, unless_closed};
use crate::cli::{AbArgs, SideArgs, TurnLength, WorkerArgs, normalize};
use crate::compare::pair::{self, Pairing};
use crate::compare::{CompareOptions, Comparison, compare};
use crate::file::{OutputFile, Replace};
use crate::host::process;
use crate::metric::Metric;
use crate::model::FileWatch;
use crate::plan::Axis;
use crate::plan::protocol::ProtocolChoice;
use crate::plan::run_time::RunTime;
use crate::plan::{Case, CaseId, Plan, sweep};
use crate::record::jsonl::Writer;
use crate::record::{Pair, PairSide, RunHeader};
use crate::report::table::Note;
use crate::report::{self, Document, DocumentForm, comparison, dry_run};
use crate::run::lane::{Lane, LaneWorker};
use crate::run::resume::Done;
use crate::run::supervisor::WorkerCommand;
use crate::run::{Ended, Interrupt, allocation};
use crate::stats::sequential::PairRule;
use crate::streams::note;
use crate::text::quoted;
use crate::view::{CellView, RunView, why_unmeasurable};

/// Name of the comparison inside a pair's folder.
const COMPARISON: &str = "comparison.md";

/// Measures both sides in turns, and compares them.
///
/// # Errors
/// When a side makes no sense, nothing could be measured, or a record could not be written.
pub fn ab(args: &AbArgs) -> Result<u8> {
    let form = args.output.form.document_form().context(
        "ab prints table, md or json; `ggufbench report` prints the cells of a side afterwards, with -o csv too",
    )?;
    let window = CpuUseWindow::begin();
    let args = &match programs::Sides::of(args)? {
        programs::Sides::Workers(args) => *args,
        programs::Sides::Programs(sides) => {
            ensure!(
                !args.dry_run,
                "--dry-run: what other programs need is not known here; it prices cells of ggufbench"
            );
            quiet::before_measuring(window, &args.output, &Interrupt::default())?;
            return programs::ab(args, &sides, form);
        }
    };
    let sides = prepare_sides(args)?;
    ensure!(
        !args.metric.is_of_requests() && !args.metric.is_of_quality(),
        "--metric {}: ab measures the speed of cells; `ggufbench compare` compares two runs by it",
        args.metric
    );
    ensure!(
        args.turns != Some(TurnLength::Steps) || is_of_steps(args),
        "--turns steps: only the step is compared so, without --price"
    );
    ensure!(
        args.turns != Some(TurnLength::Steps) || process::CAN_WAIT_UNTIL_IDLE,
        "--turns steps: this system does not say when a process is idle; leave it out"
    );
    if args.metric == Metric::JoulesPerToken {
        sides.iter().try_for_each(check_energy)?;
    }
    if is_same_twice(&sides) {
        note(
            "note: both sides are the same, so this is an A/A: it shows what chance does here. Give each side what it has of \
             its own: ggufbench ab --batch 8 -- --threads 1 -- --threads 2",
        );
    }
    if args.dry_run {
        say(cost(sides).for_stdout())?;
        return Ok(DONE);
    }
    let out = args.output.out.clone();
    let out = out.unwrap_or_else(|| PathBuf::from(OUT));
    // Nobody listens to Ctrl-C yet, so that it ends the program.
    quiet::before_measuring(window, &args.output, &Interrupt::default())?;
    let (folder, ended) = measure(sides, &out)?;
    show(args, form, &folder, ended)
}

/// Prints the comparison of the two sides that were measured, or their own tables where there is nothing to compare.
fn show(args: &AbArgs, form: DocumentForm, folder: &Path, ended: Ended) -> Result<u8> {
    let views = [PairSide::A, PairSide::B].map(|side| RunView::read(&folder.join(side.folder())));
    let [a, b] = views;
    let (mut a, mut b) = (a?, b?);
    for view in [&mut a, &mut b] {
        // The comparison says where there is no cost.
        view.price.clone_from(&args.output.price);
    }
    let mut code = exit_code(ended, &[&a, &b]);
    let is_whole = a.any_batch_measured() && b.any_batch_measured();
    let has_reports = !args.output.no_report;
    if has_reports && (is_whole || matches!(form, DocumentForm::Json)) {
        for view in [&a, &b] {
            let written = super::report::write_beside_record(view, args.output.slo.as_ref());
            code = with_reports(code, written);
        }
    }
    if !is_whole {
        // Nothing to compare: the sides' own tables say what went wrong. Two of them are no JSON.
        if matches!(form, DocumentForm::Json) {
            let name = folder.display();
            note(format_args!(
                "{name}: one side has nothing measured, so there is nothing to compare"
            ));
            return Ok(code);
        }
        for view in [&a, &b] {
            let written = super::report::show(view, &args.output)?;
            code = with_reports(code, written);
        }
        return Ok(code);
    }
    show_comparison(args, form, folder, (&a, &b, code))
}

fn show_comparison(
    args: &AbArgs,
    form: DocumentForm,
    folder: &Path,
    (a, b, code): (&RunView, &RunView, u8),
) -> Result<u8> {
    let mut compared = compare_pair(folder, args.metric, args.same_within)
        .with_context(|| format!("{}: was measured, but cannot be compared", folder.display()))?;
    if let Some(price) = &args.output.price {
        let energies = pair::read(folder, Metric::JoulesPerToken)?;
        compared = priced(compared, (&energies.a, &energies.b), price);
    }
    let mut documents = super::compare::documents(&compared);
    let mut document = documents
        .pop()
        .unwrap_or_else(|| comparison::document(&compared));
    for (side, view) in [("A", a), ("B", b)] {
        document = document.all_below(troubles(side, view));
    }
    document = document.all_below([Note::whole("record", folder.display().to_string())]);
    if compared.until_decided {
        let text = "the exit code of ab only says whether all was measured. That of gate is 1 where B is slower, and 3 where it is not decided:";
        let command = format!("ggufbench gate {}", quoted(folder));
        document = document.all_below([Note::new("next", text).command(Some(command))]);
    }
    let path = folder.join(COMPARISON);
    if !args.output.no_report {
        let pages = [a, b].map(|view| quoted(&view.folder().join(report::HTML_NAME)));
        document = document.all_below([Note::whole("report", pages.join(" "))]);
        let mut file = OutputFile::create(&path, Replace::Always)?;
        documents.push(document);
        let markdown: Vec<String> = documents.iter().map(Document::markdown).collect();
        file.write_all(markdown.join("\n").as_bytes())
            .with_context(|| format!("{}: cannot write", path.display()))?;
        file.commit()?;
    } else {
        documents.push(document);
    }
    let out = &mut io::stdout().lock();
    let data = comparison::Data::of(&compared);
    unless_closed(report::print_documents(&documents, &data, form, out))?;
    Ok(with_outputs(code, compared.outputs.as_ref()))
}

/// Energy shall be compared: it is told before anything is measured where that cannot be.
fn check_energy(side: &Prepared) -> Result<()> {
    let mut cases = side.plan.cases.iter();
    match cases.find_map(|case| why_unmeasurable(case, &side.engine, &side.machine)) {
        Some(because) => {
            anyhow::bail!("--metric joules_per_token: energy cannot be measured here: {because}")
        }
        None => Ok(()),
    }
}

/// Whether nothing tells the sides apart.
fn is_same_twice([a, b]: &[Prepared; 2]) -> bool {
    let command = |side: &Prepared| {
        (
            side.command.program.clone(),
            side.command.engine.to_argument(),
        )
    };
    a.plan == b.plan && command(a) == command(b)
}

/// What went wrong on a side: its figures come from what was measured before, or are missing.
fn troubles(side: &str, view: &RunView) -> Vec<(String, String)> {
    let trouble = |cell: &CellView| {
        let failure = cell.failures.first()?;
        let n = cell.failures.len();
        let times = if n == 1 { "once" } else { "several times" };
        let text = format!("{}: {}, {times}", cell.case_id, failure.outcome);
        Some((side.to_owned(), text))
    };
    view.cells.iter().filter_map(trouble).collect()
}

/// Compares the two sides of a pair's folder.
fn compare_pair(folder: &Path, metric: Metric, same_within: Option<f64>) -> Result<Comparison> {
    let Pairing { a, b, axes } = pair::read(folder, metric)?;
    let options = CompareOptions {
        axes,
        same_within,
        ..CompareOptions::default()
    };
    Ok(compare(&a, &b, &options)?)
}

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

/// What each side is, from the flags for both and those of its own.
fn prepare_sides(args: &AbArgs) -> Result<[Prepared; 2]> {
    let sweep = args.sweep.as_deref().map(sweep::read).transpose()?;
    ensure!(
        sweep.as_ref().is_none_or(|s| s.requests.is_none()),
        "the sweep has [requests], which are not measured in turns here: leave them out (`compare-live` has targets take turns)"
    );
    let mut both = RunSpec::of(&args.axes, &args.protocol, sweep, "ab")?;
    both.name = args.output.name.clone().unwrap_or(both.name);
    both.measures_idle_power = true;
    let pairs = until_decided(args, &mut both.protocol)?;
    let [of_a, of_b] = side_flags(&args.sides)?;
    let [llama_a, llama_b] = llama_build::programs(args)?;
    let side = |own: &SideArgs, program: &Option<PathBuf>| -> Result<Prepared> {
        let engine = own.worker.engine.clone().or(args.worker.engine.clone());
        let mut command = prepare::worker_command(&WorkerArgs { engine })?;
        if let Some(program) = program {
            // Another folder may be the current one when a rerun is made.
            command.program = std::path::absolute(program)
                .with_context(|| format!("{}: has no absolute path", program.display()))?;
        }
        // The record names it.
        ensure!(
            command.program.to_str().is_some(),
            "{}: the program's path is not UTF-8; rename it, or name a link to it",
            command.program.display()
        );
        let mut side = prepare(both.with(&own.axes)?, command)?;
        if let Some(pairs) = pairs {
            side.plan.protocol.pair_tolerance = Some(pairs.tolerance);
            side.plan.protocol.chooses_repetitions = pairs.chooses_repetitions;
        }
        Ok(side)
    };
    let mut sides = [
        side(&of_a, &llama_a.or(args.worker_a.clone())).context("side A")?,
        side(&of_b, &llama_b.or(args.worker_b.clone())).context("side B")?,
    ];
    let turns_of_steps = pairs.is_some() && takes_turns_of_steps(args, &sides);
    for side in &mut sides {
        side.plan.protocol.turns_of_steps = turns_of_steps;
    }
    let [mut notes, of_b] = [&sides[0], &sides[1]].map(|side| side.notes.clone());
    notes.extend(
        of_b.into_iter()
            .filter(|text| !sides[0].notes.contains(text)),
    );
    note_all(&notes);
    check_alike(&sides[0].plan, &sides[1].plan)?;
    Ok(sides)
}

/// Whether the sides take turns within their repetitions. On a GPU, which two processes share in slices of its own, a repetition is
/// the shortest turn, and energy is counted by repetition.
fn takes_turns_of_steps(args: &AbArgs, sides: &[Prepared; 2]) -> bool {
    let is_on_cpu = |case: &Case| case.n_gpu_layers == 0 && case.rpc.is_none();
    let all_on_cpu = || {
        sides
            .iter()
            .flat_map(|side| &side.plan.cases)
            .all(is_on_cpu)
    };
    args.turns.map_or_else(
        || is_of_steps(args) && all_on_cpu(),
        |turns| turns == TurnLength::Steps,
    )
}

/// Whether what is compared can be had of turns within a repetition.
fn is_of_steps(args: &AbArgs) -> bool {
    args.metric == Metric::StepNs && args.output.price.is_none()
}

/// How pairs are added until a cell is decided.
#[derive(Clone, Copy)]
struct PairsUntilDecided {
    tolerance: f64,
    chooses_repetitions: bool,
}

/// Unless `--replicates` fixes the number of pairs, makes the protocol one of pairs until decided.
///
/// A sweep's replicates, most repetitions and precision are those of runs.
fn until_decided(
    args: &AbArgs,
    protocol: &mut ProtocolChoice,
) -> Result<Option<PairsUntilDecided>> {
    if args.protocol.replicates.is_some() {
        return Ok(None);
    }
    let rule = PairRule::default();
    let most = args
        .protocol
        .max_replicates
        .unwrap_or(rule.most.try_into()?);
    protocol.replicates = Some(most.min(rule.fewest.try_into()?));
    protocol.max_replicates = Some(most);
    let asked = &args.protocol;
    let is_free = asked.max_repetitions.is_none() && asked.precision.is_none();
    let chooses_repetitions = is_free && asked.repetitions.is_none();
    if chooses_repetitions {
        // Those between the two are chosen for each pair.
        let fewest = protocol.min_repetitions.unwrap_or(allocation::FEWEST);
        protocol.min_repetitions = Some(fewest);
        protocol.max_repetitions = Some(fewest.max(allocation::MOST));
    }
    Ok(Some(PairsUntilDecided {
        tolerance: args.same_within.unwrap_or(rule.tolerance),
        chooses_repetitions,
    }))
}

/// The flags after the first `--`, cut at the second.
fn side_flags(flags: &[String]) -> Result<[SideArgs; 2]> {
    let mut parts = flags.split(|flag| flag == "--");
    let (a, b) = (parts.next().unwrap_or(&[]), parts.next().unwrap_or(&[]));
    ensure!(
        parts.next().is_none(),
        "more than two sides; say -- FLAGS_OF_A -- FLAGS_OF_B"
    );
    let parse = |side: &str, flags: &[String]| -> Result<SideArgs> {
        let flags = normalize(flags.iter().map(OsString::from)).map_err(anyhow::Error::msg)?;
        SideArgs::read(flags).map_err(|e| {
            // clap explains over several lines, the first of which says what is wrong.
            let text = e.to_string();
            let what = text.lines().next().unwrap_or_default();
            anyhow::anyhow!(
                "side {side}: {}; what is the same on both sides stands before the first --",
                what.trim_start_matches("error: ")
            )
        })
    };
    Ok([parse("A", a)?, parse("B", b)?])
}

/// Cells belong together one for one: the sides may differ in single values only.
fn check_alike(a: &Plan, b: &Plan) -> Result<()> {
    let hint = "give each side one value of what differs, and what is measured on both before the first --";
    ensure!(
        a.cases.len() == b.cases.len(),
        "side A has {} cells and side B {}: {hint}",
        a.cases.len(),
        b.cases.len()
    );
    for axis in differing(a, b) {
        for (side, plan) in [("A", a), ("B", b)] {
            let values = axis.values(&plan.cases);
            ensure!(
                values.len() == 1,
                "side {side} has several values of {}, which differs between the sides ({}): {hint}",
                axis.name(),
                values.join(", ")
            );
        }
    }
    Ok(())
}

/// The axes in which cells that belong together differ.
fn differing(a: &Plan, b: &Plan) -> Vec<Axis> {
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
fn cost(sides: [Prepared; 2]) -> Document {
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
fn measure(sides: [Prepared; 2], out: &Path) -> Result<(PathBuf, Ended)> {
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

/// Whether a comparison can be printed so.
impl report::Output {
    /// The form of a comparison; none for forms that only tables of cells have.
    fn document_form(self) -> Option<DocumentForm> {
        match self {
            Self::Table => Some(DocumentForm::Table),
            Self::Md => Some(DocumentForm::Md),
            Self::Json => Some(DocumentForm::Json),
            Self::Csv | Self::Jsonl => None,
        }
    }
}
