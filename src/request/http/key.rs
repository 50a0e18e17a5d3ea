//! The key that opens a server.

use std::fmt;

use ureq::http::HeaderValue;

/// What stands where the key stood.
const HIDDEN: &str = "[key]";

/// Shorter texts are what people write where a server wants a key and looks at none: `0`, `none`, `EMPTY`. They are no
/// secret, and ordinary words hold them.
const SHORTEST_SECRET: usize = 6;

/// A key that opens a server. It is shown nowhere: not by `Debug`, and [`ApiKey::hide`] takes it out of what a server
/// says.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey(String);

/// Whether the key stands at a place of a text.
enum KeyMatch {
    /// Up to here.
    Whole(usize),
    /// The text ends after this number of its characters.
    Begun(usize),
    Nothing,
}

impl ApiKey {
    /// A key, where it can stand in a header.
    pub fn new(text: &str) -> Option<Self> {
        let text = text.trim();
        let fits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic());
        fits.then(|| Self(text.to_owned()))
    }

    /// Takes the key out of a text, also where JSON or an address escapes its characters, once or several times. `is_cut`
    /// says that the text once went on: then what may be the key's beginning goes from its end.
    pub fn hide(&self, text: &mut String, is_cut: bool) {
        if self.0.len() < SHORTEST_SECRET {
            return;
        }
        // A mark of the cut is no part of the text.
        let mark = text.strip_suffix('…').map_or("", |_| "…");
        let said = &text[..text.len() - mark.len()];
        let is_cut = is_cut || !mark.is_empty();
        let (mut hidden, mut kept, mut at) = (String::new(), 0, 0);
        while at < said.len() {
            let end = match self.found(said.as_bytes(), at) {
                KeyMatch::Whole(end) => end,
                KeyMatch::Begun(n) if n > 0 && (is_cut || 2 * n >= self.0.len()) => said.len(),
                KeyMatch::Begun(_) | KeyMatch::Nothing => {
                    at += 1;
                    continue;
                }
            };
            hidden.push_str(&said[kept..at]);
            hidden.push_str(HIDDEN);
            (kept, at) = (end, end);
        }
        if kept > 0 {
            hidden.push_str(&said[kept..]);
            hidden.push_str(mark);
            *text = hidden;
        }
    }

    fn found(&self, text: &[u8], from: usize) -> KeyMatch {
        if text[from..].starts_with(self.0.as_bytes()) {
            return KeyMatch::Whole(from + self.0.len());
        }
        let mut at = from;
        for (n, wanted) in self.0.bytes().enumerate() {
            match read(text, at) {
                Some((said, end)) if said == wanted => at = end,
                Some(_) => return KeyMatch::Nothing,
                None => return KeyMatch::Begun(n),
            }
        }
        KeyMatch::Whole(at)
    }

    pub(super) fn header(&self) -> Option<HeaderValue> {
        let mut value = HeaderValue::from_str(&format!("Bearer {}", self.0)).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

/// The character at `at` and where the next one begins: itself, or what `\u0041`, `\/` or `%41` mean, also where the
/// backslash was escaped again. None where the text ends before it is known.
fn read(text: &[u8], at: usize) -> Option<(u8, usize)> {
    let first = *text.get(at)?;
    let n_backslashes = text[at..].iter().take_while(|b| **b == b'\\').count();
    if n_backslashes > 0 {
        let at = at + n_backslashes;
        let escaped = *text.get(at)?;
        return match escaped {
            b'u' => match code(text, at + 1, 4)? {
                Some(said) => Some((said, at + 5)),
                None => Some((b'u', at + 1)),
            },
            said => Some((said, at + 1)),
        };
    }
    if first == b'%' {
        return match code(text, at + 1, 2)? {
            Some(said) => Some((said, at + 3)),
            None => Some((b'%', at + 1)),
        };
    }
    Some((first, at + 1))
}

/// The character with this number of hexadecimal digits; none inside where they are no such number, none at all where the
/// text ends within them.
fn code(text: &[u8], at: usize, n_digits: usize) -> Option<Option<u8>> {
    let there = &text[at.min(text.len())..(at + n_digits).min(text.len())];
    if !there.iter().all(u8::is_ascii_hexdigit) {
        return Some(None);
    }
    let digits = std::str::from_utf8(there)
        .ok()
        .filter(|d| d.len() == n_digits)?;
    let number = u32::from_str_radix(digits, 16).ok();
    Some(number.and_then(|n| u8::try_from(n).ok()))
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hidden(key: &str, text: &str, is_cut: bool) -> String {
        let mut text = text.to_owned();
        ApiKey::new(key).unwrap().hide(&mut text, is_cut);
        text
    }

    #[test]
    fn a_key_is_shown_nowhere() {
        let key = ApiKey::new(" sk-1234 \n").unwrap();
        assert_eq!(format!("{key:?}"), "ApiKey(hidden)");
        assert_eq!(
            hidden("sk-1234", "bad key sk-1234!", false),
            "bad key [key]!"
        );
        assert_eq!(format!("{:?}", key.header().unwrap()), "Sensitive");
        assert_eq!(ApiKey::new("a b"), None);
        assert_eq!(ApiKey::new("\n"), None);
    }

    #[test]
    fn a_key_is_found_however_json_or_an_address_escapes_it() {
        let key = "sk-a/b+\"c";
        let all: String = key
            .bytes()
            .map(|b| format!("\\u{:04x}", u32::from(b)))
            .collect();
        let upper = all.replace("\\u002b", "\\u002B");
        let percent: String = key.bytes().map(|b| format!("%{b:02X}")).collect();
        for echo in [
            key.to_owned(),
            all.clone(),
            upper,
            all.replace('\\', "\\\\"),
            all.replace('\\', "\\\\\\\\"),
            percent,
            "sk-a\\/b+\\\"c".to_owned(),
            "\\u0073k-a/b%2b\\\"c".to_owned(),
        ] {
            assert_eq!(
                hidden(key, &format!("é {echo}{echo} ü"), false),
                "é [key][key] ü",
                "{echo}"
            );
        }
        assert_eq!(hidden("a\\b\\\\cd", "x a\\b\\\\cd y", false), "x [key] y");
    }

    #[test]
    fn what_a_cut_left_of_a_key_goes_too() {
        let key = "sk-0123456789";
        assert_eq!(hidden(key, "bad sk-01…", false), "bad [key]…");
        assert_eq!(hidden(key, "bad \\u0073\\u006b\\u00…", false), "bad [key]…");
        assert_eq!(hidden(key, "bad sk-0", true), "bad [key]");
        assert_eq!(
            hidden(key, "bad sk-0", false),
            "bad sk-0",
            "the text's own end"
        );
        assert_eq!(hidden(key, "bad sk-0123456", false), "bad [key]");
    }

    #[test]
    fn words_that_stand_for_no_key_are_left_in_texts() {
        for word in ["0", "data", "none", "EMPTY"] {
            let text = format!("data: {word} of 100 EMPTY none");
            assert_eq!(hidden(word, &text, true), text);
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_survived_and_one_without_the_key_is_kept(text in ".{0,80}", tail in "[\\\\u0-9a-f%]{0,12}") {
            let whole = format!("{text}{tail}");
            let _ = hidden("sk-very-secret", &whole, true);
            proptest::prop_assert_eq!(&hidden("\u{7e}\u{7e}never\u{7e}", &whole, false), &whole);
        }
    }
}
