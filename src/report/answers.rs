//! What a run says, before its tables are read: a few lines below the table, and the same at length for programs.

use std::path::PathBuf;

use serde::Serialize;

use super::lab;
use super::text::{cut_end, paragraph, plain, quoted, width as width_of};
use super::view::RunView;
use crate::analysis::capacity::Slo;
use crate::analysis::theory::Theory;
use crate::analysis::{Answer, Finding, findings, precision, requests};

/// The most columns of an answer, before it is wrapped.
const ANSWER_COLUMNS: usize = 400;

/// The answers of a run.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RunAnswers {
    brief: Vec<Answer>,
    lead: Vec<Finding>,
    /// The report in which the rest stands, where one was written.
    pub report: Option<PathBuf>,
}

/// One of them as programs get it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct AnswerRow<'a> {
    question: &'a str,
    answer: &'a str,
    sure: &'a str,
}

impl RunAnswers {
    /// Of a run, within limits where there are some.
    pub fn of(view: &RunView, theory: &Theory, slo: Option<&Slo>) -> Self {
        let mut answers = Vec::new();
        if let Some(of_requests) = &view.requests {
            answers.extend(requests::brief(view, of_requests, slo));
        }
        if super::shows_cells(view) {
            answers.extend(findings::brief(view, theory, slo));
        }
        answers.extend(precision::brief(view));
        Self {
            brief: answers,
            lead: lab::lead(view, theory, slo),
            report: None,
        }
    }

    /// The few lines, and where the report is.
    pub fn terminal(&self, width: usize) -> String {
        let report = self.report.as_ref();
        let report = report.map(|path| ("report", plain(&quoted(path))));
        let answers = self.brief.iter();
        let answers = answers.map(|a| (a.label, cut_end(&plain(&a.text), ANSWER_COLUMNS)));
        let all: Vec<(&str, String)> = answers.chain(report).collect();
        let room = all.iter().map(|(label, _)| width_of(label)).max();
        let mut text = String::new();
        for (label, said) in &all {
            let label = format!("{label:<room$}  ", room = room.unwrap_or(0));
            for line in paragraph(&label, said, width) {
                text.push_str(line.trim_end());
                text.push('\n');
            }
        }
        text
    }

    /// As programs get them.
    pub fn rows(&self) -> Vec<AnswerRow<'_>> {
        let lead = self.lead.iter();
        lead.map(|f| AnswerRow {
            question: f.question,
            answer: &f.claim,
            sure: f.sure.word(),
        })
        .collect()
    }
}
