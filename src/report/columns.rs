//! The columns of a run's table for people, shared by terminal and Markdown: which figures, in which
//! unit, with how many digits.

use super::axes;
use super::notes::Notes;
use super::view::{CellView, RunView};
use crate::metric::Metric;
use crate::plan::Case;
use crate::stats::Interval;
use crate::stats::histogram::min_samples_for;
use crate::units;

/// How much there is room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// What decides.
    Narrow,
    /// Everything a table can hold.
    Wide,
}

/// A column: a heading of two lines, and a value for each cell of the view.
#[derive(Debug, Clone, PartialEq)]
pub struct Column {
    /// What it is.
    pub name: &'static str,
    /// In which unit, or which of several.
    pub unit: String,
    /// One a cell; none where the cell does not have it.
    pub values: Vec<Option<String>>,
    /// Why a value can be missing.
    pub why_missing: Option<String>,
    /// Columns of a higher rank are left out first where there is no room; 0 never is, and one from [`EXTRA`] on is
    /// not missed.
    pub rank: u8,
}

/// From this rank on a column is for those who have the room.
pub const EXTRA: u8 = 9;

impl Column {
    fn of(
        view: &RunView,
        (name, unit, rank): (&'static str, &str, u8),
        value: impl Fn(&CellView) -> Option<String>,
    ) -> Self {
        Self {
            name,
            unit: unit.to_owned(),
            values: view.cells.iter().map(value).collect(),
            why_missing: None,
            rank,
        }
    }

    fn missing_when(mut self, why: impl Into<String>) -> Self {
        self.why_missing = Some(why.into());
        self
    }

    /// Whether any cell has a value.
    pub fn has_values(&self) -> bool {
        self.values.iter().any(Option::is_some)
    }
}

/// The columns of a view, and how many of them, the first ones, are axes.
pub fn of(view: &RunView, notes: &Notes, detail: Detail) -> (Vec<Column>, usize) {
    let cases: Vec<&Case> = view.cells.iter().map(|c| &c.case).collect();
    let mut columns: Vec<Column> = axes::columns(&cases)
        .into_iter()
        .map(|axis| Column::of(view, (axis.heading(), "", 0), |c| Some(axis.value(&c.case))))
        .collect();
    let n_axes = columns.len();
    columns.extend(throughput(view));
    columns.extend(steps(view, detail));
    columns.extend(prompt(view, detail));
    columns.extend(scaling(view, detail));
    columns.extend(resources(view, detail));
    columns.extend(energy(view));
    columns.push(Column {
        name: "see",
        unit: String::new(),
        values: notes.marks().to_vec(),
        why_missing: None,
        rank: 0,
    });
    // A column without a value says nothing, but for the one that the table is about.
    let mut at = 0;
    columns.retain(|c| {
        at += 1;
        at <= n_axes + 1 || c.has_values()
    });
    (columns, n_axes)
}

fn throughput(view: &RunView) -> [Column; 3] {
    [
        Column::of(view, ("decode", "t/s", 0), |c| {
            c.decode_tokens_per_s().map(units::significant)
        }),
        Column::of(view, ("", "±95%", 3), |c| {
            c.interval(Metric::DecodeTokensPerS)?
                .plus_minus(units::significant)
        })
        .missing_when("an interval needs two repetitions"),
        Column::of(view, ("1 seq", "t/s", 8), |c| {
            c.per_seq_tokens_per_s().map(units::significant)
        }),
    ]
}

fn steps(view: &RunView, detail: Detail) -> Vec<Column> {
    let unit = TimeUnit::of(
        view.cells
            .iter()
            .filter_map(|c| c.step_ns.p50.or(c.step_ns.max)),
    );
    let column = |name: &str, rank: u8, q: Option<f64>, value: fn(&CellView) -> Option<u64>| {
        let column = Column::of(
            view,
            ("step", &format!("{name} {}", unit.name()), rank),
            |c| value(c).map(|ns| unit.show(ns)),
        );
        match q.and_then(min_samples_for) {
            Some(n) => column.missing_when(format!(
                "{name} needs {n} steps (raise --n-gen or --repetitions)"
            )),
            None => column,
        }
    };
    let p50 = column("p50", 1, Some(0.50), |c| c.step_ns.p50);
    let p90 = column("p90", 5, Some(0.90), |c| c.step_ns.p90);
    let p99 = column("p99", 2, Some(0.99), |c| c.step_ns.p99);
    let max = column("max", 5, None, |c| c.step_ns.max);
    const WHY: &str = "the interval of a percentile needs that many steps in each process";
    let show = |ns: f64| unit.show(ns.round() as u64);
    let interval = |of, rank| interval(view, rank, of, show).missing_when(WHY);
    match detail {
        Detail::Wide => vec![
            p50,
            interval(|c| c.intervals.p50, EXTRA + 3),
            p90,
            interval(|c| c.intervals.p90, EXTRA + 4),
            p99,
            interval(|c| c.intervals.p99, EXTRA + 1),
            max,
        ],
        Detail::Narrow if p99.has_values() => vec![p50, p99],
        Detail::Narrow => vec![p50, p90],
    }
}

fn prompt(view: &RunView, detail: Detail) -> Vec<Column> {
    let unit = TimeUnit::of(view.cells.iter().filter_map(|c| c.ns(Metric::TtftNs)));
    let ttft = Column::of(view, ("TTFT", unit.name(), 4), |c| {
        c.ns(Metric::TtftNs).map(|ns| unit.show(ns))
    })
    .missing_when("TTFT needs a prompt and sampling");
    let prefill = Column::of(view, ("prefill", "t/s", 6), |c| {
        c.value(Metric::PrefillTokensPerS).map(units::significant)
    })
    .missing_when("prefill needs a prompt");
    match detail {
        Detail::Narrow => vec![ttft, prefill],
        Detail::Wide => vec![
            ttft,
            interval(
                view,
                EXTRA,
                |c| c.interval(Metric::TtftNs),
                |ns| unit.show(ns.round() as u64),
            ),
            prefill,
            interval(
                view,
                EXTRA + 2,
                |c| c.interval(Metric::PrefillTokensPerS),
                units::significant,
            ),
        ],
    }
}

/// The interval of the figure in the column before, whose values `show` writes.
fn interval(
    view: &RunView,
    rank: u8,
    of: fn(&CellView) -> Option<Interval>,
    show: impl Fn(f64) -> String,
) -> Column {
    Column::of(view, ("", "±95%", rank), |c| of(c)?.plus_minus(&show))
}

fn scaling(view: &RunView, detail: Detail) -> Vec<Column> {
    const WHY: &str = "a speed-up needs the same cell at batch 1";
    let speedup = |c: &CellView| c.speedup.map(|s| format!("{}x", units::significant(s)));
    let efficiency = |c: &CellView| c.efficiency.map(whole_percent);
    match detail {
        Detail::Wide => vec![
            Column::of(view, ("speed-up", "", 4), speedup).missing_when(WHY),
            Column::of(view, ("effi-", "ciency", 7), efficiency).missing_when(WHY),
        ],
        Detail::Narrow => vec![
            Column::of(view, ("speed-up", "(effic.)", 4), |c| {
                Some(format!("{} {}", speedup(c)?, efficiency(c)?))
            })
            .missing_when(WHY),
        ],
    }
}

fn resources(view: &RunView, detail: Detail) -> Vec<Column> {
    let most = view.cells.iter().filter_map(|c| c.peak_rss_bytes).max();
    let (unit, shift) = if most.unwrap_or(0) >= 100 << 30 {
        ("GiB", 30)
    } else {
        ("MiB", 20)
    };
    let memory = Column::of(view, ("mem", unit, 7), |c| {
        c.peak_rss_bytes.map(|b| (b >> shift).to_string())
    })
    .missing_when("this system does not tell a process's memory");
    match detail {
        Detail::Narrow => vec![memory],
        Detail::Wide => vec![
            memory,
            Column::of(view, ("CPU", "mean", EXTRA + 5), |c| {
                let cpu = c.usage.process_cpu_percent?;
                Some(format!("{:.0}%", cpu.mean))
            }),
            Column::of(view, ("reps", "(procs)", 6), |c| {
                (c.n_repetitions > 0).then(|| format!("{} ({})", c.n_repetitions, c.n_processes))
            }),
        ],
    }
}

/// Of the device that computes; the report has the rest.
fn energy(view: &RunView) -> [Column; 2] {
    [
        Column::of(view, ("energy", "J/token", EXTRA + 6), |c| {
            c.joules_per_token().map(units::fine)
        })
        .missing_when(
            "energy needs a counter that can be read, and seconds of generation on a GPU",
        ),
        Column::of(view, ("cost", "/M tokens", EXTRA + 6), |c| {
            view.cost_per_million_tokens(c).map(units::fine)
        })
        .missing_when("a cost needs the energy"),
    ]
}

/// Why no cell has a p99, when none has.
pub fn without_p99(view: &RunView) -> Option<String> {
    let none_has = view.any_measured() && view.cells.iter().all(|c| c.step_ns.p99.is_none());
    let n = min_samples_for(0.99).filter(|_| none_has)?;
    Some(format!(
        "no p99: it needs {n} steps of a cell; raise --n-gen or --repetitions"
    ))
}

fn whole_percent(share: f64) -> String {
    format!("{:.0}%", share * 100.0)
}

/// One unit for a whole column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TimeUnit {
    Microseconds,
    Milliseconds,
    Seconds,
}

impl TimeUnit {
    /// Milliseconds, unless all durations are below one, or above ten thousand.
    fn of(durations_ns: impl Iterator<Item = u64> + Clone) -> Self {
        match (durations_ns.clone().min(), durations_ns.max()) {
            (_, Some(0..1_000_000)) => Self::Microseconds,
            (Some(10_000_000_000..), _) => Self::Seconds,
            _ => Self::Milliseconds,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Microseconds => "us",
            Self::Milliseconds => "ms",
            Self::Seconds => "s",
        }
    }

    fn show(self, ns: u64) -> String {
        let per_unit = match self {
            Self::Microseconds => 1e3,
            Self::Milliseconds => 1e6,
            Self::Seconds => 1e9,
        };
        units::significant(ns as f64 / per_unit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_suits_its_whole_column() {
        let unit = |ns: &[u64]| TimeUnit::of(ns.iter().copied());
        assert_eq!(unit(&[]), TimeUnit::Milliseconds);
        assert_eq!(unit(&[900_000, 1_200]), TimeUnit::Microseconds);
        assert_eq!(unit(&[900_000, 40_000_000]), TimeUnit::Milliseconds);
        assert_eq!(unit(&[10_000_000_000, 99_000_000_000]), TimeUnit::Seconds);
        assert_eq!(TimeUnit::Milliseconds.show(36_123_456), "36.1");
    }
}
