//! What can be typed after `devices`.

use clap::Args;

use super::WorkerArgs;
use crate::plan::RpcServers;
use crate::report::DocumentForm;

/// A list of what the engine can compute on.
#[derive(Debug, Clone, Args)]
pub struct DevicesArgs {
    /// RPC servers whose devices are listed too
    #[arg(
        long,
        value_name = "HOST:PORT,...",
        default_value_t,
        hide_default_value = true
    )]
    pub rpc: RpcServers,
    /// Compare each device's results with the CPU's on this model: logits of a text, and greedy tokens after it; exit 1 where
    /// they differ by more than kernels round
    #[arg(short = 'm', long = "check", value_name = "MODEL")]
    pub check: Option<String>,
    /// Compare in this process and not in one of its own; the program says so to itself
    #[arg(long, hide = true, requires = "check")]
    pub in_process: bool,
    /// Form of the answer on standard output
    #[arg(short = 'o', long, value_enum, default_value_t)]
    pub output: DocumentForm,
    /// The engine that is asked.
    #[command(flatten)]
    pub worker: WorkerArgs,
}
