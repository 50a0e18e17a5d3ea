//! The parts of a cell as tests with names, as other programs and readers of a summary know them.

use crate::metric::Metric;
use crate::plan::Case;
use crate::plan::axis::AXES;

/// The part of a cell that a rate is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum TestPart {
    Prompt,
    Generation,
    /// Both in one time, where they were not timed apart.
    Both,
}

impl TestPart {
    /// The rate of the part.
    pub fn metric(self) -> Metric {
        match self {
            Self::Prompt => Metric::PrefillTokensPerS,
            Self::Generation => Metric::DecodeTokensPerS,
            Self::Both => Metric::TotalTokensPerS,
        }
    }

    /// Tokens of all sequences in one repetition.
    pub fn n_tokens(self, case: &Case) -> u64 {
        let of = |n: u32| u64::from(n) * u64::from(case.n_seq);
        match self {
            Self::Prompt => of(case.n_prompt),
            Self::Generation => of(case.n_gen),
            Self::Both => of(case.n_prompt) + of(case.n_gen),
        }
    }

    /// The part that a metric is of: the generation, unless it is the rate of the prompt or of everything.
    pub fn of(metric: Metric, case: &Case) -> Self {
        match (metric, case.n_prompt, case.n_gen) {
            (Metric::PrefillTokensPerS | Metric::TtftNs, ..) => Self::Prompt,
            (Metric::TotalTokensPerS, _, 0) => Self::Prompt,
            (Metric::TotalTokensPerS, 1.., _) | (Metric::PrefillShare, ..) => Self::Both,
            _ => Self::Generation,
        }
    }

    /// The name as in llama-bench's tables: `pp512`, `tg64 @ d4096`; with the batch, `tg64 @ b8`.
    pub fn test_name(self, case: &Case) -> String {
        let mut name = match self {
            Self::Prompt => format!("pp{}", case.n_prompt),
            Self::Generation => format!("tg{}", case.n_gen),
            Self::Both => format!("pp{}+tg{}", case.n_prompt, case.n_gen),
        };
        for (n, usual, letter) in [(case.n_depth, 0, 'd'), (case.n_seq, 1, 'b')] {
            if n != usual {
                name += &format!(" @ {letter}{n}");
            }
        }
        name
    }

    /// A name that no other test of any run has unless it is the same: with the model and the settings.
    pub fn full_name(self, case: &Case) -> String {
        let mut name = format!(
            "{}/{}/t{}",
            case.model,
            self.test_name(case),
            case.n_threads
        );
        for part in AXES.iter().filter_map(|axis| axis.id_part(case)) {
            name.push('/');
            name.push_str(&part);
        }
        name
    }
}
