//! What can be typed after `nightly`.

use std::path::PathBuf;

use clap::Args;

use super::judging::share;
use crate::gate::Requirement;
use crate::metric::Metric;

/// One night. The verb itself says what is wrong with most values, in the words that the logs of nights have.
#[derive(Debug, Clone, Args)]
// Of several the last counts: a job's own line may be followed by what is to be different tonight.
#[command(args_override_self = true)]
pub struct NightlyArgs {
    /// The sweep to measure: a TOML file, or the name of a built-in one [default: sweeps/nightly.toml, else the built-in one]
    #[arg(long, value_name = "FILE")]
    pub sweep: Option<PathBuf>,
    /// Wall time of the night, with the confirmation of a regression [default: the sweep's, else 5m]
    #[arg(long, value_name = "TIME")]
    pub budget: Option<String>,
    /// Slow-down that is accepted [default: 2%; with --nights 3%]
    #[arg(long, value_name = "SHARE", value_parser = share)]
    pub tolerance: Option<f64>,
    /// A limit in absolute values, such as 'step<=12ms' or 'decode>=200@*/b8/*', as of `gate`; repeatable. A night beyond it is a
    /// regression, the first one too
    #[arg(long, value_name = "METRIC<=VALUE[@GLOB]")]
    pub require: Vec<Requirement>,
    /// Make tonight the baseline, whatever the verdict; exit code 0
    #[arg(long)]
    pub promote: bool,
    /// Measure tonight's program alone, and compare it with other nights
    #[arg(long, help_heading = "Other nights")]
    pub nights: bool,
    /// The other nights: `last:N`, `pinned` (the promoted one) or a run; implies --nights [default: last:14]
    #[arg(long, value_name = "RUN|pinned|last:N", help_heading = "Other nights")]
    pub baseline: Option<String>,
    /// Spread between nights, assumed until the history shows it; implies --nights [default: 3.5%]
    #[arg(long, value_name = "SHARE", value_parser = share, help_heading = "Other nights")]
    pub night_sd: Option<f64>,
    /// Measure whole requests instead of a sweep: `ggufbench requests` with the flags after --; implies --nights
    #[arg(long, help_heading = "Other nights")]
    pub requests: bool,
    /// What is judged: any metric of `gate` [default: step; with --requests request_latency]
    #[arg(long)]
    pub metric: Option<Metric>,
    /// The default: measure the promoted program too, in turns with tonight's
    #[arg(long)]
    pub paired: bool,
    /// Folder of the runs
    #[arg(
        long,
        value_name = "DIR",
        default_value = "out",
        help_heading = "Folders"
    )]
    pub out: PathBuf,
    /// Folder of earlier nights [default: history, in the folder of the runs]
    #[arg(long, value_name = "DIR", help_heading = "Folders")]
    pub history: Option<PathBuf>,
    /// Number of nights to keep in both folders; the promoted night is always kept [default: 60 runs, and the records of 180 nights in
    /// the history]
    #[arg(long, value_name = "N", help_heading = "Folders")]
    pub keep_nights: Option<String>,
    /// Also write the summary to this file, in one step, and the trend's page and picture beside it; the summary always goes to standard
    /// output
    #[arg(long, value_name = "FILE", help_heading = "Folders")]
    pub summary: Option<PathBuf>,
    /// Flags of the measurement, such as `-- --threads 8`
    #[arg(last = true, value_name = "FLAGS")]
    pub flags: Vec<String>,
}
