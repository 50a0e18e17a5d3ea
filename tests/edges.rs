//! Where the program meets the rest of the system: closed streams, ignored signals, paths that name no regular file, names that
//! would steer a terminal.
#![cfg(unix)]

mod support;

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use ggufbench::record::Line;
use support::{Place, record, signal, stderr, stdout, tiny_model};

/// Milliseconds of work.
const QUICK: [&str; 10] = [
    "-p",
    "8",
    "-n",
    "4",
    "-r",
    "1",
    "--replicates",
    "1",
    "-t",
    "1",
];

/// A place with one measured run in it, and that run's name below `out`.
fn measured() -> (Place, PathBuf) {
    let place = Place::new();
    let model = tiny_model().to_str().expect("text");
    let made = place.run(&[&["-m", model, "--no-report"][..], &QUICK].concat());
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

// --- streams that nobody reads ---

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
        (&["gate", &run], 0),
        (
            &[
                "-m",
                &model,
                "-p",
                "8",
                "-n",
                "4",
                "-r",
                "1",
                "--replicates",
                "1",
                "-t",
                "1",
            ],
            0,
        ),
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

// --- signals ---

/// A run that is long enough for a signal to find it at work, started with some signals ignored.
fn run_signalled(ignored: &str, sent: &[&str], to_worker: bool) -> (Option<i32>, Place) {
    let place = Place::new();
    let first = match ignored {
        "" => String::new(),
        names => format!("trap '' {names}; "),
    };
    let mut child = Command::new("sh")
        .args([
            "-c",
            &format!(r#"{first}exec "$@""#),
            "sh",
            env!("CARGO_BIN_EXE_ggufbench"),
            "-m",
        ])
        .arg(tiny_model())
        .args([
            "-p",
            "8",
            "-n",
            "1000",
            "-c",
            "2048",
            "-r",
            "12",
            "--replicates",
            "1",
            "-t",
            "1",
            "--no-report",
        ])
        .current_dir(place.path())
        .env("XDG_CACHE_HOME", place.path().join("cache"))
        .stdout(Stdio::null())
        .stderr(File::create(place.path().join("stderr")).expect("writable"))
        .spawn()
        .expect("sh exists");
    let has_begun = || {
        let runs = fs::read_dir(place.out()).into_iter().flatten().flatten();
        runs.map(|run| support::json_lines_or_empty(&run.path()))
            .max()
            >= Some(3)
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

// --- what a path names ---

#[test]
fn a_report_goes_through_pipes_and_devices_and_leaves_them() {
    let (place, run) = measured();
    let path = |name: &str| place.path().join(name);
    assert!(
        Command::new("mkfifo")
            .arg(path("pipe"))
            .status()
            .expect("mkfifo exists")
            .success()
    );
    let reader = {
        let pipe = path("pipe");
        std::thread::spawn(move || fs::read_to_string(pipe).expect("text"))
    };
    let out = report(&place, &run, &["--csv", "pipe"]);
    assert!(out.status.success(), "{}", stderr(&out));
    assert!(
        reader
            .join()
            .expect("no panic")
            .starts_with("run,machine,engine,")
    );
    assert!(
        fs::symlink_metadata(path("pipe"))
            .expect("there")
            .file_type()
            .is_fifo()
    );
    assert!(!path("requests.csv").exists());
    if device(&path("null"), "3") {
        for flag in ["--csv", "--html", "--md"] {
            let out = report(&place, &run, &[flag, "null"]);
            assert!(out.status.success(), "{flag}: {}", stderr(&out));
            assert!(
                fs::symlink_metadata(path("null"))
                    .expect("there")
                    .file_type()
                    .is_char_device()
            );
        }
        assert!(!path("plots").exists(), "no plots beside a device");
    }
    if device(&path("full"), "7") {
        let out = report(&place, &run, &["--csv", "full"]);
        assert_eq!(out.status.code(), Some(2));
        assert!(
            stderr(&out).contains("full: cannot write the report: "),
            "{}",
            stderr(&out)
        );
    }
}

#[test]
fn a_report_to_standard_output_is_nothing_but_the_report() {
    let (place, run) = measured();
    for name in ["/dev/stdout", "/dev/fd/1"] {
        let out = report(&place, &run, &["--csv", name]);
        assert!(out.status.success(), "{}", stderr(&out));
        let text = stdout(&out);
        assert!(
            text.starts_with("run,machine,engine,") && text.lines().count() == 2,
            "{text}"
        );
        assert!(stderr(&out).contains("wrote"), "{}", stderr(&out));
    }
    // The file behind it is neither cut nor replaced.
    let log = place.path().join("log.csv");
    fs::write(&log, "before\n").expect("writable");
    let appended = OpenOptions::new()
        .append(true)
        .open(&log)
        .expect("writable");
    let mut command = place.command();
    let command = command.args([
        "report",
        run.to_str().expect("text"),
        "--csv",
        "/dev/stdout",
    ]);
    assert!(command.stdout(appended).status().expect("starts").success());
    let text = fs::read_to_string(&log).expect("text");
    assert!(text.starts_with("before\nrun,machine,engine,"), "{text}");
}

#[test]
fn a_report_replaces_its_own_files_only() {
    let (place, run) = measured();
    let path = |name: &str| place.path().join(name);
    fs::create_dir(path("folder")).expect("makeable");
    fs::write(path("notes.md"), "# Notes\n").expect("writable");
    for (flag, name, reason) in [
        ("--csv", "folder", "folder: is a folder; name a file"),
        (
            "--html",
            "notes.md",
            "notes.md: exists, and ggufbench did not write it; --force replaces it",
        ),
        ("--md", "notes.md", "--force replaces it"),
        ("--csv", "notes.md", "--force replaces it"),
    ] {
        let out = report(&place, &run, &[flag, name]);
        assert_eq!(out.status.code(), Some(2), "{flag} {name}");
        assert!(stderr(&out).contains(reason), "{}", stderr(&out));
        assert_eq!(
            fs::read_to_string(path("notes.md")).expect("text"),
            "# Notes\n"
        );
    }
    assert!(
        report(&place, &run, &["--md", "notes.md", "--force"])
            .status
            .success()
    );
    assert!(report(&place, &run, &["--md", "notes.md"]).status.success());
    // A drawing of the user's that happens to have a plot's name.
    fs::create_dir_all(path("own/plots")).expect("makeable");
    for name in [
        "own/plots/throughput.svg",
        "own/plots/latency.svg",
        "own/plots/latency.png",
    ] {
        fs::write(path(name), "<svg>mine</svg>").expect("writable");
    }
    let out = report(&place, &run, &["--to", "own"]);
    assert_eq!(out.status.code(), Some(2), "{}", stdout(&out));
    assert!(
        !path("own/report.html").exists(),
        "nothing is written by halves"
    );
    assert_eq!(
        fs::read_to_string(path("own/plots/latency.png")).expect("text"),
        "<svg>mine</svg>"
    );
}

#[test]
fn of_a_link_the_file_is_replaced_and_rights_are_kept() {
    let (place, run) = measured();
    let path = |name: &str| place.path().join(name);
    fs::create_dir(path("kept")).expect("makeable");
    symlink("kept/page.html", path("link.html")).expect("makeable");
    for round in 0..2 {
        let out = report(&place, &run, &["--html", "link.html"]);
        assert!(out.status.success(), "{}", stderr(&out));
        assert!(
            fs::symlink_metadata(path("link.html"))
                .expect("there")
                .is_symlink(),
            "{round}"
        );
        fs::set_permissions(path("kept/page.html"), fs::Permissions::from_mode(0o600))
            .expect("ours");
    }
    let page = fs::metadata(path("kept/page.html")).expect("there");
    assert_eq!(page.permissions().mode() & 0o777, 0o600);
    // The same of what other verbs write.
    fs::write(path("prompts.txt"), "One question?\n").expect("writable");
    symlink("kept/set.jsonl", path("set.jsonl")).expect("makeable");
    for force in [&[][..], &["--force"]] {
        let out = place.run(
            &[
                &["prompts", "import", "prompts.txt", "--out", "set.jsonl"][..],
                force,
            ]
            .concat(),
        );
        assert!(out.status.success(), "{}", stderr(&out));
        assert!(
            fs::symlink_metadata(path("set.jsonl"))
                .expect("there")
                .is_symlink()
        );
    }
    symlink("kept/tiny.gguf", path("tiny.gguf")).expect("makeable");
    for force in [&[][..], &["--force"]] {
        let out = place.run(
            &[
                &["model", "synth", "tiny", "--output", "tiny.gguf"][..],
                force,
            ]
            .concat(),
        );
        assert!(out.status.success(), "{}", stderr(&out));
        assert!(
            fs::symlink_metadata(path("tiny.gguf"))
                .expect("there")
                .is_symlink()
        );
    }
    let again = place.run(&["model", "synth", "tiny", "--output", "tiny.gguf"]);
    assert_eq!(again.status.code(), Some(2));
    assert!(
        stderr(&again).contains("tiny.gguf: exists; --force replaces it"),
        "{}",
        stderr(&again)
    );
    let onto_folder = place.run(&["model", "synth", "tiny", "--output", "kept", "--force"]);
    assert!(
        stderr(&onto_folder).contains("kept: is a folder; name a file"),
        "{}",
        stderr(&onto_folder)
    );
}

#[test]
fn prompts_and_models_go_through_devices() {
    let place = Place::new();
    let path = |name: &str| place.path().join(name);
    if !device(&path("null"), "3") {
        return;
    }
    fs::write(path("prompts.txt"), "One question?\n").expect("writable");
    for args in [
        &[
            "prompts",
            "import",
            "prompts.txt",
            "--out",
            "null",
            "--force",
        ][..],
        &["prompts", "import", "prompts.txt", "--out", "null"],
        &["model", "synth", "tiny", "--output", "null", "--force"],
        &["model", "synth", "tiny", "--output", "null"],
    ] {
        let out = place.run(args);
        assert!(out.status.success(), "{args:?}: {}", stderr(&out));
        assert!(
            fs::symlink_metadata(path("null"))
                .expect("there")
                .file_type()
                .is_char_device()
        );
    }
    let tiny = tiny_model().to_str().expect("text");
    let out = place.run(&["model", "quantize", tiny, "q8_0", "null", "--force"]);
    assert_eq!(out.status.code(), Some(2));
    assert!(
        stderr(&out).contains("null: is no regular file"),
        "{}",
        stderr(&out)
    );
    assert!(
        fs::symlink_metadata(path("null"))
            .expect("there")
            .file_type()
            .is_char_device()
    );
}

#[test]
fn a_folder_for_runs_that_is_none_is_refused_before_anything_is_done() {
    let place = Place::new();
    fs::write(place.path().join("file"), "mine").expect("writable");
    symlink("nowhere", place.path().join("dangling")).expect("makeable");
    for name in ["file", "file/below", "dangling"] {
        let out = place.run(&["-m", "synth:tiny:q8_0", "--out", name]);
        assert_eq!(out.status.code(), Some(2), "{name}");
        assert!(
            stderr(&out).contains(&format!("error: {name}: ")),
            "{}",
            stderr(&out)
        );
    }
    assert_eq!(
        fs::read_to_string(place.path().join("file")).expect("text"),
        "mine"
    );
    assert!(
        fs::read_dir(place.path().join("gguf"))
            .expect("there")
            .next()
            .is_none()
    );
}

// --- ~ ---

#[test]
fn a_tilde_that_no_shell_expanded_is_the_home_folder() {
    let (place, run) = measured();
    let home = place.path().join("home");
    fs::create_dir(&home).expect("makeable");
    fs::copy(tiny_model(), home.join("tiny.gguf")).expect("copied");
    fs::write(
        home.join("prompts.jsonl"),
        "{\"id\":\"a\",\"class\":\"b\",\"text\":\"c\"}\n",
    )
    .expect("writable");
    fs::write(
        place.path().join("sweep.toml"),
        "model = [\"~/tiny.gguf\"]\nn_prompt = 8\nn_gen = 4\n",
    )
    .expect("writable");
    let at_home = |args: &[&str]| {
        let mut command = place.command();
        command
            .env("HOME", &home)
            .env("GGUFBENCH_MODELS", "~/models")
            .args(args);
        let out = command.output().expect("starts");
        assert!(out.status.success(), "{args:?}: {}", stderr(&out));
    };
    let run = run.to_str().expect("text");
    at_home(
        &[
            &["-m", "~/tiny.gguf", "--out=~/runs", "--no-report"][..],
            &QUICK,
        ]
        .concat(),
    );
    at_home(&["sweep", "sweep.toml", "--dry-run"]);
    at_home(&["model", "info", "~/*.gguf"]);
    at_home(&["prompts", "list", "--prompts=~/prompts.jsonl"]);
    at_home(&["prompts", "import", "~/prompts.jsonl", "--out=~/copy.jsonl"]);
    at_home(&["report", run, "--csv=~/cells.csv"]);
    at_home(&["report", run, "--to=~/report"]);
    at_home(&["gate", run, "--promote", "--history=~/history"]);
    at_home(&["model", "synth", "tiny", "q4_0"]);
    at_home(&["model", "synth", "tiny", "q4_0", "--output=~/own.gguf"]);
    at_home(&["model", "quantize", "~/tiny.gguf", "q8_0", "~/smaller.gguf"]);
    for made in [
        "runs",
        "copy.jsonl",
        "cells.csv",
        "report/report.html",
        "history/pinned",
        "models",
        "own.gguf",
        "smaller.gguf",
    ] {
        assert!(home.join(made).exists(), "{made}");
    }
    let others = place.run(&["-m", "synth:tiny:q8_0", "--out=~nobody-of-this-name/o"]);
    assert_eq!(others.status.code(), Some(2));
    let entries = fs::read_dir(place.path()).expect("there").flatten();
    let tildes = entries.filter(|e| e.file_name().to_string_lossy().starts_with('~'));
    assert_eq!(tildes.count(), 0);
}

// --- names that would steer a terminal ---

/// A tiny model whose own name is hostile, under a file name that is.
fn hostile(place: &Place) -> PathBuf {
    let name = "x\u{1b}]0;PWNED\u{7}\u{9b}2J\u{202e}gpj.exe\u{200b}";
    let mut bytes = fs::read(tiny_model()).expect("readable");
    let own = b"general.name";
    let at = bytes
        .windows(own.len())
        .position(|w| w == own)
        .expect("has a name")
        + own.len()
        + 4;
    let n = u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight"));
    let hostile: Vec<u8> = name
        .bytes()
        .cycle()
        .take(usize::try_from(n).expect("short"))
        .collect();
    bytes[at + 8..at + 8 + hostile.len()].copy_from_slice(&hostile);
    let path = place.path().join(format!("{name}.gguf"));
    fs::write(&path, bytes).expect("writable");
    path
}

fn is_harmless(text: &str) -> bool {
    text.chars()
        .all(|c| c == '\n' || ggufbench::text::is_harmless(c))
}

#[test]
fn nothing_of_foreign_origin_steers_a_terminal() {
    let place = Place::new();
    let model = hostile(&place);
    let model = model.to_str().expect("text");
    fs::copy(model, place.path().join("gguf/a\u{1b}[2Jb.gguf")).expect("copied");
    let bad = place.path().join("bad\u{1b}[31m\u{202e}.gguf");
    fs::write(&bad, "no model").expect("writable");
    let bad = bad.to_str().expect("text");
    let huge = "x".repeat(100_000);
    for args in [
        &["model", "info", model][..],
        &["model", "info", model, "--json"],
        &["model", "list"],
        &["-m", model, "--dry-run"],
        &["-m", bad],
        &["-m", &huge],
        &[
            "model",
            "info",
            "nothing\u{1b}]52;c;eA==\u{7}\nerror: not this",
        ],
        &["report", "nothing\u{9b}2J"],
        &["--no-such\u{1b}[2Jflag"],
        &[
            "-m",
            model,
            "-p",
            "8",
            "-n",
            "4",
            "-r",
            "1",
            "--replicates",
            "1",
            "-t",
            "1",
        ],
        &[
            "-m",
            model,
            "-p",
            "8",
            "-n",
            "4",
            "-r",
            "1",
            "--replicates",
            "1",
            "-t",
            "1",
            "-o",
            "md",
        ],
    ] {
        let out = place.run(args);
        for text in [stdout(&out), stderr(&out)] {
            assert!(is_harmless(&text), "{args:?}: {text:?}");
            let longest = text
                .lines()
                .map(|line| line.chars().count())
                .max()
                .unwrap_or(0);
            assert!(longest <= 4096, "{args:?}: {longest}");
        }
        let n_errors = stderr(&out)
            .lines()
            .filter(|l| l.starts_with("error: "))
            .count();
        assert!(n_errors <= 1, "{args:?}: {}", stderr(&out));
    }
    for run in fs::read_dir(place.out()).expect("there").flatten() {
        for name in ["report.html", "report.md", "cells.csv"] {
            let text = fs::read_to_string(run.path().join(name)).expect("text");
            assert!(is_harmless(&text.replace(['\t', '\r'], "")), "{name}");
        }
    }
}
