//! `ab` of benchmark programs of others, which are started in turns.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use sha2::{Digest, Sha256};

use super::super::pairs::differing;
use super::{COMPARISON, check_alike, side_flags, until_decided};
use crate::build_info::BuildInfo;
use crate::cli::{AbArgs, SideArgs};
use crate::cmd::execute::{listen, name_of};
use crate::cmd::folder::{Folder, check_writable};
use crate::cmd::prepare::RunSpec;
use crate::cmd::programs::{PlannedCells, plan};
use crate::cmd::{DONE, FAILED_CELLS, INTERRUPTED, OUT, note_all, unless_closed};
use crate::compare::samples::CellKey;
use crate::compare::{ChangeVerdict, ComparedCell, Comparison, pair};
use crate::file::{OutputFile, Replace};
use crate::foreign::pairs::{Contender, PER_VISIT, PairSeries, PairTurns, VISIT_TIMEOUT};
use crate::foreign::record::{
    PROGRAMS_SCHEMA, ProgramSide, ProgramsHeader, ProgramsLine, ProgramsWriter,
};
use crate::foreign::{ForeignKind, ForeignProgram, ForeignTask, TimedPart};
use crate::host::Machine;
use crate::metric::Metric;
use crate::plan::sweep;
use crate::record::difference::Difference;
use crate::record::timestamp;
use crate::report::table::{Document, Note};
use crate::report::{self, DocumentForm, comparison, progress};
use crate::run::Interrupt;
use crate::stats::sequential::PairRule;
use crate::stats::summary::median;
use crate::text::plural;
use crate::units::nanoseconds;

/// What measures the sides.
pub(super) enum Sides {
    /// Workers of this program or of other builds of it.
    Workers(Box<AbArgs>),
    Programs([ForeignProgram; 2]),
}

impl Sides {
    /// Two builds of this program are measured by their workers, whose records have every call.
    pub fn of(args: &AbArgs) -> Result<Self> {
        let asked = &args.programs;
        if asked.program_a.is_none() && asked.program_b.is_none() {
            ensure!(
                asked.program_kind.is_none(),
                "--program-kind says what --program-a and --program-b are, and neither is given"
            );
            return Ok(Self::Workers(Box::new(args.clone())));
        }
        let side = |path: &Option<PathBuf>| match path {
            Some(path) => {
                ForeignProgram::find(path, asked.program_kind).map_err(anyhow::Error::msg)
            }
            None => Ok(ForeignProgram {
                path: std::env::current_exe().context("this program's path")?,
                kind: ForeignKind::Ggufbench,
            }),
        };
        let sides = [
            side(&asked.program_a).context("side A")?,
            side(&asked.program_b).context("side B")?,
        ];
        if sides.iter().any(|side| side.kind != ForeignKind::Ggufbench) {
            return Ok(Self::Programs(sides));
        }
        let [a, b] = sides;
        let mut workers = args.clone();
        workers.worker_a = asked.program_a.as_ref().map(|_| a.path);
        workers.worker_b = asked.program_b.as_ref().map(|_| b.path);
        Ok(Self::Workers(Box::new(workers)))
    }
}

/// Everything that is fixed before the first pair.
struct ProgramPlan<'a> {
    programs: &'a [ForeignProgram; 2],
    sides: [PlannedCells; 2],
    metric: Metric,
    part: TimedPart,
    repetitions: u32,
    rule: PairRule,
    timeout: Duration,
}

/// Starts both programs in turns until every cell is decided, and compares them.
pub(super) fn ab(args: &AbArgs, programs: &[ForeignProgram; 2], form: DocumentForm) -> Result<u8> {
    let asked = prepare(args, programs)?;
    for (side, contender) in contenders(&asked)
        .iter()
        .flat_map(|c| ["A", "B"].into_iter().zip(c))
    {
        let checked = contender.program.arguments(&contender.task, Path::new("."));
        checked
            .map_err(anyhow::Error::msg)
            .with_context(|| format!("side {side}"))?;
    }
    let out = args.output.out.clone().unwrap_or_else(|| OUT.into());
    check_writable(&out)?;
    let folder = Folder::create(&out, &asked.sides[0].plan.name)?.path;
    let interrupt = listen()?;
    let cells = record(&asked, &folder, &interrupt)
        .with_context(|| format!("{}: cannot write the record", folder.display()))?;
    let troubles = cells
        .iter()
        .flat_map(|(sides, series)| troubles(sides, series));
    let troubles: Vec<Note> = troubles.collect();
    let is_given_up = |(_, series): &MeasuredCell| (0..2).any(|at| series.given_up(at).is_some());
    let code = if interrupt.is_set() {
        INTERRUPTED
    } else if cells.iter().any(is_given_up) {
        FAILED_CELLS
    } else {
        DONE
    };
    let compared = comparison_of(&asked, &cells);
    let mut document = comparison::document(&compared).all_below(troubles);
    if (args.metric, asked.metric) == (Metric::StepNs, Metric::TpotNs) {
        document = document.below(
            "note",
            "such programs print the time of all decode steps together, so tpot, the mean step, is compared",
        );
    }
    document = document.all_below([Note::whole("record", folder.display().to_string())]);
    if !args.output.no_report {
        write_beside(&folder, &document)?;
    }
    let out = &mut io::stdout().lock();
    let data = comparison::ComparisonData::of(&compared);
    unless_closed(report::print_documents(&[document], &data, form, out))?;
    Ok(code)
}

fn write_beside(folder: &Path, document: &Document) -> Result<()> {
    let path = folder.join(COMPARISON);
    let mut file = OutputFile::create(&path, Replace::Always)?;
    file.write_all(document.markdown().as_bytes())
        .with_context(|| format!("{}: cannot write", path.display()))?;
    Ok(file.commit()?)
}

fn prepare<'a>(args: &AbArgs, programs: &'a [ForeignProgram; 2]) -> Result<ProgramPlan<'a>> {
    let Some((part, metric)) = TimedPart::of(args.metric) else {
        bail!(
            "--metric {}: of other programs only prefill, decode and tpot are known",
            args.metric
        );
    };
    ensure!(
        args.output.price.is_none(),
        "--price: the energy of other programs is not measured"
    );
    ensure!(
        args.turns.is_none(),
        "--turns: other programs are started anew in each turn; leave it out"
    );
    let sweep = args.sweep.as_deref().map(sweep::read).transpose()?;
    let is_of_cells = |s: &sweep::Sweep| s.requests.is_none() && s.quality.is_none();
    ensure!(
        sweep.as_ref().is_none_or(is_of_cells),
        "the sweep has [requests] or [quality], which other programs do not measure: leave them out"
    );
    let mut both = RunSpec::of(&args.axes, &args.protocol, sweep, "ab")?;
    both.name = args.output.name.clone().unwrap_or(both.name);
    ensure!(
        both.protocol.check_output != Some(true),
        "--check-output: the output of other programs is not read; leave it out"
    );
    until_decided(args, &mut both.protocol)?;
    let timeout = both.protocol.timeout.unwrap_or(VISIT_TIMEOUT);
    let [of_a, of_b] = side_flags(&args.sides)?;
    let side = |own: &SideArgs| -> Result<PlannedCells> { plan(both.with(&own.axes)?) };
    let sides = [
        side(&of_a).context("side A")?,
        side(&of_b).context("side B")?,
    ];
    let mut notes = sides[0].notes.clone();
    notes.extend(sides[1].notes.iter().cloned());
    notes.dedup();
    note_all(&notes);
    check_alike(&sides[0].plan, &sides[1].plan)?;
    let flags = &args.protocol;
    let usual = PairRule::default();
    let most = flags.replicates.or(flags.max_replicates);
    Ok(ProgramPlan {
        programs,
        sides,
        metric,
        part,
        repetitions: flags
            .repetitions
            .or(flags.min_repetitions)
            .unwrap_or(PER_VISIT),
        rule: PairRule {
            tolerance: args.same_within.unwrap_or(usual.tolerance),
            most: most.map_or(usual.most, |most| most as usize),
            ..usual
        },
        timeout,
    })
}

fn header(asked: &ProgramPlan<'_>, folder: &Path) -> io::Result<ProgramsHeader> {
    let side = |at: usize| -> io::Result<ProgramSide> {
        let program = asked.programs[at].clone();
        let digest = Sha256::digest(std::fs::read(&program.path)?);
        Ok(ProgramSide {
            sha256: digest.iter().map(|byte| format!("{byte:02x}")).collect(),
            program,
            models: asked.sides[at].plan.models.clone(),
            cases: asked.sides[at].plan.cases.clone(),
        })
    };
    let args = std::env::args_os().skip(1);
    Ok(ProgramsHeader {
        schema: PROGRAMS_SCHEMA,
        run: name_of(folder),
        started_at: timestamp(),
        args: args.map(|a| a.to_string_lossy().into_owned()).collect(),
        program: BuildInfo::current(),
        machine: Machine::probe(),
        metric: asked.metric,
        repetitions: asked.repetitions,
        seed: asked.sides[0].plan.protocol.seed,
        rule: asked.rule,
        n_cells: asked.sides[0].plan.cases.len(),
        a: side(0)?,
        b: side(1)?,
    })
}

type MeasuredCell = ([Contender; 2], PairSeries);

/// Measures, and writes everything into the folder.
fn record(
    asked: &ProgramPlan<'_>,
    folder: &Path,
    interrupt: &Interrupt,
) -> io::Result<Vec<MeasuredCell>> {
    let mut writer = ProgramsWriter::create(folder)?;
    let header = header(asked, folder)?;
    writer.append(&ProgramsLine::Programs(Box::new(header)))?;
    let seed = asked.sides[0].plan.protocol.seed;
    let mut turns = PairTurns::new(seed, asked.timeout, interrupt);
    let cells = measure(asked, &mut turns, &mut writer)?;
    writer.append(&ProgramsLine::End {
        ended_at: timestamp(),
        interrupted: interrupt.is_set(),
        elapsed_ns: nanoseconds(turns.started.elapsed()),
    })?;
    Ok(cells)
}

/// Rounds of one pair of every cell that is not over, in an order shuffled anew in each.
fn measure(
    asked: &ProgramPlan<'_>,
    turns: &mut PairTurns<'_>,
    writer: &mut ProgramsWriter,
) -> io::Result<Vec<MeasuredCell>> {
    let cells = contenders(asked).into_iter();
    let mut cells: Vec<MeasuredCell> = cells.map(|sides| (sides, PairSeries::default())).collect();
    let protocol = &asked.sides[0].plan.protocol;
    let budget = protocol.budget_ns.map(Duration::from_nanos);
    let mut rng = ChaCha8Rng::seed_from_u64(protocol.seed);
    let mut show = progress::counted_work("pairs of visits, at most");
    let n_cells = cells.len();
    let mut n_pairs = 0;
    for round in 0_u32.. {
        let is_open = |at: &usize| !cells[*at].1.is_over(n_cells, &asked.rule);
        let mut open: Vec<usize> = (0..n_cells).filter(is_open).collect();
        open.shuffle(&mut rng);
        if open.is_empty() {
            break;
        }
        for at in open {
            // A cell without any pair would be missing; every further pair is of the budget.
            let is_late = round > 0 && budget.is_some_and(|b| turns.started.elapsed() >= b);
            if is_late || turns.interrupt.is_set() {
                return Ok(cells);
            }
            let ([a, b], series) = &mut cells[at];
            let pair = turns.pair([a, b]);
            series.note(&pair, asked.metric, [a, b]);
            let ids = [a.task.case.id(), b.task.case.id()];
            writer.append_pair(pair, round, [&ids[0], &ids[1]])?;
            n_pairs += 1;
            show(n_pairs, (n_cells * asked.rule.most) as u64);
        }
    }
    Ok(cells)
}

fn contenders(asked: &ProgramPlan<'_>) -> Vec<[Contender; 2]> {
    let n_cells = asked.sides[0].plan.cases.len();
    let contender = |side: usize, cell: usize| {
        let plan = &asked.sides[side].plan;
        let case = &plan.cases[cell];
        Contender {
            program: asked.programs[side].clone(),
            task: ForeignTask {
                case: case.clone(),
                model: plan.model_of(case).path.clone(),
                part: asked.part,
                repetitions: asked.repetitions,
            },
        }
    };
    let both = |cell: usize| [contender(0, cell), contender(1, cell)];
    (0..n_cells).map(both).collect()
}

/// The cells with at least one pair, in the form of every other comparison.
fn comparison_of(asked: &ProgramPlan<'_>, cells: &[MeasuredCell]) -> Comparison {
    let n_cells = cells.len();
    let row = |([a, b], series): &MeasuredCell| {
        let decision = series.decision(n_cells, &asked.rule)?;
        let [of_a, of_b] = &series.medians;
        Some(ComparedCell {
            key: CellKey::of_case(&a.task.case),
            key_b: CellKey::of_case(&b.task.case),
            job: None,
            case_id_a: a.task.case.id(),
            case_id_b: b.task.case.id(),
            a: median(of_a)?,
            b: median(of_b)?,
            mean_a: None,
            mean_b: None,
            n_processes_a: of_a.len(),
            n_processes_b: of_b.len(),
            slowdown: pair::slowdown(&decision),
            p: None,
            p_adjusted: None,
            cliffs_delta: None,
            pairs: Some(decision),
            verdict: ChangeVerdict::from(decision),
            cost_a: None,
            cost_b: None,
        })
    };
    let [of_a, of_b] = &asked.sides;
    let [a, b] = asked.programs;
    let is_one_program = a == b;
    let differing = Difference::Program {
        a: a.to_string(),
        b: b.to_string(),
    };
    Comparison {
        metric: asked.metric,
        paired: true,
        until_decided: true,
        is_same_twice: is_one_program && of_a.plan.cases == of_b.plan.cases,
        same_within: asked.rule.tolerance,
        differences: Vec::from_iter((!is_one_program).then_some(differing)),
        rows: cells.iter().filter_map(row).collect(),
        outputs: None,
        price: None,
        only_a: Vec::new(),
        only_b: Vec::new(),
        a: label(asked, 0),
        b: label(asked, 1),
    }
}

/// The program, and its values of the axes that differ.
fn label(asked: &ProgramPlan<'_>, at: usize) -> String {
    let [a, b] = &asked.sides;
    let own = &asked.sides[at].plan.cases;
    let axes = differing(&a.plan, &b.plan);
    let values = axes.iter().map(|axis| {
        let values = axis.values(own).join(" and ");
        format!(", {} {values}", axis.name())
    });
    asked.programs[at].to_string() + &values.collect::<String>()
}

/// What went wrong on each side of a cell.
fn troubles(sides: &[Contender; 2], series: &PairSeries) -> Vec<Note> {
    let trouble = |at: usize| {
        let (side, id) = (["A", "B"][at], sides[at].task.case.id());
        if let Some(why) = series.given_up(at) {
            let text = format!("{id}: {why}; this cell has no further pairs");
            return Some(Note::new(side, text));
        }
        let n = series.n_failures(at);
        let failed = plural(n, "visit", "visits");
        (n > 0).then(|| {
            Note::new(
                side,
                format!("{id}: {failed} failed, which leaves their pairs out"),
            )
        })
    };
    (0..2).filter_map(trouble).collect()
}
