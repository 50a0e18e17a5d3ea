//! Figures held against numbers worked out by hand from the fixture's rules.

use super::*;
use crate::record::jsonl::Writer;
use crate::record::requests::{NeverServed, RequestsPlan};
use crate::record::{Line, Outcome};
use crate::request::{Ending, Served, Timeline};
use crate::view::RunView;
use crate::view::fixture::requests::{
    OLLAMA, OWN, both, both_lines, both_with, in_process, job, jobs, lines, own, prompt,
    request_header, server,
};
use crate::view::fixture::{self, MS};

fn requests(view: &RunView) -> &RequestsView {
    view.requests.as_ref().expect("has requests")
}

fn find<'a>(requests: &'a RequestsView, name: &str, target: &str) -> &'a JobView {
    let found = requests
        .jobs
        .iter()
        .find(|j| j.job.name == name && j.target == target);
    found.expect("is there")
}

fn about(m: Option<Estimate>, expected: f64) {
    let value = m.expect("a value").value;
    let is_near = (value / expected - 1.0).abs() < 1e-9;
    assert!(is_near, "{value} instead of {expected}");
}

fn one_job() -> Job {
    job("one", Experiment::Classes, 1, vec![prompt("short", 16)])
}

/// A run of one job in one round at one target.
fn view_of(job: Job, target: &str, served: Served) -> RunView {
    let lines = lines(&job, target, 0, served);
    fixture::view(request_header(&[target], 1, vec![job]), lines)
}

#[test]
fn a_request_of_each_class_takes_what_the_rules_say() {
    let view = own();
    let classes = find(requests(&view), "classes", OWN);
    let names: Vec<&str> = classes.classes.iter().map(|c| c.class.as_str()).collect();
    assert_eq!(names, ["short", "medium", "long"]);
    // Prompt tokens at 1 ms, then 7 calls of 10 ms; rounds take 1, 1.001 and 1.002 times as long.
    for (class, ms) in classes.classes.iter().zip([86.0, 134.0, 326.0]) {
        let f = &class.figures;
        assert_eq!((f.n_sent, f.n_whole, f.n_short), (6, 6, 0));
        about(f.latency_ns.mean, ms * 1.001e6);
        about(f.latency_ns.median, ms * 1.001e6);
        about(f.ttft_ns.mean, (ms - 70.0) * 1.001e6);
        about(f.tpot_ns.mean, 10.01e6);
        assert_eq!(f.latency_ns.p95, None, "six answers");
        assert_eq!(f.n_generated, Some(48));
    }
    // 48 tokens in 2 * (86 + 134 + 326) ms, the middle round.
    about(classes.tokens_per_s, 48.0 / (1.092 * 1.001));
    about(classes.requests_per_s, 6.0 / (1.092 * 1.001));
    let interval = classes.tokens_per_s.and_then(|m| m.interval);
    assert!(interval.expect("three rounds").contains(48.0 / 1.092));
    // 70 of 86 ms and so on: 2 * 3 rounds * (16 + 64 + 256) of 2 * 3 * 546.
    let share = classes.figures.ttft_share.expect("known");
    assert!((share - 336.0 / 546.0).abs() < 1e-9, "{share}");
}

#[test]
fn calls_are_divided_by_what_they_were_for() {
    let view = own();
    let calls = find(requests(&view), "concurrency/c4", OWN)
        .calls
        .expect("in-process");
    // Two waves a round, three rounds, each one prefill and 7 decode calls.
    assert_eq!(calls.n, 2 * 3 * 8);
    // 64 prompt tokens a wave.
    assert_eq!(calls.prefill_ns, 2 * 64 * MS * 3003 / 1000);
    assert_eq!(calls.decode_ns, 2 * 7 * 13 * MS * 3003 / 1000);
    assert_eq!(calls.mixed_ns, 0);
    assert_eq!(calls.decode_step_ns, Some(13.013e6));
    assert_eq!(calls.decode_n_seq, Some(4.0));
    assert_eq!(calls.sample_ns, 48 * 100_000);
    assert_eq!(
        find(requests(&both()), "concurrency/c4", OLLAMA).calls,
        None
    );
}

#[test]
fn what_is_not_whole_is_counted_and_not_timed() {
    let view = both();
    let stalled = find(requests(&view), "sustained", OLLAMA);
    let f = &stalled.figures;
    assert_eq!((f.n_sent, f.n_whole), (60, 59));
    assert_eq!(f.failed, [("stalled", 1)].into());
    let said = &f.failed_such_as["stalled"];
    assert!(said.starts_with("nothing arrived for"), "{said}");
    assert_eq!(
        failed_kind("stalled", 1, Some(said)),
        format!("1 stalled ({said})")
    );
    assert_eq!(failed_kind("not_sent", 2, None), "2 not sent");
    assert_eq!(f.latency_ns.n, 59);
    let short = find(requests(&view), "temperature/t1", OLLAMA);
    assert_eq!((short.figures.n_short, short.figures.n_whole), (1, 18));
    assert!(view.any_failed());
    assert!(!own().any_failed());
}

#[test]
fn percentiles_and_gaps_need_enough_values() {
    let mut many = one_job();
    many.n_requests = 100;
    let mut all = Vec::new();
    for round in 0..3 {
        let mut served = in_process(&many, round);
        for t in &mut served.timelines {
            // 1 to 100 ms.
            t.due_ns = 0;
            t.ended_ns = u64::from(t.number + 1) * MS;
        }
        all.extend(lines(&many, OWN, round, served));
    }
    let view = fixture::view(request_header(&[OWN], 3, vec![many]), all);
    let f = &find(requests(&view), "one", OWN).figures;
    assert_eq!(f.latency_ns.n, 300);
    let p95 = f.latency_ns.p95.expect("300 values");
    // Place 299 * 0.95 of 300 ordered values, three of each: between 95 and 96 ms.
    about(f.latency_ns.p95, 95.05e6);
    assert!(p95.interval.is_some(), "each round has 100");
    let p99 = f.latency_ns.p99.expect("300 values");
    assert_eq!(p99.interval, None, "no round has 299");
    assert_eq!(f.latency_ns.max, Some(100.0e6));
    // 7 gaps an answer.
    assert_eq!(f.gap_ns.n, 2100);
}

#[test]
fn a_round_done_again_replaces_the_first_one() {
    let jobs = vec![one_job()];
    let mut all = lines(&jobs[0], OWN, 0, in_process(&jobs[0], 0));
    all.truncate(4);
    all.extend(lines(&jobs[0], OWN, 0, in_process(&jobs[0], 0)));
    let view = fixture::view(request_header(&[OWN], 1, jobs), all);
    let found = find(requests(&view), "one", OWN);
    assert_eq!((found.figures.n_sent, found.rounds.len()), (6, 1));
    assert_eq!(
        found.tokens_per_s.map(|m| m.interval),
        Some(None),
        "one round"
    );
}

#[test]
fn a_job_that_was_cut_off_has_no_rate() {
    let jobs = vec![one_job()];
    let mut all = lines(&jobs[0], OWN, 0, in_process(&jobs[0], 0));
    all.retain(|l| !matches!(l, Line::Job(_)));
    let view = fixture::view(request_header(&[OWN, OLLAMA], 1, jobs), all);
    let cut = find(requests(&view), "one", OWN);
    assert_eq!((cut.tokens_per_s, cut.requests_per_s), (None, None));
    assert!(cut.figures.latency_ns.mean.is_some());
    let never = find(requests(&view), "one", OLLAMA);
    assert!(!never.is_measured() && never.rounds.is_empty());
    assert_eq!(never.kind, Some(TargetKind::Ollama), "by its name");
}

#[test]
fn lines_of_no_job_of_the_plan_are_counted() {
    let jobs = jobs();
    let all = both_lines(&jobs, 1, |_, _, _| {});
    let view = fixture::view(request_header(&[OWN], 3, jobs[1..].to_vec()), all);
    let requests = requests(&view);
    // At in-process the first job's 6 requests and its own line, three times; at the other target every job's.
    let of_server: u32 = self::jobs().iter().map(|j| j.n_requests + 1).sum();
    assert_eq!(requests.n_strays, 3 * 7 + 3 * of_server);
    assert_eq!(requests.jobs.len(), jobs.len() - 1);
}

#[test]
fn texts_are_kept_only_to_be_held_against_an_answer() {
    let mut asked = prompt("sum", 16);
    asked.answer = Some("4".to_owned());
    let prompts = vec![asked, prompt("open", 16)];
    let sums = job("sums", Experiment::DifficultyNatural, 1, prompts);
    let served = in_process(&sums, 0);
    let view = view_of(sums, OWN, served);
    let found = find(requests(&view), "sums", OWN);
    let texts: Vec<Option<&str>> = found.requests.iter().map(|s| s.text.as_deref()).collect();
    assert_eq!(texts[..2], [Some("Answer 0."), None]);
    assert_eq!(found.samples.len(), 3);
}

#[test]
fn rounds_of_two_runs_follow_each_other() {
    let jobs = vec![one_job()];
    let folders = [tempfile::tempdir(), tempfile::tempdir()].map(|f| f.expect("a folder"));
    for folder in &folders {
        let header = request_header(&[OWN], 1, jobs.clone());
        let mut writer = Writer::create(folder.path(), header).expect("new");
        for line in lines(&jobs[0], OWN, 0, in_process(&jobs[0], 0)) {
            writer.append(&line).expect("writes");
        }
    }
    let paths: Vec<_> = folders.iter().map(|f| f.path().to_owned()).collect();
    let view = RunView::read_all(&paths).expect("one machine");
    let found = find(requests(&view), "one", OWN);
    let rounds: Vec<u32> = found.rounds.iter().map(|r| r.round).collect();
    assert_eq!((rounds, found.figures.n_sent), (vec![0, 1], 12));
    let planned = view.header.requests.as_ref().map(|p| p.all_rounds());
    assert_eq!(planned, Some(2));
    assert_eq!((found.planned_rounds, found.can_be_resumed()), (2, false));
}

#[test]
fn a_target_of_one_of_two_runs_has_the_rounds_of_that_run() {
    let folders = [OWN, OLLAMA].map(|target| {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let header = request_header(&[target], 3, vec![one_job()]);
        let mut writer = Writer::create(folder.path(), header).expect("writes");
        for round in 0..3 {
            let served = in_process(&one_job(), round);
            for line in lines(&one_job(), target, round, served) {
                writer.append(&line).expect("writes");
            }
        }
        folder
    });
    let paths: Vec<_> = folders.iter().map(|f| f.path().to_owned()).collect();
    let view = RunView::read_all(&paths).expect("one machine");
    for target in [OWN, OLLAMA] {
        let job = find(requests(&view), "one", target);
        assert_eq!((job.planned_rounds, job.rounds.len()), (3, 3), "{target}");
        assert!(
            !job.can_be_resumed() && job.warnings.is_empty(),
            "{:?}",
            job.warnings
        );
    }
    let units = |target: &str| -> Vec<u32> {
        let job = find(requests(&view), "one", target);
        job.rounds.iter().map(|r| r.unit).collect()
    };
    assert_eq!((units(OWN), units(OLLAMA)), (vec![0, 1, 2], vec![3, 4, 5]));
}

#[test]
fn rounds_of_a_server_in_one_replicate_are_one_unit() {
    let job = one_job();
    let latency_ms = [1_u64, 100, 2, 3];
    let unit_and_median = |replicates: u32, rounds: u32| {
        let mut header = request_header(&[OLLAMA], 1, vec![one_job()]);
        let plan = header.requests.as_mut().expect("has requests");
        (plan.replicates, plan.rounds) = (replicates, rounds);
        let mut all = Vec::new();
        for (round, ms) in (0..).zip(latency_ms) {
            let mut served = server(&job, round, 1);
            for t in &mut served.timelines {
                (t.due_ns, t.ended_ns) = (0, ms * MS);
            }
            all.extend(lines(&job, OLLAMA, round, served));
        }
        let view = fixture::view(header, all);
        let job = find(requests(&view), "one", OLLAMA);
        let units: Vec<u32> = job.rounds.iter().map(|r| r.unit).collect();
        (units, job.estimates.get(&Metric::RequestLatencyNs).copied())
    };
    // Medians of 50.5 and 2.5 ms; of 1, 2, 3 and 100 ms.
    let (units, latency) = unit_and_median(2, 2);
    assert_eq!(units, [0, 0, 1, 1]);
    about(latency, 26.5e6);
    let (units, latency) = unit_and_median(1, 4);
    assert_eq!(units, [0, 1, 2, 3].map(|n| u32::MAX - n));
    about(latency, 2.5e6);
}

#[test]
fn an_unknown_number_of_tokens_makes_no_rate() {
    let mut served = in_process(&one_job(), 0);
    served.timelines[2].n_generated = None;
    served.timelines[3].ending = Ending::Interrupted;
    served.timelines[3].n_generated = None;
    let view = view_of(one_job(), OWN, served);
    let found = find(requests(&view), "one", OWN);
    assert_eq!(
        (found.tokens_per_s, found.figures.n_generated),
        (None, None)
    );
    assert!(found.requests_per_s.is_some());
}

fn doubts(view: &RunView, name: &str, target: &str) -> Vec<String> {
    let found = find(requests(view), name, target);
    found.doubts.iter().map(ToString::to_string).collect()
}

#[test]
fn a_server_that_read_less_than_was_sent_is_doubted() {
    let view = both_with(1, |job, _, t| match job.name.as_str() {
        "concurrency/c1" if t.number == 2 => t.n_prompt = Some(8),
        // A beginning that the server does not count.
        "concurrency/c4" => t.n_prompt = t.n_prompt.map(|n| n - 3),
        _ => {}
    });
    let said = doubts(&view, "concurrency/c1", OLLAMA);
    assert_eq!(said.len(), 1);
    assert!(
        said[0].contains("in 3 of 18 requests, 8 instead of 16"),
        "{said:?}"
    );
    assert_eq!(
        doubts(&view, "concurrency/c4", OLLAMA),
        Vec::<String>::new()
    );
    assert_eq!(doubts(&view, "concurrency/c1", OWN), Vec::<String>::new());
}

#[test]
fn a_prompt_without_a_count_has_at_least_its_words() {
    let words = |n: usize| {
        let mut long = prompt("long", 16);
        (long.text, long.n_tokens) = ("word ".repeat(n), None);
        long
    };
    for (n, is_cut) in [(20, false), (200, true)] {
        let one = job("one", Experiment::Classes, 1, vec![words(n)]);
        let mut served = in_process(&one, 0);
        for t in &mut served.timelines {
            t.n_prompt = Some(17);
        }
        let view = view_of(one, OLLAMA, served);
        let said = doubts(&view, "one", OLLAMA).join(" ");
        assert_eq!(said.contains("17 instead of 200"), is_cut, "{said}");
    }
}

#[test]
fn empty_answers_are_counted_and_not_averaged() {
    let one = one_job();
    let mut served = in_process(&one, 0);
    for t in served.timelines.iter_mut().take(2) {
        t.arrivals.clear();
        (t.n_generated, t.ending, t.ended_ns) = (Some(0), Ending::Stop, t.due_ns + 1);
    }
    let view = view_of(one, OWN, served);
    let found = find(requests(&view), "one", OWN);
    let f = &found.figures;
    assert_eq!((f.n_sent, f.n_whole, f.n_empty), (6, 4, 2));
    assert_eq!((f.latency_ns.n, f.n_generated), (4, Some(32)));
    about(f.latency_ns.mean, 86.0e6);
    assert!(f.failed.is_empty() && !view.any_failed());
    assert_eq!(
        doubts(&view, "one", OWN),
        ["2 of 6 answers are empty (0 tokens): they are not in the averages"]
    );
}

/// An open loop of 20 a second at which each answer takes so long, of which the last ones were never sent.
fn open_loop(latency_ns: impl Fn(u32) -> u64, n_never_sent: u32) -> (RunView, Vec<String>) {
    let mut one = one_job();
    one.n_requests = 40;
    one.load = Load::Open {
        rate_per_s: 20.0,
        most: 8,
    };
    let mut served = in_process(&one, 0);
    for t in &mut served.timelines {
        t.due_ns = u64::from(t.number) * 50 * MS;
        t.ended_ns = t.due_ns + latency_ns(t.number);
        if t.number >= 40 - n_never_sent {
            *t = Timeline::unanswered(t.number, t.due_ns, 2000 * MS, Ending::NotSent);
        }
    }
    let ends = served.timelines.iter().map(|t| t.ended_ns);
    served.elapsed_ns = ends.max().unwrap_or(0);
    let view = view_of(one, OWN, served);
    let said = doubts(&view, "one", OWN);
    (view, said)
}

#[test]
fn an_open_loop_that_is_too_much_is_overloaded_and_has_not_failed() {
    let (view, said) = open_loop(|_| 400 * MS, 30);
    assert_eq!(
        said,
        [
            "offered 20.0/s, completed 5.00/s: overloaded; 30 of 40 requests were still waiting when the load's time was \
             over"
        ]
    );
    assert!(!view.any_failed());
    // All were sent and piled up in the server.
    let (_, said) = open_loop(|n| u64::from(n + 1) * 500 * MS, 0);
    assert!(
        said[0].ends_with("overloaded; latency grew all the time, and measures the queue"),
        "{said:?}"
    );
    // A long answer is no overload, though the last ones end after the load.
    let (_, said) = open_loop(|_| 1000 * MS, 0);
    assert_eq!(said, Vec::<String>::new());
}

/// A record, not a test: how long 10,000 requests of 64 arrivals take to read.
/// `cargo test --release --lib ten_thousand -- --ignored --nocapture`
#[test]
#[ignore = "measures"]
fn ten_thousand_requests() {
    let mut many = job("many", Experiment::Sustained, 32, vec![prompt("short", 16)]);
    many.n_requests = 10_000;
    let folder = tempfile::tempdir().expect("a folder");
    let header = request_header(&[OWN], 1, vec![many.clone()]);
    let mut writer = Writer::create(folder.path(), header).expect("new");
    let mut served = in_process(&many, 0);
    for t in &mut served.timelines {
        let first = t.arrivals[0];
        t.arrivals = (0..64)
            .map(|i| crate::request::Arrival {
                at_ns: first.at_ns + i * 10 * MS,
                ..first
            })
            .collect();
    }
    for line in lines(&many, OWN, 0, served) {
        writer.append(&line).expect("writes");
    }
    let bytes = std::fs::metadata(folder.path().join("run.jsonl"))
        .expect("is there")
        .len();
    let began = std::time::Instant::now();
    let view = RunView::read(folder.path()).expect("reads");
    let took = began.elapsed();
    let found = find(requests(&view), "many", OWN);
    assert_eq!(found.figures.gap_ns.n, 630_000);
    println!("{} MiB of record: {:.2} s", bytes >> 20, took.as_secs_f64());
}

#[test]
fn a_job_has_an_outcome_in_words_whatever_became_of_it() {
    let mut header = request_header(&[OWN, OLLAMA], 2, vec![one_job()]);
    let plan = header.requests.as_mut().expect("has requests");
    plan.never_served.push(NeverServed {
        job: "one".to_owned(),
        target: OLLAMA.to_owned(),
        outcome: Outcome::Skipped {
            needs_bytes: 4 << 30,
            has_bytes: 2 << 30,
            device: None,
            n_gpu_layers: None,
        },
    });
    let job = one_job();
    let served = |round| lines(&job, OWN, round, in_process(&job, round));
    let of = |lines: Vec<Line>, target: &str| {
        let view = fixture::view(header.clone(), lines);
        let job = find(requests(&view), "one", target);
        let is = (job.has_failed(), job.can_be_resumed());
        (job.outcome, job.outcome_detail.clone(), is)
    };
    let n = one_job().n_requests;
    let (missing, words, is) = of(Vec::new(), OWN);
    assert_eq!((missing, is), (CellOutcome::Missing, (true, true)));
    assert_eq!(words, "missing: nothing was sent yet");
    let (skipped, words, is) = of(served(0), OLLAMA);
    assert_eq!((skipped, is), (CellOutcome::Skipped, (false, false)));
    assert_eq!(words, "skipped: needs 4.00 GiB, has 2.00 GiB");
    let (half, words, is) = of(served(0), OWN);
    assert_eq!((half, is), (CellOutcome::Measured, (false, true)));
    assert_eq!(words, format!("answered {n} of {n} requests in 1 round"));
    let (whole, _, is) = of([served(0), served(1)].concat(), OWN);
    assert_eq!((whole, is), (CellOutcome::Measured, (false, false)));
    let ended = |ending: Ending| {
        let mut served = in_process(&job, 0);
        for t in &mut served.timelines {
            t.ending = ending.clone();
        }
        of(lines(&job, OWN, 0, served), OWN)
    };
    let (cut, words, is) = ended(Ending::Interrupted);
    assert_eq!((cut, is), (CellOutcome::Interrupted, (true, true)));
    assert_eq!(words, "interrupted: no answer is whole");
    let (failed, words, _) = ended(Ending::TimedOut { after_ns: 1 });
    assert_eq!(failed, CellOutcome::Failed);
    assert!(
        words.starts_with(&format!("{n} of {n} failed: {n} timed out")),
        "{words}"
    );
}

#[test]
fn what_one_of_two_runs_serves_is_not_missing_of_both() {
    let plan = |never: &[&str]| -> RequestsPlan {
        let plan = request_header(&[OWN, OLLAMA], 1, vec![one_job()]).requests;
        let never = never.iter().map(|target| NeverServed {
            job: "one".to_owned(),
            target: (*target).to_owned(),
            outcome: Outcome::Interrupted,
        });
        RequestsPlan {
            never_served: never.collect(),
            ..plan.expect("has requests")
        }
    };
    for (a, b, left) in [
        (&[OWN][..], &[OWN][..], &[OWN][..]),
        (&[OWN], &[], &[]),
        (&[], &[OWN], &[]),
        (&[OWN, OLLAMA], &[OLLAMA], &[OLLAMA]),
    ] {
        let mut merged = plan(a);
        merged.merge(&plan(b));
        let never = merged.never_served.iter().map(|n| n.target.as_str());
        assert_eq!(never.collect::<Vec<_>>(), left, "{a:?} and {b:?}");
    }
    // A target that the first run did not have.
    let mut merged = request_header(&[OWN], 1, vec![one_job()])
        .requests
        .expect("has requests");
    merged.merge(&plan(&[OLLAMA]));
    assert!(merged.never_served("one", OLLAMA).is_some());
}

#[test]
fn metrics_are_medians_over_the_whole_rounds_of_processes() {
    let job = one_job();
    let mut header = request_header(&[OWN], 2, vec![one_job()]);
    let plan = header.requests.as_mut().expect("has requests");
    (plan.replicates, plan.rounds) = (2, 2);
    // Rounds of two processes take 1, 2, 4 and 8 ms a request; the last one is cut.
    let mut all = Vec::new();
    for (round, ms) in [(0_u32, 1_u64), (1, 2), (2, 4), (3, 8)] {
        let mut served = in_process(&job, round);
        for t in &mut served.timelines {
            (t.due_ns, t.ended_ns) = (0, ms * MS);
        }
        if round == 3 {
            served.timelines[0].ending = Ending::Interrupted;
        }
        let of_round = lines(&job, OWN, round, served).into_iter();
        all.extend(of_round.map(|line| match line {
            Line::Job(mut job) => {
                job.worker = Some(round / 2);
                Line::Job(job)
            }
            other => other,
        }));
    }
    let view = fixture::view(header, all);
    let job = find(requests(&view), "one", OWN);
    // 1.5 ms in the first process, 4 ms in the second.
    about(
        job.estimates.get(&Metric::RequestLatencyNs).copied(),
        2.75e6,
    );
    assert_eq!(job.cut_rounds().collect::<Vec<_>>(), [3]);
    // The figures are of all whole answers.
    about(job.figures.latency_ns.median, 2e6);
    assert!(!job.estimates.contains_key(&Metric::RequestTtftP95Ns));
}
