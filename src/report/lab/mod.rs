//! The lab report of a run as data: sections of sentences, tables and figures. HTML and Markdown show the same one, so
//! that they cannot disagree.
//!
//! Where a section lacks data it says which command would fill it. Experiments that were not made have one list of commands.

mod conclusions;
mod energy;
mod environment;
mod expectation;
mod experiments;
mod gpu;
pub mod html;
pub mod markdown;
mod precision;
mod requests;
mod resources;
mod results;
#[cfg(test)]
mod tests;
mod unvaried;

use super::suggest::{self, Suggestion};
use super::table::{Table, TableOf};
use crate::analysis::Finding;
use crate::analysis::capacity::Slo;
use crate::analysis::curve::is_measured;
use crate::analysis::findings;
use crate::analysis::precision as by_precision;
use crate::analysis::requests as of_requests;
use crate::analysis::theory::Theory;
use crate::plan::Axis;
use crate::plan::Case;
use crate::plot::Figure;
use crate::text::short;
use crate::view::{CellView, RequestsView, RunView};

/// A whole report.
#[derive(Debug, Clone, PartialEq)]
pub struct Lab {
    /// What was measured.
    pub title: String,
    /// Labelled lines below it: run, machine, engine, cells.
    pub about: Vec<(&'static str, String)>,
    /// The answers, before all evidence.
    pub lead: Vec<Finding>,
    /// Everything else.
    pub sections: Vec<Section>,
}

/// A part of a report.
#[derive(Debug, Clone, PartialEq)]
pub struct Section {
    /// Its name in links.
    pub id: &'static str,
    /// Its heading.
    pub title: &'static str,
    /// What it holds.
    pub blocks: Vec<Block>,
}

/// A piece of a section.
#[derive(Debug, Clone, PartialEq)]
pub enum Block {
    /// A smaller heading.
    Heading(String),
    /// A paragraph.
    Text(String),
    /// Short sentences.
    List(Vec<String>),
    /// Sentences with their evidence.
    Findings(Vec<Finding>),
    /// A table.
    Table(Table),
    /// Plots that belong side by side.
    Figures(Vec<Figure>),
    /// What was not measured, and the command that would.
    Missing(String, String),
    /// Long text that is folded away.
    Folded(String, String),
    /// What was not measured, folded away: a summary, then each with the command that measures it, where there is one.
    Commands(String, Vec<(String, Option<String>)>),
}

impl Block {
    /// Figures side by side; none when there are none.
    fn figures(figures: impl IntoIterator<Item = Option<Figure>>) -> Option<Self> {
        let figures: Vec<Figure> = figures.into_iter().flatten().collect();
        (!figures.is_empty()).then_some(Self::Figures(figures))
    }
}

impl Lab {
    /// Of a run: of cells, of requests, or of both.
    pub fn of(view: &RunView, theory: &Theory, slo: Option<&Slo>) -> Self {
        let mut sections = evidence(view, theory);
        sections.extend(conclusion(view, theory));
        if view.header.imported.is_some() {
            // The other sections are about single steps, or about what this machine could measure next.
            let has_figures = ["environment", "results", "precision", "trouble", "raw"];
            sections.retain(|section| has_figures.contains(&section.id));
        }
        unvaried::set_aside(&mut sections);
        // A part that a run of this kind does not have leaves no heading behind.
        sections.retain(|section| !section.blocks.is_empty());
        Self {
            title: super::title::of(view),
            about: super::caption::lines(view),
            lead: lead(view, theory, slo),
            sections,
        }
    }

    /// Every figure, in the order of the report.
    pub fn figures(&self) -> impl Iterator<Item = &Figure> {
        let blocks = self.sections.iter().flat_map(|s| &s.blocks);
        blocks.flat_map(|block| match block {
            Block::Figures(figures) => figures.as_slice(),
            _ => &[],
        })
    }
}

/// The answers. What requests say comes first: it is what a user feels.
pub fn lead(view: &RunView, theory: &Theory, slo: Option<&Slo>) -> Vec<Finding> {
    let mut lead = Vec::new();
    if let Some(requests) = &view.requests {
        lead.extend(of_requests::lead(view, requests, slo));
    }
    if super::shows_cells(view) {
        lead.extend(findings::lead(view, theory, slo));
    }
    lead.extend(by_precision::lead(view));
    lead
}

fn section(id: &'static str, title: &'static str, blocks: Vec<Block>) -> Section {
    Section { id, title, blocks }
}

/// What cells say, unless the run has other work and no cell; then what requests say, where it has any.
fn both(
    view: &RunView,
    of_cells: impl FnOnce(&RunView) -> Vec<Block>,
    requests: impl FnOnce(&RequestsView) -> Vec<Block>,
) -> Vec<Block> {
    let mut blocks = match super::shows_cells(view) {
        true => of_cells(view),
        false => Vec::new(),
    };
    blocks.extend(of_requests(view, requests));
    blocks
}

fn of_requests(view: &RunView, of: impl FnOnce(&RequestsView) -> Vec<Block>) -> Vec<Block> {
    view.requests.as_ref().map(of).unwrap_or_default()
}

/// What was measured.
fn evidence(view: &RunView, theory: &Theory) -> Vec<Section> {
    let mut environment = environment::blocks(view);
    environment.extend(of_requests(view, requests::target_facts));
    let results = both(view, |v| results::blocks(v, theory), |_| Vec::new());
    // Requests that were sent, or else a cell's repetitions as such.
    let (title, of_each, experiments) = match &view.requests {
        None if !super::shows_cells(view) => ("Requests", Vec::new(), Vec::new()),
        Some(requests) => (
            "Requests by class of prompt",
            requests::by_class(view, requests),
            experiments_beside(view, requests),
        ),
        None => (
            "Requests by length of prompt",
            results::requests(view),
            experiments::blocks(view),
        ),
    };
    let targets = of_requests(view, requests::beside);
    let difficulty = of_requests(view, requests::difficulty);
    let distribution = both(view, results::distribution, requests::distribution);
    let resources = both(view, resources::of_cells, |r| resources::of_jobs(view, r));
    vec![
        section("environment", "Environment", environment),
        section("results", "Results", results),
        section("precision", "Precision", precision::blocks(view)),
        section("requests", title, of_each),
        section("experiments", "Experiments", experiments),
        section("targets", "Targets side by side", targets),
        section("difficulty", "Harder questions", difficulty),
        section("distribution", "Latency distribution", distribution),
        section("resources", "Resource usage", resources),
    ]
}

fn experiments_beside(view: &RunView, requests: &RequestsView) -> Vec<Block> {
    let mut blocks = requests::experiments(view, requests);
    if super::shows_cells(view) {
        blocks.extend(experiments::beside_requests(view));
    }
    blocks
}

/// What follows from it, and what it was computed from.
fn conclusion(view: &RunView, theory: &Theory) -> Vec<Section> {
    let bottleneck = both(
        view,
        |v| conclusions::bottleneck(v, theory),
        |r| requests::bottleneck(view, r),
    );
    let trouble = conclusions::trouble(view);
    let mut next = both(view, conclusions::next, |r| requests::next(view, r));
    if next.is_empty() {
        next = conclusions::next_steps(view);
    }
    let answers = of_requests(view, requests::answers);
    vec![
        section("bottleneck", "Bottleneck and expectation", bottleneck),
        section(
            "opportunities",
            "What would make it faster",
            opportunities(view),
        ),
        section("trouble", "What went wrong", trouble),
        section("next", "What to measure next", next),
        section("answers", "Sample answers", answers),
        section("raw", "Raw data and system", environment::raw(view)),
    ]
}

fn opportunities(view: &RunView) -> Vec<Block> {
    if !super::shows_cells(view) && view.requests.is_none() {
        return Vec::new();
    }
    let mut found = Vec::from_iter(conclusions::missing_cpu_features(view));
    if super::shows_cells(view) {
        found.extend(conclusions::opportunities(view));
    }
    found.extend(view.requests.iter().flat_map(requests::opportunities));
    if found.is_empty() {
        let nothing =
            "The data of this run suggest no change; the commands below would add evidence.";
        found.push(nothing.to_owned());
    }
    vec![Block::List(found)]
}

/// The cell whose settings a command repeats: one that was measured, so that they are known to work. None of an imported run,
/// whose models are elsewhere.
fn template(view: &RunView) -> Option<&Case> {
    if view.header.imported.is_some() {
        return None;
    }
    let measured = view.cells.iter().find(|c| is_measured(c));
    Some(&measured.or_else(|| view.cells.first())?.case)
}

/// The models whose cells were measured, or else all of the run's.
fn models(view: &RunView) -> Vec<&str> {
    let has_measured = |name: &str| {
        let mut cells = view.cells.iter();
        cells.any(|cell| cell.case.model == name && is_measured(cell))
    };
    let all = view.header.plan.models.iter().map(|m| m.name.as_str());
    let measured: Vec<&str> = all.clone().filter(|name| has_measured(name)).collect();
    match measured.is_empty() {
        true => all.collect(),
        false => measured,
    }
}

/// What is missing, and the command that measures it with this run's models and settings; `over` is what it varies.
fn missing(view: &RunView, what: impl Into<String>, over: &[(&str, &str)]) -> Block {
    missing_of(view, &models(view), what, over)
}

/// The same of some models.
fn missing_of(
    view: &RunView,
    models: &[&str],
    what: impl Into<String>,
    over: &[(&str, &str)],
) -> Block {
    let over: Vec<(&str, String)> = over
        .iter()
        .map(|(axis, values)| (*axis, (*values).to_owned()))
        .collect();
    match template(view) {
        Some(case) => Block::Missing(
            what.into(),
            Suggestion::of_models(view, models, case, &over).to_string(),
        ),
        None => Block::Text(what.into()),
    }
}

/// The same with a command that there may be.
fn missing_or_text(what: impl Into<String>, command: Option<Suggestion>) -> Block {
    match command {
        Some(command) => Block::Missing(what.into(), command.to_string()),
        None => Block::Text(what.into()),
    }
}

/// Numbers of threads up to this machine's cores; none where it has one.
fn threads_up_to_cores(view: &RunView) -> Option<String> {
    let cores = view.header.machine.cpu.available_cores.unwrap_or(1);
    let doubling = std::iter::successors(Some(1_u32), |n| n.checked_mul(2));
    let mut values: Vec<u32> = doubling.take_while(|n| *n < cores).collect();
    values.push(cores);
    (values.len() > 1).then(|| suggest::list(&values))
}

/// A table of cells with the columns that tell them apart.
fn cell_table<'a, R>(
    view: &RunView,
    rows: &'a [R],
    cell: impl Fn(&'a R) -> &'a CellView,
) -> TableOf<'a, R> {
    let mut axes = Axis::varying(view.cells.iter().map(|c| &c.case));
    let own = ["model", "batch", "n_prompt", "n_gen"];
    axes.retain(|a| !own.contains(&a.name()));
    let settings = |case: &Case| {
        let settings = axes
            .iter()
            .map(|a| format!("{} {}", a.name(), a.value(case)));
        short(&settings.collect::<Vec<_>>().join(", "))
    };
    Table::of(rows)
        .words("model", |row| short(&cell(row).case.model))
        .words("settings", |row| settings(&cell(row).case))
        .only_if(!axes.is_empty())
        .numbers("batch", |row| cell(row).case.n_seq)
        .numbers("prompt", |row| cell(row).case.n_prompt)
        .numbers("generated", |row| cell(row).case.n_gen)
}

/// Rows of a table of cells or jobs; cells.csv and requests.csv have all of them.
const MOST_ROWS: usize = 100;

/// The first rows, as many as a table has.
fn first_rows<R>(rows: &[R]) -> &[R] {
    &rows[..rows.len().min(MOST_ROWS)]
}
