//! The summary of a night: Markdown that is also readable as a plain mail.

use std::fmt::{self, Write as _};

use super::failures::Failures;
use super::markdown::{as_text, wrapped};
use super::page::GatePage;
use super::{Conclusion, Verdict, advice};
use crate::report;
use crate::text;
use crate::view::RunView;

/// Most lines of the trend of each kind.
const MOST_LEVELS: usize = 3;
const MOST_CHANGES: usize = 2;
const MOST_LEFT_OUT: usize = 3;

/// What programs are measured, and with what tonight's is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NightKind {
    /// Tonight's program and the promoted one, in turns.
    Pairs,
    /// Tonight's program alone, compared with other nights.
    Cells,
    /// Requests of tonight's program, compared with other nights.
    Requests,
}

/// Commands for people to copy, as blocks of code.
#[derive(Debug, Clone, Default)]
pub struct Commands {
    /// The night once more.
    pub again: String,
    /// The night once more, as the baseline.
    pub promote: String,
    /// The same night with both programs in turns, where the promoted one was kept.
    pub in_turns: Option<String>,
    /// The run's report.
    pub report: Option<String>,
    /// The verdict once more.
    pub gate: Option<String>,
}

/// What is known of a night at its end.
#[derive(Debug, Clone)]
pub struct NightSummary {
    pub kind: NightKind,
    /// Tonight's run, where there is one.
    pub night: Option<NightFacts>,
    /// The program of the baseline, in words.
    pub old_engine: Option<String>,
    /// Whether both programs are the same file.
    pub is_same_program: bool,
    /// Whether most nights of the baseline were inconclusive.
    pub is_in_doubt: bool,
    pub notes: Vec<String>,
    pub page: GatePage,
    pub failures: Failures,
    /// The trend as Markdown; empty where there is none.
    pub trend: String,
    pub commands: Commands,
}

/// A run, its machine and its program, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NightFacts {
    pub name: String,
    pub machine: String,
    pub engine: String,
}

impl NightFacts {
    /// Those of a run that cannot be read.
    pub fn unknown(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            machine: "n/a".to_owned(),
            engine: "n/a".to_owned(),
        }
    }

    pub fn of(view: &RunView) -> Self {
        let lines = report::caption_of(view);
        let said = |label| {
            let line = lines.iter().find(|(name, _)| *name == label);
            line.map_or_else(|| "n/a".to_owned(), |(_, text)| text.clone())
        };
        Self {
            name: view.header.run.clone(),
            machine: said("machine"),
            engine: said("engine"),
        }
    }
}

impl NightSummary {
    /// The whole text, fit to be shown.
    pub fn text(&self, conclusion: &Conclusion) -> String {
        let mut text = String::new();
        // Writing into a string does not fail.
        let _ = self.write(&mut text, conclusion);
        wrapped(&text::document(&text))
    }

    fn write(&self, to: &mut String, conclusion: &Conclusion) -> fmt::Result {
        let Conclusion { verdict, reason } = conclusion;
        // Only errors repeat what other programs say.
        let reason = match verdict {
            Verdict::Error => as_text(reason),
            _ => reason.clone(),
        };
        writeln!(to, "# Nightly: {}\n\n{reason}\n", verdict.words())?;
        if let Some(night) = &self.night {
            writeln!(to, "- **night**: {}", as_text(&night.name))?;
            writeln!(to, "- **machine**: {}", as_text(&night.machine))?;
            writeln!(to, "- **program**: {}", as_text(&night.engine))?;
        }
        if let Some(engine) = &self.old_engine {
            writeln!(to, "- **program of the baseline**: {}", as_text(engine))?;
        }
        for note in &self.notes {
            writeln!(to, "- **note**: {note}")?;
        }
        if !self.page.is_empty() {
            writeln!(to, "\n## Cells\n{}", self.page.as_part())?;
        }
        if !self.failures.is_empty() {
            writeln!(to, "\n## What could not be measured as planned\n")?;
            for line in &self.failures.lines {
                writeln!(to, "- {}", as_text(line))?;
            }
        }
        if !self.trend.is_empty() {
            writeln!(to, "\n## Trend\n")?;
            trend_in_short(to, &self.trend)?;
        }
        writeln!(to, "\n## What to do\n")?;
        advice::write(to, *verdict, self)?;
        let commands = &self.commands;
        write!(to, "\n## To repeat\n\n{}", commands.again)?;
        to.push_str(commands.report.as_deref().unwrap_or_default());
        if *verdict != Verdict::Promoted {
            to.push_str(commands.gate.as_deref().unwrap_or_default());
        }
        Ok(())
    }
}

/// The trend without its table: its nights, the newest changes of level, what changed last, and its files.
fn trend_in_short(to: &mut String, trend: &str) -> fmt::Result {
    let lines = |label: &str, most: usize| -> Vec<&str> {
        let labelled = trend.lines().filter(|line| {
            let rest = line.strip_prefix(label);
            rest.is_some_and(|rest| rest.starts_with(": "))
        });
        labelled.take(most).collect()
    };
    let head = trend
        .lines()
        .filter(|line| line.starts_with("- **nights**: "));
    head.into_iter()
        .try_for_each(|line| writeln!(to, "{line}"))?;
    let (too_few, changed) = (
        lines("levels", usize::MAX),
        lines("level changed", MOST_LEVELS),
    );
    for line in &too_few {
        writeln!(to, "- {}", line.trim_start_matches("levels: "))?;
    }
    if too_few.is_empty() && changed.is_empty() {
        let none = "no change of level was found in the cells that have enough nights";
        writeln!(to, "- {none}")?;
    }
    let others = [
        changed,
        lines("build or machine", MOST_CHANGES),
        lines("left out", MOST_LEFT_OUT),
    ];
    others
        .concat()
        .iter()
        .try_for_each(|line| writeln!(to, "- {line}"))?;
    for label in ["page", "picture"] {
        for line in lines(label, 1) {
            let text = &line[label.len()..];
            writeln!(to, "- **{label}**{text}")?;
        }
    }
    Ok(())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub fn summary(kind: NightKind, page: &str) -> NightSummary {
        NightSummary {
            kind,
            night: Some(NightFacts {
                name: "20260201-023000-nightly".to_owned(),
                machine: "a CPU, 8 hardware threads".to_owned(),
                engine: "llama.cpp b11434".to_owned(),
            }),
            old_engine: Some("llama.cpp b11000".to_owned()),
            is_same_program: false,
            is_in_doubt: false,
            notes: vec!["an earlier nightly was cut off".to_owned()],
            page: GatePage::new(page.to_owned()),
            failures: Failures::default(),
            trend: String::new(),
            commands: Commands {
                again: "    ggufbench nightly\n".to_owned(),
                promote: "    ggufbench nightly --promote\n".to_owned(),
                in_turns: None,
                report: Some("    ggufbench report out/20260201-023000-nightly\n".to_owned()),
                gate: Some("    ggufbench gate out/20260201-023000-nightly\n".to_owned()),
            },
        }
    }

    #[test]
    fn a_regression_says_what_to_do_and_how_to_repeat_it() {
        let page = "# x: regression\n\n- **verdict**: regression\n\n| batch | time | verdict |\n|---:|---:|---|\n\
                    | 8 | +20.0% | regression |\n\nnext: promote\n";
        let mut summary = summary(NightKind::Cells, page);
        summary.failures.lines = vec!["a_/b: failed: *no*".to_owned()];
        summary.commands.in_turns = Some("    ggufbench nightly --paired\n".to_owned());
        summary.trend = "# Trend\n\n- **nights**: 3 nights\n\n| x |\n\nbuild or machine: other\npage: out/trend.html\n".to_owned();
        let end = Conclusion::new(Verdict::Regression, "Slower than tolerated.");
        insta::assert_snapshot!(summary.text(&end));
    }

    #[test]
    fn an_error_stays_text() {
        let mut summary = summary(NightKind::Pairs, "");
        summary.night = None;
        let text = summary.text(&Conclusion::error("it said <b>\u{1b}[1m"));
        assert!(
            text.starts_with("# Nightly: error\n\nit said &lt;b>?\\[1m\n"),
            "{text}"
        );
    }
}
