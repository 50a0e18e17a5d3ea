//! What servers say when they refuse, made fit to be kept and shown.

use ureq::http::StatusCode;

use crate::text::{cut_end, plain};

/// Columns of a server's words that are kept.
const REASON_COLUMNS: usize = 300;

/// What an error's body says: the message of the JSON that servers send, or the text.
pub(super) fn words_of(body: &[u8], status: StatusCode) -> String {
    let text = String::from_utf8_lossy(body);
    let said = serde_json::from_str(&text)
        .ok()
        .and_then(|value| message_of(&value));
    let said = said.unwrap_or_else(|| text.trim().to_owned());
    if said.is_empty() {
        status.canonical_reason().unwrap_or("no reason").to_owned()
    } else {
        said
    }
}

/// The message in the forms that servers give an error: `{"error": "..."}`, `{"error": {"message": "..."}}`,
/// `{"message": "..."}`, `{"detail": "..."}`.
pub fn message_of(value: &serde_json::Value) -> Option<String> {
    if let Some(text) = value.as_str() {
        return Some(text.to_owned());
    }
    ["error", "message", "detail"]
        .iter()
        .find_map(|key| value.get(key))
        .map(|inner| message_of(inner).unwrap_or_else(|| inner.to_string()))
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
        assert_eq!(says(json!({"ok": 1})), None);
        assert_eq!(words_of(b"", StatusCode::BAD_GATEWAY), "Bad Gateway");
        assert_eq!(words_of(b"<html>", StatusCode::BAD_GATEWAY), "<html>");
        let long = shortened(&format!("\x1b[31m{}", "x".repeat(100_000)));
        assert_eq!(crate::text::width(&long), REASON_COLUMNS);
        assert!(!long.contains('\x1b'));
    }
}
