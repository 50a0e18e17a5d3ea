//! The folder of two runs that were measured in turns.

use std::path::Path;

use super::CompareError;
use super::axis::ComparedAxis;
use super::samples::CellKey;
use super::side::Side;
use crate::metric::Metric;
use crate::record::{Pair, PairSide};

/// Both sides, and the axes in which they differ on purpose.
#[derive(Debug, Clone)]
pub struct Pairing {
    pub a: Side,
    pub b: Side,
    pub axes: Vec<ComparedAxis>,
}

/// Reads both sides of a pair's folder.
///
/// # Errors
/// When one cannot be read, or an axis is not known.
pub fn read(folder: &Path, metric: Metric) -> Result<Pairing, CompareError> {
    let side = |side: PairSide| -> Result<Side, CompareError> {
        let mut side = Side::read(&folder.join(side.folder()), metric)?;
        for ComparedAxis { axis, .. } in axes(side.header.pair.as_ref()) {
            let keys: Vec<_> = side
                .header
                .plan
                .cases
                .iter()
                .map(CellKey::of_case)
                .collect();
            let values = axis.values(keys.iter());
            side.label += &format!(", {} {}", axis.name(), values.join(" and "));
        }
        Ok(side)
    };
    let (a, b) = (side(PairSide::A)?, side(PairSide::B)?);
    Ok(Pairing {
        axes: axes(a.header.pair.as_ref()),
        a,
        b,
    })
}

/// The axes in which the sides of a pair differ.
pub fn axes(pair: Option<&Pair>) -> Vec<ComparedAxis> {
    let names = pair.map_or(&[][..], |pair| &pair.axes);
    // A name that a later version knows is compared as part of the cell's name.
    names.iter().filter_map(|name| name.parse().ok()).collect()
}
