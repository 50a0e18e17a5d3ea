//! NVIDIA GPUs through NVML, which is loaded at run time: a machine without the driver gets a
//! reason, never a link error. Every query may fail by itself (old driver, virtual GPU, no permission).

pub(crate) mod readings;
pub(crate) mod usage;

use nvml_wrapper::Nvml;
use nvml_wrapper::error::NvmlError;
use serde::{Deserialize, Serialize};

use readings::GpuReadings;

/// The machine's NVIDIA GPUs, or why there are none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct GpuReport {
    /// Driver version, as `580.65.06`.
    pub driver_version: Option<String>,
    /// Newest CUDA version that the driver supports, as `13.0`.
    pub cuda_version: Option<String>,
    pub devices: Vec<Gpu>,
    pub none_because: Option<String>,
}

/// One GPU at the time of asking. `None`: the driver does not say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Gpu {
    /// NVML's number of the device; CUDA may number differently.
    pub index: u32,
    pub name: Option<String>,
    pub uuid: Option<String>,
    /// Where it is on the PCI bus, as `00000000:01:00.0`: by this the engine's devices are found again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pci_bus_id: Option<String>,
    pub memory_total_bytes: Option<u64>,
    pub memory_free_bytes: Option<u64>,
    /// Memory in use by anybody.
    pub memory_used_bytes: Option<u64>,
    pub sm_clock_hz: Option<u64>,
    pub memory_clock_hz: Option<u64>,
    pub max_sm_clock_hz: Option<u64>,
    pub max_memory_clock_hz: Option<u64>,
    pub memory_bus_width_bits: Option<u32>,
    /// CUDA cores.
    pub n_cores: Option<u32>,
    pub power_limit_mw: Option<u32>,
    /// Power draw in milliwatts, by the sensor and at one instant.
    pub power_mw: Option<u32>,
    /// Mean power before a run by the energy counter, milliwatts; over how long is in
    /// [`Machine`](crate::host::Machine).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle_power_mw: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub no_energy_because: Option<String>,
    pub temperature_c: Option<u32>,
    /// Generation of the PCIe link; idle devices often lower it.
    pub pcie_generation: Option<u32>,
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
        Self::of(&nvml)
    }

    pub(crate) fn of(driver: &dyn GpuReadings) -> Self {
        let count = match driver.count() {
            Ok(count) => count,
            Err(error) => return Self::none(&error),
        };
        Self {
            driver_version: driver.driver_version(),
            cuda_version: driver.cuda_version(),
            devices: (0..count)
                .map(|index| {
                    let gpu = driver.describe(index);
                    Gpu {
                        no_energy_because: no_energy_because(driver, &gpu),
                        ..gpu
                    }
                })
                .collect(),
            none_because: (count == 0).then(|| "NVML finds no GPU".to_owned()),
        }
    }

    /// NVML's numbers of the engine's GPUs, of which `pci_ids` has the place on the bus where the engine says it.
    pub fn indices_of(&self, pci_ids: &[Option<&str>]) -> Result<Vec<u32>, String> {
        if self.devices.is_empty() {
            let because = self.none_because.clone();
            return Err(because.unwrap_or_else(|| "no NVIDIA GPU is known".to_owned()));
        }
        let all_have_ids = self.devices.iter().all(|gpu| gpu.pci_bus_id.is_some());
        let ids: Option<Vec<&str>> = pci_ids.iter().copied().collect();
        match ids.filter(|_| all_have_ids) {
            Some(ids) => ids.into_iter().map(|id| self.index_of(id)).collect(),
            // Where all are used, it does not matter which is which.
            None if pci_ids.len() == self.devices.len() => {
                Ok(self.devices.iter().map(|gpu| gpu.index).collect())
            }
            None => Err(format!(
                "the engine does not say which of the {} NVIDIA GPUs it computes on",
                self.devices.len()
            )),
        }
    }

    fn index_of(&self, pci_id: &str) -> Result<u32, String> {
        let place = PciPlace::parse(pci_id);
        let is_it = |gpu: &&Gpu| {
            let id = gpu.pci_bus_id.as_deref();
            place.is_some() && id.and_then(PciPlace::parse) == place
        };
        let found = self.devices.iter().find(is_it);
        found.map(|gpu| gpu.index).ok_or_else(|| {
            format!("the GPU at {pci_id} is none of NVIDIA's, and has no counter that is known")
        })
    }

    fn devices_at(&self, indices: &[u32]) -> Option<Vec<&Gpu>> {
        let at = |index: &u32| self.devices.iter().find(|gpu| gpu.index == *index);
        indices.iter().map(at).collect()
    }

    /// Watts that these GPUs drew before the run, by their energy counters, or, in records of programs that did not
    /// measure that, by the power sensor. `None` when one of them does not say.
    pub fn idle_power_w(&self, indices: &[u32]) -> Option<f64> {
        let of = |gpu: &Gpu| gpu.idle_power_mw.or(gpu.power_mw.map(u64::from));
        let mw = self.devices_at(indices)?.into_iter().map(of);
        let total = mw.sum::<Option<u64>>()?;
        (!indices.is_empty()).then(|| total as f64 / 1000.0)
    }

    /// Why the energy of these GPUs cannot be measured; `None` where it can.
    pub fn no_energy_because(&self, indices: &[u32]) -> Option<&str> {
        let devices = self.devices_at(indices)?;
        devices
            .into_iter()
            .find_map(|gpu| gpu.no_energy_because.as_deref())
    }

    fn none(error: &NvmlError) -> Self {
        Self {
            none_because: Some(Self::because(error)),
            ..Self::default()
        }
    }

    /// Why there is no driver to ask, in words.
    pub(crate) fn because(error: &NvmlError) -> String {
        match error {
            NvmlError::LibloadingError(_) => "NVML not found: no NVIDIA driver".to_owned(),
            NvmlError::DriverNotLoaded => {
                "NVML found, but the NVIDIA driver is not loaded".to_owned()
            }
            other => format!("NVML does not work: {other}"),
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
}

/// Why a device's energy is not measured; `None` where it is.
fn no_energy_because(driver: &dyn GpuReadings, gpu: &Gpu) -> Option<String> {
    let index = gpu.index;
    if gpu.mig_enabled == Some(true) {
        return Some(format!(
            "GPU {index} is cut into instances (MIG), and its energy counter counts all of them"
        ));
    }
    driver.energy_mj(index).err().map(|e| unreadable(index, &e))
}

/// Why a device's energy counter gives nothing, in words.
pub(crate) fn unreadable(index: u32, error: &NvmlError) -> String {
    match error {
        NvmlError::NotSupported => {
            format!("GPU {index} has no energy counter (older than Volta, or a virtual GPU)")
        }
        NvmlError::NoPermission => {
            format!("the energy counter of GPU {index} is not readable by this user")
        }
        NvmlError::GpuLost => format!("GPU {index} was lost: it has fallen off the bus"),
        NvmlError::Uninitialized | NvmlError::DriverNotLoaded => {
            "the NVIDIA driver is gone: it was unloaded".to_owned()
        }
        other => format!("the energy counter of GPU {index} cannot be read: {other}"),
    }
}

/// A place on the PCI bus. NVML writes the domain with eight digits, ggml with four.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct PciPlace {
    domain: u32,
    bus: u32,
    device: u32,
}

impl PciPlace {
    /// From `0000:c1:00.0`; functions of one device are one GPU.
    fn parse(id: &str) -> Option<Self> {
        let hex = |text: &str| u32::from_str_radix(text, 16).ok();
        let mut parts = id.split([':', '.']);
        let mut part = || hex(parts.next()?);
        Some(Self {
            domain: part()?,
            bus: part()?,
            device: part()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::readings::recorded::{Recorded, RecordedGpu};
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

    fn two() -> GpuReport {
        GpuReport::of(&Recorded(vec![
            RecordedGpu::counting("00000000:01:00.0", &[1]),
            RecordedGpu::counting("00000000:C1:00.0", &[1]),
        ]))
    }

    #[test]
    fn the_engines_gpus_are_found_by_their_place_on_the_bus() {
        let report = two();
        // CUDA numbers the fastest first; NVML goes by the bus.
        let used = [Some("0000:c1:00.0"), Some("0000:01:00.0")];
        assert_eq!(report.indices_of(&used), Ok(vec![1, 0]));
        assert_eq!(report.indices_of(&used[..1]), Ok(vec![1]));
        let elsewhere = report.indices_of(&[Some("0000:02:00.0")]);
        assert!(elsewhere.is_err_and(|e| e.contains("0000:02:00.0")));
        assert!(report.indices_of(&[Some("Vulkan0")]).is_err());
    }

    #[test]
    fn without_places_only_all_of_them_are_known() {
        let report = two();
        assert_eq!(report.indices_of(&[None, None]), Ok(vec![0, 1]));
        let one = report.indices_of(&[None]).expect_err("which of the two?");
        assert!(one.contains("which of the 2 NVIDIA GPUs"), "{one}");
        let none = GpuReport::none(&NvmlError::DriverNotLoaded).indices_of(&[None]);
        assert!(none.is_err_and(|e| e.contains("driver is not loaded")));
    }

    #[test]
    fn a_gpu_says_why_its_energy_is_not_measured() {
        let sliced = RecordedGpu {
            gpu: Gpu {
                mig_enabled: Some(true),
                ..Gpu::default()
            },
            ..RecordedGpu::counting("0:3:0.0", &[7])
        };
        let devices = vec![
            RecordedGpu::counting("0:1:0.0", &[7]),
            RecordedGpu::default().then(NvmlError::NotSupported),
            sliced,
            RecordedGpu::default().then(NvmlError::GpuLost),
        ];
        let report = GpuReport::of(&Recorded(devices));
        assert_eq!(report.no_energy_because(&[0]), None);
        let because = |indices: &[u32]| report.no_energy_because(indices).unwrap_or_default();
        assert!(because(&[0, 1]).contains("GPU 1 has no energy counter"));
        assert!(because(&[2]).contains("MIG"));
        assert!(because(&[3]).contains("GPU 3 was lost"));
    }

    #[test]
    fn idle_power_is_of_the_counters_and_of_every_gpu() {
        let mut report = two();
        report.devices[0].idle_power_mw = Some(80_000);
        assert_eq!(report.idle_power_w(&[0]), Some(80.0));
        assert_eq!(report.idle_power_w(&[0, 1]), None, "one does not say");
        report.devices[1].power_mw = Some(40_000);
        assert_eq!(report.idle_power_w(&[0, 1]), Some(120.0));
        assert_eq!(report.idle_power_w(&[]), None);
    }
}
