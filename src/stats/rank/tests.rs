use super::*;
use Alternative::{Greater, Less, TwoSided};

/// Darwin's maize: differences of 15 pairs in eighths of an inch (Fisher, The Design of Experiments, 1935).
const DARWIN: [f64; 15] = [
    49.0, -67.0, 8.0, 16.0, 6.0, 23.0, 28.0, 41.0, 14.0, 29.0, 56.0, 24.0, 75.0, 60.0, -48.0,
];

/// Hollander & Wolfe: permeability of chorioamnion at term, and at 12 to 26 weeks (R's `?wilcox.test`).
const TERM: [f64; 10] = [0.80, 0.83, 1.89, 1.04, 1.45, 1.38, 1.91, 1.64, 0.73, 1.46];
const EARLY: [f64; 5] = [1.15, 0.88, 0.90, 0.74, 1.21];

fn close(a: f64, b: f64) {
    assert!((a - b).abs() <= 1e-10 * b.abs().max(1e-3), "{a} is not {b}");
}

#[test]
#[expect(clippy::approx_constant, reason = "3.14 is a patient's score")]
fn signed_rank_agrees_with_r_on_the_depression_scores() {
    // Hollander & Wolfe, Hamilton depression scale (R's ?wilcox.test): V = 40, p = 0.01953.
    let x = [1.83, 0.50, 1.62, 2.48, 1.68, 1.88, 1.55, 3.06, 1.30];
    let y = [0.878, 0.647, 0.598, 2.05, 1.06, 1.29, 1.06, 3.14, 1.29];
    let d: Vec<f64> = x.iter().zip(y).map(|(x, y)| x - y).collect();
    let t = signed_rank(&d, 0.0, Greater).unwrap();
    assert_eq!((t.statistic, t.n, t.exact), (40.0, 9, true));
    close(t.p_value, 10.0 / 512.0);
}

#[test]
fn signed_rank_and_its_estimate_on_darwins_maize() {
    // scipy 1.17 wilcoxon(method="exact"); interval by enumerating Walsh averages.
    close(
        signed_rank(&DARWIN, 0.0, Greater).unwrap().p_value,
        0.020_629_882_812_5,
    );
    close(
        signed_rank(&DARWIN, 0.0, TwoSided).unwrap().p_value,
        0.041_259_765_625,
    );
    close(
        signed_rank(&DARWIN, 0.0, Less).unwrap().p_value,
        0.982_330_322_265_625,
    );
    let hl = hodges_lehmann(&DARWIN, 0.95).unwrap();
    assert_eq!(hl.estimate, 25.0);
    let i = hl.interval.unwrap();
    assert_eq!((i.lo, i.hi), (4.0, 41.5));
}

#[test]
fn signed_rank_with_ties_and_a_zero_is_exact() {
    // All 2^9 signs of the midranks enumerated with itertools.
    let d = [1.0, 2.0, 2.0, -2.0, 3.0, 0.0, -1.0, 4.0, 4.0, 5.0];
    let t = signed_rank(&d, 0.0, TwoSided).unwrap();
    assert_eq!((t.statistic, t.n), (39.5, 9));
    close(t.p_value, 0.050_781_25);
    close(
        signed_rank(&d, 0.0, Greater).unwrap().p_value,
        0.025_390_625,
    );
    close(signed_rank(&d, 0.0, Less).unwrap().p_value, 0.986_328_125);
}

#[test]
fn signed_rank_above_fifty_uses_the_corrected_normal() {
    // scipy 1.17 wilcoxon(correction=True, method="approx"): zeros dropped, ties corrected.
    let d: Vec<f64> = (0..60)
        .map(|i| f64::from((i * 37) % 61 - 22) / 10.0)
        .collect();
    let t = signed_rank(&d, 0.0, Greater).unwrap();
    assert_eq!((t.statistic, t.n, t.exact), (1295.5, 59, false));
    close(t.p_value, 0.000_984_391_068_057_259);
    close(
        signed_rank(&d, 0.0, TwoSided).unwrap().p_value,
        0.001_968_782_136_114_518,
    );
}

#[test]
fn a_shifted_null_asks_for_more_than_three_percent() {
    let limit = 1.03f64.ln();
    let slower = |percent: f64| -> Vec<f64> {
        (0..12)
            .map(|i| (1.0 + percent / 100.0).ln() + f64::from(i - 6) * 1e-4 + 1e-5)
            .collect()
    };
    assert!(signed_rank(&slower(2.0), limit, Greater).unwrap().p_value > 0.99);
    assert!(signed_rank(&slower(4.0), limit, Greater).unwrap().p_value < 0.001);
    assert!(signed_rank(&slower(2.0), 0.0, Greater).unwrap().p_value < 0.001);
}

#[test]
fn nothing_but_zeros_is_no_evidence() {
    let t = signed_rank(&[0.5; 4], 0.5, TwoSided).unwrap();
    assert_eq!((t.p_value, t.n), (1.0, 0));
    let u = mann_whitney(&[1.0; 4], &[1.0; 5], Greater).unwrap();
    assert_eq!((u.p_value, u.statistic), (1.0, 10.0));
}

#[test]
fn mann_whitney_agrees_with_r_and_scipy() {
    // R: W = 35, p = 0.1272 (greater), interval -0.15 to 0.76, estimate 0.305.
    let t = mann_whitney(&TERM, &EARLY, Greater).unwrap();
    assert_eq!((t.statistic, t.exact), (35.0, true));
    close(t.p_value, 0.127_206_127_206_127_2);
    close(
        mann_whitney(&TERM, &EARLY, TwoSided).unwrap().p_value,
        0.254_412_254_412_254_4,
    );
    close(
        mann_whitney(&TERM, &EARLY, Less).unwrap().p_value,
        0.896_769_896_769_896_7,
    );
    let hl = hodges_lehmann_shift(&TERM, &EARLY, 0.95).unwrap();
    close(hl.estimate, 0.305);
    let i = hl.interval.unwrap();
    close(i.lo, -0.15);
    close(i.hi, 0.76);
}

#[test]
fn mann_whitney_with_ties_agrees_with_scipy() {
    // scipy 1.17 mannwhitneyu(method="asymptotic", use_continuity=True).
    let a = [1.0, 2.0, 2.0, 3.0, 4.0, 5.0, 5.0, 6.0];
    let b = [2.0, 3.0, 5.0, 7.0, 8.0, 8.0, 9.0];
    let t = mann_whitney(&a, &b, TwoSided).unwrap();
    assert_eq!((t.statistic, t.exact), (12.5, false));
    close(t.p_value, 0.079_838_719_645_852_61);
    close(
        mann_whitney(&a, &b, Less).unwrap().p_value,
        0.039_919_359_822_926_305,
    );
    close(
        mann_whitney(&a, &b, Greater).unwrap().p_value,
        0.969_146_654_985_843_6,
    );
    close(
        cliffs_delta(&a, &b).unwrap().delta,
        -0.553_571_428_571_428_6,
    );
}

#[test]
fn exact_and_approximate_critical_values_meet_at_the_border() {
    let (n, tail) = (SIGNED_RANK_EXACT_MAX, 0.025);
    let nf = n as f64;
    let exact = null::signed_rank(&(1..=n).collect::<Vec<_>>()).lower_critical(tail);
    let sd = (nf * (nf + 1.0) * (2.0 * nf + 1.0) / 24.0).sqrt();
    assert!(approximate_critical(nf * (nf + 1.0) / 4.0, sd, tail).abs_diff(exact) <= 1);
    let n = MANN_WHITNEY_EXACT_MAX;
    let nf = n as f64;
    let exact = null::mann_whitney(n, n).lower_critical(tail);
    let sd = (nf * nf * (2.0 * nf + 1.0) / 12.0).sqrt();
    assert!(approximate_critical(nf * nf / 2.0, sd, tail).abs_diff(exact) <= 1);
    let x: Vec<f64> = (0..60).map(|i| f64::from((i * 29) % 61)).collect();
    let i = hodges_lehmann(&x, 0.95).unwrap().interval.unwrap();
    assert!(i.contains(30.0) && i.hi - i.lo < 12.0, "{i:?}");
    let i = hodges_lehmann_shift(&x, &x, 0.95)
        .unwrap()
        .interval
        .unwrap();
    assert!(i.contains(0.0) && i.hi - i.lo < 15.0, "{i:?}");
}

#[test]
fn too_few_pairs_have_an_estimate_without_interval() {
    // Two-sided 95% needs 2 / 2^n <= 0.05: six pairs.
    assert!(
        hodges_lehmann(&DARWIN[..6], 0.95)
            .unwrap()
            .interval
            .is_some()
    );
    let five = hodges_lehmann(&DARWIN[..5], 0.95).unwrap();
    assert_eq!(five.interval, None);
    assert_eq!(hodges_lehmann(&[4.0], 0.95).unwrap().estimate, 4.0);
}

#[test]
fn cliffs_delta_has_its_usual_words() {
    let words = |d: f64| {
        // 1000 against one value: delta = (wins - losses) / 1000.
        let wins = ((1.0 + d) / 2.0 * 1000.0).round() as usize;
        let a: Vec<f64> = (0..1000)
            .map(|i| if i < wins { 1.0 } else { -1.0 })
            .collect();
        cliffs_delta(&a, &[0.0]).unwrap().magnitude
    };
    assert_eq!(words(0.146), Magnitude::Negligible);
    assert_eq!(words(0.148), Magnitude::Small);
    assert_eq!(words(-0.332), Magnitude::Medium);
    assert_eq!(words(0.474), Magnitude::Large);
    close(cliffs_delta(&TERM, &EARLY).unwrap().delta, 0.4);
}

#[test]
fn empty_or_not_finite_is_refused() {
    for bad in [&[][..], &[f64::NAN, 1.0], &[f64::INFINITY]] {
        assert_eq!(signed_rank(bad, 0.0, Greater), None);
        assert_eq!(mann_whitney(bad, &EARLY, Greater), None);
        assert_eq!(mann_whitney(&EARLY, bad, Greater), None);
        assert_eq!(hodges_lehmann(bad, 0.95), None);
        assert_eq!(hodges_lehmann_shift(bad, &EARLY, 0.95), None);
        assert_eq!(cliffs_delta(&EARLY, bad), None);
    }
    assert_eq!(signed_rank(&[1.0], f64::NAN, Greater), None);
    assert_eq!(hodges_lehmann(&[1.0], 1.0), None);
}
