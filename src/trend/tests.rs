//! Histories written by the test, read as a user's would be.

use std::path::{Path, PathBuf};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;

use super::levels::{ALPHA, level_shifts};
use super::*;
use crate::compare::fixture::{batches, header, line};
use crate::plan::Case;
use crate::record::jsonl::{FILE_NAME, Writer};
use crate::record::{Pair, PairSide, RunHeader};

/// A history of nights from the first of January on, of three processes each.
pub(crate) struct HistoryMaker {
    pub folder: tempfile::TempDir,
    cases: Vec<Case>,
}

impl HistoryMaker {
    pub fn new(batch: &[u32]) -> Self {
        Self {
            folder: tempfile::tempdir().expect("a folder for the test"),
            cases: batches(batch),
        }
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Writes night number `day`; `change` alters its header.
    pub fn night(
        &self,
        day: usize,
        step_ns: impl Fn(&Case) -> u64,
        change: impl FnOnce(&mut RunHeader),
    ) {
        self.record(day, step_ns, change);
    }

    /// Writes the promoted program's record beside that of the night.
    pub fn promoted(
        &self,
        day: usize,
        step_ns: impl Fn(&Case) -> u64,
        change: impl FnOnce(&mut RunHeader),
    ) {
        let place = HistoryMaker {
            folder: tempfile::tempdir().expect("a folder for the test"),
            cases: self.cases.clone(),
        };
        let made = place.record(day, step_ns, change);
        let night = self.path().join(made.file_name().expect("a name"));
        std::fs::copy(made.join(FILE_NAME), night.join(PROMOTED)).expect("writable");
    }

    fn record(
        &self,
        day: usize,
        step_ns: impl Fn(&Case) -> u64,
        change: impl FnOnce(&mut RunHeader),
    ) -> PathBuf {
        let date = jiff::civil::date(2026, 1, 1) + jiff::Span::new().days(day as i64);
        let name = format!("{}-023000-nightly", date.strftime("%Y%m%d"));
        let folder = self.path().join(&name);
        std::fs::create_dir(&folder).expect("writable");
        let mut header = header(&name, &self.cases);
        header.started_at = format!("{date}T02:30:00+01:00");
        header.machine.kernel = Some("6.1.0".to_owned());
        change(&mut header);
        let mut writer = Writer::create(&folder, header).expect("writable");
        for case in &self.cases {
            for process in 0..3 {
                let step = step_ns(case) + u64::from(process);
                let line = line(case, (process, 0), step, false);
                writer.append(&line).expect("writable");
            }
        }
        folder
    }

    /// Nights whose steps of batch 8 follow `level`, and of batch 1 stay, both with noise of 0.4%.
    pub fn nights(&self, n: usize, level: impl Fn(usize) -> f64) {
        for day in 0..n {
            let step = noisy_step(day, level(day));
            self.night(day, step, |_| {});
        }
    }

    pub fn read(&self, last: usize) -> Trend {
        Trend::read(&History::at(self.path()), Metric::StepNs, last).expect("readable")
    }
}

/// Steps of a night: of batch 8 a multiple of the level, of others the level 1.
pub(crate) fn noisy_step(day: usize, level: f64) -> impl Fn(&Case) -> u64 {
    let mut rng = ChaCha8Rng::seed_from_u64(day as u64);
    let noise: [f64; 2] = [rng.sample(StandardNormal), rng.sample(StandardNormal)];
    move |case| {
        let (level, noise) = match case.n_seq {
            8 => (8.0 * level, noise[0]),
            _ => (1.0, noise[1]),
        };
        (1e6 * level * (1.0 + 0.004 * noise)) as u64
    }
}

#[test]
fn a_step_is_found_at_its_night_in_its_cell() {
    let made = HistoryMaker::new(&[1, 8]);
    made.nights(90, |day| if day < 40 { 1.0 } else { 1.03 });
    let trend = made.read(MOST_NIGHTS);
    assert_eq!((trend.nights.len(), trend.cells.len()), (90, 2));
    let found = trend.level_changes();
    assert_eq!(found.len(), 1, "{found:?}");
    let (cell, level) = found[0];
    assert_eq!(cell.key.case.n_seq, 8);
    assert_eq!((level.first, level.last), (40, 89));
    assert!((level.change.expect("a second level") - 0.03).abs() < 0.003);
    assert!(level.p.expect("a second level") <= ALPHA);
    assert_eq!(trend.nights[level.first].date(), "2026-02-10");
    let before = trend.night_before(cell, level).expect("earlier nights");
    assert_eq!(before.run, "20260209-023000-nightly");
    assert_eq!(trend.changed_nights().count(), 0);
}

#[test]
fn a_drift_ends_on_a_higher_level_than_it_began_on() {
    let made = HistoryMaker::new(&[1, 8]);
    made.nights(90, |day| 1.0 + 0.0007 * day as f64);
    let trend = made.read(MOST_NIGHTS);
    let changes = trend.level_changes();
    assert!(!changes.is_empty());
    assert!(changes.iter().all(|(cell, level)| {
        cell.key.case.n_seq == 8 && level.change.is_some_and(|c| c > 0.0)
    }));
    let whole = changes[0].0.whole_change(trend.metric).expect("levels");
    assert!((0.02..0.063).contains(&whole), "{whole}");
}

#[test]
fn builds_and_machine_changes_are_named_at_their_nights() {
    let made = HistoryMaker::new(&[8]);
    for day in 0..60 {
        made.night(day, noisy_step(day, 1.0), |header| {
            if day >= 20 {
                header.program.version = "0.9.9".to_owned();
            }
            if day >= 30 {
                header.machine.kernel = Some("6.8.0".to_owned());
                header.machine.cpu.model = Some("Another CPU".to_owned());
                header.machine.fingerprint = "fedcba9876543210".to_owned();
            }
            match day {
                45 => header.machine.kernel = None,
                46.. => header.machine.kernel = Some("6.9.0".to_owned()),
                _ => {}
            }
        });
    }
    let trend = made.read(MOST_NIGHTS);
    let changed: Vec<(&str, Vec<&str>)> = trend
        .changed_nights()
        .map(|n| (n.date(), n.changes.iter().map(|c| c.fact).collect()))
        .collect();
    assert_eq!(
        changed,
        [
            ("2026-01-21", vec!["program"]),
            ("2026-01-31", vec!["machine", "kernel"]),
            ("2026-02-16", vec!["kernel"]),
        ],
        "a fact that a record lacks is no change, and hides none"
    );
    let kernel = &trend.nights[30].changes[1];
    assert_eq!(
        (kernel.before.as_str(), kernel.after.as_str()),
        ("6.1.0", "6.8.0")
    );
}

#[test]
fn damaged_nights_are_named_and_the_others_shown() {
    let made = HistoryMaker::new(&[1, 8]);
    made.nights(20, |_| 1.0);
    let record = |day: &str| {
        made.path()
            .join(format!("{day}-023000-nightly"))
            .join(FILE_NAME)
    };
    std::fs::write(record("20260103"), "{\"kind\":\"run\"").expect("writable");
    std::fs::write(record("20260105"), "").expect("writable");
    let whole = std::fs::read_to_string(record("20260107")).expect("readable");
    let broken = whole.replacen("\"kind\":\"repetition\"", "\"kind\":\"rep", 1);
    std::fs::write(record("20260107"), broken).expect("writable");
    // What was cut off by a crash is no damage: the lines before it count.
    let cut = &whole[..whole.len() - 40];
    std::fs::write(record("20260107").with_file_name("x"), cut).expect("writable");
    std::fs::create_dir(made.path().join("20260199-notes")).expect("writable");
    std::fs::write(record("20260109").with_file_name("regression"), "").expect("writable");
    let trend = made.read(MOST_NIGHTS);
    assert_eq!(trend.nights.len(), 17, "{:?}", trend.left_out);
    let names = |day: &str| trend.left_out.iter().filter(|w| w.contains(day)).count();
    assert_eq!(
        [names("20260103"), names("20260105"), names("20260107")],
        [1; 3],
        "{:?}",
        trend.left_out
    );
    let failed = trend.nights.iter().filter(|night| night.has_failed);
    let failed: Vec<&str> = failed.map(TrendNight::date).collect();
    assert_eq!(failed, ["2026-01-09"]);
}

#[test]
fn one_night_is_a_trend_without_changes_and_the_last_nights_are_the_newest() {
    let made = HistoryMaker::new(&[1, 8]);
    made.nights(1, |_| 1.0);
    let one = made.read(MOST_NIGHTS);
    assert_eq!(one.level_changes().len(), 0);
    let cell = &one.cells[0];
    assert_eq!((cell.medians.len(), cell.levels.len()), (1, 1));
    assert_eq!(cell.medians[0].n_processes, 3);
    assert_eq!(
        (cell.newest().expect("a level").change, cell.is_searched()),
        (None, false)
    );
    assert_eq!(one.too_few_nights(), Some(1));
    for day in 1..30 {
        made.night(day, noisy_step(day, 1.0), |_| {});
    }
    let last = made.read(10);
    assert_eq!((last.nights.len(), last.n_older), (10, 20));
    assert_eq!(last.nights[9].date(), "2026-01-30");
    assert_eq!(last.too_few_nights(), Some(10));
    assert_eq!(made.read(20).too_few_nights(), None);
    let empty = tempfile::tempdir().expect("a folder for the test");
    let none = Trend::read(&History::at(empty.path()), Metric::StepNs, 9).expect("readable");
    assert!(none.nights.is_empty() && none.cells.is_empty());
}

#[test]
fn the_promoted_program_tells_the_machine_from_the_program() {
    let made = HistoryMaker::new(&[8]);
    // Night 20: another program is slower. Night 40: the machine is slower, for both programs.
    let machine = |day: usize| if day < 40 { 1.0 } else { 1.04 };
    let program = |day: usize| if day < 20 { 1.0 } else { 1.03 };
    for day in 0..60 {
        made.night(day, noisy_step(day, program(day) * machine(day)), |_| {});
        made.promoted(day, noisy_step(day + 1000, machine(day)), |_| {});
    }
    let trend = made.read(MOST_NIGHTS);
    let cell = &trend.cells[0];
    assert_eq!(cell.promoted.len(), 60);
    let firsts: Vec<usize> = cell.levels.iter().map(|level| level.first).collect();
    assert_eq!(firsts, [0, 20, 40]);
    let of = |at: usize| cell.levels[at].promoted_change.expect("measured on both");
    assert!(of(1).abs() < 0.004, "{}", of(1));
    assert!((of(2) - 0.04).abs() < 0.004, "{}", of(2));
    // A program that was promoted at the change is another one.
    let other = HistoryMaker::new(&[8]);
    for day in 0..60 {
        other.night(day, noisy_step(day, machine(day)), |_| {});
        other.promoted(day, noisy_step(day + 1000, machine(day)), |header| {
            header.program.version = if day < 40 { "1.0.0" } else { "1.0.1" }.to_owned();
        });
    }
    let levels = &other.read(MOST_NIGHTS).cells[0].levels;
    assert_eq!((levels.len(), levels[1].promoted_change), (2, None));
    // So is another file of the same commit.
    let rebuilt = HistoryMaker::new(&[8]);
    for day in 0..60 {
        rebuilt.night(day, noisy_step(day, machine(day)), |_| {});
        rebuilt.promoted(day, noisy_step(day + 1000, machine(day)), |header| {
            header.pair = Some(Pair {
                id: header.run.clone(),
                side: PairSide::A,
                axes: Vec::new(),
                worker_program: if day < 40 { "one" } else { "two" }.into(),
                worker_engine: "llama".to_owned(),
            });
        });
    }
    let levels = &rebuilt.read(MOST_NIGHTS).cells[0].levels;
    assert_eq!((levels.len(), levels[1].promoted_change), (2, None));
}

/// Steps of 0.4%, each too small to be named alone.
#[test]
fn small_steps_add_up_to_a_change() {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let values: Vec<f64> = (0..100)
        .map(|night| {
            let noise: f64 = rng.sample(StandardNormal);
            0.004 * f64::from(night / 20) + 0.0002 * noise
        })
        .collect();
    let shifts = level_shifts(&values);
    assert!(!shifts.is_empty());
    assert!(shifts.iter().all(|s| s.change >= 0.005), "{shifts:?}");
    let one_step: Vec<f64> = values[..40].to_vec();
    assert_eq!(level_shifts(&one_step), []);
}

#[test]
fn a_rate_that_falls_takes_longer() {
    let change = relative(Metric::DecodeTokensPerS, 100.0, 80.0);
    assert!((change - 0.25).abs() < 1e-12);
    assert!((relative(Metric::StepNs, 100.0, 125.0) - 0.25).abs() < 1e-12);
}

/// Shares of histories in which a change is found, for noise of standard deviation 1 and a step in the middle.
fn found(n: usize, step: f64, histories: usize) -> f64 {
    let mut rng = ChaCha8Rng::seed_from_u64(11);
    let hits = (0..histories).filter(|_| {
        let values = (0..n).map(|night| {
            let level = if night < n / 2 { 0.0 } else { step };
            let noise: f64 = rng.sample(StandardNormal);
            (level + noise) / 100.0
        });
        !level_shifts(&values.collect::<Vec<f64>>()).is_empty()
    });
    hits.count() as f64 / histories as f64
}

#[test]
fn the_fewest_nights_show_a_large_step_and_fewer_show_none() {
    assert!(
        found(MIN_NIGHTS, 5.0, 60) > 0.5,
        "{}",
        found(MIN_NIGHTS, 5.0, 60)
    );
    assert!(found(MIN_NIGHTS, 0.0, 300) < 0.02);
    assert_eq!(found(9, 9.0, 60), 0.0);
}
