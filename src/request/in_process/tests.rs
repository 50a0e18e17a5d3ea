mod turns;

use std::cell::Cell;

use proptest::prelude::*;

use super::*;
use crate::engine::clock::FakeClock;
use crate::engine::synthetic::{SyntheticCost, SyntheticEngine};
use crate::measure::{Call, Phase};
use crate::plan::expand::{Axes, Host, cases};
use crate::plan::serving::Sampling;
use crate::request::arrivals::Arrivals;
use crate::request::prompts::Prompt;
use crate::request::{Endpoint, Experiment, Load};

/// A call takes 1,000 ns and 10 for each token, a choice 1.
fn cost() -> SyntheticCost {
    SyntheticCost {
        call_ns: 1000.0,
        token_ns: 10.0,
        past_ns: 0.0,
        sample_ns: 1.0,
        ..SyntheticCost::default()
    }
}

fn prompt(text: &str) -> Prompt {
    Prompt {
        id: text.to_owned(),
        class: "test".to_owned(),
        difficulty: None,
        pair: None,
        text: text.to_owned(),
        answer: None,
        source: "this test".to_owned(),
        n_tokens: None,
    }
}

/// A text of `n` tokens, by its first word unlike others.
fn words(name: &str, n: usize) -> String {
    let mut words = vec![name; 1];
    words.resize(n, "x");
    words.join(" ")
}

/// One request for each prompt, in a closed loop of `n_seq`, answers of at most `n_gen`.
fn job(texts: &[&str], n_seq: u32, n_gen: u32) -> Job {
    let axes = Axes {
        n_seq: Some(vec![n_seq]),
        n_prompt: Some(vec![64]),
        n_gen: Some(vec![n_gen]),
        n_ctx: Some(vec![256]),
        ..Axes::default()
    };
    let host = Host {
        n_threads: 1,
        n_gpu_layers: 0,
    };
    let case = cases(&axes, &["m".into()], &[], host)
        .expect("valid")
        .remove(0);
    Job {
        tag: None,
        said_at: Vec::new(),
        temperatures: Vec::new(),
        slowed: Vec::new(),
        in_turns: 0,
        compared: None,
        forced: Default::default(),
        name: "test".to_owned(),
        experiment: Experiment::Classes,
        prompts: texts.iter().map(|t| prompt(t)).collect(),
        n_requests: texts.len() as u32,
        load: Load::Closed { concurrency: n_seq },
        most_ns: None,
        case,
        sampling: Sampling::default(),
        stop_at: StopAt::EndOfText,
        endpoint: Endpoint::Completion,
        openai_strict: false,
        seed: 1,
    }
}

fn run(cost: SyntheticCost, job: &Job, stop: &dyn Fn() -> bool) -> Served {
    let clock = FakeClock::default();
    // The clock's origin is not the job's begin.
    clock.advance_ns(123_456);
    let engine = SyntheticEngine::new(cost, clock.clone(), 0);
    let mut session = engine.open(&job.case).expect("opens");
    let prompts = tokenize(&engine, job);
    serve(&engine, session.as_mut(), &clock, job, &prompts, stop)
}

fn run_whole(cost: SyntheticCost, job: &Job) -> Served {
    let served = run(cost, job, &|| false);
    assert_accounted(&served);
    served
}

/// No token lost or counted twice. Every token of a prompt is computed once; every token of an answer too, to choose the next one from it,
/// but for the last of an answer that ended by its length: nothing follows it.
fn assert_accounted(served: &Served) {
    let in_calls: u64 = served.calls.iter().map(|c| u64::from(c.n_tokens)).sum();
    let in_requests: u64 = served
        .timelines
        .iter()
        .filter(|t| t.ending.is_whole())
        .map(|t| {
            let generated = t.n_generated.expect("counted");
            assert_eq!(t.arrivals.len(), generated as usize);
            let computed = generated - u32::from(t.ending == Ending::Length && generated > 0);
            u64::from(t.n_prompt.expect("counted")) + u64::from(computed)
        })
        .sum();
    assert_eq!(in_calls, in_requests);
}

/// Due, admitted, arrivals, ended, tokens, ending of each request.
type ServedLine = (u64, Option<u64>, Vec<u64>, u64, Option<u32>, Ending);

fn lines(served: &Served) -> Vec<ServedLine> {
    for (i, t) in served.timelines.iter().enumerate() {
        assert_eq!(t.number as usize, i, "one for each request, by number");
        assert!(t.arrivals.iter().all(|a| a.n_tokens == Some(1)));
        let at: Vec<u64> = t.arrivals.iter().map(|a| a.at_ns).collect();
        assert!(at.is_sorted());
    }
    served
        .timelines
        .iter()
        .map(|t| {
            let at = t.arrivals.iter().map(|a| a.at_ns).collect();
            (
                t.due_ns,
                t.admitted_ns,
                at,
                t.ended_ns,
                t.n_generated,
                t.ending.clone(),
            )
        })
        .collect()
}

/// Phase, tokens, sequences, past, build, engine, sample of each call.
fn calls(served: &Served) -> Vec<(Phase, u32, u32, u32, u64, u64, u64)> {
    served
        .calls
        .iter()
        .map(|c| {
            (
                c.phase,
                c.n_tokens,
                c.n_seq,
                c.n_past,
                c.build_ns,
                c.engine_ns(),
                c.sample_ns,
            )
        })
        .collect()
}

#[test]
fn three_requests_in_two_places() {
    // Answers end when their sequence holds 5 tokens: after 2 tokens, after 3 (which is the most), after 1.
    let cost = SyntheticCost {
        end_at: Some(5),
        ..cost()
    };
    let served = run_whole(cost, &job(&["a b c", "d e", "f g h i"], 2, 3));
    assert_eq!(
        lines(&served),
        [
            (0, Some(0), vec![1051, 2073], 3095, Some(2), Ending::Stop),
            (
                0,
                Some(0),
                vec![1052, 2074, 3096],
                3096,
                Some(3),
                Ending::Length
            ),
            // Its place fell free when the first ended, and was given when the call had ended.
            (3095, Some(3096), vec![4137], 5148, Some(1), Ending::Stop),
        ]
    );
    assert_eq!(
        calls(&served),
        [
            (Phase::Prefill, 5, 2, 0, 0, 1050, 2),
            (Phase::Decode, 2, 2, 3, 0, 1020, 2),
            (Phase::Decode, 2, 2, 4, 0, 1020, 2),
            (Phase::Prefill, 4, 1, 0, 0, 1040, 1),
            (Phase::Decode, 1, 1, 4, 0, 1010, 1),
        ]
    );
    assert_eq!(served.elapsed_ns, 5148);
    // Its tokens and the one that ended it were chosen, 1 ns each.
    let sampled: Vec<_> = served.timelines.iter().map(|t| t.sample_ns).collect();
    assert_eq!(sampled, [Some(3), Some(3), Some(2)]);
    let first = &served.timelines[0];
    assert_eq!(
        (first.ttft_ns(), first.tpot_ns()),
        (Some(1051), Some(1022.0))
    );
    assert!(first.text.starts_with(" w"), "{}", first.text);
    assert_eq!(first.text.split_whitespace().count(), 2);
}

#[test]
fn a_request_joins_while_another_is_decoded() {
    let cost = SyntheticCost {
        end_at: Some(6),
        ..cost()
    };
    let served = run_whole(cost, &job(&["a", "b c d e f", "g h"], 2, 10));
    let at = [1061, 2083, 3115, 4137, 5159];
    assert_eq!(
        lines(&served),
        [
            (0, Some(0), at.to_vec(), 6181, Some(5), Ending::Stop),
            (0, Some(0), vec![1062], 2084, Some(1), Ending::Stop),
            (
                2084,
                Some(2084),
                vec![3116, 4138, 5160, 6182],
                7193,
                Some(4),
                Ending::Stop
            ),
        ]
    );
    assert_eq!(
        calls(&served),
        [
            (Phase::Prefill, 6, 2, 0, 0, 1060, 2),
            (Phase::Decode, 2, 2, 5, 0, 1020, 2),
            (Phase::Mixed, 3, 2, 2, 0, 1030, 2),
            (Phase::Decode, 2, 2, 3, 0, 1020, 2),
            (Phase::Decode, 2, 2, 4, 0, 1020, 2),
            (Phase::Decode, 2, 2, 5, 0, 1020, 2),
            (Phase::Decode, 1, 1, 5, 0, 1010, 1),
        ]
    );
}

#[test]
fn a_long_prompt_is_computed_in_parts_beside_the_others_tokens() {
    let long = words("long", 10);
    let mut job = job(&["a", "b", &long], 2, 3);
    job.case.n_batch = 4;
    job.case.n_ubatch = 4;
    // The second ends at its first token, so that the long one joins while the first is decoded.
    job.prompts[1].text = "b c d e f g h i j k l".to_owned();
    let cost = SyntheticCost {
        end_at: Some(11),
        ..cost()
    };
    let served = run_whole(cost, &job);
    let shapes: Vec<_> = served
        .calls
        .iter()
        .map(|c| (c.phase, c.n_tokens, c.n_seq))
        .collect();
    assert_eq!(
        shapes,
        [
            // 1 + 3 of 11, then a decode token beside 3, 3 more; the first is done with its third token.
            (Phase::Prefill, 4, 2),
            (Phase::Mixed, 4, 2),
            (Phase::Mixed, 4, 2),
            // The rest of 11 and the long prompt's first 2, and so on.
            (Phase::Prefill, 4, 2),
            (Phase::Prefill, 4, 1),
            (Phase::Prefill, 4, 1),
            (Phase::Decode, 1, 1),
        ]
    );
    assert_eq!(served.timelines[1].n_generated, Some(0));
    assert_eq!(served.timelines[1].arrivals, []);
    assert_eq!(served.timelines[1].ending, Ending::Stop);
    assert_eq!(served.timelines[2].n_generated, Some(1));
}

#[test]
fn forced_length_masks_the_end() {
    let cost = SyntheticCost {
        end_at: Some(2),
        ..cost()
    };
    let mut job = job(&["a b c", "d e"], 2, 4);
    job.stop_at = StopAt::Length;
    let served = run_whole(cost, &job);
    for t in &served.timelines {
        assert_eq!((t.n_generated, &t.ending), (Some(4), &Ending::Length));
    }
    assert_eq!(served.calls.len(), 4);
}

#[test]
fn an_answer_of_no_token_is_a_prompt_computed() {
    let mut job = job(&["a b c", "d e"], 2, 1);
    job.case.n_gen = 0;
    let served = run_whole(cost(), &job);
    let end = Ending::Length;
    assert_eq!(
        lines(&served),
        [
            (0, Some(0), vec![], 1050, Some(0), end.clone()),
            (0, Some(0), vec![], 1050, Some(0), end),
        ]
    );
}

#[test]
fn an_open_loop_waits_for_requests_and_then_for_places() {
    let mut job = job(&["a", "b", "c", "d"], 1, 2);
    // 1,011 for the prompt and the first token, 1,011 for the second.
    let (first, both) = (1011, 2022);
    job.load = Load::Open {
        rate_per_s: 10.0,
        most: 1,
    };
    let due: Vec<u64> = Arrivals::new(10.0, job.seed).take(4).collect();
    assert!(due.windows(2).all(|d| d[1] - d[0] > both), "{due:?}");
    let served = run_whole(cost(), &job);
    let alone: Vec<ServedLine> = due
        .iter()
        .map(|&at| {
            let arrivals = vec![at + first, at + both];
            (at, Some(at), arrivals, at + both, Some(2), Ending::Length)
        })
        .collect();
    assert_eq!(lines(&served), alone);
    assert!(
        served.calls.iter().all(|c| c.build_ns == 0),
        "waiting is no call's time"
    );

    // So many that all have come when the first is done: one after another, each late from when it was due.
    job.load = Load::Open {
        rate_per_s: 1e7,
        most: 1,
    };
    let due: Vec<u64> = Arrivals::new(1e7, job.seed).take(4).collect();
    assert!(due[3] < due[0] + both);
    let served = run_whole(cost(), &job);
    let queued: Vec<ServedLine> = (0..4)
        .zip(&due)
        .map(|(i, &came)| {
            let at = due[0] + i * both;
            let arrivals = vec![at + first, at + both];
            (came, Some(at), arrivals, at + both, Some(2), Ending::Length)
        })
        .collect();
    assert_eq!(lines(&served), queued);
    let last = &served.timelines[3];
    assert_eq!(last.ttft_ns(), Some(due[0] + 3 * both + first - due[3]));
    assert_eq!(last.sent_ns, due[0] + 3 * both);
}

#[test]
fn nothing_is_sent_after_the_end_and_what_had_come_is_told() {
    let mut closed = job(&["a", "b", "c", "d"], 1, 2);
    closed.most_ns = Some(3000);
    let served = run_whole(cost(), &closed);
    assert_eq!(
        served.timelines.len(),
        2,
        "the second was sent at 2022 and finished"
    );
    assert_eq!(served.elapsed_ns, 4044);

    let mut open = closed.clone();
    open.load = Load::Open {
        rate_per_s: 1e7,
        most: 1,
    };
    let served = run(cost(), &open, &|| false);
    let endings: Vec<_> = served.timelines.iter().map(|t| t.ending.word()).collect();
    assert_eq!(endings, ["length", "length", "not_sent", "not_sent"]);
    assert_eq!(served.timelines[3].admitted_ns, None);
    assert_accounted(&served);
}

#[test]
fn a_prompt_that_does_not_fit_fails_alone() {
    let long = words("long", 255);
    let served = run_whole(cost(), &job(&["a", &long, "", "b"], 1, 2));
    let endings: Vec<_> = served.timelines.iter().map(|t| t.ending.word()).collect();
    assert_eq!(endings, ["length", "failed", "failed", "length"]);
    let failed = &served.timelines[1];
    let said = failed.ending.to_string();
    assert!(said.contains("255") && said.contains("256"), "{said}");
    assert_eq!((failed.n_prompt, failed.admitted_ns), (Some(255), None));
    assert_eq!((failed.due_ns, failed.ended_ns), (2022, 2022));
    let fits = words("long", 254);
    let served = run_whole(cost(), &job(&[&fits], 1, 2));
    assert_eq!(served.timelines[0].ending, Ending::Length);
}

#[test]
fn an_engine_that_fails_ends_the_job() {
    let cost = SyntheticCost {
        fail_at_call: Some(2),
        ..cost()
    };
    let mut job = job(&["a b", "c", "d", "e"], 2, 3);
    let served = run(cost.clone(), &job, &|| false);
    let failed = Ending::Failed {
        reason: "decode failed: synthetic failure at call 2, as asked".to_owned(),
    };
    // The first tokens had arrived; in a closed loop the others have not come.
    assert_eq!(
        lines(&served),
        [
            (0, Some(0), vec![1031], 1032, Some(1), failed.clone()),
            (0, Some(0), vec![1032], 1032, Some(1), failed.clone()),
        ]
    );
    assert_eq!(served.calls.len(), 1);

    job.load = Load::Open {
        rate_per_s: 1e9,
        most: 2,
    };
    let served = run(cost, &job, &|| false);
    let endings: Vec<_> = served.timelines.iter().map(|t| t.ending.word()).collect();
    assert_eq!(endings, ["failed", "failed", "interrupted", "interrupted"]);
}

#[test]
fn stop_ends_what_is_under_way_and_sends_nothing_more() {
    let asked = Cell::new(0);
    let stop = || {
        asked.set(asked.get() + 1);
        asked.get() == 3
    };
    let served = run(cost(), &job(&["a", "b", "c"], 2, 9), &stop);
    let end = Ending::Interrupted;
    assert_eq!(
        lines(&served),
        [
            (0, Some(0), vec![1021, 2043], 2044, Some(2), end.clone()),
            (0, Some(0), vec![1022, 2044], 2044, Some(2), end),
        ]
    );
    assert_eq!(served.calls.len(), 2);
    assert_eq!(served.elapsed_ns, 2044);

    let mut open = job(&["a"], 1, 2);
    open.load = Load::Open {
        rate_per_s: 1e-6,
        most: 1,
    };
    asked.set(0);
    let served = run(cost(), &open, &stop);
    assert_eq!(served, Served::default(), "it ends while it waits too");
}

#[test]
fn places_are_used_again_and_each_request_has_its_own_draw() {
    let mut job = job(&["same"], 2, 6);
    job.n_requests = 4;
    let texts = |job: &Job| -> Vec<String> {
        let served = run_whole(cost(), job);
        served.timelines.into_iter().map(|t| t.text).collect()
    };
    let greedy = texts(&job);
    assert!(greedy.iter().all(|t| *t == greedy[0]), "{greedy:?}");
    job.sampling.temperature = 1.0;
    let drawn = texts(&job);
    assert!((1..4).all(|i| drawn[i] != drawn[0]), "{drawn:?}");
    assert_eq!(texts(&job), drawn, "the seed decides");
    job.sampling.seed += 1;
    assert_eq!(
        texts(&job)[..3],
        drawn[1..],
        "request i draws with seed + i"
    );
}

/// What of a request does not depend on the others.
fn answer(t: &Timeline) -> (&str, Option<u32>, &Ending) {
    (&t.text, t.n_generated, &t.ending)
}

proptest! {
    #[test]
    fn random_jobs_are_served_whole(
        lengths in prop::collection::vec(1_usize..60, 1..12),
        n_seq in 1_u32..9,
        n_batch in 8_u32..64,
        n_requests in 1_u32..40,
        n_gen in 0_u32..12,
        end_at in prop::option::of(1_u32..70),
        rate in prop::option::of(1.0..1e6_f64),
        forced in any::<bool>(),
        seed in 0_u64..1000,
    ) {
        let texts: Vec<String> = (0..).zip(&lengths).map(|(i, &n)| words(&format!("p{i}"), n)).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let mut job = job(&texts, n_seq, n_gen.max(1));
        job.case.n_gen = n_gen;
        job.case.n_batch = n_batch;
        job.n_requests = n_requests;
        job.seed = seed;
        if forced {
            job.stop_at = StopAt::Length;
        }
        if let Some(rate_per_s) = rate {
            job.load = Load::Open { rate_per_s, most: n_seq };
        }
        let cost = SyntheticCost { end_at, ..cost() };
        let served = run_whole(cost.clone(), &job);
        lines(&served);
        prop_assert_eq!(served.timelines.len(), n_requests as usize);
        for call in &served.calls {
            prop_assert!(call.n_tokens <= job.case.largest_call() && call.n_seq <= n_seq);
        }
        let mut alone = job.clone();
        alone.case.n_seq = 1;
        alone.load = Load::Closed { concurrency: 1 };
        let one_by_one = run_whole(cost, &alone);
        for (t, single) in served.timelines.iter().zip(&one_by_one.timelines) {
            prop_assert!(t.ending.is_whole());
            prop_assert!(t.due_ns <= t.sent_ns && Some(t.sent_ns) == t.admitted_ns && t.sent_ns <= t.ended_ns);
            prop_assert_eq!(answer(t), answer(single));
        }
        // Never more under way than places.
        for t in &served.timelines {
            let under_way = served.timelines.iter()
                .filter(|o| o.sent_ns <= t.sent_ns && t.sent_ns < o.ended_ns)
                .count();
            prop_assert!(under_way <= n_seq as usize);
        }
        // Closed loop: the spans of the calls are all the time there is.
        if rate.is_none() {
            let spent: u64 = served.calls.iter().map(Call::step_ns).sum();
            prop_assert!(served.elapsed_ns <= spent);
            prop_assert!(spent - served.elapsed_ns <= u64::from(n_seq));
        }
    }
}
