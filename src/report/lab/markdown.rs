//! The lab report as Markdown, with its plots in files beside it: for viewers that render plain Markdown.

use super::{Block, Lab};
use crate::analysis::Finding;
use crate::plot::Figure;
use crate::report::html_lines;
use crate::report::table::markdown::{escaped, escaped_line, labelled};
use crate::text::{document, plain};

/// Folder of the plots, beside the Markdown file.
pub const PLOTS: &str = "plots";

/// The whole document.
pub fn render(lab: &Lab) -> String {
    let mut out = format!("# {}\n\n", escaped(&lab.title));
    for (label, text) in &lab.about {
        out.push_str(&labelled(label, text));
    }
    out.push('\n');
    for finding in &lab.lead {
        write_finding(finding, &mut out);
    }
    for section in &lab.sections {
        out.push_str(&format!("## {}\n\n", escaped(section.title)));
        for block in &section.blocks {
            write_block(block, &mut out);
        }
    }
    out.truncate(out.trim_end().len());
    out.push('\n');
    document(&out)
}

fn write_finding(finding: &Finding, out: &mut String) {
    out.push_str(&format!(
        "**{}** {} *({})*\n\n",
        escaped(finding.question),
        escaped(&finding.claim),
        finding.sure
    ));
    for text in &finding.evidence {
        out.push_str(&format!("- {}\n", escaped_line(text)));
    }
    if !finding.evidence.is_empty() {
        out.push('\n');
    }
}

fn write_block(block: &Block, out: &mut String) {
    match block {
        Block::Heading(text) => out.push_str(&format!("### {}\n\n", escaped(text))),
        Block::Text(text) => out.push_str(&format!("{}\n\n", escaped_line(text))),
        Block::List(texts) => {
            for text in texts {
                out.push_str(&format!("- {}\n", escaped_line(text)));
            }
            out.push('\n');
        }
        Block::Findings(findings) => findings.iter().for_each(|f| write_finding(f, out)),
        Block::Table(table) => out.push_str(&format!("{}\n", table.markdown())),
        Block::Figures(figures) => figures.iter().for_each(|f| figure(f, out)),
        Block::Missing(text, command) => missing(text, Some(command), out),
        Block::Commands(summary, commands) => {
            out.push_str(&format!("{}:\n\n", escaped_line(summary)));
            for (text, command) in commands {
                missing(text, command.as_deref(), out);
            }
        }
        Block::Folded(summary, text) => {
            // Inside HTML a document's own markup means nothing, and no `<` is left that could end it.
            let (summary, text) = (html_lines(&plain(summary)), html_lines(text));
            out.push_str(&format!(
                "<details><summary>{summary}</summary>\n\n<pre>\n{text}\n</pre>\n\n</details>\n\n"
            ));
        }
    }
}

fn missing(text: &str, command: Option<&str>, out: &mut String) {
    out.push_str(&format!("{}\n\n", escaped_line(text)));
    if let Some(command) = command {
        out.push_str(&format!("    {}\n\n", plain(command)));
    }
}

fn figure(figure: &Figure, out: &mut String) {
    let (title, file) = (escaped(&figure.title), format!("{PLOTS}/{}", figure.id));
    out.push_str(&format!(
        "[![{title}]({file}.png)]({file}.svg)\n\n{}\n\n",
        escaped_line(&figure.caption)
    ));
}
