//! What `report` can be told.

use std::path::PathBuf;

use clap::Args;

use crate::analysis::capacity::Slo;
use crate::price::Price;
use crate::report::{Output, ReportFiles};

/// A report from records alone.
#[derive(Debug, Clone, Args)]
pub struct ReportArgs {
    /// The run's folder, or its run.jsonl; `latest` is the newest run below out that ended. Several of one machine are reported as
    /// one [default: the newest run below out]
    #[arg(value_name = "RUN")]
    pub runs: Vec<PathBuf>,
    /// The folder of runs whose newest is meant where no run is named [default: out]
    #[arg(long, value_name = "DIR", conflicts_with = "runs")]
    pub out: Option<PathBuf>,
    /// Print the table in this form, and write nothing
    #[arg(
        short = 'o',
        long,
        value_enum,
        conflicts_with_all = ["html", "md", "csv", "card", "to"]
    )]
    pub output: Option<Output>,
    /// Folder for report.html, report.md, plots/ and cells.csv [default: the first run's]
    #[arg(long, value_name = "DIR")]
    pub to: Option<PathBuf>,
    /// Write the page here, and only what else is named
    #[arg(long, value_name = "FILE", conflicts_with = "to")]
    pub html: Option<PathBuf>,
    /// Write the document here, with its plots in plots/ beside it
    #[arg(long, value_name = "FILE", conflicts_with = "to")]
    pub md: Option<PathBuf>,
    /// Write a row for each cell here
    #[arg(long, value_name = "FILE", conflicts_with = "to")]
    pub csv: Option<PathBuf>,
    /// Write one picture of 1200 x 630 here (PNG), for a post or a chat: models, machine, the answer, and the fastest cells
    #[arg(long, value_name = "FILE", conflicts_with = "to")]
    pub card: Option<PathBuf>,
    /// Replace files of these names that ggufbench did not write
    #[arg(long, conflicts_with = "output")]
    pub force: bool,
    /// Limits on latency, such as tpot=50ms,ttft=2s (also itl=100ms, a p99): the answers name the file and batch that meet them
    ///
    /// tpot is the time per output token, ttft that to the first one, itl the gap between two. Percentiles: itl_p95, of requests also ttft_p95=2s.
    #[arg(long, value_name = "LIMITS")]
    pub slo: Option<Slo>,
    /// Price of energy, such as 0.30/kWh, 0.30EUR/kWh or $0.30/kWh: cost per million generated tokens, where energy was measured
    #[arg(long, value_name = "PRICE")]
    pub price: Option<Price>,
}

impl ReportArgs {
    /// The files that were named one by one.
    pub fn named_files(&self) -> ReportFiles {
        ReportFiles {
            html: self.html.clone(),
            markdown: self.md.clone(),
            csv: self.csv.clone(),
            card: self.card.clone(),
            force: self.force,
        }
    }
}
