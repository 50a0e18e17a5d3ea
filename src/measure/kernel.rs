//! How kernels are timed: METHODOLOGY.md, "Ceilings and what follows".

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::engine::EngineError;
use crate::engine::clock::Clock;
use crate::engine::kernel::KernelBackend;
use crate::roofline::ceiling::Timing;
use crate::roofline::kernel::{Kernel, KernelLoad};
use crate::roofline::slice::{Bounds, Slice};
use crate::stats::summary;

/// How much time and memory timing kernels may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
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
    /// Memory that the process that times them may take.
    pub most_bytes: u64,
}

/// Most memory that timing kernels takes, unless it takes more to outgrow the last cache.
const MOST_BYTES: u64 = 7 << 28;

/// Most that one application of a kernel goes through; of larger ones a slice is timed.
const SLICE_BYTES: u64 = 256 << 20;

/// Most that one application computes: some tenths of a second on two cores.
const SLICE_FLOPS: f64 = 40e9;

/// FLOPs a second that the slowest machine reaches, to know when a kernel hangs.
const SLOWEST_FLOPS_PER_S: f64 = 1e9;

/// Bytes a second that it lays in, likewise.
const SLOWEST_BYTES_PER_S: f64 = 100e6;

/// What a process of kernels may be late by on a busy machine, whatever it times.
const PATIENCE: Duration = Duration::from_secs(60);

/// Four times the last cache, the least that shows memory and not cache; of an unknown cache 128 MiB.
pub fn floor_bytes(cache_bytes: Option<u64>) -> u64 {
    cache_bytes
        .map_or(128 << 20, |bytes| bytes.saturating_mul(4))
        .max(16 << 20)
}

/// Of what a process may take, the part for distinct weights; the rest is for one more copy, inputs and results.
fn stock_of(most_bytes: u64) -> u64 {
    most_bytes / 8 * 5 + most_bytes % 8 * 5 / 8
}

/// Memory that a process may take to time kernels: half of what is available, and no more than it has use for.
pub fn memory_limit(cache_bytes: Option<u64>, available_bytes: Option<u64>) -> u64 {
    let wanted = MOST_BYTES.max(floor_bytes(cache_bytes).saturating_mul(8).div_ceil(5));
    available_bytes.map_or(wanted, |bytes| wanted.min(bytes / 2))
}

impl Effort {
    /// For a user who waits: a tenth of a second or so for each point.
    pub fn quick(cache_bytes: Option<u64>, available_bytes: Option<u64>) -> Self {
        let most_bytes = memory_limit(cache_bytes, available_bytes);
        let floor_bytes = floor_bytes(cache_bytes).min(stock_of(most_bytes));
        Self {
            rounds: 3,
            round_ns: 40_000_000,
            min_passes: 2,
            stock_bytes: floor_bytes,
            floor_bytes,
            most_bytes,
        }
    }

    /// For ceilings that are kept: at least 1 GiB of distinct weights where there is memory for them.
    pub fn thorough(cache_bytes: Option<u64>, available_bytes: Option<u64>) -> Self {
        let quick = Self::quick(cache_bytes, available_bytes);
        let stock_bytes = quick.floor_bytes.max(1 << 30);
        Self {
            rounds: 5,
            round_ns: 100_000_000,
            min_passes: 3,
            stock_bytes: stock_bytes.min(stock_of(quick.most_bytes)),
            ..quick
        }
    }

    /// What one application of a kernel may take; of larger ones a slice is timed.
    pub fn bounds(&self) -> Bounds {
        Bounds {
            bytes: SLICE_BYTES.min(self.most_bytes / 8),
            flops: SLICE_FLOPS,
        }
    }

    /// How long these slices of a kernel may take in one round, on the slowest machine: what takes longer hangs.
    pub fn patience(&self, slices: &[Slice]) -> Duration {
        let flops: f64 = slices.iter().map(Slice::flops).sum();
        let passes = Duration::from_nanos(self.round_ns.saturating_mul(slices.len() as u64));
        let laying_in = self.stock_bytes as f64 / SLOWEST_BYTES_PER_S;
        let work = laying_in + 3.0 * flops / SLOWEST_FLOPS_PER_S;
        PATIENCE
            .saturating_add(passes.saturating_mul(20))
            .saturating_add(Duration::try_from_secs_f64(work).unwrap_or(Duration::MAX))
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

/// For each load the times of its passes in one round, nanoseconds of one application; the engine's reason for one that
/// the device cannot compute.
pub fn time_kernel(
    backend: &KernelBackend,
    kernel: &Kernel,
    loads: &[KernelLoad],
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
    let stock = match backend.weights(kernel, bytes) {
        Ok(stock) => stock,
        Err(e) => return loads.iter().map(|_| Err(e.clone())).collect(),
    };
    let passes = |load: &KernelLoad| {
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
pub fn timing(rounds: &[Vec<f64>]) -> Timing {
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

    const MIB: u64 = 1 << 20;
    const GIB: u64 = 1 << 30;

    #[test]
    fn effort_follows_the_cache_and_the_memory() {
        let quick = Effort::quick(Some(32 * MIB), None);
        assert_eq!(
            (quick.stock_bytes, quick.floor_bytes),
            (128 * MIB, 128 * MIB)
        );
        let thorough = |cache, available| {
            let effort = Effort::thorough(Some(cache), Some(available));
            (effort.stock_bytes, effort.floor_bytes)
        };
        assert_eq!(thorough(32 * MIB, 24 * GIB), (GIB, 128 * MIB));
        assert_eq!(thorough(GIB, 64 * GIB), (4 * GIB, 4 * GIB));
        assert_eq!(thorough(32 * MIB, 2 * GIB), (640 * MIB, 128 * MIB));
        assert_eq!(thorough(32 * MIB, 256 * MIB), (80 * MIB, 80 * MIB));
        assert_eq!(thorough(32 * MIB, 0), (0, 0));
        let effort = Effort::thorough(Some(32 * MIB), Some(24 * GIB));
        assert_eq!(effort.weights_bytes(15), GIB);
        assert_eq!(effort.weights_bytes(16), 128 * MIB);
        assert_eq!(effort.weights_bytes(512), 16 * MIB);
    }

    #[test]
    fn a_process_takes_half_of_the_free_memory_at_most_and_less_than_2_gib_unless_caches_are_huge()
    {
        let limit = |cache, available| memory_limit(Some(cache), Some(available));
        assert_eq!(limit(260 * MIB, 64 * GIB), MOST_BYTES);
        const { assert!(MOST_BYTES < 2 * GIB - 128 * MIB) };
        assert_eq!(limit(32 * MIB, GIB), GIB / 2);
        assert_eq!(limit(GIB, 64 * GIB), (4 * GIB * 8).div_ceil(5));
        assert_eq!(limit(32 * MIB, 0), 0);
        assert_eq!(memory_limit(None, None), MOST_BYTES);
        // Everything that is timed of a kernel within bounds fits.
        let effort = Effort::thorough(Some(260 * MIB), Some(64 * GIB));
        let held = effort.bounds().bytes;
        assert!(effort.stock_bytes + 2 * held <= effort.most_bytes);
    }

    #[test]
    fn patience_is_for_hanging_kernels_not_for_slow_machines() {
        let effort = Effort::quick(None, None);
        let point = |n| crate::roofline::kernel::Point {
            kernel: crate::roofline::kernel::fixture::matmul("F16", 1000, 500),
            load: KernelLoad::tokens(n),
        };
        let slices = [1, 1000].map(|n| Slice::of(&point(n), effort.bounds()));
        // 1 MFLOP and 1 GFLOP at 1 GFLOP/s, three times, twenty times 40 ms for each, and 128 MiB at 100 MB/s.
        let expected =
            PATIENCE + Duration::from_nanos(3_003_000_000 + 1_600_000_000 + 1_342_177_280);
        assert_eq!(effort.patience(&slices), expected);
    }

    #[test]
    fn the_middle_round_counts_and_the_range_is_kept() {
        let rounds = [vec![3.0, 1.0, 2.0], vec![9.0, 9.0, 8.0], vec![4.0, 4.0]];
        let t = timing(&rounds);
        assert_eq!((t.ns, t.low_ns, t.high_ns, t.best_ns), (4.0, 2.0, 9.0, 1.0));
        assert_eq!((t.n_rounds, t.n_passes), (3, 8));
    }
}
