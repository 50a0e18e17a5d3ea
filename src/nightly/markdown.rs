//! Markdown that is also readable as a plain mail.

use std::borrow::Cow;
use std::path::Path;

use textwrap::{Options, WordSplitter, wrap};

use crate::text::quoted;

/// Columns of a mail.
const COLUMNS: usize = 80;

/// Text of other programs that stays text: no markup, no HTML, no link.
pub fn as_text(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let is_letter = |at: Option<usize>| {
        let c = at.and_then(|at| chars.get(at));
        c.is_some_and(char::is_ascii_alphanumeric)
    };
    let mut safe = String::with_capacity(text.len());
    for (at, c) in chars.iter().enumerate() {
        match c {
            // Within a word it is no markup.
            '_' if is_letter(at.checked_sub(1)) && is_letter(Some(at + 1)) => safe.push('_'),
            '[' | ']' | '\\' | '`' | '*' | '~' | '_' => safe.extend(['\\', *c]),
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            ':' if chars[at..].starts_with(&[':', '/', '/']) => safe.push_str("\\:"),
            c => safe.push(*c),
        }
    }
    safe
}

/// Lines broken at 80 columns, except tables, commands and headings; never two empty lines in a row.
pub fn wrapped(text: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    for line in text.lines() {
        if line.starts_with('|') || line.starts_with("    ") || line.starts_with('#') {
            lines.push(line.to_owned());
            continue;
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        if words.is_empty() {
            if lines.last().is_some_and(|line| !line.is_empty()) {
                lines.push(String::new());
            }
            continue;
        }
        let indent = if line.starts_with("- ") { "  " } else { "" };
        let options = Options::new(COLUMNS)
            .subsequent_indent(indent)
            .break_words(false)
            .word_splitter(WordSplitter::NoHyphenation);
        let line = words.join(" ");
        let broken = wrap(&line, options);
        lines.extend(broken.into_iter().map(Cow::into_owned));
    }
    lines.join("\n") + "\n"
}

/// A command for people to copy, as a block of code.
pub fn command_line<S: AsRef<str>>(words: impl IntoIterator<Item = S>) -> String {
    let quoted: Vec<String> = words
        .into_iter()
        .map(|word| quoted(Path::new(word.as_ref())))
        .collect();
    format!("    {}\n", quoted.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_failed_stays_text() {
        let text = "- m-q4_0/a_b_c: http://h/_x_ <b> a*b `c` [d](e) ~f~ & \\";
        let safe = r"- m-q4_0/a_b_c: http\://h/\_x\_ &lt;b> a\*b \`c\` \[d\](e) \~f\~ &amp; \\";
        assert_eq!(as_text(text), safe);
    }

    #[test]
    fn lines_are_broken_where_a_mail_breaks_them() {
        let long = "word-with-hyphens ".repeat(9);
        let text = format!("# {long}\n\n\n\n- {long}\n| {long} |\n    {long}\n");
        let shown = wrapped(&text);
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!(lines[0].len(), 164, "a heading stays");
        assert_eq!(lines[1], "", "one empty line");
        assert!(lines[2].starts_with("- word") && lines[2].len() <= COLUMNS);
        assert!(lines[2].ends_with("-hyphens"), "whole words");
        assert!(lines[3].starts_with("  word"), "{shown}");
        let n_wide = lines.iter().filter(|line| line.len() > COLUMNS).count();
        assert_eq!(n_wide, 3, "{shown}");
    }
}
