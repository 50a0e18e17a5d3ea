//! What can be typed to send requests.

use clap::{Args, ValueEnum};

use super::{AxisArgs, OutputArgs, WorkerArgs};
use crate::plan::requests::RequestsChoice;
use crate::plan::serving::{Endpoint, StopAt};
use crate::request::spec::of_list;

/// Whole requests: real prompts, a real sampler, one target or several in turns.
///
/// The default experiment is --classes: one request after another, by class of prompt. Here --batch is the number of
/// requests that are under way at once, --n-prompt trims or pads every prompt to exactly that number of tokens, and
/// --n-gen is the maximum of tokens of an answer. Several models or settings, such as --threads 1,2, make several
/// targets, in-process/t1 and in-process/t2, each with worker processes of its own; one model at a time is in memory.
#[derive(Debug, Clone, Default, Args)]
pub struct RequestsArgs {
    /// Model and context.
    #[command(flatten)]
    pub axes: AxisArgs,
    /// Requests.
    #[command(flatten)]
    pub requests: RequestFlags,
    /// What becomes of it.
    #[command(flatten)]
    pub output: OutputArgs,
    /// Seed of the order, the draws and the arrivals [default: 42]
    #[arg(long, value_name = "N", help_heading = "Requests")]
    pub seed: Option<u64>,
    /// Say what would be sent, and send nothing
    #[arg(long, help_heading = "Output")]
    pub dry_run: bool,
    /// The workers.
    #[command(flatten)]
    pub worker: WorkerArgs,
}

/// The flags that are about requests.
#[derive(Debug, Clone, Default, Args)]
pub struct RequestFlags {
    /// Targets: in-process, ollama:MODEL[@URL] or openai:URL[#MODEL]; a list or repeated [default: in-process]
    #[arg(long, value_name = "TARGET", help_heading = "Requests")]
    pub target: Vec<String>,
    /// Worker processes, each of which loads the model and serves every job; an interval needs 3 of them, or 3 rounds at a
    /// server [default: 3; 1 where --rounds is named, 6 with --max-replicates]
    #[arg(long, value_name = "N", help_heading = "Requests")]
    pub replicates: Option<u32>,
    /// Add worker processes (at a server: rounds), up to N, to each job whose mean latency is not yet known to --precision. Begins
    /// with 6, and stops after 30 minutes without --budget [default: none are added]
    #[arg(long, value_name = "N", help_heading = "Requests")]
    pub max_replicates: Option<u32>,
    /// Precision of --max-replicates: relative half-width of the interval of the mean latency [default: 2%]
    #[arg(
        long,
        value_name = "SHARE",
        value_parser = super::judging::number_or_percent,
        requires = "max_replicates",
        help_heading = "Requests"
    )]
    pub precision: Option<f64>,
    /// Rounds per process: each serves every job once [default: 1]
    #[arg(long, value_name = "N", help_heading = "Requests")]
    pub rounds: Option<u32>,
    /// Wall time for all requests, such as 3m: afterwards no job begins, and the one under way may take a quarter longer
    #[arg(long, value_name = "TIME", help_heading = "Requests")]
    pub budget: Option<String>,
    /// A bundled set of prompts, or a JSON Lines file (`ggufbench prompts`) [default: lab]
    #[arg(long, value_name = "SET|FILE", help_heading = "Requests")]
    pub prompts: Option<String>,
    /// Only prompts of this class; repeatable
    #[arg(long, value_name = "CLASS", help_heading = "Requests")]
    pub class: Vec<String>,
    /// Put the model's chat template around each prompt [default: true if the model has one]
    #[arg(long, value_name = "true|false", num_args = 0..=1, default_missing_value = "true", help_heading = "Requests")]
    pub chat_template: Option<bool>,
    /// How a server gets the text: as the prompt itself, or as a message for its own template [default: completion;
    /// chat where only openai: targets answer and no --model is named]
    #[arg(long, value_enum, value_name = "WAY", help_heading = "Requests")]
    pub endpoint: Option<EndpointChoice>,
    /// Send openai: targets OpenAI's own fields only, without top_k, min_p, cache_prompt and ignore_eos
    #[arg(long, help_heading = "Requests")]
    pub openai_strict: bool,
    /// Requests of each job in each round [default: 34 by class, else 12, at least twice the concurrency], and prompts at
    /// each temperature [default: 6, or 12 where --rounds or --replicates is named]; pairs and sustained loads have
    /// numbers of their own
    #[arg(long, value_name = "N", help_heading = "Requests")]
    pub n_requests: Option<u32>,
    /// When an answer is over: at its end, or at exactly --n-gen tokens [default: end]
    #[arg(long, value_enum, value_name = "WHEN", help_heading = "Requests")]
    pub stop: Option<StopChoice>,
    /// Temperature [default: 0]; a list 0,0.7,1.5 is an experiment: each prompt is answered at all of them in random order
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "LIST",
        help_heading = "Requests"
    )]
    pub temperature: Vec<f32>,
    /// Only the N likeliest tokens [default: 40]
    #[arg(long, value_name = "N", help_heading = "Requests")]
    pub top_k: Option<u32>,
    /// Only the likeliest tokens with this probability together [default: 0.9]
    #[arg(long, value_name = "SHARE", help_heading = "Requests")]
    pub top_p: Option<f32>,
    /// Only tokens at least this likely, relative to the likeliest [default: 0]
    #[arg(long, value_name = "SHARE", help_heading = "Requests")]
    pub min_p: Option<f32>,
    /// Experiment: one request after another, by class of prompt
    #[arg(long, help_heading = "Requests")]
    pub classes: bool,
    /// Experiment: one load for this long, such as 60s: of 8 at once, or of a single --batch
    #[arg(long, value_name = "TIME", help_heading = "Requests")]
    pub sustained: Option<String>,
    /// Requests per second of an open loop, instead of the closed loop of the sustained load
    #[arg(
        long,
        value_name = "N",
        requires = "sustained",
        help_heading = "Requests"
    )]
    pub rate: Option<f64>,
    /// Time limit of a request to a server, with its queue and loading [default: 5m without a byte, and in all 5m
    /// and a second for each token that the requests at once ask for]
    #[arg(long, value_name = "TIME", help_heading = "Requests")]
    pub timeout: Option<String>,
    /// Most matched pairs of --difficulty, most pairs of answers of each temperature with the lowest, and most rounds of
    /// `compare-live`: prompts are asked again when all were asked. Pairs are added until equal within 1% (targets: 2%) or
    /// different is shown, for at most 30 minutes without --budget [default: 120; no pairs are added where --rounds or
    /// --replicates is named]
    #[arg(long, value_name = "N", help_heading = "Requests")]
    pub max_pairs: Option<u32>,
    /// Experiment: does a harder question cost more? Matched pairs of prompts, with a positive control
    #[arg(long, help_heading = "Requests")]
    pub difficulty: bool,
}

/// [`Endpoint`] as it is typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum EndpointChoice {
    /// The text is the prompt
    Completion,
    /// The text is a user's message
    Chat,
}

/// [`StopAt`] as it is typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum StopChoice {
    /// When the model ends it
    End,
    /// At exactly --n-gen tokens
    Length,
}

impl RequestFlags {
    /// The flags as a sweep's table would have them. `lengths` and `concurrency` are what `--n-prompt` and `--batch` mean here.
    pub fn choice(
        &self,
        lengths: Vec<u32>,
        concurrency: Vec<u32>,
        n_gen: Option<u32>,
    ) -> RequestsChoice {
        let switch = |on: bool| on.then_some(true);
        let (temperature, temperatures) = match self.temperature.as_slice() {
            [] => (None, Vec::new()),
            [one] => (Some(*one), Vec::new()),
            many => (None, many.to_vec()),
        };
        RequestsChoice {
            target: self.target.iter().flat_map(|t| of_list(t)).collect(),
            model: None,
            replicates: self.replicates,
            max_replicates: self.max_replicates,
            precision: self.precision,
            rounds: self.rounds,
            budget: self.budget.clone(),
            prompts: self.prompts.clone(),
            class: self.class.clone(),
            chat_template: self.chat_template,
            endpoint: self.endpoint.map(|e| match e {
                EndpointChoice::Completion => Endpoint::Completion,
                EndpointChoice::Chat => Endpoint::Chat,
            }),
            openai_strict: switch(self.openai_strict),
            n_requests: self.n_requests,
            n_gen,
            stop: self.stop.map(|s| match s {
                StopChoice::End => StopAt::EndOfText,
                StopChoice::Length => StopAt::Length,
            }),
            temperature,
            top_k: self.top_k,
            top_p: self.top_p,
            min_p: self.min_p,
            classes: switch(self.classes),
            prompt_lengths: lengths,
            temperatures,
            concurrency,
            sustained: self.sustained.clone(),
            rate_per_s: self.rate,
            timeout: self.timeout.clone(),
            difficulty: switch(self.difficulty),
            max_pairs: self.max_pairs,
            compare_targets: None,
        }
    }
}
