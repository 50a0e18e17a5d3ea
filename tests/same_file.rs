//! A model that changes while it is measured, or between a run and its resumption, is named and not averaged in.
#![cfg(unix)]

#[path = "support/split.rs"]
mod split;
mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Output, Stdio};
use std::time::{Duration, Instant};

use ggufbench::record::{Line, Outcome};
use split::split;
use support::{Place, json_lines_or_empty, record, repetitions, stderr, tiny_model};

const QUICK: &str = "-p 8 -n 4 --n-ctx 64 -r 1 --replicates 1 -t 1 --no-report";
/// Seconds long, so that the file changes while it is measured.
const LONG: &str = "-p 8 -n 500 --n-ctx 1024 -r 40 --replicates 2 -t 1 --no-report";

/// A tiny model of the test's own.
fn model(place: &Place) -> PathBuf {
    let path = place.path().join("mine.gguf");
    fs::copy(tiny_model(), &path).expect("a copy");
    path
}

/// A model of the same size with another weight.
fn other(place: &Place, model: &Path) -> PathBuf {
    let path = place.path().join("other");
    let mut bytes = fs::read(model).expect("readable");
    *bytes.last_mut().expect("not empty") ^= 1;
    fs::write(&path, bytes).expect("writable");
    path
}

fn start(place: &Place, model: &Path, flags: &str) -> Child {
    let mut command = place.command();
    command.arg("--model").arg(model).args(flags.split(' '));
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().expect("the program starts")
}

fn run(place: &Place, model: &Path, flags: &str) -> Output {
    let run = start(place, model, flags).wait_with_output();
    run.expect("the program ends")
}

/// Waits until repetitions are in the record; false when the run ended before.
fn has_begun(place: &Place, child: &mut Child) -> bool {
    let patience = Instant::now();
    while child.try_wait().expect("a child of ours").is_none() {
        let is_there = fs::read_dir(place.out()).is_ok_and(|mut runs| runs.next().is_some());
        // The header, a worker, a repetition.
        if is_there && json_lines_or_empty(&place.the_run()) >= 3 {
            return true;
        }
        assert!(
            patience.elapsed() < Duration::from_secs(60),
            "it never began"
        );
        std::thread::park_timeout(Duration::from_millis(1));
    }
    false
}

/// Replaces or edits a model, in the middle of a run.
fn changed_in_a_run(change: impl Fn(&Place, &Path)) {
    let place = Place::new();
    let model = model(&place);
    let mut child = start(&place, &model, LONG);
    assert!(has_begun(&place, &mut child), "it ended before the change");
    change(&place, &model);
    let ended = child.wait_with_output().expect("the program ends");
    assert_eq!(ended.status.code(), Some(1), "{}", stderr(&ended));
    let (_, lines) = record(&place.the_run());
    let reasons: Vec<&str> = lines
        .iter()
        .filter_map(|line| match line {
            Line::Cell(cell) => Some(match &cell.outcome {
                Outcome::Failed { reason } => reason.as_str(),
                other => panic!("{other}"),
            }),
            _ => None,
        })
        .collect();
    assert_eq!(reasons.len(), 2, "both processes fail");
    assert!(
        reasons.iter().all(|r| r.contains("mine.gguf")),
        "{reasons:?}"
    );
    let n = repetitions(&lines).len();
    assert!(n < 40, "{n} repetitions of what has changed");
    assert!(
        support::stdout(&ended).contains("mine.gguf"),
        "the reason is shown"
    );
}

#[test]
fn a_model_replaced_during_a_run_fails_its_cells() {
    changed_in_a_run(|place, model| {
        fs::rename(other(place, model), model).expect("replaced");
    });
}

#[test]
fn a_model_edited_during_a_run_fails_its_cells_even_when_its_times_are_put_back() {
    changed_in_a_run(|place, model| {
        let modified = fs::metadata(model)
            .and_then(|m| m.modified())
            .expect("known");
        // Written in place: the file stays as large as it was, and the engine goes on reading it.
        fs::copy(other(place, model), model).expect("edited");
        let file = fs::OpenOptions::new().write(true).open(model);
        let put_back = file.and_then(|file| file.set_modified(modified));
        put_back.expect("writable");
    });
}

#[test]
fn a_model_replaced_by_a_copy_of_itself_is_the_same() {
    let place = Place::new();
    let model = model(&place);
    let mut child = start(&place, &model, &LONG.replace("-r 40", "-r 4"));
    assert!(has_begun(&place, &mut child), "it ended before the change");
    let copy = place.path().join("copy");
    fs::copy(&model, &copy).expect("a copy");
    fs::rename(&copy, &model).expect("replaced");
    let ended = child.wait_with_output().expect("the program ends");
    assert_eq!(ended.status.code(), Some(0), "{}", stderr(&ended));
    let n = repetitions(&record(&place.the_run()).1).len();
    assert_eq!(n, 8);
}

#[test]
fn a_part_over_another_is_refused_by_inspection_and_by_a_run() {
    let place = Place::new();
    let parts = split(&model(&place), 3);
    let good = run(&place, &parts[0], QUICK);
    assert_eq!(good.status.code(), Some(0), "{}", stderr(&good));
    let (header, _) = record(&place.the_run());
    let files = &header.plan.models[0].files;
    assert!(files.len() == 3 && files.iter().all(|f| f.sha256.is_some()));
    assert!(header.plan.models[0].sha256.is_some());

    fs::copy(&parts[2], &parts[1]).expect("copied over");
    let first = parts[0].to_str().expect("text");
    let name = "mine-00002-of-00003.gguf";
    for refused in [
        place.run(&["model", "info", first]),
        run(&place, &parts[0], QUICK),
        place.run(&["--model", first, "--dry-run"]),
    ] {
        assert_eq!(refused.status.code(), Some(2));
        assert!(stderr(&refused).contains(name), "{}", stderr(&refused));
    }
}

#[test]
fn a_run_is_not_resumed_with_a_part_that_has_changed() {
    let place = Place::new();
    let parts = split(&model(&place), 3);
    let good = run(&place, &parts[0], QUICK);
    assert_eq!(good.status.code(), Some(0), "{}", stderr(&good));
    let the_run = place.the_run();
    let resume = || place.run(&["--resume", the_run.to_str().expect("text"), "--no-report"]);
    // The same bytes in another file are the same model.
    let bytes = fs::read(&parts[1]).expect("readable");
    fs::remove_file(&parts[1]).expect("removed");
    fs::write(&parts[1], &bytes).expect("writable");
    let again = resume();
    assert_eq!(again.status.code(), Some(0), "{}", stderr(&again));

    let mut changed = bytes;
    *changed.last_mut().expect("not empty") ^= 1;
    let modified = fs::metadata(&parts[1])
        .and_then(|m| m.modified())
        .expect("known");
    fs::write(&parts[1], changed).expect("writable");
    let file = fs::OpenOptions::new().write(true).open(&parts[1]);
    file.and_then(|f| f.set_modified(modified))
        .expect("writable");
    let refused = resume();
    assert_eq!(refused.status.code(), Some(2), "{}", stderr(&refused));
    let said = stderr(&refused);
    assert!(
        said.contains("mine-00002-of-00003.gguf: is not the file the run began with"),
        "{said}"
    );
}
