use indicatif::{InMemoryTerm, TermLike};

use super::cells::CellProgress;
use super::*;
use crate::plan::Plan;
use crate::plan::budget::Rates;
use crate::record::{Line, Outcome};
use crate::report::fixture::{MS, calls, case, cell, header, measured};
use crate::run::eta::Eta;
use crate::run::{Event, Observer, schedule};

fn eta(plan: &Plan) -> Eta {
    let rates = Rates {
        read_bytes_per_s: 10e9,
        flops_per_s: 100e9,
        n_threads: 2,
        gpu: None,
        ceilings: Vec::new(),
    };
    let mut eta = Eta::of(&[plan], &rates);
    for replicate in 0..plan.protocol.replicates {
        eta.expect(&schedule::groups(&[plan], replicate, |_| false));
    }
    eta
}

/// Two cells of a replicate, one measured and one crashed, shown to an observer.
fn watch(observer: &mut dyn Observer, plan: &Plan) {
    let mut eta = eta(plan);
    observer.event(
        Event::Loading {
            lane: 0,
            model: "tiny",
            replicate: 0,
        },
        &eta,
    );
    let crash = Outcome::Crashed {
        how: "SIGABRT\x1b[31m".to_owned(),
    };
    for (case, outcome) in plan.cases.iter().zip([measured(3), crash]) {
        observer.event(
            Event::CellStarted {
                lane: 0,
                case,
                replicate: 0,
            },
            &eta,
        );
        for step in [4 * MS, 5 * MS, 9 * MS] {
            let calls = calls(case, MS, &[step; 4]);
            observer.event(
                Event::RepetitionDone {
                    lane: 0,
                    case,
                    calls: &calls,
                },
                &eta,
            );
        }
        let line = cell(case, Some(0), outcome);
        eta.left(case);
        observer.event(
            Event::CellDone {
                lane: 0,
                line: &line,
            },
            &eta,
        );
    }
}

fn plan() -> Plan {
    header(&["tiny"], vec![case("tiny", 1), case("tiny", 8)]).plan
}

#[test]
fn plain_lines_one_a_cell() {
    let plan = plan();
    let mut out = Vec::new();
    let screen = Screen::Lines {
        out: Box::new(&mut out),
        now: || "2026-11-22T23:45:01+00:00".to_owned(),
    };
    watch(&mut CellProgress::new(screen, &plan.protocol, 1), &plan);
    let text = String::from_utf8(out).expect("text");
    let expected = [
        "2026-11-22T23:45:01+00:00 1/6 tiny/pp32/tg4/b1/d0/t2 replicate 1/3: 5.00 ms a step, 200 t/s, ",
        "2026-11-22T23:45:01+00:00 2/6 tiny/pp32/tg4/b8/d0/t2 replicate 1/3: crashed: SIGABRT?[31m, ",
    ];
    assert_eq!(text.lines().count(), 2);
    for (line, expected) in text.lines().zip(expected) {
        let left = line.strip_prefix(expected);
        let left = left.unwrap_or_else(|| panic!("{line}"));
        assert!(left.ends_with(" left"), "{line}");
    }
}

#[test]
fn a_run_that_may_get_more_replicates_counts_to_a_least_total() {
    let mut plan = plan();
    plan.protocol.replicates = 1;
    plan.protocol.max_replicates = Some(9);
    let mut out = Vec::new();
    let screen = Screen::Lines {
        out: Box::new(&mut out),
        now: String::new,
    };
    watch(&mut CellProgress::new(screen, &plan.protocol, 1), &plan);
    let text = String::from_utf8(out).expect("text");
    let lines: Vec<&str> = text.lines().collect();
    assert!(
        lines[0].contains("1/2+ ") && lines[0].ends_with(" left"),
        "{text}"
    );
    let last = lines[1];
    assert!(
        last.contains("2/2+ ") && last.ends_with("crashed: SIGABRT?[31m"),
        "{text}"
    );
}

#[test]
fn the_step_and_the_rate_of_a_line_are_of_the_same_steps() {
    let plan = plan();
    let mut out = Vec::new();
    let screen = Screen::Lines {
        out: Box::new(&mut out),
        now: String::new,
    };
    let mut progress = CellProgress::new(screen, &plan.protocol, 1);
    let mut eta = eta(&plan);
    let case = &plan.cases[1];
    let replicate = 0;
    let started = Event::CellStarted {
        lane: 0,
        case,
        replicate,
    };
    progress.event(started, &eta);
    // One slow step of five: the median step is 4 ms, the mean 8 ms, and 8 sequences get 1000 tokens in a second.
    let calls = calls(case, MS, &[4 * MS, 4 * MS, 4 * MS, 4 * MS, 24 * MS]);
    let done = Event::RepetitionDone {
        lane: 0,
        case,
        calls: &calls,
    };
    progress.event(done, &eta);
    let line = cell(case, Some(0), measured(1));
    eta.left(case);
    let ended = Event::CellDone {
        lane: 0,
        line: &line,
    };
    progress.event(ended, &eta);
    drop(progress);
    let text = String::from_utf8(out).expect("text");
    assert!(text.contains("8.00 ms a step, 1000 t/s"), "{text}");
}

#[test]
fn the_bar_stays_within_the_terminal() {
    for (columns, width) in [
        (40_u16, (|| 40) as fn() -> usize),
        (80, || 80),
        (120, || 120),
    ] {
        let term = InMemoryTerm::new(10, columns);
        let target = ProgressDrawTarget::term_like(Box::new(term.clone()));
        let bar = Bar::new(target, width);
        let shown = bar.bar.clone();
        let plan = plan();
        let mut progress = CellProgress::new(Screen::Bar(bar), &plan.protocol, 1);
        watch(&mut progress, &plan);
        shown.tick();
        let screen = term.contents();
        let lines: Vec<&str> = screen.lines().collect();
        assert_eq!(
            lines.len(),
            3,
            "two cells and the bar at {columns}: {screen}"
        );
        assert!(
            lines
                .iter()
                .all(|l| super::super::text::width(l) <= usize::from(term.width()))
        );
        assert!(lines[0].contains("5.00 ms a step, 200 t/s"), "{screen}");
        assert!(lines[1].contains("crashed"), "{screen}");
        if columns > 40 {
            assert!(
                lines[2].contains("replicate 1/3") && lines[2].contains("2/6"),
                "{screen}"
            );
            assert!(lines[2].ends_with(" left"), "{screen}");
        }
        drop(progress);
        assert_eq!(
            term.contents().lines().count(),
            2,
            "the bar goes, the cells stay"
        );
    }
}

#[test]
fn a_guess_is_said_as_one() {
    let about = |s| about(Duration::from_secs(s));
    assert_eq!(about(3), "<10 s left");
    assert_eq!(about(41), "~50 s left");
    assert_eq!(about(90), "~2 min left");
    assert_eq!(about(3600), "~60 min left");
    assert_eq!(about(5430), "~1 h 30 min left");
}

#[test]
fn a_run_without_a_terminal_gets_an_observer() {
    // Test runners capture standard error; either kind must come up and go.
    let plan = plan();
    let mut observer = cells::for_stderr(&plan, 1);
    let line = Line::Cell(Box::new(cell(&plan.cases[0], Some(0), measured(1))));
    if let Line::Cell(line) = &line {
        observer.event(Event::CellDone { lane: 0, line }, &eta(&plan));
    }
    file_work("hashing")(1, 2);
}
