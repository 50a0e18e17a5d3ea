//! Tables in a picture, whose columns are placed by the width of their letters.

use super::Table;
use crate::plot::card::CardColumn;
use crate::text::short;

impl Table {
    /// The columns of the table, without those of footnotes' marks: a picture has no footnotes.
    pub fn card_columns(&self) -> Vec<CardColumn> {
        let table = self.with_group_column();
        let shown = table.columns.iter().filter(|c| c.name != "see");
        shown
            .map(|column| CardColumn {
                heads: [short(&column.name), short(&column.unit)],
                texts: column.values.iter().map(|v| short(v.text())).collect(),
                is_text: column.is_text,
                rank: column.rank,
            })
            .collect()
    }
}
