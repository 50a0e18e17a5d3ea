//! Where the machine's description is read from: `/proc` and `/sys`, or literal samples in tests.
//!
//! Absolute paths in Linux's layout everywhere. Elsewhere the files do not exist, every reader
//! answers `None`, and no caller needs to know the operating system.

use std::fs;
use std::io::ErrorKind;
use std::str::FromStr;

/// Text files and folders of one machine.
pub(crate) trait MachineFiles {
    /// A file's text without trailing white space, or why it cannot be read.
    fn read_or_why(&self, path: &str) -> Result<String, ErrorKind>;

    /// A file's text without trailing white space; `None` when missing, unreadable or a folder.
    fn read(&self, path: &str) -> Option<String> {
        self.read_or_why(path).ok()
    }

    /// Names in a folder, sorted; empty when there is no such folder.
    fn list(&self, folder: &str) -> Vec<String>;

    fn number<T: FromStr>(&self, path: &str) -> Option<T>
    where
        Self: Sized,
    {
        self.read(path)?.trim().parse().ok()
    }
}

#[derive(Debug)]
pub(crate) struct LiveFiles;

impl MachineFiles for LiveFiles {
    fn read_or_why(&self, path: &str) -> Result<String, ErrorKind> {
        let bytes = fs::read(path).map_err(|e| e.kind())?;
        Ok(String::from_utf8_lossy(&bytes).trim_end().to_owned())
    }

    fn list(&self, folder: &str) -> Vec<String> {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let mut names: Vec<String> = entries
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect();
        names.sort();
        names
    }
}

/// The value after `key` and a colon, as in `/proc/meminfo`, `/proc/cpuinfo` and `/proc/<pid>/status`.
pub(crate) fn colon_value<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        (name.trim() == key).then(|| value.trim())
    })
}

/// A `key: 123 kB` line in bytes.
pub(crate) fn kib_value_bytes(text: &str, key: &str) -> Option<u64> {
    let value = colon_value(text, key)?.strip_suffix("kB")?;
    value.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// The number after `key` and a space, as in `/proc/vmstat` and the cgroup statistics.
pub(crate) fn space_value(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let (name, value) = line.split_once(' ')?;
        (name == key).then(|| value.trim().parse().ok()).flatten()
    })
}

/// A kernel CPU list such as `0-3,8,10-11`, expanded. Text that is not one gives `None`.
pub(crate) fn cpu_list(text: &str) -> Option<Vec<u32>> {
    // Linux's largest NR_CPUS is 8192: a longer range is garbage, not a machine.
    const MOST: u32 = 65_536;
    let mut cpus = Vec::new();
    for part in text.trim().split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let first: u32 = first.trim().parse().ok()?;
        let last: u32 = last.trim().parse().ok()?;
        if first > last || last >= MOST {
            return None;
        }
        cpus.extend(first..=last);
    }
    cpus.sort_unstable();
    cpus.dedup();
    Some(cpus)
}

/// Literal files, for tests: pairs of path and text.
#[cfg(test)]
#[derive(Debug)]
pub(crate) struct FakeFiles<'a>(pub &'a [(&'a str, &'a str)]);

/// A [`FakeFiles`]'s files from a listing, one a line: path and text, in which `\n` is a line's end.
#[cfg(test)]
pub(crate) fn listed(listing: &str) -> Vec<(&str, &str)> {
    let lines = listing.lines().map(str::trim);
    lines.filter_map(|line| line.split_once(' ')).collect()
}

#[cfg(test)]
impl MachineFiles for FakeFiles<'_> {
    fn read_or_why(&self, path: &str) -> Result<String, ErrorKind> {
        let file = self.0.iter().find(|(name, _)| *name == path);
        let (_, text) = file.ok_or(ErrorKind::NotFound)?;
        Ok(text.trim_end().replace("\\n", "\n"))
    }

    fn list(&self, folder: &str) -> Vec<String> {
        let prefix = format!("{}/", folder.trim_end_matches('/'));
        let children = self
            .0
            .iter()
            .filter_map(|(path, _)| path.strip_prefix(&prefix));
        let mut names: Vec<String> = children
            .filter_map(|rest| rest.split('/').next().map(str::to_owned))
            .collect();
        names.sort();
        names.dedup();
        names
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expands_cpu_lists() {
        assert_eq!(cpu_list("0-3,8,10-11\n"), Some(vec![0, 1, 2, 3, 8, 10, 11]));
        assert_eq!(cpu_list("0"), Some(vec![0]));
        assert_eq!(cpu_list(""), None);
        assert_eq!(cpu_list("3-1"), None);
        assert_eq!(cpu_list("0-4294967295"), None);
    }

    #[test]
    fn reads_keyed_lines() {
        let text = "MemTotal:       24684092 kB\nHugePages_Total:       0\n";
        assert_eq!(kib_value_bytes(text, "MemTotal"), Some(24_684_092 * 1024));
        assert_eq!(kib_value_bytes(text, "HugePages_Total"), None);
        assert_eq!(kib_value_bytes("X: 99999999999999999999 kB", "X"), None);
        assert_eq!(space_value("pswpin 7\npswpout 12", "pswpout"), Some(12));
        assert_eq!(space_value("pswpin2 7", "pswpin"), None);
    }
}
