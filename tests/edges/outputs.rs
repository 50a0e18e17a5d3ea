//! What a path names: files, links, folders, pipes, devices.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _, symlink};
use std::process::Command;

use super::support::{Place, stderr, stdout, tiny_model};
use super::{device, measured, report};

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
        "own/plots/latency_distribution.svg",
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
