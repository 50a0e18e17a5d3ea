//! One picture for a post or a chat: what was measured, on what, the answer, and a table of a few cells.

use plotters::style::text_anchor::{HPos, VPos};

use super::REFERENCE;
use super::canvas::{Canvas, Medium};
use super::draw::{put, text_style};
use super::png::{PngError, bitmap_with_author};
use super::style::{ColourRole, fitted, text_width};
use crate::text::plain;

/// Size of the picture, as pages that show links ask for it.
const WIDTH: i32 = 1200;
const HEIGHT: i32 = 630;
/// Free on every side.
const MARGIN: i32 = 48;
const ROOM: i32 = WIDTH - 2 * MARGIN;

/// Sizes of letters: a chat shows the picture at less than half its size.
const TITLE_FONTS: [i32; 3] = [40, 34, 28];
const ABOUT_FONT: i32 = 20;
const CLAIM_FONTS: [i32; 3] = [30, 26, 22];
const TABLE_FONT: i32 = 24;
const HEAD_FONT: i32 = 18;
const FOOT_FONT: i32 = 17;

/// Between lines, as a multiple of the letters' size in tenths.
const LEADING: i32 = 13;
/// Between columns of the table.
const GAP: i32 = 34;
/// More than enough to make any table fit.
const MOST_CUTS: usize = 100;
/// Most lines of the answer.
const MOST_CLAIM_LINES: usize = 3;

/// What stands on the picture.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Card {
    /// Models and machine.
    pub title: String,
    /// Machine and engine, a line each.
    pub about: Vec<String>,
    /// The answer, and how sure it is.
    pub claim: String,
    /// The table; columns of a higher rank go first where there is no room.
    pub columns: Vec<CardColumn>,
    /// What the figures are, and anything that makes them deserve less trust; a line each.
    pub foot: Vec<String>,
}

/// A column of the table.
#[derive(Debug, Clone, PartialEq)]
pub struct CardColumn {
    /// Two lines.
    pub heads: [String; 2],
    /// A value for each row.
    pub texts: Vec<String>,
    /// Whether values are words, which begin at the left.
    pub is_text: bool,
    /// 0 never goes.
    pub rank: u8,
}

impl CardColumn {
    fn width(&self) -> i32 {
        let heads = self.heads.iter().map(|head| text_width(head, HEAD_FONT));
        let texts = self.texts.iter().map(|text| text_width(text, TABLE_FONT));
        heads.chain(texts).max().unwrap_or(0)
    }

    /// With texts that take at most so much room.
    fn narrowed(&self, room: i32) -> Self {
        let fit = |text: &String, font| fitted(text, font, room);
        Self {
            heads: self.heads.each_ref().map(|head| fit(head, HEAD_FONT)),
            texts: self
                .texts
                .iter()
                .map(|text| fit(text, TABLE_FONT))
                .collect(),
            ..self.clone()
        }
    }

    /// Blanks before it; a column without a name of its own belongs to the one before.
    fn gap(&self) -> i32 {
        if self.heads[0].is_empty() {
            GAP / 2
        } else {
            GAP
        }
    }
}

/// The picture as a PNG file's bytes.
///
/// # Errors
/// [`PngError`], which does not happen to pictures of this program.
pub fn png(card: &Card) -> Result<Vec<u8>, PngError> {
    bitmap_with_author("card", &svg(card))
}

/// The picture as SVG.
pub fn svg(card: &Card) -> String {
    let page = Canvas::new(Medium::File, WIDTH, HEIGHT);
    let mut pen = Pen {
        page: &page,
        y: MARGIN - 8,
    };
    let title = TITLE_FONTS
        .iter()
        .find(|font| text_width(&plain(&card.title), **font) <= ROOM);
    pen.line(
        &card.title,
        *title.unwrap_or(&TITLE_FONTS[2]),
        ColourRole::Ink,
    );
    pen.y += 4;
    for line in &card.about {
        pen.line(line, ABOUT_FONT, ColourRole::Series(REFERENCE));
    }
    pen.y += 14;
    pen.claim(&card.claim);
    pen.y += 22;
    let foot = HEIGHT - MARGIN + 12 - lines_height(card.foot.len(), FOOT_FONT);
    pen.table(&card.columns, foot - 10);
    pen.y = foot;
    for line in &card.foot {
        pen.line(line, FOOT_FONT, ColourRole::Series(REFERENCE));
    }
    page.finish(&format!("{}. {}", plain(&card.title), plain(&card.claim)))
}

fn lines_height(n: usize, font: i32) -> i32 {
    i32::try_from(n)
        .unwrap_or(i32::MAX)
        .saturating_mul(line_height(font))
}

fn line_height(font: i32) -> i32 {
    font * LEADING / 10
}

/// Writes from top to bottom.
struct Pen<'a> {
    page: &'a Canvas,
    y: i32,
}

impl Pen<'_> {
    /// A line over the whole width, cut where it does not fit.
    fn line(&mut self, text: &str, font: i32, role: ColourRole) {
        self.text(&fitted(text, font, ROOM), font, role, (MARGIN, HPos::Left));
        self.y += line_height(font);
    }

    fn text(&self, text: &str, font: i32, role: ColourRole, (x, anchor): (i32, HPos)) {
        if text.is_empty() {
            return;
        }
        let style = text_style(font, role, anchor, VPos::Center);
        put(self.page, text, &style, (x, self.y + line_height(font) / 2));
    }

    /// The answer, with a bar at its left.
    fn claim(&mut self, claim: &str) {
        const INDENT: i32 = 22;
        let room = ROOM - INDENT;
        let all = CLAIM_FONTS.map(|font| (font, wrapped(&plain(claim), font, room)));
        let fits = |(_, lines): &&(i32, Vec<String>)| lines.len() <= MOST_CLAIM_LINES;
        let [.., smallest] = &all;
        let (font, lines) = all.iter().find(fits).unwrap_or(smallest);
        let top = self.y;
        for (at, line) in lines.iter().take(MOST_CLAIM_LINES).enumerate() {
            let is_cut = at + 1 == MOST_CLAIM_LINES && lines.len() > MOST_CLAIM_LINES;
            let line = match is_cut {
                true => ended(line, *font, room),
                false => line.clone(),
            };
            self.text(&line, *font, ColourRole::Ink, (MARGIN + INDENT, HPos::Left));
            self.y += line_height(*font);
        }
        let colour = self.page.colour(ColourRole::Series(0));
        self.page.write(format_args!(
            "<rect x=\"{MARGIN}\" y=\"{top}\" width=\"6\" height=\"{}\" style=\"fill:{colour}\"/>\n",
            self.y - top
        ));
    }

    /// As many rows as there is room for above `bottom`.
    fn table(&mut self, columns: &[CardColumn], bottom: i32) {
        let columns = within(columns.to_vec(), ROOM);
        let n_rows = columns.iter().map(|c| c.texts.len()).max().unwrap_or(0);
        if n_rows == 0 {
            return;
        }
        for at in 0..2 {
            if columns.iter().all(|c| c.heads[at].is_empty()) {
                continue;
            }
            self.row(&columns, HEAD_FONT, ColourRole::Series(REFERENCE), |c| {
                &c.heads[at]
            });
        }
        let colour = self.page.colour(ColourRole::Grid);
        for at in 0..n_rows {
            if self.y + line_height(TABLE_FONT) + 6 > bottom {
                return;
            }
            self.page.write(format_args!(
                "<path d=\"M{MARGIN} {}H{}\" style=\"stroke:{colour}\" stroke-width=\"1.5\"/>\n",
                self.y + 3,
                MARGIN + ROOM
            ));
            self.y += 6;
            self.row(&columns, TABLE_FONT, ColourRole::Ink, |c| {
                c.texts.get(at).map_or("", String::as_str)
            });
        }
    }

    fn row<'c>(
        &mut self,
        columns: &'c [CardColumn],
        font: i32,
        role: ColourRole,
        text: impl Fn(&'c CardColumn) -> &'c str,
    ) {
        let mut x = MARGIN;
        for (at, column) in columns.iter().enumerate() {
            x += if at == 0 { 0 } else { column.gap() };
            let place = match column.is_text {
                true => (x, HPos::Left),
                false => (x + column.width(), HPos::Right),
            };
            self.text(text(column), font, role, place);
            x += column.width();
        }
        self.y += line_height(font);
    }
}

/// The columns that there is room for; words are cut where even the most important ones need more.
fn within(mut columns: Vec<CardColumn>, room: i32) -> Vec<CardColumn> {
    let gaps = |columns: &[CardColumn]| columns.iter().skip(1).map(CardColumn::gap).sum::<i32>();
    let needed =
        |columns: &[CardColumn]| columns.iter().map(CardColumn::width).sum::<i32>() + gaps(columns);
    loop {
        let highest = columns.iter().map(|c| c.rank).max().unwrap_or(0);
        if highest == 0 || needed(&columns) <= room {
            break;
        }
        columns.retain(|c| c.rank < highest);
    }
    // The widest is cut first, to what the others leave, but not at once to nothing.
    for _ in 0..MOST_CUTS {
        let over = needed(&columns) - room;
        let widest = columns.iter_mut().max_by_key(|c| c.width());
        let Some(widest) = widest.filter(|_| over > 0) else {
            break;
        };
        *widest = widest.narrowed((widest.width() - over).max(widest.width() / 2));
    }
    columns
}

/// A text in lines that fit; a word that is too long by itself is cut.
fn wrapped(text: &str, font: i32, room: i32) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        let word = fitted(word, font, room);
        match lines.last_mut() {
            Some(line) if text_width(&format!("{line} {word}"), font) <= room => {
                line.push(' ');
                line.push_str(&word);
            }
            _ => lines.push(word),
        }
    }
    lines
}

/// A line whose end says that more follows.
fn ended(line: &str, font: i32, room: i32) -> String {
    let mut words: Vec<&str> = line.split(' ').collect();
    loop {
        let text = words.join(" ") + " \u{2026}";
        if text_width(&text, font) <= room || words.len() < 2 {
            return fitted(&text, font, room);
        }
        words.pop();
    }
}

#[cfg(test)]
mod tests {
    use super::super::placed;
    use super::*;

    fn card(words: &str, n_rows: usize) -> Card {
        let column = |name: &str, rank: u8| CardColumn {
            heads: [name.to_owned(), "t/s".to_owned()],
            texts: (0..n_rows).map(|n| format!("{words}{n}")).collect(),
            is_text: rank == 0,
            rank,
        };
        Card {
            title: format!("{words} on AMD EPYC 9655"),
            about: vec![words.repeat(9), "llama.cpp b11401".to_owned()],
            claim: format!("{words} with 32 sequences at once: 877 tokens/s. ").repeat(5),
            columns: (0..9).map(|rank| column(words, rank)).collect(),
            foot: vec![words.repeat(30)],
        }
    }

    #[test]
    fn no_text_of_a_card_is_cut_off_or_touches_another() {
        for words in [
            "q4",
            "smollm2-135m-instruct",
            &"W".repeat(200),
            "\u{4e16}\u{754c}",
            "<&>\"'",
        ] {
            for n_rows in [0, 1, 4, 40] {
                let picture = svg(&card(words, n_rows));
                assert_eq!(placed::faults(&picture), [""; 0], "{words}, {n_rows} rows");
                assert!(placed::n_texts(&picture) >= 5, "{words}");
            }
        }
        assert_eq!(placed::faults(&svg(&Card::default())), [""; 0]);
    }

    #[test]
    fn columns_of_the_highest_ranks_go_first() {
        let card = card("smollm2-135m", 3);
        let ranks: Vec<u8> = within(card.columns, 500).iter().map(|c| c.rank).collect();
        assert_eq!(ranks, [0, 1]);
    }

    #[test]
    fn a_card_says_who_made_it_and_has_the_usual_size() {
        let bytes = png(&card("q4", 4)).expect("an image");
        assert!(bytes.starts_with(b"\x89PNG"));
        // Width and height are the first words of the header.
        assert_eq!(bytes[16..24], [0, 0, 4, 176, 0, 0, 2, 118]);
        assert!(super::super::is_own_bitmap(&String::from_utf8_lossy(
            &bytes
        )));
    }
}
