//! A run's cells as a table: which figures, in which unit, with how many digits.

use super::notes::{self, Notes};
use super::table::{Document, EXTRA, Note, Table, TableOf, Tone};
use super::view::{CellView, RunView};
use super::{axes, caption, outputs, title};
use crate::metric::Metric;
use crate::plan::Case;
use crate::stats::Interval;
use crate::stats::histogram::min_samples_for;
use crate::text::short;
use crate::units;

/// How much there is room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// What decides.
    Narrow,
    /// Everything a table can hold.
    Wide,
}

impl Detail {
    /// What a terminal has room for.
    pub fn of_width(width: usize) -> Self {
        match width {
            0..110 => Self::Narrow,
            _ => Self::Wide,
        }
    }
}

/// A run: caption, table, notes.
pub fn document(view: &RunView, detail: Detail) -> Document {
    let notes = Notes::of(view);
    let mut document = Document::new(title::of(view), table(view, &notes, detail))
        .all_above(caption::lines(view))
        .all_below(notes.footnotes())
        .all_below(notes::run_warnings(view).into_iter().map(warning));
    if view.any_batch_measured() {
        let legend = Note::new("", notes::LEGEND).tone(Tone::Quiet);
        document = document.all_below([legend]);
    }
    document = document.all_below(outputs::of_run(view));
    document.all_below(notes::record_and_next(view))
}

/// A line that makes figures deserve less trust.
pub fn warning(text: String) -> Note {
    Note::new("warning", text).tone(Tone::Caution)
}

/// Each cell with its figures; one without has its outcome instead.
pub fn table(view: &RunView, notes: &Notes, detail: Detail) -> Table {
    let cases: Vec<&Case> = view.cells.iter().map(|c| &c.case).collect();
    let mut table = Table::of(&view.cells);
    if axes::models(&cases).len() > 1 {
        let group = |model: &str| (short(model), caption::model_line(view, model));
        table = table.groups("model", |c| group(&c.case.model));
    }
    for axis in axes::columns(&cases) {
        table = table.numbers(axis.heading(), |c| axis.value(&c.case));
    }
    let n_axes = table.n_columns();
    table = table.texts(|c| {
        let tone = match c.outcome.is_failure() {
            true => Tone::Failure,
            false => Tone::Caution,
        };
        (!notes::is_row(c)).then(|| (notes::outcome(c), tone))
    });
    table = throughput(table);
    table = steps(table, view, detail);
    table = prompt(table, view, detail);
    table = scaling(table, detail);
    table = resources(table, view, detail);
    table = energy(table, view);
    let table = table.numbers("see", |c| notes.mark(c));
    // A column without a value says nothing, but for the one that the table is about.
    table.without_empty_columns(n_axes + 1).table()
}

type CellTable<'a> = TableOf<'a, CellView>;

fn throughput(table: CellTable<'_>) -> CellTable<'_> {
    let rate = |c: &CellView| c.decode_tokens_per_s().map(units::significant);
    let alone = |c: &CellView| c.per_seq_tokens_per_s().map(units::significant);
    let table = table.numbers("decode", rate).unit("t/s").blank();
    let of_decode = |c: &CellView| c.interval(Metric::DecodeTokensPerS);
    interval(table, of_decode, units::significant)
        .rank(3)
        .why("an interval needs two repetitions")
        .numbers("1 seq", alone)
        .unit("t/s")
        .rank(12)
        .blank()
}

/// The interval of the figure in the column before, whose values `show` writes.
fn interval<'a>(
    table: CellTable<'a>,
    of: fn(&CellView) -> Option<Interval>,
    show: impl Fn(f64) -> String,
) -> CellTable<'a> {
    let plus_minus = |c: &CellView| of(c)?.plus_minus(&show);
    table.numbers("", plus_minus).unit("±95%")
}

/// A percentile of decode steps: its name, the quantile, its value and its interval, and their ranks.
type PercentileColumn = (
    &'static str,
    f64,
    fn(&CellView) -> Option<u64>,
    fn(&CellView) -> Option<Interval>,
    [u8; 2],
);

const P50: PercentileColumn = (
    "p50",
    0.50,
    |c| c.step_ns.p50,
    |c| c.intervals.p50,
    [1, EXTRA + 3],
);
const P90: PercentileColumn = (
    "p90",
    0.90,
    |c| c.step_ns.p90,
    |c| c.intervals.p90,
    [6, EXTRA + 4],
);
const P99: PercentileColumn = (
    "p99",
    0.99,
    |c| c.step_ns.p99,
    |c| c.intervals.p99,
    [2, EXTRA + 1],
);

fn steps<'a>(mut table: CellTable<'a>, view: &RunView, detail: Detail) -> CellTable<'a> {
    let times = view.cells.iter();
    let unit = TimeUnit::of(times.filter_map(|c| c.step_ns.p50.or(c.step_ns.max)));
    let has_p99 = view.cells.iter().any(|c| c.step_ns.p99.is_some());
    let shown = match detail {
        Detail::Wide => &[P50, P90, P99][..],
        Detail::Narrow if has_p99 => &[P50, P99],
        Detail::Narrow => &[P50, P90],
    };
    for (name, quantile, value, bounds, [rank, rank_of_interval]) in shown {
        let n = min_samples_for(*quantile).unwrap_or_default();
        table = table
            .numbers("step", |c| value(c).map(|ns| unit.show(ns)))
            .unit(format!("{name} {}", unit.name()))
            .rank(*rank)
            .why(format!(
                "{name} needs {n} steps (raise --n-gen or --repetitions)"
            ));
        if detail == Detail::Wide {
            table = interval(table, *bounds, |ns| unit.show(ns.round() as u64))
                .rank(*rank_of_interval)
                .why("the interval of a percentile needs as many steps in each process");
        }
    }
    table
        .numbers("step", |c| c.step_ns.max.map(|ns| unit.show(ns)))
        .unit(format!("max {}", unit.name()))
        .rank(7)
        .blank()
        .only_if(detail == Detail::Wide)
}

fn prompt<'a>(table: CellTable<'a>, view: &RunView, detail: Detail) -> CellTable<'a> {
    let is_wide = detail == Detail::Wide;
    let unit = TimeUnit::of(view.cells.iter().filter_map(|c| c.ns(Metric::TtftNs)));
    let table = table
        .numbers("TTFT", |c| c.ns(Metric::TtftNs).map(|ns| unit.show(ns)))
        .unit(unit.name())
        .rank(4)
        .why("TTFT needs a prompt and sampling");
    let of_ttft = |c: &CellView| c.interval(Metric::TtftNs);
    let rate = |c: &CellView| c.value(Metric::PrefillTokensPerS).map(units::significant);
    let table = interval(table, of_ttft, |ns| unit.show(ns.round() as u64))
        .rank(EXTRA)
        .blank()
        .only_if(is_wide)
        .numbers("prefill", rate)
        .unit("t/s")
        .rank(8)
        .why("prefill needs a prompt");
    let of_prefill = |c: &CellView| c.interval(Metric::PrefillTokensPerS);
    interval(table, of_prefill, units::significant)
        .rank(EXTRA + 2)
        .blank()
        .only_if(is_wide)
}

fn scaling(table: CellTable<'_>, detail: Detail) -> CellTable<'_> {
    const WHY: &str = "a speed-up needs the same cell at batch 1";
    let speedup = |c: &CellView| c.speedup.map(|s| format!("{}x", units::significant(s)));
    let efficiency = |c: &CellView| c.efficiency.map(|share| format!("{:.0}%", share * 100.0));
    let both = move |c: &CellView| Some(format!("{} {}", speedup(c)?, efficiency(c)?));
    let table = match detail {
        Detail::Wide => {
            let table = table.numbers("speed-up", speedup).rank(5).why(WHY);
            table.numbers("effi-", efficiency).unit("ciency").rank(10)
        }
        Detail::Narrow => table.numbers("speed-up", both).unit("(effic.)").rank(5),
    };
    table.why(WHY)
}

fn resources<'a>(table: CellTable<'a>, view: &RunView, detail: Detail) -> CellTable<'a> {
    let most = view.cells.iter().filter_map(|c| c.peak_rss_bytes).max();
    let (unit, shift) = match most.unwrap_or(0) >= 100 << 30 {
        true => ("GiB", 30),
        false => ("MiB", 20),
    };
    let memory = |c: &CellView| c.peak_rss_bytes.map(|b| (b >> shift).to_string());
    let cpu = |c: &CellView| Some(format!("{:.0}%", c.usage.process_cpu_percent?.mean));
    let repetitions = |c: &CellView| {
        let counts = format!("{} ({})", c.n_repetitions, c.n_processes);
        (c.n_repetitions > 0).then_some(counts)
    };
    let is_wide = detail == Detail::Wide;
    table
        .numbers("mem", memory)
        .unit(unit)
        .rank(11)
        .why("this system does not tell a process's memory")
        .numbers("CPU", cpu)
        .unit("mean")
        .rank(EXTRA + 5)
        .blank()
        .only_if(is_wide)
        .numbers("reps", repetitions)
        .unit("(procs)")
        .rank(9)
        .blank()
        .only_if(is_wide)
}

/// Of the device that computes; the report has the rest.
fn energy<'a>(table: CellTable<'a>, view: &RunView) -> CellTable<'a> {
    let cost = |c: &CellView| view.cost_per_million_tokens(c).map(units::significant);
    table
        .numbers("energy", |c| c.joules_per_token().map(units::significant))
        .unit("J/token")
        .rank(EXTRA + 6)
        .why("energy needs a counter that can be read, and seconds of generation on a GPU")
        .numbers("cost", cost)
        .unit("/M tokens")
        .rank(EXTRA + 6)
        .why("a cost needs the energy")
}

/// Why no cell has a p99, when none has.
pub fn without_p99(view: &RunView) -> Option<String> {
    let none_has = view.any_batch_measured() && view.cells.iter().all(|c| c.step_ns.p99.is_none());
    let n = min_samples_for(0.99).filter(|_| none_has)?;
    Some(format!(
        "no p99: it needs {n} steps of a cell; raise --n-gen or --repetitions"
    ))
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
