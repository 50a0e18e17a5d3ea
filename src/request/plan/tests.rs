use super::*;
use crate::plan::expand::{Axes, Host, cases};
use crate::plan::requests::RequestsChoice;

fn template() -> Case {
    let host = Host {
        n_threads: 2,
        n_gpu_layers: 0,
    };
    cases(&Axes::default(), &["m".to_owned()], &[], host)
        .expect("the defaults are valid")
        .remove(0)
}

fn prompt(id: &str, class: &str) -> Prompt {
    Prompt {
        id: id.to_owned(),
        class: class.to_owned(),
        difficulty: None,
        pair: None,
        text: format!("text of {id}"),
        answer: None,
        source: "test".to_owned(),
        n_tokens: None,
    }
}

fn plan(toml: &str) -> Result<Vec<UnfittedJob>, PlanError> {
    let choice: RequestsChoice = toml::from_str(toml).expect("valid");
    let prompts = [
        prompt("s1", "short"),
        prompt("s2", "short"),
        prompt("l1", "long"),
    ];
    let pairs = [(prompt("e", "sum"), prompt("h", "sum"))];
    let sources = Sources {
        prompts: &prompts,
        pairs: &pairs,
    };
    unfitted_jobs(&choice.resolve(42)?, sources, &template(), 42)
}

fn ids(draft: &UnfittedJob) -> Vec<&str> {
    draft.job.prompts.iter().map(|p| p.id.as_str()).collect()
}

#[test]
fn classes_take_turns() {
    let drafts = plan("").expect("valid");
    assert_eq!(drafts.len(), 1);
    assert_eq!(ids(&drafts[0]), ["s1", "l1", "s2"]);
    assert_eq!(drafts[0].job.load, Load::Closed { concurrency: 1 });
    assert_eq!(drafts[0].job.n_requests, CLASS_REQUESTS);
}

#[test]
fn every_experiment_has_its_jobs() {
    let drafts = plan(
        "prompt_lengths = [16, 64]\ntemperatures = [0.0, 1.5]\nconcurrency = [1, 32]\nsustained = \"60s\"\ndifficulty = true",
    )
    .expect("valid");
    let names: Vec<&str> = drafts.iter().map(|d| d.job.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "prompt-length/p16",
            "prompt-length/p64",
            "temperature",
            "concurrency/c1",
            "concurrency/c32",
            "sustained/c8",
            "difficulty/equal",
            "difficulty/natural",
            "difficulty/control",
        ]
    );
    assert_eq!(drafts[0].n_tokens, [Some(16); 3]);
    let compared = drafts[2].job.compared.clone().expect("compared");
    assert_eq!(
        (compared.temperatures, compared.n_sides),
        (vec![0.0, 1.5], 3)
    );
    assert_eq!(
        (compared.planted, compared.most),
        (Some(PLANTED), Some(120))
    );
    assert_eq!(drafts[2].job.n_requests, 3 * QUESTIONS_A_ROUND);
    assert_eq!(drafts[2].job.stop_at, StopAt::Length);
    assert_eq!(
        (drafts[4].job.n_requests, drafts[4].job.case.n_seq),
        (64, 32)
    );
    assert_eq!(drafts[5].job.most_ns, Some(60_000_000_000));
}

#[test]
fn halves_of_a_pair_are_equally_long_and_the_control_is_not() {
    let drafts = plan("difficulty = true").expect("valid");
    assert_eq!(drafts[0].n_tokens, [Some(PAIR_TOKENS); 2]);
    assert_eq!(drafts[1].n_tokens, [Some(PAIR_TOKENS); 2]);
    let control = &drafts[2];
    let longer = control
        .job
        .prompts
        .iter()
        .position(|p| p.id == "e-longer")
        .expect("there");
    assert_eq!(
        control.n_tokens[longer],
        Some(202),
        "5% more than 192, rounded up"
    );
    assert_eq!(control.n_tokens[1 - longer], Some(192));
}

#[test]
fn rounds_that_are_counted_have_all_pairs() {
    let of = |more: &str| {
        let drafts = plan(&format!(
            "difficulty = true\ntemperatures = [0.0, 1.0]\n{more}"
        ));
        drafts.expect("valid").into_iter().map(|d| d.job)
    };
    let sizes = |more| -> Vec<(u32, bool)> {
        let most = |job: &Job| job.compared.as_ref().is_some_and(|c| c.most.is_some());
        of(more).map(|job| (job.n_requests, most(&job))).collect()
    };
    // A pair in the set: two requests. Temperatures with their control: three requests for each prompt.
    assert_eq!(sizes(""), [(18, true), (12, true), (2, false), (12, true)]);
    assert_eq!(
        sizes("rounds = 2"),
        [(36, false), (2, false), (2, false), (2, false)]
    );
    assert_eq!(
        sizes("rounds = 2\nmax_pairs = 4"),
        [(12, true), (8, true), (2, false), (8, true)]
    );
    let at_a_server = of("target = [\"ollama:m\"]").next().expect("temperatures");
    assert_eq!(at_a_server.compared.expect("compared").planted, None);
}

#[test]
fn compared_answers_take_turns_where_this_program_is_alone() {
    let in_turns = |more: &str| -> Vec<(u32, u32)> {
        let drafts = plan(&format!("difficulty = true\n{more}")).expect("valid");
        let jobs = drafts.into_iter().map(|d| d.job);
        jobs.map(|job| (job.in_turns, job.case.n_seq)).collect()
    };
    // The control of temperatures is a third answer; the arms have two halves.
    let own = in_turns("temperatures = [0.0, 1.0]");
    assert_eq!(own, [(3, 3), (2, 2), (2, 2), (2, 2)]);
    let beside = "temperatures = [0.0, 1.0]\ntarget = [\"in-process\", \"ollama:m\"]";
    assert_eq!(in_turns(beside), [(0, 1); 4]);
    // Eight temperatures and their control need too much memory.
    let many = in_turns("temperatures = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]");
    assert_eq!(many, [(0, 1), (2, 2), (2, 2), (2, 2)]);
}

#[test]
fn a_tag_stands_behind_the_templates_beginning() {
    let draft = plan("").expect("valid").remove(0);
    let texts = draft.job.prompts.iter();
    let texts = texts.map(|p| (format!("<user> {} <model>", p.text), Some(9)));
    let job = draft.clone().with_texts(texts.collect()).expect("fits");
    let tagged = Job {
        tag: Some(7),
        ..job
    };
    assert_eq!(tagged.text_of(3), "<user> 0007-000003. text of s1 <model>");
}

#[test]
fn an_open_loop_has_places_and_a_rate() {
    let drafts = plan("sustained = \"10s\"\nrate_per_s = 2.5").expect("valid");
    assert_eq!(
        drafts[0].job.load,
        Load::Open {
            rate_per_s: 2.5,
            most: 8
        }
    );
    assert_eq!(drafts[0].job.case.n_seq, 8);
}

#[test]
fn a_prompt_that_does_not_fit_is_named() {
    let draft = plan("n_gen = 2000").expect("valid").remove(0);
    let texts = ["a", "b", "c"].map(|t| (t.to_owned(), Some(100)));
    let error = draft
        .with_texts(texts.into())
        .expect_err("2100 tokens in 2048")
        .to_string();
    assert!(
        error.contains("n_ctx 2048") && error.contains("'"),
        "{error}"
    );
}

#[test]
fn the_context_holds_the_longest_prompt_and_a_tag() {
    let draft = plan("").expect("valid").remove(0);
    let texts = [("a", Some(10)), ("b", Some(90)), ("c", None)].map(|(t, n)| (t.to_owned(), n));
    let job = draft.with_texts(texts.into()).expect("fits");
    assert_eq!(job.case.n_prompt, 90 + TAG_TOKENS);
    assert_eq!(job.text_of(1), "b");
    let tagged = Job {
        tag: Some(2),
        ..job
    };
    assert_eq!(
        tagged.text_of(4),
        "0002-000004. b",
        "request 4 has prompt 1 of 3"
    );
    assert_ne!(
        tagged.text_of(1),
        tagged.text_of(4),
        "no server has it in its cache"
    );
}
