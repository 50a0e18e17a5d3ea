//! One load for a while: what it takes of the machine, and whether the rate stays.

use crate::analysis::words::or_unknown;
use crate::analysis::{Finding, Sure};
use crate::request::Experiment;
use crate::request::shown_target;
use crate::text::plural;
use crate::units;
use crate::view::RunView;
use crate::view::requests::{JobDoubt, JobView, RequestsView};

/// How the second half of a job's time differs from the first.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RateDrift {
    /// Tokens of whole answers a second in the second half, over those of the first.
    pub rate: f64,
    /// Answers in both halves together, over all rounds.
    pub n: u32,
    /// How far from 1 the rate can come by which answers end just before the middle and which just after.
    pub luck: f64,
}

impl RateDrift {
    /// Of a job; none with fewer than [`FEWEST`] answers in a half. Answers count by when they ended, with all their
    /// tokens.
    pub fn of(job: &JobView) -> Option<Self> {
        let mut halves = [(0_u32, 0.0), (0_u32, 0.0)];
        for round in &job.rounds {
            let elapsed = round.elapsed_ns?;
            let own = job.requests.iter().filter(|s| s.round == round.round);
            for sent in own.filter(|s| s.is_answered()) {
                let half = &mut halves[usize::from(sent.ended_ns > elapsed / 2)];
                half.0 += 1;
                half.1 += f64::from(sent.n_generated?);
            }
        }
        let [(n_first, first), (n_second, second)] = halves;
        (n_first.min(n_second) >= FEWEST && first > 0.0).then(|| Self {
            rate: second / first,
            n: n_first + n_second,
            luck: job.rounds.len() as f64 * f64::from(job.at_once()) / f64::from(n_first),
        })
    }
}

/// Fewer answers in half of the time say nothing of its rate.
pub const FEWEST: u32 = 5;

/// Changes of the rate up to this do not matter.
const STEADY: f64 = 0.1;

/// The job that loads a target for a while.
pub fn job<'a>(requests: &'a RequestsView, target: &str) -> Option<&'a JobView> {
    let mut own = requests.of(Experiment::Sustained);
    own.find(|j| j.target == target)
}

/// What sustained load takes at a target; none where it was not measured.
pub fn finding(view: &RunView, requests: &RequestsView, target: &str) -> Option<Finding> {
    let job = job(requests, target)?;
    let rate = job.requests_per_s?;
    let cores = view.header.machine.cpu.available_cores.filter(|n| *n > 0);
    let cpu = job.usage.process_cpu_percent.zip(cores).map(|(p, cores)| {
        let share = p.mean / f64::from(cores);
        let threads = plural(cores, "thread", "threads");
        format!(", {share:.0}% of {threads} on average")
    });
    let memory = job.usage.rss_bytes.map(|b| {
        format!(
            ", {} of memory on average and {} at most",
            units::bytes(b.mean),
            units::bytes(b.max)
        )
    });
    let drift = RateDrift::of(job);
    let stays = stays(drift);
    let too_much = |d: &&JobDoubt| matches!(d, JobDoubt::Overloaded { .. });
    let overloaded = job.doubts.iter().find(too_much);
    let overloaded = overloaded.map(|d| format!(" The load was too much: {d}."));
    let rounds = job.rounds.iter().filter_map(|r| {
        Some(format!(
            "Round {}: {} requests/s, {} tokens/s over {}.",
            r.round + 1,
            units::significant(r.requests_per_s?),
            or_unknown(r.tokens_per_s.map(units::significant)),
            units::duration(r.elapsed_ns?)
        ))
    });
    let halves = drift.map(|d| {
        format!(
            "Of {} answers those that ended in the second half of the time had {} times the tokens of the others.",
            d.n,
            units::significant(d.rate)
        )
    });
    let claim = format!(
        "{}, {}: {} requests/s{}{}.{stays}{}",
        shown_target(target),
        super::load(&job.job.load),
        units::significant(rate.value),
        cpu.unwrap_or_default(),
        memory.unwrap_or_default(),
        overloaded.unwrap_or_default()
    );
    let is_known =
        drift.is_none_or(|d| (d.rate - 1.0).abs() <= STEADY || (d.rate - 1.0).abs() > d.luck);
    let sure = Sure::shown_if(rate.interval.is_some() && !job.is_disturbed() && is_known);
    let finding = Finding::new("What does sustained load take?", claim, sure);
    Some(
        finding
            .with(rounds.chain(halves))
            .see(&["requests_over_time"]),
    )
}

/// What the drift says, in a sentence.
fn stays(drift: Option<RateDrift>) -> String {
    match drift {
        Some(d) if (d.rate - 1.0).abs() <= STEADY => " The rate holds.".to_owned(),
        Some(d) if (d.rate - 1.0).abs() <= d.luck => {
            " A longer load is needed to tell whether the rate holds.".to_owned()
        }
        Some(d) => format!(
            " The second half gave {} times the tokens/s of the first.",
            units::significant(d.rate)
        ),
        None => String::new(),
    }
}
