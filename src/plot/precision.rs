//! Speed against accuracy: a line a batch through the files that no other one dominates.

use super::{Figure, FigureAxis, MOST_SERIES, Mark, PlotPoint, Series};
use crate::analysis::precision::{FilePrecision, PrecisionTable};
use crate::metric::Metric;
use crate::text::short;
use crate::units;
use crate::view::RunView;

/// The base has no loss, which a logarithmic axis has no place for: it stands at the floor, or this many times to the left of the
/// smallest loss where there is no floor, or one far below.
const LEFT_EDGE: f64 = 20.0;

/// Decode tokens/s at each batch against the mean KLD.
pub fn tradeoff(view: &RunView) -> Option<Figure> {
    let table = PrecisionTable::of(view)?;
    let losses = table.files.iter().filter_map(FilePrecision::loss);
    let least = losses
        .filter(|kld| *kld > 0.0)
        .fold(f64::INFINITY, f64::min);
    if !least.is_finite() {
        return None;
    }
    let floor = table.floor.map_or(0.0, |floor| floor.value);
    let left = floor.min(least).max(least / LEFT_EDGE);
    let batches: Vec<u32> = table.batches.iter().copied().take(MOST_SERIES).collect();
    let last = *batches.last()?;
    let series = batches.iter().enumerate().map(|(look, batch)| {
        let points = table.files.iter().filter_map(|file| {
            let point = point(&table, file, *batch, left)?;
            // Once is enough: the others' points stand below.
            let is_last = file.cells.keys().filter(|b| **b <= last).max() == Some(batch);
            let label = is_last.then(|| name(&table, file));
            Some(PlotPoint { label, ..point })
        });
        let mut points: Vec<PlotPoint> = points.collect();
        points.sort_by(|a, b| a.x.total_cmp(&b.x));
        Series::new(format!("batch {batch}"), Mark::Line, look, points)
    });
    let series: Vec<Series> = series.collect();
    let place = match left <= floor {
        true => "at the floor, what the kernels alone differ by",
        false => "at the left edge",
    };
    let has_bars = series
        .iter()
        .flat_map(|s| &s.points)
        .any(|p| p.bar.is_some());
    let bars = match has_bars {
        true => " Bars: 95% interval over processes.",
        false => "",
    };
    let caption = format!(
        "Up and to the left is better. The base has no loss and stands {place}. Hollow: another file is faster and loses no more; the \
         line joins the others.{bars}"
    );
    Figure::of(
        "precision_tradeoff",
        "Throughput against loss of accuracy",
        caption,
        (
            FigureAxis::log("mean KLD from the base, nats"),
            FigureAxis::log("decode tokens/s, all sequences"),
        ),
        series,
    )
}

fn point(
    table: &PrecisionTable<'_>,
    file: &FilePrecision<'_>,
    batch: u32,
    left: f64,
) -> Option<PlotPoint> {
    let loss = file.loss()?;
    let cell = file.cells.get(&batch)?;
    let rate = cell.estimate(Metric::DecodeTokensPerS)?;
    let place = format!("{}, batch {batch}, KLD {}", file.label, units::nats(loss));
    Some(PlotPoint {
        is_hollow: table.dominated(file, batch).is_some(),
        ..PlotPoint::estimated(loss.max(left), rate, &place, "tokens/s")
    })
}

/// The file's type, where it tells the files apart, else its name.
fn name(table: &PrecisionTable<'_>, file: &FilePrecision<'_>) -> String {
    let type_of = |f: &FilePrecision<'_>| f.facts.map(|m| m.file_type.clone());
    let own = type_of(file);
    let same = table.files.iter().filter(|f| type_of(f) == own).count();
    let name = match own {
        Some(file_type) if same == 1 => short(&file_type),
        _ => file.label.clone(),
    };
    match file.loss() == Some(0.0) {
        true => format!("{name} (base)"),
        false => name,
    }
}
