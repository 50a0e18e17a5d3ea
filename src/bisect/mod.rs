//! Which commit made it slow: revisions of a checkout are built, and measured in turns with the good one until each is decided.

pub(crate) mod build;
mod conclusion;
pub(crate) mod journal;
pub(crate) mod repository;
pub(crate) mod search;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::foreign::pairs::{Contender, PairSeries, PairTurns};
use crate::foreign::{ForeignProgram, ForeignTask};
use crate::metric::Metric;
use crate::run::Interrupt;
use crate::stats::sequential::{PairRule, PairVerdict};
use crate::units::nanoseconds;
use build::{BuildError, Builder};
use journal::{BisectJournal, BisectLine, BisectStep, SlowdownEffect};
use repository::Revision;
use search::{RevisionAnswer, Search};

use conclusion::{BisectConclusion, NamedEffect};
pub(crate) use conclusion::{BisectOutcome, BisectReport};

/// What is compared: decode time per token.
const METRIC: Metric = Metric::TpotNs;

/// Pairs before an answer: eight have an interval too.
pub(crate) const FEWEST_PAIRS: usize = 8;

/// Most pairs that measure a named commit against its predecessor. Its answer is known by then; this is for the size of its effect.
const MOST_PAIRS_OF_EFFECT: usize = 20;

/// What is asked of each program, and by which rule it is judged.
#[derive(Debug, Clone)]
pub(crate) struct BisectTask {
    pub task: ForeignTask,
    pub rule: PairRule,
    pub seed: u64,
    pub timeout: Duration,
    /// When the budget is over.
    pub deadline: Option<Instant>,
}

/// A search under way.
pub(crate) struct Bisection<'a> {
    pub asked: &'a BisectTask,
    pub builder: &'a Builder<'a>,
    pub journal: Option<&'a mut BisectJournal>,
    pub interrupt: &'a Interrupt,
    /// Is told what is done now.
    pub tell: &'a mut dyn FnMut(String),
    pub started: Instant,
    pub steps: Vec<BisectStep>,
    pub n_reused_steps: u32,
    pub n_builds: u32,
}

impl<'a> Bisection<'a> {
    pub fn new(
        asked: &'a BisectTask,
        builder: &'a Builder<'a>,
        journal: Option<&'a mut BisectJournal>,
        tell: &'a mut dyn FnMut(String),
    ) -> Self {
        Self {
            asked,
            builder,
            journal,
            interrupt: builder.interrupt,
            tell,
            started: Instant::now(),
            steps: Vec::new(),
            n_reused_steps: 0,
            n_builds: 0,
        }
    }

    /// Searches among `revisions`, which follow `good` up to the bad one.
    ///
    /// # Errors
    /// When an end does not build or crashes, or something fails that no revision is to blame for.
    pub fn search(mut self, good: &Revision, revisions: &[Revision]) -> Result<BisectReport> {
        let bad = revisions.last().context("no revision to search")?;
        let conclusion = self.conclude(good, revisions)?;
        Ok(conclusion::report(self, conclusion, good, bad, revisions))
    }

    fn conclude(&mut self, good: &Revision, revisions: &[Revision]) -> Result<BisectConclusion> {
        let Some(last) = revisions.last() else {
            bail!("no revision to search");
        };
        let Some(of_bad) = self.step(last, good)? else {
            return Ok(self.stopped(None));
        };
        match of_bad.answer {
            RevisionAnswer::NotSlower => return Ok(BisectConclusion::NotSlower),
            RevisionAnswer::Undecided => return Ok(BisectConclusion::EndsUndecided),
            RevisionAnswer::Skipped => bail!(
                "--bad {}: {}",
                last.short(),
                of_bad.why.as_deref().unwrap_or("cannot be measured")
            ),
            RevisionAnswer::Slower => {}
        }
        let mut search = Search::new(revisions.len());
        while let Some(at) = search.next() {
            let Some(step) = self.step(&revisions[at - 1], good)? else {
                return Ok(self.stopped(Some(&search)));
            };
            search.note(at, step.answer);
        }
        let (before, first) = search.borders();
        let effect = match before {
            0 => self.effect_of(&revisions[first - 1], good),
            _ => self.effect_of(&revisions[first - 1], &revisions[before - 1]),
        };
        // The commit is known, whatever becomes of measuring its effect.
        let effect = effect.unwrap_or_else(|error| {
            (self.tell)(format!("the effect could not be measured: {error:#}"));
            None
        });
        Ok(BisectConclusion::Found { search, effect })
    }

    fn stopped(&self, search: Option<&Search>) -> BisectConclusion {
        BisectConclusion::Stopped {
            search: search.cloned(),
            interrupted: self.interrupt.is_set(),
        }
    }

    fn is_stopped(&self) -> bool {
        let is_late = self.asked.deadline.is_some_and(|d| Instant::now() >= d);
        is_late || self.interrupt.is_set()
    }

    /// A revision's answer against the good one; `None` when it was stopped before that.
    ///
    /// # Errors
    /// When the good one does not build or crashes.
    pub fn step(&mut self, revision: &Revision, good: &Revision) -> Result<Option<BisectStep>> {
        self.measured(revision, good, self.asked.rule)
    }

    /// The effect of a named commit: against its predecessor, which is measured for it unless it is the good one.
    fn effect_of(
        &mut self,
        named: &Revision,
        predecessor: &Revision,
    ) -> Result<Option<NamedEffect>> {
        let rule = PairRule {
            most: self.asked.rule.most.min(MOST_PAIRS_OF_EFFECT),
            ..self.asked.rule
        };
        let step = self.measured(named, predecessor, rule)?;
        Ok(step.and_then(|step| {
            Some(NamedEffect {
                against: predecessor.clone(),
                effect: step.effect?,
            })
        }))
    }

    fn measured(
        &mut self,
        revision: &Revision,
        against: &Revision,
        rule: PairRule,
    ) -> Result<Option<BisectStep>> {
        let is_this = |step: &&BisectStep| {
            step.revision.commit == revision.commit && step.against == against.commit
        };
        if let Some(made) = self.steps.iter().find(is_this) {
            return Ok(Some(made.clone()));
        }
        let known = self.journal.as_ref();
        let is_answer = |step: &BisectStep| step.answer != RevisionAnswer::Undecided;
        let step = known.and_then(|journal| journal.known(revision, against));
        if let Some(step) = step.filter(is_answer) {
            self.n_reused_steps += 1;
            self.steps.push(step.clone());
            return Ok(Some(step));
        }
        if self.is_stopped() {
            return Ok(None);
        }
        let Some(step) = self.build_and_measure(revision, against, rule)? else {
            return Ok(None);
        };
        if let Some(journal) = &mut self.journal {
            journal.append(&BisectLine::Step(&step))?;
        }
        self.steps.push(step.clone());
        Ok(Some(step))
    }

    fn build_and_measure(
        &mut self,
        revision: &Revision,
        against: &Revision,
        rule: PairRule,
    ) -> Result<Option<BisectStep>> {
        let a = match self.build(against) {
            Ok((program, _)) => program,
            Err(BuildError::Stopped) => return Ok(None),
            Err(BuildError::Other(error)) => return Err(error),
            Err(BuildError::Failed(why)) => bail!("{}: {why}", against.short()),
        };
        let empty = BisectStep {
            revision: revision.clone(),
            against: against.commit.clone(),
            answer: RevisionAnswer::Skipped,
            effect: None,
            log_ratios: Vec::new(),
            n_failures: 0,
            why: None,
            error: 0.0,
            build_ns: None,
            measure_ns: 0,
        };
        let (b, build_ns) = match self.build(revision) {
            Ok(built) => built,
            Err(BuildError::Stopped) => return Ok(None),
            Err(BuildError::Other(error)) => return Err(error),
            Err(BuildError::Failed(why)) => {
                let why = Some(why);
                return Ok(Some(BisectStep { why, ..empty }));
            }
        };
        (self.tell)(format!("measuring {}", named(revision)));
        let begun = Instant::now();
        let Some(series) = self.pairs([a, b], rule)? else {
            return Ok(None);
        };
        let answered = answer(&series, &rule);
        Ok(Some(BisectStep {
            answer: answered,
            effect: series.decision(1, &rule).map(|d| SlowdownEffect::of(&d)),
            n_failures: series.n_failures(1),
            why: series.given_up(1).map(|why| format!("crashes: {why}")),
            error: match answered {
                RevisionAnswer::Slower => rule.alpha_slower,
                RevisionAnswer::NotSlower => rule.alpha_not_slower,
                RevisionAnswer::Skipped | RevisionAnswer::Undecided => 0.0,
            },
            log_ratios: series.log_ratios,
            build_ns,
            measure_ns: nanoseconds(begun.elapsed()),
            ..empty
        }))
    }

    fn build(&mut self, revision: &Revision) -> Result<(ForeignProgram, Option<u64>), BuildError> {
        if !self.builder.is_built(revision) {
            (self.tell)(format!("building {}", named(revision)));
        }
        let built = self.builder.build(revision)?;
        self.n_builds += u32::from(built.took.is_some());
        Ok((built.program, built.took.map(nanoseconds)))
    }

    /// Pairs until decided; `None` when it was stopped.
    ///
    /// # Errors
    /// When the side that is known to work does not.
    fn pairs(&mut self, [a, b]: [ForeignProgram; 2], rule: PairRule) -> Result<Option<PairSeries>> {
        let contender = |program| Contender {
            program,
            task: self.asked.task.clone(),
        };
        let (a, b) = (contender(a), contender(b));
        // Another order of turns in each step.
        let seed = self.asked.seed.wrapping_add(self.steps.len() as u64);
        let mut turns = PairTurns::new(seed, self.asked.timeout, self.interrupt);
        turns.deadline = self.asked.deadline;
        let mut series = PairSeries::default();
        while !is_over(&series, &rule) {
            if self.is_stopped() {
                return Ok(None);
            }
            let pair = turns.pair([&a, &b]);
            series.note(&pair, METRIC, [&a, &b]);
        }
        if let Some(why) = series.given_up(0) {
            bail!("{}: {why}", a.program.path.display());
        }
        Ok(Some(series))
    }
}

/// A revision as progress names it.
fn named(revision: &Revision) -> String {
    format!("{} {}", revision.short(), revision.subject)
}

/// Whether a program needs no further pair to be called slower or not. Whether it is faster matters to nobody here.
pub(crate) fn is_over(series: &PairSeries, rule: &PairRule) -> bool {
    let decided = series.decision(1, rule);
    decided.is_some_and(|d| d.verdict != PairVerdict::Undecided) || series.is_over(1, rule)
}

/// What a revision's pairs say of it.
pub(crate) fn answer(series: &PairSeries, rule: &PairRule) -> RevisionAnswer {
    if series.given_up(1).is_some() {
        return RevisionAnswer::Skipped;
    }
    match series.decision(1, rule).map(|d| d.verdict) {
        Some(PairVerdict::Slower) => RevisionAnswer::Slower,
        Some(PairVerdict::NotSlower | PairVerdict::Faster) => RevisionAnswer::NotSlower,
        Some(PairVerdict::Undecided) | None => RevisionAnswer::Undecided,
    }
}

/// The rule of each answer, so that the answers of a search of `n_revisions` are wrong with at most `error` together.
///
/// # Errors
/// For a number of pairs below the fewest.
pub(crate) fn rule_of(
    n_revisions: usize,
    tolerance: f64,
    error: f64,
    most: usize,
) -> Result<PairRule> {
    ensure!(
        most >= FEWEST_PAIRS,
        "--max-pairs {most}: an answer needs at least {FEWEST_PAIRS} pairs"
    );
    let each = error / f64::from(search::most_answers(n_revisions));
    Ok(PairRule {
        tolerance,
        alpha_slower: each,
        alpha_not_slower: each,
        alpha_faster: each,
        fewest: FEWEST_PAIRS,
        most,
        ..PairRule::default()
    })
}
