//! What GPUs do while they are measured.

use nvml_wrapper::Nvml;
use nvml_wrapper::bitmasks::device::ThrottleReasons;
use serde::{Deserialize, Serialize};

use super::readings::GpuReadings;

/// What one GPU, or several together, do at one instant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct GpuUsage {
    /// Clock of the multiprocessors; of several GPUs the lowest.
    pub sm_clock_hz: Option<u64>,
    /// Power draw in milliwatts; of several GPUs the sum. The sensor of recent devices sees part of the time only: a picture, no energy.
    pub power_mw: Option<u32>,
    /// Degrees Celsius; of several GPUs the hottest.
    pub temperature_c: Option<u32>,
    /// Device memory in use by anybody; of several GPUs the sum.
    pub memory_used_bytes: Option<u64>,
    /// Share of the last sample period in which a kernel ran; of several GPUs the mean.
    pub utilisation_percent: Option<u32>,
    /// Why clocks are held down: NVML's bits, see [`throttle_names`]; of several GPUs all of them.
    pub throttle_bits: Option<u64>,
}

impl GpuUsage {
    /// Several GPUs as one. A figure that one of them does not give is unknown.
    fn together(gpus: &[Self]) -> Self {
        fn all<T>(gpus: &[GpuUsage], of: impl Fn(&GpuUsage) -> Option<T>) -> Option<Vec<T>> {
            gpus.iter().map(of).collect()
        }
        let utilisation = all(gpus, |g| g.utilisation_percent);
        let n = u32::try_from(gpus.len()).unwrap_or(u32::MAX).max(1);
        Self {
            sm_clock_hz: all(gpus, |g| g.sm_clock_hz).and_then(|v| v.into_iter().min()),
            power_mw: all(gpus, |g| g.power_mw).map(|v| v.into_iter().sum()),
            temperature_c: all(gpus, |g| g.temperature_c).and_then(|v| v.into_iter().max()),
            memory_used_bytes: all(gpus, |g| g.memory_used_bytes).map(|v| v.into_iter().sum()),
            utilisation_percent: utilisation.map(|v| v.into_iter().sum::<u32>() / n),
            throttle_bits: all(gpus, |g| g.throttle_bits)
                .map(|v| v.into_iter().fold(0, |bits, more| bits | more)),
        }
    }
}

pub(crate) struct GpuMeter {
    driver: Box<dyn GpuReadings + Send>,
    indices: Vec<u32>,
}

impl GpuMeter {
    /// For GPUs by NVML's numbers; `None` without any, and where one does not answer.
    pub(crate) fn open(indices: &[u32]) -> Option<Self> {
        Self::over(Box::new(Nvml::init().ok()?), indices)
    }

    fn over(driver: Box<dyn GpuReadings + Send>, indices: &[u32]) -> Option<Self> {
        let meter = Self {
            driver,
            indices: indices.to_vec(),
        };
        (!indices.is_empty() && meter.read().is_some()).then_some(meter)
    }

    /// `None` once one of them does not answer any more.
    pub(crate) fn read(&self) -> Option<GpuUsage> {
        let of_each = self.indices.iter().map(|i| self.driver.usage(*i).ok());
        let gpus: Vec<GpuUsage> = of_each.collect::<Option<_>>()?;
        Some(GpuUsage::together(&gpus))
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
    use nvml_wrapper::error::NvmlError;

    use super::super::readings::recorded::{Recorded, RecordedGpu};
    use super::*;

    fn device(answers: Vec<Result<GpuUsage, NvmlError>>) -> RecordedGpu {
        RecordedGpu {
            usage: std::cell::RefCell::new(answers.into()),
            ..RecordedGpu::default()
        }
    }

    fn usage(clock: u64, power_mw: u32, bits: u64) -> GpuUsage {
        GpuUsage {
            sm_clock_hz: Some(clock),
            power_mw: Some(power_mw),
            temperature_c: Some(power_mw / 10),
            memory_used_bytes: Some(u64::from(power_mw)),
            utilisation_percent: Some(power_mw / 10),
            throttle_bits: Some(bits),
        }
    }

    #[test]
    fn several_gpus_are_one_and_a_lost_one_ends_it() {
        let first = device(vec![Ok(usage(3, 500, 4)), Ok(usage(3, 500, 4))]);
        let second = device(vec![
            Ok(usage(2, 700, 0x20)),
            Ok(usage(2, 700, 0x20)),
            Err(NvmlError::GpuLost),
        ]);
        let meter = GpuMeter::over(Box::new(Recorded(vec![first, second])), &[0, 1]);
        let meter = meter.expect("both answer");
        let both = meter.read().expect("both still do");
        assert_eq!((both.sm_clock_hz, both.power_mw), (Some(2), Some(1200)));
        assert_eq!(
            (both.temperature_c, both.memory_used_bytes),
            (Some(70), Some(1200))
        );
        assert_eq!(both.utilisation_percent, Some(60));
        assert_eq!(both.throttle_bits, Some(0x24));
        assert_eq!(meter.read(), None, "the second fell off the bus");
    }

    #[test]
    fn a_figure_that_one_gpu_does_not_give_is_unknown() {
        let silent = GpuUsage {
            power_mw: None,
            ..usage(2, 700, 0)
        };
        let both = GpuUsage::together(&[usage(3, 500, 0), silent]);
        assert_eq!((both.power_mw, both.sm_clock_hz), (None, Some(2)));
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
        assert!(GpuMeter::open(&[u32::MAX]).is_none());
        assert!(GpuMeter::over(Box::new(Recorded::default()), &[]).is_none());
    }
}
