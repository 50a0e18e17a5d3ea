//! What can be typed after `compare`, `gate` and `trend`.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::Args;

use crate::compare::axis::ComparedAxis;
use crate::file::home;
use crate::gate::Requirement;
use crate::metric::Metric;
use crate::price::Price;
use crate::report::DocumentForm;
use crate::trend;

/// Two sides.
#[derive(Debug, Clone, Args)]
pub struct CompareArgs {
    /// Side A: a run's folder, or its run.jsonl; `latest` is the newest run below out
    pub a: PathBuf,
    /// Side B [default: the same run, with --axis]
    pub b: Option<PathBuf>,
    /// Axis in which the sides differ: threads, or threads=1,2 for A's value and B's; repeatable
    #[arg(long, value_name = "NAME[=A,B]")]
    pub axis: Vec<ComparedAxis>,
    /// The metric that is compared.
    #[arg(long, help = compared_by())]
    pub metric: Option<Metric>,
    /// Changes up to this do not matter [default: 3%; of a pair measured until decided, what it was measured for]
    #[arg(long, alias = "tolerance", value_name = "SHARE", value_parser = share)]
    pub same_within: Option<f64>,
    /// Both sides must have outputs to compare, measured with --check-output. Outputs that both have are compared in any case; exit
    /// code 1 where they differ
    #[arg(long)]
    pub check_output: bool,
    /// Price of energy, such as 0.30/kWh, 0.30EUR/kWh or $0.30/kWh: cost per million generated tokens of both sides
    #[arg(long, value_name = "PRICE")]
    pub price: Option<Price>,
    /// Form of the table on standard output; `md` begins with t/s before and after, for a pull request
    #[arg(short = 'o', long, value_enum, default_value_t)]
    pub output: DocumentForm,
}

/// What a night is held against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BaselineChoice {
    /// The promoted run of the history.
    Pinned,
    /// The last nights of the history, at most this number.
    Last(usize),
    /// A run's folder, or its record.
    Run(PathBuf),
    /// Nothing: only limits in absolute values are judged.
    Nothing,
}

impl FromStr for BaselineChoice {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        match s.split_once(':') {
            None if s == "pinned" => Ok(Self::Pinned),
            None if s == "none" => Ok(Self::Nothing),
            Some(("last", n)) => match n.parse() {
                Ok(n) if n > 0 => Ok(Self::Last(n)),
                _ => Err(format!("'{n}' is no number of nights; say last:14")),
            },
            _ => Ok(Self::Run(home::expanded(Path::new(s))?)),
        }
    }
}

/// How the cells of a night are judged.
#[derive(Debug, Clone, Args)]
pub struct JudgeArgs {
    /// What cells are judged by.
    #[arg(long, help = judged_by())]
    pub metric: Option<Metric>,
    /// Slow-down that is tolerated [default: 3%; of a pair measured until decided, what it was measured for]
    #[arg(long, alias = "same-within", value_name = "SHARE", value_parser = share)]
    pub tolerance: Option<f64>,
    /// Chance of any false suspicion among a night's cells (Holm)
    #[arg(long, value_name = "P", default_value = "0.001", value_parser = share)]
    pub alpha: f64,
    /// How much nights differ (standard deviation), where a single run is the baseline and the history is too short to tell
    #[arg(long, value_name = "SHARE", default_value = "3.5%", value_parser = share)]
    pub night_sd: f64,
    /// Judge only the cells whose names match, such as '*/b32/*'. A job of requests is also named without its target and setting,
    /// such as 'concurrency/c8'; repeatable
    #[arg(long, value_name = "GLOB")]
    pub cell: Vec<glob::Pattern>,
}

/// A night to judge.
#[derive(Debug, Clone, Args)]
pub struct GateArgs {
    /// The night's run: its folder, or its run.jsonl; `latest` is the newest run below out. Of a pair's folder, which `ab` writes, side B is
    /// judged against side A
    pub run: PathBuf,
    /// A run, or of the history: `pinned`, the promoted run, or `last:N`, the last N nights; `none` with --require
    #[arg(long, value_name = "RUN|pinned|last:N|none", default_value = "pinned")]
    pub baseline: BaselineChoice,
    /// A limit in absolute values, such as 'step<=12ms' or 'decode>=200', and 'ttft<=2s@*/b8/*' for the cells whose names match;
    /// repeatable. Exit code 1 where the whole 95% interval of a cell is beyond it, 3 where the limit is in the interval
    #[arg(long, value_name = "METRIC<=VALUE[@GLOB]")]
    pub require: Vec<Requirement>,
    /// How cells are judged.
    #[command(flatten)]
    pub judge: JudgeArgs,
    /// Measure suspected cells again, as a run of its own; only what is seen twice is a regression
    #[arg(long)]
    pub rerun: bool,
    /// Wall time for the rerun, such as 90s; every suspected cell is measured once in any case [default: that of the run]
    #[arg(long, value_name = "TIME", requires = "rerun")]
    pub budget: Option<String>,
    /// A rerun that was made already
    #[arg(long, value_name = "RUN", conflicts_with = "rerun")]
    pub confirm: Option<PathBuf>,
    /// The night and its baseline must have outputs to compare, measured with --check-output. Outputs that both have are compared
    /// in any case; one that differs is a regression
    #[arg(long)]
    pub check_output: bool,
    /// The folder of earlier nights
    #[arg(long, value_name = "DIR", default_value = "out/history")]
    pub history: PathBuf,
    /// Copy the run into the history; a night that is suspected or failed is kept out of later baselines
    #[arg(long)]
    pub keep: bool,
    /// Judge nothing: copy the run into the history and make it the baseline
    #[arg(long, conflicts_with_all = ["baseline", "metric", "rerun", "confirm", "keep", "cell", "require"])]
    pub promote: bool,
    /// Form of the verdict on standard output
    #[arg(short = 'o', long, value_enum, default_value_t)]
    pub output: DocumentForm,
    /// Append the verdict and t/s before and after to this file, as Markdown for a CI page: "$GITHUB_STEP_SUMMARY"
    #[arg(long, value_name = "FILE", conflicts_with = "promote")]
    pub summary: Option<PathBuf>,
    /// Engine of the rerun's workers, as for measuring.
    #[arg(long, hide = true)]
    pub engine: Option<String>,
}

/// A history by night.
#[derive(Debug, Clone, Args)]
pub struct TrendArgs {
    /// The folder of earlier nights
    #[arg(value_name = "HISTORY", default_value = "out/history")]
    pub history: PathBuf,
    /// What is shown of cells.
    #[arg(long, help = judged_by())]
    pub metric: Option<Metric>,
    /// Show at most the last N nights
    #[arg(long, value_name = "N", default_value_t = trend::MOST_NIGHTS, value_parser = number_of_nights)]
    pub last: usize,
    /// Folder for trend.html and trend.png [default: the history]
    #[arg(long, value_name = "DIR", conflicts_with = "no_report")]
    pub to: Option<PathBuf>,
    /// Replace files of these names that ggufbench did not write
    #[arg(long)]
    pub force: bool,
    /// Write no page and no picture
    #[arg(long)]
    pub no_report: bool,
    /// Form of the table on standard output
    #[arg(short = 'o', long, value_enum, default_value_t)]
    pub output: DocumentForm,
}

/// A number of nights, at least 1.
fn number_of_nights(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(n) if n > 0 => Ok(n),
        _ => Err("no number of nights; say 180".to_owned()),
    }
}

/// Runs by which the gate itself is judged.
#[derive(Debug, Clone, Args)]
pub struct GateTrialArgs {
    /// Runs between which nothing changed, at least three: their folders, records, or a folder of runs
    #[arg(required = true)]
    pub runs: Vec<PathBuf>,
    /// Runs known to be slower, at least two
    #[arg(long, value_name = "RUN", num_args = 1..)]
    pub slower: Vec<PathBuf>,
    /// Gates whose labels are exchanged, of each kind
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    pub flips: usize,
    /// Seed of the exchanges
    #[arg(long, default_value_t = 42)]
    pub seed: u64,
    /// How cells are judged.
    #[command(flatten)]
    pub judge: JudgeArgs,
    /// Form of the table on standard output
    #[arg(short = 'o', long, value_enum, default_value_t)]
    pub output: DocumentForm,
}

/// What `--metric` of `compare` says.
fn compared_by() -> String {
    let default = "step, or total where a run was imported";
    format!("{} [default: {default}]", Metric::help())
}

/// What `--metric` of the gate says.
fn judged_by() -> String {
    let default = "step, or request_latency where a run has requests and no cells, or total where it was imported";
    format!("{} [default: {default}]", Metric::help())
}

/// A share as `0.03` or `3%`, whatever it is.
pub(super) fn number_or_percent(text: &str) -> Result<f64, String> {
    let value = match text.strip_suffix('%') {
        Some(percent) => percent.trim().parse().map(|v: f64| v / 100.0),
        None => text.parse(),
    };
    value.map_err(|_| "no share; say 0.03 or 3%".to_owned())
}

/// A share between 0 and 1, as `0.03` or `3%`.
pub(super) fn share(text: &str) -> Result<f64, String> {
    match number_or_percent(text) {
        Ok(v) if v > 0.0 && v < 1.0 => Ok(v),
        _ => Err("no share between 0 and 1; say 0.03 or 3%".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    fn parse(line: &str) -> Result<Cli, String> {
        let args = ["ggufbench"].into_iter().chain(line.split_whitespace());
        Cli::try_parse_from(args).map_err(|e| e.to_string())
    }

    #[test]
    fn a_precision_is_a_share_or_percent() {
        let precision = |line: &str| parse(line).expect("parses").run.protocol.precision;
        assert_eq!(precision("--precision 2%"), Some(0.02));
        assert_eq!(precision("--precision 0.02"), Some(0.02));
        assert!(parse("--precision much").is_err());
    }

    #[test]
    fn shares_and_baselines_are_read_both_ways() {
        let gate = |line: &str| match parse(line).map(|cli| cli.command) {
            Ok(Some(Command::Gate(gate))) => Ok(*gate),
            Ok(_) => panic!("no gate"),
            Err(e) => Err(e),
        };
        let plain = gate("gate out/a").expect("parses");
        assert_eq!((plain.judge.tolerance, plain.judge.alpha), (None, 0.001));
        assert_eq!(plain.baseline, BaselineChoice::Pinned);
        let told = gate("gate out/a --tolerance 0.05 --baseline last:14").expect("parses");
        assert_eq!(
            (told.judge.tolerance, told.baseline),
            (Some(0.05), BaselineChoice::Last(14))
        );
        let limited =
            gate("gate out/a --baseline none --require step<=12ms --require decode>=200@*/b8/*");
        let limited = limited.expect("parses");
        assert_eq!(limited.baseline, BaselineChoice::Nothing);
        assert_eq!(limited.require.len(), 2);
        let run = gate("gate out/a --baseline out/b")
            .expect("parses")
            .baseline;
        assert_eq!(run, BaselineChoice::Run("out/b".into()));
        for (line, needle) in [
            ("gate out/a --tolerance 3", "say 0.03 or 3%"),
            ("gate out/a --tolerance=-1%", "say 0.03 or 3%"),
            ("gate out/a --baseline last:0", "say last:14"),
            ("gate out/a --promote --keep", "cannot be used with"),
            ("gate out/a --require step", "say 'step<=12ms'"),
            ("compare out/a --axis speed", "is not an axis"),
            ("compare out/a --metric speed", "is not a metric"),
        ] {
            let e = parse(line).expect_err(line);
            assert!(e.contains(needle), "{line}: {e}");
        }
    }
}
