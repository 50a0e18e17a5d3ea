//! Rows of JSON Lines and of JSON, read one after another: files of conversations may be larger than memory.

use std::fmt;
use std::io::{self, BufRead, Read as _};
use std::ops::ControlFlow;

use serde::de::{Deserializer as _, Error as _, SeqAccess, Visitor};
use serde_json::{Deserializer, Map, Value};

use super::MOST_BYTES;
use super::collect::{ImportedText, PromptCollector, Wanted};
use super::rows::of_object;
use crate::request::prompts::PromptError;
use crate::request::prompts::set::{in_line, utf8};
use crate::text::{cut_end, plain};

/// Columns of a parser's reason in a message.
const COLUMNS: usize = 160;

/// An object in each line. A byte order mark, CRLF and blank lines are accepted.
pub(super) fn lines(
    name: &str,
    from: &mut dyn BufRead,
    key: Option<&str>,
    collector: &mut PromptCollector<'_>,
) -> Result<(), PromptError> {
    let mut bytes = Vec::new();
    let mut number = 0;
    loop {
        bytes.clear();
        number += 1;
        let mut line = (&mut *from).take(MOST_BYTES + 1);
        let read = line.read_until(b'\n', &mut bytes);
        if read.map_err(|e| unread(name, e))? == 0 {
            return Ok(());
        }
        let wrong = |why: String| PromptError::line(name, number, why);
        if bytes.len() as u64 > MOST_BYTES {
            let most = crate::units::bytes(MOST_BYTES);
            return Err(wrong(format!("longer than {most}")));
        }
        let text = utf8(name, &bytes).map_err(|e| match e {
            PromptError::Line { reason, .. } => wrong(reason),
            other => other,
        })?;
        if text.trim().is_empty() {
            continue;
        }
        let object: Map<String, Value> =
            serde_json::from_str(text.trim_end()).map_err(|e| wrong(in_line(&e)))?;
        let piece = of_object(&object, key).map_err(wrong)?;
        let piece = ImportedText {
            line: Some(number),
            ..piece
        };
        if collector.take(piece)?.is_break() {
            return Ok(());
        }
    }
}

/// A list of objects or texts, as ShareGPT's; or objects that follow each other: some tools call JSON Lines `.json`.
pub(super) fn values(
    name: &str,
    from: &mut dyn BufRead,
    key: Option<&str>,
    collector: &mut PromptCollector<'_>,
) -> Result<(), PromptError> {
    let is_list = first_byte(from).map_err(|e| unread(name, e))? == Some(b'[');
    let mut taken = RowsSeed {
        name,
        key,
        collector,
        n: 0,
    };
    let mut json = Deserializer::from_reader(from);
    if is_list {
        let mut end = None;
        let read = json.deserialize_seq(List {
            rows: taken,
            end: &mut end,
        });
        return match (end, read) {
            (Some(end), _) => end,
            (None, Err(e)) => Err(wrong(name, &e)),
            (None, Ok(())) => json.end().map_err(|e| wrong(name, &e)),
        };
    }
    for value in json.into_iter::<Value>() {
        let value = value.map_err(|e| wrong(name, &e))?;
        if taken.take(&value)?.is_break() {
            break;
        }
    }
    Ok(())
}

/// What becomes of each value.
struct RowsSeed<'a, 'b> {
    name: &'a str,
    key: Option<&'a str>,
    collector: &'a mut PromptCollector<'b>,
    n: usize,
}

impl RowsSeed<'_, '_> {
    fn take(&mut self, value: &Value) -> Wanted {
        self.n += 1;
        let piece = match value {
            Value::String(text) => Ok(ImportedText {
                text: text.clone(),
                ..ImportedText::default()
            }),
            Value::Object(object) => of_object(object, self.key),
            _ => Err("is neither an object nor a text".to_owned()),
        };
        let n = self.n;
        let wrong = |why: String| PromptError::whole(self.name, format!("entry {n}: {why}"));
        self.collector.take(piece.map_err(wrong)?)
    }
}

/// Takes the elements of a list as they are read. `end` is how that ended, unless it was at the end of the list or by a wrong one.
struct List<'e, 'a, 'b> {
    rows: RowsSeed<'a, 'b>,
    end: &'e mut Option<Result<(), PromptError>>,
}

impl<'de> Visitor<'de> for List<'_, '_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<(), A::Error> {
        while let Some(value) = list.next_element::<Value>()? {
            let end = match self.rows.take(&value) {
                Ok(ControlFlow::Continue(())) => continue,
                Ok(ControlFlow::Break(())) => Ok(()),
                Err(e) => Err(e),
            };
            *self.end = Some(end);
            // The only way to leave a list before its end.
            return Err(A::Error::custom("enough was read"));
        }
        Ok(())
    }
}

/// The first byte that is neither white space nor part of a byte order mark, which is left in place.
fn first_byte(from: &mut dyn BufRead) -> io::Result<Option<u8>> {
    loop {
        let Some(byte) = from.fill_buf()?.first().copied() else {
            return Ok(None);
        };
        if !(byte.is_ascii_whitespace() || matches!(byte, 0xef | 0xbb | 0xbf)) {
            return Ok(Some(byte));
        }
        from.consume(1);
    }
}

fn wrong(name: &str, error: &serde_json::Error) -> PromptError {
    let reason = cut_end(&plain(&error.to_string()), COLUMNS);
    match error.line() {
        0 => PromptError::whole(name, reason),
        line => PromptError::line(name, line, reason),
    }
}

fn unread(name: &str, source: io::Error) -> PromptError {
    PromptError::Io {
        name: name.to_owned(),
        source,
    }
}
