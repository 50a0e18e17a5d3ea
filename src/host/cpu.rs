//! The processor: model, cores, caches, clock. Sources: `/proc/cpuinfo` and sysfs on Linux
//! (Documentation/ABI/{stable,testing}/sysfs-devices-system-cpu), Windows' own interfaces there, `sysinfo` elsewhere.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::cgroup::Cgroup;
use super::features::CpuFeatures;
use super::files::{MachineFiles, colon_value, cpu_list};

const CPUS: &str = "/sys/devices/system/cpu";

/// The machine's processors. `None`: could not be read.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Cpu {
    /// Marketing name, as `AMD EPYC 9655` or `Neoverse-V1`.
    pub model: Option<String>,
    /// `AuthenticAMD`, `GenuineIntel`, or ARM's implementer code.
    pub vendor: Option<String>,
    pub family: Option<u32>,
    /// x86 model number, or ARM's part number.
    pub model_number: Option<u32>,
    /// x86 stepping, or ARM's revision.
    pub stepping: Option<u32>,
    /// Cores, each counted once however many threads it runs.
    pub physical_cores: Option<u32>,
    pub logical_cores: Option<u32>,
    /// Hardware threads that this process may use (affinity and container quota, rounded down).
    pub available_cores: Option<u32>,
    /// A container's CPU quota in cores, when there is one.
    pub quota_cores: Option<f64>,
    pub sockets: Option<u32>,
    pub numa_nodes: Option<u32>,
    /// Every distinct cache, innermost level first.
    pub caches: Vec<Cache>,
    pub features: CpuFeatures,
    /// Clock that the maker guarantees.
    pub base_hz: Option<u64>,
    pub max_hz: Option<u64>,
    /// Clock at the time of asking, mean over cores.
    pub current_hz: Option<u64>,
    /// Linux's frequency governor, as `performance`; several are joined with commas. Windows' power plan, as `balanced`.
    pub governor: Option<String>,
    pub turbo: Option<bool>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Cache {
    /// 1 is nearest to the core.
    pub level: u32,
    /// `Data`, `Instruction` or `Unified`.
    pub kind: String,
    pub bytes: u64,
    pub shared_by: u32,
    pub instances: u32,
}

impl Cpu {
    pub(crate) fn probe(files: &impl MachineFiles) -> Self {
        let cpuinfo = files.read("/proc/cpuinfo").unwrap_or_default();
        let mut cpu = Self::identity(&cpuinfo);
        let online = online(files);
        cpu.logical_cores = online.as_ref().map(|cpus| cpus.len() as u32);
        let online = online.unwrap_or_default();
        cpu.physical_cores = distinct_cores(files, &online);
        cpu.sockets = distinct(files, &online, &["physical_package_id"]);
        cpu.numa_nodes = files
            .read("/sys/devices/system/node/online")
            .and_then(|text| Some(cpu_list(&text)?.len() as u32));
        cpu.caches = caches(files, &online);
        cpu.quota_cores = Cgroup::find(files, "cpu").and_then(|c| c.cpu_quota_cores(files));
        cpu.clock(files, &online, &cpuinfo);
        cpu
    }

    /// Adds what only the running machine can say, and fills gaps outside Linux.
    pub(crate) fn complete_live(mut self, cpuinfo: &str) -> Self {
        self.features = CpuFeatures::detect(cpuinfo);
        let available = std::thread::available_parallelism().ok();
        self.available_cores = available.and_then(|cores| u32::try_from(cores.get()).ok());
        #[cfg(not(target_os = "linux"))]
        self.fill_from_sysinfo();
        #[cfg(windows)]
        self.fill_from_windows();
        self
    }

    /// Cores and caches, the processor's own numbers, clock and power plan.
    #[cfg(windows)]
    fn fill_from_windows(&mut self) {
        if let Some(found) = super::windows::topology() {
            let count = |n: usize| u32::try_from(n).ok().filter(|n| *n > 0);
            self.logical_cores = count(found.logical_cores() as usize).or(self.logical_cores);
            self.physical_cores = count(found.cores.len()).or(self.physical_cores);
            self.sockets = count(found.packages as usize);
            self.numa_nodes = count(found.nodes.len());
            self.caches = found.caches;
        }
        if let Some(id) = super::cpuid::CpuId::probe() {
            self.vendor = Some(id.vendor);
            self.family = Some(id.family);
            self.model_number = Some(id.model);
            self.stepping = Some(id.stepping);
        }
        let clocks = super::windows::clocks_hz();
        self.base_hz = clocks.map(|(base, _)| base);
        self.current_hz = clocks.map(|(_, now)| now).or(self.current_hz);
        self.governor = super::windows::power_plan().map(str::to_owned);
    }

    #[cfg(not(target_os = "linux"))]
    fn fill_from_sysinfo(&mut self) {
        let mut system = sysinfo::System::new();
        system.refresh_cpu_all();
        let first = system.cpus().first();
        let text = |text: &str| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
        self.model = first.and_then(|cpu| text(cpu.brand()));
        self.vendor = first.and_then(|cpu| text(cpu.vendor_id()));
        self.logical_cores = u32::try_from(system.cpus().len()).ok().filter(|n| *n > 0);
        self.physical_cores = sysinfo::System::physical_core_count().map(|n| n as u32);
        let hertz = first.map(|cpu| cpu.frequency().saturating_mul(1_000_000));
        self.current_hz = hertz.filter(|hz| *hz > 0);
    }

    fn identity(cpuinfo: &str) -> Self {
        let number = |key: &str| colon_value(cpuinfo, key)?.parse().ok();
        let hex = |key: &str| {
            let text = colon_value(cpuinfo, key)?;
            u32::from_str_radix(text.strip_prefix("0x")?, 16).ok()
        };
        let text = |key: &str| colon_value(cpuinfo, key).map(str::to_owned);
        let part = hex("CPU part");
        let implementer = hex("CPU implementer");
        Self {
            model: text("model name")
                .or_else(|| arm_core(implementer?, part?))
                .or_else(|| text("Hardware")),
            vendor: text("vendor_id").or_else(|| text("CPU implementer")),
            family: number("cpu family"),
            model_number: number("model").or(part),
            stepping: number("stepping").or_else(|| number("CPU revision")),
            features: CpuFeatures::from_cpuinfo(cpuinfo),
            ..Self::default()
        }
    }

    fn clock(&mut self, files: &impl MachineFiles, online: &[u32], cpuinfo: &str) {
        let khz = |cpu: u32, file: &str| -> Option<u64> {
            files
                .number::<u64>(&format!("{CPUS}/cpu{cpu}/cpufreq/{file}"))?
                .checked_mul(1000)
        };
        let first = online.first().copied().unwrap_or(0);
        self.base_hz = khz(first, "base_frequency");
        self.max_hz = online
            .iter()
            .filter_map(|cpu| khz(*cpu, "cpuinfo_max_freq"))
            .max();
        let current: Vec<u64> = online
            .iter()
            .filter_map(|cpu| khz(*cpu, "scaling_cur_freq"))
            .collect();
        self.current_hz = mean(&current).or_else(|| mean(&cpuinfo_hz(cpuinfo)));
        let governors: BTreeSet<String> = online
            .iter()
            .filter_map(|cpu| files.read(&format!("{CPUS}/cpu{cpu}/cpufreq/scaling_governor")))
            .collect();
        self.governor =
            (!governors.is_empty()).then(|| governors.into_iter().collect::<Vec<_>>().join(","));
        let no_turbo = files.number::<u8>(&format!("{CPUS}/intel_pstate/no_turbo"));
        let boost = files.number::<u8>(&format!("{CPUS}/cpufreq/boost"));
        self.turbo = no_turbo.map(|off| off == 0).or(boost.map(|on| on == 1));
    }

    /// Bytes of the outermost cache over all its instances.
    pub fn last_level_cache_bytes(&self) -> Option<u64> {
        let last = self
            .caches
            .iter()
            .filter(|cache| cache.kind != "Instruction")
            .max_by_key(|c| c.level)?;
        let same = self
            .caches
            .iter()
            .filter(|c| c.level == last.level && c.kind == last.kind);
        same.map(|cache| cache.bytes.checked_mul(cache.instances.into()))
            .sum()
    }
}

pub(crate) fn online(files: &impl MachineFiles) -> Option<Vec<u32>> {
    cpu_list(&files.read(&format!("{CPUS}/online"))?)
}

/// Physical cores that some hardware threads belong to.
pub(crate) fn distinct_cores(files: &impl MachineFiles, cpus: &[u32]) -> Option<u32> {
    distinct(files, cpus, &["core_cpus_list", "thread_siblings_list"])
}

/// How many different values the first readable of `names` has over the threads' topology folders.
fn distinct(files: &impl MachineFiles, online: &[u32], names: &[&str]) -> Option<u32> {
    names.iter().find_map(|name| {
        let values: BTreeSet<String> = online
            .iter()
            .filter_map(|cpu| files.read(&format!("{CPUS}/cpu{cpu}/topology/{name}")))
            .collect();
        u32::try_from(values.len()).ok().filter(|count| *count > 0)
    })
}

/// The `cpu MHz` lines of `/proc/cpuinfo`, in hertz.
pub(crate) fn cpuinfo_hz(cpuinfo: &str) -> Vec<u64> {
    let values = cpuinfo.lines().filter_map(|line| {
        let (key, value) = line.split_once(':')?;
        let mhz = value
            .trim()
            .parse::<f64>()
            .ok()
            .filter(|mhz| (1.0..1e6).contains(mhz))?;
        (key.trim() == "cpu MHz").then_some((mhz * 1e6) as u64)
    });
    values.collect()
}

fn mean(values: &[u64]) -> Option<u64> {
    let sum: u128 = values.iter().map(|value| u128::from(*value)).sum();
    u64::try_from(sum.checked_div(values.len() as u128)?).ok()
}

/// Instances are told apart by the list of threads that share them.
fn caches(files: &impl MachineFiles, online: &[u32]) -> Vec<Cache> {
    let mut instances = BTreeSet::new();
    for cpu in online {
        let folder = format!("{CPUS}/cpu{cpu}/cache");
        for index in files
            .list(&folder)
            .iter()
            .filter(|name| name.starts_with("index"))
        {
            let read = |file: &str| files.read(&format!("{folder}/{index}/{file}"));
            let found = (|| {
                let level: u32 = read("level")?.parse().ok()?;
                let bytes = kernel_size(&read("size")?)?;
                let shared = read("shared_cpu_list")?;
                Some((
                    level,
                    read("type")?,
                    bytes,
                    cpu_list(&shared)?.len() as u32,
                    shared,
                ))
            })();
            instances.extend(found);
        }
    }
    let mut caches: Vec<Cache> = Vec::new();
    for (level, kind, bytes, shared_by, _) in instances {
        let same = caches.iter_mut().find(|cache| {
            (cache.level, &cache.kind, cache.bytes, cache.shared_by)
                == (level, &kind, bytes, shared_by)
        });
        match same {
            Some(cache) => cache.instances += 1,
            None => caches.push(Cache {
                level,
                kind,
                bytes,
                shared_by,
                instances: 1,
            }),
        }
    }
    caches
}

/// A size as sysfs writes it: `48K`, `32768K`, `8M`.
pub(crate) fn kernel_size(text: &str) -> Option<u64> {
    let text = text.trim();
    let (digits, unit) = match text.strip_suffix(['K', 'M', 'G']) {
        Some(digits) => (digits, &text[digits.len()..]),
        None => (text, ""),
    };
    let factor = match unit {
        "K" => 1 << 10,
        "M" => 1 << 20,
        "G" => 1 << 30,
        _ => 1,
    };
    digits.parse::<u64>().ok()?.checked_mul(factor)
}

/// ARM's kernel names no model: implementer and part do (MIDR_EL1; util-linux's lscpu-arm.c has them all).
fn arm_core(implementer: u32, part: u32) -> Option<String> {
    let name = match (implementer, part) {
        (0x41, 0xd03) => "Cortex-A53",
        (0x41, 0xd08) => "Cortex-A72",
        (0x41, 0xd0b) => "Cortex-A76",
        (0x41, 0xd0c) => "Neoverse-N1",
        (0x41, 0xd40) => "Neoverse-V1",
        (0x41, 0xd49) => "Neoverse-N2",
        (0x41, 0xd4f) => "Neoverse-V2",
        (0xc0, 0xac3) => "Ampere-1",
        _ => return Some(format!("ARM implementer {implementer:#x} part {part:#x}")),
    };
    Some(name.to_owned())
}
