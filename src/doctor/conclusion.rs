//! What the machine is fit for, in one sentence that a number stands behind.

use serde::Serialize;

use super::check::{CheckVerdict, DoctorCheck};
use super::figures::DoctorFigures;
use crate::stats::sample_size::{SampleDesign, shown_distance};

/// Level of the intervals that `compare` judges by.
const LEVEL: f64 = 0.95;
/// Processes of a run: what is usual, and what a patient user takes.
const PROCESSES: [usize; 2] = [3, 10];
/// A machine that shows this to three processes shows what most changes are worth.
const FIT: f64 = 0.05;
/// Beyond this only another machine or another file would show.
const NOT_FIT: f64 = 0.2;

/// Whether measuring here is worth the while.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fitness {
    /// Differences of a few percent show.
    Fit,
    /// Only large ones do.
    LargeDifferencesOnly,
    /// Mend it first.
    NotFit,
    Unknown,
}

/// Differences that can be shown, as shares.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ShownDifference {
    /// Processes of each of the two runs.
    pub processes: usize,
    /// Where vector arithmetic decides, as in prefill and large batches.
    pub computing: f64,
    /// Where memory does, as in decoding few sequences.
    pub reading: f64,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DoctorConclusion {
    pub fit: Fitness,
    /// Smallest differences between two runs that are shown 8 times in 10; empty when nothing is known.
    pub shown: Vec<ShownDifference>,
    pub sentence: String,
}

impl DoctorConclusion {
    /// From the spread of the trials, each standing for a process, and from what is bad.
    pub fn of(figures: &DoctorFigures, checks: &[DoctorCheck]) -> Self {
        let shown = PROCESSES.map(|processes| {
            // The distance is on logarithms.
            let difference = |sd: Option<f64>| {
                let distance = shown_distance(SampleDesign::TwoSamples, sd?, processes, LEVEL)?;
                Some(distance.exp_m1())
            };
            Some(ShownDifference {
                processes,
                computing: difference(figures.compute_sd)?,
                reading: difference(figures.read_sd)?,
            })
        });
        let shown: Vec<ShownDifference> = shown.into_iter().flatten().collect();
        let is_debug = checks
            .iter()
            .any(|c| c.name == "build" && c.verdict == CheckVerdict::Bad);
        let fit = match shown.first().map(|few| few.computing.max(few.reading)) {
            _ if is_debug => Fitness::NotFit,
            None => Fitness::Unknown,
            Some(worse) if worse <= FIT => Fitness::Fit,
            Some(worse) if worse <= NOT_FIT => Fitness::LargeDifferencesOnly,
            Some(_) => Fitness::NotFit,
        };
        Self {
            sentence: sentence(fit, &shown, checks),
            fit,
            shown,
        }
    }
}

fn sentence(fit: Fitness, shown: &[ShownDifference], checks: &[DoctorCheck]) -> String {
    let word = match fit {
        Fitness::Fit => "fit to measure",
        Fitness::LargeDifferencesOnly => "fit for large differences only",
        Fitness::NotFit => "not fit to measure as it is",
        Fitness::Unknown => "fitness not known, too little could be measured",
    };
    let mut text = word.to_owned();
    if let [few, many] = shown {
        text += &if few.computing.min(few.reading) < 1.0 {
            format!(
                ": two runs of {} processes show differences above about {} where computing decides (prefill, large \
                 batches) and {} where memory does (few sequences); of {} processes, {} and {}",
                few.processes,
                about(few.computing),
                about(few.reading),
                many.processes,
                about(many.computing),
                about(many.reading)
            )
        } else {
            format!(
                ": a factor of two would not show between two runs of {} processes",
                few.processes
            )
        };
    }
    let bad: Vec<String> = checks
        .iter()
        .filter(|check| check.verdict == CheckVerdict::Bad)
        .map(|check| check.name.replace('_', " "))
        .collect();
    if !bad.is_empty() {
        text += &format!("; solve first: {}", bad.join(", "));
    }
    text
}

/// One significant figure below 10%: the spread of a few trials is not known better.
fn about(share: f64) -> String {
    let percent = share * 100.0;
    match percent {
        p if p < 0.1 => "0.1%".to_owned(),
        p if p < 0.95 => format!("{p:.1}%"),
        p if p < 99.5 => format!("{p:.0}%"),
        _ => "100%".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::figures::tests::{TIMER, quiet};
    use super::*;

    fn figures(compute_sd: f64, read_sd: f64) -> DoctorFigures {
        let mut figures = DoctorFigures::of(&quiet(), TIMER);
        figures.compute_sd = Some(compute_sd);
        figures.read_sd = Some(read_sd);
        figures
    }

    #[test]
    fn three_standard_deviations_with_three_processes() {
        let conclusion = DoctorConclusion::of(&figures(0.004, 0.01), &[]);
        assert_eq!(conclusion.fit, Fitness::Fit);
        let [few, many] = conclusion.shown.as_slice() else {
            panic!("{conclusion:?}");
        };
        // 3.035 x 0.01 on the logarithm; with 10 processes (2.101 + 0.862) x sqrt(2/10) x 0.01.
        assert!((few.reading - 0.0308).abs() < 1e-4, "{few:?}");
        assert!((few.computing - 0.0122).abs() < 1e-4, "{few:?}");
        assert!((many.reading - 0.01334).abs() < 1e-4, "{many:?}");
        assert_eq!(
            conclusion.sentence,
            "fit to measure: two runs of 3 processes show differences above about 1% where computing decides \
             (prefill, large batches) and 3% where memory does (few sequences); of 10 processes, 0.5% and 1%"
        );
    }

    #[test]
    fn the_worse_of_the_two_decides_and_what_is_bad_is_named() {
        let bad = DoctorCheck::new("free_memory", CheckVerdict::Bad, "x");
        let conclusion = DoctorConclusion::of(&figures(0.1, 0.01), &[bad]);
        assert_eq!(conclusion.fit, Fitness::NotFit);
        assert!(
            conclusion.sentence.ends_with("; solve first: free memory"),
            "{}",
            conclusion.sentence
        );
        let large = DoctorConclusion::of(&figures(0.01, 0.03), &[]);
        assert_eq!(large.fit, Fitness::LargeDifferencesOnly);
        let hopeless = DoctorConclusion::of(&figures(0.4, 0.4), &[]);
        assert_eq!(
            hopeless.sentence,
            "not fit to measure as it is: a factor of two would not show between two runs of 3 processes"
        );
    }

    #[test]
    fn a_debug_build_is_never_fit_and_ignorance_is_said() {
        let debug = DoctorCheck::new("build", CheckVerdict::Bad, "debug");
        assert_eq!(
            DoctorConclusion::of(&figures(0.0, 0.0), &[debug]).fit,
            Fitness::NotFit
        );
        let mut blind = figures(0.0, 0.0);
        blind.read_sd = None;
        let conclusion = DoctorConclusion::of(&blind, &[]);
        assert_eq!(conclusion.fit, Fitness::Unknown);
        assert!(conclusion.shown.is_empty());
        assert!(conclusion.sentence.contains("too little"));
    }

    #[test]
    fn no_more_figures_than_are_known() {
        for (share, said) in [
            (0.0, "0.1%"),
            (0.0034, "0.3%"),
            (0.042, "4%"),
            (0.137, "14%"),
            (40.0, "100%"),
        ] {
            assert_eq!(about(share), said);
        }
    }
}
