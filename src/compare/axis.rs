//! The axis in which two sides differ.

use std::str::FromStr;

use crate::plan::Axis;

/// The axis in which two sides differ on purpose: `threads`, or `threads=1,2` where the first value is side
/// A's and the second side B's.
#[derive(Debug, Clone, PartialEq)]
pub struct ComparedAxis {
    pub axis: Axis,
    /// Its values on the two sides; `None` where the records give them.
    pub values: Option<[String; 2]>,
}

impl FromStr for ComparedAxis {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        let (name, values) = match s.split_once('=') {
            Some((name, values)) => (name, Some(values)),
            None => (s, None),
        };
        let axis = Axis::named(name).ok_or_else(|| {
            let names: Vec<_> = Axis::all().map(|axis| axis.name()).collect();
            let name = name.trim();
            format!("'{name}' is not an axis; one of {}", names.join(", "))
        })?;
        let values = values.map(|values| two(&axis, values)).transpose()?;
        Ok(Self { axis, values })
    }
}

/// Two values of an axis, as they are printed.
fn two(axis: &Axis, text: &str) -> Result<[String; 2], String> {
    let not_two = || {
        let name = axis.name();
        format!("'{text}' does not name two values of {name}; say {name}=A,B")
    };
    let (a, b) = text.split_once(',').ok_or_else(not_two)?;
    let (a, b) = (a.trim(), b.trim());
    if a.is_empty() || b.is_empty() {
        return Err(not_two());
    }
    let pair = [axis.typed(a)?, axis.typed(b)?];
    if pair[0] == pair[1] {
        return Err(not_two());
    }
    Ok(pair)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_are_named_as_flags_are() {
        let parse = |s: &str| s.parse::<ComparedAxis>();
        assert_eq!(parse("n-threads").expect("known").axis.name(), "threads");
        assert_eq!(parse("--type-k").expect("known").values, None);
        let both = parse("fa=on, off").expect("known").values;
        assert_eq!(both, Some(["on".to_owned(), "off".to_owned()]));
        for (text, needle) in [
            ("speed", "is not an axis; one of model, batch"),
            ("threads=1", "say threads=A,B"),
            ("threads=1,", "say threads=A,B"),
            ("threads=2,2", "say threads=A,B"),
        ] {
            let e = parse(text).expect_err(text);
            assert!(e.contains(needle), "{text}: {e}");
        }
    }
}
