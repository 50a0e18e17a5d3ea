//! What can be typed of other benchmark programs.

use std::path::PathBuf;

use clap::Args;

use crate::foreign::ForeignKind;

/// Other programs as the sides of `ab`.
#[derive(Debug, Clone, Default, Args)]
pub struct ProgramArgs {
    /// Side A's benchmark: a llama-bench or llama-batched-bench of any build or fork, or a ggufbench; its repetitions are the
    /// observations [default: this program]
    #[arg(long, value_name = "PATH", conflicts_with_all = ["worker_a", "worker_b", "llama_a", "llama_b"], help_heading = "Sides")]
    pub program_a: Option<PathBuf>,
    /// Side B's benchmark [default: this program]
    #[arg(long, value_name = "PATH", conflicts_with_all = ["worker_a", "worker_b", "llama_a", "llama_b"], help_heading = "Sides")]
    pub program_b: Option<PathBuf>,
    /// Which benchmark the programs are [default: as their file names or their --help show]
    #[arg(long, value_enum, value_name = "KIND", help_heading = "Sides")]
    pub program_kind: Option<ForeignKind>,
}
