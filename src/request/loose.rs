//! What servers say, read loosely: what is understood is taken, whatever else stands there is passed over.
//!
//! OpenAI's and Ollama's protocols are spoken by dozens of servers, each with its own idea of an absent field.

use serde_json::Value;

use super::exchange::Finish;
use super::http::{is_said, message_of, shortened};

/// A JSON document. If it is not valid, common errors of JSON writers are corrected first: `NaN`, numbers beyond
/// all bounds, halves of surrogate pairs, raw control characters in strings, Python's `None` and `True`.
pub(super) fn parse(text: &str) -> Result<Value, serde_json::Error> {
    serde_json::from_str(text).or_else(|why| serde_json::from_str(&repaired(text)).map_err(|_| why))
}

fn repaired(text: &str) -> String {
    let mut fixed = String::with_capacity(text.len());
    let mut rest = text;
    let mut in_string = false;
    while let Some(c) = rest.chars().next() {
        let n = match (in_string, c) {
            (_, '"') => {
                in_string = !in_string;
                fixed.push('"');
                1
            }
            (true, '\\') => escape(rest, &mut fixed),
            (true, c) if c < ' ' => {
                fixed.push_str(&format!("\\u{:04x}", u32::from(c)));
                1
            }
            (false, c) if is_of_word(c) => word(rest, &mut fixed),
            (_, c) => {
                fixed.push(c);
                c.len_utf8()
            }
        };
        rest = &rest[n..];
    }
    fixed
}

/// Copies the escape at the text's begin; half of a surrogate pair becomes the replacement character. Returns its bytes.
fn escape(text: &str, fixed: &mut String) -> usize {
    let code = |text: &str| {
        let hex = text.strip_prefix("\\u")?.get(..4)?;
        u16::from_str_radix(hex, 16).ok()
    };
    let n = match (code(text), text.get(6..).and_then(code)) {
        (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => 12,
        (Some(0xd800..=0xdfff), _) => {
            fixed.push_str("\\ufffd");
            return 6;
        }
        (Some(_), _) => 6,
        (None, _) => 1 + text[1..].chars().next().map_or(0, char::len_utf8),
    };
    fixed.push_str(&text[..n]);
    n
}

fn is_of_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.')
}

/// Copies the word or number at the text's begin, as JSON has it. Returns its bytes.
fn word(text: &str, fixed: &mut String) -> usize {
    let n = text.find(|c| !is_of_word(c)).unwrap_or(text.len());
    let word = &text[..n];
    fixed.push_str(match word {
        "True" => "true",
        "False" => "false",
        "None" | "undefined" => "null",
        // Rust reads `NaN`, `inf` and `-Infinity`, and `1e999` as infinite.
        _ if word.parse().is_ok_and(|n: f64| !n.is_finite()) => "null",
        _ => word,
    });
    n
}

/// A piece of an answer: what is visible of it, and what is reasoning.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct AnswerPiece {
    pub(super) text: String,
    pub(super) reasoning: String,
}

/// Fields in which servers put reasoning, beside those whose name says so. Some send the same text in several.
const REASONING: [&str; 4] = [
    "reasoning_content",
    "reasoning",
    "thinking",
    "reasoning_details",
];

/// Levels of parts within parts that are followed.
const MOST_LEVELS: usize = 8;

impl AnswerPiece {
    /// Of a `delta` or a `message`: an object with `content`, a text, or typed parts.
    pub(super) fn of(message: &Value) -> Self {
        let mut piece = Self::default();
        let Value::Object(fields) = message else {
            piece.add(message, false, MOST_LEVELS);
            return piece;
        };
        piece.add(&message["content"], false, MOST_LEVELS);
        if piece.text.is_empty() {
            piece.add(&message["refusal"], false, MOST_LEVELS);
        }
        if piece.reasoning.is_empty() {
            let known = REASONING.iter().map(|name| &message[*name]);
            let others = fields.iter().filter(|(name, _)| means_reasoning(name));
            for value in known.chain(others.map(|(_, value)| value)) {
                piece.add(value, true, MOST_LEVELS);
                if !piece.reasoning.is_empty() {
                    break;
                }
            }
        }
        piece
    }

    /// Of a field that is reasoning as a whole.
    pub(super) fn of_reasoning(value: &Value) -> Self {
        let mut piece = Self::default();
        piece.add(value, true, MOST_LEVELS);
        piece
    }

    pub(super) fn is_empty(&self) -> bool {
        self.text.is_empty() && self.reasoning.is_empty()
    }

    fn add(&mut self, value: &Value, is_reasoning: bool, levels: usize) {
        let Some(levels) = levels.checked_sub(1) else {
            return;
        };
        match value {
            Value::String(text) if is_reasoning => self.reasoning.push_str(text),
            Value::String(text) => self.text.push_str(text),
            Value::Array(parts) => {
                for part in parts {
                    self.add(part, is_reasoning, levels);
                }
            }
            Value::Object(_) => {
                let kind = value["type"].as_str().unwrap_or_default();
                let is_reasoning = is_reasoning || means_reasoning(kind);
                let names = [
                    "text",
                    "content",
                    "value",
                    "thinking",
                    "reasoning",
                    "summary",
                ];
                let own = names.iter().map(|name| (*name, &value[*name]));
                if let Some((name, inner)) = own.into_iter().find(|(_, inner)| is_said(inner)) {
                    self.add(inner, is_reasoning || means_reasoning(name), levels);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
}

/// Whether a field or a type of part is reasoning by its name: `reasoning_text`, `thinking`, `thoughts`.
fn means_reasoning(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let says = ["reasoning", "think", "thought"]
        .iter()
        .any(|word| name.contains(word));
    let is_about = [
        "signature",
        "token",
        "effort",
        "id",
        "encrypted",
        "duration",
        "time",
    ];
    says && !is_about.iter().any(|what| {
        name.split(['_', '.', '-'])
            .any(|part| part.starts_with(what))
    })
}

/// A number of tokens; none where nothing is said.
///
/// # Errors
/// What is said instead of a number that is whole and not negative.
pub(super) fn count(value: &Value) -> Result<Option<u64>, String> {
    let odd = || Err(shortened(&value.to_string()));
    match value {
        Value::Null => Ok(None),
        Value::String(text) if text.trim().is_empty() => Ok(None),
        Value::String(text) => text.trim().parse().map(Some).or_else(|_| odd()),
        Value::Number(number) => match (number.as_u64(), number.as_f64()) {
            (Some(n), _) => Ok(Some(n)),
            // Saturates, far above every count that is believed.
            (None, Some(n)) if n >= 0.0 && n.fract() == 0.0 => Ok(Some(n as u64)),
            _ => odd(),
        },
        _ => odd(),
    }
}

/// A count that only informs: `None` where the text is not a count.
pub(super) fn small_count(value: &Value) -> Option<u32> {
    count(value).ok().flatten().and_then(|n| n.try_into().ok())
}

/// A duration as whole nanoseconds, given how many of them its unit has; none where it is no time.
pub(super) fn nanoseconds(value: &Value, unit_ns: f64) -> Option<u64> {
    if unit_ns == 1.0 && value.is_u64() {
        return value.as_u64();
    }
    let ns = value.as_f64()? * unit_ns;
    (ns.is_finite() && ns >= 0.0).then(|| ns.round() as u64)
}

/// How an answer ended, by the word that a server has for it; none while it goes on.
///
/// # Errors
/// For words that say that it is no whole answer.
pub(super) fn finish(reason: &Value) -> Result<Option<Finish>, String> {
    let word = match reason {
        Value::String(word) => word.as_str(),
        Value::Object(inner) => inner
            .get("type")
            .and_then(Value::as_str)
            .unwrap_or_default(),
        Value::Bool(true) => return Ok(Some(Finish::Unsaid)),
        _ => return Ok(None),
    };
    Ok(Some(match word.trim().to_ascii_lowercase().as_str() {
        "" | "null" | "none" | "nil" | "undefined" | "false" | "finish_reason_unspecified" => {
            return Ok(None);
        }
        "length" | "max_tokens" | "max_length" | "max_output_tokens" | "model_length" | "limit" => {
            Finish::Length
        }
        "stop" | "eos" | "eos_token" | "eos_token_id" | "end_turn" | "stop_sequence"
        | "stop_token" | "stop_str" | "tool_calls" | "tool_use" | "function_call" => Finish::Stop,
        "content_filter"
        | "content_filtered"
        | "safety"
        | "sensitive"
        | "abort"
        | "aborted"
        | "cancel"
        | "cancelled"
        | "canceled"
        | "error"
        | "timeout"
        | "network_error"
        | "insufficient_system_resource"
        | "load"
        | "unload" => {
            return Err(format!(
                "ended by `{}`, which is no end of an answer",
                shortened(word)
            ));
        }
        _ => Finish::Unsaid,
    }))
}

/// The server's words, where a document is an error rather than a piece of an answer: `{"error": ...}`,
/// `{"object": "error", ...}`, `{"message", "code"}`, `{"detail": ...}`.
pub(super) fn error_in(document: &Value) -> Option<String> {
    let words = || message_of(document).unwrap_or_else(|| document.to_string());
    document.as_object()?;
    let says = |name: &str| is_said(&document[name]);
    if ["error", "errors", "error_message", "error_msg"]
        .into_iter()
        .any(says)
    {
        return Some(words());
    }
    let is_error = |name: &&str| {
        let kind = document[*name].as_str().unwrap_or_default();
        kind.to_ascii_lowercase().ends_with("error")
    };
    if ["object", "type", "status"].iter().any(is_error) {
        return Some(words());
    }
    if ["choices", "response", "usage", "timings", "done"]
        .into_iter()
        .any(says)
    {
        return None;
    }
    let has_message = document["message"].is_string() && says("message");
    let is_coded = ["code", "status", "status_code"].into_iter().any(says)
        || document.get("success") == Some(&Value::Bool(false));
    (says("detail") || (has_message && is_coded)).then(words)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(message: Value) -> (String, String) {
        let piece = AnswerPiece::of(&message);
        (piece.text, piece.reasoning)
    }

    #[test]
    fn content_has_many_forms() {
        for message in [
            json!("a"),
            json!({"content": "a"}),
            json!({"content": ["a"]}),
            json!({"content": [{"type": "text", "text": "a"}]}),
            json!({"content": [{"type": "output_text", "text": {"value": "a"}}]}),
            json!({"content": {"type": "text", "text": "a"}}),
            json!({"content": null, "refusal": "a"}),
            json!({"content": "a", "reasoning_content": null, "reasoning": "", "tool_calls": []}),
            json!({"content": "a", "thinking_signature": "x", "reasoning_tokens": 7, "reasoning_id": "y"}),
        ] {
            assert_eq!(
                read(message.clone()),
                ("a".into(), String::new()),
                "{message}"
            );
        }
        for message in [
            json!({}),
            json!(null),
            json!({"content": null, "role": "assistant"}),
            json!(7),
        ] {
            assert!(AnswerPiece::of(&message).is_empty(), "{message}");
        }
    }

    #[test]
    fn reasoning_has_many_fields_and_is_read_once() {
        for message in [
            json!({"reasoning_content": "r"}),
            json!({"reasoning": "r"}),
            json!({"thinking": "r", "content": ""}),
            json!({"reasoning": "r", "reasoning_content": "r"}),
            json!({"reasoning": "r", "reasoning_details": [{"type": "reasoning.text", "text": "r"}]}),
            json!({"reasoning_details": [{"type": "reasoning.summary", "summary": "r"},
                                         {"type": "reasoning.encrypted", "data": "xyz"}]}),
            json!({"reasoning_text": "r"}),
            json!({"thoughts": ["r"]}),
            json!({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "r"}]}]}),
            json!({"content": [{"type": "thinking", "thinking": "r", "signature": "x"}]}),
            json!({"content": [{"type": "reasoning", "text": "r"}]}),
        ] {
            assert_eq!(
                read(message.clone()),
                (String::new(), "r".into()),
                "{message}"
            );
        }
        let both = json!({"content": [{"type": "thinking", "thinking": "r"}, {"type": "text", "text": "a"}]});
        assert_eq!(read(both), ("a".into(), "r".into()));
    }

    #[test]
    fn counts_are_whole_numbers_or_told() {
        assert_eq!(count(&json!(null)), Ok(None));
        assert_eq!(count(&json!(5)), Ok(Some(5)));
        assert_eq!(count(&json!(5.0)), Ok(Some(5)));
        assert_eq!(count(&json!(" 5 ")), Ok(Some(5)));
        assert_eq!(count(&json!(1e300)), Ok(Some(u64::MAX)));
        for odd in [
            json!(-3),
            json!(1.5),
            json!("many"),
            json!([1]),
            json!({"n": 1}),
            json!(true),
        ] {
            assert_eq!(count(&odd), Err(odd.to_string()), "{odd}");
            assert_eq!(small_count(&odd), None);
        }
        assert_eq!(small_count(&json!(4_294_967_296_u64)), None);
    }

    #[test]
    fn durations_that_are_none_are_left_out() {
        assert_eq!(nanoseconds(&json!(1.5), 1e6), Some(1_500_000));
        assert_eq!(nanoseconds(&json!(u64::MAX), 1.0), Some(u64::MAX));
        for odd in [json!(-1.0), json!(null), json!("5"), json!({})] {
            assert_eq!(nanoseconds(&odd, 1e6), None, "{odd}");
        }
    }

    #[test]
    fn answers_end_by_many_words() {
        let of = |reason: Value| finish(&reason);
        for open in [
            json!(""),
            json!("null"),
            json!(null),
            json!("None"),
            json!(false),
            json!(0),
        ] {
            assert_eq!(of(open.clone()), Ok(None), "{open}");
        }
        for stop in [
            json!("stop"),
            json!("eos"),
            json!("STOP_SEQUENCE"),
            json!({"type": "stop"}),
        ] {
            assert_eq!(of(stop.clone()), Ok(Some(Finish::Stop)), "{stop}");
        }
        for length in [
            json!("length"),
            json!("MAX_TOKENS"),
            json!({"type": "length", "length": 3}),
        ] {
            assert_eq!(of(length.clone()), Ok(Some(Finish::Length)), "{length}");
        }
        assert_eq!(of(json!("whatever")), Ok(Some(Finish::Unsaid)));
        assert_eq!(
            of(json!("content_filter")),
            Err("ended by `content_filter`, which is no end of an answer".into())
        );
    }

    #[test]
    fn errors_are_told_from_pieces() {
        for error in [
            json!({"error": "boom"}),
            json!({"error": {"message": "boom", "code": 500}}),
            json!({"object": "error", "message": "boom", "code": 400}),
            json!({"type": "server_error", "message": "boom"}),
            json!({"message": "boom", "code": 500}),
            json!({"message": "boom", "status": 500}),
            json!({"message": "boom", "success": false}),
            json!({"detail": "boom"}),
            json!({"detail": [{"loc": ["body", "x"], "msg": "boom"}]}),
            json!({"errors": [{"message": "boom"}]}),
            json!({"choices": null, "message": "boom", "code": "x"}),
        ] {
            let said = error_in(&error);
            assert!(
                said.as_ref().is_some_and(|s| s.ends_with("boom")),
                "{error}: {said:?}"
            );
        }
        for other in [
            json!({"choices": [{"text": "a"}], "error": null}),
            json!({"choices": [{"text": "a"}], "message": "x", "code": 200}),
            json!({"error": {}, "usage": {"completion_tokens": 1}}),
            json!({"message": {"content": "a"}, "done": false}),
            json!({"status": "running", "tool": "search"}),
            json!({"message": "loading weights"}),
            json!([1]),
            json!("error"),
        ] {
            assert_eq!(error_in(&other), None, "{other}");
        }
    }

    #[test]
    fn what_writers_of_json_get_wrong_is_put_right() {
        for (text, expected) in [
            (
                r#"{"a": NaN, "b": -Infinity, "c": 1e999}"#,
                json!({"a": null, "b": null, "c": null}),
            ),
            (r#"{"a": None, "b": True}"#, json!({"a": null, "b": true})),
            (r#"{"a": "\ud83d"}"#, json!({"a": "\u{fffd}"})),
            (
                r#"{"a": "\ude00\ud83d\ude00 NaN"}"#,
                json!({"a": "\u{fffd}\u{1f600} NaN"}),
            ),
            ("{\"a\": \"x\ty\nz\"}", json!({"a": "x\ty\nz"})),
            (
                r#"{"a": "\\\"NaN", "b": NaN}"#,
                json!({"a": "\\\"NaN", "b": null}),
            ),
        ] {
            assert_eq!(parse(text).expect(text), expected, "{text}");
        }
        for text in [
            "",
            "{",
            "{'a': 1}",
            r#"{"a": "\u12"#,
            r#"{"a\"#,
            "<html>",
            "\u{fffd}",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
