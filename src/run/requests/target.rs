//! A target that takes part in a run.

use super::in_process::InProcess;
use crate::host::usage::{UsageDelta, UsageSummary};
use crate::request::plan::warm_up;
use crate::request::ready::Waiting;
use crate::request::{Job, Served, Target, TargetError};

/// A target that can be asked.
pub enum ConnectedTarget {
    /// llama.cpp in a worker process of this program.
    InProcess(Box<InProcess>),
    /// A server.
    Server(Box<dyn Target>),
}

impl ConnectedTarget {
    pub(super) fn target(&mut self) -> &mut dyn Target {
        match self {
            Self::InProcess(target) => target.as_mut(),
            Self::Server(target) => target.as_mut(),
        }
    }

    /// Whether it is in this process, and not a server.
    pub fn is_in_process(&self) -> bool {
        matches!(self, Self::InProcess(_))
    }

    /// Number of the worker process. A server has none: its processes are not this program's.
    pub(super) fn worker(&self) -> Option<u32> {
        match self {
            Self::InProcess(target) => Some(target.worker()),
            Self::Server(_) => None,
        }
    }

    /// Ends the worker, so that the next job gets a fresh process.
    pub(super) fn renew(&mut self) {
        if let Self::InProcess(target) = self {
            target.renew();
        }
    }

    /// Ends the worker, so that its model leaves the memory.
    pub(super) fn unload(&mut self) {
        if let Self::InProcess(target) = self {
            target.unload();
        }
    }

    pub(super) fn take_log(&mut self) -> Vec<String> {
        match self {
            Self::InProcess(target) => target.take_log(),
            Self::Server(_) => Vec::new(),
        }
    }

    /// What the worker and the machine did during the last job. A server may be on another machine, so it has none.
    pub(super) fn take_usage(&mut self) -> (Option<UsageDelta>, Option<UsageSummary>) {
        match self {
            Self::InProcess(target) => (target.take_usage(), target.take_sampled()),
            Self::Server(_) => (None, None),
        }
    }

    /// Serves a job, a server after a warm-up that nobody records.
    pub(super) fn serve_warm(
        &mut self,
        name: &str,
        job: &Job,
        waiting: &mut Waiting<'_>,
    ) -> Result<Served, TargetError> {
        let stop = waiting.stop;
        if let Self::Server(server) = self {
            waiting.warm(name, &mut || server.serve(&warm_up(job), stop))?;
        }
        self.target().serve(job, stop)
    }
}
