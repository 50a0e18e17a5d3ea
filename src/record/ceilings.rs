//! Measured ceilings, kept from one command to the next: one JSON file for each machine, engine build, device
//! and number of threads, in `ceilings` of the user's cache folder.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use sha2::{Digest, Sha256};

use crate::file::{OutputFile, Replace, make_folder_of};
use crate::model::{cache_dir, sanitize_name};
use crate::roofline::ceiling::{CEILINGS_VERSION, Ceilings};
use crate::text::read_at_most;

/// Largest file that is read: some hundred bytes a kernel and load.
const MOST_BYTES: u64 = 64 << 20;

/// What ceilings belong to: they mean nothing elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CeilingsOwner {
    /// Fingerprint of the machine.
    pub machine: String,
    /// The engine's version and what it was compiled with.
    pub engine: String,
    /// What the device calls itself.
    pub device: String,
    /// Threads of the CPU.
    pub n_threads: u32,
}

/// What was found where ceilings are kept.
#[derive(Debug, Clone, PartialEq)]
pub enum CachedCeilings {
    Kept(Ceilings),
    /// Nothing yet.
    Nothing,
    /// A file that is no longer understood, and why: it is measured anew and replaced.
    Unreadable(String),
}

impl CeilingsOwner {
    /// Ceilings without anything in them.
    pub fn empty(&self) -> Ceilings {
        Ceilings {
            version: CEILINGS_VERSION,
            machine: self.machine.clone(),
            engine: self.engine.clone(),
            device: self.device.clone(),
            n_threads: self.n_threads,
            read: None,
            entries: Vec::new(),
        }
    }

    /// Where they are kept; `None` where the user has no cache folder.
    pub fn path(&self) -> Option<PathBuf> {
        Some(cache_dir()?.join("ceilings").join(self.file_name()))
    }

    /// Reads what is kept at `path`.
    pub fn read(&self, path: &Path) -> CachedCeilings {
        let text = match read_at_most(path, MOST_BYTES) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return CachedCeilings::Nothing,
            Err(e) => return CachedCeilings::Unreadable(e.to_string()),
        };
        match serde_json::from_str::<Ceilings>(&text) {
            Ok(c) if c.version != CEILINGS_VERSION => {
                CachedCeilings::Unreadable(format!("version {}, not {CEILINGS_VERSION}", c.version))
            }
            // Two engines whose short names coincide.
            Ok(c) if !self.owns(&c) => {
                CachedCeilings::Unreadable("of another machine or engine".to_owned())
            }
            Ok(c) => CachedCeilings::Kept(c),
            Err(e) => CachedCeilings::Unreadable(e.to_string()),
        }
    }

    fn owns(&self, c: &Ceilings) -> bool {
        c.machine == self.machine
            && c.engine == self.engine
            && c.device == self.device
            && c.n_threads == self.n_threads
    }

    fn file_name(&self) -> String {
        let digest = Sha256::digest(self.engine.as_bytes());
        let engine: String = digest.iter().take(4).map(|b| format!("{b:02x}")).collect();
        let device = sanitize_name(&self.device);
        format!(
            "{}-{device}-t{}-{engine}.json",
            self.machine, self.n_threads
        )
    }
}

/// Writes ceilings to `path`, whole or not at all.
pub fn write(ceilings: &Ceilings, path: &Path) -> io::Result<()> {
    make_folder_of(path)?;
    let mut file = OutputFile::create(path, Replace::Always)?;
    serde_json::to_writer_pretty(&mut file, ceilings)?;
    Ok(file.commit()?)
}

/// Now, in seconds since 1970.
pub fn now_s() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| d.as_secs())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn owner(n_threads: u32) -> CeilingsOwner {
        CeilingsOwner {
            machine: "0123456789abcdef".to_owned(),
            engine: "llama.cpp 1 | AVX512 = 1".to_owned(),
            device: "AMD EPYC (64 cores)".to_owned(),
            n_threads,
        }
    }

    #[test]
    fn what_is_written_is_read_back_by_its_owner_alone() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("new").join(owner(2).file_name());
        assert_eq!(owner(2).read(&path), CachedCeilings::Nothing);
        let ceilings = owner(2).empty();
        write(&ceilings, &path).expect("a writable folder");
        assert_eq!(owner(2).read(&path), CachedCeilings::Kept(ceilings.clone()));
        assert!(
            matches!(owner(4).read(&path), CachedCeilings::Unreadable(why) if why.contains("another"))
        );
        let older = Ceilings {
            version: 0,
            ..ceilings
        };
        write(&older, &path).expect("a writable folder");
        assert!(
            matches!(owner(2).read(&path), CachedCeilings::Unreadable(why) if why.contains("version 0"))
        );
        fs::write(&path, "{").expect("a writable folder");
        assert!(matches!(
            owner(2).read(&path),
            CachedCeilings::Unreadable(_)
        ));
    }

    #[test]
    fn every_owner_has_a_file_of_its_own() {
        assert_eq!(
            owner(2).file_name(),
            "0123456789abcdef-amd-epyc-64-cores-t2-08a680ca.json"
        );
        assert_ne!(owner(2).file_name(), owner(4).file_name());
        let other = CeilingsOwner {
            engine: "llama.cpp 2".to_owned(),
            ..owner(2)
        };
        assert_ne!(owner(2).file_name(), other.file_name());
    }
}
