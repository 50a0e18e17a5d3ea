//! Which benchmark a program is.

use std::fmt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::child;
use crate::run::Interrupt;

/// How long a program may take to print its help.
const HELP_TIMEOUT: Duration = Duration::from_secs(30);

/// A benchmark whose flags and output this program knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum ForeignKind {
    /// llama.cpp's llama-bench: one sequence
    LlamaBench,
    /// llama.cpp's llama-batched-bench: several sequences decoded together
    LlamaBatchedBench,
    /// A build of this program
    Ggufbench,
}

impl fmt::Display for ForeignKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LlamaBench => "llama-bench",
            Self::LlamaBatchedBench => "llama-batched-bench",
            Self::Ggufbench => "ggufbench",
        })
    }
}

impl ForeignKind {
    /// By the file's name, else by what `--help` prints.
    pub(super) fn of_program(path: &Path) -> Result<Self, String> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if let Some(kind) = Self::of_name(&name) {
            return Ok(kind);
        }
        let mut help = Command::new(path);
        let said = child::run(
            help.arg("--help"),
            Some(HELP_TIMEOUT),
            &Interrupt::default(),
        );
        let said = said.map(|said| said.stdout + &said.stderr);
        said.ok().and_then(|said| Self::of_help(&said)).ok_or_else(|| {
            format!(
                "{}: neither its name nor its --help shows which benchmark it is; say --program-kind llama-bench, \
                 llama-batched-bench or ggufbench",
                path.display()
            )
        })
    }

    /// As a file's name shows.
    pub(crate) fn of_name(name: &str) -> Option<Self> {
        if name.contains("batched-bench") {
            Some(Self::LlamaBatchedBench)
        } else if name.contains("llama-bench") {
            Some(Self::LlamaBench)
        } else if name.contains("ggufbench") {
            Some(Self::Ggufbench)
        } else {
            None
        }
    }

    fn of_help(help: &str) -> Option<Self> {
        if help.contains("ggufbench") {
            Some(Self::Ggufbench)
        } else if help.contains("-npl") {
            Some(Self::LlamaBatchedBench)
        } else if help.contains("-pg") && help.contains("--n-gen") {
            Some(Self::LlamaBench)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_helps_show_the_kind() {
        for (name, kind) in [
            ("llama-bench", Some(ForeignKind::LlamaBench)),
            ("llama-bench.exe", Some(ForeignKind::LlamaBench)),
            (
                "my-llama-batched-bench",
                Some(ForeignKind::LlamaBatchedBench),
            ),
            ("ggufbench", Some(ForeignKind::Ggufbench)),
            ("bench", None),
        ] {
            assert_eq!(ForeignKind::of_name(name), kind, "{name}");
        }
        let of_help = ForeignKind::of_help;
        assert_eq!(
            of_help("usage: x [options]\n  -n, --n-gen <n>\n  -pg <pp,tg>"),
            Some(ForeignKind::LlamaBench)
        );
        assert_eq!(
            of_help("  x -m model.gguf -npp 128 -npl 1,2"),
            Some(ForeignKind::LlamaBatchedBench)
        );
        assert_eq!(of_help("usage: tar"), None);
    }
}
