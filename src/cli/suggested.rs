//! Every command that a report suggests is one that can be typed.

use std::ffi::OsString;

use clap::Parser;

use super::{Cli, normalize};
use crate::analysis::theory::Theory;
use crate::plan::{Case, KvSizing, KvType};
use crate::record::requests::TargetSetting;
use crate::report::lab::{Block, Lab};
use crate::report::markdown_text;
use crate::view::RunView;
use crate::view::fixture::{self, MS, case, header, requests, three_processes};

/// The commands of a run's report, and of its table's notes.
fn commands(view: &RunView) -> Vec<String> {
    let lab = Lab::of(view, &Theory::of(view, &|_| None), None);
    let blocks = lab.sections.into_iter().flat_map(|s| s.blocks);
    let mut commands: Vec<String> = blocks
        .flat_map(|block| match block {
            Block::Missing(_, command) => vec![command],
            Block::Commands(_, all) => all.into_iter().filter_map(|(_, command)| command).collect(),
            _ => Vec::new(),
        })
        .collect();
    let table = markdown_text(view);
    let indented = table.lines().filter_map(|l| l.strip_prefix("    "));
    commands.extend(indented.map(str::to_owned));
    commands
}

fn parse(command: &str) -> Cli {
    let words = shlex::split(command).unwrap_or_else(|| panic!("no shell reads {command}"));
    assert_eq!(words[0], "ggufbench");
    let words = normalize(words.into_iter().map(OsString::from)).expect(command);
    Cli::try_parse_from(words).unwrap_or_else(|e| panic!("{command}: {e}"))
}

/// A run of one small cell whose paths need quotes and whose context is nearly full.
fn cramped() -> RunView {
    let case = Case {
        n_prompt: 60,
        n_gen: 4,
        n_ctx: 80,
        kv: KvSizing::Fit,
        type_k: KvType::Q8_0,
        type_v: KvType::Q8_0,
        ..case("tiny", 1)
    };
    let mut header = header(&["tiny"], vec![case.clone()]);
    header.plan.models[0].path = "/my models/it's; rm -rf $HOME.gguf".into();
    header.machine.cpu.available_cores = Some(2);
    header.args = ["--model", "my models/it's.gguf", "--kv", "fit"]
        .map(str::to_owned)
        .to_vec();
    let mut view = fixture::view(header, three_processes(&case, 2, MS, 4 * MS));
    view.record = "/tmp/a b/out/x$(y)/run.jsonl".into();
    view
}

#[test]
fn every_suggested_command_of_the_golden_runs_parses() {
    let runs = [
        fixture::mixed(),
        fixture::requests::both(),
        fixture::requests::own(),
        fixture::requests::with_cells(),
        cramped(),
        requests_of_two_models(),
    ];
    for view in &runs {
        let commands = commands(view);
        assert!(!commands.is_empty());
        for command in &commands {
            parse(command);
            assert!(!command.contains('…'), "cut: {command}");
        }
    }
}

#[test]
fn suggestions_ask_for_nothing_that_the_run_has_or_cannot_have() {
    let commands = commands(&cramped());
    let said = commands.join("\n");
    let quoted = r"'/my models/it'\''s; rm -rf $HOME.gguf'";
    let with_model = commands
        .iter()
        .filter(|c| c.contains("--n-prompt") || c.contains("--threads 1"));
    for command in with_model {
        assert!(command.contains(quoted), "{command}");
        assert!(
            command.contains("--kv fit") && command.contains("--n-ctx 80"),
            "{command}"
        );
    }
    assert!(said.contains("--threads 1,2"), "two cores: {said}");
    // Of 80 tokens of context 4 are generated, and the prompts leave 16 for depth.
    assert!(said.contains("--n-prompt 9,38,76"), "{said}");
    assert!(said.contains("--n-depth 0,2,8,16"), "{said}");
    assert!(
        said.contains(r"ggufbench --model 'my models/it'\''s.gguf' --kv fit --replicates 10"),
        "the run's own line: {said}"
    );
}

/// A sweep's requests of two models in-process, the second not yet measured.
fn requests_of_two_models() -> RunView {
    let mut header =
        requests::request_header(&["in-process/a", "in-process/b"], 1, requests::jobs());
    header.args = ["sweep", "night.toml"].map(str::to_owned).to_vec();
    header.plan.models = vec![fixture::model("a"), fixture::model("b")];
    for model in &mut header.plan.models {
        model.path = format!("gguf/{}.gguf", model.name).into();
    }
    let plan = header.requests.as_mut().expect("has requests");
    let mut lines = Vec::new();
    for name in ["a", "b"] {
        let target = format!("in-process/{name}");
        let mut jobs = requests::jobs();
        jobs.iter_mut()
            .for_each(|job| job.case.model = name.to_owned());
        for job in jobs[..1].iter().filter(|_| name == "a") {
            lines.extend(requests::lines(
                job,
                &target,
                0,
                requests::in_process(job, 0),
            ));
        }
        plan.settings.push(TargetSetting {
            target,
            named: requests::OWN.to_owned(),
            jobs,
        });
    }
    fixture::view(header, lines)
}

#[test]
fn commands_name_every_model_that_they_are_about() {
    let view = fixture::mixed();
    let paths: Vec<String> = (view.header.plan.models.iter())
        .map(|m| format!("--model {}", m.path.display()))
        .collect();
    assert_eq!(paths.len(), 2);
    let said = commands(&view);
    let of_all = |c: &&String| paths.iter().all(|path| c.contains(path.as_str()));
    for axis in ["--n-prompt 16,", "--n-gen 16,", "--n-depth 0,"] {
        let command = said.iter().find(|c| c.contains(axis)).expect(axis);
        assert!(of_all(&command), "{command}");
    }
    // What is said of a cell is of its own model.
    let threads: Vec<&String> = said
        .iter()
        .filter(|c| c.contains("--threads 1,2"))
        .collect();
    let of_one = |c: &&&String| c.matches("--model").count() == 1;
    assert!(threads.iter().any(of_all), "{threads:?}");
    assert!(threads.iter().any(|c| of_one(&c)), "{threads:?}");

    let said = commands(&requests_of_two_models());
    let both = "--model gguf/a.gguf --model gguf/b.gguf";
    for needle in ["requests", "--batch 1,8,32"] {
        let command = said.iter().find(|c| c.contains(needle)).expect(needle);
        assert!(command.contains(both), "{command}");
    }
    for model in ["a", "b"] {
        let live = format!("ggufbench compare-live --model gguf/{model}.gguf");
        assert!(said.iter().any(|c| c.starts_with(&live)), "{said:?}");
    }
}
