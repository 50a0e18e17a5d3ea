//! Names and sentences made fit to show: no control characters, no line too wide.
//!
//! Text of foreign origin is what a model file, a server, a record, a file name or the environment says of itself. It must not be
//! able to steer a terminal, to reorder or hide what stands beside it, or to fill a screen. [`plain`] makes it harmless, [`short`]
//! and [`brief`] cut it too, and [`shown`] does the same for texts of several lines on their way out.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use textwrap::core::{Word, display_width};
use textwrap::{Options, wrap};

/// The text in one line, with a `?` for every character that could move a cursor, change a colour, turn the reading direction or
/// not be seen at all; line breaks and tabs become blanks.
pub fn plain(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\n' | '\r' | '\t' => ' ',
            c if is_harmless(c) => c,
            _ => '?',
        })
        .collect()
}

/// Whether a character only shows itself.
pub fn is_harmless(c: char) -> bool {
    let steers_or_hides = matches!(c,
        // Bidirectional controls reorder what stands around them; the others of these have no width.
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{feff}'
        | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}');
    !c.is_control() && !steers_or_hides
}

/// A text of several lines, each of them fit to be shown and cut in its middle to `columns`.
pub fn shown(text: &str, columns: usize) -> String {
    let lines: Vec<String> = text.split('\n').map(|l| brief(l, columns)).collect();
    lines.join("\n")
}

/// A whole document: its lines stay as they are, and what would steer or hide stands as `?`.
pub fn document(text: &str) -> String {
    let shown = |c: char| match c {
        '\n' | '\t' => c,
        c if is_harmless(c) => c,
        _ => '?',
    };
    text.chars().map(shown).collect()
}

/// JSON whose strings show all that they hold: what would steer a terminal or hide stands as `\u009b`. The values are the same.
pub fn shown_json(json: &str) -> String {
    let mut shown = String::with_capacity(json.len());
    for c in json.chars() {
        // JSON's own line breaks; those of strings are escaped already.
        if c == '\n' || is_harmless(c) {
            shown.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                shown.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    shown
}

/// The most columns of a name in a sentence or a table: whatever a file calls itself, the page stays readable.
const NAME_COLUMNS: usize = 64;

/// A name, fit to be shown and cut in its middle where it is too long.
pub fn short(name: &str) -> String {
    brief(name, NAME_COLUMNS)
}

/// A text, fit to be shown and cut in its middle to `columns`.
pub fn brief(text: &str, columns: usize) -> String {
    // Only what can be shown is made fit: texts may be huge.
    let most = 4 * columns;
    if text.len() <= 2 * most {
        return cut_middle(&plain(text), columns);
    }
    let n = text.chars().count();
    let head: String = text.chars().take(most).collect();
    let tail: String = text
        .chars()
        .skip(n.saturating_sub(most).max(most))
        .collect();
    cut_middle(&plain(&(head + &tail)), columns)
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

/// A path as one argument of a shell; what cannot be shown as it is stands as bash and zsh read it, `$'\n'`.
pub fn quoted(path: &std::path::Path) -> String {
    let text = path.display().to_string();
    let needs_none = |c: char| c.is_alphanumeric() || "/\\._-:+~".contains(c);
    // A shell takes `~` at the beginning for the home folder.
    if !text.is_empty() && !text.starts_with('~') && text.chars().all(needs_none) {
        text
    } else if cfg!(windows) {
        format!("\"{text}\"")
    } else if text.chars().all(is_harmless) {
        format!("'{}'", text.replace('\'', r"'\''"))
    } else {
        let escaped = text.chars().map(|c| match c {
            '\'' | '\\' => format!("\\{c}"),
            c if is_harmless(c) => c.to_string(),
            c if c.is_ascii() => format!("\\x{:02x}", u32::from(c)),
            c => format!("\\U{:08x}", u32::from(c)),
        });
        format!("$'{}'", escaped.collect::<String>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_steers_a_terminal() {
        assert_eq!(plain("a\x1b[31mb\u{202e}c\nd"), "a?[31mb?c d");
        assert_eq!(
            plain("\x1b]52;c;eA==\x07\u{9b}2J\u{9d}0;x\u{9c}\x7f"),
            "?]52;c;eA==??2J?0;x??"
        );
        assert_eq!(
            plain("zero\u{200b}width\u{feff}\u{2066}\u{e0041}"),
            "zero?width???"
        );
        assert_eq!(plain("größer 日本語 é 👍"), "größer 日本語 é 👍");
    }

    #[test]
    fn lines_stay_lines_and_end() {
        assert_eq!(shown("a\x1b[2J\nb\r\n", 80), "a?[2J\nb \n");
        let huge = format!("begins {} ends", "x".repeat(100_000));
        let cut = shown(&huge, 200);
        assert!(cut.starts_with("begins x") && cut.ends_with("x ends"));
        assert_eq!(super::width(&cut), 200);
    }

    #[test]
    fn json_keeps_its_values_and_steers_nothing() {
        let value = serde_json::json!({"name": "a\u{9b}2J\x1b\u{202e}\u{e0041}ö\n"});
        for text in [value.to_string(), format!("{value:#}")] {
            let shown = shown_json(&text);
            assert!(
                shown.chars().all(|c| c == '\n' || is_harmless(c)),
                "{shown}"
            );
            let back: serde_json::Value = serde_json::from_str(&shown).expect("JSON");
            assert_eq!(back, value);
        }
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
        assert_eq!(quoted(Path::new("~/o")), "'~/o'");
        assert_eq!(
            quoted(Path::new("a\x1b[2J'\u{202e}")),
            r"$'a\x1b[2J\'\U0000202e'"
        );
    }
}
