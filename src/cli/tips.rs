//! What a command line that is refused was probably meant to be.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Command, Error};

use super::typed::has_models;

/// Verbs that other programs have, and ours.
const VERBS: [(&str, &str); 16] = [
    ("bench", "run"),
    ("benchmark", "run"),
    ("measure", "run"),
    ("sweeps", "sweep --list"),
    ("list", "model list"),
    ("ls", "model list"),
    ("models", "model list"),
    ("pull", "model fetch"),
    ("download", "model fetch"),
    ("show", "model info"),
    ("info", "model info"),
    ("quantize", "model quantize"),
    ("perplexity", "quality"),
    ("completions", "manual completions"),
    ("server", "requests"),
    ("serve", "requests"),
];

/// Flags that other programs have, ours, and what is written after it.
const FLAGS: [(&str, &str, &str); 13] = [
    ("concurrency", "batch", "N"),
    ("parallel", "batch", "N"),
    ("users", "batch", "N"),
    ("max-concurrency", "batch", "N"),
    ("url", "target", "openai:URL"),
    ("base-url", "target", "openai:URL"),
    ("host", "target", "openai:URL"),
    ("endpoint-url", "target", "openai:URL"),
    ("max-tokens", "n-gen", "N"),
    ("n-predict", "n-gen", "N"),
    ("num-prompts", "n-requests", "N"),
    ("json", "output", "json"),
    ("slo", "require", "'ttft_p95<=2s'"),
];

/// A tip for an error that clap's own would lead astray.
pub(super) fn of(error: &Error, args: &[OsString], command: &Command) -> Option<String> {
    let said = match error.kind() {
        ErrorKind::InvalidSubcommand => error.get(ContextKind::InvalidSubcommand),
        ErrorKind::UnknownArgument => error.get(ContextKind::InvalidArg),
        _ => None,
    };
    let Some(ContextValue::String(said)) = said else {
        return None;
    };
    let mut words = args.iter().filter_map(|arg| arg.to_str());
    let typed = words.find_map(|word| command.find_subcommand(word));
    model(said, typed.unwrap_or(command))
        .or_else(|| verb(said))
        .or_else(|| foreign_flag(said, typed.unwrap_or(command)))
        .or_else(|| flag(said, command))
}

/// How a model is named, for a user who names it without a flag where that is not understood.
fn model(said: &str, verb: &Command) -> Option<String> {
    let is_model = said.ends_with(".gguf") || said.starts_with("ollama:");
    (is_model && has_models(verb)).then(|| format!("a model is named with a flag: --model {said}"))
}

fn verb(said: &str) -> Option<String> {
    let known = VERBS.iter().find(|(theirs, _)| *theirs == said)?;
    Some(format!("this is `ggufbench {}`", known.1))
}

/// Our flag for one of another program's, where this verb has it.
fn foreign_flag(said: &str, verb: &Command) -> Option<String> {
    let name = said.split('=').next()?.trim_start_matches('-');
    let (_, ours, value) = FLAGS.iter().find(|(theirs, ..)| *theirs == name)?;
    let has = verb
        .get_arguments()
        .any(|flag| flag.get_long() == Some(ours));
    has.then(|| format!("this is --{ours} {value}"))
}

/// The verbs that have a flag which this one does not have.
fn flag(said: &str, command: &Command) -> Option<String> {
    let name = said.split('=').next()?.strip_prefix("--")?;
    let has = |verb: &&Command| {
        let mut flags = verb.get_arguments();
        flags.any(|flag| flag.get_long() == Some(name) && !flag.is_hide_set())
    };
    let verbs = command.get_subcommands().filter(|verb| !verb.is_hide_set());
    let verbs: Vec<String> = verbs
        .filter(has)
        .map(|verb| format!("`{}`", verb.get_name()))
        .collect();
    (!verbs.is_empty()).then(|| format!("--{name} is a flag of {}", verbs.join(", ")))
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    fn refused(line: &str) -> String {
        let words = std::iter::once("ggufbench").chain(line.split_whitespace());
        let e = super::super::parse(words.map(OsString::from));
        e.expect_err("refused").to_string()
    }

    #[test]
    fn what_was_meant_is_said() {
        for (line, tip) in [
            ("bench", "this is `ggufbench run`"),
            ("list", "this is `ggufbench model list`"),
            ("pull llama3", "this is `ggufbench model fetch`"),
            ("--baseline last:3", "--baseline is a flag of `gate`"),
            (
                "--difficulty",
                "--difficulty is a flag of `requests`, `compare-live`",
            ),
            ("--batchs 3", "'--batch'"),
            ("requests --concurrency 4", "this is --batch N"),
            ("requests --max-tokens=32", "this is --n-gen N"),
            ("nightly --slo ttft=2s", "this is --require 'ttft_p95<=2s'"),
            (
                "requests --url http://127.0.0.1/v1",
                "this is --target openai:URL",
            ),
            ("sweep quick a.gguf", "--model a.gguf"),
        ] {
            let said = refused(line);
            assert!(said.contains(tip), "{line}: {said}");
        }
        assert!(!refused("devices a.gguf").contains("--model"));
    }
}
