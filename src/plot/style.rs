//! One style for every figure: sizes, colours, shapes, and how wide a text is.

use plotters::style::RGBColor;

use super::REFERENCE;
use crate::text::{cut_middle, plain};

/// Units of the drawing surface per unit of the picture: plotters draws in whole units, and a curve rounded to
/// whole pixels would look ragged when it is enlarged.
pub(super) const FINE: i32 = 10;
/// Width of a figure. Small, so that text is still readable when the figure is shown at 370 pixels.
pub(super) const WIDTH: i32 = 460;
/// Height of a figure without its title and legend.
pub(super) const HEIGHT: i32 = 300;
/// Height of tick labels, axis titles and legends.
pub(super) const FONT: i32 = 13;
/// Height of the labels beside points.
pub(super) const SMALL_FONT: i32 = 11;

/// What a colour is for. The picture in a web page takes it from the page's style, so that it follows light and
/// dark; a picture in a file has it written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ColourRole {
    Background,
    Ink,
    Grid,
    Series(usize),
}

/// Okabe and Ito's palette (jfly.uni-koeln.de/color): told apart with every common kind of colour blindness. Its
/// yellow is left out, which is not seen on white, and its black, which is the axes'.
const SERIES: [u32; 6] = [0x0072b2, 0xd55e00, 0x009e73, 0xcc79a7, 0xe69f00, 0x56b4e9];
/// The same hues where the background is dark.
const SERIES_ON_DARK: [u32; 6] = [0x5fb3e8, 0xf08a4b, 0x35c79a, 0xe0a0c4, 0xf2bd4d, 0x9ad4f5];

/// Number of colours; the series after them begin again with other shapes and dashes.
pub(super) const N_COLOURS: usize = SERIES.len();

impl ColourRole {
    /// The colour on white paper.
    pub(super) fn hex(self) -> u32 {
        match self {
            Self::Background => 0xffffff,
            Self::Ink => 0x333333,
            Self::Grid => 0xdddddd,
            Self::Series(REFERENCE) => 0x767676,
            Self::Series(n) => SERIES[n % N_COLOURS],
        }
    }

    pub(super) fn rgb(self) -> RGBColor {
        let [_, r, g, b] = self.hex().to_be_bytes();
        RGBColor(r, g, b)
    }

    /// The role that was drawn with a colour: plotters passes on colours only.
    pub(super) fn of_rgb((r, g, b): (u8, u8, u8)) -> Self {
        let hex = u32::from_be_bytes([0, r, g, b]);
        let series = (0..N_COLOURS).map(Self::Series);
        [Self::Background, Self::Grid]
            .into_iter()
            .chain(series)
            .find(|role| role.hex() == hex)
            .unwrap_or(Self::Ink)
    }

    /// Its variable in the page's style.
    pub(super) fn variable(self) -> String {
        match self {
            Self::Background => "--paper".to_owned(),
            Self::Ink => "--ink".to_owned(),
            Self::Grid => "--grid".to_owned(),
            Self::Series(REFERENCE) => "--faint".to_owned(),
            Self::Series(n) => format!("--s{}", n % N_COLOURS),
        }
    }
}

/// The variables of the series' colours for a page's style: on light and on dark paper.
pub fn css_variables() -> (String, String) {
    let list = |colours: [u32; N_COLOURS]| {
        let each = colours.iter().enumerate();
        each.map(|(n, hex)| format!("--s{n}:#{hex:06x};")).collect()
    };
    (list(SERIES), list(SERIES_ON_DARK))
}

/// How far each printable ASCII character moves the pen in DejaVu Sans, in thousandths of the font's height (from the font's
/// own table, rounded up). Bitmaps have its letters, and the other common fonts of screens are hardly wider.
const ADVANCES: [u16; 95] = [
    318, 401, 460, 838, 637, 951, 780, 275, 391, 391, 500, 838, 318, 361, 318, 337, 637, 637, 637,
    637, 637, 637, 637, 637, 637, 637, 337, 337, 838, 838, 838, 531, 1000, 685, 687, 699, 771, 632,
    576, 775, 752, 295, 295, 656, 558, 863, 749, 788, 604, 788, 695, 635, 611, 732, 685, 989, 686,
    611, 686, 391, 337, 391, 838, 500, 500, 613, 635, 550, 635, 616, 353, 635, 634, 278, 278, 580,
    278, 975, 634, 612, 635, 635, 412, 521, 393, 634, 592, 818, 592, 592, 525, 637, 337, 637, 838,
];

/// Width of a text: what is drawn must be neither cut nor touch another text.
pub(super) fn text_width(text: &str, font: i32) -> i32 {
    let advance = |c: char| {
        let at = (c as usize).checked_sub(usize::from(b' '));
        // Other letters take a square at most.
        let known = at.and_then(|at| ADVANCES.get(at).copied());
        i64::from(known.unwrap_or(1000))
    };
    let thousandths: i64 = text.chars().map(advance).sum();
    let width = (thousandths * i64::from(font) + 999) / 1000;
    i32::try_from(width).unwrap_or(i32::MAX)
}

/// The text, its middle left out until it takes at most so much room.
pub(super) fn fitted(text: &str, font: i32, room: i32) -> String {
    let mut text = plain(text);
    let mut columns = crate::text::width(&text);
    while text_width(&text, font) > room && columns > 1 {
        // The first guess is near; then letter by letter.
        let share = f64::from(room.max(0)) / f64::from(text_width(&text, font));
        columns = ((columns as f64 * share).ceil() as usize).clamp(1, columns - 1);
        text = cut_middle(&text, columns);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_role_is_known_by_its_colour() {
        for role in [
            ColourRole::Background,
            ColourRole::Ink,
            ColourRole::Grid,
            ColourRole::Series(4),
        ] {
            let RGBColor(r, g, b) = role.rgb();
            assert_eq!(ColourRole::of_rgb((r, g, b)), role);
        }
        assert_eq!(ColourRole::Series(N_COLOURS).variable(), "--s0");
    }

    #[test]
    fn a_text_that_does_not_fit_loses_its_middle() {
        assert_eq!(fitted("short", FONT, 100), "short");
        for name in [
            "smollm2-135m-instruct-q4_k_m",
            &"W".repeat(400),
            "\u{4e16}\u{754c}",
        ] {
            for room in [20, 60, 101] {
                let text = fitted(name, FONT, room);
                assert!(text_width(&text, FONT) <= room, "{text}: {room}");
            }
        }
        assert_eq!(fitted("WWW", FONT, 0).chars().count(), 1);
    }
}
