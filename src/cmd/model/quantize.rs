//! `model quantize`: files of other types from one file.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::super::{DONE, FAILED_CELLS, note_all, say};
use crate::model::importance::ImportanceMatrix;
use crate::model::quantize::{Quantized, Quantizer};
use crate::model::{FileType, ModelFacts};
use crate::report::progress;
use crate::streams::note;
use crate::text::brief;
use crate::units;

/// The most columns of why a type failed.
const REASON_COLUMNS: usize = 600;

/// What was typed.
pub(super) struct QuantizeOrder<'a> {
    pub input: &'a Path,
    /// Names of types, with commas.
    pub types: &'a str,
    pub output: Option<PathBuf>,
    pub importance: Option<&'a Path>,
    pub threads: Option<u32>,
    pub force: bool,
}

/// Writes one file for each type. A type that fails does not stop the others; of one type alone, its error is the
/// program's.
pub(super) fn quantize(order: &QuantizeOrder<'_>) -> Result<u8> {
    let types = parsed(order.types)?;
    let outputs = outputs(order, &types)?;
    let threads = order.threads.unwrap_or_else(|| {
        std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(1))
    });
    let mut quantizer = Quantizer::new(order.input, threads, order.force)?;
    if let Some(path) = order.importance {
        quantizer = quantizer.with_importance(ImportanceMatrix::read(path)?)?;
    }
    let mut failed = Vec::new();
    for (file_type, output) in types.iter().zip(&outputs) {
        match write(&quantizer, *file_type, output) {
            Ok(made) => say(format_args!(
                "{} ({})",
                output.display(),
                units::bytes(made.file_bytes)
            ))?,
            Err(error) if types.len() == 1 => return Err(error),
            Err(error) => {
                note(format_args!(
                    "error: {}",
                    brief(&format!("{error:#}"), REASON_COLUMNS)
                ));
                failed.push(file_type.name());
            }
        }
    }
    if failed.is_empty() {
        return Ok(DONE);
    }
    note(format_args!(
        "error: {} of {} types failed: {}",
        failed.len(),
        types.len(),
        failed.join(", ")
    ));
    Ok(FAILED_CELLS)
}

fn write(quantizer: &Quantizer, file_type: FileType, output: &Path) -> Result<ModelFacts> {
    let progress = progress::counted_work(&format!("quantising to {}, tensors", file_type.name()));
    let made = quantizer.write(output, file_type, progress)?;
    note_all(&notes(&made, file_type));
    Ok(made.facts)
}

/// What the user should know of a file that is not what its type's name says.
fn notes(made: &Quantized, file_type: FileType) -> Vec<String> {
    let name = file_type.name();
    let fallbacks = made.fallback_sentence();
    let mut notes: Vec<String> = fallbacks
        .map(|it| format!("{name}: {it}"))
        .into_iter()
        .collect();
    if made.n_without_importance > 0 {
        notes.push(format!(
            "{name}: the importance matrix lacks {} of {} tensors",
            made.n_without_importance, made.n_tensors
        ));
    }
    notes
}

fn parsed(names: &str) -> Result<Vec<FileType>> {
    let mut types = Vec::new();
    for name in names.split(',') {
        let file_type = FileType::parse(name)?;
        if !types.contains(&file_type) {
            types.push(file_type);
        }
    }
    Ok(types)
}

/// A file for each type: the one that was named, or one in that folder or beside the input, named after the type.
fn outputs(order: &QuantizeOrder<'_>, types: &[FileType]) -> Result<Vec<PathBuf>> {
    let folder = match &order.output {
        Some(folder) if folder.is_dir() => Some(folder),
        Some(file) if types.len() == 1 => return Ok(vec![file.clone()]),
        Some(file) => bail!(
            "{}: {} types make as many files; name a folder that exists, or nothing",
            file.display(),
            types.len()
        ),
        None => None,
    };
    let input = order.input;
    let stem = input
        .file_stem()
        .with_context(|| format!("{}: has no file name", input.display()))?
        .to_string_lossy();
    let of_type = |file_type: &FileType| {
        let name = format!("{stem}-{}.gguf", file_type.slug());
        match folder {
            Some(folder) => folder.join(name),
            None => input.with_file_name(name),
        }
    };
    Ok(types.iter().map(of_type).collect())
}
