//! Verdicts on evidence made by hand, and on runs whose cost is known.

use super::*;
use crate::analysis::curve::Along;
use crate::analysis::curve::curves;
use crate::plan::Case;
use crate::view::fixture::{self, MS, case, header, model, three_processes};

fn evidence(kind: EvidenceKind, leaves: &[Bound], explains: bool) -> BoundEvidence {
    BoundEvidence {
        kind,
        leaves: leaves.to_vec(),
        explains,
        text: String::new(),
    }
}

#[test]
fn a_bound_is_named_only_when_two_kinds_agree_and_one_explains_the_time() {
    let batch = evidence(EvidenceKind::Batch, &[Weights, Host], true);
    let bytes = evidence(EvidenceKind::Bytes, &[Weights], true);
    let against = evidence(EvidenceKind::Threads, &[Compute], false);
    let silent = evidence(EvidenceKind::Context, &[], false);
    let found = judge(vec![batch.clone(), bytes.clone(), silent.clone()]);
    assert_eq!((found.bound, found.why_not), (Some(Weights), None));
    for (given, why) in [
        (vec![], "nothing that was measured"),
        (
            vec![bytes.clone(), silent],
            "only one kind of evidence speaks (file size)",
        ),
        (vec![bytes.clone(), bytes.clone()], "only one kind"),
        (vec![batch.clone(), bytes, against], "disagree"),
        (
            vec![
                batch.clone(),
                evidence(EvidenceKind::Spans, &[Weights, Host, Compute], false),
            ],
            "does not exclude memory bandwidth (weights) or fixed costs",
        ),
        (
            vec![
                evidence(EvidenceKind::Batch, &[Weights], false),
                evidence(EvidenceKind::Spans, &[Weights], false),
            ],
            "no model of the time",
        ),
    ] {
        let found = judge(given);
        assert_eq!(found.bound, None);
        let said = found.why_not.expect("a reason");
        assert!(said.contains(why), "{said}");
    }
}

/// Three files of 100, 200 and 400 MB; steps of 10 ns a byte and 1 ms a sequence.
#[test]
fn weights_bound_a_single_sequence_and_arithmetic_many() {
    let mut cases = Vec::new();
    let mut lines = Vec::new();
    let mut header = header(&["a", "b", "c"], Vec::new());
    for (name, megabytes) in [("a", 1_u64), ("b", 2), ("c", 4)] {
        for n_seq in [1, 8, 64] {
            let case = Case {
                n_gen: 64,
                ..case(name, n_seq)
            };
            let step = megabytes * 10 * MS + u64::from(n_seq) * MS;
            lines.extend(three_processes(&case, 1, MS, step));
            cases.push(case);
        }
    }
    header.plan.cases = cases;
    header.plan.models = ["a", "b", "c"].map(model).into();
    for (facts, megabytes) in header.plan.models.iter_mut().zip([1, 2, 4]) {
        facts.weight_bytes_per_step = megabytes * 1_000_000;
    }
    let view = fixture::view(header, lines);
    let bound = |at: usize| of(&view, &view.cells[at], None);
    // c at batch 1: 40 of 41 ms are bytes, and the same for every batch.
    let found = bound(6);
    assert_eq!(found.bound, Some(Weights), "{found:#?}");
    assert!(
        found
            .evidence
            .iter()
            .any(|e| e.text.contains("0.100 GB/s") || e.text.contains("0.099")),
        "{found:#?}"
    );
    // a at batch 64: 64 of 74 ms belong to the sequences, and hardly grow with the context.
    let found = bound(2);
    assert_eq!(found.bound, Some(Compute), "{found:#?}");
    assert!(
        missing(&view, &view.cells[2], &found)
            .iter()
            .any(|(a, _)| a.name() == "threads")
    );
    assert_eq!(curves(&view, Along::Batch).len(), 3);
}

/// Steps of a GPU whose kernels change between batches 8 and 32, and whose first steps of a generation are slow: H200, Q4_K_M and F16
/// of Llama-3-8B, in microseconds.
#[test]
fn a_curve_that_is_no_line_still_says_what_a_sequence_adds_next_to_a_batch() {
    let (batches, q4, f16) = (
        [1, 8, 32, 128],
        [4_070, 8_300, 10_500, 29_900],
        [4_800, 7_480, 8_660, 18_600],
    );
    let mut header = header(&["a", "b", "c"], Vec::new());
    let (mut cases, mut lines) = (Vec::new(), Vec::new());
    for (name, steps) in [("a", q4), ("b", [4_210, 7_540, 10_600, 27_100]), ("c", f16)] {
        for (n_seq, step_us) in batches.into_iter().zip(steps) {
            let case = Case {
                n_prompt: 32,
                n_gen: 80,
                ..case(name, n_seq)
            };
            lines.extend(three_processes(&case, 1, MS, step_us * 1_000));
            cases.push(case);
        }
    }
    header.plan.cases = cases;
    header.plan.models = ["a", "b", "c"].map(model).into();
    for (facts, gib) in header.plan.models.iter_mut().zip([4.30, 7.43, 14.0]) {
        facts.weight_bytes_per_step = (gib * (1_u64 << 30) as f64) as u64;
    }
    let view = fixture::view(header, lines);
    let of = |at: usize| of(&view, &view.cells[at], None);
    let batch = |found: &Bottleneck| {
        let of_batch = found
            .evidence
            .iter()
            .find(|e| e.kind == EvidenceKind::Batch);
        of_batch.expect("four batches").clone()
    };
    // Q4_K_M for one sequence: hardly anything of the step grows with the file or with the sequences.
    let found = of(0);
    assert_eq!(batch(&found).leaves, [Weights, Host], "{found:#?}");
    assert!(
        batch(&found).text.contains("a sequence adds 611 µs"),
        "{found:#?}"
    );
    assert_eq!(found.bound, Some(Host), "{found:#?}");
    // F16 for 128: the sequences take most of it.
    let found = of(11);
    assert_eq!(
        batch(&found).leaves,
        [Compute, KvCache, Sampling],
        "{found:#?}"
    );
    // Q4_K_M at batch 8, where the slopes on both sides contradict each other.
    assert!(batch(&of(1)).leaves.is_empty());
}
