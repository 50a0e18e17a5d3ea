//! `gate`: the night's verdict, its rerun, and the history it belongs to.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::{DONE, measuring, pairs, prepare, say, unless_closed};
use crate::cli::{BaselineChoice, GateArgs, JudgeArgs, WorkerArgs};
use crate::compare::has_values;
use crate::compare::output;
use crate::compare::output::ComparedOutputs;
use crate::compare::pair::{self, Pairing};
use crate::compare::samples::CellKey;
use crate::compare::side::Side;
use crate::gate::drift::{self, LevelChanges};
use crate::gate::{
    Baseline, CellVerdict, Confirmation, GateReport, RequiredResult, Rerun, Rule,
    gate as judge_night, without_baseline,
};
use crate::metric::Metric;
use crate::plan::protocol::duration;
use crate::record::PairSide;
use crate::record::history::{History, Nights};
use crate::record::jsonl::{RecordError, is_pair, read_header};
use crate::report::{self, Document, night, outputs, pull_request};
use crate::streams::note;
use crate::text::quoted;
use crate::units::nanoseconds;

impl JudgeArgs {
    /// The metric by which a run is judged. Unless one is named it is a decode step where the run has cells, else the latency of
    /// requests, the only one of their metrics that every job has.
    pub(super) fn metric_of(&self, run: &Path) -> Result<Metric, RecordError> {
        if let Some(metric) = self.metric {
            return Ok(metric);
        }
        Ok(read_header(run)?.usual_metric())
    }

    /// The rule; `of_pair` is the tolerance that a pair was measured until decided for.
    pub(super) fn rule(&self, of_pair: Option<f64>) -> Rule {
        let default = Rule::default();
        Rule {
            tolerance: self.tolerance.or(of_pair).unwrap_or(default.tolerance),
            alpha: self.alpha,
            night_sd: self.night_sd,
            ..default
        }
    }

    /// Reads a run's cells whose names match any of the globs; all without one.
    pub(super) fn read(&self, run: &Path, metric: Metric) -> Result<Side, RecordError> {
        let mut side = Side::read(run, metric)?;
        side.cells.retain(|cell| self.has(&cell.key));
        Ok(side)
    }

    /// Whether a cell is among those that are judged.
    fn has(&self, key: &CellKey) -> bool {
        self.cell.is_empty() || self.cell.iter().any(|glob| key.is_named_by(glob))
    }
}

/// Judges a night, or makes it the baseline.
///
/// # Errors
/// When a record cannot be read, there is no baseline, or the suspected cells cannot be measured again.
pub fn gate(args: &GateArgs) -> Result<u8> {
    if is_pair(&args.run) && !args.promote {
        return gate(&of_pair(args));
    }
    let history = History::at(&args.history);
    if args.promote {
        let night = history.promote(&args.run)?;
        say(format!("baseline: {}", night.display()))?;
        return Ok(DONE);
    }
    let judge = &args.judge;
    // A wrong one must not be noticed after the first measurement.
    let budget = args.budget.as_deref();
    let budget = budget.map(|text| duration("budget", text)).transpose()?;
    let tonight = judge.read(&args.run, judge.metric_of(&args.run)?)?;
    has_values(&tonight)?;
    ensure!(
        !args.rerun || tonight.header.imported.is_none(),
        "{}: was imported from another program, so it cannot be measured again here; measure with that program again, import that, and \
         name it with --confirm",
        args.run.display()
    );
    // A file that cannot be written must not be noticed after the rerun.
    let summary = args.summary.as_deref().map(open_summary).transpose()?;
    ensure!(
        !tonight.cells.is_empty(),
        "{}: has no measured cell{}",
        args.run.display(),
        match judge.cell.is_empty() {
            true => "",
            false => " that --cell asks for",
        }
    );
    // A limit of nothing must not be noticed after the rerun either.
    let required = required(args)?;
    let nights = nights(args, &history, &tonight);
    let baseline = baseline(args, &history, &tonight, &nights)?;
    let mut report = match &baseline {
        Some(baseline) => against(args, &tonight, baseline, budget)?,
        None => {
            ensure!(
                !(args.rerun || args.confirm.is_some() || args.check_output),
                "--rerun, --confirm and --check-output need a baseline: name one, or promote a run"
            );
            without_baseline(&tonight, &judge.rule(None))
        }
    };
    report.require(required);
    if baseline.is_some() {
        let all: Vec<Side> = nights.into_iter().map(|night| night.side).collect();
        report.drift = LevelChanges::over(&all, &tonight);
    }
    let outputs = report.outputs.iter();
    let outputs = outputs.map(|found| outputs::document(found, ["baseline", "tonight"]));
    let documents: Vec<Document> = night::documents(&report)
        .into_iter()
        .chain(outputs)
        .collect();
    unless_closed(report::print_documents(
        &documents,
        &report,
        args.output,
        &mut std::io::stdout().lock(),
    ))?;
    // Before the night is kept, so that the baseline is read as it was judged.
    let text = match &summary {
        Some(_) => Some(summary_text(args, &history, &report, &tonight)?),
        None => None,
    };
    if args.keep {
        let is_slow = |v| matches!(v, CellVerdict::Regression | CellVerdict::Suspected);
        let is_slower = report.cells.iter().any(|c| is_slow(c.verdict));
        let outputs = report.outputs.as_ref();
        let is_wrong = outputs.is_some_and(ComparedOutputs::any_differs);
        let is_failed = is_slower || is_wrong || report.breaks_a_limit();
        history.add(&args.run, is_failed)?;
    }
    if let (Some((file, mut open)), Some(text)) = (args.summary.as_deref().zip(summary), text) {
        open.write_all(text.as_bytes())
            .with_context(|| cannot_append(file))?;
    }
    Ok(report.verdict.exit_code())
}

/// Judges a night against its baseline, and measures suspected cells again where that is asked for.
fn against(
    args: &GateArgs,
    tonight: &Side,
    baseline: &Baseline,
    budget: Option<Duration>,
) -> Result<GateReport> {
    let in_turns = baseline.is_paired_with(tonight);
    let mut measure_again =
        |cells: &[CellKey]| again(args, &with_budget(tonight, budget), in_turns, cells);
    let rerun: Option<Rerun<'_, anyhow::Error>> = match args.rerun || args.confirm.is_some() {
        true => Some(&mut measure_again),
        false => None,
    };
    let rule = args.judge.rule(baseline.pair_tolerance(tonight));
    let report = judge_night(tonight, baseline, &rule, rerun)?;
    if args.check_output {
        let names = ["the baseline", "the night"];
        output::ensure_compared(report.outputs.as_ref(), names)?;
    }
    Ok(report)
}

/// What the run's own values say of limits.
fn required(args: &GateArgs) -> Result<Vec<RequiredResult>> {
    let mut results = Vec::new();
    for requirement in &args.require {
        let side = args.judge.read(&args.run, requirement.metric)?;
        results.extend(requirement.judge(&side)?);
    }
    // Cells that failed are among them too, whether --cell asks for them or not.
    results.retain(|result| args.judge.has(&result.key));
    Ok(results)
}

/// The file that gets the summary, whose end is appended to.
fn open_summary(file: &Path) -> Result<File> {
    let mut options = OpenOptions::new();
    let open = options.append(true).create(true).open(file);
    open.with_context(|| cannot_append(file))
}

fn cannot_append(file: &Path) -> String {
    format!("{}: cannot be appended to", file.display())
}

/// The verdict for a CI page. Of decode steps it has tokens per second, as people compare them.
fn summary_text(
    args: &GateArgs,
    history: &History,
    report: &GateReport,
    tonight: &Side,
) -> Result<String> {
    let shown = match tonight.metric {
        Metric::StepNs => args.judge.read(&args.run, Metric::DecodeTokensPerS)?,
        _ => tonight.clone(),
    };
    let before = match report.is_alone() {
        true => None,
        false => baseline(args, history, &shown, &[])?,
    };
    Ok(pull_request::of_night(report, before.as_ref(), &shown))
}

/// The night with the budget of its rerun, where one is named.
fn with_budget(tonight: &Side, budget: Option<Duration>) -> Side {
    let mut tonight = tonight.clone();
    if let Some(budget) = budget {
        tonight.header.plan.protocol.budget_ns = Some(nanoseconds(budget));
    }
    tonight
}

/// A night of the history.
struct NightSide {
    side: Side,
    failed: bool,
}

/// The history's nights of this machine since the promoted one, newest first. They only show how much nights differ, so one that
/// cannot be read is named and left out.
fn nights(args: &GateArgs, history: &History, tonight: &Side) -> Vec<NightSide> {
    let found = history.nights(&tonight.header).unwrap_or_else(|e| {
        note(format_args!("warning: {e}"));
        Nights::default()
    });
    for e in &found.left_out {
        note(format_args!("warning: left out of the history: {e}"));
    }
    let newest = found.folders.iter().take(drift::MOST_NIGHTS - 1);
    let mut nights = Vec::new();
    for folder in newest {
        match args.judge.read(folder, tonight.metric) {
            Ok(side) => nights.push(NightSide {
                side,
                failed: history.has_failed(folder),
            }),
            Err(e) => note(format_args!("warning: left out of the history: {e}")),
        }
    }
    let here = tonight.header.hardware();
    nights.retain(|night| night.side.header.hardware() == here);
    nights
}

/// A pair's folder as the night: its side B, against its side A unless another baseline is named.
fn of_pair(args: &GateArgs) -> GateArgs {
    let side = |side: PairSide| args.run.join(side.folder());
    let baseline = match &args.baseline {
        BaselineChoice::Pinned => BaselineChoice::Run(side(PairSide::A)),
        named => named.clone(),
    };
    GateArgs {
        run: side(PairSide::B),
        baseline,
        ..args.clone()
    }
}

/// What the night is held against. `None` where only limits are judged: the user said so, or gave limits and pinned no run.
fn baseline(
    args: &GateArgs,
    history: &History,
    tonight: &Side,
    nights: &[NightSide],
) -> Result<Option<Baseline>> {
    let how = format!(
        "`ggufbench gate {} --promote` makes this run the baseline",
        quoted(&args.run)
    );
    let run = match &args.baseline {
        BaselineChoice::Run(run) => run.clone(),
        BaselineChoice::Nothing => {
            ensure!(
                !args.require.is_empty(),
                "--baseline none leaves nothing to judge by; give a limit: --require 'step<=12ms'"
            );
            return Ok(None);
        }
        BaselineChoice::Pinned => match history.pinned()? {
            Some(run) => run,
            None if !args.require.is_empty() => return Ok(None),
            None => bail!("{}: no run is pinned; {how}", history.folder().display()),
        },
        BaselineChoice::Last(n) => {
            // What is left out was named with the history.
            let nights = history.last(*n, &tonight.header)?.folders;
            ensure!(
                !nights.is_empty(),
                "{}: has no earlier night; {how}",
                history.folder().display()
            );
            let sides = nights
                .iter()
                .map(|night| args.judge.read(night, tonight.metric));
            return Ok(Some(Baseline::Nights(sides.collect::<Result<_, _>>()?)));
        }
    };
    let known = nights.iter().filter(|night| !night.failed);
    Ok(Some(Baseline::Run {
        run: Box::new(args.judge.read(&run, tonight.metric)?),
        nights: known.map(|night| night.side.clone()).collect(),
    }))
}

/// The rerun that was made, or one that is made now, beside the run; of a night that was measured in turns with its
/// baseline, both are measured again.
fn again(
    args: &GateArgs,
    tonight: &Side,
    in_turns: bool,
    cells: &[CellKey],
) -> Result<Confirmation> {
    let metric = tonight.metric;
    if let Some(made) = &args.confirm {
        return match is_pair(made) {
            true => again_paired(made, tonight),
            false => Ok(args.judge.read(made, metric)?.into()),
        };
    }
    let folder = if args.run.is_file() {
        args.run.parent().unwrap_or(Path::new("."))
    } else {
        &args.run
    };
    // A folder given as `.` has its parent only in its whole path.
    let whole = folder
        .canonicalize()
        .with_context(|| format!("{}: cannot be found", folder.display()))?;
    let out = whole.parent().unwrap_or(&whole);
    if in_turns && is_pair(out) {
        let Pairing { mut a, mut b, .. } = pair::read(out, metric)?;
        for side in [&mut a, &mut b] {
            side.header.plan.protocol.budget_ns = tonight.header.plan.protocol.budget_ns;
        }
        let beside = out.parent().unwrap_or(out);
        let plan = &tonight.header.plan;
        let wanted: Vec<usize> = (0..plan.cases.len())
            .filter(|at| cells.iter().any(|cell| cell.case == plan.cases[*at]))
            .collect();
        let made = pairs::again(&a.header, &b.header, &wanted, beside)?;
        return again_paired(&made, tonight);
    }
    let command = prepare::worker_command(&WorkerArgs {
        engine: args.engine.clone(),
    })?;
    let rerun = measuring::again(&args.run, &tonight.header, cells, &command, out)?;
    Ok(Side::read(&rerun, metric)?.into())
}

/// A pair that was measured again: the side that is tonight's, held against its own other side.
fn again_paired(folder: &Path, tonight: &Side) -> Result<Confirmation> {
    let Pairing { a, b, .. } = pair::read(folder, tonight.metric)?;
    let pair = tonight.header.pair.as_ref();
    let (run, other) = match pair.map(|pair| pair.side) {
        Some(PairSide::A) => (a, b),
        _ => (b, a),
    };
    Ok(Confirmation {
        run,
        baseline: Some(Baseline::alone(other)),
    })
}
