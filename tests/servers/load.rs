//! Requests as they come: how many at once, when, by which connections, and how they end when nobody wants them more.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use ggufbench::engine::clock::{Clock, MonotonicClock};
use ggufbench::request::load::{Turn, drive, due_instants_ns};
use ggufbench::request::{Ending, Job, Load, Target, TargetError, Timeline};

use super::fake::{Fake, Gate, Step, head, raw, whole};
use super::ollama::{NDJSON, answer, done, target, text};
use super::{check, job, serve};

fn closed(n_requests: u32, concurrency: u32) -> Job {
    Job {
        load: Load::Closed { concurrency },
        ..job(n_requests)
    }
}

fn open(n_requests: u32, rate_per_s: f64, most: u32) -> Job {
    Job {
        load: Load::Open { rate_per_s, most },
        ..job(n_requests)
    }
}

fn words(timelines: &[Timeline]) -> Vec<&str> {
    timelines.iter().map(|t| t.ending.word()).collect()
}

/// A request that takes no time.
fn instant(clock: MonotonicClock, turn: Turn) -> Timeline {
    let now_ns = clock.now_ns();
    Timeline {
        number: turn.number,
        due_ns: turn.due_ns,
        sent_ns: now_ns,
        admitted_ns: None,
        arrivals: Vec::new(),
        ended_ns: clock.now_ns(),
        ending: Ending::Stop,
        n_prompt: None,
        n_generated: None,
        caveat: None,
        sample_ns: None,
        server: None,
        text: String::new(),
    }
}

#[test]
fn as_many_are_under_way_as_the_loop_is_wide() {
    // No request of a round of four is answered before all four are there.
    let arrived = Gate::default();
    let fake = Fake::start(move |number, _| {
        arrived.arrive();
        let round = u32::try_from(number / 4).unwrap() + 1;
        if arrived.wait_for(4 * round) {
            answer()
        } else {
            whole("500 Internal Server Error", "alone")
        }
    });
    let served = serve(&mut target(&fake), &closed(12, 4));
    check(&served);
    assert_eq!(words(&served.timelines), ["length"; 12]);
    assert_eq!(fake.connections(), 4, "one for each client");
    let last = served.timelines.iter().map(|t| t.ended_ns).max();
    assert_eq!(Some(served.elapsed_ns), last);
}

#[test]
fn never_more_are_under_way_than_the_loop_is_wide() {
    let (now, most) = (AtomicU32::new(0), AtomicU32::new(0));
    let clock = MonotonicClock::start();
    let served = drive(&closed(200, 3), clock, &|| false, &|_| (), &|(), turn| {
        most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        thread::yield_now();
        now.fetch_sub(1, Ordering::SeqCst);
        instant(clock, turn)
    });
    let served = served.unwrap();
    check(&served);
    assert_eq!(served.timelines.len(), 200);
    assert!(most.load(Ordering::SeqCst) <= 3);
}

#[test]
fn a_client_keeps_its_connection_unless_the_server_closes_it() {
    let fake = Fake::start(|_, _| answer());
    serve(&mut target(&fake), &closed(5, 1));
    assert_eq!(fake.connections(), 1);
    let closing = Fake::start(|_, _| {
        let mut steps = answer();
        steps[0] =
            raw("HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n");
        steps.push(Step::Close);
        steps
    });
    let served = serve(&mut target(&closing), &closed(5, 1));
    assert_eq!(words(&served.timelines), ["length"; 5]);
    assert_eq!(closing.connections(), 5);
}

#[test]
fn a_kept_connection_that_turns_out_closed_costs_no_request() {
    // The second request of each connection is never answered.
    let per_connection = Mutex::new(HashMap::<u32, u32>::new());
    let fake = Fake::start(move |_, seen| {
        let mut all = per_connection.lock().unwrap();
        let n = all.entry(seen.connection).or_default();
        *n += 1;
        if *n == 2 { vec![Step::Close] } else { answer() }
    });
    let served = serve(&mut target(&fake), &closed(3, 1));
    check(&served);
    assert_eq!(words(&served.timelines), ["length"; 3]);
    assert_eq!(fake.connections(), 3);
    // One that was made for the request is no excuse: asking again might go on for ever.
    let deaf = Fake::start(|_, _| vec![Step::Close]);
    let served = serve(&mut target(&deaf), &closed(2, 1));
    assert_eq!(words(&served.timelines), ["stream_error"; 2]);
    assert_eq!(deaf.seen().len(), 2);
}

#[test]
fn requests_have_prompts_and_seeds_by_their_number() {
    let fake = Fake::start(|_, _| answer());
    serve(&mut target(&fake), &closed(6, 3));
    let mut sent: Vec<(u64, String)> = fake
        .seen()
        .iter()
        .map(|seen| {
            let body = seen.json();
            let prompt = body["prompt"].as_str().unwrap().to_owned();
            (body["options"]["seed"].as_u64().unwrap(), prompt)
        })
        .collect();
    sent.sort();
    let expected: Vec<(u64, String)> = (42..48)
        .map(|seed| (seed, if seed % 2 == 0 { "one" } else { "two" }.to_owned()))
        .collect();
    assert_eq!(sent, expected);
}

#[test]
fn an_open_loop_counts_from_when_a_request_was_due() {
    // One client, and more requests than it can send in time: each waits for the one before.
    let job = open(50, 1e6, 1);
    let due = due_instants_ns(job.seed, 1e6, 50);
    let clock = MonotonicClock::start();
    let served = drive(&job, clock, &|| false, &|_| (), &|(), turn| {
        let before = clock.now_ns();
        while clock.now_ns() < before + 50_000 {
            thread::yield_now();
        }
        instant(clock, turn)
    });
    let served = served.unwrap();
    check(&served);
    let asked: Vec<u64> = served.timelines.iter().map(|t| t.due_ns).collect();
    assert_eq!(asked, due);
    for pair in served.timelines.windows(2) {
        assert!(pair[1].sent_ns >= pair[0].ended_ns);
    }
    let last = &served.timelines[49];
    assert_eq!(last.latency_ns(), last.ended_ns - due[49]);
}

#[test]
fn nothing_is_sent_after_its_time_and_what_was_due_is_not_forgotten() {
    let mut job = closed(1000, 1);
    job.most_ns = Some(0);
    let clock = MonotonicClock::start();
    let none = drive(&job, clock, &|| false, &|_| (), &|(), turn| {
        instant(clock, turn)
    })
    .unwrap();
    assert_eq!((none.timelines.len(), none.elapsed_ns), (0, 0));
    // The first takes all the time there is: those that came meanwhile were never sent, and say so.
    let mut job = open(100, 1e6, 1);
    let due = due_instants_ns(job.seed, 1e6, 100);
    job.most_ns = Some(due[49]);
    let clock = MonotonicClock::start();
    let served = drive(&job, clock, &|| false, &|_| (), &|(), turn| {
        while clock.now_ns() <= due[49] {
            thread::yield_now();
        }
        instant(clock, turn)
    });
    let served = served.unwrap();
    check(&served);
    let sent = words(&served.timelines)
        .iter()
        .filter(|w| **w == "stop")
        .count();
    assert_eq!(served.timelines.len(), 50);
    assert!(sent <= 1);
    assert!(
        words(&served.timelines)[1..]
            .iter()
            .all(|w| *w == "not_sent")
    );
}

#[test]
fn an_interrupt_ends_what_is_under_way_and_sends_nothing_more() {
    let waiting = Gate::default();
    let inside = waiting.clone();
    let fake = Fake::start(move |number, _| match number {
        0 => answer(),
        _ => vec![
            head(NDJSON),
            Step::Chunk(text("a").into_bytes()),
            Step::Open(inside.clone()),
            Step::Hold,
        ],
    });
    let served = target(&fake)
        .serve(&closed(100, 1), &|| waiting.is_open())
        .unwrap();
    check(&served);
    assert_eq!(words(&served.timelines), ["length", "interrupted"]);
    assert_eq!(fake.seen().len(), 2);
}

#[test]
fn an_interrupt_before_the_next_is_due_ends_an_open_loop() {
    // The first comes after a few hundred years.
    let served = target(&Fake::start(|_, _| answer()))
        .serve(&open(3, 1e-10, 2), &|| true)
        .unwrap();
    assert!(served.timelines.is_empty());
}

#[test]
fn a_client_that_panics_is_a_failed_request() {
    let clock = MonotonicClock::start();
    let made = AtomicU32::new(0);
    let connect = |_| made.fetch_add(1, Ordering::SeqCst);
    let served = drive(&closed(3, 1), clock, &|| false, &connect, &|_, turn| {
        assert_ne!(turn.number, 1, "a bug");
        instant(clock, turn)
    });
    let served = served.unwrap();
    check(&served);
    assert_eq!(words(&served.timelines), ["stop", "failed", "stop"]);
    let Ending::Failed { reason } = &served.timelines[1].ending else {
        panic!("{served:?}");
    };
    assert!(
        reason.starts_with("the client panicked:") && reason.contains("a bug"),
        "{reason}"
    );
    assert_eq!(made.load(Ordering::SeqCst), 2, "the client is made anew");
}

#[test]
fn a_job_that_cannot_be_served_says_why() {
    let fake = Fake::start(|_, _| answer());
    let refused = |job: &Job, what: &str| {
        let error = target(&fake).serve(job, &|| false).unwrap_err();
        assert!(matches!(error, TargetError::Unfit { .. }));
        assert!(error.to_string().contains(what), "{error}");
    };
    refused(&closed(1, 0), "no place for a request");
    let mut empty = job(1);
    empty.prompts.clear();
    refused(&empty, "has no prompts");
    assert_eq!(fake.connections(), 0);
}

#[test]
fn answers_of_one_token_have_no_tpot_and_long_ones_do() {
    let fake = Fake::start(|number, _| {
        let pieces = match number {
            0 => vec![text("a"), done("length", 1)],
            _ => vec![text("a"), text("b"), text("c"), done("length", 3)],
        };
        super::fake::stream(NDJSON, &pieces)
    });
    let served = serve(&mut target(&fake), &closed(2, 1));
    assert_eq!(served.timelines[0].tpot_ns(), None);
    let three = &served.timelines[1];
    let span = three.arrivals[2].at_ns - three.arrivals[0].at_ns;
    assert_eq!(three.tpot_ns(), Some(span as f64 / 2.0));
}
