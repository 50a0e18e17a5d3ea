//! What users type in other forms than clap's: a model without its flag, and the values of a list one after another.

use std::ffi::OsString;

use clap::{Arg, Command};

use crate::model::hub::HubName;

/// llama.cpp's names for a repository of Hugging Face.
const HUB_FLAGS: [&str; 4] = ["-hf", "-hfr", "--hf-repo", "--hf"];

/// The flags of a side of `ab` as they are meant.
pub(super) fn side_as_meant(flags: Vec<OsString>, side: &Command) -> Vec<OsString> {
    let program = std::iter::once(OsString::from("side"));
    as_meant(program.chain(flags).collect(), side).split_off(1)
}

/// The command line as it is meant, in the forms that `command` reads.
pub(super) fn as_meant(args: Vec<OsString>, command: &Command) -> Vec<OsString> {
    let mut args = args.into_iter().peekable();
    let mut meant: Vec<OsString> = args.next().into_iter().collect();
    let mut verb = command;
    while let Some(arg) = args.next() {
        let Some(text) = arg.to_str() else {
            meant.push(arg);
            continue;
        };
        if text == "--" {
            meant.push(arg);
            break;
        }
        let (name, inline) = match text.split_once('=') {
            Some((name, value)) => (name, Some(OsString::from(value))),
            None => (text, None),
        };
        if HUB_FLAGS.contains(&name) {
            let value = inline.or_else(|| args.next());
            if has_models(verb) {
                meant.push("--model".into());
            }
            meant.extend(value.map(hub_name));
            continue;
        }
        if is_flag(text) {
            let flag = flag_of(text, [verb, command]);
            meant.push(arg.clone());
            let Some(flag) = flag.filter(|flag| takes_value(flag) && !text.contains('=')) else {
                continue;
            };
            // A flag that needs no value leaves a model alone.
            let is_no_value =
                |next: &OsString| is_flag_like(next) || (is_optional(flag) && is_model(next));
            let Some(mut value) = args.next_if(|next| !is_no_value(next)) else {
                continue;
            };
            let is_more = |next: &OsString| is_list(flag) && is_number(next);
            while let Some(more) = args.next_if(is_more) {
                value = listed(&value, &more);
            }
            meant.push(value);
            continue;
        }
        if let Some(found) = verb.find_subcommand(text) {
            verb = found;
        } else if takes_models(verb, text) {
            meant.push("--model".into());
        }
        meant.push(arg);
    }
    meant.extend(args);
    meant
}

/// Two values of a list, whether or not a comma stands between them already.
fn listed(first: &OsString, more: &OsString) -> OsString {
    let first = first.to_string_lossy();
    let first = first.trim_end_matches(',');
    format!("{first},{}", more.to_string_lossy()).into()
}

fn hub_name(value: OsString) -> OsString {
    let mut name = OsString::from("hf:");
    name.push(value);
    name
}

fn is_flag(text: &str) -> bool {
    text.len() > 1 && text.starts_with('-') && !is_number_text(text)
}

fn is_flag_like(arg: &OsString) -> bool {
    arg.to_str().is_some_and(is_flag)
}

fn flag_of<'a>(text: &str, verbs: [&'a Command; 2]) -> Option<&'a Arg> {
    let name = text.split('=').next().unwrap_or_default();
    let is_it = |arg: &&Arg| match name.strip_prefix("--") {
        Some(long) => {
            let aliases = arg.get_all_aliases().unwrap_or_default();
            arg.get_long() == Some(long) || aliases.contains(&long)
        }
        None => {
            let letter = arg.get_short();
            letter.is_some_and(|letter| name == format!("-{letter}"))
        }
    };
    let mut all = verbs.into_iter().flat_map(Command::get_arguments);
    all.find(is_it)
}

/// Whether the next word is the flag's value.
fn takes_value(flag: &Arg) -> bool {
    let takes = flag.get_action().takes_values();
    takes && !flag.is_require_equals_set()
}

fn is_optional(flag: &Arg) -> bool {
    flag.get_num_args().is_some_and(|n| n.min_values() == 0)
}

fn is_model(arg: &OsString) -> bool {
    arg.to_str().is_some_and(is_like_a_model)
}

fn is_list(flag: &Arg) -> bool {
    let names = flag.get_value_names().unwrap_or_default();
    names.iter().any(|name| name == "LIST")
}

fn is_number(arg: &OsString) -> bool {
    arg.to_str().is_some_and(is_number_text)
}

/// A number, or several with commas, or a range such as `1-128*2`.
fn is_number_text(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    digits.starts_with(|c: char| c.is_ascii_digit())
        && digits
            .chars()
            .all(|c| c.is_ascii_digit() || ".,-*+".contains(c))
}

/// Whether a word that is neither flag nor verb is a model: where the verb measures models, and has no words of its own.
fn takes_models(verb: &Command, text: &str) -> bool {
    has_models(verb) && verb.get_positionals().next().is_none() && is_like_a_model(text)
}

/// Whether a verb measures models.
pub(super) fn has_models(verb: &Command) -> bool {
    let mut flags = verb.get_arguments();
    flags.any(|flag| flag.get_long() == Some("model"))
}

/// By its ending, or as a path or a name with a tag has it: no server, no machine with a port, and no file of another kind.
fn is_like_a_model(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    let ends = |ends: &[&str]| ends.iter().any(|end| lower.ends_with(end));
    if ends(&[".gguf", ".safetensors", ".bin"]) {
        return true;
    }
    let is_address = text.contains("://") && HubName::parse(text).is_none();
    let is_port = |rest: &str| !rest.is_empty() && rest.chars().all(|c| c.is_ascii_digit());
    let has_port = text.rsplit_once(':').is_some_and(|(_, rest)| is_port(rest));
    let is_other = ends(&[
        ".json", ".jsonl", ".toml", ".txt", ".csv", ".md", ".html", ".so",
    ]);
    let is_target = lower.starts_with("openai:");
    text.contains([':', '/', '\\']) && !(is_address || has_port || is_other || is_target)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::cli::Cli;

    fn meant(line: &str) -> String {
        let words = std::iter::once("ggufbench").chain(line.split_whitespace());
        let args = as_meant(words.map(OsString::from).collect(), &Cli::command());
        let words = args.into_iter().skip(1);
        let words: Vec<String> = words.map(|w| w.into_string().expect("text")).collect();
        words.join(" ")
    }

    #[test]
    fn a_model_needs_no_flag() {
        for (typed, is) in [
            ("a.gguf", "--model a.gguf"),
            (
                "a.gguf b.GGUF --batch 8",
                "--model a.gguf --model b.GGUF --batch 8",
            ),
            ("--model a.gguf b.gguf", "--model a.gguf --model b.gguf"),
            ("--batch 8 ollama:x", "--batch 8 --model ollama:x"),
            ("run hf.co/u/r", "run --model hf.co/u/r"),
            (
                "requests --batch 2 a.gguf",
                "requests --batch 2 --model a.gguf",
            ),
            ("--dry-run a.gguf", "--dry-run --model a.gguf"),
            ("-hf u/r:Q4_K_M", "--model hf:u/r:Q4_K_M"),
            ("-hf=u/r", "--model hf:u/r"),
            ("model fetch -hf u/r:Q8_0", "model fetch hf:u/r:Q8_0"),
            ("--kv-unified a.gguf", "--kv-unified --model a.gguf"),
            ("--flash-attn on a.gguf", "--flash-attn on --model a.gguf"),
        ] {
            assert_eq!(meant(typed), is);
        }
    }

    #[test]
    fn numbers_one_after_another_are_a_list() {
        for (typed, is) in [
            ("--batch 1 8 32", "--batch 1,8,32"),
            ("--batch 1, 8, 32 -t 2", "--batch 1,8,32 -t 2"),
            (
                "--model a.gguf --batch 1 8 --n-gen 16",
                "--model a.gguf --batch 1,8 --n-gen 16",
            ),
            ("sweep x.toml --threads 1 2", "sweep x.toml --threads 1,2"),
            ("--batch 1 4-8 16-64*2", "--batch 1,4-8,16-64*2"),
            ("--batch 1 8 a.gguf", "--batch 1,8 --model a.gguf"),
            ("--batch=1 8", "--batch=1 8"),
            ("--replicates 3 8", "--replicates 3 8"),
        ] {
            assert_eq!(meant(typed), is);
        }
    }

    #[test]
    fn everything_else_stays() {
        for line in [
            "",
            "run b",
            "sweep sweeps/quick.toml --batch 4",
            "compare out/a out/b",
            "report out/a -o json",
            "quality --base f16.gguf q8_0.gguf q4_0.gguf",
            "predict a.gguf --batch 8",
            "model info a.gguf",
            "model synth tiny -o a.gguf",
            "prompts import https://example.org/a.html",
            "requests --chat-template=false",
            "gate out/a --baseline last:14",
            "--out o --name x",
            "-- a.gguf",
            "requests --target openai:http://a/v1 openai:http://b/v1",
            "requests http://127.0.0.1:8080/v1",
            "--model a.gguf --rpc h:1 h:2",
            "requests --prompts a.jsonl sub/b.jsonl",
            "models",
        ] {
            assert_eq!(meant(line), line);
        }
    }
}
