//! `predict`: what to expect of a cell, before anything is downloaded or loaded.

mod vram;

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Result, ensure};

use super::ceilings::{CeilingCache, KernelHost, reasons};
use super::{DONE, FAILED_CELLS, note_all, unless_closed};
use crate::cli::PredictArgs;
use crate::engine::kernel::KernelDevice;
use crate::host;
use crate::model::synth::PRESETS;
use crate::model::{ModelFacts, ModelStore, resolve};
use crate::plan::expand::{Host, cases};
use crate::plan::forecast;
use crate::plan::{Case, values};
use crate::report::prediction::{self, Models, NotExpected, Predictions};
use crate::report::{self, check};
use crate::roofline::kernel::Point;
use crate::streams::note;
use crate::view::RunView;

/// Prints what is expected; measures ceilings that are missing.
pub fn predict(args: &PredictArgs) -> Result<u8> {
    if let Some(run) = &args.check {
        return check_run(args, run);
    }
    let names: Vec<String> = args.models().map(|m| as_model(m)).collect();
    let found = resolve(&names, &ModelStore::locate()?)?;
    let axes = args.axes.of_models(names).axes()?;
    note_all(&found.notes);
    let models = found.models;
    let host = KernelHost::probe()?;
    let defaults = Host {
        n_threads: host.default_threads(),
        n_gpu_layers: 0,
    };
    let names: Vec<String> = models.iter().map(|m| m.facts.name.clone()).collect();
    let cases = cases(&axes, &names, &[], defaults)?;
    let models: Models = models
        .into_iter()
        .map(|m| (m.facts.name.clone(), m.facts))
        .collect();
    for case in &cases {
        ensure!(
            !forecast::kernels(case, &models[&case.model]).0.is_empty(),
            "{}: its file lists no matrices this program knows",
            case.model
        );
    }
    let device = host.device(args.device);
    if let Some(size) = args.vram {
        return vram::predict(args, size, &cases, &models, &host);
    }
    let mut predictions = Predictions {
        forecasts: Vec::new(),
        not_expected: Vec::new(),
        available_bytes: host::available_memory_bytes(),
    };
    let mut sources = Vec::new();
    for (n_threads, cases) in by_threads(&cases) {
        let mut cache = CeilingCache::open(&host, device, n_threads, args.fresh)?;
        let refused = learn(&mut cache, &cases, &models)?;
        for case in cases {
            match forecast::forecast(case, &models[&case.model], &cache.ceilings) {
                Some(forecast) => predictions.forecasts.push(forecast),
                None => {
                    let of_case = refused_of(case, &models[&case.model], &refused);
                    predictions.not_expected.push(NotExpected {
                        case_id: case.id(),
                        reasons: match of_case[..] {
                            [] => vec!["its prefill is split into too many passes".to_owned()],
                            _ => reasons(&of_case),
                        },
                    });
                }
            }
        }
        cache.notes.extend(reasons(&refused));
        sources.push((n_threads, cache.ceilings.clone(), cache.source()));
    }
    // In the order of the table, whatever the threads.
    predictions
        .forecasts
        .sort_by_key(|f| cases.iter().position(|c| *c == f.case));
    if predictions.forecasts.is_empty() {
        let mut why: Vec<String> = Vec::new();
        for reason in predictions.not_expected.into_iter().flat_map(|n| n.reasons) {
            if !why.contains(&reason) {
                why.push(reason);
            }
        }
        note(format_args!(
            "error: nothing can be expected: {}",
            why.join("; ")
        ));
        return Ok(FAILED_CELLS);
    }
    let document = prediction::document(&predictions, &sources, &models);
    let mut out = std::io::stdout().lock();
    unless_closed(report::print_documents(
        &[document],
        &predictions,
        args.output,
        &mut out,
    ))?;
    Ok(match predictions.not_expected[..] {
        [] => DONE,
        _ => FAILED_CELLS,
    })
}

/// Of the kernels without a time those that a case runs.
fn refused_of(
    case: &Case,
    model: &ModelFacts,
    refused: &[(Point, String)],
) -> Vec<(Point, String)> {
    let (decode, prefill) = forecast::kernels(case, model);
    let runs = |point: &Point| {
        let mut items = decode.iter().chain(&prefill);
        items.any(|item| item.point.kernel == point.kernel)
    };
    let of_case = refused.iter().filter(|(point, _)| runs(point));
    of_case.cloned().collect()
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
    let held = values::numbers("--hold-out", &args.hold_out)?;
    let view = RunView::read(run)?;
    let host = KernelHost::probe()?;
    ensure!(
        host.is_of(&view.header),
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
    ensure!(
        view.cells.iter().all(|c| c.case.rpc.is_none()),
        "{}: it computed on RPC servers; ceilings are of one machine and say nothing of it",
        run.display()
    );
    let on_gpu = view.cells.iter().any(|c| c.case.n_gpu_layers > 0);
    let device = if on_gpu {
        KernelDevice::Gpu
    } else {
        KernelDevice::Cpu
    };
    let measured: Vec<&Case> = view
        .cells
        .iter()
        .filter(|c| c.median_step_ns().is_some())
        .map(|c| &c.case)
        .collect();
    let mut ceilings = Vec::new();
    let mut notes = Vec::new();
    let mut is_whole = true;
    for (n_threads, cases) in by_threads(measured) {
        let mut cache = CeilingCache::open(&host, device, n_threads, args.fresh)?;
        let refused = learn(&mut cache, &cases, &models)?;
        is_whole &= refused.is_empty();
        notes.append(&mut cache.notes);
        notes.extend(reasons(&refused));
        ceilings.push(cache.ceilings);
    }
    let check = check::check(&view, &ceilings, &held);
    ensure!(
        !check.cells.is_empty(),
        "{}: nothing to hold against ceilings: {}",
        run.display(),
        match notes.first() {
            Some(note) if !is_whole => note,
            _ => "no measured cell, or a record without the models' matrices",
        }
    );
    let mut documents = check::documents(&check);
    let last = documents.pop().expect("there is always one");
    documents.push(last.all_below(notes.into_iter().map(|text| ("note", text))));
    let mut out = std::io::stdout().lock();
    unless_closed(report::print_documents(
        &documents,
        &check,
        args.output,
        &mut out,
    ))?;
    Ok(if is_whole { DONE } else { FAILED_CELLS })
}

/// Measures what the cases' kernels lack. With one token and with many besides, which say what limits. Answers the
/// kernels that have no time, and why.
fn learn(
    cache: &mut CeilingCache<'_>,
    cases: &[&Case],
    models: &Models,
) -> Result<Vec<(Point, String)>> {
    let mut points: Vec<Point> = Vec::new();
    for case in cases {
        let (decode, prefill) = forecast::kernels(case, &models[&case.model]);
        points.extend(cache.ceilings.nodes(&decode));
        points.extend(cache.ceilings.nodes(&prefill));
        points.extend(forecast::reference_points(&decode));
    }
    points.sort();
    points.dedup();
    cache.learn(points, true)
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
