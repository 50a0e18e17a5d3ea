//! False alarms and power of the rule, by simulation. The tables in METHODOLOGY.md are this file's:
//! `cargo test --release gate_tables -- --ignored --nocapture` prints them again.
//!
//! A process's log median is a normal draw around its night's level; a night's level is a normal draw of its own, the same
//! for all cells, as the state of a machine is.

use std::collections::BTreeMap;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Normal};

use super::baseline::{BaselineUnits, CellEvidence, MIN_NIGHTS, NightSpread};
use super::rule::{CellVerdict, Rule, RuleOutcome, judge};
use crate::compare::change::Change;
use crate::metric::Metric;
use crate::run::stop::LEVEL;
use crate::stats::summary::{mean, median};

/// Cells of `sweeps/quick.toml`.
const CELLS: usize = 12;

/// Nights of a figure in the tables.
const NIGHTS: u32 = 2000;

/// What is the baseline, and what spreads.
#[derive(Clone, Copy)]
struct SimulatedDesign {
    name: &'static str,
    /// Nights of the baseline: 1 is a single run.
    nights: usize,
    /// Processes of each night.
    processes: usize,
    /// Nights of the history beside a single run.
    known: usize,
    /// Whether the CV is that between nights, and processes differ by 1%; else it is that between processes.
    nights_differ: bool,
    /// How much nights are assumed to differ; `None` for the rule's own assumption.
    night_sd: Option<f64>,
    /// Whether the run was measured in turns with tonight's.
    paired: bool,
}

const fn design(
    name: &'static str,
    (nights, processes): (usize, usize),
    known: usize,
    nights_differ: bool,
) -> SimulatedDesign {
    SimulatedDesign {
        name,
        nights,
        processes,
        known,
        nights_differ,
        night_sd: None,
        paired: false,
    }
}

const fn pairs(name: &'static str, processes: usize) -> SimulatedDesign {
    SimulatedDesign {
        paired: true,
        ..design(name, (1, processes), 0, false)
    }
}

const DESIGNS: [SimulatedDesign; 11] = [
    design("one run, 3 processes", (1, 3), 0, false),
    design("one run, 5 processes", (1, 5), 0, false),
    design("one run, 10 processes", (1, 10), 0, false),
    design("one run of 5, nights differ", (1, 5), 0, true),
    design("one run of 5, 4 nights known", (1, 5), 4, true),
    design("one run of 5, 14 nights known", (1, 5), 14, true),
    design("7 nights of 3", (7, 3), 0, true),
    design("14 nights of 3", (14, 3), 0, true),
    design("30 nights of 3", (30, 3), 0, true),
    pairs("5 processes in turns", 5),
    pairs("10 processes in turns", 10),
];

/// Where nights are known to differ by 1%, and `--night-sd` says so.
const TOLD: SimulatedDesign = SimulatedDesign {
    night_sd: Some(0.01),
    ..design("one run of 5, `--night-sd 1%`", (1, 5), 0, true)
};

/// The rows of the tables: designs and coefficients of variation.
fn rows() -> impl Iterator<Item = (SimulatedDesign, f64)> {
    let all = DESIGNS.into_iter().flat_map(|d| CVS.map(|cv| (d, cv)));
    all.chain([(TOLD, 0.01)])
}

#[derive(Clone, Copy)]
struct GateSetting {
    design: SimulatedDesign,
    /// Standard deviation of a process's logarithm around its night's.
    process_sd: f64,
    /// Of a night's logarithm.
    night_sd: f64,
    /// Relative slow-down that is planted tonight,
    slowdown: f64,
    /// in this many cells.
    slow_cells: usize,
}

impl GateSetting {
    fn new(design: SimulatedDesign, cv: f64) -> Self {
        Self {
            design,
            process_sd: if design.nights_differ { 0.01 } else { cv },
            night_sd: if design.nights_differ { cv } else { 0.0 },
            slowdown: 0.0,
            slow_cells: 0,
        }
    }

    fn slower(self, slowdown: f64, slow_cells: usize) -> Self {
        Self {
            slowdown,
            slow_cells,
            ..self
        }
    }
}

/// Shares of nights, 0 to 1.
#[derive(Default)]
struct NightShares {
    /// Nights with a suspected cell.
    suspected: f64,
    /// Nights with a cell suspected again in the rerun: exit code 1.
    failed: f64,
    /// Nights that the rule of thumb "means differ by more than 3%" fails.
    naive: f64,
    /// Cells that pass.
    passed: f64,
}

/// By cell, the logarithms of a run's processes.
type SimulatedRun = Vec<Vec<f64>>;

struct SimulatedMachine {
    rng: ChaCha8Rng,
}

impl SimulatedMachine {
    fn normal(&mut self, sd: f64) -> f64 {
        Normal::new(0.0, sd)
            .expect("a spread")
            .sample(&mut self.rng)
    }

    fn run(&mut self, s: &GateSetting, level: f64, tonight: bool) -> SimulatedRun {
        (0..CELLS)
            .map(|cell| {
                let planted = if tonight && cell < s.slow_cells {
                    s.slowdown.ln_1p()
                } else {
                    0.0
                };
                (0..s.design.processes)
                    .map(|_| level + planted + self.normal(s.process_sd))
                    .collect()
            })
            .collect()
    }

    fn nights(&mut self, s: &GateSetting, n: usize) -> Vec<SimulatedRun> {
        (0..n)
            .map(|_| {
                let level = self.normal(s.night_sd);
                self.run(s, level, false)
            })
            .collect()
    }
}

fn evidence(
    s: &GateSetting,
    nights: &[SimulatedRun],
    known: &[SimulatedRun],
    tonight: &SimulatedRun,
    rule: &Rule,
) -> Vec<CellEvidence> {
    let medians = |runs: &[SimulatedRun], cell: usize| -> Vec<f64> {
        runs.iter().filter_map(|run| median(&run[cell])).collect()
    };
    let cell = |cell: usize| {
        let (before, now) = (&nights[0][cell], &tonight[cell]);
        if s.design.paired {
            let (before, now) = (by_replicate(before), by_replicate(now));
            let change = Change::paired(Metric::StepNs, &before, &now, LEVEL);
            return (change, None);
        }
        if nights.len() < MIN_NIGHTS {
            let spread = NightSpread::of(rule.assumed_nights(), &medians(known, cell));
            return (Change::independent(before, now, LEVEL), Some(spread));
        }
        let now = median(now).expect("processes");
        (
            Change::against_nights(&medians(nights, cell), now, LEVEL),
            None,
        )
    };
    let evidence = |(change, night)| CellEvidence {
        rounding: None,
        change,
        // For the reader only.
        against: BaselineUnits::Nights(nights.len()),
        night,
        pairs: None,
    };
    (0..CELLS).map(cell).map(evidence).collect()
}

/// The times of a cell's processes.
fn by_replicate(logs: &[f64]) -> BTreeMap<u32, f64> {
    (0..).zip(logs.iter().map(|log| log.exp())).collect()
}

fn simulate(s: &GateSetting, n_nights: u32) -> NightShares {
    let default = Rule::default();
    let rule = Rule {
        night_sd: s.design.night_sd.unwrap_or(default.night_sd),
        ..default
    };
    let again = Rule {
        alpha: rule.confirm_alpha,
        ..rule
    };
    let mut machine = SimulatedMachine {
        rng: ChaCha8Rng::seed_from_u64(20_260_131),
    };
    let mut shares = NightShares::default();
    for _ in 0..n_nights {
        let nights = machine.nights(s, s.design.nights);
        let known = machine.nights(s, s.design.known);
        let level = machine.normal(s.night_sd);
        let tonight = machine.run(s, level, true);
        let first_look = evidence(s, &nights, &known, &tonight, &rule);
        let verdicts = judge(first_look.iter(), &rule);
        let is = |verdict| move |v: &&RuleOutcome| v.verdict == verdict;
        let suspects: Vec<usize> = (0..CELLS)
            .filter(|c| verdicts[*c].verdict == CellVerdict::Suspected)
            .collect();
        let passed = verdicts.iter().filter(is(CellVerdict::Pass)).count();
        shares.passed += passed as f64 / CELLS as f64;
        if !suspects.is_empty() {
            shares.suspected += 1.0;
            // The rerun is of the same night: its level is the same. Of a pair, both sides are measured again.
            let tonight = machine.run(s, level, true);
            let nights = if s.design.paired {
                machine.nights(s, 1)
            } else {
                nights.clone()
            };
            let rerun = evidence(s, &nights, &known, &tonight, &again);
            let rerun = judge(suspects.iter().map(|c| &rerun[*c]), &again);
            let seen = rerun.iter().filter(is(CellVerdict::Suspected)).count();
            shares.failed += f64::from(seen > 0);
        }
        shares.naive += f64::from(is_naively_slower(&nights[0], &tonight));
    }
    let n = f64::from(n_nights);
    NightShares {
        suspected: shares.suspected / n,
        failed: shares.failed / n,
        naive: shares.naive / n,
        passed: shares.passed / n,
    }
}

fn is_naively_slower(before: &SimulatedRun, tonight: &SimulatedRun) -> bool {
    let times = |logs: &[f64]| mean(&logs.iter().map(|l| l.exp()).collect::<Vec<_>>());
    (0..CELLS).any(|cell| {
        times(&tonight[cell])
            .zip(times(&before[cell]))
            .is_some_and(|(now, before)| now > 1.03 * before)
    })
}

const CVS: [f64; 3] = [0.01, 0.02, 0.05];

#[test]
fn false_alarms_stay_below_one_percent() {
    for (design, cv) in rows() {
        let s = simulate(&GateSetting::new(design, cv), 1000);
        let what = format!("{}, CV {cv}: {}", design.name, s.failed);
        assert!(s.failed <= 0.01, "{what}");
        assert!(s.failed <= s.suspected, "{what}");
    }
}

/// With one cell, the correction for several does not help; with nights that differ by more than is assumed, nothing
/// but the history does.
#[test]
fn a_history_corrects_an_assumption_that_is_too_small() {
    let terrible = |known| {
        let design = SimulatedDesign {
            known,
            ..DESIGNS[3]
        };
        simulate(&GateSetting::new(design, 0.10), 1000).failed
    };
    assert!(terrible(0) > 0.04, "{}", terrible(0));
    assert!(terrible(14) < 0.02, "{}", terrible(14));
}

#[test]
fn a_large_slow_down_is_found_and_a_quiet_machine_passes() {
    let failed = |design: SimulatedDesign, cv, slowdown| {
        simulate(&GateSetting::new(design, cv).slower(slowdown, CELLS), 300).failed
    };
    let [_, five, ten, first, _, known, _, fourteen, ..] = DESIGNS;
    assert!(failed(fourteen, 0.01, 0.20) > 0.99);
    assert!(failed(first, 0.02, 0.30) > 0.95, "in the very first nights");
    assert!(failed(known, 0.01, 0.20) > 0.99);
    assert!(failed(five, 0.01, 0.30) > 0.99);
    assert!(simulate(&GateSetting::new(ten, 0.01), 300).passed > 0.99);
    assert!(
        simulate(&GateSetting::new(ten, 0.05), 300).passed < 0.6,
        "too little is no pass"
    );
}

/// At the border itself, a slow-down of exactly the tolerance, false alarms are alpha's.
#[test]
fn the_tolerance_itself_is_tolerated() {
    let border = GateSetting::new(DESIGNS[1], 0.02).slower(0.03, CELLS);
    let s = simulate(&border, 3000);
    assert!(s.suspected <= 0.004, "{}", s.suspected);
    assert!(
        s.passed < 0.07,
        "and passes no oftener than 5%: {}",
        s.passed
    );
}

const SLOWDOWNS: [f64; 5] = [0.02, 0.05, 0.10, 0.20, 0.30];

fn false_alarm_row(design: SimulatedDesign, cv: f64) -> String {
    let s = simulate(&GateSetting::new(design, cv), NIGHTS);
    format!(
        "| {} | {:.0}% | {:.2}% | {:.2}% | {:.1}% | {:.1}% |",
        design.name,
        cv * 100.0,
        s.suspected * 100.0,
        s.failed * 100.0,
        s.passed * 100.0,
        s.naive * 100.0
    )
}

fn power_row(design: SimulatedDesign, cv: f64) -> String {
    let found = SLOWDOWNS.map(|slowdown| found(design, cv, slowdown));
    let (name, cv) = (design.name, cv * 100.0);
    format!("| {name} | {cv:.0}% | {} |", found.join(" | "))
}

/// Percent of nights that fail, with one cell slower and with all.
fn found(design: SimulatedDesign, cv: f64, slowdown: f64) -> String {
    let percent = |cells| {
        let s = GateSetting::new(design, cv).slower(slowdown, cells);
        simulate(&s, NIGHTS).failed * 100.0
    };
    format!("{:.1} / {:.1}", percent(1), percent(CELLS))
}

#[test]
#[ignore = "prints the tables of METHODOLOGY.md; minutes"]
fn gate_tables() {
    println!("| baseline | CV | suspected | exit 1 | cells that pass | naive rule |");
    println!("|---|---|---|---|---|---|");
    for (design, cv) in rows() {
        println!("{}", false_alarm_row(design, cv));
    }
    println!("\n| baseline | CV | 2% | 5% | 10% | 20% | 30% |\n|---|---|---|---|---|---|---|");
    for (design, cv) in rows() {
        println!("{}", power_row(design, cv));
    }
}

/// The simulation is seeded, so that its rows are these to the digit.
#[test]
fn the_documentation_has_these_tables() {
    const METHODOLOGY: &str = include_str!("../../docs/METHODOLOGY.md");
    let [_, five, _, first, _, _, week, ..] = DESIGNS;
    for (design, cv) in [(five, 0.01), (first, 0.05), (week, 0.05), (TOLD, 0.01)] {
        let row = false_alarm_row(design, cv);
        assert!(METHODOLOGY.contains(&row), "{row}");
    }
    let of_told = |line: &&str| line.starts_with(&format!("| {} | 1% |", TOLD.name));
    let power = METHODOLOGY.lines().filter(of_told).nth(1);
    let at_a_tenth = found(TOLD, 0.01, 0.10);
    assert!(
        power.is_some_and(|row| row.contains(&at_a_tenth)),
        "{at_a_tenth}"
    );
}
