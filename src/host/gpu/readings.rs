//! What a GPU's driver answers: NVML's answers, or recorded ones in tests.

use nvml_wrapper::Nvml;
use nvml_wrapper::enum_wrappers::device::{Clock, TemperatureSensor};
use nvml_wrapper::error::NvmlError;

use super::Gpu;
use super::usage::GpuUsage;

/// A driver that can be asked. Devices are counted from 0. Every query may fail by itself, and any of them from some
/// moment on: a device can fall off the bus, and a driver can be unloaded.
pub(crate) trait GpuReadings {
    fn driver_version(&self) -> Option<String>;

    fn cuda_version(&self) -> Option<String>;

    fn count(&self) -> Result<u32, NvmlError>;

    /// What the device is and how it is; what the driver does not say is `None`.
    fn describe(&self, index: u32) -> Gpu;

    fn usage(&self, index: u32) -> Result<GpuUsage, NvmlError>;

    /// Millijoules since the driver was loaded.
    fn energy_mj(&self, index: u32) -> Result<u64, NvmlError>;
}

impl GpuReadings for Nvml {
    fn driver_version(&self) -> Option<String> {
        self.sys_driver_version().ok()
    }

    fn cuda_version(&self) -> Option<String> {
        let version = self.sys_cuda_driver_version().ok()?;
        Some(format!("{}.{}", version / 1000, version % 1000 / 10))
    }

    fn count(&self) -> Result<u32, NvmlError> {
        self.device_count()
    }

    fn describe(&self, index: u32) -> Gpu {
        let Ok(device) = self.device_by_index(index) else {
            return Gpu {
                index,
                ..Gpu::default()
            };
        };
        let memory = device.memory_info().ok();
        let capability = device.cuda_compute_capability().ok();
        Gpu {
            index,
            name: device.name().ok(),
            uuid: device.uuid().ok(),
            pci_bus_id: device.pci_info().ok().map(|pci| pci.bus_id),
            memory_total_bytes: memory.as_ref().map(|memory| memory.total),
            memory_free_bytes: memory.as_ref().map(|memory| memory.free),
            memory_used_bytes: memory.as_ref().map(|memory| memory.used),
            sm_clock_hz: device.clock_info(Clock::SM).ok().map(hertz),
            memory_clock_hz: device.clock_info(Clock::Memory).ok().map(hertz),
            max_sm_clock_hz: device.max_clock_info(Clock::SM).ok().map(hertz),
            max_memory_clock_hz: device.max_clock_info(Clock::Memory).ok().map(hertz),
            memory_bus_width_bits: device.memory_bus_width().ok(),
            n_cores: device.num_cores().ok(),
            power_limit_mw: device.enforced_power_limit().ok(),
            power_mw: device.power_usage().ok(),
            temperature_c: device.temperature(TemperatureSensor::Gpu).ok(),
            pcie_generation: device.current_pcie_link_gen().ok(),
            pcie_width: device.current_pcie_link_width().ok(),
            mig_enabled: device.mig_mode().ok().map(|mode| mode.current == 1),
            compute_capability: capability.map(|c| format!("{}.{}", c.major, c.minor)),
            ..Gpu::default()
        }
    }

    fn usage(&self, index: u32) -> Result<GpuUsage, NvmlError> {
        let device = self.device_by_index(index)?;
        Ok(GpuUsage {
            sm_clock_hz: device.clock_info(Clock::SM).ok().map(hertz),
            power_mw: device.power_usage().ok(),
            temperature_c: device.temperature(TemperatureSensor::Gpu).ok(),
            memory_used_bytes: device.memory_info().ok().map(|memory| memory.used),
            utilisation_percent: device.utilization_rates().ok().map(|rates| rates.gpu),
            throttle_bits: device
                .current_throttle_reasons()
                .ok()
                .map(|reasons| reasons.bits()),
        })
    }

    fn energy_mj(&self, index: u32) -> Result<u64, NvmlError> {
        self.device_by_index(index)?.total_energy_consumption()
    }
}

/// NVML gives megahertz.
fn hertz(mhz: u32) -> u64 {
    u64::from(mhz) * 1_000_000
}

/// Answers that were recorded or made up, for tests.
#[cfg(test)]
pub(crate) mod recorded {
    use std::cell::RefCell;
    use std::collections::VecDeque;

    use super::*;

    /// A device: what it is, and what its counter and its usage say, answer after answer; the last one stays.
    #[derive(Default)]
    pub(crate) struct RecordedGpu {
        pub gpu: Gpu,
        pub energy_mj: RefCell<VecDeque<Result<u64, NvmlError>>>,
        pub usage: RefCell<VecDeque<Result<GpuUsage, NvmlError>>>,
    }

    #[derive(Default)]
    pub(crate) struct Recorded(pub Vec<RecordedGpu>);

    impl RecordedGpu {
        /// A device on a bus, whose counter gives these values.
        pub(crate) fn counting(pci_bus_id: &str, energy_mj: &[u64]) -> Self {
            Self {
                gpu: Gpu {
                    pci_bus_id: Some(pci_bus_id.to_owned()),
                    ..Gpu::default()
                },
                energy_mj: RefCell::new(energy_mj.iter().copied().map(Ok).collect()),
                ..Self::default()
            }
        }

        /// The same, and from then on this error.
        pub(crate) fn then(self, error: NvmlError) -> Self {
            self.energy_mj.borrow_mut().push_back(Err(error));
            self
        }
    }

    fn next<T: Copy>(answers: &RefCell<VecDeque<Result<T, NvmlError>>>) -> Result<T, NvmlError> {
        let mut answers = answers.borrow_mut();
        let answer = answers.pop_front().unwrap_or(Err(NvmlError::NotSupported));
        if answers.is_empty() {
            answers.push_back(match &answer {
                Ok(value) => Ok(*value),
                Err(NvmlError::GpuLost) => Err(NvmlError::GpuLost),
                Err(NvmlError::Uninitialized) => Err(NvmlError::Uninitialized),
                Err(_) => Err(NvmlError::NotSupported),
            });
        }
        answer
    }

    impl GpuReadings for Recorded {
        fn driver_version(&self) -> Option<String> {
            Some("580.159.04".to_owned())
        }

        fn cuda_version(&self) -> Option<String> {
            Some("13.0".to_owned())
        }

        fn count(&self) -> Result<u32, NvmlError> {
            Ok(self.0.len() as u32)
        }

        fn describe(&self, index: u32) -> Gpu {
            Gpu {
                index,
                ..self.0[index as usize].gpu.clone()
            }
        }

        fn usage(&self, index: u32) -> Result<GpuUsage, NvmlError> {
            next(&self.0[index as usize].usage)
        }

        fn energy_mj(&self, index: u32) -> Result<u64, NvmlError> {
            next(&self.0[index as usize].energy_mj)
        }
    }
}
