//! What a cost model and the machine's measured ceilings say of a run, as far as this room needs it.
//!
//! Whoever has them fills this in; without them a report says which command measures the ceilings.

use std::collections::HashMap;

use super::bottleneck::{Bound, Evidence, Kind, MOST_RESIDUAL};
use crate::plan::CaseId;
use crate::units;
use crate::view::CellView;

/// A cell that uses this share of a ceiling is bounded by it.
pub const AT_CEILING: f64 = 0.7;
/// And one that uses at most this share is not.
pub const FAR_FROM_CEILING: f64 = 0.4;

/// Everything that is computed rather than measured.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Theory {
    /// What the machine can do at best; none when that was never measured.
    pub ceilings: Option<Ceilings>,
    /// Throughput as fits have it, for curves along the batch.
    pub fits: Vec<Fitted>,
    /// What the cost model says of cells.
    pub cells: HashMap<CaseId, Expected>,
}

/// The best that the machine was seen to do.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ceilings {
    /// Bytes read from memory per second.
    pub bytes_per_s: f64,
    /// Floating-point operations per second of a matrix product.
    pub flops_per_s: f64,
}

/// A curve of throughput that was computed rather than measured, from the smallest to the largest measured batch.
#[derive(Debug, Clone, PartialEq)]
pub struct Fitted {
    /// The label of the measured curve it belongs to.
    pub label: String,
    /// How it was made, in a word or two.
    pub model: String,
    /// Batch and tokens per second, ascending.
    pub points: Vec<(f64, f64)>,
}

/// What the cost model says of a cell.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Expected {
    /// Bytes that a decode step reads.
    pub step_bytes: f64,
    /// Floating-point operations of a decode step.
    pub step_flops: f64,
    /// The step by these and the ceilings, nanoseconds.
    pub step_ns: Option<f64>,
    /// The prefill likewise.
    pub ttft_ns: Option<f64>,
}

impl Theory {
    /// What is said of a cell.
    pub fn of(&self, cell: &CellView) -> Option<&Expected> {
        self.cells.get(&cell.case_id)
    }

    /// Shares of the ceilings that a cell uses: MBU and MFU.
    pub fn utilisation(&self, cell: &CellView) -> Option<(f64, f64)> {
        let (ceilings, expected) = (self.ceilings?, self.of(cell)?);
        let seconds = cell.median_step_ns.filter(|ns| *ns > 0)? as f64 / 1e9;
        Some((
            expected.step_bytes / seconds / ceilings.bytes_per_s,
            expected.step_flops / seconds / ceilings.flops_per_s,
        ))
    }

    /// What the ceilings say of a cell's bound.
    pub fn ceiling(&self, cell: &CellView) -> Option<Evidence> {
        let (mbu, mfu) = self.utilisation(cell)?;
        let expected = self.of(cell)?.step_ns;
        let off = expected.and_then(|e| Some((e / cell.median_step_ns? as f64 - 1.0).abs()));
        let explains = off.is_some_and(|off| off <= MOST_RESIDUAL);
        let leaves = if mbu >= AT_CEILING && mfu <= FAR_FROM_CEILING {
            vec![Bound::Weights, Bound::KvCache]
        } else if mfu >= AT_CEILING && mbu <= FAR_FROM_CEILING {
            vec![Bound::Compute]
        } else {
            Vec::new()
        };
        let off = off.map_or(String::new(), |off| {
            format!(
                "; the step computed from both is off by {}",
                units::percent(off)
            )
        });
        Some(Evidence {
            kind: Kind::Ceiling,
            leaves,
            explains,
            text: format!(
                "the step uses {} of the memory bandwidth and {} of the arithmetic that this machine was measured to \
                 have{off}",
                units::percent(mbu),
                units::percent(mfu)
            ),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::fixture;

    #[test]
    fn ceilings_speak_only_when_one_is_near_and_the_other_far() {
        let view = fixture::mixed();
        let cell = &view.cells[0];
        let seconds = cell.median_step_ns.expect("measured") as f64 / 1e9;
        let theory = |bytes: f64, flops: f64| Theory {
            ceilings: Some(Ceilings {
                bytes_per_s: 1e9,
                flops_per_s: 1e12,
            }),
            cells: HashMap::from([(
                cell.case_id.clone(),
                Expected {
                    step_bytes: bytes * 1e9 * seconds,
                    step_flops: flops * 1e12 * seconds,
                    step_ns: Some(seconds * 1.05e9),
                    ttft_ns: None,
                },
            )]),
            ..Theory::default()
        };
        let leaves = |bytes, flops| theory(bytes, flops).ceiling(cell).expect("known").leaves;
        assert_eq!(leaves(0.9, 0.1), [Bound::Weights, Bound::KvCache]);
        assert_eq!(leaves(0.1, 0.9), [Bound::Compute]);
        assert_eq!(leaves(0.9, 0.9), []);
        assert_eq!(leaves(0.5, 0.1), []);
        assert!(theory(0.9, 0.1).ceiling(cell).expect("known").explains);
        assert_eq!(Theory::default().ceiling(cell), None);
    }
}
