//! `prompts`: list and import prompts.

use std::io;

use anyhow::Result;
use comfy_table::{CellAlignment, Table, presets};

use super::{DONE, say, say_path, unless_closed};
use crate::cli::{ImportArgs, PromptsCommand};
use crate::file::is_standard_output;
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
    let texts: Result<Vec<String>> = sets.iter().map(listed).collect();
    say(texts?.join("\n\n"))
}

fn listed(set: &PromptSet) -> Result<String> {
    let n_pairs = set.pairs()?.len();
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table.set_header(["id", "class", "difficulty", "characters", "first words"]);
    for prompt in set.all() {
        // Only what is shown is made fit to be shown: texts may be long.
        let head: String = prompt.text.chars().take(2 * BEGINNING).collect();
        table.add_row([
            short(&prompt.id),
            short(&prompt.class),
            prompt.difficulty.map_or("", |d| d.word()).to_owned(),
            prompt.text.chars().count().to_string(),
            cut_end(&plain(&head), BEGINNING),
        ]);
    }
    if let Some(column) = table.column_mut(3) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    let pairs = match n_pairs {
        0 => String::new(),
        n => format!(", {}", plural(count(n), "matched pair", "matched pairs")),
    };
    Ok(format!(
        "{}\n\n{}: {} in {}{pairs}",
        table.trim_fmt(),
        short(set.name()),
        plural(count(set.all().len()), "prompt", "prompts"),
        plural(count(set.classes().len()), "class", "classes"),
    ))
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
