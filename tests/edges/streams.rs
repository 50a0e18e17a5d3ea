//! Streams that nobody reads.

use std::fs::OpenOptions;
use std::process::{Command, Stdio};

use super::support::{stderr, tiny_model};
use super::{measured, quick};

/// The end to write to of a pipe whose reader is gone.
fn unread() -> Stdio {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    writer.into()
}

fn full() -> Option<Stdio> {
    Some(
        OpenOptions::new()
            .write(true)
            .open("/dev/full")
            .ok()?
            .into(),
    )
}

#[test]
fn what_nobody_reads_on_standard_error_changes_nothing() {
    let (place, run) = measured();
    let model = tiny_model().to_str().expect("text").to_owned();
    let run = run.to_str().expect("text").to_owned();
    let commands: [(&[&str], i32); 8] = [
        (&["-m", "nothing.gguf"], 2),
        (&["--no-such-flag"], 2),
        (&["-b", "4"], 2),
        (&["report", "nothing"], 2),
        (&["report", &run], 0),
        (&["gate", &run, "--promote"], 0),
        (&["gate", &run], 3),
        (&quick(&model, &[]), 0),
    ];
    for (args, code) in commands {
        let mut ends = vec![Some(unread()), full()];
        for end in ends.drain(..).flatten() {
            let out = place
                .command()
                .args(args)
                .stderr(end)
                .output()
                .expect("starts");
            assert_eq!(out.status.code(), Some(code), "{args:?}");
        }
        let closed = r#"exec 2>&-; exec "$@""#;
        let out = Command::new("sh")
            .args(["-c", closed, "sh", env!("CARGO_BIN_EXE_ggufbench")])
            .args(args)
            .current_dir(place.path())
            .env("XDG_CACHE_HOME", place.path().join("cache"))
            .output()
            .expect("sh exists");
        assert_eq!(out.status.code(), Some(code), "{args:?}");
    }
}

#[test]
fn a_full_device_as_standard_output_is_an_error_and_a_closed_pipe_is_not() {
    let (place, run) = measured();
    let run = run.to_str().expect("text");
    for args in [
        &["report", run, "-o", "json"][..],
        &["report", run, "-o", "csv"],
        &["report", run, "--to", "elsewhere"],
        &["compare", run, run],
        &["model", "list"],
        &["model", "info", "synth:tiny:q8_0", "--json"],
        &["prompts", "list"],
        &["--help"],
        &["--version"],
    ] {
        let with = |stdout: Stdio| {
            place
                .command()
                .args(args)
                .stdout(stdout)
                .output()
                .expect("starts")
        };
        let out = with(unread());
        assert_eq!(
            (out.status.code(), stderr(&out).as_str()),
            (Some(0), ""),
            "{args:?}"
        );
        if let Some(full) = full() {
            let out = with(full);
            assert_eq!(out.status.code(), Some(2), "{args:?}");
            let said = stderr(&out);
            assert!(
                said.starts_with("error: cannot write to standard output: "),
                "{args:?}: {said}"
            );
        }
    }
}
