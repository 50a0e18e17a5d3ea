//! Bytes cut into lines: at LF, CR or both together, as the standard of server-sent events has it (WHATWG HTML, section
//! 9.2.5); a stream of JSON documents has no bare CR within one.

/// Cuts bytes into lines, however they come in pieces.
#[derive(Debug, Default)]
pub(in crate::request) struct LineCutter {
    buffer: Vec<u8>,
    /// Where in the buffer the next line begins.
    from: usize,
    /// Up to where there is no end of a line.
    searched: usize,
    /// The last line ended with CR: an LF that comes next belongs to it.
    after_cr: bool,
    /// A byte was taken: a byte-order mark can no longer come.
    begun: bool,
}

/// Encodes U+FEFF, which some write before everything else.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

impl LineCutter {
    /// Takes more bytes in.
    pub(in crate::request) fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.from);
        self.searched -= self.from;
        self.from = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// The next line that is whole, without its end. Bytes that are no UTF-8 become replacement characters: a server
    /// may cut a letter in two.
    pub(in crate::request) fn next(&mut self) -> Option<String> {
        if self.after_cr && self.from < self.buffer.len() {
            self.after_cr = false;
            if self.buffer[self.from] == b'\n' {
                self.from += 1;
                self.searched = self.from;
            }
        }
        let ends = |b: &u8| matches!(b, b'\n' | b'\r');
        let Some(at) = self.buffer[self.searched..].iter().position(ends) else {
            self.searched = self.buffer.len();
            return None;
        };
        let end = self.searched + at;
        self.after_cr = self.buffer[end] == b'\r';
        let line = self.take(end);
        self.from = end + 1;
        self.searched = self.from;
        Some(line)
    }

    /// What is left when nothing more comes.
    pub(in crate::request) fn rest(&mut self) -> Option<String> {
        let end = self.buffer.len();
        let line = (self.from < end).then(|| self.take(end));
        self.from = end;
        self.searched = end;
        line.filter(|line| !line.is_empty())
    }

    /// Bytes of the line that is not whole yet.
    pub(in crate::request) fn pending(&self) -> usize {
        self.buffer.len() - self.from
    }

    fn take(&mut self, end: usize) -> String {
        let mut line = &self.buffer[self.from..end];
        if !std::mem::replace(&mut self.begun, true) {
            line = line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line);
        }
        String::from_utf8_lossy(line).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines of bytes that come in pieces of this size.
    fn cut(bytes: &[u8], size: usize) -> Vec<String> {
        let mut cutter = LineCutter::default();
        let mut lines = Vec::new();
        for piece in bytes.chunks(size) {
            cutter.push(piece);
            lines.extend(std::iter::from_fn(|| cutter.next()));
        }
        lines.extend(cutter.rest());
        lines
    }

    #[test]
    fn lines_end_with_lf_cr_or_both_however_they_are_cut() {
        let text = "\u{feff}a\nb\r\nc\rd\n\ne\r\r\n\u{65e5}\u{feff}\r\nlast";
        let expected = ["a", "b", "c", "d", "", "e", "", "\u{65e5}\u{feff}", "last"];
        for size in 1..text.len() {
            assert_eq!(cut(text.as_bytes(), size), expected, "in pieces of {size}");
        }
        assert_eq!(cut(b"a\r", 1), ["a"]);
        assert_eq!(cut(b"", 1), [""; 0]);
        assert_eq!(cut(BYTE_ORDER_MARK, 2), [""; 0]);
    }

    #[test]
    fn a_line_is_whole_when_its_cr_has_come() {
        let mut cutter = LineCutter::default();
        cutter.push(b"a\r");
        assert_eq!(cutter.next().as_deref(), Some("a"));
        cutter.push(b"\nb");
        assert_eq!((cutter.next(), cutter.pending()), (None, 1));
    }

    #[test]
    fn half_a_letter_costs_only_itself() {
        assert_eq!(cut(b"a\xe6\x97\nb", 2), ["a\u{fffd}", "b"]);
    }
}
