//! What the engine logs as an error: the binding only says that there is no result.

use std::sync::Mutex;

use llama_cpp_sys_2 as sys;

use crate::engine::out_of_memory::OutOfMemory;

/// Bytes of errors kept; a reason is in the first lines.
const KEPT_BYTES: usize = 4096;

const REASON_CHARS: usize = 400;

/// Lines that say no more than the caller knows.
const EMPTY_WORDS: [&str; 2] = ["failed to load model", "failed to initialize the context"];

/// The error lines since they were last forgotten.
static ERRORS: Mutex<Errors> = Mutex::new(Errors {
    text: String::new(),
    goes_on: false,
});

struct Errors {
    text: String,
    /// Whether the last piece was of an error, which the next may continue.
    goes_on: bool,
}

impl Errors {
    fn note(&mut self, level: sys::ggml_log_level, text: &str) {
        let is_error = match level {
            sys::GGML_LOG_LEVEL_ERROR => true,
            sys::GGML_LOG_LEVEL_CONT => self.goes_on,
            _ => false,
        };
        self.goes_on = is_error;
        if is_error && self.text.len() + text.len() <= KEPT_BYTES {
            self.text.push_str(text);
        }
    }

    fn reason(&self) -> Option<String> {
        let mut parts: Vec<&str> = Vec::new();
        for line in self.text.lines() {
            let part = without_function(line.trim());
            let part = part.strip_prefix("error loading model: ").unwrap_or(part);
            if !part.is_empty() && !EMPTY_WORDS.contains(&part) && !parts.contains(&part) {
                parts.push(part);
            }
        }
        let out_of_memory = OutOfMemory::of(self.text.lines()).map(|out| out.to_string());
        let reason = out_of_memory
            .into_iter()
            .chain(parts.iter().map(|part| (*part).to_owned()));
        let reason = reason.collect::<Vec<_>>().join("; ");
        let reason: String = reason.chars().take(REASON_CHARS).collect();
        (!reason.is_empty()).then_some(reason)
    }
}

/// A line without the name of the C function that logged it.
fn without_function(line: &str) -> &str {
    let is_name = |text: &str| {
        let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
        text.contains('_') && text.chars().all(is_part)
    };
    match line.split_once(": ") {
        Some((name, rest)) if is_name(name) => rest.trim_start(),
        _ => line,
    }
}

/// Keeps a piece of the log if it is of an error. Never waits: it may be called while the process aborts.
pub(super) fn note(level: sys::ggml_log_level, text: &str) {
    if let Ok(mut errors) = ERRORS.try_lock() {
        errors.note(level, text);
    }
}

pub(super) fn forget() {
    if let Ok(mut errors) = ERRORS.try_lock() {
        errors.text.clear();
        errors.goes_on = false;
    }
}

/// The errors since they were last forgotten, in one line, or what the binding says where the engine said nothing.
pub(super) fn reason_or(binding: impl std::fmt::Display) -> String {
    let reason = ERRORS.try_lock().ok().and_then(|errors| errors.reason());
    reason.unwrap_or_else(|| binding.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(pieces: &[(sys::ggml_log_level, &str)]) -> Option<String> {
        let mut errors = Errors {
            text: String::new(),
            goes_on: false,
        };
        for (level, text) in pieces {
            errors.note(*level, text);
        }
        errors.reason()
    }

    const ERROR: sys::ggml_log_level = sys::GGML_LOG_LEVEL_ERROR;
    const INFO: sys::ggml_log_level = sys::GGML_LOG_LEVEL_INFO;
    const CONT: sys::ggml_log_level = sys::GGML_LOG_LEVEL_CONT;

    #[test]
    fn the_engines_reason_is_its_error_lines_without_their_functions() {
        let said = reason(&[
            (INFO, "load_tensors: loading\n"),
            (
                ERROR,
                "llama_model_load: error loading model: done_getting_tensors: wrong number of tensors; expected 24, got 21\n",
            ),
            (
                ERROR,
                "llama_model_load_from_file_impl: failed to load model\n",
            ),
        ]);
        assert_eq!(
            said.as_deref(),
            Some("done_getting_tensors: wrong number of tensors; expected 24, got 21")
        );
        let said = reason(&[(
            ERROR,
            "llama_init_from_model: K cache type q8_0 with block size 32 does not divide n_embd_head_k=40\n",
        )]);
        assert_eq!(
            said.as_deref(),
            Some("K cache type q8_0 with block size 32 does not divide n_embd_head_k=40")
        );
    }

    #[test]
    fn a_device_out_of_memory_comes_first() {
        let said = reason(&[
            (
                ERROR,
                "ggml_backend_cuda_buffer_type_alloc_buffer: allocating 4096.00 MiB on device 0: cudaMalloc failed: out of memory\n",
            ),
            (
                ERROR,
                "alloc_tensor_range: failed to allocate CUDA0 buffer of size 4294967296\n",
            ),
            (
                ERROR,
                "llama_init_from_model: failed to initialize the context: failed to allocate buffer for kv cache\n",
            ),
        ]);
        let said = said.expect("errors");
        assert!(
            said.starts_with("out of memory on CUDA0 (4.00 GiB asked for); "),
            "{said}"
        );
        assert!(
            said.ends_with("failed to allocate buffer for kv cache"),
            "{said}"
        );
    }

    #[test]
    fn a_line_in_pieces_is_one_and_what_is_no_error_is_not_kept() {
        let said = reason(&[
            (ERROR, "a_b: two "),
            (CONT, "pieces\n"),
            (INFO, "x"),
            (CONT, "y\n"),
        ]);
        assert_eq!(said.as_deref(), Some("two pieces"));
        assert_eq!(reason(&[(INFO, "all well\n")]), None);
        let long = "long ".repeat(900);
        assert_eq!(reason(&[(ERROR, &long)]), None, "never more than is kept");
        let twice = reason(&[(ERROR, "x: y\n"), (ERROR, "x: y\n"), (ERROR, "z\n")]);
        assert_eq!(twice.as_deref(), Some("x: y; z"));
    }
}
