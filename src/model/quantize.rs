//! Converts a GGUF file to another type with llama.cpp's own quantiser.

use std::collections::BTreeMap;
use std::ffi::c_char;
use std::path::{Path, PathBuf};

use llama_cpp_sys_2 as sys;

use super::gguf::{TensorInfo, block_bytes, block_elements, c_path};
use super::importance::ImportanceMatrix;
use super::parts::Headers;
use super::space::check_space;
use super::{FileType, LogCapture, ModelError, ModelFacts, requantized};
use crate::file::{OutputFile, Replace, make_folder_of};

/// Converts one file, to as many types as are wanted.
///
/// Quantised inputs are allowed (`allow_requantize`): fine for measuring speed, while accuracy can
/// only be judged against the input itself. What is made of them is marked
/// ([`ModelFacts::requantized_from`]). The result is the same bytes whatever the number of threads.
pub struct Quantizer {
    input: PathBuf,
    facts: ModelFacts,
    tensors: Vec<TensorInfo>,
    threads: u32,
    replace: Replace,
    importance: Option<ImportanceMatrix>,
}

/// A file that was made.
#[derive(Debug)]
pub struct Quantized {
    /// Read from the file.
    pub facts: ModelFacts,
    /// Tensors of the file.
    pub n_tensors: usize,
    /// Tensors that the type does not fit.
    pub fallbacks: Vec<Fallback>,
    /// Tensors that were converted although the importance matrix has no entry for them. Token embeddings are not counted:
    /// no tool measures them.
    pub n_without_importance: usize,
}

/// Tensors that got another type than the file's mixture gives them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fallback {
    /// Their row width, which is no multiple of the block.
    pub n_columns: u64,
    /// Elements that the wanted type takes together.
    pub block_elements: u64,
    /// ggml's name of the type they got, `Q5_0`.
    pub tensor_type: String,
    /// Tensors of this shape that got this type.
    pub n_tensors: usize,
}

impl Quantizer {
    /// `threads` of 0 means all; `force` replaces files that are there.
    ///
    /// # Errors
    /// Whatever [`ModelFacts::read`] finds wrong with `input`.
    pub fn new(input: &Path, threads: u32, force: bool) -> Result<Self, ModelError> {
        Ok(Self {
            input: input.to_owned(),
            // Before the engine sees the file: it aborts the process on some contents.
            facts: ModelFacts::read(input)?,
            tensors: Headers::read(input)?.tensors,
            threads,
            replace: match force {
                true => Replace::Always,
                false => Replace::Never,
            },
            importance: None,
        })
    }

    /// Columns count as much as `matrix` says.
    ///
    /// # Errors
    /// [`ModelError::ImportanceMatrix`] for one of another model.
    pub fn with_importance(self, matrix: ImportanceMatrix) -> Result<Self, ModelError> {
        if !self.tensors.iter().any(|t| matrix.has(&t.name)) {
            return Err(ModelError::ImportanceMatrix {
                path: matrix.path().to_owned(),
                detail: format!("no entry is for a tensor of {}", self.facts.name),
            });
        }
        Ok(Self {
            importance: Some(matrix),
            ..self
        })
    }

    /// Writes the file as `output`, which appears only when it is complete. `progress` hears of tensors: done, and in all.
    ///
    /// # Errors
    /// [`ModelError::Exists`] unless forced, [`ModelError::DiskSpace`], [`ModelError::BadType`] for
    /// types that cannot be written, and [`ModelError::Quantize`] with the engine's reason.
    pub fn write(
        &self,
        output: &Path,
        file_type: FileType,
        progress: impl FnMut(u64, u64) + 'static,
    ) -> Result<Quantized, ModelError> {
        file_type.writable_with(self.importance.is_some())?;
        crate::file::check(output, self.replace)?;
        check_space(output, expected_bytes(&self.facts, file_type))?;
        make_folder_of(output)?;
        let file = OutputFile::create(output, self.replace)?;
        let temp = file.temp_path()?;
        let log = self
            .convert(temp, file_type, progress)
            .map_err(|log| ModelError::Quantize {
                input: self.input.clone(),
                type_name: file_type.name().to_owned(),
                detail: reason(&log),
            })?;
        ModelFacts::read(temp)?;
        file.commit()?;
        Ok(Quantized {
            facts: ModelFacts::read(output)?,
            n_tensors: self.tensors.len(),
            fallbacks: fallbacks(&log),
            n_without_importance: without_importance(&log),
        })
    }

    fn convert(
        &self,
        output: &Path,
        file_type: FileType,
        progress: impl FnMut(u64, u64) + 'static,
    ) -> Result<String, String> {
        let table = self.importance.as_ref().map(ImportanceMatrix::table);
        let metadata = self.metadata();
        let mut params = params_for(file_type);
        params.nthread = i32::try_from(self.threads).unwrap_or(0);
        params.imatrix = table.as_ref().map_or(std::ptr::null(), Vec::as_ptr);
        params.kv_overrides = metadata.as_ptr();
        run(&self.input, output, &params, progress)
    }

    /// What the new file's metadata says that the input's does not, ended as the engine wants it.
    fn metadata(&self) -> Vec<sys::llama_model_kv_override> {
        let mut all = Vec::new();
        if let Some(mark) = requantized::mark_of_copies(&self.facts) {
            all.push(string_value(requantized::KEY, &mark));
        }
        if let Some(matrix) = &self.importance {
            // As llama-quantize names them, but without the folder, which is the machine's own.
            let name = matrix.path().file_name().unwrap_or_default();
            all.push(string_value(
                "quantize.imatrix.file",
                &name.to_string_lossy(),
            ));
            if let Some(dataset) = matrix.dataset() {
                all.push(string_value("quantize.imatrix.dataset", dataset));
            }
            let n_entries = matrix.n_entries() as u64;
            all.push(number_value("quantize.imatrix.entries_count", n_entries));
            if let Some(n_chunks) = matrix.n_chunks() {
                all.push(number_value("quantize.imatrix.chunks_count", n_chunks));
            }
        }
        all.push(number_value("", 0));
        all
    }
}

impl Quantized {
    /// Which tensors the type does not fit, and why; `None` where it fits all.
    #[must_use]
    pub fn fallback_sentence(&self) -> Option<String> {
        let mut by_shape: BTreeMap<(u64, u64), Vec<String>> = BTreeMap::new();
        let mut is_first = true;
        for fallback in &self.fallbacks {
            let of = match std::mem::take(&mut is_first) {
                true => format!(" of {} tensors", self.n_tensors),
                false => String::new(),
            };
            let part = format!(
                "{}{of} fell back to {}",
                fallback.n_tensors, fallback.tensor_type
            );
            let shape = (fallback.n_columns, fallback.block_elements);
            by_shape.entry(shape).or_default().push(part);
        }
        let of_shape = |((n_columns, block), parts): (&(u64, u64), &Vec<String>)| {
            let parts = parts.join(", ");
            format!("{parts}: rows of {n_columns} are not a multiple of {block}")
        };
        let sentence = by_shape.iter().map(of_shape).collect::<Vec<_>>().join("; ");
        (!sentence.is_empty()).then_some(sentence)
    }
}

fn params_for(file_type: FileType) -> sys::llama_model_quantize_params {
    // SAFETY: no preconditions.
    let mut params = unsafe { sys::llama_model_quantize_default_params() };
    params.ftype = file_type.engine_number();
    params.allow_requantize = true;
    params
}

/// A string for the new file's metadata, cut to what the engine takes.
fn string_value(key: &str, value: &str) -> sys::llama_model_kv_override {
    let mut entry = number_value(key, 0);
    entry.tag = sys::LLAMA_KV_OVERRIDE_TYPE_STR;
    entry.__bindgen_anon_1.val_str = c_array(value);
    entry
}

fn number_value(key: &str, value: u64) -> sys::llama_model_kv_override {
    sys::llama_model_kv_override {
        tag: sys::LLAMA_KV_OVERRIDE_TYPE_INT,
        key: c_array(key),
        __bindgen_anon_1: sys::llama_model_kv_override__bindgen_ty_1 {
            // The engine writes 32 bits without a sign.
            val_i64: i64::from(u32::try_from(value).unwrap_or(u32::MAX)),
        },
    }
}

/// A text up to its first NUL, cut at a character so that a NUL fits in.
fn c_array(text: &str) -> [c_char; 128] {
    let mut array = [0; 128];
    let text = text.split('\0').next().unwrap_or_default();
    let ends = text.char_indices().map(|(at, c)| at + c.len_utf8());
    let end = ends
        .take_while(|end| *end < array.len())
        .last()
        .unwrap_or(0);
    for (to, from) in array.iter_mut().zip(text[..end].bytes()) {
        *to = from as c_char;
    }
    array
}

/// Runs the engine's quantiser; its log either way.
fn run(
    input: &Path,
    output: &Path,
    params: &sys::llama_model_quantize_params,
    mut progress: impl FnMut(u64, u64) + 'static,
) -> Result<String, String> {
    let (Ok(input), Ok(output)) = (c_path(input), c_path(output)) else {
        return Err("the engine cannot take this path".to_owned());
    };
    let mut n_tensors = 0;
    let capture = LogCapture::llama_heard_by(move |piece| {
        if let Some((number, all)) = tensor_begun(piece) {
            n_tensors = all;
            progress(number.saturating_sub(1), all);
        } else if piece.contains(": quant size ") {
            // Said once, after the last tensor.
            progress(n_tensors, n_tensors);
        }
    });
    // SAFETY: initialises tables once; may be called again and alongside the safe crate's guard.
    unsafe { sys::llama_backend_init() };
    // SAFETY: both paths are NUL-terminated, and with the parameters and what these point to they
    // outlive the call. The tables in the parameters end as the engine wants it.
    // The engine catches its own exceptions and answers with a number.
    let status =
        unsafe { sys::llama_model_quantize(input.as_ptr(), output.as_ptr(), &raw const *params) };
    let log = capture.finish();
    if status == 0 { Ok(log) } else { Err(log) }
}

/// The number of a tensor whose turn it is, and the number of all: `[   3/ 272] blk.0.attn_k.weight - ...`.
fn tensor_begun(piece: &str) -> Option<(u64, u64)> {
    let (numbers, _) = piece.strip_prefix('[')?.split_once(']')?;
    let (number, all) = numbers.split_once('/')?;
    Some((number.trim().parse().ok()?, all.trim().parse().ok()?))
}

/// From the engine's lines: `====== FUNCTION: did not find weights for NAME`.
fn without_importance(log: &str) -> usize {
    let name = |line: &str| {
        line.rsplit_once(": did not find weights for ")
            .map(|(_, name)| name.to_owned())
    };
    let is_table = |name: &String| name.ends_with("token_embd.weight");
    log.lines()
        .filter_map(name)
        .filter(|name| !is_table(name))
        .count()
}

/// From the engine's lines: `warning: NAME - ncols    576 not divisible by 256 (required for type    q4_K) -> falling back
/// to    q5_0`.
fn fallbacks(log: &str) -> Vec<Fallback> {
    let mut counts: BTreeMap<(u64, u64, String), usize> = BTreeMap::new();
    let of_line = |line: &str| {
        let (rest, to) = line.rsplit_once("-> falling back to ")?;
        let (_, shape) = rest.rsplit_once(" - ncols ")?;
        let (n_columns, rest) = shape.split_once(" not divisible by ")?;
        let (block, _) = rest.split_once('(')?;
        let to = to.trim().to_ascii_uppercase();
        Some((
            n_columns.trim().parse().ok()?,
            block.trim().parse().ok()?,
            to,
        ))
    };
    for fallback in log.lines().filter_map(of_line) {
        *counts.entry(fallback).or_default() += 1;
    }
    let of_count = |((n_columns, block_elements, tensor_type), n_tensors)| Fallback {
        n_columns,
        block_elements,
        tensor_type,
        n_tensors,
    };
    counts.into_iter().map(of_count).collect()
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
) -> Result<BTreeMap<String, String>, String> {
    let mut params = params_for(file_type);
    params.dry_run = true;
    let log = run(input, &input.with_extension("unused"), &params, |_, _| ())?;
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

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "warning: blk.0.attn_k.weight    - ncols    576 not divisible by 256 (required for type    q4_K) -> \
                       falling back to    q5_0\n\
                       warning: blk.1 - ncols 7 x   - ncols    576 not divisible by 256 (required for type    q4_K) -> \
                       falling back to    q5_0\n\
                       warning: blk.2.ffn_down.weight  - ncols     30 not divisible by 256 (required for type    q6_K) \
                       (WARNING: must use F16 due to unusual shape) -> falling back to     f16\n\
                       warning: blk.3.attn_v.weight    - ncols    576 not divisible by 256 (required for type    q6_K) -> \
                       falling back to    q8_0\n\
                       main: WARNING: 4 of 272 tensor(s) required fallback quantization\n";

    #[test]
    fn tensors_that_fall_back_are_counted_by_shape_and_type() {
        let found = fallbacks(LOG);
        let shown: Vec<_> = found
            .iter()
            .map(|f| (f.n_columns, f.block_elements, &*f.tensor_type, f.n_tensors))
            .collect();
        let expected = [
            (30, 256, "F16", 1),
            (576, 256, "Q5_0", 2),
            (576, 256, "Q8_0", 1),
        ];
        assert_eq!(shown, expected);
    }

    #[test]
    fn the_tensor_in_turn_is_read_from_the_log() {
        assert_eq!(
            tensor_begun("[   3/ 272] blk.0 - [ 5, 6 ], type = f16, "),
            Some((3, 272))
        );
        assert_eq!(tensor_begun("size = 1 MiB\n"), None);
        assert_eq!(tensor_begun("[x/y] z"), None);
    }

    #[test]
    fn a_metadata_text_is_cut_at_a_character_and_ends_with_a_nul() {
        let array = c_array(&"ä".repeat(100));
        assert_eq!((array[125] as u8, array[126], array[127]), (0xa4, 0, 0));
        assert_eq!(c_array("a\0b")[..3], [b'a' as c_char, 0, 0]);
    }
}
