//! Which other programs used the CPU between two instants. Names are for a person's eyes: they belong in no record.

use std::collections::BTreeMap;
use std::time::Duration;

#[cfg(not(windows))]
use super::files::LiveFiles;
use super::files::MachineFiles;
use super::procfs::ProcessStat;
use super::usage::tick_ns;

/// CPU time of every other process so far.
#[derive(Clone, Debug, Default)]
pub struct ProcessTimes(BTreeMap<u32, (String, u64)>);

#[derive(Clone, Debug, PartialEq)]
pub struct Neighbour {
    /// The kernel's short name of its processes.
    pub name: String,
    /// CPU time in cores: 0.5 is half of one.
    pub cores: f64,
}

impl ProcessTimes {
    /// Of all processes but this one. Empty where `/proc` does not list them.
    #[cfg(not(windows))]
    pub fn read() -> Self {
        Self::from_files(&LiveFiles, std::process::id())
    }

    /// Of all processes but this one that this user may ask about.
    #[cfg(windows)]
    pub fn read() -> Self {
        use sysinfo::{ProcessRefreshKind, ProcessesToUpdate, System};
        let Some(tick_ns) = tick_ns() else {
            return Self::default();
        };
        let mut system = System::new();
        let wanted = ProcessRefreshKind::nothing().with_cpu();
        system.refresh_processes_specifics(ProcessesToUpdate::All, true, wanted);
        // Process 0 is the one that stands for being idle.
        let others = system
            .processes()
            .iter()
            .filter(|(pid, _)| ![0, std::process::id()].contains(&pid.as_u32()));
        Self(
            others
                .map(|(pid, process)| {
                    let name = process.name().to_string_lossy().into_owned();
                    let cpu_ns = process.accumulated_cpu_time().saturating_mul(1_000_000);
                    (pid.as_u32(), (name, cpu_ns / tick_ns))
                })
                .collect(),
        )
    }

    #[cfg_attr(windows, allow(dead_code))]
    fn from_files(files: &impl MachineFiles, own: u32) -> Self {
        let numbers = files.list("/proc");
        let pids = numbers.iter().filter_map(|name| name.parse::<u32>().ok());
        let one = |pid: u32| {
            let stat = files.read(&format!("/proc/{pid}/stat"))?;
            let (_, rest) = stat.split_once('(')?;
            let (name, _) = rest.rsplit_once(')')?;
            Some((pid, (name.to_owned(), ProcessStat::parse(&stat)?.cpu_ticks)))
        };
        Self(pids.filter(|pid| *pid != own).filter_map(one).collect())
    }

    /// Programs by what they used since `earlier`, most first, those of one name together. A process that began or
    /// ended in between is missing, at least in part: the machine's counters have it.
    pub fn busiest_since(&self, earlier: &Self, wall: Duration) -> Vec<Neighbour> {
        let Some(tick_ns) = tick_ns() else {
            return Vec::new();
        };
        let mut ticks: BTreeMap<&str, u64> = BTreeMap::new();
        for (pid, (name, now)) in &self.0 {
            // Names change within a process (a program starts another in its place, kernel threads tell their work);
            // a counter that went back belongs to a new one, whose time is all of the window.
            let before = earlier.0.get(pid).map(|(_, then)| *then);
            let used = now - before.filter(|then| then <= now).unwrap_or(0);
            let sum = ticks.entry(name).or_default();
            *sum = sum.saturating_add(used);
        }
        let wall_ns = wall.as_nanos().max(1) as f64;
        let mut busy: Vec<Neighbour> = ticks
            .into_iter()
            .filter(|(_, ticks)| *ticks > 0)
            .map(|(name, ticks)| Neighbour {
                name: name.to_owned(),
                cores: ticks as f64 * tick_ns as f64 / wall_ns,
            })
            .collect();
        busy.sort_by(|a, b| b.cores.total_cmp(&a.cores));
        busy
    }
}

#[cfg(test)]
mod tests {
    use super::super::files::FakeFiles;
    use super::*;

    fn stat(name: &str, user_ticks: u64) -> String {
        format!("1 ({name}) S 1 7 7 0 -1 0 98 5 3 4 {user_ticks} 0 1 2 20 0")
    }

    fn times(listed: &[(&str, &str, u64)]) -> ProcessTimes {
        let owned: Vec<(String, String)> = listed
            .iter()
            .map(|(pid, name, ticks)| (format!("/proc/{pid}/stat"), stat(name, *ticks)))
            .collect();
        let files: Vec<(&str, &str)> = owned
            .iter()
            .map(|(path, text)| (path.as_str(), text.as_str()))
            .collect();
        ProcessTimes::from_files(&FakeFiles(&files), 9)
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn programs_are_added_up_by_name_and_we_are_left_out() {
        let before = times(&[
            ("1", "init", 5),
            ("2", "cc1 (x)", 100),
            ("9", "ggufbench", 0),
            ("4", "bash", 70),
            ("5", "kworker/u8:9-ext4", 1000),
        ]);
        let after = times(&[
            ("1", "init", 5),
            ("2", "cc1 (x)", 130),
            ("3", "cc1 (x)", 20),
            ("9", "ggufbench", 90),
            ("4", "curl", 3),
            ("5", "kworker/u8:9-flush", 1001),
            ("self", "no number", 3),
        ]);
        let busy = after.busiest_since(&before, Duration::from_secs(1));
        let tick = tick_ns().expect("Linux has it") as f64 / 1e9;
        let expected = [
            ("cc1 (x)", 50.0 * tick),
            ("curl", 3.0 * tick),
            ("kworker/u8:9-flush", tick),
        ];
        let found: Vec<(&str, f64)> = busy.iter().map(|n| (n.name.as_str(), n.cores)).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn torn_lines_are_nobody() {
        let files = FakeFiles(&[("/proc/5/stat", "5 (x"), ("/proc/6/stat", "")]);
        assert!(ProcessTimes::from_files(&files, 9).0.is_empty());
    }
}
