//! What can be typed: clap's types, and the table of llama.cpp and Ollama spellings they accept.

use std::any::TypeId;
use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::{PathBufValueParser, TypedValueParser};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, CommandFactory, FromArgMatches, Parser, Subcommand};

mod axes;
mod bisect;
mod devices;
mod doctor;
#[cfg(test)]
mod documented;
mod examples;
mod exchange;
mod judging;
mod manual;
mod measuring;
mod model;
mod nightly;
mod programs;
mod prompts;
mod quality;
mod reporting;
mod requests;
mod roofline;
mod rpc_worker;
mod short_help;
#[cfg(test)]
mod suggested;
mod tips;
mod typed;

pub use axes::{AxisArgs, PredictedAxes};
pub use bisect::{BisectArgs, BisectStepArgs, RevisionArgs};
pub use devices::DevicesArgs;
pub use doctor::DoctorArgs;
pub use exchange::{ExportForm, ExportRunArgs, ImportRunsArgs};
pub use judging::{BaselineChoice, CompareArgs, GateArgs, GateTrialArgs, JudgeArgs, TrendArgs};
pub use manual::ManualArgs;
pub use measuring::{AbArgs, OutputArgs, ProtocolArgs, RunArgs, SideArgs, TurnLength, WorkerArgs};
pub use model::{ModelCommand, SynthArgs};
pub use nightly::NightlyArgs;
pub use programs::ProgramArgs;
pub use prompts::{ImportArgs, PromptsCommand};
pub use quality::QualityArgs;
pub use reporting::ReportArgs;
pub use requests::RequestsArgs;
pub use roofline::{CeilingArgs, DeviceChoice, PredictArgs};
pub use rpc_worker::RpcWorkerArgs;

use crate::build_info::BuildInfo;
use crate::file::home;
use crate::plan::axis::{AXES, Axis};
use crate::run::protocol::WORKER_COMMAND;
use crate::text::short;

/// Our flag for one of llama.cpp's or Ollama's: clap cannot express several letters behind one dash.
fn our_flag(theirs: &str) -> Option<String> {
    // llama-server's and llama-parallel's, beside that of llama-batched-bench.
    if theirs == "-np" {
        return Some("--batch".to_owned());
    }
    let is_theirs = |axis: &&Axis| {
        let long = theirs.strip_prefix("--").map(|name| name.replace('-', "_"));
        let is_alias = |long: &str| axis.words.aliases.contains(&long);
        axis.words.spelling == theirs || long.as_deref().is_some_and(is_alias)
    };
    let axis = AXES.iter().find(is_theirs).filter(|_| !theirs.is_empty())?;
    Some(format!("--{}", axis.flag()))
}

/// The command line with every foreign spelling replaced by ours.
///
/// # Errors
/// For `-b`, which would be misunderstood: llama.cpp counts tokens by it, our users sequences.
pub fn normalize(args: impl IntoIterator<Item = OsString>) -> Result<Vec<OsString>, String> {
    let mut normal = Vec::new();
    let mut verbatim = false;
    for arg in args {
        let text = arg.to_str().unwrap_or_default();
        verbatim |= text == "--";
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (text, None),
        };
        if !verbatim && name == "-b" {
            return Err(
                "-b is ambiguous: llama.cpp means the logical batch in tokens by it; say --batch N for \
                 the number of sequences decoded together, or --n-batch N for the logical batch in tokens"
                    .to_owned(),
            );
        }
        match our_flag(name).filter(|_| !verbatim) {
            Some(ours) => normal.push(match value {
                Some(value) => format!("{ours}={value}").into(),
                None => OsString::from(ours),
            }),
            None => normal.push(arg),
        }
    }
    Ok(normal)
}

/// The command line as clap has it, for what is made of it.
pub fn command() -> clap::Command {
    let mut command = at_home(Cli::command());
    command.build();
    command
}

/// Understands a command line whose spellings are ours.
///
/// # Errors
/// With what is wrong, or with the help or version that was asked for.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Cli, clap::Error> {
    let command = short_help::brief(at_home(Cli::command()));
    let args = typed::as_meant(args.into_iter().collect(), &command);
    let mut command = short_help::without_rare(command, &args);
    match command.try_get_matches_from_mut(&args) {
        Ok(matches) => Cli::from_arg_matches(&matches).map_err(|e| e.format(&mut command)),
        Err(e) if e.kind() == ErrorKind::InvalidUtf8 => {
            Err(command.error(ErrorKind::InvalidUtf8, not_utf8(&args)))
        }
        Err(mut e) => {
            if let Some(tip) = tips::of(&e, &args, &command) {
                e.remove(ContextKind::SuggestedSubcommand);
                e.remove(ContextKind::SuggestedArg);
                e.insert(
                    ContextKind::Suggested,
                    ContextValue::StyledStrs(vec![tip.into()]),
                );
            }
            Err(e)
        }
    }
}

/// The command with every path read so that `~` is the home folder, also where no shell has seen it (`--out=~/runs`).
fn at_home(command: clap::Command) -> clap::Command {
    let is_path = |arg: &Arg| arg.get_value_parser().type_id() == TypeId::of::<PathBuf>();
    command
        .mut_args(|arg| match is_path(&arg) {
            true => arg.value_parser(PathBufValueParser::new().try_map(|p| home::expanded(&p))),
            false => arg,
        })
        .mut_subcommands(at_home)
}

/// Measures how fast this machine generates text with a GGUF model, and explains why.
///
/// Without a subcommand it measures: `ggufbench --model llama3.gguf --batch 32`.
/// Without anything it measures a synthetic model of SmolLM2-135M's shape, which needs no download.
#[derive(Debug, Parser)]
#[command(version = BuildInfo::current().describe(), args_conflicts_with_subcommands = true, max_term_width = 100, after_help = examples::FIRST, after_long_help = examples::ALL)]
pub struct Cli {
    /// The subcommand; none measures.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// The measurement, without a subcommand.
    #[command(flatten)]
    pub run: RunArgs,
    /// Also look for the engine's plug-ins (libggml-cuda.so and others) in this folder; they are always looked for beside
    /// the program. Only for a portable build
    #[arg(long, global = true, value_name = "DIR", help_heading = "Engine")]
    pub backends: Option<PathBuf>,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Measure each combination (cell) of the flags' values (the default)
    Run(Box<RunArgs>),
    /// Measure the cells of a sweep file; flags override its axes
    #[command(after_help = examples::SWEEP)]
    Sweep {
        /// The sweep: a TOML file, or the name of a built-in one such as quick
        #[arg(required_unless_present = "list")]
        file: Option<PathBuf>,
        /// List the built-in sweeps with the question that each answers
        #[arg(long, exclusive = true)]
        list: bool,
        /// What overrides it.
        #[command(flatten)]
        run: Box<RunArgs>,
    },
    /// Send real prompts and time whole requests
    ///
    /// It measures TTFT, TPOT and latency by class of prompt, load, temperature and difficulty.
    #[command(after_help = examples::REQUESTS)]
    Requests(Box<RequestsArgs>),
    /// Send the same requests in-process and to a server, in turns
    ///
    /// The answers say how much longer a request takes at Ollama or another server, and where the difference is. Rounds are
    /// added until that is decided.
    #[command(after_help = examples::COMPARE_LIVE)]
    CompareLive(Box<RequestsArgs>),
    /// Measure what other files or settings lose in accuracy
    ///
    /// Several files of a model score a text. The table has perplexity, KLD and the share of equal tokens.
    #[command(after_help = examples::QUALITY)]
    Quality(Box<QualityArgs>),
    /// Write the report of the newest run, or print its table again
    #[command(after_help = examples::REPORT)]
    Report(ReportArgs),
    /// Measure two settings or two builds in turns, and compare them
    #[command(after_help = examples::AB)]
    Ab(Box<AbArgs>),
    /// Find the commit that made a benchmark slow
    ///
    /// Revisions of a checkout are built and measured until each is decided.
    #[command(after_help = examples::BISECT)]
    Bisect(Box<BisectArgs>),
    /// Do one step of `git bisect run`
    ///
    /// Exit code 0: not slower than the good one; 1: slower; 125: skip.
    #[command(after_help = examples::BISECT_STEP)]
    BisectStep(Box<BisectStepArgs>),
    /// Compare two runs, or two settings within one run, cell by cell
    #[command(after_help = examples::COMPARE)]
    Compare(CompareArgs),
    /// Judge a night's run against a baseline, by the exit code
    ///
    /// 0: pass; 1: regression; 3: inconclusive; 2: error.
    #[command(after_help = examples::GATE)]
    Gate(Box<GateArgs>),
    /// Make runs of what llama.cpp's benchmarks have measured
    ///
    /// JSON, JSONL and SQL of llama-bench and JSONL of llama-batched-bench become runs for `compare`, `gate` and `report`.
    #[command(after_help = examples::IMPORT)]
    Import(ImportRunsArgs),
    /// Write a run as llama-bench, benchstat, Bencher or HdrHistogram have it
    #[command(after_help = examples::EXPORT)]
    Export(ExportRunArgs),
    /// Measure a night: this program and the promoted one in turns
    ///
    /// It keeps a history of nights, and prints a summary. The exit code is the verdict. 0: pass, or the first night, which becomes the
    /// baseline; 1: regression, seen twice, or an output that differs; 3: not decided; 2: error; 130: interrupted.
    #[command(after_help = examples::NIGHTLY)]
    Nightly(Box<NightlyArgs>),
    /// Show a history by night, as a page and a picture
    ///
    /// It shows each cell's median, changes of level, builds and changes of the machine.
    #[command(after_help = examples::TREND)]
    Trend(TrendArgs),
    /// List the devices that the engine can compute on
    ///
    /// The plug-ins are listed too, and why one cannot be used.
    Devices(DevicesArgs),
    /// Offer this machine's devices to another machine's --rpc
    ///
    /// It speaks llama.cpp's own protocol.
    RpcWorker(RpcWorkerArgs),
    /// Check whether this machine is fit to measure
    ///
    /// It says what to change, and what each change would gain.
    Doctor(DoctorArgs),
    /// Try the gate on runs between which nothing changed, and on slower ones: how often it fails which
    #[command(hide = true)]
    GateTrial(GateTrialArgs),
    /// Forecast rates and memory of cells; loads and downloads nothing
    ///
    /// Rates, memory and limits follow from this machine's ceilings.
    /// Kernels are timed in a process of their own, which may take half of the free memory. A cell of which a kernel
    /// cannot be timed is named, and the exit code is 1.
    Predict(Box<PredictArgs>),
    /// Measure what this machine can do at best
    ///
    /// It measures the memory bandwidth, and the engine's own kernels.
    /// Kernels are timed in a process of their own, which may take half of the free memory. One that cannot be timed is
    /// named, and the exit code is 1.
    Ceiling(CeilingArgs),
    /// List, inspect, fetch, quantize and synthesise GGUF files
    #[command(subcommand)]
    Model(ModelCommand),
    /// List prompts, and import them from pages, texts and tables
    #[command(subcommand)]
    Prompts(PromptsCommand),
    /// Write completions for a shell, or man pages
    #[command(subcommand)]
    Manual(ManualArgs),
    /// The child process that runs the engine.
    #[command(name = WORKER_COMMAND, hide = true)]
    Worker {
        /// Which engine.
        #[arg(long)]
        engine: String,
    },
}

fn not_utf8(args: &[OsString]) -> String {
    let lossy = |arg: &OsString| OsString::from(arg.to_string_lossy().into_owned());
    let is_refused = |at: &usize| {
        // Paths may have any name: the others shall not be why clap refuses.
        let alone = args.iter().enumerate();
        let alone = alone.map(|(i, arg)| if i == *at { arg.clone() } else { lossy(arg) });
        let parsed = Cli::try_parse_from(alone);
        parsed.is_err_and(|e| e.kind() == ErrorKind::InvalidUtf8)
    };
    let refused = (0..args.len()).filter(is_refused);
    let names: Vec<String> = refused
        .map(|at| format!("'{}'", short(&args[at].to_string_lossy())))
        .collect();
    format!(
        "{}: not UTF-8, and the record cannot name it; rename it, or name a link to it",
        names.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Output;

    fn parse(line: &str) -> Result<Cli, String> {
        let args = line.split_whitespace().map(OsString::from);
        let args = normalize(std::iter::once(OsString::from("ggufbench")).chain(args))?;
        super::parse(args).map_err(|e| e.to_string())
    }

    #[test]
    fn clap_agrees_with_itself() {
        at_home(Cli::command()).debug_assert();
    }

    #[test]
    fn a_tilde_is_the_home_folder_in_every_path() {
        let home = std::env::home_dir().expect("tests have a home");
        let out = |line: &str| parse(line).expect("parses").run.output.out;
        assert_eq!(out("--out=~/o"), Some(home.join("o")));
        assert_eq!(out("--out ~"), Some(home.clone()));
        assert_eq!(out("--out ./~"), Some("./~".into()));
        let e = parse("--out ~nobody-of-this-name/o").expect_err("another's");
        assert!(e.contains("write the whole path"), "{e}");
        let report = match parse("report ~/a --csv=~/b.csv").expect("parses").command {
            Some(Command::Report(report)) => report,
            other => panic!("{other:?}"),
        };
        assert_eq!(report.runs, [home.join("a")]);
        assert_eq!(report.csv, Some(home.join("b.csv")));
        let gate = match parse("gate ~/a --baseline ~/b").expect("parses").command {
            Some(Command::Gate(gate)) => gate,
            other => panic!("{other:?}"),
        };
        assert_eq!(gate.baseline, BaselineChoice::Run(home.join("b")));
    }

    #[test]
    fn llama_cpp_and_ollama_spellings_mean_ours() {
        let run = parse(
            "-m a.gguf -npl 1,8 -npp 32 -ntg 64 -ub 256 -ngl 99 -fa 1 -ctk q8_0 -ctv=f16 -t 2 -c 4096 \
             -r 5 -o json -sm row -mg 1",
        )
        .expect("parses")
        .run;
        for (axis, typed) in [
            ("model", "a.gguf"),
            ("batch", "1,8"),
            ("n_prompt", "32"),
            ("n_gen", "64"),
            ("n_ubatch", "256"),
            ("n_gpu_layers", "99"),
            ("flash_attn", "1"),
            ("type_k", "q8_0"),
            ("type_v", "f16"),
            ("threads", "2"),
            ("n_ctx", "4096"),
            ("split_mode", "row"),
            ("main_gpu", "1"),
        ] {
            assert_eq!(run.axes.of(axis), [typed], "{axis}");
        }
        let (protocol, output) = (run.protocol, run.output);
        assert_eq!((protocol.repetitions, output.form), (Some(5), Output::Json));
        let parallel = parse("-np 4").expect("parses").run;
        assert_eq!(parallel.axes.of("batch"), ["4"]);
        let ollama = parse("--num-thread 4 --num-ctx 2048").expect("parses");
        let axes = ollama.run.axes;
        assert_eq!(
            (axes.of("threads"), axes.of("n_ctx")),
            (&["4".to_owned()][..], &["2048".to_owned()][..])
        );
    }

    #[cfg(unix)]
    #[test]
    fn an_argument_that_is_not_utf_8_is_named_and_only_that() {
        use std::os::unix::ffi::OsStringExt;

        let bytes = |text: &[u8]| OsString::from_vec(text.to_vec());
        let parse = |args: &[&[u8]]| {
            let args: Vec<OsString> = args.iter().map(|arg| bytes(arg)).collect();
            super::parse(args).map_err(|e| e.to_string())
        };
        let e = parse(&[
            b"ggufbench",
            b"--out",
            b"o\xe9",
            b"--model",
            b"caf\xe9.gguf",
        ]);
        let e = e.expect_err("not UTF-8");
        assert!(e.contains("caf\u{fffd}.gguf") && e.contains("UTF-8"), "{e}");
        assert!(!e.contains("o\u{fffd}'"), "{e}");
        let e = parse(&[b"ggufbench", b"requests", b"--prompts=p\xe9.jsonl"]);
        assert!(e.expect_err("not UTF-8").contains("p\u{fffd}.jsonl"));
        let run = parse(&[b"ggufbench", b"--out", b"o\xe9"])
            .expect("any name")
            .run;
        assert_eq!(run.output.out, Some(PathBuf::from(bytes(b"o\xe9"))));
    }

    #[test]
    fn a_model_without_its_flag_is_told_the_flag() {
        let e = parse("sweep x.toml a.gguf").expect_err("no flag");
        assert!(e.contains("with a flag: --model a.gguf"), "{e}");
        let run = parse("a.gguf b.gguf --batch 1 8").expect("models").run;
        assert_eq!(run.axes.of("model"), ["a.gguf", "b.gguf"]);
        assert_eq!(run.axes.of("batch"), ["1,8"]);
        assert!(!parse("run b").expect_err("no model").contains("--model b"));
        parse("model synth tiny -o a.gguf").expect("a file");
        for line in [
            "predict a.gguf",
            "predict --model a.gguf",
            "predict -m a.gguf",
        ] {
            let Some(Command::Predict(args)) = parse(line).expect("a model").command else {
                panic!("another verb");
            };
            assert_eq!(args.models().collect::<Vec<_>>(), ["a.gguf"], "{line}");
        }
        parse("predict").expect_err("no model");
    }

    #[test]
    fn b_alone_is_refused_with_both_meanings() {
        for line in ["-b 32", "-b=32", "sweep x.toml -b 32"] {
            let e = parse(line).expect_err("ambiguous");
            assert!(e.contains("--batch N") && e.contains("--n-batch N"), "{e}");
        }
    }

    #[test]
    fn a_sweep_takes_the_same_flags() {
        let cli = parse("sweep sweeps/quick.toml --batch 4 --dry-run").expect("parses");
        let Some(Command::Sweep { file, run, .. }) = cli.command else {
            panic!("not a sweep");
        };
        assert_eq!(file, Some(PathBuf::from("sweeps/quick.toml")));
        assert_eq!(run.axes.of("batch"), ["4"]);
        assert!(run.dry_run);
    }
}
