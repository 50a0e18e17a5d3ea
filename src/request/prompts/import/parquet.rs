//! Rows of a Parquet file, as Hugging Face's data sets are stored: only the columns that prompts are made of are read.

use std::fs::File;
use std::sync::Arc;

use ::parquet::errors::ParquetError;
use ::parquet::file::reader::{FileReader as _, SerializedFileReader};
use ::parquet::record::{Field, Row};
use ::parquet::schema::types::Type;
use serde_json::{Map, Value};

use super::collect::PromptCollector;
use super::rows::{is_of_prompt, no_key, of_object};
use crate::request::prompts::PromptError;
use crate::text::{cut_end, plain};

/// Columns of the reader's reason in a message.
const COLUMNS: usize = 160;

/// Rows of a file whose columns are compressed by Snappy or Zstandard, or not at all.
pub(super) fn rows(
    name: &str,
    file: File,
    key: Option<&str>,
    collector: &mut PromptCollector<'_>,
) -> Result<(), PromptError> {
    let wrong =
        |e: ParquetError| PromptError::whole(name, cut_end(&plain(&e.to_string()), COLUMNS));
    let reader = SerializedFileReader::new(file).map_err(wrong)?;
    let schema = reader.metadata().file_metadata().schema();
    let columns = columns(schema, key).map_err(|why| PromptError::whole(name, why))?;
    let columns = Type::group_type_builder(schema.name()).with_fields(columns);
    let columns = columns.build().map_err(wrong)?;
    let rows = reader.get_row_iter(Some(columns)).map_err(wrong)?;
    for (i, row) in rows.enumerate() {
        let object = object(&row.map_err(wrong)?);
        let piece = of_object(&object, key)
            .map_err(|why| PromptError::whole(name, format!("row {}: {why}", i + 1)))?;
        if collector.take(piece)?.is_break() {
            break;
        }
    }
    Ok(())
}

/// The columns that a prompt can be made of.
fn columns(schema: &Type, key: Option<&str>) -> Result<Vec<Arc<Type>>, String> {
    let all = schema.get_fields();
    let names = || all.iter().map(|field| field.name());
    if let Some(reason) = no_key(names(), key, "column") {
        return Err(reason);
    }
    let used = all.iter().filter(|field| is_of_prompt(field.name(), key));
    Ok(used.cloned().collect())
}

fn object(row: &Row) -> Map<String, Value> {
    let columns = row.get_column_iter();
    columns
        .map(|(name, field)| (name.clone(), value(field)))
        .collect()
}

/// Texts, numbers and lists of them. What else there is, such as dates and images, is no part of a prompt.
fn value(field: &Field) -> Value {
    match field {
        Field::Str(text) => text.as_str().into(),
        // Older writers do not say that bytes are a text.
        Field::Bytes(bytes) => bytes.as_utf8().map_or(Value::Null, Value::from),
        Field::Byte(n) => (*n).into(),
        Field::Short(n) => (*n).into(),
        Field::Int(n) => (*n).into(),
        Field::Long(n) => (*n).into(),
        Field::UByte(n) => (*n).into(),
        Field::UShort(n) => (*n).into(),
        Field::UInt(n) => (*n).into(),
        Field::ULong(n) => (*n).into(),
        Field::Float(n) => (*n).into(),
        Field::Double(n) => (*n).into(),
        Field::Group(row) => Value::Object(object(row)),
        Field::ListInternal(list) => list.elements().iter().map(value).collect(),
        _ => Value::Null,
    }
}
