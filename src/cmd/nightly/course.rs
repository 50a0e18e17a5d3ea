//! The course of a night: look at what is there, measure, judge.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result};

use super::plan::{NightPlan, push_flag};
use crate::cli::{BaselineChoice, NightlyArgs};
use crate::cmd::INTERRUPTED;
use crate::engine::plugins;
use crate::nightly::child::{ChildEnd, Children};
use crate::nightly::folders::{NightFolders, RUN_NAME};
use crate::nightly::lock::NightLock;
use crate::nightly::page::GatePage;
use crate::nightly::summary::{NightFacts, NightKind};
use crate::nightly::{Conclusion, Failures, Verdict, cut_rounds, program};
use crate::record::PairSide;
use crate::record::history::History;
use crate::view::RunView;

/// What the gate's exit codes mean.
pub(super) const PASS: i32 = 0;
pub(super) const REGRESSION: i32 = 1;
pub(super) const UNDECIDED: i32 = 3;

/// A night under way: each step adds what it found.
pub(super) struct Night<'a> {
    pub(super) args: &'a NightlyArgs,
    pub(super) plan: NightPlan,
    pub(super) folders: NightFolders,
    pub(super) children: Children,
    pub(super) program_hash: [u8; 32],
    pub(super) notes: Vec<String>,
    pub(super) is_first: bool,
    pub(super) is_same_program: bool,
    pub(super) old_engine: Option<String>,
    pub(super) measuring_since: Instant,
    /// Tonight's run, and the promoted program's, of a pair.
    pub(super) run: Option<PathBuf>,
    pub(super) old_run: Option<PathBuf>,
    /// The folder in the history that the run has or would have.
    pub(super) place: Option<PathBuf>,
    pub(super) facts: Option<NightFacts>,
    pub(super) failures: Failures,
    pub(super) page: GatePage,
    /// The gate's words, for people.
    pub(super) gate: Vec<OsString>,
}

impl<'a> Night<'a> {
    /// A night before anything is measured.
    ///
    /// # Errors
    /// When the program cannot be read.
    pub fn new(
        args: &'a NightlyArgs,
        plan: NightPlan,
        children: Children,
        lock: &NightLock,
    ) -> Result<Self> {
        let cut_off = lock.cut_off.iter().map(|holder| {
            format!("an earlier nightly, {holder}, did not end in order; its lock was taken over")
        });
        let cannot_read = || format!("{}: cannot be read", plan.program.display());
        Ok(Self {
            folders: NightFolders {
                out: args.out.clone(),
                history: History::at(&plan.history),
            },
            program_hash: program::hash(&plan.program).with_context(cannot_read)?,
            args,
            plan,
            children,
            notes: cut_off.collect(),
            is_first: false,
            is_same_program: false,
            old_engine: None,
            measuring_since: Instant::now(),
            run: None,
            old_run: None,
            place: None,
            facts: None,
            failures: Failures::default(),
            page: GatePage::default(),
            gate: Vec::new(),
        })
    }

    /// The whole night.
    ///
    /// # Errors
    /// A conclusion that came early.
    pub fn course(&mut self) -> Result<Conclusion, Conclusion> {
        let old_program = self.prepare()?;
        self.measure(&old_program)?;
        if self.is_first {
            return self.first_night();
        }
        let judged = self.judge()?;
        let code = self.code_of(&judged);
        if self.args.promote && code != Some(INTERRUPTED.into()) {
            let was = self.page.labelled("verdict").map(str::to_owned);
            let was = was.unwrap_or_else(|| format!("not comparable ({})", judged.last_words()));
            let reason = format!(
                "Tonight is now the baseline, as requested. Compared with the previous baseline: {was}."
            );
            return self.promote_whole(Verdict::Promoted, &reason);
        }
        if matches!(code, Some(PASS | REGRESSION | UNDECIDED)) {
            self.prune();
        }
        Ok(self.conclude(code, judged.last_words()))
    }

    /// The end of a night without an earlier one: limits are judged, and what they do not forbid is the baseline.
    fn first_night(&mut self) -> Result<Conclusion, Conclusion> {
        const FIRST: &str = "This is the first night, so there is no earlier night for a comparison. It is now the baseline.";
        if self.args.require.is_empty() {
            return self.promote_whole(Verdict::FirstNight, FIRST);
        }
        let judged = self.judge_limits()?;
        let code = self.code_of(&judged);
        let is_promoted = match code {
            Some(PASS | UNDECIDED) => true,
            Some(REGRESSION) => self.args.promote,
            _ => false,
        };
        let end = self.conclude(code, judged.last_words());
        if !is_promoted {
            // The next night is the first again.
            return Ok(end);
        }
        match code {
            Some(PASS) => self.promote_whole(Verdict::FirstNight, FIRST),
            _ if self.args.promote => {
                let reason = format!("{FIRST} {}", end.reason);
                self.promote_whole(Verdict::FirstNight, &reason)
            }
            _ => self.promote_whole(end.verdict, &format!("{FIRST} {}", end.reason)),
        }
    }

    /// Looks at what is there, and returns the promoted program where it is measured too.
    fn prepare(&mut self) -> Result<PathBuf, Conclusion> {
        let folders = &self.folders;
        let old_program = folders.old_program();
        let is_named = matches!(self.plan.baseline, BaselineChoice::Run(_));
        self.is_first = !is_named && folders.nights().is_empty() && folders.pinned().is_none();
        // The first night, and one that is made the baseline, need no other program.
        let needs_none = self.is_first || (self.args.promote && old_program.is_none());
        if self.is_paired() && needs_none {
            self.plan.kind = NightKind::Cells;
        }
        if self.is_paired() {
            let Some(old) = &old_program else {
                return Err(Conclusion::error(format!(
                    "{}: no promoted night with its program to measure in turns; --promote keeps one, --nights needs none",
                    self.plan.history.display()
                )));
            };
            self.is_same_program = program::are_same(&self.plan.program, old);
            if self.is_same_program {
                self.notes.push(
                    "tonight's program is the promoted one, byte for byte: this night checks the machine and the measurement"
                        .to_owned(),
                );
            }
        }
        self.check_room()?;
        self.notes.extend(self.folders.leftovers());
        let before = match (&self.plan.baseline, self.is_paired()) {
            (_, true) | (BaselineChoice::Pinned, _) => self.folders.pinned(),
            (BaselineChoice::Last(n), _) => self.folders.good_nights(*n, None).into_iter().next(),
            (BaselineChoice::Run(run), _) => Some(run.clone()),
            (BaselineChoice::Nothing, _) => None,
        };
        let view = before.and_then(|run| RunView::read(&run).ok());
        self.old_engine = view.map(|view| NightFacts::of(&view).engine);
        Ok(old_program.unwrap_or_default())
    }

    pub fn is_paired(&self) -> bool {
        self.plan.kind == NightKind::Pairs
    }

    /// Ends the night before it begins if there is no room for its records, copies and rerun.
    fn check_room(&self) -> Result<(), Conclusion> {
        let keeps_program = self.args.promote || self.is_first;
        let program = std::fs::metadata(&self.plan.program).map_or(0, |m| m.len());
        let more = if keeps_program { program } else { 0 };
        let n_records = if self.is_paired() { 2 } else { 1 };
        let room = self.folders.check_room(n_records, more);
        room.map_err(Conclusion::error)
    }

    /// Measures, and finds the one new folder. The lock excludes other nights.
    fn measure(&mut self, old_program: &Path) -> Result<(), Conclusion> {
        let before = self.folders.runs();
        self.measuring_since = Instant::now();
        let mut words = self.plan.measurement(self.args, old_program);
        push_flag(&mut words, "--out", &self.args.out);
        push_flag(&mut words, "--name", RUN_NAME);
        words.extend(self.plan.flags.iter().map(OsString::from));
        let end = self.start(&words)?;
        let mut new = self.folders.runs();
        new.retain(|name| !before.contains(name));
        if new.len() > 1 {
            return Err(Conclusion::error(format!(
                "{}: several runs named {RUN_NAME} were made at the same time; the run of this night cannot be identified",
                self.args.out.display()
            )));
        }
        if let Some(name) = new.pop() {
            self.found(&name);
        }
        // Nothing is judged yet, so the night ends here.
        if self.children.is_interrupted() {
            let reason = "The night was interrupted during the measurement; nothing was judged.";
            return Err(Conclusion::new(Verdict::Interrupted, reason));
        }
        match (end.code, self.run.clone()) {
            (Some(0 | 1), Some(run)) => self.look_at(&run),
            (Some(0 | 1), None) => Err(Conclusion::error(format!(
                "the measurement wrote no run into {}: {}",
                self.args.out.display(),
                end.last_words()
            ))),
            _ => Err(Conclusion::error(format!(
                "the measurement ended with {}: {}",
                end.how,
                end.last_words()
            ))),
        }
    }

    /// The night has a run, of whatever use it is.
    fn found(&mut self, name: &str) {
        let folder = self.args.out.join(name);
        let run = match self.is_paired() {
            true => {
                self.old_run = Some(folder.join(PairSide::A.folder()));
                folder.join(PairSide::B.folder())
            }
            false => folder,
        };
        let unknown = |_| NightFacts::unknown(name);
        let known = RunView::read(&run).map(|view| NightFacts::of(&view));
        self.facts = Some(known.unwrap_or_else(unknown));
        self.run = Some(run);
    }

    /// Reads what was measured: there must be something.
    fn look_at(&mut self, run: &Path) -> Result<(), Conclusion> {
        let read = |run: &Path| {
            let view = RunView::read(run);
            view.map_err(|e| Conclusion::error(format!("the measurement cannot be read: {e}")))
        };
        let view = read(run)?;
        self.place = self.folders.history.place_of(run).ok();
        self.failures.add(&view, "");
        self.notes.extend(cut_rounds(&view));
        if let Some(old_run) = &self.old_run {
            self.failures.add(&read(old_run)?, "the promoted program, ");
        }
        if view.any_measured() {
            return Ok(());
        }
        let first = self.failures.lines.first();
        let why = first.map_or("it was not said why", String::as_str);
        Err(Conclusion::error(format!(
            "no cell could be measured: {why}"
        )))
    }

    /// Runs the program as a child.
    fn start(&self, words: &[OsString]) -> Result<ChildEnd, Conclusion> {
        let mut command = Command::new(&self.plan.program);
        command.args(&words[..1]);
        if let Some(folder) = plugins::extra_folder() {
            command.arg("--backends").arg(folder);
        }
        command.args(&words[1..]);
        self.children.run(&mut command).map_err(|e| {
            let program = self.plan.program.display();
            Conclusion::error(format!("{program}: cannot be started: {e}"))
        })
    }

    /// A child's exit code. One that came to a verdict has done its work, whatever signal arrived then.
    fn code_of(&self, end: &ChildEnd) -> Option<i32> {
        match end.code {
            code @ Some(PASS | REGRESSION | UNDECIDED) => code,
            _ if self.children.is_interrupted() => Some(INTERRUPTED.into()),
            code => code,
        }
    }

    /// Judges the night.
    fn judge(&mut self) -> Result<ChildEnd, Conclusion> {
        let against = match &self.old_run {
            Some(old_run) => old_run.clone().into(),
            None => OsString::from(&self.plan.baseline_text),
        };
        let run = self.run.clone().unwrap_or_default();
        let mut words: Vec<OsString> = vec!["gate".into(), run.into()];
        push_flag(&mut words, "--baseline", against);
        push_flag(&mut words, "--history", &self.plan.history);
        let settings = [
            (
                "--metric",
                self.args.metric.map(|metric| metric.to_string()),
            ),
            (
                "--tolerance",
                self.args.tolerance.map(|share| share.to_string()),
            ),
            (
                "--night-sd",
                self.args.night_sd.map(|share| share.to_string()),
            ),
        ];
        for (flag, value) in settings {
            if let Some(value) = value {
                push_flag(&mut words, flag, value);
            }
        }
        self.push_limits(&mut words);
        self.gate = words.clone();
        if !self.args.promote {
            words.push("--rerun".into());
            words.push("--keep".into());
            words.extend(self.plan.engine.iter().map(OsString::from));
            if let (true, Some(budget_s)) = (self.is_paired(), self.plan.budget_s) {
                // Loading and the first pairs may have used more than the measurement's two thirds.
                let left = budget_s.saturating_sub(self.measuring_since.elapsed().as_secs());
                let budget_s = left.max(budget_s.div_ceil(3));
                push_flag(&mut words, "--budget", format!("{budget_s}s"));
            }
        }
        let end = self.print_page(words)?;
        if let Some(rerun) = self.page.labelled("rerun") {
            // The rerun of a pair is named by its side.
            let rerun = match self.is_paired() {
                true => rerun.strip_suffix("-b").unwrap_or(rerun),
                false => rerun,
            };
            let confirm = self.args.out.join(rerun);
            push_flag(&mut self.gate, "--confirm", confirm);
        }
        Ok(end)
    }

    /// Judges a night that has nothing to be compared with.
    fn judge_limits(&mut self) -> Result<ChildEnd, Conclusion> {
        let run = self.run.clone().unwrap_or_default();
        let mut words: Vec<OsString> = vec!["gate".into(), run.into()];
        push_flag(&mut words, "--baseline", "none");
        self.push_limits(&mut words);
        self.gate = words.clone();
        self.print_page(words)
    }

    fn push_limits(&self, words: &mut Vec<OsString>) {
        for limit in &self.args.require {
            push_flag(words, "--require", limit.to_string());
        }
    }

    /// Runs the gate and takes its page.
    fn print_page(&mut self, mut words: Vec<OsString>) -> Result<ChildEnd, Conclusion> {
        push_flag(&mut words, "-o", "md");
        let end = self.start(&words)?;
        self.page = GatePage::new(end.printed.clone());
        Ok(end)
    }
}
