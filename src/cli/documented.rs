//! Every command that README and the pages of docs/ show can be typed, and the files that they name exist.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::error::ErrorKind;

use super::{AxisArgs, Command, SideArgs, normalize};

/// The names by which a page starts the program.
const PROGRAMS: [&str; 2] = ["ggufbench", "target/release/ggufbench"];

/// What ends a command within a line of a shell.
const OPERATORS: [&str; 6] = ["|", "||", "&&", ";", ">", ">>"];

struct Page {
    path: PathBuf,
    text: String,
}

fn checkout() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// README and the pages of docs/.
fn pages() -> Vec<Page> {
    let entries = std::fs::read_dir(checkout().join("docs")).expect("docs exists");
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| entry.expect("readable").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .collect();
    paths.push(checkout().join("README.md"));
    paths.sort();
    let read = |path: PathBuf| Page {
        text: std::fs::read_to_string(&path).expect("a page"),
        path,
    };
    paths.into_iter().map(read).collect()
}

/// A page's lines outside of blocks, and those of its `sh` blocks.
fn prose_and_shell(text: &str) -> (Vec<&str>, Vec<&str>) {
    let (mut prose, mut shell) = (Vec::new(), Vec::new());
    let mut block: Option<&str> = None;
    for line in text.lines() {
        match (line.trim_start().strip_prefix("```"), block) {
            (Some(language), None) => block = Some(language.trim()),
            (Some(_), Some(_)) => block = None,
            (None, Some("sh")) => shell.push(line),
            (None, Some(_)) => {}
            (None, None) => prose.push(line),
        }
    }
    (prose, shell)
}

/// The words of each command: lines that a backslash continues are joined, and comments left out.
fn commands(page: &Page) -> Vec<Vec<String>> {
    let (_, shell) = prose_and_shell(&page.text);
    let text = shell.join("\n").replace("\\\n", " ");
    let mut commands = Vec::new();
    for line in text.lines() {
        // A program of jq goes over several lines, which are no commands by themselves.
        let Some(words) = shlex::split(line) else {
            assert!(!line.contains("ggufbench "), "no shell reads {line}");
            continue;
        };
        let parts = words.split(|word| OPERATORS.contains(&word.as_str()));
        commands.extend(parts.map(<[String]>::to_vec));
    }
    commands
}

/// The words from the program's name on, where a command starts it.
fn of_program(command: &[String]) -> Option<&[String]> {
    let is_program = |word: &String| PROGRAMS.contains(&word.as_str());
    let at = command.iter().position(is_program)?;
    Some(&command[at..])
}

fn check(words: &[String]) -> Result<(), String> {
    let words = normalize(words.iter().map(OsString::from))?;
    let cli = match super::parse(words) {
        Ok(cli) => cli,
        Err(e) if matches!(e.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => {
            return Ok(());
        }
        Err(e) => return Err(e.to_string()),
    };
    match &cli.command {
        None => check_values(&cli.run.axes),
        Some(Command::Run(run) | Command::Sweep { run, .. }) => check_values(&run.axes),
        Some(Command::Ab(ab)) => {
            check_values(&ab.axes)?;
            ab.sides.split(|flag| flag == "--").try_for_each(check_side)
        }
        Some(_) => Ok(()),
    }
}

fn check_values(axes: &AxisArgs) -> Result<(), String> {
    axes.axes().map(|_| ()).map_err(|e| e.to_string())
}

fn check_side(flags: &[String]) -> Result<(), String> {
    let flags = normalize(flags.iter().map(OsString::from))?;
    let side = SideArgs::read(flags).map_err(|e| e.to_string())?;
    check_values(&side.axes)
}

#[test]
fn every_documented_command_can_be_typed() {
    let mut n = 0;
    for page in pages() {
        for command in commands(&page) {
            let Some(words) = of_program(&command) else {
                continue;
            };
            if let Err(reason) = check(words) {
                panic!("{}: {}: {reason}", page.path.display(), words.join(" "));
            }
            n += 1;
        }
    }
    assert!(n > 100, "only {n} commands were found");
}

#[test]
fn a_command_with_a_wrong_flag_value_or_side_is_refused() {
    for line in [
        "ggufbench --backends DIR devices",
        "ggufbench --model a.gguf --no-such-flag",
        "ggufbench --model a.gguf --batch many",
        "ggufbench ab --model a.gguf -- --no-such-flag 1 -- --threads 2",
    ] {
        let words = shlex::split(line).expect("words");
        assert!(check(&words).is_err(), "{line}");
    }
}

#[test]
fn sweeps_and_scripts_of_documented_commands_exist() {
    let mut n = 0;
    for page in pages() {
        for word in commands(&page).into_iter().flatten() {
            if word.starts_with("sweeps/") || word.starts_with("scripts/") {
                let exists = checkout().join(&word).exists();
                assert!(exists, "{}: {word}", page.path.display());
                n += 1;
            }
        }
    }
    assert!(n > 3, "only {n} files were found");
}

/// A heading's name in an address, as GitHub makes it.
fn anchor(heading: &str) -> String {
    let title = heading.trim_start_matches('#').trim().to_lowercase();
    title
        .chars()
        .filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

/// The names of a page's headings, and those that it gives itself (`<a id="...">`).
fn anchors(text: &str) -> Vec<String> {
    let (prose, _) = prose_and_shell(text);
    let mut anchors = Vec::new();
    for line in prose {
        if line.starts_with('#') {
            anchors.push(anchor(line));
        }
        let id = line.split_once("id=\"").map(|(_, rest)| rest);
        if let Some((id, _)) = id.and_then(|rest| rest.split_once('"')) {
            anchors.push(id.to_owned());
        }
    }
    anchors
}

/// Where the links of a page lead to, except to other hosts.
fn links(page: &Page) -> Vec<String> {
    let (prose, _) = prose_and_shell(&page.text);
    let prose = prose.join("\n");
    let targets = prose.split("](").skip(1);
    let targets = targets.filter_map(|rest| rest.split_once(')'));
    let targets = targets.map(|(target, _)| target.to_owned());
    targets.filter(|target| !target.contains("://")).collect()
}

#[test]
fn every_link_leads_to_a_file_and_a_heading_of_it() {
    let mut n = 0;
    for page in pages() {
        let folder = page.path.parent().expect("a folder");
        for target in links(&page) {
            let (file, heading) = target.split_once('#').unwrap_or((target.as_str(), ""));
            let file = match file {
                "" => page.path.clone(),
                file => folder.join(file),
            };
            let from = page.path.display();
            assert!(file.exists(), "{from}: {target}");
            if !heading.is_empty() {
                let text = std::fs::read_to_string(&file).expect("a page");
                let is_there = anchors(&text).iter().any(|anchor| anchor == heading);
                assert!(is_there, "{from}: {target}");
            }
            n += 1;
        }
    }
    assert!(n > 50, "only {n} links were found");
}
