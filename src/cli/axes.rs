//! The flags of the axes, from their table.

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

use crate::plan::PlanError;
use crate::plan::axis::{AXES, Axes, Axis, MODEL};

/// The axes as typed: every combination of their values is a cell.
#[derive(Debug, Clone, Default)]
pub struct AxisArgs {
    typed: Vec<(Axis, Vec<String>)>,
}

impl AxisArgs {
    /// What was typed for an axis, by its name; nothing where it was not named.
    ///
    /// # Panics
    /// For a name that no axis has.
    pub fn of(&self, name: &str) -> &[String] {
        let axis = Axis::named(name).expect("an axis");
        let typed = self.typed.iter().find(|(of, _)| *of == axis);
        typed.map_or(&[], |(_, texts)| texts)
    }

    /// The same with something else typed for an axis.
    #[must_use]
    pub fn with(mut self, axis: Axis, texts: Vec<String>) -> Self {
        self.typed.retain(|(of, _)| *of != axis);
        if !texts.is_empty() {
            self.typed.push((axis, texts));
        }
        self
    }

    /// The values that were typed.
    ///
    /// # Errors
    /// For a text that does not parse, naming its flag.
    pub fn axes(&self) -> Result<Axes, PlanError> {
        let mut axes = Axes::default();
        for (axis, texts) in &self.typed {
            axis.read(&format!("--{}", axis.flag()), texts, &mut axes)?;
        }
        Ok(axes)
    }

    fn from_matches(matches: &ArgMatches, of: impl Iterator<Item = Axis>) -> Self {
        let mut args = Self::default();
        for axis in of {
            let texts = if axis.words.is_flag_of_off {
                let off = matches.get_flag(axis.name());
                Vec::from_iter(off.then(|| "off".to_owned()))
            } else {
                let texts = matches.get_many::<String>(axis.name());
                texts.into_iter().flatten().cloned().collect()
            };
            args = args.with(axis, texts);
        }
        args
    }
}

fn flag(axis: Axis) -> Arg {
    let arg = Arg::new(axis.name()).long(axis.flag()).help(axis.help());
    let arg = match axis.words.short {
        Some(letter) => arg.short(letter),
        None => arg,
    };
    if axis.words.is_flag_of_off {
        return arg.action(ArgAction::SetTrue);
    }
    let aliases = axis.words.aliases.iter().map(|a| a.replace('_', "-"));
    let arg = arg
        .aliases(aliases)
        .value_name(axis.takes())
        .action(ArgAction::Append);
    match axis.is_switch() {
        true => arg.num_args(0..=1).default_missing_value("on"),
        false => arg,
    }
}

impl Args for AxisArgs {
    fn augment_args(command: Command) -> Command {
        command.args(Axis::all().map(|axis| flag(axis).help_heading("Axes")))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for AxisArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Ok(Self::from_matches(matches, Axis::all()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// The axes that decide what is predicted: no device is opened for it, and flash attention is as the engine chooses.
#[derive(Debug, Clone, Default)]
pub struct PredictedAxes(AxisArgs);

impl PredictedAxes {
    const DEFAULT_BATCH: &str = "1,8,32,128";

    fn all() -> impl Iterator<Item = Axis> {
        let has_part = |axis: &&Axis| !axis.words.is_of_load && axis.name() != "flash_attn";
        AXES.iter().filter(has_part).copied()
    }

    /// As a run's flags, for these models.
    pub fn of_models(&self, models: Vec<String>) -> AxisArgs {
        let mut args = self.0.clone().with(MODEL, models);
        if args.of("batch").is_empty() {
            let batch = Axis::named("batch").expect("an axis");
            args = args.with(batch, vec![Self::DEFAULT_BATCH.to_owned()]);
        }
        args
    }
}

impl PredictedAxes {
    /// Whether a type of the KV cache was typed.
    pub fn has_cache_type(&self) -> bool {
        let is_typed = |name: &&str| !self.0.of(name).is_empty();
        ["type_k", "type_v"].iter().any(is_typed)
    }
}

impl Args for PredictedAxes {
    fn augment_args(command: Command) -> Command {
        let of = |axis: Axis| {
            let arg = flag(axis).conflicts_with("check");
            match axis.name() {
                "batch" => {
                    let usual = Self::DEFAULT_BATCH;
                    arg.help(format!("{} [default: {usual}]", axis.words.help))
                }
                _ => arg,
            }
        };
        command.args(Self::all().map(of))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for PredictedAxes {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Ok(Self(AxisArgs::from_matches(matches, Self::all())))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}
