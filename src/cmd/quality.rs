//! `quality`: how much accuracy other files or settings of a model lose.

use anyhow::{Result, ensure};

use super::execute::{listen, make_models};
use super::measuring::{measure, out_folder};
use super::prepare::{self, RunSpec, prepare};
use super::quality_plan::{base_named, check_room, dry_run, largest, open_text, planned};
use super::quiet::{self, CpuUseWindow};
use super::{DONE, note_all, say};
use crate::cli::QualityArgs;
use crate::plan::expand::Axes;
use crate::plan::protocol::ProtocolChoice;
use crate::plan::quality::QualityChoice;

/// Scores a text with the files that flags name.
///
/// # Errors
/// When nothing could be scored, or the record could not be written.
pub fn quality(args: &QualityArgs) -> Result<u8> {
    let window = CpuUseWindow::begin();
    let mut axes = args.axes.axes()?;
    ensure!(
        axes.n_prompt.is_none() && axes.n_gen.is_none() && axes.n_depth.is_none(),
        "--n-prompt, --n-gen and --n-depth apply to cells only: the length of a chunk is --n-ctx"
    );
    let mut specs: Vec<String> = args.base.iter().cloned().collect();
    specs.extend(args.files.iter().cloned());
    specs.extend(axes.model.take().unwrap_or_default());
    ensure!(
        !specs.is_empty(),
        "name the files: ggufbench quality --base F16.gguf Q8_0.gguf Q4_0.gguf"
    );
    let choice = QualityChoice {
        base: args.base.clone(),
        text: args.text.clone(),
        chunks: args.chunks.clone(),
        budget: args.budget.clone(),
        axes,
    };
    let text = open_text(&choice)?;
    let name = args.output.name.clone();
    let spec = RunSpec {
        name: name.unwrap_or_else(|| "quality".to_owned()),
        axes: Axes {
            model: Some(specs),
            ..choice.settings(&Axes::default())
        },
        also: Vec::new(),
        exclude: Vec::new(),
        protocol: ProtocolChoice::default(),
        measures_idle_power: false,
        has_cells: false,
    };
    let mut prepared = prepare(spec, prepare::worker_command(&args.worker)?)?;
    note_all(&prepared.notes);
    let base = match &choice.base {
        Some(spec) => base_named(spec)?,
        None => largest(&prepared.plan.models)?,
    };
    let settings = std::mem::take(&mut prepared.plan.cases);
    let planned = planned(
        &choice,
        text,
        &settings,
        &base,
        (&prepared.plan, &prepared.engine),
    )?;
    if args.dry_run {
        say(dry_run(&planned, &prepared))?;
        return Ok(DONE);
    }
    let out = out_folder(&args.output)?;
    check_room(&planned.plan, &prepared.plan.models, &out)?;
    // What a model needs is decided by its settings; a cell that does not fit is a line of the record.
    prepared.plan.cases = settings;
    let models = std::mem::take(&mut prepared.models);
    prepared.plan.models = make_models(&prepared.plan, models, &prepared.fits)?;
    prepared.plan.cases.clear();
    prepared.fits.clear();
    let interrupt = listen()?;
    quiet::before_measuring(window, &args.output, &interrupt)?;
    measure(
        prepared,
        (None, Some(planned)),
        &args.output,
        &out,
        &interrupt,
    )
}
