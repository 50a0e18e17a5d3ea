//! Whose counters an energy is of, and how far they can be trusted.

use crate::plan::Case;

/// A figure counts when its counter's steps make it uncertain by at most this share, as one standard deviation.
const MOST_DOUBT: f64 = 0.05;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EnergySource {
    Gpu,
    Cpu,
}

impl EnergySource {
    /// What a case is computed on.
    pub fn of(case: &Case) -> Self {
        match case.n_gpu_layers {
            0 => Self::Cpu,
            _ => Self::Gpu,
        }
    }

    /// How often the counter moves: NVML's about every 100 ms (arXiv 2312.02741 measured that on recent devices), RAPL's
    /// every millisecond (Intel SDM, volume 3, section 15.10.1). Each end of a phase is wrong by up to that time.
    fn step_ns(self) -> f64 {
        match self {
            Self::Gpu => 100e6,
            Self::Cpu => 1e6,
        }
    }

    /// The least time over so many phases for which the counter says enough. A step's error is uniform over the counter's step, at
    /// both ends of each phase: a variance of twice a twelfth of its square.
    pub fn least_ns(self, n_phases: u64) -> u64 {
        (self.step_ns() * (n_phases as f64 / 6.0).sqrt() / MOST_DOUBT).ceil() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_doubt_grows_with_the_root_of_the_phases() {
        // 100 ms x sqrt(1/6) / 5% = 0.816 s; of a processor's counter a hundredth of that.
        assert_eq!(EnergySource::Gpu.least_ns(1), 816_496_581);
        assert_eq!(EnergySource::Gpu.least_ns(4), 1_632_993_162);
        assert_eq!(EnergySource::Cpu.least_ns(1), 8_164_966);
    }
}
