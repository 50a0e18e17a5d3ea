//! The answer of a server with OpenAI's completions: server-sent events.

use serde_json::Value;

use super::super::ServerTimes;
use super::super::exchange::{Finish, PartialAnswer, Reader};
use super::super::http::{is_said, message_of};
use super::super::loose::{self, AnswerPiece};

/// Most bytes that are kept of what is no event, in case that it is a whole document.
const MOST_STRAY_BYTES: usize = 1 << 20;

/// Most bytes of one event's data.
const MOST_EVENT_BYTES: usize = 4 << 20;

/// Data longer than this are not looked at with every further line.
const MOST_UNENDED_BYTES: usize = 64 << 10;

/// Server-sent events (WHATWG HTML, section 9.2), as far as these servers use them. Fields, events and documents that
/// are not understood are passed over.
#[derive(Debug, Default)]
pub(in crate::request) struct Events {
    /// The `data` of the event that is being read.
    data: Option<String>,
    /// Its name, where it has one.
    name: String,
    /// When its last line was read.
    at_ns: u64,
    /// Whether the last event, `[DONE]`, was read.
    is_over: bool,
    /// Whether anything was a piece of an answer, or said something about it.
    is_understood: bool,
    /// Lines that are no fields, while nothing else was understood.
    stray: String,
    /// Tokens that the server has counted so far, where it counts along.
    n_counted: u64,
    /// Whether the last word on the count was said at the end, without a piece.
    has_usage: bool,
}

impl Reader for Events {
    fn line(&mut self, at_ns: u64, line: &str, answer: &mut PartialAnswer) -> Result<(), String> {
        if self.is_over {
            return Ok(());
        }
        if line.is_empty() {
            return self.event(answer);
        }
        // Some gateways send the documents bare.
        if line.starts_with('{')
            && let Ok(document) = loose::parse(line)
        {
            self.event(answer)?;
            self.at_ns = at_ns;
            return self.document(&document, answer);
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "data" => self.data(at_ns, value, answer),
            "event" => {
                self.end_of_whole(answer)?;
                self.name = value.trim().to_owned();
                Ok(())
            }
            // Older versions of llama-server give errors a field of their own.
            "error" if !value.is_empty() => Err(words(value)),
            // An empty field is a comment.
            "" | "id" | "retry" => Ok(()),
            _ => {
                self.at_ns = at_ns;
                self.pass_over(line);
                Ok(())
            }
        }
    }

    fn end(&mut self, answer: &mut PartialAnswer) -> Result<(), String> {
        self.event(answer)?;
        let stray = std::mem::take(&mut self.stray);
        if self.is_understood || answer.is_finished() || stray.is_empty() {
            // The last word of a server that says neither a reason nor [DONE].
            if self.has_usage && answer.is_begun() && !answer.is_finished() {
                answer.finish(self.at_ns, Finish::Unsaid);
            }
            return Ok(());
        }
        // A whole document over several lines.
        match loose::parse(&stray) {
            Ok(document) if document.is_object() => {
                self.document(&document, answer)?;
                match self.is_understood {
                    true => Ok(()),
                    false => Err(format!("not OpenAI's: {}", words(&stray))),
                }
            }
            _ => Err(format!("not OpenAI's: {stray}")),
        }
    }
}

/// The message in a text that may be JSON.
fn words(text: &str) -> String {
    loose::parse(text)
        .ok()
        .and_then(|value| message_of(&value))
        .or_else(|| Some(text.to_owned()).filter(|text| !text.trim().is_empty()))
        .unwrap_or_else(|| "an error without words".to_owned())
}

/// Whether it is the word that nothing more comes.
fn is_done(data: &str) -> bool {
    data.trim().trim_matches('"').eq_ignore_ascii_case("[DONE]")
}

impl Events {
    fn data(&mut self, at_ns: u64, value: &str, answer: &mut PartialAnswer) -> Result<(), String> {
        self.end_of_whole(answer)?;
        self.at_ns = at_ns;
        match &mut self.data {
            Some(data) if data.len() + value.len() > MOST_EVENT_BYTES => {
                let most = crate::units::bytes(MOST_EVENT_BYTES as u64);
                return Err(format!("an event longer than {most}"));
            }
            Some(data) => {
                data.push('\n');
                data.push_str(value);
            }
            None => self.data = Some(value.to_owned()),
        }
        Ok(())
    }

    /// Ends an event whose data are whole, though no blank line follows.
    fn end_of_whole(&mut self, answer: &mut PartialAnswer) -> Result<(), String> {
        let is_whole = |data: &String| {
            let value = |data: &str| serde_json::from_str(data).ok();
            let is_short = data.len() <= MOST_UNENDED_BYTES;
            is_done(data) || (is_short && value(data).is_some_and(|value: Value| value.is_object()))
        };
        match self.data.as_ref().is_some_and(is_whole) {
            true => self.event(answer),
            false => Ok(()),
        }
    }

    /// An event is whole.
    fn event(&mut self, answer: &mut PartialAnswer) -> Result<(), String> {
        let name = std::mem::take(&mut self.name).to_ascii_lowercase();
        let Some(data) = self.data.take() else {
            return Ok(());
        };
        let data = data.trim();
        if self.is_over || data.is_empty() {
            return Ok(());
        }
        if is_done(data) {
            self.is_over = true;
            if !answer.is_finished() && self.is_understood {
                answer.finish(self.at_ns, Finish::Unsaid);
            }
            return Ok(());
        }
        if name.ends_with("error") || name.ends_with("exception") {
            return Err(words(data));
        }
        match loose::parse(data) {
            Ok(document) => self.document(&document, answer),
            Err(why) if data.starts_with('{') && (name.is_empty() || name == "message") => {
                Err(format!("not OpenAI's ({why}): {data}"))
            }
            Err(_) => {
                self.pass_over(data);
                Ok(())
            }
        }
    }

    fn pass_over(&mut self, text: &str) {
        if !self.is_understood && self.stray.len() + text.len() < MOST_STRAY_BYTES {
            self.stray.push_str(text);
            self.stray.push('\n');
        }
    }

    /// A document of the stream.
    fn document(&mut self, document: &Value, answer: &mut PartialAnswer) -> Result<(), String> {
        if let Some(words) = loose::error_in(document) {
            return Err(words);
        }
        let (usage, timings) = (&document["usage"], &document["timings"]);
        let choices = &document["choices"];
        let is_known = !choices.is_null() || usage.is_object() || timings.is_object();
        if !is_known {
            self.pass_over(&document.to_string());
            return Ok(());
        }
        self.is_understood = true;
        let counted = counted_in(usage, timings);
        let n_new = match counted {
            Ok(Some(n)) => n.checked_sub(self.n_counted).filter(|n| *n > 0),
            _ => None,
        };
        let n_new = n_new.and_then(|n| u32::try_from(n).ok());
        let choice = match choices {
            // Only one was asked for.
            Value::Array(all) => all.first().unwrap_or(&Value::Null),
            other => other,
        };
        self.choice(choice, n_new, answer)?;
        if let Ok(Some(n)) = counted {
            self.n_counted = n;
        }
        self.has_usage = usage.is_object() && choice.is_null();
        count(counted, usage, timings, answer);
        Ok(())
    }

    fn choice(
        &mut self,
        choice: &Value,
        n_new: Option<u32>,
        answer: &mut PartialAnswer,
    ) -> Result<(), String> {
        if is_said(&choice["error"]) {
            return Err(message_of(choice).unwrap_or_else(|| choice.to_string()));
        }
        let piece = piece_of(choice, answer);
        let n_reasoned = n_new.filter(|_| piece.text.is_empty());
        answer.reasoning(self.at_ns, &piece.reasoning, n_reasoned);
        let n_visible = n_new.filter(|_| piece.reasoning.is_empty());
        answer.piece(self.at_ns, &piece.text, n_visible);
        if let Some(finish) = loose::finish(&choice["finish_reason"])? {
            answer.finish(self.at_ns, finish);
        }
        Ok(())
    }
}

/// What a choice holds: a chat's `delta`, or the `message` of servers that do not know the word, or a completion's
/// `text`.
fn piece_of(choice: &Value, answer: &PartialAnswer) -> AnswerPiece {
    let delta = AnswerPiece::of(&choice["delta"]);
    if !delta.is_empty() {
        return delta;
    }
    let text = AnswerPiece::of(&choice["text"]);
    if !text.is_empty() {
        return text;
    }
    let message = AnswerPiece::of(&choice["message"]);
    // Some say the whole answer once more at its end.
    let is_last = is_said(&choice["finish_reason"]) && !answer.text().is_empty();
    if is_last && message.text.starts_with(answer.text()) {
        return AnswerPiece::default();
    }
    if !message.is_empty() {
        return message;
    }
    let fields = ["reasoning_content", "reasoning", "thinking"];
    let own = fields
        .iter()
        .map(|name| AnswerPiece::of_reasoning(&choice[*name]));
    own.into_iter()
        .find(|piece| !piece.is_empty())
        .unwrap_or_default()
}

/// Tokens of the answer so far.
///
/// # Errors
/// What is said in the place of a count.
fn counted_in(usage: &Value, timings: &Value) -> Result<Option<u64>, String> {
    let said = [
        &usage["completion_tokens"],
        &usage["output_tokens"],
        &timings["predicted_n"],
    ];
    said.into_iter()
        .map(loose::count)
        .find(|count| *count != Ok(None))
        .unwrap_or(Ok(None))
}

/// Keeps what the server counted and timed; the last word counts.
fn count(
    counted: Result<Option<u64>, String>,
    usage: &Value,
    timings: &Value,
    answer: &mut PartialAnswer,
) {
    if !usage.is_object() && !timings.is_object() {
        return;
    }
    match counted {
        Ok(None) => {}
        Ok(Some(n)) => {
            answer.n_counted = Some(n);
            answer.not_a_count = None;
        }
        Err(said) => answer.not_a_count = Some(said),
    }
    let mut server: ServerTimes = answer.server.unwrap_or_default();
    let small = loose::small_count;
    let n_all = small(&usage["prompt_tokens"]).or(small(&usage["input_tokens"]));
    let cached = small(&usage["prompt_tokens_details"]["cached_tokens"]);
    let n_told = loose::count(&usage["completion_tokens_details"]["reasoning_tokens"]);
    answer.n_reasoning = n_told.ok().flatten().or(answer.n_reasoning);
    server.n_cached = cached.or(server.n_cached);
    if server.n_prompt.is_none() {
        // Where nothing is said of a cache, how many were computed is not known.
        server.n_prompt = n_all
            .zip(cached)
            .and_then(|(all, cached)| all.checked_sub(cached));
    }
    let (computed, cached) = (small(&timings["prompt_n"]), small(&timings["cache_n"]));
    server.n_prompt = computed.or(server.n_prompt);
    server.n_cached = cached.or(server.n_cached);
    server.n_eval = answer.n_counted.and_then(|n| u32::try_from(n).ok());
    let ms = |name: &str| loose::nanoseconds(&timings[name], 1e6);
    server.prompt_ns = ms("prompt_ms").or(server.prompt_ns);
    server.eval_ns = ms("predicted_ms").or(server.eval_ns);
    let both = computed.zip(cached);
    let both = both.and_then(|(computed, cached)| computed.checked_add(cached));
    answer.n_prompt = n_all.or(answer.n_prompt).or(both);
    answer.server = Some(server);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &[&str]) -> Result<PartialAnswer, String> {
        let (mut events, mut answer) = (Events::default(), PartialAnswer::default());
        for (at_ns, line) in lines.iter().enumerate() {
            events.line(at_ns as u64, line, &mut answer)?;
        }
        events.end(&mut answer)?;
        Ok(answer)
    }

    /// The text of an answer that is said to have ended.
    fn whole(lines: &[&str]) -> String {
        let answer = read(lines).expect("an answer");
        assert!(answer.is_finished(), "{lines:?}");
        answer.text().to_owned()
    }

    const PIECE: &str = r#"data: {"choices":[{"text":"a"}]}"#;
    const STOP: &str = r#"data: {"choices":[{"finish_reason":"stop"}]}"#;

    #[test]
    fn events_of_every_legal_form() {
        let answer = read(&[
            ": ping",
            "event: message",
            r#"data:{"choices":[{"text":"a"}]}"#,
            "",
            "",
            r#"data: {"choices":"#,
            "id: 7",
            r#"data:   [{"text":"b"}]}"#,
            "retry: 10",
            "",
            r#"data: {"choices":[{"text":"","finish_reason":"stop"}]}"#,
            "",
            "data: [DONE]",
        ])
        .unwrap();
        assert!(answer.is_finished());
        assert_eq!((answer.n_arrived(), answer.text()), (None, "ab"));
    }

    #[test]
    fn what_is_not_understood_is_passed_over() {
        let progress = r#"data: {"tool":"search","status":"running"}"#;
        let text = whole(&[
            "event: tool.progress",
            progress,
            "",
            "foo: bar",
            "novalue",
            PIECE,
            "",
            "data:",
            "",
            "data: ping",
            "",
            r#"data: {"message":"still at it"}"#,
            "",
            "event: x",
            "data: {broken",
            "",
            "data: null",
            "",
            "data: 7",
            "",
            PIECE,
            "",
            STOP,
            "",
            "data: [DONE]",
            "",
            PIECE,
            "",
            "error: late",
        ]);
        assert_eq!(text, "aa");
    }

    #[test]
    fn a_choice_may_be_written_in_many_ways() {
        let of =
            |choice: &str| whole(&[&format!("data: {{\"choices\":[{choice}]}}"), "", STOP, ""]);
        for choice in [
            r#"{"text":"a"}"#,
            r#"{"delta":{"content":"a"}}"#,
            r#"{"delta":null,"text":"a"}"#,
            r#"{"delta":{},"text":"a"}"#,
            r#"{"delta":{"content":"a"},"text":"a"}"#,
            r#"{"delta":{"content":null},"message":{"content":"a"}}"#,
            r#"{"message":{"role":"assistant","content":"a"}}"#,
            r#"{"delta":"a"}"#,
            r#"{"delta":{"content":[{"type":"text","text":"a"}]},"finish_reason":""}"#,
            r#"{"text":"a"},{"index":1,"text":"b"}"#,
        ] {
            assert_eq!(of(choice), "a", "{choice}");
        }
        // The answer once more at its end.
        let again = r#"data: {"choices":[{"message":{"content":"aa"},"finish_reason":"stop"}]}"#;
        assert_eq!(whole(&[PIECE, "", PIECE, "", again, ""]), "aa");
    }

    #[test]
    fn documents_without_choices_are_no_pieces() {
        for other in [
            r#"data: {"choices":null,"usage":{"completion_tokens":1}}"#,
            r#"data: {"usage":{"completion_tokens":1}}"#,
            r#"data: {"choices":[],"usage":null}"#,
            r#"data: {"choices":[null]}"#,
            r#"data: {"id":"x","object":"chunk"}"#,
        ] {
            assert_eq!(whole(&[PIECE, "", other, "", STOP, ""]), "a", "{other}");
        }
    }

    #[test]
    fn an_end_may_lack_its_reason_its_done_or_its_blank_line() {
        let usage = r#"data: {"choices":[],"usage":{"completion_tokens":1}}"#;
        for end in [
            &[STOP, "", "data: [DONE]", ""][..],
            &[STOP],
            &["data: [DONE]"],
            &["data:[done] ", ""],
            &[usage, "", "data: [DONE]"],
            &[usage],
        ] {
            assert_eq!(whole(&[&[PIECE, ""], end].concat()), "a", "{end:?}");
        }
        assert!(!read(&[PIECE, ""]).expect("no error").is_finished());
        assert!(!read(&["data: [DONE]", ""]).expect("no error").is_finished());
    }

    #[test]
    fn events_without_blank_lines_between_have_instants_of_their_own() {
        let (mut events, mut answer) = (Events::default(), PartialAnswer::default());
        for (at_ns, line) in [PIECE, PIECE, STOP, "data: [DONE]"].iter().enumerate() {
            events
                .line(at_ns as u64, line, &mut answer)
                .expect("understood");
        }
        let debug = format!("{answer:?}");
        assert!(
            debug.contains("at_ns: 0") && debug.contains("at_ns: 1"),
            "{debug}"
        );
        assert_eq!((answer.text(), answer.is_finished()), ("aa", true));
    }

    #[test]
    fn a_document_that_is_no_event_is_the_whole_answer() {
        let document = r#"{"choices":[{"message":{"content":"a b"},"finish_reason":"stop"}]}"#;
        assert_eq!(whole(&[document]), "a b");
        let lines: Vec<String> = document
            .replace(',', ",\n")
            .lines()
            .map(str::to_owned)
            .collect();
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        assert_eq!(whole(&lines), "a b");
        assert_eq!(
            read(&["{", "\"error\": \"full\"", "}"]).unwrap_err(),
            "full"
        );
        assert_eq!(whole(&[r#"{"choices":[{"text":"a"}]}"#, STOP]), "a");
    }

    #[test]
    fn what_is_no_answer_says_why() {
        let error = |lines: &[&str]| read(lines).unwrap_err();
        for (data, expected) in [
            (r#"data: {"error":{"message":"full"}}"#, "full"),
            (r#"data: {"error":"full"}"#, "full"),
            (
                r#"data: {"object":"error","message":"full","code":400}"#,
                "full",
            ),
            (r#"data: {"message":"full","code":503}"#, "full"),
            (r#"data: {"detail":"full"}"#, "full"),
            (
                r#"data: {"choices":[{"delta":{},"error":{"message":"full"}}]}"#,
                "full",
            ),
            (r#"error: {"message":"old"}"#, "old"),
        ] {
            assert_eq!(error(&[data, ""]), expected);
            assert_eq!(
                error(&[PIECE, "", data, "", STOP, "", "data: [DONE]"]),
                expected
            );
        }
        assert_eq!(error(&["event: error", "data: boom", ""]), "boom");
        assert_eq!(
            error(&["event: error", r#"data: {"message":"boom"}"#, ""]),
            "boom"
        );
        assert!(error(&["<html>no</html>"]).starts_with("not OpenAI's: <html>"));
        assert!(error(&["data: hello", ""]).starts_with("not OpenAI's: hello"));
        assert!(error(&["data: {", ""]).starts_with("not OpenAI's ("));
        let filtered = r#"data: {"choices":[{"finish_reason":"content_filter"}]}"#;
        assert!(error(&[filtered, ""]).contains("`content_filter`"));
        let endless = format!("data: {}", "x".repeat(3 << 20));
        assert!(error(&[&endless, &endless]).starts_with("an event longer than"));
    }

    #[test]
    fn a_server_that_counts_along_says_how_many_each_piece_has() {
        let answer = read(&[
            r#"data: {"choices":[{"text":"a"}],"usage":{"completion_tokens":1}}"#,
            "",
            r#"data: {"choices":[{"delta":{"reasoning":"bcd"}}],"usage":{"completion_tokens":4}}"#,
            "",
            r#"data: {"choices":[],"usage":null}"#,
            "",
        ])
        .unwrap();
        assert_eq!(answer.n_arrived(), Some(4));
        assert_eq!(answer.n_counted, Some(4));
    }

    #[test]
    fn counts_that_are_none_are_told() {
        let usage = |n: &str| {
            let line = format!("data: {{\"choices\":[],\"usage\":{{\"completion_tokens\":{n}}}}}");
            read(&[PIECE, "", STOP, "", &line, ""]).expect("an answer")
        };
        for odd in ["-3", "1.5", "\"many\"", "[]"] {
            let answer = usage(odd);
            assert_eq!(
                (answer.n_counted, answer.not_a_count.as_deref()),
                (None, Some(odd))
            );
        }
        for (n, expected) in [
            ("5", 5),
            ("5.0", 5),
            ("\"5\"", 5),
            ("4294967295", 4_294_967_295),
        ] {
            assert_eq!(usage(n).n_counted, Some(expected));
        }
        assert_eq!(usage("null").n_counted, None);
    }
}
