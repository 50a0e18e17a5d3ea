//! Servers without an end: each request is over at its deadline or when more arrives than was asked for, and says which.

use std::time::Duration;

use ggufbench::request::http::Patience;
use ggufbench::request::openai::OpenaiTarget;
use ggufbench::request::{Ending, Target, TargetError, Timeline};
use serde_json::json;

use super::fake::{Fake, Step, head, raw, stream, whole};
use super::openai::{self, SSE, serving};
use super::{PATIENT, job, only, serve};

/// A deadline that comes soon, of servers that never fall silent.
const SOON: Patience = Patience {
    total: Some(Duration::from_millis(250)),
    ..PATIENT
};

const PAUSE: Duration = Duration::from_millis(5);

fn target(fake: &Fake, patience: Patience) -> OpenaiTarget {
    OpenaiTarget::new(
        "openai:x".into(),
        Some("m"),
        fake.url("/v1"),
        None,
        patience,
    )
}

/// What becomes of one request that is answered so.
fn answered(patience: Patience, steps: impl Fn() -> Vec<Step> + Send + Sync + 'static) -> Timeline {
    let fake = serving(move |_, _| steps());
    only(&serve(&mut target(&fake, patience), &job(1))).clone()
}

fn drip(bytes: impl AsRef<[u8]>) -> Step {
    Step::Drip(bytes.as_ref().to_vec(), PAUSE)
}

/// The same as fast as the client reads.
fn flood(bytes: impl AsRef<[u8]>) -> Step {
    let bytes = bytes.as_ref();
    Step::Drip(bytes.repeat((64 << 10) / bytes.len() + 1), Duration::ZERO)
}

/// A body that is as long as its connection.
fn endless(status: &str) -> Step {
    raw(&format!("HTTP/1.1 {status}\r\nContent-Type: {SSE}\r\n\r\n"))
}

fn timed_out() -> Ending {
    Ending::TimedOut {
        after_ns: 250_000_000,
    }
}

#[test]
fn what_trickles_in_is_given_up_at_the_deadline() {
    let empty = openai::text("");
    let scripts: [(&str, Vec<u8>, Vec<u8>); 9] = [
        ("bytes of a line", Vec::new(), b"d".to_vec()),
        ("comments", Vec::new(), b": ping\n\n".to_vec()),
        ("empty pieces", Vec::new(), empty.into_bytes()),
        ("empty lines", Vec::new(), b"\n".to_vec()),
        ("unknown events", Vec::new(), b"id: 1\n\n".to_vec()),
        ("lines of one event", Vec::new(), b"data: {\n".to_vec()),
        (
            "continue",
            b"!".to_vec(),
            b"HTTP/1.1 100 Continue\r\n\r\n".to_vec(),
        ),
        (
            "headers",
            b"!HTTP/1.1 200 OK\r\n".to_vec(),
            b"X-A: b\r\n".to_vec(),
        ),
        ("a status", b"!HTTP/1.1 200 O".to_vec(), b"K".to_vec()),
    ];
    for (what, first, again) in scripts {
        let timeline = answered(SOON, move || {
            let first = match first.strip_prefix(b"!") {
                Some(first) => Step::Raw(first.to_vec()),
                None => endless("200 OK"),
            };
            vec![first, drip(&again)]
        });
        assert_eq!(timeline.ending, timed_out(), "{what}");
        assert!(timeline.arrivals.is_empty(), "{what}");
    }
}

#[test]
fn tokens_one_by_one_count_until_the_deadline() {
    let timeline = answered(SOON, || {
        vec![
            endless("200 OK"),
            Step::Raw(openai::text("a").into()),
            drip(": ping\n"),
        ]
    });
    assert_eq!(timeline.ending, timed_out());
    assert_eq!((timeline.arrivals.len(), timeline.text.as_str()), (1, "a"));
}

#[test]
fn more_than_was_asked_for_ends_an_answer() {
    let said = |timeline: &Timeline| match &timeline.ending {
        Ending::Excess { reason } => reason.clone(),
        other => panic!("{other:?}"),
    };
    // Tokens: three were asked for.
    let timeline = answered(PATIENT, || {
        vec![endless("200 OK"), flood(openai::text("word "))]
    });
    assert!(said(&timeline).contains("of an answer of 3 tokens"));
    assert!(timeline.arrivals.len() < 1000);
    // Bytes that are no tokens.
    for what in [
        ": ping\n\n".to_owned(),
        openai::text(""),
        "data: x\n".to_owned(),
        "\n".to_owned(),
    ] {
        let timeline = answered(PATIENT, {
            let what = what.clone();
            move || vec![endless("200 OK"), flood(&what)]
        });
        assert!(
            said(&timeline).starts_with("an answer of over 4"),
            "{what}: {timeline:?}"
        );
    }
    // A single line.
    let timeline = answered(PATIENT, || vec![endless("200 OK"), flood("data: xxxx")]);
    assert_eq!(timeline.ending.word(), "stream_error");
    // Of an event with many choices one was asked for.
    let timeline = answered(PATIENT, || {
        let choices = vec![json!({"text": "a"}); 5000];
        stream(SSE, &[openai::event(&json!({ "choices": choices }))])
    });
    assert_eq!(timeline.arrivals.len(), 1);
}

#[test]
fn a_head_without_an_end_is_no_answer() {
    for head in [
        "HTTP/1.1 200 OK\r\nX-A: ",
        "HTTP/1.1 200 ",
        "HTTP/1.1 200 OK\r\n",
    ] {
        let again = if head.ends_with('\n') {
            "X-A: b\r\n"
        } else {
            "aaaa"
        };
        let timeline = answered(SOON, move || vec![raw(head), flood(again)]);
        assert!(
            matches!(timeline.ending.word(), "stream_error" | "timed_out"),
            "{head:?}: {timeline:?}"
        );
    }
    // The size of a chunk, with an extension that goes on.
    let timeline = answered(SOON, || vec![head(SSE), raw("5;x="), flood("aaaa")]);
    assert!(
        matches!(timeline.ending.word(), "stream_error" | "timed_out"),
        "{timeline:?}"
    );
    let timeline = answered(SOON, || {
        vec![Step::Drip(
            b"HTTP/1.1 100 Continue\r\n\r\n".repeat(1000),
            Duration::ZERO,
        )]
    });
    assert!(
        matches!(timeline.ending.word(), "stream_error" | "timed_out"),
        "{timeline:?}"
    );
}

#[test]
fn an_error_whose_words_do_not_end_is_its_status() {
    for again in ["no ", "{"] {
        for step in [drip(again), flood(again)] {
            let steps = std::sync::Mutex::new(Some(step));
            let timeline = answered(SOON, move || {
                let step = steps.lock().unwrap().take().expect("asked once");
                vec![endless("500 Internal Server Error"), step]
            });
            let Ending::Http {
                status: 500,
                reason,
            } = timeline.ending
            else {
                panic!("{timeline:?}");
            };
            assert!(reason.chars().count() <= 300);
        }
    }
}

#[test]
fn redirects_in_a_circle_are_not_followed() {
    let fake = serving(|_, seen| {
        let head = format!(
            "HTTP/1.1 307 Temporary Redirect\r\nLocation: {}\r\nContent-Length: 0\r\n\r\n",
            seen.path
        );
        vec![raw(&head)]
    });
    let served = serve(&mut target(&fake, PATIENT), &job(1));
    assert_eq!(only(&served).ending.word(), "http_error");
    let posts = fake.seen().iter().filter(|s| s.method == "POST").count();
    assert_eq!(posts, 1);
}

#[test]
fn what_follows_an_answer_for_ever_costs_no_answer() {
    let timeline = answered(SOON, || {
        let mut steps = vec![endless("200 OK")];
        let pieces = [
            openai::text("a"),
            openai::finish("stop"),
            openai::usage(7, 2, 0),
        ];
        steps.extend(pieces.map(|p| Step::Raw(p.into())));
        steps.push(drip(": ping\n"));
        steps
    });
    assert_eq!(timeline.ending, Ending::Stop);
    assert_eq!(timeline.n_generated, Some(1));
}

#[test]
fn a_list_of_models_without_an_end_is_given_up() {
    for list in [drip(" "), flood(" "), flood("[0,")] {
        let steps = std::sync::Mutex::new(Some(list));
        let fake = Fake::start(move |_, _| {
            // Whatever else is asked is refused.
            match steps.lock().unwrap().take() {
                Some(step) => vec![endless("200 OK"), step],
                None => whole("404 Not Found", ""),
            }
        });
        let mut target = OpenaiTarget::new("openai:x".into(), None, fake.url("/v1"), None, SOON);
        let error = target.facts().expect_err("no list");
        assert!(
            matches!(
                error,
                TargetError::Unreachable { .. } | TargetError::Unfit { .. }
            ),
            "{error}"
        );
    }
}

#[test]
fn a_deadline_by_default_is_the_longest_silence_and_a_second_a_token() {
    let total = |patience: Patience, n| patience.for_tokens(n).total.map(|t| t.as_secs());
    assert_eq!(total(Patience::default(), 64), Some(300 + 64));
    let ten = Patience::of(Some(Duration::from_secs(10)));
    assert_eq!((total(ten, 64), ten.stall.as_secs()), (Some(10), 10));
    assert_eq!(
        total(Patience::default(), u64::MAX),
        Some(300 + u64::from(u32::MAX))
    );
}
