//! The energy counters of GPUs.

use std::fmt;

use nvml_wrapper::Nvml;

use super::EnergyCounters;
use crate::host::gpu::GpuReport;
use crate::host::gpu::readings::GpuReadings;
use crate::host::gpu::unreadable;

/// The counters of some GPUs, by the driver's numbers.
pub(super) struct GpuCounters<D> {
    driver: D,
    indices: Vec<u32>,
}

impl GpuCounters<Nvml> {
    pub(super) fn open(indices: &[u32]) -> Result<Self, String> {
        let driver = Nvml::init().map_err(|e| GpuReport::because(&e))?;
        Self::over(driver, indices)
    }
}

impl<D: GpuReadings> GpuCounters<D> {
    pub(super) fn over(driver: D, indices: &[u32]) -> Result<Self, String> {
        if indices.is_empty() {
            return Err("no GPU is used".to_owned());
        }
        let counters = Self {
            driver,
            indices: indices.to_vec(),
        };
        counters.read_uj().map(|_| counters)
    }
}

impl<D> fmt::Debug for GpuCounters<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GpuCounters")
            .field("indices", &self.indices)
            .finish_non_exhaustive()
    }
}

impl<D: GpuReadings> EnergyCounters for GpuCounters<D> {
    fn read_uj(&self) -> Result<Vec<u64>, String> {
        let read = |index: &u32| {
            let energy = self.driver.energy_mj(*index);
            let mj = energy.map_err(|e| unreadable(*index, &e))?;
            Ok(mj.saturating_mul(1000))
        };
        self.indices.iter().map(read).collect()
    }

    /// 64 bits of millijoules never end.
    fn range_uj(&self, _at: usize) -> Option<u64> {
        None
    }

    fn name(&self, at: usize) -> String {
        let index = self.indices.get(at);
        index.map_or_else(String::new, |index| format!("GPU {index}"))
    }
}
