//! What must be known to read the figures of a quality cell.

use std::fmt;

use super::FEWEST_CHUNKS;
use crate::text::plural;

/// A remark on a quality cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum QualityNote {
    /// The others are compared with it.
    Base,
    /// The base's weights had these types before, as the file says.
    BaseRequantized { from: String },
    /// The file's weights had these types before.
    Requantized { from: String },
    /// The base's file and setting in calls of another shape: this number of chunks at once.
    Floor { n_seq: u32 },
    /// Its mean KLD is not larger than the floor's, beyond chance.
    AtFloor,
    /// The base has no chunk to compare with.
    NoBase,
    /// Chunks whose tokens are not the base's.
    OtherTokens { n: u32, of: u32 },
    /// It scored fewer chunks than another cell.
    FewerChunks { n: u32, most: u32 },
    /// Too few chunks for an interval.
    FewChunks { n: u32 },
}

impl QualityNote {
    /// Whether the figures deserve less trust for it.
    pub fn is_caution(&self) -> bool {
        !matches!(self, Self::Base | Self::Floor { .. } | Self::AtFloor)
    }
}

impl fmt::Display for QualityNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Base => f.write_str("the base: the others are compared with it"),
            Self::BaseRequantized { from } => write!(
                f,
                "the base was itself dequantised from {}: the others are compared with that file's rounding, not with the \
                 original weights",
                in_order(from)
            ),
            Self::Requantized { from } => write!(
                f,
                "its weights were {} before: it has the error of each type",
                in_order(from)
            ),
            Self::Floor { n_seq } => write!(
                f,
                "the floor: the base's file in calls of another shape ({} at once); the kernels alone differ by this",
                plural(*n_seq, "chunk", "chunks")
            ),
            Self::AtFloor => f.write_str("not told apart from the kernels' rounding"),
            Self::NoBase => f.write_str(
                "the base scored none of its chunks, so there is nothing to compare it with",
            ),
            Self::OtherTokens { n, of } => write!(
                f,
                "the two files split the text into different tokens in {n} of {}: the figures against the base leave these \
                 out, and the perplexities cannot be compared",
                plural(*of, "chunk", "chunks")
            ),
            Self::FewerChunks { n, most } => write!(
                f,
                "it scored {} where others have {most}",
                plural(*n, "chunk", "chunks")
            ),
            Self::FewChunks { n } => write!(
                f,
                "{}: an interval needs {FEWEST_CHUNKS}",
                plural(*n, "chunk", "chunks")
            ),
        }
    }
}

/// `q4_1`, or `q4_1, then q8_0`.
fn in_order(types: &str) -> String {
    let types: Vec<&str> = types.split(',').map(str::trim).collect();
    types.join(", then ")
}
