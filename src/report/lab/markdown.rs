//! The lab report as Markdown, with its plots in files beside it: for viewers that render plain Markdown.

use super::{Block, Lab};
use crate::analysis::Finding;
use crate::plot::Figure;
use crate::report::table::markdown::{escaped, labelled};
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
        out.push_str(&format!("- {}\n", line(text)));
    }
    if !finding.evidence.is_empty() {
        out.push('\n');
    }
}

fn write_block(block: &Block, out: &mut String) {
    match block {
        Block::Heading(text) => out.push_str(&format!("### {}\n\n", escaped(text))),
        Block::Text(text) => out.push_str(&format!("{}\n\n", line(text))),
        Block::List(texts) => {
            for text in texts {
                out.push_str(&format!("- {}\n", line(text)));
            }
            out.push('\n');
        }
        Block::Findings(findings) => findings.iter().for_each(|f| write_finding(f, out)),
        Block::Table(table) => out.push_str(&format!("{}\n", table.markdown())),
        Block::Figures(figures) => figures.iter().for_each(|f| figure(f, out)),
        Block::Missing(text, command) => {
            out.push_str(&format!("{}\n\n    {}\n\n", line(text), plain(command)));
        }
        Block::Folded(summary, text) => {
            // Inside <pre> a document's own markup means nothing, and no `<` is left that could end it.
            let text = crate::report::html_lines(text);
            out.push_str(&format!(
                "<details><summary>{}</summary>\n\n<pre>\n{text}\n</pre>\n\n</details>\n\n",
                escaped(summary)
            ));
        }
    }
}

fn figure(figure: &Figure, out: &mut String) {
    let (title, file) = (escaped(&figure.title), format!("{PLOTS}/{}", figure.id));
    out.push_str(&format!(
        "[![{title}]({file}.png)]({file}.svg)\n\n{}\n\n",
        line(&figure.caption)
    ));
}

/// Text at the start of a line, where a few characters mean more than elsewhere.
fn line(text: &str) -> String {
    let safe = escaped(text);
    let is_numbered = safe
        .trim_start_matches(|c: char| c.is_ascii_digit())
        .starts_with(['.', ')'])
        && safe.starts_with(|c: char| c.is_ascii_digit());
    if safe.starts_with(['#', '>', '+', '-', '=', '~', '_']) {
        format!("\\{safe}")
    } else if is_numbered {
        safe.replacen(['.', ')'], "\\.", 1)
    } else {
        safe
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_begins_no_heading_list_or_quotation() {
        assert_eq!(line("# a"), "\\# a");
        assert_eq!(line("> a"), "\\> a");
        assert_eq!(line("- a"), "\\- a");
        assert_eq!(line("1. a"), "1\\. a");
        assert_eq!(line("1.5 is a number"), "1\\.5 is a number");
        assert_eq!(line("a # b"), "a # b");
    }
}
