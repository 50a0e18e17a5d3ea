//! What this machine reads from memory and computes.
//!
//! [`QuickRates`] are a guess, to tell a user how long a run may take: a tenth of a second, and on machines
//! with very large caches the buffer may be too small. [`read_rate_ceiling`] is the roofline's memory ceiling:
//! some seconds, several rounds, and a buffer that no cache holds.

use std::hint::black_box;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::cpu::Cpu;
use super::files::LiveFiles;
use super::memory::available_memory_bytes;
use super::threads::{Start, ThreadsError, start_others};
use crate::roofline::ceiling::ReadRate;
use crate::stats::{median_interval, summary};

const MIB: u64 = 1 << 20;
/// Where cache sizes cannot be read: four times a large desktop's.
const UNKNOWN_CACHE_BYTES: u64 = 32 * MIB;

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct QuickRates {
    /// Bytes read from memory per second by all threads together, best pass.
    pub read_bytes_per_s: f64,
    /// Floating-point operations per second (an f32 fused multiply-add is two), best pass.
    pub flops_per_s: f64,
    pub n_threads: u32,
    /// Memory that was read in each pass.
    pub buffer_bytes: u64,
    /// The last-level caches together, if known: a buffer under four times this flatters the rate.
    pub cache_bytes: Option<u64>,
}

impl QuickRates {
    /// Measures with `n_threads` threads (at least one). Takes about 100 ms plus the time to touch
    /// the buffer for the first time.
    pub fn measure(n_threads: u32) -> Result<Self, ThreadsError> {
        let cache_bytes = Cpu::probe(&LiveFiles).last_level_cache_bytes();
        let buffer_bytes = buffer_bytes(cache_bytes, available_memory_bytes());
        let threads = n_threads.max(1);
        Ok(Self {
            read_bytes_per_s: read_rate(threads, buffer_bytes)?,
            flops_per_s: multiply_add_rate(threads)?,
            n_threads: threads,
            buffer_bytes,
            cache_bytes,
        })
    }
}

/// How much to read so that memory and not a cache is measured, on this machine now.
pub fn reading_buffer_bytes(cpu: &Cpu) -> u64 {
    buffer_bytes(cpu.last_level_cache_bytes(), available_memory_bytes())
}

/// Four times the last cache, at most 512 MiB and an eighth of what is available, at least 1 MiB.
fn buffer_bytes(cache: Option<u64>, available: Option<u64>) -> u64 {
    let wanted = cache.unwrap_or(UNKNOWN_CACHE_BYTES).saturating_mul(4);
    let allowed = available.map_or(u64::MAX, |bytes| bytes / 8);
    wanted.clamp(16 * MIB, 512 * MIB).min(allowed).max(MIB)
}

/// Reads memory with `n_threads` threads, `rounds` times from newly laid in buffers, each for `round` and at
/// least five passes. The buffer is four times the last cache and at least 1 GiB, but at most a quarter of what
/// is available, and `most_bytes`. `measured_at_s` of the answer is left 0.
pub fn read_rate_ceiling(
    n_threads: u32,
    rounds: u32,
    round: Duration,
    most_bytes: u64,
) -> Result<ReadRate, ThreadsError> {
    let cache_bytes = Cpu::probe(&LiveFiles).last_level_cache_bytes();
    let wanted = ceiling_buffer_bytes(cache_bytes, available_memory_bytes());
    let buffer_bytes = wanted.min(most_bytes).max(MIB);
    read_rounds(
        n_threads.max(1),
        rounds.max(1),
        round,
        buffer_bytes,
        cache_bytes,
    )
}

fn ceiling_buffer_bytes(cache: Option<u64>, available: Option<u64>) -> u64 {
    let wanted = cache
        .unwrap_or(UNKNOWN_CACHE_BYTES)
        .saturating_mul(4)
        .max(1024 * MIB);
    let allowed = available.map_or(u64::MAX, |bytes| bytes / 4);
    wanted.min(allowed).max(MIB)
}

fn read_rounds(
    threads: u32,
    rounds: u32,
    round: Duration,
    buffer_bytes: u64,
    cache_bytes: Option<u64>,
) -> Result<ReadRate, ThreadsError> {
    let mut all: Vec<Vec<f64>> = Vec::new();
    for _ in 0..rounds {
        all.push(read_rates(threads, buffer_bytes, round, 5)?);
    }
    let medians: Vec<f64> = all.iter().filter_map(|r| summary::median(r)).collect();
    let interval = (medians.len() > 1)
        .then(|| median_interval(&medians.iter().map(|&m| vec![m]).collect::<Vec<_>>(), 0.95))
        .flatten();
    Ok(ReadRate {
        best_per_s: all.iter().flatten().copied().fold(0.0, f64::max),
        median_per_s: summary::median(&medians).unwrap_or(0.0),
        interval_per_s: interval.map(|i| (i.lo, i.hi)),
        buffer_bytes,
        cache_bytes,
        n_passes: all.iter().map(|r| r.len() as u32).sum(),
        measured_at_s: 0,
        disturbed: false,
    })
}

fn read_rate(threads: u32, buffer_bytes: u64) -> Result<f64, ThreadsError> {
    let rates = read_rates(threads, buffer_bytes, Duration::from_millis(70), 3)?;
    Ok(rates.into_iter().fold(0.0, f64::max))
}

/// Bytes a second of each pass. Each thread sums its own part, which it has filled itself so that the pages lie
/// near it.
fn read_rates(
    threads: u32,
    buffer_bytes: u64,
    budget: Duration,
    min_passes: u32,
) -> Result<Vec<f64>, ThreadsError> {
    let words = (buffer_bytes / 8 / u64::from(threads)).max(1) as usize;
    let bytes = (words * 8) as f64 * f64::from(threads);
    let passes = passes(threads, budget, min_passes, |seed| {
        let mut part: Vec<u64> = Vec::with_capacity(words);
        part.extend((0..words as u64).map(|word| word ^ u64::from(seed)));
        move || {
            black_box(sum(black_box(&part)));
        }
    })?;
    let rates = passes.iter().map(|took| bytes / took.as_secs_f64());
    Ok(rates.collect())
}

/// Four times sixteen chains: enough loads in flight that memory and not additions set the pace.
pub(super) fn sum(words: &[u64]) -> u64 {
    let (chunks, rest) = words.as_chunks::<64>();
    let mut sums = [0u64; 64];
    for chunk in chunks {
        for index in 0..64 {
            sums[index] = sums[index].wrapping_add(chunk[index]);
        }
    }
    let all = sums.iter().chain(rest);
    all.fold(0, |total, word| total.wrapping_add(*word))
}

/// Floats in one register, as this program (and so the engine) was compiled.
const LANES: usize = if cfg!(target_feature = "avx512f") {
    16
} else {
    8
};
/// Independent chains: enough to hide the latency of two units, few enough for 16 registers.
const CHAINS: usize = 8;
const ROUNDS: usize = 100_000;

pub(super) type Chains = [[f32; LANES]; CHAINS];

pub(super) fn fresh_chains(seed: u32) -> Chains {
    [[seed as f32; LANES]; CHAINS]
}

fn multiply_add_rate(threads: u32) -> Result<f64, ThreadsError> {
    let flops = (2 * LANES * CHAINS * ROUNDS) as f64 * f64::from(threads);
    let passes = passes(threads, Duration::from_millis(20), 3, |seed| {
        let mut chains = fresh_chains(seed);
        move || {
            multiply_add(&mut chains);
            black_box(&chains);
        }
    })?;
    let best = passes.into_iter().min().unwrap_or(Duration::MAX);
    Ok(flops / best.as_secs_f64())
}

#[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
pub(super) fn multiply_add(chains: &mut Chains) {
    if cfg!(target_feature = "fma") {
        fused(chains);
    } else if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
        // SAFETY: both features were just detected.
        unsafe { fused_avx2(chains) }
    } else {
        // Without the instruction `mul_add` is a slow library call.
        rounds(chains, |value, factor, addend| value * factor + addend);
    }
}

#[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
#[target_feature(enable = "avx2,fma")]
fn fused_avx2(chains: &mut Chains) {
    fused(chains);
}

#[cfg(not(any(target_arch = "x86", target_arch = "x86_64")))]
pub(super) fn multiply_add(chains: &mut Chains) {
    if cfg!(target_arch = "aarch64") {
        fused(chains);
    } else {
        rounds(chains, |value, factor, addend| value * factor + addend);
    }
}

#[inline(always)]
fn fused(chains: &mut Chains) {
    rounds(chains, f32::mul_add);
}

/// `x = x / 2 + 1` converges to 2: no overflow and no denormals, whatever the start.
#[inline(always)]
fn rounds(chains: &mut Chains, step: impl Fn(f32, f32, f32) -> f32 + Copy) {
    let (factor, addend) = (black_box(0.5), black_box(1.0));
    let advance = |chain: &mut [f32; LANES]| {
        for value in chain {
            *value = step(*value, factor, addend);
        }
    };
    // By name, not in a loop: the compiler keeps named arrays in registers.
    let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = *chains;
    for _ in 0..ROUNDS {
        advance(&mut a);
        advance(&mut b);
        advance(&mut c);
        advance(&mut d);
        advance(&mut e);
        advance(&mut f);
        advance(&mut g);
        advance(&mut h);
    }
    *chains = [a, b, c, d, e, f, g, h];
}

/// Runs `pass` on all threads at once, over and over until `budget` is spent but at least `min_passes`
/// times, and returns the times from the common start to the last thread's end.
fn passes<P: FnMut()>(
    threads: u32,
    budget: Duration,
    min_passes: u32,
    prepare: impl Fn(u32) -> P + Sync,
) -> Result<Vec<Duration>, ThreadsError> {
    let barrier = Barrier::new(threads as usize);
    let done = AtomicBool::new(false);
    let other = |seed: u32| {
        let mut pass = prepare(seed);
        loop {
            barrier.wait();
            if done.load(Ordering::Acquire) {
                return;
            }
            pass();
            barrier.wait();
        }
    };
    let start = Start::new();
    std::thread::scope(|scope| {
        start_others(scope, threads, &start, &other)?;
        let mut pass = prepare(0);
        let mut times = Vec::new();
        let mut spent = Duration::ZERO;
        while times.len() < min_passes as usize || spent < budget {
            barrier.wait();
            let begun = Instant::now();
            pass();
            barrier.wait();
            let took = begun.elapsed();
            // A clock too coarse to see the pass must not give an infinite rate.
            times.push(took.max(Duration::from_nanos(1)));
            spent += took;
        }
        done.store(true, Ordering::Release);
        barrier.wait();
        Ok(times)
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;

    use super::*;

    #[test]
    fn the_buffer_outgrows_the_cache_but_not_the_machine() {
        assert_eq!(buffer_bytes(Some(32 * MIB), Some(16 << 30)), 128 * MIB);
        assert_eq!(buffer_bytes(Some(256 * MIB), Some(64 << 30)), 512 * MIB);
        assert_eq!(buffer_bytes(Some(32 * MIB), Some(512 * MIB)), 64 * MIB);
        assert_eq!(buffer_bytes(None, None), 128 * MIB);
        assert_eq!(buffer_bytes(Some(1 << 10), None), 16 * MIB);
        assert_eq!(buffer_bytes(Some(32 * MIB), Some(0)), MIB);
        assert_eq!(buffer_bytes(Some(u64::MAX), None), 512 * MIB);
    }

    #[test]
    fn the_sum_reads_every_word_once() {
        let words: Vec<u64> = (0..1003).collect();
        assert_eq!(sum(&words), 1002 * 1003 / 2);
    }

    #[test]
    fn chains_converge_to_two() {
        let mut chains = [[7.0; LANES]; CHAINS];
        multiply_add(&mut chains);
        assert!(
            chains.iter().flatten().all(|value| *value == 2.0),
            "{chains:?}"
        );
    }

    #[test]
    fn every_thread_takes_part_in_every_pass() {
        let calls = [const { AtomicU32::new(0) }; 3];
        let times = passes(3, Duration::ZERO, 4, |seed| {
            let calls = &calls[seed as usize];
            move || {
                calls.fetch_add(1, Ordering::Relaxed);
            }
        });
        let times = times.expect("three threads");
        assert_eq!(times.len(), 4);
        assert!(calls.iter().all(|count| count.load(Ordering::Relaxed) == 4));
    }

    #[test]
    fn a_ceilings_buffer_is_large_unless_memory_is_short() {
        let gib = 1024 * MIB;
        assert_eq!(ceiling_buffer_bytes(Some(32 * MIB), Some(24 * gib)), gib);
        assert_eq!(
            ceiling_buffer_bytes(Some(768 * MIB), Some(64 * gib)),
            3 * gib
        );
        assert_eq!(ceiling_buffer_bytes(Some(32 * MIB), Some(2 * gib)), gib / 2);
        assert_eq!(ceiling_buffer_bytes(None, None), gib);
        assert_eq!(ceiling_buffer_bytes(Some(32 * MIB), Some(0)), MIB);
    }

    #[test]
    fn a_ceiling_has_its_rounds_and_an_interval_from_two_on() {
        let rate = read_rounds(2, 3, Duration::ZERO, MIB, Some(7)).expect("two threads");
        assert_eq!(
            (rate.n_passes, rate.buffer_bytes, rate.cache_bytes),
            (15, MIB, Some(7))
        );
        let (low, high) = rate.interval_per_s.expect("three rounds");
        assert!(0.0 < low && low <= rate.median_per_s && rate.median_per_s <= high);
        assert!(rate.best_per_s >= rate.median_per_s);
        assert_eq!(
            read_rounds(1, 1, Duration::ZERO, MIB, None)
                .expect("one thread")
                .interval_per_s,
            None
        );
    }

    #[test]
    fn rates_are_positive_numbers() {
        let rates = [read_rate(2, MIB), multiply_add_rate(2)].map(|r| r.expect("two threads"));
        assert!(
            rates.iter().all(|rate| rate.is_finite() && *rate > 0.0),
            "{rates:?}"
        );
    }
}
