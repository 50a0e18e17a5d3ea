//! Ceilings as tables: matrices by the number of tokens, then everything else.

use std::path::PathBuf;

use super::table::{Document, Note, Table};
use crate::model::type_bytes_per_element;
use crate::roofline::ceiling::{Ceilings, ReadRate};
use crate::roofline::kernel::{Kernel, KernelLoad, Point};
use crate::text::quoted;
use crate::units;

/// Where ceilings come from, and what to know of them.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct CeilingSource {
    /// The file they are kept in.
    pub path: Option<PathBuf>,
    /// Now, seconds since 1970.
    pub now_s: u64,
    /// Points that have just been measured.
    pub n_measured: usize,
    /// What makes them deserve less trust.
    pub notes: Vec<String>,
}

impl CeilingSource {
    /// `measured just now`, or how old the oldest of the points is.
    pub fn age<'a>(
        &self,
        ceilings: &Ceilings,
        points: impl IntoIterator<Item = &'a Point>,
    ) -> String {
        let oldest = points
            .into_iter()
            .filter_map(|p| ceilings.get(p))
            .map(|t| t.measured_at_s)
            .min();
        match oldest {
            None => "n/a".to_owned(),
            Some(at) => age(self.now_s.saturating_sub(at)),
        }
    }
}

/// What to do when points were measured at a bad time; none when they were not.
pub fn disturbed<'a>(
    ceilings: &Ceilings,
    points: impl IntoIterator<Item = &'a Point>,
) -> Option<String> {
    let (mut all, mut bad) = (0, 0);
    for timing in points.into_iter().filter_map(|p| ceilings.get(p)) {
        all += 1;
        bad += u32::from(timing.disturbed);
    }
    (bad > 0).then(|| {
        format!(
            "{bad} of {all} kernels were timed while others used the machine: --fresh measures them again, \
             at a quieter time"
        )
    })
}

fn age(seconds: u64) -> String {
    let ago = |n: u64, one: &str| {
        let plural = if n == 1 { "" } else { "s" };
        format!("{n} {one}{plural} ago")
    };
    match seconds {
        0..600 => "just now".to_owned(),
        600..7_200 => ago(seconds / 60, "minute"),
        7_200..172_800 => ago(seconds / 3_600, "hour"),
        _ => ago(seconds / 86_400, "day"),
    }
}

/// The tables of these points, those that were measured.
pub fn documents(ceilings: &Ceilings, points: &[Point], source: &CeilingSource) -> Vec<Document> {
    let known = points.iter().filter(|p| ceilings.get(p).is_some());
    let known: Vec<&Point> = known.collect();
    let (matrices, others): (Vec<&Point>, Vec<&Point>) =
        known.iter().partition(|p| is_matrix(&p.kernel));
    let device = &ceilings.device;
    let title = format!("Ceilings of {device}");
    let mut documents = vec![
        Document::new(title, matrix_table(ceilings, &matrices))
            .above(
                "device",
                format!("{device}, {} threads", ceilings.n_threads),
            )
            .above("memory", memory(ceilings.read.as_ref()))
            .above("measured", source.age(ceilings, known.iter().copied()))
            .below(
                "",
                "GB/s: weights read for one token. Numbers of tokens at once: GFLOP/s.",
            ),
    ];
    if !others.is_empty() {
        documents.push(
            Document::new("Other kernels", other_table(ceilings, &others)).above(
                "time",
                "of one layer, or of the logits of one call, in microseconds, by the number of sequences",
            ),
        );
    }
    let notes = source.notes.iter().map(|n| Note::new("note", n.as_str()));
    let kept = source.path.iter().map(|p| Note::whole("kept", quoted(p)));
    if let Some(last) = documents.pop() {
        documents.push(last.all_below(notes).all_below(kept));
    }
    documents
}

/// The memory ceiling in a sentence.
pub fn memory(read: Option<&ReadRate>) -> String {
    let Some(read) = read else {
        return "n/a".to_owned();
    };
    let gb = |per_s: f64| units::significant(per_s / 1e9);
    let interval = read
        .interval_per_s
        .map(|(low, high)| format!(", 95% {}..{}", gb(low), gb(high)))
        .unwrap_or_default();
    let beside_cache = read
        .cache_bytes
        .filter(|c| *c > 0)
        .map(|c| {
            let times = read.buffer_bytes as f64 / c as f64;
            format!(", {} times the last cache", units::significant(times))
        })
        .unwrap_or_default();
    format!(
        "read at {} GB/s at best, median {}{interval}; {}{beside_cache}",
        gb(read.best_per_s),
        gb(read.median_per_s),
        units::bytes(read.buffer_bytes)
    )
}

fn is_matrix(kernel: &Kernel) -> bool {
    matches!(kernel, Kernel::MatMul { .. } | Kernel::Experts { .. })
}

fn matrix_table(ceilings: &Ceilings, points: &[&Point]) -> Table {
    let kernels = distinct(points.iter().map(|p| &p.kernel));
    let read = |k: &&Kernel| {
        let bytes = weights_type(k).and_then(type_bytes_per_element)?;
        let rate = ceilings.bytes_per_s(k, bytes)?;
        Some(units::significant(rate / 1e9))
    };
    let mut table = Table::of(&kernels)
        .words("weights", |k| k.to_string())
        .numbers("GB/s", read);
    for n in distinct(points.iter().map(|p| p.load.total_tokens())) {
        let flops = |k: &&Kernel| {
            let point = Point {
                kernel: (*k).clone(),
                load: KernelLoad::tokens(n),
            };
            let timing = ceilings.get(&point)?;
            Some(units::significant(k.flops(n) / timing.ns))
        };
        // The ends of the curve matter most.
        let rank = match n {
            1 | 8 | 32 | 128 => 0,
            512 => 1,
            _ => 2,
        };
        table = table.numbers(n.to_string(), flops).rank(rank);
    }
    table.table()
}

fn weights_type(kernel: &Kernel) -> Option<&str> {
    match kernel {
        Kernel::MatMul { weights, .. } | Kernel::Experts { weights, .. } => Some(weights),
        _ => None,
    }
}

fn other_table(ceilings: &Ceilings, points: &[&Point]) -> Table {
    let rows = distinct(points.iter().map(|p| (&p.kernel, p.load.n_past)));
    let name = |(kernel, past): &(&Kernel, u32)| match kernel {
        Kernel::Attention { .. } => format!("{kernel}, context {}", past + 1),
        _ => kernel.to_string(),
    };
    let mut table = Table::of(&rows).words("kernel", name);
    for n in distinct(points.iter().map(|p| p.load.total_tokens())) {
        let time = |&(kernel, past): &(&Kernel, u32)| {
            let point = points.iter().find(|p| {
                let same = p.kernel == *kernel && p.load.n_past == past;
                same && p.load.total_tokens() == n
            })?;
            Some(units::significant(ceilings.get(point)?.ns / 1e3))
        };
        let rank = if matches!(n, 1 | 8 | 32 | 128) { 0 } else { 1 };
        table = table.numbers(n.to_string(), time).rank(rank);
    }
    table.table()
}

/// Each value once, in order.
fn distinct<T: Ord>(values: impl Iterator<Item = T>) -> Vec<T> {
    let mut all: Vec<T> = values.collect();
    all.sort();
    all.dedup();
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::roofline::ceiling::{CEILINGS_VERSION, Timing};

    fn ceilings() -> (Ceilings, Vec<Point>) {
        let mut c = Ceilings {
            version: CEILINGS_VERSION,
            machine: "0123456789abcdef".into(),
            engine: "llama.cpp".into(),
            device: "AMD EPYC".into(),
            n_threads: 2,
            read: Some(ReadRate {
                best_per_s: 44.25e9,
                median_per_s: 42.1e9,
                interval_per_s: Some((41.0e9, 43.4e9)),
                buffer_bytes: 1 << 30,
                cache_bytes: Some(32 << 20),
                n_passes: 35,
                measured_at_s: 1_000_000,
                disturbed: false,
            }),
            entries: Vec::new(),
        };
        let mut points = Vec::new();
        let mut add = |kernel: Kernel, load: KernelLoad, ns: f64| {
            let timing = Timing {
                ns,
                low_ns: ns,
                high_ns: ns,
                best_ns: ns,
                n_rounds: 5,
                n_passes: 50,
                measured_at_s: 1_000_000,
                disturbed: false,
            };
            let point = Point { kernel, load };
            points.push(point.clone());
            c.insert(point, timing);
        };
        for (at, n) in [1, 2, 4, 8, 16, 32, 64, 128, 512].into_iter().enumerate() {
            for (weights, ns) in [("Q4_0", 20e3), ("Q8_0", 40e3)] {
                let kernel = Kernel::MatMul {
                    weights: weights.into(),
                    n_in: 576,
                    n_out: 1536,
                };
                add(kernel, KernelLoad::tokens(n), ns * f64::from(n).powf(0.8));
            }
            let attention = Kernel::Attention {
                n_head: 9,
                n_head_kv: 3,
                head_dim_k: 64,
                head_dim_v: 64,
                type_k: "F16".into(),
                type_v: "F16".into(),
            };
            let load = KernelLoad {
                n_seq: n,
                n_tokens: 1,
                n_past: 255,
            };
            if n < 512 {
                add(attention, load, 25e3 * (at + 1) as f64);
                add(
                    Kernel::Logits { n_vocab: 49_152 },
                    KernelLoad::tokens(n),
                    6e3,
                );
            }
        }
        (c, points)
    }

    #[test]
    fn both_widths_show_the_curve() {
        let (c, points) = ceilings();
        let source = CeilingSource {
            path: Some("/cache/ceilings/x.json".into()),
            now_s: 1_000_000 + 3 * 86_400,
            n_measured: 0,
            notes: vec!["other processes took 40% of the CPU".into()],
        };
        let documents = documents(&c, &points, &source);
        let at = |width| {
            let texts = documents.iter().map(|d| d.terminal(width, false));
            texts.collect::<Vec<_>>().join("\n")
        };
        insta::assert_snapshot!(at(120));
        let narrow = at(80);
        assert!(
            narrow.lines().all(|l| crate::text::width(l) <= 80),
            "{narrow}"
        );
        assert!(narrow.contains("no room for"), "{narrow}");
        assert!(narrow.contains("3 days ago"), "{narrow}");
    }

    #[test]
    fn ages() {
        let said = [0, 599, 600, 7_199, 7_200, 200_000].map(age);
        assert_eq!(
            said,
            [
                "just now",
                "just now",
                "10 minutes ago",
                "119 minutes ago",
                "2 hours ago",
                "2 days ago"
            ]
        );
    }
}
