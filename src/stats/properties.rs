//! Properties that hold for any sample, and no panic on any input.

use proptest::prelude::*;

use super::rank::{
    self, cliffs_delta, hodges_lehmann, hodges_lehmann_shift, mann_whitney, signed_rank,
};
use super::test::{benjamini_hochberg, holm, tost_paired, welch};
use super::{Alternative, changepoint, edivisive, interval, summary, *};

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
    fn geometric_mean_is_at_most_the_mean(x in prop::collection::vec(0.01..1e3f64, 1..20)) {
        let g = summary::geometric_mean(&x).unwrap();
        prop_assert!(g <= summary::mean(&x).unwrap() * (1.0 + 1e-12));
    }

    #[test]
    fn histogram_percentiles_rise(x in prop::collection::vec(1u64..10_000_000, 300..400)) {
        let mut h = LatencyHistogram::new();
        x.iter().for_each(|&v| h.record(v));
        let p: Vec<u64> = [0.5, 0.9, 0.95, 0.99].iter().map(|&q| h.percentile(q).unwrap()).collect();
        prop_assert!(p.is_sorted() && *p.last().unwrap() <= h.max_ns().unwrap());
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
        let of = |l| rank::hodges_lehmann(&units, l).unwrap().interval;
        if let (Some(n), Some(w)) = (of(low), of(high)) {
            prop_assert!(w.lo <= n.lo && n.hi <= w.hi);
        }
    }

    #[test]
    fn ratio_is_antisymmetric(a in nested(), b in nested()) {
        let (r, s) = (ratio_interval(&a, &b, 0.9).unwrap(), ratio_interval(&b, &a, 0.9).unwrap());
        prop_assert!(near(r.lo.ln(), -s.hi.ln()) && near(r.estimate.ln(), -s.estimate.ln()));
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
    fn signed_rank_mirrors(x in tied()) {
        let minus: Vec<f64> = x.iter().map(|v| -v).collect();
        let p = |v: &[f64], a| signed_rank(v, 0.0, a).unwrap().p_value;
        prop_assert!(near(p(&x, Alternative::Greater), p(&minus, Alternative::Less)));
        prop_assert!(near(p(&x, Alternative::TwoSided), p(&minus, Alternative::TwoSided)));
        prop_assert!((0.0..=1.0).contains(&p(&x, Alternative::Greater)));
        prop_assert!(p(&x, Alternative::Greater) + p(&x, Alternative::Less) >= 1.0 - 1e-12);
    }

    #[test]
    fn a_larger_null_is_harder_to_exceed(x in sample(), a in -50.0..50.0f64, b in -50.0..50.0f64) {
        let p = |s| signed_rank(&x, s, Alternative::Greater).unwrap().p_value;
        prop_assert!(p(a.min(b)) <= p(a.max(b)) + 1e-12);
    }

    #[test]
    fn mann_whitney_mirrors_and_counts_every_pair(a in tied(), b in tied()) {
        let (x, y) = (
            mann_whitney(&a, &b, Alternative::Greater).unwrap(),
            mann_whitney(&b, &a, Alternative::Less).unwrap(),
        );
        prop_assert!(near(x.p_value, y.p_value));
        prop_assert_eq!(x.statistic + y.statistic, (a.len() * b.len()) as f64);
        let d = cliffs_delta(&a, &b).unwrap().delta;
        prop_assert!(near(d, 2.0 * x.statistic / (a.len() * b.len()) as f64 - 1.0));
        prop_assert!(near(d, -cliffs_delta(&b, &a).unwrap().delta));
    }

    #[test]
    fn hodges_lehmann_shifts(x in sample(), y in sample(), by in -50.0..50.0f64) {
        let moved: Vec<f64> = x.iter().map(|v| v + by).collect();
        let (a, b) = (hodges_lehmann(&x, 0.9).unwrap(), hodges_lehmann(&moved, 0.9).unwrap());
        prop_assert!(near(a.estimate + by, b.estimate));
        let shift = hodges_lehmann_shift(&moved, &y, 0.9).unwrap();
        prop_assert!(near(hodges_lehmann_shift(&x, &y, 0.9).unwrap().estimate + by, shift.estimate));
        prop_assert!(shift.interval.is_none_or(|i| i.contains(shift.estimate)));
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
        prop_assert_eq!(steady_from(&x), steady_from(&scaled));
    }

    #[test]
    fn nothing_panics(x in wild(30), y in wild(5)) {
        let groups = [x.clone(), y.clone()];
        let _ = (Summary::of(&x), summary::geometric_mean(&x), summary::mad(&x));
        let _ = (median_interval(&groups, 0.95), ratio_interval(&groups, &groups, 0.95));
        let _ = (interval::centre_interval(&x, 0.95), interval::centre_interval(&y, 0.5));
        let _ = bca(&x, |v| v.iter().sum(), 0.9, 20, 1);
        let _ = bca_nested(&groups, |v| v.concat().iter().sum(), 0.9, 20, 1);
        let _ = (signed_rank(&x, 0.5, Alternative::Less), mann_whitney(&x, &y, Alternative::TwoSided));
        let _ = (hodges_lehmann(&x, 0.9), hodges_lehmann_shift(&x, &y, 0.9), cliffs_delta(&x, &y));
        let _ = (tost_paired(&x, 0.01, 0.05), welch(&x, &y, 0.9), holm(&x), benjamini_hochberg(&y));
        let _ = (steady_from(&x), changepoint::Pelt::for_series(&x, 2).map(|s| changepoint::pelt(&x, s)));
        let few = edivisive::EDivisive { permutations: 3, min_segment: 2, ..Default::default() };
        let _ = edivisive::edivisive(&x, few);
        let _ = (autocorrelation::lag1(&x), autocorrelation::effective_sample_size(&x));
        let _ = histogram::percentile_interval(&x, 0.5, 0.9);
    }
}

fn quantile(x: &[f64], p: f64) -> f64 {
    summary::quantile_type7(x, p).unwrap()
}
