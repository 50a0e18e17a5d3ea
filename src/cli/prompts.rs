//! What can be typed after `prompts`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// What can be done with prompts.
#[derive(Debug, Subcommand)]
pub enum PromptsCommand {
    /// The prompts of a set: id, class, difficulty, length, first words
    List {
        /// `lab` or `difficulty`, which come with the program, or a file; repeatable [default: both]
        #[arg(long, value_name = "SET|FILE")]
        prompts: Vec<String>,
    },
    /// Make prompts of a saved page, a text, a table, conversations, or an address
    Import(ImportArgs),
}

/// What to import.
#[derive(Debug, Clone, Args)]
pub struct ImportArgs {
    /// A file (.html, .txt, .csv, .json, .jsonl, .parquet), or an http(s) address of a page or text; redirects are not followed. Of a
    /// conversation (OpenAI's messages, ShareGPT) the first question is taken, behind what the system says before it
    pub source: String,
    /// Elements of a page, each a prompt, such as 'p' or 'article .question' [default: the body, as one]
    #[arg(long, value_name = "CSS")]
    pub select: Option<String>,
    /// Render the address with your own Chromium, Chrome or Edge, for pages whose texts are written by scripts. It follows redirects
    /// and loads whatever the page asks for
    #[arg(long, value_name = "PROGRAM", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    pub browser: Option<String>,
    /// Class of prompts that bring none [default: imported]
    #[arg(long, value_name = "NAME")]
    pub class: Option<String>,
    /// Leave out shorter texts
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub min_chars: usize,
    /// Of a text, every line is a prompt [default: every paragraph]
    #[arg(long)]
    pub lines: bool,
    /// Key or column of the text or conversation in .json, .jsonl, .parquet and .csv [default: text, messages or conversations]
    #[arg(long, value_name = "KEY")]
    pub text_key: Option<String>,
    /// Take only the first N prompts of the source
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub max_prompts: Option<u32>,
    /// The file, which --prompts reads [default: standard output]
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Replace the file if it exists
    #[arg(long, requires = "out")]
    pub force: bool,
}
