//! Progress of scoring a text: which cell is scored, how many of its chunks, and what its perplexity is.

use std::time::Instant;

use super::{FinishedLine, Position, Screen};
use crate::plan::quality::QualityCell;
use crate::record::quality::QualityLine;
use crate::run::eta::TimeLeft;
use crate::run::quality::QualityProgress;
use crate::units;

/// A watcher for standard error.
pub fn for_stderr() -> Box<dyn QualityProgress> {
    Box::new(QualityScreen {
        screen: Screen::of_stderr(),
        cell: String::new(),
        started: Instant::now(),
    })
}

struct QualityScreen {
    screen: Screen<'static>,
    /// The cell that is scored.
    cell: String,
    /// When the first chunks of the cell were asked for.
    started: Instant,
}

impl QualityProgress for QualityScreen {
    fn loading(&mut self, model: &str) {
        self.screen.begin(model, "loading", None);
    }

    fn begun(&mut self, cell: &QualityCell) {
        self.cell = cell.case.id().to_string();
        self.started = Instant::now();
    }

    fn scored(&mut self, done: u32, of: u32) {
        let chunk = self.started.elapsed() / done.max(1);
        let n_left = of - done.min(of);
        // A chunk that takes longer is one of those of which the mean is.
        let others = f64::from(n_left.saturating_sub(1)) / f64::from(done.saturating_add(1));
        let position = Position {
            done: done.into(),
            total: of.max(done).into(),
            is_least: false,
            left: (of < u32::MAX)
                .then(|| TimeLeft::growing(chunk.saturating_mul(n_left), chunk, others)),
        };
        self.screen.begin(&self.cell, "chunks", Some(position));
    }

    fn ended(&mut self, line: &QualityLine, mean_nll: Option<f64>, done: usize, all: usize) {
        let perplexity =
            mean_nll.map(|nll| format!(", perplexity {}", units::significant(nll.exp())));
        let result = format!("{}{}", line.outcome, perplexity.unwrap_or_default());
        let finished = FinishedLine {
            name: line.case_id.as_str(),
            number: "",
            result: &result
                .replace("times, stopped by max repetitions", "chunks")
                .replace(" times, stopped", " chunks, stopped"),
        };
        let position = Position {
            done: done as u64,
            total: all as u64,
            is_least: false,
            left: None,
        };
        self.screen.end(&finished, position);
    }
}
