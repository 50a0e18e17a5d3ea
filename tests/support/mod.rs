//! What every integration test needs: the program, a tiny real model, and a run's record.
#![allow(dead_code)] // each test file uses its own part
#![allow(clippy::print_stderr)] // for whoever runs the tests

#[cfg(unix)]
pub mod bench;
pub mod fuzz;
pub mod gguf;
pub mod nights;
pub mod offload;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use ggufbench::record::jsonl::{self, locate};
use ggufbench::record::requests::{JobLine, RequestLine};
use ggufbench::record::{Line, RunHeader};

/// A place of its own for one test, with its own model folder.
pub struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        std::fs::create_dir(folder.path().join("gguf")).expect("a model folder");
        Self { folder }
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn out(&self) -> PathBuf {
        self.path().join("out")
    }

    /// The program, run here, with a model folder of its own.
    pub fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ggufbench"));
        command
            .current_dir(self.path())
            .env("GGUFBENCH_MODELS", self.path().join("gguf"))
            .env("XDG_CACHE_HOME", self.path().join("cache"))
            .env("NO_COLOR", "1");
        listen_to_signals(&mut command);
        command
    }

    pub fn run(&self, args: &[&str]) -> Output {
        self.command()
            .args(args)
            .output()
            .expect("the program starts")
    }

    /// The only run below `out`.
    pub fn the_run(&self) -> PathBuf {
        let runs: Vec<PathBuf> = std::fs::read_dir(self.out())
            .expect("out exists")
            .map(|e| e.expect("readable").path())
            .collect();
        assert_eq!(runs.len(), 1, "one run: {runs:?}");
        runs[0].clone()
    }
}

/// A tiny llama-shaped model of random weights, written once for all tests of a file.
pub fn tiny_model() -> &'static Path {
    static MODEL: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    let (_, path) = MODEL.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("tiny.gguf");
        let made = Command::new(env!("CARGO_BIN_EXE_ggufbench"))
            .args(["model", "synth", "tiny", "f16", "--output"])
            .arg(&path)
            .output()
            .expect("the program starts");
        assert!(made.status.success(), "{}", stderr(&made));
        (folder, path)
    });
    path
}

/// The program hears the signals that end it, also where the tests were started with some of them ignored (`nohup`, a job in the
/// background).
pub fn listen_to_signals(command: &mut Command) {
    #[cfg(unix)]
    {
        use std::os::unix::process::CommandExt as _;
        let listen = || {
            for signal in [libc::SIGHUP, libc::SIGINT, libc::SIGTERM] {
                // SAFETY: only a system call, which is all that a child may make before it runs its program.
                unsafe { libc::signal(signal, libc::SIG_DFL) };
            }
            Ok(())
        };
        // SAFETY: the closure allocates nothing and takes no lock.
        unsafe { command.pre_exec(listen) };
    }
}

/// Sends a process a signal such as `-INT`; false when it is gone already.
pub fn signal(pid: u32, name: &str) -> bool {
    let sent = Command::new("kill")
        .args([name, &pid.to_string()])
        .stderr(std::process::Stdio::null())
        .status();
    sent.expect("kill exists").success()
}

pub fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("text")
}

/// Standard error, without what a debug build says before it measures: these tests run in such builds too.
pub fn stderr(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    let lines = text.split_inclusive('\n');
    lines
        .filter(|line| !line.contains("this is a debug build"))
        .collect()
}

/// A run's record, read whole.
pub fn record(run: &Path) -> (RunHeader, Vec<Line>) {
    let mut lines = Vec::new();
    let header = jsonl::read(run, |line| lines.push(line)).expect("a readable record");
    (header, lines)
}

/// The record's lines as JSON, as anyone else would read them.
pub fn json_lines(run: &Path) -> Vec<serde_json::Value> {
    std::fs::read_to_string(locate(run))
        .expect("readable")
        .lines()
        .map(|l| serde_json::from_str(l).expect("JSON"))
        .collect()
}

/// Checks values against a schema of the project; there must be one value at least.
#[track_caller]
pub fn follow(schema: &str, values: impl IntoIterator<Item = serde_json::Value>) {
    let path = format!("{}/schema/{schema}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).expect("committed");
    let schema = serde_json::from_str(&text).expect("JSON");
    let schema = jsonschema::validator_for(&schema).expect("a valid schema");
    let mut n = 0;
    for value in values {
        let errors: Vec<String> = schema.iter_errors(&value).map(|e| e.to_string()).collect();
        assert!(errors.is_empty(), "{path}: {errors:?}: {value}");
        n += 1;
    }
    assert!(n > 0, "{path}: nothing to check");
}

/// Every finished repetition's place in the run: cell, replicate, number.
pub fn repetitions(lines: &[Line]) -> Vec<(String, u32, u32)> {
    lines
        .iter()
        .filter_map(|line| match line {
            Line::Repetition(r) => Some((r.case_id.to_string(), r.replicate, r.repetition)),
            _ => None,
        })
        .collect()
}

/// How many whole lines a record has that may still be written, or not exist.
pub fn json_lines_or_empty(run: &Path) -> usize {
    std::fs::read(locate(run)).map_or(0, |bytes| bytes.iter().filter(|b| **b == b'\n').count())
}

/// The real SmolLM2-135M, fetched once into the checkout's model folder.
pub fn smollm2(name: &str) -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let fetched = Command::new(env!("CARGO_BIN_EXE_ggufbench"))
        .current_dir(root)
        .args(["model", "fetch", name])
        .output()
        .expect("the program starts");
    if fetched.status.success() {
        return Some(PathBuf::from(stdout(&fetched).trim()));
    }
    assert!(
        std::env::var_os("GGUFBENCH_OFFLINE").is_some(),
        "cannot fetch {name} (set GGUFBENCH_OFFLINE=1 to test without a network): {}",
        stderr(&fetched)
    );
    eprintln!("skipped: no network, no {name}");
    None
}

/// A run's requests and jobs, every line of its record held against the schema.
#[track_caller]
pub fn record_of_requests(run: &Path) -> (Vec<RequestLine>, Vec<JobLine>) {
    follow("run.schema.json", json_lines(run));
    let (mut requests, mut jobs) = (Vec::new(), Vec::new());
    for line in record(run).1 {
        match line {
            Line::Request(r) => requests.push(*r),
            Line::Job(j) => jobs.push(*j),
            _ => {}
        }
    }
    (requests, jobs)
}
