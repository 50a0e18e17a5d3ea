//! The worker's part in whole requests: texts fitted to a length, jobs served in a context of their own.

use std::cell::Cell;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::protocol::{PreparedContext, Reply, Request};
use super::worker::{Requests, error, reply};
use crate::engine::clock::Clock;
use crate::engine::{Engine, Session, Token};
use crate::host::usage::{UsageDelta, UsageSnapshot, rss_bytes};
use crate::request::fit::{FitOne, fit};
use crate::request::in_process::{serve, tokenize};
use crate::request::plan::warm_up;
use crate::request::{Job, Served};

/// How often the supervisor hears that a job goes on.
const SIGN_OF_LIFE: Duration = Duration::from_secs(5);

/// Every text fitted, or the reason why one cannot be.
pub(super) fn fit_all(engine: &dyn Engine, prompts: &[FitOne]) -> Reply {
    let mut fitted = Vec::with_capacity(prompts.len());
    for (i, one) in prompts.iter().enumerate() {
        match fit(engine, one) {
            Ok(done) => fitted.push(done),
            Err(e) => return error(&format_args!("text {} of {}: {e}", i + 1, prompts.len())),
        }
    }
    Reply::Fitted { prompts: fitted }
}

/// Opens a context for a job, and serves it when told to.
///
/// # Errors
/// When the supervisor cannot be answered, or asks for something that makes no sense here.
pub(super) fn serve_job(
    engine: &dyn Engine,
    clock: &dyn Clock,
    requests: &Requests,
    job: &Job,
    warm_up: bool,
) -> Result<()> {
    if job.prompts.is_empty() {
        return reply(&error(&"the job has no prompt"));
    }
    let began_ns = clock.now_ns();
    let mut session = match engine.open(&job.case) {
        Ok(session) => session,
        Err(e) => return reply(&error(&e)),
    };
    let opened_ns = clock.now_ns();
    let prompts = tokenize(engine, job);
    let tokenized_ns = clock.now_ns();
    let heard = Cell::new(Instant::now());
    let stop = || {
        if heard.get().elapsed() >= SIGN_OF_LIFE {
            heard.set(Instant::now());
            // A supervisor that hears nothing any more ends this process by closing its input.
            let _ = reply(&Reply::Serving);
        }
        requests.is_stopped()
    };
    if warm_up {
        warm(engine, session.as_mut(), clock, job, &prompts, &stop);
    }
    reply(&Reply::Prepared(PreparedContext {
        n_ctx_seq: session.n_ctx_seq(),
        context_ns: opened_ns - began_ns,
        tokenize_ns: tokenized_ns - opened_ns,
        warm_up_ns: clock.now_ns() - tokenized_ns,
        rss_bytes: rss_bytes(),
    }))?;
    match requests.next() {
        Some(Request::Serve) => {
            heard.set(Instant::now());
            let before = UsageSnapshot::take();
            let served = serve(engine, session.as_mut(), clock, job, &prompts, &stop);
            let usage = UsageSnapshot::take().since(&before);
            tell(served, usage)
        }
        Some(Request::Close) => reply(&Reply::Closed),
        Some(other) => bail!("a job is prepared, but the supervisor asked for {other:?}"),
        None => Ok(()),
    }
}

/// Requests, and calls, in one message.
const PART: usize = 64;

/// Says what was seen of a job, part by part.
fn tell(served: Served, usage: UsageDelta) -> Result<()> {
    let mut timelines = served.timelines.into_iter().peekable();
    let mut calls = served.calls.into_iter().peekable();
    while timelines.peek().is_some() || calls.peek().is_some() {
        reply(&Reply::Part {
            timelines: timelines.by_ref().take(PART).collect(),
            calls: calls.by_ref().take(PART).collect(),
        })?;
    }
    reply(&Reply::Served {
        elapsed_ns: served.elapsed_ns,
        usage,
    })
}

/// A prompt in every place and a few steps: the job's own shape, because buffers, page tables and clocks depend on it. The prompts are
/// cut to one call together, or warming up many places would take as long as the job. What fails here will fail in the
/// job, and is told there.
fn warm(
    engine: &dyn Engine,
    session: &mut dyn Session,
    clock: &dyn Clock,
    job: &Job,
    prompts: &[Vec<Token>],
    stop: &dyn Fn() -> bool,
) {
    let job = warm_up(job);
    let each = (job.case.n_batch / job.n_requests.max(1)).max(1) as usize;
    let prompts: Vec<Vec<Token>> = (0..job.n_requests as usize)
        .map(|i| &prompts[i % prompts.len()])
        .map(|prompt| prompt[..prompt.len().min(each)].to_vec())
        .collect();
    serve(engine, session, clock, &job, &prompts, stop);
}
