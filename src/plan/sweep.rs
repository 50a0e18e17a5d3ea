//! Sweep files: the wire form (TOML, unknown keys refused) and its way into [`Axes`].

use std::path::Path;

use serde::Deserialize;

use super::PlanError;
use super::axis::{AXES, Axes, axis_table};
use super::expand::Exclude;
use super::protocol::{ProtocolChoice, duration};
use super::quality::QualityChoice;
use super::requests::RequestsChoice;
use crate::text::read_at_most;

/// Largest file that is read: sweeps are written by hand.
const MOST_BYTES: u64 = 1 << 20;

/// A sweep file, read and understood.
#[derive(Debug, Clone, PartialEq)]
pub struct Sweep {
    /// Name of the run's folder; the file's stem when it names none.
    pub name: String,
    /// The axes it spans.
    pub axes: Axes,
    /// Further cells: each a table of axes that stand over the sweep's.
    pub also: Vec<Axes>,
    /// Combinations left out.
    pub exclude: Vec<Exclude>,
    /// How it is measured, where it says.
    pub protocol: ProtocolChoice,
    /// Requests that are sent besides.
    pub requests: Option<RequestsChoice>,
    /// A text that the models score besides.
    pub quality: Option<QualityChoice>,
}

/// A value, an array of values, or the text forms of [`values`](super::values).
#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "expected a whole number, a word, an array of them, or a text such as \"1-128*2\""
)]
enum SweepValues {
    Number(u32),
    Switch(bool),
    Text(String),
    Many(Vec<SweepValues>),
}

impl SweepValues {
    fn text(&self) -> String {
        match self {
            Self::Number(n) => n.to_string(),
            Self::Switch(b) => b.to_string(),
            Self::Text(t) => t.clone(),
            Self::Many(vs) => vs.iter().map(Self::text).collect::<Vec<_>>().join(","),
        }
    }

    fn strings(&self) -> Vec<String> {
        match self {
            Self::Many(vs) => vs.iter().map(Self::text).collect(),
            one => vec![one.text()],
        }
    }
}

/// A table with every axis as a key. serde cannot refuse unknown keys in a flattened part, hence a macro for
/// the tables that have the axes.
macro_rules! table_with_axes {
    ([$(#[$doc:meta])* $name:ident { $($extra:tt)* }]
        $($(#[$of_axis:meta])+ $scope:ident $field:ident: $type:ty = $usual:expr, $key:literal [$($alias:literal),*] { $($words:tt)* })*) => {
        $(#[$doc])*
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct $name {
            $($extra)*
            $(#[serde(rename = $key $(, alias = $alias)*)]
            $field: Option<SweepValues>,)*
        }

        impl $name {
            /// The axes it names, `under` standing before the key in messages.
            fn axes(&self, under: &str) -> Result<Axes, PlanError> {
                let mut axes = Axes::default();
                for (axis, values) in AXES.iter().zip([$(&self.$field),*]) {
                    if let Some(values) = values {
                        axis.read(&format!("{under}{}", axis.name()), &values.strings(), &mut axes)?;
                    }
                }
                Ok(axes)
            }
        }
    };
}

axis_table!(table_with_axes [
    /// The whole file.
    Wire {
        name: Option<String>,
        #[serde(alias = "models")]
        model: Option<SweepValues>,
        #[serde(default)]
        also: Vec<WireAlso>,
        #[serde(default)]
        exclude: Vec<WireExclude>,
        #[serde(default)]
        protocol: WireProtocol,
        requests: Option<RequestsChoice>,
        quality: Option<WireQuality>,
    }
]);

axis_table!(table_with_axes [
    /// A text to score.
    WireQuality {
        base: Option<String>,
        text: Option<String>,
        chunks: Option<SweepValues>,
        budget: Option<String>,
    }
]);

axis_table!(table_with_axes [
    /// Further cells.
    WireAlso {
        #[serde(alias = "models")]
        model: Option<SweepValues>,
    }
]);

axis_table!(table_with_axes [
    /// A combination that is left out.
    WireExclude {
        model: Option<String>,
    }
]);

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct WireProtocol {
    seed: Option<u64>,
    replicates: Option<u32>,
    max_replicates: Option<u32>,
    check_output: Option<bool>,
    repetitions: Option<u32>,
    min_repetitions: Option<u32>,
    max_repetitions: Option<u32>,
    precision: Option<f64>,
    budget: Option<String>,
    timeout: Option<String>,
}

/// The sweeps compiled in, by name, for where there is no repository.
const BUILT_IN: [(&str, &str); 8] = [
    ("quick", include_str!("../../sweeps/quick.toml")),
    ("mission", include_str!("../../sweeps/mission.toml")),
    ("day1", include_str!("../../sweeps/day1.toml")),
    ("nightly", include_str!("../../sweeps/nightly.toml")),
    ("precision", include_str!("../../sweeps/precision.toml")),
    ("threads", include_str!("../../sweeps/threads.toml")),
    ("depth", include_str!("../../sweeps/depth.toml")),
    ("kv-types", include_str!("../../sweeps/kv-types.toml")),
];

/// The built-in sweeps: the name of each and the question that it answers.
pub fn built_in() -> impl Iterator<Item = (&'static str, &'static str)> {
    let question = |text: &'static str| {
        let first = text.lines().next().unwrap_or_default();
        let first = first.trim_start_matches(['#', ' ']);
        first.find('?').map_or(first, |at| &first[..=at])
    };
    BUILT_IN
        .iter()
        .map(move |(name, text)| (*name, question(text)))
}

/// The built-in sweep that a path names which is no file: `quick`, `quick.toml` or `sweeps/quick.toml`.
fn built_in_at(path: &Path) -> Option<&'static str> {
    let folder = path.parent().and_then(Path::to_str)?;
    let is_plain = ["", "sweeps"].contains(&folder);
    let has_end = path.extension().is_none_or(|end| end == "toml");
    let stem = path
        .file_stem()
        .and_then(|s| s.to_str())
        .filter(|_| is_plain && has_end)?;
    let known = BUILT_IN.iter().find(|(name, _)| *name == stem)?;
    Some(known.1)
}

/// Reads a sweep file, or a built-in sweep where there is no such file.
///
/// # Errors
/// [`PlanError::Sweep`] naming the file, and the line where there is one.
pub fn read(path: &Path) -> Result<Sweep, PlanError> {
    let shown = path.display().to_string();
    let text = match read_at_most(path, MOST_BYTES) {
        Ok(text) => text,
        Err(e) => {
            let is_missing = e.kind() == std::io::ErrorKind::NotFound || path.is_dir();
            let built_in = built_in_at(path).filter(|_| is_missing);
            let names: Vec<&str> = BUILT_IN.iter().map(|(name, _)| *name).collect();
            let known = match is_missing {
                true => format!("; the built-in sweeps are {}", names.join(", ")),
                false => String::new(),
            };
            built_in
                .map(str::to_owned)
                .ok_or_else(|| PlanError::Sweep {
                    path: shown.clone(),
                    line: None,
                    reason: format!("cannot read the sweep: {e}{known}"),
                })?
        }
    };
    let stem = path.file_stem().and_then(|s| s.to_str()).unwrap_or("sweep");
    parse(&text, &shown, stem)
}

/// Understands a sweep's text; `path` is for messages, `stem` names a sweep that does not name itself.
///
/// # Errors
/// As [`read`].
pub fn parse(text: &str, path: &str, stem: &str) -> Result<Sweep, PlanError> {
    let wrong = |line: Option<usize>, reason: String| PlanError::Sweep {
        path: path.to_owned(),
        line,
        reason,
    };
    let wire: Wire = toml::from_str(text).map_err(|e: toml::de::Error| {
        let line = e.span().map(|span| {
            text.as_bytes()[..span.start.min(text.len())]
                .iter()
                .filter(|b| **b == b'\n')
                .count()
                + 1
        });
        wrong(line, e.message().replace('\n', " "))
    })?;
    let understood = || -> Result<Sweep, PlanError> {
        let sweep = Sweep {
            name: wire.name.clone().unwrap_or_else(|| stem.to_owned()),
            axes: Axes {
                model: wire.model.as_ref().map(SweepValues::strings),
                ..wire.axes("")?
            },
            also: wire.also.iter().map(also).collect::<Result<_, _>>()?,
            exclude: wire.exclude.iter().map(exclude).collect::<Result<_, _>>()?,
            protocol: protocol(&wire.protocol)?,
            requests: wire.requests.clone(),
            quality: wire.quality.as_ref().map(quality).transpose()?,
        };
        // Flags may override it later; what is wrong in the file is told with the file's name.
        sweep.protocol.clone().resolve()?;
        sweep.requests.clone().map(|r| r.resolve(0)).transpose()?;
        Ok(sweep)
    };
    understood().map_err(|e| wrong(None, e.to_string()))
}

fn also(w: &WireAlso) -> Result<Axes, PlanError> {
    Ok(Axes {
        model: w.model.as_ref().map(SweepValues::strings),
        ..w.axes("also.")?
    })
}

fn quality(w: &WireQuality) -> Result<QualityChoice, PlanError> {
    let choice = QualityChoice {
        base: w.base.clone(),
        text: w.text.clone(),
        chunks: w.chunks.as_ref().map(SweepValues::text),
        budget: w.budget.clone(),
        axes: w.axes("quality.")?,
    };
    choice.n_chunks()?;
    choice.budget()?;
    Ok(choice)
}

fn exclude(w: &WireExclude) -> Result<Exclude, PlanError> {
    let model = w.model.as_ref().map(|text| {
        glob::Pattern::new(text)
            .map_err(|e| PlanError::axis("exclude.model", format!("'{text}': {e}")))
    });
    Ok(Exclude {
        model: model.transpose()?,
        axes: w.axes("exclude.")?,
    })
}

fn protocol(w: &WireProtocol) -> Result<ProtocolChoice, PlanError> {
    if w.repetitions.is_some() && (w.min_repetitions.is_some() || w.max_repetitions.is_some()) {
        return Err(PlanError::axis(
            "protocol.repetitions",
            "is an exact number; leave out min_repetitions and max_repetitions",
        ));
    }
    let time =
        |key: &str, text: &Option<String>| text.as_ref().map(|t| duration(key, t)).transpose();
    Ok(ProtocolChoice {
        seed: w.seed,
        replicates: w.replicates,
        max_replicates: w.max_replicates,
        check_output: w.check_output,
        min_repetitions: w.repetitions.or(w.min_repetitions),
        max_repetitions: w.repetitions.or(w.max_repetitions),
        precision: w.precision,
        budget: time("protocol.budget", &w.budget)?,
        timeout: time("protocol.timeout", &w.timeout)?,
    })
}

#[cfg(test)]
mod tests;
