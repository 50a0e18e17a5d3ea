//! What a job's figures at a target hide: prompts that were cut, answers without a token, a load that was too much.

use std::collections::HashMap;
use std::fmt;

use super::{JobView, Sent};
use crate::request::{Ending, Load};
use crate::stats::summary;
use crate::units;

/// Tokenizers that put a beginning before a text and those that do not differ by a few tokens.
const FEW_TOKENS: f64 = 4.0;
/// Beyond them, this share of a prompt must be missing.
const MISSING: f64 = 0.02;
/// A word has at least one token, but numbers of words are a guess at best.
const MISSING_OF_WORDS: f64 = 0.2;

/// An open loop whose requests are answered this much more slowly than they come is overloaded.
const KEEPS_UP: f64 = 0.9;
/// Latency that grows so many times from the first quarter of a load to the last is that of a queue.
const GROWS: f64 = 2.0;
/// Fewer requests have no quarters.
const FEWEST: usize = 8;

/// A reason to read a job's figures otherwise than they seem.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum JobDoubt {
    /// The target read fewer prompt tokens than it was sent.
    PromptCut {
        /// Answers to such prompts.
        n: u32,
        /// Answers whose prompts could be checked.
        of: u32,
        /// What it read of the one that misses most.
        n_read: u32,
        /// What that one has at least.
        n_sent: u32,
    },
    /// Answers without a token: they are in no average.
    Empty {
        /// How many.
        n: u32,
        /// Of so many answers.
        of: u32,
    },
    /// Requests came faster than they were answered.
    Overloaded {
        /// How many came in a second.
        offered_per_s: f64,
        /// How many were answered in a second.
        completed_per_s: f64,
        /// Requests that still waited when the load's time was over.
        n_waiting: u32,
        /// Of so many that came.
        of: u32,
    },
}

impl JobDoubt {
    /// Whether what was served is other work than was asked for.
    pub fn is_other_work(&self) -> bool {
        match self {
            Self::PromptCut { .. } | Self::Empty { .. } => true,
            Self::Overloaded { .. } => false,
        }
    }
}

impl fmt::Display for JobDoubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::PromptCut {
                n,
                of,
                n_read,
                n_sent,
            } => write!(
                f,
                "read fewer prompt tokens than were sent in {n} of {of} requests, {n_read} instead of {n_sent} or more: its \
                 context cut the prompt, or its cache held a part"
            ),
            Self::Empty { n, of } => write!(
                f,
                "{n} of {of} answers are empty (0 tokens): they are in no average"
            ),
            Self::Overloaded {
                offered_per_s,
                completed_per_s,
                n_waiting,
                of,
            } => {
                write!(
                    f,
                    "offered {}/s, completed {}/s: overloaded",
                    units::significant(offered_per_s),
                    units::significant(completed_per_s)
                )?;
                match n_waiting {
                    0 => f.write_str("; latency grew all the time, and measures the queue"),
                    n => write!(
                        f,
                        "; {n} of {of} requests were still waiting when the load's time was over"
                    ),
                }
            }
        }
    }
}

/// What is to be doubted of a job at a target; `own` is the same job in-process, whose tokens were counted one by one.
pub(super) fn of(job: &JobView, own: Option<&JobView>) -> Vec<JobDoubt> {
    let is_own = job.is_in_process();
    let cut = (!is_own).then(|| prompt_cut(job, own)).flatten();
    let n = job.figures.n_empty;
    let empty = (n > 0).then(|| JobDoubt::Empty {
        n,
        of: n + job.figures.n_whole,
    });
    cut.into_iter()
        .chain(empty)
        .chain(overloaded(job))
        .collect()
}

/// Fewest tokens that the prompts of a job can have, by what is known of them.
struct Least<'a> {
    counted: HashMap<(u32, u32), u32>,
    job: &'a JobView,
    words: Vec<u32>,
}

impl<'a> Least<'a> {
    fn of(job: &'a JobView, own: Option<&JobView>) -> Self {
        let counted = own.iter().flat_map(|own| &own.requests);
        let counted = counted.filter_map(|s| Some(((s.round, s.number), s.n_prompt?)));
        let words = job.job.prompts.iter();
        Self {
            counted: counted.collect(),
            job,
            words: words
                .map(|p| u32::try_from(p.text.split_whitespace().count()).unwrap_or(u32::MAX))
                .collect(),
        }
    }

    /// Of a request, and the share of them that may be missing.
    fn tokens(&self, sent: &Sent) -> Option<(u32, f64)> {
        if let Some(n) = self.counted.get(&(sent.round, sent.number)) {
            return Some((*n, MISSING));
        }
        let prompts = &self.job.job.prompts;
        let at = (sent.number as usize).checked_rem(prompts.len())?;
        Some(match prompts[at].n_tokens {
            Some(n) => (n, MISSING),
            None => (self.words[at], MISSING_OF_WORDS),
        })
    }
}

fn prompt_cut(job: &JobView, own: Option<&JobView>) -> Option<JobDoubt> {
    let least = Least::of(job, own);
    let whole = job.requests.iter().filter(|s| s.ending.is_whole());
    let checked: Vec<(u32, u32, bool)> = whole
        .filter_map(|s| {
            let (n_read, (n_sent, share)) = (s.n_prompt?, least.tokens(s)?);
            let missing = f64::from(n_sent) - f64::from(n_read);
            let is_cut = missing > (share * f64::from(n_sent)).max(FEW_TOKENS);
            Some((n_read, n_sent, is_cut))
        })
        .collect();
    let cut = || checked.iter().filter(|(_, _, is_cut)| *is_cut);
    let (n_read, n_sent, _) = *cut().max_by_key(|(read, sent, _)| sent - read)?;
    Some(JobDoubt::PromptCut {
        n: count(cut().count()),
        of: count(checked.len()),
        n_read,
        n_sent,
    })
}

/// Of an open loop whose requests were not answered as they came.
fn overloaded(job: &JobView) -> Option<JobDoubt> {
    let Load::Open { rate_per_s, .. } = job.job.load else {
        return None;
    };
    let n_waiting = job.requests.iter().filter(|s| s.ending == Ending::NotSent);
    let n_waiting = count(n_waiting.count());
    let completed_per_s = job.requests_per_s.map_or(0.0, |m| m.value);
    let is_slow = completed_per_s < KEEPS_UP * rate_per_s;
    // A load that is stopped early has no rate that could be held against what was offered.
    let has_ended = job.rounds.iter().any(|r| r.elapsed_ns.is_some());
    (has_ended && is_slow && (n_waiting > 0 || latency_grows(job))).then_some(
        JobDoubt::Overloaded {
            offered_per_s: rate_per_s,
            completed_per_s,
            n_waiting,
            of: count(job.requests.len()),
        },
    )
}

/// Whether those that came last waited much longer than those that came first, in most rounds.
fn latency_grows(job: &JobView) -> bool {
    let grows = |round: u32| {
        let own = job.requests.iter().filter(|s| s.round == round);
        let mut own: Vec<&Sent> = own.filter(|s| s.is_answered()).collect();
        if own.len() < FEWEST {
            return None;
        }
        own.sort_by_key(|s| s.due_ns);
        let n = own.len() / 4;
        let median = |some: &[&Sent]| {
            let latencies: Vec<f64> = some.iter().map(|s| s.latency_ns() as f64).collect();
            summary::median(&latencies)
        };
        Some(median(&own[own.len() - n..])? > GROWS * median(&own[..n])?)
    };
    let rounds: Vec<bool> = job.rounds.iter().filter_map(|r| grows(r.round)).collect();
    2 * rounds.iter().filter(|grew| **grew).count() > rounds.len()
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
