//! What a worker process says beside its answers: the engine's log, its last lines kept for the record.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use crate::engine::out_of_memory::OutOfMemory;

/// Lines kept, the latest.
const LINES: usize = 200;

/// Longest line kept, characters.
const LINE_CHARS: usize = 500;

/// Lines in which a process that died says why: earlier ones may be of an allocation that was tried again, smaller.
const LAST_LINES: usize = 12;

/// Longest words of a process that died, characters.
const LAST_WORDS_CHARS: usize = 300;

/// What stands in a line that says why a process ends: ggml's assertions, OpenMP's and C++'s last lines, a panic.
const ERRORS: [&str; 10] = [
    "ggml_assert",
    "fatal error",
    "libgomp:",
    "what():",
    "panicked at",
    "cuda error",
    "rpc server crashed",
    "error:",
    "failed to",
    "cannot ",
];

/// How GPU backends begin the line with the reason for which they end the process. Their last line has only the place in the source.
const REASONS: [&str; 3] = ["CUDA error: ", "ROCm error: ", "MUSA error: "];

fn tells_of_error(line: &str) -> bool {
    let line = line.to_ascii_lowercase();
    ERRORS.iter().any(|word| line.contains(word))
}

/// A log that other threads fill.
#[derive(Debug, Clone, Default)]
pub struct WorkerLog {
    shared: Arc<(Mutex<LogLines>, Condvar)>,
}

#[derive(Debug, Default)]
struct LogLines {
    lines: VecDeque<String>,
    marks: u64,
}

impl WorkerLog {
    /// Keeps a line, unless it says nothing: blank lines and progress dots.
    pub fn push(&self, line: &str) {
        if line.trim_matches(['.', ' ']).is_empty() {
            return;
        }
        let mut said = self.shared.0.lock().unwrap_or_else(PoisonError::into_inner);
        if said.lines.len() == LINES {
            said.lines.pop_front();
        }
        said.lines
            .push_back(line.chars().take(LINE_CHARS).collect());
    }

    /// Notes that everything until now has been said.
    pub fn mark(&self) {
        let (said, changed) = &*self.shared;
        said.lock().unwrap_or_else(PoisonError::into_inner).marks += 1;
        changed.notify_all();
    }

    /// Waits until this number of marks has been made, at most `timeout`.
    pub fn wait_for_marks(&self, marks: u64, timeout: Duration) {
        let (said, changed) = &*self.shared;
        let guard = said.lock().unwrap_or_else(PoisonError::into_inner);
        // Whether in time or not: a log that comes late is only less complete.
        let _ = changed.wait_timeout_while(guard, timeout, |said| said.marks < marks);
    }

    /// The last line kept that has a reason of a GPU backend, otherwise the last that tells of an error, without the folders of source files
    /// and cut to a message's length.
    pub fn last_words(&self) -> Option<String> {
        let said = self.shared.0.lock().unwrap_or_else(PoisonError::into_inner);
        let has_reason = |line: &&String| {
            REASONS
                .iter()
                .any(|start| line.trim_start().starts_with(start))
        };
        let reason = said.lines.iter().rev().take(LAST_LINES).find(has_reason);
        let line = reason.or_else(|| said.lines.iter().rev().find(|line| tells_of_error(line)))?;
        let line = line.trim();
        let file = line.split_once(':').map(|(file, _)| file);
        let folder = file
            .and_then(|f| f.rfind(['/', '\\']))
            .map_or(0, |at| at + 1);
        Some(line[folder..].chars().take(LAST_WORDS_CHARS).collect())
    }

    /// What the last lines kept say of a device that ran out of memory.
    pub fn out_of_memory(&self) -> Option<OutOfMemory> {
        let said = self.shared.0.lock().unwrap_or_else(PoisonError::into_inner);
        let first = said.lines.len().saturating_sub(LAST_LINES);
        OutOfMemory::of(said.lines.iter().skip(first).map(String::as_str))
    }

    /// The lines since the last call, oldest first.
    pub fn take(&self) -> Vec<String> {
        let mut said = self.shared.0.lock().unwrap_or_else(PoisonError::into_inner);
        said.lines.drain(..).collect()
    }
}

/// Calls `f` with every line until the source ends; whatever bytes it has become text.
pub fn each_line(source: impl Read, mut f: impl FnMut(&str)) {
    let mut reader = BufReader::new(source);
    let mut bytes = Vec::new();
    while reader.read_until(b'\n', &mut bytes).is_ok_and(|n| n > 0) {
        f(String::from_utf8_lossy(&bytes).trim_end_matches(['\n', '\r']));
        bytes.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_lines_are_kept_and_noise_is_not() {
        let log = WorkerLog::default();
        for n in 0..LINES + 3 {
            log.push(&n.to_string());
        }
        log.push("....");
        log.push("  ");
        let lines = log.take();
        assert_eq!((lines.len(), lines[0].as_str()), (LINES, "3"));
        assert_eq!(lines[LINES - 1], (LINES + 2).to_string());
        log.push(&"ä".repeat(1000));
        assert_eq!(log.take()[0].chars().count(), LINE_CHARS);
        assert!(log.take().is_empty());
    }

    #[test]
    fn a_mark_says_that_the_lines_before_it_are_there() {
        let log = WorkerLog::default();
        let writer = log.clone();
        let thread = std::thread::spawn(move || {
            writer.push("the reason");
            writer.mark();
        });
        log.wait_for_marks(1, Duration::from_secs(60));
        assert_eq!(log.take(), ["the reason"]);
        thread.join().expect("wrote");
    }

    #[test]
    fn last_words_are_the_last_line_that_tells_of_an_error() {
        let log = WorkerLog::default();
        log.push("llama_context: constructing");
        assert_eq!(log.last_words(), None);
        log.push("/home/me/llama.cpp/ggml/src/ggml.c:123: GGML_ASSERT(n > 0) failed");
        log.push("llama_context: n_ctx = 256");
        let words = log.last_words();
        assert_eq!(
            words.as_deref(),
            Some("ggml.c:123: GGML_ASSERT(n > 0) failed")
        );
        log.push("libgomp: Thread creation failed: Resource temporarily unavailable");
        let words = log.last_words().expect("an error");
        assert!(
            words.starts_with("libgomp: Thread creation failed"),
            "{words}"
        );
        assert_eq!(log.take().len(), 4, "they are still in the log");
    }

    #[test]
    fn last_words_of_a_gpu_backend_are_its_reason() {
        let log = WorkerLog::default();
        log.push("CUDA error: invalid argument");
        log.push(
            "  current device: 0, in function ggml_cuda_mul_mat at /home/me/ggml-cuda.cu:2310",
        );
        log.push("/home/me/ggml/src/ggml-cuda/ggml-cuda.cu:109: CUDA error");
        assert_eq!(
            log.last_words().as_deref(),
            Some("CUDA error: invalid argument")
        );
    }

    #[test]
    fn a_device_out_of_memory_is_found_in_the_last_lines_only() {
        let log = WorkerLog::default();
        log.push("CUDA error: out of memory");
        log.push("  current device: 0, in function alloc at ggml-cuda.cu:430");
        log.push("ggml-cuda.cu:98: CUDA error");
        let out = log.out_of_memory().map(|out| out.to_string());
        assert_eq!(out.as_deref(), Some("out of memory on CUDA0"));
        for n in 0..LAST_LINES {
            log.push(&format!("llama_context: line {n}"));
        }
        assert_eq!(log.out_of_memory(), None);
    }

    #[test]
    fn lines_are_text_whatever_their_bytes() {
        let mut lines = Vec::new();
        each_line(&b"one\r\n\xff\ntwo"[..], |l| lines.push(l.to_owned()));
        assert_eq!(lines, ["one", "\u{fffd}", "two"]);
    }
}
