//! `predict`: what to expect of a cell, before anything is downloaded or loaded.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use super::ceiling::{Desk, Place};
use super::{DONE, note_all, prepare, unless_closed};
use crate::cli::{AxisArgs, PredictArgs};
use crate::engine::kernel::KernelDevice;
use crate::host;
use crate::model::synth::PRESETS;
use crate::model::{ModelStore, resolve};
use crate::plan::expand::{Axes, Host, cases};
use crate::plan::forecast::{self, Forecast};
use crate::plan::{Case, axis};
use crate::report::prediction::{self, Models, Predictions};
use crate::report::{self, check};
use crate::roofline::kernel::Point;
use crate::view::RunView;

/// Prints what is expected; measures ceilings that are missing.
///
/// # Errors
/// For unknown models, impossible cells, and devices that are not there.
pub fn predict(args: &PredictArgs) -> Result<u8> {
    if let Some(run) = &args.check {
        return check_run(args, run);
    }
    let flags = AxisArgs {
        model: args.model.iter().map(|m| as_model(m)).collect(),
        ..args.axes()
    };
    let axes = prepare::axes_of(&flags)?;
    let found = resolve(&flags.model, &ModelStore::locate()?)?;
    note_all(&found.notes);
    let models = found.models;
    let place = Place::probe()?;
    let host = Host {
        n_threads: place.default_threads(),
        n_gpu_layers: 0,
    };
    let names: Vec<String> = models.iter().map(|m| m.facts.name.clone()).collect();
    let cases = cases(&axes, &names, &[], host)?;
    let models: Models = models
        .into_iter()
        .map(|m| (m.facts.name.clone(), m.facts))
        .collect();
    let device = place.device(args.device);
    let mut forecasts: Vec<Forecast> = Vec::new();
    let mut sources = Vec::new();
    for (n_threads, cases) in by_threads(&cases) {
        let mut desk = Desk::open(&place, device, n_threads, args.fresh)?;
        learn(&mut desk, &cases, &models)?;
        for case in cases {
            let expected = forecast::forecast(case, &models[&case.model], &desk.ceilings);
            forecasts.push(expected.with_context(|| {
                format!(
                    "{}: its file lists no matrices this program knows",
                    case.model
                )
            })?);
        }
        sources.push((n_threads, desk.ceilings.clone(), desk.source()));
    }
    // In the order of the table, whatever the threads.
    forecasts.sort_by_key(|f| cases.iter().position(|c| *c == f.case));
    let predictions = Predictions {
        forecasts,
        available_bytes: host::available_memory_bytes(),
    };
    let sheet = prediction::sheet(&predictions, &sources, &models);
    let mut out = std::io::stdout().lock();
    unless_closed(report::print_sheet(
        &sheet,
        &predictions,
        args.output,
        &mut out,
    ))?;
    Ok(DONE)
}

fn by_threads<'c>(cases: impl IntoIterator<Item = &'c Case>) -> BTreeMap<u32, Vec<&'c Case>> {
    let mut groups: BTreeMap<u32, Vec<&Case>> = BTreeMap::new();
    for case in cases {
        groups.entry(case.n_threads).or_default().push(case);
    }
    groups
}

/// Prints a run's measured cells beside what would have been expected of them.
fn check_run(args: &PredictArgs, run: &Path) -> Result<u8> {
    let held = axis::numbers("--hold-out", &args.hold_out)?;
    let view = RunView::read(run)?;
    let place = Place::probe()?;
    ensure!(
        place.is_of(&view.header),
        "{}: was measured on another machine or with another engine: this one's ceilings say nothing of it",
        run.display()
    );
    let models: Models = view
        .header
        .plan
        .models
        .iter()
        .map(|m| (m.name.clone(), m.clone()))
        .collect();
    let on_gpu = view.cells.iter().any(|c| c.case.n_gpu_layers > 0);
    let device = if on_gpu {
        KernelDevice::Gpu
    } else {
        KernelDevice::Cpu
    };
    let measured: Vec<&Case> = view
        .cells
        .iter()
        .filter(|c| c.median_step_ns.is_some())
        .map(|c| &c.case)
        .collect();
    let mut ceilings = Vec::new();
    let mut notes = Vec::new();
    for (n_threads, cases) in by_threads(measured) {
        let mut desk = Desk::open(&place, device, n_threads, args.fresh)?;
        learn(&mut desk, &cases, &models)?;
        notes.append(&mut desk.notes);
        ceilings.push(desk.ceilings);
    }
    let check = check::check(&view, &ceilings, &held);
    ensure!(
        !check.cells.is_empty(),
        "{}: nothing to hold against ceilings: no measured cell, or a record without the models' matrices",
        run.display()
    );
    let mut sheets = check::sheets(&check);
    let last = sheets.last_mut().expect("there is always one");
    last.below
        .extend(notes.into_iter().map(|n| ("note".to_owned(), n)));
    let mut out = std::io::stdout().lock();
    unless_closed(report::print_sheets(&sheets, &check, args.output, &mut out))?;
    Ok(DONE)
}

/// Measures what the cases' kernels lack. With one token and with many besides, which say what limits.
fn learn(desk: &mut Desk<'_>, cases: &[&Case], models: &Models) -> Result<()> {
    let mut points: Vec<Point> = Vec::new();
    for case in cases {
        let (decode, prefill) = forecast::kernels(case, &models[&case.model]);
        points.extend(desk.ceilings.nodes(&decode));
        points.extend(desk.ceilings.nodes(&prefill));
        points.extend(forecast::reference_points(&decode));
    }
    points.sort();
    points.dedup();
    let refused = desk.learn(points, true)?;
    match refused.first() {
        Some((point, e)) => bail!("{}: {e}", point.kernel),
        None => Ok(()),
    }
}

/// A preset's name alone, or with a type, means the synthetic model of that shape.
fn as_model(text: &str) -> String {
    let preset = text.split(':').next().unwrap_or(text);
    let is_shape = PRESETS.iter().any(|p| p.0 == preset) && !Path::new(text).exists();
    if is_shape {
        format!("synth:{text}")
    } else {
        text.to_owned()
    }
}

/// A cell with every default: what kernels a model has does not depend on it.
pub(super) fn any_case(model: &str, n_threads: u32) -> Result<Case> {
    let host = Host {
        n_threads,
        n_gpu_layers: 0,
    };
    let mut cases = cases(&Axes::default(), &[model.to_owned()], &[], host)?;
    Ok(cases.remove(0))
}
