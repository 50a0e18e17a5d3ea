//! A history read, and its trend drawn: what `trend` and `nightly` share.

use anyhow::{Context, Result, anyhow, ensure};

use crate::cli::TrendArgs;
use crate::metric::Metric;
use crate::record::history::History;
use crate::record::jsonl::read_header;
use crate::report::table::Note;
use crate::report::{Document, ReportError, trend as report_of};
use crate::trend::Trend;

/// The trend as a table, with its page and picture written unless they are not asked for.
///
/// # Errors
/// When the history cannot be read or has no night, or a file cannot be written.
pub(super) fn drawn(args: &TrendArgs) -> Result<(Trend, Document)> {
    let folder = &args.history;
    ensure!(
        folder.is_dir(),
        "{}: no such folder; `ggufbench gate RUN --keep` and `ggufbench nightly` keep a history",
        folder.display()
    );
    let history = History::at(folder);
    let trend = Trend::read(&history, metric(args, &history)?, args.last)?;
    let reasons = trend.left_out.iter().map(|reason| format!("; {reason}"));
    ensure!(
        trend.cells.iter().any(|cell| !cell.medians.is_empty()),
        "{}: has no night with {} to show by {}{}",
        folder.display(),
        trend.metric.work(),
        trend.metric,
        reasons.collect::<String>()
    );
    let mut document = report_of::document(&trend);
    if !args.no_report {
        let to = args.to.as_deref().unwrap_or(folder);
        std::fs::create_dir_all(to)
            .with_context(|| format!("{}: cannot make the folder", to.display()))?;
        let written = report_of::write(&trend, to, args.force).map_err(|e| match e {
            ReportError::Io { .. } => anyhow!("{e}; name another place with --to"),
            other => other.into(),
        })?;
        let notes = written.iter().zip(["page", "picture"]);
        document = document
            .all_below(notes.map(|(path, what)| Note::whole(what, path.display().to_string())));
    }
    Ok((trend, document))
}

/// The metric that is named, or the one by which the newest night is judged.
fn metric(args: &TrendArgs, history: &History) -> Result<Metric> {
    if let Some(metric) = args.metric {
        return Ok(metric);
    }
    let nights = history.all()?;
    let newest = nights
        .folders
        .iter()
        .find_map(|night| read_header(night).ok());
    Ok(newest.map_or(Metric::StepNs, |header| header.usual_metric()))
}
