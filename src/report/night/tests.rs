use super::*;
use crate::compare::fixture::{batches, header, run, side};
use crate::compare::samples::CellKey;
use crate::gate::{Baseline, Confirmation, GateError, Rule, gate};
use crate::view::fixture::requests::{OWN, jobs, request_header};

const QUIET: [u64; 3] = [999_000, 1_000_000, 1_001_000];

#[test]
fn a_night_fits_80_columns() {
    let cases = batches(&[1, 8, 32, 128]);
    let baseline = Baseline::alone(run("20260131-020000-nightly", &cases, QUIET));
    let tonight = side(
        header("20260201-020000-nightly", &cases[..3]),
        |case| match case.n_seq {
            1 => QUIET.to_vec(),
            8 => QUIET.map(|ns| ns * 14 / 10).to_vec(),
            _ => vec![960_000, 1_000_000, 1_040_000],
        },
    );
    let once = gate::<GateError>(&tonight, &baseline, &Rule::default(), None).expect("judged");
    let text = document(&once).terminal(80, false);
    assert!(
        text.lines().all(|line| line.chars().count() <= 80),
        "{text}"
    );
    for needle in [
        "inconclusive (1 pass, 1 suspected, 1 inconclusive, 1 not measured)",
        "inconclusive (+",
        "+40.0%",
        "not measured tonight: m/pp128/tg64/b128",
        "single run",
        "next: --rerun",
    ] {
        assert!(text.contains(needle), "{needle}: {text}");
    }
    let mut again = |_: &[CellKey]| -> Result<Confirmation, GateError> {
        Ok(run(
            "20260201-030000-rerun",
            &cases[1..2],
            QUIET.map(|ns| ns * 13 / 10),
        )
        .into())
    };
    let rule = Rule::default();
    let twice = gate(&tonight, &baseline, &rule, Some(&mut again)).expect("judged");
    let text = document(&twice).terminal(80, false);
    assert!(
        text.contains("regression (1 pass, 1 regression, "),
        "{text}"
    );
    assert!(
        text.contains("+30.0%") && !text.contains("next: --rerun"),
        "{text}"
    );
}

#[test]
fn requests_that_were_not_judged_are_named() {
    let cases = batches(&[1, 8]);
    let baseline = Baseline::alone(run("20260131-020000-nightly", &cases, QUIET));
    let mut tonight = run("20260201-020000-nightly", &cases, QUIET);
    let said = |tonight: &crate::compare::side::Side| {
        let report = gate::<GateError>(tonight, &baseline, &Rule::default(), None);
        document(&report.expect("judged")).markdown()
    };
    assert!(!said(&tonight).contains("requests"), "{}", said(&tonight));
    tonight.header.requests = request_header(&[OWN], 3, jobs()).requests;
    let text = said(&tonight);
    let notes = text
        .lines()
        .filter(|l| l.starts_with("note: the requests of this run were not judged"));
    assert_eq!(notes.count(), 1, "{text}");
    assert!(text.contains("--metric request_latency"), "{text}");
}
