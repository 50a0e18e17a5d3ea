//! Where this process may run and take memory: CPUs, cores, memory nodes.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::cpu::{distinct_cores, online};
#[cfg(not(windows))]
use super::files::LiveFiles;
use super::files::{MachineFiles, colon_value, cpu_list};

/// The hardware threads and memory nodes open to this process. `None`: could not be read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Placement {
    pub online_cpus: Option<Vec<u32>>,
    /// Those that affinity and cpuset leave to this process.
    pub allowed_cpus: Option<Vec<u32>>,
    /// Physical cores that the allowed hardware threads belong to.
    pub allowed_cores: Option<u32>,
    /// Memory nodes that are online, with their hardware threads.
    pub nodes: Option<Vec<MemoryNode>>,
    /// Nodes that this process may take memory from.
    pub allowed_nodes: Option<Vec<u32>>,
    /// Whether the kernel moves pages between nodes by itself (`kernel.numa_balancing`).
    pub numa_balancing: Option<bool>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryNode {
    pub id: u32,
    /// Its hardware threads; none for memory without cores.
    pub cpus: Vec<u32>,
}

impl Placement {
    #[cfg(not(windows))]
    pub fn probe() -> Self {
        Self::from_files(&LiveFiles)
    }

    #[cfg(windows)]
    pub fn probe() -> Self {
        let allowed_cpus = super::windows::affinity();
        let Some(topology) = super::windows::topology() else {
            return Self {
                allowed_cpus,
                ..Self::default()
            };
        };
        let online: BTreeSet<u32> = topology
            .cores
            .iter()
            .flat_map(|(cpus, _)| cpus.iter().copied())
            .collect();
        Self {
            online_cpus: Some(online.into_iter().collect()),
            allowed_cores: allowed_cpus.as_deref().map(|cpus| topology.cores_of(cpus)),
            allowed_cpus,
            nodes: Some(topology.nodes),
            // Windows takes memory from any node, and moves no pages.
            ..Self::default()
        }
    }

    #[cfg_attr(windows, allow(dead_code))]
    pub(crate) fn from_files(files: &impl MachineFiles) -> Self {
        let status = files.read("/proc/self/status").unwrap_or_default();
        let list = |key: &str| cpu_list(colon_value(&status, key)?);
        let online_cpus = online(files);
        // The mask also names hardware threads that could be plugged in; only those that run count.
        let allowed_cpus = list("Cpus_allowed_list").map(|cpus| match &online_cpus {
            Some(online) => cpus.into_iter().filter(|c| online.contains(c)).collect(),
            None => cpus,
        });
        Self {
            allowed_cores: allowed_cpus
                .as_ref()
                .and_then(|cpus| distinct_cores(files, cpus)),
            nodes: nodes(files),
            allowed_nodes: list("Mems_allowed_list"),
            numa_balancing: files
                .number::<u8>("/proc/sys/kernel/numa_balancing")
                .map(|mode| mode > 0),
            online_cpus,
            allowed_cpus,
        }
    }

    /// Nodes that hold an allowed hardware thread.
    pub fn spanned_nodes(&self) -> Option<Vec<u32>> {
        let allowed: BTreeSet<u32> = self.allowed_cpus.as_ref()?.iter().copied().collect();
        let holds = |node: &&MemoryNode| node.cpus.iter().any(|cpu| allowed.contains(cpu));
        let spanned = self.nodes.as_ref()?.iter().filter(holds);
        Some(spanned.map(|node| node.id).collect())
    }
}

#[cfg_attr(windows, allow(dead_code))]
fn nodes(files: &impl MachineFiles) -> Option<Vec<MemoryNode>> {
    const NODES: &str = "/sys/devices/system/node";
    let ids = cpu_list(&files.read(&format!("{NODES}/online"))?)?;
    let node = |id: u32| {
        let text = files.read(&format!("{NODES}/node{id}/cpulist"))?;
        // A node of memory alone has an empty list, which is no list to the parser.
        let cpus = if text.trim().is_empty() {
            Vec::new()
        } else {
            cpu_list(&text)?
        };
        Some(MemoryNode { id, cpus })
    };
    ids.into_iter().map(node).collect()
}

#[cfg(test)]
mod tests {
    use super::super::files::{FakeFiles, listed};
    use super::*;

    #[test]
    fn two_nodes_of_which_one_is_allowed() {
        let placement = Placement::from_files(&FakeFiles(&[
            (
                "/proc/self/status",
                "Name: x\nCpus_allowed_list:\t0-1,64\nMems_allowed_list:\t0-2",
            ),
            ("/sys/devices/system/cpu/online", "0-3"),
            (
                "/sys/devices/system/cpu/cpu0/topology/core_cpus_list",
                "0-1",
            ),
            (
                "/sys/devices/system/cpu/cpu1/topology/core_cpus_list",
                "0-1",
            ),
            ("/sys/devices/system/node/online", "0-2"),
            ("/sys/devices/system/node/node0/cpulist", "0-1"),
            ("/sys/devices/system/node/node1/cpulist", "2-3"),
            ("/sys/devices/system/node/node2/cpulist", ""),
            ("/proc/sys/kernel/numa_balancing", "1"),
        ]));
        assert_eq!(placement.allowed_cpus, Some(vec![0, 1]));
        assert_eq!(placement.allowed_cores, Some(1));
        assert_eq!(placement.allowed_nodes, Some(vec![0, 1, 2]));
        assert_eq!(placement.nodes.as_ref().map(Vec::len), Some(3));
        assert_eq!(placement.spanned_nodes(), Some(vec![0]));
        assert_eq!(placement.numa_balancing, Some(true));
    }

    #[test]
    fn nothing_readable_is_unknown() {
        let placement = Placement::from_files(&FakeFiles(&[]));
        assert_eq!(placement, Placement::default());
        assert_eq!(placement.spanned_nodes(), None);
        let torn = FakeFiles(&listed(
            r"/sys/devices/system/node/online 0-1
             /sys/devices/system/node/node0/cpulist 0",
        ));
        assert_eq!(Placement::from_files(&torn).nodes, None, "half is not all");
    }
}
