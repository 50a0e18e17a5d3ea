//! Sets of prompts: those that come with the program, and files of the same form.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read as _, Write};
use std::path::Path;

use super::{Difficulty, Prompt, PromptError, parts};
use crate::file::home::expanded_text;
use crate::text::{cut_end, plain, short};

/// The sets that come with the program: name and content.
pub const BUNDLED: [(&str, &str); 2] = [
    ("lab", include_str!("../../../prompts/lab.jsonl")),
    (
        "difficulty",
        include_str!("../../../prompts/difficulty.jsonl"),
    ),
];

/// Largest file.
pub(super) const MOST_BYTES: u64 = 64 << 20;
/// Most prompts in it.
pub(super) const MOST_PROMPTS: usize = 100_000;
/// Longest text.
pub(super) const MOST_TEXT_BYTES: usize = 1 << 20;
/// Longest id, class or pair: they stand in tables.
pub(super) const MOST_NAME_BYTES: usize = 128;
/// Longest reason of a parser in a message.
const REASON_COLUMNS: usize = 160;

/// Prompts with different ids, in the order of their file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PromptSet {
    name: String,
    prompts: Vec<Prompt>,
}

/// The halves of a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MatchedPair<'a> {
    /// Their word.
    pub pair: &'a str,
    /// The easy half.
    pub easy: &'a Prompt,
    /// One between them, where there is one.
    pub medium: Option<&'a Prompt>,
    /// The hard half.
    pub hard: &'a Prompt,
}

impl PromptSet {
    /// What the user named: a bundled set, or a file.
    ///
    /// # Errors
    /// As [`Self::read`]; the message also names the bundled sets where there is no such file.
    pub fn open(what: &str) -> Result<Self, PromptError> {
        if BUNDLED.iter().any(|(name, _)| *name == what) {
            return Self::bundled(what);
        }
        let path = expanded_text(what).map_err(|why| PromptError::whole(&short(what), why))?;
        let path = Path::new(&*path);
        if !path.exists() {
            let names: Vec<&str> = BUNDLED.iter().map(|(name, _)| *name).collect();
            let reason = format!(
                "no such file; the prompts that come with the program are called {}",
                names.join(" and ")
            );
            return Err(PromptError::whole(&short(what), reason));
        }
        Self::read(path)
    }

    /// A set that comes with the program.
    ///
    /// # Errors
    /// [`PromptError::Whole`] for an unknown name.
    pub fn bundled(name: &str) -> Result<Self, PromptError> {
        let found = BUNDLED.iter().find(|(known, _)| *known == name);
        match found {
            Some((name, content)) => Self::parse(name, content.as_bytes()),
            None => Err(PromptError::whole(&short(name), "no such bundled prompts")),
        }
    }

    /// A file of JSON Lines.
    ///
    /// # Errors
    /// [`PromptError`] naming the file, and the line and key where there is one.
    pub fn read(path: &Path) -> Result<Self, PromptError> {
        let name = path.display().to_string();
        let bytes = bytes_of(path, MOST_BYTES)?;
        Self::parse(&name, &bytes)
    }

    /// The content of such a file. A byte order mark, CRLF and blank lines are accepted.
    ///
    /// # Errors
    /// [`PromptError`] naming `name`, the line and the key.
    pub fn parse(name: &str, bytes: &[u8]) -> Result<Self, PromptError> {
        let text = utf8(name, bytes)?;
        let mut prompts: Vec<Prompt> = Vec::new();
        let mut seen: HashMap<String, usize> = HashMap::new();
        for (number, line) in lines(text) {
            let wrong = |reason: String| PromptError::line(name, number, reason);
            let prompt = prompt_of(line).map_err(wrong)?;
            check(&prompt).map_err(wrong)?;
            if let Some(first) = seen.insert(prompt.id.clone(), number) {
                let id = short(&prompt.id);
                return Err(wrong(format!("id: '{id}' is that of line {first} already")));
            }
            prompts.push(prompt);
            if prompts.len() > MOST_PROMPTS {
                return Err(wrong(format!("more than {MOST_PROMPTS} prompts")));
            }
        }
        if prompts.is_empty() {
            return Err(PromptError::whole(name, "no prompts in it"));
        }
        Ok(Self {
            name: name.to_owned(),
            prompts,
        })
    }

    /// The file, or the bundled set's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// All of them.
    pub fn all(&self) -> &[Prompt] {
        &self.prompts
    }

    /// The classes, in the order of their first prompts.
    pub fn classes(&self) -> Vec<&str> {
        let mut classes: Vec<&str> = Vec::new();
        for prompt in &self.prompts {
            if !classes.contains(&prompt.class.as_str()) {
                classes.push(&prompt.class);
            }
        }
        classes
    }

    /// Those of a class.
    ///
    /// # Errors
    /// [`PromptError::Whole`] when there are none; it names the classes there are.
    pub fn of_class(&self, class: &str) -> Result<Vec<&Prompt>, PromptError> {
        let found: Vec<&Prompt> = self.prompts.iter().filter(|p| p.class == class).collect();
        if found.is_empty() {
            let known: Vec<String> = self.classes().into_iter().map(short).collect();
            let reason = format!(
                "no prompt of class '{}'; its classes are {}",
                short(class),
                cut_end(&known.join(", "), REASON_COLUMNS)
            );
            return Err(PromptError::whole(&self.name, reason));
        }
        Ok(found)
    }

    /// The matched pairs, in the order of their first halves.
    ///
    /// # Errors
    /// [`PromptError::Whole`] for a pair without an easy or a hard half, with two of one, of two classes, or without filler.
    pub fn pairs(&self) -> Result<Vec<MatchedPair<'_>>, PromptError> {
        let mut order: Vec<&str> = Vec::new();
        let mut halves: HashMap<&str, [Option<&Prompt>; 3]> = HashMap::new();
        for prompt in &self.prompts {
            let (Some(pair), Some(difficulty)) = (prompt.pair.as_deref(), prompt.difficulty) else {
                continue;
            };
            let places = halves.entry(pair).or_insert_with(|| {
                order.push(pair);
                [None; 3]
            });
            if let Some(first) = places[difficulty as usize].replace(prompt) {
                let reason = format!("'{}' and '{}' are both {difficulty}", first.id, prompt.id);
                return Err(self.wrong_pair(pair, &reason));
            }
        }
        order
            .into_iter()
            .map(|pair| self.matched(pair, halves[pair]))
            .collect()
    }

    fn matched<'a>(
        &'a self,
        pair: &'a str,
        [easy, medium, hard]: [Option<&'a Prompt>; 3],
    ) -> Result<MatchedPair<'a>, PromptError> {
        let (easy, hard) = match (easy, hard) {
            (Some(easy), Some(hard)) => (easy, hard),
            (None, _) => return Err(self.wrong_pair(pair, "it has no easy half")),
            (_, None) => return Err(self.wrong_pair(pair, "it has no hard half")),
        };
        if easy.class != hard.class {
            let reason = format!(
                "its halves are of classes '{}' and '{}'",
                easy.class, hard.class
            );
            return Err(self.wrong_pair(pair, &reason));
        }
        for half in [Some(easy), medium, Some(hard)].into_iter().flatten() {
            if parts(&half.text).1.is_empty() {
                let reason = format!(
                    "'{}' is all question, so it cannot be made as long as the others; put a paragraph of filler before it",
                    half.id
                );
                return Err(self.wrong_pair(pair, &reason));
            }
        }
        Ok(MatchedPair {
            pair,
            easy,
            medium,
            hard,
        })
    }

    fn wrong_pair(&self, pair: &str, reason: &str) -> PromptError {
        PromptError::whole(
            &self.name,
            format!("pair '{}': {}", short(pair), plain(reason)),
        )
    }
}

/// Writes prompts in the form that [`PromptSet::read`] reads.
///
/// # Errors
/// Those of the writer.
pub(super) fn write(prompts: &[Prompt], to: &mut dyn Write) -> std::io::Result<()> {
    for prompt in prompts {
        serde_json::to_writer(&mut *to, prompt)?;
        to.write_all(b"\n")?;
    }
    Ok(())
}

/// A file's content, unless it is larger than allowed.
pub(super) fn bytes_of(path: &Path, most: u64) -> Result<Vec<u8>, PromptError> {
    let name = path.display().to_string();
    let failed = |source| PromptError::Io {
        name: name.clone(),
        source,
    };
    let mut bytes = Vec::new();
    // Not by its length: pipes have none.
    let file = File::open(path).map_err(failed)?;
    file.take(most + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() as u64 > most {
        return Err(PromptError::whole(
            &name,
            format!("larger than {}", crate::units::bytes(most)),
        ));
    }
    Ok(bytes)
}

/// The text, without a byte order mark.
pub(super) fn utf8<'a>(name: &str, bytes: &'a [u8]) -> Result<&'a str, PromptError> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    std::str::from_utf8(bytes).map_err(|e| {
        let before = &bytes[..e.valid_up_to()];
        let line = before.iter().filter(|b| **b == b'\n').count() + 1;
        PromptError::line(
            name,
            line,
            "not UTF-8; convert it, for example with iconv -f latin1 -t utf-8",
        )
    })
}

/// Lines with something in them, numbered from 1.
pub(super) fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let numbered = text.lines().enumerate().map(|(i, line)| (i + 1, line));
    numbered.filter(|(_, line)| !line.trim().is_empty())
}

/// A line as a prompt; the reason names the key.
fn prompt_of(line: &str) -> Result<Prompt, String> {
    let mut json = serde_json::Deserializer::from_str(line);
    let prompt: Prompt = serde_path_to_error::deserialize(&mut json).map_err(|e| {
        let key = e.path().to_string();
        let reason = in_line(e.inner());
        match key.as_str() {
            "." => reason,
            key => format!("{}: {reason}", short(key)),
        }
    })?;
    json.end().map_err(|e| in_line(&e))?;
    Ok(prompt)
}

/// A parser's reason; every line is parsed by itself, so the parser's own line number would mislead.
pub(super) fn in_line(error: &serde_json::Error) -> String {
    let (reason, column) = (error.to_string(), error.column());
    let reason = reason
        .strip_suffix(&format!(" at line {} column {column}", error.line()))
        .unwrap_or(&reason);
    format!(
        "{} (column {column})",
        cut_end(&plain(reason), REASON_COLUMNS)
    )
}

/// What a line may hold; the reason names the key.
pub(super) fn check(prompt: &Prompt) -> Result<(), String> {
    name_is_fit("id", &prompt.id)?;
    name_is_fit("class", &prompt.class)?;
    if let Some(pair) = &prompt.pair {
        name_is_fit("pair", pair)?;
        if prompt.difficulty.is_none() {
            let known = Difficulty::ALL.map(Difficulty::word).join(", ");
            return Err(format!(
                "difficulty: missing; half of a pair is one of {known}"
            ));
        }
    }
    text_is_fit(&prompt.text)?;
    if prompt
        .answer
        .as_deref()
        .is_some_and(|a| a.trim().is_empty())
    {
        return Err("answer: empty; leave it out where none is known".to_owned());
    }
    if prompt.n_tokens.is_some() {
        return Err("n_tokens: is counted by the model's tokenizer, leave it out".to_owned());
    }
    Ok(())
}

pub(super) fn name_is_fit(key: &str, name: &str) -> Result<(), String> {
    if name.trim().is_empty() {
        return Err(format!("{key}: empty"));
    }
    if name.len() > MOST_NAME_BYTES {
        return Err(format!("{key}: longer than {MOST_NAME_BYTES} bytes"));
    }
    if name.chars().any(char::is_control) {
        return Err(format!("{key}: '{}' has control characters", short(name)));
    }
    Ok(())
}

fn text_is_fit(text: &str) -> Result<(), String> {
    if text.trim().is_empty() {
        return Err("text: empty".to_owned());
    }
    if text.len() > MOST_TEXT_BYTES {
        let most = crate::units::bytes(MOST_TEXT_BYTES as u64);
        return Err(format!("text: longer than {most}"));
    }
    // The tokenizer is C.
    if text.contains('\0') {
        return Err("text: has a NUL character".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests;
