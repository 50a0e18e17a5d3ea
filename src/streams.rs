//! Standard output and standard error, where nobody may be reading.
//!
//! Rust's print macros panic when a write fails, and a panic ends the thread that catches Ctrl-C, or changes the exit code of a
//! run whose record is whole. Every line for a person goes through here; clippy.toml and the lints in Cargo.toml keep it so.

use std::fmt::Display;
use std::io::{self, Write};

use crate::text::shown;

/// The most columns of a line: a path of the system's longest kind is not cut.
const LINE_COLUMNS: usize = 4096;
/// The most columns of a line on standard error: whatever it quotes, its beginning and its end can be read.
const NOTE_COLUMNS: usize = 2000;

/// Writes a line, or several, to standard error. A closed stream, a full device or a reader that is gone changes nothing: the
/// record has what matters, and the exit code says the rest.
pub fn note(text: impl Display) {
    let text = format!("{}\n", shown(&text.to_string(), NOTE_COLUMNS));
    // One write a note: notes of several threads do not mix within a line.
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

/// Writes a line, or several, to standard output, and flushes it.
///
/// # Errors
/// As [`unless_closed`].
pub fn say(text: impl Display) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let text = shown(&text.to_string(), LINE_COLUMNS);
    unless_closed(writeln!(out, "{text}").and_then(|()| out.flush()))
}

/// A reader of standard output that has seen enough (`| head`) is no error.
///
/// # Errors
/// Every other reason for which something could not be written, such as a full disk.
pub fn unless_closed(written: io::Result<()>) -> io::Result<()> {
    match written {
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// Shows what clap has to say: help and version on standard output, what is wrong with the arguments on standard error, in colours
/// where nothing in the arguments could be taken for some.
///
/// # Errors
/// As [`unless_closed`], for standard output only.
pub fn show_parsed(told: &clap::Error) -> io::Result<()> {
    if !told.use_stderr() {
        return unless_closed(told.print().and_then(|()| io::stdout().flush()));
    }
    let text = told.render().to_string();
    if shown(&text, NOTE_COLUMNS) == text {
        let _ = told.print();
    } else {
        note(text.trim_end());
    }
    Ok(())
}
