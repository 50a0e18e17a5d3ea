//! Room on the disk for a model.

use std::path::Path;

use super::ModelError;

/// Refuses what the file system has no room for; says nothing where it cannot be asked.
pub(crate) fn check_space(target: &Path, needed_bytes: u64) -> Result<(), ModelError> {
    // Nothing is kept in a device or a pipe.
    if crate::file::is_stream(target) {
        return Ok(());
    }
    compare_space(target, needed_bytes, free_bytes(target))
}

fn compare_space(target: &Path, needed: u64, free: Option<u64>) -> Result<(), ModelError> {
    match free {
        Some(free_bytes) if free_bytes < needed => Err(ModelError::DiskSpace {
            path: target.to_owned(),
            needed_bytes: needed,
            free_bytes,
        }),
        _ => Ok(()),
    }
}

/// Bytes free for this user where `target` will be: asked of its nearest existing ancestor.
pub(crate) fn free_bytes(target: &Path) -> Option<u64> {
    let absolute = std::path::absolute(target).ok()?;
    let existing = absolute.ancestors().find(|p| p.exists())?;
    let existing = existing.canonicalize().ok()?;
    free_at(&existing)
}

#[cfg(unix)]
#[allow(clippy::unnecessary_cast)] // the fields' widths differ between systems
fn free_at(folder: &Path) -> Option<u64> {
    let path = super::gguf::c_path(folder).ok()?;
    // SAFETY: `statvfs` is plain data, for which zeroes are valid; the path is NUL-terminated and
    // both pointers live for the call.
    let stat = unsafe {
        let mut stat: libc::statvfs = std::mem::zeroed();
        (libc::statvfs(path.as_ptr(), &raw mut stat) == 0).then_some(stat)?
    };
    (stat.f_bavail as u64).checked_mul(stat.f_frsize as u64)
}

#[cfg(windows)]
fn free_at(folder: &Path) -> Option<u64> {
    use std::os::windows::ffi::OsStrExt as _;
    use windows_sys::Win32::Storage::FileSystem::GetDiskFreeSpaceExW;

    let wide: Vec<u16> = folder.as_os_str().encode_wide().chain([0]).collect();
    let mut free = 0;
    // SAFETY: the path ends in a zero, the place for the answer lives through the call, and the others may be absent.
    let is_known = unsafe {
        GetDiskFreeSpaceExW(
            wide.as_ptr(),
            &raw mut free,
            std::ptr::null_mut(),
            std::ptr::null_mut(),
        )
    };
    (is_known != 0).then_some(free)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_little_space_is_refused() {
        let target = Path::new("model.gguf");
        assert!(compare_space(target, 10, Some(10)).is_ok());
        assert!(compare_space(target, 10, None).is_ok());
        let error = compare_space(target, 10, Some(9)).unwrap_err().to_string();
        assert!(
            error.contains("needs 10 bytes") && error.contains("only 9"),
            "{error}"
        );
        let free = free_bytes(&std::env::temp_dir().join("not/yet/there"));
        assert!(free.is_some_and(|bytes| bytes > 0));
    }
}
