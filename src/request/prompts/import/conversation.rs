//! Conversations as data sets have them: messages of a role, and what is asked in them.

use serde_json::{Map, Value};

use super::collect::{ImportedText, Lack};
use crate::text::short;

/// Keys of a message's role: OpenAI's, and ShareGPT's.
const ROLES: [&str; 2] = ["role", "from"];
/// Keys of what it says.
const CONTENTS: [&str; 3] = ["content", "value", "text"];

/// The role and the content of a message.
struct Message<'a> {
    role: &'a str,
    content: &'a Value,
}

/// The first message of a user, behind the system's message where that comes first: what a server is asked in the first turn. Later
/// turns depend on answers, so they are left out.
///
/// # Errors
/// What is wrong, with the number of the message.
pub(super) fn question(conversation: &Value) -> Result<ImportedText, String> {
    let messages = messages(conversation)?;
    let asked = messages.iter().position(|m| is_of_user(m.role));
    let Some(asked) = asked else {
        return Ok(ImportedText {
            lacks: Some(Lack::Question),
            ..ImportedText::default()
        });
    };
    let mut texts: Vec<String> = Vec::new();
    let mut has_other_parts = false;
    for (i, message) in messages[..=asked].iter().enumerate() {
        if !(i == asked || is_of_system(message.role)) {
            continue;
        }
        let (text, has_others) =
            text_of(message.content).map_err(|why| format!("message {}: {why}", i + 1))?;
        has_other_parts |= has_others;
        if !text.trim().is_empty() {
            texts.push(text);
        }
    }
    Ok(ImportedText {
        text: texts.join("\n\n"),
        lacks: has_other_parts.then_some(Lack::OtherParts),
        ..ImportedText::default()
    })
}

fn is_of_user(role: &str) -> bool {
    ["user", "human"]
        .iter()
        .any(|known| role.eq_ignore_ascii_case(known))
}

fn is_of_system(role: &str) -> bool {
    ["system", "developer"]
        .iter()
        .any(|known| role.eq_ignore_ascii_case(known))
}

/// A list of messages, or, as tables keep it, an object with a list of roles and one of contents.
fn messages(conversation: &Value) -> Result<Vec<Message<'_>>, String> {
    match conversation {
        Value::Array(all) => {
            let numbered = all.iter().enumerate();
            numbered
                .map(|(i, message)| {
                    let message = message.as_object().and_then(message_of);
                    message.ok_or_else(|| {
                        format!(
                            "message {}: has no role and content (or from and value)",
                            i + 1
                        )
                    })
                })
                .collect()
        }
        Value::Object(columns) => {
            let list = |keys: &[&str]| first_of(columns, keys)?.as_array();
            let (Some(roles), Some(contents)) = (list(&ROLES), list(&CONTENTS)) else {
                return Err("is neither a text nor a conversation".to_owned());
            };
            let pairs = roles.iter().zip(contents);
            Ok(pairs
                .filter_map(|(role, content)| {
                    let role = role.as_str()?;
                    Some(Message { role, content })
                })
                .collect())
        }
        _ => Err("is no text".to_owned()),
    }
}

fn message_of(message: &Map<String, Value>) -> Option<Message<'_>> {
    Some(Message {
        role: first_of(message, &ROLES)?.as_str()?,
        content: first_of(message, &CONTENTS)?,
    })
}

fn first_of<'a>(object: &'a Map<String, Value>, keys: &[&str]) -> Option<&'a Value> {
    keys.iter().find_map(|key| object.get(*key))
}

/// The text of a content, which is a text or a list of parts, and whether it has parts that are none.
fn text_of(content: &Value) -> Result<(String, bool), String> {
    match content {
        Value::Null => Ok((String::new(), false)),
        Value::String(text) => Ok((text.clone(), false)),
        Value::Array(parts) => {
            let texts: Vec<Option<&str>> = parts.iter().map(text_of_part).collect();
            let has_others = texts.contains(&None);
            let texts: Vec<&str> = texts.into_iter().flatten().collect();
            Ok((texts.join("\n\n"), has_others))
        }
        other => Err(format!(
            "its content is no text: {}",
            short(&other.to_string())
        )),
    }
}

/// `{"type": "text", "text": ...}`, or `input_text`.
fn text_of_part(part: &Value) -> Option<&str> {
    match part {
        Value::String(text) => Some(text),
        part => part.get("text")?.as_str(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn text(conversation: Value) -> String {
        question(&conversation).expect("a conversation").text
    }

    #[test]
    fn the_first_question_is_taken_with_what_the_system_says_before_it() {
        let openai = json!([
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Why?"},
            {"role": "assistant", "content": "Because."},
            {"role": "user", "content": "Really?"},
        ]);
        assert_eq!(text(openai), "Be brief.\n\nWhy?");
        let sharegpt = json!([
            {"from": "gpt", "value": "Hello."},
            {"from": "human", "value": "Why?"},
        ]);
        assert_eq!(text(sharegpt), "Why?");
        let columns = json!({"role": ["system", "user"], "content": ["Be kind.", "Who?"]});
        assert_eq!(text(columns), "Be kind.\n\nWho?");
    }

    #[test]
    fn contents_are_texts_or_parts() {
        let parts = json!([{"role": "user", "content": [
            {"type": "text", "text": "What is"},
            {"type": "image_url", "image_url": {"url": "data:"}},
            {"type": "text", "text": "in it?"},
        ]}]);
        let found = question(&parts).expect("a conversation");
        assert_eq!(found.text, "What is\n\nin it?");
        assert_eq!(found.lacks, Some(Lack::OtherParts));
        let plain = json!([{"role": "user", "content": [{"type": "text", "text": "Why?"}]}]);
        assert_eq!(question(&plain).expect("a conversation").lacks, None);
    }

    #[test]
    fn a_conversation_without_a_question_says_so() {
        let answers = json!([{"role": "assistant", "content": "Because."}]);
        for conversation in [answers, json!([])] {
            let found = question(&conversation).expect("a conversation");
            assert_eq!(found.lacks, Some(Lack::Question), "{conversation}");
        }
    }

    #[test]
    fn what_is_no_conversation_is_refused() {
        for (value, needle) in [
            (json!(5), "is no text"),
            (json!({"a": 1}), "is neither a text nor a conversation"),
            (json!(["Why?"]), "message 1: has no role and content"),
            (
                json!([{"role": "user"}]),
                "message 1: has no role and content",
            ),
            (
                json!([{"role": "user", "content": 7}]),
                "message 1: its content is no text: 7",
            ),
        ] {
            let error = question(&value).expect_err(needle);
            assert!(error.contains(needle), "{error}");
        }
    }
}
