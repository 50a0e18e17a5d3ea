//! Views of records made by hand; every expectation is computed by hand in the comment beside it.

use super::fixture::{
    MIB, MS, calls, case, cell, end, header, measured, repetition, three_processes, view, worker,
};
use super::*;
use crate::host::HostWarning;
use crate::measure::steady::Steadiness;
use crate::record::Line;

fn close(found: Option<f64>, expected: f64) {
    let found = found.expect("has a value");
    assert!(
        (found / expected - 1.0).abs() < 1e-9,
        "{found} is not {expected}"
    );
}

fn rep(case: &Case, process: u32, number: u32, prefill_ns: u64, steps_ns: &[u64]) -> Line {
    Line::Repetition(Box::new(repetition(
        case,
        process,
        number,
        calls(case, prefill_ns, steps_ns),
    )))
}

fn done(case: &Case, process: u32, outcome: Outcome) -> Line {
    Line::Cell(Box::new(cell(case, Some(process), outcome)))
}

fn crashed() -> Outcome {
    Outcome::Crashed {
        how: "SIGABRT".to_owned(),
    }
}

fn with_replicates(cases: &[Case], replicates: u32) -> RunHeader {
    let mut header = header(&["tiny"], cases.to_vec());
    header.plan.protocol.replicates = replicates;
    header
}

#[test]
fn every_figure_of_a_cell() {
    let c = case("tiny", 2);
    let v = view(
        with_replicates(std::slice::from_ref(&c), 3),
        [
            worker(0, "tiny", Some(100 * MS)),
            worker(1, "tiny", Some(140 * MS)),
            worker(2, "tiny", None),
            // Per repetition: 8 tokens in 4 steps.
            rep(&c, 0, 0, 10 * MS, &[4 * MS, 4 * MS, 4 * MS, 8 * MS]), // 20 ms: 400 t/s, median 4
            rep(&c, 0, 1, 12 * MS, &[4 * MS, 4 * MS, 4 * MS, 4 * MS]), // 16 ms: 500 t/s, median 4
            rep(&c, 0, 2, 11 * MS, &[5 * MS, 5 * MS, 5 * MS, 5 * MS]), // 20 ms: 400 t/s, median 5
            done(&c, 0, measured(3)),
            rep(&c, 1, 0, 20 * MS, &[10 * MS, 10 * MS, 10 * MS, 10 * MS]), // 40 ms: 200 t/s
            done(&c, 1, measured(1)),
            rep(&c, 2, 0, 8 * MS, &[2 * MS, 2 * MS, 2 * MS, 2 * MS]), // 8 ms: 1000 t/s
            done(&c, 2, measured(1)),
            end(),
        ],
    );
    let [cell] = &v.cells[..] else {
        panic!("one cell")
    };
    assert_eq!(cell.outcome, CellOutcome::Measured);
    assert_eq!(
        cell.outcome_detail,
        "measured 5 times in 3 processes, stopped by precision"
    );
    assert_eq!(
        (cell.n_processes, cell.n_repetitions, cell.n_steps),
        (3, 5, 20)
    );
    // Process medians 400, 200, 1000.
    close(cell.decode_tokens_per_s, 400.0);
    close(cell.per_seq_tokens_per_s, 200.0);
    // t on logarithms, 2 degrees of freedom: ln 400, 200, 1000 = 5.991465, 5.298317, 6.907755; mean 6.065846,
    // sd 0.807290; half = 4.302653 * 0.807290 / sqrt(3) = 2.005422; exp(6.065846 -+ 2.005422).
    let i = cell.decode_interval.expect("three processes");
    assert!(
        (i.lo - 57.999).abs() < 0.01 && (i.hi - 3200.8).abs() < 1.0,
        "{i:?}"
    );
    // Process medians of median steps: 4, 10, 2 ms.
    assert_eq!(cell.median_step_ns, Some(4 * MS));
    // 64 prompt tokens in 10, 12, 11, 20, 8 ms; the median is 11.
    close(cell.prefill_tokens_per_s, 64.0 / 0.011);
    assert_eq!(cell.ttft_ns, Some(11 * MS));
    // Mean steps 5, 4, 5, 10, 2 ms.
    assert_eq!(cell.tpot_ns, Some(5 * MS));
    // 104 ms over 20 steps.
    assert_eq!(cell.step_ns.mean, Some(5_200_000));
    assert_eq!(cell.step_ns.max, Some(10 * MS));
    // Three significant figures of the tenth of twenty.
    let p50 = cell.step_ns.p50.expect("more than five steps");
    assert!(p50.abs_diff(4 * MS) <= 4 * MS / 1000, "{p50}");
    assert_eq!(
        (cell.step_ns.p90, cell.step_ns.p99),
        (None, None),
        "needs 29 and 299"
    );
    assert_eq!((cell.overhead_ns, cell.sample_ns), (Some(1000), Some(3000)));
    assert_eq!(
        cell.engine_ns,
        Some(4 * MS - 4000),
        "medians 3.996 3.996 4.996 9.996 1.996"
    );
    assert_eq!(cell.peak_rss_bytes, Some(150 * MIB));
    assert_eq!(
        (cell.load_ns, cell.context_ns),
        (Some(120 * MS), Some(7 * MS))
    );
    assert_eq!(cell.stopped_by, Some(StoppedBy::Precision));
    assert_eq!(cell.warnings, []);
    assert_eq!(cell.speedup, None, "no batch of one");
    assert!(v.end.is_some() && v.any_measured() && !v.any_failed() && !v.can_be_resumed());
}

#[test]
fn percentiles_wait_for_enough_steps() {
    let of = |n_steps: u32| {
        let c = Case {
            n_gen: n_steps,
            ..case("tiny", 1)
        };
        let steps: Vec<u64> = (1..=u64::from(n_steps)).map(|i| i * MS).collect();
        let lines = [rep(&c, 0, 0, MS, &steps), done(&c, 0, measured(1))];
        view(with_replicates(&[c], 1), lines).cells[0].step_ns
    };
    let few = of(298);
    assert_eq!(few.p99, None);
    let p95 = few.p95.expect("59 are enough");
    assert!(
        p95.abs_diff(284 * MS) <= 284 * MS / 1000,
        "the 284th of 298: {p95}"
    );
    let enough = of(299);
    let p99 = enough.p99.expect("299 are enough");
    assert!(
        p99.abs_diff(297 * MS) <= 297 * MS / 1000,
        "the 297th of 299: {p99}"
    );
    assert_eq!(enough.max, Some(299 * MS));
    let one = of(1);
    assert_eq!(
        (one.mean, one.sd, one.p50, one.max),
        (Some(MS), None, None, Some(MS))
    );
}

#[test]
fn no_percentile_exceeds_the_longest_step() {
    let c = Case {
        n_gen: 400,
        ..case("tiny", 1)
    };
    let lines = [
        rep(&c, 0, 0, MS, &[1_234_567; 400]),
        done(&c, 0, measured(1)),
    ];
    let step = view(with_replicates(&[c], 1), lines).cells[0].step_ns;
    assert_eq!(step.max, Some(1_234_567));
    assert_eq!(step.p99, Some(1_234_567));
    assert_eq!(step.sd, Some(0));
}

#[test]
fn a_single_repetition_has_an_estimate_and_no_interval() {
    let c = case("tiny", 1);
    let lines = [
        rep(&c, 0, 0, 10 * MS, &[2 * MS; 4]),
        done(&c, 0, measured(1)),
    ];
    let v = view(with_replicates(&[c], 1), lines);
    let cell = &v.cells[0];
    close(cell.decode_tokens_per_s, 500.0);
    assert_eq!(
        (cell.decode_interval, cell.median_step_interval),
        (None, None)
    );
    assert_eq!(cell.warnings, [CellWarning::SingleRepetition]);
    close(cell.speedup, 1.0);
    assert_eq!(v.end, None, "cut off");
}

#[test]
fn neither_a_prompt_nor_sampling_is_no_time_to_first_token() {
    let no_prompt = Case {
        n_prompt: 0,
        ..case("tiny", 1)
    };
    let drawn = Case {
        sample: false,
        ..case("tiny", 1)
    };
    let lines = [&no_prompt, &drawn].map(|c| rep(c, 0, 0, 10 * MS, &[2 * MS; 4]));
    let v = view(header(&["tiny"], vec![no_prompt, drawn]), lines);
    assert_eq!(
        (v.cells[0].ttft_ns, v.cells[0].prefill_tokens_per_s),
        (None, None)
    );
    assert_eq!(v.cells[0].sample_ns, Some(3000));
    assert_eq!((v.cells[1].ttft_ns, v.cells[1].sample_ns), (None, None));
    close(v.cells[1].prefill_tokens_per_s, 3200.0);
    close(v.cells[1].decode_tokens_per_s, 500.0);
}

#[test]
fn speedups_compare_with_one_sequence_of_the_same_case() {
    let (one, four) = (case("tiny", 1), case("tiny", 4));
    let other = Case {
        n_threads: 1,
        ..case("tiny", 4)
    };
    let lines = [
        rep(&one, 0, 0, MS, &[MS; 4]),       // 1000 t/s
        rep(&four, 0, 0, MS, &[2 * MS; 4]),  // 2000 t/s
        rep(&other, 0, 0, MS, &[2 * MS; 4]), // one sequence was not measured with one thread
    ];
    let v = view(header(&["tiny"], vec![one, four, other]), lines);
    close(v.cells[1].speedup, 2.0);
    close(v.cells[1].efficiency, 0.5);
    assert_eq!((v.cells[2].speedup, v.cells[2].efficiency), (None, None));
}

#[test]
fn a_cell_that_crashed_in_one_process_is_measured_with_a_warning() {
    let c = case("tiny", 1);
    let lines = [
        rep(&c, 0, 0, MS, &[2 * MS; 4]),
        done(&c, 0, measured(1)),
        rep(&c, 1, 0, MS, &[2 * MS; 4]),
        done(&c, 1, crashed()),
        rep(&c, 2, 0, MS, &[2 * MS; 4]),
        done(&c, 2, measured(1)),
    ];
    let v = view(with_replicates(&[c], 3), lines);
    let cell = &v.cells[0];
    assert_eq!(cell.outcome, CellOutcome::Measured);
    assert_eq!(
        cell.failures,
        [Failure {
            replicate: Some(1),
            worker: Some(1),
            outcome: crashed()
        }]
    );
    let how = "crashed: SIGABRT".to_owned();
    assert_eq!(
        cell.warnings,
        [CellWarning::Failures {
            how,
            processes: 1,
            of: 3
        }]
    );
    assert!(v.any_failed() && v.any_measured() && v.can_be_resumed());
}

#[test]
fn a_resumed_run_makes_good_for_what_failed() {
    let c = case("tiny", 1);
    let second_try = |line: Line| match line {
        Line::Repetition(mut r) => {
            r.worker = 7;
            Line::Repetition(r)
        }
        Line::Cell(mut l) => {
            l.worker = Some(7);
            Line::Cell(l)
        }
        other => other,
    };
    let lines = [
        done(&c, 0, crashed()),
        end(),
        second_try(rep(&c, 0, 0, MS, &[2 * MS; 4])),
        second_try(done(&c, 0, measured(1))),
    ];
    let v = view(with_replicates(std::slice::from_ref(&c), 1), lines.clone());
    assert_eq!(v.cells[0].outcome, CellOutcome::Measured);
    assert_eq!(v.cells[0].failures, []);
    assert!(!v.any_failed() && !v.can_be_resumed());
    assert_eq!(v.end, None, "the end was the first execution's");
    let first = view(with_replicates(&[c], 1), lines.into_iter().take(2));
    assert!(first.end.is_some() && first.any_failed());
}

#[test]
fn what_was_not_measured_says_why() {
    let cases: Vec<Case> = (1..=7).map(|n| case("tiny", n)).collect();
    let skipped = Outcome::Skipped {
        needs_bytes: 3 << 30,
        has_bytes: 2 << 30,
    };
    let timed_out = Outcome::TimedOut {
        after_ns: 60_000 * MS,
    };
    let failed = Outcome::Failed {
        reason: "no".to_owned(),
    };
    let lines = [
        Line::Cell(Box::new(cell(&cases[0], None, skipped))),
        done(&cases[1], 0, failed),
        done(&cases[1], 1, crashed()),
        done(&cases[1], 2, crashed()),
        done(&cases[2], 0, timed_out),
        rep(&cases[3], 0, 0, MS, &[MS; 4]),
        done(&cases[3], 0, Outcome::Interrupted),
        rep(&cases[4], 0, 0, MS, &[MS; 4]),
        rep(&cases[6], 0, 0, MS, &[MS; 4]),
        done(&cases[6], 0, measured(1)),
    ];
    let v = view(with_replicates(&cases[..6], 3), lines);
    let found: Vec<(&str, &str)> = v
        .cells
        .iter()
        .map(|c| (c.outcome.word(), c.outcome_detail.as_str()))
        .collect();
    assert_eq!(
        found,
        [
            ("skipped", "skipped: needs 3.00 GiB, has 2.00 GiB"),
            ("crashed", "crashed: SIGABRT (in 2 processes)"),
            ("timed_out", "timed out: no answer for 60.0 s"),
            ("interrupted", "interrupted"),
            ("interrupted", "interrupted: the run was cut off"),
            ("missing", "missing: not measured yet"),
            (
                "measured",
                "measured 1 time in 1 process, stopped by precision"
            ),
        ],
        "and a cell that the plan does not have comes last"
    );
    assert_eq!(v.cells[0].decode_tokens_per_s, None);
    assert_eq!(v.cells[5].step_ns, StepTimes::default());
    assert!(
        v.cells[3].decode_tokens_per_s.is_some(),
        "its repetitions are no less true"
    );
}

#[test]
fn noise_is_counted_and_its_worst_kept() {
    let c = case("tiny", 1);
    let mut lines = three_processes(&c, 3, MS, MS);
    for (at, others_percent) in [(0, 5.0), (2, 12.1), (5, 4.0)] {
        if let Line::Repetition(r) = &mut lines[at] {
            r.warnings = vec![
                HostWarning::NoisyNeighbour { others_percent },
                HostWarning::Throttled,
            ];
        }
    }
    if let Line::Cell(l) = &mut lines[3] {
        l.opened.as_mut().expect("measured").steadiness = Steadiness::NotSteady;
    }
    let v = view(with_replicates(&[c], 3), lines);
    let texts: Vec<String> = v.cells[0]
        .warnings
        .iter()
        .map(ToString::to_string)
        .collect();
    assert!(texts[0].starts_with("not steady: ") && texts[0].contains("in 1 of 3 processes"));
    assert!(
        texts[1].starts_with("other processes used the CPU in 3 of 9 repetitions, at most 12.1%")
    );
    assert!(texts[2].starts_with("in 3 of 9 repetitions: clocks were lowered"));
    assert_eq!(texts.len(), 3);
}

#[test]
fn what_differs_between_processes_is_told_by_the_least_satisfying() {
    let c = case("tiny", 1);
    let budget = Outcome::Measured {
        repetitions: 1,
        stopped_by: StoppedBy::Budget,
    };
    let lines = [
        rep(&c, 0, 0, MS, &[MS; 4]),
        done(&c, 0, budget),
        rep(&c, 1, 0, MS, &[MS; 4]),
        done(&c, 1, measured(1)),
    ];
    let v = view(with_replicates(&[c], 3), lines);
    assert_eq!(v.cells[0].stopped_by, Some(StoppedBy::Budget));
    assert_eq!(
        v.cells[0].warnings,
        [CellWarning::FewProcesses {
            processes: 2,
            of: 3
        }]
    );
}

#[test]
fn empty_and_absurd_lines_are_shown_all_the_same() {
    let mut absurd = case("not-in-the-plan", 0);
    absurd.n_gen = 0;
    let mut timeless = calls(&case("tiny", 1), 5000, &[5000; 4]);
    for call in &mut timeless {
        (call.build_ns, call.submit_ns, call.wait_ns, call.sample_ns) = (0, 0, 0, 0);
    }
    let mut endless = timeless.clone();
    endless[1].submit_ns = u64::MAX;
    let c = case("tiny", 1);
    let lines = [
        Line::Repetition(Box::new(repetition(&absurd, 3, 9, vec![]))),
        done(&absurd, 3, measured(0)),
        Line::Repetition(Box::new(repetition(&c, 0, 0, timeless))),
        Line::Repetition(Box::new(repetition(&c, 1, 0, endless))),
    ];
    let v = view(header(&["tiny"], vec![c]), lines);
    assert_eq!(v.cells.len(), 2);
    assert_eq!(v.cells[1].decode_tokens_per_s, None);
    assert_eq!(v.cells[0].step_ns.max, Some(u64::MAX));
    for width in [20, 80, 120] {
        crate::report::terminal::render(&v, width, true);
    }
    for output in [
        crate::report::Output::Md,
        crate::report::Output::Csv,
        crate::report::Output::Json,
    ] {
        crate::report::print(&v, output, &mut Vec::new()).expect("writes");
    }
}
