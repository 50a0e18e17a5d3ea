//! Names and sentences made fit to show: no control characters, no line too wide.
//!
//! Records may come from elsewhere; what they hold must not be able to steer a terminal.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use textwrap::core::{Word, display_width};
use textwrap::{Options, wrap};

/// The text with every character that could move a cursor, change a colour or turn the reading
/// direction replaced; line breaks and tabs become blanks.
pub fn plain(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\n' | '\r' | '\t' => ' ',
            // Bidirectional controls reorder what stands around them.
            '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => '?',
            c if c.is_control() => '?',
            c => c,
        })
        .collect()
}

/// The most columns of a name in a sentence or a table: whatever a file calls itself, the page stays readable.
const NAME_COLUMNS: usize = 64;

/// A name, fit to be shown and cut in its middle where it is too long.
pub fn short(name: &str) -> String {
    // Only what can be shown is made fit: names may be huge.
    let most = 4 * NAME_COLUMNS;
    let n = name.chars().count();
    if n <= 2 * most {
        return cut_middle(&plain(name), NAME_COLUMNS);
    }
    let head: String = name.chars().take(most).collect();
    let tail: String = name.chars().skip(n - most).collect();
    cut_middle(&plain(&(head + &tail)), NAME_COLUMNS)
}

/// Columns that a text takes on a terminal.
pub fn width(text: &str) -> usize {
    display_width(text)
}

/// At most `width` columns of the text, with an ellipsis where the end was cut.
pub fn cut_end(text: &str, width: usize) -> String {
    if display_width(text) <= width {
        return text.to_owned();
    }
    let mut cut = head(text, width.saturating_sub(1));
    if width > 0 {
        cut.push('…');
    }
    cut
}

/// At most `width` columns of the text, cut in the middle: names differ at their ends.
pub fn cut_middle(text: &str, width: usize) -> String {
    if display_width(text) <= width {
        return text.to_owned();
    }
    let kept = width.saturating_sub(1);
    let reversed: String = text.chars().rev().collect();
    let tail: String = head(&reversed, kept / 2).chars().rev().collect();
    let mut cut = head(text, kept - display_width(&tail));
    if width > 0 {
        cut.push('…');
    }
    cut + &tail
}

fn head(text: &str, width: usize) -> String {
    let mut taken = String::new();
    for c in text.chars() {
        taken.push(c);
        if display_width(&taken) > width {
            taken.pop();
            break;
        }
    }
    taken
}

/// A labelled paragraph: wrapped at `width`, its further lines indented as far as its first.
pub fn paragraph(label: &str, text: &str, width: usize) -> Vec<String> {
    let indent = " ".repeat(display_width(label));
    let options = Options::new(width.max(display_width(label) + 10))
        .initial_indent(label)
        .subsequent_indent(&indent)
        .word_splitter(textwrap::WordSplitter::NoHyphenation)
        .word_separator(textwrap::WordSeparator::Custom(blanks));
    wrap(text, options)
        .into_iter()
        .map(|l| l.into_owned())
        .collect()
}

/// Words are what blanks separate: names with hyphens and slashes stay whole.
fn blanks(line: &str) -> Box<dyn Iterator<Item = Word<'_>> + '_> {
    textwrap::WordSeparator::AsciiSpace.find_words(line)
}

/// A file's text. One that is larger than `most` bytes is an error, however much more there is: devices and pipes may
/// have no end.
///
/// # Errors
/// The file system's; also when it is larger, or not UTF-8.
pub fn read_at_most(path: &Path, most: u64) -> io::Result<String> {
    let mut text = Vec::new();
    File::open(path)?
        .take(most.saturating_add(1))
        .read_to_end(&mut text)?;
    if text.len() as u64 > most {
        let reason = format!("it is larger than {}", crate::units::bytes(most));
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, reason));
    }
    String::from_utf8(text).map_err(|_| {
        let reason = "it is not UTF-8 text";
        io::Error::new(io::ErrorKind::InvalidData, reason)
    })
}

/// A count as people say it: `135 M`, `8.03 B`.
pub fn count(n: u64) -> String {
    match n {
        0..1_000_000 => n.to_string(),
        1_000_000..1_000_000_000 => format!("{} M", crate::units::significant(n as f64 / 1e6)),
        _ => format!("{} B", crate::units::significant(n as f64 / 1e9)),
    }
}

/// `1 process`, `2 processes`.
pub fn plural(n: u32, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}

/// A path as one argument of a shell.
pub fn quoted(path: &std::path::Path) -> String {
    let text = path.display().to_string();
    let harmless = |c: char| c.is_alphanumeric() || "/\\._-:+~".contains(c);
    if !text.is_empty() && text.chars().all(harmless) {
        text
    } else if cfg!(windows) {
        format!("\"{text}\"")
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_steers_a_terminal() {
        assert_eq!(plain("a\x1b[31mb\u{202e}c\nd"), "a?[31mb?c d");
    }

    #[test]
    fn names_are_cut_where_they_say_least() {
        assert_eq!(cut_middle("abcdefghij", 10), "abcdefghij");
        assert_eq!(cut_middle("abcdefghij", 7), "abc…hij");
        assert_eq!(cut_middle("abcdefghij", 6), "abc…ij");
        assert_eq!(cut_middle("日本語日本語", 6), "日…語");
        assert_eq!(cut_end("abcdef", 4), "abc…");
        for width in 0..3 {
            assert!(super::width(&cut_middle("abcdef", width)) <= width);
            assert!(super::width(&cut_end("日本語", width)) <= width);
        }
    }

    #[test]
    fn huge_names_become_short() {
        let huge = "日本語x".repeat(100_000);
        assert!(super::width(&short(&huge)) <= NAME_COLUMNS);
        assert_eq!(short("a\nb"), "a b");
    }

    #[test]
    fn a_paragraph_hangs_under_its_text() {
        assert_eq!(
            paragraph("[1] ", "one two three four-five", 14),
            ["[1] one two", "    three", "    four-five"]
        );
    }

    #[test]
    fn counts() {
        assert_eq!(count(999_999), "999999");
        assert_eq!(count(134_515_008), "135 M");
        assert_eq!(count(8_030_261_248), "8.03 B");
    }

    #[cfg(unix)]
    #[test]
    fn a_path_is_one_argument() {
        use std::path::Path;
        assert_eq!(quoted(Path::new("out/a-1")), "out/a-1");
        assert_eq!(quoted(Path::new("my out/it's")), r"'my out/it'\''s'");
        assert_eq!(quoted(Path::new("")), "''");
    }
}
