//! The answer of a server with OpenAI's completions: server-sent events.

use serde::Deserialize;
use serde_json::Value;

use super::super::ServerTimes;
use super::super::exchange::{Answer, Finish, Reader};
use super::super::http::message_of;

/// Server-sent events (WHATWG HTML, section 9.2), as far as these servers use them.
#[derive(Debug, Default)]
pub(super) struct Events {
    /// The `data` of the event that is being read.
    data: Option<String>,
    /// When its last line was read.
    at_ns: u64,
    /// Whether the last event, `[DONE]`, was read.
    is_over: bool,
    /// Tokens that the server has counted so far, where it counts along.
    n_counted: u32,
}

#[derive(Deserialize)]
struct Chunk {
    error: Option<Value>,
    #[serde(default)]
    choices: Vec<Choice>,
    usage: Option<Usage>,
    timings: Option<Timings>,
}

#[derive(Deserialize)]
struct Choice {
    text: Option<String>,
    delta: Option<Delta>,
    finish_reason: Option<String>,
}

/// Only the answer is read: what is reasoned (`reasoning_content`) is no part of it, and a role is no text.
#[derive(Deserialize)]
struct Delta {
    content: Option<String>,
}

#[derive(Deserialize)]
struct Usage {
    prompt_tokens: Option<u32>,
    completion_tokens: Option<u32>,
    prompt_tokens_details: Option<Details>,
}

#[derive(Deserialize)]
struct Details {
    cached_tokens: Option<u32>,
}

/// llama-server's own times of a request.
#[derive(Deserialize)]
struct Timings {
    cache_n: Option<u32>,
    prompt_n: Option<u32>,
    prompt_ms: Option<f64>,
    predicted_n: Option<u32>,
    predicted_ms: Option<f64>,
}

impl Reader for Events {
    fn line(&mut self, at_ns: u64, line: &str, answer: &mut Answer) -> Result<(), String> {
        if line.is_empty() {
            return self.event(answer);
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "data" => {
                self.at_ns = at_ns;
                match &mut self.data {
                    Some(data) => {
                        data.push('\n');
                        data.push_str(value);
                    }
                    None => self.data = Some(value.to_owned()),
                }
                Ok(())
            }
            // Older versions of llama-server give errors a field of their own.
            "error" => Err(words(value)),
            // An empty field is a comment.
            "" | "event" | "id" | "retry" => Ok(()),
            _ => Err(format!("not an event: {}", words(line))),
        }
    }

    fn end(&mut self, answer: &mut Answer) -> Result<(), String> {
        self.event(answer)
    }
}

/// The message in a text that may be JSON.
fn words(text: &str) -> String {
    serde_json::from_str(text)
        .ok()
        .and_then(|value| message_of(&value))
        .unwrap_or_else(|| text.to_owned())
}

impl Events {
    /// An event is whole.
    fn event(&mut self, answer: &mut Answer) -> Result<(), String> {
        let Some(data) = self.data.take() else {
            return Ok(());
        };
        if self.is_over {
            return Err(format!("after the answer's end: {data}"));
        }
        if data.trim() == "[DONE]" {
            self.is_over = true;
            if !answer.is_finished() {
                return Err("[DONE] without a finish_reason".into());
            }
            return Ok(());
        }
        let chunk: Chunk =
            serde_json::from_str(&data).map_err(|why| format!("not OpenAI's ({why}): {data}"))?;
        if let Some(error) = chunk.error.filter(|error| !error.is_null()) {
            return Err(message_of(&error).unwrap_or_else(|| error.to_string()));
        }
        let counted = counted_in(&chunk.usage, &chunk.timings);
        for choice in chunk.choices {
            let text = choice.text.or(choice.delta.and_then(|delta| delta.content));
            let text = text.unwrap_or_default();
            if !text.is_empty() {
                let n_tokens = counted.and_then(|n| n.checked_sub(self.n_counted));
                answer.piece(self.at_ns, &text, n_tokens.filter(|n| *n > 0));
            }
            if let Some(reason) = choice.finish_reason {
                answer.finish(self.at_ns, finish_of(&reason)?);
            }
        }
        self.n_counted = counted.unwrap_or(self.n_counted);
        count(chunk.usage, chunk.timings, answer);
        Ok(())
    }
}

fn finish_of(reason: &str) -> Result<Finish, String> {
    match reason {
        "stop" => Ok(Finish::Stop),
        "length" => Ok(Finish::Length),
        other => Err(format!("ended by `{other}`, which is no end of an answer")),
    }
}

fn counted_in(usage: &Option<Usage>, timings: &Option<Timings>) -> Option<u32> {
    let used = usage.as_ref().and_then(|usage| usage.completion_tokens);
    used.or_else(|| timings.as_ref().and_then(|timings| timings.predicted_n))
}

/// Keeps what the server counted and timed; the last word counts.
fn count(usage: Option<Usage>, timings: Option<Timings>, answer: &mut Answer) {
    if usage.is_none() && timings.is_none() {
        return;
    }
    answer.n_counted = counted_in(&usage, &timings).or(answer.n_counted);
    let mut server: ServerTimes = answer.server.unwrap_or_default();
    if let Some(usage) = usage {
        let cached = usage.prompt_tokens_details.and_then(|d| d.cached_tokens);
        answer.n_prompt = usage.prompt_tokens.or(answer.n_prompt);
        server.n_eval = usage.completion_tokens.or(server.n_eval);
        server.n_cached = cached.or(server.n_cached);
        if server.n_prompt.is_none() {
            // Where nothing is said of a cache, how many were computed is not known.
            server.n_prompt = usage
                .prompt_tokens
                .zip(cached)
                .and_then(|(all, cached)| all.checked_sub(cached));
        }
    }
    if let Some(timings) = timings {
        server.n_prompt = timings.prompt_n.or(server.n_prompt);
        server.n_cached = timings.cache_n.or(server.n_cached);
        server.n_eval = timings.predicted_n.or(server.n_eval);
        server.prompt_ns = timings.prompt_ms.and_then(ns).or(server.prompt_ns);
        server.eval_ns = timings.predicted_ms.and_then(ns).or(server.eval_ns);
        let all = timings.prompt_n.zip(timings.cache_n);
        answer.n_prompt = answer
            .n_prompt
            .or(all.and_then(|(computed, cached)| computed.checked_add(cached)));
    }
    answer.server = Some(server);
}

/// Milliseconds as whole nanoseconds; none where they are no time.
fn ns(ms: f64) -> Option<u64> {
    (ms.is_finite() && ms >= 0.0).then(|| (ms * 1e6).round() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &[&str]) -> Result<Answer, String> {
        let (mut events, mut answer) = (Events::default(), Answer::default());
        for (at_ns, line) in lines.iter().enumerate() {
            events.line(at_ns as u64, line, &mut answer)?;
        }
        events.end(&mut answer)?;
        Ok(answer)
    }

    const PIECE: &str = r#"data: {"choices":[{"text":"a"}]}"#;

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
        assert_eq!(answer.n_arrived(), None);
    }

    #[test]
    fn what_is_no_answer_says_why() {
        let error = |lines: &[&str]| read(lines).unwrap_err();
        assert_eq!(
            error(&[r#"data: {"error":{"message":"full"}}"#, ""]),
            "full"
        );
        assert_eq!(error(&[r#"error: {"message":"old"}"#]), "old");
        assert!(error(&["<html>"]).starts_with("not an event"));
        assert!(error(&["data: {", ""]).starts_with("not OpenAI's"));
        assert!(error(&["data: [DONE]", ""]).contains("without a finish_reason"));
        let filtered = r#"data: {"choices":[{"finish_reason":"content_filter"}]}"#;
        assert!(error(&[filtered, ""]).contains("`content_filter`"));
        let end = r#"data: {"choices":[{"finish_reason":"stop"}]}"#;
        let after = [end, "", "data: [DONE]", "", PIECE, ""];
        assert!(error(&after).starts_with("after the answer's end"));
    }

    #[test]
    fn a_server_that_counts_along_says_how_many_each_piece_has() {
        let answer = read(&[
            r#"data: {"choices":[{"text":"a"}],"usage":{"completion_tokens":1}}"#,
            "",
            r#"data: {"choices":[{"text":"bcd"}],"usage":{"completion_tokens":4}}"#,
            "",
        ])
        .unwrap();
        assert_eq!(answer.n_arrived(), Some(4));
        assert_eq!(answer.n_counted, Some(4));
    }

    #[test]
    fn times_that_are_none_are_left_out() {
        assert_eq!(ns(1.5), Some(1_500_000));
        assert_eq!(ns(-1.0), None);
        assert_eq!(ns(f64::NAN), None);
    }
}
