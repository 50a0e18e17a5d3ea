//! One night at a time: a lock on a file in the folder of the runs, and one in the history.
//!
//! The locks belong to this process and to those that it starts. So they end with the last of them: a crash leaves no lock behind, and
//! if this process is killed, the measurement that it started keeps them. (On Windows they end with this process.) The text of the
//! files is for people only: on a full disk the locks hold without it.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};

use crate::host::process;

const FILE_NAME: &str = "nightly.lock";

/// Both locks, held until this is dropped.
#[derive(Debug)]
pub struct NightLock {
    files: Vec<File>,
    /// The night before, if it did not end in order.
    pub cut_off: Option<String>,
}

impl NightLock {
    /// Locks both folders, which are made if they are not there.
    ///
    /// # Errors
    /// When a folder cannot be written to, both are the same, or another night holds a lock.
    pub fn take(out: &Path, history: &Path) -> Result<Self> {
        let opened = [open(out)?, open(history)?];
        let whole = |path: &Path| path.canonicalize().ok();
        ensure!(
            whole(out) != whole(history),
            "{}: is the folder of the runs; the history needs a folder of its own",
            history.display()
        );
        let mut files = Vec::new();
        for (path, file) in opened {
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => bail!(held(&path)),
                Err(TryLockError::Error(e)) => bail!(
                    "{}: cannot be locked: {e}; two nights at once would disturb each other: name a folder on a file system that has \
                     locks",
                    path.display()
                ),
            }
            process::leave_open_for_children(&file)
                .with_context(|| format!("{}: cannot be locked", path.display()))?;
            files.push(file);
        }
        let mut text = String::new();
        let _ = files[0].read_to_string(&mut text);
        let now = jiff::Zoned::now().strftime("%Y-%m-%d %H:%M:%S");
        let holder = format!("process {} since {now}\n", std::process::id());
        let mut lock = Self {
            files,
            cut_off: Some(text.trim().to_owned()).filter(|text| !text.is_empty()),
        };
        lock.write(&holder);
        Ok(lock)
    }

    fn write(&mut self, text: &str) {
        for file in &mut self.files {
            let written = file.set_len(0).and_then(|()| file.rewind());
            let _ = written.and_then(|()| file.write_all(text.as_bytes()));
        }
    }
}

impl Drop for NightLock {
    /// An orderly end, of which the next night says nothing.
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.write("");
        }
    }
}

fn open(folder: &Path) -> Result<(PathBuf, File)> {
    let path = folder.join(FILE_NAME);
    let open = || -> io::Result<File> {
        fs::create_dir_all(folder)?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        options.open(&path)
    };
    let file = open().with_context(|| format!("{}: cannot write there", folder.display()))?;
    Ok((path, file))
}

/// Who holds a lock.
fn held(path: &Path) -> String {
    let shown = path.display();
    // On Windows a locked file cannot be read.
    let text = fs::read_to_string(path).unwrap_or_default();
    let holder = text.trim();
    let mut words = holder.split_whitespace();
    let pid = words.nth(1).and_then(|pid| pid.parse().ok());
    match pid.map(process::is_running) {
        None => format!("another nightly holds {shown}"),
        Some(true) => format!("another nightly holds {shown}: {holder}"),
        Some(false) => {
            format!(
                "another nightly, {holder}, was killed, but what it started still measures and holds {shown}"
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time_and_the_text_says_who_was_cut_off() {
        let place = tempfile::tempdir().expect("a temporary folder");
        let (out, history) = (place.path().join("out"), place.path().join("history"));
        let first = NightLock::take(&out, &history).expect("free");
        assert_eq!(first.cut_off, None);
        let other = NightLock::take(&place.path().join("other"), &history);
        let e = other.expect_err("held").to_string();
        assert!(e.starts_with("another nightly holds "), "{e}");
        let path = history.join(FILE_NAME);
        if cfg!(unix) {
            assert!(e.ends_with(&format!(" {}", now_in(&path))), "{e}");
        }
        drop(first);
        assert_eq!(fs::read_to_string(&path).expect("readable"), "");
        fs::write(out.join(FILE_NAME), "process 1 since noon\n").expect("writable");
        let second = NightLock::take(&out, &history).expect("free again");
        assert_eq!(second.cut_off.as_deref(), Some("process 1 since noon"));
        drop(second);
        let same = NightLock::take(&out, &out).expect_err("the same folder");
        assert!(same.to_string().contains("a folder of its own"), "{same}");
    }

    fn now_in(path: &Path) -> String {
        let text = fs::read_to_string(path).expect("readable");
        text.trim().to_owned()
    }
}
