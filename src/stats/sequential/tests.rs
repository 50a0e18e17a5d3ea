use super::*;

/// Log ratios around a relative change, symmetric, at most a step away.
fn around(change: f64, step: f64, n: usize) -> Vec<f64> {
    const PARTS: [f64; 8] = [1.0, -1.0, -0.5, 0.5, -0.75, 0.75, 0.25, -0.25];
    let parts = PARTS.iter().cycle().take(n);
    parts.map(|part| change.ln_1p() + step * part).collect()
}

fn verdict(log_ratios: &[f64]) -> PairVerdict {
    decide(log_ratios, 6, &PairRule::default())
        .expect("pairs")
        .verdict
}

#[test]
fn clear_changes_have_their_verdicts() {
    assert_eq!(verdict(&around(0.0, 0.001, 12)), PairVerdict::NotSlower);
    assert_eq!(verdict(&around(0.10, 0.001, 20)), PairVerdict::Slower);
    assert_eq!(verdict(&around(-0.10, 0.001, 20)), PairVerdict::Faster);
    assert_eq!(verdict(&around(0.02, 0.01, 60)), PairVerdict::Undecided);
}

#[test]
fn no_verdict_before_the_fewest_pairs_and_none_of_nothing() {
    let rule = PairRule {
        alpha_not_slower: 0.5,
        ..PairRule::default()
    };
    let at = |n| {
        decide(&around(0.0, 0.001, n), 1, &rule)
            .expect("pairs")
            .verdict
    };
    assert_eq!(
        (at(5), at(6)),
        (PairVerdict::Undecided, PairVerdict::NotSlower)
    );
    assert_eq!(decide(&[], 1, &rule), None);
    assert_eq!(decide(&[0.0, f64::NAN], 1, &rule), None);
}

/// By hand: three signs at the first stakes, then a distance of twice the scale, which is clipped.
#[test]
fn the_wealth_is_what_was_bet() {
    let rule = PairRule::default();
    let x = [-0.01, -0.01, -0.01, -0.05];
    let decision = decide(&x, 1, &rule).expect("pairs");
    let (goal, mut log) = (20f64.ln(), 0.0_f64);
    for left in [60.0, 59.0, 58.0, 57.0] {
        let needed: f64 = goal - log;
        let stake = (1.5 * (2.0 * needed / left).sqrt()).clamp(0.5, 0.9);
        log += f64::ln(1.0 + stake);
    }
    assert!((decision.log_wealth_not_slower - log).abs() < 1e-12);
    assert_eq!(decision.log_wealth_slower, 0.0);
}

/// A look does not change what later looks find, and a verdict stays.
#[test]
fn a_verdict_stays_when_pairs_are_added() {
    let mut x = around(0.10, 0.01, 20);
    assert_eq!(verdict(&x), PairVerdict::Slower);
    x.extend(around(-0.10, 0.01, 40));
    assert_eq!(verdict(&x), PairVerdict::Slower);
    let mut x = around(0.0, 0.001, 10);
    assert_eq!(verdict(&x), PairVerdict::NotSlower);
    x.extend(around(0.10, 0.01, 50));
    assert_eq!(verdict(&x), PairVerdict::NotSlower);
}

#[test]
fn the_interval_needs_seven_pairs_and_holds_the_estimate() {
    let of = |n| {
        let x = around(0.03, 0.01, n);
        decide(&x, 1, &PairRule::default()).expect("pairs").interval
    };
    assert_eq!(of(6), None);
    let (few, many) = (of(7).expect("an interval"), of(60).expect("an interval"));
    for interval in [few, many] {
        assert!(interval.lo <= interval.estimate && interval.estimate <= interval.hi);
        assert!(interval.contains(0.03f64.ln_1p()));
    }
    assert!(many.hi - many.lo < few.hi - few.lo);
}

#[test]
fn a_single_outlier_of_a_whole_second_changes_little() {
    let clean = around(0.0, 0.005, 30);
    let mut disturbed = clean.clone();
    disturbed[5] = 3.0;
    disturbed[17] = 3.0;
    assert_eq!(verdict(&disturbed), PairVerdict::NotSlower);
    let interval = |x: &[f64]| {
        let decision = decide(x, 6, &PairRule::default()).expect("pairs");
        decision.interval.expect("an interval")
    };
    let (a, b) = (interval(&clean), interval(&disturbed));
    assert!((a.hi - b.hi).abs() < 0.02, "{a:?} {b:?}");
}

#[test]
fn a_faster_side_goes_on_until_it_is_shown_or_looks_equal() {
    let rule = PairRule::default();
    let decided = |x: &[f64]| decide(x, 6, &rule).expect("pairs");
    let faster = decided(&around(-0.10, 0.001, 10));
    assert_eq!(
        (faster.verdict, faster.is_final),
        (PairVerdict::NotSlower, false)
    );
    assert!(decided(&around(-0.10, 0.001, 20)).is_final);
    assert!(decided(&around(-0.01, 0.001, 10)).is_final);
    assert!(decided(&around(-0.021, 0.03, 60)).is_final, "the last pair");
}

#[test]
fn what_is_missing_follows_from_distance_and_noise() {
    let more = |change: f64| {
        let x = around(change, 0.02, 8);
        decide(&x, 6, &PairRule::default())
            .expect("pairs")
            .more_pairs
    };
    let (far, near) = (more(0.0), more(0.012));
    assert!(far.is_some() && near > far, "{far:?} {near:?}");
    assert_eq!(more(0.02), None, "at the border no number suffices");
}
