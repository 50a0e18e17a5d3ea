//! Names of models and of the parts of split ones.

use std::path::{Path, PathBuf};

use super::ModelError;

/// `text` as it may stand in an id: lower-case `[a-z0-9._-]`, at most 64 characters, never empty.
#[must_use]
pub fn sanitize_name(text: &str) -> String {
    let mut name = String::new();
    for c in text.chars().flat_map(char::to_lowercase) {
        let allowed = c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '_' | '-');
        let c = if allowed { c } else { '-' };
        if !(c == '-' && name.ends_with('-')) {
            name.push(c);
        }
        if name.len() == 64 {
            break;
        }
    }
    let name = name.trim_matches(['-', '.']);
    if name.is_empty() {
        "model".to_owned()
    } else {
        name.to_owned()
    }
}

/// The name of the model in a file of this name.
pub(crate) fn file_model_name(path: &Path) -> String {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    sanitize_name(split_suffix(&stem).map_or(&*stem, |(base, ..)| base))
}

/// Splits `base-00002-of-00003` (the engine's `llama_split_path`) into its three parts.
pub(super) fn split_suffix(stem: &str) -> Option<(&str, u64, u64)> {
    let (rest, count) = stem.rsplit_once("-of-")?;
    let (base, part) = rest.rsplit_once('-')?;
    let five = |s: &str| s.len() == 5 && s.bytes().all(|b| b.is_ascii_digit());
    (five(part) && five(count)).then(|| Some((base, part.parse().ok()?, count.parse().ok()?)))?
}

/// Which part of a split model a file is by its name, from 1.
pub(super) fn part_number(path: &Path) -> Option<u64> {
    let stem = path.file_stem()?.to_str()?;
    split_suffix(stem).map(|(_, part, _)| part)
}

/// The first part of the split model that a later part is of, by its name; `None` for any other file.
pub(super) fn first_part(path: &Path) -> Option<PathBuf> {
    let stem = path.file_stem()?.to_str()?;
    let (base, part, count) = split_suffix(stem)?;
    (part > 1).then(|| path.with_file_name(format!("{base}-00001-of-{count:05}.gguf")))
}

/// The other files of a split model, by the naming of the engine's `llama_split_path`.
pub(super) fn later_parts(first: &Path, n_parts: u64) -> Result<Vec<PathBuf>, ModelError> {
    let stem = first.file_stem().unwrap_or_default().to_string_lossy();
    // The count in the name bounds the one in the metadata, which may be anything.
    let suffix = split_suffix(&stem).filter(|&(_, part, count)| part == 1 && count == n_parts);
    let Some((base, ..)) = suffix else {
        return Err(ModelError::Malformed {
            path: first.to_owned(),
            detail: format!(
                "one of {n_parts} parts, but its name lacks -00001-of-{n_parts:05}, \
                 by which the engine finds the others"
            ),
        });
    };
    Ok((2..=n_parts)
        .map(|part| first.with_file_name(format!("{base}-{part:05}-of-{n_parts:05}.gguf")))
        .collect())
}
