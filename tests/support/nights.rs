//! `ggufbench nightly` as scripts/nightly.sh starts it, night after night, with the cost-model engine in real worker processes.
#![allow(dead_code)] // each test file uses its own part

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use super::{Place, listen_to_signals, stderr, stdout};

/// Two cells, five processes each.
const SWEEP: &str = r#"
name = "small"
model = "synth:tiny:q4_0"
batch = [1, 8]
n_prompt = 8
n_gen = 16
[protocol]
replicates = 5
min_repetitions = 3
max_repetitions = 3
"#;

/// How many thousandths the whole machine is slower on some nights than on others.
const NIGHTS_DIFFER: [i32; 7] = [0, 3, -2, 4, -3, 1, -1];

/// The script that is tested.
pub fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/nightly.sh")
}

/// The engine of a night: `percent` slower than it should be, with noise of steps, processes and nights.
pub fn engine(day: u32, percent: i32) -> String {
    let night = NIGHTS_DIFFER[day as usize % NIGHTS_DIFFER.len()];
    let permille = (1000 + night) * (100 + percent);
    let (call_ns, token_ns) = (10 * permille, permille);
    format!(
        r#"synthetic:{{"call_ns":{call_ns},"token_ns":{token_ns},"past_ns":0,"sample_ns":0,"step_cv":0.02,"process_cv":0.004,"seed":{day}}}"#
    )
}

/// The same with something that goes wrong, such as `"fail_at_call":30`.
pub fn broken(day: u32, how: &str) -> String {
    engine(day, 0).replace("\"seed\"", &format!("{how},\"seed\""))
}

/// What a night is compared with.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ComparedWith {
    /// The promoted program, in turns: the script's default.
    InTurns,
    /// Other nights, unless its options say otherwise.
    OtherNights,
}

/// A machine on which the script runs.
pub struct Nights {
    compared: ComparedWith,
    /// Whether nights in turns get more time than they can need.
    pub has_ample_budget: bool,
    /// Its folder.
    pub place: Place,
    /// The program that the script finds.
    pub program: PathBuf,
}

/// What a night said.
pub struct Night {
    /// The exit code.
    pub code: i32,
    /// The summary, on standard output.
    pub summary: String,
    /// Standard error.
    pub said: String,
}

impl Night {
    /// From what a script that was run has said.
    pub fn of(output: &Output) -> Self {
        Self {
            code: output.status.code().expect("an exit code"),
            summary: stdout(output),
            said: stderr(output),
        }
    }

    /// The verdict in the title.
    pub fn verdict(&self) -> &str {
        let title = self.summary.lines().next().unwrap_or_default();
        title.strip_prefix("# Nightly: ").unwrap_or_default()
    }

    /// The text of a labelled line, unwrapped.
    pub fn labelled(&self, label: &str) -> String {
        let start = format!("- **{label}**: ");
        let mut lines = self.summary.lines().skip_while(|l| !l.starts_with(&start));
        let first = lines.next().unwrap_or_default();
        let mut text = first.strip_prefix(&start).unwrap_or_default().to_owned();
        for more in lines.take_while(|l| l.starts_with("  ")) {
            text.push(' ');
            text.push_str(more.trim());
        }
        text
    }

    /// What the script itself says on standard error.
    pub fn complaints(&self) -> Vec<&str> {
        let lines = self.said.lines();
        lines.filter_map(|l| l.strip_prefix("nightly: ")).collect()
    }

    /// The exit code and the verdict, or everything when they are others.
    #[track_caller]
    pub fn is(&self, code: i32, verdict: &str) {
        let Self { summary, said, .. } = self;
        assert_eq!(
            (self.code, self.verdict()),
            (code, verdict),
            "{summary}\n{said}"
        );
    }
}

impl Nights {
    /// Nights that are compared with other nights: of the engine that each is asked for.
    pub fn new() -> Self {
        Self::compared(ComparedWith::OtherNights)
    }

    /// Nights as the script has them by default: programs are measured in turns.
    pub fn in_turns() -> Self {
        Self::compared(ComparedWith::InTurns)
    }

    fn compared(compared: ComparedWith) -> Self {
        let place = Place::new();
        std::fs::write(place.path().join("sweep.toml"), SWEEP).expect("writable");
        let program = env!("CARGO_BIN_EXE_ggufbench").into();
        Self {
            compared,
            has_ample_budget: true,
            place,
            program,
        }
    }

    /// Puts another program in the place of the one the script finds: ours, but its workers run this engine.
    pub fn install(&mut self, name: &str, engine: &str) {
        self.install_script(name, &format!("set -- __worker --engine '{engine}'"));
    }

    /// Puts one there whose speed depends on its place: workers of its copy in the history run the engine `kept`, others `own`.
    pub fn install_by_place(&mut self, name: &str, kept: &str, own: &str) {
        let of = |engine: &str| format!("set -- __worker --engine '{engine}'");
        let choice = format!(
            "case $0 in */history/*) {} ;; *) {} ;; esac",
            of(kept),
            of(own)
        );
        self.install_script(name, &choice);
    }

    /// A program that runs this before it is a worker.
    fn install_script(&mut self, name: &str, before: &str) {
        use std::os::unix::fs::PermissionsExt;
        let text = format!(
            "#!/bin/sh\nif [ \"$1\" = __worker ]; then {before}; fi\nexec '{}' \"$@\"\n",
            env!("CARGO_BIN_EXE_ggufbench")
        );
        self.program = self.place.path().join(name);
        std::fs::write(&self.program, text).expect("writable");
        let executable = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(&self.program, executable).expect("ours");
    }

    /// The script with these options, and flags for the measuring.
    pub fn command(&self, options: &[&str], flags: &[&str]) -> Command {
        let mut command = Command::new("bash");
        command.arg(script());
        if !options.contains(&"--requests") {
            command.args(["--sweep", "sweep.toml"]);
        }
        let says = |option: &str| options.contains(&option);
        if self.compared == ComparedWith::OtherNights && !says("--paired") && !says("--requests") {
            command.arg("--nights");
        }
        let has_budget = [options, flags].concat();
        let has_budget = has_budget.iter().any(|word| word.starts_with("--budget"));
        if self.compared == ComparedWith::InTurns && !has_budget && self.has_ample_budget {
            // However busy the machine is, time decides no test.
            command.args(["--budget", "100h"]);
        }
        command
            .args(options)
            .arg("--")
            .args(flags)
            .current_dir(self.place.path())
            .env("GGUFBENCH", &self.program)
            .env("GGUFBENCH_MODELS", self.place.path().join("gguf"));
        listen_to_signals(&mut command);
        command
    }

    /// A night with this engine.
    pub fn night(&self, options: &[&str], engine: &str) -> Night {
        self.night_with(options, &["--engine", engine])
    }

    /// A night with these flags for the measuring.
    pub fn night_with(&self, options: &[&str], flags: &[&str]) -> Night {
        let output = self.command(options, flags).output();
        Night::of(&output.expect("bash starts"))
    }

    pub fn history(&self) -> PathBuf {
        self.place.out().join("history")
    }

    /// The promoted night.
    pub fn pinned(&self) -> Option<String> {
        let name = std::fs::read_to_string(self.history().join("pinned")).ok()?;
        Some(name.trim().to_owned())
    }

    /// The nights in the history, oldest first.
    pub fn kept(&self) -> Vec<String> {
        folders(&self.history())
    }

    /// The runs, oldest first; reruns too.
    pub fn runs(&self) -> Vec<String> {
        let mut runs = folders(&self.place.out());
        // Beside them stand the history, and the files of the trend.
        runs.retain(|name| name != "history");
        runs
    }

    /// The nights of which a program is kept.
    pub fn programs(&self) -> Vec<String> {
        let mut nights = self.kept();
        nights.retain(|night| self.history().join(night).join("ggufbench").exists());
        nights
    }
}

fn folders(path: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(path) else {
        return Vec::new();
    };
    let mut names: Vec<String> = entries
        .flatten()
        .filter(|e| e.path().is_dir())
        .filter_map(|e| e.file_name().into_string().ok())
        .collect();
    names.sort();
    names
}
