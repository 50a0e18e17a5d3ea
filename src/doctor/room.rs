//! What this process may use: threads, cores, memory nodes, a container's limits.

use super::check::{CheckVerdict, DoctorCheck, Gain, percent};
use super::figures::DoctorFigures;
use crate::host::{LimitState, Memory, Placement};
use crate::units;

pub(super) fn threads(n_threads: u32, placement: &Placement) -> DoctorCheck {
    const NAME: &str = "threads";
    let Some((allowed, cores)) = placement
        .allowed_cpus
        .as_ref()
        .map(|cpus| cpus.len() as u32)
        .zip(placement.allowed_cores)
    else {
        return DoctorCheck::unknown(NAME);
    };
    let finding = match cores == allowed {
        true => format!("{n_threads} on {cores} cores"),
        false => format!("{n_threads} on {cores} cores with {allowed} hardware threads"),
    };
    if n_threads > allowed {
        return DoctorCheck::new(NAME, CheckVerdict::Bad, finding).advise(format!(
            "use at most --threads {allowed}: threads that share a CPU wait for each other at every step"
        ));
    }
    if n_threads > cores {
        return DoctorCheck::new(NAME, CheckVerdict::Mind, finding).advise(format!(
            "two threads of a core share its units: measure both, --threads {cores},{n_threads}"
        ));
    }
    DoctorCheck::good(NAME, finding)
}

/// Hardware threads that affinity and cpuset leave.
pub(super) fn cpu_set(placement: &Placement) -> DoctorCheck {
    const NAME: &str = "cpu_set";
    let Some((allowed, online)) = placement
        .allowed_cpus
        .as_ref()
        .zip(placement.online_cpus.as_ref())
    else {
        return DoctorCheck::unknown(NAME);
    };
    if allowed.len() == online.len() {
        return DoctorCheck::good(NAME, format!("all {} CPUs", online.len()));
    }
    DoctorCheck::new(
        NAME,
        CheckVerdict::Mind,
        format!("{} of {} CPUs", allowed.len(), online.len()),
    )
    .advise(
        "check that this is intended: taskset, a container or a batch system restricts the CPUs. Other programs may \
         still use them unless the set is exclusive",
    )
}

pub(super) fn cpu_limit(
    limit: LimitState<f64>,
    n_threads: u32,
    figures: &DoctorFigures,
) -> DoctorCheck {
    const NAME: &str = "cpu_limit";
    let cores = match limit {
        LimitState::Unknown => return DoctorCheck::unknown(NAME),
        LimitState::Without => return DoctorCheck::good(NAME, "none"),
        LimitState::At(cores) => cores,
    };
    let threads = f64::from(n_threads);
    let throttled = figures.quota_throttled.filter(|share| *share > 0.01);
    let mut finding = format!(
        "{} cores for {n_threads} threads",
        units::significant(cores)
    );
    if let Some(share) = throttled {
        finding += &format!(", held back {} of the time", percent(share));
    }
    let verdict = match (cores < threads, throttled) {
        (false, None) => CheckVerdict::Good,
        _ => CheckVerdict::Bad,
    };
    let gain = (cores > 0.0 && cores < threads)
        .then(|| Gain::at_most(threads / cores - 1.0, "all threads could run all the time"));
    DoctorCheck::new(NAME, verdict, finding)
        .advise(format!(
            "raise the quota, or use at most --threads {:.0}: a quota stops all threads for the rest of each period",
            cores.floor().max(1.0)
        ))
        .gain(gain)
}

pub(super) fn memory_limit(limit: LimitState<u64>, memory: &Memory) -> DoctorCheck {
    const NAME: &str = "memory_limit";
    match (limit, memory.total_bytes) {
        (LimitState::Unknown, _) => DoctorCheck::unknown(NAME),
        (LimitState::Without, _) => DoctorCheck::good(NAME, "none"),
        (LimitState::At(bytes), Some(total)) if bytes >= total => {
            DoctorCheck::good(NAME, "not below what the machine has")
        }
        (LimitState::At(bytes), _) => DoctorCheck::new(NAME, CheckVerdict::Mind, units::bytes(bytes)).advise(
            "cells that need more are skipped; file cache counts too, so a mapped model may be read from disk again",
        ),
    }
}

/// Memory nodes that this process's threads and pages lie on.
pub(super) fn numa(placement: &Placement) -> DoctorCheck {
    const NAME: &str = "numa";
    let Some(((nodes, spanned), allowed)) = placement
        .nodes
        .as_ref()
        .zip(placement.spanned_nodes())
        .zip(placement.allowed_nodes.as_ref())
    else {
        return DoctorCheck::unknown(NAME);
    };
    if nodes.len() == 1 {
        return DoctorCheck::good(NAME, "one node");
    }
    let finding = format!(
        "CPUs of {} and memory of {} of {} nodes",
        spanned.len(),
        allowed.len(),
        nodes.len()
    );
    if spanned.len() == 1 && *allowed == spanned {
        return DoctorCheck::good(NAME, finding);
    }
    let node = spanned.first().copied().unwrap_or(0);
    let balancing = match placement.numa_balancing {
        Some(true) => {
            "; stop the kernel from moving pages meanwhile: sysctl kernel.numa_balancing=0"
        }
        _ => "",
    };
    DoctorCheck::new(NAME, CheckVerdict::Mind, finding).advise(format!(
        "which pages lie far away differs by process: numactl --cpunodebind={node} --membind={node} ggufbench ... \
         for one node, numactl --interleave=all for all of them{balancing}"
    ))
}

#[cfg(test)]
mod tests {
    use super::super::figures::tests::{TIMER, quiet};
    use super::*;
    use crate::host::placement::MemoryNode;

    fn placement(allowed: &[u32], cores: u32) -> Placement {
        Placement {
            online_cpus: Some((0..8).collect()),
            allowed_cpus: Some(allowed.to_vec()),
            allowed_cores: Some(cores),
            nodes: Some(vec![
                MemoryNode {
                    id: 0,
                    cpus: (0..4).collect(),
                },
                MemoryNode {
                    id: 1,
                    cpus: (4..8).collect(),
                },
            ]),
            allowed_nodes: Some(vec![0, 1]),
            numa_balancing: Some(true),
        }
    }

    #[test]
    fn threads_and_cores() {
        let whole = placement(&[0, 1, 2, 3, 4, 5, 6, 7], 4);
        assert_eq!(threads(4, &whole).verdict, CheckVerdict::Good);
        let shared = threads(8, &whole);
        assert_eq!(shared.verdict, CheckVerdict::Mind);
        assert_eq!(shared.finding, "8 on 4 cores with 8 hardware threads");
        assert!(shared.advice.expect("some").contains("--threads 4,8"));
        assert_eq!(threads(9, &whole).verdict, CheckVerdict::Bad);
        assert_eq!(
            threads(4, &Placement::default()).verdict,
            CheckVerdict::Unknown
        );
        assert_eq!(cpu_set(&whole).verdict, CheckVerdict::Good);
        let part = cpu_set(&placement(&[0, 1], 2));
        assert_eq!(
            (part.verdict, part.finding.as_str()),
            (CheckVerdict::Mind, "2 of 8 CPUs")
        );
        assert_eq!(
            cpu_set(&Placement::default()).verdict,
            CheckVerdict::Unknown
        );
    }

    #[test]
    fn a_quota_below_the_threads_stops_them() {
        let mut f = DoctorFigures::of(&quiet(), TIMER);
        assert_eq!(
            cpu_limit(LimitState::Without, 4, &f).verdict,
            CheckVerdict::Good
        );
        assert_eq!(
            cpu_limit(LimitState::Unknown, 4, &f).verdict,
            CheckVerdict::Unknown
        );
        assert_eq!(
            cpu_limit(LimitState::At(4.0), 4, &f).verdict,
            CheckVerdict::Good
        );
        let tight = cpu_limit(LimitState::At(2.5), 4, &f);
        assert_eq!(tight.verdict, CheckVerdict::Bad);
        let gain = tight.expected_gain.expect("derived").text;
        assert!(gain.starts_with("at most 60% more"), "{gain}");
        assert!(tight.advice.expect("some").contains("--threads 2:"));
        f.quota_throttled = Some(0.2);
        let throttled = cpu_limit(LimitState::At(4.0), 4, &f);
        assert_eq!(throttled.verdict, CheckVerdict::Bad);
        assert_eq!(
            throttled.finding,
            "4.00 cores for 4 threads, held back 20% of the time"
        );
    }

    #[test]
    fn a_memory_limit_counts_when_it_is_one() {
        let memory = Memory {
            total_bytes: Some(16 << 30),
            ..Memory::default()
        };
        assert_eq!(
            memory_limit(LimitState::Unknown, &memory).verdict,
            CheckVerdict::Unknown
        );
        assert_eq!(
            memory_limit(LimitState::Without, &memory).verdict,
            CheckVerdict::Good
        );
        assert_eq!(
            memory_limit(LimitState::At(16 << 30), &memory).verdict,
            CheckVerdict::Good
        );
        let tight = memory_limit(LimitState::At(4 << 30), &memory);
        assert_eq!(
            (tight.verdict, tight.finding.as_str()),
            (CheckVerdict::Mind, "4.00 GiB")
        );
    }

    #[test]
    fn nodes_that_are_spanned_are_told() {
        let spanning = numa(&placement(&[0, 5], 2));
        assert_eq!(spanning.verdict, CheckVerdict::Mind);
        assert!(
            spanning
                .advice
                .expect("some")
                .contains("kernel.numa_balancing=0")
        );
        let mut bound = placement(&[4, 5], 2);
        assert_eq!(numa(&bound).verdict, CheckVerdict::Mind, "memory of both");
        bound.allowed_nodes = Some(vec![1]);
        assert_eq!(numa(&bound).verdict, CheckVerdict::Good);
        bound.nodes.as_mut().expect("two").truncate(1);
        assert_eq!(numa(&bound).finding, "one node");
        assert_eq!(numa(&Placement::default()).verdict, CheckVerdict::Unknown);
    }
}
