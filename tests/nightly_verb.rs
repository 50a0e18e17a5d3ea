//! `ggufbench nightly` itself, as Windows' Task Scheduler starts it: without a shell. tests/nightly.rs has its verdicts.

mod support;

use std::env::consts::EXE_SUFFIX;

use support::nights::{Night, engine};
use support::{Place, stderr, stdout};

const SWEEP: &str = r#"
model = "synth:tiny:q4_0"
n_prompt = 8
n_gen = 16
"#;

fn night(place: &Place, options: &[&str]) -> Night {
    let output = place
        .command()
        .args(["nightly", "--sweep", "sweep.toml", "--budget", "100h"])
        .args(options)
        .args(["--", "--engine", &engine(7, 0)])
        .env_remove("GGUFBENCH")
        .output();
    Night::of(&output.expect("the program starts"))
}

#[test]
fn a_program_is_measured_in_turns_with_its_promoted_copy() {
    let place = Place::new();
    std::fs::write(place.path().join("sweep.toml"), SWEEP).expect("writable");
    let first = night(&place, &["--summary", "mail/nightly.md"]);
    first.is(0, "first night, not judged");
    let mailed = std::fs::read_to_string(place.path().join("mail/nightly.md"));
    assert_eq!(mailed.expect("a summary"), first.summary);
    let history = place.out().join("history");
    let promoted = history.join(first.labelled("night"));
    let kept = promoted.join(format!("ggufbench{EXE_SUFFIX}"));
    let version = std::process::Command::new(&kept).arg("--version").output();
    assert!(version.expect("the copy starts").status.success());

    let second = night(&place, &[]);
    second.is(0, "pass");
    assert!(second.labelled("note").contains("byte for byte"));
    assert_eq!(
        second.labelled("baseline").strip_suffix("-a"),
        second.labelled("night").strip_suffix("-b")
    );
    let third = night(&place, &["--promote"]);
    third.is(0, "promoted");
    assert!(!kept.exists(), "one program is kept");
    // A lock that was left in order is no lock.
    for folder in [place.out(), history] {
        let text = std::fs::read_to_string(folder.join("nightly.lock"));
        assert_eq!(text.expect("readable"), "");
    }
}

#[test]
fn limits_are_judged_from_the_first_night_on_and_whatever_the_program_is() {
    let place = Place::new();
    std::fs::write(place.path().join("sweep.toml"), SWEEP).expect("writable");
    let limits = |step: &str| night(&place, &["--require", step, "--require", "decode=1"]);
    let beyond = limits("step<=1us");
    beyond.is(1, "regression");
    let text = &beyond.summary;
    assert!(text.contains("Beyond a limit: batch 1 step "), "{text}");
    assert!(text.contains("1 within limits, 1 beyond a limit"), "{text}");
    assert!(
        text.contains("A limit (--require) does not ask why"),
        "{text}"
    );
    limits("step<=1s").is(0, "first night, not judged");
    limits("step<=1s").is(0, "pass");
    let again = limits("step<=1us");
    again.is(1, "regression");
    let text = &again.summary;
    assert!(text.contains("byte for byte"), "the same program: {text}");
    assert!(text.contains("Beyond a limit: batch 1 step "), "{text}");
    assert!(
        text.contains("1 pass, 1 within limits, 1 beyond a limit"),
        "{text}"
    );
}

#[test]
fn the_help_names_every_option_and_code() {
    let place = Place::new();
    let help = place.run(&["nightly", "--help"]);
    assert!(help.status.success(), "{}", stderr(&help));
    let text = stdout(&help);
    for needle in [
        "--keep-nights",
        "--night-sd",
        "130: interrupted",
        "GGUFBENCH",
    ] {
        assert!(text.contains(needle), "{needle}: {text}");
    }
}
