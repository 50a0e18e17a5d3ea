//! What a job's figures at a target hide: prompts that were cut, answers without a token, a load that was too much.

use std::collections::HashMap;
use std::fmt;

use super::{JobView, RequestView};
use crate::request::{Ending, Load};
use crate::stats::summary;
use crate::units;
use crate::view::CountOf;
use crate::view::collect::count;

/// Tokenizers that put a beginning before a text and those that do not differ by a few tokens.
const FEW_TOKENS: f64 = 4.0;
/// Beyond them, this share of a prompt must be missing.
const MISSING: f64 = 0.02;
/// A word has at least one token, but numbers of words are a guess at best.
const MISSING_OF_WORDS: f64 = 0.2;

/// An open loop whose requests are answered this much more slowly than they come is overloaded.
const KEEPS_UP: f64 = 0.9;
/// Latency that grows by this factor from the first quarter of a load to the last is that of a queue.
const GROWS: f64 = 2.0;
/// Fewer requests have no quarters.
const FEWEST: usize = 8;

/// A reason to read a job's figures otherwise than they seem.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum JobDoubt {
    /// The target read fewer prompt tokens than it was sent.
    PromptCut {
        /// Of the answers whose prompts could be checked those to such prompts.
        answers: CountOf,
        n_read: u32,
        n_sent: u32,
    },
    /// Answers without a token: they are in no average.
    Empty(CountOf),
    /// Requests came faster than they were answered.
    Overloaded {
        offered_per_s: f64,
        completed_per_s: f64,
        /// Of all that came those that still waited when the load's time was over.
        waiting: CountOf,
    },
}

impl JobDoubt {
    /// What is to be doubted of a job at a target; `own` is the same job in-process, whose tokens were counted one by
    /// one.
    pub(super) fn all_of(job: &JobView, own: Option<&JobView>) -> Vec<Self> {
        let cut = (!job.is_in_process())
            .then(|| prompt_cut(job, own))
            .flatten();
        let n = job.figures.n_empty;
        let of = n + job.figures.n_whole;
        let empty = (n > 0).then_some(Self::Empty(CountOf { n, of }));
        let all = [cut, empty, overloaded(job)];
        all.into_iter().flatten().collect()
    }

    /// Whether what was served is other work than was asked for.
    pub fn is_other_work(&self) -> bool {
        match self {
            Self::PromptCut { .. } | Self::Empty(_) => true,
            Self::Overloaded { .. } => false,
        }
    }
}

impl fmt::Display for JobDoubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::PromptCut {
                answers,
                n_read,
                n_sent,
            } => write!(
                f,
                "read fewer prompt tokens than were sent in {answers} requests, {n_read} instead of {n_sent} or more: its \
                 context cut the prompt, or its cache held a part"
            ),
            Self::Empty(answers) => write!(
                f,
                "{answers} answers are empty (0 tokens): they are not in the averages"
            ),
            Self::Overloaded {
                offered_per_s,
                completed_per_s,
                waiting,
            } => {
                write!(
                    f,
                    "offered {}/s, completed {}/s: overloaded",
                    units::significant(offered_per_s),
                    units::significant(completed_per_s)
                )?;
                match waiting.n {
                    0 => f.write_str("; latency grew all the time, and measures the queue"),
                    _ => write!(
                        f,
                        "; {waiting} requests were still waiting when the load's time was over"
                    ),
                }
            }
        }
    }
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
                .map(|p| count(p.text.split_whitespace().count()))
                .collect(),
        }
    }

    /// Of a request, and the share of them that may be missing.
    fn tokens(&self, sent: &RequestView) -> Option<(u32, f64)> {
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
        answers: CountOf {
            n: count(cut().count()),
            of: count(checked.len()),
        },
        n_read,
        n_sent,
    })
}

/// Of an open loop whose requests were not answered as they came.
fn overloaded(job: &JobView) -> Option<JobDoubt> {
    let Load::Open { rate_per_s, .. } = job.job.load else {
        return None;
    };
    let waiting = job.requests.iter().filter(|s| s.ending == Ending::NotSent);
    let waiting = CountOf {
        n: count(waiting.count()),
        of: count(job.requests.len()),
    };
    let completed_per_s = job.requests_per_s.map_or(0.0, |m| m.value);
    let is_slow = completed_per_s < KEEPS_UP * rate_per_s;
    // A load that is stopped early has no rate that could be held against what was offered.
    let has_ended = job.rounds.iter().any(|r| r.elapsed_ns.is_some());
    (has_ended && is_slow && (waiting.n > 0 || latency_grows(job))).then_some(
        JobDoubt::Overloaded {
            offered_per_s: rate_per_s,
            completed_per_s,
            waiting,
        },
    )
}

/// Whether those that came last waited much longer than those that came first, in most rounds.
fn latency_grows(job: &JobView) -> bool {
    let grows = |round: u32| {
        let own = job.requests.iter().filter(|s| s.round == round);
        let mut own: Vec<&RequestView> = own.filter(|s| s.is_answered()).collect();
        if own.len() < FEWEST {
            return None;
        }
        own.sort_by_key(|s| s.due_ns);
        let n = own.len() / 4;
        let median = |some: &[&RequestView]| {
            let latencies: Vec<f64> = some.iter().map(|s| s.latency_ns() as f64).collect();
            summary::median(&latencies)
        };
        Some(median(&own[own.len() - n..])? > GROWS * median(&own[..n])?)
    };
    let rounds: Vec<bool> = job.rounds.iter().filter_map(|r| grows(r.round)).collect();
    2 * rounds.iter().filter(|grew| **grew).count() > rounds.len()
}
