//! Views of records made by hand; every expectation is computed by hand in the comment beside it.

use super::fixture::{
    self, MIB, MS, calls, case, cell, end, header, measured, repetition, three_processes, usage,
    worker,
};
use super::*;
use crate::host::HostWarning;
use crate::host::usage::{GpuSummary, UsageSummary};
use crate::measure::steady::Steadiness;
use crate::metric::Metric;
use crate::plan::Case;
use crate::record::{Line, Outcome, StoppedBy};
use crate::stats::Interval;

fn close(found: Option<f64>, expected: f64) {
    near(found.expect("has a value"), expected, 1e-9);
}

fn near(found: f64, expected: f64, relative: f64) {
    let is_near = (found / expected - 1.0).abs() < relative;
    assert!(is_near, "{found} is not {expected}");
}

fn interval(found: Option<Interval>, lo: f64, hi: f64, relative: f64) -> Interval {
    let found = found.expect("has an interval");
    near(found.lo, lo, relative);
    near(found.hi, hi, relative);
    found
}

fn rep(case: &Case, process: u32, number: u32, prefill_ns: u64, steps_ns: &[u64]) -> Line {
    let calls = calls(case, prefill_ns, steps_ns);
    Line::Repetition(Box::new(repetition(case, process, number, calls)))
}

fn done(case: &Case, process: u32, outcome: Outcome) -> Line {
    Line::Cell(Box::new(cell(case, Some(process), outcome)))
}

/// The view of a run of these cases.
fn view(cases: &[&Case], replicates: u32, lines: impl IntoIterator<Item = Line>) -> RunView {
    let cases = cases.iter().map(|case| (*case).clone()).collect();
    let mut header = header(&["tiny"], cases);
    header.plan.protocol.replicates = replicates;
    fixture::view(header, lines)
}

/// A cell of which one process measured one repetition.
fn alone(case: &Case, prefill_ns: u64, steps_ns: &[u64]) -> CellView {
    let rep = rep(case, 0, 0, prefill_ns, steps_ns);
    let lines = [rep, done(case, 0, measured(1))];
    view(&[case], 1, lines).cells.remove(0)
}

fn few_steps(n_steps: u64) -> CellWarning {
    let needed = 299;
    CellWarning::FewSteps { n_steps, needed }
}

fn texts(cell: &CellView) -> Vec<String> {
    cell.warnings.iter().map(ToString::to_string).collect()
}

fn crashed() -> Outcome {
    let how = "SIGABRT".to_owned();
    Outcome::Crashed { how }
}

#[test]
fn every_figure_of_a_cell() {
    let c = case("tiny", 2);
    let lines = [
        worker(0, "tiny", Some(100 * MS)),
        worker(1, "tiny", Some(140 * MS)),
        worker(2, "tiny", None),
        // Per repetition: 8 tokens in 4 steps.
        rep(&c, 0, 0, 10 * MS, &[4 * MS, 4 * MS, 4 * MS, 8 * MS]), // 20 ms: 400 t/s, median 4
        rep(&c, 0, 1, 12 * MS, &[4 * MS; 4]),                      // 16 ms: 500 t/s, median 4
        rep(&c, 0, 2, 11 * MS, &[5 * MS; 4]),                      // 20 ms: 400 t/s, median 5
        done(&c, 0, measured(3)),
        rep(&c, 1, 0, 20 * MS, &[10 * MS; 4]), // 40 ms: 200 t/s
        done(&c, 1, measured(1)),
        rep(&c, 2, 0, 8 * MS, &[2 * MS; 4]), // 8 ms: 1000 t/s
        done(&c, 2, measured(1)),
        end(),
    ];
    let v = view(&[&c], 3, lines);
    let [cell] = &v.cells[..] else {
        panic!("one cell")
    };
    assert_eq!(cell.outcome, CellOutcome::Measured);
    let detail = "measured 5 times in 3 processes, stopped by precision";
    assert_eq!(cell.outcome_detail, detail);
    let counts = (cell.n_processes, cell.n_repetitions, cell.n_steps);
    assert_eq!(counts, (3, 5, 20));
    // Process medians 400, 200, 1000.
    close(cell.decode_tokens_per_s(), 400.0);
    close(cell.per_seq_tokens_per_s(), 200.0);
    // t on logarithms, 2 degrees of freedom: ln 400, 200, 1000 = 5.991465, 5.298317, 6.907755; mean 6.065846,
    // sd 0.807290; half = 4.302653 * 0.807290 / sqrt(3) = 2.005422; exp(6.065846 -+ 2.005422).
    let rate = cell.interval(Metric::DecodeTokensPerS);
    interval(rate, 57.999, 3200.8, 2e-4);
    // Process medians of median steps: 4, 10, 2 ms.
    assert_eq!(cell.median_step_ns(), Some(4 * MS));
    // 64 prompt tokens in 10, 12, 11, 20, 8 ms; the median is 11.
    close(cell.value(Metric::PrefillTokensPerS), 64.0 / 0.011);
    assert_eq!(cell.ns(Metric::TtftNs), Some(11 * MS));
    // Mean steps 5, 4, 5, 10, 2 ms.
    assert_eq!(cell.ns(Metric::TpotNs), Some(5 * MS));
    // 104 ms over 20 steps.
    let step = cell.step_ns;
    assert_eq!((step.mean, step.max), (Some(5_200_000), Some(10 * MS)));
    // Three significant figures of the tenth of twenty.
    let p50 = step.p50.expect("more than five steps");
    assert!(p50.abs_diff(4 * MS) <= 4 * MS / 1000, "{p50}");
    assert_eq!((step.p90, step.p99), (None, None), "needs 29 and 299");
    assert_eq!(cell.ns(Metric::OverheadNs), Some(1000));
    assert_eq!(cell.ns(Metric::SampleNs), Some(3000));
    // Medians 3.996, 3.996, 4.996, 9.996, 1.996 ms.
    assert_eq!(cell.ns(Metric::EngineNs), Some(4 * MS - 4000));
    assert_eq!(cell.peak_rss_bytes, Some(150 * MIB));
    // The middle of 100 and 140 ms on the logarithm.
    assert_eq!(cell.load_ns, Some(118_321_596));
    assert_eq!(cell.context_ns, Some(7 * MS));
    assert_eq!(cell.stopped_by, Some(StoppedBy::Precision));
    assert_eq!(cell.warnings, [few_steps(20)]);
    assert_eq!(cell.speedup, None, "no batch of one");
    assert!(v.end.is_some() && v.any_measured() && !v.any_failed() && !v.can_be_resumed());
}

#[test]
fn percentiles_wait_for_enough_steps_and_do_not_exceed_the_longest() {
    let with_steps = |n_gen| Case {
        n_gen,
        ..case("tiny", 1)
    };
    let of = |n_steps: u32| {
        let steps: Vec<u64> = (1..=u64::from(n_steps)).map(|i| i * MS).collect();
        alone(&with_steps(n_steps), MS, &steps).step_ns
    };
    let few = of(298);
    assert_eq!(few.p99, None);
    let p95 = few.p95.expect("59 are enough");
    assert!(
        p95.abs_diff(284 * MS) <= 284 * MS / 1000,
        "the 284th: {p95}"
    );
    let enough = of(299);
    let p99 = enough.p99.expect("299 are enough");
    assert!(
        p99.abs_diff(297 * MS) <= 297 * MS / 1000,
        "the 297th: {p99}"
    );
    assert_eq!(enough.max, Some(299 * MS));
    let one = of(1);
    let figures = (one.mean, one.sd, one.p50, one.max);
    assert_eq!(figures, (Some(MS), None, None, Some(MS)));
    let equal = alone(&with_steps(400), MS, &[1_234_567; 400]).step_ns;
    let figures = (equal.max, equal.p99, equal.sd);
    assert_eq!(figures, (Some(1_234_567), Some(1_234_567), Some(0)));
}

#[test]
fn a_single_repetition_has_an_estimate_and_no_interval() {
    let c = case("tiny", 1);
    let rep = rep(&c, 0, 0, 10 * MS, &[2 * MS; 4]);
    let v = view(&[&c], 1, [rep, done(&c, 0, measured(1))]);
    let cell = &v.cells[0];
    close(cell.decode_tokens_per_s(), 500.0);
    for metric in [Metric::DecodeTokensPerS, Metric::StepNs] {
        assert_eq!(cell.interval(metric), None);
    }
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
    let [no_prompt, drawn] = [no_prompt, drawn].map(|c| alone(&c, 10 * MS, &[2 * MS; 4]));
    assert_eq!(no_prompt.ns(Metric::TtftNs), None);
    assert_eq!(no_prompt.value(Metric::PrefillTokensPerS), None);
    assert_eq!(no_prompt.ns(Metric::SampleNs), Some(3000));
    assert_eq!(drawn.ns(Metric::TtftNs), None);
    assert_eq!(drawn.ns(Metric::SampleNs), None);
    close(drawn.value(Metric::PrefillTokensPerS), 3200.0);
    close(drawn.decode_tokens_per_s(), 500.0);
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
    let v = view(&[&one, &four, &other], 3, lines);
    close(v.cells[1].speedup, 2.0);
    close(v.cells[1].efficiency, 0.5);
    assert_eq!((v.cells[2].speedup, v.cells[2].efficiency), (None, None));
}

#[test]
fn a_cell_that_crashed_in_one_process_is_measured_with_a_warning() {
    let c = case("tiny", 1);
    let outcomes = [measured(1), crashed(), measured(1)];
    let lines = (0..).zip(outcomes).flat_map(|(process, outcome)| {
        let rep = rep(&c, process, 0, MS, &[2 * MS; 4]);
        [rep, done(&c, process, outcome)]
    });
    let v = view(&[&c], 3, lines);
    let cell = &v.cells[0];
    assert_eq!(cell.outcome, CellOutcome::Measured);
    let failure = Failure {
        replicate: Some(1),
        worker: Some(1),
        outcome: crashed(),
    };
    assert_eq!(cell.failures, [failure]);
    let warning = CellWarning::Failures {
        how: "crashed: SIGABRT".to_owned(),
        processes: CountOf { n: 1, of: 3 },
    };
    assert_eq!(cell.warnings, [warning, few_steps(12)]);
    assert!(v.any_failed() && v.any_measured() && v.can_be_resumed());
}

#[test]
fn a_resumed_run_makes_good_for_what_failed() {
    let c = case("tiny", 1);
    let second_try = |mut line: Line| {
        match &mut line {
            Line::Repetition(r) => r.worker = 7,
            Line::Cell(l) => l.worker = Some(7),
            _ => {}
        }
        line
    };
    let lines = [
        done(&c, 0, crashed()),
        end(),
        second_try(rep(&c, 0, 0, MS, &[2 * MS; 4])),
        second_try(done(&c, 0, measured(1))),
    ];
    let v = view(&[&c], 1, lines.clone());
    assert_eq!(v.cells[0].outcome, CellOutcome::Measured);
    assert_eq!(v.cells[0].failures, []);
    assert!(!v.any_failed() && !v.can_be_resumed());
    assert_eq!(v.end, None, "the end was the first execution's");
    let first = view(&[&c], 1, lines.into_iter().take(2));
    assert!(first.end.is_some() && first.any_failed());
}

#[test]
fn what_was_not_measured_says_why() {
    let cases: Vec<Case> = (1..=7).map(|n| case("tiny", n)).collect();
    let skipped = Outcome::Skipped {
        needs_bytes: 3 << 30,
        has_bytes: 2 << 30,
        device: None,
        n_gpu_layers: None,
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
    let planned: Vec<&Case> = cases[..6].iter().collect();
    let v = view(&planned, 3, lines);
    let found = v.cells.iter();
    let found = found.map(|c| format!("{} {}", c.outcome.word(), c.outcome_detail));
    assert_eq!(
        found.collect::<Vec<_>>(),
        [
            "skipped skipped: needs 3.00 GiB, has 2.00 GiB",
            "crashed crashed: SIGABRT (in 2 processes)",
            "timed_out timed out: no answer for 60.0 s",
            "interrupted interrupted",
            "interrupted interrupted: the run was cut off",
            "missing missing: not measured yet",
            "measured measured 1 time in 1 process, stopped by precision",
        ],
        "and a cell that the plan does not have comes last"
    );
    assert_eq!(v.cells[0].decode_tokens_per_s(), None);
    assert_eq!(v.cells[5].step_ns, StepTimes::default());
    let interrupted = v.cells[3].decode_tokens_per_s();
    assert!(interrupted.is_some(), "its repetitions are no less true");
}

#[test]
fn noise_is_counted_and_its_worst_kept() {
    let c = case("tiny", 1);
    let mut lines = three_processes(&c, 3, MS, MS);
    for (at, others_percent) in [(0, 5.0), (2, 12.1), (5, 4.0)] {
        if let Line::Repetition(r) = &mut lines[at] {
            let neighbour = HostWarning::NoisyNeighbour { others_percent };
            r.warnings = vec![neighbour, HostWarning::Throttled];
        }
    }
    if let Line::Cell(l) = &mut lines[3] {
        l.opened.as_mut().expect("measured").steadiness = Steadiness::NotSteady;
    }
    let texts = texts(&view(&[&c], 3, lines).cells[0]);
    let expected = [
        "not steady: the step time still changed after the warm-up in 1 of 3 processes",
        "other processes used the CPU in 3 of 9 repetitions, at most 12.1%",
        "in 3 of 9 repetitions: clocks were lowered",
        "36 decode steps are too few for a p99, which needs 299; raise --n-gen or --repetitions",
    ];
    assert_eq!(texts.len(), expected.len());
    for (text, begin) in texts.iter().zip(expected) {
        assert!(text.starts_with(begin), "{text}");
    }
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
    let v = view(&[&one, &two], 2, lines);
    let cell = &v.cells[1];
    let around = |found: Option<Interval>, centre: f64, half: f64| {
        interval(found, centre * (-half).exp(), centre * half.exp(), 1e-5)
    };
    // TTFT: process medians 11 and 13 ms, their centre on the logarithm. Student's t of two, one degree of freedom:
    // half = 12.706205 * (ln 13 - ln 11) / 2 = 1.061303.
    let centre = (11.0f64 * 13.0).sqrt() * 1e6;
    around(cell.interval(Metric::TtftNs), centre, 1.061_303);
    assert_eq!(cell.ns(Metric::TtftNs), Some(centre.round() as u64));
    let prefill = cell.interval(Metric::PrefillTokensPerS);
    around(prefill, 64e9 / centre, 1.061_303);
    // Steps of 2 and 4 ms: half = 12.706205 * ln 2 / 2 = 4.403635.
    around(cell.interval(Metric::TpotNs), 8f64.sqrt() * 1e6, 4.403_635);
    // It never varied.
    interval(cell.interval(Metric::OverheadNs), 1000.0, 1000.0, 5e-4);
    // Against one sequence of the same replicate: 1000 t/s over 500, and 500 over 500.
    let i = around(cell.intervals.speedup, 2f64.sqrt(), 4.403_635);
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
    let cell = view(&[&c], 3, lines).cells.remove(0);
    // Student's t of ln 3, ln 4, ln 5: mean 1.364782, sd 0.255892; half = 4.302653 * 0.255892 / sqrt(3) = 0.635664.
    let (lo, hi) = (0.729_118f64.exp() * 1e6, 2.000_446f64.exp() * 1e6);
    let i = interval(cell.intervals.p90, lo, hi, 2e-3);
    // That of all steps together.
    near(
        i.estimate,
        cell.step_ns.p90.expect("120 steps") as f64,
        1e-12,
    );
    assert!(cell.step_ns.p95.is_some() && cell.intervals.p95.is_none());
    // In one process the repetitions are the units, and 20 steps are too few for their p90, enough for a median.
    let alone = [0, 1].map(|k| rep(&c, 0, k, MS, &steps(3)));
    let intervals = view(&[&c], 1, alone).cells[0].intervals;
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
    let explained = alone(&c, MS, &[MS, MS, 5 * MS, 2 * MS]);
    let step = explained.step_ns;
    assert_eq!((step.n_boundary, step.max_n_past), (1, Some(256)));
    assert_eq!(step.max_at_boundary(), Some(true));
    let text = texts(&explained).pop().expect("a warning");
    assert_eq!(
        text,
        "the longest step is one of the 1 of 4 that reach a multiple of 256 tokens in the cache, where the engine \
         has more to do: likely no disturbance"
    );
    let noise = alone(&c, MS, &[MS, 6 * MS, 5 * MS, 2 * MS]);
    let step = noise.step_ns;
    assert_eq!((step.n_boundary, step.max_n_past), (1, Some(255)));
    assert_eq!(step.max_at_boundary(), Some(false));
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
    let visits = [
        (&one, 0, 3.0e9),
        (&one, 1, 2.9e9),
        (&two, 0, 2.4e9),
        (&two, 1, 2.86e9),
        (&other, 0, 2.0e9),
    ];
    let lines = visits.into_iter().flat_map(|(c, process, hz)| {
        let mut line = cell(c, Some(process), measured(1));
        line.usage = Some(usage(hz));
        [rep(c, process, 0, MS, &[MS; 4]), Line::Cell(Box::new(line))]
    });
    let v = view(&[&one, &two, &other], 2, lines);
    let told = |at: usize| -> Vec<String> {
        let texts = texts(&v.cells[at]).into_iter();
        texts.filter(|t| t.contains("clock")).collect()
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
    let gpu = GpuSummary {
        throttle_reasons: vec!["power limit".to_owned()],
        ..GpuSummary::default()
    };
    line.usage = Some(UsageSummary {
        gpu: Some(gpu),
        ..usage(3.0e9)
    });
    let lines = [rep(&c, 0, 0, MS, &[MS; 4]), Line::Cell(Box::new(line))];
    let texts = texts(&view(&[&c], 1, lines).cells[0]);
    let expected = "the GPU's clocks were held down in 1 of 1 processes: power limit; improve its cooling or raise its power \
                    limit";
    assert!(texts.iter().any(|t| t == expected), "{texts:?}");
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
    let cell = view(&[&c], 3, lines).cells.remove(0);
    assert_eq!(cell.stopped_by, Some(StoppedBy::Budget));
    let few_processes = CellWarning::FewProcesses(CountOf { n: 2, of: 3 });
    assert_eq!(cell.warnings, [few_processes, few_steps(8)]);
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
    let v = view(&[&c], 3, lines);
    assert_eq!(v.cells.len(), 2);
    assert_eq!(v.cells[1].decode_tokens_per_s(), None);
    assert_eq!(v.cells[0].step_ns.max, Some(u64::MAX));
    for width in [20, 80, 120] {
        crate::report::terminal_text(&v, width, true);
    }
    use crate::report::{Output, RunAnswers, print};
    let theory = crate::analysis::theory::Theory::of(&v, &|_| None);
    let answers = RunAnswers::of(&v, &theory, None);
    assert!(!answers.terminal(80).is_empty());
    for output in [Output::Md, Output::Csv, Output::Json] {
        print(&v, &answers, output, &mut Vec::new()).expect("writes");
    }
}

#[test]
fn the_price_of_gpu_memory_is_near_what_an_h200_took() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/results/h200/throughput");
    let v = RunView::read(Path::new(folder)).expect("committed");
    assert_eq!(v.cells.len(), 24);
    for cell in &v.cells {
        let memory = cell.usage.gpu_memory.expect("was watched");
        let took = memory.used_peak_bytes.expect("was watched") as f64;
        let model = v.model(&cell.case.model).expect("of the plan");
        let device = crate::plan::budget::place(&cell.case, model).device;
        let share = device.total_bytes() as f64 / took;
        // The driver's own context, some 0.5 GiB, is in what it took.
        assert!((0.85..1.25).contains(&share), "{}: {share}", cell.case_id);
    }
}
