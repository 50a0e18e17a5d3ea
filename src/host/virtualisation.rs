//! Whether this is a virtual machine or a container, as far as an ordinary user can tell.

use serde::{Deserialize, Serialize};

use super::files::{MachineFiles, colon_value};

/// What lies between this process and the hardware. `None`: no sign of it, or not readable.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Virtualisation {
    /// Whether the CPU says that a hypervisor runs it (x86 only).
    pub hypervisor: Option<bool>,
    /// Vendor and product that the firmware names, as `QEMU Standard PC` or `LENOVO 21CB`.
    pub product: Option<String>,
    /// Container runtime: `docker`, `podman`, `kubernetes`, `lxc`, `systemd-nspawn` or as the runtime names itself.
    pub container: Option<String>,
}

impl Virtualisation {
    /// Of this machine, whose files these are.
    #[cfg(not(windows))]
    pub(crate) fn of_machine(files: &impl MachineFiles) -> Self {
        Self::probe(files)
    }

    #[cfg(windows)]
    pub(crate) fn of_machine(files: &impl MachineFiles) -> Self {
        Self {
            hypervisor: super::cpuid::CpuId::probe().map(|id| id.hypervisor.is_some()),
            product: super::windows::product(),
            ..Self::probe(files)
        }
    }

    pub(crate) fn probe(files: &impl MachineFiles) -> Self {
        let cpuinfo = files.read("/proc/cpuinfo").unwrap_or_default();
        let flags = colon_value(&cpuinfo, "flags");
        let dmi = |name: &str| files.read(&format!("/sys/class/dmi/id/{name}"));
        let parts = [dmi("sys_vendor"), dmi("product_name")];
        let parts: Vec<String> = parts
            .into_iter()
            .flatten()
            .filter(|p| !p.is_empty())
            .collect();
        Self {
            hypervisor: flags
                .map(|flags| flags.split_whitespace().any(|flag| flag == "hypervisor")),
            product: (!parts.is_empty()).then(|| parts.join(" ")),
            container: container(files),
        }
    }
}

/// The marks that runtimes leave (systemd's container interface; Docker's and Podman's marker files).
fn container(files: &impl MachineFiles) -> Option<String> {
    let marked = |name: &str, path: &str| files.read(path).map(|_| name.to_owned());
    let by_cgroup = || {
        let cgroup = files.read("/proc/self/cgroup")?;
        let names = [
            ("kubepods", "kubernetes"),
            ("docker", "docker"),
            ("libpod", "podman"),
            ("/lxc", "lxc"),
        ];
        let found = names.iter().find(|(mark, _)| cgroup.contains(mark));
        found.map(|(_, name)| (*name).to_owned())
    };
    let by_systemd = files
        .read("/run/systemd/container")
        .filter(|name| !name.is_empty());
    by_systemd
        .or_else(|| marked("podman", "/run/.containerenv"))
        .or_else(|| marked("docker", "/.dockerenv"))
        .or_else(by_cgroup)
}

#[cfg(test)]
mod tests {
    use super::super::files::FakeFiles;
    use super::*;

    #[test]
    fn a_cloud_machine_with_a_container() {
        let found = Virtualisation::probe(&FakeFiles(&[
            ("/proc/cpuinfo", "flags\t: fpu hypervisor avx2"),
            ("/sys/class/dmi/id/sys_vendor", "Amazon EC2"),
            ("/sys/class/dmi/id/product_name", "c7a.xlarge"),
            ("/.dockerenv", ""),
        ]));
        assert_eq!(found.hypervisor, Some(true));
        assert_eq!(found.product.as_deref(), Some("Amazon EC2 c7a.xlarge"));
        assert_eq!(found.container.as_deref(), Some("docker"));
    }

    #[test]
    fn a_pod_is_known_by_its_cgroup() {
        let path = "0::/kubepods.slice/kubepods-burstable.slice/cri-containerd-abc.scope";
        let found = Virtualisation::probe(&FakeFiles(&[("/proc/self/cgroup", path)]));
        assert_eq!(found.container.as_deref(), Some("kubernetes"));
        assert_eq!(found.hypervisor, None);
    }

    #[test]
    fn bare_metal_shows_no_marks() {
        let found = Virtualisation::probe(&FakeFiles(&[("/proc/cpuinfo", "flags\t: fpu avx2")]));
        assert_eq!(
            found,
            Virtualisation {
                hypervisor: Some(false),
                ..Virtualisation::default()
            }
        );
    }
}
