//! `ceiling`: what this machine can do at best, measured and kept.

use anyhow::{Result, bail};

use super::ceilings::{CeilingCache, KernelHost, any_case, reasons};
use super::{DONE, FAILED_CELLS, note_all, unless_closed};
use crate::cli::CeilingArgs;
use crate::model::{ModelStore, resolve, type_bytes_per_element};
use crate::plan::forecast;
use crate::report::{self, DocumentForm, ceiling as sheet};
use crate::roofline::kernel::{Kernel, KernelLoad, Point};
use crate::streams::note;

/// Tokens that kernels are timed with.
const TOKENS: [u32; 9] = [1, 2, 4, 8, 16, 32, 64, 128, 512];

/// Most sequences that attention and logits are timed with.
const MOST_SEQUENCES: u32 = 128;

/// Contexts that attention is timed at: a token sees this many, itself included.
const CONTEXTS: [u32; 2] = [64, 256];

/// The matrix for types without a model: the width of an 8B model.
const WIDTH: u64 = 4096;

const DEFAULT_TYPES: [&str; 3] = ["q4_0", "q8_0", "f16"];

/// Measures and prints.
pub fn ceiling(args: &CeilingArgs) -> Result<u8> {
    let host = KernelHost::probe()?;
    let n_threads = args.threads.unwrap_or_else(|| host.default_threads());
    if n_threads == 0 {
        bail!("--threads: 0 is too small; at least 1");
    }
    let device = host.device(args.device);
    let points = points(args, n_threads)?;
    let mut cache = CeilingCache::open(&host, device, n_threads, args.fresh)?;
    let refused = cache.learn(points.clone(), false)?;
    let reasons = reasons(&refused);
    // The object for machines has no place for them.
    if args.output == DocumentForm::Json {
        reasons.iter().for_each(note);
    }
    cache.notes.extend(reasons);
    let source = cache.source();
    let documents = sheet::documents(&cache.ceilings, &points, &source);
    let mut out = std::io::stdout().lock();
    unless_closed(report::print_documents(
        &documents,
        &cache.ceilings,
        args.output,
        &mut out,
    ))?;
    Ok(if refused.is_empty() {
        DONE
    } else {
        FAILED_CELLS
    })
}

/// What was asked for.
fn points(args: &CeilingArgs, n_threads: u32) -> Result<Vec<Point>> {
    if args.model.is_empty() {
        let defaults = DEFAULT_TYPES.map(str::to_owned);
        let types = match args.types.is_empty() {
            true => &defaults[..],
            false => &args.types[..],
        };
        return types
            .iter()
            .map(|name| of_type(name))
            .collect::<Result<Vec<_>>>()
            .map(|all| all.concat());
    }
    let found = resolve(&args.model, &ModelStore::locate()?)?;
    note_all(&found.notes);
    let models = found.models;
    let mut kernels: Vec<Kernel> = Vec::new();
    for model in &models {
        // Any cell names the model's kernels.
        let case = any_case(&model.facts.name, n_threads)?;
        let (decode, _) = forecast::kernels(&case, &model.facts);
        kernels.extend(decode.into_iter().map(|item| item.point.kernel));
    }
    kernels.sort();
    kernels.dedup();
    Ok(kernels.iter().flat_map(loads_of).collect())
}

fn of_type(name: &str) -> Result<Vec<Point>> {
    let weights = name.trim().to_ascii_uppercase();
    if type_bytes_per_element(&weights).is_none() {
        bail!("--type: '{name}' is no tensor type; one such as q4_0, q8_0, q4_k, f16");
    }
    Ok(loads_of(&Kernel::MatMul {
        weights,
        n_in: WIDTH,
        n_out: WIDTH,
    }))
}

/// Everything that a kernel is timed with.
fn loads_of(kernel: &Kernel) -> Vec<Point> {
    let point = |load: KernelLoad| Point {
        kernel: kernel.clone(),
        load,
    };
    match kernel {
        Kernel::MatMul { .. } | Kernel::Experts { .. } => {
            TOKENS.map(|n| point(KernelLoad::tokens(n))).into()
        }
        Kernel::Attention { .. } => sequences()
            .flat_map(|n_seq| {
                CONTEXTS.map(|seen| {
                    point(KernelLoad {
                        n_seq,
                        n_tokens: 1,
                        n_past: seen - 1,
                    })
                })
            })
            .collect(),
        Kernel::Glue { .. } | Kernel::Logits { .. } => {
            sequences().map(|n| point(KernelLoad::tokens(n))).collect()
        }
    }
}

fn sequences() -> impl Iterator<Item = u32> {
    TOKENS.into_iter().filter(|&n| n <= MOST_SEQUENCES)
}
