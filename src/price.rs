//! What energy costs.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

/// Joules of a kWh.
const KWH_JOULES: f64 = 3.6e6;

/// Longest word of a currency.
const CURRENCY_CHARS: usize = 8;

/// The price of a kWh.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Price {
    /// So much of the currency; positive.
    pub per_kwh: f64,
    /// `EUR`, `$`; none where it was not said.
    pub currency: Option<String>,
}

impl Price {
    /// What a million tokens cost that take so many joules each.
    pub fn of_million_tokens(&self, joules_per_token: f64) -> f64 {
        joules_per_token * 1e6 / KWH_JOULES * self.per_kwh
    }

    /// The currency, or the word for one where it has no name.
    pub fn unit(&self) -> &str {
        self.currency.as_deref().unwrap_or("currency")
    }
}

impl fmt::Display for Price {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.currency {
            Some(currency) => write!(f, "{} {currency}/kWh", self.per_kwh),
            None => write!(f, "{}/kWh", self.per_kwh),
        }
    }
}

impl FromStr for Price {
    type Err = String;

    /// `0.30/kWh`, `0.30EUR/kWh`, `EUR 0.30/kWh` or `$0.30/kWh`.
    fn from_str(text: &str) -> Result<Self, String> {
        const EXAMPLES: &str = "say 0.30/kWh, 0.30EUR/kWh or $0.30/kWh";
        let (amount, unit) = text
            .rsplit_once('/')
            .ok_or_else(|| format!("a price is of a kWh: {EXAMPLES}"))?;
        if !unit.trim().eq_ignore_ascii_case("kwh") {
            return Err(format!(
                "'{}' is no unit of a price here: {EXAMPLES}",
                unit.trim()
            ));
        }
        let is_of_number = |c: char| c.is_ascii_digit() || matches!(c, '.' | ',' | '-' | '+');
        let amount = amount.trim();
        let start = amount.find(is_of_number);
        let start = start.ok_or_else(|| format!("'{amount}' has no number: {EXAMPLES}"))?;
        let end = amount[start..].find(|c| !is_of_number(c));
        let end = end.map_or(amount.len(), |length| start + length);
        let (before, number, after) = (&amount[..start], &amount[start..end], &amount[end..]);
        if number.contains(',') {
            return Err(format!(
                "'{number}': the decimal sign is a point, as in 0.30"
            ));
        }
        let per_kwh = number
            .parse::<f64>()
            .ok()
            .filter(|v| v.is_finite() && *v > 0.0);
        let per_kwh =
            per_kwh.ok_or_else(|| format!("'{number}' is no price above 0: {EXAMPLES}"))?;
        let currency = match (before.trim(), after.trim()) {
            ("", "") => None,
            (word, "") | ("", word) if is_currency(word) => Some(word.to_owned()),
            ("", word) | (word, "") => return Err(format!("'{word}' is no currency: {EXAMPLES}")),
            (one, other) => {
                return Err(format!(
                    "'{one}' and '{other}' are two currencies: {EXAMPLES}"
                ));
            }
        };
        Ok(Self { per_kwh, currency })
    }
}

/// A sign or a short word without digits; no spreadsheet takes it for a formula.
fn is_currency(word: &str) -> bool {
    let is_part = |c: char| c.is_alphabetic() || "$€£¥₹₽₩₺₴₿¢".contains(c);
    word.chars().count() <= CURRENCY_CHARS && word.chars().all(is_part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_price_is_a_number_of_a_currency_for_a_kwh() {
        let price = |text: &str| text.parse::<Price>().expect(text);
        for (text, per_kwh, currency) in [
            ("0.30/kWh", 0.3, None),
            ("0.30EUR/kWh", 0.3, Some("EUR")),
            ("0.30 EUR / kwh", 0.3, Some("EUR")),
            ("EUR 12/KWH", 12.0, Some("EUR")),
            ("$.3/kWh", 0.3, Some("$")),
            ("€0.30/kWh", 0.3, Some("€")),
            ("28.5ct/kWh", 28.5, Some("ct")),
        ] {
            let expected = Price {
                per_kwh,
                currency: currency.map(str::to_owned),
            };
            assert_eq!(price(text), expected, "{text}");
        }
        assert_eq!(price("0.30EUR/kWh").to_string(), "0.3 EUR/kWh");
        assert_eq!(price("0.30/kWh").to_string(), "0.3/kWh");
        // 3.6 J a token are 1 kWh for a million.
        assert!((price("0.30/kWh").of_million_tokens(3.6) - 0.3).abs() < 1e-12);
    }

    #[test]
    fn what_is_no_price_says_what_would_be() {
        for (text, needle) in [
            ("0.30", "a price is of a kWh"),
            ("0.30/MWh", "'MWh' is no unit"),
            ("0,30/kWh", "the decimal sign is a point"),
            ("-0.30/kWh", "is no price above 0"),
            ("0/kWh", "is no price above 0"),
            ("1e3/kWh", "is no currency"),
            ("inf/kWh", "has no number"),
            ("EUR0.30$/kWh", "are two currencies"),
            ("0.30=cmd()/kWh", "is no currency"),
            ("/kWh", "has no number"),
            ("1.2.3/kWh", "is no price above 0"),
            ("", "a price is of a kWh"),
        ] {
            let error = text.parse::<Price>().expect_err(text);
            assert!(error.contains(needle), "{text}: {error}");
            assert!(!error.contains('\n'));
        }
    }
}
