//! The scripts of `make package`: the wheel, the list of licenses and the archive. Their tests are in Python, because a wheel is
//! judged by Python; a shell script takes the place of the program.
#![cfg(target_os = "linux")]
#![allow(clippy::print_stderr)] // for whoever runs the tests

use std::io::ErrorKind;
use std::path::Path;
use std::process::Command;

/// Runs a class of tests of `tests/package/scripts.py`.
fn passes(class: &str) {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/package/scripts.py");
    let output = match Command::new("python3").arg(tests).arg(class).output() {
        Ok(output) => output,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            eprintln!("SKIPPED: {class}: this machine has no python3");
            return;
        }
        Err(error) => panic!("python3: {error}"),
    };
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(!said.contains("Ran 0 tests"), "{said}");
}

#[test]
fn a_wheel_holds_the_program_and_its_command_becomes_the_program() {
    passes("Wheel");
}

#[test]
fn licenses_of_what_is_linked_are_listed() {
    passes("Licenses");
}

#[test]
fn libgomp_is_copied_with_its_license() {
    passes("Libgomp");
}

#[test]
fn an_archive_a_wheel_and_their_digests_are_made() {
    passes("Package");
}
