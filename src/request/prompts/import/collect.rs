//! Texts as they come, and the prompts that are made of them: cleaned, named, each text once.

use std::collections::HashSet;
use std::io;
use std::ops::ControlFlow;

use super::{DEFAULT_CLASS, ImportedPrompts, Selection};
use crate::request::prompts::set::{self, MOST_PROMPTS, check, name_is_fit};
use crate::request::prompts::{Difficulty, Prompt, PromptError};
use crate::text::{plural, short};

/// A text with what stands beside it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct ImportedText {
    /// Line of the source, where it has lines.
    pub line: Option<usize>,
    pub text: String,
    pub id: Option<String>,
    pub class: Option<String>,
    pub difficulty: Option<Difficulty>,
    pub pair: Option<String>,
    pub answer: Option<String>,
    /// Of a conversation: what of it is no text, or is missing.
    pub lacks: Option<Lack>,
}

/// What a conversation does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lack {
    /// A message of the user.
    Question,
    /// Images and other parts of the question: only its text was taken.
    OtherParts,
}

/// Makes prompts of texts, one after another, so that a source need not be in memory.
pub(super) struct PromptCollector<'a> {
    source: &'a str,
    stem: String,
    class: &'a str,
    min_chars: usize,
    most: usize,
    ids: HashSet<String>,
    texts: HashSet<String>,
    /// Texts that came, used or not.
    n_texts: usize,
    /// Of the file that the prompts would make.
    n_bytes: u64,
    imported: ImportedPrompts,
}

/// Whether more texts are wanted.
pub(super) type Wanted = Result<ControlFlow<()>, PromptError>;

impl<'a> PromptCollector<'a> {
    pub fn new(source: &'a str, selection: &'a Selection) -> Result<Self, PromptError> {
        let class = selection.class.as_deref().unwrap_or(DEFAULT_CLASS);
        name_is_fit("--class", class).map_err(|why| PromptError::whole(source, why))?;
        Ok(Self {
            source,
            stem: stem(source),
            class,
            min_chars: selection.min_chars.max(1),
            most: selection.most.unwrap_or(MOST_PROMPTS).min(MOST_PROMPTS),
            ids: HashSet::new(),
            texts: HashSet::new(),
            n_texts: 0,
            n_bytes: 0,
            imported: ImportedPrompts::default(),
        })
    }

    /// Takes texts of which all are there already.
    pub fn take_all(
        &mut self,
        pieces: impl IntoIterator<Item = ImportedText>,
    ) -> Result<(), PromptError> {
        for piece in pieces {
            if self.take(piece)?.is_break() {
                break;
            }
        }
        Ok(())
    }

    /// Takes a text, or leaves it out and counts why.
    pub fn take(&mut self, piece: ImportedText) -> Wanted {
        if self.imported.prompts.len() == self.most {
            self.imported.is_cut = true;
            return Ok(ControlFlow::Break(()));
        }
        self.n_texts += 1;
        match piece.lacks {
            Some(Lack::Question) => {
                self.imported.n_unasked += 1;
                return Ok(ControlFlow::Continue(()));
            }
            Some(Lack::OtherParts) => self.imported.n_with_other_parts += 1,
            None => {}
        }
        let text = clean(&piece.text);
        if text.chars().count() < self.min_chars {
            self.imported.n_short += 1;
        } else if self.texts.contains(&text) {
            self.imported.n_repeated += 1;
        } else {
            self.texts.insert(text.clone());
            self.keep(piece, text)?;
        }
        Ok(ControlFlow::Continue(()))
    }

    fn keep(&mut self, piece: ImportedText, text: String) -> Result<(), PromptError> {
        let line = piece.line;
        let number = self.n_texts;
        let source = self.source;
        let at = |why: String| match line {
            Some(line) => PromptError::line(source, line, why),
            None => PromptError::whole(source, format!("text {number}: {why}")),
        };
        let id = piece
            .id
            .unwrap_or_else(|| format!("{}-{number}", self.stem));
        let prompt = Prompt {
            id,
            class: piece.class.unwrap_or_else(|| self.class.to_owned()),
            difficulty: piece.difficulty,
            pair: piece.pair,
            text,
            answer: piece.answer,
            source: source.to_owned(),
            n_tokens: None,
        };
        // What is written must be read again.
        check(&prompt).map_err(at)?;
        if !self.ids.insert(prompt.id.clone()) {
            return Err(at(format!("id: '{}' is there already", short(&prompt.id))));
        }
        let mut written = ByteCount::default();
        // A counter refuses nothing.
        let _ = set::write(std::slice::from_ref(&prompt), &mut written);
        self.n_bytes += written.0;
        if self.n_bytes > set::MOST_BYTES {
            let most = crate::units::bytes(set::MOST_BYTES);
            let n = self.imported.prompts.len();
            return Err(PromptError::whole(
                source,
                format!(
                    "its prompts are more than the {most} that --prompts reads; --max-prompts {n} takes those that fit"
                ),
            ));
        }
        self.imported.prompts.push(prompt);
        Ok(())
    }

    /// The prompts, at least one.
    pub fn finished(self) -> Result<ImportedPrompts, PromptError> {
        let imported = self.imported;
        if !imported.prompts.is_empty() {
            return Ok(imported);
        }
        let reason = match (imported.n_short, imported.n_unasked) {
            (0, 0) => "no text in it".to_owned(),
            (0, n) => format!(
                "no message of a user in it ({})",
                plural(
                    u32::try_from(n).unwrap_or(u32::MAX),
                    "conversation",
                    "conversations"
                )
            ),
            (n, _) => format!(
                "no text in it with at least {} characters ({n} shorter); see --min-chars",
                self.min_chars
            ),
        };
        Err(PromptError::whole(self.source, reason))
    }
}

/// Counts what is written.
#[derive(Default)]
struct ByteCount(u64);

impl io::Write for ByteCount {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
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
