//! The end of a night: its verdict, what is kept of it, and its summary.

use std::ffi::OsString;
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow};

use super::course::{Night, PASS, REGRESSION, UNDECIDED};
use super::{Typed, put};
use crate::cli::{BaselineChoice, TrendArgs};
use crate::cmd::{INTERRUPTED, in_one_line, trend_drawn};
use crate::file::is_stream;
use crate::nightly::folders::NightFolders;
use crate::nightly::summary::{Commands, NightSummary};
use crate::nightly::{Conclusion, Verdict, command_line, program};
use crate::record::history::HistoryError;
use crate::record::jsonl::locate;
use crate::report::DocumentForm;
use crate::trend::MOST_NIGHTS;

impl Night<'_> {
    /// The verdict of the gate's exit code.
    pub fn conclude(&self, code: Option<i32>, last_words: &str) -> Conclusion {
        let cells = |verdict| self.page.cells_that(verdict);
        match code {
            Some(PASS) if !self.failures.is_empty() => Conclusion::inconclusive(
                "Every measured cell passed, but not all cells were measured as planned.",
            ),
            Some(PASS) if self.is_in_doubt() => Conclusion::inconclusive(
                "No cell is slower than the last nights, but most of these were inconclusive, so they do not support a pass.",
            ),
            Some(PASS) => Conclusion::new(Verdict::Pass, "No cell is slower than tolerated."),
            Some(REGRESSION) => self.regression(&cells("regression")),
            Some(UNDECIDED) => {
                let missing = match self.page.notes("not measured tonight").next() {
                    Some(_) => " Cells of the baseline were not measured.",
                    None => "",
                };
                let undecided = match cells("inconclusive") {
                    none if none.is_empty() => none,
                    some => format!(" Not decided: {some}."),
                };
                let limits = match self.page.limits_that("inconclusive") {
                    none if none.is_empty() => none,
                    some => format!(" Not decided on a limit: {some}."),
                };
                Conclusion::inconclusive(format!(
                    "Neither a pass nor a regression is shown.{missing}{undecided}{limits}"
                ))
            }
            Some(code) if code == i32::from(INTERRUPTED) => Conclusion::new(
                Verdict::Interrupted,
                "The night was interrupted during the judgement.",
            ),
            _ => {
                // A full disk may have left an empty folder of the copy.
                let _ = self.place.as_ref().map(std::fs::remove_dir);
                Conclusion::error(format!("the night cannot be judged: {last_words}"))
            }
        }
    }

    fn regression(&self, slower: &str) -> Conclusion {
        // Chance changes no output, and both sides may share a fault: the same file is no excuse.
        if let Some(wrong) = self.page.wrong_output() {
            let also = match slower {
                "" => String::new(),
                slower => {
                    format!(" Also slower than tolerated, tonight and again in a rerun: {slower}.")
                }
            };
            return Conclusion::new(
                Verdict::Regression,
                format!("An output differs by more than rounding explains: {wrong}.{also}"),
            );
        }
        // A limit holds whatever the program is.
        let limits = self.page.limits_that("fail");
        if !limits.is_empty() {
            let also = match slower {
                "" => String::new(),
                slower => format!(" Slower than tolerated: {slower}."),
            };
            return Conclusion::new(
                Verdict::Regression,
                format!("Beyond a limit: {limits}.{also}"),
            );
        }
        if self.is_same_program {
            return Conclusion::inconclusive(format!(
                "Both programs are the same file, and still one is slower, tonight and again in a rerun: {slower}. The cause is not the \
                 program."
            ));
        }
        Conclusion::new(
            Verdict::Regression,
            format!("Slower than tolerated, tonight and again in a rerun: {slower}."),
        )
    }

    /// Whether most nights of the baseline were inconclusive.
    fn is_in_doubt(&self) -> bool {
        match self.plan.baseline {
            BaselineChoice::Last(n) if !self.is_paired() => {
                NightFolders::are_in_doubt(&self.folders.good_nights(n, self.place.as_deref()))
            }
            _ => false,
        }
    }

    /// Makes the night the baseline. It must have all its cells, because a missing cell would never be judged again.
    pub fn promote_whole(&self, verdict: Verdict, reason: &str) -> Result<Conclusion, Conclusion> {
        if self.failures.is_more_than_skipped {
            return Err(Conclusion::inconclusive(
                "Tonight cannot be the baseline: not every cell was measured as planned.",
            ));
        }
        if program::hash(&self.plan.program).ok() != Some(self.program_hash) {
            return Err(Conclusion::error(format!(
                "{} changed during the night; the measured version is not known",
                self.plan.program.display()
            )));
        }
        if let Err(reason) = self.promote() {
            if let Some(place) = &self.place {
                let _ = std::fs::remove_dir_all(place);
            }
            let reason = in_one_line(&reason);
            return Err(Conclusion::error(format!(
                "tonight cannot be made the baseline: {reason}"
            )));
        }
        self.prune();
        Ok(Conclusion::new(verdict, reason))
    }

    /// Keeps the program before the night is pinned, because a pinned night must have one.
    fn promote(&self) -> Result<()> {
        let run = self.run.as_deref().context("there is no run")?;
        let one_line = |e: HistoryError| anyhow!(e.to_string());
        let place = self.folders.history.add(run, false).map_err(one_line)?;
        program::keep(&self.plan.program, &place)
            .with_context(|| format!("{}: cannot keep the program", place.display()))?;
        self.folders.history.promote(run).map_err(one_line)?;
        Ok(())
    }

    pub fn prune(&self) {
        self.folders
            .prune(self.plan.kept_runs, self.plan.kept_records);
    }

    /// The night's folder in the history, if it is kept.
    pub fn kept_folder(&self) -> Option<PathBuf> {
        self.place.clone().filter(|place| locate(place).is_file())
    }

    /// What is known at the end.
    pub fn summary(&mut self, typed: &Typed) -> NightSummary {
        let trend = self.keep_beside();
        let can_be_paired = self.folders.old_program().is_some();
        let of_program = |words: &[OsString]| {
            let mut all = vec![OsString::from(&self.plan.program)];
            all.extend_from_slice(words);
            command_line(all.iter().map(|word| word.to_string_lossy()))
        };
        let report = self
            .run
            .as_ref()
            .map(|run| of_program(&["report".into(), run.into()]));
        let gate = (!self.gate.is_empty()).then(|| of_program(&self.gate));
        NightSummary {
            kind: self.plan.kind,
            night: self.facts.clone(),
            old_engine: self.old_engine.clone(),
            is_same_program: self.is_same_program,
            is_in_doubt: self.is_in_doubt(),
            notes: self.notes.clone(),
            page: self.page.clone(),
            failures: self.failures.clone(),
            trend,
            commands: Commands {
                again: typed.again.clone(),
                promote: typed.promote.clone(),
                in_turns: can_be_paired.then(|| typed.in_turns.clone()),
                report,
                gate,
            },
        }
    }

    /// Of a night that is kept: the promoted program's record, and the page of all nights as Markdown. Both are advisory: where one
    /// fails, the verdict stays.
    fn keep_beside(&mut self) -> String {
        let Some(folder) = self.kept_folder() else {
            return String::new();
        };
        if let Some(old_run) = &self.old_run {
            // The promoted program is the same every night, so its times show what the machine does.
            let record = File::open(locate(old_run));
            let _ = record.map(|record| put(&folder.join("promoted.jsonl"), record));
        }
        let summary = self.args.summary.as_deref().filter(|file| !is_stream(file));
        let to = match summary.and_then(Path::parent) {
            Some(folder) if folder.as_os_str().is_empty() => ".".into(),
            Some(folder) => folder.to_owned(),
            None => self.args.out.clone(),
        };
        let args = TrendArgs {
            history: self.plan.history.clone(),
            metric: self.args.metric,
            last: MOST_NIGHTS,
            to: Some(to),
            force: false,
            no_report: false,
            output: DocumentForm::Md,
        };
        let drawn = catch_unwind(AssertUnwindSafe(|| trend_drawn::drawn(&args)));
        let drawn = drawn.unwrap_or_else(|_| Err(anyhow!("a fault of the program, named above")));
        match drawn {
            Ok((_, document)) => document.markdown(),
            Err(e) => {
                let why = in_one_line(&e);
                self.notes.push(format!("no trend could be written: {why}"));
                String::new()
            }
        }
    }
}
