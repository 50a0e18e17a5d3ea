//! What a night starts: other runs of the program, each in a process of its own, so that a crash of one is an outcome of the night.

use std::io::{self, Read, Write as _};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::host::{process, signals};

/// How many bytes of a child's standard error are kept; its last words are at the end.
const MOST_SAID_BYTES: usize = 64 << 10;

/// Starts children one after another, and passes the signals on that should end the night.
#[derive(Debug, Clone, Default)]
pub struct Children(Arc<Mutex<ChildState>>);

#[derive(Debug, Default)]
struct ChildState {
    is_interrupted: bool,
    /// The process that is running now.
    pid: Option<u32>,
}

/// What became of a child.
#[derive(Debug, Clone, Default)]
pub struct ChildEnd {
    /// Its exit code. [`None`] where it crashed, or never began because the night was interrupted before.
    pub code: Option<i32>,
    /// How it ended, in words: `exit code 2`, `SIGSEGV`.
    pub how: String,
    /// Its standard output.
    pub printed: String,
    /// The end of its standard error.
    said: String,
}

impl Children {
    /// Listens to Ctrl-C and its like from now on. Once a process.
    ///
    /// # Errors
    /// When the system does not let it.
    pub fn listen() -> io::Result<Self> {
        let children = Self::default();
        let state = children.clone();
        signals::on_ending(move |_| {
            let mut state = state.state();
            state.is_interrupted = true;
            // The first asks it to finish what is in hand, and the second to leave at once.
            if let Some(pid) = state.pid {
                process::ask_to_end(pid);
            }
        })?;
        Ok(children)
    }

    pub fn is_interrupted(&self) -> bool {
        self.state().is_interrupted
    }

    fn state(&self) -> MutexGuard<'_, ChildState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a command to its end. Its standard error is shown, and its standard output is kept.
    ///
    /// On Unix it has its own process group, so that Ctrl-C reaches it once, through this process. On Windows it hears of Ctrl-C from
    /// the console.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn run(&self, command: &mut Command) -> io::Result<ChildEnd> {
        let mut child = {
            // A signal comes before the start or finds the process.
            let mut state = self.state();
            if state.is_interrupted {
                return Ok(ChildEnd::default());
            }
            command.stdin(Stdio::null());
            command.stdout(Stdio::piped()).stderr(Stdio::piped());
            #[cfg(unix)]
            std::os::unix::process::CommandExt::process_group(command, 0);
            let child = command.spawn()?;
            state.pid = Some(child.id());
            child
        };
        let stderr = child.stderr.take();
        let said = std::thread::spawn(move || stderr.map(pass_on).unwrap_or_default());
        let mut printed = Vec::new();
        let read = child
            .stdout
            .take()
            .map(|mut out| out.read_to_end(&mut printed));
        let ended = child.wait();
        self.state().pid = None;
        let said = said.join().unwrap_or_default();
        read.transpose()?;
        let status = ended?;
        Ok(ChildEnd {
            code: status.code(),
            how: process::describe_exit(status),
            printed: String::from_utf8_lossy(&printed).into_owned(),
            said,
        })
    }
}

impl ChildEnd {
    /// The reason that it gave, in one line.
    pub fn last_words(&self) -> &str {
        let lines = || self.said.lines().rev();
        let error = lines().find_map(|line| line.strip_prefix("error: "));
        let words = error.or_else(|| lines().find(|line| !line.trim().is_empty()));
        words.unwrap_or("it said nothing")
    }
}

/// Shows what a child says while it says it, and keeps the end.
fn pass_on(mut from: impl Read) -> String {
    let (mut said, mut buffer) = (Vec::new(), [0; 4096]);
    while let Ok(n) = from.read(&mut buffer) {
        if n == 0 {
            break;
        }
        let _ = io::stderr().lock().write_all(&buffer[..n]);
        said.extend_from_slice(&buffer[..n]);
        let over = said.len().saturating_sub(MOST_SAID_BYTES);
        said.drain(..over);
    }
    String::from_utf8_lossy(&said).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_words_are_the_error_or_the_last_line() {
        let words = |said: &str| {
            let end = ChildEnd {
                said: said.to_owned(),
                ..ChildEnd::default()
            };
            end.last_words().to_owned()
        };
        assert_eq!(words("error: one\nerror: two\nmore\n"), "two");
        assert_eq!(words("first\nlast\n\n"), "last");
        assert_eq!(words(""), "it said nothing");
    }

    #[test]
    fn only_the_end_is_kept() {
        let long = "a".repeat(MOST_SAID_BYTES) + "\nerror: x\n";
        let said = pass_on(long.as_bytes());
        assert_eq!(said.len(), MOST_SAID_BYTES);
        assert!(said.ends_with("error: x\n"));
    }
}
