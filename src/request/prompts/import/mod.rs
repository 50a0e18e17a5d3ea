//! Prompts out of pages, texts, tables and conversations that people have already.

mod collect;
mod conversation;
mod json;
mod page;
mod parquet;
mod rows;
mod web;

use std::fs::File;
use std::io::{BufRead, BufReader, Write as _};
use std::path::Path;

use super::set::{bytes_of, utf8, write};
use super::{Prompt, PromptError};
use crate::file::home::expanded_text;
use crate::file::{OutputFile, Replace};
use collect::{ImportedText, PromptCollector};

pub use web::is_address;

/// Largest page, text or table. Rows of JSON and Parquet are read one after another, from files of any size.
pub(super) const MOST_BYTES: u64 = 16 << 20;
/// Class of prompts that bring none.
pub const DEFAULT_CLASS: &str = "imported";

/// What to take, and how.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// CSS selector of a page's elements; none: its body.
    pub select: Option<String>,
    /// Class of prompts that bring none.
    pub class: Option<String>,
    /// Shorter texts are left out.
    pub min_chars: usize,
    /// A text file has a prompt in every line, not in every paragraph.
    pub lines: bool,
    /// The key or column with the text or the conversation; none: `text`, or one of those that conversations have.
    pub text_key: Option<String>,
    /// Prompts after which the rest of the source is left alone; none: as many as a set can have.
    pub most: Option<usize>,
}

/// What came of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImportedPrompts {
    /// The prompts, with different ids and texts.
    pub prompts: Vec<Prompt>,
    /// Texts left out because they are too short, or empty.
    pub n_short: usize,
    /// Texts left out because they stand there already.
    pub n_repeated: usize,
    /// Conversations left out because no message is a user's.
    pub n_unasked: usize,
    /// Questions with images or other parts, of which only the text was taken.
    pub n_with_other_parts: usize,
    /// Whether the source has more texts.
    pub is_cut: bool,
}

/// What a source is, by its ending or its content type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ImportFormat {
    Page,
    Text,
    Csv,
    Json,
    Jsonl,
    Parquet,
}

impl ImportFormat {
    fn has_keys(self) -> bool {
        matches!(self, Self::Csv | Self::Json | Self::Jsonl | Self::Parquet)
    }
}

/// Takes prompts out of a file, or out of what an address answers: only that address, no redirect is followed.
///
/// # Errors
/// [`PromptError`] naming the source and what is wrong with it.
pub fn import(source: &str, selection: &Selection) -> Result<ImportedPrompts, PromptError> {
    check(source, selection)?;
    if is_address(source) {
        let (kind, bytes) = web::get(source)?;
        suits(source, kind, selection)?;
        return of_bytes(source, kind, &bytes, selection);
    }
    let path = expanded_text(source).map_err(|why| PromptError::whole(source, why))?;
    let path = Path::new(&*path);
    let kind = kind_of(path)?;
    suits(source, kind, selection)?;
    if !matches!(
        kind,
        ImportFormat::Json | ImportFormat::Jsonl | ImportFormat::Parquet
    ) {
        return of_bytes(source, kind, &bytes_of(path, MOST_BYTES)?, selection);
    }
    let file = File::open(path).map_err(|e| PromptError::Io {
        name: path.display().to_string(),
        source: e,
    })?;
    let mut collector = PromptCollector::new(source, selection)?;
    let key = selection.text_key.as_deref();
    match kind {
        ImportFormat::Parquet => parquet::rows(source, file, key, &mut collector)?,
        _ => of_json(source, kind, &mut BufReader::new(file), key, &mut collector)?,
    }
    collector.finished()
}

/// Takes prompts out of a page as a browser has it, whose address is `source`.
///
/// # Errors
/// As [`import`].
pub fn import_page(
    source: &str,
    page: &str,
    selection: &Selection,
) -> Result<ImportedPrompts, PromptError> {
    suits(source, ImportFormat::Page, selection)?;
    if page.len() as u64 > MOST_BYTES {
        return Err(PromptError::whole(
            source,
            format!("larger than {}", crate::units::bytes(MOST_BYTES)),
        ));
    }
    of_bytes(source, ImportFormat::Page, page.as_bytes(), selection)
}

/// What can be known to be wrong before anything is read.
///
/// # Errors
/// [`PromptError`] for a selector or a class that is none, and an address with a password.
fn check(source: &str, selection: &Selection) -> Result<(), PromptError> {
    if let Some(css) = &selection.select {
        page::selector(source, css)?;
    }
    PromptCollector::new(source, selection)?;
    match is_address(source) {
        true => web::check(source),
        false => Ok(()),
    }
}

/// The same of an address that a browser will render.
///
/// # Errors
/// For a selector or a class that is none, an address with a password, and options that a page has no use for.
pub fn check_page(source: &str, selection: &Selection) -> Result<(), PromptError> {
    check(source, selection)?;
    suits(source, ImportFormat::Page, selection)
}

fn of_bytes(
    source: &str,
    kind: ImportFormat,
    bytes: &[u8],
    selection: &Selection,
) -> Result<ImportedPrompts, PromptError> {
    let mut collector = PromptCollector::new(source, selection)?;
    let text_key = selection.text_key.as_deref();
    let text = || utf8(source, bytes);
    match kind {
        ImportFormat::Page => {
            collector.take_all(page::pieces(source, text()?, selection.select.as_deref())?)?;
        }
        ImportFormat::Text if selection.lines => collector.take_all(of_lines(text()?))?,
        ImportFormat::Text => collector.take_all(of_paragraphs(text()?))?,
        ImportFormat::Csv => collector.take_all(rows::csv(source, text()?, text_key)?)?,
        _ => of_json(source, kind, &mut &*bytes, text_key, &mut collector)?,
    }
    collector.finished()
}

fn of_json(
    source: &str,
    kind: ImportFormat,
    from: &mut dyn BufRead,
    key: Option<&str>,
    collector: &mut PromptCollector<'_>,
) -> Result<(), PromptError> {
    match kind {
        ImportFormat::Json => json::values(source, from, key, collector),
        _ => json::lines(source, from, key, collector),
    }
}

/// Writes prompts where `--prompts` finds them: the whole file or none.
///
/// # Errors
/// [`PromptError`] when the file exists and `force` is not given, or cannot be written.
pub fn save(prompts: &[Prompt], path: &Path, force: bool) -> Result<(), PromptError> {
    let replace = if force {
        Replace::Always
    } else {
        Replace::Never
    };
    let mut file = OutputFile::create(path, replace)?;
    write(prompts, &mut file)
        .and_then(|()| file.flush())
        .map_err(|source| PromptError::Io {
            name: path.display().to_string(),
            source,
        })?;
    Ok(file.commit()?)
}

/// The prompts as the lines of such a file.
///
/// # Errors
/// Those of the writer.
pub fn print(prompts: &[Prompt], to: &mut dyn std::io::Write) -> std::io::Result<()> {
    write(prompts, to)
}

fn kind_of(path: &Path) -> Result<ImportFormat, PromptError> {
    let ending = path.extension().unwrap_or_default().to_string_lossy();
    match ending.to_ascii_lowercase().as_str() {
        "html" | "htm" | "xhtml" => Ok(ImportFormat::Page),
        "txt" | "text" | "md" => Ok(ImportFormat::Text),
        "csv" => Ok(ImportFormat::Csv),
        "json" => Ok(ImportFormat::Json),
        "jsonl" | "ndjson" => Ok(ImportFormat::Jsonl),
        "parquet" => Ok(ImportFormat::Parquet),
        _ => Err(PromptError::whole(
            &path.display().to_string(),
            "what it is shows in its ending: .html, .txt, .csv, .json, .jsonl or .parquet",
        )),
    }
}

/// Options that would be ignored are refused.
fn suits(source: &str, kind: ImportFormat, selection: &Selection) -> Result<(), PromptError> {
    let wrong = |reason: &str| Err(PromptError::whole(source, reason));
    if selection.select.is_some() && kind != ImportFormat::Page {
        return wrong("is no HTML page, so --select has nothing to select from");
    }
    if selection.lines && kind != ImportFormat::Text {
        return wrong("is no plain text, so --lines has no meaning");
    }
    if selection.text_key.is_some() && !kind.has_keys() {
        return wrong("has no keys or columns, so --text-key has no meaning");
    }
    Ok(())
}

fn of_lines(text: &str) -> Vec<ImportedText> {
    super::set::lines(text)
        .map(|(line, text)| ImportedText {
            line: Some(line),
            text: text.to_owned(),
            ..ImportedText::default()
        })
        .collect()
}

/// Paragraphs stand between blank lines.
fn of_paragraphs(text: &str) -> Vec<ImportedText> {
    let mut pieces: Vec<ImportedText> = Vec::new();
    let mut is_open = false;
    for (i, line) in text.lines().enumerate() {
        if line.trim().is_empty() {
            is_open = false;
            continue;
        }
        match pieces.last_mut().filter(|_| is_open) {
            Some(piece) => {
                piece.text.push('\n');
                piece.text.push_str(line.trim_end());
            }
            None => pieces.push(ImportedText {
                line: Some(i + 1),
                text: line.trim_end().to_owned(),
                ..ImportedText::default()
            }),
        }
        is_open = true;
    }
    pieces
}
