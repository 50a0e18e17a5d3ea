//! Where the program meets the rest of the system: closed streams, ignored signals, paths that name no regular file, names that
//! would steer a terminal.
#![cfg(unix)]

mod home;
mod limits;
mod names;
mod outputs;
mod signals;
mod streams;
#[path = "../support/mod.rs"]
mod support;

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use support::{Place, stderr, tiny_model};

/// Flags of a cell that takes milliseconds.
const QUICK: &str = "-p 8 -n 4 -r 1 --replicates 1 -t 1";

/// A model's cell that takes milliseconds, with further flags.
fn quick<'a>(model: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let cell = ["-m", model].into_iter().chain(QUICK.split(' '));
    cell.chain(more.iter().copied()).collect()
}

/// A place with one measured run in it, and that run.
fn measured() -> (Place, PathBuf) {
    let place = Place::new();
    let model = tiny_model().to_str().expect("text");
    let made = place.run(&quick(model, &["--no-report"]));
    assert!(made.status.success(), "{}", stderr(&made));
    let run = place.the_run();
    (place, run)
}

fn report(place: &Place, run: &Path, args: &[&str]) -> Output {
    let run = run.to_str().expect("text");
    place.run(&[&["report", run][..], args].concat())
}

/// The device node of the number in a folder of the test's own; none for users who may not make or open one.
fn device(path: &Path, minor: &str) -> bool {
    let made = Command::new("mknod")
        .arg(path)
        .args(["c", "1", minor])
        .output();
    made.is_ok_and(|out| out.status.success()) && OpenOptions::new().write(true).open(path).is_ok()
}
