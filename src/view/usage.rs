//! What a cell took of the machine while it was measured.

use crate::host::usage::UsageDelta;

/// Resources used by the worker over a cell's repetitions. `None`: the system does not tell.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Resources {
    /// Hardware threads kept busy: CPU time over wall time.
    pub cores_busy: Option<f64>,
    /// Mean over repetitions of the memory held after each.
    pub mean_rss_bytes: Option<u64>,
    /// The share of the machine that other processes took, percent, mean over time.
    pub others_cpu_percent: Option<f64>,
}

/// Sums while a record is read.
#[derive(Debug, Default)]
pub(super) struct Sums {
    /// Wall and CPU time of the repetitions that know both.
    wall_ns: u64,
    cpu_ns: u64,
    /// Wall time of those that know about others, and their share times it.
    others_wall_ns: u64,
    others: f64,
    rss_bytes: Vec<u64>,
}

impl Sums {
    pub(super) fn add(&mut self, usage: &UsageDelta) {
        if let Some(cpu_ns) = usage.process_cpu_ns {
            self.wall_ns = self.wall_ns.saturating_add(usage.wall_ns);
            self.cpu_ns = self.cpu_ns.saturating_add(cpu_ns);
        }
        if let Some(percent) = usage.others_cpu_percent {
            self.others_wall_ns = self.others_wall_ns.saturating_add(usage.wall_ns);
            self.others += percent * usage.wall_ns as f64;
        }
        self.rss_bytes.extend(usage.rss_bytes);
    }

    pub(super) fn finish(&self) -> Resources {
        let n = self.rss_bytes.len() as u128;
        let total: u128 = self.rss_bytes.iter().map(|b| u128::from(*b)).sum();
        Resources {
            cores_busy: (self.wall_ns > 0).then(|| self.cpu_ns as f64 / self.wall_ns as f64),
            mean_rss_bytes: (n > 0).then(|| u64::try_from(total / n).unwrap_or(u64::MAX)),
            others_cpu_percent: (self.others_wall_ns > 0)
                .then(|| self.others / self.others_wall_ns as f64),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_repetitions_count_for_more_and_unknown_is_no_zero() {
        let mut sums = Sums::default();
        assert_eq!(sums.finish(), Resources::default());
        let usage = |wall_ns, cpu_ns, others, rss| UsageDelta {
            wall_ns,
            process_cpu_ns: cpu_ns,
            others_cpu_percent: others,
            rss_bytes: rss,
            ..UsageDelta::default()
        };
        sums.add(&usage(100, Some(150), Some(1.0), Some(10)));
        sums.add(&usage(300, Some(650), Some(5.0), None));
        sums.add(&usage(999, None, None, Some(20)));
        assert_eq!(
            sums.finish(),
            Resources {
                cores_busy: Some(2.0),
                mean_rss_bytes: Some(15),
                others_cpu_percent: Some(4.0)
            }
        );
    }
}
