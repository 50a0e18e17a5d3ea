//! Whole requests in the program's own process: the worker that serves them, and what a real model answers.
#![allow(clippy::print_stdout)] // for whoever runs the tests

mod support;

use std::cell::Cell;
use std::path::PathBuf;
use std::time::Duration;

use ggufbench::engine::clock::MonotonicClock;
use ggufbench::engine::llama::{EngineLog, Llama, LlamaEngine};
use ggufbench::engine::synthetic::SyntheticCost;
use ggufbench::engine::{Engine, EngineError, Token, argmax};
use ggufbench::measure::Phase;
use ggufbench::model::ModelFacts;
use ggufbench::plan::expand::{Axes, Host, cases};
use ggufbench::request::arrivals::Arrivals;
use ggufbench::request::fit::{FitError, FitOne, fit};
use ggufbench::request::in_process::{serve, tokenize};
use ggufbench::request::prompts::{Prompt, PromptSet, parts};
use ggufbench::request::{
    Ending, Endpoint, Experiment, Job, Load, Sampling, Served, StopAt, Target, TargetError,
    TargetKind,
};
use ggufbench::run::protocol::EngineChoice;
use ggufbench::run::requests::in_process::InProcess;
use ggufbench::run::supervisor::WorkerCommand;

const QUESTIONS: [&str; 5] = [
    "What is the capital of France?",
    "Write a short poem about the sea, the wind and an old lighthouse keeper who counts the ships.",
    "2 + 2 =",
    "Name three things that one can do with a lemon besides eating it, and say for each why it works.",
    "Once upon a time",
];

fn job(texts: &[&str], n_seq: u32, n_gen: u32) -> Job {
    let axes = Axes {
        n_seq: Some(vec![n_seq]),
        n_prompt: Some(vec![64]),
        n_gen: Some(vec![n_gen]),
        n_ctx: Some(vec![256]),
        ..Axes::default()
    };
    let host = Host {
        n_threads: 2,
        n_gpu_layers: 0,
    };
    let case = cases(&axes, &["m".into()], &[], host).expect("valid")[0].clone();
    let prompts = texts.iter().enumerate().map(|(i, text)| Prompt {
        id: i.to_string(),
        class: "test".to_owned(),
        difficulty: None,
        pair: None,
        text: (*text).to_owned(),
        answer: None,
        source: "this test".to_owned(),
        n_tokens: None,
    });
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
        prompts: prompts.collect(),
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

/// Tokens in calls are the tokens of prompts, and those of answers that were fed back.
fn assert_accounted(served: &Served) {
    let in_calls: u64 = served.calls.iter().map(|c| u64::from(c.n_tokens)).sum();
    let in_requests: u64 = served
        .timelines
        .iter()
        .map(|t| {
            assert!(t.ending.is_whole(), "{}", t.ending);
            let (prompt, generated) = (t.n_prompt.expect("known"), t.n_generated.expect("known"));
            assert_eq!(t.arrivals.len(), generated as usize);
            u64::from(prompt + generated - u32::from(t.ending == Ending::Length))
        })
        .sum();
    assert_eq!(in_calls, in_requests);
}

// The worker and its supervisor, with the synthetic engine.

fn command(engine: EngineChoice) -> WorkerCommand {
    WorkerCommand {
        program: PathBuf::from(env!("CARGO_BIN_EXE_ggufbench")),
        engine,
    }
}

fn synthetic(cost: SyntheticCost) -> InProcess {
    let facts = ModelFacts::read(support::tiny_model()).expect("a model");
    let load = job(&["a"], 1, 1).case.load_key();
    InProcess::start(&command(EngineChoice::Synthetic(cost)), &facts, &load, None).expect("starts")
}

#[test]
fn a_worker_fits_serves_and_describes_itself() {
    let mut target = synthetic(SyntheticCost {
        end_at: Some(12),
        ..SyntheticCost::default()
    });
    let facts = target.facts().expect("known");
    assert_eq!(facts.kind, TargetKind::InProcess);
    assert_eq!((facts.name.as_str(), facts.n_ctx), ("in-process", None));
    assert_eq!(facts.model.as_deref(), Some("tiny"));

    let texts = ["one two three", "four five"];
    let wanted = texts.map(|text| FitOne {
        text: text.to_owned(),
        n_tokens: Some(7),
        template: true,
    });
    let fitted = target.fit(wanted.to_vec(), &|| false).expect("fits");
    assert!(
        fitted
            .iter()
            .all(|f| f.n_tokens == 7 && f.text.ends_with(" answer:")),
        "{fitted:?}"
    );
    let refused = target.fit(
        vec![FitOne {
            text: String::new(),
            n_tokens: Some(7),
            template: false,
        }],
        &|| false,
    );
    let Err(TargetError::Unfit { reason, .. }) = refused else {
        panic!("{refused:?}");
    };
    assert!(
        reason.contains("text 1 of 1") && reason.contains("no word"),
        "{reason}"
    );

    let texts: Vec<&str> = fitted.iter().map(|f| f.text.as_str()).collect();
    let mut job = job(&texts, 2, 9);
    job.n_requests = 6;
    let served = target.serve(&job, &|| false).expect("serves");
    assert_accounted(&served);
    assert_eq!(served.timelines.len(), 6);
    assert!(
        served
            .timelines
            .iter()
            .all(|t| t.n_prompt == Some(7) && t.ending == Ending::Stop)
    );
    let usage = target.take_usage().expect("watched");
    assert!(usage.wall_ns > 0);
    assert!(
        target
            .take_sampled()
            .is_some_and(|s| s.wall_ns >= usage.wall_ns)
    );
    assert!(target.take_usage().is_none(), "it is that of one job");
    let facts = target.facts().expect("known");
    assert_eq!((facts.n_ctx, facts.n_parallel), (Some(256), Some(2)));
    assert_eq!(target.prepared().map(|p| p.n_ctx_seq), Some(256));

    let again = target.serve(&job, &|| false).expect("serves");
    assert_eq!(again, served, "a job leaves nothing behind");
}

#[test]
fn stop_reaches_the_worker_and_it_lives_on() {
    let mut target = synthetic(SyntheticCost::default());
    let mut endless = job(&["a b c"], 2, 64);
    endless.n_requests = u32::MAX;
    // Only once the job is being served: the answer to the question before it.
    let asked = Cell::new(0);
    let stop = || {
        asked.set(asked.get() + 1);
        asked.get() > 3
    };
    let served = target.serve(&endless, &stop).expect("ends");
    let (whole, cut): (Vec<_>, Vec<_>) = served.timelines.iter().partition(|t| t.ending.is_whole());
    assert!(cut.iter().all(|t| t.ending == Ending::Interrupted) && cut.len() <= 2);
    println!("{} requests before the stop", whole.len());

    let served = target.serve(&job(&["a"], 1, 2), &|| false).expect("serves");
    assert_accounted(&served);
    assert_eq!(
        target.serve(&endless, &|| true),
        Err(TargetError::Interrupted),
        "stopped before it began"
    );
    assert!(target.serve(&job(&["a"], 1, 2), &|| false).is_ok());
}

#[test]
fn a_job_whose_model_changes_is_not_served_and_the_file_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("mine.gguf");
    std::fs::copy(support::tiny_model(), &path).expect("a copy");
    let facts = ModelFacts::read(&path).expect("a model");
    let job = job(&["a"], 1, 2);
    let engine = command(EngineChoice::Synthetic(SyntheticCost::default()));
    let start = || InProcess::start(&engine, &facts, &job.case.load_key(), None);
    let mut target = start().expect("starts");
    assert!(target.serve(&job, &|| false).is_ok());
    let longer = [std::fs::read(&path).expect("readable"), vec![0]].concat();
    std::fs::write(&path, longer).expect("writable");
    for _ in 0..2 {
        let refused = target.serve(&job, &|| false).expect_err("another file");
        assert!(
            matches!(&refused, TargetError::Worker(why) if why.contains("mine.gguf")),
            "{refused}"
        );
    }
    assert!(start().is_err_and(|e| e.to_string().contains("mine.gguf")));
}

#[test]
fn a_worker_that_dies_or_hangs_is_replaced() {
    // The first call is the warm-up's.
    let mut target = synthetic(SyntheticCost {
        abort_at_call: Some(10),
        ..SyntheticCost::default()
    });
    let long = job(&["a"], 1, 20);
    let died = target.serve(&long, &|| false).expect_err("it aborts");
    assert!(
        matches!(&died, TargetError::Worker(why) if why.contains("died")),
        "{died}"
    );
    assert!(
        target
            .take_log()
            .iter()
            .any(|l| l.contains("aborting at call 10"))
    );
    let short = job(&["a"], 1, 2);
    assert_accounted(&target.serve(&short, &|| false).expect("a new worker"));

    let mut target = synthetic(SyntheticCost {
        hang_at_call: Some(10),
        ..SyntheticCost::default()
    })
    .with_silence(Duration::from_secs(1));
    let hung = target.serve(&long, &|| false).expect_err("it hangs");
    assert!(
        matches!(&hung, TargetError::Worker(why) if why.contains("did not answer")),
        "{hung}"
    );
    let mut target = target.with_silence(Duration::from_secs(60));
    assert!(target.serve(&short, &|| false).is_ok());
}

#[test]
fn ten_thousand_requests_leave_nothing_in_the_worker() {
    let mut target = synthetic(SyntheticCost {
        end_at: Some(7),
        ..SyntheticCost::default()
    });
    let mut job = job(&["a", "b c", "d e f"], 32, 8);
    job.n_requests = 1000;
    let mut rss = Vec::new();
    for _ in 0..10 {
        assert_accounted(&target.serve(&job, &|| false).expect("serves"));
        rss.extend(target.take_usage().and_then(|u| u.rss_bytes));
    }
    println!("resident bytes after each thousand: {rss:?}");
    if let (Some(half), Some(last)) = (rss.get(4), rss.last()) {
        // So small a process is mostly its allocator, which settles in the first half.
        assert!(last.saturating_sub(*half) * 100 <= *half, "{rss:?}");
    }
}

// A real model.

fn answer(engine: &LlamaEngine<'_>, job: &Job) -> Served {
    let clock = MonotonicClock::start();
    let mut session = engine.open(&job.case).expect("a context");
    let prompts = tokenize(engine, job);
    let served = serve(engine, session.as_mut(), &clock, job, &prompts, &|| false);
    assert_accounted(&served);
    served
}

fn texts(served: &Served) -> Vec<&str> {
    served.timelines.iter().map(|t| t.text.as_str()).collect()
}

/// The plainest loop there is: the prompt in one call, then one token a call, the most likely each time.
fn plain_loop(engine: &LlamaEngine<'_>, job: &Job, text: &str) -> Vec<Token> {
    let mut session = engine.open(&job.case).expect("a context");
    let mut input = engine.tokenize(text, true, true);
    let (mut tokens, mut n_past) = (Vec::new(), 0);
    while tokens.len() < job.case.n_gen as usize {
        session.begin();
        for (pos, token) in (n_past..).zip(&input) {
            let is_last = (pos - n_past) as usize + 1 == input.len();
            session.push(*token, pos, 0, is_last).expect("room");
        }
        session.submit().expect("decodes");
        session.wait();
        let best = argmax(session.logits(input.len() as i32 - 1)).expect("finite") as Token;
        if engine.ends_text(best) {
            break;
        }
        n_past += input.len() as u32;
        input = vec![best];
        tokens.push(best);
    }
    tokens
}

fn check_greedy(engine: &LlamaEngine<'_>) {
    let one = job(&QUESTIONS, 1, 24);
    let served = answer(engine, &one);
    for (t, question) in served.timelines.iter().zip(QUESTIONS) {
        let plain = plain_loop(engine, &one, question);
        let bytes: Vec<u8> = plain.iter().flat_map(|t| engine.piece(*t)).collect();
        assert_eq!(t.text, String::from_utf8_lossy(&bytes), "{question}");
        assert_eq!(t.n_generated, Some(plain.len() as u32));
        assert_eq!(t.ttft_ns().is_some_and(|ns| ns > 0), !plain.is_empty());
        assert!(t.sample_ns.is_some_and(|ns| ns > 0 && ns < t.latency_ns()));
    }

    // In a batch the kernels add in another order; answers may part where two tokens are that close.
    let mut many = job(&QUESTIONS, 3, 24);
    many.n_requests = 10;
    let batched = answer(engine, &many);
    let alike = (0..10)
        .filter(|&i| batched.timelines[i].text == served.timelines[i % 5].text)
        .count();
    println!("{alike} of 10 answers in a batch are those given alone");
    assert!(alike >= 5, "{:?}", texts(&batched));
    assert!(batched.calls.iter().any(|c| c.phase == Phase::Mixed));
}

fn check_sampling(engine: &LlamaEngine<'_>) {
    let mut job = job(&QUESTIONS, 1, 8);
    let greedy = answer(engine, &job);
    job.sampling = Sampling {
        temperature: 1.5,
        top_k: 0,
        top_p: 1.0,
        ..Sampling::default()
    };
    let hot = answer(engine, &job);
    assert_ne!(texts(&hot), texts(&greedy));
    assert_eq!(texts(&answer(engine, &job)), texts(&hot), "the same seed");
    job.sampling.seed = 7;
    let other = answer(engine, &job);
    assert_ne!(texts(&other), texts(&hot));
    // The one seed that llama.cpp would replace by a random one.
    job.sampling.seed = u32::MAX;
    assert_eq!(texts(&answer(engine, &job)), texts(&answer(engine, &job)));
    // A chain that leaves one candidate is greedy, whatever the temperature.
    job.sampling.top_k = 1;
    assert_eq!(texts(&answer(engine, &job)), texts(&greedy));
    job.sampling = Sampling {
        temperature: 0.01,
        top_k: 40,
        top_p: 0.9,
        min_p: 0.999,
        ..Sampling::default()
    };
    assert_eq!(texts(&answer(engine, &job)), texts(&greedy));
}

fn check_ends(engine: &LlamaEngine<'_>) {
    let said = engine
        .apply_template("Say only: yes")
        .expect("it has a template");
    assert_eq!(
        said,
        "<|im_start|>user\nSay only: yes<|im_end|>\n<|im_start|>assistant\n"
    );
    let tokens = engine.tokenize(&said, true, true);
    let letters = engine.tokenize(&said, true, false);
    assert!(
        tokens.len() < letters.len(),
        "special tokens are one token each"
    );
    let n_ends = tokens.iter().filter(|t| engine.ends_text(**t)).count();
    assert_eq!(n_ends, 1, "<|im_end|> would end an answer");
    assert!(
        engine.piece(tokens[0]).is_empty(),
        "control tokens are no text"
    );

    // CPUs round differently, and this small model then repeats itself for ever on one question or the other.
    let questions = [
        "Say only: yes",
        "What is the capital of France?",
        "Hello!",
        "What is 2 + 2?",
        "Who are you?",
        "Name a colour.",
        "Translate 'dog' into French.",
        "Translate 'cat' into Spanish.",
        "Thanks!",
        "Goodbye.",
        "What colour is the sky?",
    ];
    let ended = questions.iter().find_map(|question| {
        let said = engine.apply_template(question).expect("a template");
        let job = job(&[&said], 1, 100);
        let served = answer(engine, &job);
        let natural = served.timelines[0].clone();
        println!("natural: {:?} {:?}", natural.text, natural.n_generated);
        (natural.ending == Ending::Stop).then_some((said, job, natural))
    });
    let (said, mut job, natural) = ended.expect("the model ends one of its answers itself");
    assert!(natural.n_generated.is_some_and(|n| n < 100));
    let plain = plain_loop(engine, &job, &said);
    let bytes: Vec<u8> = plain.iter().flat_map(|t| engine.piece(*t)).collect();
    assert_eq!(natural.text, String::from_utf8_lossy(&bytes));
    job.stop_at = StopAt::Length;
    for (temperature, n_gen) in [(0.0, 100), (1.0, 64)] {
        job.sampling.temperature = temperature;
        job.case.n_gen = n_gen;
        let served = answer(engine, &job);
        let forced = &served.timelines[0];
        assert_eq!(
            (forced.n_generated, &forced.ending),
            (Some(n_gen), &Ending::Length)
        );
        if temperature == 0.0 {
            assert!(forced.text.starts_with(&natural.text));
        }
    }
}

fn check_fit(engine: &LlamaEngine<'_>) {
    let text = "Bread rises because yeast eats sugar; it breathes out CO\u{2082} (naïve, isn't it?). Explain!";
    for template in [false, true] {
        for n in (12..80).chain([127, 128, 255, 256, 511, 700, 1000]) {
            let one = FitOne {
                text: text.to_owned(),
                n_tokens: Some(n),
                template,
            };
            let fitted = fit(engine, &one).unwrap_or_else(|e| panic!("{n}: {e}"));
            assert_eq!(fitted.n_tokens, n);
            assert_eq!(engine.tokenize(&fitted.text, true, true).len(), n as usize);
            assert_eq!(fitted.text.contains("<|im_start|>assistant"), template);
        }
    }
    // Both halves of every pair that comes with the program, made equally long around their questions.
    for prompt in PromptSet::bundled("difficulty").expect("reads").all() {
        for n in [160, 401] {
            let one = FitOne {
                text: prompt.text.clone(),
                n_tokens: Some(n),
                template: true,
            };
            let fitted = fit(engine, &one).unwrap_or_else(|e| panic!("{} {n}: {e}", prompt.id));
            assert_eq!(fitted.n_tokens, n, "{}", prompt.id);
            assert!(fitted.text.contains(parts(&prompt.text).1), "{}", prompt.id);
        }
    }
    let too_few = FitOne {
        text: text.to_owned(),
        n_tokens: Some(2),
        template: true,
    };
    assert!(matches!(
        fit(engine, &too_few),
        Err(FitError::TooFew { .. })
    ));
}

/// One test, since the engine initialises once a process.
#[test]
fn a_real_model_answers() {
    let llama = Llama::init(EngineLog::Errors).expect("the engine");
    let key = job(&["a"], 1, 1).case.load_key();
    let tiny = llama.load(support::tiny_model(), &key).expect("loads");
    let refused = tiny.apply_template("hello");
    assert!(
        matches!(&refused, Err(EngineError::Template(why)) if why.contains("has none")),
        "{refused:?}"
    );
    let mut forced = job(&["one", "two words", "and three words"], 2, 5);
    forced.stop_at = StopAt::Length;
    forced.n_requests = 7;
    answer(&tiny, &forced);
    forced.load = Load::Open {
        rate_per_s: 200.0,
        most: 2,
    };
    let open = answer(&tiny, &forced);
    let due: Vec<u64> = open.timelines.iter().map(|t| t.due_ns).collect();
    let came: Vec<u64> = Arrivals::new(200.0, forced.seed).take(7).collect();
    assert_eq!(due, came);
    assert!(
        open.timelines
            .iter()
            .all(|t| t.admitted_ns >= Some(t.due_ns))
    );
    drop(tiny);

    let Some(path) = support::smollm2("smollm2-135m-q4_0") else {
        return;
    };
    let engine = llama.load(&path, &key).expect("loads");
    check_greedy(&engine);
    check_sampling(&engine);
    check_ends(&engine);
    check_fit(&engine);
}

/// `cargo test --release --test in_process ten_thousand_real -- --ignored --nocapture` prints the worker's memory, and how long
/// tokenising takes.
#[test]
#[ignore = "takes minutes: a figure, not a check"]
fn ten_thousand_real_requests() {
    let path = support::smollm2("smollm2-135m-q4_0").expect("the model");
    let facts = ModelFacts::read(&path).expect("a model");
    let mut job = job(&["a", "b c", "d e f"], 32, 4);
    let load = job.case.load_key();
    let mut target =
        InProcess::start(&command(EngineChoice::default()), &facts, &load, None).expect("starts");
    for n_requests in [1000, 10_000, 1000] {
        job.n_requests = n_requests;
        let served = target.serve(&job, &|| false).expect("serves");
        assert_accounted(&served);
        let usage = target.take_usage().expect("watched");
        println!(
            "{n_requests} requests in {} ns: resident {:?}, prepared {:?}",
            served.elapsed_ns,
            usage.rss_bytes,
            target.prepared()
        );
    }
    let one = FitOne {
        text: QUESTIONS.join(" "),
        n_tokens: Some(1000),
        template: false,
    };
    let fitted = target.fit(vec![one], &|| false).expect("fits");
    job.prompts = vec![job.prompts[0].clone(); 100];
    for prompt in &mut job.prompts {
        prompt.text.clone_from(&fitted[0].text);
    }
    let stopped = target.serve(&job, &|| true);
    assert_eq!(stopped, Err(TargetError::Interrupted));
    println!(
        "tokenising 100 prompts of 1000 tokens: {:?}",
        target.prepared()
    );
}
