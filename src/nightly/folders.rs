//! The folders of the runs and of earlier nights: what is in them, and what goes.

use std::cmp::Ordering;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use jiff::Timestamp;

use super::program::{PROGRAM_NAME, is_engine_library, is_executable};
use crate::model::free_bytes;
use crate::record::history::History;
use crate::record::jsonl::{self, locate, read_header};
use crate::record::{Line, PairSide};

/// Name of the runs of nights.
pub const RUN_NAME: &str = "nightly";

/// Most runs that are named as never judged.
const MOST_LEFTOVERS: usize = 9;

/// Room for the first record, and for what is beside a record.
const FIRST_NIGHT_BYTES: u64 = 32 << 20;
const BESIDE_RECORD_BYTES: u64 = 8 << 20;

/// Where nights are kept.
#[derive(Debug, Clone)]
pub struct NightFolders {
    pub out: PathBuf,
    pub history: History,
}

impl NightFolders {
    /// The folders of earlier nights, in the order in which they started.
    pub fn nights(&self) -> Vec<PathBuf> {
        let found = self.history.all().unwrap_or_default();
        found.folders.into_iter().rev().collect()
    }

    /// The promoted night.
    pub fn pinned(&self) -> Option<PathBuf> {
        self.history.pinned().ok().flatten()
    }

    /// The program of the promoted night, if it was kept.
    pub fn old_program(&self) -> Option<PathBuf> {
        let program = self.pinned()?.join(PROGRAM_NAME);
        is_executable(&program).then_some(program)
    }

    /// The names of the runs, in the order of names.
    pub fn runs(&self) -> Vec<String> {
        let mut names = folder_names(&self.out);
        let numbered = |rest: &str| rest.starts_with(|c: char| c.is_ascii_digit());
        names.retain(|name| {
            let parts = name.split_once("-nightly");
            parts.is_some_and(|(_, rest)| {
                rest.is_empty() || rest.strip_prefix('-').is_some_and(numbered)
            })
        });
        names
    }

    /// The newest nights since the promoted one that count for the baseline, newest first, at most `n`. `tonight` is not among them.
    pub fn good_nights(&self, n: usize, tonight: Option<&Path>) -> Vec<PathBuf> {
        let mut nights = self.nights();
        if let Some(since) = self.pinned() {
            let at = nights.iter().position(|night| *night == since);
            nights = nights.split_off(at.unwrap_or(nights.len()));
        }
        nights.retain(|night| Some(night.as_path()) != tonight && !self.history.has_failed(night));
        nights.into_iter().rev().take(n).collect()
    }

    /// Whether most of these nights were inconclusive: a doubtful slow-down must not become the norm.
    pub fn are_in_doubt(nights: &[PathBuf]) -> bool {
        let is_in_doubt = |night: &&PathBuf| {
            let summary = fs::read_to_string(night.join("summary.md")).unwrap_or_default();
            summary.starts_with("# Nightly: inconclusive")
        };
        2 * nights.iter().filter(is_in_doubt).count() > nights.len()
    }

    /// Whether run `name` started before or after a night. Of the same second the names are numbered. For a run without a record, the
    /// age of its folder decides.
    fn order(&self, name: &str, night: &Path) -> Ordering {
        let record = self.record_of(name);
        if let (Some(at), Some(than)) = (started(&record), started(night)) {
            return at.cmp(&than).then_with(|| name.cmp(&name_of(night)));
        }
        let age = |path: &Path| -> Option<SystemTime> { fs::metadata(path).ok()?.modified().ok() };
        match (age(&self.out.join(name)), age(&locate(night))) {
            (Some(at), Some(than)) => at.cmp(&than),
            _ => Ordering::Equal,
        }
    }

    /// The record of a run; of a pair, that of tonight's program.
    fn record_of(&self, name: &str) -> PathBuf {
        let run = self.out.join(name);
        match locate(&run).is_file() {
            true => run,
            false => run.join(PairSide::B.folder()),
        }
    }

    /// Runs since the last judged night that were not judged because of a crash, a full disk or an interruption.
    pub fn leftovers(&self) -> Option<String> {
        let newest = self.nights().pop();
        let runs = self.runs();
        let mut left = Vec::new();
        for name in &runs[runs.len().saturating_sub(MOST_LEFTOVERS)..] {
            let is_newer = |night| self.order(name, night) == Ordering::Greater;
            if newest.as_deref().is_none_or(is_newer) {
                let state = match is_whole(&self.record_of(name)) {
                    true => "whole",
                    false => "unfinished",
                };
                left.push(format!("{name} ({state})"));
            }
        }
        (!left.is_empty()).then(|| {
            format!(
                "measured earlier and never judged, left alone: {}",
                left.join(", ")
            )
        })
    }

    /// Deletes nights beyond the numbers to keep. Folders that no night has made are left alone.
    pub fn prune(&self, keep_runs: usize, keep_history: usize) {
        let nights = self.nights();
        let pinned = self.pinned();
        let n_old = nights.len().saturating_sub(keep_history);
        for (at, night) in nights.iter().enumerate() {
            let is_pinned = pinned.as_ref() == Some(night);
            if is_pinned || !is_dated(&name_of(night)) {
                continue;
            }
            // Only the promoted night's program can be used again.
            remove_program(night);
            if at < n_old {
                let _ = fs::remove_dir_all(night);
            }
        }
        let kept = self.nights();
        let Some(oldest) = kept.get(kept.len().saturating_sub(keep_runs)) else {
            return;
        };
        for name in folder_names(&self.out) {
            if is_of_a_night(&name) && self.order(&name, oldest) == Ordering::Less {
                let _ = fs::remove_dir_all(self.out.join(name));
            }
        }
    }

    /// Refuses a night for whose record, copy and rerun, and `more_bytes`, there is no room.
    ///
    /// # Errors
    /// With the reason.
    pub fn check_room(&self, n_records: u64, more_bytes: u64) -> Result<(), String> {
        let newest = self.nights().pop();
        let record = newest.map(|night| fs::metadata(locate(&night)).map_or(0, |m| m.len()));
        let one = record.map_or(FIRST_NIGHT_BYTES, |n| BESIDE_RECORD_BYTES + 3 * n);
        let need = n_records * one + more_bytes;
        for folder in [self.out.as_path(), self.history.folder()] {
            match free_bytes(folder) {
                Some(free) if free < need => {
                    return Err(format!(
                        "the disk is full: {} has {} MiB left, a night needs {}; delete files that are not needed, or keep fewer \
                         nights (--keep-nights)",
                        folder.display(),
                        free >> 20,
                        need >> 20
                    ));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// When the run of a record started. Names have a local time, which cannot order nights of two time zones, nor nights around a change
/// of the clock.
fn started(run: &Path) -> Option<Timestamp> {
    read_header(run).ok()?.started()
}

/// Whether a record has the end of a run that nobody interrupted.
fn is_whole(run: &Path) -> bool {
    let mut is_whole = false;
    let read = jsonl::read(run, |line| {
        is_whole = matches!(&line, Line::End(end) if !end.interrupted);
    });
    read.is_ok() && is_whole
}

fn remove_program(night: &Path) {
    let _ = fs::remove_file(night.join(PROGRAM_NAME));
    let entries = fs::read_dir(night).into_iter().flatten().flatten();
    for entry in entries.filter(|e| is_engine_library(&e.file_name().to_string_lossy())) {
        let _ = fs::remove_file(entry.path());
    }
}

fn name_of(folder: &Path) -> String {
    let name = folder.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

fn folder_names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let folders = entries.filter(|entry| entry.path().is_dir());
    let names = folders.filter_map(|entry| entry.file_name().into_string().ok());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

/// What follows the date and the time in the name of a run's folder.
fn after_date(name: &str) -> Option<&str> {
    let are_digits = |part: &str, n| part.len() == n && part.bytes().all(|b| b.is_ascii_digit());
    let (date, rest) = name.split_once('-')?;
    let (time, rest) = rest.split_once('-')?;
    (are_digits(date, 8) && are_digits(time, 6)).then_some(rest)
}

fn is_dated(name: &str) -> bool {
    after_date(name).is_some()
}

/// Whether a folder is named as a night's run or rerun is.
fn is_of_a_night(name: &str) -> bool {
    let Some(rest) = after_date(name).and_then(|rest| rest.strip_prefix(RUN_NAME)) else {
        return false;
    };
    let rest = rest.strip_prefix("-rerun").unwrap_or(rest);
    let is_number = |n: &str| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit());
    rest.is_empty() || rest.strip_prefix('-').is_some_and(is_number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_named_as_a_night_is_deleted() {
        for name in [
            "20260201-023000-nightly",
            "20260201-023000-nightly-2",
            "20260201-023000-nightly-rerun",
            "20260201-023000-nightly-rerun-12",
        ] {
            assert!(is_of_a_night(name), "{name}");
        }
        for name in [
            "x-nightly",
            "20260201-023000-quick",
            "20260201-023000-nightly-mine",
            "20260201-023000-nightly-",
            "20260201-02300-nightly",
            "2026é201-023000-nightly",
            "20260201-023000-nightlyx",
            "",
        ] {
            assert!(!is_of_a_night(name), "{name}");
        }
        assert!(is_dated("20260201-023000-nightly-b") && !is_dated("mine"));
    }

    #[test]
    fn runs_are_found_by_their_names() {
        let place = tempfile::tempdir().expect("a temporary folder");
        for name in [
            "20260201-023000-nightly",
            "20260201-023000-nightly-2",
            "20260201-023000-nightly-rerun",
            "20260201-023000-quick",
            "history",
        ] {
            fs::create_dir(place.path().join(name)).expect("writable");
        }
        let folders = NightFolders {
            out: place.path().to_owned(),
            history: History::at(place.path().join("history")),
        };
        let first = "20260201-023000-nightly";
        assert_eq!(folders.runs(), [first, &format!("{first}-2")]);
        assert!(folders.nights().is_empty());
        let told = folders.leftovers().expect("two");
        assert!(told.ends_with(&format!("{first} (unfinished), {first}-2 (unfinished)")));
        let full = folders.check_room(u64::MAX >> 40, 0);
        let reason = full.expect_err("no disk has so much");
        assert!(reason.starts_with("the disk is full: "), "{reason}");
    }
}
