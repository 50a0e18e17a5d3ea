//! `predict --vram`: what fits a device of so much memory, and what that costs.

use anyhow::Result;

use super::super::ceilings::{CeilingCache, KernelHost, reasons};
use super::super::{DONE, unless_closed};
use super::{by_threads, learn};
use crate::cli::PredictArgs;
use crate::engine::kernel::KernelDevice;
use crate::plan::vram::DeviceFits;
use crate::plan::{Case, KvType, forecast};
use crate::report::prediction::Models;
use crate::report::{self, vram};
use crate::units::ByteSize;

/// Cache types that are looked at where none is asked for: the engine's default, and the smallest that costs next to no
/// accuracy.
const CACHE_TYPES: [KvType; 2] = [KvType::F16, KvType::Q8_0];

/// Prints what fits. Step times are of this machine's GPU, for cells that fit it whole.
pub(super) fn predict(
    args: &PredictArgs,
    size: ByteSize,
    cases: &[Case],
    models: &Models,
    host: &KernelHost,
) -> Result<u8> {
    let cases = match args.axes.has_cache_type() {
        true => cases.to_vec(),
        false => in_cache_types(cases),
    };
    let cells = cases.iter().map(|case| (case, &models[&case.model]));
    let mut fits = DeviceFits::of(size.0, cells);
    let mut notes = Vec::new();
    if host.device(args.device) == KernelDevice::Gpu {
        notes = expect_steps(&mut fits, models, host, args.fresh)?;
    }
    let documents = vram::documents(&fits, notes);
    let mut out = std::io::stdout().lock();
    unless_closed(report::print_documents(
        &documents,
        &fits,
        args.output,
        &mut out,
    ))?;
    Ok(DONE)
}

/// Each cell with every cache type, those of a type together.
fn in_cache_types(cases: &[Case]) -> Vec<Case> {
    let with = |cache: KvType| {
        cases.iter().map(move |case| Case {
            type_k: cache,
            type_v: cache,
            ..case.clone()
        })
    };
    CACHE_TYPES.into_iter().flat_map(with).collect()
}

/// Fills in the steps of cells that lie on the GPU whole. Answers what could not be timed, and why.
fn expect_steps(
    fits: &mut DeviceFits,
    models: &Models,
    host: &KernelHost,
    fresh: bool,
) -> Result<Vec<String>> {
    let whole: Vec<Case> = fits
        .cells
        .iter()
        .filter(|fit| fit.is_whole())
        .map(|fit| fit.case.clone())
        .collect();
    let mut notes = Vec::new();
    for (n_threads, cases) in by_threads(&whole) {
        let mut cache = CeilingCache::open(host, KernelDevice::Gpu, n_threads, fresh)?;
        let refused = learn(&mut cache, &cases, models)?;
        notes.append(&mut cache.notes);
        notes.extend(reasons(&refused));
        for fit in fits.cells.iter_mut().filter(|fit| fit.is_whole()) {
            if fit.case.n_threads == n_threads {
                let expected =
                    forecast::forecast(&fit.case, &models[&fit.case.model], &cache.ceilings);
                fit.step = expected.map(|f| f.step);
            }
        }
        notes.push(format!("step times are of {}", cache.ceilings.device));
    }
    Ok(notes)
}
