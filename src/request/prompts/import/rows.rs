//! Rows of tables: CSV with a header, and objects with keys of their own.

use serde_json::{Map, Value};

use super::ImportedText;
use super::conversation::question;
use crate::request::prompts::PromptError;
use crate::text::{cut_end, plain, short};

/// The default name of the column with the text.
const TEXT: &str = "text";
/// Columns shown in a message.
const COLUMNS: usize = 160;

/// Rows of a CSV file. Columns with other names than those of a prompt are left out.
pub(super) fn csv(
    name: &str,
    text: &str,
    text_key: Option<&str>,
) -> Result<Vec<ImportedText>, PromptError> {
    let mut reader = csv::ReaderBuilder::new().from_reader(text.as_bytes());
    let wrong = |e: csv::Error| {
        let line = e
            .position()
            .map_or(1, |at| usize::try_from(at.line()).unwrap_or(usize::MAX));
        PromptError::line(name, line, cut_end(&plain(&e.to_string()), COLUMNS))
    };
    let header = reader.headers().map_err(wrong)?.clone();
    let key = text_key.unwrap_or(TEXT);
    if !header.iter().any(|column| column.trim() == key) {
        let columns: Vec<&str> = header.iter().collect();
        let reason = format!(
            "no column '{}'; there are {}; see --text-key",
            short(key),
            cut_end(&plain(&columns.join(", ")), COLUMNS)
        );
        return Err(PromptError::line(name, 1, reason));
    }
    let mut pieces = Vec::new();
    for row in reader.records() {
        let row = row.map_err(wrong)?;
        let line = row
            .position()
            .map_or(0, |at| usize::try_from(at.line()).unwrap_or(usize::MAX));
        let cells = header.iter().map(str::trim).zip(row.iter());
        let filled = cells.filter(|(_, cell)| !cell.trim().is_empty());
        let piece = piece(filled, key).map_err(|why| PromptError::line(name, line, why))?;
        pieces.push(ImportedText {
            line: Some(line),
            ..piece
        });
    }
    Ok(pieces)
}

/// Keys of a conversation in common data sets, where no key is named.
const CONVERSATIONS: [&str; 3] = ["messages", "conversations", "conversation"];
/// Where a line of OpenAI's batches has what would be sent.
const BODY: &str = "body";

/// A row that is a JSON object. Keys other than those of a prompt are left out.
pub(super) fn of_object(
    object: &Map<String, Value>,
    text_key: Option<&str>,
) -> Result<ImportedText, String> {
    let body = object.get(BODY).and_then(Value::as_object);
    let object = match body {
        Some(body) if text_key.is_none() && default_key(object).is_none() => body,
        _ => object,
    };
    if let Some(reason) = no_key(object.keys().map(String::as_str), text_key, "key") {
        return Err(reason);
    }
    let key = text_key.or(default_key(object)).unwrap_or(TEXT);
    if let Some(conversation @ (Value::Array(_) | Value::Object(_))) = object.get(key) {
        return question(conversation).map_err(|why| format!("{}: {why}", short(key)));
    }
    let mut cells: Vec<(&str, String)> = Vec::new();
    for (name, value) in object {
        let is_ours = name == key || NAMES.contains(&name.as_str());
        match value {
            _ if !is_ours => {}
            Value::Null => {}
            Value::String(text) => cells.push((name, text.clone())),
            // An answer of a sum may be a number.
            Value::Number(number) if name != key => cells.push((name, number.to_string())),
            _ => return Err(format!("{}: is no text", short(name))),
        }
    }
    piece(cells.iter().map(|(n, v)| (*n, v.as_str())), key)
}

/// The text, or else the conversation.
fn default_key(object: &Map<String, Value>) -> Option<&'static str> {
    let mut known = std::iter::once(TEXT).chain(CONVERSATIONS);
    known.find(|key| object.contains_key(*key))
}

/// Why there is no text: neither the key that is named, nor one that is known, is among `names`.
pub(super) fn no_key<'a>(
    names: impl Iterator<Item = &'a str> + Clone,
    text_key: Option<&str>,
    what: &str,
) -> Option<String> {
    let is_wanted = |name: &str| match text_key {
        Some(key) => name == key,
        None => name == TEXT || CONVERSATIONS.contains(&name),
    };
    if names.clone().any(is_wanted) {
        return None;
    }
    let names: Vec<&str> = names.collect();
    Some(format!(
        "no {what} '{}'; there are {}; see --text-key",
        short(text_key.unwrap_or(TEXT)),
        cut_end(&plain(&names.join(", ")), COLUMNS)
    ))
}

/// Whether a column is the text, the conversation, or one that is understood beside it.
pub(super) fn is_of_prompt(name: &str, text_key: Option<&str>) -> bool {
    let is_text = match text_key {
        Some(key) => name == key,
        None => name == TEXT || CONVERSATIONS.contains(&name),
    };
    is_text || NAMES.contains(&name)
}

/// Columns and keys that are understood, beside the text.
const NAMES: [&str; 5] = ["id", "class", "difficulty", "pair", "answer"];

fn piece<'a>(
    cells: impl Iterator<Item = (&'a str, &'a str)>,
    key: &str,
) -> Result<ImportedText, String> {
    let mut piece = ImportedText::default();
    for (name, cell) in cells {
        let value = || Some(cell.trim().to_owned());
        match name {
            _ if name == key => piece.text = cell.to_owned(),
            "id" => piece.id = value(),
            "class" => piece.class = value(),
            "pair" => piece.pair = value(),
            "answer" => piece.answer = value(),
            "difficulty" => {
                let word = cell.trim().to_lowercase();
                piece.difficulty = Some(word.parse().map_err(|e| format!("difficulty: {e}"))?);
            }
            _ => {}
        }
    }
    Ok(piece)
}
