//! The engine's kernels without a model: one `ggml` graph of many equal operations on distinct memory,
//! through the same backend and the same kind of buffer that llama.cpp would choose for the weights.
//!
//! Works on the CPU and on any GPU backend that the engine was built with. [`crate::measure::kernel`]
//! decides how often and how long.

mod builder;
mod ggml;
mod ops;
mod shape;
mod weights;

use llama_cpp_sys_2 as sys;
use serde::{Deserialize, Serialize};

pub use self::builder::Graph;
use self::ggml::Backend;
pub use self::weights::KernelWeights;
use super::{EngineError, plugins};
use crate::model::synth::random_matrix;
use crate::roofline::kernel::Kernel;

/// Which of the engine's devices runs the kernels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KernelDevice {
    /// The CPU.
    Cpu,
    /// The first GPU, integrated or not.
    Gpu,
}

/// A device of the engine, ready to run kernels.
#[derive(Debug)]
pub struct KernelBackend {
    backend: Backend,
}

impl KernelBackend {
    /// Opens a device. On the CPU with so many threads.
    ///
    /// # Errors
    /// [`EngineError::Unsupported`] when the engine has no such device.
    pub fn open(device: KernelDevice, n_threads: u32) -> Result<Self, EngineError> {
        plugins::load();
        let kinds: &[sys::ggml_backend_dev_type] = match device {
            KernelDevice::Cpu => &[sys::GGML_BACKEND_DEVICE_TYPE_CPU],
            KernelDevice::Gpu => &[
                sys::GGML_BACKEND_DEVICE_TYPE_GPU,
                sys::GGML_BACKEND_DEVICE_TYPE_IGPU,
            ],
        };
        let backend = kinds
            .iter()
            .find_map(|&kind| Backend::open(kind))
            .ok_or_else(|| {
                EngineError::Unsupported(match device {
                    KernelDevice::Cpu => "the engine has no CPU backend".to_owned(),
                    KernelDevice::Gpu => "the engine found no GPU it can use".to_owned(),
                })
            })?;
        backend.set_n_threads(n_threads);
        Ok(Self { backend })
    }

    /// Lays in about `bytes` of distinct weights for a kernel that has weights, at least one matrix; for
    /// others only remembers how much memory its graphs shall go through.
    ///
    /// # Errors
    /// [`EngineError::Unsupported`] for a type or a shape the device cannot compute,
    /// [`EngineError::Context`] when memory runs out.
    pub fn weights<'b>(
        &'b self,
        kernel: &Kernel,
        bytes: u64,
    ) -> Result<KernelWeights<'b>, EngineError> {
        shape::check_kernel(kernel)?;
        let Some((weights, dimensions)) = kernel.weight_shape() else {
            return Ok(KernelWeights::none(self, kernel, bytes));
        };
        let n_rows = dimensions[1..]
            .iter()
            .fold(1, |n: u64, d| n.saturating_mul(*d));
        let data = random_matrix(weights, dimensions[0], n_rows).ok_or_else(|| {
            EngineError::Unsupported(format!("no weights of type {weights} can be made here"))
        })?;
        KernelWeights::copies_of(self, kernel, &data, bytes)
    }
}

#[cfg(test)]
mod tests;
