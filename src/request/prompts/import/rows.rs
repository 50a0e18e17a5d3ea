//! Tables: CSV with a header, and JSON Lines with keys of their own.

use serde_json::{Map, Value};

use super::ImportedText;
use crate::request::prompts::PromptError;
use crate::request::prompts::set::{in_line, lines};
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

/// Objects of a JSON Lines file. Keys other than those of a prompt are left out.
pub(super) fn jsonl(
    name: &str,
    text: &str,
    text_key: Option<&str>,
) -> Result<Vec<ImportedText>, PromptError> {
    let key = text_key.unwrap_or(TEXT);
    let mut pieces = Vec::new();
    for (line, content) in lines(text) {
        let wrong = |why: String| PromptError::line(name, line, why);
        let object: Map<String, Value> =
            serde_json::from_str(content).map_err(|e| wrong(in_line(&e)))?;
        if !object.contains_key(key) {
            let keys: Vec<&str> = object.keys().map(String::as_str).collect();
            return Err(wrong(format!(
                "no key '{}'; there are {}; see --text-key",
                short(key),
                cut_end(&plain(&keys.join(", ")), COLUMNS)
            )));
        }
        let mut cells: Vec<(&str, String)> = Vec::new();
        for (name, value) in &object {
            let is_ours = name == key || NAMES.contains(&name.as_str());
            match value {
                _ if !is_ours => {}
                Value::Null => {}
                Value::String(text) => cells.push((name, text.clone())),
                // An answer of a sum may be a number.
                Value::Number(number) if name != key => cells.push((name, number.to_string())),
                _ => return Err(wrong(format!("{}: is no text", short(name)))),
            }
        }
        let piece = piece(cells.iter().map(|(n, v)| (*n, v.as_str())), key).map_err(wrong)?;
        pieces.push(ImportedText {
            line: Some(line),
            ..piece
        });
    }
    Ok(pieces)
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
