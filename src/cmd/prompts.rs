//! `prompts`: list and import prompts.

use std::io;

use anyhow::Result;

use super::{DONE, say, say_path, unless_closed};
use crate::cli::{ImportArgs, PromptsCommand};
use crate::file::is_standard_output;
use crate::report::table::{Document, Table};
use crate::request::prompts::import::{Imported, Selection, import, print, save};
use crate::request::prompts::{BUNDLED, PromptSet};
use crate::streams::note;
use crate::text::{cut_end, plain, plural, quoted, short};

/// Columns of a prompt's beginning in the list.
const BEGINNING: usize = 48;

/// Does what was asked with prompts.
///
/// # Errors
/// One line naming the file, line and key, or the address, that is wrong.
pub fn prompts(command: PromptsCommand) -> Result<u8> {
    match command {
        PromptsCommand::List { prompts } => list(&prompts),
        PromptsCommand::Import(args) => import_from(&args),
    }
    .map(|()| DONE)
}

fn list(names: &[String]) -> Result<()> {
    let sets: Vec<PromptSet> = if names.is_empty() {
        let bundled = BUNDLED.iter().map(|(name, _)| PromptSet::bundled(name));
        bundled.collect::<Result<_, _>>()?
    } else {
        names
            .iter()
            .map(|n| PromptSet::open(n))
            .collect::<Result<_, _>>()?
    };
    let texts: Result<Vec<String>> = sets
        .iter()
        .map(|set| Ok(listed(set)?.for_stdout()))
        .collect();
    say(texts?.join("\n\n"))
}

fn listed(set: &PromptSet) -> Result<Document> {
    let pairs = match set.pairs()?.len() {
        0 => String::new(),
        n => format!(", {}", plural(count(n), "matched pair", "matched pairs")),
    };
    // Only what is shown is made fit to be shown: texts may be long.
    let beginning = |text: &str| {
        let head: String = text.chars().take(2 * BEGINNING).collect();
        cut_end(&plain(&head), BEGINNING)
    };
    let table = Table::of(set.all())
        .words("id", |p| short(&p.id))
        .words("class", |p| short(&p.class))
        .words("difficulty", |p| p.difficulty.map_or("", |d| d.word()))
        .numbers("characters", |p| p.text.chars().count())
        .words("first words", |p| beginning(&p.text));
    let in_all = format!(
        "{} in {}{pairs}",
        plural(count(set.all().len()), "prompt", "prompts"),
        plural(count(set.classes().len()), "class", "classes"),
    );
    Ok(Document::new("Prompts", table).below(&short(set.name()), in_all))
}

fn import_from(args: &ImportArgs) -> Result<()> {
    let selection = Selection {
        select: args.select.clone(),
        class: args.class.clone(),
        min_chars: args.min_chars,
        lines: args.lines,
        text_key: args.text_key.clone(),
    };
    let imported = import(&args.source, &selection)?;
    let Some(path) = &args.out else {
        unless_closed(print(&imported.prompts, &mut io::stdout().lock()))?;
        note(summary(&imported));
        return Ok(());
    };
    save(&imported.prompts, path, args.force)?;
    note(format_args!(
        "{}; use them with --prompts {}",
        summary(&imported),
        quoted(path)
    ));
    if is_standard_output(path) {
        return Ok(());
    }
    say_path(path)
}

fn summary(imported: &Imported) -> String {
    let mut said = plural(count(imported.prompts.len()), "prompt", "prompts");
    let left_out = [
        (imported.n_short, "too short"),
        (imported.n_repeated, "repeated"),
    ];
    for (n, why) in left_out.into_iter().filter(|(n, _)| *n > 0) {
        said += &format!(", {n} {why} left out");
    }
    said
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
