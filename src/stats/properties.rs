//! Properties that hold for any sample, and no panic on any input.

use proptest::prelude::*;

use super::changepoint::{self, Steady, SteadyRule};
use super::rank::cliffs_delta;
use super::test::{benjamini_hochberg, holm, welch};
use super::{Alternative, edivisive, interval, summary, *};

fn sample() -> impl Strategy<Value = Vec<f64>> {
    prop::collection::vec(-1e3..1e3f64, 2..40)
}

/// Few distinct values, so that ties and zeros are common.
fn tied() -> impl Strategy<Value = Vec<f64>> {
    prop::collection::vec((-4i32..5).prop_map(f64::from), 1..25)
}

/// Anything at all; mostly finite, so that not every sample is refused at the door.
fn wild(most: usize) -> impl Strategy<Value = Vec<f64>> {
    let finite = prop_oneof![
        prop::num::f64::NORMAL | prop::num::f64::SUBNORMAL | prop::num::f64::ZERO,
        prop::sample::select(vec![
            f64::MAX,
            f64::MIN,
            f64::MIN_POSITIVE,
            1.0,
            1.0 + f64::EPSILON,
            -1.0
        ]),
        0.5..1.5f64,
    ];
    prop_oneof![
        prop::collection::vec(finite, 0..most),
        prop::collection::vec(prop::num::f64::ANY, 0..most),
        prop::collection::vec(0.9..1.1f64, 0..most),
    ]
}

fn nested() -> impl Strategy<Value = Vec<Vec<f64>>> {
    prop::collection::vec(prop::collection::vec(0.5..2.0f64, 1..6), 2..9)
}

fn near(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-9 * (1.0 + a.abs().max(b.abs()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn summary_is_equivariant_and_bounded(x in sample(), shift in -1e3..1e3f64, scale in 0.01..100.0f64) {
        let s = Summary::of(&x).unwrap();
        let moved: Vec<f64> = x.iter().map(|v| v * scale + shift).collect();
        let m = Summary::of(&moved).unwrap();
        prop_assert!(near(m.mean, s.mean * scale + shift));
        prop_assert!(near(m.median, s.median * scale + shift));
        prop_assert!((m.sd.unwrap() - s.sd.unwrap() * scale).abs() <= 1e-7 * (1.0 + m.sd.unwrap()));
        prop_assert!((m.mad - s.mad * scale).abs() <= 1e-7 * (1.0 + m.mad));
        prop_assert!(s.min <= s.mean && s.mean <= s.max && s.min <= s.median && s.median <= s.max);
        prop_assert!(s.mad <= s.max - s.min);
    }

    #[test]
    fn quantiles_rise(x in sample(), a in 0.0..=1.0f64, b in 0.0..=1.0f64) {
        let q = |p| quantile(&x, p);
        prop_assert!(q(a.min(b)) <= q(a.max(b)));
        prop_assert!(near(q(0.5), summary::median(&x).unwrap()));
    }

    #[test]
    fn histogram_percentiles_rise(x in prop::collection::vec(1u64..10_000_000, 300..400)) {
        let mut h = LatencyHistogram::new();
        x.iter().for_each(|&v| h.record(v));
        let p: Vec<u64> = [0.5, 0.9, 0.95, 0.99].iter().map(|&q| h.percentile(q).unwrap()).collect();
        prop_assert!(p.is_sorted());
    }

    #[test]
    fn median_interval_scales_inverts_and_ignores_order(x in nested(), scale in 0.01..100.0f64) {
        let i = median_interval(&x, 0.95).unwrap();
        prop_assert!(i.lo <= i.estimate && i.estimate <= i.hi);
        let map = |f: &dyn Fn(f64) -> f64| -> Vec<Vec<f64>> {
            x.iter().map(|p| p.iter().map(|&v| f(v)).collect()).collect()
        };
        let scaled = median_interval(&map(&|v| v * scale), 0.95).unwrap();
        prop_assert!(near(scaled.lo, i.lo * scale) && near(scaled.hi, i.hi * scale));
        let inverse = median_interval(&map(&|v| 1.0 / v), 0.95).unwrap();
        prop_assert!(near(inverse.lo.ln(), -i.hi.ln()) && near(inverse.hi.ln(), -i.lo.ln()));
        prop_assert!(near(inverse.estimate, 1.0 / i.estimate));
        let mut reversed = x.clone();
        reversed.reverse();
        let r = median_interval(&reversed, 0.95).unwrap();
        prop_assert!(near(r.lo, i.lo) && near(r.hi, i.hi));
    }

    #[test]
    fn more_confidence_is_wider(x in nested(), a in 0.5..0.999f64, b in 0.5..0.999f64) {
        let (low, high) = (a.min(b), a.max(b));
        let units: Vec<f64> = x.concat();
        let (n, w) = (interval::t_interval(&units, low).unwrap(), interval::t_interval(&units, high).unwrap());
        prop_assert!(w.lo <= n.lo + 1e-12 && n.hi <= w.hi + 1e-12);
    }

    #[test]
    fn bca_is_equivariant(x in sample(), shift in -100.0..100.0f64, scale in 0.1..10.0f64) {
        let mid = |v: &[f64]| summary::median(v).unwrap();
        let a = bca(&x, mid, 0.9, 200, 11).unwrap();
        let moved: Vec<f64> = x.iter().map(|v| v * scale + shift).collect();
        let b = bca(&moved, mid, 0.9, 200, 11).unwrap();
        prop_assert!(a.lo <= a.estimate && a.estimate <= a.hi);
        prop_assert!((b.estimate - (a.estimate * scale + shift)).abs() < 1e-6);
        let (min, max) = (quantile(&x, 0.0), quantile(&x, 1.0));
        prop_assert!(min <= a.lo && a.hi <= max);
    }

    #[test]
    fn cliffs_delta_mirrors(a in tied(), b in tied()) {
        prop_assert!(near(cliffs_delta(&a, &b).unwrap().delta, -cliffs_delta(&b, &a).unwrap().delta));
    }

    #[test]
    fn adjusted_p_values_keep_order_and_grow(p in prop::collection::vec(0.0..=1.0f64, 1..30)) {
        let (h, b) = (holm(&p).unwrap(), benjamini_hochberg(&p).unwrap());
        for i in 0..p.len() {
            prop_assert!(p[i] <= b[i] + 1e-15 && b[i] <= h[i] + 1e-15 && h[i] <= 1.0);
            for j in 0..p.len() {
                prop_assert!(p[i] > p[j] || (h[i] <= h[j] && b[i] <= b[j]));
            }
        }
    }

    #[test]
    fn welch_mirrors_and_interval_agrees_with_p(a in sample(), b in sample()) {
        let (x, y) = (welch(&a, &b, 0.95).unwrap(), welch(&b, &a, 0.95).unwrap());
        prop_assert!(near(x.difference.lo, -y.difference.hi));
        let p = x.p_value(0.0, Alternative::TwoSided);
        prop_assert!((p - 0.05).abs() < 1e-6 || (p < 0.05) != x.difference.contains(0.0));
    }

    #[test]
    fn steady_scales(x in prop::collection::vec(1.0..1.5f64, 10..80), power in -20i32..20) {
        let scaled: Vec<f64> = x.iter().map(|v| v * 2f64.powi(power)).collect();
        let steady = |x: &[f64]| Steady::find(x, SteadyRule::default());
        prop_assert_eq!(steady(&x), steady(&scaled));
    }

    #[test]
    fn nothing_panics(x in wild(30), y in wild(5)) {
        let groups = [x.clone(), y.clone()];
        let _ = (Summary::of(&x), summary::mad(&x));
        let _ = median_interval(&groups, 0.95);
        let _ = (interval::centre_interval(&x, 0.95), interval::centre_interval(&y, 0.5));
        let _ = bca(&x, |v| v.iter().sum(), 0.9, 20, 1);
        let _ = cliffs_delta(&x, &y);
        let _ = (welch(&x, &y, 0.9), holm(&x), benjamini_hochberg(&y));
        let _ = Steady::find(&x, SteadyRule::default());
        let any = changepoint::Pelt { noise: 0.1, penalty: 5.0, min_segment: 2 };
        let _ = changepoint::pelt(&x, any);
        let few = edivisive::EDivisive { permutations: 3, min_segment: 2, ..Default::default() };
        let _ = edivisive::edivisive(&x, few);
    }
}

fn quantile(x: &[f64], p: f64) -> f64 {
    summary::quantile_type7(x, p).unwrap()
}
