//! One request to a server and its answer, whatever the server's protocol: what arrives when, and how it ends.

use serde::Serialize;

use super::http::{ApiKey, Client, HttpError, Patience, shortened};
use super::load::{Turn, drive};
use super::spec::ServerUrl;
use super::{
    Arrival, CountCaveat, Ending, Job, KEPT_TEXT_BYTES, Served, ServerTimes, TargetError, Timeline,
};
use crate::engine::clock::MonotonicClock;

/// A question as it is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerRequest {
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
    fn question(&self, job: &Job, number: u32) -> ServerRequest;

    /// Understands the lines of one answer.
    fn reader(&self) -> Box<dyn Reader>;

    /// What a refusal of this question may mean, where the server's own words do not say.
    fn advice(&self, _question: &ServerRequest, _status: u16, _reason: &str) -> Option<String> {
        None
    }

    /// Whether a refused request is to be sent once more, in the form that the refusal asks for; later requests have
    /// that form from the beginning.
    fn adapt(&self, _question: &ServerRequest, _status: u16, _reason: &str) -> bool {
        false
    }
}

/// Understands the lines of an answer.
pub trait Reader {
    /// Takes a line and writes what it says into the answer.
    ///
    /// # Errors
    /// An error that the server reports, or what is not the protocol.
    fn line(&mut self, at_ns: u64, line: &str, answer: &mut PartialAnswer) -> Result<(), String>;

    /// There are no more lines.
    ///
    /// # Errors
    /// As [`Reader::line`].
    fn end(&mut self, _answer: &mut PartialAnswer) -> Result<(), String> {
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
    /// It ended, and was not said how.
    Unsaid,
}

/// What is known of an answer so far.
#[derive(Debug, Default)]
pub struct PartialAnswer {
    arrivals: Vec<Arrival>,
    text: String,
    /// How and when it was said to have ended.
    finish: Option<(Finish, u64)>,
    /// Whether a piece came after it was said to have ended.
    goes_on: bool,
    /// Tokens of the prompt.
    pub n_prompt: Option<u32>,
    /// Tokens of the answer as the server counts them, reasoning and the one that ended it among them.
    pub n_counted: Option<u64>,
    /// Of these, tokens of reasoning, where the server tells.
    pub n_reasoning: Option<u64>,
    /// What the server said instead of a count.
    pub not_a_count: Option<String>,
    /// What it says of its times.
    pub server: Option<ServerTimes>,
}

impl PartialAnswer {
    /// A piece of text; one without text is no arrival.
    pub fn piece(&mut self, at_ns: u64, text: &str, n_tokens: Option<u32>) {
        if text.is_empty() {
            return;
        }
        self.arrive(at_ns, n_tokens, false);
        let room = KEPT_TEXT_BYTES.saturating_sub(self.text.len());
        self.text.push_str(head(text, room));
    }

    /// A piece of reasoning. Its text is no part of the answer's.
    pub fn reasoning(&mut self, at_ns: u64, text: &str, n_tokens: Option<u32>) {
        if !text.is_empty() {
            self.arrive(at_ns, n_tokens, true);
        }
    }

    fn arrive(&mut self, at_ns: u64, n_tokens: Option<u32>, is_reasoning: bool) {
        self.arrivals.push(Arrival {
            at_ns,
            n_tokens,
            is_reasoning,
        });
        // Some servers say with every piece that it is the last one.
        if let Some((_, ended_ns)) = &mut self.finish {
            *ended_ns = at_ns;
            self.goes_on = true;
        }
    }

    /// The answer is said to have ended; the first word of it counts, unless the answer went on.
    pub fn finish(&mut self, at_ns: u64, finish: Finish) {
        if self.finish.is_none() || self.goes_on {
            self.finish = Some((finish, at_ns));
            self.goes_on = false;
        }
    }

    /// Whether it is said to have ended.
    pub fn is_finished(&self) -> bool {
        self.finish.is_some()
    }

    /// The pieces so far.
    pub fn arrivals(&self) -> &[Arrival] {
        &self.arrivals
    }

    /// Whether anything arrived.
    pub fn is_begun(&self) -> bool {
        !self.arrivals.is_empty()
    }

    /// The visible text so far, its beginning.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Tokens that arrived so far, where each piece's are known.
    pub fn n_arrived(&self) -> Option<u32> {
        self.arrivals.iter().map(|a| a.n_tokens).sum()
    }

    /// How it ended, where it did: an answer as long as was asked for ended by its length, if nothing else is said.
    pub(super) fn ended(&self, asked: u32) -> Option<(Finish, u64)> {
        let n = self.n_counted.unwrap_or(self.arrivals.len() as u64);
        let (finish, at_ns) = self.finish?;
        let finish = match finish {
            Finish::Unsaid if n >= u64::from(asked) => Finish::Length,
            Finish::Unsaid => Finish::Stop,
            said => said,
        };
        Some((finish, at_ns))
    }

    /// Leaves out counts of prompt tokens that are too large for the bytes of the request.
    fn bound_prompt(&mut self, n_bytes: usize) {
        // No token is shorter than a byte; a template and a system's prompt are beside the text.
        let most = n_bytes.saturating_add(BESIDE_TEXT_TOKENS);
        let can_be = |n: &u32| *n as usize <= most;
        self.n_prompt = self.n_prompt.filter(can_be);
        if let Some(server) = &mut self.server {
            server.n_prompt = server.n_prompt.filter(can_be);
            server.n_cached = server.n_cached.filter(can_be);
        }
    }

    /// Tokens without the one that ended the answer, and what they do not cover. Ollama, llama-server and vLLM count
    /// the one where the model chose it; it has no text, and no piece has fewer tokens than one.
    ///
    /// A count is not believed beyond what was asked for, unless as many pieces arrived.
    pub(super) fn n_generated(&self, asked: u32) -> (Option<u32>, Option<CountCaveat>) {
        if let Some(said) = self.not_a_count.clone() {
            return (None, Some(CountCaveat::NotACount { said }));
        }
        let Some(counted) = self.n_counted else {
            return (None, None);
        };
        let n_pieces = self.arrivals.len() as u64;
        let n_reasoned = self.arrivals.iter().filter(|a| a.is_reasoning).count() as u64;
        let n_told = self.n_reasoning.unwrap_or(0);
        if counted == 0 && n_told == 0 && n_pieces > n_reasoned {
            let said = "0 for an answer that has text".to_owned();
            return (None, Some(CountCaveat::NotACount { said }));
        }
        // Reasoning that is more than everything is counted beside it.
        let all = match n_told > counted {
            true => counted.saturating_add(n_told),
            false => counted,
        };
        let n_arrived = self.n_arrived().map_or(0, u64::from).max(n_pieces);
        let ends = matches!(self.ended(asked), Some((Finish::Stop, _))) && all > n_arrived;
        let n = all - u64::from(ends);
        if n > u64::from(asked).max(n_pieces) {
            return (None, Some(CountCaveat::TooMany { counted, asked }));
        }
        let caveat = if n_reasoned > 0 && n_told == 0 && n < n_pieces {
            Some(CountCaveat::VisibleOnly)
        } else if n_reasoned == 0 && n_told > 0 {
            let n_tokens = u32::try_from(n_told.min(n)).unwrap_or(u32::MAX);
            Some(CountCaveat::HiddenReasoning { n_tokens })
        } else {
            None
        };
        (u32::try_from(n).ok(), caveat)
    }
}

/// Most tokens that a server puts around a prompt.
const BESIDE_TEXT_TOKENS: usize = 1 << 16;

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
    let mut question = dialect.question(job, turn.number);
    let sent_ns = client.now_ns();
    let mut answer = PartialAnswer::default();
    let n_gen = u64::from(job.case.n_gen);
    let mut failed = converse(client, dialect, &question, n_gen, &mut answer).err();
    while let Some(Ending::Http { status, reason }) = &failed {
        if !dialect.adapt(&question, *status, reason) {
            break;
        }
        question = dialect.question(job, turn.number);
        failed = converse(client, dialect, &question, n_gen, &mut answer).err();
    }
    if let Some(Ending::Http { status, reason }) = &mut failed
        && let Some(advice) = dialect.advice(&question, *status, reason)
    {
        *reason = format!("{reason} ({advice})");
    }
    answer.bound_prompt(question.body.len());
    let asked = job.case.n_gen;
    let (n_generated, caveat) = answer.n_generated(asked);
    let (ending, ended_ns) = match (failed, answer.ended(asked)) {
        (Some(ending), _) => (ending, client.now_ns()),
        (None, Some((Finish::Stop | Finish::Unsaid, at_ns))) => (Ending::Stop, at_ns),
        (None, Some((Finish::Length, at_ns))) => (Ending::Length, at_ns),
        (None, None) => (Ending::Truncated, client.now_ns()),
    };
    Timeline {
        number: turn.number,
        due_ns: turn.due_ns,
        sent_ns,
        admitted_ns: None,
        ended_ns,
        ending,
        n_prompt: answer.n_prompt,
        n_generated,
        caveat,
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
    question: &ServerRequest,
    n_gen: u64,
    answer: &mut PartialAnswer,
) -> Result<(), Ending> {
    let broken = |reason: String| Ending::Stream {
        reason: shortened(&reason),
    };
    let mut reader = dialect.reader();
    let most_bytes = n_gen.saturating_mul(BYTES_PER_TOKEN);
    let most_pieces = n_gen * PIECES_PER_TOKEN + FEW_PIECES;
    let asked = client.stream(dialect.url(), question.path, &question.body, most_bytes);
    let mut lines = asked.map_err(ending_of)?;
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
            Err(error) => return Err(ending_of(error)),
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

fn ending_of(error: HttpError) -> Ending {
    match error {
        HttpError::Refused(reason) | HttpError::Tls(reason) => Ending::Refused { reason },
        HttpError::Status { status, reason, .. } => Ending::Http { status, reason },
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
        let mut answer = PartialAnswer::default();
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
        let mut answer = PartialAnswer {
            n_counted: Some(3),
            ..PartialAnswer::default()
        };
        answer.piece(1, "a", None);
        answer.piece(2, "b", None);
        answer.finish(3, Finish::Stop);
        answer.finish(4, Finish::Length);
        assert_eq!(answer.finish, Some((Finish::Stop, 3)));
        assert_eq!(answer.n_generated(8), (Some(2), None));
        // A server that does not count it.
        answer.n_counted = Some(2);
        assert_eq!(answer.n_generated(8), (Some(2), None));
        answer.finish = Some((Finish::Length, 3));
        answer.n_counted = Some(3);
        assert_eq!(answer.n_generated(8), (Some(3), None));
    }

    #[test]
    fn an_answer_that_goes_on_has_not_ended() {
        let mut answer = PartialAnswer::default();
        answer.piece(1, "a", None);
        answer.finish(1, Finish::Stop);
        answer.piece(2, "b", None);
        assert_eq!(answer.ended(8), Some((Finish::Stop, 2)));
        answer.finish(3, Finish::Length);
        assert_eq!(answer.ended(8), Some((Finish::Length, 3)));
    }

    #[test]
    fn an_end_without_a_reason_is_told_by_the_length() {
        let mut answer = PartialAnswer::default();
        answer.piece(1, "a", None);
        answer.piece(2, "b", None);
        answer.finish(3, Finish::Unsaid);
        assert_eq!(answer.ended(2), Some((Finish::Length, 3)));
        assert_eq!(answer.ended(3), Some((Finish::Stop, 3)));
        answer.n_counted = Some(3);
        assert_eq!(answer.ended(3), Some((Finish::Length, 3)));
    }

    #[test]
    fn a_prompt_has_no_more_tokens_than_its_request_can_hold() {
        let mut answer = PartialAnswer {
            n_prompt: Some(u32::MAX),
            ..PartialAnswer::default()
        };
        answer.bound_prompt(100);
        assert_eq!(answer.n_prompt, None);
        answer.n_prompt = Some(2000);
        answer.bound_prompt(100);
        assert_eq!(answer.n_prompt, Some(2000), "a long system's prompt");
    }

    /// An answer with these numbers of pieces of reasoning and of text, as long as requested.
    fn counted(n_reasoned: u64, n_visible: u64, n_counted: u64) -> PartialAnswer {
        let mut answer = PartialAnswer {
            n_counted: Some(n_counted),
            ..PartialAnswer::default()
        };
        for i in 0..n_reasoned {
            answer.reasoning(i, "r", None);
        }
        for i in n_reasoned..n_reasoned + n_visible {
            answer.piece(i, "a", None);
        }
        answer.finish(n_reasoned + n_visible, Finish::Length);
        answer
    }

    #[test]
    fn a_count_beyond_what_was_asked_for_is_not_believed() {
        let too_many = |counted| Some(CountCaveat::TooMany { counted, asked: 8 });
        assert_eq!(counted(0, 5, 8).n_generated(8), (Some(8), None));
        assert_eq!(counted(0, 5, 9).n_generated(8), (None, too_many(9)));
        assert_eq!(
            counted(0, 5, u64::MAX).n_generated(8),
            (None, too_many(u64::MAX))
        );
        // A server that knows no limit, and counts what it sent.
        assert_eq!(counted(0, 20, 20).n_generated(8), (Some(20), None));
        let nothing = "0 for an answer that has text".to_owned();
        let nothing = Some(CountCaveat::NotACount { said: nothing });
        assert_eq!(counted(0, 5, 0).n_generated(8), (None, nothing));
        assert_eq!(counted(0, 0, 0).n_generated(8), (Some(0), None));
        let mut odd = counted(0, 5, 5);
        odd.not_a_count = Some("-3".into());
        let said = CountCaveat::NotACount { said: "-3".into() };
        assert_eq!(odd.n_generated(8), (None, Some(said)));
    }

    #[test]
    fn reasoning_is_counted_with_the_answer_or_named() {
        assert_eq!(counted(40, 5, 45).n_generated(64), (Some(45), None));
        let visible = Some(CountCaveat::VisibleOnly);
        assert_eq!(counted(40, 5, 5).n_generated(64), (Some(5), visible));
        // Told apart, as a part of the whole or beside it.
        let mut told = counted(40, 5, 45);
        told.n_reasoning = Some(40);
        assert_eq!(told.n_generated(64), (Some(45), None));
        told.n_counted = Some(5);
        assert_eq!(told.n_generated(64), (Some(45), None));
        let mut hidden = counted(0, 5, 45);
        hidden.n_reasoning = Some(40);
        let caveat = CountCaveat::HiddenReasoning { n_tokens: 40 };
        assert_eq!(hidden.n_generated(64), (Some(45), Some(caveat)));
    }

    #[test]
    fn a_long_answer_is_kept_in_part_and_cut_between_letters() {
        let mut answer = PartialAnswer::default();
        for _ in 0..10_000 {
            answer.piece(0, "日本", None);
        }
        assert_eq!(answer.text.len(), 2046);
        assert_eq!(answer.arrivals.len(), 10_000);
    }
}
