//! Where the level of a series changed: PELT (Killick, Fearnhead & Eckley, JASA 107, 2012) with the cost of a change in
//! the mean of normal noise, and the question asked of every warm-up: from which step on is this steady?

use super::all_finite;
use super::summary::{MAD_TO_SD, median};

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pelt {
    /// Standard deviation of the noise, positive; see [`noise_scale`].
    pub noise: f64,
    /// Cost of one more change, in units of twice the log-likelihood.
    pub penalty: f64,
    /// Fewest values in a segment, at least 1.
    pub min_segment: usize,
}

/// Standard deviation of a series' noise that level changes barely touch: the scaled MAD of its first differences
/// over sqrt 2. Where more than half of the differences are equal, their mean absolute deviation instead
/// (`E|d| = 2 sd / sqrt pi` for normal noise). `None` for fewer than 2 values or values that are not finite.
pub fn noise_scale(values: &[f64]) -> Option<f64> {
    if values.len() < 2 || !all_finite(values) {
        return None;
    }
    let differences: Vec<f64> = values.windows(2).map(|w| (w[1] - w[0]).abs()).collect();
    let robust = median(&differences)? * MAD_TO_SD / std::f64::consts::SQRT_2;
    if robust > 0.0 {
        return Some(robust);
    }
    let mean = differences.iter().sum::<f64>() / differences.len() as f64;
    Some(mean * std::f64::consts::PI.sqrt() / 2.0)
}

/// The first index of every segment but the first, ascending, of the segmentation with the least
/// `sum of squared deviations from the segment mean / noise^2 + penalty * changes`.
///
/// `None` when values are not finite or a setting is out of its range. A series shorter than two segments has no changes.
pub fn pelt(values: &[f64], settings: Pelt) -> Option<Vec<usize>> {
    let Pelt {
        noise,
        penalty,
        min_segment,
    } = settings;
    let valid = noise > 0.0
        && noise.is_finite()
        && penalty >= 0.0
        && penalty.is_finite()
        && min_segment > 0;
    if !valid || !all_finite(values) {
        return None;
    }
    let n = values.len();
    if n < 2 * min_segment {
        return Some(Vec::new());
    }
    let cost = SegmentCost::new(values, noise)?;
    // best[t]: least cost of values[..t]; last[t]: where its last segment begins.
    let mut best = vec![f64::INFINITY; n + 1];
    let mut last = vec![0; n + 1];
    best[0] = -penalty;
    // A start that cannot win at t cannot win once t itself may be a start: from t + min_segment on.
    let mut starts: Vec<(usize, usize)> = Vec::new();
    for t in min_segment..=n {
        let newest = t - min_segment;
        if newest == 0 || newest >= min_segment {
            starts.push((newest, usize::MAX));
        }
        starts.retain(|&(_, expires)| t < expires);
        for &(start, _) in &starts {
            let total = best[start] + cost.of(start, t) + penalty;
            if total < best[t] {
                best[t] = total;
                last[t] = start;
            }
        }
        for (start, expires) in &mut starts {
            if *expires == usize::MAX && best[*start] + cost.of(*start, t) > best[t] {
                *expires = t + min_segment;
            }
        }
    }
    let mut changes = Vec::new();
    let mut end = last[n];
    while end > 0 {
        changes.push(end);
        end = last[end];
    }
    changes.reverse();
    Some(changes)
}

/// Sum of squared deviations of any segment in constant time, from prefix sums of standardised values.
struct SegmentCost {
    sums: Vec<f64>,
    squares: Vec<f64>,
}

impl SegmentCost {
    fn new(values: &[f64], noise: f64) -> Option<SegmentCost> {
        // Centring first keeps the difference of prefix sums from cancelling.
        let centre = median(values)?;
        let (mut sums, mut squares) = (vec![0.0], vec![0.0]);
        let (mut sum, mut square) = (0.0, 0.0);
        for v in values {
            let z = (v - centre) / noise;
            sum += z;
            square += z * z;
            sums.push(sum);
            squares.push(square);
        }
        square.is_finite().then_some(SegmentCost { sums, squares })
    }

    fn of(&self, from: usize, to: usize) -> f64 {
        let sum = self.sums[to] - self.sums[from];
        (self.squares[to] - self.squares[from] - sum * sum / (to - from) as f64).max(0.0)
    }
}

/// Whether and from where a series of step times is steady.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Steady {
    /// Steady from index `from` to the end.
    Settled {
        /// Index of the first steady value.
        from: usize,
    },
    /// The level still changed too near the end, or a value is not finite.
    Unsettled,
    /// Fewer values than could show a steady state.
    TooShort,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SteadyRule {
    /// Level changes below this fraction of the final level do not matter (0.02 is 2%). At least 0.
    pub relative_floor: f64,
    /// Fewest values that make a level, at least 3; blips of fewer than half as many are outliers.
    pub min_level: usize,
    /// The steady end must hold at least this share of the series (and `min_level` values), 0 to 1.
    pub min_share: f64,
}

impl Default for SteadyRule {
    fn default() -> Self {
        SteadyRule {
            relative_floor: 0.02,
            min_level: 5,
            min_share: 0.25,
        }
    }
}

impl Steady {
    /// Finds where the last level of a series of step times begins (after Barrett et al., arXiv 1602.00602).
    ///
    /// Single outliers are ignored (each value is held to the median of its 5 neighbours, 3 noise deviations either
    /// side), except at the very beginning, where values off the steady level count as warm-up. Levels that differ
    /// from the last one by at most the floor belong to it. Fewer than `2 * min_level` values are
    /// [`Steady::TooShort`]; a value or rule that is not finite or out of range is [`Steady::Unsettled`].
    pub fn find(values: &[f64], rule: SteadyRule) -> Steady {
        let min_level = rule.min_level.max(3);
        let valid = rule.relative_floor >= 0.0 && (0.0..=1.0).contains(&rule.min_share);
        if !valid || !all_finite(values) {
            return Steady::Unsettled;
        }
        if values.len() < 2 * min_level {
            return Steady::TooShort;
        }
        let Some(from) = last_level_start(values, rule.relative_floor, min_level) else {
            return Steady::Unsettled;
        };
        let needed = min_level.max((values.len() as f64 * rule.min_share).ceil() as usize);
        if values.len() - from >= needed {
            Steady::Settled { from }
        } else {
            Steady::Unsettled
        }
    }
}

fn last_level_start(values: &[f64], floor: f64, min_level: usize) -> Option<usize> {
    let typical = median(values)?.abs();
    let noise = noise_scale(values)?;
    // Half the floor: a change as large as the floor still stands out within one level, smaller ones hardly do.
    let scale = noise.max(floor * typical / 2.0);
    if scale == 0.0 {
        return Some(0);
    }
    let calm = without_outliers(values, 3.0 * scale)?;
    let settings = Pelt {
        noise: scale,
        penalty: 3.0 * (values.len() as f64).ln(),
        min_segment: min_level,
    };
    let mut bounds = pelt(&calm, settings)?;
    bounds.insert(0, 0);
    bounds.push(values.len());
    let mut segment = bounds.len() - 2;
    let mut last = median(&calm[bounds[segment]..])?;
    while segment > 0 {
        let before = &calm[bounds[segment - 1]..bounds[segment]];
        let lengths = before.len() as f64 * (values.len() - bounds[segment]) as f64;
        // Two standard errors: short segments differ by chance.
        let chance =
            2.0 * noise * ((before.len() + values.len() - bounds[segment]) as f64 / lengths).sqrt();
        if (median(before)? - last).abs() > floor * last.abs() + chance {
            break;
        }
        segment -= 1;
        last = median(&calm[bounds[segment]..])?;
    }
    // PELT cannot place a change nearer to an end than one level: settle the border value by value.
    let tolerance = (floor * last.abs()).max(4.0 * noise);
    let off = |i: usize| (values[i] - last).abs() > tolerance;
    let earliest = bounds[segment].saturating_sub(min_level - 1);
    let mut from = bounds[segment];
    while from > earliest && !off(from - 1) {
        from -= 1;
    }
    while from < values.len() && off(from) {
        from += 1;
    }
    Some(from)
}

/// Each value held to within `reach` of the median of itself and two neighbours on either side.
fn without_outliers(values: &[f64], reach: f64) -> Option<Vec<f64>> {
    (0..values.len())
        .map(|i| {
            let window = &values[i.saturating_sub(2)..(i + 3).min(values.len())];
            let local = median(window)?;
            Some(values[i].clamp(local - reach, local + reach))
        })
        .collect()
}

#[cfg(test)]
mod tests;
