//! How figures stand in a sentence.

use crate::stats::Interval;
use crate::text::plural;
use crate::units;
use crate::view::Estimate;

/// ` (95%: 1.29 to 1.34)`.
pub fn range(i: Interval) -> String {
    range_as(i, units::significant)
}

/// The same of an interval that may be missing.
pub fn range_of(i: Option<Interval>) -> String {
    i.map(range).unwrap_or_default()
}

/// The same with ends as `show` writes them.
pub fn range_as(i: Interval, show: impl Fn(f64) -> String) -> String {
    let percent = i.level * 100.0;
    if i.is_boundless() {
        return format!(" ({percent:.0}%: unknown)");
    }
    format!(" ({percent:.0}%: {} to {})", show(i.lo), show(i.hi))
}

/// `1.31 times (95%: 1.29 to 1.34)`.
pub fn times(ratio: Estimate) -> String {
    let range = range_of(ratio.interval);
    format!("{} times{range}", units::significant(ratio.value))
}

/// A duration as people read it.
pub fn duration(m: Estimate) -> String {
    duration_ns(m.value)
}

/// The same of nanoseconds.
pub(super) fn duration_ns(ns: f64) -> String {
    units::duration(ns.max(0.0).round() as u64)
}

/// A value, or that there is none.
pub(super) fn or_unknown(text: Option<String>) -> String {
    text.unwrap_or_else(|| "n/a".to_owned())
}

/// `1 pair`, `2 pairs`.
pub(super) fn counted(n: usize, noun: &str) -> String {
    let n = u32::try_from(n).unwrap_or(u32::MAX);
    plural(n, noun, &format!("{noun}s"))
}

/// `1 was`, `2 were`.
pub(super) fn were(n: usize) -> String {
    format!("{n} {}", if n == 1 { "was" } else { "were" })
}

/// The places of which the same is said, together, in the order of the first of each.
pub(super) fn by_saying(said: Vec<(String, String)>) -> Vec<(String, Vec<String>)> {
    let mut grouped: Vec<(String, Vec<String>)> = Vec::new();
    for (place, saying) in said {
        match grouped.iter_mut().find(|(known, _)| *known == saying) {
            Some((_, places)) => places.push(place),
            None => grouped.push((saying, vec![place])),
        }
    }
    grouped
}

/// The item with the most, and the first that has at least this share of it.
pub(super) fn first_with_share<T: Copy>(
    items: &[T],
    share: f64,
    rate: impl Fn(T) -> f64,
) -> Option<(T, T)> {
    let most = items.iter().copied();
    let most = most.max_by(|a, b| rate(*a).total_cmp(&rate(*b)))?;
    let enough = share * rate(most);
    let first = items.iter().copied().find(|item| rate(*item) >= enough)?;
    Some((first, most))
}
