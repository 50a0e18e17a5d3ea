//! The newest run below a folder, also under the name `latest`.
//!
//! No link of this name is made: `report out/*` would read a run twice, which narrows its intervals.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::jsonl::{self, is_pair};
use super::{Line, PairSide, RunHeader};

/// The folder that gets a folder for each run, unless another one is named.
pub const DEFAULT_OUT: &str = "out";

/// The name of the newest run that ended.
pub const LATEST: &str = "latest";

/// The folder of the run, or of the pair of runs, that started last, by the instants in the records: folders' names carry
/// a local time, and copies have times of their own. A record that cannot be read has no place.
///
/// # Errors
/// When the folder cannot be read; one that does not exist is empty.
pub fn newest(out: &Path) -> io::Result<Option<PathBuf>> {
    Ok(by_start(out)?.pop())
}

/// Runs that a message names.
const MOST_NAMED: usize = 3;

/// The run that a path names: `latest` is the newest one below `out` that ended, and `DIR/latest` the newest one below `DIR`.
/// A file or folder that really has this name is itself.
///
/// # Errors
/// With what to do, where there is no such run.
pub fn named(path: &Path) -> Result<PathBuf, String> {
    let is_there = match path.symlink_metadata() {
        Ok(_) => true,
        Err(e) => e.kind() != io::ErrorKind::NotFound,
    };
    if is_there {
        return Ok(path.to_owned());
    }
    let out = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new(DEFAULT_OUT),
    };
    if path.file_name() != Some(OsStr::new(LATEST)) {
        return Err(not_there(path, out));
    }
    let runs =
        by_start(out).map_err(|e| format!("{}: cannot look for runs: {e}", out.display()))?;
    let found = runs.into_iter().rev().find(|run| has_ended(run));
    found.ok_or_else(|| {
        format!(
            "{} has no run that ended; `ggufbench` measures one, or name the folder of a run",
            out.display()
        )
    })
}

/// That there is no such run, and which there are.
fn not_there(path: &Path, out: &Path) -> String {
    let path = path.display();
    let mut runs = by_start(out).unwrap_or_default();
    if runs.is_empty() {
        return format!(
            "{path}: there is no such run, and none in {}",
            out.display()
        );
    }
    runs.reverse();
    let shown = runs.iter().take(MOST_NAMED);
    let shown: Vec<String> = shown.map(|run| run.display().to_string()).collect();
    let newest = match runs.len() {
        1 => "there is",
        _ => "the newest are",
    };
    let latest = match out == Path::new(DEFAULT_OUT) {
        true => PathBuf::from(LATEST),
        false => out.join(LATEST),
    };
    let latest = runs.iter().any(|run| has_ended(run)).then(|| {
        let name = latest.display();
        format!(" (`{name}` names the newest that ended)")
    });
    format!(
        "{path}: there is no such run; {newest} {}{}",
        shown.join(", "),
        latest.unwrap_or_default()
    )
}

/// The folders of all runs and pairs, the one that started last at the end.
fn by_start(out: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found: Vec<(Timestamp, usize, PathBuf)> = Vec::new();
    let entries = match fs::read_dir(out) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e),
    };
    for entry in entries {
        let folder = entry?.path();
        if let Some(started) = started(&folder) {
            // Of one second a longer name has a higher number.
            found.push((started, folder.as_os_str().len(), folder));
        }
    }
    found.sort();
    Ok(found.into_iter().map(|(_, _, folder)| folder).collect())
}

/// Whether a run, or both of a pair, ended by themselves.
fn has_ended(folder: &Path) -> bool {
    let sides = match is_pair(folder) {
        true => [PairSide::A, PairSide::B]
            .map(|side| folder.join(side.folder()))
            .to_vec(),
        false => vec![folder.to_owned()],
    };
    sides.iter().all(|side| {
        let record = jsonl::locate(side);
        let is_imported = || header(&record).is_some_and(|header| header.imported.is_some());
        match last_line(&record) {
            Some(Line::End(end)) => !end.interrupted,
            // What another program measured has no end of its own.
            _ => is_imported(),
        }
    })
}

/// An end takes less.
const MOST_END_BYTES: u64 = 64 << 10;

/// The last line of a record, where it is a short one.
fn last_line(record: &Path) -> Option<Line> {
    let mut file = fs::File::open(record).ok()?;
    let n_bytes = file.metadata().ok()?.len();
    let from = n_bytes.saturating_sub(MOST_END_BYTES);
    file.seek(SeekFrom::Start(from)).ok()?;
    let mut end = Vec::new();
    file.take(MOST_END_BYTES).read_to_end(&mut end).ok()?;
    // A line without its end was cut by a crash.
    let whole = end.strip_suffix(b"\n")?;
    let line = whole.rsplit(|byte| *byte == b'\n').next()?;
    serde_json::from_slice(line).ok()
}

/// When a run, or a pair of runs, began.
fn started(folder: &Path) -> Option<Timestamp> {
    let record = match is_pair(folder) {
        true => folder.join(PairSide::A.folder()),
        false => folder.to_owned(),
    };
    let record = jsonl::locate(&record);
    let header = record.is_file().then(|| header(&record))??;
    header.started_at.parse().ok()
}

/// Longest first line that is read.
const MOST_HEADER_BYTES: u64 = 256 << 20;

/// The first line of a record alone.
fn header(record: &Path) -> Option<RunHeader> {
    let file = fs::File::open(record).ok()?;
    let mut line = String::new();
    // A file of somebody else's may be one line of any length.
    let mut reader = BufReader::new(file.take(MOST_HEADER_BYTES));
    reader.read_line(&mut line).ok()?;
    match serde_json::from_str(&line).ok()? {
        Line::Run(header) => Some(*header),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::fixture::{batches, header};
    use crate::record::EndLine;
    use crate::record::jsonl::Writer;

    fn run(out: &Path, folder: &str, started_at: &str) -> Writer {
        let folder = out.join(folder);
        fs::create_dir_all(&folder).expect("writable");
        let header = RunHeader {
            started_at: started_at.to_owned(),
            ..header("x", &batches(&[1]))
        };
        Writer::create(&folder, header).expect("writable")
    }

    fn ended(interrupted: bool) -> Line {
        Line::End(EndLine {
            ended_at: "2026-06-01T01:00:00+00:00".to_owned(),
            interrupted,
            elapsed_ns: 1,
        })
    }

    #[test]
    fn latest_is_the_newest_run_that_ended() {
        let place = tempfile::tempdir().expect("a folder");
        let out = place.path();
        let latest = || {
            let found = named(&out.join("latest"))?;
            Ok::<_, String>(found.strip_prefix(out).expect("below").to_owned())
        };
        let none = latest().expect_err("has no run");
        assert!(
            none.contains("has no run that ended; `ggufbench` measures one"),
            "{none}"
        );
        for (day, end) in [
            (1, Some(false)),
            (2, Some(false)),
            (3, Some(true)),
            (4, None),
        ] {
            let mut writer = run(
                out,
                &day.to_string(),
                &format!("2026-06-0{day}T00:00:00+00:00"),
            );
            if let Some(interrupted) = end {
                writer.append(&ended(interrupted)).expect("writable");
            }
        }
        // The third was interrupted, and the fourth goes on or was cut off.
        assert_eq!(latest(), Ok(PathBuf::from("2")));
        run(out, "5/a", "2026-06-05T00:00:00+00:00")
            .append(&ended(false))
            .expect("writable");
        let mut b = run(out, "5/b", "2026-06-05T00:00:00+00:00");
        assert_eq!(latest(), Ok(PathBuf::from("2")));
        b.append(&ended(false)).expect("writable");
        assert_eq!(latest(), Ok(PathBuf::from("5")));
        // What really has the name, and what has another one, are themselves.
        fs::create_dir(out.join("latest")).expect("writable");
        assert_eq!(latest(), Ok(PathBuf::from("latest")));
        let other = out.join("2");
        assert_eq!(named(&other), Ok(other));
        let missing = named(&out.join("missing")).expect_err("is not there");
        assert!(
            missing.contains("missing: there is no such run; the newest are ")
                && missing.contains("/5, "),
            "{missing}"
        );
    }

    fn name(out: &Path) -> Option<String> {
        let newest = newest(out).expect("readable")?;
        Some(newest.file_name()?.to_string_lossy().into_owned())
    }

    #[test]
    fn the_newest_run_is_the_one_that_started_last_whatever_its_name() {
        let place = tempfile::tempdir().expect("a folder");
        let out = place.path();
        assert_eq!(name(out), None);
        fs::write(out.join("notes.txt"), "no run").expect("writable");
        fs::create_dir(out.join("empty")).expect("writable");
        fs::create_dir(out.join("broken")).expect("writable");
        fs::write(out.join("broken/run.jsonl"), "{").expect("writable");
        assert_eq!(name(out), None);
        // Two time zones: the local times are in the other order.
        run(out, "20260511-010000-a", "2026-05-11T01:00:00+14:00");
        run(out, "20260510-020000-b", "2026-05-10T02:00:00-10:00");
        assert_eq!(name(out).as_deref(), Some("20260510-020000-b"));
        // Of one second the one with the number.
        run(out, "20260510-020000-b-2", "2026-05-10T02:00:00-10:00");
        assert_eq!(name(out).as_deref(), Some("20260510-020000-b-2"));
        // A pair counts, a history of copies does not.
        run(out, "20260601-000000-ab/a", "2026-06-01T00:00:00+00:00");
        run(out, "20260601-000000-ab/b", "2026-06-01T00:00:00+00:00");
        run(
            out,
            "history/20270101-000000-x",
            "2027-01-01T00:00:00+00:00",
        );
        assert_eq!(name(out).as_deref(), Some("20260601-000000-ab"));
        assert_eq!(name(&out.join("missing")), None);
    }
}
