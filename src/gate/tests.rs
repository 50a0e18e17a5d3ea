use super::*;
use crate::compare::fixture::{batches, header, run, side};

const QUIET: [u64; 3] = [999_000, 1_000_000, 1_001_000];

fn judged(tonight: &Side, baseline: &Baseline) -> GateReport {
    gate::<GateError>(tonight, baseline, &Rule::default(), None).expect("comparable")
}

fn one(side: Side) -> Baseline {
    Baseline::Run(Box::new(side))
}

fn words(report: &GateReport) -> Vec<&'static str> {
    report.cells.iter().map(|c| c.verdict.word()).collect()
}

#[test]
fn three_answers_and_their_exit_codes() {
    let cases = batches(&[1, 8]);
    let baseline = one(run("old", &cases, QUIET));
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
    let slow = judged(&run("new", &cases, QUIET.map(|ns| ns * 11 / 10)), &baseline);
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
    let baseline = one(run("old", &cases, QUIET));
    let tonight = side(header("new", &cases), |case| {
        let slow = if case.n_seq == 1 { 10 } else { 11 };
        QUIET.map(|ns| ns * slow / 10).to_vec()
    });
    let mut asked = Vec::new();
    let mut again = |cells: &[Case]| {
        asked = cells.to_vec();
        let slow_still = |case: &Case| if case.n_seq == 8 { 11 } else { 10 };
        Ok(side(header("again", cells), |case| {
            QUIET.map(|ns| ns * slow_still(case) / 10).to_vec()
        })
        .into())
    };
    let report =
        gate::<GateError>(&tonight, &baseline, &Rule::default(), Some(&mut again)).expect("judged");
    assert_eq!(asked, batches(&[8, 32]), "only what was suspected");
    assert_eq!(words(&report), ["pass", "regression", "inconclusive"]);
    assert_eq!(report.verdict, NightVerdict::Regression);
    assert_eq!(report.rerun.as_deref(), Some("again"));
    let rerun = report.cells[2].rerun.expect("measured again");
    assert!(rerun.slowdown.expect("known").estimate.abs() < 1e-9);
    let mut never = |_: &[Case]| -> Result<Again, GateError> { panic!("nothing is suspected") };
    let same = run("new", &cases, QUIET);
    gate(&same, &baseline, &Rule::default(), Some(&mut never)).expect("judged");
    let mut itself = |_: &[Case]| Ok(tonight.clone().into());
    let e = gate::<GateError>(&tonight, &baseline, &Rule::default(), Some(&mut itself))
        .expect_err("the same run");
    assert!(matches!(e, GateError::NotIndependent(_)), "{e}");
}

#[test]
fn a_cell_that_is_gone_is_no_pass() {
    let baseline = one(run("old", &batches(&[1, 8]), QUIET));
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
    let night = |permille: u64| run("night", &cases, QUIET.map(|ns| ns * permille / 1000));
    let restless = [1000, 1050, 960, 1030, 950].map(night).to_vec();
    let tonight = run("new", &cases, QUIET.map(|ns| ns * 107 / 100));
    let report = judged(&tonight, &Baseline::Nights(restless.clone()));
    assert_eq!(report.cells[0].against, Against::Nights(5));
    assert_eq!(
        words(&report),
        ["inconclusive"],
        "7% is such a machine's usual"
    );
    assert_eq!(
        report.cells[0].more_processes, None,
        "processes are not what is missing"
    );
    let few = judged(&tonight, &Baseline::Nights(restless[..3].to_vec()));
    assert_eq!(few.cells[0].against, Against::Processes(3));
    assert_eq!(
        words(&few),
        ["suspected"],
        "the newest night alone knows no better"
    );
}

#[test]
fn what_cannot_be_judged_says_why() {
    let cases = batches(&[1]);
    let mut theirs = header("old", &cases);
    theirs.machine.fingerprint = "f".repeat(16);
    let other = one(side(theirs, |_| QUIET.to_vec()));
    let tonight = run("new", &cases, QUIET);
    let error = |baseline: &Baseline| {
        gate::<GateError>(&tonight, baseline, &Rule::default(), None)
            .expect_err("no")
            .to_string()
    };
    assert!(error(&other).contains("another machine (ffffffffffffffff)"));
    let apart = one(run("old", &batches(&[2]), QUIET));
    assert!(error(&apart).contains("no measured cell in common with old"));
    assert!(error(&Baseline::Nights(Vec::new())).contains("no run at all"));
}
