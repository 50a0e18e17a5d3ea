//! What a run says at its end, as a user sees it, and whether the commands that it suggests work as they stand.

mod support;

use std::process::Output;

use support::{Place, stderr, stdout};

const ENGINE: &str =
    r#"synthetic:{"call_ns":4000000,"token_ns":800000,"past_ns":300,"sample_ns":9000}"#;

/// Measures with the synthetic engine, in a folder whose name a shell would split.
fn run(place: &Place, args: &[&str]) -> Output {
    let base = ["--engine", ENGINE, "--model", "synth:tiny:q4_0"];
    let out = ["--out", "my runs"];
    let verb: &[&str] = match args.first() {
        Some(first) if !first.starts_with('-') => &args[..1],
        _ => &[],
    };
    let all = [verb, &base, &out, &args[verb.len()..]].concat();
    let made = place.run(&all);
    assert_eq!(made.status.code(), Some(0), "{}", stderr(&made));
    made
}

fn document(place: &Place) -> String {
    let mut runs = std::fs::read_dir(place.path().join("my runs")).expect("made");
    let run = runs.next().expect("a run").expect("readable").path();
    std::fs::read_to_string(run.join("report.md")).expect("written")
}

/// The commands of a document, which it indents.
fn suggested(document: &str) -> Vec<&str> {
    let lines = document.lines();
    lines
        .filter_map(|l| l.strip_prefix("    "))
        .filter(|l| l.starts_with("ggufbench "))
        .collect()
}

/// Runs a command as a user would paste it; measuring ones plan only.
fn paste(place: &Place, command: &str) -> Output {
    let measures = ["model ", "ceiling", "compare "];
    let rest = command
        .strip_prefix("ggufbench ")
        .expect("a command of ours");
    let plans =
        !measures.iter().any(|verb| rest.starts_with(verb)) && !rest.starts_with("--resume");
    let line = match plans {
        true => format!("\"$PROGRAM\" {rest} --dry-run"),
        false => format!("\"$PROGRAM\" {rest}"),
    };
    place
        .command()
        .env("PROGRAM", env!("CARGO_BIN_EXE_ggufbench"))
        .get_envs()
        .fold(std::process::Command::new("sh"), |mut sh, (name, value)| {
            if let Some(value) = value {
                sh.env(name, value);
            }
            sh
        })
        .current_dir(place.path())
        .args(["-c", &line])
        .output()
        .expect("a shell")
}

#[test]
fn a_run_ends_with_its_answers_and_its_reports_path() {
    let place = Place::new();
    let made = run(&place, &["--batch", "1,8,32", "-n", "20", "-r", "2"]);
    let said = stdout(&made);
    let last: Vec<&str> = said.lines().rev().take_while(|l| !l.is_empty()).collect();
    assert!((3..=8).contains(&last.len()), "{said}");
    assert!(
        last[0].starts_with("report") && last[0].ends_with("/report.html'"),
        "{said}"
    );
    for label in ["many users", "one user", "limited by", "how sure"] {
        assert!(last.iter().any(|l| l.starts_with(label)), "{label}: {said}");
    }
    let limited = run(
        &place,
        &[
            "--batch",
            "1,8,32",
            "-n",
            "20",
            "-r",
            "2",
            "--slo",
            "tpot=12ms",
        ],
    );
    let said = stdout(&limited);
    let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
    // Steps take 4.8, 10.4 and 29.6 ms.
    assert!(
        said.contains("many users") && said.contains("batch 8:"),
        "{said}"
    );
    assert!(
        said.contains("serves 9 users at once") || said.contains("serves 10 users"),
        "{said}"
    );
}

#[test]
fn report_alone_means_the_newest_run() {
    let place = Place::new();
    let none = place.run(&["report"]);
    assert_eq!(none.status.code(), Some(2));
    assert!(
        stderr(&none).contains("out: has no run yet"),
        "{}",
        stderr(&none)
    );
    for name in ["first", "second"] {
        run(
            &place,
            &["--name", name, "-n", "4", "-r", "1", "--no-report"],
        );
    }
    let made = place.run(&["report", "--out", "my runs"]);
    assert_eq!(made.status.code(), Some(0), "{}", stderr(&made));
    let said = stdout(&made);
    assert!(said.contains("-second/report.html"), "{said}");
    // Limits and tables go together.
    let args = [
        "report", "--out", "my runs", "-o", "json", "--slo", "tpot=1us",
    ];
    let printed = place.run(&args);
    let rows: serde_json::Value = serde_json::from_str(&stdout(&printed)).expect("JSON");
    let answers = rows[0]["answers"].as_array().expect("answers");
    let claims = answers
        .iter()
        .map(|a| a["answer"].as_str().expect("a sentence"));
    let claims: Vec<&str> = claims.collect();
    assert!(
        claims
            .iter()
            .any(|c| c.contains("No measured cell keeps TPOT")),
        "{claims:?}"
    );
}

#[test]
fn every_command_that_a_report_suggests_works_as_it_stands() {
    let place = Place::new();
    let args = [
        "--batch",
        "1",
        "-p",
        "40",
        "-n",
        "20",
        "-c",
        "64",
        "--kv",
        "fit",
        "-r",
        "1",
        "--threads",
        "1",
    ];
    run(&place, &args);
    let document = document(&place);
    let commands = suggested(&document);
    assert!(commands.len() > 6, "{document}");
    let mut seen: Vec<&str> = Vec::new();
    for command in commands {
        // A file that is made is there afterwards.
        if seen.contains(&command) {
            continue;
        }
        seen.push(command);
        // Minutes of kernels.
        if command.starts_with("ggufbench ceiling") {
            continue;
        }
        let pasted = paste(&place, command);
        assert_eq!(
            pasted.status.code(),
            Some(0),
            "{command}: {}",
            stderr(&pasted)
        );
        if command.contains("--replicates 10") {
            assert!(
                command.contains("--kv fit") && command.contains("-c 64"),
                "{command}"
            );
        }
    }
}

#[test]
fn what_is_missing_of_requests_is_asked_of_the_same_targets() {
    let place = Place::new();
    run(
        &place,
        &[
            "requests",
            "--n-requests",
            "1",
            "--rounds",
            "1",
            "-n",
            "4",
            "--class",
            "short",
        ],
    );
    let document = document(&place);
    let commands = suggested(&document);
    let experiments = [
        "--n-prompt",
        "--temperature",
        "--batch",
        "--sustained",
        "--difficulty",
        "--replicates 3",
    ];
    for flag in experiments {
        let with = commands.iter().find(|c| c.contains(flag));
        let command = with.unwrap_or_else(|| panic!("{flag}: {commands:?}"));
        assert!(
            command.contains("--class short") || flag == "--batch",
            "{command}"
        );
        let pasted = paste(&place, command);
        assert_eq!(
            pasted.status.code(),
            Some(0),
            "{command}: {}",
            stderr(&pasted)
        );
    }
}

#[test]
fn sides_that_do_not_differ_are_called_an_a_a() {
    let place = Place::new();
    let args = ["ab", "-p", "8", "-n", "8", "-r", "2", "--replicates", "2"];
    let made = run(&place, &args);
    let flat = |text: String| text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        flat(stderr(&made)).contains("this is an A/A"),
        "{}",
        stderr(&made)
    );
    let said = flat(stdout(&made));
    assert!(
        said.contains("A/A: both sides are the same program"),
        "{said}"
    );
    assert!(said.contains("/a/report.html"), "{said}");
    let other = [&args[..], &["--", "--threads", "1", "--", "--threads", "2"]].concat();
    let made = run(&place, &other);
    assert!(!stdout(&made).contains("A/A") && !stderr(&made).contains("A/A"));
}
