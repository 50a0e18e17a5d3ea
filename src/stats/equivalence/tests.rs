use super::*;

/// Log ratios around a relative change, symmetric, at most a step away.
fn around(change: f64, step: f64, n: usize) -> Vec<f64> {
    const PARTS: [f64; 8] = [1.0, -1.0, -0.5, 0.5, -0.75, 0.75, 0.25, -0.25];
    let parts = PARTS.iter().cycle().take(n);
    parts.map(|part| change.ln_1p() + step * part).collect()
}

fn decided(log_ratios: &[f64], n_sides: usize) -> EqualityDecision {
    decide(log_ratios, n_sides, &EqualityRule::default()).expect("pairs")
}

#[test]
fn clear_ratios_have_their_verdicts() {
    let verdict = |change: f64, step: f64, n: usize| decided(&around(change, step, n), 1).verdict;
    assert_eq!(verdict(0.0, 0.003, 20), EqualityVerdict::Equal);
    assert_eq!(verdict(0.005, 0.0005, 40), EqualityVerdict::DifferentWithin);
    assert_eq!(
        verdict(-0.005, 0.0005, 40),
        EqualityVerdict::DifferentWithin
    );
    assert_eq!(verdict(0.01, 0.002, 40), EqualityVerdict::Different);
    assert_eq!(verdict(0.05, 0.003, 20), EqualityVerdict::DifferentBeyond);
    assert_eq!(verdict(-0.05, 0.003, 20), EqualityVerdict::DifferentBeyond);
    assert_eq!(verdict(0.0, 0.1, 60), EqualityVerdict::Undecided);
}

#[test]
fn no_verdict_before_the_fewest_pairs_and_none_of_nothing() {
    let rule = EqualityRule {
        alpha_equal: 0.5,
        ..EqualityRule::default()
    };
    let at = |n| decide(&around(0.0, 0.001, n), 1, &rule).map(|d| d.verdict);
    assert_eq!(
        (at(5), at(6)),
        (
            Some(EqualityVerdict::Undecided),
            Some(EqualityVerdict::Equal)
        )
    );
    assert_eq!(at(0), None);
    assert_eq!(decide(&[0.0, f64::NAN], 1, &rule), None);
    assert!(!is_above(&around(0.05, 0.001, 5), &rule) && is_above(&around(0.05, 0.001, 6), &rule));
    assert!(!is_above(&around(-0.05, 0.001, 20), &rule));
}

/// By hand: three signs at stakes of 0.25, 0.5 and 0.9, with shares of 0.2, 0.2 and 0.6. All distances from a margin of 1% have one sign.
#[test]
fn equality_is_won_by_hand() {
    let x = [0.001, -0.001, 0.001];
    let wealth: f64 = [(0.25f64, 0.2), (0.5, 0.2), (0.9, 0.6)]
        .iter()
        .map(|(stake, share)| share * (1.0 + stake).powi(3))
        .sum();
    let found = mixed_wealth(&x, &scales(&x), 0.01f64.ln_1p(), -1.0);
    assert!((found - wealth.ln()).abs() < 1e-12, "{found}");
}

/// "Equal" is said exactly when the interval lies within the margin.
#[test]
fn the_interval_agrees_with_the_verdict() {
    let margin = 0.01f64.ln_1p();
    for change in [0.0, 0.002, 0.004, 0.006, 0.008] {
        for n in [6, 8, 12, 20, 40, 80] {
            let decision = decided(&around(change, 0.006, n), 1);
            let within = decision
                .interval
                .is_some_and(|i| i.lo > -margin && i.hi < margin);
            assert_eq!(
                decision.verdict.is_within(),
                within,
                "{change} {n}: {decision:?}"
            );
        }
    }
}

#[test]
fn more_sides_need_more_pairs_and_wider_intervals() {
    let x = around(0.0, 0.008, 40);
    let first = |n_sides| (1..40).find(|n| decided(&x[..*n], n_sides).verdict.is_final());
    let (one, three) = (first(1).expect("decided"), first(3).expect("decided"));
    assert!(one < three, "{one} {three}");
    let level = |n_sides| decided(&x, n_sides).interval.expect("an interval").level;
    assert!((level(1) - 0.9).abs() < 1e-12 && (level(3) - (1.0 - 0.1 / 3.0)).abs() < 1e-12);
}

#[test]
fn what_is_missing_follows_from_distance_and_noise() {
    let more = |change: f64| decided(&around(change, 0.02, 8), 1).more_pairs;
    let (middle, far) = (more(0.0), more(0.03));
    assert!(
        middle.is_some() && far.is_some() && far < middle,
        "{middle:?} {far:?}"
    );
    assert_eq!(decided(&around(0.0, 0.003, 20), 1).more_pairs, None);
}
