//! How wide the intervals of some figures are, in a sentence.

use super::Sure;
use crate::stats::Interval;
use crate::units;

/// Half-widths of intervals up to this let differences be seen that matter.
const NARROW: f64 = 0.05;

/// The narrowest interval, the middle one and the widest, relative to their figures.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Widths {
    narrowest: Interval,
    middle: Interval,
    widest: Interval,
    n: usize,
}

impl Widths {
    pub fn of(intervals: impl Iterator<Item = Interval>) -> Option<Self> {
        let mut all: Vec<(f64, Interval)> = intervals
            .filter_map(|i| Some((i.relative_half_width()?, i)))
            .collect();
        all.sort_unstable_by(|(a, _), (b, _)| a.total_cmp(b));
        Some(Self {
            narrowest: all.first()?.1,
            middle: all.get(all.len() / 2)?.1,
            widest: all.last()?.1,
            n: all.len(),
        })
    }

    /// `known to 1.25% or better in half of the cells (best 0.25%, worst 8.10%)`; of one cell `known to 1.25%`. Of an interval wider than its figure
    /// both ends are told, as `show` writes them.
    pub fn in_words(&self, of_what: &str, show: impl Fn(f64) -> String) -> String {
        let told = |i: &Interval| told(i, &show);
        let (best, worst) = (told(&self.narrowest), told(&self.widest));
        match is_wide(&self.middle) {
            false if self.n == 1 => format!("known to {best}"),
            true if self.n == 1 => format!("hardly known: it is {best}"),
            false => format!(
                "known to {} or better in half of the {of_what} (best {best}, worst {worst})",
                told(&self.middle)
            ),
            true => format!(
                "hardly known: in the middle one of the {of_what} it is {} (best {best}, worst {worst})",
                told(&self.middle)
            ),
        }
    }

    /// The same in a few words: `±1.3% in half of the cells, ±8.1% at worst`.
    pub fn in_short(&self, of_what: &str, show: impl Fn(f64) -> String) -> String {
        let told = |i: &Interval| i.plus_minus(&show).unwrap_or_else(|| "n/a".to_owned());
        if self.n == 1 {
            return told(&self.middle);
        }
        format!(
            "{} in half of the {of_what}, {} at worst",
            told(&self.middle),
            told(&self.widest)
        )
    }

    /// Whether differences that matter would show, by the middle one.
    pub fn sure(&self) -> Sure {
        match self.middle.relative_half_width() {
            Some(w) if w <= NARROW => Sure::Shown,
            Some(w) if w <= 4.0 * NARROW => Sure::Likely,
            _ => Sure::Undetermined,
        }
    }
}

fn is_wide(i: &Interval) -> bool {
    i.relative_half_width().is_none_or(|w| w > 1.0)
}

fn told(i: &Interval, show: impl Fn(f64) -> String) -> String {
    match i.relative_half_width() {
        Some(w) if w <= 1.0 => format!("{}%", units::significant(w * 100.0)),
        _ if i.is_boundless() => "unknown".to_owned(),
        _ => format!("{} to {}", show(i.lo), show(i.hi)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interval(lo: f64, hi: f64) -> Interval {
        Interval {
            lo,
            estimate: 100.0,
            hi,
            level: 0.95,
        }
    }

    #[test]
    fn wide_intervals_are_told_by_their_ends() {
        let show = |v: f64| format!("{v:.0} ms");
        let widths = |all: &[(f64, f64)]| {
            Widths::of(all.iter().map(|(lo, hi)| interval(*lo, *hi))).expect("some")
        };
        let known = widths(&[(99.0, 101.0), (60.0, 140.0), (10.0, 900.0)]);
        assert_eq!(
            known.in_words("cells", show),
            "known to 40.0% or better in half of the cells (best 1.00%, worst 10 ms to 900 ms)"
        );
        assert_eq!(known.sure(), Sure::Undetermined);
        let unknown = widths(&[(99.0, 101.0), (20.0, 400.0), (10.0, 900.0)]);
        let said = unknown.in_words("cells", show);
        assert!(
            said.contains("20 ms to 400 ms") && !said.contains('±'),
            "{said}"
        );
        assert_eq!(
            unknown.in_short("cells", show),
            "20 ms to 400 ms in half of the cells, 10 ms to 900 ms at worst"
        );
        assert_eq!(Widths::of(std::iter::empty()), None);
        let one = widths(&[(99.0, 101.0)]);
        assert_eq!(one.in_words("cells", show), "known to 1.00%");
        assert_eq!(one.in_short("cells", show), "±1.0%");
        let one = widths(&[(20.0, 400.0)]);
        assert_eq!(
            one.in_words("cells", show),
            "hardly known: it is 20 ms to 400 ms"
        );
    }
}
