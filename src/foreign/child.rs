//! A command with a time limit that ends with Ctrl-C.

use std::io::Read;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::host::process::ProcessGroup;
use crate::run::Interrupt;

/// How often the end of the process and Ctrl-C are looked for. It is short beside a visit, and seldom enough to disturb none.
const POLL: Duration = Duration::from_millis(10);

/// How long after the end of a process its output is still read. What it printed is in the pipe by then; a process that it left behind
/// may keep the pipe open for ever.
const REST_OF_OUTPUT: Duration = Duration::from_secs(2);

/// Bytes that are read at once.
const CHUNK: usize = 8192;

#[derive(Debug)]
pub(crate) struct FinishedChild {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ChildError {
    Start(String),
    TimedOut(Duration),
    Interrupted,
}

/// Runs a command to its end, in a process group of its own. What it started is ended with it when the time is over or Ctrl-C came.
/// On Linux the process itself also ends when this thread does, as with a killed program; on Windows all that it started does.
pub(crate) fn run(
    command: &mut Command,
    timeout: Option<Duration>,
    interrupt: &Interrupt,
) -> Result<FinishedChild, ChildError> {
    if interrupt.is_set() {
        return Err(ChildError::Interrupted);
    }
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    ProcessGroup::prepare(command);
    #[cfg(unix)]
    crate::host::process::end_with_parent(command);
    let started = Instant::now();
    let start_error = |e: std::io::Error| ChildError::Start(format!("cannot be started: {e}"));
    let mut child = command.spawn().map_err(start_error)?;
    let group = ProcessGroup::of(&child);
    let stdout = OutputReader::of(child.stdout.take());
    let stderr = OutputReader::of(child.stderr.take());
    let status = loop {
        if let Some(status) = child.try_wait().map_err(start_error)? {
            break status;
        }
        let is_late = timeout.filter(|timeout| started.elapsed() >= *timeout);
        if is_late.is_some() || interrupt.is_set() {
            end(&mut child, &group);
            return Err(is_late.map_or(ChildError::Interrupted, ChildError::TimedOut));
        }
        std::thread::sleep(POLL);
    };
    // A process that it left behind may hold the pipes open.
    group.kill();
    let ended = Instant::now();
    while !(stdout.has_all() && stderr.has_all()) && ended.elapsed() < REST_OF_OUTPUT {
        if interrupt.is_set() {
            return Err(ChildError::Interrupted);
        }
        std::thread::sleep(POLL);
    }
    Ok(FinishedChild {
        status,
        stdout: stdout.text(),
        stderr: stderr.text(),
    })
}

fn end(child: &mut Child, group: &ProcessGroup) {
    group.kill();
    // It may be gone already, which is as good.
    let _ = child.kill();
    let _ = child.wait();
}

/// What a process prints, read by a thread as it comes.
struct OutputReader {
    bytes: Arc<Mutex<Vec<u8>>>,
    thread: JoinHandle<()>,
}

impl OutputReader {
    fn of(pipe: Option<impl Read + Send + 'static>) -> Self {
        let bytes = Arc::<Mutex<Vec<u8>>>::default();
        let own = Arc::clone(&bytes);
        let thread = std::thread::spawn(move || {
            let Some(mut pipe) = pipe else { return };
            let mut chunk = [0; CHUNK];
            loop {
                match pipe.read(&mut chunk) {
                    Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                    // What was read before an error is what there is.
                    Ok(0) | Err(_) => return,
                    Ok(n) => {
                        let mut bytes = own.lock().unwrap_or_else(PoisonError::into_inner);
                        bytes.extend_from_slice(&chunk[..n]);
                    }
                }
            }
        });
        Self { bytes, thread }
    }

    /// Whether the pipe is closed.
    fn has_all(&self) -> bool {
        self.thread.is_finished()
    }

    fn text(&self) -> String {
        let bytes = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use crate::host::process;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn what_a_process_leaves_behind_is_not_waited_for() {
        // In a session of its own it is not in the group that is ended, and it keeps the pipes.
        let mut command = shell("setsid sh -c 'sleep 30; echo late' & echo now; echo aside >&2");
        let finished = run(&mut command, None, &Interrupt::default()).expect("ends");
        assert_eq!((&*finished.stdout, &*finished.stderr), ("now\n", "aside\n"));
    }

    #[test]
    fn a_process_ends_with_the_thread_that_started_it() {
        let mut command = shell("exec sleep 600");
        process::end_with_parent(&mut command);
        let starter = std::thread::spawn(move || command.spawn().expect("starts"));
        let mut child = starter.join().expect("started");
        let status = child.wait().expect("ended");
        assert_eq!(process::describe_exit(status), "SIGKILL");
    }

    #[test]
    fn long_output_is_whole() {
        let mut command = shell("head -c 300000 /dev/zero | tr '\\0' x");
        let finished = run(&mut command, None, &Interrupt::default()).expect("ends");
        assert_eq!(finished.stdout, "x".repeat(300_000));
    }
}
