//! What a machine can do: measured rates and kernel times, kept and looked up.

use serde::{Deserialize, Serialize};

use super::kernel::{Kernel, KernelLoad, Point};
use super::work::Item;

/// Version of the form in which ceilings are kept; another one is measured anew.
pub const CEILINGS_VERSION: u32 = 1;

/// Bytes read from memory a second by all threads together.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ReadRate {
    /// The fastest pass.
    pub best_per_s: f64,
    /// The median over rounds of each round's median pass.
    pub median_per_s: f64,
    /// 95% interval of the median, rounds being the units; none with a single round.
    pub interval_per_s: Option<(f64, f64)>,
    /// Memory that each pass read.
    pub buffer_bytes: u64,
    /// The last-level caches together, if known.
    pub cache_bytes: Option<u64>,
    /// Passes in all rounds.
    pub n_passes: u32,
    /// When, seconds since 1970.
    pub measured_at_s: u64,
    /// Whether others disturbed the machine meanwhile.
    pub disturbed: bool,
}

/// How long one application of a point takes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Timing {
    /// Median over rounds of each round's median pass, nanoseconds.
    pub ns: f64,
    /// The fastest round's median.
    pub low_ns: f64,
    /// The slowest round's median.
    pub high_ns: f64,
    /// The fastest pass of all.
    pub best_ns: f64,
    /// Times everything was laid in anew.
    pub n_rounds: u32,
    /// Passes in all rounds.
    pub n_passes: u32,
    /// When it was measured, seconds since 1970.
    pub measured_at_s: u64,
    /// Whether others disturbed the machine meanwhile.
    pub disturbed: bool,
}

/// A time and its range, nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Span {
    /// What is expected.
    pub ns: f64,
    /// From.
    pub low_ns: f64,
    /// To.
    pub high_ns: f64,
}

impl Span {
    /// The sum of two, whose ranges add up: what disturbs one disturbs the other.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        self.combine(other, 1.0)
    }

    /// So many times as long.
    #[must_use]
    pub fn times(self, factor: f64) -> Self {
        Self::default().combine(self, factor)
    }

    fn combine(self, other: Self, weight: f64) -> Self {
        Self {
            ns: self.ns + weight * other.ns,
            low_ns: self.low_ns + weight * other.low_ns,
            high_ns: self.high_ns + weight * other.high_ns,
        }
    }

    /// Between two, `at` 0 being the first and 1 the second; beyond them on the same line, not below zero.
    fn between(a: Self, b: Self, at: f64) -> Self {
        let mix = |a: f64, b: f64| (a + (b - a) * at).max(0.0);
        Self {
            ns: mix(a.ns, b.ns),
            low_ns: mix(a.low_ns, b.low_ns),
            high_ns: mix(a.high_ns, b.high_ns),
        }
    }
}

impl From<&Timing> for Span {
    fn from(t: &Timing) -> Self {
        Self {
            ns: t.ns,
            low_ns: t.low_ns,
            high_ns: t.high_ns,
        }
    }
}

/// A point and its time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// What was timed.
    #[serde(flatten)]
    pub point: Point,
    /// How long it took.
    pub timing: Timing,
}

/// What is known of one device under one number of threads.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ceilings {
    /// [`CEILINGS_VERSION`].
    pub version: u32,
    /// Fingerprint of the machine.
    pub machine: String,
    /// The engine's version and what it was compiled with.
    pub engine: String,
    /// What the device calls itself.
    pub device: String,
    /// Threads of the CPU.
    pub n_threads: u32,
    /// Memory bandwidth of the CPU's threads; none for other devices.
    pub read: Option<ReadRate>,
    /// Times of kernels.
    pub entries: Vec<Entry>,
}

impl Ceilings {
    /// The time of exactly this point.
    pub fn get(&self, point: &Point) -> Option<&Timing> {
        let found = self.entries.iter().find(|e| e.point == *point)?;
        Some(&found.timing)
    }

    /// Keeps a time in place of an older one.
    pub fn insert(&mut self, point: Point, timing: Timing) {
        match self.entries.iter_mut().find(|e| e.point == point) {
            Some(entry) => entry.timing = timing,
            None => self.entries.push(Entry { point, timing }),
        }
    }

    /// Points whose times give those of these items at their own number of tokens, each once.
    pub fn nodes(&self, items: &[Item]) -> Vec<Point> {
        let mut all: Vec<Point> = items.iter().flat_map(|i| nodes(&i.point)).collect();
        all.sort();
        all.dedup();
        all
    }

    /// Those of [`Ceilings::nodes`] that must still be measured.
    #[cfg(test)]
    pub fn missing(&self, items: &[Item]) -> Vec<Point> {
        let mut missing = self.nodes(items);
        missing.retain(|point| self.get(point).is_none());
        missing
    }

    /// The time of one application of a point: as measured, else on the line between its neighbours in
    /// tokens, for attention also in context. `None` beyond what was measured.
    pub fn time(&self, point: &Point) -> Option<Span> {
        self.at_own_load(point)
            .or_else(|| self.between_loads(point))
    }

    /// The time of a list of kernels; `None` when one of them is unknown.
    pub fn total(&self, items: &[Item]) -> Option<Span> {
        let mut sum = Span::default();
        for item in items {
            sum = sum.plus(self.time(&item.point)?.times(item.count));
        }
        (!items.is_empty()).then_some(sum)
    }

    fn at_own_load(&self, point: &Point) -> Option<Span> {
        let nodes = nodes(point);
        let known: Vec<Span> = nodes
            .iter()
            .map(|n| self.get(n).map(Span::from))
            .collect::<Option<_>>()?;
        match (&nodes[..], &known[..]) {
            ([a, b], [at_a, at_b]) => {
                let (a, b) = (f64::from(a.load.n_past), f64::from(b.load.n_past));
                let at = (f64::from(point.load.n_past) - a) / (b - a);
                Some(Span::between(*at_a, *at_b, at))
            }
            (_, [only]) => Some(*only),
            _ => None,
        }
    }

    /// On the line between the nearest measured loads of fewer and of more tokens.
    fn between_loads(&self, point: &Point) -> Option<Span> {
        let wanted = point.load.total_tokens();
        let like = |e: &&Entry| {
            let (a, b) = (e.point.load, point.load);
            let same_tokens =
                !matches!(point.kernel, Kernel::Attention { .. }) || a.n_tokens == b.n_tokens;
            e.point.kernel == point.kernel && same_tokens
        };
        let loads = self.entries.iter().filter(like).map(|e| e.point.load);
        let at = |load: KernelLoad| {
            self.at_own_load(&Point {
                kernel: point.kernel.clone(),
                load: KernelLoad {
                    n_past: point.load.n_past,
                    ..load
                },
            })
            .map(|span| (f64::from(load.total_tokens()), span))
        };
        let known: Vec<(f64, Span)> = loads.filter_map(at).collect();
        let wanted = f64::from(wanted);
        let below = known.iter().filter(|(n, _)| *n < wanted);
        let above = known.iter().filter(|(n, _)| *n > wanted);
        let (n0, a) = below.max_by(|x, y| x.0.total_cmp(&y.0))?;
        let (n1, b) = above.min_by(|x, y| x.0.total_cmp(&y.0))?;
        Some(Span::between(*a, *b, (wanted - n0) / (n1 - n0)))
    }

    /// Bytes of weights a second that a matrix kernel reads for a single token: what generating text for
    /// one user can reach with these weights. `bytes_per_element` is that of their type.
    pub fn bytes_per_s(&self, kernel: &Kernel, bytes_per_element: f64) -> Option<f64> {
        let one = self.get(&Point {
            kernel: kernel.clone(),
            load: KernelLoad::tokens(1),
        })?;
        Some(kernel.weight_bytes(bytes_per_element, 1) / one.ns * 1e9).filter(|r| *r > 0.0)
    }

    /// FLOPs a second of a matrix kernel for the most tokens it was timed with, and that number.
    pub fn flops_per_s(&self, kernel: &Kernel) -> Option<(f64, u32)> {
        let most = self
            .entries
            .iter()
            .filter(|e| e.point.kernel == *kernel)
            .max_by_key(|e| e.point.load.total_tokens())?;
        let n = most.point.load.total_tokens();
        let rate = kernel.flops(n) / most.timing.ns * 1e9;
        (rate > 0.0).then_some((rate, n))
    }
}

/// Contexts at which attention is timed; between them its time is a line.
const CONTEXTS: [u32; 12] = [
    64, 256, 512, 1024, 2048, 4096, 8192, 16_384, 32_768, 65_536, 131_072, 262_144,
];

/// The points whose times give a point's: itself, or for attention its two neighbours in context.
fn nodes(point: &Point) -> Vec<Point> {
    if !matches!(point.kernel, Kernel::Attention { .. }) {
        return vec![point.clone()];
    }
    let at = |n_past: u32| Point {
        kernel: point.kernel.clone(),
        load: KernelLoad {
            n_past,
            ..point.load
        },
    };
    if point.load.n_tokens > 1 {
        // A prompt: from an empty cache on.
        let n = point.load.n_past;
        let next = CONTEXTS.iter().find(|&&c| c >= n && c >= 256);
        return match n {
            0 => vec![at(0)],
            _ => vec![at(0), at(*next.unwrap_or(&n))],
        };
    }
    // So that context and padding are whole: a token sees those before it and itself.
    let seen = point.load.n_past.saturating_add(1);
    let upper = CONTEXTS.iter().position(|&c| c >= seen);
    let upper = upper.unwrap_or(CONTEXTS.len() - 1).max(1);
    [upper - 1, upper].map(|i| at(CONTEXTS[i] - 1)).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::roofline::kernel::fixture;

    fn matmul(n_tokens: u32) -> Point {
        Point {
            kernel: fixture::matmul("F16", 1000, 500),
            load: KernelLoad::tokens(n_tokens),
        }
    }

    fn attention(n_seq: u32, n_tokens: u32, n_past: u32) -> Point {
        Point {
            kernel: fixture::attention([9, 3, 64], "F16"),
            load: fixture::load(n_seq, n_tokens, n_past),
        }
    }

    fn timing(ns: f64) -> Timing {
        Timing {
            ns,
            low_ns: ns - 1.0,
            high_ns: ns + 2.0,
            best_ns: ns - 2.0,
            n_rounds: 3,
            n_passes: 9,
            measured_at_s: 0,
            disturbed: false,
        }
    }

    fn ceilings(known: &[(Point, f64)]) -> Ceilings {
        let mut c = Ceilings {
            version: CEILINGS_VERSION,
            machine: "m".into(),
            engine: "e".into(),
            device: "d".into(),
            n_threads: 2,
            read: None,
            entries: Vec::new(),
        };
        for (point, ns) in known {
            c.insert(point.clone(), timing(*ns));
        }
        c
    }

    fn ns(c: &Ceilings, point: &Point) -> Option<f64> {
        c.time(point).map(|span| span.ns)
    }

    #[test]
    fn a_matrix_kernel_is_known_at_and_between_its_loads_and_not_beyond() {
        let c = ceilings(&[(matmul(1), 100.0), (matmul(8), 240.0)]);
        assert_eq!(ns(&c, &matmul(8)), Some(240.0));
        assert_eq!(ns(&c, &matmul(4)), Some(160.0));
        assert_eq!(ns(&c, &matmul(9)), None);
        let span = c.time(&matmul(8)).expect("measured");
        assert_eq!((span.low_ns, span.high_ns), (239.0, 242.0));
    }

    #[test]
    fn attention_is_a_line_in_context_through_two_nodes() {
        let c = ceilings(&[(attention(8, 1, 63), 10.0), (attention(8, 1, 255), 202.0)]);
        assert_eq!(ns(&c, &attention(8, 1, 255)), Some(202.0));
        assert_eq!(ns(&c, &attention(8, 1, 159)), Some(106.0));
        // Below the first node on the same line, never below zero.
        assert_eq!(ns(&c, &attention(8, 1, 60)), Some(7.0));
        assert_eq!(ns(&c, &attention(8, 1, 0)), Some(0.0));
        assert_eq!(ns(&c, &attention(8, 1, 256)), None);
        assert_eq!(
            nodes(&attention(1, 1, 300)),
            [attention(1, 1, 255), attention(1, 1, 511)]
        );
    }

    #[test]
    fn a_prompts_attention_starts_at_an_empty_cache() {
        assert_eq!(nodes(&attention(1, 512, 0)), [attention(1, 512, 0)]);
        assert_eq!(
            nodes(&attention(1, 512, 512)),
            [attention(1, 512, 0), attention(1, 512, 512)]
        );
        assert_eq!(
            nodes(&attention(16, 32, 96)),
            [attention(16, 32, 0), attention(16, 32, 256)]
        );
    }

    #[test]
    fn attention_between_two_batches() {
        let c = ceilings(&[
            (attention(8, 1, 63), 10.0),
            (attention(8, 1, 255), 30.0),
            (attention(16, 1, 63), 20.0),
            (attention(16, 1, 255), 60.0),
        ]);
        assert_eq!(ns(&c, &attention(12, 1, 159)), Some(30.0));
        assert_eq!(
            ns(&c, &attention(12, 2, 159)),
            None,
            "other tokens a sequence"
        );
    }

    #[test]
    fn what_is_missing_is_named_once() {
        let c = ceilings(&[(matmul(8), 1.0), (attention(8, 1, 63), 1.0)]);
        let item = |point: Point| Item { point, count: 30.0 };
        let items = [
            item(matmul(8)),
            item(attention(8, 1, 100)),
            item(attention(8, 1, 90)),
            item(matmul(4)),
        ];
        assert_eq!(c.missing(&items), [matmul(4), attention(8, 1, 255)]);
        assert_eq!(c.total(&items), None);
        let total = c.total(&items[..1]).expect("known");
        assert_eq!((total.ns, total.high_ns), (30.0, 90.0));
        assert_eq!(c.total(&[]), None, "no kernels are no time at all");
    }

    #[test]
    fn rates_by_hand() {
        // 500,000 elements of 2 bytes in 100 us are 10 GB/s; 512 tokens in 51.2 ms are 10 GFLOP/s.
        let c = ceilings(&[(matmul(1), 1e5), (matmul(512), 5.12e7)]);
        let kernel = &matmul(1).kernel;
        assert_eq!(c.bytes_per_s(kernel, 2.0), Some(1e10));
        assert_eq!(c.flops_per_s(kernel), Some((1e10, 512)));
    }

    #[test]
    fn ceilings_survive_json() {
        let c = ceilings(&[(matmul(8), 240.5), (attention(8, 1, 63), 1.0)]);
        let json = serde_json::to_string(&c).expect("plain data");
        assert_eq!(
            serde_json::from_str::<Ceilings>(&json).expect("own output"),
            c
        );
    }
}
