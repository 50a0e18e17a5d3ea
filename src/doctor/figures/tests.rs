//! Figures of made-up looks, which the checks' tests use as well.

use super::*;
use crate::host::CoreTrial;
use crate::host::usage::{Spread, UsageDelta};

pub const TIMER: TimerFacts = TimerFacts {
    resolution_ns: 1,
    overhead_ns: 25.0,
    readings: 10_000,
};

pub fn trial(n_threads: u32, compute_ns: u64, read_ns: u64) -> StepTrial {
    StepTrial {
        n_threads,
        buffer_bytes: 1_000_000_000,
        compute_ns: vec![compute_ns; 80],
        read_ns: vec![read_ns; 10],
    }
}

/// Everything as it should be on a machine of four cores.
pub fn quiet() -> Observed {
    let at_rest = UsageDelta {
        wall_ns: 1_000_000_000,
        others_cpu_percent: Some(0.2),
        others_resolution_percent: Some(1.0),
        swap_in_bytes: Some(0),
        swap_out_bytes: Some(0),
        ..UsageDelta::default()
    };
    Observed {
        looked_ns: 5_000_000_000,
        at_work: UsageDelta {
            wall_ns: 2_000_000_000,
            steal_percent: Some(0.0),
            involuntary_switches: Some(80),
            throttle_events: Some(0),
            quota_throttled_ns: Some(0),
            ..at_rest.clone()
        },
        at_rest,
        switches_at_rest: Some(300),
        busiest: Vec::new(),
        cores: (0..4)
            .map(|cpu| CoreTrial {
                cpu,
                compute_ns: vec![1000 + u64::from(cpu); 20],
            })
            .collect(),
        one: vec![trial(1, 1000, 100_000_000); 2],
        all: vec![trial(4, 1010, 40_000_000); 6],
        huge: vec![trial(4, 1010, 40_000_000); 3],
        clock_at_work: Some(Spread {
            min: 3e9,
            mean: 3e9,
            max: 3e9,
        }),
    }
}

fn close(value: Option<f64>, expected: f64) {
    let value = value.expect("measured");
    assert!((value - expected).abs() < 1e-3, "{value} is not {expected}");
}

#[test]
fn figures_of_a_quiet_machine() {
    let figures = DoctorFigures::of(&quiet(), TIMER);
    assert_eq!(figures.others_cpu_percent, Some(0.2));
    assert_eq!(figures.switches_at_rest_per_s, Some(300.0));
    assert_eq!(figures.interruptions_per_s, Some(10.0));
    assert_eq!(
        (figures.jitter, figures.clock_drift),
        (Some(0.0), Some(0.0))
    );
    assert_eq!(
        (figures.compute_sd, figures.read_sd),
        (Some(0.0), Some(0.0))
    );
    close(figures.all_at_once, 0.01);
    let cores = figures.core_spread.expect("four cores");
    assert_eq!((cores.slowest, cores.fastest, cores.n_cores), (3, 0, 4));
    close(Some(cores.share), 0.003);
    let read = figures.read.expect("six trials");
    close(Some(read.all_bytes_per_s / 25e9), 1.0);
    close(read.one_bytes_per_s.map(|rate| rate / 10e9), 1.0);
    assert_eq!(figures.clock_hz, Some(3_000_000_000));
}

#[test]
fn stolen_passes_are_jitter_and_a_lower_clock_is_drift() {
    let mut seen = quiet();
    for trial in &mut seen.all {
        // Three of a hundred passes take twice as long: the fastest does not notice.
        trial.compute_ns = [vec![1000; 97], vec![2000; 3]].concat();
    }
    let figures = DoctorFigures::of(&seen, TIMER);
    close(figures.jitter, 1.0);
    close(figures.clock_drift, 0.0);
    for (trial, ns) in seen
        .all
        .iter_mut()
        .zip([1000, 1010, 1020, 1030, 1040, 1050])
    {
        trial.compute_ns = vec![ns; 80];
    }
    let figures = DoctorFigures::of(&seen, TIMER);
    close(figures.clock_drift, 0.05);
    // Standard deviation of ln 1.00, 1.01 .. 1.05.
    close(figures.compute_sd, 0.0183);
    assert_eq!(figures.read_sd, Some(0.0));
}

#[test]
fn a_gain_of_huge_pages_must_show_in_every_trial() {
    let mut seen = quiet();
    seen.huge = vec![trial(4, 1010, 36_000_000); 3];
    let clear = DoctorFigures::of(&seen, TIMER)
        .huge_pages
        .expect("measured");
    close(Some(clear.gain), 0.111);
    assert!(clear.is_clear);
    seen.all[2] = trial(4, 1010, 35_000_000);
    let luck = DoctorFigures::of(&seen, TIMER)
        .huge_pages
        .expect("measured");
    assert!(!luck.is_clear);
}

#[test]
fn too_few_passes_have_no_p99_and_nothing_seen_is_nothing_known() {
    let mut seen = quiet();
    seen.all.truncate(3);
    assert_eq!(DoctorFigures::of(&seen, TIMER).jitter, None, "240 passes");
    let nothing = DoctorFigures::of(&Observed::default(), TIMER);
    assert_eq!((nothing.jitter, nothing.clock_drift), (None, None));
    assert_eq!((nothing.compute_sd, nothing.n_trials), (None, 0));
    assert!(nothing.read.is_none() && nothing.core_spread.is_none());
    assert_eq!(nothing.swapped_bytes, None);
}
