//! Earlier nights: a folder of copies of records, of which one may be pinned as the baseline.
//!
//! ```text
//! out/history/20260131-020000-nightly/run.jsonl
//! out/history/20260131-020000-nightly/regression   (an empty file: this night failed)
//! out/history/pinned                               (the name of the promoted run)
//! ```
//!
//! Records are copies, so that a history outlives the runs' own folders, and a resumed run does not change it. Nights are
//! in the order of the instants at which they started, by their records: names carry a local time, which says little
//! once a clock is set back or two time zones measure.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::RunHeader;
use super::jsonl::{self, FILE_NAME, RecordError};
use crate::file::{OutputFile, Replace};
use crate::text::{plain, read_at_most};

const PINNED: &str = "pinned";
const REGRESSION: &str = "regression";

/// Most bytes of a pinned name.
const MOST_PIN_BYTES: u64 = 4096;

/// A history that cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    #[error("{path}: {action}: {source}")]
    Io {
        path: PathBuf,
        action: &'static str,
        source: io::Error,
    },
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error("{path}: its record calls itself '{run}', which is no name of a folder")]
    Name { path: PathBuf, run: String },
    #[error(
        "{path}: its started_at '{started_at}' is no time with a zone, so that it has no place among the nights"
    )]
    Time { path: PathBuf, started_at: String },
}

#[derive(Debug, Default)]
pub struct Nights {
    /// Their folders, newest first.
    pub folders: Vec<PathBuf>,
    /// Why others have no place among them.
    pub left_out: Vec<HistoryError>,
}

/// The folder of earlier nights.
#[derive(Debug, Clone)]
pub struct History {
    folder: PathBuf,
}

impl History {
    /// The history in a folder, which need not exist yet.
    pub fn at(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
        }
    }

    /// Copies a run's record into the history, replacing an earlier copy, and returns its folder there.
    /// `regression` keeps the night out of later baselines.
    pub fn add(&self, run: &Path, regression: bool) -> Result<PathBuf, HistoryError> {
        let night = self.place_of(run)?;
        let io = |action| {
            let night = &night;
            move |source| failed(night, action, source)
        };
        fs::create_dir_all(&night).map_err(io("cannot make the folder"))?;
        let mark = night.join(REGRESSION);
        // The mark first: a crash in between must not leave a failed night that counts as a good one.
        if regression {
            fs::write(&mark, "").map_err(io("cannot mark as a regression"))?;
        }
        let record = jsonl::locate(run);
        let copy = night.join(FILE_NAME);
        let whole = |path: &Path| fs::canonicalize(path).ok();
        if whole(&record) != whole(&copy) {
            let mut from = fs::File::open(&record).map_err(io("cannot read the run"))?;
            replace(&copy, |file| io::copy(&mut from, file).map(drop))
                .map_err(io("cannot copy the run"))?;
        }
        if !regression && mark.exists() {
            fs::remove_file(&mark).map_err(io("cannot take the mark off"))?;
        }
        Ok(night)
    }

    /// The folder that a run's copy has here, or would have.
    ///
    /// # Errors
    /// [`HistoryError`] when its record cannot be read, or has a name that no folder can have.
    pub fn place_of(&self, run: &Path) -> Result<PathBuf, HistoryError> {
        Ok(self.folder.join(self.name_of(run)?))
    }

    /// Makes a run the baseline: copies it and pins it. Nights before it no longer count.
    pub fn promote(&self, run: &Path) -> Result<PathBuf, HistoryError> {
        let night = self.add(run, false)?;
        let name = night.file_name().unwrap_or_default().to_string_lossy();
        let pin = self.folder.join(PINNED);
        replace(&pin, |file| writeln!(file, "{name}"))
            .map_err(|e| failed(&pin, "cannot pin the run", e))?;
        Ok(night)
    }

    /// The pinned run's folder, if there is one.
    ///
    /// # Errors
    /// [`HistoryError::Io`] when it cannot be read.
    pub fn pinned(&self) -> Result<Option<PathBuf>, HistoryError> {
        Ok(self.pinned_name()?.map(|name| self.folder.join(name)))
    }

    /// The newest `n` nights that neither failed nor came before the pinned run, without the run of `tonight`.
    ///
    /// # Errors
    /// [`HistoryError`] when the folder or the pinned run cannot be read; a folder that does not exist is empty.
    pub fn last(&self, n: usize, tonight: &RunHeader) -> Result<Nights, HistoryError> {
        let mut nights = self.nights(tonight)?;
        nights.folders.retain(|night| !self.has_failed(night));
        nights.folders.truncate(n);
        Ok(nights)
    }

    /// Every night since the pinned run, itself among them; failed ones too, but not the run of `tonight`.
    ///
    /// # Errors
    /// As [`last`](Self::last).
    pub fn nights(&self, tonight: &RunHeader) -> Result<Nights, HistoryError> {
        if !self.folder.exists() {
            return Ok(Nights::default());
        }
        let pinned = self.pinned()?;
        let since = pinned.as_deref().map(start).transpose()?;
        self.found(|started, header| {
            let is_earlier = since.as_ref().is_some_and(|(since, _)| started < *since);
            !is_earlier && !is_same_run(header, tonight)
        })
    }

    /// Every night: failed ones, and those before the pinned run.
    ///
    /// # Errors
    /// [`HistoryError::Io`] when the folder cannot be read; one that does not exist is empty.
    pub fn all(&self) -> Result<Nights, HistoryError> {
        self.found(|_, _| true)
    }

    /// The nights that count.
    fn found(
        &self,
        counts: impl Fn(Timestamp, &RunHeader) -> bool,
    ) -> Result<Nights, HistoryError> {
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Nights::default()),
            Err(e) => return Err(failed(&self.folder, "cannot read the history", e)),
        };
        let mut nights = Nights::default();
        let mut found: Vec<(Timestamp, PathBuf)> = Vec::new();
        let folders = entries.flatten().map(|entry| entry.path());
        for folder in folders.filter(|folder| folder.join(FILE_NAME).is_file()) {
            match start(&folder) {
                Ok((started, header)) if counts(started, &header) => found.push((started, folder)),
                Ok(_) => {}
                Err(e) => nights.left_out.push(e),
            }
        }
        // Of one second, by name.
        found.sort_unstable_by(|a, b| b.cmp(a));
        nights.folders = found.into_iter().map(|(_, folder)| folder).collect();
        Ok(nights)
    }

    /// Whether a night of the history was suspected or failed.
    pub fn has_failed(&self, night: &Path) -> bool {
        night.join(REGRESSION).exists()
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    fn pinned_name(&self) -> Result<Option<String>, HistoryError> {
        let pin = self.folder.join(PINNED);
        match read_at_most(&pin, MOST_PIN_BYTES) {
            Ok(name) => Ok(Some(name.trim().to_owned()).filter(|name| is_plain(name))),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(failed(&pin, "cannot read which run is pinned", e)),
        }
    }

    /// The name that a run has in the history: its own, with a number where another run of this name is there. Runs of
    /// two machines or two time zones may have one name.
    fn name_of(&self, run: &Path) -> Result<String, HistoryError> {
        let header = jsonl::read_header(run)?;
        if !is_plain(&header.run) {
            return Err(HistoryError::Name {
                path: jsonl::locate(run),
                run: header.run,
            });
        }
        let is_free = |name: &String| {
            let copy = self.folder.join(name);
            // A copy that cannot be read is replaced.
            jsonl::read_header(&copy).map_or(true, |there| is_same_run(&there, &header))
        };
        let numbered = (2..).map(|n: u32| format!("{}-{n}", header.run));
        let mut names = std::iter::once(header.run.clone()).chain(numbered);
        Ok(names.find(is_free).unwrap_or(header.run))
    }
}

/// Whether two records are of one run.
fn is_same_run(a: &RunHeader, b: &RunHeader) -> bool {
    let identity = |h: &RunHeader| {
        let at = h.started().ok_or_else(|| h.started_at.clone());
        (h.run.clone(), at, h.machine.fingerprint.clone())
    };
    identity(a) == identity(b)
}

fn start(night: &Path) -> Result<(Timestamp, RunHeader), HistoryError> {
    let header = jsonl::read_header(night)?;
    match header.started() {
        Some(started) => Ok((started, header)),
        None => Err(HistoryError::Time {
            path: jsonl::locate(night),
            started_at: plain(&header.started_at),
        }),
    }
}

/// Records may come from elsewhere: a name must stay in the folder, and not be a file of ours.
fn is_plain(name: &str) -> bool {
    let harmless = |c: char| c.is_alphanumeric() || "._-".contains(c);
    !name.is_empty() && !name.starts_with('.') && name != PINNED && name.chars().all(harmless)
}

/// Writes a file beside its name and renames it, so that a reader sees the old one or the new one.
fn replace(path: &Path, fill: impl FnOnce(&mut OutputFile) -> io::Result<()>) -> io::Result<()> {
    let mut file = OutputFile::create(path, Replace::Always)?;
    fill(&mut file)?;
    Ok(file.commit()?)
}

fn failed(path: &Path, action: &'static str, source: io::Error) -> HistoryError {
    HistoryError::Io {
        path: path.to_owned(),
        action,
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::fixture::{batches, header};
    use crate::record::jsonl::Writer;

    struct HistoryFixture {
        folder: tempfile::TempDir,
        history: History,
    }

    impl HistoryFixture {
        fn new() -> Self {
            let folder = tempfile::tempdir().expect("a temporary folder");
            let history = History::at(folder.path().join("history"));
            Self { folder, history }
        }

        fn run(&self, name: &str, started_at: &str) -> PathBuf {
            let folders = self.folder.path().join("runs");
            let n = fs::read_dir(&folders).map_or(0, Iterator::count);
            let run = folders.join(n.to_string());
            fs::create_dir_all(&run).expect("writable");
            Writer::create(&run, night(name, started_at)).expect("writable");
            run
        }

        fn add(&self, name: &str, started_at: &str) -> PathBuf {
            let run = self.run(name, started_at);
            self.history.add(&run, false).expect("added")
        }

        fn last(&self, n: usize) -> Vec<String> {
            let tonight = night("tonight", "2026-06-01T02:00:00+00:00");
            names(&self.history.last(n, &tonight).expect("readable").folders)
        }
    }

    fn night(name: &str, started_at: &str) -> RunHeader {
        RunHeader {
            started_at: started_at.to_owned(),
            ..header(name, &batches(&[1]))
        }
    }

    /// Two in the morning of a day of May.
    fn may(day: u32) -> String {
        format!("2026-05-{day:02}T02:00:00+00:00")
    }

    fn names(nights: &[PathBuf]) -> Vec<String> {
        let name = |p: &PathBuf| p.file_name().expect("named").to_string_lossy().into_owned();
        nights.iter().map(name).collect()
    }

    #[test]
    fn the_newest_nights_that_count() {
        let place = HistoryFixture::new();
        assert_eq!(place.last(9), [""; 0], "no history yet");
        assert_eq!(place.history.pinned().expect("readable"), None);
        for (name, day, regression) in [
            ("1", 1, false),
            ("2", 2, false),
            ("3", 4, true),
            ("4", 5, false),
        ] {
            let run = place.run(name, &may(day));
            place.history.add(&run, regression).expect("added");
        }
        place.add("tonight", "2026-06-01T02:00:00+00:00");
        assert_eq!(place.last(9), ["4", "2", "1"]);
        assert_eq!(place.last(2), ["4", "2"]);
        let tonight = night("tonight", "2026-06-01T04:00:00+02:00");
        let all = place.history.nights(&tonight).expect("readable");
        assert_eq!(names(&all.folders), ["4", "3", "2", "1"], "failed ones too");
        let promoted = place.run("2b", &may(3));
        let night = place.history.promote(&promoted).expect("promoted");
        assert_eq!(place.history.pinned().expect("readable"), Some(night));
        assert_eq!(
            place.last(9),
            ["4", "2b"],
            "nights before the promoted one are over"
        );
        let failed = place.history.folder().join("3");
        place.history.promote(&failed).expect("promoted");
        assert_eq!(
            place.last(9),
            ["4", "3"],
            "promoted is no regression any more"
        );
    }

    #[test]
    fn nights_are_in_the_order_of_their_instants_whatever_their_zones_and_names() {
        let place = HistoryFixture::new();
        // Names by local time: Kiritimati's clock is a day ahead of Honolulu's.
        let first = place.run("20260511-010000-nightly", "2026-05-11T01:00:00+14:00");
        place.history.promote(&first).expect("promoted");
        place.add("20260510-023000-nightly", "2026-05-10T02:30:00-10:00");
        place.add("20260510-020000-nightly", "2026-05-10T02:00:00-10:00");
        assert_eq!(
            place.last(9),
            [
                "20260510-023000-nightly",
                "20260510-020000-nightly",
                "20260511-010000-nightly"
            ]
        );
        // The hour that a clock set back has twice: the later night has the earlier local time.
        place.add("20261025-025500-nightly", "2026-05-25T02:55:00+02:00");
        place.add("20261025-020500-nightly", "2026-05-25T02:05:00+01:00");
        assert_eq!(
            place.last(2),
            ["20261025-020500-nightly", "20261025-025500-nightly"]
        );
    }

    #[test]
    fn two_nights_of_one_name_are_both_kept() {
        let place = HistoryFixture::new();
        let [utc, west] = ["2026-05-10T02:00:00+00:00", "2026-05-10T02:00:00-06:00"];
        place.add("n", utc);
        place.add("n", west);
        assert_eq!(place.last(9), ["n-2", "n"]);
        place.add("n", "2026-05-10T04:00:00+02:00");
        assert_eq!(place.last(9), ["n-2", "n"], "the first one again");
        let pinned = place.history.promote(&place.run("n", west));
        assert_eq!(names(&[pinned.expect("promoted")]), ["n-2"]);
        assert_eq!(place.last(9), ["n-2"]);
    }

    #[test]
    fn a_night_without_a_readable_time_is_named_and_left_out() {
        let place = HistoryFixture::new();
        place.add("1", &may(1));
        place.add("2", "yesterday");
        let broken = place.history.folder().join("3");
        fs::create_dir(&broken).expect("writable");
        fs::write(broken.join(FILE_NAME), "nothing\n").expect("writable");
        let nights = place.history.last(9, &night("t", &may(9)));
        let nights = nights.expect("readable");
        assert_eq!(names(&nights.folders), ["1"]);
        let mut why: Vec<String> = nights.left_out.iter().map(ToString::to_string).collect();
        why.sort();
        assert_eq!(why.len(), 2);
        assert!(
            why[0].contains("/2/run.jsonl") && why[0].contains("'yesterday'"),
            "{why:?}"
        );
        assert!(why[1].contains("/3/run.jsonl"), "{why:?}");
        // Since when nights count is not known then.
        fs::write(place.history.folder().join(PINNED), "3\n").expect("writable");
        assert!(place.history.last(9, &night("t", &may(9))).is_err());
    }

    #[test]
    fn a_copy_outlives_the_run_and_can_be_added_again() {
        let place = HistoryFixture::new();
        let run = place.run("1", &may(1));
        let night = place.history.add(&run, false).expect("added");
        fs::remove_dir_all(&run).expect("removed");
        assert_eq!(jsonl::read(&night, |_| {}).expect("whole").run, "1");
        place.history.add(&night, true).expect("itself");
        assert_eq!(jsonl::read(&night, |_| {}).expect("still whole").run, "1");
        assert_eq!(place.last(1), [""; 0], "marked");
    }

    #[test]
    fn a_name_cannot_leave_the_folder() {
        let place = HistoryFixture::new();
        for (at, name) in ["../out", "", "pinned", ".hidden", "a/b"]
            .into_iter()
            .enumerate()
        {
            let run = place.folder.path().join(at.to_string());
            fs::create_dir(&run).expect("writable");
            Writer::create(&run, header(name, &[])).expect("writable");
            let e = place.history.add(&run, false).expect_err(name);
            assert!(matches!(e, HistoryError::Name { .. }), "{name}: {e}");
        }
        fs::create_dir_all(place.history.folder()).expect("writable");
        fs::write(place.history.folder().join(PINNED), "../elsewhere\n").expect("writable");
        assert_eq!(place.history.pinned().expect("readable"), None);
    }
}
