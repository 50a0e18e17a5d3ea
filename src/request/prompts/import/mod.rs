//! Prompts out of pages, texts and tables that people have already.

mod page;
mod rows;
mod web;

use std::collections::HashSet;
use std::io::Write as _;
use std::path::Path;

use super::set::{bytes_of, check, name_is_fit, utf8, write};
use super::{Difficulty, Prompt, PromptError};
use crate::file::home::expanded_text;
use crate::file::{OutputFile, Replace};

/// Largest page or file.
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
    /// The key or column with the text; none: `text`.
    pub text_key: Option<String>,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// The prompts, with different ids and texts.
    pub prompts: Vec<Prompt>,
    /// Texts left out because they are too short, or empty.
    pub n_short: usize,
    /// Texts left out because they stand there already.
    pub n_repeated: usize,
}

/// What a source is, by its ending or its content type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ImportFormat {
    Page,
    Text,
    Csv,
    Jsonl,
}

/// A text with what stands beside it.
#[derive(Debug, Default, PartialEq, Eq)]
struct ImportedText {
    /// Line of the source, where it has lines.
    line: Option<usize>,
    text: String,
    id: Option<String>,
    class: Option<String>,
    difficulty: Option<Difficulty>,
    pair: Option<String>,
    answer: Option<String>,
}

/// Takes prompts out of a file, or out of what an address answers: only that address, no redirect is followed.
///
/// # Errors
/// [`PromptError`] naming the source and what is wrong with it.
pub fn import(source: &str, selection: &Selection) -> Result<Imported, PromptError> {
    let (kind, bytes) = if web::is_address(source) {
        web::get(source)?
    } else {
        let path = expanded_text(source).map_err(|why| PromptError::whole(source, why))?;
        let path = Path::new(&*path);
        (kind_of(path)?, bytes_of(path, MOST_BYTES)?)
    };
    suits(source, kind, selection)?;
    let text = utf8(source, &bytes)?;
    let pieces = match kind {
        ImportFormat::Page => page::pieces(source, text, selection.select.as_deref())?,
        ImportFormat::Text if selection.lines => of_lines(text),
        ImportFormat::Text => of_paragraphs(text),
        ImportFormat::Csv => rows::csv(source, text, selection.text_key.as_deref())?,
        ImportFormat::Jsonl => rows::jsonl(source, text, selection.text_key.as_deref())?,
    };
    let imported = collected(source, pieces, selection)?;
    if imported.prompts.is_empty() {
        let reason = match imported.n_short {
            0 => "no text in it".to_owned(),
            n => format!(
                "no text in it with at least {} characters ({n} shorter); see --min-chars",
                selection.min_chars.max(1)
            ),
        };
        return Err(PromptError::whole(source, reason));
    }
    Ok(imported)
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
        "jsonl" | "ndjson" => Ok(ImportFormat::Jsonl),
        _ => Err(PromptError::whole(
            &path.display().to_string(),
            "what it is shows in its ending: .html, .txt, .csv or .jsonl",
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
    if selection.text_key.is_some() && !matches!(kind, ImportFormat::Csv | ImportFormat::Jsonl) {
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

/// Pieces as prompts: cleaned, named, each text once.
fn collected(
    source: &str,
    pieces: Vec<ImportedText>,
    selection: &Selection,
) -> Result<Imported, PromptError> {
    let class = selection.class.as_deref().unwrap_or(DEFAULT_CLASS);
    name_is_fit("--class", class).map_err(|why| PromptError::whole(source, why))?;
    let stem = stem(source);
    let (mut ids, mut texts) = (HashSet::new(), HashSet::new());
    let mut imported = Imported {
        prompts: Vec::new(),
        n_short: 0,
        n_repeated: 0,
    };
    for (number, piece) in pieces.into_iter().enumerate() {
        let text = clean(&piece.text);
        if text.chars().count() < selection.min_chars.max(1) {
            imported.n_short += 1;
            continue;
        }
        if !texts.insert(text.clone()) {
            imported.n_repeated += 1;
            continue;
        }
        let at = |why: String| match piece.line {
            Some(line) => PromptError::line(source, line, why),
            None => PromptError::whole(source, format!("text {}: {why}", number + 1)),
        };
        let prompt = Prompt {
            id: piece
                .id
                .clone()
                .unwrap_or_else(|| format!("{stem}-{}", number + 1)),
            class: piece.class.clone().unwrap_or_else(|| class.to_owned()),
            difficulty: piece.difficulty,
            pair: piece.pair.clone(),
            text,
            answer: piece.answer.clone(),
            source: source.to_owned(),
            n_tokens: None,
        };
        // What is written must be read again.
        check(&prompt).map_err(at)?;
        if !ids.insert(prompt.id.clone()) {
            return Err(at(format!(
                "id: '{}' is there already",
                crate::text::short(&prompt.id)
            )));
        }
        imported.prompts.push(prompt);
    }
    Ok(imported)
}

/// Without control characters; line breaks and tabs are white space.
fn clean(text: &str) -> String {
    let kept: String = text
        .chars()
        .filter(|c| !c.is_control() || matches!(c, '\n' | '\t'))
        .collect();
    kept.trim().to_owned()
}

/// The source's name without folder and ending, as a part of ids.
fn stem(source: &str) -> String {
    let end = source.trim_end_matches('/').rsplit(['/', '\\']).next();
    let name = end
        .unwrap_or_default()
        .split(['?', '#'])
        .next()
        .unwrap_or_default();
    let name = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    let plain: String = name
        .chars()
        .map(|c| if c.is_alphanumeric() { c } else { '-' })
        .take(40)
        .collect();
    match plain.trim_matches('-') {
        "" => "prompt".to_owned(),
        stem => stem.to_lowercase(),
    }
}
