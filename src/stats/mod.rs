//! Statistics: numbers in, numbers out. Knows no benchmark, reads and writes nothing.
//!
//! Inputs must be finite. A function given NaN, an infinity or too few values answers `None`; it never
//! filters values silently and never invents a zero. [`changepoint::Steady::find`], which has an answer for
//! "cannot be trusted", gives that instead.
//!
//! | question | where |
//! |---|---|
//! | what does this sample look like | [`summary`], [`histogram`] |
//! | how sure is this median | [`interval`] (closed form), [`bootstrap`] (any statistic) |
//! | is A different from B, by how much | [`test`](mod@test) (t based, many tests at once), [`rank`] (how often A beats B) |
//! | by how much do two sides differ that take turns within a repetition | [`pairing`] |
//! | how many more would tell | [`sample_size`] |
//! | is B slower than A, asked after every pair | [`sequential`] |
//! | are A and B equal, or do they differ, asked after every pair | [`equivalence`] |
//! | how large is an error of several parts, or partly assumed | [`variance`] |
//! | where did the level change | [`changepoint`] (one run), [`edivisive`] (many nights) |

pub mod bootstrap;
pub mod changepoint;
pub mod edivisive;
pub mod equivalence;
pub mod histogram;
pub mod interval;
pub mod pairing;
pub mod rank;
pub mod sample_size;
pub mod sequential;
pub mod summary;
pub mod test;
pub mod variance;

#[cfg(test)]
mod coverage;
#[cfg(test)]
mod pair_noise;
#[cfg(test)]
mod properties;

pub use bootstrap::{bca, bca_over_units};
pub use histogram::LatencyHistogram;
pub use interval::{Interval, median_interval};
pub use summary::Summary;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Alternative {
    /// The tested quantity is larger than the null says.
    Greater,
    /// The tested quantity is smaller than the null says.
    Less,
    TwoSided,
}

impl Alternative {
    /// Combines the two one-sided p-values; two-sided is twice the smaller, at most 1.
    fn combine(self, greater: f64, less: f64) -> f64 {
        match self {
            Alternative::Greater => greater.clamp(0.0, 1.0),
            Alternative::Less => less.clamp(0.0, 1.0),
            Alternative::TwoSided => (2.0 * greater.min(less)).clamp(0.0, 1.0),
        }
    }
}

fn all_finite(values: &[f64]) -> bool {
    values.iter().all(|v| v.is_finite())
}

/// A sorted copy; `None` when a value is not finite.
fn sorted(values: &[f64]) -> Option<Vec<f64>> {
    if !all_finite(values) {
        return None;
    }
    let mut copy = values.to_vec();
    copy.sort_unstable_by(f64::total_cmp);
    Some(copy)
}

/// Whether a confidence level or probability lies strictly between 0 and 1 (NaN does not).
fn is_open_unit(p: f64) -> bool {
    p > 0.0 && p < 1.0
}
