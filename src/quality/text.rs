//! The text that is scored.

use std::path::Path;

use sha2::{Digest, Sha256};

use crate::text::read_at_most;

/// The bundled text; prompts/README.md says what it is.
pub(crate) const BUNDLED: &str = include_str!("../../prompts/text.txt");

/// Its name.
pub const BUNDLED_NAME: &str = "bundled";

/// Largest file that is read: 100 times wikitext-2's test set.
const MOST_BYTES: u64 = 128 << 20;

/// A text with its name and hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScoredText {
    /// `bundled`, or the path of the user's file.
    pub name: String,
    /// As it is tokenised.
    pub text: String,
    /// Lower-case hex SHA-256 of its bytes.
    pub sha256: String,
}

impl ScoredText {
    /// The bundled text, or the user's file.
    ///
    /// # Errors
    /// In one line, for a file that cannot be read as UTF-8 text.
    pub fn open(name: Option<&str>) -> Result<Self, String> {
        let (name, text) = match name {
            None | Some(BUNDLED_NAME) => (BUNDLED_NAME, BUNDLED.to_owned()),
            Some(path) => {
                let read = read_at_most(Path::new(path), MOST_BYTES);
                (path, read.map_err(|e| format!("--text {path}: {e}"))?)
            }
        };
        let digest = Sha256::digest(text.as_bytes());
        // One newline at the end belongs to the file, not to the text: llama.cpp's tools leave it out too.
        let text = text.strip_suffix('\n').unwrap_or(&text).to_owned();
        if text.trim().is_empty() {
            return Err(format!("--text {name}: the file is empty"));
        }
        Ok(Self {
            name: name.to_owned(),
            sha256: digest.iter().map(|byte| format!("{byte:02x}")).collect(),
            text,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bundled_text_is_long_enough_and_repeats_no_line() {
        let own = ScoredText::open(None).expect("built in");
        // English has about 4.3 bytes a token.
        assert!(own.text.len() > 190_000, "{}", own.text.len());
        let long = own.text.lines().filter(|line| line.len() > 60);
        let mut lines: Vec<&str> = long.filter(|l| l.contains(char::is_alphabetic)).collect();
        let n = lines.len();
        lines.sort_unstable();
        lines.dedup();
        assert_eq!(lines.len(), n);
        assert_eq!(ScoredText::open(Some(BUNDLED_NAME)), Ok(own));
    }

    #[test]
    fn a_file_is_named_and_loses_its_last_newline() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("t.txt");
        let name = path.to_str().expect("UTF-8");
        std::fs::write(&path, "abc\n\n").expect("writable");
        let text = ScoredText::open(Some(name)).expect("readable");
        assert_eq!((text.text.as_str(), text.name.as_str()), ("abc\n", name));
        // As sha256sum has it.
        assert!(text.sha256.starts_with("783701f759983082"));
        std::fs::write(&path, " \n").expect("writable");
        assert!(
            ScoredText::open(Some(name))
                .expect_err("empty")
                .contains("is empty")
        );
        let missing = ScoredText::open(Some("/no/such/file")).expect_err("missing");
        assert!(missing.contains("/no/such/file"), "{missing}");
    }
}
