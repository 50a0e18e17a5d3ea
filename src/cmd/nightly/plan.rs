//! What a night is asked to be, checked before anything is measured.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail, ensure};

use crate::cli::{BaselineChoice, NightlyArgs};
use crate::file::{self, OutputFile, Replace, is_stream};
use crate::gate::Requirement;
use crate::metric::Metric;
use crate::nightly::program;
use crate::nightly::summary::NightKind;
use crate::plan::protocol::duration;
use crate::plan::sweep;

/// The sweep of a checkout; without one it is the built-in sweep of this name.
const SWEEP: &str = "sweeps/nightly.toml";

/// The nights that one is compared with, unless others are named.
const BASELINE: &str = "last:14";

/// Wall time of a night in turns, unless it or its sweep has another.
const BUDGET: Duration = Duration::from_secs(5 * 60);

/// Runs and records that are kept.
const KEPT_RUNS: usize = 60;
const KEPT_RECORDS: usize = 180;

/// A night that can be begun.
#[derive(Debug, Clone)]
pub struct NightPlan {
    pub kind: NightKind,
    /// Tonight's program.
    pub program: PathBuf,
    pub sweep: PathBuf,
    pub history: PathBuf,
    pub baseline: BaselineChoice,
    /// As it was typed.
    pub baseline_text: String,
    /// Whole seconds.
    pub budget_s: Option<u64>,
    pub kept_runs: usize,
    pub kept_records: usize,
    /// Of the measurement.
    pub flags: Vec<String>,
    /// Those of them that name the engine: a rerun must use it too.
    pub engine: Vec<String>,
}

impl NightPlan {
    /// What was typed, as it is meant.
    ///
    /// # Errors
    /// When it makes no sense, or a file or program is missing.
    pub fn of(args: &NightlyArgs) -> Result<Self> {
        let kind = kind(args)?;
        let (baseline_text, baseline) = baseline(args)?;
        let (kept_runs, kept_records) = kept(args)?;
        if let BaselineChoice::Last(n) = baseline {
            ensure!(
                kept_records >= n,
                "--keep-nights {kept_records} keeps fewer nights than --baseline {baseline_text} needs"
            );
        }
        let sweep = args.sweep.clone().unwrap_or_else(|| SWEEP.into());
        let mut flags = args.flags.clone();
        ensure!(
            flags.iter().all(|flag| flag != "--dry-run"),
            "a night has no --dry-run; `ggufbench {} ... --dry-run` shows what one measures",
            if kind == NightKind::Requests {
                "requests"
            } else {
                "sweep"
            }
        );
        if kind == NightKind::Requests && !args.require.is_empty() {
            let mut copy = flags.clone();
            let [replicates, rounds] =
                ["--replicates", "--rounds"].map(|name| take_value(&mut copy, name));
            let is_one = matches!(
                (replicates?.as_deref(), rounds?.as_deref()),
                (Some("1"), None | Some("1")) | (None, Some("1"))
            );
            ensure!(
                !is_one,
                "one round decides no limit (--require): say --replicates 5, which are processes, and of a server rounds"
            );
        }
        let mut budget = args.budget.clone();
        let mut of_sweep = None;
        if kind != NightKind::Requests {
            let read = sweep::read(&sweep)?;
            ensure!(
                kind != NightKind::Pairs || read.requests.is_none(),
                "{}: has [requests], which are not measured in turns: leave them out, or measure with --nights",
                sweep.display()
            );
            of_sweep = read.protocol.budget;
        }
        if kind == NightKind::Pairs {
            // It is the night's too: what it leaves is for the confirmation.
            if let Some(after) = take_value(&mut flags, "--budget")? {
                ensure!(budget.is_none(), "--budget twice: the night has one");
                budget = Some(after);
            }
        }
        let budget = budget.map(|text| {
            let wrong = || format!("--budget '{text}' is not a length of time; say 5m or 90s");
            duration("budget", &text).map_err(|_| anyhow!(wrong()))
        });
        let budget = match kind {
            NightKind::Pairs => Some(budget.transpose()?.or(of_sweep).unwrap_or(BUDGET)),
            _ => budget.transpose()?,
        };
        if let Some(summary) = &args.summary {
            check_summary(summary)?;
        }
        let history = args.history.clone();
        Ok(Self {
            kind,
            program: program::find().map_err(anyhow::Error::msg)?,
            sweep,
            history: history.unwrap_or_else(|| args.out.join("history")),
            baseline,
            baseline_text,
            budget_s: budget.map(whole_seconds),
            kept_runs,
            kept_records,
            engine: match take_value(&mut flags.clone(), "--engine")? {
                Some(engine) => vec!["--engine".to_owned(), engine],
                None => Vec::new(),
            },
            flags,
        })
    }

    /// What the program does to measure the night, and the budget of that.
    pub fn measurement(&self, args: &NightlyArgs, old_program: &Path) -> Vec<OsString> {
        let mut words: Vec<OsString> = match self.kind {
            NightKind::Pairs => vec![
                "ab".into(),
                "--sweep".into(),
                self.sweep.clone().into(),
                "--worker-a".into(),
                old_program.into(),
                "--worker-b".into(),
                self.program.clone().into(),
            ],
            NightKind::Cells => vec!["sweep".into(), self.sweep.clone().into()],
            NightKind::Requests => vec!["requests".into()],
        };
        if self.kind == NightKind::Pairs {
            if let Some(share) = args.tolerance {
                push_flag(&mut words, "--same-within", share.to_string());
            }
            if let Some(metric) = args.metric {
                push_flag(&mut words, "--metric", metric.to_string());
            }
            // Energy is counted by repetition.
            let is_of_energy = |limit: &Requirement| limit.metric == Metric::JoulesPerToken;
            if args.require.iter().any(is_of_energy) {
                push_flag(&mut words, "--turns", "repetitions");
            }
        }
        if let Some(budget_s) = self.budget_s {
            // Of pairs a third is left for the confirmation of a regression, and what cells that are decided do not use.
            let budget_s = match self.kind {
                NightKind::Pairs => (2 * budget_s).div_ceil(3),
                _ => budget_s,
            };
            push_flag(&mut words, "--budget", format!("{budget_s}s"));
        }
        words
    }
}

/// Adds a flag with its value.
pub fn push_flag(words: &mut Vec<OsString>, flag: &str, value: impl Into<OsString>) {
    words.push(flag.into());
    words.push(value.into());
}

fn kind(args: &NightlyArgs) -> Result<NightKind> {
    let is_alone = args.nights || args.baseline.is_some() || args.night_sd.is_some();
    match args {
        NightlyArgs {
            paired: true,
            nights: true,
            ..
        } => bail!("--paired and --nights: a night is one of them"),
        NightlyArgs {
            paired: true,
            requests: true,
            ..
        } => bail!(
            "--requests cannot be --paired: requests are not measured in turns with another program"
        ),
        NightlyArgs {
            requests: true,
            sweep: Some(_),
            ..
        } => bail!("--requests and --sweep: a night measures one of them"),
        NightlyArgs { requests: true, .. } => Ok(NightKind::Requests),
        NightlyArgs { paired: true, .. } => Ok(NightKind::Pairs),
        _ if is_alone => Ok(NightKind::Cells),
        _ => Ok(NightKind::Pairs),
    }
}

fn baseline(args: &NightlyArgs) -> Result<(String, BaselineChoice)> {
    let text = args.baseline.clone().unwrap_or_else(|| BASELINE.to_owned());
    ensure!(
        !text.is_empty(),
        "--baseline needs a value; --help says which"
    );
    let baseline = text
        .parse()
        .map_err(|e: String| anyhow!("--baseline: {e}"))?;
    ensure!(
        baseline != BaselineChoice::Nothing,
        "--baseline {text}: a night is compared with others; say pinned, last:14 or a run"
    );
    Ok((text, baseline))
}

/// How many runs, and how many records of the history.
fn kept(args: &NightlyArgs) -> Result<(usize, usize)> {
    let Some(text) = &args.keep_nights else {
        return Ok((KEPT_RUNS, KEPT_RECORDS));
    };
    let n = text.parse().ok().filter(|n: &usize| *n > 0);
    let n = n.with_context(|| format!("--keep-nights '{text}' is not a number of nights"))?;
    Ok((n, n))
}

/// Takes a flag and its value out of others; of several the last value.
fn take_value(flags: &mut Vec<String>, name: &str) -> Result<Option<String>> {
    let (mut value, mut others) = (None, Vec::new());
    let mut all = std::mem::take(flags).into_iter();
    while let Some(flag) = all.next() {
        if flag == name {
            let next = all.next().filter(|next| !next.is_empty());
            value = Some(next.with_context(|| format!("{name} needs a value; --help says which"))?);
        } else if let Some(inline) = flag.strip_prefix(name).and_then(|r| r.strip_prefix('=')) {
            value = Some(inline.to_owned());
        } else {
            others.push(flag);
        }
    }
    *flags = others;
    Ok(value)
}

fn whole_seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

/// That it cannot be written must not be noticed after the measurement.
fn check_summary(file: &Path) -> Result<()> {
    if file.is_dir() {
        bail!("{}: is a folder; name a file", file.display());
    }
    // A pipe waits for its reader when it is opened.
    if is_stream(file) {
        return Ok(());
    }
    let made = file::make_folder_of(file);
    let written = made.and_then(|()| OutputFile::create(file, Replace::Always));
    let cannot = || format!("{}: cannot be written there", file.display());
    written
        .map(drop)
        .map_err(std::io::Error::from)
        .with_context(cannot)
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::{Cli, Command};

    fn typed(line: &str) -> NightlyArgs {
        let words = ["ggufbench", "nightly"]
            .into_iter()
            .chain(line.split_whitespace());
        match Cli::try_parse_from(words).expect(line).command {
            Some(Command::Nightly(args)) => *args,
            other => panic!("{other:?}"),
        }
    }

    fn plan(line: &str) -> Result<NightPlan> {
        NightPlan::of(&typed(line))
    }

    #[test]
    fn a_night_is_paired_unless_something_says_other_nights() {
        for (line, kind) in [
            ("", NightKind::Pairs),
            ("--paired --baseline last:3", NightKind::Pairs),
            ("--nights", NightKind::Cells),
            ("--baseline pinned", NightKind::Cells),
            ("--night-sd 5%", NightKind::Cells),
            ("--requests -- --batch 8", NightKind::Requests),
        ] {
            assert_eq!(plan(line).expect(line).kind, kind, "{line}");
        }
        let plan = plan("").expect("the built-in sweep");
        assert_eq!((plan.kept_runs, plan.kept_records), (60, 180));
        assert_eq!(plan.history, Path::new("out/history"));
    }

    #[test]
    fn the_budget_may_stand_on_both_sides_of_the_flags() {
        let budget = |line: &str| plan(line).expect(line).budget_s;
        assert_eq!(budget("--budget 1h30m"), Some(5400));
        assert_eq!(budget("-- --budget=500ms"), Some(1));
        assert_eq!(budget("--nights"), None);
        let after = plan("-- --threads 2 --budget 6000s --engine x").expect("a plan");
        assert_eq!(after.flags, ["--threads", "2", "--engine", "x"]);
        assert_eq!(after.engine, ["--engine", "x"]);
        let words = after.measurement(&typed(""), Path::new("old"));
        let has = |pair: [&str; 2]| words.windows(2).any(|w| w[0] == pair[0] && w[1] == pair[1]);
        assert!(
            has(["--budget", "4000s"]) && has(["--worker-a", "old"]),
            "{words:?}"
        );
        let of_energy = typed("--metric tpot --require joules_per_token<=1");
        let words = plan("")
            .expect("a plan")
            .measurement(&of_energy, Path::new("old"));
        for pair in [["--metric", "tpot"], ["--turns", "repetitions"]] {
            assert!(
                words.windows(2).any(|w| w[0] == pair[0] && w[1] == pair[1]),
                "{words:?}"
            );
        }
        let one = plan("--requests --require ttft_p95<=2s -- --replicates 1").expect_err("one");
        assert!(
            one.to_string().contains("one round decides no limit"),
            "{one}"
        );
        let twice = plan("--budget 5m -- --budget 5m").expect_err("twice");
        assert!(twice.to_string().contains("the night has one"), "{twice}");
    }
}
