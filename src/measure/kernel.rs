//! How kernels are timed: METHODOLOGY.md, "Ceilings and what follows".

use std::collections::BTreeMap;

use crate::engine::EngineError;
use crate::engine::clock::Clock;
use crate::engine::kernel::KernelBackend;
use crate::roofline::ceiling::Timing;
use crate::roofline::kernel::{Kernel, Load, Point};
use crate::stats::summary;

/// How much time and memory timing kernels may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Effort {
    /// Times that everything is laid in and timed anew: memory placement is luck, and so is what other
    /// programs do meanwhile.
    pub rounds: u32,
    /// Time for the passes of one point in one round.
    pub round_ns: u64,
    /// Fewest passes in a round, after an untimed one.
    pub min_passes: u32,
    /// Distinct weights that a pass of few tokens goes through.
    pub stock_bytes: u64,
    /// Distinct memory that every other pass goes through, which must outgrow the last cache.
    pub floor_bytes: u64,
}

/// Four times the last cache, the least that shows memory and not cache; of an unknown cache 128 MiB.
pub fn floor_bytes(cache_bytes: Option<u64>) -> u64 {
    cache_bytes
        .map_or(128 << 20, |bytes| bytes.saturating_mul(4))
        .max(16 << 20)
}

impl Effort {
    /// For a user who waits: a tenth of a second or so for each point.
    pub fn quick(cache_bytes: Option<u64>) -> Self {
        let floor_bytes = floor_bytes(cache_bytes);
        Self {
            rounds: 3,
            round_ns: 40_000_000,
            min_passes: 2,
            stock_bytes: floor_bytes,
            floor_bytes,
        }
    }

    /// For ceilings that are kept: at least 1 GiB of distinct weights where a quarter of the available
    /// memory holds that.
    pub fn thorough(cache_bytes: Option<u64>, available_bytes: Option<u64>) -> Self {
        let floor_bytes = floor_bytes(cache_bytes);
        let room = available_bytes.map_or(u64::MAX, |bytes| bytes / 4);
        Self {
            rounds: 5,
            round_ns: 100_000_000,
            min_passes: 3,
            stock_bytes: floor_bytes.max(1 << 30).min(room.max(floor_bytes)),
            floor_bytes,
        }
    }

    /// Weights that a pass of so many tokens goes through. Where each is used for hundreds of tokens, reading
    /// it is a hundredth of the time, wherever it comes from.
    fn weights_bytes(&self, n_tokens: u32) -> u64 {
        match n_tokens {
            0..16 => self.stock_bytes,
            16..256 => self.floor_bytes,
            256.. => self.floor_bytes / 8,
        }
    }
}

/// Times of one application of each point, in the order of `points`. Points whose kernel the device
/// cannot compute carry the engine's reason.
pub fn time(
    backend: &KernelBackend,
    points: &[Point],
    effort: Effort,
    clock: &dyn Clock,
    progress: &mut dyn FnMut(u64, u64),
) -> Vec<(Point, Result<Timing, EngineError>)> {
    let mut by_kernel: BTreeMap<&Kernel, Vec<Load>> = BTreeMap::new();
    for point in points {
        by_kernel.entry(&point.kernel).or_default().push(point.load);
    }
    let mut rounds: BTreeMap<Point, Result<Vec<Vec<f64>>, EngineError>> = BTreeMap::new();
    let total = points.len() as u64 * u64::from(effort.rounds);
    let mut done = 0;
    for _ in 0..effort.rounds {
        for (&kernel, loads) in &by_kernel {
            let timed = time_kernel(backend, kernel, loads, effort, clock);
            for (&load, passes) in loads.iter().zip(timed) {
                let point = Point {
                    kernel: kernel.clone(),
                    load,
                };
                let all = rounds.entry(point).or_insert_with(|| Ok(Vec::new()));
                match (all.as_mut(), passes) {
                    (Ok(rounds), Ok(passes)) => rounds.push(passes),
                    (Ok(_), Err(e)) => *all = Err(e),
                    (Err(_), _) => {}
                }
                done += 1;
                progress(done, total);
            }
        }
    }
    rounds
        .into_iter()
        .map(|(point, rounds)| (point, rounds.map(|rounds| timing(&rounds))))
        .collect()
}

/// For each load the times of its passes, nanoseconds of one application.
fn time_kernel(
    backend: &KernelBackend,
    kernel: &Kernel,
    loads: &[Load],
    effort: Effort,
    clock: &dyn Clock,
) -> Vec<Result<Vec<f64>, EngineError>> {
    let few_tokens = loads
        .iter()
        .any(|l| effort.weights_bytes(l.total_tokens()) > effort.floor_bytes);
    let bytes = match kernel {
        Kernel::MatMul { .. } | Kernel::Experts { .. } if few_tokens => effort.stock_bytes,
        _ => effort.floor_bytes,
    };
    let stock = match backend.stock(kernel, bytes) {
        Ok(stock) => stock,
        Err(e) => return loads.iter().map(|_| Err(e.clone())).collect(),
    };
    let passes = |load: &Load| {
        let mut graph = stock.graph(*load, effort.weights_bytes(load.total_tokens()))?;
        let first = clock.now_ns();
        graph.pass()?;
        let n_ops = f64::from(graph.n_ops());
        let mut times = Vec::new();
        let begun = clock.now_ns();
        // A pass of seconds tells enough by itself.
        let is_long = begun - first > 5 * effort.round_ns;
        let min_passes = if is_long { 1 } else { effort.min_passes.max(1) };
        let mut last = begun;
        while times.len() < min_passes as usize || last - begun < effort.round_ns {
            graph.pass()?;
            let now = clock.now_ns();
            times.push((now - last) as f64 / n_ops);
            last = now;
        }
        Ok(times)
    };
    loads.iter().map(passes).collect()
}

/// The median over rounds of each round's median pass, and the rounds' range.
fn timing(rounds: &[Vec<f64>]) -> Timing {
    let medians: Vec<f64> = rounds.iter().filter_map(|r| summary::median(r)).collect();
    let all = rounds.iter().flatten().copied();
    let least = |values: &[f64]| values.iter().copied().fold(f64::INFINITY, f64::min);
    Timing {
        ns: summary::median(&medians).unwrap_or(f64::NAN),
        low_ns: least(&medians),
        high_ns: medians.iter().copied().fold(0.0, f64::max),
        best_ns: all.clone().fold(f64::INFINITY, f64::min),
        n_rounds: rounds.len() as u32,
        n_passes: all.count() as u32,
        measured_at_s: 0,
        disturbed: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn effort_follows_the_cache_and_the_memory() {
        const GIB: u64 = 1 << 30;
        let quick = Effort::quick(Some(32 << 20));
        assert_eq!(
            (quick.stock_bytes, quick.floor_bytes),
            (128 << 20, 128 << 20)
        );
        let thorough =
            |cache, available| Effort::thorough(Some(cache), Some(available)).stock_bytes;
        assert_eq!(thorough(32 << 20, 24 * GIB), GIB);
        assert_eq!(thorough(GIB, 64 * GIB), 4 * GIB);
        assert_eq!(
            thorough(32 << 20, 2 * GIB),
            GIB / 2,
            "a quarter of what is available"
        );
        assert_eq!(
            thorough(32 << 20, 0),
            128 << 20,
            "but never less than shows memory"
        );
        let effort = Effort::thorough(Some(32 << 20), Some(24 * GIB));
        assert_eq!(effort.weights_bytes(15), GIB);
        assert_eq!(effort.weights_bytes(16), 128 << 20);
        assert_eq!(effort.weights_bytes(512), 16 << 20);
    }

    #[test]
    fn the_middle_round_counts_and_the_range_is_kept() {
        let rounds = [vec![3.0, 1.0, 2.0], vec![9.0, 9.0, 8.0], vec![4.0, 4.0]];
        let t = timing(&rounds);
        assert_eq!((t.ns, t.low_ns, t.high_ns, t.best_ns), (4.0, 2.0, 9.0, 1.0));
        assert_eq!((t.n_rounds, t.n_passes), (3, 8));
    }
}
