//! Theory on runs whose cost is known.

use super::*;
use crate::model::sums::Matrices;
use crate::roofline::ceiling::{CEILINGS_VERSION, ReadRate, Timing};
use crate::view::fixture::{self, MS, case, header, three_processes};

fn timing(ns: f64) -> Timing {
    Timing {
        ns,
        low_ns: ns,
        high_ns: ns,
        best_ns: ns,
        n_rounds: 3,
        n_passes: 1,
        measured_at_s: 0,
        disturbed: false,
    }
}

/// Ceilings that know the kernels of these cells, `ns` nanoseconds for each, and read 30 GB/s.
fn ceilings(view: &RunView, ns: f64) -> Ceilings {
    let mut ceilings = Ceilings {
        version: CEILINGS_VERSION,
        machine: view.header.machine.fingerprint.clone(),
        engine: String::new(),
        device: String::new(),
        n_threads: 2,
        read: Some(ReadRate {
            best_per_s: 30e9,
            median_per_s: 29e9,
            interval_per_s: None,
            buffer_bytes: 1 << 30,
            cache_bytes: None,
            n_passes: 3,
            measured_at_s: 0,
            disturbed: false,
        }),
        entries: Vec::new(),
    };
    for cell in &view.cells {
        let model = view.model(&cell.case.model).expect("in the plan");
        let geometry = cell.case.geometry();
        let n_seq = cell.case.n_seq;
        let mut items = work::decode(model, &geometry, n_seq, cell.case.mid_past());
        items.extend(work::prefill(
            model,
            &geometry,
            n_seq,
            cell.case.n_prompt,
            0,
        ));
        for point in ceilings.missing(&items) {
            ceilings.insert(point, timing(ns));
        }
    }
    ceilings
}

/// A run of four batches whose step is exactly 4 ms and 1 ms a sequence.
fn affine() -> RunView {
    let cases: Vec<Case> = [1, 4, 16, 64].map(|n| case("tiny", n)).into();
    let lines: Vec<_> = cases
        .iter()
        .flat_map(|c| {
            let step = 4 * MS + u64::from(c.n_seq) * MS;
            let mut lines = three_processes(c, 1, MS, step);
            for line in &mut lines {
                if let crate::record::Line::Repetition(r) = line {
                    r.calls = fixture::calls(c, MS, &[step; 4]);
                }
            }
            lines
        })
        .collect();
    let mut header = header(&["tiny"], cases);
    header.plan.models[0].matrices = vec![Matrices {
        tensor_type: "Q4_0".to_owned(),
        n_in: 576,
        n_out: 1536,
        n_expert: 1,
        only_logits: false,
        count: 210,
    }];
    fixture::view(header, lines)
}

#[test]
fn costs_and_curves_need_the_record_alone() {
    let view = affine();
    let theory = Theory::of(&view, &|_| None);
    assert_eq!(theory.ceilings, None);
    let one = theory.of_cell(&view.cells[0]).expect("measured");
    assert!(one.cost.bytes() > 80e6, "{one:?}");
    assert_eq!((&one.step, one.ttft), (&None, None));
    assert_eq!(theory.ceiling(&view.cells[0]), None);
    let [fit] = &theory.fits[..] else {
        panic!("one curve");
    };
    let knee = fit.knee.expect("a step of 10 ms").batch;
    assert!((knee / 6.0 - 1.0).abs() < 0.02, "{fit:#?}");
    let batches: Vec<f64> = fit.held_out.iter().map(|h| h.batch).collect();
    assert_eq!(batches, [4.0, 16.0]);
    assert!(
        fit.held_out.iter().all(|h| h.error().abs() < 0.02),
        "{fit:#?}"
    );
    assert!(
        !fit.proven,
        "four batches describe a form, they do not prove it"
    );
    let (first, last) = (fit.points[0], fit.points[fit.points.len() - 1]);
    assert!((first.1 / 200.0 - 1.0).abs() < 0.02 && (last.0 - 64.0).abs() < 1e-6);
}

#[test]
fn ceilings_speak_when_they_explain_the_time() {
    let view = affine();
    let cell = &view.cells[0];
    let expected = |ns: f64| {
        let known = ceilings(&view, ns);
        let theory = Theory::of(&view, &|_| Some(&known));
        let step = theory.of_cell(cell).and_then(|e| e.step.clone());
        (step.expect("every kernel is known").total.ns, theory)
    };
    // As long as the measured step: then the matrices, timed for one token, are what it reads weights with.
    let (short, _) = expected(1000.0);
    let right = 5.0 * MS as f64 / short * 1000.0;
    let (step, theory) = expected(right);
    assert!((step / (5.0 * MS as f64) - 1.0).abs() < 1e-9);
    let evidence = theory.ceiling(cell).expect("known");
    assert!(
        evidence.explains && evidence.leaves == [Bound::Weights],
        "{evidence:?}"
    );
    let (mbu, mfu) = theory.utilisation(cell).expect("known");
    assert!((0.3..1.0).contains(&mbu) && mfu > 0.0, "{mbu} {mfu}");
    // A fifth too short explains nothing, and then says nothing.
    let (_, theory) = expected(right * 0.8);
    let evidence = theory.ceiling(cell).expect("known");
    assert!(
        !evidence.explains && evidence.leaves.is_empty(),
        "{evidence:?}"
    );
}
