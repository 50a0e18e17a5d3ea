//! sha256 of model files, remembered so that 16 GB are not hashed before every run.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use sha2::{Digest, Sha256};

use super::stamp::{FileStamp, absent};
use super::store::cache_dir;
use super::{ModelError, Progress};
use crate::file::{OutputFile, Replace, make_folder_of};

const BUFFER_BYTES: usize = 1 << 20;

/// Lower-case hex sha256 of a file, read in pieces.
///
/// # Errors
/// [`ModelError::Missing`] or [`ModelError::Unreadable`].
pub fn sha256_file(path: &Path, progress: Progress) -> Result<String, ModelError> {
    let failed = |source| absent(path, source);
    let mut file = File::open(path).map_err(failed)?;
    let total = file.metadata().map_err(failed)?.len();
    let mut hasher = Sha256::new();
    let mut buffer = vec![0_u8; BUFFER_BYTES];
    let mut done = 0;
    loop {
        let n = file.read(&mut buffer).map_err(failed)?;
        if n == 0 {
            return Ok(hex(&hasher.finalize()));
        }
        hasher.update(&buffer[..n]);
        done += n as u64;
        progress(done, total);
    }
}

/// Hashes by what identifies a file's bytes.
type HashesByKey = Mutex<BTreeMap<String, String>>;

/// Those of this process: no file is read twice in a run, whether or not the user's cache can be written.
static KNOWN: HashesByKey = Mutex::new(BTreeMap::new());

/// As [`sha256_file`], from the user's cache when the file there has this path and `stamp`.
pub(super) fn sha256_cached(
    path: &Path,
    stamp: &FileStamp,
    progress: Progress,
) -> Result<String, ModelError> {
    let cache = cache_dir().map(|dir| dir.join("sha256"));
    sha256_cached_in(&KNOWN, cache.as_deref(), path, stamp, progress)
}

/// The cache is one small file per model, named after what identifies the model's bytes. Whatever
/// goes wrong with it only costs the time to hash again.
fn sha256_cached_in(
    known: &HashesByKey,
    cache: Option<&Path>,
    path: &Path,
    stamp: &FileStamp,
    progress: Progress,
) -> Result<String, ModelError> {
    check_stamp(path, stamp)?;
    let key = cache_key(path, stamp);
    let lock = || known.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(hash) = lock().get(&key) {
        return Ok(hash.clone());
    }
    let entry = cache.map(|dir| dir.join(&key));
    let kept = entry.as_deref().and_then(read_entry);
    let hash = match kept {
        Some(hash) => hash,
        None => {
            let hash = sha256_file(path, progress)?;
            // A file that was written meanwhile has neither its old hash nor its new one.
            check_stamp(path, stamp)?;
            keep(entry.as_deref(), &hash);
            hash
        }
    };
    lock().insert(key, hash.clone());
    Ok(hash)
}

fn keep(entry: Option<&Path>, hash: &str) {
    if let Some(entry) = entry
        && make_folder_of(entry).is_ok()
        && let Ok(mut file) = OutputFile::create(entry, Replace::Always)
        && writeln!(file, "{hash}").is_ok()
    {
        let _ = file.commit();
    }
}

fn check_stamp(path: &Path, stamp: &FileStamp) -> Result<(), ModelError> {
    let now = FileStamp::of(path)?;
    if now == *stamp {
        return Ok(());
    }
    Err(ModelError::Changed {
        path: path.to_owned(),
        how: stamp.difference(&now),
    })
}

/// One hash for several files: of their hashes in order, one a line. `sha256sum PARTS | cut -c-64 | sha256sum` says the same.
pub(super) fn sha256_of_hashes<'a>(hashes: impl IntoIterator<Item = &'a str>) -> String {
    let mut hasher = Sha256::new();
    for hash in hashes {
        hasher.update(hash.as_bytes());
        hasher.update(b"\n");
    }
    hex(&hasher.finalize())
}

fn read_entry(entry: &Path) -> Option<String> {
    let text = fs::read_to_string(entry).ok()?;
    let hash = text.trim();
    let valid = hash.len() == 64 && hash.bytes().all(|b| b.is_ascii_hexdigit());
    valid.then(|| hash.to_owned())
}

/// Two links to a file may lead to different files later, so the name counts too.
fn cache_key(path: &Path, stamp: &FileStamp) -> String {
    let canonical = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let mut hasher = Sha256::new();
    hasher.update(canonical.as_os_str().as_encoded_bytes());
    hasher.update([0]);
    hasher.update(stamp.bytes.to_le_bytes());
    hasher.update(stamp.modified_ns.to_le_bytes());
    hasher.update(stamp.changed_ns.to_le_bytes());
    hasher.update(stamp.inode.to_le_bytes());
    hasher.update(stamp.device.to_le_bytes());
    hex(&hasher.finalize())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    // FIPS 180-2, appendix B.1.
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn known_value_and_progress() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("abc");
        fs::write(&path, b"abc").unwrap();
        let mut seen = Vec::new();
        let hash = sha256_file(&path, &mut |done, total| seen.push((done, total))).unwrap();
        assert_eq!(hash, ABC);
        assert_eq!(seen, [(3, 3)]);
        let missing = sha256_file(&dir.path().join("none"), &mut |_, _| ()).unwrap_err();
        assert!(matches!(missing, ModelError::Missing { .. }));
    }

    /// The hash as a new process gets it.
    fn hashed(cache: &Path, path: &Path, reads: &mut u32) -> Result<String, ModelError> {
        let stamp = FileStamp::of(path).unwrap();
        let mut count = |_, _| *reads += 1;
        sha256_cached_in(
            &HashesByKey::default(),
            Some(cache),
            path,
            &stamp,
            &mut count,
        )
    }

    #[test]
    fn second_time_is_remembered_until_the_file_changes() {
        let dir = tempfile::tempdir().unwrap();
        let cache = dir.path().join("cache");
        let path = dir.path().join("abc");
        fs::write(&path, b"abc").unwrap();
        let mut reads = 0;
        for _ in 0..2 {
            assert_eq!(hashed(&cache, &path, &mut reads).unwrap(), ABC);
        }
        assert_eq!(reads, 1);
        fs::write(&path, b"abcd").unwrap();
        assert_ne!(hashed(&cache, &path, &mut reads).unwrap(), ABC);
        assert_eq!(reads, 2);
    }

    #[cfg(unix)]
    #[test]
    fn a_file_of_the_same_size_and_time_is_not_the_same_file() {
        let dir = tempfile::tempdir().unwrap();
        let cache = dir.path().join("cache");
        let (path, other) = (dir.path().join("abc"), dir.path().join("other"));
        fs::write(&path, b"abc").unwrap();
        let mut reads = 0;
        assert_eq!(hashed(&cache, &path, &mut reads).unwrap(), ABC);
        fs::write(&other, b"xyz").unwrap();
        let modified = fs::metadata(&path).unwrap().modified().unwrap();
        let file = fs::OpenOptions::new().write(true).open(&other).unwrap();
        file.set_modified(modified).unwrap();
        fs::rename(&other, &path).unwrap();
        assert_ne!(hashed(&cache, &path, &mut reads).unwrap(), ABC);
        assert_eq!(reads, 2);
    }

    #[test]
    fn no_file_is_read_twice_by_a_process() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("abc");
        fs::write(&path, b"abc").unwrap();
        let stamp = FileStamp::of(&path).unwrap();
        let (known, mut reads) = (HashesByKey::default(), 0);
        for _ in 0..2 {
            let mut count = |_, _| reads += 1;
            let hash = sha256_cached_in(&known, None, &path, &stamp, &mut count);
            assert_eq!(hash.unwrap(), ABC);
        }
        assert_eq!(reads, 1);
    }

    #[test]
    fn a_file_that_changed_has_no_hash() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("abc");
        fs::write(&path, b"abc").unwrap();
        let stamp = FileStamp::of(&path).unwrap();
        let mut write = |_, _| fs::write(&path, b"longer").unwrap();
        let known = HashesByKey::default();
        for _ in 0..2 {
            let error = sha256_cached_in(&known, None, &path, &stamp, &mut write).unwrap_err();
            assert!(matches!(error, ModelError::Changed { .. }), "{error}");
        }
    }

    #[test]
    fn a_broken_cache_only_costs_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("abc");
        fs::write(&path, b"abc").unwrap();
        let mut reads = 0;
        let file_in_the_way = &path;
        assert_eq!(hashed(file_in_the_way, &path, &mut reads).unwrap(), ABC);
        let cache = dir.path().join("cache");
        fs::create_dir(&cache).unwrap();
        let stamp = FileStamp::of(&path).unwrap();
        fs::write(cache.join(cache_key(&path, &stamp)), "garbage").unwrap();
        assert_eq!(hashed(&cache, &path, &mut reads).unwrap(), ABC);
        assert_eq!(reads, 2);
    }

    #[test]
    fn the_hash_of_several_files_is_that_of_their_hashes() {
        // printf '%s\n' ba78...15ad | sha256sum
        let one = sha256_of_hashes([ABC]);
        assert_eq!(
            one,
            "620a3df236da0af638c2a61c86951463731998f91dbb3ed629f47b9fe00ad118"
        );
        assert_ne!(sha256_of_hashes([ABC, &one]), sha256_of_hashes([&one, ABC]));
    }
}
