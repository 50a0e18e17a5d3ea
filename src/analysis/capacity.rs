//! How many users a machine serves within limits on their latency.

use std::fmt;
use std::str::FromStr;

use super::curve::Curve;
use crate::metric::Metric;
use crate::plan::protocol::duration;
use crate::stats::Interval;
use crate::stats::histogram::min_samples_for;
use crate::units;
use crate::view::CellView;

/// A latency that users feel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LatencyKind {
    Tpot,
    Ttft,
    /// The gap between two tokens.
    Itl,
}

impl LatencyKind {
    const ALL: [Self; 3] = [Self::Tpot, Self::Ttft, Self::Itl];

    fn key(self) -> &'static str {
        match self {
            Self::Tpot => "tpot",
            Self::Ttft => "ttft",
            Self::Itl => "itl",
        }
    }
}

impl fmt::Display for LatencyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tpot => "TPOT",
            Self::Ttft => "TTFT",
            Self::Itl => "ITL",
        })
    }
}

/// A percentile that can be limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Percentile {
    P50,
    P95,
    P99,
}

impl Percentile {
    const ALL: [Self; 3] = [Self::P50, Self::P95, Self::P99];

    /// `p95`.
    pub fn key(self) -> &'static str {
        match self {
            Self::P50 => "p50",
            Self::P95 => "p95",
            Self::P99 => "p99",
        }
    }

    /// The share of the observations that are at most as long.
    pub fn fraction(self) -> f64 {
        match self {
            Self::P50 => 0.5,
            Self::P95 => 0.95,
            Self::P99 => 0.99,
        }
    }

    /// The fewest observations that it needs.
    pub fn n_needed(self) -> u64 {
        match self {
            Self::P50 => 1,
            Self::P95 | Self::P99 => min_samples_for(self.fraction()).unwrap_or_default(),
        }
    }
}

/// What is limited: a latency, of every request or at a percentile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Latency {
    pub kind: LatencyKind,
    /// `None`: each request by itself, and a cell's usual figure.
    pub percentile: Option<Percentile>,
}

impl Latency {
    /// A cell's value in nanoseconds, with its interval where there is one.
    fn of(self, cell: &CellView) -> Option<(f64, Option<Interval>)> {
        let (steps, intervals) = (&cell.step_ns, &cell.intervals);
        let (ns, interval) = match (self.kind, self.percentile) {
            (LatencyKind::Tpot, None) => (cell.ns(Metric::TpotNs), cell.interval(Metric::TpotNs)),
            (LatencyKind::Ttft, None) => (cell.ns(Metric::TtftNs), cell.interval(Metric::TtftNs)),
            (LatencyKind::Itl, None | Some(Percentile::P99)) => (steps.p99, intervals.p99),
            (LatencyKind::Itl, Some(Percentile::P95)) => (steps.p95, intervals.p95),
            (LatencyKind::Itl, Some(Percentile::P50)) => (steps.p50, intervals.p50),
            (LatencyKind::Tpot | LatencyKind::Ttft, Some(_)) => return None,
        };
        Some((ns? as f64, interval))
    }

    /// Why a cell can lack it.
    fn why_missing(self) -> String {
        match (self.kind, self.percentile) {
            (LatencyKind::Tpot, None) => "no decode step was measured".to_owned(),
            (LatencyKind::Ttft, None) => "TTFT needs a prompt and sampling".to_owned(),
            (LatencyKind::Itl, percentile) => {
                let percentile = percentile.unwrap_or(Percentile::P99);
                let (name, needed) = (percentile.key(), percentile.n_needed());
                format!("a {name} needs {needed} steps of each cell")
            }
            (kind, Some(percentile)) => {
                let (name, key) = (percentile.key(), kind.key());
                format!(
                    "a {name} of {kind} is a figure of requests (`ggufbench requests`); cells have {key}, and itl_{name} of the gaps between tokens"
                )
            }
        }
    }
}

impl fmt::Display for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.kind, self.percentile) {
            (LatencyKind::Itl, None) => f.write_str("p99 of the gap between tokens"),
            (kind, None) => write!(f, "{kind}"),
            (kind, Some(percentile)) => write!(f, "{kind} {}", percentile.key()),
        }
    }
}

impl FromStr for Latency {
    type Err = ();

    /// `ttft`, or `ttft_p95`.
    fn from_str(s: &str) -> Result<Self, ()> {
        let (kind, percentile) = match s.split_once('_') {
            None => (s, None),
            Some((kind, name)) => {
                let all = Percentile::ALL.into_iter();
                (kind, Some(all.clone().find(|p| p.key() == name).ok_or(())?))
            }
        };
        let kind = LatencyKind::ALL.into_iter().find(|k| k.key() == kind);
        let kind = kind.ok_or(())?;
        Ok(Self { kind, percentile })
    }
}

/// A latency, and the most that it may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SloLimit {
    pub latency: Latency,
    /// Nanoseconds.
    pub at_most_ns: u64,
}

/// Limits that a service promises: `tpot=50ms,ttft_p95=2s`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slo {
    limits: Vec<SloLimit>,
}

impl Slo {
    /// Each limit, in the order in which they were given.
    pub fn limits(&self) -> &[SloLimit] {
        &self.limits
    }

    /// Why the limits cannot be judged: no cell has what one of them limits. `None` where every cell is beyond another of them anyway.
    pub fn why_unknown(&self, cells: &[&CellView]) -> Option<String> {
        let is_beyond = |cell: &&CellView| {
            let mut limits = self.limits.iter();
            limits.any(|limit| {
                let latency = limit.latency.of(cell);
                latency.is_some_and(|(ns, _)| ns > limit.at_most_ns as f64)
            })
        };
        if cells.iter().all(is_beyond) {
            return None;
        }
        let mut latencies = self.limits.iter().map(|limit| limit.latency);
        let lacking = latencies.find(|latency| cells.iter().all(|c| latency.of(c).is_none()));
        lacking.map(Latency::why_missing)
    }

    /// The first limit of a latency that cells do not have, with the reason.
    pub fn of_requests_only(&self) -> Option<String> {
        let mut latencies = self.limits.iter().map(|limit| limit.latency);
        let is_of_requests = |l: &Latency| l.kind != LatencyKind::Itl && l.percentile.is_some();
        latencies.find(is_of_requests).map(Latency::why_missing)
    }

    /// Whether a cell is known to be within every limit.
    pub fn is_kept_by(&self, cell: &CellView) -> bool {
        let within = |limit: &SloLimit| {
            let latency = limit.latency.of(cell);
            latency.is_some_and(|(ns, _)| ns <= limit.at_most_ns as f64)
        };
        self.limits.iter().all(within)
    }
}

impl FromStr for Slo {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        let mut limits: Vec<SloLimit> = Vec::new();
        for part in s.split(',').map(str::trim) {
            // `ttft<=2s` is how `gate --require` writes it.
            let (key, value) = part.split_once("<=").or_else(|| part.split_once('=')).ok_or_else(|| {
                format!("'{part}' is no limit; say tpot=50ms, ttft=2s, itl=100ms or several of them with commas")
            })?;
            let key = key.trim().to_ascii_lowercase();
            let latency: Latency = key.parse().map_err(|()| {
                let keys = LatencyKind::ALL.map(LatencyKind::key).join(", ");
                let percentiles = Percentile::ALL.map(Percentile::key).join(", ");
                format!("'{key}' is no latency that can be limited; one of {keys}, or a percentile of it, such as ttft_p95 ({percentiles})")
            })?;
            if limits.iter().any(|known| known.latency == latency) {
                return Err(format!("{key} is limited twice"));
            }
            limits.push(SloLimit {
                latency,
                at_most_ns: nanoseconds(&key, value.trim())?,
            });
        }
        Ok(Self { limits })
    }
}

fn nanoseconds(key: &str, text: &str) -> Result<u64, String> {
    // A bare number would be seconds, and most people mean milliseconds.
    if text.parse::<f64>().is_ok() {
        return Err(format!(
            "{key}: '{text}' has no unit; say {text}ms or {text}s"
        ));
    }
    let limit = duration(key, text).map_err(|e| e.to_string())?;
    u64::try_from(limit.as_nanos())
        .ok()
        .filter(|ns| *ns > 0)
        .ok_or_else(|| format!("{key}: '{text}' is no limit, which is above 0; say 50ms or 2s"))
}

impl fmt::Display for SloLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at_most = units::duration(self.at_most_ns);
        write!(f, "{} at most {at_most}", self.latency)
    }
}

impl fmt::Display for Slo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let limits: Vec<String> = self.limits.iter().map(SloLimit::to_string).collect();
        f.write_str(&limits.join(", "))
    }
}

/// The largest batch within limits.
#[derive(Debug, Clone, PartialEq)]
pub struct Capacity {
    /// The estimate; 0 when not even the smallest measured batch is within them.
    pub batch: u32,
    /// Its 95% interval, where the latency that binds has one.
    pub interval: Option<(u32, u32)>,
    /// Whether the largest measured batch is still within the limits, so that more might be.
    pub at_least: bool,
    /// What binds; none when nothing does.
    pub binds: Option<Latency>,
    /// Tokens per second of all sequences at that batch, interpolated as the latency.
    pub tokens_per_s: Option<f64>,
}

/// The capacity of a curve along the batch.
///
/// Between measured batches the latency is interpolated on a line between the logarithms; beyond the largest nothing is
/// said. The latency counts as too long from the first measured batch on that exceeds the limit.
///
/// # Errors
/// Why it cannot be told.
pub fn capacity(curve: &Curve<'_>, slo: &Slo) -> Result<Capacity, String> {
    let mut found: Option<(f64, Reach)> = None;
    let mut ends: Option<(f64, f64)> = Some((f64::INFINITY, f64::INFINITY));
    for SloLimit {
        latency,
        at_most_ns,
    } in &slo.limits
    {
        let limit = *at_most_ns as f64;
        let mut estimates = Vec::new();
        let mut bounds = Vec::new();
        for cell in &curve.cells {
            let (estimate, interval) = latency.of(cell).ok_or_else(|| latency.why_missing())?;
            let n_seq = f64::from(cell.case.n_seq);
            estimates.push((n_seq, estimate));
            bounds.extend(interval.map(|i| (n_seq, i.lo.max(f64::MIN_POSITIVE), i.hi)));
        }
        let reach = reach(&estimates, limit);
        if found.as_ref().is_none_or(|(least, _)| reach.batch < *least) {
            found = Some((
                reach.batch,
                Reach {
                    latency: Some(*latency),
                    ..reach
                },
            ));
        }
        let complete = bounds.len() == estimates.len();
        ends = ends.filter(|_| complete).map(|(lo, hi)| {
            let slow: Vec<_> = bounds.iter().map(|(n, _, hi)| (*n, *hi)).collect();
            let fast: Vec<_> = bounds.iter().map(|(n, lo, _)| (*n, *lo)).collect();
            (
                lo.min(self::reach(&slow, limit).batch),
                hi.min(self::reach(&fast, limit).batch),
            )
        });
    }
    let (batch, reach) = found.ok_or("no limit was named")?;
    let whole = |b: f64| b.floor() as u32;
    Ok(Capacity {
        batch: whole(batch),
        interval: ends.map(|(lo, hi)| (whole(lo), whole(hi))),
        at_least: reach.is_largest,
        binds: reach.latency.filter(|_| !reach.is_largest),
        tokens_per_s: throughput_at(curve, batch.floor()),
    })
}

struct Reach {
    batch: f64,
    is_largest: bool,
    latency: Option<Latency>,
}

/// The batch at which latencies reach a limit; `points` ascend by batch.
fn reach(points: &[(f64, f64)], limit: f64) -> Reach {
    let reached = |batch| Reach {
        batch,
        is_largest: false,
        latency: None,
    };
    let mut within: Option<(f64, f64)> = None;
    for &(batch, latency) in points {
        if latency > limit {
            let Some((before, shorter)) = within else {
                return reached(0.0);
            };
            let way = (limit / shorter).ln() / (latency / shorter).ln();
            // Rounding must not make the measured batch before it fall out.
            return reached((before * (batch / before).powf(way)).max(before) + 1e-9);
        }
        within = Some((batch, latency));
    }
    Reach {
        is_largest: true,
        ..reached(within.map_or(0.0, |(batch, _)| batch))
    }
}

/// Tokens per second at a batch, interpolated between the measured ones.
fn throughput_at(curve: &Curve<'_>, batch: f64) -> Option<f64> {
    let points = || {
        let of = |c: &&CellView| Some((f64::from(c.case.n_seq), c.decode_tokens_per_s()?));
        curve.cells.iter().filter_map(of)
    };
    let below = points().rfind(|(b, _)| *b <= batch)?;
    let Some(above) = points().find(|(b, _)| *b > batch) else {
        return Some(below.1);
    };
    let way = (batch / below.0).ln() / (above.0 / below.0).ln();
    Some(below.1 * (above.1 / below.1).powf(way))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::curve::{Along, curves};
    use crate::plan::Case;
    use crate::view::RunView;
    use crate::view::fixture::{self, MS, case, header, three_processes};

    /// Steps of 10, 20, 40 and 80 ms at 1, 4, 16, 64; TTFT 100 ms a sequence.
    fn view() -> RunView {
        let cases: Vec<Case> = [1, 4, 16, 64].map(|n| case("tiny", n)).into();
        let lines: Vec<_> = cases
            .iter()
            .zip([10, 20, 40, 80])
            .flat_map(|(c, ms)| three_processes(c, 3, 100 * u64::from(c.n_seq) * MS, ms * MS))
            .collect();
        fixture::view(header(&["tiny"], cases), lines)
    }

    fn of(slo: &str) -> Result<Capacity, String> {
        let view = view();
        let curves = curves(&view, Along::Batch);
        capacity(&curves[0], &slo.parse()?)
    }

    #[test]
    fn limits_are_read_and_mistakes_named() {
        let slo: Slo = "tpot=50ms, ttft=1.5s".parse().expect("limits");
        assert_eq!(slo.to_string(), "TPOT at most 50.0 ms, TTFT at most 1.50 s");
        let slo: Slo = "ttft_p95<=2s,itl_p50=9ms".parse().expect("limits");
        assert_eq!(
            slo.to_string(),
            "TTFT p95 at most 2.00 s, ITL p50 at most 9.00 ms"
        );
        for (wrong, hint) in [
            ("fast", "is no limit"),
            ("speed=1s", "one of tpot, ttft, itl"),
            ("tpot=50", "no unit; say 50ms"),
            ("tpot=0s", "is no limit"),
            ("tpot=-1s", "no length of time"),
            ("tpot=1s,tpot=2s", "twice"),
            ("ttft_p90=1s", "such as ttft_p95 (p50, p95, p99)"),
            ("tpot=", "no length of time"),
        ] {
            let e = wrong.parse::<Slo>().expect_err(wrong);
            assert!(e.contains(hint), "{wrong}: {e}");
        }
    }

    #[test]
    fn the_batch_at_a_limit_is_interpolated_between_measured_ones() {
        // Steps double where the batch is four times as large: 28.3 ms is half-way from 4 to 16 on logarithms.
        let c = of("tpot=28.4ms").expect("measured");
        let binds = |c: &Capacity| c.binds.map(|latency| latency.kind);
        assert_eq!(
            (c.batch, binds(&c), c.at_least),
            (8, Some(LatencyKind::Tpot), false)
        );
        let (lo, hi) = c.interval.expect("three processes");
        assert!(lo <= 8 && (8..16).contains(&hi), "{lo} {hi}");
        assert!(c.tokens_per_s.is_some_and(|r| (200.0..400.0).contains(&r)));
        let c = of("tpot=28.4ms,ttft=500ms").expect("measured");
        assert_eq!(
            (c.batch, binds(&c)),
            (5, Some(LatencyKind::Ttft)),
            "the tighter one binds"
        );
    }

    #[test]
    fn nothing_is_said_beyond_what_was_measured() {
        let c = of("tpot=1s").expect("measured");
        assert_eq!((c.batch, c.binds, c.at_least), (64, None, true));
        assert_eq!(of("tpot=9ms").expect("measured").batch, 0);
        let e = of("itl=1s").expect_err("36 steps");
        assert!(e.contains("299 steps"), "{e}");
        let e = of("ttft_p95=1s").expect_err("three repetitions");
        assert!(e.contains("is a figure of requests"), "{e}");
        assert_eq!(of("itl_p50=28.4ms").expect("measured").batch, 8);
        let view = view();
        let cells: Vec<&CellView> = view.cells.iter().collect();
        let why = |slo: &str| slo.parse::<Slo>().expect("limits").why_unknown(&cells);
        assert!(why("tpot=1s,itl=1s").is_some_and(|why| why.contains("299 steps")));
        assert_eq!(why("tpot=1ns,itl=1s"), None, "too slow whatever the p99 is");
    }
}
