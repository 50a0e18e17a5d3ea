use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;

use super::*;

/// The default rule: changes of 2% matter, a level is 5 values, the last quarter must be steady.
fn steady_from(values: &[f64]) -> Steady {
    Steady::find(values, SteadyRule::default())
}

/// Noise from the series itself and a penalty of `3 ln n`, that of Zhang & Siegmund's modified BIC (Biometrics 63, 2007) for
/// segments of equal length; none of a constant.
fn for_series(values: &[f64], min_segment: usize) -> Option<Pelt> {
    let noise = noise_scale(values).filter(|&noise| noise > 0.0)?;
    Some(Pelt {
        noise,
        penalty: 3.0 * (values.len() as f64).ln(),
        min_segment,
    })
}

fn noisy(levels: &[(usize, f64)], sd: f64, seed: u64) -> Vec<f64> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    levels
        .iter()
        .flat_map(|&(n, level)| std::iter::repeat_n(level, n))
        .map(|level| level + sd * rng.sample::<f64, _>(StandardNormal))
        .collect()
}

fn brute_force(values: &[f64], s: Pelt) -> f64 {
    let cost = |x: &[f64]| {
        let mean = x.iter().sum::<f64>() / x.len() as f64;
        x.iter()
            .map(|v| ((v - mean) / s.noise).powi(2))
            .sum::<f64>()
    };
    let mut best = vec![f64::INFINITY; values.len() + 1];
    best[0] = -s.penalty;
    for t in s.min_segment..=values.len() {
        for start in 0..=t - s.min_segment {
            best[t] = best[t].min(best[start] + cost(&values[start..t]) + s.penalty);
        }
    }
    best[values.len()]
}

fn total(values: &[f64], s: Pelt, changes: &[usize]) -> f64 {
    let bounds = [&[0], changes, &[values.len()]].concat();
    let cost = SegmentCost::new(values, s.noise).unwrap();
    bounds.windows(2).map(|b| cost.of(b[0], b[1])).sum::<f64>() + s.penalty * changes.len() as f64
}

#[test]
fn pelt_is_optimal() {
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    for case in 0..200 {
        let levels: Vec<(usize, f64)> = (0..rng.random_range(1..5))
            .map(|_| (rng.random_range(1..15), rng.random_range(0.0..6.0)))
            .collect();
        let x = noisy(&levels, 1.0, case);
        let s = Pelt {
            noise: 1.0,
            penalty: rng.random_range(0.0..10.0),
            min_segment: rng.random_range(1..5),
        };
        let changes = pelt(&x, s).unwrap();
        if x.len() >= 2 * s.min_segment {
            let (got, least) = (total(&x, s, &changes), brute_force(&x, s));
            assert!(
                (got - least).abs() < 1e-6,
                "case {case}: {got} against {least}"
            );
        }
        let bounds = [&[0], &changes[..], &[x.len()]].concat();
        assert!(changes.is_empty() || bounds.windows(2).all(|b| b[1] - b[0] >= s.min_segment));
    }
}

#[test]
fn pelt_finds_steps_and_nothing_in_noise() {
    let x = noisy(&[(50, 10.0), (50, 13.0), (50, 11.0)], 0.5, 1);
    let s = for_series(&x, 3).unwrap();
    assert!((s.noise - 0.5).abs() < 0.12, "{}", s.noise);
    let changes = pelt(&x, s).unwrap();
    assert_eq!(changes.len(), 2, "{changes:?}");
    assert!(
        changes[0].abs_diff(50) <= 1 && changes[1].abs_diff(100) <= 1,
        "{changes:?}"
    );
    let false_alarms = (0..100)
        .filter(|&seed| {
            let x = noisy(&[(200, 10.0)], 0.5, seed);
            !pelt(&x, for_series(&x, 3).unwrap()).unwrap().is_empty()
        })
        .count();
    assert!(false_alarms <= 5, "{false_alarms}");
}

#[test]
fn a_constant_or_slightly_noisy_series_is_settled_from_the_start() {
    assert_eq!(steady_from(&[6.0e6; 400]), Steady::Settled { from: 0 });
    assert_eq!(steady_from(&[0.0; 40]), Steady::Settled { from: 0 });
    for seed in 0..500 {
        let x = noisy(&[(64, 6.0e6)], 9.0e4, seed);
        assert_eq!(steady_from(&x), Steady::Settled { from: 0 }, "seed {seed}");
    }
}

#[test]
fn warm_up_is_cut_where_it_ends() {
    for seed in 0..100 {
        let x = noisy(&[(12, 9.0), (80, 6.0)], 0.06, seed);
        let Steady::Settled { from } = steady_from(&x) else {
            panic!("seed {seed}: not settled");
        };
        assert!(from.abs_diff(12) <= 1, "seed {seed}: {from}");
    }
    // Fewer slow steps than make a level.
    for slow in 1..5 {
        for seed in 0..100 {
            let x = noisy(&[(slow, 30.0), (40, 6.0)], 0.06, seed);
            assert_eq!(
                steady_from(&x),
                Steady::Settled { from: slow },
                "seed {seed}"
            );
        }
    }
    // An exponential approach: what is cut leaves nothing more than twice the floor above the end.
    let x: Vec<f64> = (0..200)
        .map(|i| 6.0 * (1.0 + 0.5 * (-f64::from(i) / 10.0).exp()))
        .collect();
    let Steady::Settled { from } = steady_from(&x) else {
        panic!("not settled");
    };
    assert!((20..60).contains(&from) && x[from] / 6.0 < 1.06, "{from}");
}

#[test]
fn single_outliers_do_not_unsettle() {
    for at in [1, 2, 20, 38, 39] {
        let mut x = noisy(&[(40, 6.0)], 0.03, 9);
        x[at] = 60.0;
        assert_eq!(
            steady_from(&x),
            Steady::Settled { from: 0 },
            "outlier at {at}"
        );
    }
    let mut x = noisy(&[(200, 6.0)], 0.03, 9);
    (0..200).step_by(17).skip(1).for_each(|i| x[i] = 18.0);
    assert_eq!(steady_from(&x), Steady::Settled { from: 0 });
}

#[test]
fn changes_below_the_floor_do_not_matter_and_the_floor_can_be_set() {
    let x = noisy(&[(50, 6.06), (50, 6.0)], 0.003, 2);
    assert_eq!(steady_from(&x), Steady::Settled { from: 0 });
    let strict = SteadyRule {
        relative_floor: 0.002,
        ..SteadyRule::default()
    };
    assert_eq!(Steady::find(&x, strict), Steady::Settled { from: 50 });
}

#[test]
fn a_late_change_is_not_steady() {
    assert_eq!(
        steady_from(&noisy(&[(60, 6.0), (10, 9.0)], 0.05, 1)),
        Steady::Unsettled
    );
    let drifting: Vec<f64> = (0..100).map(|i| 6.0 + f64::from(i) * 0.05).collect();
    assert_eq!(steady_from(&drifting), Steady::Unsettled);
}

#[test]
fn short_or_not_finite_series_are_not_called_steady() {
    assert_eq!(steady_from(&[]), Steady::TooShort);
    assert_eq!(steady_from(&[6.0; 9]), Steady::TooShort);
    assert_eq!(steady_from(&[6.0; 10]), Steady::Settled { from: 0 });
    let mut x = vec![6.0; 40];
    x[3] = f64::NAN;
    assert_eq!(steady_from(&x), Steady::Unsettled);
    let s = Pelt {
        noise: 1.0,
        penalty: 5.0,
        min_segment: 2,
    };
    assert_eq!(pelt(&x, s), None);
    assert_eq!(pelt(&[1.0, 2.0], Pelt { noise: 0.0, ..s }), None);
    assert_eq!(pelt(&[], s), Some(vec![]));
    assert_eq!(for_series(&[4.0; 9], 2), None);
}
