//! Answers to one question that take turns, followed to the nanosecond.

use super::*;
use crate::request::in_process::turns::AnswerTurns;

/// The answers of two requests take turns.
fn in_turns(texts: &[&str], n_gen: u32) -> Job {
    let job = job(texts, 2, n_gen);
    Job {
        load: Load::Closed { concurrency: 1 },
        in_turns: 2,
        ..job
    }
}

/// When each was due, when its first token came, when it ended.
fn spans(served: &Served) -> Vec<(u64, Option<u64>, u64)> {
    let all = served.timelines.iter();
    all.map(|t| (t.due_ns, t.arrivals.first().map(|a| a.at_ns), t.ended_ns))
        .collect()
}

#[test]
fn answers_that_take_turns_have_the_times_that_they_have_alone() {
    let texts = ["a b c", "d e", "f g h i", "j", "k l"];
    let mut alone = job(&texts, 1, 11);
    alone.stop_at = StopAt::Length;
    let one_by_one = run_whole(cost(), &alone);
    let mut job = in_turns(&texts, 11);
    job.stop_at = StopAt::Length;
    let served = run_whole(cost(), &job);
    assert_eq!(served, one_by_one);
    assert_eq!(served.timelines.len(), 5);
}

const CALL: Call = Call {
    phase: Phase::Decode,
    n_tokens: 1,
    n_seq: 1,
    n_past: 0,
    build_ns: 0,
    submit_ns: 0,
    wait_ns: 1,
    sample_ns: 0,
};

#[test]
fn calls_of_answers_alternate_and_clocks_stand_still() {
    let mut turns = AnswerTurns::of(2);
    turns.begin(1000);
    let mut now_ns = 1000;
    let mut order = Vec::new();
    for nth in 0..14 {
        let place = turns.place();
        order.push(place);
        // The prompts' calls are each place's first one.
        let is_prompt = nth < 2;
        now_ns += if place == 0 { 10 } else { 1 };
        let phase = if is_prompt {
            Phase::Prefill
        } else {
            Phase::Decode
        };
        let call = Call {
            phase,
            n_past: nth,
            ..CALL
        };
        turns.called(call, is_prompt, now_ns, &|_| true);
    }
    assert_eq!(order, [0, 1, 0, 0, 0, 0, 1, 1, 1, 1, 0, 0, 0, 0]);
    // The turn has gone to the second: nine calls of the first, five of the second.
    assert_eq!(
        (turns.own_ns(0, now_ns), turns.own_ns(1, now_ns)),
        (1090, 1005)
    );
    assert_eq!(
        (turns.own_ns(0, now_ns + 7), turns.own_ns(1, now_ns + 7)),
        (1090, 1012)
    );
    for (place, number, ended_ns) in [(1, 5, 1005), (0, 4, 1090)] {
        let timeline = Timeline::unanswered(number, 1000, 1000, Ending::Stop);
        turns.ended(
            place,
            Timeline {
                ended_ns,
                ..timeline
            },
        );
    }
    let (timelines, calls) = turns.take();
    let ends: Vec<_> = timelines.iter().map(|t| (t.number, t.ended_ns)).collect();
    assert_eq!(ends, [(4, 1090), (5, 1095)]);
    let made: Vec<u32> = calls.iter().map(|call| call.n_past).collect();
    assert_eq!(made, [0, 2, 3, 4, 5, 10, 11, 12, 13, 1, 6, 7, 8, 9]);
}

#[test]
fn an_answer_that_ends_leaves_its_turns_to_the_other() {
    let cost = SyntheticCost {
        end_at: Some(6),
        ..cost()
    };
    let alone = run_whole(cost.clone(), &job(&["a b c d e", "f", "g"], 1, 9));
    assert_eq!(
        run_whole(cost, &in_turns(&["a b c d e", "f", "g"], 9)),
        alone
    );
}

#[test]
fn only_the_slowed_answer_is_slow() {
    let mut job = in_turns(&["a", "b"], 5);
    job.stop_at = StopAt::Length;
    job.slowed = vec![0.0, 0.5];
    let served = run_whole(cost(), &job);
    let steps: Vec<_> = served.timelines.iter().map(Timeline::step_ns).collect();
    // 1,010 and half of it, of which the time since the call before; choosing takes 1.
    assert_eq!(steps, [Some(1011.0), Some(1516.0)]);
}

#[test]
fn answers_in_turns_that_are_stopped_are_told() {
    let asked = Cell::new(0);
    let stop = || {
        asked.set(asked.get() + 1);
        asked.get() == 4
    };
    let mut job = in_turns(&["a", "b", "c", "d"], 9);
    job.stop_at = StopAt::Length;
    let served = run(cost(), &job, &stop);
    let end = Ending::Interrupted;
    assert_eq!(
        lines(&served),
        [
            (0, Some(0), vec![1011, 2022], 2022, Some(2), end.clone()),
            (2022, Some(2022), vec![3033], 3033, Some(1), end),
        ]
    );
}

#[test]
fn a_prompt_that_does_not_fit_takes_no_other_questions_place() {
    let long = words("long", 255);
    let served = run_whole(cost(), &in_turns(&[&long, "b", "c", "d"], 2));
    let endings: Vec<_> = served.timelines.iter().map(|t| t.ending.word()).collect();
    assert_eq!(endings, ["failed", "length", "length", "length"]);
    assert_eq!(spans(&served)[1].0, 0);
    assert_eq!(spans(&served)[2].0, spans(&served)[1].2);
}
