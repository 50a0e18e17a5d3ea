//! What a run of requests says, with numbers worked out by hand from the fixture's rules.

use super::*;
use crate::analysis::capacity::Slo;
use crate::request::compared::Compared;
use crate::request::{Ending, Experiment, Job, Timeline};
use crate::view::fixture;
use crate::view::fixture::requests::{OLLAMA, OWN, both, both_lines, jobs, own, request_header};

fn requests(view: &RunView) -> &RequestsView {
    view.requests.as_ref().expect("has requests")
}

#[test]
fn the_first_screen_says_how_long_how_many_and_what_limits() {
    let view = own();
    let lead = lead(&view, requests(&view), None);
    let questions: Vec<&str> = lead.iter().map(|f| f.question).collect();
    assert_eq!(
        questions,
        [
            "How long does a request take?",
            "How many requests at once?",
            "What limits a request?",
            "How sure are the figures of requests?"
        ]
    );
    assert!(
        lead[0].claim.starts_with(
            "short 86.1 ms, medium 134 ms, long 326 ms at in-process, one at a time: from when"
        ),
        "{}",
        lead[0].claim
    );
    assert_eq!(lead[0].sure, Sure::Shown);
    // 32 tokens in 155 ms against 8 in 86.
    let gain = units::significant(32.0 / 155.0 * 86.0 / 8.0);
    assert!(
        lead[1].claim.contains(&format!("{gain} times those of 1")),
        "{}",
        lead[1].claim
    );
    assert_eq!(lead[3].sure, Sure::Shown);
}

#[test]
fn a_server_that_queues_gains_nothing_from_more_at_once() {
    let view = both();
    let found = concurrency::finding(requests(&view), OLLAMA).expect("two numbers");
    assert!(
        found.claim.contains("more than 1 at once gain nothing"),
        "{}",
        found.claim
    );
    assert!(
        found
            .evidence
            .join(" ")
            .contains("answered one after another"),
        "{found:?}"
    );
}

#[test]
fn ttft_follows_the_length_and_the_rest_does_not() {
    let view = own();
    let found = length::finding(requests(&view), OWN).expect("two lengths");
    // 128 ms against 32 ms; 198 against 102.
    assert!(
        found.claim.contains("128 ms instead of 32.0 ms")
            && found.claim.contains("TTFT scales linearly (exponent 1.00)")
            && found.claim.contains("Latency scales sub-linearly"),
        "{}",
        found.claim
    );
    assert_eq!(length::points(requests(&view), OWN).len(), 2);
}

#[test]
fn goodput_counts_what_meets_every_limit() {
    let view = own();
    let slo: Slo = "ttft=65ms,tpot=10500us".parse().expect("limits");
    let all = requests(&view);
    let classes = all.of(Experiment::Classes).next().expect("is there");
    let goodput = goodput::Goodput::of(classes, &slo);
    // Short and medium prompts meet 65 ms, long ones do not.
    assert_eq!((goodput.n_met, goodput.n_sent), (12, 18));
    let per_s = goodput.per_s.expect("every round ended");
    assert!((per_s - 12.0 / (1.092 * 3.003)).abs() < 1e-6, "{per_s}");
    let none: Slo = "itl=1ms".parse().expect("a limit");
    assert_eq!(goodput::Goodput::of(classes, &none).n_met, 0);
    let found = goodput::finding(all, &none).expect("measured");
    assert!(
        found.claim.starts_with("No request of any job"),
        "{}",
        found.claim
    );
}

#[test]
fn every_load_is_held_against_the_limits() {
    let view = own();
    let all = requests(&view);
    let said = |slo: &str| goodput::by_load(all, OWN, &slo.parse().expect("limits"));
    let loads = said("ttft=1s");
    let names = [
        "one at a time: ",
        "4 at a time: ",
        "2 at a time, sustained: ",
    ];
    assert_eq!(loads.len(), names.len(), "{loads:?}");
    for (load, name) in loads.iter().zip(names) {
        assert!(
            load.starts_with(&format!("{name}kept, 100.0% of ")),
            "{load}"
        );
    }
    assert!(
        said("ttft=1ns")
            .iter()
            .all(|l| l.contains(": not kept, 0.0% of "))
    );
    // A p99 needs 299 answers, and a percentile that is unknown is neither kept nor missed.
    let few = said("ttft_p99=1s");
    assert!(
        few.iter()
            .all(|l| l.contains("undetermined") && l.contains("needs 299 values")),
        "{few:?}"
    );
    // Eighteen that are too long are more than 1% of 299.
    let missed = said("ttft_p99=1ns");
    assert!(
        missed.iter().all(
            |l| l.contains(": not kept, TTFT p99 needs 299 values") && l.contains("; 0.0% of ")
        ),
        "{missed:?}"
    );
    let median = said("ttft_p50=1s,itl_p50=1s");
    assert!(
        median
            .iter()
            .all(|l| l.contains(": kept, TTFT p50 ") && l.contains("; 100.0% of ")),
        "{median:?}"
    );
}

#[test]
fn the_most_at_once_within_limits_is_told_with_what_lies_beyond() {
    let view = own();
    let at_once = |slo: &str| {
        let slo = slo.parse().expect("limits");
        goodput::at_once(requests(&view), OWN, &slo).expect("two loads")
    };
    // The first token comes after 16 ms, and with four at once after 64.
    let one = at_once("ttft=20ms");
    assert!(
        one.claim.contains("with 1 at once it keeps") && one.claim.ends_with("with 4 it does not."),
        "{}",
        one.claim
    );
    let all = at_once("ttft=1s");
    assert!(
        all.claim.contains("with 4 at once it keeps")
            && all.claim.ends_with("more at once were not measured."),
        "{}",
        all.claim
    );
    let none = at_once("ttft=1ns");
    assert!(
        none.claim.contains("even with 1 at once it does not keep"),
        "{}",
        none.claim
    );
    let few = at_once("ttft_p99=1s");
    assert!(
        few.claim.contains("it is undetermined whether it keeps"),
        "{}",
        few.claim
    );
    assert_eq!(few.sure, Sure::Undetermined);
}

#[test]
fn what_failed_is_late_and_what_is_unknown_is_neither() {
    let said = |slo: &str, change: fn(&mut Timeline)| {
        let view = fixture::requests::both_with(1, |job, _, t| {
            if job.name == "concurrency/c1" {
                change(t);
            }
        });
        let loads = goodput::by_load(requests(&view), OLLAMA, &slo.parse().expect("limits"));
        loads.into_iter().next().expect("one at a time")
    };
    let is = |text: String, start: &str| assert!(text.starts_with(start), "{text}");
    // The percentile decides, and comes before the share.
    let both = |text: String, start: &str, end: &str| {
        let percentile_first = text
            .find("; ")
            .is_some_and(|at| text[at..].starts_with(end));
        assert!(text.starts_with(start) && percentile_first, "{text}");
    };
    let whole: fn(&mut Timeline) = |_| {};
    is(
        said("ttft_p50=1s", whole),
        "one at a time: kept, TTFT p50 30.6 ms; 100.0% of 18",
    );
    let failing: fn(&mut Timeline) = |t| {
        if t.number > 1 {
            t.ending = Ending::TimedOut { after_ns: 1 };
        }
    };
    both(
        said("ttft_p50=1s", failing),
        "one at a time: not kept, TTFT p50 ",
        "; 33.3% of 18",
    );
    is(
        said("itl_p50=1s", failing),
        "one at a time: not kept, ITL p50",
    );
    // Requests that the budget cut say nothing of the server.
    let cut: fn(&mut Timeline) = |t| {
        if t.number > 1 {
            t.ending = Ending::Interrupted;
        }
    };
    is(said("ttft=1s", cut), "one at a time: kept, 100.0% of 6");
    // A server that does not stream: all that arrives, arrives at once.
    let silent: fn(&mut Timeline) = |t| {
        let last_ns = t.arrivals.last().map_or(0, |a| a.at_ns);
        t.arrivals.iter_mut().for_each(|a| a.at_ns = last_ns);
    };
    is(
        said("ttft=1s", silent),
        "one at a time: undetermined, 0.0% of 18",
    );
    is(
        said("ttft_p95=1s", silent),
        "one at a time: undetermined, TTFT unknown; 0.0% of 18 requests within the limits",
    );
    // Three of 58 are late, and more that are in time bring the p95 of 59 below the limit.
    let late: fn(&mut Timeline) = |t| {
        if t.number == 0 {
            t.arrivals.iter_mut().for_each(|a| a.at_ns += 2_000_000_000);
            t.ended_ns += 2_000_000_000;
        }
    };
    both(
        said("ttft_p95=1s", late),
        "one at a time: undetermined, TTFT p95 needs 59 values",
        "; 83.3% of 18",
    );
    both(
        said("ttft_p50=1s", late),
        "one at a time: kept, TTFT p50 ",
        "; 83.3% of 18",
    );
}

#[test]
fn a_rate_that_falls_is_a_drift() {
    let jobs = jobs();
    let steady = own();
    let job = sustained::job(requests(&steady), OWN).expect("measured");
    let drift = sustained::RateDrift::of(job).expect("20 answers a round");
    assert!((drift.rate - 1.0).abs() < 1e-9, "{drift:?}");
    let found = sustained::finding(&steady, requests(&steady), OWN).expect("measured");
    // 198% of a core, two cores.
    assert!(
        found.claim.contains("99% of 2 threads on average")
            && found.claim.ends_with("The rate holds."),
        "{}",
        found.claim
    );
    // The last five of the server's 20 answers come four times as late, in what is now the second half.
    let lines = both_lines(&jobs, 1, |job, _, t| {
        if job.name == "sustained" && t.number >= 15 {
            t.ended_ns += 3 * t.ended_ns;
        }
    });
    let lines = lines.into_iter().map(|line| match line {
        crate::record::Line::Job(mut j) if j.job == "sustained" && j.target == OLLAMA => {
            j.elapsed_ns = j.elapsed_ns.map(|ns| 4 * ns);
            crate::record::Line::Job(j)
        }
        line => line,
    });
    let view = fixture::view(request_header(&[OWN, OLLAMA], 3, jobs), lines);
    let job = sustained::job(requests(&view), OLLAMA).expect("measured");
    let drift = sustained::RateDrift::of(job).expect("15 a half");
    assert!((drift.rate - 5.0 / 15.0).abs() < 1e-9, "{drift:?}");
}

#[test]
fn nothing_answered_is_said() {
    let jobs = jobs();
    let lines = both_lines(&jobs, 1, |_, _, _| {});
    let lines = lines
        .into_iter()
        .filter(|l| !matches!(l, crate::record::Line::Request(_)));
    let view = fixture::view(request_header(&[OWN, OLLAMA], 3, jobs), lines);
    let lead = lead(&view, requests(&view), None);
    assert_eq!(lead.len(), 1);
    assert_eq!(lead[0].claim, "Undetermined: no request was answered.");
}

#[test]
fn the_sampler_of_both_temperatures_is_told() {
    let view = own();
    let found = questions::temperature(requests(&view), OWN).expect("two temperatures");
    assert_eq!(found.question, "Does temperature cost speed?");
    assert!(found.claim.starts_with("No:"), "{}", found.claim);
    assert_eq!(found.sure, Sure::Shown);
    assert!(questions::difficulty(requests(&view), OWN).is_empty());
}

#[test]
fn one_round_shows_nothing_of_temperature() {
    let jobs = jobs();
    let lines = both_lines(&jobs, 1, |_, _, _| {}).into_iter();
    let first = lines.filter(|l| match l {
        crate::record::Line::Request(r) => r.round == 0,
        crate::record::Line::Job(j) => j.round == 0,
        _ => true,
    });
    let view = fixture::view(request_header(&[OWN, OLLAMA], 1, jobs), first);
    let found = questions::temperature(requests(&view), OWN).expect("two temperatures");
    assert_eq!(found.sure, Sure::Undetermined);
    let said = found.evidence.join(" ");
    assert!(said.contains("fewer than 3 rounds"), "{said}");
}

#[test]
fn nothing_is_shown_in_this_process_without_the_control() {
    let mut all = jobs();
    all.retain(|job| job.experiment != Experiment::Temperature);
    let prompts = vec![
        fixture::requests::prompt("a", 16),
        fixture::requests::prompt("b", 16),
    ];
    all.push(Job {
        n_requests: 12,
        compared: Some(Compared {
            n_sides: 2,
            temperatures: vec![0.0, 1.0],
            planted: None,
            most: None,
        }),
        ..fixture::requests::job("temperature", Experiment::Temperature, 1, prompts)
    });
    let lines = both_lines(&all, 3, |_, _, _| {});
    let view = fixture::view(request_header(&[OWN, OLLAMA], 3, all), lines);
    let found = questions::temperature(requests(&view), OWN).expect("two temperatures");
    assert!(
        found
            .claim
            .contains("no decode calls that were slowed on purpose"),
        "{}",
        found.claim
    );
    assert_eq!(found.sure, Sure::Undetermined);
}
