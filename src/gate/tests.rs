use super::*;
use crate::compare::fixture::{batches, header, run, side, side_of};
use crate::compare::samples::Disturbed;
use crate::plan::Case;

const QUIET: [u64; 3] = [999_000, 1_000_000, 1_001_000];

/// Slower by a third: more than nights are taken to differ.
fn slow(ns: [u64; 3]) -> [u64; 3] {
    ns.map(|ns| ns * 4 / 3)
}

fn judged(tonight: &Side, baseline: &Baseline) -> GateReport {
    gate::<GateError>(tonight, baseline, &Rule::default(), None).expect("comparable")
}

fn words(report: &GateReport) -> Vec<&'static str> {
    report.cells.iter().map(|c| c.verdict.word()).collect()
}

#[test]
fn three_answers_and_their_exit_codes() {
    let cases = batches(&[1, 8]);
    let baseline = Baseline::alone(run("old", &cases, QUIET));
    let pass = judged(&run("new", &cases, QUIET), &baseline);
    assert_eq!(
        (words(&pass), pass.verdict),
        (vec!["pass"; 2], NightVerdict::Pass)
    );
    let faster = judged(&run("new", &cases, QUIET.map(|ns| ns / 2)), &baseline);
    assert_eq!(
        faster.verdict,
        NightVerdict::Pass,
        "faster is no regression"
    );
    let noisy = judged(
        &run("new", &cases, [900_000, 1_000_000, 1_100_000]),
        &baseline,
    );
    assert_eq!(words(&noisy), ["inconclusive"; 2]);
    assert!(noisy.cells[0].more_processes.is_some_and(|n| n > 1));
    assert_eq!(noisy.cells[0].doubt, None, "only data are missing");
    let slow = judged(&run("new", &cases, slow(QUIET)), &baseline);
    assert_eq!(words(&slow), ["suspected"; 2]);
    assert_eq!(slow.verdict, NightVerdict::Inconclusive, "seen once only");
    let codes = [
        NightVerdict::Pass,
        NightVerdict::Regression,
        NightVerdict::Inconclusive,
    ];
    assert_eq!(codes.map(NightVerdict::exit_code), [0, 1, 3]);
}

#[test]
fn a_regression_is_what_the_rerun_shows_again() {
    let cases = batches(&[1, 8, 32]);
    let baseline = Baseline::alone(run("old", &cases, QUIET));
    let tonight = side(header("new", &cases), |case| {
        let ns = if case.n_seq == 1 { QUIET } else { slow(QUIET) };
        ns.to_vec()
    });
    let mut asked: Vec<Case> = Vec::new();
    let mut again = |cells: &[CellKey]| {
        asked = cells.iter().map(|key| key.case.clone()).collect();
        Ok(side(header("again", &asked), |case| {
            let ns = if case.n_seq == 8 { slow(QUIET) } else { QUIET };
            ns.to_vec()
        })
        .into())
    };
    let report =
        gate::<GateError>(&tonight, &baseline, &Rule::default(), Some(&mut again)).expect("judged");
    assert_eq!(asked, batches(&[8, 32]), "only what was suspected");
    assert_eq!(words(&report), ["pass", "regression", "inconclusive"]);
    assert_eq!(report.cells[2].doubt, Some(Doubt::NotSeenAgain));
    assert_eq!(report.verdict, NightVerdict::Regression);
    assert_eq!(report.rerun.as_deref(), Some("again"));
    let rerun = report.cells[2].rerun.expect("measured again");
    assert!(rerun.slowdown.expect("known").estimate.abs() < 1e-9);
    let mut half = |_: &[CellKey]| Ok(run("again", &batches(&[8]), slow(QUIET)).into());
    let report =
        gate::<GateError>(&tonight, &baseline, &Rule::default(), Some(&mut half)).expect("judged");
    assert_eq!(
        words(&report),
        ["pass", "regression", "inconclusive"],
        "what the rerun could not measure was not seen again"
    );
    let mut never =
        |_: &[CellKey]| -> Result<Confirmation, GateError> { panic!("nothing is suspected") };
    let same = run("new", &cases, QUIET);
    gate(&same, &baseline, &Rule::default(), Some(&mut never)).expect("judged");
    let mut itself = |_: &[CellKey]| Ok(tonight.clone().into());
    let e = gate::<GateError>(&tonight, &baseline, &Rule::default(), Some(&mut itself))
        .expect_err("the same run");
    assert!(matches!(e, GateError::NotIndependent(_)), "{e}");
}

#[test]
fn a_cell_that_is_gone_is_no_pass() {
    let baseline = Baseline::alone(run("old", &batches(&[1, 8]), QUIET));
    let report = judged(&run("new", &batches(&[1, 32]), QUIET), &baseline);
    assert_eq!(words(&report), ["pass"]);
    assert_eq!(report.missing, [batches(&[8])[0].id()]);
    assert_eq!(report.new, [batches(&[32])[0].id()]);
    assert_eq!(report.verdict, NightVerdict::Inconclusive);
    let single = side(header("new", &batches(&[1, 8])), |_| vec![1_000_000]);
    let report = judged(&single, &baseline);
    assert_eq!(
        (words(&report), report.cells[0].p),
        (vec!["inconclusive"; 2], None)
    );
}

fn nights(cases: &[Case], permille: &[u64]) -> Vec<Side> {
    let night = |permille: &u64| run("night", cases, QUIET.map(|ns| ns * permille / 1000));
    permille.iter().map(night).collect()
}

#[test]
fn a_night_without_a_cell_does_not_excuse_the_next() {
    let cases = batches(&[1, 8]);
    let night = |cases: &[Case]| run("night", cases, QUIET);
    let last = Baseline::Nights(vec![night(&cases[..1]), night(&cases)]);
    let report = judged(&run("new", &cases[..1], QUIET), &last);
    assert_eq!(report.missing, [cases[1].id()]);
    assert_eq!(report.verdict, NightVerdict::Inconclusive);
}

#[test]
fn many_nights_are_the_units_and_few_are_not() {
    let cases = batches(&[1]);
    let restless = nights(&cases, &[1000, 1050, 960, 1030, 950, 1040, 970]);
    let tonight = run("new", &cases, QUIET.map(|ns| ns * 107 / 100));
    let report = judged(&tonight, &Baseline::Nights(restless.clone()));
    assert_eq!(report.cells[0].against, BaselineUnits::Nights(7));
    assert_eq!(
        words(&report),
        ["inconclusive"],
        "7% is such a machine's usual"
    );
    let cell = &report.cells[0];
    assert_eq!(
        (cell.more_processes, cell.p_night, cell.night_sd),
        (None, None, None),
        "processes are not what is missing, and the interval knows how nights differ"
    );
    // The oldest stands alone.
    let few: Vec<Side> = restless[..6].iter().rev().cloned().collect();
    let few = judged(&tonight, &Baseline::Nights(few));
    let cell = &few.cells[0];
    assert_eq!(cell.against, BaselineUnits::Processes(3));
    assert!(cell.p_adjusted < Some(0.001), "processes alone would say");
    assert_eq!(
        (cell.verdict, cell.doubt),
        (CellVerdict::Inconclusive, Some(Doubt::Night))
    );
}

#[test]
fn a_single_run_must_be_beaten_by_more_than_nights_differ() {
    let cases = batches(&[1, 8]);
    let old = run("old", &cases, QUIET);
    let tonight = |percent: u64| run("new", &cases, QUIET.map(|ns| ns * percent / 100));
    // By hand: t(0.99, 4) = 3.747, times sqrt(2) * 3.5%, plus ln 1.03, is 0.2150: 23.98% slower.
    let at = |percent, baseline: &Baseline, rule: &Rule| {
        let report = gate::<GateError>(&tonight(percent), baseline, rule, None).expect("judged");
        report.cells[0].verdict.word()
    };
    let (alone, rule) = (Baseline::alone(old.clone()), Rule::default());
    assert_eq!(at(123, &alone, &rule), "inconclusive");
    assert_eq!(at(125, &alone, &rule), "suspected");
    // Told that nights differ by 1%: 3.747 sqrt(2) 1% + ln 1.03 = 0.0826: 8.6%.
    let told = Rule {
        night_sd: 0.01,
        ..rule
    };
    assert_eq!(at(108, &alone, &told), "inconclusive");
    assert_eq!(at(109, &alone, &told), "suspected");
    // Ten nights that do not differ: the variance is 4 / 13 of the assumed, 13 degrees of freedom, t = 2.650, in all
    // 0.1023: 10.8%.
    let among = Baseline::Run {
        run: Box::new(old),
        nights: nights(&cases, &[1000; 10]),
    };
    assert_eq!(at(110, &among, &rule), "inconclusive");
    assert_eq!(at(112, &among, &rule), "suspected");
    let report = judged(&tonight(112), &among);
    let spread = report.cells[0].night_sd.expect("a single run");
    assert_eq!(spread.nights, 10);
    assert!((spread.sd - 0.035 * (4.0f64 / 13.0).sqrt()).abs() < 1e-12);
}

#[test]
fn sides_of_one_run_share_its_night() {
    let cases = batches(&[1]);
    let (a, mut b) = (
        run("pair", &cases, QUIET),
        run("pair", &cases, QUIET.map(|ns| ns * 108 / 100)),
    );
    b.label = "the other side".to_owned();
    let report = judged(&b, &Baseline::alone(a));
    let cell = &report.cells[0];
    assert_eq!((cell.verdict, cell.p_night), (CellVerdict::Suspected, None));
    assert_eq!(cell.disturbed_baseline, None, "and its disturbances");
}

/// A pair that was measured until decided: each side's steps by pair.
fn until_decided(name: &str, percent: u64) -> [Side; 2] {
    pairs(name, percent, 6)
}

/// The same of three times so many pairs.
fn pairs(name: &str, percent: u64, thirds: usize) -> [Side; 2] {
    use crate::record::{Pair, PairSide};
    [(PairSide::A, 100), (PairSide::B, percent)].map(|(which, percent)| {
        let mut header = header(name, &batches(&[1]));
        header.pair = Some(Pair {
            id: name.to_owned(),
            side: which,
            axes: Vec::new(),
            worker_program: "ggufbench".into(),
            worker_engine: "synthetic".to_owned(),
        });
        header.run = format!("{name}-{}", which.folder());
        header.started_at = name.to_owned();
        header.plan.protocol.pair_tolerance = Some(0.02);
        side(header, |_| {
            QUIET
                .repeat(thirds)
                .iter()
                .map(|ns| ns * percent / 100)
                .collect()
        })
    })
}

#[test]
fn pairs_until_decided_need_no_rerun_and_obey_one() {
    let rule = Rule {
        tolerance: 0.02,
        ..Rule::default()
    };
    let judged = |[a, b]: [Side; 2], again: Option<[Side; 2]>| {
        let baseline = Baseline::alone(a);
        assert_eq!(baseline.pair_tolerance(&b), Some(0.02));
        let mut again = again.map(|[a, b]| {
            move |_: &[CellKey]| -> Result<Confirmation, GateError> {
                Ok(Confirmation {
                    run: b.clone(),
                    baseline: Some(Baseline::alone(a.clone())),
                })
            }
        });
        let rerun = again.as_mut().map(|again| again as Rerun<'_, GateError>);
        gate(&b, &baseline, &rule, rerun).expect("judged")
    };
    let night = |percent| until_decided("night", percent);
    let once = |percent| judged(night(percent), None).verdict;
    assert_eq!(once(100), NightVerdict::Pass);
    assert_eq!(once(90), NightVerdict::Pass, "faster is no regression");
    assert_eq!(once(110), NightVerdict::Regression);
    let again = |percent| judged(night(110), Some(until_decided("again", percent)));
    assert_eq!(again(110).verdict, NightVerdict::Regression);
    let not_seen = again(100);
    assert_eq!(not_seen.verdict, NightVerdict::Inconclusive);
    assert_eq!(not_seen.cells[0].doubt, Some(Doubt::NotSeenAgain));
    // A confirmation that ended too early shows nothing, neither of the program nor of the machine.
    let too_short = judged(night(110), Some(pairs("again", 110, 1)));
    assert_eq!(too_short.verdict, NightVerdict::Inconclusive);
    let doubt = too_short.cells[0].doubt;
    assert!(
        matches!(doubt, Some(Doubt::UndecidedAgain { more: Some(_) })),
        "{doubt:?}"
    );
}

/// Three processes of three repetitions, the first `n` of each disturbed and half as slow again.
fn disturbed(name: &str, cases: &[Case], ns: [u64; 3], n: usize) -> Side {
    side_of(header(name, cases), |_| {
        let repetition = |ns: u64, at: usize| match at < n {
            true => (ns * 3 / 2, true),
            false => (ns, false),
        };
        let process = |ns: u64| (0..3).map(|at| repetition(ns, at)).collect();
        ns.map(process).to_vec()
    })
}

#[test]
fn another_process_is_no_regression() {
    let cases = batches(&[1, 8]);
    let quiet = Baseline::alone(disturbed("old", &cases, QUIET, 0));
    let why = |report: &GateReport| {
        let cell = &report.cells[0];
        (cell.verdict.word(), cell.doubt)
    };
    let nine = |repetitions| Disturbed { repetitions, of: 9 };
    let doubt = |tonight, baseline| {
        Some(Doubt::Disturbed {
            tonight: nine(tonight),
            baseline: nine(baseline),
        })
    };
    for n in [2, 3] {
        let report = judged(&disturbed("new", &cases, QUIET, n), &quiet);
        assert_eq!(why(&report), ("inconclusive", doubt(3 * n, 0)), "{n} of 3");
        assert!(report.suspects().is_empty(), "no rerun for it");
    }
    let slow_too = judged(&disturbed("new", &cases, slow(QUIET), 2), &quiet);
    assert_eq!(
        why(&slow_too),
        ("suspected", None),
        "slower where nothing disturbed, too"
    );
    let nothing_left = judged(&disturbed("new", &cases, slow(QUIET), 3), &quiet);
    assert_eq!(why(&nothing_left), ("inconclusive", doubt(9, 0)));
    let equally = judged(
        &disturbed("new", &cases, slow(QUIET), 3),
        &Baseline::alone(disturbed("old", &cases, QUIET, 3)),
    );
    assert_eq!(why(&equally), ("suspected", None), "both alike");
}

#[test]
fn a_baseline_that_was_disturbed_lets_nothing_pass_by_that() {
    let cases = batches(&[1]);
    let disturbed_then = Baseline::alone(disturbed("old", &cases, QUIET, 2));
    let tenth = QUIET.map(|ns| ns * 11 / 10);
    let slower = judged(&disturbed("new", &cases, tenth, 0), &disturbed_then);
    let cell = &slower.cells[0];
    assert_eq!(cell.verdict, CellVerdict::Inconclusive);
    assert!(matches!(cell.doubt, Some(Doubt::Disturbed { .. })));
    let same = judged(&disturbed("new", &cases, QUIET, 0), &disturbed_then);
    assert_eq!(words(&same), ["pass"], "without the disturbance, too");
}

#[test]
fn a_disturbed_rerun_confirms_nothing() {
    let cases = batches(&[1]);
    let quiet = Baseline::alone(disturbed("old", &cases, QUIET, 0));
    let tonight = disturbed("new", &cases, slow(QUIET), 0);
    let mut again = |_: &[CellKey]| Ok(disturbed("again", &cases, QUIET, 3).into());
    let report =
        gate::<GateError>(&tonight, &quiet, &Rule::default(), Some(&mut again)).expect("judged");
    let cell = &report.cells[0];
    assert_eq!(cell.verdict, CellVerdict::Inconclusive);
    assert!(matches!(cell.doubt, Some(Doubt::Disturbed { .. })));
}

#[test]
fn nights_as_units_know_disturbances_too() {
    let cases = batches(&[1]);
    let names = ["1", "2", "3", "4", "5", "6", "7"];
    let quiet = names.map(|name| disturbed(name, &cases, QUIET, 0)).to_vec();
    let tonight = disturbed("new", &cases, QUIET, 2);
    let report = judged(&tonight, &Baseline::Nights(quiet.clone()));
    assert!(matches!(
        report.cells[0].doubt,
        Some(Doubt::Disturbed { baseline, .. }) if baseline.of == 63
    ));
    let slow_too = disturbed("new", &cases, slow(QUIET), 2);
    let report = judged(&slow_too, &Baseline::Nights(quiet));
    assert_eq!(words(&report), ["suspected"]);
}

#[test]
fn what_cannot_be_judged_says_why() {
    let cases = batches(&[1]);
    let mut theirs = header("old", &cases);
    theirs.machine.fingerprint = "f".repeat(16);
    let other = Baseline::alone(side(theirs, |_| QUIET.to_vec()));
    let tonight = run("new", &cases, QUIET);
    let error = |baseline: &Baseline| {
        gate::<GateError>(&tonight, baseline, &Rule::default(), None)
            .expect_err("no")
            .to_string()
    };
    assert!(error(&other).contains("another machine (ffffffffffffffff)"));
    let apart = Baseline::alone(run("old", &batches(&[2]), QUIET));
    assert!(error(&apart).contains("no measured cell in common with old"));
    assert!(error(&Baseline::Nights(Vec::new())).contains("an empty baseline"));
}
