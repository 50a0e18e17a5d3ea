//! What can be typed: clap's types, and the table of llama.cpp and Ollama spellings they accept.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

mod judging;
mod reporting;

pub use judging::{BaselineChoice, CompareArgs, GateArgs};
pub use reporting::ReportArgs;

use crate::analysis::capacity::Slo;
use crate::report::Output;
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
#[command(version, args_conflicts_with_subcommands = true, max_term_width = 100)]
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
    Sweep {
        /// The sweep, a TOML file such as sweeps/quick.toml
        file: PathBuf,
        /// What overrides it.
        #[command(flatten)]
        run: Box<RunArgs>,
    },
    /// Write the report of runs, or print their table again
    Report(ReportArgs),
    /// Compare two runs, or two settings within one run, cell by cell
    Compare(CompareArgs),
    /// Judge a night's run against a baseline: exit 0 pass, 1 regression, 3 inconclusive, 2 error
    Gate(Box<GateArgs>),
    /// List, inspect, fetch, quantize and synthesise GGUF files
    #[command(subcommand)]
    Model(ModelCommand),
    /// The child process that runs the engine.
    #[command(name = WORKER_COMMAND, hide = true)]
    Worker {
        /// Which engine.
        #[arg(long)]
        engine: String,
    },
}

/// Everything that describes a measurement. Axes take a value, a list 1,8,32, a range 1-128*2 or 1-8+1,
/// or are repeated.
#[derive(Debug, Clone, Default, Args)]
pub struct RunArgs {
    /// GGUF file, folder, glob, name in gguf/models.toml, or synth:PRESET:TYPE; repeatable
    #[arg(short, long, value_name = "MODEL", help_heading = "Axes")]
    pub model: Vec<String>,
    /// Sequences decoded together [default: 1] (llama-batched-bench: -npl)
    #[arg(long, alias = "n-seq", value_name = "LIST", help_heading = "Axes")]
    pub batch: Vec<String>,
    /// Prompt tokens of each sequence [default: 128] (-npp)
    #[arg(short = 'p', long, value_name = "LIST", help_heading = "Axes")]
    pub n_prompt: Vec<String>,
    /// Decode steps of each sequence [default: 64] (-ntg)
    #[arg(short = 'n', long, value_name = "LIST", help_heading = "Axes")]
    pub n_gen: Vec<String>,
    /// Tokens in each sequence's cache before its prompt, untimed [default: 0]
    #[arg(short = 'd', long, value_name = "LIST", help_heading = "Axes")]
    pub n_depth: Vec<String>,
    /// Threads [default: the cores this process may use] (Ollama: --num-thread)
    #[arg(
        short,
        long,
        alias = "n-threads",
        value_name = "LIST",
        help_heading = "Axes"
    )]
    pub threads: Vec<String>,
    /// Context in tokens PER SEQUENCE [default: 2048] (Ollama: --num-ctx)
    #[arg(
        short = 'c',
        long,
        alias = "ctx-size",
        value_name = "LIST",
        help_heading = "Axes"
    )]
    pub n_ctx: Vec<String>,
    /// KV cache: n_ctx for every sequence (full), or only what the cell needs (fit) [default: full]
    #[arg(long, value_name = "full|fit", help_heading = "Axes")]
    pub kv: Vec<String>,
    /// Logical batch in tokens [default: 2048]
    #[arg(long, value_name = "LIST", help_heading = "Axes")]
    pub n_batch: Vec<String>,
    /// Physical batch in tokens [default: 512] (-ub)
    #[arg(long, value_name = "LIST", help_heading = "Axes")]
    pub n_ubatch: Vec<String>,
    /// Type of the K cache [default: f16] (-ctk)
    #[arg(long, value_name = "TYPE", help_heading = "Axes")]
    pub type_k: Vec<String>,
    /// Type of the V cache [default: f16] (-ctv)
    #[arg(long, value_name = "TYPE", help_heading = "Axes")]
    pub type_v: Vec<String>,
    /// Flash attention: on, off or auto [default: auto] (-fa)
    #[arg(long, value_name = "on|off|auto", help_heading = "Axes")]
    pub flash_attn: Vec<String>,
    /// Layers on the GPU [default: all where there is one] (-ngl)
    #[arg(long, value_name = "LIST", help_heading = "Axes")]
    pub n_gpu_layers: Vec<String>,
    /// Several GPUs: none, layer or row [default: layer] (-sm)
    #[arg(long, value_name = "MODE", help_heading = "Axes")]
    pub split_mode: Vec<String>,
    /// The GPU of a model that is not split [default: 0] (-mg)
    #[arg(long, value_name = "LIST", help_heading = "Axes")]
    pub main_gpu: Vec<String>,
    /// Feed tokens drawn beforehand instead of choosing them from the logits, as llama-bench does
    #[arg(long, help_heading = "Axes")]
    pub no_sample: bool,

    /// Worker processes each cell is measured in [default: 3]
    #[arg(long, value_name = "N", help_heading = "Protocol")]
    pub replicates: Option<u32>,
    /// Exactly N repetitions in each process (instead of as many as the precision needs)
    #[arg(
        short,
        long,
        value_name = "N",
        conflicts_with_all = ["min_repetitions", "max_repetitions"],
        help_heading = "Protocol"
    )]
    pub repetitions: Option<u32>,
    /// Fewest repetitions in each process [default: 3]
    #[arg(long, value_name = "N", help_heading = "Protocol")]
    pub min_repetitions: Option<u32>,
    /// Most repetitions in each process [default: 10]
    #[arg(long, value_name = "N", help_heading = "Protocol")]
    pub max_repetitions: Option<u32>,
    /// A cell is done in a process when its median step is known to this share [default: 0.02]
    #[arg(long, value_name = "SHARE", help_heading = "Protocol")]
    pub precision: Option<f64>,
    /// Wall time for the run, such as 3m; the fewest repetitions are made all the same
    #[arg(long, value_name = "TIME", help_heading = "Protocol")]
    pub budget: Option<String>,
    /// Kill a worker that does not answer for this long [default: 20 times the estimate, at least 1m]
    #[arg(long, value_name = "TIME", help_heading = "Protocol")]
    pub timeout: Option<String>,
    /// Seed of the prompts, the order and the intervals [default: 42]
    #[arg(long, value_name = "N", help_heading = "Protocol")]
    pub seed: Option<u64>,

    /// Folder that gets a folder for each run [default: out]
    #[arg(long, value_name = "DIR", help_heading = "Output")]
    pub out: Option<PathBuf>,
    /// Name of the run's folder [default: the sweep's]
    #[arg(long, value_name = "NAME", help_heading = "Output")]
    pub name: Option<String>,
    /// Form of the table on standard output
    #[arg(
        short = 'o',
        long,
        value_enum,
        default_value_t,
        help_heading = "Output"
    )]
    pub output: Output,
    /// Limits on latency that the report says the largest batch for: tpot=50ms,ttft=2s,itl=100ms
    #[arg(long, value_name = "LIMITS", help_heading = "Output")]
    pub slo: Option<Slo>,
    /// Write no report beside the record
    #[arg(long, help_heading = "Output")]
    pub no_report: bool,
    /// Say what each cell would cost, and load nothing
    #[arg(long, help_heading = "Output")]
    pub dry_run: bool,
    /// Measure exactly what an interrupted run lacks; its plan is kept
    #[arg(
        long,
        value_name = "RUN",
        conflicts_with_all = ["dry_run", "out", "name"],
        help_heading = "Output"
    )]
    pub resume: Option<PathBuf>,

    /// Engine of the workers: llama, or `synthetic[:JSON]` for tests of everything else.
    #[arg(long, hide = true)]
    pub engine: Option<String>,
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
        assert_eq!((run.repetitions, run.output), (Some(5), Output::Json));
        let ollama = parse("--num-thread 4 --num-ctx 2048").expect("parses").run;
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
        assert_eq!(run.batch, ["4"]);
        assert!(run.dry_run);
    }
}
