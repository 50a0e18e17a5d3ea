//! The gate on trial: how often it fails real runs between which nothing changed, and how often it finds runs that are
//! known to be slower. Records in, counts out.
//!
//! Every gate has a baseline, a night, and a third run as its rerun. Runs between which nothing changed can be gated in three
//! ways:
//!
//! - **true** gates: every ordered pair of runs. N runs give N (N - 1) gates, which share their runs and so are fewer
//!   independent ones.
//! - **by cell**: of a pair, each cell's label is exchanged or not by a coin, all its processes together. What differs
//!   between the runs stays in each cell, but not all cells lean the same way any more.
//! - **by process**: each cell's label is exchanged or not in each replicate. What differs between the runs becomes a
//!   difference between processes: this tests the rule on the noise of processes alone, any number of times.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

use super::{Baseline, CellVerdict, GateError, MIN_NIGHTS, NightVerdict, Rule, gate};
use crate::compare::samples::{Disturbed, Samples};
use crate::compare::side::Side;

/// The rule of thumb fails a night when the mean of a cell is slower by more than this.
pub const NAIVE: f64 = 0.03;

/// Most nights of a baseline of nights.
const MOST_NIGHTS: usize = 14;

/// Fewest runs on trial: a baseline, a night and its rerun.
pub const FEWEST_RUNS: usize = 3;

/// How the gates of a row were made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Gates {
    OneRun,
    /// Against one run, with others as its history.
    OneRunAmong {
        nights: usize,
    },
    /// Against runs as nights.
    Nights {
        nights: usize,
    },
    /// Against one run, labels exchanged by cell.
    ByCell,
    /// Against one run, labels exchanged by cell and process.
    ByProcess,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TrialRow {
    /// Whether the nights were of the runs known to be slower.
    pub is_slower: bool,
    pub gates: Gates,
    pub n_gates: usize,
    /// With a suspected cell, before the rerun.
    pub suspected: usize,
    /// Exit code 1.
    pub failed: usize,
    /// Exit code 3.
    pub inconclusive: usize,
    /// Exit code 0.
    pub passed: usize,
    /// Share of the cells that passed.
    pub cells_passed: f64,
    /// Failed by the rule of thumb, [`NAIVE`].
    pub naive: usize,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GateTrial {
    pub rule: Rule,
    /// The runs between which nothing changed.
    pub runs: Vec<String>,
    /// Disturbed repetitions of these runs.
    pub disturbed: Disturbed,
    /// The runs known to be slower.
    pub slower: Vec<String>,
    pub disturbed_slower: Disturbed,
    /// Cells of the first run.
    pub n_cells: usize,
    pub rows: Vec<TrialRow>,
}

/// Tries the gate on at least [`FEWEST_RUNS`] runs between which nothing changed, and on no or at least two slower ones; all
/// in the order of time. `n_flips` is how often labels are exchanged in each way.
///
/// # Errors
/// The gate's, as for runs of several machines.
pub fn trial(
    runs: &[Side],
    slower: &[Side],
    rule: &Rule,
    n_flips: usize,
    seed: u64,
) -> Result<GateTrial, GateError> {
    let bench = Bench { runs, rule };
    let mut rows = vec![
        bench.against_one(false, runs, false)?,
        bench.against_one(false, runs, true)?,
    ];
    rows.extend(bench.against_nights(false, runs)?);
    for gates in [Gates::ByCell, Gates::ByProcess] {
        rows.push(bench.flipped(gates, n_flips, &mut ChaCha8Rng::seed_from_u64(seed))?);
    }
    if !slower.is_empty() {
        rows.push(bench.against_one(true, slower, false)?);
        rows.push(bench.against_one(true, slower, true)?);
        rows.extend(bench.against_nights(true, slower)?);
    }
    rows.retain(|row| row.n_gates > 0);
    let labels = |sides: &[Side]| sides.iter().map(|s| s.label.clone()).collect();
    let disturbed = |sides: &[Side]| {
        let cells = sides.iter().flat_map(|side| &side.cells);
        Disturbed::sum(cells.map(Samples::disturbed))
    };
    Ok(GateTrial {
        rule: *rule,
        runs: labels(runs),
        disturbed: disturbed(runs),
        slower: labels(slower),
        disturbed_slower: disturbed(slower),
        n_cells: runs.first().map_or(0, |run| run.cells.len()),
        rows,
    })
}

struct Bench<'a> {
    runs: &'a [Side],
    rule: &'a Rule,
}

impl Bench<'_> {
    /// Every run against every night; with a history, that is all runs but the night and its rerun.
    fn against_one(
        &self,
        is_slower: bool,
        nights: &[Side],
        has_history: bool,
    ) -> Result<TrialRow, GateError> {
        let known = self.runs.len() - if is_slower { 0 } else { 2 };
        let gates = match has_history {
            true => Gates::OneRunAmong { nights: known },
            false => Gates::OneRun,
        };
        let mut tally = Tally::new(is_slower, gates, self.rule);
        for (at, before) in self.runs.iter().enumerate() {
            for tonight in nights_but(nights, is_slower, at) {
                let without = if is_slower { None } else { Some(at) };
                let Some(again) = next(nights, tonight, without) else {
                    continue;
                };
                let is_known = |run: &&Side| {
                    has_history
                        && !run.is_paired_with(&nights[tonight])
                        && !run.is_paired_with(again)
                };
                let baseline = Baseline::Run {
                    run: Box::new(before.clone()),
                    nights: self.runs.iter().filter(is_known).cloned().collect(),
                };
                tally.gate(&baseline, before, &nights[tonight], again)?;
            }
        }
        Ok(tally.row())
    }

    /// Every night against the runs before it, in a circle; `None` with too few of them.
    fn against_nights(
        &self,
        is_slower: bool,
        nights: &[Side],
    ) -> Result<Option<TrialRow>, GateError> {
        let n = self.runs.len();
        let known = MOST_NIGHTS.min(n - if is_slower { 0 } else { 2 });
        if known < MIN_NIGHTS {
            return Ok(None);
        }
        let gates = Gates::Nights { nights: known };
        let mut tally = Tally::new(is_slower, gates, self.rule);
        for tonight in 0..nights.len() {
            let Some(again) = next(nights, tonight, None) else {
                continue;
            };
            // Newest first.
            let before = (1..=known).map(|back| (tonight + n * known - back) % n);
            let sides: Vec<Side> = before.map(|at| self.runs[at].clone()).collect();
            let newest = sides[0].clone();
            tally.gate(&Baseline::Nights(sides), &newest, &nights[tonight], again)?;
        }
        Ok(Some(tally.row()))
    }

    /// `n_flips` pairs, in turns, with exchanged labels.
    fn flipped(
        &self,
        gates: Gates,
        n_flips: usize,
        rng: &mut ChaCha8Rng,
    ) -> Result<TrialRow, GateError> {
        let mut tally = Tally::new(false, gates, self.rule);
        let n = self.runs.len();
        let pairs: Vec<(usize, usize)> = (0..n).flat_map(|b| (0..b).map(move |a| (a, b))).collect();
        for (a, b) in pairs.iter().cycle().take(n_flips) {
            let Some(again) = next(self.runs, *b, Some(*a)) else {
                continue;
            };
            let (mut before, mut tonight) = (self.runs[*a].clone(), self.runs[*b].clone());
            exchange(&mut before, &mut tonight, gates, rng);
            let baseline = Baseline::alone(before.clone());
            tally.gate(&baseline, &before, &tonight, again)?;
        }
        Ok(tally.row())
    }
}

/// The nights that are not the baseline itself.
fn nights_but(nights: &[Side], is_slower: bool, at: usize) -> impl Iterator<Item = usize> {
    (0..nights.len()).filter(move |tonight| is_slower || *tonight != at)
}

/// The next night in a circle that is not the one left out: the nearest to a rerun.
fn next(nights: &[Side], after: usize, without: Option<usize>) -> Option<&Side> {
    let n = nights.len();
    let later = (1..n).map(|ahead| (after + ahead) % n);
    let mut others = later.filter(|at| Some(*at) != without);
    Some(&nights[others.next()?])
}

fn exchange(a: &mut Side, b: &mut Side, gates: Gates, rng: &mut ChaCha8Rng) {
    for mine in &mut a.cells {
        let Some(theirs) = b.cells.iter_mut().find(|c| c.key == mine.key) else {
            continue;
        };
        let mut replicates: Vec<u32> = mine.replicates().chain(theirs.replicates()).collect();
        replicates.sort_unstable();
        replicates.dedup();
        let whole = rng.random_bool(0.5);
        for replicate in replicates {
            let swap = match gates {
                Gates::ByCell => whole,
                _ => rng.random_bool(0.5),
            };
            if swap {
                mine.swap_replicate(theirs, replicate);
            }
        }
    }
}

struct Tally<'a> {
    rule: &'a Rule,
    row: TrialRow,
    /// Sum of the gates' shares of cells that passed.
    shares_passed: f64,
}

impl<'a> Tally<'a> {
    fn new(is_slower: bool, gates: Gates, rule: &'a Rule) -> Self {
        Self {
            rule,
            row: TrialRow {
                is_slower,
                gates,
                n_gates: 0,
                suspected: 0,
                failed: 0,
                inconclusive: 0,
                passed: 0,
                cells_passed: 0.0,
                naive: 0,
            },
            shares_passed: 0.0,
        }
    }

    fn gate(
        &mut self,
        baseline: &Baseline,
        before: &Side,
        tonight: &Side,
        again: &Side,
    ) -> Result<(), GateError> {
        let mut suspected = false;
        let mut rerun = |_: &[_]| {
            suspected = true;
            Ok(again.clone().into())
        };
        let report = gate::<GateError>(tonight, baseline, self.rule, Some(&mut rerun))?;
        let passed = report
            .cells
            .iter()
            .filter(|c| c.verdict == CellVerdict::Pass);
        self.shares_passed += passed.count() as f64 / report.cells.len() as f64;
        let row = &mut self.row;
        row.n_gates += 1;
        row.suspected += usize::from(suspected);
        match report.verdict {
            // A trial has no limits in absolute values.
            NightVerdict::Regression | NightVerdict::OverLimit => row.failed += 1,
            NightVerdict::Inconclusive => row.inconclusive += 1,
            NightVerdict::Pass => row.passed += 1,
        }
        row.naive += usize::from(is_naively_slower(before, tonight));
        Ok(())
    }

    fn row(self) -> TrialRow {
        TrialRow {
            cells_passed: self.shares_passed / self.row.n_gates.max(1) as f64,
            ..self.row
        }
    }
}

fn is_naively_slower(before: &Side, tonight: &Side) -> bool {
    let log_mean = |side: &Side, samples: &Samples| Some(side.metric.log_time(samples.mean()?));
    before.cells.iter().any(|cell| {
        let now = tonight
            .cell(&cell.key)
            .and_then(|now| log_mean(tonight, now));
        now.zip(log_mean(before, cell))
            .is_some_and(|(now, before)| now - before > NAIVE.ln_1p())
    })
}
