//! What can be typed: clap's types, and the table of llama.cpp and Ollama spellings they accept.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

mod doctor;
mod examples;
mod judging;
mod measuring;
mod prompts;
mod reporting;
mod requests;
mod roofline;
#[cfg(test)]
mod suggested;

pub use doctor::DoctorArgs;
pub use judging::{BaselineChoice, CompareArgs, GateArgs, GateTrialArgs};
pub use measuring::{AbArgs, AxisArgs, OutputArgs, ProtocolArgs, RunArgs, SideArgs, WorkerArgs};
pub use prompts::{ImportArgs, PromptsCommand};
pub use reporting::ReportArgs;
pub use requests::RequestsArgs;
pub use roofline::{CeilingArgs, DeviceChoice, PredictArgs};

use crate::run::protocol::WORKER_COMMAND;

/// Spellings of llama.cpp's tools that clap cannot express (several letters after one dash), and what
/// they mean here. Single letters are clap's own.
const SPELLINGS: [(&str, &str); 17] = [
    ("-ngl", "--n-gpu-layers"),
    ("-fa", "--flash-attn"),
    ("-ctk", "--type-k"),
    ("-ctv", "--type-v"),
    ("-npp", "--n-prompt"),
    ("-ntg", "--n-gen"),
    ("-npl", "--batch"),
    ("-ub", "--n-ubatch"),
    ("-sm", "--split-mode"),
    ("-mg", "--main-gpu"),
    ("--ubatch-size", "--n-ubatch"),
    ("--batch-size", "--n-batch"),
    ("--cache-type-k", "--type-k"),
    ("--cache-type-v", "--type-v"),
    ("--gpu-layers", "--n-gpu-layers"),
    ("--num-thread", "--threads"),
    ("--num-ctx", "--n-ctx"),
];

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
        match SPELLINGS.iter().find(|(theirs, _)| *theirs == name) {
            Some((_, ours)) if !verbatim => normal.push(match value {
                Some(value) => format!("{ours}={value}").into(),
                None => OsString::from(ours),
            }),
            _ => normal.push(arg),
        }
    }
    Ok(normal)
}

/// Measures how fast this machine generates text with a GGUF model, and explains why.
///
/// Without a subcommand it measures: `ggufbench --model llama3.gguf --batch 32`.
/// Without anything it measures a synthetic model of SmolLM2-135M's shape, which needs no download.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true, max_term_width = 100, after_help = examples::ALL)]
pub struct Cli {
    /// The subcommand; none measures.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// The measurement, without a subcommand.
    #[command(flatten)]
    pub run: RunArgs,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Measure cells given by flags (the same as no subcommand)
    Run(Box<RunArgs>),
    /// Measure the cells of a sweep file; flags override its axes
    #[command(after_help = examples::SWEEP)]
    Sweep {
        /// The sweep, a TOML file such as sweeps/quick.toml
        file: PathBuf,
        /// What overrides it.
        #[command(flatten)]
        run: Box<RunArgs>,
    },
    /// Send real prompts and time whole requests: TTFT, TPOT, latency, by class, load, temperature, difficulty
    #[command(after_help = examples::REQUESTS)]
    Requests(Box<RequestsArgs>),
    /// The same requests in-process and at Ollama or another server, in turns, and where the difference is
    #[command(after_help = examples::COMPARE_LIVE)]
    CompareLive(Box<RequestsArgs>),
    /// Write the report of the newest run, or of those named, or print their table again
    #[command(after_help = examples::REPORT)]
    Report(ReportArgs),
    /// Measure two settings, or two builds, interleaved in one run, and compare them
    #[command(after_help = examples::AB)]
    Ab(Box<AbArgs>),
    /// Compare two runs, or two settings within one run, cell by cell
    Compare(CompareArgs),
    /// Judge a night's run against a baseline: exit 0 pass, 1 regression, 3 inconclusive, 2 error
    #[command(after_help = examples::GATE)]
    Gate(Box<GateArgs>),
    /// Say whether this machine is fit to measure, what to change, and what that would bring
    Doctor(DoctorArgs),
    /// Try the gate on runs between which nothing changed, and on slower ones: how often it fails which
    #[command(hide = true)]
    GateTrial(GateTrialArgs),
    /// Expect rates, memory and limits of cells from this machine's ceilings; loads and downloads nothing
    Predict(Box<PredictArgs>),
    /// Measure what this machine can do at best: memory bandwidth, and the engine's own kernels
    Ceiling(CeilingArgs),
    /// List, inspect, fetch, quantize and synthesise GGUF files
    #[command(subcommand)]
    Model(ModelCommand),
    /// List prompts, and make them of pages, texts and tables
    #[command(subcommand)]
    Prompts(PromptsCommand),
    /// The child process that runs the engine.
    #[command(name = WORKER_COMMAND, hide = true)]
    Worker {
        /// Which engine.
        #[arg(long)]
        engine: String,
    },
}

/// What can be done with model files.
#[derive(Debug, Subcommand)]
pub enum ModelCommand {
    /// Names that --model knows, and whether their files are here
    List,
    /// What a GGUF file is: shape, types, bytes
    Info {
        /// As --model
        model: Vec<String>,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Get a model of gguf/models.toml (needs python3 with pip, and a network)
    Fetch {
        /// Its name, see `model list`; several may be given
        #[arg(required = true)]
        name: Vec<String>,
    },
    /// Make a file of another type from a GGUF file
    Quantize {
        /// The GGUF file
        input: PathBuf,
        /// Its type, such as Q8_0, Q4_0, Q4_K_M, F16
        #[arg(value_name = "TYPE")]
        file_type: String,
        /// The new file [default: beside the input, named after the type]
        output: Option<PathBuf>,
        /// Threads [default: all]
        #[arg(short, long)]
        threads: Option<u32>,
        /// Replace the file if it exists
        #[arg(long)]
        force: bool,
    },
    /// Write a file of random weights in a model's shape: it runs at the real one's speed
    Synth(SynthArgs),
}

/// A synthetic model.
#[derive(Debug, Args)]
pub struct SynthArgs {
    /// The shape to start from
    #[arg(default_value = "smollm2-135m")]
    pub preset: String,
    /// Its type: f32, f16, bf16, q8_0, q4_0, q4_k ...
    #[arg(value_name = "TYPE", default_value = "q4_0")]
    pub tensor_type: String,
    /// The file [default: in the model folder, under the name --model finds it by]
    #[arg(long)]
    pub output: Option<PathBuf>,
    /// Layers
    #[arg(long)]
    pub n_layer: Option<u32>,
    /// Width
    #[arg(long)]
    pub n_embd: Option<u32>,
    /// Query heads
    #[arg(long)]
    pub n_head: Option<u32>,
    /// KV heads
    #[arg(long)]
    pub n_head_kv: Option<u32>,
    /// Feed-forward width
    #[arg(long)]
    pub n_ff: Option<u32>,
    /// Vocabulary
    #[arg(long)]
    pub n_vocab: Option<u32>,
    /// Whether the output matrix is the token embedding
    #[arg(long)]
    pub tied: Option<bool>,
    /// Replace the file if it exists
    #[arg(long)]
    pub force: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Output;
    use clap::CommandFactory;

    fn parse(line: &str) -> Result<Cli, String> {
        let args = line.split_whitespace().map(OsString::from);
        let args = normalize(std::iter::once(OsString::from("ggufbench")).chain(args))?;
        Cli::try_parse_from(args).map_err(|e| e.to_string())
    }

    #[test]
    fn clap_agrees_with_itself() {
        Cli::command().debug_assert();
    }

    #[test]
    fn llama_cpp_and_ollama_spellings_mean_ours() {
        let run = parse(
            "-m a.gguf -npl 1,8 -npp 32 -ntg 64 -ub 256 -ngl 99 -fa 1 -ctk q8_0 -ctv=f16 -t 2 -c 4096 \
             -r 5 -o json -sm row -mg 1",
        )
        .expect("parses")
        .run;
        let (run, protocol, output) = (run.axes, run.protocol, run.output);
        assert_eq!(run.model, ["a.gguf"]);
        assert_eq!(run.batch, ["1,8"]);
        assert_eq!(run.n_prompt, ["32"]);
        assert_eq!(run.n_gen, ["64"]);
        assert_eq!(run.n_ubatch, ["256"]);
        assert_eq!(run.n_gpu_layers, ["99"]);
        assert_eq!(run.flash_attn, ["1"]);
        assert_eq!(
            (run.type_k, run.type_v),
            (vec!["q8_0".into()], vec!["f16".into()])
        );
        assert_eq!(
            (run.threads, run.n_ctx),
            (vec!["2".into()], vec!["4096".into()])
        );
        assert_eq!((protocol.repetitions, output.form), (Some(5), Output::Json));
        let ollama = parse("--num-thread 4 --num-ctx 2048")
            .expect("parses")
            .run
            .axes;
        assert_eq!(
            (ollama.threads, ollama.n_ctx),
            (vec!["4".into()], vec!["2048".into()])
        );
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
        let Some(Command::Sweep { file, run }) = cli.command else {
            panic!("not a sweep");
        };
        assert_eq!(file, PathBuf::from("sweeps/quick.toml"));
        assert_eq!(run.axes.batch, ["4"]);
        assert!(run.dry_run);
    }
}
