//! The key that opens a server.

use std::fmt;

use ureq::http::HeaderValue;

/// A key that opens a server. It is shown nowhere: not by `Debug`, and [`ApiKey::hide`] takes it out of what a server
/// says.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey(String);

impl ApiKey {
    /// A key, where it can stand in a header.
    pub fn new(text: &str) -> Option<Self> {
        let text = text.trim();
        let fits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic());
        fits.then(|| Self(text.to_owned()))
    }

    /// The text without the key.
    pub fn hide(&self, text: String) -> String {
        if text.contains(&self.0) {
            text.replace(&self.0, "[key]")
        } else {
            text
        }
    }

    pub(super) fn header(&self) -> Option<HeaderValue> {
        let mut value = HeaderValue::from_str(&format!("Bearer {}", self.0)).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_shown_nowhere() {
        let key = ApiKey::new(" sk-1234 \n").unwrap();
        assert_eq!(format!("{key:?}"), "ApiKey(hidden)");
        assert_eq!(key.hide("bad key sk-1234!".into()), "bad key [key]!");
        assert_eq!(format!("{:?}", key.header().unwrap()), "Sensitive");
        assert_eq!(ApiKey::new("a b"), None);
        assert_eq!(ApiKey::new("\n"), None);
    }
}
