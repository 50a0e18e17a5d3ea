//! What an axis is called.

use super::Case;

/// What an axis is called, wherever people read or type it.
#[derive(Debug)]
pub struct AxisNames {
    /// The field of a [`Case`], which is the key in JSON and the column of CSV.
    pub field: &'static str,
    /// The key in sweep files; with dashes, the flag.
    pub key: &'static str,
    /// Other keys and flags that mean it.
    pub aliases: &'static [&'static str],
    /// What its values are, for schemas.
    pub description: &'static str,
    /// Whether a model has to be loaded anew for another value.
    pub is_of_load: bool,
    /// Whether no record lacks it: neither an old one nor one with the usual value.
    pub is_in_every_record: bool,
    /// The flag's letter.
    pub short: Option<char>,
    /// llama.cpp's own short flag.
    pub spelling: &'static str,
    /// What the flag sets.
    pub help: &'static str,
    /// What it is when it is not named, where that is not a value.
    pub default: &'static str,
    /// What the help ends with.
    pub note: &'static str,
    /// Whether the flag has no value and means `off`: `--no-sample`.
    pub is_flag_of_off: bool,
    /// The heading of its column, where that is shorter than the key.
    pub column: &'static str,
    /// What stands before its value in a case's name; empty where every name has it.
    pub id: &'static str,
    /// What stands before its value in a sentence; `{}` is the value where it does not stand at the end.
    pub phrase: &'static str,
    /// Whether the value is said once for all cells that have it in common.
    pub caption: CaptionRule,
    /// The place in the order of a run's cells: the axis with the largest number changes from one cell to the next.
    pub nesting: u8,
}

/// When an axis is said once for all cells.
#[derive(Debug, Clone, Copy)]
pub enum CaptionRule {
    /// It is always a column.
    Never,
    /// Whatever its value is.
    Always,
    /// Where its value does not go without saying.
    Unusual,
    /// Where it matters.
    If(fn(&Case) -> bool),
}

impl AxisNames {
    /// Of a row that says nothing else.
    pub(super) const NONE: Self = Self {
        field: "",
        key: "",
        aliases: &[],
        description: "",
        is_of_load: false,
        is_in_every_record: true,
        short: None,
        spelling: "",
        help: "",
        default: "",
        note: "",
        is_flag_of_off: false,
        column: "",
        id: "",
        phrase: "",
        caption: CaptionRule::Always,
        nesting: 0,
    };
}
