//! Experiments that a run did not make: they have no section of their own, but one list of commands that make them.

use super::{Block, Section};
use crate::text::plural;

/// Takes the experiments without any figure out of their section and puts their commands into the section of what to measure next.
pub(super) fn set_aside(sections: &mut [Section]) {
    let Some(experiments) = sections.iter_mut().find(|s| s.id == "experiments") else {
        return;
    };
    let mut aside: Vec<Vec<Block>> = Vec::new();
    let mut kept: Vec<Block> = Vec::new();
    for part in by_heading(std::mem::take(&mut experiments.blocks)) {
        match part.iter().any(shows_something) {
            true => kept.extend(part),
            false => aside.push(part),
        }
    }
    experiments.blocks = kept;
    let n = u32::try_from(aside.len()).unwrap_or(u32::MAX);
    let commands: Vec<(String, Option<String>)> =
        aside.into_iter().flatten().filter_map(command).collect();
    let Some(next) = sections.iter_mut().find(|s| s.id == "next") else {
        return;
    };
    if !commands.is_empty() {
        let summary = format!(
            "{} not made in this run",
            plural(n, "experiment", "experiments")
        );
        next.blocks.push(Block::Commands(summary, commands));
    }
}

/// Blocks with the heading before them.
fn by_heading(blocks: Vec<Block>) -> Vec<Vec<Block>> {
    let mut parts: Vec<Vec<Block>> = Vec::new();
    for block in blocks {
        match parts.last_mut() {
            Some(part) if !matches!(block, Block::Heading(_)) => part.push(block),
            _ => parts.push(vec![block]),
        }
    }
    parts
}

/// Whether a block says something that was measured.
fn shows_something(block: &Block) -> bool {
    match block {
        Block::Findings(_) | Block::Table(_) | Block::Figures(_) | Block::List(_) => true,
        Block::Heading(_)
        | Block::Text(_)
        | Block::Missing(..)
        | Block::Folded(..)
        | Block::Commands(..) => false,
    }
}

fn command(block: Block) -> Option<(String, Option<String>)> {
    match block {
        Block::Missing(text, command) => Some((text, Some(command))),
        Block::Text(text) => Some((text, None)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::table::Table;

    fn section(id: &'static str, blocks: Vec<Block>) -> Section {
        Section {
            id,
            title: id,
            blocks,
        }
    }

    #[test]
    fn only_experiments_that_were_made_keep_their_place() {
        let heading = |text: &str| Block::Heading(text.to_owned());
        let made = [heading("batch"), Block::Table(Table::default())];
        let missing = Block::Missing("One length.".to_owned(), "ggufbench".to_owned());
        let unmade = [
            heading("length"),
            missing,
            heading("temperature"),
            Block::Text("Not measured.".to_owned()),
        ];
        let mut sections = vec![
            section("experiments", [&made[..], &unmade[..]].concat()),
            section("next", vec![Block::Text("first".to_owned())]),
        ];
        set_aside(&mut sections);
        assert_eq!(sections[0].blocks, made);
        let commands = vec![
            ("One length.".to_owned(), Some("ggufbench".to_owned())),
            ("Not measured.".to_owned(), None),
        ];
        let summary = "2 experiments not made in this run".to_owned();
        assert_eq!(
            sections[1].blocks[1..],
            [Block::Commands(summary, commands)]
        );
        // Where all were made nothing is set aside.
        let mut sections = vec![
            section("experiments", made.to_vec()),
            section("next", Vec::new()),
        ];
        set_aside(&mut sections);
        assert!(sections[1].blocks.is_empty());
    }
}
