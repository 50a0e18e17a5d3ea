//! Two targets held against each other, with numbers worked out by hand from the fixture's rules.

use super::sentences::same_file;
use super::*;
use crate::analysis::Sure;
use crate::request::{Ending, TargetKind};
use crate::units;
use crate::view::RunView;
use crate::view::fixture;
use crate::view::fixture::requests::{
    OLLAMA, OWN, both, both_lines, both_with, facts, jobs, own, request_header, target,
};

fn with_slots(slots: usize) -> RunView {
    both_with(slots, |_, _, _| {})
}

/// What the other takes more than the base, part by part.
fn difference(pair: JobPair<'_>) -> LatencyParts {
    let [base, other] = pair.parts().expect("both say");
    other.minus(base)
}

fn requests(view: &RunView) -> &RequestsView {
    view.requests.as_ref().expect("has requests")
}

fn pair<'a>(requests: &'a RequestsView, name: &str) -> JobPair<'a> {
    let pairs = pairs(requests, OLLAMA);
    *pairs
        .iter()
        .find(|p| p.other.job.name == name)
        .expect("is there")
}

#[test]
fn ratios_are_paired_by_round() {
    let view = with_slots(1);
    let alone = pair(requests(&view), "concurrency/c1");
    // 1 + 17.6 + 88 + 1 ms against 16 + 70 ms, in every round.
    let ratio = alone.ratio(|r| r.latency_ns).expect("three rounds");
    assert!((ratio.value - 107.6 / 86.0).abs() < 1e-9, "{ratio:?}");
    let interval = ratio.interval.expect("three rounds");
    assert!(interval.hi - interval.lo < 1e-6, "rounds agree");
    let tpot = alone.ratio(|r| r.tpot_ns).expect("three rounds");
    assert!((tpot.value - 1.1).abs() < 1e-9);
}

#[test]
fn a_round_that_was_cut_is_not_compared() {
    // The budget is spent after the first request of the last round at the server, one of three lengths of prompts.
    let view = both_with(1, |job, round, t| {
        if job.name == "classes" && round == 2 && t.number > 0 {
            t.ending = Ending::Interrupted;
        }
    });
    let classes = pair(requests(&view), "classes");
    assert_eq!(classes.other.cut_rounds().collect::<Vec<_>>(), [2]);
    assert_eq!(classes.base.cut_rounds().count(), 0);
    let rounds: Vec<u32> = classes.ratios(|r| r.latency_ns).into_keys().collect();
    assert_eq!(rounds, [0, 1]);
    let whole = with_slots(1);
    let of_whole = pair(requests(&whole), "classes").ratio(|r| r.latency_ns);
    let ratio = classes.ratio(|r| r.latency_ns).expect("two rounds").value;
    assert!((ratio / of_whole.expect("three").value - 1.0).abs() < 1e-6);
    assert_eq!(unlike(&classes), [""; 0]);
    // The parts are of the requests that both answered: the last round has one of three lengths, and not at the base alone.
    let parts = classes.parts().expect("both say").map(|p| p.prefill);
    let whole = pair(requests(&whole), "classes");
    let whole_parts = whole.parts().expect("both say").map(|p| p.prefill);
    assert!(
        parts[0] < 0.99 * whole_parts[0],
        "{parts:?} {whole_parts:?}"
    );
    assert!((parts[1] / parts[0] - 1.1).abs() < 1e-6, "{parts:?}");
}

#[test]
fn the_parts_add_up_to_the_difference() {
    let view = with_slots(1);
    for name in ["classes", "concurrency/c1", "concurrency/c4"] {
        let d = difference(pair(requests(&view), name));
        let sum = d.engine() + d.waiting + d.loading + d.transport;
        assert!((sum - d.whole).abs() < 1.0, "{name}: {sum} {d:?}");
        assert!((d.transport - 2.0 * 1.001e6).abs() < 1.0, "{d:?}");
    }
    // One at a time: 1.6 ms of prefill and 18 of decode (8 tokens of 11 ms, against 7 of 10 after the first).
    let d = difference(pair(requests(&view), "concurrency/c1"));
    assert!((d.prefill - 1.6 * 1.001e6).abs() < 1.0, "{d:?}");
    assert!((d.decode - 18.0 * 1.001e6).abs() < 1.0, "{d:?}");
    assert!(d.waiting.abs() < 1.0);
    // Four at a time at one slot: most of it is waiting.
    let d = difference(pair(requests(&view), "concurrency/c4"));
    assert!(d.waiting > 0.5 * d.whole, "{d:?}");
}

#[test]
fn one_slot_answers_one_after_another_and_four_together() {
    for (slots, answered, serving) in [
        (1, 1, Simultaneity::OneByOne),
        (2, 2, Simultaneity::Partly),
        (4, 4, Simultaneity::Together),
    ] {
        let view = with_slots(slots);
        let job = pair(requests(&view), "concurrency/c4").other;
        let seen = Overlap::of(job).expect("four under way");
        assert_eq!((seen.answered, seen.under_way), (answered, 4));
        assert_eq!(seen.serving(), serving);
        let found = in_parallel(requests(&view), OLLAMA).expect("seen");
        let slots_named = found.evidence.join(" ").contains("OLLAMA_NUM_PARALLEL=4");
        assert_eq!(slots_named, serving != Simultaneity::Together, "{found:?}");
    }
    let view = with_slots(1);
    assert_eq!(Overlap::of(pair(requests(&view), "classes").other), None);
    let own = pair(requests(&view), "concurrency/c4").base;
    assert_eq!(
        Overlap::of(own).expect("four").serving(),
        Simultaneity::Together
    );
}

#[test]
fn more_slots_are_held_against_this_machines_own_batching() {
    let view = with_slots(1);
    let found = in_parallel(requests(&view), OLLAMA).expect("seen");
    assert!(
        found
            .claim
            .starts_with("No: ollama:tiny answered them one after another.")
    );
    // In-process: 4 * 8 tokens in 64 + 7 * 13 ms.
    let expected = units::significant(32.0 / (0.155 * 1.001));
    let said = found.evidence.join(" ");
    assert!(
        said.contains(&format!("batching of 4 gives {expected} tokens/s")),
        "{said}"
    );
}

#[test]
fn the_file_is_the_same_different_or_unknown() {
    for (sha, claim, sure) in [
        (Some("ab".repeat(32)), "Yes", Sure::Shown),
        (Some("AB".repeat(32)), "Yes", Sure::Shown),
        (Some("cd".repeat(32)), "No", Sure::Shown),
        (None, "Undetermined", Sure::Undetermined),
        (Some(String::new()), "Undetermined", Sure::Undetermined),
    ] {
        let jobs = jobs();
        let mut lines = both_lines(&jobs, 1, |_, _, _| {});
        for after in [false, true] {
            lines.push(target(
                facts(OLLAMA, TargetKind::Ollama, sha.as_deref()),
                after,
            ));
        }
        let view = fixture::view(request_header(&[OWN, OLLAMA], 3, jobs), lines);
        let found = same_file(requests(&view), OLLAMA);
        assert!(found.claim.starts_with(claim), "{sha:?}: {found:?}");
        assert_eq!(found.sure, sure);
    }
}

#[test]
fn a_server_that_keeps_its_times_to_itself_leaves_the_split_open() {
    let view = both_with(1, |_, _, t| t.server = None);
    let found = findings(requests(&view));
    let split = found.iter().find(|f| f.question.starts_with("Where does"));
    assert_eq!(split.expect("said").sure, Sure::Undetermined);
    assert!(headline(&pairs(requests(&view), OLLAMA)).is_some());
}

#[test]
fn without_a_total_what_came_before_the_first_piece_is_waiting() {
    let view = both_with(1, |_, _, t| {
        if let Some(server) = &mut t.server {
            server.total_ns = None;
        }
    });
    let parts =
        LatencyParts::of(pair(requests(&view), "concurrency/c1").other).expect("says enough");
    // TTFT 30.6 ms less 17.6 of prefill; the rest is one token less than 88 ms, and the way back.
    assert!((parts.waiting - 13.0 * 1.001e6).abs() < 1.0, "{parts:?}");
    let sum = parts.waiting + parts.prefill + parts.decode + parts.transport;
    assert!((sum - parts.whole).abs() < 1.0);
}

#[test]
fn one_target_is_compared_with_nothing() {
    let view = own();
    assert_eq!(others(requests(&view)), [""; 0]);
    let found = findings(requests(&view));
    assert!(found.iter().all(|f| f.question.starts_with("Are requests")));
    assert_eq!(others(requests(&both())), [OLLAMA]);
}

#[test]
fn targets_that_did_other_work_are_not_compared_as_equals() {
    let view = with_slots(4);
    let pairs = pairs(requests(&view), OLLAMA);
    let equal = work::finding(&pairs).expect("two targets");
    assert!(equal.claim.starts_with("Yes:"), "{equal:?}");
    let faults: [fixture::requests::Fault; 3] = [
        // A context that was cut, answers that are shorter, a template around the prompt.
        |_, _, t| t.n_prompt = Some(4),
        |_, _, t| t.n_generated = Some(5),
        |_, _, t| t.n_prompt = t.n_prompt.map(|n| n + 20),
    ];
    for (i, fault) in faults.into_iter().enumerate() {
        let view = both_with(4, fault);
        let found = findings(requests(&view));
        let equal = found
            .iter()
            .find(|f| f.question == "Did both do equal work?");
        let equal = equal.expect("asked");
        assert!(equal.claim.starts_with("No:"), "{i}: {equal:?}");
        assert!(!equal.evidence.is_empty());
        let head = &found[0];
        assert_eq!(head.sure, Sure::Undetermined);
        assert!(
            head.claim.ends_with("this does not compare the engines."),
            "{head:?}"
        );
    }
}
