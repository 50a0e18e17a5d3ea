//! A row of another program's output: JSON has types, SQL text only texts, and both are read alike.

use std::fmt::Display;
use std::str::FromStr;

use serde_json::{Map, Value};

/// A row's columns by their names.
pub(super) struct ForeignRow<'a>(pub &'a Map<String, Value>);

impl ForeignRow<'_> {
    pub fn has(&self, key: &str) -> bool {
        !matches!(self.0.get(key), None | Some(Value::Null))
    }

    /// A column's text, as SQL has it: a truth value is 1 or 0. `None` where the column is missing or empty.
    pub fn text(&self, key: &str) -> Option<String> {
        let text = match self.0.get(key)? {
            Value::Null => return None,
            Value::String(text) => text.clone(),
            Value::Bool(is) => u8::from(*is).to_string(),
            other => other.to_string(),
        };
        Some(text).filter(|text| !text.is_empty())
    }

    /// A column's value; `None` where the column is missing or empty.
    pub fn value<T: FromStr<Err: Display>>(&self, key: &str) -> Result<Option<T>, String> {
        let Some(text) = self.text(key) else {
            return Ok(None);
        };
        let value = text.parse().map(Some);
        value.map_err(|e: T::Err| format!("{key} '{text}': {e}"))
    }

    /// A column that every row must have.
    pub fn needed<T: FromStr<Err: Display>>(&self, key: &str) -> Result<T, String> {
        self.value(key)?.ok_or_else(|| format!("{key} is missing"))
    }

    /// The columns whose names are not among these, as texts.
    pub fn others(&self, known: &[&str]) -> impl Iterator<Item = (String, String)> {
        let names = self.0.keys().filter(|name| !known.contains(&name.as_str()));
        names.filter_map(|name| Some((name.clone(), self.text(name)?)))
    }

    /// A column that is a list of whole numbers; empty where it is missing.
    pub fn numbers(&self, key: &str) -> Result<Vec<u64>, String> {
        match self.0.get(key) {
            None | Some(Value::Null) => Ok(Vec::new()),
            Some(value) => serde_json::from_value(value.clone()).map_err(|e| format!("{key}: {e}")),
        }
    }
}
