//! One request to a server and its answer, whatever the server's protocol: what arrives when, and how it ends.

use serde::Serialize;

use super::http::{ApiKey, Client, HttpError, Patience, shortened};
use super::load::{Turn, drive};
use super::spec::ServerUrl;
use super::{Arrival, Ending, Job, KEPT_TEXT_BYTES, Served, ServerTimes, TargetError, Timeline};
use crate::engine::clock::MonotonicClock;

/// A question as it is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// Below the server's address.
    pub path: &'static str,
    /// JSON.
    pub body: String,
}

/// A protocol.
pub trait Dialect: Sync {
    /// The server.
    fn url(&self) -> &ServerUrl;

    /// Request `number` of a job.
    fn question(&self, job: &Job, number: u32) -> Question;

    /// Whoever understands the lines of one answer.
    fn reader(&self) -> Box<dyn Reader>;

    /// What a refusal may mean, where its own words do not say.
    fn advice(&self, _status: u16) -> Option<&'static str> {
        None
    }
}

/// Understands the lines of an answer.
pub trait Reader {
    /// Takes a line and writes what it says into the answer.
    ///
    /// # Errors
    /// An error that the server reports, or what is not the protocol.
    fn line(&mut self, at_ns: u64, line: &str, answer: &mut Answer) -> Result<(), String>;

    /// There are no more lines.
    ///
    /// # Errors
    /// As [`Reader::line`].
    fn end(&mut self, _answer: &mut Answer) -> Result<(), String> {
        Ok(())
    }
}

/// Bytes of a stream for each token asked for; events of a token take 200 to 600.
const BYTES_PER_TOKEN: u64 = 4 << 10;

/// Pieces of an answer for each token asked for: a server that counts otherwise is let be, one that goes on is not.
const PIECES_PER_TOKEN: u64 = 4;

/// Pieces that any answer may have.
const FEW_PIECES: u64 = 64;

/// How a server says that an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    /// By the model.
    Stop,
    /// By the number of tokens.
    Length,
}

/// What is known of an answer so far.
#[derive(Debug, Default)]
pub struct Answer {
    arrivals: Vec<Arrival>,
    text: String,
    /// How and when it was said to have ended.
    finish: Option<(Finish, u64)>,
    /// Tokens of the prompt.
    pub n_prompt: Option<u32>,
    /// Tokens of the answer as the server counts them, the one that ended it among them.
    pub n_counted: Option<u32>,
    /// What it says of its times.
    pub server: Option<ServerTimes>,
}

impl Answer {
    /// A piece of text; one without text is no arrival.
    pub fn piece(&mut self, at_ns: u64, text: &str, n_tokens: Option<u32>) {
        if text.is_empty() {
            return;
        }
        self.arrivals.push(Arrival { at_ns, n_tokens });
        let room = KEPT_TEXT_BYTES.saturating_sub(self.text.len());
        self.text.push_str(head(text, room));
    }

    /// The answer is said to have ended; the first word of it counts.
    pub fn finish(&mut self, at_ns: u64, finish: Finish) {
        self.finish.get_or_insert((finish, at_ns));
    }

    /// Whether it is said to have ended.
    pub fn is_finished(&self) -> bool {
        self.finish.is_some()
    }

    /// Tokens that arrived so far, where each piece's are known.
    pub fn n_arrived(&self) -> Option<u32> {
        self.arrivals.iter().map(|a| a.n_tokens).sum()
    }

    /// Tokens without the one that ended the answer. Ollama, llama-server and vLLM count it where the model chose
    /// it; it has no text, and no piece has fewer tokens than one.
    fn n_generated(&self) -> Option<u32> {
        let n_pieces = u32::try_from(self.arrivals.len()).unwrap_or(u32::MAX);
        match self.finish {
            Some((Finish::Stop, _)) => self.n_counted.map(|n| n.saturating_sub(1).max(n_pieces)),
            _ => self.n_counted,
        }
    }
}

/// Serves a job with as many clients as its load has places; `name` is the target's.
///
/// # Errors
/// [`TargetError::Unfit`] for a job that cannot be served at all.
pub fn serve(
    dialect: &dyn Dialect,
    name: &str,
    patience: Patience,
    key: Option<&ApiKey>,
    job: &Job,
    stop: &dyn Fn() -> bool,
) -> Result<Served, TargetError> {
    let unfit = |reason: String| TargetError::Unfit {
        target: name.to_owned(),
        reason,
    };
    if job.prompts.is_empty() {
        return Err(unfit(format!("job {}: has no prompts", job.name)));
    }
    if job.load.most_at_once() == 0 {
        return Err(unfit(format!(
            "job {}: has no place for a request",
            job.name
        )));
    }
    // A server with one slot makes the others' tokens first.
    let at_once = u64::from(job.load.most_at_once());
    let patience = patience.for_tokens(at_once.saturating_mul(job.case.n_gen.into()));
    let clock = MonotonicClock::start();
    let connect = |stopped| Client::new(patience, key.cloned(), clock, stopped);
    drive(job, clock, stop, &connect, &|client, turn| {
        exchange(client, dialect, job, turn)
    })
    .map_err(|error| unfit(format!("the system gives no thread for a client: {error}")))
}

/// A document as JSON.
///
/// # Panics
/// When it holds what JSON cannot, which no struct of a protocol does.
pub fn json(document: &impl Serialize) -> String {
    serde_json::to_string(document).expect("plain structs become JSON")
}

/// Sends a request, and follows its answer to the end.
pub fn exchange(client: &mut Client, dialect: &dyn Dialect, job: &Job, turn: Turn) -> Timeline {
    let question = dialect.question(job, turn.number);
    let sent_ns = client.now_ns();
    let mut answer = Answer::default();
    let n_gen = u64::from(job.case.n_gen);
    let failed = converse(client, dialect, &question, n_gen, &mut answer).err();
    let (ending, ended_ns) = match (failed, answer.finish) {
        (Some(ending), _) => (ending, client.now_ns()),
        (None, Some((Finish::Stop, at_ns))) => (Ending::Stop, at_ns),
        (None, Some((Finish::Length, at_ns))) => (Ending::Length, at_ns),
        (None, None) => (Ending::Truncated, client.now_ns()),
    };
    let n_generated = answer.n_generated();
    Timeline {
        number: turn.number,
        due_ns: turn.due_ns,
        sent_ns,
        admitted_ns: None,
        ended_ns,
        ending,
        n_prompt: answer.n_prompt,
        n_generated,
        sample_ns: None,
        server: answer.server,
        text: answer.text,
        arrivals: answer.arrivals,
    }
}

/// Asks and listens. An error is how the answer ended; without one it ended as it says itself.
fn converse(
    client: &mut Client,
    dialect: &dyn Dialect,
    question: &Question,
    n_gen: u64,
    answer: &mut Answer,
) -> Result<(), Ending> {
    let broken = |reason: String| Ending::Stream {
        reason: shortened(&reason),
    };
    let mut reader = dialect.reader();
    let most_bytes = n_gen.saturating_mul(BYTES_PER_TOKEN);
    let most_pieces = n_gen * PIECES_PER_TOKEN + FEW_PIECES;
    let asked = client.stream(dialect.url(), question.path, &question.body, most_bytes);
    let mut lines = asked.map_err(|error| ending_of(error, dialect))?;
    loop {
        let was_finished = answer.is_finished();
        match lines.next_line() {
            Ok(Some(line)) => reader
                .line(line.at_ns, &line.text, answer)
                .map_err(broken)?,
            Ok(None) => return reader.end(answer).map_err(broken),
            // The answer is whole; only the stream's own end is missing.
            Err(
                HttpError::Stalled { .. }
                | HttpError::TimedOut { .. }
                | HttpError::Excess(_)
                | HttpError::Cut
                | HttpError::Interrupted,
            ) if was_finished => return Ok(()),
            Err(error) => return Err(ending_of(error, dialect)),
        }
        let n_pieces = answer.arrivals.len();
        if n_pieces as u64 > most_pieces {
            return Err(Ending::Excess {
                reason: format!("{n_pieces} pieces and no end, of an answer of {n_gen} tokens"),
            });
        }
        if answer.is_finished() && !was_finished {
            lines.drain();
        }
    }
}

fn ending_of(error: HttpError, dialect: &dyn Dialect) -> Ending {
    match error {
        HttpError::Refused(reason) => Ending::Refused { reason },
        HttpError::Status { status, reason } => Ending::Http {
            status,
            reason: match dialect.advice(status) {
                Some(advice) => format!("{reason} ({advice})"),
                None => reason,
            },
        },
        HttpError::Stalled { after_ns } => Ending::Stalled { after_ns },
        HttpError::TimedOut { after_ns } => Ending::TimedOut { after_ns },
        HttpError::Excess(reason) => Ending::Excess { reason },
        HttpError::Cut => Ending::Truncated,
        HttpError::Interrupted => Ending::Interrupted,
        HttpError::Closed | HttpError::Protocol(_) => Ending::Stream {
            reason: error.to_string(),
        },
    }
}

/// As much of a text's begin as `most` bytes hold.
fn head(text: &str, most: usize) -> &str {
    let mut end = most.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_without_text_are_no_arrivals() {
        let mut answer = Answer::default();
        answer.piece(5, "", Some(1));
        answer.piece(7, "a", Some(1));
        answer.piece(8, "bc", Some(2));
        assert_eq!(answer.n_arrived(), Some(3));
        answer.piece(9, "d", None);
        assert_eq!(answer.n_arrived(), None);
        assert_eq!(answer.text, "abcd");
        let at: Vec<u64> = answer.arrivals.iter().map(|a| a.at_ns).collect();
        assert_eq!(at, [7, 8, 9]);
    }

    #[test]
    fn the_token_that_ends_an_answer_is_not_one_of_it() {
        let mut answer = Answer {
            n_counted: Some(3),
            ..Answer::default()
        };
        answer.piece(1, "a", None);
        answer.piece(2, "b", None);
        answer.finish(3, Finish::Stop);
        answer.finish(4, Finish::Length);
        assert_eq!(answer.finish, Some((Finish::Stop, 3)));
        assert_eq!(answer.n_generated(), Some(2));
        // A server that does not count it.
        answer.n_counted = Some(2);
        assert_eq!(answer.n_generated(), Some(2));
        answer.finish = Some((Finish::Length, 3));
        answer.n_counted = Some(3);
        assert_eq!(answer.n_generated(), Some(3));
    }

    #[test]
    fn a_long_answer_is_kept_in_part_and_cut_between_letters() {
        let mut answer = Answer::default();
        for _ in 0..10_000 {
            answer.piece(0, "日本", None);
        }
        assert_eq!(answer.text.len(), 2046);
        assert_eq!(answer.arrivals.len(), 10_000);
    }
}
