//! Which form, and how well it does on batches that it has not seen.

use serde::{Deserialize, Serialize};

use super::{CurveForm, Fit, FitObservation, Input, fit};

/// With fewer batch sizes a form can be chosen, but not shown to be right.
pub const ENOUGH_TO_PROVE: usize = 8;

/// With too few batch sizes to prove anything, how much worse than the best the scaled ceilings may predict the data and
/// still be believed: they know each batch's kernels by a measurement of their own, the other forms know a shape only,
/// and bend to the noise of a single batch.
const TRUST_IN_CEILINGS: f64 = 2.0;

/// The forms that could be fitted, and the one to believe.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FormChoice {
    pub best: Fit,
    /// All of them, the chosen one first, then by how they were judged.
    pub all: Vec<Fit>,
    /// Whether AICc chose among at least eight batch sizes. Otherwise the form that predicted each batch size
    /// best from the others was taken, the scaled ceilings where they come near to it: it describes the data, and is
    /// not proven.
    pub proven: bool,
}

/// Fits every form and chooses: by AICc with at least `ENOUGH_TO_PROVE` batch sizes, else by how well each is
/// predicted from the others, with a head start for the scaled ceilings. Needs three batch sizes; `None` with fewer.
pub fn choose(data: &[FitObservation]) -> Option<FormChoice> {
    if data.len() < 3 {
        return None;
    }
    let proven = data.len() >= ENOUGH_TO_PROVE;
    let judged = |f: &Fit| match (proven, f.form) {
        (true, _) => f.aicc,
        (false, CurveForm::Kernels) => f.left_out_error.map(|e| e / TRUST_IN_CEILINGS),
        (false, _) => f.left_out_error,
    };
    let mut all: Vec<Fit> = CurveForm::ALL
        .iter()
        .filter_map(|&form| fit(form, data))
        .collect();
    // Those that cannot be judged last; of equals the simpler.
    all.sort_by(|a, b| {
        let key = |f: &Fit| judged(f).unwrap_or(f64::INFINITY);
        key(a)
            .total_cmp(&key(b))
            .then(a.n_parameters.cmp(&b.n_parameters))
            .then(a.form.cmp(&b.form))
    });
    let best = all.first().filter(|f| judged(f).is_some())?.clone();
    Some(FormChoice { best, all, proven })
}

/// A batch size that was kept from the fit.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct HeldOut {
    pub batch: f64,
    /// Its measured step, nanoseconds.
    pub measured_ns: f64,
    /// What the curve fitted to the others says.
    pub expected_ns: f64,
    /// 95% interval for a new measurement.
    pub interval_ns: Option<(f64, f64)>,
}

impl HeldOut {
    /// Expected over measured, less one.
    pub fn error(&self) -> f64 {
        self.expected_ns / self.measured_ns - 1.0
    }
}

/// Chooses and fits on the batches of `data` that `held` does not name, and predicts those that it does.
/// `None` when nothing can be fitted; batches that the chosen form cannot say anything of are left out.
pub fn hold_out(
    data: &[FitObservation],
    held: &dyn Fn(&Input) -> bool,
) -> Option<(FormChoice, Vec<HeldOut>)> {
    let (kept_out, fitted): (Vec<FitObservation>, Vec<FitObservation>) =
        data.iter().partition(|o| held(&o.input));
    let choice = choose(&fitted)?;
    let rows = kept_out
        .iter()
        .filter_map(|o| {
            let expected = choice.best.at(&o.input)?;
            Some(HeldOut {
                batch: o.input.batch,
                measured_ns: o.step_ns,
                expected_ns: expected.ns,
                interval_ns: expected.interval_ns,
            })
        })
        .collect();
    Some((choice, rows))
}
