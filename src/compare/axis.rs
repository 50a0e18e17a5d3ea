//! The axes of a case by name, so that two sides may differ in one of them.

use std::fmt;
use std::str::FromStr;

use crate::plan::Case;

/// One axis of a case.
#[derive(Clone, Copy)]
pub struct Axis {
    names: &'static [&'static str],
    value: fn(&Case) -> String,
    copy: fn(&mut Case, &Case),
}

macro_rules! axes {
    ($($field:ident: $($name:literal),+;)+) => {
        /// Every axis; the first name is its own, the others are accepted too.
        const AXES: &[Axis] = &[$(Axis {
            names: &[$($name),+],
            value: |case| case.$field.to_string(),
            copy: |to, from| to.$field.clone_from(&from.$field),
        }),+];
    };
}

axes! {
    model: "model";
    n_seq: "batch", "n_seq";
    n_prompt: "n_prompt", "prompt";
    n_gen: "n_gen", "gen";
    n_depth: "n_depth", "depth";
    n_threads: "threads", "n_threads";
    n_ctx: "n_ctx", "ctx";
    kv: "kv";
    n_batch: "n_batch";
    n_ubatch: "n_ubatch";
    type_k: "type_k";
    type_v: "type_v";
    flash_attn: "flash_attn", "fa";
    swa_full: "swa_full";
    n_gpu_layers: "n_gpu_layers", "ngl";
    split_mode: "split_mode", "sm";
    main_gpu: "main_gpu", "mg";
    rpc: "rpc";
    device: "device", "dev";
    tensor_split: "tensor_split", "ts";
    sample: "sample";
}

impl Axis {
    /// Every axis, in the order of a case's fields.
    pub fn all() -> &'static [Axis] {
        AXES
    }

    /// Its name.
    pub fn name(&self) -> &'static str {
        self.names[0]
    }

    /// A case's value as it is typed and printed.
    pub fn value(&self, case: &Case) -> String {
        (self.value)(case)
    }

    /// Makes a case's value another case's.
    pub fn copy(&self, to: &mut Case, from: &Case) {
        (self.copy)(to, from);
    }

    /// The values of some cases, each once, in their order.
    pub fn values<'a>(&self, cases: impl IntoIterator<Item = &'a Case>) -> Vec<String> {
        let mut values = Vec::new();
        for value in cases.into_iter().map(|case| self.value(case)) {
            if !values.contains(&value) {
                values.push(value);
            }
        }
        values
    }

    /// The axes in which some cases differ.
    pub fn varying<'a>(cases: impl IntoIterator<Item = &'a Case> + Clone) -> Vec<Axis> {
        let varies = |axis: &&Axis| axis.values(cases.clone()).len() > 1;
        AXES.iter().filter(varies).copied().collect()
    }
}

impl fmt::Debug for Axis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl PartialEq for Axis {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

/// The axis in which two sides differ on purpose: `threads`, or `threads=1,2` where the first value is side
/// A's and the second side B's.
#[derive(Debug, Clone, PartialEq)]
pub struct ComparedAxis {
    /// The axis.
    pub axis: Axis,
    /// Its values on the two sides; none to find them in the records.
    pub values: Option<[String; 2]>,
}

impl FromStr for ComparedAxis {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        let (name, values) = match s.split_once('=') {
            Some((name, values)) => (name, Some(values)),
            None => (s, None),
        };
        let name = name.trim().trim_start_matches('-').replace('-', "_");
        let axis = AXES.iter().find(|a| a.names.contains(&name.as_str()));
        let axis = *axis.ok_or_else(|| {
            let names: Vec<_> = AXES.iter().map(Axis::name).collect();
            format!("'{name}' is no axis; one of {}", names.join(", "))
        })?;
        let values = match values {
            None => None,
            Some(values) => {
                let pair = values.split_once(',').map(|(a, b)| [a.trim(), b.trim()]);
                let pair = pair.filter(|[a, b]| !a.is_empty() && !b.is_empty() && a != b);
                let pair = pair.ok_or_else(|| {
                    format!("'{values}' are not two values of {name}; say {name}=A,B")
                })?;
                Some(pair.map(str::to_owned))
            }
        };
        Ok(Self { axis, values })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::expand::{Axes, Host, cases};

    #[test]
    fn every_field_of_a_case_is_an_axis() {
        let host = Host {
            n_threads: 1,
            n_gpu_layers: 0,
        };
        // A record has these only where they were asked for.
        let axes = Axes {
            rpc: Some(vec!["a:1".parse().expect("a server")]),
            device: Some(vec!["RPC0".parse().expect("a device")]),
            tensor_split: Some(vec!["1".parse().expect("a share")]),
            ..Axes::default()
        };
        let case = cases(&axes, &["m".into()], &[], host)
            .expect("valid")
            .remove(0);
        let json = serde_json::to_value(&case).expect("JSON");
        assert_eq!(json.as_object().expect("an object").len(), AXES.len());
        let mut other = case.clone();
        (other.n_threads, other.model) = (7, "other".into());
        let both = [case.clone(), other.clone()];
        let names: Vec<_> = Axis::varying(&both).iter().map(Axis::name).collect();
        assert_eq!(names, ["model", "threads"]);
        for axis in Axis::varying(&both) {
            axis.copy(&mut other, &case);
        }
        assert_eq!(other, case);
    }

    #[test]
    fn axes_are_named_as_flags_are() {
        let parse = |s: &str| s.parse::<ComparedAxis>();
        assert_eq!(parse("n-threads").expect("known").axis.name(), "threads");
        assert_eq!(parse("--type-k").expect("known").values, None);
        let both = parse("fa=on, off").expect("known").values;
        assert_eq!(both, Some(["on".to_owned(), "off".to_owned()]));
        for (text, needle) in [
            ("speed", "is no axis; one of model, batch"),
            ("threads=1", "say threads=A,B"),
            ("threads=1,", "say threads=A,B"),
            ("threads=2,2", "say threads=A,B"),
        ] {
            let e = parse(text).expect_err(text);
            assert!(e.contains(needle), "{text}: {e}");
        }
    }
}
