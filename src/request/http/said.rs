//! What servers say when they refuse, made fit to be kept and shown.

use serde_json::Value;
use ureq::http::StatusCode;

use crate::text::{cut_end, plain};

/// Columns of a server's words that are kept.
const REASON_COLUMNS: usize = 300;

/// What an error's body says: the message of the JSON that servers send, a page's title, or the text.
pub(super) fn words_of(body: &[u8], status: StatusCode) -> String {
    let text = String::from_utf8_lossy(body);
    let said = serde_json::from_str(&text)
        .ok()
        .and_then(|value| message_of(&value));
    let said = said.or_else(|| title_of(&text));
    let said = said.unwrap_or_else(|| text.trim().to_owned());
    if said.is_empty() {
        status.canonical_reason().unwrap_or("no reason").to_owned()
    } else {
        said
    }
}

/// The title of a page, as proxies send one.
fn title_of(page: &str) -> Option<String> {
    let (_, title) = page.split_once("<title>")?;
    let (title, _) = title.split_once("</title>")?;
    Some(title.trim().to_owned()).filter(|title| !title.is_empty())
}

/// Fields in which servers say what went wrong; the first that says anything counts.
const WORDS: [&str; 8] = [
    "error",
    "message",
    "detail",
    "errors",
    "error_message",
    "error_msg",
    "msg",
    "reason",
];

/// Most errors of a list that are told.
const MOST_OF_LIST: usize = 8;

/// The message in the forms that servers give an error: `{"error": "..."}`, `{"error": {"message": "..."}}`,
/// `{"message": "..."}`, `{"detail": "..."}`, and lists of such, in which each says which field it is about.
pub fn message_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()).filter(|text| !text.trim().is_empty()),
        Value::Array(all) => {
            let said: Vec<String> = all
                .iter()
                .take(MOST_OF_LIST)
                .filter_map(message_of)
                .collect();
            (!said.is_empty()).then(|| said.join("; "))
        }
        Value::Object(fields) => {
            let inner = WORDS
                .iter()
                .filter_map(|key| fields.get(*key))
                .find(|inner| is_said(inner))?;
            let said = message_of(inner).unwrap_or_else(|| inner.to_string());
            let field = fields
                .get("loc")
                .and_then(Value::as_array)
                .and_then(|loc| loc.last());
            Some(
                match field.map(|field| field.as_str().map_or(field.to_string(), str::to_owned)) {
                    Some(field) => format!("{field}: {said}"),
                    None => said,
                },
            )
        }
        _ => None,
    }
}

/// Whether a field says anything: absent, null, empty, `false` and 0 do not.
pub fn is_said(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(yes) => *yes,
        Value::Number(n) => n.as_f64() != Some(0.0),
        Value::String(text) => !text.trim().is_empty(),
        Value::Array(all) => !all.is_empty(),
        Value::Object(all) => !all.is_empty(),
    }
}

/// A server's words, fit to be shown and not too many.
pub fn shortened(text: &str) -> String {
    // Only what can be shown is made fit: texts may be huge.
    let head: String = text.trim().chars().take(4 * REASON_COLUMNS).collect();
    cut_end(&plain(&head), REASON_COLUMNS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn errors_are_found_in_every_form() {
        let says = |value| message_of(&value);
        assert_eq!(says(json!({"error": "a"})), Some("a".into()));
        assert_eq!(says(json!({"error": {"message": "b"}})), Some("b".into()));
        assert_eq!(says(json!({"message": "c"})), Some("c".into()));
        assert_eq!(says(json!({"detail": [1]})), Some("[1]".into()));
        assert_eq!(
            says(json!({"error": null, "message": "e"})),
            Some("e".into())
        );
        assert_eq!(says(json!({"error": {}, "detail": "f"})), Some("f".into()));
        assert_eq!(
            says(json!({"error": {"code": 5}})),
            Some(r#"{"code":5}"#.into())
        );
        let fields = json!({"detail": [
            {"loc": ["body", "top_k"], "msg": "Extra inputs are not permitted"},
            {"loc": ["body", "min_p"], "msg": "Extra inputs are not permitted"},
        ]});
        let each = "top_k: Extra inputs are not permitted; min_p: Extra inputs are not permitted";
        assert_eq!(says(fields), Some(each.into()));
        assert_eq!(says(json!({"ok": 1})), None);
        let page = b"<html><head><title>502 Bad Gateway</title></head></html>";
        assert_eq!(words_of(page, StatusCode::BAD_GATEWAY), "502 Bad Gateway");
        assert_eq!(words_of(b"", StatusCode::BAD_GATEWAY), "Bad Gateway");
        assert_eq!(words_of(b"<html>", StatusCode::BAD_GATEWAY), "<html>");
        let long = shortened(&format!("\x1b[31m{}", "x".repeat(100_000)));
        assert_eq!(crate::text::width(&long), REASON_COLUMNS);
        assert!(!long.contains('\x1b'));
    }
}
