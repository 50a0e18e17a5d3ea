//! The table of axes: everything that a case is decided by, one row each. Cases and requested values, flags, sweep keys,
//! overriding, exclusion, names, comparison, columns, CSV, JSON and schemas come from it.
//!
//! A new axis is a row in `table.rs`, and its use in the engine.

mod field;
mod names;
mod table;

use std::fmt;

use serde_json::Value;

use super::PlanError;
use field::{AnyField, Field};
pub use names::{AxisNames, CaptionRule};
pub(in crate::plan) use table::axis_table;
pub use table::{AXES, Axes, Case, LoadKey};

/// One axis of a case.
#[derive(Clone, Copy)]
pub struct Axis {
    /// What it is called.
    pub words: &'static AxisNames,
    field: &'static (dyn AnyField + Sync),
}

/// The model, which is an axis too: its values come from [`crate::model`].
pub static MODEL: Axis = Axis {
    words: &AxisNames {
        field: "model",
        key: "model",
        aliases: &["models"],
        description: "Name of the model",
        short: Some('m'),
        help: "GGUF file, folder (without its subfolders), glob ('models/**/*.gguf'), name in gguf/models.toml, \
               synth:PRESET:TYPE, ollama:NAME or USER/REPO:TYPE of Hugging Face; repeatable",
        ..AxisNames::NONE
    },
    field: &Field::<String> {
        of: |case| &case.model,
        of_mut: |case| &mut case.model,
        requested: |axes| &axes.model,
        requested_mut: |axes| &mut axes.model,
        usual: String::new,
    },
};

impl Axis {
    /// Every axis, the model first.
    pub fn all() -> impl Iterator<Item = Axis> {
        std::iter::once(MODEL).chain(AXES.iter().copied())
    }

    /// The axis that is named so: by its key or another, by its column, or by llama.cpp's short flag.
    pub fn named(name: &str) -> Option<Axis> {
        let name = name.trim().trim_start_matches('-').replace('-', "_");
        let is_named = |axis: &Axis| {
            let w = axis.words;
            let names = [w.key, w.field, w.column, w.spelling.trim_start_matches('-')];
            names.contains(&name.as_str()) || w.aliases.contains(&name.as_str())
        };
        Axis::all().find(is_named).filter(|_| !name.is_empty())
    }

    /// Its name: the key.
    pub fn name(&self) -> &'static str {
        self.words.key
    }

    /// Its flag.
    pub fn flag(&self) -> String {
        let no = if self.words.is_flag_of_off { "no-" } else { "" };
        format!("{no}{}", self.words.key.replace('_', "-"))
    }

    /// What the flag's help says.
    pub fn help(&self) -> String {
        let AxisNames { help, note, .. } = self.words;
        let usual = match self.words.default {
            "" => self.field.usual(),
            said => said.to_owned(),
        };
        let again = if self.field.is_list() {
            "; given again, it is the axis' next value"
        } else {
            ""
        };
        match self.words.is_flag_of_off || usual.is_empty() {
            true => format!("{help}{note}"),
            false => format!("{help} [default: {usual}]{note}{again}"),
        }
    }

    /// What the flag takes, for its help.
    pub fn takes(&self) -> &'static str {
        self.field.takes()
    }

    /// Whether its values are on and off.
    pub fn is_switch(&self) -> bool {
        self.field.is_switch()
    }

    /// The heading of its column.
    pub fn heading(&self) -> &'static str {
        match self.words.column {
            "" => self.words.key,
            shorter => shorter,
        }
    }

    /// The form of its values in JSON.
    pub fn schema(&self) -> Value {
        let mut schema = self.field.schema();
        schema["description"] = self.words.description.trim().into();
        schema
    }

    /// A case's value as it is typed and printed.
    pub fn value(&self, case: &Case) -> String {
        self.field.value(case)
    }

    /// A case's value in JSON.
    pub fn json(&self, case: &Case) -> Value {
        self.field.json(case)
    }

    /// Its part of a case's name; none where the value goes without saying, and where every name has it.
    pub fn id_part(&self, case: &Case) -> Option<String> {
        match self.words.id {
            "" => None,
            prefix => self.field.id_part(case, prefix),
        }
    }

    /// A case's value as a part of a name, such as `t2` or `fa-on`, whatever the value is.
    pub fn label(&self, case: &Case) -> String {
        let value = self.value(case).replace(',', "+");
        let w = self.words;
        if w.field == MODEL.words.field {
            return value;
        }
        let prefix = match (w.id, w.short) {
            ("", Some(letter)) => letter.to_string(),
            ("", None) => w.key.to_owned(),
            (id, _) => id.to_owned(),
        };
        match value.starts_with(|c: char| c.is_ascii_digit()) {
            true => format!("{prefix}{value}"),
            false => format!("{prefix}-{value}"),
        }
    }

    /// A value that all cells have in common, in words; none where it need not be said.
    pub fn phrase(&self, case: &Case) -> Option<String> {
        let is_said = match self.words.caption {
            CaptionRule::Never => false,
            CaptionRule::Always => true,
            CaptionRule::Unusual => self.field.id_part(case, "").is_some(),
            CaptionRule::If(matters) => matters(case),
        };
        let (phrase, value) = (self.words.phrase, self.value(case));
        is_said.then(|| match phrase.contains("{}") {
            true => phrase.replace("{}", &value),
            false => format!("{phrase} {value}"),
        })
    }

    /// Makes a case's value another case's.
    pub fn copy(&self, to: &mut Case, from: &Case) {
        self.field.copy(to, from);
    }

    /// Makes the values that some texts stand for those asked for; `key` names it in messages.
    ///
    /// # Errors
    /// [`PlanError::Axis`] with what is wrong, and what would be right.
    pub fn read(&self, key: &str, texts: &[String], into: &mut Axes) -> Result<(), PlanError> {
        self.field.read(key, texts, into)
    }

    /// One value as it is printed, from what was typed.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn typed(&self, text: &str) -> Result<String, String> {
        self.field.typed(text)
    }

    /// Whether a case has one of the values asked for, or any where none was.
    pub fn allows(&self, axes: &Axes, case: &Case) -> bool {
        self.field.allows(axes, case)
    }

    /// Cases with each of the values asked for, in place of each case.
    pub fn multiplied(&self, axes: &Axes, cases: Vec<Case>) -> Vec<Case> {
        self.field.multiplied(axes, cases)
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

    /// Whether some cases differ in it.
    pub fn varies<'a>(&self, cases: impl IntoIterator<Item = &'a Case>) -> bool {
        let mut values = cases.into_iter().map(|case| self.value(case));
        let first = values.next();
        values.any(|value| Some(&value) != first.as_ref())
    }

    /// The axes in which some cases differ.
    pub fn varying<'a>(cases: impl IntoIterator<Item = &'a Case> + Clone) -> Vec<Axis> {
        Axis::all()
            .filter(|axis| axis.varies(cases.clone()))
            .collect()
    }
}

impl Axes {
    /// How many combinations of values the axes have, models aside.
    pub fn combinations(&self) -> usize {
        AXES.iter()
            .filter_map(|axis| axis.field.n_requested(self))
            .fold(1, usize::saturating_mul)
    }

    /// These axes, each taken from `over` where it names one: flags over a sweep file.
    #[must_use]
    pub fn overridden_by(mut self, mut over: Axes) -> Axes {
        Axis::all().for_each(|axis| axis.field.take(&mut self, &mut over));
        self
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_axes_share_a_name_or_a_place() {
        let mut names = Vec::new();
        let mut places = Vec::new();
        for axis in AXES {
            let w = axis.words;
            let mut own = vec![
                w.key,
                w.field,
                w.column,
                w.id,
                w.spelling.trim_start_matches('-'),
            ];
            own.extend(w.aliases);
            own.retain(|name| !name.is_empty());
            own.sort_unstable();
            own.dedup();
            names.extend(own);
            places.push(w.nesting);
            assert_eq!(
                axis.words.phrase.is_empty(),
                matches!(w.caption, CaptionRule::Never)
            );
        }
        let mut unique = names.clone();
        unique.sort_unstable();
        unique.dedup();
        assert_eq!(unique.len(), names.len());
        places.sort_unstable();
        places.dedup();
        assert_eq!(places.len(), AXES.len());
    }

    #[test]
    fn an_axis_has_several_names() {
        for (name, key) in [
            ("--n-threads", "threads"),
            ("fa", "flash_attn"),
            ("depth", "n_depth"),
            ("-ngl", "n_gpu_layers"),
            ("model", "model"),
        ] {
            assert_eq!(Axis::named(name).expect(name).name(), key);
        }
        assert!(Axis::named("").is_none() && Axis::named("speed").is_none());
    }
}
