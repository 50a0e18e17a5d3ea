//! The one model of a table, and of a table between labelled lines. Three writers show it: fitted to a terminal, as Markdown
//! and as HTML.

mod card;
mod document;
mod html;
pub mod markdown;
pub mod terminal;
#[cfg(test)]
mod tests;

pub use document::{Document, Note, Tone};

/// Columns of this rank or a higher one are for terminals with room: they are not missed where they are left out.
pub const EXTRA: u8 = 20;

/// A column: its heading, and a value for each row.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Column {
    /// What it is; empty where it belongs to the column before.
    pub name: String,
    /// A second line of the heading: the unit, or which of several.
    pub unit: String,
    /// Whether values are words rather than numbers.
    pub is_text: bool,
    /// Columns of a higher rank are left out first where there is no room; 0 never is.
    pub rank: u8,
    values: Vec<Value>,
    /// Shorter values, for where there is little room.
    short: Option<Vec<Value>>,
    why_missing: Option<String>,
}

/// A value as it is shown: none is "n/a", an empty one leaves its place blank.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Value(Option<String>);

macro_rules! values_from {
    ($($number:ty),*) => {
        $(impl From<$number> for Value {
            fn from(number: $number) -> Self {
                Self(Some(number.to_string()))
            }
        })*
    };
}
values_from!(&str, u32, u64, usize);

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self(Some(text))
    }
}

impl From<Option<String>> for Value {
    fn from(text: Option<String>) -> Self {
        Self(text)
    }
}

impl Value {
    fn text(&self) -> &str {
        self.0.as_deref().unwrap_or("n/a")
    }
}

/// A row that has a text in place of its values from a column on.
#[derive(Debug, Clone, PartialEq)]
struct RowText {
    row: usize,
    from: usize,
    text: String,
    tone: Tone,
}

/// A column that a terminal shows as headings between the rows.
#[derive(Debug, Clone, PartialEq)]
struct Groups {
    name: String,
    /// One a row, and what its heading says.
    values: Vec<(String, String)>,
}

/// Columns of equal length.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Table {
    columns: Vec<Column>,
    texts: Vec<RowText>,
    groups: Option<Groups>,
}

impl Column {
    /// The heading in one line.
    fn head(&self) -> String {
        let head = format!("{} {}", self.name, self.unit);
        // A word may be divided between both lines.
        head.trim().replace("- ", "")
    }

    fn has_values(&self) -> bool {
        let has = |value: &Value| value.0.as_ref().is_some_and(|text| !text.is_empty());
        self.values.iter().any(has)
    }
}

impl Table {
    /// A table whose rows show these; [`TableOf`] gives it columns.
    pub fn of<R>(rows: &[R]) -> TableOf<'_, R> {
        TableOf {
            rows,
            table: Self::default(),
        }
    }

    /// Two columns without headings: what, and its value; without the lines that have none.
    pub fn facts<'a>(facts: impl IntoIterator<Item = (&'a str, Option<String>)>) -> Self {
        let known = |(what, value): (&'a str, Option<String>)| {
            Some((what, value.filter(|v| !v.is_empty())?))
        };
        let facts: Vec<(&str, String)> = facts.into_iter().filter_map(known).collect();
        let table = Self::of(&facts).words("", |(what, _)| *what);
        table.words("", |(_, value)| value.clone()).table()
    }

    /// Whether it has no row.
    pub fn is_empty(&self) -> bool {
        self.n_rows() == 0
    }

    fn n_rows(&self) -> usize {
        let lengths = self.columns.iter().map(|c| c.values.len());
        lengths.max().unwrap_or(0)
    }

    fn text_of(&self, row: usize) -> Option<&RowText> {
        self.texts.iter().find(|text| text.row == row)
    }

    /// The texts of a row's values, without those that another text stands for.
    fn values(&self, row: usize) -> impl Iterator<Item = &str> {
        let n = self.text_of(row).map_or(self.columns.len(), |t| t.from);
        let columns = self.columns.iter().take(n);
        columns.map(move |c| c.values.get(row).map_or("", Value::text))
    }

    /// With a group's name as the first value of each row, for forms without headings between rows.
    fn with_group_column(&self) -> Self {
        let Some(groups) = &self.groups else {
            return self.clone();
        };
        let mut table = self.clone();
        let names = groups.values.iter();
        let column = Column {
            name: groups.name.clone(),
            is_text: true,
            values: names.map(|(name, _)| name.clone().into()).collect(),
            ..Column::default()
        };
        table.columns.insert(0, column);
        for text in &mut table.texts {
            text.from += 1;
        }
        table.groups = None;
        table
    }

    /// Why values are n/a; none where no value is, or where the table does not say.
    pub fn why_missing(&self) -> Option<String> {
        self.why_missing_in(self.columns.iter())
    }

    fn why_missing_in<'a>(&self, columns: impl Iterator<Item = &'a Column>) -> Option<String> {
        let is_shown = |row: usize| self.text_of(row).is_none();
        let lacks = |c: &&Column| {
            let mut rows = c.values.iter().enumerate();
            rows.any(|(row, value)| value.0.is_none() && is_shown(row))
        };
        let lacking = columns.filter(lacks);
        let mut reasons: Vec<&str> = lacking.filter_map(|c| c.why_missing.as_deref()).collect();
        reasons.dedup();
        (!reasons.is_empty()).then(|| reasons.join("; "))
    }
}

/// A table of rows of one type that is given its columns. What is said of a column follows it: `unit`, `rank`, `short`,
/// `why`, `blank` and `only_if`.
pub struct TableOf<'a, R> {
    pub(super) rows: &'a [R],
    table: Table,
}

impl<'a, R> TableOf<'a, R> {
    /// A column of words.
    #[must_use]
    pub fn words<V: Into<Value>>(
        self,
        name: impl Into<String>,
        value: impl Fn(&'a R) -> V,
    ) -> Self {
        self.column(name.into(), true, value)
    }

    /// A column of numbers.
    #[must_use]
    pub fn numbers<V: Into<Value>>(
        self,
        name: impl Into<String>,
        value: impl Fn(&'a R) -> V,
    ) -> Self {
        self.column(name.into(), false, value)
    }

    fn column<V: Into<Value>>(
        mut self,
        name: String,
        is_text: bool,
        value: impl Fn(&'a R) -> V,
    ) -> Self {
        self.table.columns.push(Column {
            name,
            is_text,
            values: self.rows.iter().map(|row| value(row).into()).collect(),
            ..Column::default()
        });
        self
    }

    fn last(mut self, change: impl FnOnce(&mut Column)) -> Self {
        self.table.columns.last_mut().map(change);
        self
    }

    /// From which rank on it is left out.
    #[must_use]
    pub fn rank(self, rank: u8) -> Self {
        self.last(|column| column.rank = rank)
    }

    /// The second line of its heading.
    #[must_use]
    pub fn unit(self, unit: impl Into<String>) -> Self {
        self.last(|column| column.unit = unit.into())
    }

    /// Shorter values for where there is little room.
    #[must_use]
    pub fn short<V: Into<Value>>(self, value: impl Fn(&'a R) -> V) -> Self {
        let short = self.rows.iter().map(|row| value(row).into()).collect();
        self.last(|column| column.short = Some(short))
    }

    /// Why its values can be missing.
    #[must_use]
    pub fn why(self, why: impl Into<String>) -> Self {
        self.last(|column| column.why_missing = Some(why.into()))
    }

    /// Blank where a value is missing.
    #[must_use]
    pub fn blank(self) -> Self {
        self.last(|column| {
            for value in &mut column.values {
                value.0.get_or_insert_default();
            }
        })
    }

    /// Leaves it out unless there is a reason for it.
    #[must_use]
    pub fn only_if(mut self, there_is: bool) -> Self {
        if !there_is {
            self.table.columns.pop();
        }
        self
    }

    /// The columns so far show what a row is of; rows with a text have it in place of the columns after them.
    #[must_use]
    pub fn texts(mut self, text: impl Fn(&'a R) -> Option<(String, Tone)>) -> Self {
        let from = self.table.columns.len();
        let texts = self.rows.iter().enumerate().filter_map(|(row, of)| {
            let (text, tone) = text(of)?;
            Some(RowText {
                row,
                from,
                text,
                tone,
            })
        });
        self.table.texts = texts.collect();
        self
    }

    /// Groups of rows that follow each other: a group's name, and the heading that a terminal shows above its rows.
    #[must_use]
    pub fn groups(mut self, name: &str, group: impl Fn(&'a R) -> (String, String)) -> Self {
        self.table.groups = Some(Groups {
            name: name.to_owned(),
            values: self.rows.iter().map(group).collect(),
        });
        self
    }

    /// Without the columns in which no row has a value, but for the first `kept`.
    #[must_use]
    pub fn without_empty_columns(mut self, kept: usize) -> Self {
        let mut at = 0;
        self.table.columns.retain(|column| {
            at += 1;
            at <= kept || column.has_values()
        });
        self
    }

    /// Columns so far.
    pub fn n_columns(&self) -> usize {
        self.table.columns.len()
    }

    /// The table.
    pub fn table(self) -> Table {
        self.table
    }
}

impl<R> From<TableOf<'_, R>> for Table {
    fn from(of: TableOf<'_, R>) -> Self {
        of.table
    }
}
