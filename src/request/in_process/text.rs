//! The beginning of an answer, out of pieces that may cut characters.

use crate::request::KEPT_TEXT_BYTES;

/// Bytes so far; a little more than is kept, so that the cut can be told from the end.
#[derive(Debug, Default)]
pub struct AnswerText(Vec<u8>);

impl AnswerText {
    /// Adds a piece; it is only made while it is wanted.
    pub fn push(&mut self, piece: impl FnOnce() -> Vec<u8>) {
        if self.0.len() <= KEPT_TEXT_BYTES {
            self.0.extend(piece());
        }
    }

    /// The text, whatever is no UTF-8 replaced, cut between characters.
    pub fn into_string(self) -> String {
        let mut text = String::from_utf8_lossy(&self.0).into_owned();
        let mut end = text.len().min(KEPT_TEXT_BYTES);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.shrink_to_fit();
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(pieces: &[&[u8]]) -> String {
        let mut text = AnswerText::default();
        for piece in pieces {
            text.push(|| piece.to_vec());
        }
        text.into_string()
    }

    #[test]
    fn characters_may_come_in_parts_and_nonsense_is_replaced() {
        let euro = "€".as_bytes();
        assert_eq!(text(&[b"12 ", &euro[..1], &euro[1..]]), "12 €");
        assert_eq!(text(&[b"a", &euro[..2]]), "a\u{fffd}");
        assert_eq!(text(&[b"\xff", b"b"]), "\u{fffd}b");
        assert_eq!(text(&[]), "");
    }

    #[test]
    fn a_long_answer_is_cut_between_characters() {
        let odd = [b"a".as_slice(), &"ä".as_bytes().repeat(KEPT_TEXT_BYTES)];
        let cut = text(&odd);
        assert_eq!(cut.len(), KEPT_TEXT_BYTES - 1);
        assert!(cut.ends_with('ä'));
        let pieces = vec![b"xyz".as_slice(); KEPT_TEXT_BYTES];
        assert_eq!(
            text(&pieces),
            "xyz".repeat(KEPT_TEXT_BYTES)[..KEPT_TEXT_BYTES]
        );
    }

    #[test]
    fn pieces_beyond_the_end_are_not_made() {
        let mut text = AnswerText::default();
        text.push(|| vec![b'x'; KEPT_TEXT_BYTES + 1]);
        text.push(|| unreachable!("nobody wants it"));
        assert_eq!(text.into_string().len(), KEPT_TEXT_BYTES);
    }
}
