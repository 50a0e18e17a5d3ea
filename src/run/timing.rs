//! Timing kernels, in the worker.

use std::time::Duration;

use anyhow::{Result, bail};

use super::protocol::{Reply, Request};
use super::worker::{Requests, error, reply};
use crate::engine::clock::MonotonicClock;
use crate::engine::kernel::{KernelBackend, KernelDevice};
use crate::host;
use crate::host::process;
use crate::host::usage::UsageSnapshot;
use crate::measure::kernel::time_kernel;

/// What a thread of the engine has for itself: its stack, and what the allocator keeps for it.
const THREAD_BYTES: u64 = 16 << 20;

/// What the process takes besides the kernels' data.
const REST_BYTES: u64 = 128 << 20;

/// Serves requests of kernels until the supervisor is gone.
pub(super) fn serve(
    device: KernelDevice,
    n_threads: u32,
    most_bytes: u64,
    requests: &Requests,
) -> Result<()> {
    let backend = match KernelBackend::open(device, n_threads) {
        Ok(backend) => backend,
        Err(e) => return reply(&error(&e)),
    };
    if device == KernelDevice::Cpu {
        let threads = THREAD_BYTES.saturating_mul(n_threads.into());
        let bytes = most_bytes
            .saturating_add(threads)
            .saturating_add(REST_BYTES);
        // Sizes are known beforehand; this is for what was not thought of, where the system offers it.
        let _ = process::limit_memory_of_self(bytes);
    }
    reply(&Reply::KernelsOpened)?;
    let before = UsageSnapshot::take();
    let clock = MonotonicClock::start();
    while let Some(request) = requests.next() {
        let usage = || UsageSnapshot::take().since(&before);
        match request {
            Request::ReadRate { rounds, round_ns } => {
                let round = Duration::from_nanos(round_ns);
                match host::read_rate_ceiling(n_threads, rounds, round, most_bytes) {
                    Ok(rate) => {
                        let usage = usage();
                        reply(&Reply::ReadRate { rate, usage })?;
                    }
                    Err(e) => reply(&error(&e))?,
                }
            }
            Request::TimeKernel {
                kernel,
                loads,
                effort,
            } => {
                let timed = time_kernel(&backend, &kernel, &loads, effort, &clock);
                let passes = timed.into_iter().map(|t| t.map_err(|e| e.to_string()));
                let passes = passes.collect();
                let usage = usage();
                reply(&Reply::KernelTimed { passes, usage })?;
            }
            other => bail!("kernels are being timed, but the supervisor asked for {other:?}"),
        }
    }
    Ok(())
}
