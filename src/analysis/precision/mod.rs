//! Speed against accuracy: the files of a run beside each other, which of them are dominated, and which one to take.

mod findings;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use super::Sure;
use super::choice::{GOOD_ENOUGH, comparable, rate, times_as_fast};
use crate::model::ModelFacts;
use crate::stats::Interval;
use crate::text::short;
use crate::view::quality::KEEPS;
use crate::view::{CellView, Estimate, QualityCellView, QualityView, RunView};

pub use findings::{accuracy, brief, lead};

/// A file, or a setting of its cache, with what it loses and how fast it is.
#[derive(Debug, Clone)]
pub struct FilePrecision<'a> {
    /// The model, with the cache's types where they differ.
    pub label: String,
    pub model: &'a str,
    pub facts: Option<&'a ModelFacts>,
    /// `None` where its accuracy was not measured.
    pub quality: Option<&'a QualityCellView>,
    /// Its fastest cell at each batch, of the cells that do the same work.
    pub cells: BTreeMap<u32, &'a CellView>,
}

/// The files of a run, the base first.
#[derive(Debug, Clone)]
pub struct PrecisionTable<'a> {
    pub files: Vec<FilePrecision<'a>>,
    /// The batches at which a file was measured, ascending.
    pub batches: Vec<u32>,
    /// Mean KLD that the kernels alone cause.
    pub floor: Option<Estimate>,
}

/// Why one file is better than another at a batch: it is faster and loses no more.
#[derive(Debug, Clone, Copy)]
pub struct Domination<'a> {
    pub by: &'a str,
    pub times_as_fast: f64,
    pub sure: Sure,
}

/// The file to take at a batch.
#[derive(Debug, Clone)]
pub struct PrecisionChoice<'a> {
    pub file: &'a FilePrecision<'a>,
    pub cell: &'a CellView,
    /// Against the base; `None` where it is the base, or the base was not measured at this batch.
    pub of_base: Option<TimesAsFast>,
    /// Faster files that change too many of the top tokens.
    pub too_lossy: Vec<&'a FilePrecision<'a>>,
    pub sure: Sure,
}

/// How many times as fast one cell is as another.
#[derive(Debug, Clone, Copy)]
pub struct TimesAsFast {
    pub value: f64,
    pub interval: Option<Interval>,
}

impl TimesAsFast {
    fn of(cell: &CellView, other: &CellView) -> Option<Self> {
        let interval = times_as_fast(cell, other);
        let ratio = rate(cell) / rate(other);
        let value = interval.map_or(ratio, |i| i.estimate);
        value.is_finite().then_some(Self { value, interval })
    }

    fn is_shown(self) -> bool {
        self.interval.is_some_and(|i| i.lo > 1.0)
    }
}

impl<'a> FilePrecision<'a> {
    fn is_of(&self, quality: &QualityCellView) -> bool {
        self.quality.is_some_and(|own| own.case == quality.case)
    }

    /// Mean KLD; 0 of the base.
    pub fn loss(&self) -> Option<f64> {
        self.quality?.loss()
    }

    fn is_base(&self) -> bool {
        self.quality.is_some_and(QualityCellView::is_base)
    }

    /// Whether it keeps enough of the base's top tokens.
    fn keeps(&self) -> bool {
        self.quality.is_some_and(QualityCellView::keeps)
    }
}

impl<'a> PrecisionTable<'a> {
    /// Of a run that has scored a text.
    pub fn of(view: &'a RunView) -> Option<Self> {
        let quality = view.quality.as_ref().filter(|q| q.any_scored())?;
        let curves = comparable(view);
        let cells: Vec<&CellView> = curves
            .iter()
            .flat_map(|c| c.cells.iter().copied())
            .collect();
        let mut files: Vec<FilePrecision<'a>> = Vec::new();
        for of_text in quality.files() {
            files.push(FilePrecision {
                label: label(quality, of_text),
                model: &of_text.case.model,
                facts: view.model(&of_text.case.model),
                quality: Some(of_text),
                cells: BTreeMap::new(),
            });
        }
        for cell in cells {
            let of_text = quality.of_case(&cell.case);
            let is_own = |file: &&mut FilePrecision<'a>| match of_text {
                Some(of_text) => file.is_of(of_text),
                None => file.quality.is_none() && file.model == cell.case.model,
            };
            match files.iter_mut().find(is_own) {
                Some(file) => file.add(cell),
                None => {
                    let mut file = FilePrecision {
                        label: short(&cell.case.model),
                        model: &cell.case.model,
                        facts: view.model(&cell.case.model),
                        quality: None,
                        cells: BTreeMap::new(),
                    };
                    file.add(cell);
                    files.push(file);
                }
            }
        }
        let mut batches: Vec<u32> = files.iter().flat_map(|f| f.cells.keys().copied()).collect();
        batches.sort_unstable();
        batches.dedup();
        let floor = quality
            .base()
            .and_then(|base| quality.floor_kld(&base.case));
        Some(Self {
            files,
            batches,
            floor,
        })
    }

    /// The base, where it was scored.
    pub fn base(&self) -> Option<&FilePrecision<'a>> {
        self.files.iter().find(|f| f.is_base())
    }

    /// A file that is faster than this one at a batch and loses no more: of several the fastest.
    pub fn dominated(&self, file: &FilePrecision<'_>, batch: u32) -> Option<Domination<'_>> {
        let own = file.cells.get(&batch)?;
        let by = |other: &'_ FilePrecision<'a>| {
            let faster = TimesAsFast::of(other.cells.get(&batch)?, own)?;
            let loses = no_more_loss(other.quality?, file.quality?)?;
            let is_dominating = faster.value > 1.0;
            let sure = Sure::shown_if(faster.is_shown() && loses == Sure::Shown);
            is_dominating.then_some((faster.value, sure))
        };
        let others = self.files.iter().filter(|other| other.label != file.label);
        let found = others.filter_map(|other| Some((other, by(other)?)));
        let (other, (times_as_fast, sure)) =
            found.max_by(|(_, (a, _)), (_, (b, _))| a.total_cmp(b))?;
        Some(Domination {
            by: &other.label,
            times_as_fast,
            sure,
        })
    }

    /// The file to take at a batch: of those that keep [`KEEPS`] of the base's top tokens and have [`GOOD_ENOUGH`] of the
    /// most tokens/s among these, the one that loses least.
    pub fn choice(&'a self, batch: u32) -> Option<PrecisionChoice<'a>> {
        let measured = self.files.iter().filter_map(|f| {
            f.loss()?;
            Some((f, *f.cells.get(&batch)?))
        });
        let measured: Vec<(&FilePrecision<'a>, &CellView)> = measured.collect();
        let keeping = || measured.iter().filter(|(file, _)| file.keeps());
        let most = keeping().map(|(_, cell)| rate(cell)).fold(0.0, f64::max);
        let good = keeping().filter(|(_, cell)| rate(cell) >= GOOD_ENOUGH * most);
        let (file, cell) = *good.min_by(|(a, x), (b, y)| {
            let losses = (loss_beyond_floor(a), loss_beyond_floor(b));
            losses
                .0
                .total_cmp(&losses.1)
                .then(rate(y).total_cmp(&rate(x)))
        })?;
        let base = self.base().filter(|base| base.label != file.label);
        let base = base.and_then(|base| base.cells.get(&batch));
        let of_base = base.and_then(|base| TimesAsFast::of(cell, base));
        let lossy = measured
            .iter()
            .filter(|(file, other)| !file.keeps() && rate(other) > rate(cell));
        let too_lossy: Vec<&FilePrecision<'a>> = lossy.map(|(file, _)| *file).collect();
        let is_told = |file: &FilePrecision<'_>| {
            file.quality
                .is_some_and(QualityCellView::is_told_whether_it_keeps)
        };
        let shown = is_told(file)
            && too_lossy.iter().all(|f| is_told(f))
            && of_base.is_none_or(TimesAsFast::is_shown)
            && measured.len() > 1;
        Some(PrecisionChoice {
            file,
            cell,
            of_base,
            too_lossy,
            sure: Sure::shown_if(shown),
        })
    }
}

impl<'a> FilePrecision<'a> {
    /// The fastest cell of a batch stays.
    fn add(&mut self, cell: &'a CellView) {
        let known = self.cells.entry(cell.case.n_seq).or_insert(cell);
        if rate(cell) > rate(known) {
            *known = cell;
        }
    }
}

/// Losses that are not told apart from the kernels' rounding are equal.
fn loss_beyond_floor(file: &FilePrecision<'_>) -> f64 {
    let is_none = file.quality.is_some_and(QualityCellView::is_at_floor);
    if is_none {
        0.0
    } else {
        file.loss().unwrap_or(f64::INFINITY)
    }
}

/// Whether a file loses no more than another, and how sure that is; `None` where it loses more.
fn no_more_loss(cell: &QualityCellView, other: &QualityCellView) -> Option<Sure> {
    let (own, theirs) = (cell.loss()?, other.loss()?);
    if cell.is_base() || (cell.is_at_floor() && (other.is_at_floor() || other.is_base())) {
        return Some(Sure::Shown);
    }
    let is_shown = cell
        .more_loss_than(other)
        .is_some_and(|more| more.hi <= 0.0);
    (own <= theirs).then(|| Sure::shown_if(is_shown))
}

/// The model, with the cache's types where the run scored it with several.
fn label(quality: &QualityView, cell: &QualityCellView) -> String {
    let model = short(&cell.case.model);
    let same = quality.files().filter(|c| c.case.model == cell.case.model);
    match same.count() {
        0 | 1 => model,
        _ => format!("{model} (K {}, V {})", cell.case.type_k, cell.case.type_v),
    }
}

/// Percent of the top tokens below which a file is not recommended.
fn keeps_percent() -> f64 {
    KEEPS * 100.0
}
