//! Views of records made by hand; every expectation is computed by hand in the comment beside it.

use super::fixture::{
    MIB, MS, calls, case, cell, end, header, measured, repetition, three_processes, usage, view,
    worker,
};
use super::*;
use crate::host::HostWarning;
use crate::host::usage::{GpuSummary, UsageSummary};
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

fn few_steps(n_steps: u64) -> CellWarning {
    CellWarning::FewSteps {
        n_steps,
        needed: 299,
    }
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
    close(cell.decode_tokens_per_s(), 400.0);
    close(cell.per_seq_tokens_per_s(), 200.0);
    // t on logarithms, 2 degrees of freedom: ln 400, 200, 1000 = 5.991465, 5.298317, 6.907755; mean 6.065846,
    // sd 0.807290; half = 4.302653 * 0.807290 / sqrt(3) = 2.005422; exp(6.065846 -+ 2.005422).
    let i = cell
        .interval(Metric::DecodeTokensPerS)
        .expect("three processes");
    assert!(
        (i.lo - 57.999).abs() < 0.01 && (i.hi - 3200.8).abs() < 1.0,
        "{i:?}"
    );
    // Process medians of median steps: 4, 10, 2 ms.
    assert_eq!(cell.median_step_ns(), Some(4 * MS));
    // 64 prompt tokens in 10, 12, 11, 20, 8 ms; the median is 11.
    close(cell.value(Metric::PrefillTokensPerS), 64.0 / 0.011);
    assert_eq!(cell.ns(Metric::TtftNs), Some(11 * MS));
    // Mean steps 5, 4, 5, 10, 2 ms.
    assert_eq!(cell.ns(Metric::TpotNs), Some(5 * MS));
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
    assert_eq!(
        (cell.ns(Metric::OverheadNs), cell.ns(Metric::SampleNs)),
        (Some(1000), Some(3000))
    );
    assert_eq!(
        cell.ns(Metric::EngineNs),
        Some(4 * MS - 4000),
        "medians 3.996 3.996 4.996 9.996 1.996"
    );
    assert_eq!(cell.peak_rss_bytes, Some(150 * MIB));
    assert_eq!(
        (cell.load_ns, cell.context_ns),
        (Some(118_321_596), Some(7 * MS)),
        "the middle of 100 and 140 ms on the logarithm"
    );
    assert_eq!(cell.stopped_by, Some(StoppedBy::Precision));
    assert_eq!(cell.warnings, [few_steps(20)]);
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
    close(cell.decode_tokens_per_s(), 500.0);
    assert_eq!(
        (
            cell.interval(Metric::DecodeTokensPerS),
            cell.interval(Metric::StepNs)
        ),
        (None, None)
    );
    assert_eq!(cell.warnings, [CellWarning::SingleRepetition, few_steps(4)]);
    assert_eq!(cell.intervals, Intervals::default());
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
        (
            v.cells[0].ns(Metric::TtftNs),
            v.cells[0].value(Metric::PrefillTokensPerS)
        ),
        (None, None)
    );
    assert_eq!(v.cells[0].ns(Metric::SampleNs), Some(3000));
    assert_eq!(
        (
            v.cells[1].ns(Metric::TtftNs),
            v.cells[1].ns(Metric::SampleNs)
        ),
        (None, None)
    );
    close(v.cells[1].value(Metric::PrefillTokensPerS), 3200.0);
    close(v.cells[1].decode_tokens_per_s(), 500.0);
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
        [
            CellWarning::Failures {
                how,
                processes: 1,
                of: 3
            },
            few_steps(12)
        ]
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
        device: None,
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
    assert_eq!(v.cells[0].decode_tokens_per_s(), None);
    assert_eq!(v.cells[5].step_ns, StepTimes::default());
    assert!(
        v.cells[3].decode_tokens_per_s().is_some(),
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
    assert_eq!(
        texts[3],
        "36 decode steps are too few for a p99, which needs 299; raise --n-gen or --repetitions"
    );
    assert_eq!(texts.len(), 4);
}

#[test]
fn every_figure_has_the_interval_of_its_process_medians() {
    let one = case("tiny", 1);
    let two = case("tiny", 2);
    let lines = [
        rep(&one, 0, 0, MS, &[2 * MS; 4]),
        rep(&one, 1, 0, MS, &[2 * MS; 4]),
        rep(&two, 0, 0, 10 * MS, &[2 * MS; 4]),
        rep(&two, 0, 1, 30 * MS, &[2 * MS; 4]),
        rep(&two, 0, 2, 11 * MS, &[2 * MS; 4]),
        rep(&two, 1, 0, 13 * MS, &[4 * MS; 4]),
    ];
    let v = view(with_replicates(&[one, two], 2), lines);
    let cell = &v.cells[1];
    // TTFT: process medians 11 and 13 ms, their centre on the logarithm. Student's t of two, one degree of freedom:
    // half = 12.706205 * (ln 13 - ln 11) / 2 = 1.061303.
    let centre = (11.0f64 * 13.0).sqrt() * 1e6;
    let expected = |i: Option<Interval>, centre: f64, half: f64| {
        let i = i.expect("two processes");
        assert!(
            (i.lo / (centre * (-half).exp()) - 1.0).abs() < 1e-5,
            "{i:?}"
        );
        assert!((i.hi / (centre * half.exp()) - 1.0).abs() < 1e-5, "{i:?}");
    };
    expected(cell.interval(Metric::TtftNs), centre, 1.061_303);
    assert_eq!(cell.ns(Metric::TtftNs), Some(centre.round() as u64));
    expected(
        cell.interval(Metric::PrefillTokensPerS),
        64e9 / centre,
        1.061_303,
    );
    // Steps of 2 and 4 ms: half = 12.706205 * ln 2 / 2 = 4.403635.
    expected(cell.interval(Metric::TpotNs), 8f64.sqrt() * 1e6, 4.403_635);
    let i = cell.interval(Metric::OverheadNs).expect("two processes");
    assert_eq!(
        (i.lo.round(), i.hi.round()),
        (1000.0, 1000.0),
        "it never varied"
    );
    // Against one sequence of the same replicate: 1000 t/s over 500, and 500 over 500.
    let i = cell.intervals.speedup.expect("two replicates");
    let (lo, hi) = (
        2f64.sqrt() * (-4.403_635f64).exp(),
        2f64.sqrt() * 4.403_635f64.exp(),
    );
    assert!(
        (i.lo / lo - 1.0).abs() < 1e-5 && (i.hi / hi - 1.0).abs() < 1e-5,
        "{i:?}"
    );
    close(Some(i.estimate), cell.speedup.expect("both were measured"));
    let own = v.cells[0].intervals.speedup.expect("two replicates");
    assert_eq!((own.lo, own.hi), (1.0, 1.0));
}

#[test]
fn a_percentiles_units_are_the_percentiles_of_processes() {
    let c = Case {
        n_gen: 20,
        ..case("tiny", 1)
    };
    // Twice twenty steps a process: enough for a p90, which is the 36th of 40. A p95 has its value from
    // all 120 steps, but no process has the 59 that it needs.
    let steps = |slow: u64| -> Vec<u64> {
        let step = |i| if i < 15 { MS } else { slow * MS };
        (0..20).map(step).collect()
    };
    let lines = (0..3).flat_map(|p| [0, 1].map(|k| rep(&c, p, k, MS, &steps(3 + u64::from(p)))));
    let v = view(with_replicates(std::slice::from_ref(&c), 3), lines);
    let cell = &v.cells[0];
    let i = cell.intervals.p90.expect("three processes of 40 steps");
    // Student's t of ln 3, ln 4, ln 5: mean 1.364782, sd 0.255892; half = 4.302653 * 0.255892 / sqrt(3) = 0.635664.
    let (lo, hi) = (0.729_118f64.exp() * 1e6, 2.000_446f64.exp() * 1e6);
    assert!(
        (i.lo / lo - 1.0).abs() < 2e-3 && (i.hi / hi - 1.0).abs() < 2e-3,
        "{i:?}"
    );
    let p90 = cell.step_ns.p90.expect("120 steps") as f64;
    assert!(
        (i.estimate / p90 - 1.0).abs() < 1e-12,
        "that of all steps together"
    );
    assert!(cell.step_ns.p95.is_some() && cell.intervals.p95.is_none());
    // In one process the repetitions are the units, and 20 steps are too few for their p90, enough for a median.
    let alone = [0, 1].map(|k| rep(&c, 0, k, MS, &steps(3)));
    let v = view(with_replicates(&[c], 1), alone);
    let intervals = &v.cells[0].intervals;
    assert!(intervals.p50.is_some() && intervals.p90.is_none());
    assert_eq!(intervals.speedup, None, "one process");
}

#[test]
fn a_longest_step_that_is_long_by_design_says_so() {
    let c = Case {
        n_prompt: 254,
        ..case("tiny", 1)
    };
    // The cache holds 254, 255, 256, 257 tokens before the steps.
    let of = |steps: [u64; 4]| {
        let lines = [rep(&c, 0, 0, MS, &steps), done(&c, 0, measured(1))];
        let mut v = view(with_replicates(std::slice::from_ref(&c), 1), lines);
        v.cells.remove(0)
    };
    let explained = of([MS, MS, 5 * MS, 2 * MS]);
    assert_eq!(
        (explained.step_ns.n_boundary, explained.step_ns.max_n_past),
        (1, Some(256))
    );
    assert_eq!(explained.step_ns.max_at_boundary(), Some(true));
    let text = explained.warnings.last().map(ToString::to_string);
    assert_eq!(
        text.as_deref(),
        Some(
            "the longest step is one of the 1 of 4 that reach a multiple of 256 tokens in the cache, where the engine \
             has more to do: likely no disturbance"
        )
    );
    let noise = of([MS, 6 * MS, 5 * MS, 2 * MS]);
    assert_eq!(noise.step_ns.max_at_boundary(), Some(false));
    assert_eq!(
        (noise.step_ns.n_boundary, noise.step_ns.max_n_past),
        (1, Some(255))
    );
    assert_eq!(noise.warnings.last(), Some(&few_steps(4)));
    assert_eq!(StepTimes::default().max_at_boundary(), None);
}

#[test]
fn a_clock_that_fell_is_told_where_it_can_be_compared() {
    let (one, two) = (case("tiny", 1), case("tiny", 2));
    let other = Case {
        n_threads: 1,
        ..case("tiny", 4)
    };
    let visit = |c: &Case, process: u32, hz: f64| {
        let mut line = cell(c, Some(process), measured(1));
        line.usage = Some(usage(hz));
        [rep(c, process, 0, MS, &[MS; 4]), Line::Cell(Box::new(line))]
    };
    let lines = [
        visit(&one, 0, 3.0e9),
        visit(&one, 1, 2.9e9),
        visit(&two, 0, 2.4e9),
        visit(&two, 1, 2.86e9),
        visit(&other, 0, 2.0e9),
    ];
    let v = view(
        with_replicates(&[one, two, other], 2),
        lines.into_iter().flatten(),
    );
    let told = |at: usize| {
        let texts = v.cells[at].warnings.iter().map(ToString::to_string);
        texts.filter(|t| t.contains("clock")).collect::<Vec<_>>()
    };
    assert_eq!(told(0), [""; 0], "3.3% is little");
    assert_eq!(
        told(1),
        [
            "the CPU's clock was up to 20% below that of the run's fastest cell with as many threads, in 1 of 2 processes; \
             fix the frequency, or let the machine cool between runs"
        ]
    );
    assert_eq!(told(2), [""; 0], "no other cell has one thread");
    let cpu = v.cells[0].usage.process_cpu_percent.expect("was watched");
    assert_eq!((cpu.mean, cpu.max), (198.0, 199.0));
    assert_eq!(v.cells[0].usage.sampler_cost_percent, Some(0.025));
}

#[test]
fn a_gpu_that_was_held_down_is_told_with_its_reasons() {
    let c = case("tiny", 1);
    let mut line = cell(&c, Some(0), measured(1));
    line.usage = Some(UsageSummary {
        gpu: Some(GpuSummary {
            throttle_reasons: vec!["power limit".to_owned()],
            ..GpuSummary::default()
        }),
        ..usage(3.0e9)
    });
    let lines = [rep(&c, 0, 0, MS, &[MS; 4]), Line::Cell(Box::new(line))];
    let v = view(with_replicates(&[c], 1), lines);
    let texts: Vec<String> = v.cells[0]
        .warnings
        .iter()
        .map(ToString::to_string)
        .collect();
    assert!(
        texts.contains(
            &"the GPU's clocks were held down in 1 of 1 processes: power limit; improve its cooling or raise its power \
              limit"
                .to_owned()
        ),
        "{texts:?}"
    );
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
        [
            CellWarning::FewProcesses {
                processes: 2,
                of: 3
            },
            few_steps(8)
        ]
    );
}

#[test]
fn empty_and_absurd_lines_are_shown_all_the_same() {
    let mut absurd = case("not-in-the-plan", 1);
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
    assert_eq!(v.cells[1].decode_tokens_per_s(), None);
    assert_eq!(v.cells[0].step_ns.max, Some(u64::MAX));
    for width in [20, 80, 120] {
        crate::report::terminal_text(&v, width, true);
    }
    for output in [
        crate::report::Output::Md,
        crate::report::Output::Csv,
        crate::report::Output::Json,
    ] {
        let theory = crate::analysis::theory::Theory::of(&v, &|_| None);
        let answers = crate::report::RunAnswers::of(&v, &theory, None);
        assert!(!answers.terminal(80).is_empty());
        crate::report::print(&v, &answers, output, &mut Vec::new()).expect("writes");
    }
}

#[test]
fn the_price_of_gpu_memory_is_near_what_an_h200_took() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/results/h200/throughput");
    let v = RunView::read(Path::new(folder)).expect("committed");
    let mut n = 0;
    for cell in &v.cells {
        let memory = cell.usage.gpu_memory.expect("was watched");
        let took = memory.used_peak_bytes.expect("was watched") as f64;
        let model = v.model(&cell.case.model).expect("of the plan");
        let price = crate::plan::budget::memory(&cell.case, model);
        let priced = price.split(&cell.case, model).0 as f64;
        // The driver's own context, some 0.5 GiB, is in what it took.
        assert!(
            (0.85..1.25).contains(&(priced / took)),
            "{}: priced {priced}, took {took}",
            cell.case_id
        );
        n += 1;
    }
    assert_eq!(n, 24);
}
