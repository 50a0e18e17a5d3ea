//! The newest run below a folder.

use std::fs;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::jsonl::{self, is_pair};
use super::{Line, PairSide, RunHeader};

/// The folder of the run, or of the pair of runs, that started last, by the instants in the records: folders' names carry
/// a local time, and copies have times of their own. A record that cannot be read has no place.
///
/// # Errors
/// When the folder cannot be read; one that does not exist is empty.
pub fn newest(out: &Path) -> io::Result<Option<PathBuf>> {
    let mut found: Vec<(Timestamp, usize, PathBuf)> = Vec::new();
    let entries = match fs::read_dir(out) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e),
    };
    for entry in entries {
        let folder = entry?.path();
        if let Some(started) = started(&folder) {
            // Of one second a longer name has a higher number.
            found.push((started, folder.as_os_str().len(), folder));
        }
    }
    Ok(found.into_iter().max().map(|(_, _, folder)| folder))
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
    use crate::record::jsonl::Writer;

    fn run(out: &Path, folder: &str, started_at: &str) {
        let folder = out.join(folder);
        fs::create_dir_all(&folder).expect("writable");
        let header = RunHeader {
            started_at: started_at.to_owned(),
            ..header("x", &batches(&[1]))
        };
        Writer::create(&folder, header).expect("writable");
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
