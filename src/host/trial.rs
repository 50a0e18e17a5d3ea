//! Fixed work, timed again and again: what a clock that nobody lets us read is worth.
//!
//! A [`StepTrial`] works as a decode step does: all threads do their part, and the slowest ends it. Its threads and its
//! memory are made anew, because where they are placed is part of what differs between two processes.

use std::hint::{black_box, spin_loop};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::{Builder, yield_now};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::bandwidth::{Chains, fresh_chains, multiply_add, sum};
use super::threads::{Start, ThreadsError, start_others};
use crate::units::nanoseconds;

/// Computing passes before each reading pass: one takes about half a millisecond, and a p99 needs hundreds.
const COMPUTE_PASSES: usize = 8;
/// Calls of `multiply_add` in a pass.
const CALLS: usize = 4;
/// Rounds that are timed however short the trial.
const MIN_ROUNDS: usize = 3;
/// Turns of waiting before the core is offered to somebody else: about a millisecond, more than a pass lasts.
const SPINS: u32 = 50_000;
/// At most this many cores are tried one by one.
const MOST_CORES: usize = 32;

/// What to do, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrialSettings {
    pub n_threads: u32,
    /// Memory that all threads together read in a pass.
    pub buffer_bytes: u64,
    pub huge_pages: bool,
    /// Time for everything, the first touch of the memory included.
    pub lasting: Duration,
}

/// Times of equal passes, each from the common start to the last thread's end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepTrial {
    pub n_threads: u32,
    pub buffer_bytes: u64,
    /// Passes of vector multiply-adds in registers: equal work for every thread, however many there are.
    pub compute_ns: Vec<u64>,
    pub read_ns: Vec<u64>,
}

/// The computing passes of one core alone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CoreTrial {
    /// The kernel's number of the hardware thread.
    pub cpu: u32,
    /// As [`StepTrial::compute_ns`], of one thread.
    pub compute_ns: Vec<u64>,
}

impl StepTrial {
    /// Makes threads and memory, works until the time is over, and forgets them.
    pub fn run(settings: TrialSettings) -> Result<Self, ThreadsError> {
        let begun = Instant::now();
        let n_threads = settings.n_threads.max(1);
        let words = (settings.buffer_bytes / 8 / u64::from(n_threads)).max(1) as usize;
        let step = Step::new(n_threads);
        let mut trial = Self {
            n_threads,
            buffer_bytes: words as u64 * 8 * u64::from(n_threads),
            ..Self::default()
        };
        let other = |seed: u32| {
            let mut part = ThreadWork::new(seed, words, settings.huge_pages);
            while step.is_wanted() {
                part.round(|pass| {
                    // The leader's clock is the one that counts.
                    step.timed(pass);
                });
            }
        };
        let start = Start::new();
        std::thread::scope(|scope| {
            start_others(scope, n_threads, &start, &other)?;
            let mut part = ThreadWork::new(0, words, settings.huge_pages);
            let mut rounds = 0;
            // The first round is not kept: it meets cold caches and threads that are still being placed.
            while rounds <= MIN_ROUNDS || begun.elapsed() < settings.lasting {
                step.go_on();
                let mut times = Vec::with_capacity(COMPUTE_PASSES + 1);
                part.round(|pass| times.push(step.timed(pass)));
                if let Some((read, compute)) = times.split_last()
                    && rounds > 0
                {
                    trial.compute_ns.extend(compute);
                    trial.read_ns.push(*read);
                }
                rounds += 1;
            }
            step.end();
            Ok(trial)
        })
    }
}

/// Tries hardware threads one after the other, at most 32 spread over those given, each for its part of the time.
/// One that this process cannot be bound to is left out; outside Linux and Windows all are.
pub fn each_core(cpus: &[u32], lasting: Duration) -> Vec<CoreTrial> {
    let step = cpus.len().div_ceil(MOST_CORES).max(1);
    let chosen: Vec<u32> = cpus.iter().copied().step_by(step).collect();
    let share = lasting / u32::try_from(chosen.len()).unwrap_or(u32::MAX).max(1);
    let try_one = |cpu: u32| {
        std::thread::scope(|scope| {
            let tried = Builder::new().spawn_scoped(scope, || {
                bind_to(cpu)?;
                let begun = Instant::now();
                let mut chains = fresh_chains(cpu);
                compute(&mut chains);
                let mut compute_ns = Vec::new();
                while compute_ns.len() < MIN_ROUNDS || begun.elapsed() < share {
                    let begun = Instant::now();
                    compute(&mut chains);
                    compute_ns.push(nanoseconds(begun.elapsed()));
                }
                Some(CoreTrial { cpu, compute_ns })
            });
            tried.ok()?.join().ok().flatten()
        })
    };
    chosen.into_iter().filter_map(try_one).collect()
}

#[cfg(target_os = "linux")]
fn bind_to(cpu: u32) -> Option<()> {
    use rustix::thread::{CpuSet, sched_setaffinity};
    let cpu = usize::try_from(cpu)
        .ok()
        .filter(|cpu| *cpu < CpuSet::MAX_CPU)?;
    let mut set = CpuSet::new();
    set.set(cpu);
    sched_setaffinity(None, &set).ok()
}

#[cfg(windows)]
use super::windows::bind_to;

#[cfg(not(any(windows, target_os = "linux")))]
fn bind_to(_cpu: u32) -> Option<()> {
    None
}

struct ThreadWork {
    chains: Chains,
    words: Vec<u64>,
}

impl ThreadWork {
    /// Filled by the thread that will read it, so that the pages lie near it.
    fn new(seed: u32, n_words: usize, huge_pages: bool) -> Self {
        let mut words: Vec<u64> = Vec::with_capacity(n_words);
        if huge_pages {
            ask_for_huge_pages(&words);
        }
        words.extend((0..n_words as u64).map(|word| word ^ u64::from(seed)));
        Self {
            chains: fresh_chains(seed),
            words,
        }
    }

    /// The passes of one round, each handed to `timed`, which all threads call in the same order.
    fn round(&mut self, mut timed: impl FnMut(&mut dyn FnMut())) {
        for _ in 0..COMPUTE_PASSES {
            timed(&mut || compute(&mut self.chains));
        }
        timed(&mut || {
            black_box(sum(black_box(&self.words)));
        });
    }
}

fn compute(chains: &mut Chains) {
    for _ in 0..CALLS {
        multiply_add(chains);
    }
    black_box(&chains);
}

/// Asks for the room of a vector that holds nothing yet. The kernel may refuse; then there is nothing to gain.
#[cfg(target_os = "linux")]
fn ask_for_huge_pages(words: &Vec<u64>) {
    let Some(page) = super::memory::page_bytes().map(|bytes| bytes as usize) else {
        return;
    };
    let bytes = words.capacity() * size_of::<u64>();
    let skipped = words.as_ptr().align_offset(page) * size_of::<u64>();
    if skipped < bytes {
        // SAFETY: the range from the first whole page to the end of the room lies within the vector's own allocation,
        // and this advice changes what backs memory, never what is in it.
        unsafe {
            let start = words.as_ptr().cast::<u8>().add(skipped);
            libc::madvise(
                start.cast_mut().cast(),
                bytes - skipped,
                libc::MADV_HUGEPAGE,
            );
        }
    }
}

#[cfg(not(target_os = "linux"))]
fn ask_for_huge_pages(_words: &[u64]) {}

/// Keeps threads in step as an engine's do: by spinning, since waking a sleeper takes as long as a short pass.
struct Step {
    n_threads: u32,
    arrived: AtomicU32,
    generation: AtomicU32,
    is_over: AtomicBool,
}

impl Step {
    fn new(n_threads: u32) -> Self {
        Self {
            n_threads,
            arrived: AtomicU32::new(0),
            generation: AtomicU32::new(0),
            is_over: AtomicBool::new(false),
        }
    }

    /// Returns when all threads have come.
    fn wait(&self) {
        let generation = self.generation.load(Ordering::Acquire);
        if self.arrived.fetch_add(1, Ordering::AcqRel) + 1 == self.n_threads {
            self.arrived.store(0, Ordering::Relaxed);
            self.generation
                .store(generation.wrapping_add(1), Ordering::Release);
            return;
        }
        let mut spins = 0;
        while self.generation.load(Ordering::Acquire) == generation {
            if spins < SPINS {
                spins += 1;
                spin_loop();
            } else {
                // Somebody else has the core of the one that is missing.
                yield_now();
            }
        }
    }

    /// From the common start to the last thread's end.
    fn timed(&self, pass: &mut dyn FnMut()) -> u64 {
        self.wait();
        let begun = Instant::now();
        pass();
        self.wait();
        nanoseconds(begun.elapsed())
    }

    /// The leader: another round.
    fn go_on(&self) {
        self.wait();
    }

    /// The leader: no more.
    fn end(&self) {
        self.is_over.store(true, Ordering::Release);
        self.wait();
    }

    /// The others: whether there is another round.
    fn is_wanted(&self) -> bool {
        self.wait();
        !self.is_over.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn however_short_a_trial_has_its_rounds() {
        for n_threads in [1, 3] {
            let trial = StepTrial::run(TrialSettings {
                n_threads,
                buffer_bytes: 3 << 20,
                huge_pages: n_threads == 3,
                lasting: Duration::ZERO,
            })
            .expect("threads");
            assert_eq!(trial.n_threads, n_threads);
            assert_eq!(trial.read_ns.len(), MIN_ROUNDS);
            assert_eq!(trial.compute_ns.len(), MIN_ROUNDS * COMPUTE_PASSES);
            assert_eq!(trial.buffer_bytes, 3 << 20);
            assert!(
                trial
                    .compute_ns
                    .iter()
                    .chain(&trial.read_ns)
                    .all(|ns| *ns > 0)
            );
        }
    }

    #[test]
    fn nobody_runs_ahead() {
        let step = Step::new(3);
        let passes = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for pass in 0..100 {
                        step.timed(&mut || {
                            // All of the passes before, and none of the next, are done.
                            let done = passes.fetch_add(1, Ordering::SeqCst);
                            assert_eq!(done / 3, pass);
                        });
                    }
                });
            }
        });
        assert_eq!(passes.load(Ordering::SeqCst), 300);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn each_allowed_core_is_tried_and_others_are_left_out() {
        let allowed = super::super::placement::Placement::probe()
            .allowed_cpus
            .expect("Linux says");
        let first = *allowed.first().expect("at least one");
        let tried = each_core(&[first, 1_000_000], Duration::ZERO);
        assert_eq!(tried.len(), 1);
        assert_eq!((tried[0].cpu, tried[0].compute_ns.len()), (first, 3));
        assert!(each_core(&[], Duration::ZERO).is_empty());
        let many: Vec<u32> = vec![first; 100];
        assert_eq!(
            each_core(&many, Duration::ZERO).len(),
            25,
            "every fourth of 100"
        );
    }
}
