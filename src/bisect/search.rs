//! Which revision is measured next, and what the measured ones say of the first slow one. No git, no clock.
//!
//! Revisions are numbered in order: 0 is the good one, the last the bad one. A revision's answer is about its program against the good
//! one's. The first slow revision is sought by halving; it is right if no answer is wrong, and if what is slow stays slow.

use serde::{Deserialize, Serialize};

/// What is known of a revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RevisionAnswer {
    /// Slower than the good one by more than the tolerance.
    Slower,
    NotSlower,
    /// It does not build, or its program crashes.
    Skipped,
    /// Measured to the most pairs without a verdict.
    Undecided,
}

/// The state of a search.
#[derive(Debug, Clone)]
pub(crate) struct Search {
    answers: Vec<Option<RevisionAnswer>>,
    /// The last revision that is known not to be slower.
    not_slower: usize,
    /// The first one that is known to be slower.
    slower: usize,
}

impl Search {
    /// A search among `n_revisions` after the good one, whose last is known to be slower.
    pub fn new(n_revisions: usize) -> Self {
        let mut answers = vec![None; n_revisions + 1];
        answers[0] = Some(RevisionAnswer::NotSlower);
        answers[n_revisions] = Some(RevisionAnswer::Slower);
        Self {
            answers,
            not_slower: 0,
            slower: n_revisions,
        }
    }

    /// The revision whose answer is worth most; `None` when no other can narrow the range. Revisions that do not build come in rows,
    /// so that the search leaps away from them.
    pub fn next(&self) -> Option<usize> {
        let inside = self.not_slower + 1..self.slower;
        let middle = self.not_slower.midpoint(self.slower);
        let useless: Vec<usize> = inside
            .clone()
            .filter(|at| self.answers[*at].is_some())
            .collect();
        let open = inside.filter(|at| self.answers[*at].is_none());
        let open: Vec<usize> = open.collect();
        let mut leap = (self.slower - self.not_slower) / 4;
        loop {
            let is_far = |at: &&usize| useless.iter().all(|u| u.abs_diff(**at) >= leap);
            let far = open.iter().filter(is_far);
            let nearest = far.min_by_key(|at| at.abs_diff(middle));
            match nearest {
                Some(at) => return Some(*at),
                None if leap == 0 => return None,
                None => leap /= 2,
            }
        }
    }

    /// Takes in the answer about the revision that [`Search::next`] gave.
    pub fn note(&mut self, at: usize, answer: RevisionAnswer) {
        self.answers[at] = Some(answer);
        match answer {
            RevisionAnswer::Slower => self.slower = self.slower.min(at),
            RevisionAnswer::NotSlower => self.not_slower = self.not_slower.max(at),
            RevisionAnswer::Skipped | RevisionAnswer::Undecided => {}
        }
    }

    /// The last revision that is known not to be slower, and the first one that is known to be slower.
    pub fn borders(&self) -> (usize, usize) {
        (self.not_slower, self.slower)
    }

    /// Those among which the first slow one is.
    pub fn suspects(&self) -> std::ops::RangeInclusive<usize> {
        self.not_slower + 1..=self.slower
    }

    /// Whether a suspect was measured without a verdict.
    pub fn has_undecided(&self) -> bool {
        self.suspects()
            .any(|at| self.answers[at] == Some(RevisionAnswer::Undecided))
    }
}

/// Most answers that a search needs where every revision can be measured: the bad one's, and those of halving.
pub(crate) fn most_answers(n_revisions: usize) -> u32 {
    1 + n_revisions.max(1).next_power_of_two().ilog2()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Searches among revisions whose answers are known; returns the suspects, and how many were asked.
    fn search(answers: &[RevisionAnswer]) -> (Search, u32) {
        let mut search = Search::new(answers.len());
        let mut n_asked = 1;
        while let Some(at) = search.next() {
            search.note(at, answers[at - 1]);
            n_asked += 1;
            assert!(n_asked < 1000, "{search:?}");
        }
        (search, n_asked)
    }

    fn slow_from(first: usize, n: usize) -> Vec<RevisionAnswer> {
        let answer = |at: usize| match at >= first {
            true => RevisionAnswer::Slower,
            false => RevisionAnswer::NotSlower,
        };
        (1..=n).map(answer).collect()
    }

    #[test]
    fn every_first_slow_revision_is_found_in_logarithmic_steps() {
        for n in [1, 2, 3, 7, 8, 9, 100] {
            for first in 1..=n {
                let (found, n_asked) = search(&slow_from(first, n));
                assert_eq!(found.suspects(), first..=first, "{first} of {n}");
                assert!(n_asked <= most_answers(n), "{n_asked} of {n}");
            }
        }
    }

    #[test]
    fn a_range_is_named_where_revisions_cannot_be_measured() {
        let mut answers = slow_from(6, 10);
        answers[4] = RevisionAnswer::Skipped;
        let (found, _) = search(&answers);
        assert_eq!(found.suspects(), 5..=6, "the fifth may be the first");
        assert!(!found.has_undecided());
        answers[4] = RevisionAnswer::Undecided;
        assert!(search(&answers).0.has_undecided());
        let mut none = vec![RevisionAnswer::Skipped; 10];
        none[9] = RevisionAnswer::Slower;
        assert_eq!(search(&none).0.suspects(), 1..=10);
    }

    #[test]
    fn a_long_row_of_unbuildable_revisions_is_leapt_over() {
        let mut answers = slow_from(90, 128);
        for answer in &mut answers[50..80] {
            *answer = RevisionAnswer::Skipped;
        }
        let (found, n_asked) = search(&answers);
        assert_eq!(found.suspects(), 90..=90);
        assert!(n_asked <= most_answers(128) + 4, "{n_asked}");
    }

    #[test]
    fn skipped_revisions_outside_the_range_are_never_asked_for() {
        let mut answers = slow_from(2, 10);
        answers[4] = RevisionAnswer::Skipped;
        let (found, _) = search(&answers);
        assert_eq!(found.suspects(), 2..=2);
    }
}
