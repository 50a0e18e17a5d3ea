//! What speed and accuracy together say, in sentences.

use super::{FilePrecision, PrecisionChoice, PrecisionTable, TimesAsFast, keeps_percent};
use crate::analysis::choice::GOOD_ENOUGH;
use crate::analysis::words::{range, range_as, range_of};
use crate::analysis::{Answer, Finding, Sure};
use crate::text::short;
use crate::units;
use crate::view::{QualityCellView, QualityView, RunView};

const WHICH: &str = "Which precision?";
const HOW_MUCH: &str = "How much accuracy does each file lose?";

/// `KLD 0.00346 nat (95%: 0.00340 to 0.00352)`.
pub fn kld(cell: &QualityCellView) -> String {
    let Some(kld) = cell.figures.kld_mean else {
        return "KLD n/a".to_owned();
    };
    let range = kld.interval.map(|i| range_as(i, units::nats));
    format!(
        "KLD {} nat{}",
        units::nats(kld.value),
        range.unwrap_or_default()
    )
}

/// `keeps 96.35% of the top tokens`.
fn keeps(cell: &QualityCellView) -> String {
    let share = cell
        .same_top()
        .map(|share| format!("{:.2}%", share * 100.0));
    format!(
        "keeps {} of the top tokens",
        share.unwrap_or_else(|| "n/a".to_owned())
    )
}

/// What a file loses, in a part of a sentence.
pub fn accuracy(cell: &QualityCellView) -> String {
    match cell.is_base() {
        true => "it is the base, with which the others are compared".to_owned(),
        false => format!("it {}, {}", keeps(cell), kld(cell)),
    }
}

/// The findings of a run that has scored a text.
pub fn lead(view: &RunView) -> Vec<Finding> {
    let Some(quality) = &view.quality else {
        return Vec::new();
    };
    let Some(table) = PrecisionTable::of(view) else {
        let details = quality.cells.iter().take(5);
        let details =
            details.map(|c| format!("{}: {}.", short(&c.case.model), short(&c.outcome_detail)));
        let claim = "Undetermined: no chunk of the text was scored.";
        return vec![Finding::new(HOW_MUCH, claim, Sure::Undetermined).with(details)];
    };
    let mut findings = Vec::from_iter(which(&table));
    findings.push(losses(quality, &table));
    findings
}

/// The file to take at the smallest and at the largest batch.
fn which(table: &PrecisionTable<'_>) -> Option<Finding> {
    let compared = |batch: &u32| {
        let files = table.files.iter().filter(|f| f.loss().is_some());
        files.filter(|f| f.cells.contains_key(batch)).count() > 1
    };
    let batches: Vec<u32> = table.batches.iter().copied().filter(compared).collect();
    let (first, last) = (*batches.first()?, *batches.last()?);
    let mut ends = vec![first, last];
    ends.dedup();
    let choices: Vec<(u32, PrecisionChoice<'_>)> = ends
        .iter()
        .filter_map(|batch| Some((*batch, table.choice(*batch)?)))
        .collect();
    if choices.is_empty() {
        let claim = format!(
            "No measured file keeps {:.0}% of the base's top tokens.",
            keeps_percent()
        );
        return Some(Finding::new(WHICH, claim, Sure::Likely).with(dominated(table, &batches)));
    }
    let claims: Vec<String> = choices.iter().map(|(batch, c)| chosen(*batch, c)).collect();
    let is_shown = choices.iter().all(|(_, c)| c.sure == Sure::Shown);
    let mut evidence = vec![format!(
        "The rule: of the files that keep at least {:.0}% of the base's top tokens, take those with at least {:.0}% of the most \
         tokens/s among them, and of these the one with the smallest KLD.",
        keeps_percent(),
        GOOD_ENOUGH * 100.0
    )];
    for (batch, choice) in &choices {
        let lossy = choice.too_lossy.iter();
        evidence.extend(lossy.filter_map(|file| too_lossy(*batch, choice, file)));
    }
    evidence.extend(dominated(table, &batches));
    let unknown = table.files.iter().filter(|f| f.loss().is_none());
    evidence.extend(
        unknown.map(|f| format!("{} was left out: its accuracy was not measured.", f.label)),
    );
    let finding = Finding::new(WHICH, claims.join(" "), Sure::shown_if(is_shown));
    Some(finding.with(evidence).see(&["precision_tradeoff"]))
}

fn times(t: TimesAsFast) -> String {
    format!(
        "{} times{}",
        units::significant(t.value),
        range_of(t.interval)
    )
}

fn chosen(batch: u32, choice: &PrecisionChoice<'_>) -> String {
    let file = choice.file;
    let speed = match choice.of_base {
        Some(of_base) => format!("{} the base's tokens/s", times(of_base)),
        None => format!(
            "{} tokens/s",
            units::significant(choice.cell.decode_tokens_per_s().unwrap_or(0.0))
        ),
    };
    let loss = file.quality.map(accuracy).unwrap_or_default();
    format!("{} at batch {batch}: {speed}; {loss}.", file.label)
}

fn too_lossy(batch: u32, choice: &PrecisionChoice<'_>, file: &FilePrecision<'_>) -> Option<String> {
    let faster = TimesAsFast::of(file.cells.get(&batch)?, choice.cell)?;
    Some(format!(
        "At batch {batch} {} would be {} as fast, but it {}, {}.",
        file.label,
        times(faster),
        keeps(file.quality?),
        kld(file.quality?)
    ))
}

/// The files that another one is better than, at every batch at which both were measured.
fn dominated(table: &PrecisionTable<'_>, batches: &[u32]) -> Vec<String> {
    let mut said = Vec::new();
    for file in &table.files {
        let at = batches
            .iter()
            .filter_map(|batch| Some((*batch, table.dominated(file, *batch)?)));
        for (batch, by) in at {
            let hedge = match by.sure {
                Sure::Shown => "",
                _ => "; chance is not excluded",
            };
            said.push(format!(
                "At batch {batch} {} is dominated by {}, which is {} times as fast and loses no more{hedge}.",
                file.label,
                by.by,
                units::significant(by.times_as_fast)
            ));
        }
    }
    said
}

/// What each file loses.
fn losses(quality: &QualityView, table: &PrecisionTable<'_>) -> Finding {
    let files: Vec<&QualityCellView> = quality
        .files()
        .filter(|c| !c.is_base() && c.is_scored())
        .collect();
    let base = quality.base().filter(|base| base.is_scored());
    let base = base.map_or_else(|| "the base".to_owned(), |base| short(&base.case.model));
    let names = |c: &QualityCellView| {
        let file = table.files.iter().find(|f| f.is_of(c));
        file.map_or_else(|| short(&c.case.model), |f| f.label.clone())
    };
    let said = files
        .iter()
        .map(|c| format!("{} {} ({})", names(c), keeps(c), kld(c)));
    let said: Vec<String> = said.collect();
    if said.is_empty() {
        let claim = "Only the base was scored: there is nothing to compare with it.";
        return Finding::new(HOW_MUCH, claim, Sure::Undetermined);
    }
    let ratios = files.iter().filter_map(|c| {
        let ratio = c.figures.perplexity_ratio?;
        let range = ratio.interval.map(range).unwrap_or_default();
        Some(format!(
            "{}: perplexity {} times the base's{range}, over {} chunks of {} tokens in all.",
            names(c),
            units::significant(ratio.value),
            c.n_paired,
            c.n_scored
        ))
    });
    let mut evidence: Vec<String> = ratios.collect();
    if let Some(floor) = table.floor {
        evidence.push(format!(
            "The floor: the kernels alone make a mean KLD of {} nat between calls of different shapes.",
            units::nats(floor.value)
        ));
    }
    let notes = quality.cells.iter().flat_map(|c| {
        let cautions = c.notes.iter().filter(|note| note.is_caution());
        cautions.map(move |note| format!("{}: {note}.", short(&c.case.model)))
    });
    evidence.extend(notes);
    let has_intervals = files
        .iter()
        .all(|c| c.figures.kld_mean.is_some_and(|e| e.interval.is_some()));
    let claim = format!("Against {base}: {}.", said.join("; "));
    Finding::new(HOW_MUCH, claim, Sure::shown_if(has_intervals))
        .with(evidence)
        .see(&["precision_tradeoff"])
}

/// The same in a line each.
pub fn brief(view: &RunView) -> Vec<Answer> {
    let Some(quality) = &view.quality else {
        return Vec::new();
    };
    let Some(table) = PrecisionTable::of(view) else {
        return vec![Answer::new("accuracy", "no chunk of the text was scored")];
    };
    let files = table.files.iter().filter_map(|f| Some((f, f.quality?)));
    let files = files.filter(|(_, c)| !c.is_base() && c.is_scored());
    let said = files.map(|(f, c)| match (c.figures.kld_mean, c.same_top()) {
        (Some(kld), Some(share)) => format!(
            "{} keeps {:.2}% of the top tokens (KLD {} nat)",
            f.label,
            share * 100.0,
            units::nats(kld.value)
        ),
        _ => format!("{}: not comparable with the base", f.label),
    });
    let said: Vec<String> = said.collect();
    let base = quality.base().map(|base| short(&base.case.model));
    let base = base.unwrap_or_else(|| "the base".to_owned());
    let text = match said.is_empty() {
        true => "only the base was scored".to_owned(),
        false => format!("against {base}: {}", said.join("; ")),
    };
    vec![Answer::new("accuracy", text)]
}
