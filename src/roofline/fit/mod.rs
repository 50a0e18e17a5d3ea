//! The curve that measured steps follow over the batch size: fitted, chosen, and asked about batches that were
//! not measured. Numbers in, numbers out; METHODOLOGY.md, "Ceilings and what follows".
//!
//! Residuals are relative: a step of 5 ms counts like one of 200. Coefficients are never negative.

mod choice;
mod least_squares;

use serde::{Deserialize, Serialize};

pub use choice::{FormChoice, HeldOut, choose, hold_out};
use least_squares::{Solution, dot, solve};

use crate::stats::interval::t_quantile;

/// What is known of a batch size beforehand.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Input {
    /// Sequences decoded together.
    pub batch: f64,
    /// Bytes of a step ([`Cost::bytes`](super::cost::Cost::bytes)).
    pub bytes: f64,
    /// FLOPs of a step.
    pub flops: f64,
    /// What the ceilings expect of a step; none without ceilings.
    pub kernels_ns: Option<f64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct FitObservation {
    pub input: Input,
    /// Its median step, nanoseconds.
    pub step_ns: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CurveForm {
    /// `a + b B`: a fixed cost and one for each sequence.
    Affine,
    /// `t0 + bytes / beta + flops / pi`: reading and computing one after the other. Where bytes and FLOPs are
    /// both lines in B, `t0` cannot be told apart from reading the weights, and is left out.
    RooflineSum,
    /// `t0 + max(bytes / beta, flops / pi)`: reading and computing at the same time (Williams et al. 2009).
    RooflineMax,
    /// `a + b B` up to a batch, another line above it: the engine switches kernels.
    Broken,
    /// `a + b B + c B^2`: the Universal Scalability Law as a time (Gunther 1993), with contention and crosstalk.
    Usl,
    /// `t0 + s K(B)`: what the ceilings expect, scaled, and something beside it.
    Kernels,
}

impl CurveForm {
    pub const ALL: [Self; 6] = [
        Self::Affine,
        Self::RooflineSum,
        Self::RooflineMax,
        Self::Broken,
        Self::Usl,
        Self::Kernels,
    ];

    pub fn words(self) -> &'static str {
        match self {
            Self::Affine => "fixed cost + cost per sequence",
            Self::RooflineSum => "reading + computing",
            Self::RooflineMax => "the longer of reading and computing",
            Self::Broken => "two lines, kernel switch between",
            Self::Usl => "universal scalability law",
            Self::Kernels => "ceilings, scaled",
        }
    }

    /// Its formula, in the words of the coefficients.
    pub fn formula(self) -> &'static str {
        match self {
            Self::Affine => "a + b B",
            Self::RooflineSum => "t0 + bytes/beta + flops/pi",
            Self::RooflineMax => "t0 + max(bytes/beta, flops/pi)",
            Self::Broken => "a1 + b1 B up to the switch, a2 + b2 B above",
            Self::Usl => "a + b B + c B^2",
            Self::Kernels => "t0 + s K(B)",
        }
    }

    /// Whether it has two regimes, between which it switches at a batch.
    fn is_split(self) -> bool {
        matches!(self, Self::RooflineMax | Self::Broken)
    }

    /// The columns that its coefficients multiply. `second`: whether the batch is in the second regime.
    fn columns(self, x: &Input, second: bool) -> Option<Vec<f64>> {
        let (first, second) = if second { (0.0, 1.0) } else { (1.0, 0.0) };
        Some(match self {
            Self::Affine => vec![1.0, x.batch],
            Self::RooflineSum => vec![1.0, x.bytes, x.flops],
            Self::RooflineMax => vec![1.0, first * x.bytes, second * x.flops],
            Self::Broken => vec![first, first * x.batch, second, second * x.batch],
            Self::Usl => vec![1.0, x.batch, x.batch * x.batch],
            Self::Kernels => vec![1.0, x.kernels_ns?],
        })
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fit {
    pub form: CurveForm,
    /// In the order of [`CurveForm::formula`], nanoseconds for one of what they multiply (so rates are their
    /// inverses); 0 for those that the data left out.
    pub coefficients: Vec<f64>,
    /// The largest measured batch of the first regime, for the forms that have two.
    pub switch_after: Option<f64>,
    pub n: usize,
    /// Parameters in use, the switch included.
    pub n_parameters: usize,
    /// Root mean square of relative residuals over the degrees of freedom; none when the fit is exact by
    /// having as many parameters as batch sizes.
    pub residual_share: Option<f64>,
    /// Akaike's criterion, corrected for few data (Hurvich & Tsai 1989); none with too few.
    pub aicc: Option<f64>,
    /// Mean relative error of each batch size predicted from the others; none when one of them cannot be.
    pub left_out_error: Option<f64>,
    /// Inverse normal matrix of relative rows, for the delta method.
    inverse: Vec<Vec<f64>>,
}

/// A step that was not measured, nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ExpectedStep {
    pub ns: f64,
    /// 95% interval for a new measurement, by the delta method; none for exact fits.
    pub interval_ns: Option<(f64, f64)>,
}

/// A batch with its 95% interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Batch {
    /// The batch, not rounded.
    pub batch: f64,
    /// By the delta method; none for exact fits.
    pub interval: Option<(f64, f64)>,
}

/// Confidence of all intervals here.
const LEVEL: f64 = 0.95;
/// Residuals below this share are rounding, not evidence for a form.
const LEAST_RESIDUAL: f64 = 1e-4;
/// Where a curve's knee is looked for.
const LARGEST_BATCH: f64 = 65_536.0;

/// Fits one form. `None` when the data cannot: too few batch sizes, values that are not positive, no ceilings.
pub fn fit(form: CurveForm, data: &[FitObservation]) -> Option<Fit> {
    let mut fit = fit_once(form, data)?;
    fit.left_out_error = left_out_error(form, data);
    Some(fit)
}

fn fit_once(form: CurveForm, data: &[FitObservation]) -> Option<Fit> {
    let mut data = data.to_vec();
    data.sort_by(|a, b| a.input.batch.total_cmp(&b.input.batch));
    if data
        .iter()
        .any(|o| !(o.step_ns.is_finite() && o.step_ns > 0.0))
    {
        return None;
    }
    // A switch lies between two measured batches; of a broken line each side needs two.
    let margin = if form == CurveForm::Broken { 2 } else { 1 };
    let switches: Vec<Option<usize>> = if form.is_split() {
        (margin..=data.len().checked_sub(margin)?)
            .map(Some)
            .collect()
    } else {
        vec![None]
    };
    let fits = switches.into_iter().filter_map(|switch| {
        let rows: Vec<Vec<f64>> = data
            .iter()
            .enumerate()
            .map(|(i, o)| {
                let columns = form.columns(&o.input, switch.is_some_and(|s| i >= s))?;
                Some(columns.iter().map(|x| x / o.step_ns).collect())
            })
            .collect::<Option<_>>()?;
        let solution = solve(&rows)?;
        let consistent =
            form != CurveForm::RooflineMax || agrees_with_its_maximum(&solution, &data, switch);
        consistent.then_some((switch, solution))
    });
    let (switch, solution) = fits.min_by(|a, b| a.1.rss.total_cmp(&b.1.rss))?;
    let n_parameters = solution.n_used + usize::from(form == CurveForm::Broken);
    if n_parameters > data.len() {
        return None;
    }
    Some(Fit {
        form,
        coefficients: solution.x,
        switch_after: switch.map(|s| data[s - 1].input.batch),
        n: data.len(),
        n_parameters,
        residual_share: residual_share(solution.rss, data.len(), n_parameters),
        aicc: aicc(solution.rss, data.len(), n_parameters),
        left_out_error: None,
        inverse: solution.inverse,
    })
}

/// Whether the regimes that the switch assumes are those of the larger term.
fn agrees_with_its_maximum(s: &Solution, data: &[FitObservation], switch: Option<usize>) -> bool {
    data.iter().enumerate().all(|(i, o)| {
        let (read, compute) = (s.x[1] * o.input.bytes, s.x[2] * o.input.flops);
        let second = switch.is_some_and(|at| i >= at);
        // A term that the data left out is not known to be smaller.
        s.x[1] == 0.0 || s.x[2] == 0.0 || (compute >= read) == second
    })
}

fn residual_share(rss: f64, n: usize, k: usize) -> Option<f64> {
    (n > k).then(|| (rss / (n - k) as f64).sqrt().max(LEAST_RESIDUAL))
}

/// `n ln(RSS/n) + 2K + 2K(K+1)/(n-K-1)`, K counting the residual's variance too.
fn aicc(rss: f64, n: usize, k: usize) -> Option<f64> {
    let (n, k) = (n as f64, (k + 1) as f64);
    let left = n - k - 1.0;
    let mean_square = (rss / n).max(LEAST_RESIDUAL * LEAST_RESIDUAL);
    (left > 0.0).then(|| n * mean_square.ln() + 2.0 * k + 2.0 * k * (k + 1.0) / left)
}

fn left_out_error(form: CurveForm, data: &[FitObservation]) -> Option<f64> {
    if data.len() < 3 {
        return None;
    }
    let errors: Vec<f64> = (0..data.len())
        .map(|i| {
            let mut rest = data.to_vec();
            let left_out = rest.remove(i);
            let expected = fit_once(form, &rest)?.at(&left_out.input)?.ns;
            Some((expected / left_out.step_ns - 1.0).abs())
        })
        .collect::<Option<_>>()?;
    Some(errors.iter().sum::<f64>() / errors.len() as f64)
}

impl Fit {
    /// The curve at a batch. `None` when the form needs ceilings that the input lacks.
    pub fn at(&self, input: &Input) -> Option<ExpectedStep> {
        let row = self.row(input)?;
        let ns = dot(&row, &self.coefficients);
        let interval_ns = self.relative_half_width(&row, ns, 1.0).map(|half| {
            // Multiplicative, so that no end is negative.
            (ns / (1.0 + half), ns * (1.0 + half))
        });
        (ns > 0.0).then_some(ExpectedStep { ns, interval_ns })
    }

    /// The knee: the batch at which a step takes twice as long as for one sequence, so that each sequence is
    /// half as fast. Up to it batching is cheap for its users. `input` says what is known of a batch.
    /// `None` when the curve never gets there, or the form needs ceilings beyond those known.
    pub fn knee(&self, input: &dyn Fn(f64) -> Input) -> Option<Batch> {
        let at = |c: &[f64]| {
            let time = |b: f64| self.row(&input(b)).map(|row| dot(&row, c));
            let double = 2.0 * time(1.0)?;
            crossing(1.0, LARGEST_BATCH, &|b| Some(time(b)? - double))
        };
        self.with_interval(&at)
    }

    fn row(&self, input: &Input) -> Option<Vec<f64>> {
        let second = match self.form {
            // The larger term, whichever side of the switch the batch lies on.
            CurveForm::RooflineMax if self.coefficients[1] > 0.0 && self.coefficients[2] > 0.0 => {
                self.coefficients[2] * input.flops >= self.coefficients[1] * input.bytes
            }
            _ => self.switch_after.is_some_and(|last| input.batch > last),
        };
        self.form.columns(input, second)
    }

    /// Half of the 95% interval at a row, as a share of its value: `of_new` 1 for a new measurement, 0 for
    /// the curve itself.
    fn relative_half_width(&self, row: &[f64], ns: f64, of_new: f64) -> Option<f64> {
        let df = self.n.checked_sub(self.n_parameters).filter(|df| *df > 0)?;
        let relative: Vec<f64> = row.iter().map(|x| x / ns).collect();
        let leverage = self.quadratic(&relative);
        let spread = self.residual_share? * (of_new + leverage).sqrt();
        Some(t_quantile(df as f64, LEVEL)? * spread)
    }

    fn quadratic(&self, v: &[f64]) -> f64 {
        let through: Vec<f64> = self.inverse.iter().map(|row| dot(row, v)).collect();
        dot(&through, v).max(0.0)
    }

    /// A batch that follows from the coefficients, with its interval by the delta method on its logarithm.
    fn with_interval(&self, of: &dyn Fn(&[f64]) -> Option<f64>) -> Option<Batch> {
        let batch = of(&self.coefficients)?;
        let gradient: Option<Vec<f64>> = (0..self.coefficients.len())
            .map(|i| {
                let c = self.coefficients[i];
                if c == 0.0 {
                    return Some(0.0);
                }
                let mut moved = self.coefficients.clone();
                let step = c * 1e-4;
                moved[i] = c + step;
                Some((of(&moved)?.ln() - batch.ln()) / step)
            })
            .collect();
        let interval = gradient.and_then(|g| {
            let df = self.n.checked_sub(self.n_parameters).filter(|df| *df > 0)?;
            let sd = self.residual_share? * self.quadratic(&g).sqrt();
            let factor = (t_quantile(df as f64, LEVEL)? * sd).exp();
            Some((batch / factor, batch * factor))
        });
        Some(Batch { batch, interval })
    }
}

/// Where a function goes from below zero to above, by halving the logarithm; `None` when it does not.
fn crossing(from: f64, to: f64, f: &dyn Fn(f64) -> Option<f64>) -> Option<f64> {
    let (mut low, mut high) = (from, from);
    // Doubling first: the function may be unknown far out.
    while f(high)? < 0.0 {
        low = high;
        high *= 2.0;
        if high > to {
            return None;
        }
    }
    for _ in 0..60 {
        let middle = (low * high).sqrt();
        if f(middle)? < 0.0 {
            low = middle;
        } else {
            high = middle;
        }
    }
    Some(high)
}

#[cfg(test)]
mod tests;
