//! The files of a report. Those of others are left alone, also where a name is the same by chance.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use super::view::RunView;
use super::{card, csv, csv_tables, lab, quality, requests, shows_cells};
use crate::file::{self, OutputFile, Replace, is_stream};
use crate::plot;

/// Name of the document inside a run's folder.
pub const FILE_NAME: &str = "report.md";
/// Name of the page inside a run's folder.
pub const HTML_NAME: &str = "report.html";
/// Name of the table of cells inside a run's folder.
pub const CSV_NAME: &str = "cells.csv";
/// Name of the table of requests, beside the table of cells.
pub const REQUESTS_CSV_NAME: &str = "requests.csv";

/// Name of the table of quality cells, beside the table of cells.
pub const QUALITY_CSV_NAME: &str = "quality.csv";

/// ReportFiles of a report, where each is asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReportFiles {
    /// The page.
    pub html: Option<PathBuf>,
    /// The document; its plots go into a folder beside it.
    pub markdown: Option<PathBuf>,
    /// A row for each cell; beside it stand files with a row for each request and for each quality cell, where there are any.
    pub csv: Option<PathBuf>,
    /// One picture of the run.
    pub card: Option<PathBuf>,
    /// Whether files of the same names go that no report of this program is.
    pub force: bool,
}

impl ReportFiles {
    /// All of them but the picture of the run, under their own names in a folder.
    pub fn in_folder(folder: &Path) -> Self {
        Self {
            html: Some(folder.join(HTML_NAME)),
            markdown: Some(folder.join(FILE_NAME)),
            csv: Some(folder.join(CSV_NAME)),
            card: None,
            force: false,
        }
    }

    /// Whether none is asked for.
    pub fn is_empty(&self) -> bool {
        let pages = [&self.html, &self.markdown, &self.csv, &self.card];
        pages.iter().all(|file| file.is_none())
    }

    fn replace(&self, is_ours: fn(&str) -> bool) -> Replace {
        match self.force {
            true => Replace::Always,
            false => Replace::Own(is_ours),
        }
    }
}

/// A report that cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// The file system said no.
    #[error("{}: cannot write the report: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Its reason.
        source: io::Error,
    },
    /// Something else stands there.
    #[error(transparent)]
    Taken(file::WriteError),
    /// A plot could not be drawn.
    #[error(transparent)]
    Png(#[from] plot::PngError),
    /// The page could not be made.
    #[error("cannot make the page: {0}")]
    Page(#[from] askama::Error),
}

impl From<file::WriteError> for ReportError {
    fn from(error: file::WriteError) -> Self {
        match error {
            file::WriteError::Io { path, source } => Self::Io { path, source },
            other => Self::Taken(other),
        }
    }
}

/// Writes a run's report: each file as a whole, so that none is ever seen half written. Gives back what was written.
///
/// # Errors
/// [`ReportError`]; where a file is not this program's, nothing is written.
pub fn write_files(
    view: &RunView,
    lab: &lab::Lab,
    files: &ReportFiles,
) -> Result<Vec<PathBuf>, ReportError> {
    let plots = files.markdown.as_deref().and_then(plots_of);
    check_all(view, lab, files, plots.as_deref())?;
    let mut written = Vec::new();
    if let Some(path) = &files.html {
        let page = lab::html::render(lab, &view.record)?;
        write(path, page.as_bytes(), files.replace(is_page))?;
        written.push(path.clone());
    }
    if let Some(path) = &files.markdown {
        let paper = lab::markdown::render(lab);
        write(path, paper.as_bytes(), files.replace(is_paper))?;
        if let Some(folder) = &plots {
            write_plots(lab, folder)?;
        }
        written.push(path.clone());
    }
    for (path, text) in csv_files(view, files)? {
        write(&path, &text, files.replace(is_csv))?;
        written.push(path);
    }
    if let Some(path) = &files.card {
        let picture = plot::card::png(&card::of(view, lab))?;
        write(path, &picture, files.replace(plot::is_own_bitmap))?;
        written.push(path.clone());
    }
    Ok(written)
}

/// The tables, each with its file. What is no regular file gets all of them, one after the other.
fn csv_files(view: &RunView, files: &ReportFiles) -> Result<Vec<(PathBuf, Vec<u8>)>, ReportError> {
    let Some(path) = &files.csv else {
        return Ok(Vec::new());
    };
    let written = |path: &Path, fill: &dyn Fn(&mut Vec<u8>) -> io::Result<()>| {
        let mut text = Vec::new();
        match fill(&mut text) {
            Ok(()) => Ok((path.to_owned(), text)),
            Err(source) => Err(ReportError::Io {
                path: path.to_owned(),
                source,
            }),
        }
    };
    if is_stream(path) {
        return Ok(vec![written(path, &|out| csv_tables(view, out))?]);
    }
    let mut tables = Vec::new();
    if shows_cells(view) {
        tables.push(written(path, &|out| csv::write(view, out))?);
    }
    if let Some(requests) = &view.requests {
        let fill = |out: &mut Vec<u8>| requests::csv::write(view, requests, out);
        tables.push(written(&beside(path).join(REQUESTS_CSV_NAME), &fill)?);
    }
    if let Some(of_text) = &view.quality {
        let fill = |out: &mut Vec<u8>| quality::csv(view, of_text, out);
        tables.push(written(&beside(path).join(QUALITY_CSV_NAME), &fill)?);
    }
    Ok(tables)
}

/// Where a document's plots are; none for one that is no regular file.
fn plots_of(document: &Path) -> Option<PathBuf> {
    (!is_stream(document)).then(|| beside(document).join(lab::markdown::PLOTS))
}

/// Says no before anything is written.
fn check_all(
    view: &RunView,
    lab: &lab::Lab,
    files: &ReportFiles,
    plots: Option<&Path>,
) -> Result<(), ReportError> {
    if let Some(path) = &files.html {
        file::check(path, files.replace(is_page))?;
    }
    if let Some(path) = &files.markdown {
        file::check(path, files.replace(is_paper))?;
    }
    if let Some(path) = &files.csv {
        if shows_cells(view) || is_stream(path) {
            file::check(path, files.replace(is_csv))?;
        }
        if view.requests.is_some() && !is_stream(path) {
            file::check(&beside(path).join(REQUESTS_CSV_NAME), files.replace(is_csv))?;
        }
        if view.quality.is_some() && !is_stream(path) {
            file::check(&beside(path).join(QUALITY_CSV_NAME), files.replace(is_csv))?;
        }
    }
    if let Some(path) = &files.card {
        file::check(path, files.replace(plot::is_own_bitmap))?;
    }
    if let Some(folder) = plots {
        for figure in lab.figures() {
            check_plot(folder, figure.id, files)?;
        }
    }
    Ok(())
}

/// A bitmap does not show whose it is; the drawing beside it does.
fn check_plot(folder: &Path, id: &str, files: &ReportFiles) -> Result<(), ReportError> {
    let [svg, png] = plot_files(folder, id);
    file::check(&svg, files.replace(plot::is_file))?;
    let replace = match svg.exists() || files.force {
        true => Replace::Always,
        false => Replace::Own(|_| false),
    };
    Ok(file::check(&png, replace)?)
}

fn plot_files(folder: &Path, id: &str) -> [PathBuf; 2] {
    ["svg", "png"].map(|ending| folder.join(format!("{id}.{ending}")))
}

/// Every figure as SVG and PNG; those of an earlier report that this one does not have go.
fn write_plots(lab: &lab::Lab, folder: &Path) -> Result<(), ReportError> {
    fs::create_dir_all(folder).map_err(|source| ReportError::Io {
        path: folder.to_owned(),
        source,
    })?;
    let kept: Vec<&str> = lab.figures().map(|f| f.id).collect();
    for id in plot::IDS.iter().filter(|id| !kept.contains(id)) {
        let stale = plot_files(folder, id);
        let drawing = fs::read_to_string(&stale[0]).unwrap_or_default();
        if plot::is_file(&drawing) {
            // What cannot be removed is only old.
            let _ = stale.map(fs::remove_file);
        }
    }
    for figure in lab.figures() {
        let [svg, png] = plot_files(folder, figure.id);
        let drawing = plot::svg(figure, plot::Medium::File);
        // Whose they are was asked before the first was written.
        write(&svg, drawing.as_bytes(), Replace::Always)?;
        write(&png, &plot::png(figure)?, Replace::Always)?;
    }
    Ok(())
}

pub(super) fn write(path: &Path, bytes: &[u8], replace: Replace) -> Result<(), ReportError> {
    let mut file = OutputFile::create(path, replace)?;
    file.write_all(bytes).map_err(|source| ReportError::Io {
        path: path.to_owned(),
        source,
    })?;
    Ok(file.commit_unsynced()?)
}

fn beside(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Whether a page's beginning is that of a report.
fn is_page(head: &str) -> bool {
    head.contains(": ggufbench report</title>")
}

/// Whether a document's beginning is that of a report, or of a run's table.
fn is_paper(head: &str) -> bool {
    head.starts_with("# ")
        && ["\n- **run**: ", "\n- **engine**: "]
            .iter()
            .all(|line| head.contains(line))
}

/// Whether a table's beginning is that of cells or of requests.
fn is_csv(head: &str) -> bool {
    ["run,machine,engine,", "run,job,experiment,"]
        .iter()
        .any(|columns| head.starts_with(columns))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::theory::Theory;
    use crate::report::fixture;

    #[test]
    fn a_report_knows_its_own_files() {
        let view = fixture::mixed();
        let lab = lab::Lab::of(&view, &Theory::of(&view, &|_| None), None);
        let page = lab::html::render(&lab, &view.record).expect("renders");
        let mut table = Vec::new();
        csv::write(&view, &mut table).expect("memory");
        let figure = lab.figures().next().expect("has figures");
        assert!(is_page(&page[..HEAD]) && !is_page("<title>Notes</title>"));
        assert!(
            is_paper(&lab::markdown::render(&lab)) && !is_paper("# My notes\n\n- **run**: away")
        );
        assert!(is_csv(&String::from_utf8(table).expect("text")) && !is_csv("name,cells"));
        assert!(plot::is_file(&plot::svg(figure, plot::Medium::File)));
        assert!(!plot::is_file("<svg xmlns=\"http://www.w3.org/2000/svg\">"));
    }

    /// Less of a file than is looked at.
    const HEAD: usize = 4096;
}
