//! A table between labelled lines.

use super::Table;

/// How a line is to be taken; terminals give each a colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Tone {
    /// As any other.
    #[default]
    Usual,
    /// For reference.
    Quiet,
    /// Something to know before the figures are believed.
    Caution,
    /// Something failed.
    Failure,
}

/// A labelled line.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Note {
    pub(super) label: String,
    pub(super) text: String,
    pub(super) tone: Tone,
    /// Whether its text is copied as a whole, such as a path: no line break may divide it.
    pub(super) is_whole: bool,
    /// The command that does what it says.
    pub(super) command: Option<String>,
}

impl Note {
    /// A text, and what it is; an empty label stands for nothing.
    pub fn new(label: &str, text: impl Into<String>) -> Self {
        Self {
            label: label.to_owned(),
            text: text.into(),
            ..Self::default()
        }
    }

    /// A text that is copied as a whole.
    pub fn whole(label: &str, text: impl Into<String>) -> Self {
        Self {
            is_whole: true,
            ..Self::new(label, text)
        }
    }

    /// With its tone.
    #[must_use]
    pub fn tone(self, tone: Tone) -> Self {
        Self { tone, ..self }
    }

    /// With the command that does what it says.
    #[must_use]
    pub fn command(self, command: Option<String>) -> Self {
        Self { command, ..self }
    }

    /// Label and text.
    pub fn in_one_line(&self) -> String {
        self.lead() + &self.text
    }

    /// The label as it stands before its text below a table: `note: `, `[1] `, or nothing.
    pub(super) fn lead(&self) -> String {
        match self.label.as_str() {
            "" => String::new(),
            mark if mark.ends_with(']') => format!("{mark} "),
            label => format!("{label}: "),
        }
    }
}

impl<L: AsRef<str>> From<(L, String)> for Note {
    fn from((label, text): (L, String)) -> Self {
        Self::new(label.as_ref(), text)
    }
}

/// Labelled lines, a table, labelled lines.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Document {
    pub(super) title: String,
    pub(super) above: Vec<Note>,
    pub(super) table: Table,
    pub(super) below: Vec<Note>,
}

impl Document {
    /// A table with its title, which only documents show.
    pub fn new(title: impl Into<String>, table: impl Into<Table>) -> Self {
        Self {
            title: title.into(),
            table: table.into(),
            ..Self::default()
        }
    }

    /// With a line above the table, unless there is nothing to say.
    #[must_use]
    pub fn above(self, label: &str, text: impl Into<String>) -> Self {
        self.all_above([Note::new(label, text)])
    }

    /// With lines above the table.
    #[must_use]
    pub fn all_above(mut self, notes: impl IntoIterator<Item: Into<Note>>) -> Self {
        let notes = notes.into_iter().map(Into::into);
        self.above
            .extend(notes.filter(|note: &Note| !note.text.is_empty()));
        self
    }

    /// With a line below the table.
    #[must_use]
    pub fn below(self, label: &str, text: impl Into<String>) -> Self {
        self.all_below([Note::new(label, text)])
    }

    /// With lines below the table.
    #[must_use]
    pub fn all_below(mut self, notes: impl IntoIterator<Item: Into<Note>>) -> Self {
        self.below.extend(notes.into_iter().map(Into::into));
        self
    }
}
