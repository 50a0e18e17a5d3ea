//! The axis in which two sides differ.

use std::str::FromStr;

use super::samples::CellKey;
use crate::plan::Axis;

/// What cells may differ in: an axis of the setting, or the target of requests.
#[derive(Debug, Clone, PartialEq)]
pub enum CellAxis {
    Setting(Axis),
    Target,
}

/// The name of the target's axis.
const TARGET: &str = "target";

impl CellAxis {
    pub fn name(&self) -> &'static str {
        match self {
            Self::Setting(axis) => axis.name(),
            Self::Target => TARGET,
        }
    }

    /// A cell's value as it is printed. A batch has no target.
    pub fn value(&self, key: &CellKey) -> Option<String> {
        match self {
            Self::Setting(axis) => Some(axis.value(&key.case)),
            Self::Target => key.job.as_ref().map(|job| job.target.clone()),
        }
    }

    /// The values of some cells, each once, in their order.
    pub fn values<'a>(&self, keys: impl Iterator<Item = &'a CellKey>) -> Vec<String> {
        let mut values = Vec::new();
        for value in keys.filter_map(|key| self.value(key)) {
            if !values.contains(&value) {
                values.push(value);
            }
        }
        values
    }

    /// The value that is meant by a text: the one of this name, else the only one of which it is the last part (`q4_0` of
    /// `smollm2-135m-q4_0`) or the kind (`ollama` of `ollama:llama3.1`).
    pub fn meant(&self, text: &str, values: &[String]) -> Option<String> {
        if values.iter().any(|value| value == text) {
            return Some(text.to_owned());
        }
        let is_part = |value: &&String| {
            let ends = value.len().checked_sub(text.len());
            let rest = ends.and_then(|at| Some((value.get(..at)?, value.get(at..)?)));
            let is_end = rest.is_some_and(|(before, end)| {
                before.ends_with(['-', '.']) && end.eq_ignore_ascii_case(text)
            });
            is_end || value.split_once(':').is_some_and(|(kind, _)| kind == text)
        };
        let mut parts = values.iter().filter(is_part);
        let only = parts.next()?;
        parts.next().is_none().then(|| only.clone())
    }

    /// Makes a cell's value another cell's.
    pub fn copy(&self, to: &mut CellKey, from: &CellKey) {
        match self {
            Self::Setting(axis) => axis.copy(&mut to.case, &from.case),
            Self::Target => {
                if let (Some(to), Some(from)) = (&mut to.job, &from.job) {
                    to.target.clone_from(&from.target);
                }
            }
        }
    }

    /// The axes in which some cells differ.
    pub fn varying<'a>(keys: impl Iterator<Item = &'a CellKey> + Clone) -> Vec<Self> {
        let settings = Axis::varying(keys.clone().map(|key| &key.case));
        let target = Some(Self::Target).filter(|axis| axis.values(keys).len() > 1);
        settings
            .into_iter()
            .map(Self::Setting)
            .chain(target)
            .collect()
    }

    /// One value as it is printed, from what was typed.
    fn typed(&self, text: &str) -> Result<String, String> {
        match self {
            Self::Setting(axis) => axis.typed(text),
            Self::Target => Ok(text.to_owned()),
        }
    }
}

/// The axis in which two sides differ on purpose: `threads`, or `threads=1,2` where the first value is side
/// A's and the second side B's.
#[derive(Debug, Clone, PartialEq)]
pub struct ComparedAxis {
    pub axis: CellAxis,
    /// Its values on the two sides; `None` to find them in the records.
    pub values: Option<[String; 2]>,
}

impl FromStr for ComparedAxis {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        let (name, values) = match s.split_once('=') {
            Some((name, values)) => (name, Some(values)),
            None => (s, None),
        };
        let axis = match name.trim().trim_start_matches('-') {
            TARGET => Some(CellAxis::Target),
            name => Axis::named(name).map(CellAxis::Setting),
        };
        let axis = axis.ok_or_else(|| {
            let names: Vec<_> = Axis::all().map(|axis| axis.name()).collect();
            let name = name.trim();
            format!(
                "'{name}' is not an axis; one of {}, {TARGET}",
                names.join(", ")
            )
        })?;
        let values = values.map(|values| two(&axis, values)).transpose()?;
        Ok(Self { axis, values })
    }
}

/// Two values of an axis, as they are printed.
fn two(axis: &CellAxis, text: &str) -> Result<[String; 2], String> {
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
    fn a_short_name_is_the_only_value_that_it_can_be() {
        let values = ["m-q4_0", "m-Q8_0", "n-q8_0", "ollama:x"].map(str::to_owned);
        let meant = |text: &str| CellAxis::Target.meant(text, &values);
        assert_eq!(meant("m-q4_0").as_deref(), Some("m-q4_0"));
        assert_eq!(meant("q4_0").as_deref(), Some("m-q4_0"));
        assert_eq!(meant("q8_0"), None, "of two");
        assert_eq!(meant("ollama").as_deref(), Some("ollama:x"));
        assert_eq!((meant("4_0"), meant("0")), (None, None), "no whole part");
    }

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
