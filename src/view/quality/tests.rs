use super::*;
use crate::record::quality::QualityPlan;
use crate::record::{Line, Outcome};
use crate::view::AnyCell;
use crate::view::RunView;
use crate::view::fixture::quality::*;
use crate::view::fixture::{end, view};

fn run(plan: QualityPlan, lines: Vec<Line>) -> QualityView {
    view(quality_header(plan), lines).quality.expect("a text")
}

fn cell<'a>(view: &'a QualityView, model: &str) -> &'a QualityCellView {
    let is_own = |c: &&QualityCellView| c.case.model == model;
    view.files().find(is_own).expect("planned")
}

fn close(a: Option<Estimate>, b: f64) {
    let a = a.expect("known").value;
    assert!((a - b).abs() < 1e-6, "{a} is not {b}");
}

#[test]
fn figures_are_those_computed_by_hand() {
    let view = alone().quality.expect("a text");
    let base = &view.base().expect("planned").figures;
    close(base.perplexity, 2.0);
    // 8 tokens in 4 ms.
    close(base.tokens_per_s, 2000.0);
    assert_eq!((base.perplexity_ratio, base.kld_mean), (None, None));
    let fine = cell(&view, FINE);
    let f = &fine.figures;
    // (3 ln 2 + 2 ln 2) / 4 = 1.25 ln 2.
    close(f.perplexity, 2.0_f64.powf(1.25));
    close(f.perplexity_ratio, 2.0_f64.powf(0.25));
    // 0.003 in chunk 0, and 0, 1, .. 5 thousandths more in the others.
    close(f.kld_mean, 0.003 + 0.0025);
    // Of 1, 2, 3, 6 thousandths and 0 to 5 more: 1 2 2 3 3 3 4 4 4 5 5 5 | 6 6 6 6 7 7 7 8 8 9 10 11.
    close(f.kld_median, 0.0055);
    // Position 23 * 0.99 = 22.77, between 10 and 11.
    close(f.kld_p99, 0.01077);
    assert!((f.kld_max.expect("known") - 0.011).abs() < 1e-6);
    close(f.right_token_mean, -0.0625);
    close(f.right_token_rms, 0.125);
    close(f.same_top, 1.0);
    let coarse = &cell(&view, COARSE).figures;
    close(coarse.perplexity_ratio, 2.0);
    close(coarse.same_top, 0.75);
    close(coarse.right_token_rms, 0.25);
    assert_eq!((fine.n_chunks, fine.n_paired, fine.n_scored), (6, 6, 24));
    assert_eq!(fine.outcome_detail, "scored 6 chunks");
}

#[test]
fn intervals_are_over_chunks_and_the_same_always() {
    let view = alone().quality.expect("a text");
    let kld = cell(&view, FINE).figures.kld_mean.expect("known");
    let interval = kld.interval.expect("6 chunks");
    assert!(interval.lo < kld.value && kld.value < interval.hi);
    // No draw of chunks has a mean outside those of the single chunks.
    assert!(0.003 < interval.lo && interval.hi < 0.008, "{interval:?}");
    let again = alone().quality.expect("a text");
    assert_eq!(view, again);
    let ratio = cell(&view, FINE).figures.perplexity_ratio.expect("known");
    let ratio = ratio.interval.expect("6 chunks");
    assert!(ratio.hi - ratio.lo < 1e-6, "every chunk has the same");
}

#[test]
fn three_chunks_have_no_interval_and_a_chunk_recorded_twice_counts_once() {
    let plan = quality_plan();
    let mut lines = Vec::new();
    for cell in &plan.cells {
        for chunk in [0, 1, 1, 2] {
            lines.push(chunk_line(cell, scores_of(cell, chunk)));
        }
        lines.push(quality_line(cell, scored_whole(3)));
    }
    let view = run(plan, lines);
    let fine = cell(&view, FINE);
    assert_eq!((fine.n_chunks, fine.n_scored), (3, 12));
    close(fine.figures.kld_mean, 0.004);
    assert_eq!(fine.figures.kld_mean.and_then(|e| e.interval), None);
    assert!(fine.notes.contains(&QualityNote::FewChunks { n: 3 }));
}

#[test]
fn chunks_of_other_tokens_are_not_compared() {
    let plan = quality_plan();
    let mut lines: Vec<Line> = plan.cells[..3].iter().flat_map(quality_lines).collect();
    let coarse = &plan.cells[3];
    for chunk in 0..N_CHUNKS {
        let mut scored = scores_of(coarse, chunk);
        scored.tokens_hash += u64::from(chunk > 3);
        lines.push(chunk_line(coarse, scored));
    }
    let view = run(plan, lines);
    let coarse = cell(&view, COARSE);
    assert_eq!((coarse.n_chunks, coarse.n_paired), (6, 4));
    // Chunks 0 to 3: 0.3 and 1.5 thousandths on average.
    close(coarse.figures.kld_mean, 0.3015);
    close(coarse.figures.perplexity, 4.0);
    assert!(
        coarse
            .notes
            .contains(&QualityNote::OtherTokens { n: 2, of: 6 })
    );
    assert_eq!(coarse.outcome, CellOutcome::Interrupted, "no outcome");
}

#[test]
fn cells_without_a_base_and_without_chunks_say_so() {
    let plan = quality_plan();
    let crashed = Outcome::Crashed {
        how: "SIGABRT".to_owned(),
    };
    let mut lines = vec![quality_line(&plan.cells[0], crashed)];
    lines.extend(quality_lines(&plan.cells[2]));
    let view = run(plan, lines);
    let base = view.base().expect("planned");
    assert_eq!((base.outcome, base.loss()), (CellOutcome::Crashed, None));
    let fine = cell(&view, FINE);
    close(fine.figures.perplexity, 2.0_f64.powf(1.25));
    assert_eq!((fine.figures.kld_mean, fine.n_paired), (None, 0));
    assert!(fine.notes.contains(&QualityNote::NoBase));
    assert_eq!(cell(&view, COARSE).outcome, CellOutcome::Missing);
    let mut cells = view.cells.iter().map(AnyCell::Quality);
    assert!(cells.any(AnyCell::went_wrong));
    assert!(cells.any(AnyCell::can_be_resumed));
}

#[test]
fn notes_name_the_base_the_floor_and_what_is_not_told_apart_from_it() {
    let mut plan = quality_plan();
    plan.cells.push(quality_cell(
        "tiny-f16-copy",
        4,
        crate::record::quality::QualityRole::Candidate,
    ));
    let mut lines: Vec<Line> = plan.cells[..4].iter().flat_map(quality_lines).collect();
    let copy = plan.cells[4].clone();
    for chunk in 0..3 {
        let scored = scored(chunk, [0.5; 4], [7; 4], &[1e-6, 0.0, 1e-6, 0.0]);
        lines.push(chunk_line(&copy, scored));
    }
    lines.push(quality_line(&copy, scored_whole(3)));
    let view = run(plan, lines);
    let says = |model: &str, note: &QualityNote| cell(&view, model).notes.contains(note);
    assert!(says(BASE, &QualityNote::Base));
    let from = "q4_1".to_owned();
    assert!(says(BASE, &QualityNote::BaseRequantized { from }));
    assert!(says("tiny-f16-copy", &QualityNote::AtFloor));
    assert!(says(
        "tiny-f16-copy",
        &QualityNote::FewerChunks { n: 3, most: 6 }
    ));
    assert!(!says(FINE, &QualityNote::AtFloor));
    close(view.floor_kld(&quality_case(BASE, 4)), 2e-6);
    let floor = &view.cells[1];
    assert_eq!(floor.notes, [QualityNote::Floor { n_seq: 1 }]);
}

#[test]
fn losses_are_compared_chunk_by_chunk() {
    let view = alone().quality.expect("a text");
    let (fine, coarse) = (cell(&view, FINE), cell(&view, COARSE));
    // Both grow alike, so that every chunk has the same difference.
    let more = coarse.more_loss_than(fine).expect("6 chunks");
    assert!((more.lo - 0.297).abs() < 1e-6 && (more.hi - 0.297).abs() < 1e-6);
    let base = view.base().expect("planned");
    assert!(fine.more_loss_than(base).expect("6 chunks").lo > 0.0);
}

fn written(lines: impl IntoIterator<Item = Line>, plan: QualityPlan) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let mut writer =
        crate::record::jsonl::Writer::create(folder.path(), quality_header(plan)).expect("writes");
    for line in lines {
        writer.append(&line).expect("writes");
    }
    folder
}

#[test]
fn two_runs_of_one_text_and_base_are_read_as_one() {
    let (mut first, mut second) = (quality_plan(), quality_plan());
    first.cells.remove(3);
    second.cells.remove(2);
    let of = |plan: &QualityPlan| -> Vec<Line> {
        let lines = plan.cells.iter().flat_map(quality_lines);
        lines.chain([end()]).collect()
    };
    let (a, b) = (
        written(of(&first), first),
        written(of(&second), second.clone()),
    );
    let paths = |a: &tempfile::TempDir, b: &tempfile::TempDir| {
        [a, b].map(|folder| folder.path().to_owned())
    };
    let both = RunView::read_all(&paths(&a, &b)).expect("alike");
    let text = both.quality.expect("a text");
    assert_eq!(text.cells.len(), 4);
    close(cell(&text, COARSE).figures.kld_mean, 0.3025);
    second.text_sha256 = "ef".repeat(32);
    let other = written(of(&second), second);
    let error = RunView::read_all(&paths(&a, &other)).expect_err("another text");
    assert!(
        error.to_string().contains("texts that were scored"),
        "{error}"
    );
}
