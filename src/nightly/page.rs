//! What the gate printed of tonight: its Markdown, which is part of the summary, and what can be read in it.

/// Most cells that are named in a sentence.
const MOST_CELLS: usize = 6;

/// The gate's page; empty where nothing was judged.
#[derive(Debug, Clone, Default)]
pub struct GatePage(String);

impl GatePage {
    pub fn new(markdown: String) -> Self {
        Self(markdown)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a text stands anywhere in it.
    pub fn says(&self, text: &str) -> bool {
        self.0.contains(text)
    }

    /// The text of a labelled line above the table.
    pub fn labelled(&self, label: &str) -> Option<&str> {
        let start = format!("- **{label}**: ");
        self.0.lines().find_map(|line| line.strip_prefix(&start))
    }

    /// The lines below the tables with this label.
    pub fn notes<'a>(&'a self, label: &'a str) -> impl Iterator<Item = &'a str> {
        let text = move |line: &'a str| line.strip_prefix(label)?.strip_prefix(": ");
        self.0.lines().filter_map(text)
    }

    /// Cells of the table with this verdict: `batch 8 +10.7%, batch 32 +12.0%`. Empty where there is none.
    pub fn cells_that(&self, verdict: &str) -> String {
        // A page of limits alone has their table first.
        match is_of_limits(&self.first_table()) {
            true => String::new(),
            false => rows_that(self.first_table(), verdict),
        }
    }

    /// Limits of the table of those with this verdict: `batch 8 step 12.1 ms`. Empty where there is none.
    pub fn limits_that(&self, verdict: &str) -> String {
        let mut rest = self.0.lines().peekable();
        while rest.peek().is_some() {
            let of_table = rest.by_ref().skip_while(|line| !line.starts_with('|'));
            let table: Vec<&str> = of_table.take_while(|line| line.starts_with('|')).collect();
            if is_of_limits(&table) {
                return rows_that(table, verdict);
            }
        }
        String::new()
    }

    fn first_table(&self) -> Vec<&str> {
        let of_table = self.0.lines().skip_while(|line| !line.starts_with('|'));
        of_table.take_while(|line| line.starts_with('|')).collect()
    }

    /// Whether it has found an output that differs, by itself or from the other side's.
    pub fn has_wrong_output(&self) -> bool {
        self.notes("WRONG").next().is_some()
    }

    /// The first output that differs, without what it means.
    pub fn wrong_output(&self) -> Option<&str> {
        let text = self.notes("WRONG").next()?;
        let ends = [". This is ", ". The sides have "];
        let end = ends.iter().filter_map(|end| text.find(end)).min();
        Some(&text[..end.unwrap_or(text.len())])
    }

    /// Without its title and its advice, which is for a run by hand; other headings are those of a part.
    pub fn as_part(&self) -> String {
        let mut part = String::new();
        for line in self.0.lines().skip(1) {
            if line.starts_with("next: ") {
                continue;
            }
            if line.starts_with("# ") {
                part.push('#');
            }
            part.push_str(line);
            part.push('\n');
        }
        part
    }
}

/// Whether a table is that of limits.
fn is_of_limits(table: &[&str]) -> bool {
    table
        .first()
        .is_some_and(|head| columns(head).contains(&"limit"))
}

/// The rows of a table with this verdict.
fn rows_that(table: Vec<&str>, verdict: &str) -> String {
    let mut rows = table.into_iter().map(columns);
    let head = rows.next().unwrap_or_default();
    let is_it = |row: &Vec<&str>| row.last().is_some_and(|word| word.starts_with(verdict));
    let mut named: Vec<String> = rows.filter(is_it).map(|row| cell(&head, &row)).collect();
    let n_more = named.len().saturating_sub(MOST_CELLS);
    named.truncate(MOST_CELLS);
    match n_more {
        0 => named.join(", "),
        n => format!("{} and {n} more", named.join(", ")),
    }
}

/// The columns of a row of a table.
fn columns(row: &str) -> Vec<&str> {
    let row = row.trim().trim_start_matches('|').trim_end_matches('|');
    row.split('|').map(str::trim).collect()
}

/// A row's values up to its change, with the names that are needed.
fn cell(head: &[&str], row: &[&str]) -> String {
    let mut words = Vec::new();
    for (name, value) in head.iter().copied().zip(row.iter().copied()) {
        match name {
            "time" | "energy" | "change" => {
                words.push(value);
                break;
            }
            "metric" => words.push(value),
            "tonight" if head.contains(&"limit") => {
                words.push(value);
                break;
            }
            "pairs" | "tonight" => {}
            name if name.ends_with(" before") => {}
            "model" | "job" => words.push(value),
            name => words.extend([name, value]),
        }
    }
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page() -> GatePage {
        GatePage::new(
            "# 20260201-020000-nightly-b: regression\n\n- **verdict**: regression (1 pass)\n\n\
             | model | batch | step before | tonight | pairs | time | verdict |\n|---|---:|---:|---:|---:|---:|---|\n\
             | a | 1 | 9 ms | 11 ms | 8 | +20.1% | regression |\n| b | 8 | 9 ms | 9 ms | 60 | +1.0% | inconclusive (+40) |\n\nnext: promote\n\n\
             # Output\n\n| x | verdict |\n|---|---|\n| 1 | regression |\n\n\
             WRONG: tonight: batch 8 differs by 0.5. This is more than rounding.\n"
                .to_owned(),
        )
    }

    #[test]
    fn what_can_be_read() {
        let page = page();
        assert_eq!(page.labelled("verdict"), Some("regression (1 pass)"));
        assert_eq!(page.labelled("rerun"), None);
        assert_eq!(page.cells_that("regression"), "a batch 1 +20.1%");
        assert_eq!(page.cells_that("inconclusive"), "b batch 8 +1.0%");
        assert_eq!(page.cells_that("suspected"), "");
        let wrong = Some("tonight: batch 8 differs by 0.5");
        assert_eq!(page.wrong_output(), wrong);
        let part = page.as_part();
        assert!(
            part.contains("\n## Output\n") && !part.contains("next:"),
            "{part}"
        );
        assert!(!part.contains("20260201"), "{part}");
    }

    #[test]
    fn six_cells_are_named_and_the_others_counted() {
        let row = |n: usize| format!("| {n} | +9.0% | regression |\n");
        let rows: String = (1..=8).map(row).collect();
        let page = GatePage::new(format!(
            "# x\n\n| batch | time | verdict |\n|---|---|---|\n{rows}"
        ));
        let named = page.cells_that("regression");
        assert!(named.ends_with("batch 6 +9.0% and 2 more"), "{named}");
    }
}
