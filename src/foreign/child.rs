//! A command with a time limit that ends with Ctrl-C.

use std::io::Read;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::host::process;
use crate::run::Interrupt;

/// How often the end of the process and Ctrl-C are looked for. It is short beside a visit, and seldom enough to disturb none.
const POLL: Duration = Duration::from_millis(10);

#[derive(Debug)]
pub(crate) struct Finished {
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
pub(crate) fn run(
    command: &mut Command,
    timeout: Option<Duration>,
    interrupt: &Interrupt,
) -> Result<Finished, ChildError> {
    if interrupt.is_set() {
        return Err(ChildError::Interrupted);
    }
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(command, 0);
    let started = Instant::now();
    let start_error = |e: std::io::Error| ChildError::Start(format!("cannot be started: {e}"));
    let mut child = command.spawn().map_err(start_error)?;
    let stdout = reader(child.stdout.take());
    let stderr = reader(child.stderr.take());
    let status = loop {
        if let Some(status) = child.try_wait().map_err(start_error)? {
            break status;
        }
        let is_late = timeout.filter(|timeout| started.elapsed() >= *timeout);
        if is_late.is_some() || interrupt.is_set() {
            end(&mut child);
            return Err(is_late.map_or(ChildError::Interrupted, ChildError::TimedOut));
        }
        std::thread::sleep(POLL);
    };
    // A process that it left behind may hold the pipes open.
    process::kill_group(child.id());
    let text = |reader: JoinHandle<Vec<u8>>| {
        String::from_utf8_lossy(&reader.join().unwrap_or_default()).into_owned()
    };
    Ok(Finished {
        status,
        stdout: text(stdout),
        stderr: text(stderr),
    })
}

fn end(child: &mut Child) {
    process::kill_group(child.id());
    // It may be gone already, which is as good.
    let _ = child.kill();
    let _ = child.wait();
}

fn reader(pipe: Option<impl Read + Send + 'static>) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            // What was read before an error is what there is.
            let _ = pipe.read_to_end(&mut bytes);
        }
        bytes
    })
}
