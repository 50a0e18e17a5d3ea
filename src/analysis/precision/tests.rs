use super::*;
use crate::analysis::choice;
use crate::record::Line;
use crate::view::fixture::quality::*;
use crate::view::fixture::{self, MS, case, three_processes};

fn model(file: &FilePrecision<'_>) -> String {
    file.model.to_owned()
}

#[test]
fn of_files_that_keep_the_top_tokens_the_fastest_is_taken() {
    // At batch 1: 100, 167 and 250 tokens/s; the coarse file keeps 75% of the top tokens.
    let view = with_speed();
    let table = PrecisionTable::of(&view).expect("scored");
    assert_eq!(table.batches, [1, 8]);
    let choice = table.choice(1).expect("measured");
    assert_eq!(model(choice.file), FINE);
    let of_base = choice.of_base.expect("pairs");
    assert!((of_base.value - 10.0 / 6.0).abs() < 1e-3 && of_base.is_shown());
    let lossy: Vec<String> = choice.too_lossy.iter().map(|f| model(f)).collect();
    assert_eq!(lossy, [COARSE]);
    assert_eq!(choice.sure, Sure::Shown);
    assert!(table.dominated(choice.file, 1).is_none());
}

#[test]
fn the_smallest_loss_wins_among_files_that_are_as_fast() {
    // The fine file is faster by 5% only: the base has no loss.
    let view = with_steps([[20, 40], [19, 20], [10, 20]]);
    let table = PrecisionTable::of(&view).expect("scored");
    assert_eq!(model(table.choice(1).expect("measured").file), BASE);
    assert_eq!(model(table.choice(8).expect("measured").file), FINE);
}

#[test]
fn a_file_that_is_slower_and_loses_more_is_dominated() {
    // At batch 1 the coarse file is slower than the fine one, which is slower than the base.
    let view = with_steps([[10, 24], [12, 18], [15, 16]]);
    let table = PrecisionTable::of(&view).expect("scored");
    let file = |name: &str| table.files.iter().find(|f| f.model == name).expect("there");
    let coarse = table.dominated(file(COARSE), 1).expect("dominated");
    assert_eq!((coarse.by, coarse.sure), (BASE, Sure::Shown));
    assert!((coarse.times_as_fast - 1.5).abs() < 1e-3);
    assert!(table.dominated(file(FINE), 1).is_some());
    assert!(table.dominated(file(BASE), 1).is_none());
    assert!(
        table.dominated(file(COARSE), 8).is_none(),
        "the fastest there"
    );
    let said = lead(&view);
    let evidence = said[0].evidence.join(" ");
    assert!(
        evidence.contains("At batch 1 tiny-q4_0 is dominated by tiny-f16"),
        "{evidence}"
    );
}

#[test]
fn the_answer_to_which_file_uses_accuracy() {
    let view = with_speed();
    let many = choice::for_all(&view, None).expect("measured");
    assert_eq!(
        (many.cell.case.model.as_str(), many.cell.case.n_seq),
        (FINE, 8)
    );
    let one = choice::for_one(&view, None).expect("measured");
    assert_eq!(
        (one.cell.case.model.as_str(), one.cell.case.n_seq),
        (FINE, 1)
    );
    let left_out = choice::left_out(&view);
    let why = "it keeps 75.00% of the base's top tokens".to_owned();
    assert_eq!(left_out, [(COARSE, why)]);
    assert!(!choice::is_by_speed_only(&view));
    let mut speed_only = view;
    speed_only.quality = None;
    let many = choice::for_all(&speed_only, None).expect("measured");
    assert_eq!(many.cell.case.model, COARSE);
    assert!(choice::is_by_speed_only(&speed_only));
}

#[test]
fn a_file_whose_accuracy_is_unknown_is_left_out() {
    let mut plan = quality_plan();
    plan.cells.remove(3);
    let mut header = quality_header(plan.clone());
    let mut lines: Vec<Line> = plan.cells.iter().flat_map(quality_lines).collect();
    for (name, ms) in [(BASE, 10), (FINE, 6), (COARSE, 4)] {
        let case = case(name, 1);
        lines.extend(three_processes(&case, 3, MS, ms * MS));
        header.plan.cases.push(case);
    }
    let view = fixture::view(header, lines);
    let table = PrecisionTable::of(&view).expect("scored");
    let files: Vec<String> = table.files.iter().map(model).collect();
    assert_eq!(files, [BASE, FINE, COARSE]);
    assert_eq!(table.files[2].loss(), None);
    assert_eq!(model(table.choice(1).expect("measured").file), FINE);
    let one = choice::for_one(&view, None).expect("measured");
    assert_eq!(one.cell.case.model, FINE);
    let why = "its accuracy was not measured".to_owned();
    assert_eq!(choice::left_out(&view), [(COARSE, why)]);
}

#[test]
fn a_choice_without_a_file_that_keeps_enough_says_so() {
    let mut view = with_speed();
    assert_eq!(choice::too_much_lost(&view, &view.cells[0]), None);
    view.cells.retain(|cell| cell.case.model == COARSE);
    let chosen = choice::for_all(&view, None).expect("measured");
    let lost = choice::too_much_lost(&view, chosen.cell).expect("75% are few");
    assert_eq!(
        lost,
        "tiny-q4_0 keeps 75.00% of the base's top tokens, and no file whose speed was measured keeps 90%"
    );
}

#[test]
fn a_text_without_speed_says_what_each_file_loses() {
    let view = alone();
    let said = lead(&view);
    assert_eq!(said.len(), 1);
    let claim = &said[0].claim;
    assert!(
        claim.starts_with("Against tiny-f16: tiny-q8_0 keeps 100.00% of the top tokens"),
        "{claim}"
    );
    assert_eq!(said[0].sure, Sure::Shown);
    let brief = brief(&view);
    assert!(
        brief[0].text.contains("tiny-q4_0 keeps 75.00%"),
        "{brief:?}"
    );
}
