//! Signals that end a run, and those that were ignored when it began.

use std::fs::{self, File};
use std::process::{Command, Stdio};
use std::time::Duration;

use ggufbench::record::Line;

use super::support::{Place, json_lines_or_empty, listen_to_signals, record, signal, tiny_model};

/// Flags of a run that is long enough for a signal to find it at work.
const LONG: &str = "-p 8 -n 1000 -c 2048 -r 12 --replicates 1 -t 1 --no-report";

/// A run that is long enough for a signal to find it at work, started with some signals ignored.
fn run_signalled(ignored: &str, sent: &[&str], to_worker: bool) -> (Option<i32>, Place) {
    let place = Place::new();
    let first = match ignored {
        "" => String::new(),
        names => format!("trap '' {names}; "),
    };
    let mut command = Command::new("sh");
    listen_to_signals(&mut command);
    let mut child = command
        .args([
            "-c",
            &format!(r#"{first}exec "$@""#),
            "sh",
            env!("CARGO_BIN_EXE_ggufbench"),
            "-m",
        ])
        .arg(tiny_model())
        .args(LONG.split(' '))
        .current_dir(place.path())
        .env("XDG_CACHE_HOME", place.path().join("cache"))
        .stdout(Stdio::null())
        .stderr(File::create(place.path().join("stderr")).expect("writable"))
        .spawn()
        .expect("sh exists");
    let has_begun = || {
        let runs = fs::read_dir(place.out()).into_iter().flatten().flatten();
        runs.map(|run| json_lines_or_empty(&run.path())).max() >= Some(3)
    };
    while child.try_wait().expect("a child of ours").is_none() && !has_begun() {
        std::thread::park_timeout(Duration::from_millis(2));
    }
    for name in sent {
        if to_worker {
            let children = format!("/proc/{0}/task/{0}/children", child.id());
            let workers = fs::read_to_string(children).unwrap_or_default();
            for worker in workers.split_whitespace() {
                signal(worker.parse().expect("a number"), name);
            }
        }
        assert!(
            signal(child.id(), name),
            "the run was over before the signal"
        );
    }
    (child.wait().expect("a child of ours").code(), place)
}

#[test]
fn a_signal_that_was_ignored_at_the_start_stays_ignored() {
    for (ignored, sent) in [("HUP", "-HUP"), ("INT", "-INT"), ("TERM", "-TERM")] {
        let (code, place) = run_signalled(ignored, &[sent], true);
        assert_eq!(code, Some(0), "{ignored}");
        let (_, lines) = record(&place.the_run());
        assert!(
            matches!(lines.last(), Some(Line::End(end)) if !end.interrupted),
            "{ignored}"
        );
    }
}

#[test]
fn a_signal_that_was_not_ignored_ends_the_run_in_order() {
    // A terminal that closes says so twice; a service manager tells the workers too.
    for sent in [&["-HUP", "-HUP"][..], &["-INT"], &["-TERM"]] {
        let (code, place) = run_signalled("", sent, true);
        assert_eq!(code, Some(130), "{sent:?}");
        let (_, lines) = record(&place.the_run());
        assert!(
            matches!(lines.last(), Some(Line::End(end)) if end.interrupted),
            "{sent:?}"
        );
        let failed = |line: &Line| matches!(line, Line::Cell(cell) if cell.outcome.is_failure());
        assert!(!lines.iter().any(failed), "{sent:?}: no cell is blamed");
    }
}
