//! One worker process as the supervisor holds it: spawned, spoken to with a time limit, and buried
//! with the cause of death.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::protocol::{EngineChoice, MARK, PROTOCOL_VERSION, Reply, Request};
use crate::engine::EngineFacts;
use crate::host::process;

/// The engine's last log lines that are kept for the record.
const LOG_LINES: usize = 200;

/// Longest log line kept, characters.
const LOG_LINE_CHARS: usize = 500;

/// How long a worker may take to start and to describe itself: GPU drivers can be slow.
const HELLO_TIMEOUT: Duration = Duration::from_secs(120);

/// Why a worker did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WorkerError {
    /// The engine said no; the worker lives.
    #[error("{0}")]
    Engine(String),
    /// The process died.
    #[error("the worker process died: {0}")]
    Died(String),
    /// The process did not answer in time and was killed.
    #[error("the worker process did not answer for {} s and was killed", .0.as_secs())]
    TimedOut(Duration),
    /// It could not be started, or is not ours.
    #[error("cannot start a worker process: {0}")]
    Start(String),
}

/// How to start workers.
#[derive(Debug, Clone)]
pub struct WorkerCommand {
    /// The program, normally this one.
    pub program: PathBuf,
    /// The engine it shall run.
    pub engine: EngineChoice,
}

impl WorkerCommand {
    /// This program's own worker.
    ///
    /// # Errors
    /// [`WorkerError::Start`] when the program's path cannot be found.
    pub fn of_this_program(engine: EngineChoice) -> Result<Self, WorkerError> {
        let program = std::env::current_exe()
            .map_err(|e| WorkerError::Start(format!("this program's path: {e}")))?;
        Ok(Self { program, engine })
    }
}

/// A running worker process.
#[derive(Debug)]
pub struct Worker {
    child: Child,
    stdin: Option<ChildStdin>,
    replies: Receiver<Reply>,
    log: Arc<Mutex<VecDeque<String>>>,
    readers: Vec<JoinHandle<()>>,
    engine: EngineFacts,
    oom_kills_before: Option<u64>,
}

impl Worker {
    /// Starts a worker and waits for its greeting.
    ///
    /// # Errors
    /// [`WorkerError`].
    pub fn start(command: &WorkerCommand) -> Result<Self, WorkerError> {
        let mut spawn = Command::new(&command.program);
        spawn
            .arg(crate::cli::WORKER_COMMAND)
            .arg("--engine")
            .arg(command.engine.to_argument())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // An abort must end the process at once, not start a debugger on it.
            .env("GGML_NO_BACKTRACE", "1");
        own_group(&mut spawn);
        let mut child = spawn
            .spawn()
            .map_err(|e| WorkerError::Start(format!("{}: {e}", command.program.display())))?;
        let log = Arc::new(Mutex::new(VecDeque::new()));
        let (sender, replies) = channel();
        let stdout = child.stdout.take().expect("stdout was asked to be a pipe");
        let stderr = child.stderr.take().expect("stderr was asked to be a pipe");
        let out_log = Arc::clone(&log);
        let err_log = Arc::clone(&log);
        let readers = vec![
            std::thread::spawn(move || {
                each_line(stdout, |line| {
                    let reply = line
                        .strip_prefix(MARK)
                        .and_then(|text| serde_json::from_str(text).ok());
                    match reply {
                        // The receiver may be gone already; the line is of no use then.
                        Some(reply) => drop(sender.send(reply)),
                        None => keep(&out_log, line),
                    }
                });
            }),
            std::thread::spawn(move || each_line(stderr, |line| keep(&err_log, line))),
        ];
        let stdin = child.stdin.take();
        let mut worker = Self {
            child,
            stdin,
            replies,
            log,
            readers,
            engine: crate::engine::synthetic::SyntheticEngine::facts(),
            oom_kills_before: process::oom_kill_count(),
        };
        match worker.answer(HELLO_TIMEOUT)? {
            Reply::Hello { protocol, engine } if protocol == PROTOCOL_VERSION => {
                worker.engine = engine;
                Ok(worker)
            }
            Reply::Hello { protocol, .. } => Err(WorkerError::Start(format!(
                "{} speaks worker protocol {protocol}, this program {PROTOCOL_VERSION}",
                command.program.display()
            ))),
            other => Err(WorkerError::Start(format!(
                "{} did not greet but said {other:?}",
                command.program.display()
            ))),
        }
    }

    /// The engine it runs.
    pub fn engine(&self) -> &EngineFacts {
        &self.engine
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Asks, and waits for the answer.
    ///
    /// # Errors
    /// [`WorkerError`]; after anything but [`WorkerError::Engine`] the process is gone.
    pub fn ask(&mut self, request: &Request, timeout: Duration) -> Result<Reply, WorkerError> {
        let mut text = serde_json::to_string(request).expect("a request is always JSON");
        text.push('\n');
        let sent = self
            .stdin
            .as_mut()
            .is_some_and(|stdin| stdin.write_all(text.as_bytes()).is_ok());
        if !sent {
            return Err(self.bury());
        }
        match self.answer(timeout)? {
            Reply::Error { reason } => Err(WorkerError::Engine(reason)),
            reply => Ok(reply),
        }
    }

    fn answer(&mut self, timeout: Duration) -> Result<Reply, WorkerError> {
        match self.replies.recv_timeout(timeout) {
            Ok(reply) => Ok(reply),
            Err(RecvTimeoutError::Disconnected) => Err(self.bury()),
            Err(RecvTimeoutError::Timeout) => {
                self.stop();
                Err(WorkerError::TimedOut(timeout))
            }
        }
    }

    /// Waits for a process that closed its pipes, and says how it ended.
    fn bury(&mut self) -> WorkerError {
        self.stdin = None;
        let died = match self.child.wait() {
            Ok(status) => {
                let how = process::describe_exit(status);
                let after = process::oom_kill_count();
                if process::is_memory_kill(status, self.oom_kills_before, after) == Some(true) {
                    format!("{how} (out of memory)")
                } else {
                    how
                }
            }
            Err(e) => format!("unknown cause: {e}"),
        };
        self.join_readers();
        WorkerError::Died(died)
    }

    /// The log lines since the last call, oldest first.
    pub fn take_log(&self) -> Vec<String> {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.drain(..).collect()
    }

    fn stop(&mut self) {
        self.stdin = None;
        // It may have died already; either way it is reaped below.
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.join_readers();
    }

    fn join_readers(&mut self) {
        for reader in self.readers.drain(..) {
            // A reader only panics by a bug of ours; its lines are lost then, nothing more.
            let _ = reader.join();
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Lines as text, whatever bytes the engine prints.
fn each_line(source: impl std::io::Read, mut f: impl FnMut(&str)) {
    let mut reader = BufReader::new(source);
    let mut bytes = Vec::new();
    while reader.read_until(b'\n', &mut bytes).is_ok_and(|n| n > 0) {
        let text = String::from_utf8_lossy(&bytes);
        f(text.trim_end_matches(['\n', '\r']));
        bytes.clear();
    }
}

fn keep(log: &Mutex<VecDeque<String>>, line: &str) {
    // Progress dots and blank lines say nothing.
    if line.trim_matches(['.', ' ']).is_empty() {
        return;
    }
    let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
    if log.len() == LOG_LINES {
        log.pop_front();
    }
    log.push_back(line.chars().take(LOG_LINE_CHARS).collect());
}

/// A process group of its own, so that the terminal's Ctrl-C reaches the supervisor alone.
fn own_group(command: &mut Command) {
    #[cfg(unix)]
    {
        use std::os::unix::process::CommandExt;
        command.process_group(0);
    }
    #[cfg(windows)]
    {
        use std::os::windows::process::CommandExt;
        const CREATE_NEW_PROCESS_GROUP: u32 = 0x0000_0200;
        command.creation_flags(CREATE_NEW_PROCESS_GROUP);
    }
}
