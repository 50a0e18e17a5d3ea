//! What can be typed after `rpc-worker`.

use clap::Args;

use crate::plan::{Devices, MAX_THREADS};

/// The other end of `--rpc`.
#[derive(Debug, Clone, Args)]
pub struct RpcWorkerArgs {
    /// IPv4 address and port to listen on. Only this machine's own programs reach a loopback address
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:50052")]
    pub listen: String,
    /// Listen on an address that other machines reach. The protocol has no authentication and no encryption: only in a
    /// network where every machine is trusted
    #[arg(long)]
    pub allow_remote: bool,
    /// Threads of the CPU [default: the cores this process may use]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_THREADS)))]
    pub threads: Option<u32>,
    /// Devices to offer, as `ggufbench devices` names them [default: the GPUs, or the CPU where there is none] (-dev)
    #[arg(
        long,
        value_name = "NAME,...",
        default_value_t,
        hide_default_value = true
    )]
    pub device: Devices,
}
