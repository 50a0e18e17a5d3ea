//! Real llama.cpp: what it computes is right in every batch, on a tiny random model and on a real one.
#![allow(clippy::print_stdout)] // for whoever runs the tests

mod support;

use std::path::Path;

use ggufbench::engine::clock::MonotonicClock;
use ggufbench::engine::llama::{EngineLog, Llama, LlamaEngine};
use ggufbench::engine::{Engine, Token, argmax};
use ggufbench::measure::{Buffers, CaseRun, Phase, Workload};
use ggufbench::plan::Case;
use ggufbench::plan::expand::{Axes, Host, cases};

/// How far apart the logits of two candidates may be, as a share of the row's spread, for a batch to
/// choose the other one: the engine's kernels for one column and for several add in another order.
/// Measured on this test's models: at most 0.0002.
const KERNEL_ROUNDING: f32 = 0.002;

fn case(n_seq: u32, n_prompt: u32, n_gen: u32) -> Case {
    let axes = Axes {
        n_seq: Some(vec![n_seq]),
        n_prompt: Some(vec![n_prompt]),
        n_gen: Some(vec![n_gen]),
        n_ctx: Some(vec![256]),
        ..Axes::default()
    };
    let host = Host {
        n_threads: 2,
        n_gpu_layers: 0,
    };
    cases(&axes, &["m".into()], &[], host).expect("valid")[0].clone()
}

/// The plainest loop there is: one sequence, its prompt in one call, then one token a call, and the logits
/// that each next token was chosen from.
fn plain_loop(
    engine: &LlamaEngine<'_>,
    case: &Case,
    prompt: &[Token],
) -> (Vec<Token>, Vec<Vec<f32>>) {
    let mut session = engine.open(case).expect("a context");
    let mut tokens = Vec::new();
    let mut logits = Vec::new();
    let mut input = prompt.to_vec();
    let mut n_past = 0;
    for _ in 0..=case.n_gen {
        session.begin();
        for (pos, token) in (n_past..).zip(&input) {
            let is_last = pos as usize + 1 == n_past as usize + input.len();
            session.push(*token, pos, 0, is_last).expect("room");
        }
        session.submit().expect("decodes");
        session.wait();
        let row = session.logits(input.len() as i32 - 1).to_vec();
        let best = argmax(&row).expect("finite") as Token;
        n_past += input.len() as u32;
        input = vec![best];
        tokens.push(best);
        logits.push(row);
    }
    (tokens, logits)
}

/// Greedy tokens of every sequence of a batched repetition, as the measurement makes them.
fn batched(engine: &LlamaEngine<'_>, case: &Case, workload: &Workload) -> Vec<Vec<Token>> {
    let mut session = engine.open(case).expect("a context");
    let clock = MonotonicClock::start();
    let mut buffers = Buffers::for_case(case);
    let mut run = CaseRun::new(case, workload, session.as_mut(), &clock);
    let mut first = None;
    // Twice: the second starts from a used cache.
    for _ in 0..2 {
        run.repetition(case.n_gen, &mut buffers).expect("decodes");
        let again = first.get_or_insert_with(|| buffers.generated.clone());
        assert_eq!(*again, buffers.generated, "a repetition repeats");
    }
    let decodes = buffers.calls.iter().filter(|c| c.phase == Phase::Decode);
    assert_eq!(decodes.count(), case.n_gen as usize);
    let n_seq = case.n_seq as usize;
    (0..n_seq)
        .map(|seq| {
            buffers
                .generated
                .iter()
                .skip(seq)
                .step_by(n_seq)
                .copied()
                .collect()
        })
        .collect()
}

/// Where batched and plain tokens part, the two candidates must have been within the kernels' rounding
/// of each other; nothing after that can be compared. Returns the sequences that agree to the end.
fn agreeing(
    engine: &LlamaEngine<'_>,
    one: &Case,
    workload: &Workload,
    batched: &[Vec<Token>],
) -> usize {
    let mut whole = 0;
    for (seq, tokens) in batched.iter().enumerate() {
        let (plain, logits) = plain_loop(engine, one, &workload.prompts()[seq]);
        assert_eq!(plain.len(), tokens.len());
        let Some(at) = plain.iter().zip(tokens).position(|(a, b)| a != b) else {
            whole += 1;
            continue;
        };
        let row = &logits[at];
        let spread = row.iter().fold(f32::MIN, |m, &v| m.max(v))
            - row.iter().fold(f32::MAX, |m, &v| m.min(v));
        let gap = row[plain[at] as usize] - row[tokens[at] as usize];
        println!("sequence {seq} parts at {at}: logits {gap} apart, spread {spread}");
        assert!(
            gap / spread < KERNEL_ROUNDING,
            "sequence {seq} parts at {at}: logits {gap} apart, spread {spread}"
        );
    }
    whole
}

/// With `unified` also in a cache that all sequences share, where attention adds in another order. Weights of 8 bits have
/// activations of 8 bits, in which a last bit becomes a step: there that order is seen in the tokens.
fn check(engine: &LlamaEngine<'_>, n_prompt: u32, n_gen: u32, unified: bool) {
    let one = case(1, n_prompt, n_gen);
    let layouts = [(1, false), (32, false), (32, true)];
    for (n_seq, kv_unified) in layouts.into_iter().filter(|(_, shared)| unified || !shared) {
        let many = Case {
            kv_unified,
            ..case(n_seq, n_prompt, n_gen)
        };
        let workload = Workload::draw(&many, engine.prompt_tokens(), 42);
        let tokens = batched(engine, &many, &workload);
        let whole = agreeing(engine, &one, &workload, &tokens);
        println!(
            "batch {n_seq}, unified {kv_unified}: {whole} of {n_seq} sequences agree to the last token"
        );
        // One sequence makes the very same calls. In a batch the kernels add in another order, and over
        // n_gen tokens some sequences meet two candidates within that rounding.
        let least = if n_seq == 1 { 1 } else { n_seq as usize / 2 };
        assert!(whole >= least, "only {whole} of {n_seq} agree");
    }
}

/// One test, since the engine initialises once a process.
#[test]
fn every_sequence_of_a_batch_generates_what_it_generates_alone() {
    let llama = Llama::init(EngineLog::Errors).expect("the engine");
    let facts = llama.facts();
    assert_eq!(facts.name, "llama.cpp");
    assert!(facts.system_info.contains("CPU"), "{}", facts.system_info);
    assert!(
        facts.devices.iter().any(|d| d.kind == "cpu"),
        "{:?}",
        facts.devices
    );

    let key = case(1, 1, 1).load_key();
    let tiny = llama.load(support::tiny_model(), &key).expect("loads");
    let text = "Zwölf Boxkämpfer, 12 €\n";
    let tokens = tiny.tokenize(text, false, false);
    let bytes: Vec<u8> = tokens.iter().flat_map(|t| tiny.piece(*t)).collect();
    assert_eq!(String::from_utf8_lossy(&bytes).trim_start(), text);
    check(&tiny, 7, 12, true);
    drop(tiny);

    for (name, unified) in [("smollm2-135m-q8_0", false), ("smollm2-135m-f16", true)] {
        let Some(path) = support::smollm2(name) else {
            continue;
        };
        let engine = llama.load(&path, &key).expect("loads");
        let n_plain = engine.prompt_tokens().len();
        assert!(
            (48_000..49_152).contains(&n_plain),
            "no control tokens: {n_plain}"
        );
        check(&engine, 8, 16, unified);
    }

    let missing = llama.load(Path::new("no-such.gguf"), &key);
    assert!(missing.is_err());
}
