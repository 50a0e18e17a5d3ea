use super::*;

fn close(a: f64, b: f64) {
    assert!((a - b).abs() <= 1e-9 * b.abs().max(1.0), "{a} is not {b}");
}

#[test]
fn student_quantiles_agree_with_scipy() {
    // scipy 1.17 stats.t.ppf.
    for (df, level, t) in [
        (1.0, 0.9, 6.313_751_514_675_037),
        (1.0, 0.95, 12.706_204_736_174_694),
        (2.0, 0.95, 4.302_652_729_749_462),
        (2.0, 0.999, 31.599_054_576_445_365),
        (4.0, 0.95, 2.776_445_105_197_793_4),
        (7.3, 0.9, 1.882_930_017_956_430_8),
        (30.0, 0.95, 2.042_272_456_301_237_8),
        (100.0, 0.999, 3.390_491_311_164_263),
    ] {
        close(t_quantile(df, level).unwrap(), t);
    }
}

#[test]
fn three_processes_use_t_on_log_medians() {
    // numpy and scipy 1.17: t.ppf(0.975, 2) on log([11, 13, 11.5]).
    let processes = [
        vec![10.0, 11.0, 12.0],
        vec![13.0, 14.0, 12.5],
        vec![11.5, 11.0, 12.2],
    ];
    let i = median_interval(&processes, 0.95).unwrap();
    close(i.lo, 9.520_709_788_400_465);
    close(i.estimate, 11.5);
    close(i.hi, 14.633_670_031_339_182);
}

#[test]
fn eight_values_use_interpolated_order_statistics() {
    // The published formula evaluated with scipy 1.17's binom.cdf.
    let i = centre_interval(&[10.0, 11.0, 12.0, 13.0, 15.0, 18.0, 19.0, 25.0], 0.95).unwrap();
    close(i.lo, 10.935_643_564_356_436);
    close(i.estimate, 14.0);
    close(i.hi, 19.386_138_613_861_387);
}

#[test]
fn degenerate_shapes_are_answered_as_documented() {
    let lone = vec![vec![3.0, 3.1, 2.9, 3.05]];
    let spread: Vec<Vec<f64>> = lone[0].iter().map(|&v| vec![v]).collect();
    let (a, b) = (
        median_interval(&lone, 0.95).unwrap(),
        median_interval(&spread, 0.95).unwrap(),
    );
    close(a.lo, b.lo);
    close(a.hi, b.hi);
    let equal = median_interval(&vec![vec![5.0; 4]; 3], 0.95).unwrap();
    close(equal.lo, 5.0);
    close(equal.hi, 5.0);
}

#[test]
fn what_cannot_be_answered_is_none() {
    let good = vec![1.0, 2.0];
    for bad in [
        vec![],
        vec![vec![]],
        vec![vec![1.0]],
        vec![good.clone(), vec![]],
        vec![good.clone(), vec![f64::NAN]],
        vec![good.clone(), vec![0.0]],
        vec![good.clone(), vec![-1.0]],
        vec![good.clone(), vec![f64::INFINITY]],
    ] {
        assert_eq!(median_interval(&bad, 0.95), None, "{bad:?}");
    }
    for level in [0.0, 1.0, -0.5, f64::NAN] {
        assert_eq!(median_interval(&[good.clone(), vec![3.0]], level), None);
    }
    assert_eq!(centre_interval(&[f64::NAN; 9], 0.95), None);
}

#[test]
fn an_interval_wider_than_its_figure_is_shown_by_its_two_ends() {
    let shown = |lo, hi| {
        let interval = Interval {
            lo,
            estimate: 100.0,
            hi,
            level: 0.95,
        };
        interval.plus_minus(|v| format!("{v:.0} ms"))
    };
    assert_eq!(shown(99.0, 102.0).as_deref(), Some("±2.0%"));
    assert_eq!(shown(88.0, 101.0).as_deref(), Some("±12%"));
    assert_eq!(shown(0.0, 200.0).as_deref(), Some("±100%"));
    assert_eq!(shown(40.0, 230.0).as_deref(), Some("40 ms to 230 ms"));
    assert_eq!(
        shown(1.0, 5000.0).as_deref(),
        Some("unknown"),
        "it says nothing"
    );
}

#[test]
fn relative_half_width_takes_the_farther_end() {
    let i = Interval {
        lo: 9.0,
        estimate: 10.0,
        hi: 13.0,
        level: 0.95,
    };
    close(i.relative_half_width().unwrap(), 0.3);
    assert_eq!(Interval { estimate: 0.0, ..i }.relative_half_width(), None);
}
