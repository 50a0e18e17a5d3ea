//! `nightly`: one night. It measures tonight's program and the promoted one in turns until each cell is decided, keeps the history, and
//! writes a summary.

mod course;
mod ending;
mod plan;

use std::ffi::OsString;
use std::io::{self, Read, Write as _};
use std::path::Path;

use anyhow::{Context as _, Result};

use super::{BAD_INPUT, DONE, FAILED_CELLS, INCONCLUSIVE, INTERRUPTED, in_one_line};
use crate::cli::NightlyArgs;
use crate::file::{OutputFile, Replace, WriteError, make_folder_of};
use crate::nightly::child::Children;
use crate::nightly::lock::NightLock;
use crate::nightly::program::PROGRAM_VARIABLE;
use crate::nightly::{Conclusion, Verdict, command_line};
use crate::streams::{note, unless_closed};
use crate::text::{plain, quoted};
use course::Night;
use plan::NightPlan;

/// Measures and judges a night, and says so. The exit code is the verdict.
///
/// # Errors
/// None: an error is a verdict too.
pub fn nightly(args: &NightlyArgs) -> Result<u8> {
    Ok(pass(args).unwrap_or_else(|error| {
        // Before the night has begun there is no summary.
        say(&in_one_line(&error));
        BAD_INPUT
    }))
}

fn pass(args: &NightlyArgs) -> Result<u8> {
    let plan = NightPlan::of(args)?;
    let lock = NightLock::take(&args.out, &plan.history)?;
    let children = Children::listen().context("cannot listen to Ctrl-C")?;
    let mut night = Night::new(args, plan, children, &lock)?;
    let end = night.course().unwrap_or_else(|end| end);
    Ok(finish(args, night, &end))
}

/// Writes the summary everywhere it belongs, and returns the exit code.
fn finish(args: &NightlyArgs, mut night: Night<'_>, end: &Conclusion) -> u8 {
    if end.verdict == Verdict::Error {
        say(&end.reason);
    }
    let mut code = exit_code(end.verdict);
    let folder = night.kept_folder();
    let text = night.summary(&again()).text(end);
    let _ = unless_closed(io::stdout().lock().write_all(text.as_bytes()));
    if let Some(file) = &args.summary
        && let Err(e) = put(file, text.as_bytes())
    {
        let (file, reason) = (file.display(), io::Error::from(e));
        say(&format!("{file}: the summary cannot be written: {reason}"));
        if code != FAILED_CELLS {
            code = BAD_INPUT;
        }
    }
    if let Some(folder) = folder {
        // For later reference: whether nights before were in doubt, and for people.
        let _ = put(&folder.join("summary.md"), text.as_bytes());
    }
    code
}

fn exit_code(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Pass | Verdict::FirstNight | Verdict::Promoted => DONE,
        Verdict::Regression => FAILED_CELLS,
        Verdict::Inconclusive => INCONCLUSIVE,
        Verdict::Interrupted => INTERRUPTED,
        Verdict::Error => BAD_INPUT,
    }
}

/// A line on standard error, among those of what the night starts.
fn say(text: &str) {
    note(format_args!("nightly: {}", plain(text)));
}

/// Writes a file in one step, so that a reader sees the old one or the new one.
fn put(path: &Path, mut from: impl Read) -> Result<(), WriteError> {
    make_folder_of(path)?;
    let mut file = OutputFile::create(path, Replace::Always)?;
    let written = io::copy(&mut from, &mut file);
    written.map_err(|source| WriteError::Io {
        path: path.to_owned(),
        source,
    })?;
    file.commit()
}

/// The night as it was typed, and two others that differ from it in a flag.
struct Typed {
    again: String,
    promote: String,
    in_turns: String,
}

fn again() -> Typed {
    let words: Vec<String> = std::env::args_os().map(lossy).collect();
    // After the verb.
    let at = words
        .iter()
        .position(|word| word == "nightly")
        .map_or(1, |at| at + 1);
    let (verb, options) = words.split_at(at.min(words.len()));
    let line = |options: &[String]| {
        let line = command_line(verb.iter().chain(options));
        let named = std::env::var_os(PROGRAM_VARIABLE).filter(|name| !name.is_empty());
        match named.map(|name| quoted(Path::new(&name))) {
            None => line,
            Some(name) if cfg!(windows) => format!("    set {PROGRAM_VARIABLE}={name}\n{line}"),
            Some(name) => format!("    {PROGRAM_VARIABLE}={name} {}", line.trim_start()),
        }
    };
    let promote = [&["--promote".to_owned()], options].concat();
    Typed {
        again: line(options),
        promote: line(&promote),
        in_turns: line(&in_turns(options)),
    }
}

/// The options without those that mean other nights.
fn in_turns(options: &[String]) -> Vec<String> {
    let end = options.iter().position(|word| word == "--");
    let (own, flags) = options.split_at(end.unwrap_or(options.len()));
    let mut kept = Vec::new();
    let mut own = own.iter();
    while let Some(word) = own.next() {
        match word.split('=').next().unwrap_or_default() {
            "--nights" => {}
            "--baseline" | "--night-sd" if word.contains('=') => {}
            "--baseline" | "--night-sd" => {
                own.next();
            }
            _ => kept.push(word.clone()),
        }
    }
    kept.extend_from_slice(flags);
    kept
}

fn lossy(word: OsString) -> String {
    word.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_night_in_turns() {
        let words =
            |line: &str| -> Vec<String> { line.split_whitespace().map(str::to_owned).collect() };
        let typed = words(
            "--sweep s.toml --nights --baseline last:3 --night-sd=5% --summary a.md -- --nights",
        );
        let expected = words("--sweep s.toml --summary a.md -- --nights");
        assert_eq!(in_turns(&typed), expected);
    }

    #[test]
    fn a_file_is_replaced_and_its_folder_is_made() {
        let place = tempfile::tempdir().expect("a temporary folder");
        let file = place.path().join("mail/nightly.md");
        put(&file, "one".as_bytes()).expect("written");
        put(&file, "two".as_bytes()).expect("replaced");
        assert_eq!(std::fs::read_to_string(&file).expect("readable"), "two");
    }
}
