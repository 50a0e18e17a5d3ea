//! Energy of the processor by its own counters (RAPL), which Linux offers below `/sys/class/powercap` for Intel and AMD.
//!
//! A package's counter holds cores, caches and memory controller, and counts for everybody on the machine. It is updated
//! about every millisecond and begins again at `max_energy_range_uj`. Source: Documentation/power/powercap/powercap.rst.

use std::fmt::Debug;
use std::io::ErrorKind;

use super::EnergyCounters;
use crate::host::files::MachineFiles;

const POWERCAP: &str = "/sys/class/powercap";

/// The counters of all packages.
#[derive(Debug)]
pub(super) struct Rapl<F> {
    files: F,
    packages: Vec<Package>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Package {
    /// As `package-0`.
    name: String,
    counter: String,
    range_uj: Option<u64>,
}

impl<F: MachineFiles + Debug> Rapl<F> {
    /// Finds the packages' counters and tries them.
    pub(super) fn open(files: F) -> Result<Self, String> {
        let folders = files.list(POWERCAP);
        let packages: Vec<Package> = folders
            .iter()
            .filter(|folder| is_zone(folder))
            .filter_map(|folder| package(&files, folder))
            .collect();
        if packages.is_empty() {
            return Err(format!("{POWERCAP} has no energy counter of the processor"));
        }
        let rapl = Self { files, packages };
        rapl.read_uj().map(|_| rapl)
    }
}

/// `intel-rapl:0`, also on AMD; neither its parts `intel-rapl:0:0` nor the second view `intel-rapl-mmio:0`.
fn is_zone(folder: &str) -> bool {
    let number = folder.strip_prefix("intel-rapl:");
    number.is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
}

/// A zone that is a package: `psys` counts the platform, packages included.
fn package(files: &impl MachineFiles, folder: &str) -> Option<Package> {
    let path = |file: &str| format!("{POWERCAP}/{folder}/{file}");
    let name = files.read(&path("name"))?;
    name.starts_with("package").then(|| Package {
        name,
        counter: path("energy_uj"),
        range_uj: files.number(&path("max_energy_range_uj")),
    })
}

impl<F: MachineFiles + Debug> EnergyCounters for Rapl<F> {
    fn read_uj(&self) -> Result<Vec<u64>, String> {
        let read = |package: &Package| {
            let path = &package.counter;
            match self.files.read_or_why(path) {
                Ok(text) => text
                    .trim()
                    .parse()
                    .map_err(|_| format!("{path} holds no number")),
                Err(ErrorKind::PermissionDenied) => Err(format!("{path} is readable by root only")),
                Err(kind) => Err(format!("{path} cannot be read: {kind}")),
            }
        };
        self.packages.iter().map(read).collect()
    }

    fn range_uj(&self, at: usize) -> Option<u64> {
        self.packages.get(at)?.range_uj
    }

    fn name(&self, at: usize) -> String {
        let name = self.packages.get(at).map(|package| package.name.as_str());
        name.unwrap_or_default().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::files::{FakeFiles, listed};

    const TWO: &str = "
        /sys/class/powercap/intel-rapl/enabled 1
        /sys/class/powercap/intel-rapl:0/name package-0
        /sys/class/powercap/intel-rapl:0/energy_uj 1000000
        /sys/class/powercap/intel-rapl:0/max_energy_range_uj 262143328850
        /sys/class/powercap/intel-rapl:0:0/name core
        /sys/class/powercap/intel-rapl:0:0/energy_uj 400000
        /sys/class/powercap/intel-rapl:1/name package-1
        /sys/class/powercap/intel-rapl:1/energy_uj 2000000
        /sys/class/powercap/intel-rapl:2/name psys
        /sys/class/powercap/intel-rapl:2/energy_uj 9000000
        /sys/class/powercap/intel-rapl-mmio:0/name package-0
        /sys/class/powercap/intel-rapl-mmio:0/energy_uj 1000000";

    #[test]
    fn packages_count_once_and_their_parts_do_not() {
        let files = listed(TWO);
        let rapl = Rapl::open(FakeFiles(&files)).expect("two packages");
        assert_eq!(rapl.read_uj(), Ok(vec![1_000_000, 2_000_000]));
        assert_eq!(
            [rapl.range_uj(0), rapl.range_uj(1)],
            [Some(262_143_328_850), None]
        );
        assert_eq!([rapl.name(0), rapl.name(1)], ["package-0", "package-1"]);
    }

    #[test]
    fn a_machine_without_counters_says_so() {
        let none = Rapl::open(FakeFiles(&[])).expect_err("none");
        assert_eq!(
            none,
            "/sys/class/powercap has no energy counter of the processor"
        );
        let files = listed(TWO);
        let only_psys = Rapl::open(FakeFiles(&files[8..10])).expect_err("no package");
        assert_eq!(only_psys, none);
        let files = listed(
            "/sys/class/powercap/intel-rapl:0/name package-0
             /sys/class/powercap/intel-rapl:0/energy_uj many",
        );
        let broken = Rapl::open(FakeFiles(&files));
        assert!(broken.is_err_and(|e| e.ends_with("intel-rapl:0/energy_uj holds no number")));
    }

    /// Since Linux 5.10 energy_uj is root's alone (CVE-2020-8694).
    #[derive(Debug)]
    struct RootOnly;

    impl MachineFiles for RootOnly {
        fn read_or_why(&self, path: &str) -> Result<String, ErrorKind> {
            if path.ends_with("energy_uj") {
                return Err(ErrorKind::PermissionDenied);
            }
            FakeFiles(&listed(TWO)).read_or_why(path)
        }

        fn list(&self, folder: &str) -> Vec<String> {
            FakeFiles(&listed(TWO)).list(folder)
        }
    }

    #[test]
    fn a_counter_of_root_alone_is_named() {
        let why = Rapl::open(RootOnly).expect_err("denied");
        assert_eq!(
            why,
            "/sys/class/powercap/intel-rapl:0/energy_uj is readable by root only"
        );
    }
}
