//! Earlier nights: a folder of copies of records, of which one may be pinned as the baseline.
//!
//! ```text
//! out/history/20260131-020000-nightly/run.jsonl
//! out/history/20260131-020000-nightly/regression   (an empty file: this night failed)
//! out/history/pinned                               (the name of the promoted run)
//! ```
//!
//! Records are copies, so that a history outlives the runs' own folders, and a resumed run does not change it. Names begin
//! with date and time, so that their order is that of the nights.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::jsonl::{self, FILE_NAME, RecordError};
use crate::file::{OutputFile, Replace};

const PINNED: &str = "pinned";
const REGRESSION: &str = "regression";

/// A history that cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// The file system said no.
    #[error("{path}: {action}: {source}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was being done.
        action: &'static str,
        /// Its reason.
        source: io::Error,
    },
    /// The run is none.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// A record whose name is none of a folder.
    #[error("{path}: its record calls itself '{run}', which is no name of a folder")]
    Name {
        /// The record.
        path: PathBuf,
        /// The name.
        run: String,
    },
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
    ///
    /// # Errors
    /// [`HistoryError`].
    pub fn add(&self, run: &Path, regression: bool) -> Result<PathBuf, HistoryError> {
        let night = self.folder.join(self.name_of(run)?);
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

    /// Makes a run the baseline: copies it and pins it. Nights before it no longer count.
    ///
    /// # Errors
    /// [`HistoryError`].
    pub fn promote(&self, run: &Path) -> Result<PathBuf, HistoryError> {
        let night = self.add(run, false)?;
        let name = self.name_of(run)?;
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

    /// The newest `n` nights, newest first, that neither failed nor came before the pinned run, without the run
    /// called `tonight`.
    ///
    /// # Errors
    /// [`HistoryError::Io`] when the folder cannot be read; one that does not exist is empty.
    pub fn last(&self, n: usize, tonight: &str) -> Result<Vec<PathBuf>, HistoryError> {
        let mut nights = self.nights(tonight)?;
        nights.retain(|night| !self.has_failed(night));
        nights.truncate(n);
        Ok(nights)
    }

    /// Every night since the pinned run, itself among them, newest first; failed ones too, but not the run called
    /// `tonight`.
    ///
    /// # Errors
    /// As [`last`](Self::last).
    pub fn nights(&self, tonight: &str) -> Result<Vec<PathBuf>, HistoryError> {
        let since = self.pinned_name()?.unwrap_or_default();
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(failed(&self.folder, "cannot read the history", e)),
        };
        let mut names: Vec<String> = entries
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter(|name| *name >= since && name != tonight)
            .filter(|name| self.folder.join(name).join(FILE_NAME).is_file())
            .collect();
        names.sort_unstable_by(|a, b| b.cmp(a));
        Ok(names.iter().map(|name| self.folder.join(name)).collect())
    }

    /// Whether a night of the history was suspected or failed.
    pub fn has_failed(&self, night: &Path) -> bool {
        night.join(REGRESSION).exists()
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    fn pinned_name(&self) -> Result<Option<String>, HistoryError> {
        let pin = self.folder.join(PINNED);
        match fs::read_to_string(&pin) {
            Ok(name) => Ok(Some(name.trim().to_owned()).filter(|name| is_plain(name))),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(failed(&pin, "cannot read which run is pinned", e)),
        }
    }

    fn name_of(&self, run: &Path) -> Result<String, HistoryError> {
        let name = jsonl::read(run, |_| {})?.run;
        if is_plain(&name) {
            return Ok(name);
        }
        Err(HistoryError::Name {
            path: jsonl::locate(run),
            run: name,
        })
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

    struct Place {
        folder: tempfile::TempDir,
        history: History,
    }

    impl Place {
        fn new() -> Self {
            let folder = tempfile::tempdir().expect("a temporary folder");
            let history = History::at(folder.path().join("history"));
            Self { folder, history }
        }

        fn run(&self, name: &str) -> PathBuf {
            let run = self.folder.path().join("runs").join(name);
            fs::create_dir_all(&run).expect("writable");
            Writer::create(&run, header(name, &batches(&[1]))).expect("writable");
            run
        }

        fn last(&self, n: usize) -> Vec<String> {
            names(&self.history.last(n, "tonight").expect("readable"))
        }
    }

    fn names(nights: &[PathBuf]) -> Vec<String> {
        let name = |p: &PathBuf| p.file_name().expect("named").to_string_lossy().into_owned();
        nights.iter().map(name).collect()
    }

    #[test]
    fn the_newest_nights_that_count() {
        let place = Place::new();
        assert_eq!(place.last(9), [""; 0], "no history yet");
        assert_eq!(place.history.pinned().expect("readable"), None);
        for (name, regression) in [
            ("1", false),
            ("2", false),
            ("3", true),
            ("4", false),
            ("tonight", false),
        ] {
            place
                .history
                .add(&place.run(name), regression)
                .expect("added");
        }
        assert_eq!(place.last(9), ["4", "2", "1"]);
        assert_eq!(place.last(2), ["4", "2"]);
        let all = place.history.nights("tonight").expect("readable");
        assert_eq!(names(&all), ["4", "3", "2", "1"], "failed ones too");
        let night = place.history.promote(&place.run("2b")).expect("promoted");
        assert_eq!(place.history.pinned().expect("readable"), Some(night));
        assert_eq!(
            place.last(9),
            ["4", "2b"],
            "nights before the promoted one are over"
        );
        place
            .history
            .promote(&place.folder.path().join("runs/3"))
            .expect("promoted");
        assert_eq!(
            place.last(9),
            ["4", "3"],
            "promoted is no regression any more"
        );
    }

    #[test]
    fn a_copy_outlives_the_run_and_can_be_added_again() {
        let place = Place::new();
        let run = place.run("1");
        let night = place.history.add(&run, false).expect("added");
        fs::remove_dir_all(&run).expect("removed");
        assert_eq!(jsonl::read(&night, |_| {}).expect("whole").run, "1");
        place.history.add(&night, true).expect("itself");
        assert_eq!(jsonl::read(&night, |_| {}).expect("still whole").run, "1");
        assert_eq!(place.last(1), [""; 0], "marked");
    }

    #[test]
    fn a_name_cannot_leave_the_folder() {
        let place = Place::new();
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
