//! One axis of a sweep as people type it: a value, a list `1,8,32`, or a range as llama-bench
//! writes it: `1-8` (step 1), `1-8+2`, `1-128*2`; lists may hold ranges.

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

/// Words that `text` lists, each parsed by its type, each once.
///
/// # Errors
/// [`PlanError::Axis`] naming `key` and the word that is wrong.
pub fn words<T>(key: &str, text: &str) -> Result<Vec<T>, PlanError>
where
    T: std::str::FromStr<Err = String> + PartialEq,
{
    let mut values = Vec::new();
    for piece in text.split(',').map(str::trim) {
        let v = piece
            .parse()
            .map_err(|reason: String| PlanError::axis(key, reason))?;
        if !values.contains(&v) {
            values.push(v);
        }
    }
    Ok(values)
}

/// Values that are lists themselves, each parsed by its type, each once: a comma belongs to the value.
///
/// # Errors
/// [`PlanError::Axis`] naming `key` and what is wrong.
pub fn lists<T>(key: &str, texts: &[String]) -> Result<Vec<T>, PlanError>
where
    T: std::str::FromStr<Err = String> + PartialEq,
{
    let mut values = Vec::new();
    for text in texts {
        let v = text
            .trim()
            .parse()
            .map_err(|reason: String| PlanError::axis(key, reason))?;
        if !values.contains(&v) {
            values.push(v);
        }
    }
    Ok(values)
}

/// Switches that `text` lists: `on`, `off`, or both; each once.
///
/// # Errors
/// [`PlanError::Axis`] naming `key` and the word that is wrong.
pub fn switches(key: &str, text: &str) -> Result<Vec<bool>, PlanError> {
    let mut values = Vec::new();
    for piece in text.split(',').map(str::trim) {
        let value = match piece {
            "on" | "1" | "true" => true,
            "off" | "0" | "false" => false,
            _ => {
                let reason = format!("'{piece}' is not one of on, off (or 1, 0)");
                return Err(PlanError::axis(key, reason));
            }
        };
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
        let ok = |t: &str| switches("swa_full", t).expect(t);
        assert_eq!(ok("on"), [true]);
        assert_eq!(ok("off, 1,false"), [false, true]);
        let e = switches("swa_full", "auto").expect_err("neither");
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
