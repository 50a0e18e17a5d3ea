//! SQL as llama-bench prints it, and the SQLite database that people make of it.

use std::path::Path;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags};
use serde_json::{Map, Value};

/// The table of llama-bench.
pub(super) const TABLE: &str = "llama_bench";

/// The rows of the table in a database, which is opened for reading alone.
///
/// # Errors
/// SQLite's.
pub(super) fn of_database(path: &Path) -> rusqlite::Result<Vec<Map<String, Value>>> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let database = Connection::open_with_flags(path, flags)?;
    let mut statement = database.prepare(&format!("SELECT * FROM {TABLE} ORDER BY rowid"))?;
    let names: Vec<String> = statement
        .column_names()
        .into_iter()
        .map(str::to_owned)
        .collect();
    let mut rows = statement.query([])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let mut columns = Map::new();
        for (at, name) in names.iter().enumerate() {
            columns.insert(name.clone(), json(row.get_ref(at)?));
        }
        found.push(columns);
    }
    Ok(found)
}

fn json(value: ValueRef<'_>) -> Value {
    match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(n) => n.into(),
        ValueRef::Real(v) => v.into(),
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => {
            String::from_utf8_lossy(bytes).into_owned().into()
        }
    }
}

/// The rows that `INSERT INTO llama_bench (columns) VALUES (values);` statements name. Other statements are passed over; nothing is
/// executed.
///
/// # Errors
/// What is wrong with a statement.
pub(super) fn of_text(text: &str) -> Result<Vec<Map<String, Value>>, String> {
    let mut words = Words { rest: text };
    let mut rows = Vec::new();
    while let Some(word) = words.next()? {
        if !word.is_name("INSERT") {
            continue;
        }
        let into = [words.next()?, words.next()?];
        let is_ours = matches!(&into, [Some(into), Some(table)] if into.is_name("INTO") && table.is_name(TABLE));
        if !is_ours {
            continue;
        }
        let names = words.list()?;
        if !words.next()?.is_some_and(|w| w.is_name("VALUES")) {
            return Err("an INSERT without its columns, or without VALUES".to_owned());
        }
        let values = words.list()?;
        if names.len() != values.len() {
            return Err(format!(
                "an INSERT has {} columns and {} values; a quote inside a text must be doubled",
                names.len(),
                values.len()
            ));
        }
        let columns = names.into_iter().map(Word::into_text).zip(values);
        rows.push(
            columns
                .map(|(name, value)| (name, value.into_value()))
                .collect(),
        );
    }
    Ok(rows)
}

#[derive(Debug, PartialEq)]
enum Word {
    /// A name, a keyword or a number.
    Plain(String),
    /// What stood in single quotes.
    Text(String),
    /// A parenthesis, a comma, a semicolon.
    Mark(char),
}

impl Word {
    fn is_name(&self, name: &str) -> bool {
        matches!(self, Self::Plain(word) if word.eq_ignore_ascii_case(name))
    }

    fn into_text(self) -> String {
        match self {
            Self::Plain(text) | Self::Text(text) => text,
            Self::Mark(mark) => mark.to_string(),
        }
    }

    fn into_value(self) -> Value {
        match self.is_name("NULL") {
            true => Value::Null,
            false => self.into_text().into(),
        }
    }
}

/// The words of SQL.
struct Words<'a> {
    rest: &'a str,
}

impl Words<'_> {
    fn next(&mut self) -> Result<Option<Word>, String> {
        self.rest = self.rest.trim_start();
        while let Some(comment) = self.rest.strip_prefix("--") {
            self.rest = comment.split_once('\n').map_or("", |(_, rest)| rest);
            self.rest = self.rest.trim_start();
        }
        let Some(first) = self.rest.chars().next() else {
            return Ok(None);
        };
        match first {
            '\'' | '"' => self.quoted(first).map(Some),
            '(' | ')' | ',' | ';' => {
                self.rest = &self.rest[1..];
                Ok(Some(Word::Mark(first)))
            }
            _ => {
                let is_end = |c: char| c.is_whitespace() || "(),;'\"".contains(c);
                let n = self.rest.find(is_end).unwrap_or(self.rest.len());
                let (word, rest) = self.rest.split_at(n);
                self.rest = rest;
                Ok(Some(Word::Plain(word.to_owned())))
            }
        }
    }

    /// A text whose quotes are doubled inside; a name, in double quotes.
    fn quoted(&mut self, quote: char) -> Result<Word, String> {
        let mut text = String::new();
        let mut rest = &self.rest[1..];
        loop {
            let Some((before, after)) = rest.split_once(quote) else {
                return Err("a quote is not closed".to_owned());
            };
            text.push_str(before);
            match after.strip_prefix(quote) {
                Some(more) => {
                    text.push(quote);
                    rest = more;
                }
                None => {
                    self.rest = after;
                    return Ok(match quote {
                        '\'' => Word::Text(text),
                        _ => Word::Plain(text),
                    });
                }
            }
        }
    }

    /// `(a, b, c)`.
    fn list(&mut self) -> Result<Vec<Word>, String> {
        let broken = || "a list in parentheses is expected".to_owned();
        if self.next()? != Some(Word::Mark('(')) {
            return Err(broken());
        }
        let mut items = Vec::new();
        loop {
            match self.next()?.ok_or_else(broken)? {
                Word::Mark(')') => return Ok(items),
                Word::Mark(',') => {}
                Word::Mark(_) => return Err(broken()),
                item => items.push(item),
            }
        }
    }
}
