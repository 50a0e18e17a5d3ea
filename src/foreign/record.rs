//! The record of two programs measured in turns: one JSON object a line in `programs.jsonl`; `schema/programs.schema.json` states
//! its form. It is a record of its own because such programs report the time of a repetition, and not each decode call.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;

use serde::Serialize;

use super::pairs::VisitPair;
use super::{ForeignObservation, ForeignProgram};
use crate::build_info::BuildInfo;
use crate::host::Machine;
use crate::metric::Metric;
use crate::model::ModelFacts;
use crate::plan::{Case, CaseId};
use crate::record::PairSide;
use crate::stats::sequential::PairRule;

/// Name of the record inside its folder.
pub(crate) const FILE_NAME: &str = "programs.jsonl";

/// Version of the record's form.
pub(crate) const PROGRAMS_SCHEMA: u32 = 1;

/// A line of the record.
#[derive(Debug, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum ProgramsLine {
    Programs(Box<ProgramsHeader>),
    Visit(ProgramVisit),
    End {
        ended_at: String,
        interrupted: bool,
        elapsed_ns: u64,
    },
}

/// Everything that is the same for all visits.
#[derive(Debug, Serialize)]
pub(crate) struct ProgramsHeader {
    pub schema: u32,
    /// Name of the folder.
    pub run: String,
    pub started_at: String,
    /// The command line, without the program's path.
    pub args: Vec<String>,
    /// This program, which started the others.
    pub program: BuildInfo,
    pub machine: Machine,
    pub metric: Metric,
    /// Repetitions of a visit.
    pub repetitions: u32,
    pub seed: u64,
    pub rule: PairRule,
    pub n_cells: usize,
    pub a: ProgramSide,
    pub b: ProgramSide,
}

/// A side.
#[derive(Debug, Serialize)]
pub(crate) struct ProgramSide {
    #[serde(flatten)]
    pub program: ForeignProgram,
    /// Of the program's file.
    pub sha256: String,
    pub models: Vec<ModelFacts>,
    pub cases: Vec<Case>,
}

/// One start of a program.
#[derive(Debug, Serialize)]
pub(crate) struct ProgramVisit {
    pub case_id: CaseId,
    pub side: PairSide,
    /// The cell's pair that it belongs to, from 0.
    pub pair: u32,
    /// Whether it was the first of its pair.
    pub is_first: bool,
    /// Since the measurement began.
    pub started_ns: u64,
    pub took_ns: u64,
    pub observations: Vec<ForeignObservation>,
    /// Why there is no observation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

/// Writes the record line by line.
pub(crate) struct ProgramsWriter(File);

impl ProgramsWriter {
    pub fn create(folder: &Path) -> io::Result<Self> {
        Ok(Self(File::create_new(folder.join(FILE_NAME))?))
    }

    pub fn append(&mut self, line: &ProgramsLine) -> io::Result<()> {
        let text = serde_json::to_string(line)?;
        self.0.write_all(format!("{text}\n").as_bytes())?;
        self.0.flush()
    }

    /// Both visits of a pair, in the order in which they were made; `ids` are the cell's names on both sides.
    pub fn append_pair(
        &mut self,
        pair: VisitPair,
        number: u32,
        ids: [&CaseId; 2],
    ) -> io::Result<()> {
        let a_first = pair.a_first;
        let sides = [PairSide::A, PairSide::B];
        let visits = pair.visits.into_iter().zip(sides).zip(ids);
        let mut lines: Vec<ProgramVisit> = visits
            .filter_map(|((visit, side), id)| {
                let visit = visit?;
                let (observations, failure) = match visit.result {
                    Ok(observations) => (observations, None),
                    Err(error) => (Vec::new(), Some(error.to_string())),
                };
                Some(ProgramVisit {
                    case_id: id.clone(),
                    side,
                    pair: number,
                    is_first: a_first == (side == PairSide::A),
                    started_ns: visit.started_ns,
                    took_ns: visit.took_ns,
                    observations,
                    failure,
                })
            })
            .collect();
        lines.sort_by_key(|line| !line.is_first);
        lines
            .into_iter()
            .try_for_each(|line| self.append(&ProgramsLine::Visit(line)))
    }
}
