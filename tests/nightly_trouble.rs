//! `ggufbench nightly` when nights overlap, are killed or interrupted, and when the disk is full.
#![cfg(target_os = "linux")]

mod support;

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use support::nights::{Nights, broken, engine, script};
use support::{json_lines_or_empty, stderr, stdout};

/// Never answers in the middle of a repetition: the night hangs until somebody ends it.
const HANGS: &str = r#""hang_at_call":100"#;

/// A night in the background that hangs, once it has measured something.
fn hanging(nights: &Nights) -> Child {
    let before = nights.runs();
    let child = nights
        .command(&[], &["--engine", &broken(2, HANGS)])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("bash starts");
    let measured = |run: &String| json_lines_or_empty(&nights.place.out().join(run)) > 2;
    while !nights
        .runs()
        .iter()
        .any(|run| !before.contains(run) && measured(run))
    {
        std::thread::park_timeout(Duration::from_millis(5));
    }
    child
}

/// The measuring that a night has started.
fn measuring_of(night: u32) -> u32 {
    let children = std::fs::read_to_string(format!("/proc/{night}/task/{night}/children"));
    let is_sweep = |pid: &&str| {
        let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&command).contains("\0sweep\0")
    };
    let children = children.expect("it lives");
    let pid = children.split_whitespace().find(is_sweep);
    pid.expect("it measures").parse().expect("a number")
}

#[test]
fn one_night_at_a_time_and_a_killed_one_leaves_no_lock() {
    let nights = Nights::new();
    nights
        .night(&[], &engine(1, 0))
        .is(0, "first night, not judged");
    let mut first = hanging(&nights);
    let second = nights.night(&["--summary", "second.md"], &engine(3, 0));
    assert_eq!(
        (second.code, second.summary.as_str()),
        (2, ""),
        "{}",
        second.said
    );
    let holder = format!(
        "another nightly holds out/nightly.lock: process {} since ",
        first.id()
    );
    assert!(
        second.complaints()[0].starts_with(&holder),
        "{}",
        second.said
    );
    assert!(!nights.place.path().join("second.md").exists());

    let elsewhere = ["--out", "elsewhere", "--history", "out/history"];
    let other = nights.night(&elsewhere, &engine(3, 0));
    let holder = "another nightly holds out/history/nightly.lock: process ";
    assert!(other.complaints()[0].starts_with(holder), "{}", other.said);

    let orphan = measuring_of(first.id());
    assert!(support::signal(first.id(), "-KILL"));
    first.wait().expect("a child of ours");
    let while_measuring = nights.night(&[], &engine(3, 0));
    assert_eq!(while_measuring.code, 2, "{}", while_measuring.said);
    let complaint = while_measuring.complaints()[0];
    assert!(
        complaint.contains("was killed, but what it started still measures"),
        "{complaint}"
    );

    assert!(support::signal(orphan, "-KILL"));
    let mut third = nights.night(&[], &engine(3, 0));
    // Its worker needs a moment to see that nobody is there any more.
    while third.said.contains("still measures") {
        third = nights.night(&[], &engine(3, 0));
    }
    third.is(0, "pass");
    // Wherever the lines were broken, and whichever number a folder of the same second got.
    let words: Vec<&str> = third.summary.split_whitespace().collect();
    let text = words.join(" ");
    assert!(text.contains("its lock was taken over"), "{text}");
    assert!(text.contains(" (unfinished)"), "{text}");
    let fourth = nights.night(&[], &engine(4, 0));
    fourth.is(0, "pass");
    assert_eq!(fourth.labelled("note"), "", "said once");
    // With a history of its own: two folders may give two runs of one second the same name.
    let fifth = nights.night(&["--out", "elsewhere"], &engine(5, 0));
    fifth.is(0, "first night, not judged");
    assert_eq!(fifth.labelled("note"), "", "waiting in vain is no crash");
    assert_eq!(
        nights.kept().len(),
        3,
        "the unfinished night is in no history"
    );
    assert_eq!(nights.runs().len(), 4, "and is left where it was");
}

#[test]
fn an_interrupted_night_says_so() {
    let nights = Nights::new();
    nights
        .night(&[], &engine(1, 0))
        .is(0, "first night, not judged");
    let child = hanging(&nights);
    assert!(support::signal(child.id(), "-TERM"));
    // The first asks it to finish the repetition in hand, which this engine never does.
    let measuring = measuring_of(child.id());
    while Path::new(&format!("/proc/{measuring}/exe")).exists() {
        std::thread::park_timeout(Duration::from_millis(50));
        assert!(support::signal(child.id(), "-TERM"));
    }
    let output = child.wait_with_output().expect("a child of ours");
    assert_eq!(output.status.code(), Some(130));
    let text = stdout(&output);
    assert!(text.starts_with("# Nightly: interrupted\n"), "{text}");
    assert!(text.contains("left where it is"), "{text}");
    let next = nights.night(&[], &engine(3, 0));
    next.is(0, "pass");
    assert!(
        next.labelled("note").contains("(unfinished)"),
        "{}",
        next.summary
    );
    assert!(!next.summary.contains("lock was taken"), "{}", next.summary);
}

/// Nights on a small file system of their own, filled up at the worst moments.
#[test]
fn a_full_disk() {
    let nights = Nights::new();
    let place = nights.place.path();
    // A program that fills the disk before it does the subcommand that $FILL_AT names.
    let program = format!(
        "#!/bin/sh\ncase \"$1 $2\" in \"${{FILL_AT:-never}}\"*) cat /dev/zero >disk/filler 2>/dev/null;; esac\nexec '{}' \"$@\"\n",
        env!("CARGO_BIN_EXE_ggufbench")
    );
    std::fs::write(place.join("program"), program).expect("writable");
    let script = format!(
        "mkdir disk && mount -t tmpfs -o size=48m none disk || exit 77
         chmod +x program; export GGUFBENCH=$PWD/program
         night() {{
             echo \"=== $1\"
             bash '{script}' --sweep sweep.toml --out disk/out -- --engine '{engine}' 2>said
             echo \"code $?\"; grep '^nightly: ' said; rm -f disk/filler
         }}
         night first
         head -c 45000000 /dev/zero >disk/filler; night before
         FILL_AT='ab --sweep'; export FILL_AT; night measuring
         FILL_AT='gate '; night judging
         FILL_AT=; night after; ls disk/out/history",
        script = script().display(),
        engine = engine(1, 0),
    );
    let out = Command::new("unshare")
        .args(["-rm", "sh", "-c", &script])
        .current_dir(place)
        .env("GGUFBENCH_MODELS", place.join("gguf"))
        .output();
    let Ok(out) = out else {
        eprintln!("skipped: no unshare on this machine");
        return;
    };
    if out.status.code() == Some(77) || stderr(&out).contains("unshare") {
        eprintln!("skipped: this user may not mount: {}", stderr(&out));
        return;
    }
    let text = stdout(&out);
    let nights: Vec<&str> = text.split("=== ").skip(1).collect();
    let complaint = |at: usize| {
        let of: Vec<&str> = nights[at]
            .lines()
            .filter(|l| l.starts_with("nightly: "))
            .collect();
        assert!(of.len() <= 1, "one line: {of:?}");
        of.first().copied().unwrap_or_default()
    };
    for (at, (code, needle)) in [
        (0, ""),
        (2, "the disk is full: disk/out has "),
        (2, "No space left on device"),
        (2, "No space left on device"),
        (0, ""),
    ]
    .into_iter()
    .enumerate()
    {
        assert!(
            nights[at].contains(&format!("\ncode {code}\n")),
            "{at}: {text}"
        );
        assert!(complaint(at).contains(needle), "{at}: {text}");
    }
    assert!(nights[4].contains("# Nightly: pass\n"), "{text}");
}
