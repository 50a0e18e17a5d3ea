//! What a run's figures say, in sentences, each with the figures it rests on.
//!
//! | question | where |
//! |---|---|
//! | which cells differ in one axis only | [`curve`] |
//! | which file and which batch size | [`choice`] |
//! | what bounds a step | [`bottleneck`], with [`theory`] where the machine's ceilings are known |
//! | how many users within limits | [`capacity`] |
//! | which precision: speed against accuracy | [`precision`] |
//! | whether a harder question, or a temperature, costs more | [`difficulty`] |
//! | how long requests take, how many at once | [`requests`] |
//! | how targets that served the same jobs differ | [`live`] |
//! | all of it as sentences | [`findings`] |
//!
//! METHODOLOGY.md, section "Findings", states the rules. Nothing is said that the data do not show: where evidence is
//! missing or disagrees the sentence says *undetermined*.

pub(crate) mod bottleneck;
pub(crate) mod capacity;
pub(crate) mod choice;
pub(crate) mod curve;
pub(crate) mod difficulty;
pub(crate) mod findings;
pub(crate) mod live;
pub(crate) mod precision;
pub(crate) mod requests;
pub mod theory;
mod widths;
pub(crate) mod words;

use std::fmt;

pub(crate) use widths::Widths;

/// How sure a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sure {
    /// An interval or two kinds of evidence show it.
    Shown,
    /// It is the best estimate; chance has not been excluded.
    Likely,
    /// The data do not tell.
    Undetermined,
}

impl fmt::Display for Sure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Shown => "shown",
            Self::Likely => "likely, not shown",
            Self::Undetermined => "undetermined",
        })
    }
}

/// An answer in a line or two, for a terminal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// What it answers: `many users`.
    pub label: &'static str,
    /// The answer.
    pub text: String,
}

impl Answer {
    /// An answer to what the label asks.
    pub fn new(label: &'static str, text: impl Into<String>) -> Self {
        Self {
            label,
            text: text.into(),
        }
    }
}

impl Sure {
    /// The one word of machine-readable output.
    pub fn word(self) -> &'static str {
        match self {
            Self::Shown => "shown",
            Self::Likely => "likely",
            Self::Undetermined => "undetermined",
        }
    }

    /// Shown where this holds, else likely.
    fn shown_if(is_shown: bool) -> Self {
        if is_shown { Self::Shown } else { Self::Likely }
    }

    /// What follows a short answer: nothing where it is shown.
    fn hedge(self) -> &'static str {
        match self {
            Self::Shown => "",
            Self::Likely => " (likely; chance is not excluded)",
            Self::Undetermined => " (undetermined)",
        }
    }
}

/// A sentence that the data make.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// The question it answers: `Which file and batch size?`
    pub question: &'static str,
    /// The answer in one sentence.
    pub claim: String,
    /// The figures it rests on, a sentence each.
    pub evidence: Vec<String>,
    /// How sure it is.
    pub sure: Sure,
    /// Names of the plots that show it.
    pub see: Vec<&'static str>,
}

impl Finding {
    fn new(question: &'static str, claim: impl Into<String>, sure: Sure) -> Self {
        Self {
            question,
            claim: claim.into(),
            evidence: Vec::new(),
            sure,
            see: Vec::new(),
        }
    }

    fn with(self, evidence: impl IntoIterator<Item = String>) -> Self {
        let evidence = evidence.into_iter().collect();
        Self { evidence, ..self }
    }

    fn see(self, plots: &[&'static str]) -> Self {
        let see = plots.to_vec();
        Self { see, ..self }
    }
}

/// A straight line `a + b x` through points of which each counts by its relative error: noise of a machine is a share
/// of the time, not a number of nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FittedLine {
    /// At 0; not negative.
    pub a: f64,
    /// Growth per unit; not negative.
    pub b: f64,
    /// The largest relative distance of a point from the line.
    pub residual: f64,
}

impl FittedLine {
    /// Through at least three points of positive height at different places; none otherwise, since two points lie on
    /// a line whatever the truth.
    pub fn through(points: &[(f64, f64)]) -> Option<Self> {
        let usable = |(x, y): &(f64, f64)| x.is_finite() && *x >= 0.0 && y.is_finite() && *y > 0.0;
        let mut places: Vec<f64> = points.iter().map(|(x, _)| *x).collect();
        places.sort_unstable_by(f64::total_cmp);
        places.dedup();
        if places.len() < 3 || !points.iter().all(usable) {
            return None;
        }
        // Least squares of a/y + b x/y = 1; where a coefficient comes out negative the other stands alone.
        let sum = |f: fn(f64, f64) -> f64| points.iter().map(|(x, y)| f(*x, *y)).sum::<f64>();
        let (aa, ab, bb) = (
            sum(|_, y| 1.0 / (y * y)),
            sum(|x, y| x / (y * y)),
            sum(|x, y| x * x / (y * y)),
        );
        let (ra, rb) = (sum(|_, y| 1.0 / y), sum(|x, y| x / y));
        let determinant = aa * bb - ab * ab;
        let (mut a, mut b) = (
            (ra * bb - rb * ab) / determinant,
            (aa * rb - ab * ra) / determinant,
        );
        if !(a.is_finite() && b.is_finite()) {
            return None;
        }
        if a < 0.0 {
            (a, b) = (0.0, rb / bb);
        } else if b < 0.0 {
            (a, b) = (ra / aa, 0.0);
        }
        let mut line = Self {
            a,
            b,
            residual: 0.0,
        };
        line.residual = points
            .iter()
            .map(|point| line.distance(*point))
            .fold(0.0, f64::max);
        Some(line)
    }

    /// Relative distance of a point from the line.
    pub fn distance(&self, (x, y): (f64, f64)) -> f64 {
        (self.at(x) / y - 1.0).abs()
    }

    /// Height at a place.
    pub fn at(&self, x: f64) -> f64 {
        self.a + self.b * x
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_found_again_and_two_points_are_none() {
        let line =
            FittedLine::through(&[(1.0, 7.0), (8.0, 21.0), (32.0, 69.0)]).expect("three points");
        assert!((line.a - 5.0).abs() < 1e-9 && (line.b - 2.0).abs() < 1e-9);
        assert!(line.residual < 1e-9);
        assert_eq!(FittedLine::through(&[(1.0, 7.0), (8.0, 21.0)]), None);
        assert_eq!(
            FittedLine::through(&[(1.0, 7.0), (1.0, 8.0), (8.0, 21.0)]),
            None
        );
    }

    #[test]
    fn no_part_of_a_time_is_negative() {
        let falling =
            FittedLine::through(&[(1.0, 9.0), (2.0, 6.0), (3.0, 3.0)]).expect("three points");
        assert_eq!(falling.b, 0.0);
        assert!(falling.a > 0.0 && falling.residual > 0.1);
        let steep =
            FittedLine::through(&[(1.0, 1.0), (2.0, 4.0), (3.0, 9.0)]).expect("three points");
        assert_eq!(steep.a, 0.0);
    }
}
