//! How long a fuzz target runs, and with which seed: a moment and always the same in `cargo test`, minutes and another
//! one each time where `GGUFBENCH_FUZZ_MINUTES` says so.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// A case that takes longer hangs.
const HANGS_AFTER: Duration = Duration::from_secs(60);

/// Runs `case` with fresh random numbers, over and over. What it is given is in files of `folder`, which is named and
/// kept when a case panics, hangs or takes the process with it.
pub fn run(name: &str, at_least: u64, mut case: impl FnMut(&mut ChaCha8Rng, &Path)) {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::create_dir_all(&folder).expect("writable");
    let minutes: Option<f64> = std::env::var("GGUFBENCH_FUZZ_MINUTES")
        .ok()
        .map(|text| text.parse().expect("GGUFBENCH_FUZZ_MINUTES is a number"));
    let seed = match minutes {
        None => 1,
        Some(_) => SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(1, |d| d.as_nanos() as u64),
    };
    let time = minutes.map(|m| Duration::from_secs_f64(60.0 * m));
    eprintln!("{name}: seed {seed}, cases in {}", folder.display());
    watch(name);
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let begun = Instant::now();
    let mut n = 0;
    while n < at_least || time.is_some_and(|time| begun.elapsed() < time) {
        n += 1;
        BEGUN_MS.store(since_start_ms(), Ordering::SeqCst);
        case(&mut rng, &folder);
    }
    BEGUN_MS.store(u64::MAX, Ordering::SeqCst);
    eprintln!(
        "{name}: {n} cases in {:.0} s",
        begun.elapsed().as_secs_f64()
    );
}

/// When the case in hand began, milliseconds since the first; all ones between targets.
static BEGUN_MS: AtomicU64 = AtomicU64::new(u64::MAX);

fn since_start_ms() -> u64 {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_millis() as u64
}

/// A thread that ends the process when a case hangs.
fn watch(name: &str) {
    let name = name.to_owned();
    std::thread::spawn(move || {
        loop {
            std::thread::park_timeout(Duration::from_secs(1));
            let begun = BEGUN_MS.load(Ordering::SeqCst);
            let took = since_start_ms().saturating_sub(begun);
            if Duration::from_millis(took) > HANGS_AFTER {
                eprintln!("{name}: a case hangs; it is the last one in its folder");
                std::process::abort();
            }
        }
    });
}

/// A number that programs trip over, or any.
pub fn odd_number(rng: &mut ChaCha8Rng) -> u64 {
    const EDGES: [u64; 9] = [0, 8, 16, 31, 32, 53, 62, 63, 64];
    let small = rng.random_range(0..70);
    match rng.random_range(0..5) {
        0 => small,
        1 => rng.random_range(0..100_000),
        2 => rng.random(),
        _ => {
            let edge = EDGES[rng.random_range(0..EDGES.len())];
            let power = 1_u64.checked_shl(edge as u32).unwrap_or(0);
            power.wrapping_add(rng.random_range(0..3)).wrapping_sub(1)
        }
    }
}

/// One of some things.
pub fn one_of<'a, T>(rng: &mut ChaCha8Rng, all: &'a [T]) -> &'a T {
    &all[rng.random_range(0..all.len())]
}

/// Lines of a corpus: cases that were trouble once.
pub fn corpus(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
}
