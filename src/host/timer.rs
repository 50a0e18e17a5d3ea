//! How finely and how cheaply time is measured here.

use std::hint::black_box;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::stats::summary::median;

/// Of `std::time::Instant` on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct TimerFacts {
    /// Smallest step between two different readings seen.
    pub resolution_ns: u64,
    /// Cost of one reading: median over batches of back-to-back readings.
    pub overhead_ns: f64,
    pub readings: u64,
}

impl TimerFacts {
    /// Takes under 5 ms, however slow the clock. A loaded machine shows in neither number: one is a
    /// minimum, the other a median.
    pub fn measure() -> Self {
        const BATCH: u32 = 200;
        const BATCHES: usize = 51;
        let budget = Duration::from_millis(4);
        let begun = Instant::now();
        let mut costs = Vec::with_capacity(BATCHES);
        let mut resolution = None;
        while costs.is_empty() || (costs.len() < BATCHES && begun.elapsed() < budget) {
            let first = Instant::now();
            let mut last = first;
            for _ in 0..BATCH {
                let now = black_box(Instant::now());
                let step = (now - last).as_nanos() as u64;
                if step > 0 && resolution.is_none_or(|least| step < least) {
                    resolution = Some(step);
                }
                last = now;
            }
            costs.push((last - first).as_nanos() as f64 / f64::from(BATCH));
        }
        let readings = costs.len() as u64 * u64::from(BATCH);
        // A clock that never moved during all this is coarser than what was spent on it.
        let resolution_ns = resolution.unwrap_or_else(|| begun.elapsed().as_nanos() as u64);
        Self {
            resolution_ns,
            overhead_ns: median(&costs).unwrap_or(0.0),
            readings,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_are_plausible() {
        let facts = TimerFacts::measure();
        assert!(facts.resolution_ns > 0);
        assert!(facts.overhead_ns.is_finite() && facts.overhead_ns >= 0.0);
        assert!(facts.readings >= 200);
    }
}
