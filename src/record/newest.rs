//! The run that was made last.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::PairSide;
use super::jsonl::{self, is_pair};

/// Of the runs in a folder, and the pairs of runs, the one that started last, by its record; of one instant the one
/// with the later name. None where there is none whose record can be read.
///
/// # Errors
/// When the folder cannot be read.
pub fn newest(out: &Path) -> io::Result<Option<PathBuf>> {
    let mut newest = None;
    for entry in fs::read_dir(out)? {
        let run = entry?.path();
        let record = match is_pair(&run) {
            true => run.join(PairSide::A.folder()),
            false => run.clone(),
        };
        if !jsonl::locate(&record).is_file() || !run.is_dir() {
            continue;
        }
        let started = jsonl::read_header(&record).ok().and_then(|h| h.started());
        let place = started.map(|started| (started, run));
        newest = newest.max(place);
    }
    Ok(newest.map(|(_, run)| run))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::fixture::{batches, header};
    use crate::record::RunHeader;
    use crate::record::jsonl::Writer;

    #[test]
    fn the_newest_run_is_the_last_one_in_time_not_by_name() {
        let out = tempfile::tempdir().expect("a temporary folder");
        assert_eq!(newest(out.path()).expect("readable"), None);
        let run = |folder: &str, started_at: &str| {
            let folder = out.path().join(folder);
            fs::create_dir_all(&folder).expect("writable");
            let header = RunHeader {
                started_at: started_at.to_owned(),
                ..header("r", &batches(&[1]))
            };
            Writer::create(&folder, header).expect("writable");
        };
        let is_newest = |name: &str| {
            let found = newest(out.path()).expect("readable");
            assert_eq!(found, Some(out.path().join(name)));
        };
        run("20260511-010000-x", "2026-05-11T01:00:00+14:00");
        is_newest("20260511-010000-x");
        run("20260510-020000-x", "2026-05-10T02:00:00-10:00");
        is_newest("20260510-020000-x");
        run("a-pair/a", "2026-05-12T00:00:00+00:00");
        run("a-pair/b", "2026-05-12T00:00:00+00:00");
        is_newest("a-pair");
        fs::create_dir(out.path().join("zz")).expect("writable");
        fs::write(out.path().join("zz/run.jsonl"), "broken\n").expect("writable");
        fs::write(out.path().join("zzz"), "a file\n").expect("writable");
        is_newest("a-pair");
        assert!(newest(&out.path().join("nowhere")).is_err());
    }
}
