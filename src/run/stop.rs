//! When a cell has been measured enough.

use crate::plan::Protocol;
use crate::record::StoppedBy;
use crate::stats::interval;

/// Level of every interval this program prints.
pub const LEVEL: f64 = 0.95;

/// Whether, and why, a cell needs no further repetition in this process.
///
/// `here` holds the median decode step of each of this process's repetitions, nanoseconds; `n_here` is
/// how many this replicate made, in earlier processes of a resumed run too.
///
/// The precision is that of the process's own median: what differs between processes (page and thread
/// placement, clocks) is told by more processes, never by more repetitions in one.
pub fn verdict(
    here: &[f64],
    n_here: u32,
    time_is_over: bool,
    protocol: &Protocol,
) -> Option<StoppedBy> {
    if n_here < protocol.min_repetitions {
        return None;
    }
    if n_here >= protocol.max_repetitions {
        return Some(StoppedBy::MaxRepetitions);
    }
    if time_is_over {
        return Some(StoppedBy::Budget);
    }
    is_within(&[here.to_vec()], protocol.precision).then_some(StoppedBy::Precision)
}

/// Whether the interval of the median over some processes' values is within `precision` to each side.
pub fn is_within(processes: &[Vec<f64>], precision: f64) -> bool {
    interval::median_interval(processes, LEVEL)
        .and_then(|i| i.relative_half_width())
        .is_some_and(|share| share <= precision)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn protocol() -> Protocol {
        Protocol {
            min_repetitions: 2,
            max_repetitions: 5,
            precision: 0.02,
            ..Protocol::default()
        }
    }

    #[test]
    fn fewest_most_budget_and_precision_in_this_order() {
        let p = protocol();
        let wide = [100.0, 150.0, 90.0, 170.0];
        let narrow = [100.0, 100.1, 100.0];
        assert_eq!(verdict(&narrow, 1, true, &p), None, "the fewest come first");
        assert_eq!(verdict(&wide, 4, false, &p), None);
        assert_eq!(verdict(&wide, 4, true, &p), Some(StoppedBy::Budget));
        assert_eq!(
            verdict(&wide, 5, false, &p),
            Some(StoppedBy::MaxRepetitions)
        );
        assert_eq!(verdict(&narrow, 3, false, &p), Some(StoppedBy::Precision));
    }
}
