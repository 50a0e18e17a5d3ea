//! What requests would cost, before they are sent: memory and time of every job at every target, and what does not fit.

use std::time::Duration;

use crate::plan::Case;
use crate::report::dry_run::{Over, fits, time};
use crate::report::notes;
use crate::report::table::{Document, Note, Table};
use crate::request::shown_target;
use crate::text::{plural, short};
use crate::units;

/// A job at a target, and its price.
#[derive(Debug, Clone, PartialEq)]
pub struct RequestsDryRow {
    /// The job's name.
    pub job: String,
    /// The target, with the parts of its setting that vary.
    pub target: String,
    /// The context that it needs in this process.
    pub case: Case,
    /// Most requests of a round.
    pub n_requests: u32,
    /// Requests that are under way at once, at most.
    pub at_once: u32,
    /// What it costs; `None` of a server, which nothing is known of before it has answered.
    pub price: Option<JobPrice>,
}

/// The price of a job in this process.
#[derive(Debug, Clone, PartialEq)]
pub struct JobPrice {
    /// Of the model and its contexts.
    pub memory_bytes: u64,
    /// Whether that fits; else where it does not.
    pub fits: Result<(), Over>,
    /// About the time of a round, where every answer has all the tokens that it may have.
    pub round: Duration,
}

impl RequestsDryRow {
    /// Whether it is to be served, as far as that is known beforehand.
    pub fn fits(&self) -> bool {
        self.price.as_ref().is_none_or(|price| price.fits.is_ok())
    }

    fn over(&self) -> Option<&Over> {
        self.price.as_ref()?.fits.as_ref().err()
    }
}

/// The jobs with their prices; `times` says how often each is served, `below` what else is to be known.
pub fn document(rows: &[RequestsDryRow], times: &str, below: Vec<String>) -> Document {
    let one_target = rows.iter().all(|r| r.target == rows[0].target);
    let target = rows.first().filter(|_| one_target);
    let over = rows.iter().filter_map(|r| Some((r, r.over()?)));
    let skipped = over
        .clone()
        .map(|(r, over)| (&r.case, over.device.is_some()));
    let skipped: Vec<(&Case, bool)> = skipped.collect();
    let remedy = (!skipped.is_empty()).then(|| Note::new("", notes::to_fit(skipped)));
    let name = |r: &RequestsDryRow| match one_target {
        true => short(&r.job),
        false => format!("{} at {}", short(&r.job), shown_target(&r.target)),
    };
    let shown = target.map_or_else(String::new, |r| shown_target(&r.target));
    Document::new("", table(rows, one_target))
        .above("target", shown)
        .above("jobs", times)
        .all_below(below.into_iter().map(|text| Note::new("", text)))
        .all_below(over.map(|(r, over)| over.line(&name(r))))
        .all_below(remedy)
}

fn table(rows: &[RequestsDryRow], one_target: bool) -> Table {
    let price = |r: &'_ RequestsDryRow| r.price.clone();
    let mut table = Table::of(rows);
    if !one_target {
        let group = |target: &str| (target.to_owned(), shown_target(target));
        table = table.groups("target", |r| group(&r.target));
    }
    table
        .words("job", |r| short(&r.job))
        .numbers("requests", |r| r.n_requests)
        .numbers("at once", |r| r.at_once)
        .rank(1)
        .numbers("tokens each", |r| r.case.n_gen)
        .rank(2)
        .numbers("memory", move |r| {
            Some(units::bytes(price(r)?.memory_bytes))
        })
        .numbers("a round", move |r| {
            let price = price(r)?;
            Some(match price.fits {
                Ok(()) => format!("~{}", time(price.round)),
                Err(_) => "skipped".to_owned(),
            })
        })
        .words("fits", move |r| Some(fits(&price(r)?.fits)))
        .without_empty_columns(1)
        .table()
}

/// `2 jobs in 3 processes, ...`: how often everything is done.
pub fn times(n_jobs: usize, rounds: &str) -> String {
    let n = u32::try_from(n_jobs).unwrap_or(u32::MAX);
    let jobs = plural(n, "job", "jobs");
    format!("{jobs} in {rounds}, with at most these requests and tokens")
}
