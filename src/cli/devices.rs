//! What can be typed after `devices`.

use clap::Args;

use super::WorkerArgs;
use crate::report::Form;

/// A list of what the engine can compute on.
#[derive(Debug, Clone, Args)]
pub struct DevicesArgs {
    /// Form of the answer on standard output
    #[arg(short = 'o', long, value_enum, default_value_t)]
    pub output: Form,
    /// The engine that is asked.
    #[command(flatten)]
    pub worker: WorkerArgs,
}
