//! NVIDIA GPUs through NVML, which is loaded at run time: a machine without the driver gets a
//! reason, never a link error. Every query may fail by itself (old driver, virtual GPU, no permission).

use nvml_wrapper::Nvml;
use nvml_wrapper::bitmasks::device::ThrottleReasons;
use nvml_wrapper::device::Device;
use nvml_wrapper::enum_wrappers::device::{Clock, TemperatureSensor};
use nvml_wrapper::error::NvmlError;
use serde::{Deserialize, Serialize};

/// The machine's NVIDIA GPUs, or why there are none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct GpuReport {
    /// Driver version, as `580.65.06`.
    pub driver_version: Option<String>,
    /// Newest CUDA version that the driver supports, as `13.0`.
    pub cuda_version: Option<String>,
    /// One entry for each device that NVML names.
    pub devices: Vec<Gpu>,
    /// Why `devices` is empty, in words.
    pub none_because: Option<String>,
}

/// One GPU at the time of asking. `None`: the driver does not say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Gpu {
    /// NVML's number of the device; CUDA may number differently.
    pub index: u32,
    /// Product name.
    pub name: Option<String>,
    /// NVML's unique id.
    pub uuid: Option<String>,
    /// Memory on the device.
    pub memory_total_bytes: Option<u64>,
    /// Memory not in use.
    pub memory_free_bytes: Option<u64>,
    /// Memory in use by anybody.
    pub memory_used_bytes: Option<u64>,
    /// Current clock of the multiprocessors.
    pub sm_clock_hz: Option<u64>,
    /// Current clock of the memory.
    pub memory_clock_hz: Option<u64>,
    /// Highest clock of the multiprocessors.
    pub max_sm_clock_hz: Option<u64>,
    /// Highest clock of the memory.
    pub max_memory_clock_hz: Option<u64>,
    /// Width of the memory bus, in bits.
    pub memory_bus_width_bits: Option<u32>,
    /// CUDA cores.
    pub n_cores: Option<u32>,
    /// Power limit in force, in milliwatts.
    pub power_limit_mw: Option<u32>,
    /// Power draw in milliwatts; before a run, that of the idle device.
    pub power_mw: Option<u32>,
    /// Degrees Celsius.
    pub temperature_c: Option<u32>,
    /// Generation of the PCIe link; idle devices often lower it.
    pub pcie_generation: Option<u32>,
    /// Lanes of the PCIe link.
    pub pcie_width: Option<u32>,
    /// Whether the device is cut into instances (MIG).
    pub mig_enabled: Option<bool>,
    /// CUDA compute capability, as `9.0`.
    pub compute_capability: Option<String>,
}

impl GpuReport {
    /// Asks NVML. Never fails: without GPUs the report says why.
    pub fn probe() -> Self {
        let nvml = match Nvml::init() {
            Ok(nvml) => nvml,
            Err(error) => return Self::none(&error),
        };
        let count = match nvml.device_count() {
            Ok(count) => count,
            Err(error) => return Self::none(&error),
        };
        let cuda = nvml.sys_cuda_driver_version().ok();
        Self {
            driver_version: nvml.sys_driver_version().ok(),
            cuda_version: cuda.map(|v| format!("{}.{}", v / 1000, v % 1000 / 10)),
            devices: (0..count).map(|index| Gpu::probe(&nvml, index)).collect(),
            none_because: (count == 0).then(|| "NVML finds no GPU".to_owned()),
        }
    }

    /// Watts that one device drew when it was asked, or all of them together. `None` when one of these does not say.
    pub fn power_w(&self, only: Option<u32>) -> Option<f64> {
        let mut of = self
            .devices
            .iter()
            .filter(|gpu| only.is_none_or(|index| gpu.index == index));
        let first = of.next()?.power_mw?;
        let total = of.try_fold(u64::from(first), |sum, gpu| {
            Some(sum + u64::from(gpu.power_mw?))
        })?;
        Some(total as f64 / 1000.0)
    }

    fn none(error: &NvmlError) -> Self {
        let reason = match error {
            NvmlError::LibloadingError(_) => "NVML not found: no NVIDIA driver".to_owned(),
            NvmlError::DriverNotLoaded => {
                "NVML found, but the NVIDIA driver is not loaded".to_owned()
            }
            other => format!("NVML does not work: {other}"),
        };
        Self {
            none_because: Some(reason),
            ..Self::default()
        }
    }
}

impl Gpu {
    /// Bandwidth of the device's memory by its data sheet: twice its highest clock (double data rate) times the bus. An
    /// H200's 3,201 MHz and 6,144 bits give 4.92 TB/s, where NVIDIA says 4.8.
    pub fn nameplate_bytes_per_s(&self) -> Option<f64> {
        let clock_hz = self.max_memory_clock_hz? as f64;
        Some(2.0 * clock_hz * f64::from(self.memory_bus_width_bits?) / 8.0)
    }

    /// Single precision FLOP/s without tensor cores by the data sheet: a multiply-add for each core and cycle. An H200's 16,896
    /// cores at 1,980 MHz give 67 TFLOP/s, as NVIDIA says.
    pub fn nameplate_f32_flops_per_s(&self) -> Option<f64> {
        let clock_hz = self.max_sm_clock_hz? as f64;
        Some(2.0 * clock_hz * f64::from(self.n_cores?))
    }

    fn probe(nvml: &Nvml, index: u32) -> Self {
        let Ok(device) = nvml.device_by_index(index) else {
            return Self {
                index,
                ..Self::default()
            };
        };
        let memory = device.memory_info().ok();
        let capability = device.cuda_compute_capability().ok();
        Self {
            index,
            name: device.name().ok(),
            uuid: device.uuid().ok(),
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
        }
    }
}

/// NVML gives megahertz.
fn hertz(mhz: u32) -> u64 {
    u64::from(mhz) * 1_000_000
}

/// What a GPU does at one instant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct GpuUsage {
    /// Clock of the multiprocessors.
    pub sm_clock_hz: Option<u64>,
    /// Power draw in milliwatts. The sensor of recent devices sees part of the time only: a picture, no energy.
    pub power_mw: Option<u32>,
    /// Degrees Celsius.
    pub temperature_c: Option<u32>,
    /// Device memory in use by anybody.
    pub memory_used_bytes: Option<u64>,
    /// Share of the last sample period in which a kernel ran.
    pub utilisation_percent: Option<u32>,
    /// Why clocks are held down: NVML's bits, see [`throttle_names`].
    pub throttle_bits: Option<u64>,
}

/// Reads one GPU again and again.
pub(crate) struct GpuMeter {
    nvml: Nvml,
    index: u32,
}

impl GpuMeter {
    pub(crate) fn open(index: u32) -> Option<Self> {
        let nvml = Nvml::init().ok()?;
        nvml.device_by_index(index).ok()?;
        Some(Self { nvml, index })
    }

    pub(crate) fn read(&self) -> Option<GpuUsage> {
        let device: Device<'_> = self.nvml.device_by_index(self.index).ok()?;
        Some(GpuUsage {
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
}

/// Energy counters of the GPUs that a model computes on, read by whoever submits the work.
///
/// The counter (`nvmlDeviceGetTotalEnergyConsumption`) moves about every 100 ms, so a difference over a short time is
/// coarse; over some seconds it is good to a few percent. METHODOLOGY.md says how it is used.
pub struct EnergyMeter {
    nvml: Nvml,
    indices: Vec<u32>,
}

impl std::fmt::Debug for EnergyMeter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EnergyMeter")
            .field("indices", &self.indices)
            .finish_non_exhaustive()
    }
}

impl EnergyMeter {
    /// For one GPU by NVML's number, or for all of them. `None` where any of them has no such counter.
    pub fn open(only: Option<u32>) -> Option<Self> {
        let nvml = Nvml::init().ok()?;
        let indices = match only {
            Some(index) => vec![index],
            None => (0..nvml.device_count().ok()?).collect(),
        };
        let meter = Self { nvml, indices };
        (!meter.indices.is_empty() && meter.total_mj().is_some()).then_some(meter)
    }

    /// Millijoules since the driver was loaded, of all these GPUs. `None` when one does not answer.
    pub fn total_mj(&self) -> Option<u64> {
        let mut total = 0_u64;
        for &index in &self.indices {
            let device = self.nvml.device_by_index(index).ok()?;
            total = total.checked_add(device.total_energy_consumption().ok()?)?;
        }
        Some(total)
    }
}

/// The reasons among NVML's throttle bits that take speed away from a busy GPU, in words.
/// Idleness and clocks chosen by the user are not among them.
pub fn throttle_names(bits: u64) -> Vec<&'static str> {
    let reasons = ThrottleReasons::from_bits_truncate(bits);
    let named = [
        (ThrottleReasons::SW_POWER_CAP, "power limit"),
        (ThrottleReasons::HW_SLOWDOWN, "hardware slowdown"),
        (ThrottleReasons::SW_THERMAL_SLOWDOWN, "temperature (driver)"),
        (
            ThrottleReasons::HW_THERMAL_SLOWDOWN,
            "temperature (hardware)",
        ),
        (ThrottleReasons::HW_POWER_BRAKE_SLOWDOWN, "power brake"),
    ];
    let set = named.iter().filter(|(reason, _)| reasons.contains(*reason));
    set.map(|(_, name)| *name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_has_devices_or_a_reason_never_both() {
        let report = GpuReport::probe();
        assert_eq!(
            report.devices.is_empty(),
            report.none_because.is_some(),
            "{report:?}"
        );
    }

    #[test]
    fn a_missing_library_is_told_from_a_broken_one() {
        let missing = match Nvml::builder()
            .lib_path("no/such/libnvidia-ml.so".as_ref())
            .init()
        {
            Ok(_) => panic!("a library that does not exist was loaded"),
            Err(error) => GpuReport::none(&error),
        };
        assert_eq!(
            missing.none_because.as_deref(),
            Some("NVML not found: no NVIDIA driver")
        );
        let broken = GpuReport::none(&NvmlError::NoPermission);
        assert!(
            broken
                .none_because
                .is_some_and(|text| text.starts_with("NVML does not work: "))
        );
    }

    #[test]
    fn nameplate_rates_are_the_data_sheets() {
        let h200 = Gpu {
            max_memory_clock_hz: Some(3_201_000_000),
            memory_bus_width_bits: Some(6144),
            max_sm_clock_hz: Some(1_980_000_000),
            n_cores: Some(16_896),
            ..Gpu::default()
        };
        let near = |value: Option<f64>, wanted: f64| {
            value.is_some_and(|v| (v / wanted - 1.0).abs() < 0.03)
        };
        assert!(near(h200.nameplate_bytes_per_s(), 4.8e12));
        assert!(near(h200.nameplate_f32_flops_per_s(), 67e12));
        assert_eq!(Gpu::default().nameplate_bytes_per_s(), None);
    }

    #[test]
    fn throttle_bits_have_names() {
        // Values from nvml.h: idle 1, power cap 4, hardware slowdown 8, software thermal 0x20.
        assert_eq!(throttle_names(0x1), Vec::<&str>::new());
        assert_eq!(
            throttle_names(0x4 | 0x20),
            ["power limit", "temperature (driver)"]
        );
        assert_eq!(throttle_names(0x8), ["hardware slowdown"]);
    }

    #[test]
    fn a_meter_for_a_device_that_is_not_there() {
        assert!(GpuMeter::open(u32::MAX).is_none());
    }
}
