//! `ab`: two settings, or two builds, measured in turns and compared.

mod programs;

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::compared::{self, priced, with_outputs};
use super::llama_build;
use super::measuring::{exit_code, with_reports};
use super::pairs::{cost, differing, measure};
use super::prepare::{self, Prepared, RunSpec, prepare};
use super::quiet::{self, CpuUseWindow};
use super::shown;
use super::{DONE, OUT, note_all, say, unless_closed};
use crate::cli::{AbArgs, SideArgs, TurnLength, WorkerArgs, normalize};
use crate::compare::pair::{self, Pairing};
use crate::compare::{CompareOptions, Comparison, compare};
use crate::file::{OutputFile, Replace};
use crate::host::process;
use crate::metric::Metric;
use crate::plan::protocol::ProtocolChoice;
use crate::plan::{Case, Plan, sweep};
use crate::record::PairSide;
use crate::report::table::Note;
use crate::report::{self, Document, DocumentForm, comparison};
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
            let written = shown::write_beside_record(view, args.output.slo.as_ref());
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
            let written = shown::show(view, &args.output)?;
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
    let mut documents = compared::documents(&compared);
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
    let data = comparison::ComparisonData::of(&compared);
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
