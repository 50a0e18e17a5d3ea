//! Nights of a scored text.

use crate::compare::side::Side;
use crate::gate::{
    Baseline, CellVerdict, Confirmation, GateError, GateReport, NightVerdict, Rule, gate,
};
use crate::metric::Metric;
use crate::record::Line;
use crate::record::jsonl::Writer;
use crate::record::quality::{QualityCell, QualityPlan, QualityRole, ScoredChunk};
use crate::view::fixture::quality::{
    COARSE, FINE, N_CHUNKS, chunk_line, quality_header, quality_line, quality_plan, scored_whole,
    scores_of,
};

/// A run of these chunks of every cell, whose scores `change` may change.
fn night(
    name: &str,
    n_chunks: u32,
    metric: Metric,
    change: impl Fn(&QualityCell, &mut ScoredChunk),
) -> Side {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let plan = quality_plan();
    let mut header = quality_header(plan.clone());
    header.run = name.to_owned();
    let mut writer = Writer::create(folder.path(), header).expect("writes");
    let mut write = |line: Line| writer.append(&line).expect("writes");
    for cell in &plan.cells {
        for chunk in 0..n_chunks {
            let mut scored = scores_of(cell, chunk);
            change(cell, &mut scored);
            write(chunk_line(cell, scored));
        }
        write(quality_line(cell, scored_whole(n_chunks)));
    }
    Side::read(folder.path(), metric).expect("reads what was written")
}

fn unchanged(name: &str, metric: Metric) -> Side {
    night(name, N_CHUNKS, metric, |_, _| {})
}

fn judged(tonight: &Side, baseline: Side) -> GateReport {
    let baseline = Baseline::alone(baseline);
    gate::<GateError>(tonight, &baseline, &Rule::default(), None).expect("comparable")
}

fn verdicts(report: &GateReport) -> Vec<CellVerdict> {
    report.cells.iter().map(|cell| cell.verdict).collect()
}

fn is_of(cell: &QualityCell, model: &str) -> bool {
    cell.case.model == model
}

const PASS: CellVerdict = CellVerdict::Pass;
const WORSE: CellVerdict = CellVerdict::Regression;

#[test]
fn an_unchanged_build_passes_by_every_metric() {
    for metric in Metric::ALL.iter().filter(|m| m.is_of_quality()) {
        let report = judged(&unchanged("new", *metric), unchanged("old", *metric));
        assert_eq!(report.verdict, NightVerdict::Pass, "{metric}");
        let n = if *metric == Metric::Perplexity { 4 } else { 3 };
        assert_eq!(
            report.cells.len(),
            n,
            "{metric}: the base has a perplexity alone"
        );
        for cell in &report.cells {
            assert_eq!(cell.slowdown.expect("six chunks").estimate, 0.0);
            assert_eq!((cell.p_night, cell.night_sd), (None, None), "no chance");
        }
    }
}

#[test]
fn a_file_that_loses_more_is_a_regression_at_once() {
    let worse = |cell: &QualityCell, chunk: &mut ScoredChunk| {
        if is_of(cell, FINE) {
            chunk.kld.iter_mut().for_each(|kld| *kld *= 1.5);
        }
    };
    let metric = Metric::Kld;
    let tonight = night("new", N_CHUNKS, metric, worse);
    let report = judged(&tonight, unchanged("old", metric));
    assert_eq!(verdicts(&report), [PASS, WORSE, PASS]);
    assert_eq!(report.verdict.exit_code(), 1);
    let change = report.cells[1].slowdown.expect("six chunks").estimate;
    assert!(
        (change - 0.5).abs() < 1e-5,
        "the ratio of the means: {change}"
    );
    // The other direction is none.
    let report = judged(&unchanged("new", metric), tonight.clone());
    assert_eq!(report.verdict, NightVerdict::Pass);
    let mut again = |_: &[_]| -> Result<Confirmation, GateError> { panic!("no rerun") };
    let baseline = Baseline::alone(unchanged("old", metric));
    let report = gate(&tonight, &baseline, &Rule::default(), Some(&mut again));
    assert_eq!(
        report.expect("comparable").verdict,
        NightVerdict::Regression
    );
}

#[test]
fn a_fault_in_some_chunks_alone_is_found() {
    let metric = Metric::Kld;
    let faulty = |cell: &QualityCell, chunk: &mut ScoredChunk| {
        if cell.role == QualityRole::Floor && chunk.chunk < 2 {
            chunk.kld.iter_mut().for_each(|kld| *kld = 3.0);
        }
    };
    let report = judged(
        &night("new", N_CHUNKS, metric, faulty),
        unchanged("old", metric),
    );
    assert_eq!(verdicts(&report), [WORSE, PASS, PASS]);
}

#[test]
fn what_rounding_explains_is_no_regression() {
    let metric = Metric::Kld;
    // The floor's mean is 2e-6.
    let report = |times: f32| {
        let other = |cell: &QualityCell, chunk: &mut ScoredChunk| {
            if cell.role == QualityRole::Floor {
                chunk.kld.iter_mut().for_each(|kld| *kld *= times);
            }
        };
        judged(
            &night("new", N_CHUNKS, metric, other),
            unchanged("old", metric),
        )
    };
    assert_eq!(verdicts(&report(2.0)), [PASS; 3]);
    assert_eq!(verdicts(&report(4.0)), [WORSE, PASS, PASS]);
    let rounding = report(2.0).rounding.expect("a distance");
    assert!((rounding - 4e-6).abs() < 1e-9, "{rounding}");
    let none = judged(
        &unchanged("new", Metric::Perplexity),
        unchanged("old", Metric::Perplexity),
    );
    assert_eq!(none.rounding, None);
}

#[test]
fn perplexity_changes_as_that_of_the_whole_text() {
    let metric = Metric::Perplexity;
    let worse = |cell: &QualityCell, chunk: &mut ScoredChunk| {
        if is_of(cell, COARSE) {
            let more = if chunk.chunk.is_multiple_of(2) {
                0.2
            } else {
                0.22
            };
            chunk.nll.iter_mut().for_each(|nll| *nll += more);
        }
    };
    let report = judged(
        &night("new", N_CHUNKS, metric, worse),
        unchanged("old", metric),
    );
    assert_eq!(verdicts(&report), [PASS, PASS, PASS, WORSE]);
    let change = report.cells[3].slowdown.expect("six chunks").estimate;
    assert!((change - 0.21_f64.exp_m1()).abs() < 1e-5, "{change}");
}

#[test]
fn fewer_than_four_chunks_are_inconclusive() {
    let metric = Metric::Kld;
    let report = judged(
        &night("new", 3, metric, |_, _| {}),
        unchanged("old", metric),
    );
    assert_eq!(verdicts(&report), [CellVerdict::Inconclusive; 3]);
    assert_eq!(report.verdict.exit_code(), 3);
    let enough = judged(
        &night("new", 4, metric, |_, _| {}),
        unchanged("old", metric),
    );
    assert_eq!(enough.verdict, NightVerdict::Pass);
}

/// A side whose plan is changed after it was measured.
fn with_plan(mut side: Side, change: impl Fn(&mut QualityPlan)) -> Side {
    side.header.quality.iter_mut().for_each(change);
    side
}

#[test]
fn a_floor_of_one_chunk_is_left_out_and_another_text_refused() {
    let metric = Metric::Kld;
    let one_chunk = |plan: &mut QualityPlan| plan.cells[1].n_chunks = 1;
    let tonight = with_plan(unchanged("new", metric), one_chunk);
    let report = judged(&tonight, with_plan(unchanged("old", metric), one_chunk));
    assert_eq!(verdicts(&report), [PASS; 2]);
    assert!(report.new.is_empty() && report.missing.is_empty());
    let other = with_plan(unchanged("old", metric), |plan| {
        plan.text_sha256 = "ef".repeat(32)
    });
    let error = gate::<GateError>(&tonight, &Baseline::alone(other), &Rule::default(), None);
    let error = error.expect_err("another text");
    assert!(matches!(error, GateError::OtherText { .. }), "{error}");
}

#[test]
fn many_nights_are_held_against_the_promoted_one() {
    let metric = Metric::Kld;
    let mut nights: Vec<Side> = (0..8)
        .map(|n| unchanged(&format!("n{n}"), metric))
        .collect();
    let worse = |cell: &QualityCell, chunk: &mut ScoredChunk| {
        if is_of(cell, FINE) {
            chunk.kld.iter_mut().for_each(|kld| *kld *= 2.0);
        }
    };
    // The oldest stands last.
    let promoted = nights.len() - 1;
    nights[promoted] = night("promoted", N_CHUNKS, metric, worse);
    let baseline = Baseline::Nights(nights);
    let tonight = night("new", N_CHUNKS, metric, worse);
    let report = gate::<GateError>(&tonight, &baseline, &Rule::default(), None);
    assert_eq!(report.expect("comparable").verdict, NightVerdict::Pass);
}
