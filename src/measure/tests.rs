use super::*;
use crate::engine::Engine;
use crate::engine::clock::FakeClock;
use crate::engine::synthetic::{SyntheticCost, SyntheticEngine};
use crate::plan::expand::{Axes, Host, cases};

fn case(edit: impl FnOnce(&mut Axes)) -> Case {
    let mut axes = Axes {
        n_prompt: Some(vec![5]),
        n_gen: Some(vec![4]),
        n_seq: Some(vec![3]),
        ..Axes::default()
    };
    edit(&mut axes);
    let host = Host {
        n_threads: 1,
        n_gpu_layers: 0,
    };
    cases(&axes, &["m".into()], &[], host).expect("valid")[0].clone()
}

fn cost() -> SyntheticCost {
    SyntheticCost {
        call_ns: 1000.0,
        token_ns: 10.0,
        past_ns: 1.0,
        sample_ns: 7.0,
        ..SyntheticCost::default()
    }
}

fn repeat(case: &Case, times: usize) -> Vec<Buffers> {
    let clock = FakeClock::default();
    let engine = SyntheticEngine::new(cost(), clock.clone(), 0);
    let workload = Workload::draw(case, engine.prompt_tokens(), 42);
    let mut session = engine.open(case).expect("opens");
    let mut run = CaseRun::new(case, &workload, session.as_mut(), &clock);
    let mut buffers = Buffers::for_case(case);
    (0..times)
        .map(|_| {
            let room = buffers.calls.capacity();
            run.repetition(case.n_gen, &mut buffers).expect("runs");
            assert_eq!(buffers.calls.capacity(), room, "no allocation while timing");
            buffers.clone()
        })
        .collect()
}

#[test]
fn a_repetition_in_turns_has_the_same_calls_whatever_passes_between_them() {
    let case = case(|_| {});
    let whole = &repeat(&case, 1)[0];
    let clock = FakeClock::default();
    let engine = SyntheticEngine::new(cost(), clock.clone(), 0);
    let workload = Workload::draw(&case, engine.prompt_tokens(), 42);
    let mut session = engine.open(&case).expect("opens");
    let mut run = CaseRun::new(&case, &workload, session.as_mut(), &clock);
    let mut buffers = Buffers::for_case(&case);
    run.prompts(&mut buffers).expect("runs");
    for steps in [0..1, 1..4] {
        clock.advance_ns(1_000_000);
        run.steps(steps, &mut buffers).expect("runs");
    }
    assert_eq!(buffers.calls, whole.calls);
    assert_eq!(buffers.generated, whole.generated);
}

#[test]
fn a_repetition_has_the_calls_and_times_the_cost_model_gives() {
    let case = case(|_| {});
    let calls = &repeat(&case, 1)[0].calls;
    // Prefill: 15 tokens in one call; positions 0..5 of three sequences sum to 30.
    assert_eq!(
        calls[0],
        Call {
            phase: Phase::Prefill,
            n_tokens: 15,
            n_seq: 3,
            n_past: 0,
            build_ns: 0,
            submit_ns: 1000 + 150 + 30,
            wait_ns: 0,
            sample_ns: 21,
        }
    );
    assert_eq!(calls.len(), 1 + 4);
    for (step, call) in (0..).zip(&calls[1..]) {
        let n_past = 5 + step;
        assert_eq!(
            *call,
            Call {
                phase: Phase::Decode,
                n_tokens: 3,
                n_seq: 3,
                n_past,
                build_ns: 0,
                submit_ns: 1000 + 30 + 3 * u64::from(n_past),
                wait_ns: 0,
                sample_ns: 21,
            }
        );
        assert_eq!(call.step_ns(), call.engine_ns() + 21);
    }
}

#[test]
fn prefill_is_cut_into_logical_batches_and_every_sequence_sampled_once() {
    let case = case(|a| {
        a.n_batch = Some(vec![4]);
        a.n_ubatch = Some(vec![4]);
    });
    let b = &repeat(&case, 1)[0];
    let prefill: Vec<_> = b
        .calls
        .iter()
        .filter(|c| c.phase == Phase::Prefill)
        .map(|c| (c.n_tokens, c.n_seq, c.n_past, c.sample_ns))
        .collect();
    // Tokens 0-3 | 4-7 | 8-11 | 12-14 of sequences of five.
    assert_eq!(
        prefill,
        [(4, 1, 0, 0), (4, 2, 4, 7), (4, 2, 3, 7), (3, 1, 2, 7)]
    );
    assert_eq!(
        b.generated.len(),
        3 * 5,
        "a token a sequence from prefill and each step"
    );
}

#[test]
fn generation_does_not_depend_on_the_batch_it_runs_in() {
    let of = |n_seq| {
        let case = case(|a| a.n_seq = Some(vec![n_seq]));
        repeat(&case, 1)[0].generated.clone()
    };
    let (one, three) = (of(1), of(3));
    let first_of_three: Vec<_> = three.iter().step_by(3).copied().collect();
    assert_eq!(one, first_of_three);
}

#[test]
fn every_repetition_computes_the_same() {
    for depth in [0, 9] {
        let case = case(|a| a.n_depth = Some(vec![depth]));
        let r = repeat(&case, 3);
        assert_eq!(r[0].calls, r[1].calls);
        assert_eq!(r[0].generated, r[2].generated);
        assert_eq!(r[0].calls[0].n_past, depth);
        assert_eq!(r[0].calls[1].n_past, depth + 5);
    }
}

#[test]
fn without_sampling_nothing_is_chosen_and_waits_are_one() {
    let case = case(|a| a.sample = Some(vec![false]));
    let b = &repeat(&case, 1)[0];
    assert!(b.generated.is_empty());
    assert!(b.calls.iter().all(|c| c.sample_ns == 0));
}

#[test]
fn without_a_prompt_decoding_starts_from_drawn_tokens() {
    let case = case(|a| a.n_prompt = Some(vec![0]));
    let b = &repeat(&case, 1)[0];
    assert_eq!(b.calls.len(), 4);
    assert!(b.calls.iter().all(|c| c.phase == Phase::Decode));
    assert_eq!(b.calls[0].n_past, 0);
}

#[test]
fn no_two_sequences_share_a_prompt() {
    let case = case(|a| {
        a.n_seq = Some(vec![128]);
        a.n_prompt = Some(vec![2]);
    });
    let w = Workload::draw(&case, &(0..20).collect::<Vec<_>>(), 1);
    for (i, a) in w.prompts().iter().enumerate() {
        assert!(!w.prompts()[..i].contains(a), "sequence {i} repeats {a:?}");
    }
    assert_eq!(w, Workload::draw(&case, &(0..20).collect::<Vec<_>>(), 1));
    assert_ne!(w, Workload::draw(&case, &(0..20).collect::<Vec<_>>(), 2));
}

#[test]
fn an_engine_error_ends_the_repetition() {
    let case = case(|_| {});
    let clock = FakeClock::default();
    let broken = SyntheticCost {
        fail_at_call: Some(3),
        ..cost()
    };
    let engine = SyntheticEngine::new(broken, clock.clone(), 0);
    let workload = Workload::draw(&case, engine.prompt_tokens(), 42);
    let mut session = engine.open(&case).expect("opens");
    let mut buffers = Buffers::for_case(&case);
    let e = CaseRun::new(&case, &workload, session.as_mut(), &clock)
        .repetition(4, &mut buffers)
        .expect_err("fails at the third call");
    assert!(e.to_string().contains("call 3"), "{e}");
    assert_eq!(buffers.calls.len(), 2);
}
