use super::*;
use crate::compare::fixture::{batches, header, run, side};
use crate::compare::samples::CellKey;
use crate::compare::side::Side;
use crate::gate::{Baseline, Confirmation, GateError, Rule, gate};
use crate::metric::Metric;
use crate::record::jsonl::Writer;
use crate::view::fixture::quality::{quality_header, quality_lines, quality_plan};
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
    let said = |tonight: &Side| {
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

#[test]
fn quality_cells_that_were_not_judged_are_named() {
    let cases = batches(&[1, 8]);
    let baseline = Baseline::alone(run("20260131-020000-nightly", &cases, QUIET));
    let mut tonight = run("20260201-020000-nightly", &cases, QUIET);
    let said = |tonight: &Side| {
        let report = gate::<GateError>(tonight, &baseline, &Rule::default(), None);
        document(&report.expect("judged")).markdown()
    };
    assert!(!said(&tonight).contains("quality"), "{}", said(&tonight));
    tonight.header.quality = Some(quality_plan());
    let text = said(&tonight);
    let notes = text
        .lines()
        .filter(|l| l.starts_with("note: the quality cells of this run were not judged"));
    assert_eq!(notes.count(), 1, "{text}");
    assert!(text.contains("--metric kld"), "{text}");
}

#[test]
fn a_night_of_scores_says_that_it_needs_no_rerun_and_counts_chunks() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let plan = quality_plan();
    let header = quality_header(plan.clone());
    let mut writer = Writer::create(folder.path(), header).expect("writes");
    for line in plan.cells.iter().flat_map(quality_lines) {
        writer.append(&line).expect("writes");
    }
    let side = Side::read(folder.path(), Metric::Kld).expect("reads");
    let baseline = Baseline::alone(side.clone());
    let report = gate::<GateError>(&side, &baseline, &Rule::default(), None);
    let report = document(&report.expect("judged"));
    insta::assert_snapshot!(report.terminal(100, false));
}
