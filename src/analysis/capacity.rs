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
    /// 99th percentile of the gap between two tokens.
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

    /// A cell's value in nanoseconds, with its interval where there is one.
    fn of(self, cell: &CellView) -> Option<(f64, Option<Interval>)> {
        let (ns, interval) = match self {
            Self::Tpot => (cell.ns(Metric::TpotNs), cell.interval(Metric::TpotNs)),
            Self::Ttft => (cell.ns(Metric::TtftNs), cell.interval(Metric::TtftNs)),
            Self::Itl => (cell.step_ns.p99, cell.intervals.p99),
        };
        Some((ns? as f64, interval))
    }

    /// Why a cell can lack it.
    fn why_missing(self) -> String {
        match self {
            Self::Tpot => "no decode step was measured".to_owned(),
            Self::Ttft => "TTFT needs a prompt and sampling".to_owned(),
            Self::Itl => format!(
                "a p99 needs {} steps of each cell",
                min_samples_for(0.99).unwrap_or_default()
            ),
        }
    }
}

impl fmt::Display for LatencyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tpot => "TPOT",
            Self::Ttft => "TTFT",
            Self::Itl => "p99 of the gap between tokens",
        })
    }
}

/// Limits that a service promises: `tpot=50ms,ttft=2s`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slo {
    limits: Vec<(LatencyKind, u64)>,
}

impl Slo {
    /// Each limited latency with its limit, nanoseconds.
    pub fn limits(&self) -> &[(LatencyKind, u64)] {
        &self.limits
    }

    /// Whether a cell is known to be within every limit.
    pub fn is_kept_by(&self, cell: &CellView) -> bool {
        let within = |(felt, limit): &(LatencyKind, u64)| {
            felt.of(cell)
                .is_some_and(|(latency, _)| latency <= *limit as f64)
        };
        self.limits.iter().all(within)
    }
}

impl FromStr for Slo {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        let mut limits: Vec<(LatencyKind, u64)> = Vec::new();
        for part in s.split(',').map(str::trim) {
            let (key, value) = part.split_once('=').ok_or_else(|| {
                format!("'{part}' is no limit; say tpot=50ms, ttft=2s, itl=100ms or several of them with commas")
            })?;
            let felt = LatencyKind::ALL.into_iter().find(|f| f.key() == key.trim());
            let felt = felt.ok_or_else(|| {
                let keys = LatencyKind::ALL.map(LatencyKind::key).join(", ");
                format!("'{key}' is no latency that can be limited; one of {keys}")
            })?;
            if limits.iter().any(|(known, _)| *known == felt) {
                return Err(format!("{} is limited twice", felt.key()));
            }
            limits.push((felt, nanoseconds(felt.key(), value.trim())?));
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
        .ok_or_else(|| format!("{key}: '{text}' is no limit; say 50ms or 2s"))
}

impl fmt::Display for Slo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let limits: Vec<String> = self
            .limits
            .iter()
            .map(|(felt, ns)| format!("{felt} at most {}", units::duration(*ns)))
            .collect();
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
    pub binds: Option<LatencyKind>,
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
    for (felt, limit) in &slo.limits {
        let limit = *limit as f64;
        let mut estimates = Vec::new();
        let mut bounds = Vec::new();
        for cell in &curve.cells {
            let (estimate, interval) = felt.of(cell).ok_or_else(|| felt.why_missing())?;
            let n_seq = f64::from(cell.case.n_seq);
            estimates.push((n_seq, estimate));
            bounds.extend(interval.map(|i| (n_seq, i.lo.max(f64::MIN_POSITIVE), i.hi)));
        }
        let reach = reach(&estimates, limit);
        if found.as_ref().is_none_or(|(least, _)| reach.batch < *least) {
            found = Some((
                reach.batch,
                Reach {
                    felt: Some(*felt),
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
        binds: reach.felt.filter(|_| !reach.is_largest),
        tokens_per_s: throughput_at(curve, batch.floor()),
    })
}

struct Reach {
    batch: f64,
    is_largest: bool,
    felt: Option<LatencyKind>,
}

/// The batch at which latencies reach a limit; `points` ascend by batch.
fn reach(points: &[(f64, f64)], limit: f64) -> Reach {
    let reached = |batch| Reach {
        batch,
        is_largest: false,
        felt: None,
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
        for (wrong, hint) in [
            ("fast", "is no limit"),
            ("speed=1s", "one of tpot, ttft, itl"),
            ("tpot=50", "no unit; say 50ms"),
            ("tpot=0s", "is no limit"),
            ("tpot=-1s", "no length of time"),
            ("tpot=1s,tpot=2s", "twice"),
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
        assert_eq!(
            (c.batch, c.binds, c.at_least),
            (8, Some(LatencyKind::Tpot), false)
        );
        let (lo, hi) = c.interval.expect("three processes");
        assert!(lo <= 8 && (8..16).contains(&hi), "{lo} {hi}");
        assert!(c.tokens_per_s.is_some_and(|r| (200.0..400.0).contains(&r)));
        let c = of("tpot=28.4ms,ttft=500ms").expect("measured");
        assert_eq!(
            (c.batch, c.binds),
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
    }
}
