//! `prompts`: list and import prompts.

use std::io;

use anyhow::{Result, ensure};

use super::execute::listen;
use super::{DONE, INTERRUPTED, say, say_path, unless_closed};
use crate::cli::{ImportArgs, PromptsCommand};
use crate::file::is_standard_output;
use crate::foreign::browser::{Browser, BrowserError, PATIENCE};
use crate::report::table::{Document, Table};
use crate::request::prompts::import::{
    ImportedPrompts, Selection, check_page, import, import_page, is_address, print, save,
};
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
        PromptsCommand::List { prompts } => list(&prompts).map(|()| DONE),
        PromptsCommand::Import(args) => import_from(&args),
    }
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

fn import_from(args: &ImportArgs) -> Result<u8> {
    let selection = Selection {
        select: args.select.clone(),
        class: args.class.clone(),
        min_chars: args.min_chars,
        lines: args.lines,
        text_key: args.text_key.clone(),
        most: args.max_prompts.map(|n| n as usize),
    };
    let imported = match &args.browser {
        None => import(&args.source, &selection)?,
        Some(named) => match rendered(args, named, &selection)? {
            Some(imported) => imported,
            None => return Ok(INTERRUPTED),
        },
    };
    let Some(path) = &args.out else {
        unless_closed(print(&imported.prompts, &mut io::stdout().lock()))?;
        note(summary(&imported));
        return Ok(DONE);
    };
    save(&imported.prompts, path, args.force)?;
    note(format_args!(
        "{}; use them with --prompts {}",
        summary(&imported),
        quoted(path)
    ));
    if !is_standard_output(path) {
        say_path(path)?;
    }
    Ok(DONE)
}

/// Prompts of a page as the user's browser shows it; `None` after Ctrl-C.
fn rendered(
    args: &ImportArgs,
    named: &str,
    selection: &Selection,
) -> Result<Option<ImportedPrompts>> {
    let source = &args.source;
    ensure!(
        is_address(source),
        "{}: --browser renders an http(s) address; a saved page is read as it is, without --browser",
        plain(source)
    );
    check_page(source, selection)?;
    let named = Some(named).filter(|name| !name.is_empty());
    let browser = Browser::find(named, std::env::var_os("PATH").as_deref())?;
    if !browser.has_sandbox {
        note(format_args!(
            "note: {} refuses its sandbox to root, so it runs with --no-sandbox: a page that breaks out of it may do what root may. Run as another \
             user for pages that you do not trust",
            quoted(&browser.program)
        ));
    }
    let page = match browser.rendered(source, PATIENCE, &listen()?) {
        Err(BrowserError::Interrupted) => return Ok(None),
        page => page?,
    };
    Ok(Some(import_page(source, &page, selection)?))
}

fn summary(imported: &ImportedPrompts) -> String {
    let mut said = plural(count(imported.prompts.len()), "prompt", "prompts");
    if imported.is_cut {
        said += ", the first of the source";
    }
    let left_out = [
        (imported.n_short, "too short"),
        (imported.n_repeated, "repeated"),
        (imported.n_unasked, "without a user's message"),
    ];
    for (n, why) in left_out.into_iter().filter(|(n, _)| *n > 0) {
        said += &format!(", {n} {why} left out");
    }
    if imported.n_with_other_parts > 0 {
        said += &format!(
            ", {} without their images or other parts",
            imported.n_with_other_parts
        );
    }
    said
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
