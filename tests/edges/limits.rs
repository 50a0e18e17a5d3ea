//! Limits of the shell and variables of OpenMP: an error in one line, or no difference.

use std::process::{Command, Output};

use super::support::{Place, stderr, stdout, tiny_model};
use super::{QUICK, quick};

/// Runs the program after a shell's command.
fn after(place: &Place, first: &str, args: &[&str]) -> Output {
    let program = place.command();
    let mut shell = Command::new("sh");
    shell
        .args(["-c", &format!("{first}; exec \"$@\""), "sh"])
        .arg(program.get_program())
        .args(args)
        .current_dir(place.path())
        .envs(program.get_envs().filter_map(|(k, v)| Some((k, v?))));
    shell.output().expect("sh exists")
}

#[test]
fn a_file_that_meets_a_limit_is_an_error_in_one_line() {
    let place = Place::new();
    let model = tiny_model().to_str().expect("text");
    let out = after(&place, "ulimit -f 1", &quick(model, &["--no-report"]));
    assert_eq!(out.status.code(), Some(2), "{}", stderr(&out));
    assert!(stderr(&out).contains("File too large"), "{}", stderr(&out));
}

#[test]
fn a_report_that_cannot_be_written_loses_no_table() {
    let place = Place::new();
    // The record has about 25 KB, the report's page about 100.
    let model = tiny_model().to_str().expect("text");
    let args = [
        "-m",
        model,
        "--engine",
        "synthetic",
        "--batch",
        "1,8",
        "-n",
        "16",
        "-r",
        "3",
        "--replicates",
        "1",
    ];
    let out = after(&place, "ulimit -f 120", &args);
    assert_eq!(out.status.code(), Some(1), "{}", stderr(&out));
    assert!(stdout(&out).contains("speed-up"), "{}", stdout(&out));
    let said = stderr(&out);
    assert!(
        said.contains("no report: ") && said.contains("--to FOLDER"),
        "{said}"
    );
}

#[test]
#[cfg(target_os = "linux")]
fn a_limit_of_addresses_is_no_abort() {
    let place = Place::new();
    let model = tiny_model().to_str().expect("text");
    let args = quick(model, &["--dry-run"]);
    let out = after(&place, "ulimit -v 600000", &args);
    assert_eq!(out.status.code(), Some(0), "{}", stderr(&out));
}

#[test]
#[cfg(target_os = "linux")]
fn openmp_binds_workers_and_not_what_starts_them() {
    let place = Place::new();
    let model = tiny_model().to_str().expect("text");
    let threads = |bind: &str| {
        let cell = QUICK.trim_end_matches(" -t 1");
        let args: Vec<&str> = ["-m", model, "--dry-run"]
            .into_iter()
            .chain(cell.split(' '))
            .collect();
        let out = after(&place, &format!("export OMP_PROC_BIND={bind}"), &args);
        assert!(out.status.success(), "{}", stderr(&out));
        let plan = stdout(&out);
        let cells = plan.lines().find(|l| l.starts_with("cells"));
        cells.expect("the plan names its axes").to_owned()
    };
    assert!(threads("false").contains("threads"));
    assert_eq!(threads("true"), threads("false"));
}
