//! Servers as targets, against fakes on real sockets that behave well and badly: what arrives, how it ends, and what
//! was sent. Instants are checked for their order, never for their length.

mod fake;
mod hostile;
mod load;
mod ollama;
mod openai;
mod trouble;

use std::time::Duration;

use ggufbench::plan::Case;
use ggufbench::request::http::Patience;
use ggufbench::request::prompts::Prompt;
use ggufbench::request::{
    Endpoint, Experiment, Forced, Job, Load, Sampling, Served, StopAt, Target, Timeline,
};

/// Long enough for any machine: what must not stall does not.
const PATIENT: Patience = Patience {
    connect: Duration::from_secs(20),
    stall: Duration::from_secs(20),
    total: None,
};

/// For servers that fall silent: far above what a busy machine makes a fake wait.
const IMPATIENT: Patience = Patience {
    connect: Duration::from_secs(20),
    stall: Duration::from_secs(1),
    total: None,
};

fn prompt(text: &str) -> Prompt {
    Prompt {
        id: text.to_owned(),
        class: "short".into(),
        difficulty: None,
        pair: None,
        text: text.to_owned(),
        answer: None,
        source: "a test".into(),
        n_tokens: None,
    }
}

/// `n_requests` after each other, with the prompts "one" and "two".
fn job(n_requests: u32) -> Job {
    Job {
        tag: None,
        said_at: Vec::new(),
        temperatures: Vec::new(),
        slowed: Vec::new(),
        in_turns: 0,
        compared: None,
        forced: Forced {
            n_threads: true,
            n_ctx: true,
        },
        name: "test".into(),
        experiment: Experiment::Classes,
        prompts: vec![prompt("one"), prompt("two")],
        n_requests,
        load: Load::Closed { concurrency: 1 },
        most_ns: None,
        case: Case {
            n_prompt: 32,
            n_gen: 3,
            n_threads: 4,
            ..Case::usual("m")
        },
        sampling: Sampling {
            temperature: 0.7,
            ..Sampling::default()
        },
        stop_at: StopAt::EndOfText,
        endpoint: Endpoint::Completion,
        openai_strict: false,
        seed: 1,
    }
}

fn serve(target: &mut dyn Target, job: &Job) -> Served {
    target.serve(job, &|| false).expect("a job that is served")
}

/// The only timeline, with what holds for every one checked.
fn only(served: &Served) -> &Timeline {
    assert_eq!(served.timelines.len(), 1, "{served:?}");
    check(served);
    &served.timelines[0]
}

/// What holds for whatever was served by a server.
fn check(served: &Served) {
    assert!(served.calls.is_empty());
    for (i, timeline) in served.timelines.iter().enumerate() {
        assert_eq!(timeline.number as usize, i);
        assert!(timeline.due_ns <= timeline.sent_ns, "{timeline:?}");
        let mut last_ns = timeline.sent_ns;
        for arrival in &timeline.arrivals {
            assert!(arrival.at_ns >= last_ns, "{timeline:?}");
            last_ns = arrival.at_ns;
        }
        assert!(timeline.ended_ns >= last_ns, "{timeline:?}");
        assert!(timeline.ended_ns <= served.elapsed_ns);
        assert_eq!(timeline.admitted_ns, None);
        assert_eq!(timeline.sample_ns, None);
    }
}
