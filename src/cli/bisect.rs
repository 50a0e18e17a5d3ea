//! What can be typed after `bisect` and `bisect-step`.

use std::path::PathBuf;

use clap::Args;

use super::AxisArgs;
use super::judging::share;
use crate::foreign::ForeignKind;
use crate::report::DocumentForm;

/// A search for the commit that made it slow.
#[derive(Debug, Clone, Args)]
pub struct BisectArgs {
    /// A revision that is known to be fast; an ancestor of the bad one
    #[arg(long, value_name = "REV", help_heading = "Search")]
    pub good: String,
    /// A revision that is slow
    #[arg(
        long,
        value_name = "REV",
        default_value = "HEAD",
        help_heading = "Search"
    )]
    pub bad: String,
    /// What is built and measured.
    #[command(flatten)]
    pub revisions: RevisionArgs,
    /// Wall time for everything; what was answered by then is kept, and the same command goes on
    #[arg(long, value_name = "TIME", help_heading = "Protocol")]
    pub budget: Option<String>,
    /// Form of the result on standard output
    #[arg(short = 'o', long, value_enum, default_value_t)]
    pub output: DocumentForm,
}

/// One step of `git bisect run`.
#[derive(Debug, Clone, Args)]
pub struct BisectStepArgs {
    /// The revision that is known to be fast; it is built once
    #[arg(
        long,
        value_name = "REV",
        required_unless_present = "good_program",
        conflicts_with = "good_program",
        help_heading = "Search"
    )]
    pub good: Option<String>,
    /// The fast program, built before, instead of --good
    #[arg(long, value_name = "PATH", help_heading = "Search")]
    pub good_program: Option<PathBuf>,
    /// The program of the current revision, built before [default: HEAD is built]
    #[arg(long, value_name = "PATH", help_heading = "Search")]
    pub built: Option<PathBuf>,
    /// What is built and measured.
    #[command(flatten)]
    pub revisions: RevisionArgs,
}

/// How revisions are built and measured.
#[derive(Debug, Clone, Args)]
pub struct RevisionArgs {
    /// The cell: one value of each axis.
    #[command(flatten)]
    pub axes: AxisArgs,
    /// The checkout; it is only read
    #[arg(long, value_name = "DIR", default_value = ".", help_heading = "Search")]
    pub repo: PathBuf,
    /// Command that builds a revision, for sh in the folder of its files [default: llama.cpp's benchmark with cmake]
    #[arg(
        long,
        value_name = "CMD",
        requires = "program",
        help_heading = "Search"
    )]
    pub build: Option<String>,
    /// The benchmark that the build makes, as a path in that folder [default: build/bin/llama-batched-bench]
    #[arg(long, value_name = "PATH", help_heading = "Search")]
    pub program: Option<PathBuf>,
    /// Which benchmark the program is [default: as its file name shows]
    #[arg(long, value_enum, value_name = "KIND", help_heading = "Search")]
    pub program_kind: Option<ForeignKind>,
    /// Folder of builds, by commit, and of finished steps [default: out/bisect]
    #[arg(long, value_name = "DIR", help_heading = "Search")]
    pub cache: Option<PathBuf>,
    /// Slow-downs up to this do not matter [default: 2%]
    #[arg(long, value_name = "SHARE", value_parser = share, help_heading = "Protocol")]
    pub same_within: Option<f64>,
    /// Chance of a wrong result that is accepted: of `bisect` over all its steps [default: 5%], of `bisect-step` in one [default: 1%]
    #[arg(long, value_name = "SHARE", value_parser = share, help_heading = "Protocol")]
    pub error: Option<f64>,
    /// Most pairs of visits for a revision; one that is not decided by then is left out
    #[arg(
        long,
        value_name = "N",
        default_value_t = 60,
        help_heading = "Protocol"
    )]
    pub max_pairs: usize,
    /// Repetitions of each visit [default: 3]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), help_heading = "Protocol")]
    pub repetitions: Option<u32>,
    /// Kill a benchmark that does not end within this [default: 30m]
    #[arg(long, value_name = "TIME", help_heading = "Protocol")]
    pub timeout: Option<String>,
    /// Seed of the order of the turns [default: 42]
    #[arg(long, value_name = "N", help_heading = "Protocol")]
    pub seed: Option<u64>,
}
