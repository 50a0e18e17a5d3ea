//! A text that is to be scored: by which models, against which base, and with which room.

use std::path::Path;

use anyhow::{Result, bail, ensure};

use super::offload;
use super::prepare::{self, Prepared};
use crate::engine::EngineFacts;
use crate::model::{ModelError, ModelFacts, ModelStore, check_space, resolve};
use crate::plan::expand::Axes;
use crate::plan::quality::{QualityCell, QualityChoice, QualityPlan, QualityRole};
use crate::plan::{Case, Plan};
use crate::quality::score::shape;
use crate::quality::text::ScoredText;
use crate::record::RunHeader;
use crate::run::quality::{DoneChunks, QualityRun};
use crate::streams::note;
use crate::units;

pub(super) fn open_text(choice: &QualityChoice) -> Result<ScoredText> {
    ScoredText::open(choice.text.as_deref()).map_err(anyhow::Error::msg)
}

/// The name of the one model that a spec means.
pub(super) fn base_named(spec: &str) -> Result<String> {
    let found = resolve(&[spec.to_owned()], &ModelStore::locate()?)?;
    match found.models.as_slice() {
        [one] => Ok(one.facts.name.clone()),
        several => bail!(
            "--base {spec}: {} models; name the one that the others are compared with",
            several.len()
        ),
    }
}

/// The largest file has the most of what the model was trained to.
pub(super) fn largest(models: &[ModelFacts]) -> Result<String> {
    let Some(largest) = models.iter().max_by_key(|m| m.file_bytes) else {
        bail!("no model file was named");
    };
    if models.len() > 1 {
        note(format_args!(
            "the base is {}, the largest file; --base names another",
            largest.name
        ));
    }
    Ok(largest.name.clone())
}

/// A text with the cells of these settings, of which some may not fit.
///
/// # Errors
/// For a choice that makes no sense, and where no setting is of the base.
pub(super) fn planned(
    choice: &QualityChoice,
    text: ScoredText,
    settings: &[Case],
    base: &str,
    (plan, engine): (&Plan, &EngineFacts),
) -> Result<QualityRun> {
    let cells = choice.cells(settings, base, &plan.models)?;
    ensure!(
        cells.iter().any(|cell| cell.role == QualityRole::Base),
        "quality.base: '{base}' is no model of this run: {}",
        names(&plan.models)
    );
    let quality = QualityPlan {
        text: text.name,
        text_sha256: text.sha256,
        cells,
    };
    Ok(QualityRun {
        over: over(&quality, plan, engine),
        plan: quality,
        text: text.text,
        budget: choice.budget()?,
        done: DoneChunks::default(),
    })
}

/// The quality of a sweep's models, in the sweep's setting.
///
/// # Errors
/// As [`planned`].
pub(super) fn of_sweep(
    choice: &QualityChoice,
    axes: &Axes,
    prepared: &Prepared,
) -> Result<QualityRun> {
    let plan = &prepared.plan;
    let models: Vec<String> = plan.models.iter().map(|m| m.name.clone()).collect();
    let host = prepare::host(&prepared.engine);
    let settings = crate::plan::expand::cases(&choice.settings(axes), &models, &[], host)?;
    let base = match &choice.base {
        None => largest(&plan.models)?,
        Some(name) => {
            let is_it = |m: &&ModelFacts| m.name == *name || m.path.ends_with(name);
            let base = plan.models.iter().find(is_it);
            match base {
                Some(model) => model.name.clone(),
                None => bail!(
                    "quality.base: '{name}' is no model of this sweep: {}",
                    names(&plan.models)
                ),
            }
        }
    };
    planned(
        choice,
        open_text(choice)?,
        &settings,
        &base,
        (plan, &prepared.engine),
    )
}

fn names(models: &[ModelFacts]) -> String {
    let names: Vec<&str> = models.iter().map(|m| m.name.as_str()).collect();
    names.join(", ")
}

/// Why cells do not fit.
fn over(
    quality: &QualityPlan,
    plan: &Plan,
    engine: &EngineFacts,
) -> Vec<Option<crate::record::Outcome>> {
    let priced = Plan {
        cases: quality.cells.iter().map(|cell| cell.case.clone()).collect(),
        ..plan.clone()
    };
    let fits = offload::fits(&[(&priced, engine)]).remove(0);
    fits.into_iter().map(|(_, outcome)| outcome).collect()
}

/// What is left to score of a run.
///
/// # Errors
/// When the text is not the run's any more.
pub(super) fn again(
    header: &RunHeader,
    engine: &EngineFacts,
    folder: &Path,
) -> Result<Option<QualityRun>> {
    let Some(plan) = &header.quality else {
        return Ok(None);
    };
    let text = ScoredText::open(Some(&plan.text)).map_err(anyhow::Error::msg)?;
    ensure!(
        text.sha256 == plan.text_sha256,
        "--text {}: is not the text that the run began with",
        plan.text
    );
    Ok(Some(QualityRun {
        over: over(plan, &header.plan, engine),
        plan: plan.clone(),
        text: text.text,
        budget: None,
        done: DoneChunks::read(folder)?,
    }))
}

/// Bytes that the base's distributions take on the disk while its cells are scored.
fn store_bytes(cell: &QualityCell, models: &[ModelFacts]) -> u64 {
    let model = models.iter().find(|m| m.name == cell.case.model);
    let n_vocab = model.map_or(0, |m| m.n_vocab) as usize;
    // Of a text whose length is not known in tokens, the bundled one's stands.
    let n_chunks = cell.n_chunks.min(TEXT_TOKENS / cell.case.n_prompt.max(1));
    shape(&cell.case, n_vocab).file_bytes(n_chunks)
}

/// About as many tokens as the bundled text has.
const TEXT_TOKENS: u32 = 54_000;

/// Refuses a folder that has no room for the base's distributions.
///
/// # Errors
/// With the bytes that are needed.
pub(super) fn check_room(quality: &QualityPlan, models: &[ModelFacts], out: &Path) -> Result<()> {
    let bases = quality.cells.iter().filter(|c| c.role == QualityRole::Base);
    let needed = bases.map(|base| store_bytes(base, models)).max();
    if quality.cells.len() < 2 {
        return Ok(());
    }
    match check_space(out, needed.unwrap_or(0)) {
        Err(ModelError::DiskSpace {
            needed_bytes,
            free_bytes,
            ..
        }) => bail!(
            "{}: the base's distributions need {}, and {} are free there; name another folder with --out, or fewer --chunks",
            out.display(),
            units::bytes(needed_bytes),
            units::bytes(free_bytes)
        ),
        checked => Ok(checked?),
    }
}

/// A line for each cell.
pub(super) fn dry_run(run: &QualityRun, prepared: &Prepared) -> String {
    let cells = run.plan.cells.iter().zip(&run.over);
    let mut lines: Vec<String> = cells
        .map(|(cell, over)| {
            let role = match cell.role {
                QualityRole::Base => "base, ",
                QualityRole::Floor => "floor, ",
                QualityRole::Candidate => "",
            };
            let chunks = match cell.n_chunks {
                u32::MAX => "all chunks".to_owned(),
                n => format!("{n} chunks"),
            };
            let over = over.as_ref().map(|outcome| format!(": {outcome}"));
            format!(
                "{}: {role}{chunks} of {} tokens{}",
                cell.case.id(),
                cell.case.n_prompt + cell.case.n_gen,
                over.unwrap_or_default()
            )
        })
        .collect();
    if run.plan.cells.len() > 1 {
        let bases = run
            .plan
            .cells
            .iter()
            .filter(|c| c.role == QualityRole::Base);
        let bytes = bases
            .map(|base| store_bytes(base, &prepared.plan.models))
            .max();
        lines.push(format!(
            "about {} of disk for the base's distributions meanwhile",
            units::bytes(bytes.unwrap_or(0))
        ));
    }
    lines.join("\n")
}
