//! sha256 of model files, remembered so that 16 GB are not hashed before every run.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use sha2::{Digest, Sha256};

use super::store::cache_dir;
use super::{ModelError, Progress};
use crate::file::{OutputFile, Replace, make_folder_of};

const BUFFER_BYTES: usize = 1 << 20;

/// Lower-case hex sha256 of a file, read in pieces.
///
/// # Errors
/// [`ModelError::Missing`] or [`ModelError::Unreadable`].
pub fn sha256_file(path: &Path, progress: Progress) -> Result<String, ModelError> {
    let failed = |source: std::io::Error| match source.kind() {
        std::io::ErrorKind::NotFound => ModelError::Missing {
            path: path.to_owned(),
        },
        _ => ModelError::Unreadable {
            path: path.to_owned(),
            source,
        },
    };
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

/// As [`sha256_file`], from the user's cache when path, size and modification time are known.
pub(super) fn sha256_cached(path: &Path, progress: Progress) -> Result<String, ModelError> {
    sha256_cached_in(cache_dir().map(|dir| dir.join("sha256")), path, progress)
}

/// The cache is one small file per model, named after what identifies the model's bytes. Whatever
/// goes wrong with it only costs the time to hash again.
fn sha256_cached_in(
    cache: Option<PathBuf>,
    path: &Path,
    progress: Progress,
) -> Result<String, ModelError> {
    let entry = cache.and_then(|dir| Some(dir.join(cache_key(path)?)));
    if let Some(known) = entry.as_deref().and_then(read_entry) {
        return Ok(known);
    }
    let hash = sha256_file(path, progress)?;
    if let Some(entry) = entry
        && make_folder_of(&entry).is_ok()
        && let Ok(mut file) = OutputFile::create(&entry, Replace::Always)
        && writeln!(file, "{hash}").is_ok()
    {
        let _ = file.commit();
    }
    Ok(hash)
}

fn read_entry(entry: &Path) -> Option<String> {
    let text = fs::read_to_string(entry).ok()?;
    let hash = text.trim();
    let valid = hash.len() == 64 && hash.bytes().all(|b| b.is_ascii_hexdigit());
    valid.then(|| hash.to_owned())
}

fn cache_key(path: &Path) -> Option<String> {
    let canonical = path.canonicalize().ok()?;
    let meta = fs::metadata(&canonical).ok()?;
    let modified = meta.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
    let mut hasher = Sha256::new();
    hasher.update(canonical.as_os_str().as_encoded_bytes());
    hasher.update([0]);
    hasher.update(meta.len().to_le_bytes());
    hasher.update(modified.as_nanos().to_le_bytes());
    Some(hex(&hasher.finalize()))
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

    #[test]
    fn second_time_is_remembered_until_the_file_changes() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Some(dir.path().join("cache"));
        let path = dir.path().join("abc");
        fs::write(&path, b"abc").unwrap();
        let mut reads = 0;
        for _ in 0..2 {
            let hash = sha256_cached_in(cache.clone(), &path, &mut |_, _| reads += 1).unwrap();
            assert_eq!(hash, ABC);
        }
        assert_eq!(reads, 1);
        fs::write(&path, b"abcd").unwrap();
        let hash = sha256_cached_in(cache, &path, &mut |_, _| reads += 1).unwrap();
        assert_ne!(hash, ABC);
        assert_eq!(reads, 2);
    }

    #[test]
    fn a_broken_cache_only_costs_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("abc");
        fs::write(&path, b"abc").unwrap();
        let file_in_the_way = Some(path.clone());
        assert_eq!(
            sha256_cached_in(file_in_the_way, &path, &mut |_, _| ()).unwrap(),
            ABC
        );
        let cache = dir.path().join("cache");
        fs::create_dir(&cache).unwrap();
        fs::write(cache.join(cache_key(&path).unwrap()), "garbage").unwrap();
        assert_eq!(
            sha256_cached_in(Some(cache), &path, &mut |_, _| ()).unwrap(),
            ABC
        );
    }
}
