//! Tonight's program, and the promoted one, which is kept with its plug-ins.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// The variable that names tonight's program.
pub const PROGRAM_VARIABLE: &str = "GGUFBENCH";

/// Name of the promoted program in its night's folder.
pub const PROGRAM_NAME: &str = if cfg!(windows) {
    "ggufbench.exe"
} else {
    "ggufbench"
};

/// Tonight's program: the one that `GGUFBENCH` names, else this one. Its path is absolute, because records name it.
///
/// # Errors
/// When there is no such program.
pub fn find() -> Result<PathBuf, String> {
    let named = std::env::var_os(PROGRAM_VARIABLE).filter(|name| !name.is_empty());
    let found = match &named {
        None => std::env::current_exe().ok(),
        Some(name) => on_path(Path::new(name)),
    };
    let shown = named.unwrap_or_else(|| "ggufbench".into());
    found
        .and_then(|path| std::path::absolute(path).ok())
        .ok_or_else(|| {
            format!(
                "{}: no such program; make build, or set {PROGRAM_VARIABLE}",
                shown.display()
            )
        })
}

/// The program of a name as a shell finds it.
fn on_path(name: &Path) -> Option<PathBuf> {
    if name.components().count() > 1 {
        return Some(name.to_owned()).filter(|path| is_executable(path));
    }
    let path = std::env::var_os("PATH")?;
    let mut found = std::env::split_paths(&path).map(|folder| folder.join(name));
    found.find(|path| is_executable(path))
}

/// Whether a file can be started.
pub fn is_executable(path: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        fs::metadata(path).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
    }
    #[cfg(not(unix))]
    path.is_file()
}

/// Whether a file is a library of the engine, which the program looks for beside itself.
pub fn is_engine_library(name: &str) -> bool {
    let is_library = name.starts_with("lib") || name.ends_with(".dll");
    is_library && (name.contains("ggml") || name.contains("llama"))
}

/// Names of the engine's libraries in a folder.
fn libraries(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let files = entries.filter(|entry| entry.path().is_file());
    let names = files.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| is_engine_library(name)).collect()
}

fn folder_of(program: &Path) -> &Path {
    program.parent().unwrap_or(Path::new("."))
}

/// Hash of a program, which shows whether it was replaced meanwhile.
pub fn hash(program: &Path) -> io::Result<[u8; 32]> {
    let mut hasher = Sha256::new();
    io::copy(&mut File::open(program)?, &mut hasher)?;
    Ok(hasher.finalize().into())
}

/// Copies the program into a folder, with its plug-ins.
pub fn keep(program: &Path, folder: &Path) -> io::Result<()> {
    // Under its name it is whole.
    let part = folder.join(format!("{PROGRAM_NAME}.part"));
    let whole = folder.join(PROGRAM_NAME);
    let copied = fs::copy(program, &part).and_then(|_| fs::rename(&part, whole));
    if copied.is_err() {
        let _ = fs::remove_file(&part);
    }
    copied?;
    for name in libraries(folder_of(program)) {
        fs::copy(folder_of(program).join(&name), folder.join(&name))?;
    }
    Ok(())
}

/// Whether two programs are the same, byte for byte, with their plug-ins.
pub fn are_same(a: &Path, b: &Path) -> bool {
    let (in_a, in_b) = (folder_of(a), folder_of(b));
    let mut names = libraries(in_a);
    names.extend(libraries(in_b));
    let is_same =
        |a: &Path, b: &Path| hash(a).is_ok_and(|of_a| hash(b).is_ok_and(|of_b| of_a == of_b));
    let mut of_both = names.iter().map(|name| (in_a.join(name), in_b.join(name)));
    is_same(a, b) && of_both.all(|(a, b)| is_same(&a, &b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kept_program_is_the_same_until_a_plug_in_differs() {
        let place = tempfile::tempdir().expect("a temporary folder");
        let [new, kept] = ["new", "kept"].map(|name| place.path().join(name));
        fs::create_dir(&new).expect("writable");
        fs::create_dir(&kept).expect("writable");
        let program = new.join("any-name");
        fs::write(&program, "a program").expect("writable");
        fs::write(new.join("libggml-cuda.so"), "a plug-in").expect("writable");
        fs::write(new.join("libc.so"), "another's").expect("writable");
        let before = hash(&program).expect("readable");
        keep(&program, &kept).expect("copied");
        let promoted = kept.join(PROGRAM_NAME);
        assert!(are_same(&program, &promoted));
        assert!(!kept.join("libc.so").exists());
        fs::write(kept.join("libggml-cuda.so"), "a plug-iN").expect("writable");
        assert!(!are_same(&program, &promoted));
        fs::remove_file(kept.join("libggml-cuda.so")).expect("there");
        assert!(!are_same(&program, &promoted));
        fs::write(&program, "a Program").expect("writable");
        assert_ne!(hash(&program).expect("readable"), before);
    }
}
