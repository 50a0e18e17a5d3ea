//! What reaches the engine past the flags, and what the engine says when it refuses.

mod support;

use ggufbench::record::{Line, Outcome};
use support::{Place, record, stderr, tiny_model};

const SHORT: [&str; 10] = [
    "--n-prompt",
    "8",
    "--n-gen",
    "4",
    "--replicates",
    "1",
    "--repetitions",
    "1",
    "--n-ctx",
    "256",
];

#[test]
fn variables_that_take_threads_away_do_not_reach_workers() {
    let place = Place::new();
    let mut command = place.command();
    command
        .arg("-m")
        .arg(tiny_model())
        .args(SHORT)
        .args(["--threads", "3"])
        .env("OMP_THREAD_LIMIT", "1")
        .env("OMP_DYNAMIC", "true")
        .env("OMP_WAIT_POLICY", "passive");
    let out = command.output().expect("the program starts");
    assert_eq!(out.status.code(), Some(0), "{}", stderr(&out));
    let table = support::stdout(&out);
    for name in ["OMP_THREAD_LIMIT", "OMP_DYNAMIC", "OMP_WAIT_POLICY=passive"] {
        assert!(table.contains(name), "{name}: {table}");
    }
    let (header, lines) = record(&place.the_run());
    let environment = &header.machine.environment;
    assert_eq!(environment.cleared, ["OMP_DYNAMIC", "OMP_THREAD_LIMIT"]);
    assert_eq!(environment.acting["OMP_WAIT_POLICY"], "passive");
    let cells: Vec<_> = lines
        .iter()
        .filter_map(|line| match line {
            Line::Cell(cell) => Some(cell),
            _ => None,
        })
        .collect();
    let opened = cells[0].opened.as_ref().expect("measured");
    if cfg!(target_os = "linux") {
        assert_eq!(opened.n_threads, Some(3));
    }
    let found = cells[0].found.as_ref().expect("the engine logs");
    assert_eq!(
        (found.flash_attn, found.kv_unified),
        (Some(true), Some(false))
    );
    let kv = found
        .buffers
        .iter()
        .find(|b| b.holds == "KV")
        .expect("a cache");
    // Two layers of two KV heads of 64, K and V, F16.
    assert_eq!(kv.bytes, 256 * 2 * 2 * 64 * 2 * 2);
}

#[test]
fn a_refused_cell_has_the_engines_own_reason() {
    let place = Place::new();
    let odd = place.path().join("odd.gguf");
    let odd = odd.to_str().expect("text");
    let made = place.run(&[
        "model", "synth", "tiny", "q8_0", "--n-embd", "160", "--output", odd,
    ]);
    assert!(made.status.success(), "{}", stderr(&made));
    // Heads of 40 are no multiple of a block of 32.
    for flags in [["--type-k", "q8_0"], ["--type-v", "q4_0"]] {
        let folder = flags[0].trim_start_matches('-').to_owned();
        let args: Vec<&str> = ["-m", odd, "--out", folder.as_str()]
            .into_iter()
            .chain(SHORT)
            .chain(flags)
            .collect();
        let out = place.run(&args);
        assert_eq!(out.status.code(), Some(1), "{}", stderr(&out));
        // However the lines are broken.
        let table = support::stdout(&out);
        let table = table.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(
            table.contains("does not divide") && table.contains("40"),
            "{table}"
        );
        assert!(!table.contains("null"), "{table}");
        let runs = std::fs::read_dir(place.path().join(&folder)).expect("runs");
        let run = runs
            .map(|e| e.expect("readable").path())
            .next()
            .expect("one");
        let (_, lines) = record(&run);
        let reason = lines.iter().find_map(|line| match line {
            Line::Cell(cell) => match &cell.outcome {
                Outcome::Failed { reason } => Some(reason.clone()),
                _ => None,
            },
            _ => None,
        });
        let reason = reason.expect("a failed cell");
        assert!(reason.contains("block size 32 does not divide"), "{reason}");
    }
}
