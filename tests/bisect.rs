//! `bisect` and `bisect-step` as a user sees them, on repositories that are made here.
#![cfg(unix)]

mod support;

use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::Value;
use support::bench::{BUILD, PROGRAM, Planted, engine, git, repository};
use support::{Place, follow, stderr, stdout, tiny_model};

const FAST: u64 = 1_000_000;
const SLOW: u64 = 1_100_000;

/// `n` commits, slow from the number `first` on.
fn slow_from(first: usize, n: usize) -> Vec<Planted> {
    let ns = |at| if at >= first { SLOW } else { FAST };
    (1..=n).map(|at| Planted::taking(ns(at))).collect()
}

struct Searched {
    place: Place,
    repository: PathBuf,
    n: usize,
}

impl Searched {
    fn of(commits: &[Planted]) -> Self {
        let place = Place::new();
        let repository = repository(place.path(), commits);
        Self {
            place,
            repository,
            n: commits.len(),
        }
    }

    fn flags(&self) -> Vec<String> {
        let model = tiny_model().to_str().expect("text");
        let repository = self.repository.to_str().expect("text");
        let flags = [
            "--model",
            model,
            "-p",
            "0",
            "-n",
            "4",
            "-t",
            "1",
            "--repo",
            repository,
            "--build",
            BUILD,
            "--program",
            PROGRAM,
        ];
        flags.map(str::to_owned).to_vec()
    }

    fn bisect(&self, more: &[&str]) -> Output {
        let good = format!("main~{}", self.n);
        let mut args = vec!["bisect", "--good", &good, "--bad", "main", "-o", "json"];
        let flags = self.flags();
        args.extend(flags.iter().map(String::as_str));
        args.extend(more);
        self.place.run(&args)
    }

    #[track_caller]
    fn found(&self, code: i32) -> Value {
        let out = self.bisect(&[]);
        assert_eq!(out.status.code(), Some(code), "{}", stderr(&out));
        serde_json::from_str(&stdout(&out)).expect("JSON")
    }

    fn step(&self, more: &[&str]) -> Output {
        let mut args = vec!["bisect-step"];
        let flags = self.flags();
        args.extend(flags.iter().map(String::as_str));
        args.extend(more);
        self.place.run(&args)
    }
}

fn suspects(found: &Value) -> Vec<&str> {
    let suspects = found["suspects"].as_array().expect("a list");
    suspects
        .iter()
        .map(|s| s["subject"].as_str().expect("text"))
        .collect()
}

fn answers(found: &Value) -> String {
    let answers = found["answers"].as_array().expect("a list");
    let answers = answers.iter().filter_map(Value::as_str);
    answers.collect::<Vec<_>>().join("\n")
}

fn step_of<'a>(found: &'a Value, subject: &str) -> &'a Value {
    let steps = found["steps"].as_array().expect("a list");
    let step = steps.iter().find(|step| step["subject"] == subject);
    step.unwrap_or_else(|| panic!("{subject}: {steps:?}"))
}

#[test]
fn the_planted_commit_is_named_with_its_effect_and_the_chance_of_being_wrong() {
    let searched = Searched::of(&slow_from(7, 12));
    let before = git(&searched.repository, &["rev-parse", "HEAD"]);
    let found = searched.found(1);
    assert_eq!(found["outcome"], "found");
    assert_eq!(suspects(&found), ["commit 7"]);
    assert_eq!(found["effect"]["against"]["subject"], "commit 6");
    let change = found["effect"]["effect"]["change"].as_f64().expect("known");
    assert!((change - 0.1).abs() < 0.02, "{change}");
    let interval = &found["effect"]["effect"]["interval"];
    assert!(interval[0].as_f64() < Some(change) && Some(change) < interval[1].as_f64());
    let share = found["share_of_whole"].as_f64().expect("known");
    assert!((share - 1.0).abs() < 0.2, "{share}");
    let error = found["error_probability"].as_f64().expect("known");
    assert!(error > 0.0 && error <= 0.05 + 1e-12, "{error}");
    assert_eq!(found["n_revisions"], 12);
    let n_builds = found["n_builds"].as_u64().expect("a number");
    assert!((4..=7).contains(&n_builds), "{n_builds} of 13 revisions");
    assert!(answers(&found).contains("(commit 7) is the first commit that is slower"));

    assert_eq!(git(&searched.repository, &["rev-parse", "HEAD"]), before);
    assert_eq!(git(&searched.repository, &["status", "--porcelain"]), "");

    let again = searched.found(1);
    assert_eq!(suspects(&again), ["commit 7"]);
    assert_eq!(again["n_builds"], 0, "everything is known");
    let steps = again["steps"].as_array().expect("a list").len();
    assert_eq!(again["n_reused_steps"], steps);
    assert_eq!(again["steps"], found["steps"]);
    matches_the_schema(&searched.place.out().join("bisect"));
}

fn matches_the_schema(cache: &Path) {
    let records = std::fs::read_dir(cache).expect("a folder");
    let records = records.map(|entry| entry.expect("readable").path());
    let records: Vec<PathBuf> = records.filter(|path| path.is_file()).collect();
    assert_eq!(records.len(), 1, "one search has one record: {records:?}");
    let text = std::fs::read_to_string(&records[0]).expect("readable");
    let lines = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"));
    follow("bisect.schema.json", lines);
}

#[test]
fn a_range_is_named_where_commits_do_not_build() {
    let mut commits = slow_from(7, 12);
    for at in [5, 6] {
        commits[at - 1].build = "echo 'no rule to make it' >&2; exit 2";
    }
    let searched = Searched::of(&commits);
    let found = searched.found(1);
    assert_eq!(found["outcome"], "found_range");
    assert_eq!(suspects(&found), ["commit 5", "commit 6", "commit 7"]);
    let said = answers(&found);
    assert!(said.contains("is one of 3"), "{said}");
    assert!(
        said.contains("does not build: exit code 2: no rule to make it"),
        "{said}"
    );
}

#[test]
fn a_commit_whose_program_always_crashes_is_skipped() {
    let mut commits = slow_from(5, 6);
    commits[2].engine = "#!/bin/sh\necho 'no such op' >&2\nexit 3\n".to_owned();
    let found = Searched::of(&commits).found(1);
    assert_eq!(suspects(&found), ["commit 5"]);
    let skipped = step_of(&found, "commit 3");
    assert_eq!(skipped["answer"], "skipped");
    assert_eq!(skipped["why"], "crashes: exit code 3: no such op");
}

#[test]
fn flaky_builds_and_crashes_now_and_then_do_not_hide_the_commit() {
    let mut commits = slow_from(4, 6);
    commits[3].engine = engine(5);
    commits[3].build = "[ -e ../tried ] || { touch ../tried; exit 1; }";
    let found = Searched::of(&commits).found(1);
    assert_eq!(suspects(&found), ["commit 4"]);
    let flaky = step_of(&found, "commit 4");
    assert!(flaky["n_failures"].as_u64() > Some(0), "{flaky}");
}

#[test]
fn of_two_steps_the_first_is_named_with_its_share() {
    let ns = |at: usize| match at {
        ..4 => FAST,
        4..9 => 1_060_000,
        _ => 1_123_600,
    };
    let commits: Vec<Planted> = (1..=10).map(|at| Planted::taking(ns(at))).collect();
    let found = Searched::of(&commits).found(1);
    assert_eq!(suspects(&found), ["commit 4"]);
    let share = found["share_of_whole"].as_f64().expect("known");
    assert!((share - 0.5).abs() < 0.1, "{share}");
    let said = answers(&found);
    assert!(
        said.contains("the rest is in other commits: search again with --good"),
        "{said}"
    );
}

#[test]
fn without_a_slow_down_there_is_no_commit_to_find() {
    let searched = Searched::of(&slow_from(99, 5));
    let found = searched.found(0);
    assert_eq!(found["outcome"], "not_slower");
    assert!(suspects(&found).is_empty());
    assert_eq!(found["n_builds"], 2, "only the ends are measured");
}

#[test]
fn a_search_whose_budget_is_over_is_not_decided_and_goes_on() {
    let searched = Searched::of(&slow_from(2, 3));
    let out = searched.bisect(&["--budget", "1ms"]);
    assert_eq!(out.status.code(), Some(3), "{}", stderr(&out));
    let found: Value = serde_json::from_str(&stdout(&out)).expect("JSON");
    assert_eq!(found["outcome"], "not_decided");
    assert!(answers(&found).contains("the same command keeps the decided revisions"));
    assert_eq!(suspects(&searched.found(1)), ["commit 2"]);
}

#[test]
fn what_makes_no_sense_is_refused() {
    let mut commits = slow_from(1, 2);
    commits[1].build = "exit 1";
    let searched = Searched::of(&commits);
    let refused = |more: &[&str], needle: &str| {
        let out = searched.bisect(more);
        assert_eq!(out.status.code(), Some(2), "{more:?}: {}", stderr(&out));
        assert!(stderr(&out).contains(needle), "{more:?}: {}", stderr(&out));
    };
    refused(&[], "does not build");
    refused(&["--batch", "1,8"], "name one value of each axis");
    refused(&["--max-pairs", "3"], "at least 8 pairs");
    let place = &searched.place;
    let out = place.run(&["bisect", "--good", "main", "--repo", "repository"]);
    assert!(
        stderr(&out).contains("are the same commit"),
        "{}",
        stderr(&out)
    );
    let out = place.run(&["bisect", "--good", "main~1", "--repo", "repository"]);
    assert!(
        stderr(&out).contains("no checkout of llama.cpp"),
        "{}",
        stderr(&out)
    );
    let out = place.run(&["bisect", "--good", "nothing", "--repo", "repository"]);
    assert!(stderr(&out).contains("is no revision"), "{}", stderr(&out));
}

#[test]
fn git_bisect_run_finds_the_commit_by_single_steps() {
    let mut commits = slow_from(5, 7);
    commits[2].build = "exit 1";
    let searched = Searched::of(&commits);
    git(&searched.repository, &["bisect", "start", "main", "main~7"]);
    let flags = searched
        .flags()
        .iter()
        .map(|f| shlex::try_quote(f).expect("quoted").into_owned())
        .collect::<Vec<_>>();
    let good = git(&searched.repository, &["rev-parse", "main~7"]);
    let cache = searched.place.path().join("cache");
    let step = format!(
        "XDG_CACHE_HOME={} {} bisect-step --good {} --cache {} {}",
        cache.display(),
        env!("CARGO_BIN_EXE_ggufbench"),
        good.trim(),
        cache.display(),
        flags.join(" ")
    );
    let said = git(&searched.repository, &["bisect", "run", "sh", "-c", &step]);
    let first = git(&searched.repository, &["rev-parse", "main~2"]);
    let needle = format!("{} is the first bad commit", first.trim());
    assert!(said.contains(&needle), "{said}");
}

#[test]
fn a_step_has_the_exit_codes_of_git_bisect_run() {
    let searched = Searched::of(&slow_from(2, 2));
    let code = |out: &Output| out.status.code();
    git(&searched.repository, &["checkout", "-q", "main~1"]);
    let fast = searched.step(&["--good", "main~2"]);
    assert_eq!(code(&fast), Some(0), "{}", stderr(&fast));
    assert!(stdout(&fast).starts_with("not slower"), "{}", stdout(&fast));
    git(&searched.repository, &["checkout", "-q", "main"]);
    let slow = searched.step(&["--good", "main~2"]);
    assert_eq!(code(&slow), Some(1), "{}", stderr(&slow));
    let missing = searched.step(&["--good", "main~2", "--built", "nowhere/llama-bench"]);
    assert_eq!(code(&missing), Some(125), "{}", stderr(&missing));
    // Codes that git would take for a bad revision must not come of a mistake in the command.
    let wrong = searched.step(&["--good", "nothing"]);
    assert_eq!(code(&wrong), Some(128), "{}", stderr(&wrong));
    let unknown = searched.step(&["--good", "main~2", "--no-such-flag"]);
    assert_eq!(code(&unknown), Some(128), "{}", stderr(&unknown));
}
