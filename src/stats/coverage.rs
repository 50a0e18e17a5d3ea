//! Coverage of the intervals by simulation: the table in [`super::interval`] and its guard, which `make simulate` runs.
//!
//! `cargo test --release coverage_table -- --ignored --nocapture` prints the table again.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;
use statrs::distribution::{ContinuousCDF, Normal};

use super::summary::{median, quantile_type8};
use super::{Interval, LatencyHistogram, median_interval};

/// Noise of one repetition around its process, in log space.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Noise {
    /// Normal times, 1%.
    Normal,
    /// Log-normal times, 10%.
    LogNormal,
    /// Spikes: the logarithm itself is log-normal (sigma 0.8) and so skewed to the slow side.
    Skewed,
    /// 30% of the repetitions are 4% slower, 1% around either mode.
    SlowRepetitions,
    /// 30% of the processes are 4% slower, 1% around either mode.
    SlowProcesses,
}

const NOISES: [Noise; 5] = [
    Noise::Normal,
    Noise::LogNormal,
    Noise::Skewed,
    Noise::SlowRepetitions,
    Noise::SlowProcesses,
];

fn normal(rng: &mut ChaCha8Rng) -> f64 {
    rng.sample(StandardNormal)
}

/// Those whose processes differ smoothly.
const SMOOTH: [Noise; 4] = [
    Noise::Normal,
    Noise::LogNormal,
    Noise::Skewed,
    Noise::SlowRepetitions,
];

/// Processes and repetitions of each. The default is 3 x (3 to 10); more processes are what a narrower interval takes.
const DESIGNS: [(usize, usize); 6] = [(3, 3), (3, 10), (5, 3), (5, 10), (10, 3), (10, 10)];

/// The spread between processes, in units of that within one.
const BETWEEN: [f64; 4] = [0.0, 0.5, 1.0, 2.0];

impl Noise {
    /// A time of 1 with so many units of noise.
    fn time(self, noise: f64) -> f64 {
        match self {
            Noise::Normal => 1.0 + 0.01 * noise,
            Noise::LogNormal => (0.1 * noise).exp(),
            _ => (0.01 * noise).exp(),
        }
    }
}

/// One experiment: `k` processes of `r` repetitions.
fn experiment(
    noise: Noise,
    between: f64,
    k: usize,
    r: usize,
    rng: &mut ChaCha8Rng,
) -> Vec<Vec<f64>> {
    (0..k)
        .map(|_| {
            let slow = noise == Noise::SlowProcesses && rng.random_bool(0.3);
            let process = between * normal(rng) + if slow { 4.0 } else { 0.0 };
            (0..r)
                .map(|_| {
                    let own = match noise {
                        Noise::Normal | Noise::LogNormal | Noise::SlowProcesses => normal(rng),
                        Noise::Skewed => (0.8 * normal(rng)).exp(),
                        Noise::SlowRepetitions => {
                            normal(rng) + if rng.random_bool(0.3) { 4.0 } else { 0.0 }
                        }
                    };
                    noise.time(process + own)
                })
                .collect()
        })
        .collect()
}

/// The median over processes of a process's long-run median.
fn truth(noise: Noise, between: f64) -> f64 {
    let mixture = |sd: f64| {
        // Root of 0.7 F(x) + 0.3 F(x - 4) = 0.5 by bisection.
        let law = Normal::new(0.0, sd).unwrap();
        let (mut low, mut high) = (-1.0, 5.0);
        for _ in 0..60 {
            let x = (low + high) / 2.0;
            if 0.7 * law.cdf(x) + 0.3 * law.cdf(x - 4.0) < 0.5 {
                low = x;
            } else {
                high = x;
            }
        }
        low
    };
    let units = match noise {
        Noise::Normal | Noise::LogNormal => 0.0,
        Noise::Skewed => 1.0,
        Noise::SlowRepetitions => mixture(1.0),
        Noise::SlowProcesses if between == 0.0 => 0.0,
        Noise::SlowProcesses => mixture(between),
    };
    noise.time(units)
}

/// Share of experiments whose interval holds the truth, and the median relative half-width.
fn coverage(
    (noise, between, k, r): (Noise, f64, usize, usize),
    experiments: usize,
    method: impl Fn(&[Vec<f64>]) -> Option<Interval>,
) -> (f64, f64) {
    let mut rng = ChaCha8Rng::seed_from_u64(20_261_122);
    let truth = truth(noise, between);
    let mut widths = Vec::with_capacity(experiments);
    let mut held = 0;
    for _ in 0..experiments {
        let data = experiment(noise, between, k, r, &mut rng);
        let interval = method(&data).unwrap();
        held += usize::from(interval.contains(truth));
        widths.push(interval.relative_half_width().unwrap());
    }
    (held as f64 / experiments as f64, median(&widths).unwrap())
}

fn chosen(data: &[Vec<f64>]) -> Option<Interval> {
    median_interval(data, 0.95)
}

/// What a figure of ours must cover at a nominal 95%.
fn assert_covers(covered: f64, what: std::fmt::Arguments<'_>) {
    assert!((0.93..=0.97).contains(&covered), "{what}: {covered}");
}

#[test]
#[ignore = "simulates: make simulate"]
fn median_interval_covers_93_to_97_percent() {
    // The standard error of a cell is 0.34%, so a true 95% fails by chance about once in 10^8.
    for noise in SMOOTH {
        for between in BETWEEN {
            for (k, r) in DESIGNS {
                let (c, _) = coverage((noise, between, k, r), 4_000, chosen);
                assert_covers(c, format_args!("{noise:?}, between {between}, {k} x {r}"));
            }
        }
    }
}

#[test]
#[ignore = "simulates: make simulate"]
fn processes_in_two_speeds_are_covered_where_each_speed_is_spread() {
    for between in [1.0, 2.0] {
        for (k, r) in DESIGNS {
            let (c, _) = coverage((Noise::SlowProcesses, between, k, r), 4_000, chosen);
            assert_covers(c, format_args!("between {between}, {k} x {r}"));
        }
    }
    // Up to 5 processes also where the speeds are sharp; from 6 on the median jumps between them, as documented.
    for (k, r) in [(3, 3), (3, 10), (5, 3), (5, 10)] {
        let (c, _) = coverage((Noise::SlowProcesses, 0.0, k, r), 4_000, chosen);
        assert_covers(c, format_args!("{k} x {r}"));
    }
    let (c, _) = coverage((Noise::SlowProcesses, 0.0, 10, 10), 4_000, chosen);
    assert!((0.78..0.86).contains(&c), "{c}: correct the documentation");
}

/// Coverage of a lone process's own median: its repetitions are the units.
fn covered_alone(noise: Noise, r: usize) -> f64 {
    let (c, _) = coverage((noise, 0.0, 1, r), 4_000, chosen);
    c
}

#[test]
#[ignore = "simulates: make simulate"]
fn a_lone_process_is_covered_by_its_repetitions() {
    for noise in SMOOTH {
        for r in [3, 5, 10] {
            assert_covers(covered_alone(noise, r), format_args!("{noise:?}, {r}"));
        }
    }
}

/// Coverage of a percentile of steps that repeat their neighbours (AR(1), 0.5), 64 a repetition, as reports show it:
/// each process's percentile is a unit, and the interval is widened to hold that of all steps.
fn covered_percentile(q: f64, between: f64, (k, r): (usize, usize)) -> f64 {
    let mut rng = ChaCha8Rng::seed_from_u64(20_261_124);
    let z = Normal::new(0.0, 1.0).unwrap().inverse_cdf(q);
    let truth = 1e7 * (0.01 * z).exp();
    let shown = |steps: &[f64]| {
        let mut histogram = LatencyHistogram::new();
        steps.iter().for_each(|s| histogram.record(*s as u64));
        histogram.percentile(q).unwrap() as f64
    };
    let step = |rng: &mut ChaCha8Rng, process: f64, state: &mut f64| {
        *state = 0.5 * *state + 0.75f64.sqrt() * normal(rng);
        1e7 * (0.01 * (process + *state)).exp()
    };
    let experiments = 4_000;
    let held = (0..experiments)
        .filter(|_| {
            let processes: Vec<Vec<f64>> = (0..k)
                .map(|_| {
                    let process = between * normal(&mut rng);
                    let mut state = normal(&mut rng);
                    (0..64 * r)
                        .map(|_| step(&mut rng, process, &mut state))
                        .collect()
                })
                .collect();
            let unit = |steps: &Vec<f64>| vec![quantile_type8(steps, q).unwrap()];
            let units: Vec<Vec<f64>> = processes.iter().map(unit).collect();
            let interval = median_interval(&units, 0.95).unwrap();
            interval.around(shown(&processes.concat())).contains(truth)
        })
        .count();
    held as f64 / f64::from(experiments)
}

#[test]
#[ignore = "simulates: make simulate"]
fn a_percentile_is_covered_though_steps_repeat_their_neighbours() {
    // 5 repetitions of 64 steps are the fewest with a p99 in each process.
    for q in [0.5, 0.9, 0.99] {
        for k in [3, 5, 10] {
            let c = covered_percentile(q, 1.0, (k, 5));
            assert_covers(c, format_args!("p{}, {k} processes", 100.0 * q));
        }
    }
}

/// Coverage of the change between two sides without one, by Welch's t, or by Student's of pairs that share their
/// process: what a comparison shows.
fn covered_change(noise: Noise, between: f64, (k, r): (usize, usize), paired: bool) -> f64 {
    let mut rng = ChaCha8Rng::seed_from_u64(8);
    let held = (0..4_000)
        .filter(|_| {
            let a = experiment(noise, between, k, r, &mut rng);
            let b = experiment(noise, between, k, r, &mut rng);
            let logs = |side: &[Vec<f64>]| -> Vec<f64> {
                side.iter().map(|p| median(p).unwrap().ln()).collect()
            };
            let (a, b) = (logs(&a), logs(&b));
            let (t, centre) = if paired {
                let differences: Vec<f64> = a.iter().zip(&b).map(|(a, b)| b - a).collect();
                let t = super::test::paired(&differences, 0.95).unwrap();
                (t, median(&differences).unwrap())
            } else {
                let t = super::test::welch(&b, &a, 0.95).unwrap();
                (t, median(&b).unwrap() - median(&a).unwrap())
            };
            let interval = t.difference.around(centre);
            interval.contains(0.0)
        })
        .count();
    held as f64 / 4_000.0
}

#[test]
#[ignore = "simulates: make simulate"]
fn a_change_is_covered_where_processes_differ() {
    for noise in SMOOTH {
        for design in DESIGNS {
            for paired in [false, true] {
                let c = covered_change(noise, 1.0, design, paired);
                assert_covers(c, format_args!("{noise:?}, {design:?}, paired {paired}"));
            }
        }
    }
    // Where they do not, Welch's t is on the safe side, as documented.
    let c = covered_change(Noise::Skewed, 0.0, (3, 3), false);
    assert!((0.95..0.98).contains(&c), "{c}");
}

#[test]
#[ignore = "simulates: make simulate"]
fn stopping_early_costs_coverage_only_where_there_is_one_process() {
    let c = stopped_early(Noise::Skewed, 0.0, 1, 0.005);
    assert!((0.89..0.92).contains(&c), "{c}: correct the documentation");
    for noise in SMOOTH {
        for between in [0.5, 2.0] {
            for k in [3, 5, 10] {
                let c = stopped_early(noise, between, k, 0.02);
                assert_covers(
                    c,
                    format_args!("{noise:?}, between {between}, {k} processes"),
                );
            }
        }
    }
}

/// Coverage when each process ends by the stopping rule: at the first repetition, from the third on, at which the
/// interval of its own median is within `precision`, at most at the tenth.
fn stopped_early(noise: Noise, between: f64, k: usize, precision: f64) -> f64 {
    let stop = |process: &Vec<f64>| -> Vec<f64> {
        let narrow = |r: &usize| {
            let interval = median_interval(&[process[..*r].to_vec()], 0.95).unwrap();
            interval.relative_half_width().unwrap() <= precision
        };
        process[..(3..10).find(narrow).unwrap_or(10)].to_vec()
    };
    let (c, _) = coverage((noise, between, k, 10), 4_000, |data| {
        let stopped: Vec<Vec<f64>> = data.iter().map(stop).collect();
        chosen(&stopped)
    });
    c
}

#[test]
#[ignore = "prints the table of the interval module, takes half a minute"]
fn coverage_table() {
    println!("| noise | between / within | processes x repetitions | coverage | half-width |");
    println!("|---|---|---|---|---|");
    for noise in NOISES {
        for between in BETWEEN {
            for (k, r) in [(3, 2), (6, 5), (10, 2)].into_iter().chain(DESIGNS) {
                let (c, w) = coverage((noise, between, k, r), 10_000, chosen);
                println!(
                    "| {noise:?} | {between} | {k} x {r} | {:.1}% | {:.2}% |",
                    100.0 * c,
                    100.0 * w
                );
            }
        }
    }
}

#[test]
#[ignore = "prints the other tables of the interval module, takes a minute"]
fn coverage_table_of_other_uses() {
    println!("A lone process, 3, 5, 10 repetitions:");
    for noise in SMOOTH {
        let c = [3, 5, 10].map(|r| format!("{:.1}", 100.0 * covered_alone(noise, r)));
        println!("| {noise:?} | {} |", c.join(" | "));
    }
    println!("A lone process that stops within 2%, 1%, 0.5%:");
    for noise in SMOOTH {
        let c =
            [0.02, 0.01, 0.005].map(|p| format!("{:.1}", 100.0 * stopped_early(noise, 0.0, 1, p)));
        println!("| {noise:?} | {} |", c.join(" | "));
    }
    println!("Each process stops within 2%, 3 5 10 processes:");
    for noise in NOISES {
        for between in BETWEEN {
            let c = [3, 5, 10]
                .map(|k| format!("{:.1}", 100.0 * stopped_early(noise, between, k, 0.02)));
            println!("| {noise:?} | {between} | {} |", c.join(" | "));
        }
    }
    println!("Change, Welch and paired:");
    for noise in NOISES {
        for between in [0.0, 1.0] {
            for paired in [false, true] {
                let c = DESIGNS
                    .map(|d| format!("{:.1}", 100.0 * covered_change(noise, between, d, paired)));
                println!("| {noise:?} | {between} | {paired} | {} |", c.join(" | "));
            }
        }
    }
    println!("Percentiles p50 p90 p99, designs 3x5 5x5 10x5:");
    for between in BETWEEN {
        for q in [0.5, 0.9, 0.99] {
            let c = [3, 5, 10]
                .map(|k| format!("{:.1}", 100.0 * covered_percentile(q, between, (k, 5))));
            println!("| {between} | {q} | {} |", c.join(" | "));
        }
    }
}
