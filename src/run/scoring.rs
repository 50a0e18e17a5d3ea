//! The worker's side of scoring a text.

use std::ops::ControlFlow;

use anyhow::Result;

use super::protocol::{DistributionsFile, Reply, ScoreRequest};
use super::worker::{Requests, error, reply};
use crate::engine::clock::Clock;
use crate::engine::{Engine, Session, Token};
use crate::quality::score::{Distributions, ScoreError, TextScoring, shape};
use crate::quality::store::{DistributionStore, StoreShape};

/// Fewer chunks say nothing of how sure a figure is.
const FEWEST_CHUNKS: usize = 2;

/// Scores a text, and says what became of it.
pub(super) fn serve(
    engine: &dyn Engine,
    clock: &dyn Clock,
    requests: &Requests,
    task: &ScoreRequest,
) -> Result<()> {
    let tokens = engine.tokenize(&task.text, true, false);
    let length = (task.case.n_prompt + task.case.n_gen) as usize;
    if tokens.len() < FEWEST_CHUNKS * length {
        return reply(&error(&format!(
            "the text has {} tokens in this model's vocabulary; {FEWEST_CHUNKS} chunks of {length} are the fewest",
            tokens.len()
        )));
    }
    let opened = engine.open(&task.case);
    let mut session = match opened {
        Ok(session) => session,
        Err(e) => return reply(&error(&e)),
    };
    match score(engine, session.as_mut(), (clock, requests), &tokens, task) {
        // The supervisor is gone, or cannot be told.
        Err(Stopped::Unheard(e)) => Err(e),
        Err(Stopped::Failed(e)) => reply(&error(&e)),
        Ok(()) => reply(&Reply::Scored {
            n_text_tokens: u32::try_from(tokens.len()).unwrap_or(u32::MAX),
        }),
    }
}

/// How often the supervisor hears that the worker is alive.
const SIGN_OF_LIFE_NS: u64 = 1_000_000_000;

enum Stopped {
    Failed(ScoreError),
    Unheard(anyhow::Error),
}

fn score(
    engine: &dyn Engine,
    session: &mut dyn Session,
    (clock, requests): (&dyn Clock, &Requests),
    tokens: &[Token],
    task: &ScoreRequest,
) -> Result<(), Stopped> {
    let case = &task.case;
    let shape = shape(case, engine.n_vocab());
    let failed = |e: std::io::Error| Stopped::Failed(e.into());
    let mut said_ns = clock.now_ns();
    let mut goes_on = || {
        if clock.now_ns().saturating_sub(said_ns) > SIGN_OF_LIFE_NS {
            said_ns = clock.now_ns();
            // A supervisor that is gone ends this process by itself.
            let _ = reply(&Reply::Serving);
        }
        !requests.is_stopped()
    };
    let mut scoring = TextScoring {
        case,
        session,
        clock,
        tokens,
        bos: engine.bos(),
        shape,
        distributions: distributions(&task.distributions, shape).map_err(failed)?,
        goes_on: &mut goes_on,
    };
    let length = (case.n_prompt + case.n_gen) as usize;
    let n_chunks = task.n_chunks.min((tokens.len() / length) as u32);
    let chunks: Vec<u32> = (0..n_chunks).filter(|c| !task.known.contains(c)).collect();
    let mut groups = chunks.chunks(case.n_seq as usize);
    let each = |group: &[u32]| -> ControlFlow<Result<(), Stopped>> {
        match scoring.group(group) {
            Err(ScoreError::Stopped) => ControlFlow::Break(Ok(())),
            Err(e) => ControlFlow::Break(Err(Stopped::Failed(e))),
            Ok(scored) => {
                let mut chunks = scored.into_iter();
                match chunks.try_for_each(|chunk| reply(&Reply::Chunk(chunk))) {
                    Ok(()) => ControlFlow::Continue(()),
                    Err(e) => ControlFlow::Break(Err(Stopped::Unheard(e))),
                }
            }
        }
    };
    match groups.try_for_each(each) {
        ControlFlow::Break(ended) => ended,
        ControlFlow::Continue(()) => Ok(()),
    }
}

fn distributions(file: &DistributionsFile, shape: StoreShape) -> std::io::Result<Distributions> {
    Ok(match file {
        DistributionsFile::None => Distributions::Unused,
        DistributionsFile::Write(path) => {
            Distributions::Kept(DistributionStore::create(path, shape)?)
        }
        DistributionsFile::Compare(path) => {
            Distributions::Compared(DistributionStore::open(path, shape)?)
        }
    })
}
