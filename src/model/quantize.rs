//! Converts a GGUF file to another type with llama.cpp's own quantiser.

use std::path::Path;

use llama_cpp_sys_2 as sys;

use super::gguf::{block_bytes, block_elements, c_path};
use super::space::check_space;
use super::{FileType, LogCapture, ModelError, ModelFacts};
use crate::file::{OutputFile, Replace, make_folder_of};

/// Writes `input`, converted to `file_type`, as `output`, which appears only when it is complete.
///
/// Quantised inputs are allowed (`allow_requantize`): fine for measuring speed, while accuracy can
/// only be judged against the input itself. `threads` of 0 means all. The result is the same
/// bytes whatever the number of threads.
///
/// # Errors
/// [`ModelError::Exists`] unless `force`, [`ModelError::DiskSpace`], [`ModelError::BadType`] for
/// types that need an importance matrix, [`ModelError::Quantize`] with the engine's reason, and
/// whatever [`ModelFacts::read`] finds wrong with `input`.
pub fn quantize(
    input: &Path,
    output: &Path,
    file_type: FileType,
    threads: u32,
    force: bool,
) -> Result<ModelFacts, ModelError> {
    file_type.writable()?;
    let replace = if force {
        Replace::Always
    } else {
        Replace::Never
    };
    crate::file::check(output, replace)?;
    // Before the engine sees the file: it aborts the process on some contents.
    let facts = ModelFacts::read(input)?;
    check_space(output, expected_bytes(&facts, file_type))?;
    make_folder_of(output)?;
    let file = OutputFile::create(output, replace)?;
    let temp = file.temp_path()?;
    // SAFETY: no preconditions.
    let mut params = unsafe { sys::llama_model_quantize_default_params() };
    params.ftype = file_type.engine_number();
    params.nthread = i32::try_from(threads).unwrap_or(0);
    params.allow_requantize = true;
    run(input, temp, &params)
        .map_err(|log| ModelError::Quantize {
            input: input.to_owned(),
            type_name: file_type.name().to_owned(),
            detail: reason(&log),
        })
        .and_then(|_| ModelFacts::read(temp))?;
    file.commit()?;
    ModelFacts::read(output)
}

/// Runs the engine's quantiser; its log either way.
fn run(
    input: &Path,
    output: &Path,
    params: &sys::llama_model_quantize_params,
) -> Result<String, String> {
    let (Ok(input), Ok(output)) = (c_path(input), c_path(output)) else {
        return Err("the engine cannot take this path".to_owned());
    };
    let capture = LogCapture::llama();
    // SAFETY: initialises tables once; may be called again and alongside the safe crate's guard.
    unsafe { sys::llama_backend_init() };
    // SAFETY: both paths are NUL-terminated, and with the parameters they outlive the call.
    // The engine catches its own exceptions and answers with a number.
    let status =
        unsafe { sys::llama_model_quantize(input.as_ptr(), output.as_ptr(), &raw const *params) };
    let log = capture.finish();
    if status == 0 { Ok(log) } else { Err(log) }
}

fn reason(log: &str) -> String {
    let line = log
        .lines()
        .rev()
        .find(|line| line.contains("failed to quantize: "));
    line.and_then(|line| line.split_once("failed to quantize: "))
        .map_or("the engine gave no reason", |(_, reason)| reason.trim())
        .to_owned()
}

/// A little more than the file will take: all weights in the default type, an eighth on top for
/// the tensors that get a wider one, and the vocabulary of the input.
fn expected_bytes(input: &ModelFacts, file_type: FileType) -> u64 {
    let ty = file_type.default_tensor_type();
    let weights = input.n_params / block_elements(ty).max(1) * block_bytes(ty);
    weights + weights / 8 + input.file_bytes.saturating_sub(input.tensor_bytes)
}

/// The types that the quantiser would give to each tensor, without writing anything.
#[cfg(test)]
pub(super) fn dry_run(
    input: &Path,
    file_type: FileType,
) -> Result<std::collections::BTreeMap<String, String>, String> {
    // SAFETY: no preconditions.
    let mut params = unsafe { sys::llama_model_quantize_default_params() };
    params.ftype = file_type.engine_number();
    params.allow_requantize = true;
    params.dry_run = true;
    let log = run(input, &input.with_extension("unused"), &params)?;
    // "[   3/ 272] blk.0.attn_k.weight - [..], type = f32, size = 1 MiB -> 1 MiB (q4_0)"
    Ok(log
        .lines()
        .filter_map(|line| {
            let (_, rest) = line.strip_prefix('[')?.split_once(']')?;
            let name = rest.split_whitespace().next()?;
            let kept = rest.split_once("type = ")?.1.split(',').next()?.trim();
            let new = rest
                .rsplit_once('(')
                .map(|(_, t)| t.trim_end().trim_end_matches(')'));
            Some((name.to_owned(), new.unwrap_or(kept).to_ascii_uppercase()))
        })
        .collect())
}
