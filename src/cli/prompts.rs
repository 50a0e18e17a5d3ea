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
    /// Make prompts of a saved page, a text, a table, or an address
    Import(ImportArgs),
}

/// What to import.
#[derive(Debug, Clone, Args)]
pub struct ImportArgs {
    /// A file (.html, .txt, .csv, .jsonl), or an http(s) address of a page or text; redirects are not followed
    pub source: String,
    /// Elements of a page, each a prompt, such as 'p' or 'article .question' [default: the body, as one]
    #[arg(long, value_name = "CSS")]
    pub select: Option<String>,
    /// Class of prompts that bring none [default: imported]
    #[arg(long, value_name = "NAME")]
    pub class: Option<String>,
    /// Leave out shorter texts
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub min_chars: usize,
    /// Of a text, every line is a prompt [default: every paragraph]
    #[arg(long)]
    pub lines: bool,
    /// Key or column of the text in .jsonl and .csv [default: text]
    #[arg(long, value_name = "KEY")]
    pub text_key: Option<String>,
    /// The file, which --prompts reads [default: standard output]
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Replace the file if it exists
    #[arg(long, requires = "out")]
    pub force: bool,
}
