//! Texts of a page's elements.

use std::cell::Ref;

use ego_tree::iter::Edge;
use html5ever::driver::{self, ParseOpts, Parser};
use html5ever::tendril::{StrTendril, TendrilSink as _};
use scraper::{ElementRef, Html, HtmlTreeSink, Node, Selector};

use super::ImportedText;
use crate::request::prompts::PromptError;
use crate::text::{plain, short};

/// Deeper nesting than a browser keeps (512 in Chromium): finding an element's place costs the parser its depth.
const MOST_DEPTH: usize = 512;
/// More nodes than any page for people; unclosed formatting can make a small page grow without end.
const MOST_NODES: usize = 2_000_000;
/// The page is parsed in pieces of this number of bytes, and checked after each.
const CHUNK_BYTES: usize = 4096;

/// The texts of the elements that a selector names, in the page's order; an element inside another that is named is a
/// part of it. Without a selector, the text of the body.
pub(super) fn pieces(
    name: &str,
    page: &str,
    select: Option<&str>,
) -> Result<Vec<ImportedText>, PromptError> {
    let css = select.unwrap_or("body");
    let selector = selector(name, css)?;
    let html = parsed(page).map_err(|why| PromptError::whole(name, why))?;
    let (texts, n_elements) = texts(&html, &selector);
    if texts.is_empty() {
        return Err(PromptError::whole(
            name,
            format!("'{}' matches none of its {n_elements} elements", short(css)),
        ));
    }
    let piece = |text| ImportedText {
        text,
        ..ImportedText::default()
    };
    Ok(texts.into_iter().map(piece).collect())
}

/// A selector; the message about one that is none is a line.
pub(super) fn selector(name: &str, css: &str) -> Result<Selector, PromptError> {
    // The parser's own reason is about its insides ("please report this to the developer").
    Selector::parse(css).map_err(|_| {
        let reason = format!(
            "--select '{}': is no CSS selector; say 'p', 'article p' or '.text > li'",
            short(css)
        );
        PromptError::whole(name, plain(&reason))
    })
}

fn parsed(page: &str) -> Result<Html, String> {
    let sink = HtmlTreeSink::new(Html::new_document());
    let mut parser = driver::parse_document(sink, ParseOpts::default());
    let mut rest = page;
    while !rest.is_empty() {
        let mut end = rest.len().min(CHUNK_BYTES);
        while !rest.is_char_boundary(end) {
            end += 1;
        }
        let (chunk, after) = rest.split_at(end);
        parser.process(StrTendril::from(chunk));
        within_limits(&parser)?;
        rest = after;
    }
    Ok(parser.finish())
}

fn within_limits(parser: &Parser<HtmlTreeSink>) -> Result<(), String> {
    let html: Ref<'_, Html> = parser.tokenizer.sink.sink.0.borrow();
    if html.tree.values().len() > MOST_NODES {
        return Err(format!("has more than {MOST_NODES} elements and texts"));
    }
    // The newest node is where the parser stands.
    let newest = html.tree.nodes().next_back();
    let depth = newest.map_or(0, |node| node.ancestors().take(MOST_DEPTH + 1).count());
    if depth > MOST_DEPTH {
        return Err(format!("has elements nested deeper than {MOST_DEPTH}"));
    }
    Ok(())
}

/// The texts, and how many elements there are in all.
fn texts(html: &Html, selector: &Selector) -> (Vec<String>, usize) {
    let mut texts = Vec::new();
    let mut n_elements = 0;
    // What is being collected, and the depths at which it, and anything unread inside it, began.
    let mut open: Option<(usize, PageText)> = None;
    let mut unread: Option<usize> = None;
    let mut depth = 0;
    for edge in html.tree.root().traverse() {
        match edge {
            Edge::Open(node) => {
                depth += 1;
                let Some(element) = ElementRef::wrap(node) else {
                    if let (Node::Text(text), None, Some((_, collected))) =
                        (node.value(), unread, open.as_mut())
                    {
                        collected.push(text);
                    }
                    continue;
                };
                n_elements += 1;
                let tag = element.value().name();
                if unread.is_none() && is_unread(tag) {
                    unread = Some(depth);
                }
                if open.is_none() && unread.is_none() && selector.matches(&element) {
                    open = Some((depth, PageText::default()));
                }
                if let (None, Some((_, collected))) = (unread, &mut open) {
                    collected.at_edge(tag);
                }
            }
            Edge::Close(node) => {
                if let (Node::Element(element), None, Some((_, collected))) =
                    (node.value(), unread, &mut open)
                {
                    collected.at_edge(element.name());
                }
                if let Some((_, done)) = open.take_if(|(began, _)| *began == depth) {
                    texts.push(done.finished());
                }
                unread.take_if(|began| *began == depth);
                depth -= 1;
            }
        }
    }
    (texts, n_elements)
}

/// Elements whose content is not for readers.
fn is_unread(tag: &str) -> bool {
    matches!(
        tag,
        "script" | "style" | "noscript" | "template" | "head" | "svg" | "iframe" | "object"
    )
}

/// Elements that stand in the line; all others break it.
fn is_inline(tag: &str) -> bool {
    matches!(
        tag,
        "a" | "abbr"
            | "b"
            | "bdi"
            | "bdo"
            | "big"
            | "cite"
            | "code"
            | "data"
            | "del"
            | "dfn"
            | "em"
            | "font"
            | "i"
            | "img"
            | "ins"
            | "kbd"
            | "label"
            | "mark"
            | "math"
            | "q"
            | "s"
            | "samp"
            | "small"
            | "span"
            | "strike"
            | "strong"
            | "sub"
            | "sup"
            | "time"
            | "tt"
            | "u"
            | "var"
            | "wbr"
    )
}

/// Text with its white space as a browser shows it.
#[derive(Default)]
struct PageText {
    text: String,
    /// White space that is due before the next word.
    gap: Option<char>,
}

impl PageText {
    fn push(&mut self, text: &str) {
        for c in text.chars() {
            if c.is_whitespace() {
                self.gap = self.gap.or(Some(' '));
            } else if !c.is_control() {
                let gap = self.gap.take().filter(|_| !self.text.is_empty());
                self.text.extend(gap);
                self.text.push(c);
            }
        }
    }

    /// An element begins or ends here.
    fn at_edge(&mut self, tag: &str) {
        if !is_inline(tag) {
            self.gap = Some('\n');
        }
    }

    fn finished(self) -> String {
        self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(page: &str, css: &str) -> Vec<String> {
        let pieces = pieces("page.html", page, Some(css)).expect("reads");
        pieces.into_iter().map(|p| p.text).collect()
    }

    #[test]
    fn texts_are_as_a_browser_shows_them() {
        let page =
            "<p>One   &amp;\n two<br>three <b>f</b>our&nbsp;five</p><p>&#x41;&lt;b&gt; \u{1}x</p>";
        assert_eq!(read(page, "p"), ["One & two\nthree four five", "A<b> x"]);
        let list = "<ul><li>a</li><li>b <i>c</i></li></ul>";
        assert_eq!(read(list, "ul"), ["a\nb c"]);
        assert_eq!(read(list, "li"), ["a", "b c"]);
    }

    #[test]
    fn scripts_and_styles_are_left_out() {
        let page = "<title>t</title><body>a<script>var x = '<p>no</p>';</script><style>p{}</style>\
                    <noscript>no</noscript><template><p>no</p></template> b<svg><text>no</text></svg></body>";
        assert_eq!(read(page, "body"), ["a b"]);
        assert_eq!(
            pieces("p.html", page, Some("script"))
                .expect_err("not read")
                .to_string(),
            format!("p.html: 'script' matches none of its {} elements", 11)
        );
    }

    #[test]
    fn an_element_inside_a_match_is_part_of_it() {
        let page = "<div>a<div>b</div>c</div><div>d</div>";
        assert_eq!(read(page, "div"), ["a\nb\nc", "d"]);
    }

    #[test]
    fn a_page_without_a_body_has_an_empty_one() {
        assert_eq!(read("", "body"), [""]);
        assert_eq!(read("just text", "body"), ["just text"]);
    }

    #[test]
    fn bad_selectors_are_named() {
        for css in ["", "p >", "[", ".", "p:nope(", "::before x"] {
            let e = pieces("p.html", "<p>x", Some(css))
                .expect_err(css)
                .to_string();
            assert!(
                e.starts_with("p.html: --select '") && !e.contains('\n'),
                "{e}"
            );
        }
    }

    #[test]
    fn hostile_pages_end_soon() {
        let deep = "<div>".repeat(200_000);
        let e = pieces("p.html", &deep, None).expect_err("deep").to_string();
        assert_eq!(e, "p.html: has elements nested deeper than 512");
        // Unclosed formatting is repeated in every paragraph that follows.
        // Formatting that a paragraph left open is opened again in each that follows.
        let fonts: String = (0..300).map(|i| format!("<font size={i}>")).collect();
        let grows = format!("<p>{fonts}{}", "<p>x".repeat(40_000));
        let read = pieces("p.html", &grows, None).map(|pieces| pieces.len());
        let e = read.expect_err("grows").to_string();
        assert_eq!(e, "p.html: has more than 2000000 elements and texts");
        for garbage in [
            "<",
            "<!--",
            "<p",
            "&#",
            "<![CDATA[",
            "</body></html>x",
            "\u{0}\u{7}<b\u{0}>",
        ] {
            assert!(pieces("p.html", garbage, None).is_ok(), "{garbage:?}");
        }
    }
}
