//! One worker process as the supervisor holds it: spawned, spoken to with a time limit, and buried
//! with the cause of death.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::Interrupt;
use super::log::{WorkerLog, each_line};
use super::protocol::{EngineChoice, MARK, PROTOCOL_VERSION, Reply, Request, WORKER_COMMAND};
use crate::build_info::BuildInfo;
use crate::engine::{Device, EngineFacts, plugins, rpc};
use crate::host::process::{self, ProcessGroup};
use crate::host::usage::{SamplerSettings, UsageSampler, UsageSummary};
use crate::host::{GpuReport, not_for_workers};
use crate::plan::{LoadKey, RpcServers};

/// How long a killed process may take to go: one that hangs in a driver may never.
const DEATH_TIMEOUT: Duration = Duration::from_secs(10);

/// Until what a dead process had said is read, as a rule at once.
const LAST_WORDS_TIMEOUT: Duration = Duration::from_secs(2);

/// How long the rest of the log may take after an answer.
const LOG_TIMEOUT: Duration = Duration::from_secs(1);

/// How often Ctrl-C is looked for while waiting.
const INTERRUPT_POLL: Duration = Duration::from_millis(100);

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
    /// Ctrl-C came while it loaded or warmed up; it was killed.
    #[error("interrupted")]
    Interrupted,
    /// It answered something else than what was asked; it was killed.
    #[error("the worker process gave an answer out of turn: {0}")]
    OutOfTurn(String),
    /// The model's files are not those that were hashed; it was not asked.
    #[error("{0}")]
    Model(String),
    /// It could not be started, or is not ours.
    #[error("cannot start a worker process: {0}")]
    Start(String),
}

/// How to start workers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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
    /// Has it end with this program, where the system does that so.
    _group: ProcessGroup,
    stdin: Option<ChildStdin>,
    replies: Receiver<Reply>,
    log: WorkerLog,
    /// Refusals so far; each ends with a mark in the log.
    refusals: u64,
    readers: Vec<JoinHandle<()>>,
    engine: EngineFacts,
    program: Option<BuildInfo>,
    takes_turns: bool,
    oom_kills_before: Option<u64>,
    /// The RPC servers that it computes on.
    rpc: RpcServers,
    /// Watches the process during repetitions and jobs, from a thread of this one; none before it loads.
    sampler: Option<UsageSampler>,
}

/// Starts the process, its three pipes open.
fn spawn(command: &WorkerCommand) -> Result<Child, WorkerError> {
    let mut spawn = Command::new(&command.program);
    spawn
        .arg(WORKER_COMMAND)
        .arg("--engine")
        .arg(command.engine.to_argument())
        .args(
            plugins::extra_folder()
                .map(|folder| ["--backends".as_ref(), folder.as_os_str()])
                .into_iter()
                .flatten(),
        )
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // An abort must end the process at once, not start a debugger on it.
        .env("GGML_NO_BACKTRACE", "1");
    for name in not_for_workers() {
        spawn.env_remove(name);
    }
    ProcessGroup::prepare(&mut spawn);
    spawn
        .spawn()
        .map_err(|e| WorkerError::Start(format!("{}: {e}", command.program.display())))
}

impl Worker {
    /// Starts a worker and waits for its greeting.
    ///
    /// # Errors
    /// [`WorkerError`].
    pub fn start(command: &WorkerCommand) -> Result<Self, WorkerError> {
        let mut child = spawn(command)?;
        let log = WorkerLog::default();
        let (sender, replies) = channel();
        let stdout = child.stdout.take().expect("stdout was asked to be a pipe");
        let stderr = child.stderr.take().expect("stderr was asked to be a pipe");
        let (chatter, engine_log) = (log.clone(), log.clone());
        let stdin = child.stdin.take();
        let mut worker = Self {
            _group: ProcessGroup::of(&child),
            child,
            stdin,
            replies,
            log,
            refusals: 0,
            readers: Vec::new(),
            engine: crate::engine::synthetic::SyntheticEngine::facts(),
            program: None,
            takes_turns: false,
            oom_kills_before: process::oom_kill_count(),
            rpc: RpcServers::default(),
            sampler: None,
        };
        worker.read_from(move || {
            each_line(stdout, |line| {
                let reply = line
                    .strip_prefix(MARK)
                    .and_then(|text| serde_json::from_str(text).ok());
                match reply {
                    // The receiver may be gone already; the line is of no use then.
                    Some(reply) => drop(sender.send(reply)),
                    None => chatter.push(line),
                }
            });
        })?;
        worker.read_from(move || {
            each_line(stderr, |line| match line {
                MARK => engine_log.mark(),
                line => engine_log.push(line),
            });
        })?;
        worker.greeted(&command.program)
    }

    /// The worker with what its greeting says of engine and program.
    fn greeted(mut self, path: &std::path::Path) -> Result<Self, WorkerError> {
        match self.answer(HELLO_TIMEOUT, None)? {
            Reply::Hello {
                protocol,
                engine,
                program,
                takes_turns,
            } if protocol == PROTOCOL_VERSION => {
                (self.engine, self.program) = (engine, program);
                self.takes_turns = takes_turns;
                Ok(self)
            }
            Reply::Hello { protocol, .. } => Err(WorkerError::Start(format!(
                "{} speaks worker protocol {protocol}, this program {PROTOCOL_VERSION}",
                path.display()
            ))),
            other => Err(WorkerError::Start(format!(
                "{} did not greet but said {other:?}",
                path.display()
            ))),
        }
    }

    /// Refuses a worker of another build than the run's. An older worker does not say which program it is.
    ///
    /// # Errors
    /// [`WorkerError::Start`].
    pub fn check_build(
        &self,
        engine: &EngineFacts,
        program: Option<&BuildInfo>,
    ) -> Result<(), WorkerError> {
        let is_same_program = match (&self.program, program) {
            (Some(own), Some(other)) => own == other,
            _ => true,
        };
        if self.engine.is_same_build(engine) && is_same_program {
            return Ok(());
        }
        let reason = "the program was replaced since the run began";
        Err(WorkerError::Start(reason.to_owned()))
    }

    /// Starts a thread that reads one of the process's pipes.
    fn read_from(&mut self, read: impl FnOnce() + Send + 'static) -> Result<(), WorkerError> {
        let reader = std::thread::Builder::new().spawn(read).map_err(|e| {
            WorkerError::Start(format!(
                "no thread to read its answers: {e}; raise the limit of processes (`ulimit -u`, pids.max)"
            ))
        })?;
        self.readers.push(reader);
        Ok(())
    }

    /// The engine it runs.
    pub fn engine(&self) -> &EngineFacts {
        &self.engine
    }

    /// The build it is of; none when it does not say.
    pub fn program(&self) -> Option<&BuildInfo> {
        self.program.as_ref()
    }

    /// Whether it can stand still within a repetition.
    pub fn takes_turns(&self) -> bool {
        self.takes_turns
    }

    /// Asks, and waits for the answer. With an `interrupt`, Ctrl-C ends the wait and the process.
    ///
    /// # Errors
    /// [`WorkerError`]; after anything but [`WorkerError::Engine`] the process is gone.
    pub fn ask(
        &mut self,
        request: &Request,
        timeout: Duration,
        interrupt: Option<&Interrupt>,
    ) -> Result<Reply, WorkerError> {
        if let Request::Load { key, .. } = request {
            self.sampler = sampler(self.child.id(), &self.engine, key);
            self.rpc.clone_from(&key.rpc);
        }
        // Of a repetition in turns only the first is watched: reading the counters would fall into the other side's.
        let is_timed = matches!(request, Request::Repeat | Request::RepeatInTurns { .. });
        let _watched = self
            .sampler
            .as_ref()
            .filter(|_| is_timed)
            .map(UsageSampler::window);
        self.send(request)?;
        let reply = self.answer(timeout, interrupt)?;
        self.unless_refused(reply)
    }

    /// Sends a request of unknown duration: the worker must only say something at least every
    /// `silence`. Once `stop` says true it is asked to end early, and answers all the same. Parts that come before the answer go to
    /// `part`.
    ///
    /// # Errors
    /// As [`Worker::ask`]'s.
    pub fn ask_patiently(
        &mut self,
        request: &Request,
        silence: Duration,
        stop: &dyn Fn() -> bool,
        part: &mut dyn FnMut(Reply),
    ) -> Result<Reply, WorkerError> {
        let is_timed = matches!(request, Request::Serve);
        let _watched = self
            .sampler
            .as_ref()
            .filter(|_| is_timed)
            .map(UsageSampler::window);
        self.send(request)?;
        let mut is_stopped = false;
        let mut heard = Instant::now();
        loop {
            if !is_stopped && stop() {
                self.send(&Request::Stop)?;
                is_stopped = true;
            }
            match self.next_reply(INTERRUPT_POLL) {
                Ok(Reply::Serving) => heard = Instant::now(),
                Ok(reply @ (Reply::Part { .. } | Reply::Chunk(_))) => {
                    part(reply);
                    heard = Instant::now();
                }
                Ok(reply) => return self.unless_refused(reply),
                Err(RecvTimeoutError::Disconnected) => return Err(self.bury()),
                Err(RecvTimeoutError::Timeout) if heard.elapsed() < silence => {}
                Err(RecvTimeoutError::Timeout) => {
                    self.stop();
                    return Err(WorkerError::TimedOut(silence));
                }
            }
        }
    }

    /// Asks which devices these RPC servers have; the worker has nothing else to do then.
    ///
    /// # Errors
    /// [`WorkerError`].
    pub fn remote_devices(mut self, servers: &RpcServers) -> Result<Vec<Device>, WorkerError> {
        self.rpc.clone_from(servers);
        let request = Request::RemoteDevices {
            servers: servers.clone(),
        };
        match self.ask(&request, HELLO_TIMEOUT, None)? {
            Reply::RemoteDevices { devices } => Ok(devices),
            other => Err(self.out_of_turn(&other)),
        }
    }

    fn send(&mut self, request: &Request) -> Result<(), WorkerError> {
        let mut text = serde_json::to_string(request).expect("a request is always JSON");
        text.push('\n');
        let sent = self
            .stdin
            .as_mut()
            .is_some_and(|stdin| stdin.write_all(text.as_bytes()).is_ok());
        if sent { Ok(()) } else { Err(self.bury()) }
    }

    fn unless_refused(&mut self, reply: Reply) -> Result<Reply, WorkerError> {
        match reply {
            Reply::Error { reason } => {
                self.refusals += 1;
                self.log.wait_for_marks(self.refusals, LOG_TIMEOUT);
                Err(WorkerError::Engine(reason))
            }
            reply => Ok(reply),
        }
    }

    /// Ends a worker that answered something else than what was asked.
    pub fn out_of_turn(&mut self, reply: &Reply) -> WorkerError {
        self.stop();
        WorkerError::OutOfTurn(format!("{reply:?}").chars().take(200).collect())
    }

    /// The next reply, if it comes within this time. A process that has ended says nothing more, even where one that it had started
    /// holds its pipes open.
    fn next_reply(&mut self, wait: Duration) -> Result<Reply, RecvTimeoutError> {
        match self.replies.recv_timeout(wait) {
            Err(RecvTimeoutError::Timeout) if matches!(self.child.try_wait(), Ok(Some(_))) => {
                // What it had said may still be on its way.
                let last = self.replies.recv_timeout(LAST_WORDS_TIMEOUT);
                last.map_err(|_| RecvTimeoutError::Disconnected)
            }
            reply => reply,
        }
    }

    fn answer(
        &mut self,
        timeout: Duration,
        interrupt: Option<&Interrupt>,
    ) -> Result<Reply, WorkerError> {
        let started = Instant::now();
        loop {
            let left = timeout.saturating_sub(started.elapsed());
            let slice = left.min(INTERRUPT_POLL);
            match self.next_reply(slice) {
                Ok(reply) => return Ok(reply),
                Err(RecvTimeoutError::Disconnected) => return Err(self.bury()),
                Err(RecvTimeoutError::Timeout) if interrupt.is_some_and(Interrupt::is_set) => {
                    self.stop();
                    return Err(WorkerError::Interrupted);
                }
                Err(RecvTimeoutError::Timeout) if slice < left => {}
                Err(RecvTimeoutError::Timeout) => {
                    self.stop();
                    return Err(WorkerError::TimedOut(timeout));
                }
            }
        }
    }

    /// Waits for a process that closed its pipes, and says how it ended.
    fn bury(&mut self) -> WorkerError {
        let died = match self.wait_for_death() {
            Some(status) => {
                let how = process::describe_exit(status);
                let after = process::oom_kill_count();
                if process::is_memory_kill(status, self.oom_kills_before, after) == Some(true) {
                    format!("{how} (out of memory)")
                } else if process::ended_itself(status) {
                    let words = self.log.last_words();
                    let lost = words.as_ref().and_then(|words| rpc::lost(&self.rpc, words));
                    lost.unwrap_or_else(|| {
                        let out = self.log.out_of_memory().map(|out| format!(" ({out})"));
                        let words = words.map(|words| format!(": {words}"));
                        format!(
                            "{how}{}{}",
                            out.unwrap_or_default(),
                            words.unwrap_or_default()
                        )
                    })
                } else {
                    how
                }
            }
            None => "it closed its pipes and did not end".to_owned(),
        };
        WorkerError::Died(died)
    }

    /// The log lines since the last call, oldest first.
    pub fn take_log(&self) -> Vec<String> {
        self.log.take()
    }

    /// What process and machine did during the repetitions or jobs since the last call.
    pub fn take_usage(&self) -> Option<UsageSummary> {
        self.sampler.as_ref()?.take()
    }

    fn stop(&mut self) {
        // It may have died already; either way it is reaped below.
        let _ = self.child.kill();
        self.wait_for_death();
    }

    /// The status of a process that is about to end. None when it does not: it is left behind then, and
    /// so are the threads that read its pipes.
    /// Lets the readers take what a dead process had said. One whose pipe another process holds open is left to itself.
    fn hear_out(&mut self) {
        let started = Instant::now();
        let mut reading = std::mem::take(&mut self.readers);
        while !reading.is_empty() && started.elapsed() < LAST_WORDS_TIMEOUT {
            for reader in reading.extract_if(.., |reader| reader.is_finished()) {
                // A reader only panics by a bug of ours; its lines are lost then, nothing more.
                let _ = reader.join();
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn wait_for_death(&mut self) -> Option<ExitStatus> {
        self.stdin = None;
        let started = Instant::now();
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => {
                    self.hear_out();
                    return Some(status);
                }
                Ok(None) if started.elapsed() < DEATH_TIMEOUT => {
                    std::thread::sleep(Duration::from_millis(1));
                }
                Ok(None) | Err(_) => return None,
            }
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A thread that watches a worker, and the GPUs that it computes on. A system that gives none is only watched less.
fn sampler(pid: u32, engine: &EngineFacts, load: &LoadKey) -> Option<UsageSampler> {
    let used = engine.pci_ids_of(load);
    let gpus = match used.is_empty() {
        true => Vec::new(),
        false => GpuReport::probe().indices_of(&used).unwrap_or_default(),
    };
    UsageSampler::start(SamplerSettings::of(pid, gpus)).ok()
}

#[cfg(all(test, unix))]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// As a driver that starts a process of its own, which has the worker's pipes and lives on.
    #[test]
    fn a_worker_whose_pipes_another_process_holds_is_dead_all_the_same() {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let program = folder.path().join("worker");
        fs::write(
            &program,
            "#!/bin/sh\nsleep 100 &\necho error: gone >&2\nexit 3\n",
        )
        .expect("writes");
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("sets");
        let command = WorkerCommand {
            program,
            engine: EngineChoice::default(),
        };
        let begun = Instant::now();
        // While another thread of the tests starts a process, the file can be open there.
        let mut tries = (0..20).map(|_| Worker::start(&command).expect_err("it never greets"));
        let died = tries.find_map(|e| match e {
            WorkerError::Died(how) => Some(how),
            _ => None,
        });
        assert_eq!(died.as_deref(), Some("exit code 3: error: gone"));
        assert!(begun.elapsed() < Duration::from_secs(90));
    }
}
