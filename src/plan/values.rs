//! The values of an axis as people type them: a value, a list `1,8,32`, or a range of numbers as llama-bench
//! writes it: `1-8` (step 1), `1-8+2`, `1-128*2`; lists may hold ranges.

use std::fmt;

use serde::Serialize;
use serde_json::{Value, json};

use super::PlanError;

/// Most values an axis may expand to; a longer one is a typing mistake.
const MAX_VALUES: usize = 10_000;

/// The numbers that `text` stands for, in order, each once.
///
/// # Errors
/// [`PlanError::Axis`] naming `key`, the piece that is wrong and the forms that are right.
pub fn numbers(key: &str, text: &str) -> Result<Vec<u32>, PlanError> {
    let mut values = Vec::new();
    for piece in text.split(',').map(str::trim) {
        for v in range(key, piece)? {
            if !values.contains(&v) {
                values.push(v);
            }
        }
    }
    Ok(values)
}

fn number(key: &str, text: &str) -> Result<u32, PlanError> {
    use std::num::IntErrorKind::{Empty, PosOverflow};
    text.trim().parse().map_err(|e: std::num::ParseIntError| {
        let why = match e.kind() {
            PosOverflow => format!("{text} is more than {}", u32::MAX),
            Empty => "an empty value is not a number".to_owned(),
            _ => format!("'{text}' is not a number"),
        };
        let forms = "a value, a list 1,8,32 or a range 1-128*2, 1-8+1";
        PlanError::axis(key, format!("{why}; {forms}"))
    })
}

fn range(key: &str, piece: &str) -> Result<Vec<u32>, PlanError> {
    let ends = piece.split_once('-').filter(|(first, _)| !first.is_empty());
    let Some((first, rest)) = ends else {
        return Ok(vec![number(key, piece)?]);
    };
    let (last, step, multiply) = match rest.split_once(['+', '*']) {
        None => (rest, 1, false),
        Some((last, step)) => (last, number(key, step)?, rest.contains('*')),
    };
    let (first, last) = (number(key, first)?, number(key, last)?);
    let bad = |why: &str| Err(PlanError::axis(key, format!("range '{piece}' {why}")));
    if last < first {
        return bad("ends before it begins");
    }
    if (multiply && (step < 2 || first == 0)) || step == 0 {
        return bad("would never end");
    }
    let mut values = vec![first];
    loop {
        let v = *values.last().expect("has the first value");
        let next = if multiply {
            v.checked_mul(step)
        } else {
            v.checked_add(step)
        };
        match next {
            Some(n) if n <= last => values.push(n),
            _ => return Ok(values),
        }
        if values.len() > MAX_VALUES {
            return bad(&format!("has more than {MAX_VALUES} values"));
        }
    }
}

/// Values of one axis: how they are typed, printed and recorded.
pub trait AxisValue: Clone + PartialEq + fmt::Display + Serialize {
    /// What the flag takes, for its help.
    const TAKES: &'static str;
    /// Whether the values are on and off.
    const IS_SWITCH: bool = false;
    /// Whether one value is a list itself: a comma belongs to it.
    const IS_LIST: bool = false;

    /// The values that some texts stand for, in order, each once.
    ///
    /// # Errors
    /// [`PlanError::Axis`] naming `key`, what is wrong and the forms that are right.
    fn read(key: &str, texts: &[String]) -> Result<Vec<Self>, PlanError>;

    /// The form of its JSON.
    fn schema() -> Value;

    /// As it is typed.
    fn shown(&self) -> String {
        self.to_string()
    }

    /// As a part of a case's name.
    fn in_name(&self, prefix: &str) -> String {
        // A comma would have to be quoted in CSV.
        format!("{prefix}-{}", self.shown().replace(',', "+"))
    }
}

impl AxisValue for u32 {
    const TAKES: &'static str = "LIST";

    fn read(key: &str, texts: &[String]) -> Result<Vec<Self>, PlanError> {
        numbers(key, &texts.join(","))
    }

    fn schema() -> Value {
        json!({"type": "integer", "minimum": 0, "maximum": u32::MAX})
    }

    fn in_name(&self, prefix: &str) -> String {
        format!("{prefix}{self}")
    }
}

impl AxisValue for bool {
    const TAKES: &'static str = "on|off";
    const IS_SWITCH: bool = true;

    fn read(key: &str, texts: &[String]) -> Result<Vec<Self>, PlanError> {
        each(key, texts.join(",").split(','), |text| match text {
            "on" | "1" | "true" => Ok(true),
            "off" | "0" | "false" => Ok(false),
            _ => Err(format!("'{text}' is not one of on, off (or 1, 0)")),
        })
    }

    fn schema() -> Value {
        json!({"type": "boolean"})
    }

    fn shown(&self) -> String {
        if *self { "on" } else { "off" }.to_owned()
    }

    /// Only the value that does not go without saying is named.
    fn in_name(&self, prefix: &str) -> String {
        prefix.to_owned()
    }
}

impl AxisValue for String {
    const TAKES: &'static str = "MODEL";

    fn read(_: &str, texts: &[String]) -> Result<Vec<Self>, PlanError> {
        Ok(texts.to_vec())
    }

    fn schema() -> Value {
        json!({"type": "string"})
    }
}

/// The values that some texts stand for, each once.
pub fn each<'a, T: PartialEq>(
    key: &str,
    texts: impl Iterator<Item = &'a str>,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Result<Vec<T>, PlanError> {
    let mut values = Vec::new();
    for text in texts {
        let value = parse(text.trim()).map_err(|reason| PlanError::axis(key, reason))?;
        if !values.contains(&value) {
            values.push(value);
        }
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_ranges_as_llama_bench_writes_them() {
        let ok = |t: &str| numbers("batch", t).expect(t);
        assert_eq!(ok("8"), [8]);
        assert_eq!(ok("1,8, 32"), [1, 8, 32]);
        assert_eq!(ok("1-4"), [1, 2, 3, 4]);
        assert_eq!(ok("1-8+3"), [1, 4, 7]);
        assert_eq!(ok("1-128*2"), [1, 2, 4, 8, 16, 32, 64, 128]);
        assert_eq!(ok("1,1-4*2,3"), [1, 2, 4, 3]);
        assert_eq!(ok("4294967295-4294967295*2"), [u32::MAX]);
    }

    #[test]
    fn mistakes_are_named() {
        for (text, needle) in [
            ("", "not a number"),
            ("x", "'x' is not a number"),
            ("8,,1", "not a number"),
            ("8-1", "ends before"),
            ("1-8*1", "never end"),
            ("0-8*2", "never end"),
            ("1-8+0", "never end"),
            ("0-4000000", "more than 10000"),
            ("-1", "'-1' is not a number"),
            ("1,", "an empty value"),
            ("4294967296", "4294967296 is more than 4294967295"),
        ] {
            let e = numbers("batch", text).expect_err(text).to_string();
            assert!(
                e.starts_with("batch: ") && e.contains(needle),
                "{text}: {e}"
            );
        }
    }

    #[test]
    fn switches_are_on_or_off() {
        let ok = |t: &str| bool::read("swa_full", &[t.to_owned()]).expect(t);
        assert_eq!(ok("on"), [true]);
        assert_eq!(ok("off, 1,false"), [false, true]);
        let e = bool::read("swa_full", &["auto".to_owned()]).expect_err("neither");
        assert!(e.to_string().starts_with("swa_full: 'auto'"), "{e}");
    }

    proptest::proptest! {
        #[test]
        fn never_panics_and_never_repeats(text in "[0-9,*+ -]{0,20}") {
            if let Ok(v) = numbers("k", &text) {
                let mut unique = v.clone();
                unique.sort_unstable();
                unique.dedup();
                proptest::prop_assert_eq!(unique.len(), v.len());
            }
        }
    }
}
